"""A mixture and the stems that were given with it, read side by side at one rate, length and number of channels.

Conventions
    Audio is float32 [C, T], full scale 1.0; stems are [S, C, T] on the frames of the mixture. A mono stem of a stereo mixture is in its
    middle; of a stereo stem of a mono mixture the mean of the channels is taken. A stem that ends before the mixture is followed by
    silence. ``lag_frames`` is the delay of a stem in the mixture, in frames of the mixture: mixture(t) holds stem(t - lag).
    Reading starts afresh with every call of a source, so that a song may be read several times and is never in memory as a whole.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import numpy as np

from stemwright.manifests.decibels import db_to_gain
from stemwright.manifests.records import Refused
from stemwright.manifests.sound.decoding import blocks, probe
from stemwright.manifests.sound.formats import BLOCK_FRAMES, Audio

UNEQUAL_S = 1.0  # by which a stem may be longer or shorter than its mixture: exports trim silence, codecs pad; songs differ by more
FILTER_TAPS = 64  # of the delay by a fraction of a frame, on either side: -80 dB up to 20 kHz at 44.1 kHz
FILTER_BETA = 8.0
LOSSY_SUFFIXES = {".mp3", ".ogg", ".oga", ".opus", ".m4a", ".aac", ".mp4", ".m4b", ".mka", ".webm", ".wma", ".ac3"}

Source = Callable[[], Iterator[Audio]]


@dataclass(frozen=True)
class Mending:
    """What is done to a stem when it is read: moved later by ``lag_frames``, its channels swapped, and scaled by ``gain_db``."""

    lag_frames: float = 0.0
    gain_db: float = 0.0
    inverted: bool = False
    swapped: bool = False

    @property
    def factor(self) -> float:
        """The gain as a factor, negative where the polarity is inverted."""
        return (-1.0 if self.inverted else 1.0) * (db_to_gain(self.gain_db) if self.gain_db else 1.0)


AS_IT_IS = Mending()


@dataclass(frozen=True)
class GivenStems:
    """A mixture and its stems as sources of blocks at the mixture's sample rate; whether any of the files was coded with losses."""

    mixture: Source
    stems: Mapping[str, Source]
    sample_rate: int
    num_channels: int
    lossy: bool = False
    mending: Mapping[str, Mending] = field(default_factory=dict)
    rates: Mapping[str, int] = field(default_factory=dict)
    any_length: bool = False  # stems may be shorter than the mixture by any time: it is their sum

    def mended(self, mending: Mapping[str, Mending]) -> GivenStems:
        """The same files, read with other corrections."""
        return replace(self, mending=dict(mending))

    def mixture_blocks(self) -> Iterator[Audio]:
        """The mixture in blocks of ``BLOCK_FRAMES``, however its decoder gives it; the last one may be shorter."""
        parts: list[Audio] = []
        waiting = 0
        for block in self.mixture():
            parts.append(block)
            waiting += block.shape[1]
            if waiting >= BLOCK_FRAMES:
                whole = np.concatenate(parts, axis=1) if len(parts) > 1 else parts[0]
                for start in range(0, waiting - waiting % BLOCK_FRAMES, BLOCK_FRAMES):
                    yield whole[:, start : start + BLOCK_FRAMES]
                parts, waiting = [whole[:, waiting - waiting % BLOCK_FRAMES :]], waiting % BLOCK_FRAMES
        if waiting:
            yield np.concatenate(parts, axis=1)

    def readers(self) -> list[StemReader]:
        """A reader for each stem, from its start."""
        return [self._reader(name) for name in self.stems]

    def blocks(self) -> Iterator[tuple[Audio, Audio]]:
        """The mixture [C, t] and its stems [S, C, t], block by block. Raises Refused for a stem of quite another length."""
        readers = self.readers()
        for mixture in self.mixture_blocks():
            yield mixture, np.stack([reader.take(mixture.shape[1]) for reader in readers])
        for reader in readers:
            if not self.any_length:
                reader.finish()

    def _reader(self, name: str) -> StemReader:
        return StemReader(name, self.stems[name](), self.num_channels, self.sample_rate, self.mending.get(name, AS_IT_IS))

    def load(self) -> tuple[Audio, dict[str, Audio]]:
        """The mixture [C, T] and the stems {name: [C, T]} as a whole."""
        parts = list(self.blocks())
        stems = np.concatenate([stems for _, stems in parts], axis=-1)
        return np.concatenate([mixture for mixture, _ in parts], axis=-1), dict(zip(self.stems, stems, strict=True))


