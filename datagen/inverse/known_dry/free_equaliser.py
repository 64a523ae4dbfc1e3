"""An equaliser without bands inside a chain: its response is whatever fits the waveform best.

What six bands cannot reproduce of a response stays in the residual and biases a compressor beside it. Here the level of the response
is free at ``KNOTS`` frequencies, a spline between them, minimum-phase like every band; it multiplies that of the chain's equaliser.
Least squares find it together with all other settings, and also yield how much the residual grows for any other response, with all other
settings re-optimised: a quadratic form that scores six bands in the frequency domain, thousands per second.

Conventions
    Audio is float64 [C, T]. Levels are in dB. Knots are even in log tan(pi f / sample_rate), the axis on which the bands keep their
    shapes up to half the sample rate. They begin at 2 Hz: a shelf there shifts phases far above.

References
    Oppenheim and Schafer, Discrete-Time Signal Processing, ch. 12: minimum phase from the cepstrum. Golub and Pereyra 1973: the other
    settings eliminated from the normal equations.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from scipy.fft import irfft, next_fast_len, rfft
from scipy.interpolate import CubicSpline
from scipy.signal import lfilter

from stemwright.datagen.effects import apply_chain, eq
from stemwright.datagen.effects.dsp.biquads import response
from stemwright.datagen.inverse.fitted_chain import Use
from stemwright.datagen.inverse.known_dry.band_search import Bands, typical_points
from stemwright.datagen.inverse.known_dry.chain_search import moved, units, unknowns, whitener
from stemwright.datagen.inverse.solver import SearchLimits, Vector, refine

KNOTS = 80
LOWEST_HZ, HIGHEST = 2.0, 0.4985  # of the knots; the latter as a fraction of the sample rate
SPAN_DB = 48.0  # range of the free response around the equaliser's
PADDING_S = 0.5
ITERATIONS = 8
ENOUGH, LEAST = 1e-12, 1e-15  # squared residual of the bands, relative to wet: -120 and -150 dB


class FreeEqualiserFit(NamedTuple):
    """A chain with the best response in place of its equaliser.

    ``response_db`` [K] at the knots ``hz``; ``root`` [K, M] gives the squared residual, against wet, of a response that is d dB off as
    |d root|²; ``follow`` [P, K] is how the other unknown settings best change with d. ``cost`` is the squared residual.
    """

    uses: list[Use]
    place: int
    cost: float
    hz: Vector
    response_db: Vector
    root: Vector
    follow: Vector


class _FreeEqualiser:
    """A chain whose equaliser is multiplied by a free response."""

    def __init__(self, wet: torch.Tensor, dry: torch.Tensor, sample_rate: int, uses: Sequence[Use]) -> None:
        self.dry, self.sample_rate, self.uses = dry, sample_rate, list(uses)
        self.place = place_of(uses)
        self.unknown = [(index, field) for index, field in unknowns(uses, dry.shape[0]) if index != self.place]
        self.size = padded(dry.shape[-1], sample_rate)
        self.kernels = _log_gain(np.eye(KNOTS), self.size, sample_rate)
        self.taps = whitener(wet)
        self.goal = lfilter(self.taps, [1.0], wet.numpy())
        self.scale = 1.0 / math.sqrt(float((self.goal**2).sum()))
        self.level_db, self.factor = np.zeros(KNOTS), np.ones(self.kernels.shape[1], complex)
        self.head, self.spectrum = list(uses[: self.place + 1]), self._spectrum(uses)

    def residual(self, unit: Vector) -> Vector:
        """Whitened, relative to the energy of wet: the other settings and the free levels [P + K] -> [M]."""
        uses = moved(self.uses, self.unknown, unit[: len(self.unknown)])
        if uses[: self.place + 1] != self.head:
            self.head, self.spectrum = uses[: self.place + 1], self._spectrum(uses)
        equalised = irfft(self.spectrum * self._factor(SPAN_DB * (unit[len(self.unknown) :] - 0.5)), self.size)[:, : self.dry.shape[-1]]
        given = apply_chain(torch.from_numpy(np.ascontiguousarray(equalised)), self.sample_rate, uses[self.place + 1 :])
        return np.asarray((lfilter(self.taps, [1.0], given.numpy()) - self.goal) * self.scale).ravel()

    def _spectrum(self, uses: Sequence[Use]) -> np.ndarray:
        return np.asarray(rfft(apply_chain(self.dry, self.sample_rate, uses[: self.place + 1]).numpy(), self.size))

    def _factor(self, level_db: Vector) -> np.ndarray:
        """The complex gain of free levels. Changing one level, as for derivatives, costs one multiplication."""
        changed = np.flatnonzero(level_db != self.level_db)
        if len(changed) > 1:
            self.level_db, self.factor = level_db, np.exp(level_db @ self.kernels)
            return self.factor
        if not len(changed):
            return self.factor
        at = int(changed[0])
        return np.asarray(self.factor * np.exp((level_db[at] - self.level_db[at]) * self.kernels[at]))


def fit_free_equaliser(wet: torch.Tensor, dry: torch.Tensor, sample_rate: int, uses: Sequence[Use]) -> FreeEqualiserFit:
    """The best response in place of the chain's equaliser, with all other settings refined."""
    free = _FreeEqualiser(wet, dry, sample_rate, uses)
    count = len(free.unknown)
    start = np.concatenate([units(uses, free.unknown), np.full(KNOTS, 0.5)])
    found = refine(free.residual, start, SearchLimits(ITERATIONS, least_gain=0.2, channels=len(dry)))
    hz = knots_hz(sample_rate)
    base_db = _level_db(uses[free.place][1], hz, sample_rate)
    scale = np.concatenate([np.ones(count), np.full(KNOTS, SPAN_DB)])
    matrix = found.matrix / np.outer(scale, scale)
    own, cross = matrix[:count, :count], matrix[:count, count:]
    follow = -np.linalg.pinv(own, rcond=1e-13, hermitian=True) @ cross
    form = matrix[count:, count:] + cross.T @ follow
    power, axes = np.linalg.eigh(0.5 * (form + form.T))
    return FreeEqualiserFit(
        moved(uses, free.unknown, found.unit[:count]),
        free.place,
        2.0 * found.cost,
        hz,
        base_db + SPAN_DB * (found.unit[count:] - 0.5),
        axes * np.sqrt(power.clip(min=0.0)),
        follow,
    )


