"""How loud the given stems of a recording are in it: at their own level where they sum to it, else through what was done to their sum.

A mixture that was mastered is not the sum of its stems, but, nearly, that sum through one filter and one gain over time: equalisers,
compressors, limiters and saturation of a bus do to all stems the same. Both are measured from the sum, with a gain for each stem, by
alternating least squares in excerpts; each stem is then taken through them, and its level is that of what results. Where that explains
hardly more than the stems as they are, they are left so.

Conventions
    Signals are float32 [C, T], all in the shape of the mixture; the residual is not a given stem. Gains are factors.
    What the stems leave of the mixture then gives the interval: ``stemwright.separation.balance.level_estimators.closure_margin``.

References
    Least squares for one factor after another: de Leeuw, Young and Takane 1976. Welch 1967 (smoothed spectra of excerpts).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from stemwright.manifests.decibels import gain_to_db
from stemwright.manifests.records import RESIDUAL
from stemwright.manifests.stems.stem_leaks import as_if_without, leaks
from stemwright.separation.balance.basis import Basis
from stemwright.separation.balance.level_estimators import GIVEN, LEAKING, REFERENCE, Calibration
from stemwright.separation.balance.measure import StemBalance, check_stems, measure_balance

Array = NDArray[np.floating]
Spectra = NDArray[np.complexfloating]

CLOSES_DB = -60.0  # what a sum of stems may leave of its mixture for nothing to be sought
MEASURED_DB = -40.0  # closure of stems that are a multitrack's own; those of separators leave about -20 dB
LEAKING_DB, LEAKING_GAIN_DB = -15.0, 1.0  # stems that leak into each other and are at their own level leave so little at such gains
MUCH_LESS = 0.8  # of the energy that the stems leave as they are: what they leave at their gains or through a bus that is believed
SCALED_LEAVES = 1.2  # times what gains for each leave: stems at their own levels leave less than so much
FRAMES, STEP = 2048, 1024
EXCERPT_S, MOST_S = 5.0, 150.0  # seconds of an excerpt, and of all excerpts of all signals, which bounds the memory
ROUNDS = 5
SMOOTHING = 2.0 ** (1 / 6)  # between the edges of what is averaged in a spectrum
LEAST_BINS = 2
HOP_S = 0.01  # between the points of the gain over time, each the mean of three
EVEN = 0.3  # of the local power: what is added to that of a sample in weights by which loud samples count little more than others
CURVE_STEPS = 6  # doublings of the level of a sample, from half the root mean square
LARGEST = 4.0  # times the median: the gain over time
FLOOR = 1e-3  # of the mean power of a frame: less is silence, of which no gain is known


@dataclass(frozen=True)
class Bus:
    """What the sum of the stems went through: a gain for each [S], and a filter [FRAMES] without delay."""

    gains: Array
    taps: Array
    together: bool

    def without(self, leak: Array, energies: Array) -> Array:
        """The gains without what leaks make of them, for stems of such energies."""
        if not self.together:
            return as_if_without(self.gains, leak)
        times = 1.0 + leak.sum(axis=0)  # that each stem is in the sum
        return np.asarray(self.gains * float(energies @ times**2) / max(float(energies @ times), 1e-30))


@dataclass(frozen=True)
class Through:
    """The bus, the gain [C, T] after it, and the energy that the stems then leave of the mixture."""

    bus: Bus
    course: Array
    left: float


def measure_given(mixture: Array, stems: Mapping[str, Array], sample_rate: int) -> dict[str, StemBalance]:
    """The balance of a mixture from given stems {name: [C, T]}, which are in time with it; errors as in ``measure_balance``."""
    return given_balance(mixture, stems, sample_rate)[0]


def given_balance(mixture: Array, stems: Mapping[str, Array], sample_rate: int) -> tuple[dict[str, StemBalance], Basis]:
    """The same, and whether it is a measurement: whether the stems, through what was done to their sum, are the mixture."""
    check_stems(mixture, stems)
    there, calibration = in_mixture(mixture, stems, sample_rate)
    found = measure_balance(mixture, there, sample_rate, calibration=calibration)
    changed = [name for name in stems if there[name] is not stems[name]]
    return found | {name: _as_given(found[name], stems[name], mixture, sample_rate) for name in changed}, calibration.basis


def _as_given(found: StemBalance, stem: Array, mixture: Array, sample_rate: int) -> StemBalance:
    """The loudness of a stem as it was given, which is not the level that it has in the mixture."""
    from stemwright.separation.loudness.meter import integrated_loudness

    loudness_lufs = integrated_loudness(stem, sample_rate)
    return replace(found, loudness_lufs=loudness_lufs, naive_lu=loudness_lufs - integrated_loudness(mixture, sample_rate))


def in_mixture(mixture: Array, stems: Mapping[str, Array], sample_rate: int) -> tuple[dict[str, Array], Calibration]:
    """The stems as they are in the mixture, and how their levels are to be estimated then. Those left alone are the same objects."""
    names = [name for name in stems if name != RESIDUAL and stems[name].any()]
    if not names:
        return dict(stems), GIVEN
    energy = float(np.sum(np.square(mixture, dtype=np.float64)))
    left = _left(mixture, [stems[name] for name in names])
    closure_db = 10.0 * math.log10(max(left, 1e-30) / max(energy, 1e-30))
    if closure_db < CLOSES_DB:
        return dict(stems), REFERENCE
    excerpts = _excerpts([mixture, *(stems[name] for name in names)], sample_rate)
    through = _believed(mixture, [stems[name] for name in names], _spectra(excerpts), sample_rate)
    leak = leaks(excerpts[:, 1:] * through.bus.gains[:, None, None].astype(np.float32))
    gains = through.bus.without(leak, np.sum(np.square(excerpts[:, 1:], dtype=np.float64), axis=(0, 2, 3)))
    at_their_level = leak.any() and closure_db < LEAKING_DB and max(abs(gain_to_db(abs(gain))) for gain in gains) < LEAKING_GAIN_DB
    if at_their_level or through.left > MUCH_LESS * left:
        return dict(stems), LEAKING if leak.any() else REFERENCE if closure_db < MEASURED_DB else GIVEN
    moved = {name: _filtered(stems[name] * np.float32(gain), through.bus.taps) for gain, name in zip(gains, names, strict=True)}
    return {**stems, **{name: audio * through.course for name, audio in moved.items()}}, LEAKING if leak.any() else REFERENCE


def _believed(mixture: Array, stems: Sequence[Array], spectra: Spectra, sample_rate: int) -> Through:
    """One gain for all stems, or one for each where that leaves much less."""
    found = []
    for together in (True, False):
        bus = _bus(spectra, together=together)
        summed = _filtered(np.asarray(sum(gain * stem for gain, stem in zip(bus.gains, stems, strict=True)), np.float32), bus.taps)
        course = _course(mixture, summed, sample_rate)
        found.append(Through(bus, course, _left(mixture, [summed * course])))
    one, each = found
    return one if one.left < SCALED_LEAVES * each.left else each


def _left(mixture: Array, parts: Sequence[Array]) -> float:
    """The energy that the parts leave of the mixture."""
    rest = mixture.astype(np.float64)
    for part in parts:
        rest -= part
    return float(np.sum(rest**2))


def _excerpts(signals: Sequence[Array], sample_rate: int) -> Array:
    """Excerpts [W, N, C, L] of signals [C, T], evenly spaced; a short recording as a whole."""
    total, length = signals[0].shape[1], round(EXCERPT_S * sample_rate)
    count = max(1, int(MOST_S / EXCERPT_S / len(signals)))
    if total <= count * length:
        length, starts = total, [0]
    else:
        starts = [round(place) for place in np.linspace(0, total - length, count)]
    return np.stack([np.stack([signal[:, start : start + length] for signal in signals]) for start in starts]).astype(np.float32)


def _spectra(excerpts: Array) -> Spectra:
    """Spectra [N, C, frames, bins] of excerpts [W, N, C, L]."""
    count, channels, length = excerpts.shape[1:]
    if length < FRAMES:
        excerpts, length = np.pad(excerpts, ((0, 0),) * 3 + ((0, FRAMES - length),)), FRAMES
    frames = np.lib.stride_tricks.sliding_window_view(excerpts, FRAMES, axis=-1)[..., ::STEP, :]
    found = np.fft.rfft(frames * np.hanning(FRAMES).astype(np.float32), axis=-1).astype(np.complex64)
    return found.transpose(1, 2, 0, 3, 4).reshape(count, channels, -1, found.shape[-1])


def _bus(spectra: Spectra, *, together: bool) -> Bus:
    """The gain of each stem, or one for all, and the filter of their sum, for which sum and gain over time leave least of the mixture."""
    mixture, stems = spectra[0], spectra[1:]
    power = np.asarray(_smooth(np.mean(np.abs(mixture) ** 2, axis=(0, 1)), 1.0), np.float64)
    weights = (1.0 / np.sqrt(power + 1e-6 * power.max() + 1e-30)).astype(np.float32)
    response, course = np.ones(mixture.shape[-1], np.complex64), np.ones(mixture.shape[1], np.float32)
    gains: Array = np.ones(len(stems))
    for _ in range(ROUNDS):
        shape = course[:, None] * response
        scaled = stems * (shape * weights)
        gains = _gains(mixture * weights, scaled.sum(axis=0)[None] if together else scaled)
        gains = np.repeat(gains, len(stems)) if together else gains
        summed = np.tensordot(gains.astype(np.float32), stems, 1)
        there = summed * course[:, None]
        cross = np.sum(mixture * np.conj(there), axis=(0, 1))
        own = np.sum(np.abs(there) ** 2, axis=(0, 1))
        response = (_smooth(cross, SMOOTHING) / (_smooth(own, SMOOTHING) + 1e-6 * own.max() + 1e-30)).astype(np.complex64)
        there = summed * response
        shared = np.sum(np.real(mixture * np.conj(there)) * weights, axis=(0, 2))
        level = np.sum(np.abs(there) ** 2 * weights, axis=(0, 2))
        course = np.where(level > FLOOR * level.mean(), shared / np.maximum(level, 1e-30), 1.0)
        course = np.clip(course, 0.0, LARGEST * max(float(np.median(course)), 1e-3)).astype(np.float32)
    taps = np.fft.fftshift(np.fft.irfft(response, FRAMES)) * np.hanning(FRAMES + 1)[:-1]
    return Bus(gains, taps, together)


def _gains(mixture: Spectra, stems: Spectra) -> Array:
    """The gains [S] of stems [S, ...] by least squares; one for those that do not sound in the excerpts."""
    rows = stems.reshape(len(stems), -1)
    gram = np.real(rows @ np.conj(rows.T)).astype(np.float64)
    cross = np.real(rows @ np.conj(mixture.ravel())).astype(np.float64)
    scale = np.sqrt(np.maximum(np.diag(gram), 1e-30))
    sounding = np.diag(gram) > 1e-8 * np.diag(gram).max()
    solved = np.linalg.solve(gram / np.outer(scale, scale) + 1e-6 * np.eye(len(gram)), cross / scale) / scale
    return np.where(sounding, solved, 1.0)


def _smooth(values: Array | Spectra, ratio: float) -> Array | Spectra:
    """Means of a spectrum [bins] around each bin, between its frequency over ``ratio`` and times it, of some bins at least."""
    places = np.arange(values.size)
    low = np.minimum(np.floor(places / ratio), places - LEAST_BINS).clip(0).astype(int)
    high = np.maximum(np.ceil(places * ratio), places + LEAST_BINS).clip(0, values.size - 1).astype(int) + 1
    sums = np.concatenate([[0], np.cumsum(values, dtype=np.complex128 if np.iscomplexobj(values) else np.float64)])
    return np.asarray((sums[high] - sums[low]) / (high - low))


def _filtered(signal: Array, taps: Array) -> Array:
    from scipy.signal import oaconvolve

    whole = oaconvolve(signal, taps[None].astype(np.float32), axes=-1)
    return np.asarray(whole[:, FRAMES // 2 : FRAMES // 2 + signal.shape[1]], np.float32)


def _course(mixture: Array, summed: Array, sample_rate: int) -> Array:
    """The gain [C, T] that takes the sum of the stems to the mixture: over time, and over the level of a sample, as saturation has it;
    whichever comes first leaves less.
    """
    first = _over_time(mixture, summed, sample_rate)
    over_time = first * _curve(mixture, summed * first)
    first = _curve(mixture, summed)
    saturated = first * _over_time(mixture, summed * first, sample_rate)
    return min((over_time, saturated), key=lambda gain: _left(mixture, [summed * gain]))


def _over_time(mixture: Array, summed: Array, sample_rate: int) -> Array:
    """The gain over time [T]."""
    hop = max(1, round(HOP_S * sample_rate))
    edges = np.arange(0, mixture.shape[1], hop)

    def local(values: Array) -> Array:
        return np.convolve(np.pad(np.add.reduceat(values.sum(axis=0, dtype=np.float64), edges), 1), np.ones(3), "valid")

    power = np.square(summed)
    level = local(power)
    within = np.repeat(level / (3 * hop * len(summed)), hop)[: mixture.shape[1]].astype(np.float32)
    weights = 1.0 / (power + EVEN * within + 1e-20)
    gain = np.where(level > FLOOR * level.mean(), local(weights * mixture * summed) / np.maximum(local(weights * power), 1e-30), 1.0)
    gain = np.clip(gain, 0.0, LARGEST * max(float(np.median(gain)), 1e-3))
    return np.interp(np.arange(mixture.shape[1]), edges + hop / 2, gain).astype(np.float32)


def _curve(mixture: Array, there: Array) -> Array:
    """The gain [C, T] by the level of a sample."""
    size = np.abs(there)
    usual = math.sqrt(float(np.mean(np.square(there), dtype=np.float64)))
    edges = usual * 2.0 ** (
        np.arange(1, 2 * CURVE_STEPS) / 2 - 1
    )  # below the first half a root mean square, in which no gain is known well
    bins = np.searchsorted(edges, size.ravel())
    shared, level = (np.bincount(bins, part.ravel(), edges.size + 1) for part in (mixture * there, np.square(there)))
    places = np.sqrt(level / np.maximum(np.bincount(bins, minlength=edges.size + 1), 1))
    known = level > FLOOR * level.sum()
    if not known.any():
        return np.ones_like(size)
    return np.interp(size, places[known], shared[known] / level[known]).astype(np.float32)