def given_files(
    mixture: tuple[Path, int], stems: Mapping[str, tuple[Path, int]], sample_rate: int, num_channels: int, mending: Mapping[str, Mending]
) -> GivenStems:
    """Files, each with the number of its stream, as a mixture and its stems."""
    files = [mixture, *stems.values()]
    lossy = any(path.suffix.lower() in LOSSY_SUFFIXES for path, _ in files)
    read = {name: partial(blocks, path, BLOCK_FRAMES, sample_rate=sample_rate, stream=stream) for name, (path, stream) in stems.items()}
    first = partial(blocks, mixture[0], BLOCK_FRAMES, stream=mixture[1])
    rates = {name: probe(path, stream=stream).sample_rate for name, (path, stream) in stems.items()}
    return GivenStems(first, read, sample_rate, num_channels, lossy, mending, rates)


class StemReader:
    """One stem as a stream on the frames of its mixture: with the mixture's channels, moved in time, scaled, zero-padded or cut."""

    def __init__(self, name: str, source: Iterator[Audio], num_channels: int, sample_rate: int, mending: Mending = AS_IT_IS) -> None:
        self._name, self._num_channels, self._sample_rate, self._mending = name, num_channels, sample_rate, mending
        whole = int(np.floor(mending.lag_frames + 0.5))
        self._filter = fractional_delay(mending.lag_frames - whole) if mending.lag_frames != whole else None
        self._skip = max(0, -whole) + (FILTER_TAPS if self._filter is not None else 0)
        self._source = source
        self._pending = np.zeros((num_channels, max(0, whole)), np.float32)
        self._history: Audio | None = None
        self.num_frames, self.source_channels = 0, num_channels  # of the stem itself
        self._wanted = 0
        self._ended = False

    def take(self, count: int) -> Audio:
        """The next ``count`` frames [C, count]."""
        parts, found = [self._pending], self._pending.shape[1]
        while found < count and not self._ended:
            block = self._next()
            parts.append(block)
            found += block.shape[1]
        whole = np.concatenate(parts, axis=1) if len(parts) > 1 else parts[0]
        got, self._pending = whole[:, :count], whole[:, count:]
        self._wanted += count
        return np.pad(got, ((0, 0), (0, count - got.shape[1])))

    def finish(self) -> None:
        """Raises Refused if the stem's length differs from the mixture's by more than ``UNEQUAL_S``."""
        while not self._ended:
            self._next()
        if abs(self.num_frames - self._wanted) > UNEQUAL_S * self._sample_rate:
            lasts_s, mixture_s = self.num_frames / self._sample_rate, self._wanted / self._sample_rate
            raise Refused(
                f"stem {self._name} lasts {lasts_s:.2f} s, its mixture {mixture_s:.2f} s; expected the same within {UNEQUAL_S:g} s"
            )

    def _next(self) -> Audio:
        """The next block of the source, corrected; the rest of a filter once the source has ended."""
        block = next(self._source, None)
        self._ended = block is None
        if block is None:
            block = np.zeros((self._num_channels, 2 * FILTER_TAPS if self._filter is not None else 0), np.float32)
        else:
            self.num_frames, self.source_channels = self.num_frames + block.shape[1], block.shape[0]
            block = self._fitted(block)
        if self._filter is not None:
            block = self._filtered(block)
        skipped = min(self._skip, block.shape[1])
        self._skip -= skipped
        return block[:, skipped:]

    def _fitted(self, block: Audio) -> Audio:
        if block.shape[0] != self._num_channels:
            if self._num_channels > 2 or block.shape[0] > 2:
                raise Refused(f"stem {self._name} has {block.shape[0]} channels, its mixture {self._num_channels}")
            block = np.repeat(block, 2, axis=0) if self._num_channels == 2 else block.mean(axis=0, keepdims=True)
        if self._mending.swapped:
            block = block[::-1]
        return block if self._mending.factor == 1.0 else block * np.float32(self._mending.factor)

    def _filtered(self, block: Audio) -> Audio:
        from scipy.signal import lfilter

        if self._history is None:
            self._history = np.zeros((self._num_channels, 2 * FILTER_TAPS), np.float64)
        filtered, self._history = lfilter(self._filter, 1.0, block, axis=1, zi=self._history)
        return np.asarray(filtered, np.float32)


def fractional_delay(fraction: float) -> np.ndarray:
    """The taps [2 FILTER_TAPS + 1] of a delay by FILTER_TAPS + fraction frames: a sinc under a Kaiser window."""
    places = np.arange(-FILTER_TAPS, FILTER_TAPS + 1) - fraction
    inside = np.clip(1.0 - (places / (FILTER_TAPS + 1)) ** 2, 0.0, 1.0)
    return np.asarray(np.sinc(places) * np.i0(FILTER_BETA * np.sqrt(inside)) / np.i0(FILTER_BETA))