def filtered(free: FreeEqualiserFit, audio: torch.Tensor, sample_rate: int, *, undo: bool = False) -> torch.Tensor:
    """Audio [C, T] through the free response, or through its inverse."""
    settings: Any = free.uses[free.place][1]
    off_db = free.response_db - _level_db(settings, free.hz, sample_rate)
    size = padded(audio.shape[-1], sample_rate)
    spectrum = rfft((eq.invert if undo else eq.apply)(audio, sample_rate, settings).numpy(), size)
    gain = free_gain(-off_db if undo else off_db, size, sample_rate)
    return torch.from_numpy(np.ascontiguousarray(irfft(spectrum * gain, size)[:, : audio.shape[-1]]))


class FreeResponseBands(Bands):
    """Six bands fitted to a free response by the residual that they leave. The squared error is ``scale`` times that residual."""

    def __init__(self, free: FreeEqualiserFit, sample_rate: int, *, typical: bool) -> None:
        """``typical`` keeps the bands within the ranges of ``eq.TYPICAL``."""
        self.scale = len(free.hz) / float((free.root**2).sum())
        super().__init__(free.response_db, free.hz, sample_rate, enough=ENOUGH * self.scale, least=LEAST * self.scale)
        self.root = free.root * math.sqrt(self.scale)
        if typical:
            self.low, self.high = typical_points()

    def projected(self, values: Vector) -> Vector:
        """The residual of the waveform for levels [..., F]: [..., M]."""
        return values @ self.root


def with_bands(free: FreeEqualiserFit, settings: eq.Settings, sample_rate: int, channels: int) -> list[Use]:
    """The chain with six bands instead of the free response; the other settings follow, including a level that the bands lack."""
    unknown = [(index, field) for index, field in unknowns(free.uses, channels) if index != free.place]
    off_db = _level_db(settings, free.hz, sample_rate) - free.response_db
    uses = moved(free.uses, unknown, (units(free.uses, unknown) + free.follow @ off_db).clip(0.0, 1.0))
    return [*uses[: free.place], (free.uses[free.place][0], settings), *uses[free.place + 1 :]]


def place_of(uses: Sequence[Use]) -> int:
    """Where in a chain its equaliser is. Raises StopIteration where there is none."""
    return next(index for index, (_, settings) in enumerate(uses) if isinstance(settings, eq.Settings))


def _level_db(settings: object, hz: Vector, sample_rate: int) -> Vector:
    return np.asarray(20.0 * np.log10(np.abs(response(eq.sections(settings, sample_rate), hz, sample_rate))))  # type: ignore[arg-type]


def knots_hz(sample_rate: int, count: int = KNOTS) -> Vector:
    """The frequencies [K] at which the response is free."""
    return np.asarray(np.arctan(np.exp(_knots(sample_rate, count))) * sample_rate / np.pi)


def free_changes(spectrum: np.ndarray, size: int, sample_rate: int, count: int) -> Iterator[np.ndarray]:
    """What a dB at each of ``count`` knots adds to an audio with this spectrum [C, F], float32 [C, T]."""
    for row in np.eye(count):
        yield irfft(spectrum * _log_gain(row, size, sample_rate).astype(np.complex64), size)


def free_gain(level_db: Vector, size: int, sample_rate: int) -> np.ndarray:
    """The complex gain [..., size // 2 + 1], minimum-phase, of levels [..., K] at the knots."""
    return np.exp(_log_gain(level_db, size, sample_rate))


def _knots(sample_rate: int, count: int = KNOTS) -> Vector:
    """The knots [K] on the axis of the bands."""
    low, high = _axis(np.array([LOWEST_HZ / sample_rate, HIGHEST])).tolist()
    return np.linspace(low, high, count)


def _axis(part: Vector) -> Vector:
    """The axis of the bands at frequencies given as parts of the sample rate."""
    return np.asarray(np.log(np.tan(np.pi * part)))


def _log_gain(level_db: Vector, size: int, sample_rate: int) -> np.ndarray:
    """The logarithm of the complex gain [..., size // 2 + 1] of levels [..., K] at the knots."""
    parts = (np.arange(size // 2 + 1) / size).clip(LOWEST_HZ / sample_rate, HIGHEST)
    curves = CubicSpline(_knots(sample_rate, level_db.shape[-1]), level_db, axis=-1, bc_type="clamped")(_axis(parts)) * (
        math.log(10.0) / 20.0
    )
    cepstra = irfft(curves, size)
    cepstra[..., 1 : (size + 1) // 2] *= 2.0
    cepstra[..., size // 2 + 1 :] = 0.0
    return np.asarray(rfft(cepstra))


def padded(frames: int, sample_rate: int) -> int:
    """The size of transforms in which the ringing of a response does not reach the beginning."""
    return int(next_fast_len(frames + round(PADDING_S * sample_rate), real=True))
