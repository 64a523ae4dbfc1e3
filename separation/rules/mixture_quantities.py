"""Quantities of the mixture alone: spectrum, percussion, stereo image, loudness and dynamics.

The long-term average spectrum is the mean power of half overlapping Hann windows, per hertz, of left plus right; slopes are least squares
over third octaves, each one point, so that all octaves count alike. The percussive level is the energy that median filtering leaves to
percussive sounds, against all; Elowsson and Friberg separate in two steps of their own, of which only the idea could be read.

Conventions
    Levels are in dB of energy. What stereo tells of needs two channels. Levels are not below ``FLOOR_DB``, which stands for nothing.

References
    Pestana, Ma, Reiss, Barbosa and Black 2013 (slope from 100 Hz to 4 kHz). Elowsson and Friberg 2017 (slopes, percussive level).
    Fitzgerald 2010, as in librosa (percussive sounds by median filters). EBU Tech 3342 (loudness range).
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from stemwright.separation.balance.panorama import band_images
from stemwright.separation.rules.quantities import FLOOR_DB, Heard, Measured, MixQuantity, exactly, unmeasured

Array = NDArray[np.floating]

WINDOW_S = 0.19  # 8192 frames at 44.1 kHz: a third octave at 100 Hz has four bins
LOW_HZ, BASS_HZ, TREBLE_HZ = 120.0, 100.0, 4500.0
SLOPE_HZ, WHOLE_HZ = (100.0, 4000.0), (94.0, 15_700.0)
LEAST_S = 60.0  # EBU Tech 3342: the range of a shorter programme says little
FEWEST_BANDS = 4
PERCUSSION_RATE, PERCUSSION_WINDOW, EXCERPT_S, EXCERPTS = 22_050, 1024, 10.0, 3
OCTAVES_HZ = tuple(1000.0 * 2.0**n for n in range(-4, 4))
MONO = "a mono recording has no sides"


class Spectrum(NamedTuple):
    """Mean power per bin [F] of left, right and their product, at frequencies [F]; of mono, right and product are left."""

    hz: Array
    left: Array
    right: Array
    cross: Array

    @property
    def power(self) -> Array:
        """The power of both channels, per bin [F]."""
        return self.left + self.right

    def within(self, low_hz: float, high_hz: float) -> NDArray[np.bool_]:
        """Which bins [F] are in a band."""
        return (self.hz >= low_hz) & (self.hz < high_hz)


def spectrum(heard: Heard) -> Spectrum:
    """The long-term average spectrum of the mixture."""
    found: Spectrum = heard.once("spectrum", lambda: _spectrum(heard.mixture, heard.sample_rate))
    return found


def _spectrum(mixture: Array, sample_rate: int) -> Spectrum:
    from scipy.fft import next_fast_len, rfft

    size = next_fast_len(round(WINDOW_S * sample_rate), real=True)
    pair = np.asarray(mixture[:2] if mixture.shape[0] > 1 else np.repeat(mixture, 2, axis=0), np.float32)
    pair = np.pad(pair, ((0, 0), (0, max(0, size - pair.shape[1]))))
    window = np.hanning(size).astype(np.float32)
    frames = np.lib.stride_tricks.sliding_window_view(pair, size, axis=1)[:, :: size // 2]
    sums = np.zeros((3, size // 2 + 1))
    for part in np.array_split(np.arange(frames.shape[1]), max(1, frames.shape[1] // 64)):
        left, right = rfft(frames[:, part] * window, axis=-1)
        sums += [np.sum(np.abs(left) ** 2, 0), np.sum(np.abs(right) ** 2, 0), np.sum((left * np.conj(right)).real, 0)]
    return Spectrum(np.arange(size // 2 + 1) * sample_rate / size, *(sums / frames.shape[1]))


def db(energy: float, reference: float) -> float:
    """An energy against another in dB, at least ``FLOOR_DB``."""
    share = energy / reference if reference > 0 else 0.0
    return max(FLOOR_DB, 10.0 * math.log10(share)) if share > 0 else FLOOR_DB


def _slope(heard: Heard, low_hz: float, high_hz: float) -> Measured:
    """Slope of the spectrum in dB an octave between two frequencies."""
    if high_hz > 0.475 * heard.sample_rate:
        return unmeasured(f"it needs frequencies up to {high_hz:g} Hz, and the sample rate is {heard.sample_rate} Hz")
    found = spectrum(heard)
    octaves, levels = [], []
    edges = np.geomspace(low_hz, high_hz, 1 + round(3 * math.log2(high_hz / low_hz)))
    for low, high in pairwise(edges):
        band = found.within(low, high)
        octaves.append(float(np.mean(np.log2(found.hz[band]))))
        levels.append(10.0 * math.log10(max(float(np.mean(found.power[band])), 1e-12 * float(np.max(found.power)))))
    return exactly(float(np.polyfit(octaves, levels, 1)[0]))


def _share(heard: Heard, low_hz: float, high_hz: float) -> Measured:
    found = spectrum(heard)
    return exactly(db(float(np.sum(found.power[found.within(low_hz, high_hz)])), float(np.sum(found.power))))


def _percussive(heard: Heard) -> Measured:
    """Energy of the percussive part of the mixture over the whole, in dB, in excerpts evenly spread."""
    import librosa

    from stemwright.manifests.sound.resampling import resample

    mono = np.asarray(heard.mixture, np.float32).mean(axis=0, keepdims=True)
    length = round(EXCERPT_S * heard.sample_rate)
    starts = [0]
    if mono.shape[1] > EXCERPTS * length:
        starts = [round(start) for start in np.linspace(0, mono.shape[1] - length, EXCERPTS)]
    else:
        length = mono.shape[1]
    percussive = total = 0.0
    for start in starts:
        part = resample(mono[:, start : start + length], heard.sample_rate, PERCUSSION_RATE)[0]
        bins = np.abs(librosa.stft(part, n_fft=PERCUSSION_WINDOW)) if part.size >= PERCUSSION_WINDOW else np.zeros((2, 1))
        percussive += float(np.sum(np.square(librosa.decompose.hpss(bins)[1], dtype=np.float64)))
        total += float(np.sum(np.square(bins, dtype=np.float64)))
    if total == 0.0:
        return unmeasured("the two channels cancel each other, or the recording is shorter than a twentieth of a second")
    return exactly(db(percussive, total))


def _low_side(heard: Heard) -> Measured:
    """Energy of left minus right over that of left plus right below 120 Hz, in dB."""
    if heard.mixture.shape[0] != 2:
        return unmeasured(MONO)
    found = spectrum(heard)
    low = found.within(0.0, LOW_HZ)
    both, cross = float(np.sum(found.power[low])), 2.0 * float(np.sum(found.cross[low]))
    if db(both, float(np.sum(found.power))) <= FLOOR_DB:
        return unmeasured(f"it has nothing below {LOW_HZ:g} Hz")
    return exactly(min(-FLOOR_DB, db(max(both - cross, 0.0), max(both + cross, 1e-6 * both))))


def _width_rise(heard: Heard) -> Measured:
    """Slope of the mixture's width over octaves, a number an octave."""
    if heard.mixture.shape[0] != 2:
        return unmeasured(MONO)
    bands = [(math.log2(band.centre_hz), band.image.width) for band in band_images(heard.mixture, heard.sample_rate) if band.image]
    if len(bands) < FEWEST_BANDS:
        return unmeasured(f"it sounds in {len(bands)} octaves; {FEWEST_BANDS} are needed")
    octaves, widths = zip(*bands, strict=True)
    return exactly(float(np.polyfit(octaves, widths, 1)[0]))


