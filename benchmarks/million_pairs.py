"""A corpus of made-up tracks, planned by the real planner, with the tables that rendering it would write and no sound: for benchmarks of
what only reads rows.

    python benchmarks/million_pairs.py FOLDER [--tracks 20000] [--per-track 50]

Half of the pairs are `mix`, half `removal`. The files of the examples have made-up sizes and checksums and are members of shards, whose
files are as long as their rows say and empty (sparse), so that a dataset opens.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import sys
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # before this folder, whose separation.py is a benchmark

from pipeline import corpus_of

from stemwright.datagen.dataset.writers.as_written import written_pair
from stemwright.datagen.run.corpus import Corpus
from stemwright.datagen.run.stages import run_plan
from stemwright.manifests import table
from stemwright.manifests.dataset_rows import SourceRows, WrittenPair, of_dataset
from stemwright.manifests.pair_records import Example, Pair, SignalFile
from stemwright.manifests.records import AudioFile, Member, Shard, content_id, seal
from stemwright.manifests.table_rows import TableRows

BYTES = 700_000  # of one sound file: five seconds of stereo in 24-bit FLAC
SHARD_EXAMPLES = 100


def planned(folder: Path, tracks: int, per_track: int) -> Corpus:
    """A corpus whose pairs are planned."""
    corpus = corpus_of(folder, tracks, duration_s=240.0, per_track=per_track // 2, real=False)
    run_plan(corpus)
    return corpus


def as_rendered(corpus: Corpus) -> None:
    """Adds the tables that rendering writes: examples, and the dataset's own with its shards."""
    pairs = TableRows(corpus.table("pairs"), Pair)
    table.write(corpus.table("examples"), map(_example, pairs), Example)
    facts = SourceRows.read(corpus.folder)
    corpus.dataset.mkdir(exist_ok=True)
    table.write(corpus.dataset / "pairs.parquet", (written_pair(pair, 0.0, facts) for pair in pairs), WrittenPair)
    examples = TableRows(corpus.table("examples"), Example)
    table.write(corpus.dataset / "examples.parquet", map(of_dataset, examples), Example)
    table.write(corpus.dataset / "shards.parquet", _shards(corpus.dataset), Shard)


def _example(pair: Pair) -> Example:
    folder = f"dataset/{pair.split}/{pair.kind}/{pair.id}"
    files = []
    for role, signals in (("input", pair.inputs), ("target", pair.targets)):
        for signal in signals:
            path = f"{folder}/{role}_{signal.name}.flac"
            audio = AudioFile(
                path=path,
                sample_rate=pair.sample_rate,
                num_channels=2,
                num_frames=pair.num_frames,
                num_bytes=BYTES,
                sha256=hashlib.sha256(path.encode()).hexdigest(),
            )
            files.append(SignalFile(role=role, name=signal.name, audio=audio, loudness_lufs=-20.125, peak_dbfs=-3.25))
    return seal(Example, cache_key=content_id(pair.id), pair_id=pair.id, gain_db=0.0, signals=tuple(files))


def _shards(dataset: Path) -> Iterator[Shard]:
    examples = iter(TableRows(dataset / "examples.parquet", Example))
    number = 0
    while part := list(islice(examples, SHARD_EXAMPLES)):
        paths = [file.audio.path for example in part for file in example.signals]
        members = tuple(Member(path=path, start_byte=at * BYTES, num_bytes=BYTES) for at, path in enumerate(paths))
        file = dataset / f"mix/train-{number:06d}.tar"
        file.parent.mkdir(exist_ok=True)
        with file.open("wb") as sparse:
            sparse.truncate(len(members) * BYTES)
        facts = {"num_bytes": len(members) * BYTES, "sha256": "0" * 64, "labels": "0" * 16}
        yield seal(Shard, path=f"mix/train-{number:06d}.tar", members=members, **facts)
        number += 1


def main() -> None:
    """Makes one."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--tracks", type=int, default=20_000)
    parser.add_argument("--per-track", type=int, default=50)
    asked = parser.parse_args()
    as_rendered(planned(asked.folder, asked.tracks, asked.per_track))


if __name__ == "__main__":
    main()
