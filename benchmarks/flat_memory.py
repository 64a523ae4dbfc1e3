"""Scale: rows of many pairs and songs in flat memory, each measured in a process of its own.

What is measured
    A corpus of made-up tracks is planned by the real planner (`million_pairs`), half `mix`, half `removal`. CPU seconds and peak resident
    memory (VmHWM) are those of a new process; of its peak, what importing takes is stated apart. An item's rows are its pair and example
    as records, in random order, mapped pages in the page cache. Peak memory includes pages of mapped files that were touched.
    A report has 12 pairs to hear, of which there is no sound; an export finds no stems, so it has no fingerprints.
    The runner has tasks that are made when they are used, a work function that returns five made-up stems, and nothing else to do.
    Resuming looks for the five files of each song on the disk (the same five of all songs), and reads what was done from the journal of a
    killed run, or from the finished table.
    "before" of a row is the figure of the version that held all rows as records, per pair as it was measured with 100,000.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # before this folder, whose separation.py is a benchmark

from million_pairs import as_rendered, planned

HEAD = """
import random, resource, sys, time
from pathlib import Path
def peak():
    line = next(line for line in Path('/proc/self/status').read_text().splitlines() if line.startswith('VmHWM'))
    return int(line.split()[1]) / 1024
"""
OPEN = """
from stemwright.datagen.dataset.loader import PairDataset
before, began = peak(), time.process_time()
data = PairDataset(sys.argv[1], kind='removal', split='train')
print(before, peak(), time.process_time() - began)
"""
ITEMS = """
from stemwright.datagen.dataset.loader import PairDataset
data = PairDataset(sys.argv[1], split='train')
data.pair(0), data.example(0)
before = peak()
numbers = [random.Random(0).randrange(len(data)) for _ in range(5000)]
began = time.process_time()
for number in numbers:
    data.pair(number), data.example(number)
print(before, peak(), (time.process_time() - began) / len(numbers))
"""
CHECK = """
from stemwright.manifests.check.corpus_tables import *
from stemwright.manifests.check.dataset_copies import copies
from stemwright.manifests.row_types import ROW_TYPES
from stemwright.manifests.joined_rows import JoinedRows
corpus, before, began = Path(sys.argv[1]), peak(), time.process_time()
rows, problems = read_tables(corpus, ROW_TYPES)
rows['pairs'] = JoinedRows(*rows['pairs'].tables, *rows['redraws'].tables)
problems += [*dangling(rows), *mixed_splits(rows), *examples_fit_pairs(rows), *unaccounted(rows), *copies(corpus, rows)]
assert not problems, problems[:3]
print(before, peak(), time.process_time() - began)
"""
REPORT = """
import stemwright.datagen.pairs.render
from stemwright.datagen.effects import EFFECTS
from stemwright.datagen.report.page import make_report
from stemwright.datagen.run.corpus import Corpus
EFFECTS['eq'].Settings
before, began = peak(), time.process_time()
make_report(Corpus(sys.argv[1]))
print(before, peak(), time.process_time() - began)
"""
EXPORT = """
from stemwright.datagen.run.corpus import Corpus
from stemwright.datagen.run.tasks import Workers
from stemwright.datagen.share.export import export
before, began = peak(), time.process_time()
done = export(Corpus(sys.argv[1]), Path(sys.argv[2]), audio=False, workers=Workers(1))
assert done.pairs
print(before, peak(), time.process_time() - began)
"""
RUNNER = """
from stemwright.datagen.run.runner import Stage, finish, run
from stemwright.datagen.run.tasks import Result, Task
from stemwright.manifests.records import AudioFile, Stem, seal
stage, count, last = Stage('separate', Path(sys.argv[1]), 'stems', Stem), int(sys.argv[2]), sys.argv[3]
def row(name):
    path = f'stems/tiny/{"0" * 16}/{name}.flac'
    file = stage.folder / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(b'1')
    audio = AudioFile(path=path, sample_rate=44100, num_channels=2, num_frames=9, num_bytes=1, sha256='0' * 64)
    facts = dict(cache_key='0' * 16, track_id='0' * 16, origin='tiny@demucs', gain_db=0.0, closure_db=-20.0)
    return seal(Stem, name=name, audio=audio, **facts)
templates = tuple(map(row, ('drums', 'bass', 'other', 'vocals', 'residual')))
def rows(key):
    return tuple(Stem.model_construct(**{**one.__dict__, 'cache_key': key, 'track_id': key}) for one in templates)
class Songs:
    def __len__(self):
        return count
    def __iter__(self):
        return (Task(f'{number:016x}', 'song', f'{number:016x}', number) for number in range(count))
def do(tasks, begin):
    for task in tasks:
        begin(task)
        yield Result(task, rows(task.id))
before, began = peak(), time.process_time()
outcome = run(stage, Songs(), do)
assert outcome.done + outcome.skipped == count
if last == 'finish':
    finish(stage, outcome.rows)
