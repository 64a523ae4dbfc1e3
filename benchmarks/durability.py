"""What it costs that finished work is on the disk: examples written with and without syncs, in one run, as a ratio.

    python benchmarks/durability.py [--folder PLACE] [--write]

Conventions
    An example is a removal pair of 5 s in stereo: two FLAC files in a folder of their own, and a line in the journal. Both ways write the
    same examples in turn, on the disk of PLACE (by default that of temporary files), and the best of several runs counts.
    "With" is what the stages do; "without" takes the syncs out and nothing else.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # before this folder, whose separation.py is a benchmark

from results import publish
from songs import render_song

from stemwright.datagen.dataset.writers.folder import FolderWriter
from stemwright.manifests import table
from stemwright.manifests.disk import durable
from stemwright.manifests.pair_records import Branch, Example, Pair, Signal
from stemwright.manifests.records import content_id, seal

RATE = 44_100
RUNS = 3
EXAMPLES = 60
SECONDS = 5


def pair_of(number: int) -> Pair:
    """A removal pair that is like no other."""
    branches = (Branch(source_id=content_id(number)),)
    return seal(
        Pair,
        kind="removal",
        number=number,
        track_id=content_id(number),
        split="train",
        start_frame=0,
        num_frames=SECONDS * RATE,
        sample_rate=RATE,
        inputs=(Signal(name="wet", branches=branches),),
        targets=(Signal(name="dry", branches=branches),),
        seed=0,
    )


def write_all(folder: Path, pairs: list[Pair]) -> float:
    """Seconds for writing the examples and their journal."""
    song = render_song(0, SECONDS)
    signals = {"wet": song["drums"] * 0.5, "dry": song["bass"] * 0.5}
    writer, began = FolderWriter(), time.perf_counter()
    with table.Journal(folder / "examples.jsonl.part", Example) as journal:
        for pair in pairs:
            journal.append(pair.id, [writer.write(folder, pair, signals)])
    return time.perf_counter() - began


def measure(place: Path) -> tuple[float, float]:
    """Seconds for 1,000 examples, with and without syncs."""
    pairs = [pair_of(number) for number in range(EXAMPLES)]
    sync, best = durable.sync, {True: float("inf"), False: float("inf")}
    for _ in range(RUNS):
        for synced in best:
            durable.sync = sync if synced else lambda _: None
            folder = Path(tempfile.mkdtemp(dir=place))
            best[synced] = min(best[synced], write_all(folder, pairs))
            shutil.rmtree(folder)
    durable.sync = sync
    return best[True] / EXAMPLES * 1000, best[False] / EXAMPLES * 1000


def main() -> None:
    """Prints the table; with --write, also into docs/results.md."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()))
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    with_syncs, without = measure(options.folder)
    lines = [
        "| 1,000 examples of two FLAC files of 5 s, one core | with syncs | without | ratio |",
        "|---|---:|---:|---:|",
        f"| written and journalled | {with_syncs:.1f} s | {without:.1f} s | {with_syncs / without:.2f} |",
    ]
    body = "\n".join(lines)
    print(body)
    if options.write:
        publish("Durability", "python benchmarks/durability.py --write", body)


if __name__ == "__main__":
    main()
