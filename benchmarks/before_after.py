"""Time and memory before and after needless work was removed: the same commands on the same songs, by two commits in turns.

    python benchmarks/before_after.py [--before COMMIT] [--filed COMMIT] [--rounds 2] [--only PART ...] [--write]

Parts: corpus (catalog to check), planning (50,400 pairs of 12 tracks), dataset (``PairDataset`` over 100,800 rows), kernels (a first run
on a fresh machine), effects (in a batch). Those after the corpus use the corpora that it made.

Conventions
    Earlier commits are checked out beside, without their history, and run in processes of their own. Times are CPU seconds,
    user and system, of whole processes, the least of the rounds; the parts that take minutes run once. Memory is the largest resident
    set. A ratio is before over after: above 1 is better now.
    The songs are synthetic multitracks, of which one is long; their own stems are taken, so that no network runs. Pairs are `removal`.
    What is equal is compared by the ids and checksums in the tables of both corpora, estimates by the largest difference of a loudness.
    Sources and kernels are compiled in the first of the rounds, and in the part about kernels, whose caches are empty.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # before this folder, whose separation.py is a benchmark

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import soundfile
from before_after_programs import DATASET, EFFECTS, LAUNCH
from pipeline import corpus_of
from results import publish
from songs import mixture_of, render_song

ROOT = Path(__file__).resolve().parent.parent
BEFORE = "0e5124d"  # the last commit before the first of these changes
FILED = "08be1e0"  # when the slow parts were listed; catalog and effects, which were mended earlier, are compared with it
RATE, TRACKS, SHORT_S, LONG_S = 44_100, 12, 10, 180
PER_TRACK, MANY_PER_TRACK = 2, 4_200  # of twice as many the earlier planning takes four times as long
ROWS = 100_800
CONFIG = "[pairs]\nduration_s = 5.0\n[pairs.mix]\nper_track = 0\n[pairs.removal]\nper_track = {}\n"
HEAD = ("what", "before, s", "after, s", "ratio", "before, MB", "after, MB", "besides")

CHECKS = ("check", "check again")
WORST = ("clip", "delay", "width", "reverb", "chorus")


@dataclass
class Run:
    """What a process took, and what it noted."""

    seconds: float
    printed: str
    notes: dict[str, Any] = field(default_factory=dict)


@dataclass
class Side:
    """A checkout, with its corpus."""

    name: str
    tree: Path
    place: Path
    runs: dict[str, list[Run]] = field(default_factory=dict)

    @property
    def corpus(self) -> Path:
        """Its corpus."""
        return self.place / "corpus"

    def run(self, what: str, *command: str | Path, cache: str = "") -> Run:
        """Runs a verb of this checkout's command line, as ``what``; ``cache`` is a folder for compiled kernels other than the usual one."""
        note = self.place / "note.json"
        run = self._timed([sys.executable, "-c", LAUNCH, note, self.tree, *command], cache)
        run.notes = json.loads(note.read_text())
        self.runs.setdefault(what, []).append(run)
        return run

    def program(self, code: str, *arguments: str | Path) -> dict[str, Any]:
        """What a program prints as JSON with this checkout on the path."""
        found: dict[str, Any] = json.loads(self._timed([sys.executable, "-c", code, *arguments], "").printed.splitlines()[-1])
        return found

    def _timed(self, command: Sequence[str | Path], cache: str) -> Run:
        caches = {"STEMWRIGHT_CACHE": str(self.place / "cache"), **({"NUMBA_CACHE_DIR": str(self.place / cache)} if cache else {})}
        environment = {**os.environ, "PYTHONPATH": str(self.tree), "HF_HUB_OFFLINE": "1", **caches}
        environment |= {"PYTHONPYCACHEPREFIX": str(self.place / "pycache"), "PYTHONDONTWRITEBYTECODE": ""}
        out = self.place / "printed.txt"
        with out.open("wb") as printed:
            process = subprocess.Popen(list(map(str, command)), stdout=printed, stderr=subprocess.STDOUT, env=environment, cwd=self.place)
            _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        text = out.read_text(errors="replace")
        if process.returncode not in (0, 3):
            raise RuntimeError(f"{self.name}: {' '.join(map(str, command[5:]))} ended with {process.returncode}:\n{text[-2000:]}")
        return Run(used.ru_utime + used.ru_stime, text)

    def least(self, what: str) -> float:
        """The least time of what ran."""
        return min(run.seconds for run in self.runs[what])

    def peak(self, what: str) -> float:
        """The largest memory of what ran."""
        return max(float(run.notes["peak_mb"]) for run in self.runs[what])


