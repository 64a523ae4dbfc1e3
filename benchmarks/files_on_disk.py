"""Files on the disk while a dataset with shards is rendered, by an earlier commit and by this checkout.

    python benchmarks/files_on_disk.py [--before COMMIT] [--songs 4] [--per-track 100] [--format webdataset] [--jobs 2]

First everything is rendered, then, with other pairs in the plan, again: what is kept is taken from the earlier shards.

Conventions
    Files and bytes are those below ``dataset/``, counted while the command runs: the most of them, and those at its end.
    Times are CPU seconds of the whole command with its workers. The songs are synthetic, with their own stems; pairs last 5 s.
    Earlier commits run in processes of their own. At the end every file of both datasets is compared.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
import threading
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # before this folder, whose separation.py is a benchmark

from before_after import Side, sides
from pipeline import corpus_of

from stemwright.datagen.run.configuration import check
from stemwright.datagen.run.corpus import Corpus
from stemwright.datagen.run.stages import run_plan

BEFORE = "b129af0"  # the last commit that wrote a file for each sound and packed these
EVERY_S = 0.05
HEAD = ("what", "files, most", "files, end", "MB, most", "MB, end", "CPU s", "peak MB")


class Watch:
    """Counts the files below a folder, and their bytes, as long as it is open."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._ended = folder, threading.Event()
        self.most = self.end = 0
        self.most_mb = self.end_mb = 0.0

    def __enter__(self) -> Watch:
        self._thread = threading.Thread(target=self._count)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()
        self.end, self.end_mb = self._look()

    def _count(self) -> None:
        while not self._ended.wait(EVERY_S):
            count, megabytes = self._look()
            self.most, self.most_mb = max(self.most, count), max(self.most_mb, megabytes)

    def _look(self) -> tuple[int, float]:
        count, total = 0, 0
        for place, _, names in os.walk(self._folder):
            for name in names:
                try:
                    total += os.stat(f"{place}/{name}").st_size  # noqa: PTH116  # of thousands, many times
                except FileNotFoundError:
                    continue
                count += 1
        return count, total / 1e6


def configure(folder: Path, options: argparse.Namespace, per_track: int) -> None:
    """Plans the pairs of a corpus."""
    pairs = {"duration_s": 5.0, "mix": {"per_track": per_track}, "removal": {"per_track": per_track}}
    corpus = Corpus(folder)
    corpus.create(check({"pairs": pairs, "dataset": {"format": options.format, "shard_mb": options.shard_mb}}, where="benchmark"))
    run_plan(Corpus(folder))


def measured(what: str, side: Side, jobs: int) -> str:
    """A row of the table: one rendering by one of the checkouts."""
    with Watch(side.corpus / "dataset") as watch:
        run = side.run(what, "render", side.corpus, "--jobs", str(jobs))
    cells = (f"{watch.most:,}", f"{watch.end:,}", f"{watch.most_mb:,.0f}", f"{watch.end_mb:,.0f}", f"{run.seconds:.1f}")
    return f"| {what}, {side.name} | {' | '.join(cells)} | {side.peak(what):.0f} |"


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below a folder."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--before", default=BEFORE)
    parser.add_argument("--songs", type=int, default=4)
    parser.add_argument("--per-track", type=int, default=100)
    parser.add_argument("--shard-mb", type=float, default=32.0)
    parser.add_argument("--format", default="webdataset")
    parser.add_argument("--jobs", type=int, default=2)
    options = parser.parse_args()
    lines = [f"| {' | '.join(HEAD)} |", "|" + "---|" * len(HEAD)]
    with tempfile.TemporaryDirectory() as name, sides(Path(name), options.before) as found:
        made = Path(name, "made")
        corpus_of(made, options.songs, duration_s=30.0, per_track=1, real=True)
        for number, what in enumerate(("rendered", "a tenth more pairs")):
            configure(made, options, options.per_track + number * max(1, options.per_track // 10))
            for side in found:
                shutil.copytree(made, side.corpus, dirs_exist_ok=True)
                lines.append(measured(what, side, options.jobs))
            before, after = (contents(side.corpus / "dataset") for side in found)
            lines.append(f"| {what}: files that differ | {sum(before.get(each) != after.get(each) for each in {*before, *after})} ||||||")
    print(*lines, sep="\n")


if __name__ == "__main__":
    main()
