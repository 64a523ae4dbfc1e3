"""What a room leaves between two channels, and in single partials: reverberation of sounds that do not stop at once.

    diffuse      λ = (a + d) / 2 - √((a - d)² / 4 + |b|²), the smaller eigenvalue of the covariance [[a, b], [b*, d]] of two channels in a
                 band and 40 ms: what is not one source from one direction. A sound that is panned has none of it; of a reverberation that
                 differs between the channels it is the greater part, without the direct sound
    ratios       quantiles of the diffuse level against the other eigenvalue while the band sounds
    course       for each of ``DECAYS_S``: how well the diffuse level follows the level of the sound, smeared by such a decay
                 (the spread of the difference over time), and the difference, which says how strong the reverberation is
    partials     levels of single strong lines of the spectrum. Those of a chord die away in the next chord, where a half octave sounds on

Conventions
    audio is float32 [C, T] at ``SAMPLE_RATE``. Levels are in dB against the loud level of the same band or line, as in
    ``stemwright.datagen.inverse.blind.reverberation_features``. Of one channel, or of two that are equal, nothing is diffuse: NaN.
    A chorus and two microphones make a sound diffuse as well: the network learns from such sounds what to make of it.

References
    Avendano and Jot 2004; Faller 2006: ambience as what two channels do not share.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from scipy.fft import rfft
from scipy.ndimage import uniform_filter1d
from scipy.signal import lfilter

from stemwright.manifests.sound.formats import Audio

Array = NDArray[np.floating]

SMOOTHED = 5  # hops over which a covariance is taken
LEAST_DIFFUSE_DB = -60.0  # against the sound: less is rounding, or the noise of a recording
DECAYS_S = (0.15, 0.25, 0.4, 0.6, 0.9, 1.35, 2.0, 3.0)
RATIO_QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
SPREAD_QUANTILES = (0.1, 0.5, 0.9)
PARTIAL_WINDOW = 1024
PARTIAL_GROUPS_HZ = ((60.0, 180.0), (180.0, 509.0), (509.0, 2036.0), (2036.0, 5760.0))
PARTIALS = 12  # of a group
FEWEST = 20


class Diffuse(NamedTuple):
    """Levels of each band at each hop, [B, N], in dB against the loud level of the band: of the sound, and of what is diffuse in it."""

    sound: Array
    diffuse: Array


def eigenvalues(first: Array, second: Array, cross: NDArray[np.complexfloating]) -> tuple[Array, Array]:
    """The smaller and the larger eigenvalue of covariances of two channels, by their powers and their cross-power, all [B, N]."""
    a, d = (np.maximum(uniform_filter1d(power, SMOOTHED, axis=1), 0.0) for power in (first, second))
    b = uniform_filter1d(cross.real, SMOOTHED, axis=1) ** 2 + uniform_filter1d(cross.imag, SMOOTHED, axis=1) ** 2
    half = np.sqrt(0.25 * (a - d) ** 2 + b)
    return np.maximum(0.5 * (a + d) - half, 0.0), 0.5 * (a + d) + half


def against_own(diffuse: Array) -> Array:
    """Diffuse levels [B, N] against their own loud level, of the bands in which they are more than rounding."""
    loud = np.percentile(diffuse, 95.0, axis=1, keepdims=True) if diffuse.size else diffuse[:, :1]
    return np.asarray((diffuse - loud)[loud[:, 0] > LEAST_DIFFUSE_DB])


def ratios_and_courses(levels: Diffuse, hop_s: float, sounds_db: float) -> Array:
    """Quantiles of the ratio, and spread and difference for each decay, of bands [B, N]: [5 + 16]."""
    sound, diffuse = levels
    there = (sound > -sounds_db) & (diffuse > sound + LEAST_DIFFUSE_DB)
    count = len(RATIO_QUANTILES) + 2 * len(DECAYS_S)
    if there.sum() < FEWEST or there.sum() < 0.1 * (sound > -sounds_db).sum():
        return np.full(count, np.nan)
    ratio = np.quantile((diffuse - sound)[there], RATIO_QUANTILES)
    power = 10.0 ** (sound / 10.0)
    heard = (diffuse > diffuse.max(axis=1, keepdims=True) - 40.0) & (diffuse > LEAST_DIFFUSE_DB - 20.0)
    courses = []
    for decay_s in DECAYS_S:
        kept = 10.0 ** (-6.0 * hop_s / decay_s)
        smeared = lfilter([0.0, 1.0 - kept], [1.0, -kept], power, axis=1)
        away = diffuse - 10.0 * np.log10(smeared + 1e-9)
        of_bands = [np.quantile(row[ok], SPREAD_QUANTILES) for row, ok in zip(away, heard, strict=True) if ok.sum() >= FEWEST]
        low, middle, high = np.mean(of_bands, axis=0) if of_bands else np.full(3, np.nan)
        courses += [high - low, middle]
    return np.concatenate([ratio, courses])


def partial_levels(audio: Audio, sample_rate: int, hop: int, floor_db: float) -> list[Array]:
    """Levels [K, N] of the strongest lines of the spectrum, K up to 12, of each of ``PARTIAL_GROUPS_HZ``, against their loud levels."""
    frames = sliding_window_view(audio, PARTIAL_WINDOW, axis=-1)[:, ::hop]
    window = np.hanning(PARTIAL_WINDOW).astype(np.float32)
    last = round(PARTIAL_GROUPS_HZ[-1][1] * PARTIAL_WINDOW / sample_rate) + 2
    power = np.empty((last, frames.shape[1]), np.float32)
    for start in range(0, frames.shape[1], 1024):
        spectra = rfft(frames[:, start : start + 1024] * window)[:, :, :last]
        power[:, start : start + 1024] = (spectra.real**2 + spectra.imag**2).sum(0).T
    level = 10.0 * np.log10(power + 1e-20)
    loud = np.percentile(level[:, ::4], 95.0, axis=1)
    peak = np.append(False, (loud[1:-1] >= loud[:-2]) & (loud[1:-1] > loud[2:]))
    found = []
    for low, high in PARTIAL_GROUPS_HZ:
        hz = np.arange(last - 1) * sample_rate / PARTIAL_WINDOW
        lines = np.flatnonzero(peak & (hz >= low) & (hz < high) & (loud[:-1] > loud.max() - 50.0))
        lines = lines[np.argsort(-loud[lines], kind="stable")[:PARTIALS]]
        found.append(np.maximum(level[lines] - loud[lines, None], -floor_db).astype(float))
    return found