def line(what: str, pair: Sequence[Side], besides: str = "", *, ran: str | None = None) -> str:
    """A row of the table: the times and the memory of what both ran."""
    before, after = pair
    ran = ran or what
    times = before.least(ran), after.least(ran)
    cells = f"{times[0]:.2f} | {times[1]:.2f} | {times[0] / times[1]:.2f} | {before.peak(ran):.0f} | {after.peak(ran):.0f}"
    return f"| {what} | {cells} | {besides} |"


@contextlib.contextmanager
def sides(place: Path, *commits: str) -> Iterator[list[Side]]:
    """The earlier commits, and this checkout last."""
    found = []
    for commit in commits:
        tree = place / commit / "tree"
        tree.mkdir(parents=True)
        archive = subprocess.run(["git", "archive", commit], cwd=ROOT, capture_output=True, check=True).stdout
        subprocess.run(["tar", "-x", "-C", tree], input=archive, check=True)
        found.append(Side(commit, tree, place / commit))
    (place / "now").mkdir()
    yield [*found, Side("now", ROOT, place / "now")]


def write_songs(folder: Path) -> int:
    """Writes the songs with their stems; the bytes of their files."""
    for number in range(TRACKS):
        stems = render_song(number, SHORT_S)
        times = LONG_S // SHORT_S if number == 0 else 1
        song = folder / f"Artist {number} - Song {number}"
        song.mkdir(parents=True)
        scale = 0.8 / np.abs(mixture_of(stems)).max()
        for name, audio in {**stems, "mixture": mixture_of(stems)}.items():
            soundfile.write(song / f"{name}.wav", np.tile(audio * scale, (1, times)).T, RATE, subtype="PCM_24")
    return sum(path.stat().st_size for path in folder.rglob("*.wav"))


def run_stages(pair: Sequence[Side], filed: Side, songs: Path, rounds: int) -> None:
    """A corpus from catalog to check, by each of them in turns; only the catalog by the one that is older."""
    config = songs.parent / "small.toml"
    config.write_text(CONFIG.format(PER_TRACK))
    for number in range(rounds):
        turns = pair[:: 1 if number % 2 else -1]
        for side in (*pair, filed):
            for name in ("corpus", "cache"):
                shutil.rmtree(side.place / name, ignore_errors=True)
        for side in (*turns, filed):
            side.run("catalog", "catalog", songs, side.corpus, "--kind", "multitracks", "--config", config)
        for verb in ("separate", "estimate", "plan", "render"):
            for side in turns:
                side.run(verb, verb, side.corpus)
        for what in CHECKS:
            for side in turns:
                side.run(what, "check", side.corpus)


def corpora(pair: Sequence[Side], filed: Side, songs: Path, rounds: int) -> list[str]:
    """The rows of the table about making a corpus and checking it."""
    size = write_songs(songs)
    run_stages(pair, filed, songs, rounds)
    passes = [side.runs["catalog"][0].notes["hashed"] / size for side in (filed, *pair)]
    hashing = f"hashed {passes[0]:.1f}, {passes[1]:.1f} and {passes[2]:.1f} times the bytes of the files; fingerprints are new"
    written = [side.runs["separate"][0].notes["written"] / 1e6 for side in pair]
    bytes_written = f"{written[0]:.0f} and {written[1]:.0f} MB written; {stems_equal(pair)}"
    read_mb = (size + sum(path.stat().st_size for path in pair[1].corpus.rglob("*.flac"))) / 1e6
    speeds = {what: "{:.0f} and {:.0f} MB a second".format(*(read_mb / side.least(what) for side in pair)) for what in CHECKS}
    return [
        line(f"catalog, against {filed.name}", (filed, pair[1]), hashing, ran="catalog"),
        line("catalog", pair, equal(pair, "tracks", "id")),
        line("separate: own stems are taken", pair, bytes_written, ran="separate"),
        line("estimate", pair, estimates_differ(pair)),
        line(f"plan, {TRACKS * PER_TRACK} pairs", pair, f"{loaded(pair, 'plan')}; {equal(pair, 'pairs', 'id')}", ran="plan"),
        line("render, `removal`", pair, equal(pair, "examples", "signals"), ran="render"),
        line(f"check, {read_mb:.0f} MB of songs, stems and dataset", pair, speeds["check"], ran="check"),
        line("check again, of the same bytes", pair, speeds["check again"], ran="check again"),
    ]


