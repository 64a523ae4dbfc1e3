"""Sound files that are read as one: their sum, sample by sample from the start of each.

Conventions
    Audio is float32 [C, T], full scale 1.0; a sum above full scale stays as it is. It has the highest rate of the files, to which the
    others are resampled, and two channels if one of them has; a mono file is then in the middle. It lasts as long as the longest: the
    others are followed by silence.
    The files are added in order, in float64, and rounded once: whatever the blocks, the sum is the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from stemwright.manifests.records import Refused
from stemwright.manifests.sound.formats import Audio, AudioInfo
from stemwright.manifests.sound.resampling import resampled

NOTED_S = 0.1  # a file that ends so much before the longest is named: less is an encoder's padding


@dataclass(frozen=True)
class Sum:
    """Files whose sum is read; ``folder`` is what it is called after."""

    folder: Path
    files: tuple[Path, ...]

    @property
    def name(self) -> str:
        """What it is called in messages."""
        return self.folder.name


Sound = Path | Sum


class FileReader(Protocol):
    """A file that is open for reading, once."""

    info: AudioInfo
    notes: list[str]
    num_streams: int

    def __enter__(self) -> FileReader:
        """The reader."""
        ...

    def __exit__(self, *_: object) -> None:
        """Closes it."""
        ...

    def read(self, start_frame: int, num_frames: int | None) -> Audio:
        """[C, T] from ``start_frame``."""
        ...

    def blocks(self, block_frames: int) -> Iterator[Audio]:
        """The whole as [C, block_frames]; the last may be shorter."""
        ...


class SumReader:
    """Open files that are read as their sum. Raises Refused if one has more than two channels."""

    num_streams = 1

    def __init__(self, sound: Sum, readers: Sequence[FileReader]) -> None:
        self.notes: list[str] = []
        self._readers, self._names = list(readers), [path.name for path in sound.files]
        infos = [reader.info for reader in readers]
        if wide := next((name for name, info in zip(self._names, infos, strict=True) if info.num_channels > 2), None):
            raise Refused(f"{wide} has more than two channels; expected mono or stereo. Fold it down to stereo first")
        rate = max(info.sample_rate for info in infos)
        if others := sorted({info.sample_rate for info in infos} - {rate}):
            self.notes.append(f"files at {', '.join(map(str, others))} Hz were resampled to the {rate} Hz of others before they were added")
        num_frames = max(round(info.num_frames * rate / info.sample_rate) for info in infos)
        self.info = AudioInfo(rate, max(info.num_channels for info in infos), num_frames)
        self._lengths = [0] * len(readers)

    def __enter__(self) -> SumReader:
        return self

    def __exit__(self, *_: object) -> None:
        with ExitStack() as opened:
            for reader in self._readers:
                opened.push(reader)

    def read(self, start_frame: int, num_frames: int | None) -> Audio:
        """[C, T] from ``start_frame``; shorter than requested only where the sum ends."""
        stop = np.inf if num_frames is None else start_frame + num_frames
        parts, at = [np.zeros((self.info.num_channels, 0), np.float32)], 0
        for block in self.blocks(1 << 17):
            parts.append(block[:, max(0, start_frame - at) : int(max(0, min(block.shape[1], stop - at)))])
            at += block.shape[1]
            if at >= stop:
                break
        return np.concatenate(parts, axis=1)

    def blocks(self, block_frames: int) -> Iterator[Audio]:
        """The whole sum as [C, block_frames]; the last may be shorter."""
        pieces = [_Pieces(self._source(number, block_frames), self.info.num_channels) for number in range(len(self._readers))]
        while True:
            parts = [piece.take(block_frames) for piece in pieces]
            length = max(part.shape[1] for part in parts)
            if length == 0:
                break
            total = np.zeros((self.info.num_channels, length))
            for number, part in enumerate(parts):
                total[:, : part.shape[1]] += part
                self._lengths[number] += part.shape[1]
            yield total.astype(np.float32)
        self._note_lengths()

    def _source(self, number: int, block_frames: int) -> Iterator[Audio]:
        reader, rate = self._readers[number], self.info.sample_rate
        source = reader.blocks(block_frames)
        return source if reader.info.sample_rate == rate else resampled(source, reader.info.sample_rate, rate)

    def _note_lengths(self) -> None:
        longest = max(self._lengths)
        short = [
            f"{name} by {(longest - length) / self.info.sample_rate:.1f} s"
            for name, length in zip(self._names, self._lengths, strict=True)
            if longest - length > NOTED_S * self.info.sample_rate
        ]
        if short:
            self.notes.append(f"files of unequal length: silence was added to {', '.join(short)}")


class _Pieces:
    """A stream of blocks, read in blocks of another length, with one or two channels."""

    def __init__(self, source: Iterator[Audio], num_channels: int) -> None:
        self._source, self._num_channels = source, num_channels
        self._pending: list[Audio] = []
        self._count = 0

    def take(self, num_frames: int) -> Audio:
        """The next [C, num_frames]; shorter only at the end, [C, 0] after it."""
        while self._count < num_frames and (block := next(self._source, None)) is not None:
            self._pending.append(np.repeat(block, self._num_channels // block.shape[0], axis=0))
            self._count += block.shape[1]
        if not self._pending:
            return np.zeros((self._num_channels, 0), np.float32)
        whole = np.concatenate(self._pending, axis=1)
        taken, rest = whole[:, :num_frames], whole[:, num_frames:]
        self._pending, self._count = [rest] if rest.shape[1] else [], rest.shape[1]
        return taken
