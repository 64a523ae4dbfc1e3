"""A sketch of a recording, from which a copy can be aligned to the sample and its difference measured in dB.

Both are sums of the samples with random signs. The recording cannot be reconstructed from them, but the difference of two sketches
has, on average, the energy of the difference of the two recordings (Johnson and Lindenstrauss; for the form here, Charikar and others).

``Sketch``: sample t goes with its sign into bucket t mod 128. The estimated energy of a difference has a standard deviation of
sqrt(2 / 128), 12.5 %, which is half a dB.
``Anchors``: eight short windows, each multiplied by 32 rows of signs. A copy's window, moved by d samples, gives the same sums only at the
right d; all d are tried by Fourier transform. Windows are differentiated first, since low tones change little from sample to sample.

Conventions
    Audio is float32 [C, T]. An offset is the place in the copy of the original's first sample, in samples at the original's rate.
    Signs come from PCG64's raw output, which numpy keeps stable between versions; they are the same for all recordings.

References
    Charikar, Chen, Farach-Colton, Finding frequent items in data streams (2002). Achlioptas, Database-friendly random projections (2003).
"""

from __future__ import annotations

import base64
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from stemwright.manifests.sound.formats import Audio

Floats = npt.NDArray[np.float32]

BUCKETS = 128
ANCHORS = 8
PROJECTIONS = 32
ANCHOR_S = 0.7
SIGNS_SEED = 20021013  # arbitrary, but must not change
FIRST_ANCHOR_SEED = 1_000


class _Signs:
    """A stream of random signs, independent of the block sizes in which it is read."""

    def __init__(self, seed: int) -> None:
        self._source = np.random.PCG64(seed)
        self._left = np.zeros(0, np.float32)

    def take(self, count: int) -> Floats:
        """The next ``count`` signs, -1.0 or 1.0."""
        if (missing := count - len(self._left)) > 0:
            raw = self._source.random_raw(-(-missing // 64)).astype("<u8")
            fresh = np.unpackbits(raw.view(np.uint8)).astype(np.float32) * 2 - 1
            self._left = np.concatenate([self._left, fresh])
        taken, self._left = self._left[:count], self._left[count:]
        return taken


class Sketch:
    """The sketch of a stream of blocks, and the energy of the stream."""

    def __init__(self, num_channels: int) -> None:
        self._signs = [_Signs(SIGNS_SEED + channel) for channel in range(num_channels)]
        self._sums = np.zeros(BUCKETS)
        self.energy, self.num_frames = 0.0, 0

    def add(self, block: Audio) -> None:
        """Takes the next [C, t]."""
        before = self.num_frames % BUCKETS
        after = -(before + block.shape[1]) % BUCKETS
        for signs, channel in zip(self._signs, block, strict=True):
            signed = np.pad(channel * signs.take(len(channel)), (before, after))
            self._sums += signed.reshape(-1, BUCKETS).sum(axis=0, dtype=np.float64)
            self.energy += float(np.square(channel, dtype=np.float64).sum())
        self.num_frames += block.shape[1]

    @property
    def values(self) -> Floats:
        """The 128 sums."""
        return self._sums.astype(np.float32)


def sketch_of(source: Iterable[Audio], num_channels: int) -> Sketch:
    """The sketch of a whole stream of blocks [C, t]."""
    sketch = Sketch(num_channels)
    for block in source:
        sketch.add(block)
    return sketch


def gain_between(original: Floats, copy: Floats) -> float:
    """The factor that scales a copy to its original, from their sketches; 1.0 for a silent copy."""
    own = float(np.square(copy, dtype=np.float64).sum())
    return float(np.dot(original.astype(np.float64), copy)) / own if own else 1.0


def distortion_db(original: Floats, energy: float, copy: Floats) -> float:
    """The energy of a recording over that of its difference to a copy, in dB, from their sketches; inf if the sketches are the same."""
    difference = float(np.square(original.astype(np.float64) - copy).sum())
    if difference == 0:
        return math.inf
    return 10.0 * math.log10(energy / difference) if energy > 0 else -math.inf


@dataclass(frozen=True)
class Anchors:
    """Where the windows of a recording begin, how long they are, and their sums, [ANCHORS, PROJECTIONS]."""

    starts: tuple[int, ...]
    num_frames: int
    sums: Floats


def anchor_starts(num_frames: int, sample_rate: int) -> tuple[tuple[int, ...], int]:
    """Where the windows of a recording of a length begin, and their length."""
    length = min(round(ANCHOR_S * sample_rate), num_frames)
    return tuple(int(start) for start in np.linspace(0, num_frames - length, ANCHORS + 2)[1:-1]), length


class Windows:
    """Cuts windows out of a stream of blocks; outside the recording is silence. Mono, differentiated."""

    def __init__(self, starts: Sequence[int], num_frames: int) -> None:
        self._starts, self._length, self._at = starts, num_frames + 1, 0  # one sample more, for the difference
        self._cut = np.zeros((len(starts), self._length), np.float32)

    def add(self, block: Audio) -> None:
        """Takes the next [C, t]."""
        mono = block.mean(axis=0, dtype=np.float32)
        for row, start in zip(self._cut, self._starts, strict=True):
            first, last = max(start, self._at), min(start + self._length, self._at + len(mono))
            if first < last:
                row[first - start : last - start] = mono[first - self._at : last - self._at]
        self._at += len(mono)

    @property
    def values(self) -> Floats:
        """The windows, [N, T]."""
        return np.diff(self._cut, axis=1)


def _codes(number: int, length: int) -> Floats:
    return np.stack([_Signs(SIGNS_SEED + FIRST_ANCHOR_SEED + number * PROJECTIONS + row).take(length) for row in range(PROJECTIONS)])


def project(windows: Floats) -> Floats:
    """The sums of windows [N, T] with their signs, [N, PROJECTIONS]."""
    return np.stack([_codes(number, windows.shape[1]) @ window for number, window in enumerate(windows)]).astype(np.float32)


@dataclass(frozen=True)
class Alignment:
    """The place of a copy: its offset in samples, and how similar the sums are there (at most 1; by chance about 0.06)."""

    offset_frames: int
    likeness: float


def align(anchors: Anchors, windows: Floats, reach: int) -> Alignment:
    """Finds the offset of a copy within +-``reach`` samples of where its windows [N, T + 2 reach] were cut.

    ``windows`` begin ``reach`` samples before the original's. The offset is relative to that place.
    """
    length, shifts = anchors.num_frames, 2 * reach + 1
    size = 1 << (length + 2 * reach - 1).bit_length()
    inner, energy = np.zeros(shifts), np.zeros(shifts)
    for number, window in enumerate(windows):
        spectrum = np.fft.rfft(window, size)
        for code, kept in zip(_codes(number, length), anchors.sums[number], strict=True):
            sums = np.fft.irfft(spectrum * np.conj(np.fft.rfft(code, size)), size)[:shifts]
            inner += float(kept) * sums
            energy += sums**2
    own = float(np.square(anchors.sums, dtype=np.float64).sum())
    likeness = inner / np.sqrt(np.maximum(energy * own, 1e-30))
    best = int(np.argmax(likeness))
    return Alignment(best - reach, float(likeness[best]))


def pack(values: Floats) -> str:
    """Sums as text for a row."""
    return base64.b64encode(np.ascontiguousarray(values, "<f4").tobytes()).decode("ascii")


def unpack(text: str, *shape: int) -> Floats:
    """The sums that ``pack`` wrote, in a shape."""
    return np.frombuffer(base64.b64decode(text), "<f4").astype(np.float32).reshape(shape or (-1,))