def loaded(pair: Sequence[Side], what: str) -> str:
    """Which of the heavy libraries each has imported."""
    found = (", ".join(side.runs[what][-1].notes["imported"]) or "none" for side in pair)
    return "imports of torch and scipy: {} and {}".format(*found)


def equal(pair: Sequence[Side], name: str, column: str) -> str:
    """Whether a column of a table is equal in both corpora."""
    old, new = (pq.read_table(side.corpus / f"{name}.parquet", columns=[column])[column].to_pylist() for side in pair)
    if old == new:
        return f"all {len(new)} rows equal" if column == "id" else f"bytes of all {len(new)} {name} equal"
    return f"{sum(row in old for row in new)} of {len(new)} {name} equal"


def stems_equal(pair: Sequence[Side]) -> str:
    """Whether the files of stems have the same bytes."""
    old, new = (
        {row["audio"]["sha256"] for row in pq.read_table(side.corpus / "stems.parquet", columns=["audio"]).to_pylist()} for side in pair
    )
    return f"bytes of {'all' if old == new else len(old & new)} {len(new)} stems equal"


def estimates_differ(pair: Sequence[Side]) -> str:
    """By how much loudness and level differ at most."""
    columns = ["loudness_lufs", "level_lu"]
    old, new = (pq.read_table(side.corpus / "estimates.parquet", columns=columns).to_pandas().astype(float) for side in pair)
    worst = [float(np.nanmax(np.abs(old[name] - new[name]))) for name in columns]
    return f"loudness differs by at most {worst[0]:.4f} LU, level by {worst[1]:.3f}"


def planning(pair: Sequence[Side]) -> list[str]:
    """Many pairs of few made-up tracks of four minutes."""
    digests = []
    for side in pair:
        large = side.place / "large"
        corpus_of(large, TRACKS, duration_s=240.0, per_track=1, real=False)  # tables that both read
        shutil.copy(side.corpus / "config.toml", large)
        config = side.place / "large.toml"
        config.write_text(CONFIG.format(MANY_PER_TRACK))
        side.run("plan, many", "plan", large, "--config", config)
        digests.append(pq.read_table(large / "pairs.parquet", columns=["id"])["id"].to_pylist())
    same = "ids equal" if digests[0] == digests[1] else f"{len({*digests[0]} & {*digests[1]})} ids equal"
    return [line(f"plan, {len(digests[1]):,} pairs of {TRACKS} tracks", pair, same, ran="plan, many")]


