"""Recognising a recording by its sound, whatever the file's name and encoding.

A fingerprint is a string of 32-bit words, eight a second: how the differences of energy between neighbouring bands change in time, a bit
for each of 32 pairs of bands. Encoding, gain and resampling flip few of the bits; another recording agrees in half of them.

The stored fingerprint is sparse (31 bytes a second); the one compared with it is computed sixteen times as
densely, so that a copy may begin at any moment and its place is known to some milliseconds. `stemwright.manifests.sound.sketch` refines
that to a sample.

Conventions
    Audio is float32 [C, T], here mono at RATE. An offset is the copy's time minus the original's: positive where the copy has more at its
    start. Word 0 means silence (nothing above -60 dB of the loudest moment) and is never compared.
    The error rate is the share of bits that differ, over the words that both sides have: 0 the same, 0.5 unrelated.

References
    Haitsma, Kalker, A highly robust audio fingerprinting system, ISMIR 2002, eq. 1 (bits), section 4.1 (bands, overlapping frames).
"""

from __future__ import annotations

import base64
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from stemwright.manifests.sound.decoding import blocks
from stemwright.manifests.sound.formats import BLOCK_FRAMES, Audio

Words = npt.NDArray[np.uint32]

RATE = 8_000  # Hz; the bands end below 4 kHz
FRAME = 3_000  # 0.375 s, as in the reference
STEP = 64  # 8 ms: between the words of the dense fingerprint
STRIDE = 16  # dense words to one stored word: 128 ms; also the distance in time over which energies are compared
LOWEST_HZ, HIGHEST_HZ = 250.0, 3_400.0
NUM_BITS = 32
BANDS_HZ = np.geomspace(LOWEST_HZ, HIGHEST_HZ, NUM_BITS + 2)  # their edges
SILENCE = 1e-6  # of the energy of the loudest frame
SEARCH_S = 10.0  # how far apart two copies may begin
SAME_ERROR_RATE = 0.25  # see tests/manifests/test_fingerprint.py: copies of a few seconds stay below 0.2, other songs above
SHARED_PART = 0.6  # of the stored words that a copy must have as well
FEWEST_WORDS = 6
AT_A_TIME = 16  # frames: more of them at a time leave the cache of a processor, and take twice as long


@dataclass(frozen=True)
class Match:
    """How well a recording fits a fingerprint: the best error rate, and the copy's offset in seconds at which it occurs."""

    error_rate: float
    offset_s: float

    @property
    def same(self) -> bool:
        """Whether it is the same recording."""
        return self.error_rate <= SAME_ERROR_RATE


NOTHING = Match(0.5, 0.0)


def words_of(mono: Audio, *, step: int = STEP * STRIDE) -> Words:
    """The words of mono audio [T] at RATE, one every ``step`` samples; by default as sparse as they are stored.

    Word n looks at the frames that begin at n * step and 128 ms later. Shorter than two frames: no words.
    """
    return words_of_energies(band_energies(mono, step), step=step)


def words_of_energies(energy: npt.NDArray[np.floating], *, step: int) -> Words:
    """The words of the energies [N, 33] of frames that begin every ``step`` samples (``band_energies``)."""
    ahead = STEP * STRIDE // step  # steps between the two frames that a word compares
    if len(energy) <= ahead:
        return np.zeros(0, np.uint32)
    slope = energy[:, :-1] - energy[:, 1:]
    bits = (slope[ahead:] - slope[:-ahead]) > 0
    words = np.packbits(bits, axis=1, bitorder="little").view("<u4")[:, 0]
    total = energy.sum(axis=1)
    audible = total > SILENCE * total.max(initial=0.0)
    return np.where(audible[ahead:] & audible[:-ahead], words, 0).astype(np.uint32)


def band_energies(mono: Audio, step: int) -> npt.NDArray[np.float32]:
    """[N, 33] energies of logarithmic bands in frames of 0.375 s, one every ``step`` samples."""
    from scipy.fft import rfft  # a third faster than numpy's, and not imported with this module

    window, windowed = np.hanning(FRAME).astype(np.float32), np.empty((AT_A_TIME, FRAME), np.float32)
    edges = BANDS_HZ * FRAME / RATE + 0.5  # a bin is 1 wide
    whole = np.floor(edges).astype(np.int64)
    part, last = (edges - whole).astype(np.float32), int(whole[-1]) + 1
    count = max(0, (len(mono) - FRAME) // step + 1)
    energies = np.empty((count, NUM_BITS + 1), np.float32)
    if not count:
        return energies
    frames = np.lib.stride_tricks.sliding_window_view(mono, FRAME)[::step]
    for start in range(0, count, AT_A_TIME):
        part_of = frames[start : start + AT_A_TIME]
        spectrum = rfft(np.multiply(part_of, window, out=windowed[: len(part_of)]), axis=1)[:, :last]
        power = spectrum.real**2 + spectrum.imag**2
        at_edges = power[:, whole] * part  # of the bin at an edge, what belongs to the band below it
        sums = np.add.reduceat(power[:, : whole[-1]], whole[:-1], axis=1)
        energies[start : start + AT_A_TIME] = np.maximum(sums + at_edges[:, 1:] - at_edges[:, :-1], 0)
    return energies


def mono_of(source: Iterable[Audio]) -> Audio:
    """The mono sum [T] of a stream of blocks [C, t]."""
    parts = [block.mean(axis=0, dtype=np.float32) for block in source]
    return np.concatenate(parts) if parts else np.zeros(0, np.float32)


def dense_words(path: Path, *, stream: int = 0) -> Words:
    """The dense words of a sound file: what is compared with fingerprints. Raises Refused if it cannot be read."""
    return words_of(mono_of(blocks(path, BLOCK_FRAMES, sample_rate=RATE, stream=stream)), step=STEP)


def match(kept: Words, heard: Words) -> Match:
    """Where the dense words of a recording fit a kept fingerprint best, within SEARCH_S, and how well."""
    needed = max(FEWEST_WORDS, SHARED_PART * np.count_nonzero(kept))
    reach = round(SEARCH_S * RATE / STEP)
    first = max(-reach, -STRIDE * (len(kept) - 1))
    last = min(reach, len(heard) - 1)
    best = NOTHING
    for shift in range(first, last + 1):
        skipped = max(0, -(shift // STRIDE))
        theirs = heard[shift + STRIDE * skipped :: STRIDE][: len(kept) - skipped]
        ours = kept[skipped : skipped + len(theirs)]
        both = (ours != 0) & (theirs != 0)
        count = int(both.sum())
        if count < needed:
            continue
        rate = float(np.bitwise_count((ours ^ theirs)[both]).sum()) / (NUM_BITS * count)
        if rate < best.error_rate:
            best = Match(rate, shift * STEP / RATE)
    return best


def pack(words: Words) -> str:
    """Words as text for a row."""
    return base64.b64encode(words.astype("<u4").tobytes()).decode("ascii")


def unpack(text: str) -> Words:
    """The words that ``pack`` wrote."""
    return np.frombuffer(base64.b64decode(text), "<u4").astype(np.uint32)
