"""Writers: the one place that knows what a dataset looks like on disk.

A writer has two duties: ``write`` puts the signals of one pair into files and returns the example's row (in a worker, for many pairs at
once);
``finish`` puts beside them what makes the dataset stand alone (in one process, when all examples are there).

Conventions
    ``folder``: ``dataset/<split>/<kind>/<pair id>/<role>_<name>.flac``, with copies of the tables of pairs and examples.
    A peak that 24 bits cannot hold takes one gain for all signals of the example, a whole number of hundredths of a dB, kept in its row.
"""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol, get_args

import numpy as np

from manifests import __version__, table
from manifests.audio import SUFFIXES, Audio, Encoding, db_to_gain, encode, gain_to_db, write_bytes
from manifests.records import AudioFile, Example, Pair, SignalFile, Split, content_id, seal

DATASET = "dataset"


class DatasetWriter(Protocol):
    """What a format of dataset offers."""

    def task_id(self, pair: Pair) -> str:
        """The id of the work of writing one pair in this format."""
        ...

    def write(self, corpus: Path, pair: Pair, signals: Mapping[str, Audio]) -> Example:
        """Writes the signals of one pair and returns its row."""
        ...

    def finish(self, corpus: Path, pairs: Sequence[Pair], examples: Sequence[Example], *, made_from: str = "") -> int:
        """Completes the dataset; returns how many files of examples that are no longer planned were removed.

        The dataset's table of examples is written last and carries ``made_from``: once it stands, the dataset is whole.
        """
        ...


@dataclass(frozen=True)
class FolderWriter:
    """One folder for each example, one sound file for each signal."""

    encoding: Encoding = "flac24"

    def task_id(self, pair: Pair) -> str:
        """The id of the work: of the pair, the format and this version."""
        return content_id({"pair": pair.id, "format": "folder", "encoding": self.encoding, "version": __version__})

    def write(self, corpus: Path, pair: Pair, signals: Mapping[str, Audio]) -> Example:
        """Encodes and writes the signals. The same pair gives the same bytes."""
        gain_db = _joint_gain_db(signals) if self.encoding == "flac24" else 0.0
        folder = f"{DATASET}/{pair.split}/{pair.kind}/{pair.id}"
        files = []
        for role, planned in (("input", pair.inputs), ("target", pair.targets)):
            for signal in planned:
                audio = signals[signal.name] * np.float32(db_to_gain(gain_db)) if gain_db else signals[signal.name]
                path = f"{folder}/{role}_{signal.name}{SUFFIXES[self.encoding]}"
                files.append(_write_signal(corpus, path, audio, pair.sample_rate, self.encoding, role))
        return seal(Example, task_id=self.task_id(pair), pair_id=pair.id, gain_db=gain_db, signals=tuple(files))

    def finish(self, corpus: Path, pairs: Sequence[Pair], examples: Sequence[Example], *, made_from: str = "") -> int:
        """Copies the tables into the dataset and removes the files of examples that are no longer planned."""
        folder = corpus / DATASET
        folder.mkdir(parents=True, exist_ok=True)
        rendered = {example.pair_id for example in examples}
        named = {file.audio.path for example in examples for file in example.signals}
        removed = sum(_remove_unnamed(corpus, split, named) for split in get_args(Split))
        table.replace(folder / "pairs.parquet", [pair for pair in pairs if pair.id in rendered], Pair, made_from=made_from)
        table.replace(folder / "examples.parquet", list(examples), Example, made_from=made_from)
        return removed


def _remove_unnamed(corpus: Path, split: str, named: set[str]) -> int:
    """Removes the files of a split that no example names, and the folders that this empties; returns how many files."""
    removed = 0
    for place, _, names in os.walk(corpus / DATASET / split, topdown=False):
        folder = Path(place).relative_to(corpus).as_posix()
        stale = [name for name in names if f"{folder}/{name}" not in named]
        for name in stale:
            Path(place, name).unlink()
        if stale and not any(Path(place).iterdir()):
            Path(place).rmdir()
        removed += len(stale)
    return removed


def _write_signal(corpus: Path, path: str, audio: Audio, sample_rate: int, encoding: Encoding, role: str) -> SignalFile:
    from separation.loudness import integrated_loudness

    data = encode(audio, sample_rate, encoding)
    write_bytes(corpus / path, data)
    peak = float(np.abs(audio).max(initial=0.0))
    loudness = integrated_loudness(audio, sample_rate)
    return SignalFile(
        role="input" if role == "input" else "target",
        name=Path(path).stem.removeprefix(f"{role}_"),
        audio=AudioFile(
            path=path,
            sample_rate=sample_rate,
            num_channels=audio.shape[0],
            num_frames=audio.shape[1],
            sha256=hashlib.sha256(data).hexdigest(),
        ),
        loudness_lufs=round(loudness, 3) if math.isfinite(loudness) else None,
        peak_dbfs=round(gain_to_db(peak), 3) if peak else None,
    )


def _joint_gain_db(signals: Mapping[str, Audio]) -> float:
    """0, or the smallest reduction in hundredths of a dB that brings the largest peak to full scale."""
    peak = max(float(np.abs(audio).max(initial=0.0)) for audio in signals.values())
    return -math.ceil(100.0 * gain_to_db(peak)) / 100.0 if peak > 1.0 else 0.0


WRITERS: dict[Literal["folder"], type[FolderWriter]] = {"folder": FolderWriter}