def dataset(pair: Sequence[Side]) -> list[str]:
    """``PairDataset`` over the rows of a rendered dataset, many times, with other ids."""
    after = pair[-1]
    tables = {name: pq.read_table(after.corpus / "dataset" / f"{name}.parquet") for name in ("pairs", "examples")}
    times = -(-ROWS // len(tables["examples"]))
    ids = pa.array([f"{number:016x}" for number in range(times * len(tables["examples"]))])
    for side in pair:
        shutil.copytree(after.corpus / "dataset", side.place / "dataset")
        place = {row: number for number, row in enumerate(tables["pairs"]["id"].to_pylist())}
        order = tables["pairs"].take([place[row] for row in tables["examples"]["pair_id"].to_pylist()])
        for name, rows, column in (("pairs", order, "id"), ("examples", tables["examples"], "pair_id")):
            many = pa.concat_tables([rows] * times)
            for renamed in {"id", column}:
                many = many.set_column(many.column_names.index(renamed), many.schema.field(renamed), ids)
            pq.write_table(many.replace_schema_metadata(rows.schema.metadata), side.place / "dataset" / f"{name}.parquet")
    found = [side.program(DATASET, side.place / "dataset") for side in pair]
    old, new = found
    pickled = f"pickled {old['pickled']:.1f} and {new['pickled']:.3f} MB; memory is what it added"
    cells = f"{old['s']:.2f} | {new['s']:.2f} | {old['s'] / new['s']:.1f} | {old['mb']:.0f} | {new['mb']:.0f}"
    return [f"| `PairDataset` over {new['rows']:,} rows | {cells} | {pickled} |"]


def kernels(pair: Sequence[Side], songs: Path) -> list[str]:
    """A first run, with no kernel compiled, and the same again."""
    song = songs / "Artist 1 - Song 1"
    stems = songs.parent / "stems"
    shutil.copytree(song, stems, ignore=shutil.ignore_patterns("mixture*"))
    lines = []
    for verb in ("render", "balance", "edit"):
        for run in ("first", "second"):
            for side in pair:
                if verb == "render":
                    shutil.rmtree(side.corpus / "dataset", ignore_errors=True)
                    (side.corpus / "examples.parquet").unlink(missing_ok=True)
                commands: dict[str, tuple[str | Path, ...]] = {
                    "render": (side.corpus,),
                    "balance": (song / "mixture.wav", "--stems", stems),
                    "edit": (song / "mixture.wav", "apply light lowpass to the drums", "--model", "bundled", side.place / "edited.wav"),
                }
                side.run(f"{verb}, {run}", verb, *commands[verb], cache=f"kernels-{verb}")
        more = [f"{side.least(f'{verb}, first') - side.least(f'{verb}, second'):.1f}" for side in pair]
        lines.append(line(f"{verb}, first run of a machine", pair, f"{more[0]} and {more[1]} s more than the second", ran=f"{verb}, first"))
    return lines


def effects(filed: Side, after: Side) -> list[str]:
    """The effects that were slowest in a batch."""
    from effect_settings import SETTINGS

    chosen = json.dumps({name: SETTINGS[name] for name in WORST})
    old, new = (side.program(EFFECTS, chosen) for side in (filed, after))
    lines = ["", f"Effects on a batch of 64 x 2 x 5 s in one thread, against {filed.name}:", ""]
    lines += [
        "| effect | batch before, ms | after, ms | loop / batch before | after | backward / forward before | after |",
        "|---|" + "---|" * 6,
    ]
    for name in WORST:
        pairs = [(old[name][0] * 1e3, new[name][0] * 1e3), *zip(old[name][1:], new[name][1:], strict=True)]
        cells = [f"{a:.0f} | {b:.0f}" if number == 0 else f"{a:.2f} | {b:.2f}" for number, (a, b) in enumerate(pairs)]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return lines


def main() -> None:
    """Prints the tables; ``--write`` puts them into docs/results.md."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--before", default=BEFORE, help="the earlier commit")
    parser.add_argument("--filed", default=FILED, help="the earlier commit for catalog and effects")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--only", nargs="+", choices=("planning", "dataset", "kernels", "effects"), help="these parts after the corpus")
    parser.add_argument("--write", action="store_true")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as place, sides(Path(place), asked.before, asked.filed) as (before, filed, after):
        songs, pair = Path(place, "songs"), (before, after)
        parts: dict[str, Callable[[], list[str]]] = {
            "planning": lambda: planning(pair),
            "dataset": lambda: dataset(pair),
            "kernels": lambda: kernels(pair, songs),
            "effects": lambda: effects(filed, after),
        }
        lines = [f"Before: {asked.before}, where no other commit is named. Songs: {TRACKS}, of {SHORT_S} s and one of {LONG_S} s.", ""]
        lines += [f"| {' | '.join(HEAD)} |", "|---" * len(HEAD) + "|", *corpora(pair, filed, songs, asked.rounds)]
        print(*lines, sep="\n", flush=True)
        for name, part in parts.items():
            if asked.only is None or name in asked.only:
                began = time.monotonic()
                lines += (found := part())
                print(*found, sep="\n", flush=True)
                print(f"{name} took {time.monotonic() - began:.0f} s", file=sys.stderr)
    if asked.write:
        publish("before and after", "python benchmarks/before_after.py --write", "\n".join(lines))


if __name__ == "__main__":
    main()