def _channels(heard: Heard) -> tuple[float, float, float] | None:
    """Energies of left, right and their product; None of mono."""
    if heard.mixture.shape[0] != 2:
        return None
    left, right = np.asarray(heard.mixture, np.float64)
    return float(left @ left), float(right @ right), float(left @ right)


def _left_right(heard: Heard) -> Measured:
    """Energy of right over that of left, in dB."""
    found = _channels(heard)
    if found is None:
        return unmeasured(MONO)
    left, right, _ = found
    return exactly(min(-FLOOR_DB, db(right, left))) if left > 0 else exactly(-FLOOR_DB)


def _correlation(heard: Heard) -> Measured:
    """Correlation of left and right."""
    found = _channels(heard)
    if found is None:
        return unmeasured(MONO)
    left, right, cross = found
    if min(left, right) <= 0:
        return unmeasured("one of the channels is silent")
    return exactly(cross / math.sqrt(left * right))


def _loudness_range(heard: Heard) -> Measured:
    if heard.duration_s < LEAST_S:
        return unmeasured(f"the recording has {heard.duration_s:.0f} s; a loudness range is of {LEAST_S:.0f} s or more")
    return exactly(heard.loudness.range_lu)


def _crest(heard: Heard) -> Measured:
    audio = np.asarray(heard.mixture, np.float64)
    return exactly(20.0 * math.log10(float(np.max(np.abs(audio))) / math.sqrt(float(np.mean(audio**2)))))


