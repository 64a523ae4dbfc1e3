"""What a room leaves in a stem: how fast its level falls, how far, and how it is modulated, in 10 bands of half an octave.

    falls        quantiles of the change of level over 16 ms to 1 s while the band sounds: a room sets the fastest fall, and how deep the
                 fast fall of the direct sound goes before the slow one of the room says how strong the room is
    decays       quantiles of log2(60 dB / slope) over straight falls of 50 to 800 ms, and the share of time with one
    offsets      quantiles of the course after the steepest falls
    modulations  the envelope's power from 1 to 32 Hz, in octaves
    levels       quantiles of the level, the spectrum and the share of time that a band sounds
    diffuse      falls and decays of what two channels do not share, and how it follows the sound; falls, decays and offsets of single
                 partials, for sounds that do not stop at once: ``stemwright.datagen.inverse.blind.diffuse_features``

Conventions
    audio is float32 [C, T], at ``SAMPLE_RATE``; powers of the channels are added, not their signals: a room is not alike in both, and a sum
    would change its level against the direct sound. Bands are taken together in three groups: the quantiles are over times and bands.
    All numbers are independent of the level; NaN: not defined (a group of bands that are empty, too short a sound).

References
    Ratnam et al. 2003: the time constant of free decays, at the fast end of all decays. Prego et al. 2012, Löllmann et al. 2010: regions
    of free decay in bands, and quantiles of their slopes. Falk et al. 2010 (SRMR): the modulation spectrum. Eaton et al. 2016 (the ACE
    challenge): these and others compared.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from scipy.fft import rfft
from scipy.ndimage import maximum_filter1d, uniform_filter1d

from stemwright.datagen.inverse.blind.diffuse_features import Diffuse, against_own, eigenvalues, partial_levels, ratios_and_courses
from stemwright.manifests.sound.formats import Audio

Array = NDArray[np.floating]

SAMPLE_RATE = 16_000
WINDOW, HOP = 512, 128  # 32 and 8 ms: the fastest fall that it can show is that of a room of 0.03 s
EDGES_HZ = tuple(180.0 * 2.0 ** (n / 2.0) for n in range(11))  # to 5760 Hz
GROUPS = ((0, 3), (3, 7), (7, 10))  # 180 to 509, to 2036, to 5760 Hz
SOUNDS_DB, FLOOR_DB, EMPTY_DB = 30.0, 70.0, 50.0  # below a band's loud level: sounds, the least level; below the loudest band: empty
BROAD_DB = 25.0  # below the loudest band: as good as empty where the breadth of a sound is counted
LOWEST_DB = 100.0  # of what is diffuse, and of the sound beside it, below the loud level
RARE_DB = 25.0  # the loud level is at most so far below the highest
LAGS = (2, 4, 8, 16, 32, 64, 128)  # in hops
FALL_LAG = 32
LEAST_HOPS = 12  # in which each band sounds: 0.1 s, as long as a click does in a room of 0.2 s
LENGTHS = (6, 12, 24, 48, 96)
STRAIGHT_DB = 2.5  # root mean square of the deviation from a line: what the power of noise in a band deviates by
QUANTILES, FALL_QUANTILES = (0.05, 0.25, 0.5), (0.01, 0.05, 0.1, 0.25, 0.5)
STEEPEST = 0.95  # quantile of the falls whose course is taken
MODULATION_HZ = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0)
FEWEST = 20  # values of which a quantile is taken


class HeardLevels(NamedTuple):
    """Levels of a stem: of bands [B, N], of what is diffuse in them beside the sound (None: of one channel), and of single partials; and in
    how many bands it is about as loud as in its loudest.
    """

    level: Array
    diffuse: Diffuse | None
    partials: list[Array]
    num_channels: int
    breadth: int


def reverberation_features(heard: HeardLevels) -> Array:
    """The features [P] of a stem by its levels (``levels_of``)."""
    found = [_spectrum(heard.level, heard.num_channels)]
    for low, high in GROUPS:
        there = np.isfinite(heard.level[low:high]).all(1)
        group = heard.level[low:high][there]
        found += [_falls(group), _decays(group), _offsets(group), _modulations(group), _levels(group)]
        pair = Diffuse(*(side[low:high][there] for side in heard.diffuse)) if heard.diffuse else Diffuse(group[:0], group[:0])
        own = np.maximum(against_own(pair.diffuse), -FLOOR_DB)
        found += [ratios_and_courses(pair, HOP / SAMPLE_RATE, SOUNDS_DB), _falls(own), _decays(own)]
    for lines_of_group in heard.partials:
        found += [_falls(lines_of_group), _decays(lines_of_group), _offsets(lines_of_group)]
    return np.concatenate(found)


def deepest_fall(level: Array) -> float:
    """The fall in dB over ``FALL_LAG`` hops that a hundredth of the sounding levels [B, N] exceed; NaN of too few."""
    level = level[np.isfinite(level).all(1)]
    before = level[:, :-FALL_LAG]
    change = (level[:, FALL_LAG:] - before)[before > -SOUNDS_DB]
    return float(-np.quantile(change, 0.01)) if len(change) >= max(FEWEST, LEAST_HOPS * len(level)) else math.nan


def band_levels(audio: Audio) -> Array:
    """Level in dB of each band [B, N] at every hop, of a stem [C, T] of ``WINDOW`` samples at least; -inf in a band that is empty.

    It is against the band's loud level, and no lower than ``FLOOR_DB`` under it. The loud level is the 95th percentile, or ``RARE_DB``
    below the highest.
    """
    return _against_loud(_band_powers(audio)[:, : len(audio)].real.sum(1))[0]


def levels_of(audio: Audio) -> HeardLevels:
    """All levels of a stem [C, T] of a second at least."""
    powers = _band_powers(audio)
    level, loud = _against_loud(powers[:, : len(audio)].real.sum(1))
    pair = None
    if len(audio) == 2:
        smaller, larger = eigenvalues(powers[:, 0].real, powers[:, 1].real, powers[:, 2])
        pair = Diffuse(*(np.maximum(10.0 * np.log10(part + 1e-20) - loud[:, None], -LOWEST_DB) for part in (larger, smaller)))
    breadth = int((loud > loud.max() - BROAD_DB).sum())
    return HeardLevels(level, pair, partial_levels(audio, SAMPLE_RATE, HOP, FLOOR_DB), len(audio), breadth)


def _against_loud(power: Array) -> tuple[Array, Array]:
    """Levels [B, N] of powers against the loud level of each band, and these [B]."""
    level = 10.0 * np.log10(power + 1e-20)
    loud = np.maximum(np.percentile(level, 95.0, axis=1), level.max(1) - RARE_DB)
    against = np.maximum(level - loud[:, None], -FLOOR_DB)
    against[loud < loud.max() - EMPTY_DB] = -np.inf
    return against, loud


def _band_powers(audio: Audio) -> NDArray[np.complexfloating]:
    """Power of each channel in each band and, of two channels, their cross-power: [B, C or 3, N]."""
    frames = sliding_window_view(audio, WINDOW, axis=-1)[:, ::HOP]
    window = np.hanning(WINDOW).astype(np.float32)
    hz = np.arange(WINDOW // 2 + 1) * SAMPLE_RATE / WINDOW
    bands = np.stack([(hz >= low) & (hz < high) for low, high in pairwise(EDGES_HZ)]).astype(np.float32)
    found = np.zeros((len(bands), 3 if len(audio) == 2 else len(audio), frames.shape[1]), np.complex128)
    for start in range(0, frames.shape[1], 1024):
        spectra = rfft(frames[:, start : start + 1024] * window)
        powers = spectra.real**2 + spectra.imag**2
        for channel, power in enumerate(powers):
            found[:, channel, start : start + 1024] = bands @ power.T
        if len(audio) == 2:
            found[:, 2, start : start + 1024] = bands @ (spectra[0] * spectra[1].conj()).T
    return found


def _spectrum(level: Array, num_channels: int) -> Array:
    """Which bands are not empty [B], and the number of channels."""
    return np.append(np.isfinite(level).all(1).astype(float), float(num_channels))


def _quantiles(values: Array, quantiles: tuple[float, ...]) -> Array:
    return np.quantile(values, quantiles) if len(values) >= FEWEST else np.full(len(quantiles), np.nan)


def _falls(level: Array) -> Array:
    """Quantiles of the change of level over each lag while the band sounds."""
    found = []
    for lag in LAGS:
        smooth = 10.0 * np.log10(uniform_filter1d(10.0 ** (level / 10.0), max(1, lag // 4), axis=1))
        before, after = smooth[:, :-lag], smooth[:, lag:]
        found.append(_quantiles((after - before)[before > -SOUNDS_DB], FALL_QUANTILES))
    return np.concatenate(found)


def _decays(level: Array) -> Array:
    """Quantiles of log2 of the reverberation time that straight falls of each length have, and their share of the time."""
    found = []
    for length in LENGTHS:
        if not level.size or level.shape[1] < length + 1:
            found.append(np.full(len(QUANTILES) + 1, np.nan))
            continue
        slope, deviation = lines(level, length)
        start = level[:, : slope.shape[1]]
        there = start > -SOUNDS_DB
        straight = there & (slope < -3.0) & (deviation < STRAIGHT_DB) & (start + slope * (length * HOP / SAMPLE_RATE) > 8.0 - FLOOR_DB)
        found.append(_quantiles(np.log2(-60.0 / slope[straight]), QUANTILES))
        found.append(np.array([straight.sum() / max(int(there.sum()), 1)]))
    return np.concatenate(found)


def lines(level: Array, length: int) -> tuple[Array, Array]:
    """Slope in dB/s and root mean square deviation in dB of the line through every run of so many levels [B, N]: [B, N - length + 1]."""
    offset = np.arange(length) - 0.5 * (length - 1)

    def sums(values: Array) -> Array:
        total = np.cumsum(np.pad(values, ((0, 0), (1, 0))), axis=1)
        return np.asarray(total[:, length:] - total[:, :-length])

    middle = np.arange(level.shape[1] - length + 1) + 0.5 * (length - 1)
    first, second = sums(level), sums(level * level)
    along = sums(level * np.arange(level.shape[1])) - middle * first
    slope = along / (offset @ offset)
    rest = second - first * first / length - slope * along
    return slope * (SAMPLE_RATE / HOP), np.sqrt(np.maximum(rest, 0.0) / length)


def _offsets(level: Array) -> Array:
    """Quantiles of the level at each lag of ``LAGS[2:]`` after the steepest falls, against that before them."""
    lags, fall = LAGS[2:], LAGS[2]
    if not level.size or level.shape[1] < lags[-1] + FEWEST:
        return np.full(2 * len(lags), np.nan)
    before = level[:, : -lags[-1]]
    change = level[:, fall : fall + before.shape[1]] - before
    there = before > -0.5 * SOUNDS_DB
    if there.sum() < FEWEST:
        return np.full(2 * len(lags), np.nan)
    steep = there & (change <= np.quantile(change[there], 1.0 - STEEPEST))
    band, time = np.nonzero(steep)
    courses = [level[band, time + lag] - level[band, time] for lag in lags]
    return np.concatenate([np.quantile(course, (0.1, 0.5)) for course in courses])


def _modulations(level: Array) -> Array:
    """Power in dB of the envelope's modulation in each octave against its mean."""
    if not level.size or level.shape[1] < 2 * SAMPLE_RATE // HOP:
        return np.full(len(MODULATION_HZ) - 1, np.nan)
    envelope = 10.0 ** (level / 20.0)
    power = np.abs(rfft(envelope * np.hanning(level.shape[1]), axis=1)) ** 2
    hz = np.arange(power.shape[1]) * SAMPLE_RATE / HOP / level.shape[1]
    pairs = pairwise(MODULATION_HZ)
    octaves = np.stack([power[:, (hz >= low) & (hz < high)].sum(1) for low, high in pairs])
    return np.asarray((10.0 * np.log10(octaves / power[:, :2].sum(1) + 1e-9)).mean(1))


def _levels(level: Array) -> Array:
    """Quantiles of the level, the share of time that bands sound, and how often a rise of 6 dB in 16 ms is, a second."""
    if not level.size or level.shape[1] <= LAGS[0]:
        return np.full(6, np.nan)
    sounds = float((level > -SOUNDS_DB).mean())
    rise = level[:, LAGS[0] :] - level[:, : -LAGS[0]]
    first = (rise > 6.0) & (rise == maximum_filter1d(rise, 2 * LAGS[2], axis=1))
    return np.array([*np.quantile(level, (0.05, 0.25, 0.5, 0.75)), sounds, float(first.mean()) * SAMPLE_RATE / HOP])