print(before, peak(), time.process_time() - began)
"""


SEPARATE = """
from types import SimpleNamespace
from stemwright.datagen.run.configuration import check
from stemwright.datagen.run.corpus import Corpus
from stemwright.datagen.run.stages import separating
from stemwright.datagen.run.stages.kept_stems import commit
from stemwright.manifests import table
from stemwright.manifests.records import AudioFile, Stem, Track, content_id, seal
from stemwright.separation.quality import Figures
separating.separator_for = lambda order, workers: SimpleNamespace(origin='tiny@1', identity={'tiny': 1}, device='cpu')
corpus, count = Corpus(sys.argv[1]), int(sys.argv[2])
def audio(path):
    return AudioFile(path=path, sample_rate=44100, num_channels=2, num_frames=9, num_bytes=1, sha256='0' * 64)
if not corpus.folder.exists():
    corpus.create(check({'songs': {'folder': str(corpus.folder.parent)}}, where='benchmark'))
    names = ('drums', 'bass', 'other', 'vocals', 'residual')
    for name in names:
        (corpus.folder / f'{name}.flac').write_bytes(b'1')
    facts = dict(source='folder', split='train', peak_dbfs=-1.0, sound='0' * 64)
    tracks = (Track(id=content_id(number), cache_key=content_id(number), audio=audio(f'{number}.flac'), title='Song', artist='A', **facts)
              for number in range(count))
    table.write(corpus.table('tracks'), tracks, Track)
    figures = Figures(silent=None, closure_db=-20.0, bleed=0.0, bleed_of=('drums', 'bass'), clipped_share=0.0)
    separation = separating.Separation(corpus, separating.separator_for(None, None), corpus.config)
    for task in separating.tasks_of(corpus, separation.separator, corpus.config):
        facts = dict(cache_key=task.id, track_id=task.row_id, origin='tiny@1', gain_db=0.0, closure_db=-20.0)
        rows = [seal(Stem, name=name, audio=audio(f'{name}.flac'), **facts) for name in names]
        place = separation.place(task.payload[0])
        place.mkdir(parents=True)
        commit(place, task.id, figures, rows)
    sys.exit(print(0, 0, 0))
before, began = peak(), time.process_time()
done = separating.run_separate(corpus)
assert done.skipped == count
print(before, peak(), time.process_time() - began)
"""


def alone(code: str, *arguments: object) -> tuple[float, float, float]:
    """(MB before, peak MB, CPU seconds) that a program of its own prints."""
    root = str(Path(__file__).resolve().parent.parent)
    ran = subprocess.run([sys.executable, "-c", HEAD + code, *map(str, arguments)], cwd=root, capture_output=True, text=True, check=True)
    before, peak, seconds = map(float, ran.stdout.split())
    return before, peak, seconds


def flat_memory(folder: Path, tracks: int = 20_000, songs: int = 1_000_000, corpus: Path | None = None) -> str:
    """The table. ``corpus`` is one that `million_pairs` made before, of so many tracks."""
    if corpus is None:
        corpus = folder / "corpus"
        as_rendered(planned(corpus, tracks, 50))
    dataset, pairs = corpus / "dataset", tracks * 50
    lines = [
        f"{pairs:,} pairs with examples and shards, {songs:,} songs.\n",
        "| what | CPU s | peak MB | of it imports | target |",
        "|---|---|---|---|---|",
    ]

    def add(what: str, measured: tuple[float, float, float], target: str, unit: str = "") -> None:
        before, peak, seconds = measured
        took = f"{seconds * 1e3:.3f} ms" if unit == "ms" else f"{seconds:.2f}"
        lines.append(f"| {what} | {took} | {peak:,.0f} | {before:,.0f} | {target} |")

    add("PairDataset, first opening: the index of shards is made", alone(OPEN, dataset), "")
    add("PairDataset, opened and selected", alone(OPEN, dataset), "2 s, 200 MB beyond imports")
    alone(ITEMS, dataset)
    add("rows of an item", alone(ITEMS, dataset), "0.2 ms", "ms")
    add("check, tables", alone(CHECK, corpus), "300 MB")
    add("report, 12 pairs to hear", alone(REPORT, corpus), "300 MB beyond imports")
    add("export of the tables", alone(EXPORT, corpus, folder / "recipes"), "300 MB beyond imports")
    (folder / "runner").mkdir()
    add("runner, all songs new", alone(RUNNER, folder / "runner", songs, "killed"), "150 MB")
    add("runner, all songs finished: resumed from the journal", alone(RUNNER, folder / "runner", songs, "killed"), "60 s, 150 MB")
    add("the same, and the table written", alone(RUNNER, folder / "runner", songs, "finish"), "150 MB")
    add("runner, all songs finished: resumed from the table", alone(RUNNER, folder / "runner", songs, "killed"), "60 s, 150 MB")
    some = songs // 50
    alone(SEPARATE, folder / "separate", some)
    add(f"separate, all of {some:,} songs kept: the table made again", alone(SEPARATE, folder / "separate", some), "")
    add("the same, finished", alone(SEPARATE, folder / "separate", some), "")
    return "\n".join(lines)


def main() -> None:
    """Prints the table for a corpus that is there, or another size."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--corpus", type=Path)
    parser.add_argument("--tracks", type=int, default=20_000)
    parser.add_argument("--songs", type=int, default=1_000_000)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        print(flat_memory(Path(scratch), asked.tracks, asked.songs, asked.corpus))


if __name__ == "__main__":
    main()