def _crest_rise(heard: Heard) -> Measured:
    """Slope over octaves of the crest factor in octave bands, in dB an octave."""
    from scipy.signal import butter, sosfilt

    total = float(np.mean(np.square(heard.mixture, dtype=np.float64)))
    octaves, crests = [], []
    for centre_hz in OCTAVES_HZ:
        low, high = centre_hz * 2**-0.5, centre_hz * 2**0.5
        if high > 0.475 * heard.sample_rate:
            break
        band = sosfilt(butter(3, [low, high], "bandpass", fs=heard.sample_rate, output="sos"), heard.mixture, axis=1)
        mean = float(np.mean(np.square(band, dtype=np.float64)))
        if db(mean, total) > FLOOR_DB:
            octaves.append(math.log2(centre_hz))
            crests.append(20.0 * math.log10(float(np.max(np.abs(band))) / math.sqrt(mean)))
    if len(crests) < FEWEST_BANDS:
        return unmeasured(f"it sounds in {len(crests)} octaves; {FEWEST_BANDS} are needed")
    return exactly(float(np.polyfit(octaves, crests, 1)[0]))


SPECTRAL_SLOPE = MixQuantity(
    "dB/oct", "slope of the long-term average spectrum, per hertz, from 100 Hz to 4 kHz", lambda heard: _slope(heard, *SLOPE_HZ)
)
WHOLE_SLOPE = MixQuantity(
    "dB/oct", "slope of the long-term average spectrum, per hertz, from 94 Hz to 15.7 kHz", lambda heard: _slope(heard, *WHOLE_HZ)
)
TREBLE_LEVEL = MixQuantity("dB", "energy above 4.5 kHz over all", lambda heard: _share(heard, TREBLE_HZ, math.inf))
LOW_LEVEL = MixQuantity("dB", "energy below 100 Hz over all", lambda heard: _share(heard, 0.0, BASS_HZ))
PERCUSSIVE_LEVEL = MixQuantity("dB", "energy of the percussive part, by median filters, over all", _percussive)
LOW_SIDE = MixQuantity("dB", "energy of left minus right over that of left plus right, below 120 Hz", _low_side)
WIDTH_RISE = MixQuantity("1/oct", "how much the width of the mixture (0 to 1) grows with frequency", _width_rise)
LEFT_RIGHT = MixQuantity("dB", "energy of the right channel over that of the left", _left_right)
CORRELATION = MixQuantity("", "correlation of the left and the right channel", _correlation)
LOUDNESS = MixQuantity("LUFS", "integrated loudness of the mixture (BS.1770)", lambda heard: exactly(heard.loudness.integrated_lufs))
LOUDNESS_RANGE = MixQuantity("LU", "loudness range of the mixture (EBU Tech 3342)", _loudness_range)
TRUE_PEAK = MixQuantity("dBTP", "true peak of the mixture (BS.1770)", lambda heard: exactly(heard.loudness.true_peak_dbtp))
PEAK_TO_LOUDNESS = MixQuantity(
    "LU",
    "true peak minus integrated loudness (PLR)",
    lambda heard: exactly(heard.loudness.true_peak_dbtp - heard.loudness.integrated_lufs),
)
CREST = MixQuantity("dB", "largest sample over the root mean square", _crest)
CREST_RISE = MixQuantity("dB/oct", "how much the crest factor of octave bands grows with frequency", _crest_rise)
