"""Estimates of clipped runs beside curves through their flanks: each is trusted as far as it comes near to samples that are known.

Beside clipped runs, as many known samples as these have are hidden, and estimated as if they were lost: by curves, whose flanks lack the
same samples as those of the clipped run, and by the estimate that is to be judged. In smooth sound a spectrum, which a window smears, is
far worse than a curve; and where a ceiling is just below the peaks, its error is more than was lost.

    errors      mean squares over hidden runs that are near in time and of nearly the length of the run (``Evidence``)
    estimate    its error there, or the geometric mean of this and of how far curves are from it: tops are above bounds, hidden samples not
    curves      their mean, weighted by errors; of a normal distribution around it, the mean of the part above the ceiling
    result      curves and estimate, weighted by errors, in runs that curves are nearly exact for; the estimate elsewhere
    not higher  flat tops are at most some times as high as the depth below the ceiling in which 0.4 times as many samples are
    flat tops   where all that was lost is small beside the ceiling, every run is tried, and the estimate is scaled: by what a Wiener filter
                gives of its error, and, where a run has no curve, by what curves give beside it elsewhere

Curves are judged beside a run, and a top is not like its flanks: in music with 1 % clipped, trusted where they seemed as good as the
estimate, they cost 0.5 dB on average and up to 3.5; where they seemed good for 15 dB, nothing. In crowds of clipped runs few flanks are
left, and hidden runs are no measure: 20 dB too good for curves in decaying tones. The limits were chosen on drawn tones (one to five sines
of 30 to 300 Hz and frequency modulation, without noise and with), tracker songs and the excerpt inside stempeg, at 0.1 to 2 % clipped.
Four of these songs, and some seconds of the excerpt, are in tables of ``benchmarks/declipping.py`` too. ``CROWDED`` was lowered when those
tables had shown that basses lose at 0.3.

Conventions
    As in ``...clipping.conditional_mean``. Runs [R], the places within them, one run after the other, [P]. Errors are mean squares,
    infinite where nothing is known of them.

References
    Stone 1974, "Cross-validatory choice and assessment of statistical predictions": estimates chosen by what was held out. As recalled.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter1d
from scipy.special import erfcx

from stemwright.datagen.inverse.clipping.conditional_mean import Clipped
from stemwright.datagen.inverse.clipping.frame_estimates import runs_of, within
from stemwright.datagen.inverse.clipping.local_curves import CURVES, PROBES, LocalCurve, LocalWindows, fitted

Array = NDArray[np.float64]
Places = NDArray[np.int64]
SHIFTS = (2.5, -2.5, 4.0, -4.0, 6.0, -6.0)  # lengths of a run, from its start to where known samples are hidden
SEVERAL, FLAT_SEVERAL = 16, 64  # hidden runs, of about the length of each clipped one
BELOW = 0.02  # of the ceiling: hidden samples that are farther below it count less
ALIKE = 0.8, 1.4  # the length of a hidden run beside that of a clipped one, within which they are about equal
NEAR_S, FAR = 0.1, 0.02  # how far a hidden run counts, and the least that it counts
LONGER, SHORTER = 0.5, 0.3  # deviation of the logarithm of the length of hidden runs, beside that of the run
ENOUGH = 0.25  # hidden runs, by what they count
POWER = 2.0  # of errors, in weights
PROMISING = 0.03  # error of curves beside the energy of the height, below which they are tried
PART = 0.25  # of what is estimated as lost, in runs that are tried, at least
FLAT = 0.03  # height beside the ceiling, below which errors may be more than was lost
AS_MANY = 0.41  # samples, for each clipped one, that a parabola has from the ceiling to as far below it as its top is above: sqrt(2) - 1
HIGHEST = 8.0  # times that depth: the root mean square of heights of flat tops; in music and tones whose peaks are known it was 0.4 to 8,
HIGHEST_OF_CURVES = 20.0  # and more where one run is much higher than others
AROUND_S, CROWDED = 0.05, 0.1  # the clipped part of the samples around a run, up to which it is tried
PRECISION = 1e-9  # of the peak: errors that rounding makes
GOLDEN = 0.6180339887498949  # its multiples, without their whole part, are spread evenly


@dataclass(frozen=True)
class Runs:
    """Runs that start somewhere [R], the clipped runs that they are beside, and their lengths [R]; a clipped run is beside itself."""

    starts: Places
    beside: Places
    lengths: Places

    @cached_property
    def first(self) -> Places:
        """Where each run starts among all places."""
        return np.cumsum(self.lengths) - self.lengths

    @cached_property
    def places(self) -> Places:
        """The samples of all runs."""
        return np.arange(self.lengths.sum()) + np.repeat(self.starts - self.first, self.lengths)

    @cached_property
    def row(self) -> Places:
        """The run of every place."""
        return np.repeat(np.arange(len(self.starts)), self.lengths)

    def means(self, values: Array) -> Array:
        """Means [R] of values [P]."""
        sums: Array = np.add.reduceat(values, self.first)
        return sums / self.lengths

    def curve(self, block: Clipped, curve: LocalCurve) -> Array:
        """The samples [P] on a curve, NaN where it has too few."""
        found, known = np.empty(len(self.places)), block.signs == 0
        for length in np.unique(self.lengths):
            rows = np.flatnonzero(self.lengths == length)
            fit = fitted(block.samples, known, LocalWindows(self.starts[rows], self.beside[rows], int(length)), curve)
            found[self.first[rows][:, None] + np.arange(length)] = fit
        return found


class Evidence:
    """What estimates are worth for clipped runs: how far they are from samples that were hidden beside them."""

    def __init__(self, block: Clipped, runs: Runs, hidden: Runs, sample_rate: int) -> None:
        self.block, self.hidden = block, hidden
        self.floor = (PRECISION * float(np.abs(block.samples).max())) ** 2
        distance = np.abs(runs.starts[:, None] - hidden.beside) / (NEAR_S * sample_rate)
        ratio = np.log(hidden.lengths / runs.lengths[:, None])
        alike = np.exp(-((ratio / np.where(ratio > 0.0, LONGER, SHORTER)) ** 2))
        self.counts = np.maximum(FAR, 1.0 - distance) * alike
        ceiling = float(block.bounds[runs.places].mean())
        below = 1.0 - np.maximum.reduceat(np.abs(block.samples[hidden.places]), hidden.first) / ceiling
        self.level = np.maximum(FAR, np.exp(-np.maximum(below, 0.0) / BELOW))

    def error(self, found: Array) -> Array:
        """The mean squared error [R] to expect of an estimate, of what it gives for the hidden samples [P]."""
        errors = self.hidden.means((found - self.block.samples[self.hidden.places]) ** 2)
        there = np.isfinite(errors)
        weights = there * self.level
        means = self.counts @ (weights * np.where(there, errors, 0.0)) / np.maximum(self.counts @ weights, 1e-300) + self.floor
        return np.where(self.counts @ there >= ENOUGH, means, np.inf)


def refined(block: Clipped, estimate: Array, sample_rate: int, again: Callable[[Clipped], Array]) -> Array:
    """A block [T] whose estimate is given, with runs brought nearer to curves or to the ceiling where hidden samples say so.

    ``again`` estimates another block in the same way, or nearly.
    """
    starts, stops = runs_of(block.signs)
    runs = Runs(starts, starts, stops - starts)
    heights = np.maximum(np.abs(estimate) - block.bounds, 0.0)[runs.places]
    lost = float(heights @ heights)
    flat = lost < FLAT**2 * float(np.sum(block.bounds[runs.places] ** 2))
    if flat:
        heights, estimate = _with_heights(block, runs, heights, HIGHEST)
    alone = (runs.means(_crowding(block, sample_rate)[runs.places]) <= CROWDED) | flat
    hidden = hidden_runs(block.signs, alone, FLAT_SEVERAL if flat else SEVERAL)
    if not len(hidden.starts):
        return estimate
    energies, lost = runs.means(heights**2), float(heights @ heights)
    evidence = Evidence(block, runs, hidden, sample_rate)
    probes = np.min([evidence.error(hidden.curve(block, CURVES[probe])) for probe in PROBES], axis=0)
    tried = ((probes < PROMISING * energies) | flat) & alone
    if not tried.any() or (energies * runs.lengths)[tried].sum() < PART * lost:
        return estimate
    own = evidence.error(again(_with_hidden(block, estimate, hidden))[hidden.places])
    errors = np.array([evidence.error(hidden.curve(block, curve)) for curve in CURVES])
    curved = on_curves(block, runs, errors)
    apart = np.where(curved.weights > 0.0, (curved.heights - heights) ** 2, 0.0)
    own = np.maximum(own, np.sqrt(own * runs.means(apart)))
    share = curved.share(own[runs.row])
    less = (
        _scale(heights, curved.heights, share, np.where(np.isfinite(own), own / np.maximum(energies, 1e-300), 0.0)[runs.row])
        if flat
        else 1.0
    )
    mixed = np.where(tried[runs.row], share * curved.heights + (1.0 - share) * less * heights, heights)
    return _with_heights(block, runs, mixed, HIGHEST_OF_CURVES if flat else np.inf)[1]


def _with_heights(block: Clipped, runs: Runs, heights: Array, highest: float) -> tuple[Array, Array]:
    """Heights [P], at most so many times as high as samples just below the ceiling let expect, and the block [T] with them."""
    if highest < np.inf:
        known = block.samples[block.signs == 0]
        sides = [sign * (np.median(block.samples[block.signs == sign]) - known) for sign in (1, -1) if (block.signs == sign).any()]
        below = np.sort(np.maximum(np.concatenate(sides), 0.0))
        usual = float(below[min(round(AS_MANY * len(heights)), len(below) - 1)])
        heights = heights * min(1.0, highest * usual / max(float(np.sqrt(np.mean(heights**2))), 1e-300))
    result = block.samples.copy()
    result[runs.places] = block.signs[runs.places] * (block.bounds[runs.places] + heights)
    return heights, within(block, result)


def _scale(heights: Array, curved: Array, share: Array, error: Array) -> Array:
    """What heights [P] of an estimate with an error beside their energy [P] are multiplied by, where curves have a share [P]."""
    scale = np.maximum(1.0 - error, 0.0)
    beside = share > 0.0
    if not beside.any():
        return scale
    slope = float(np.clip((curved[beside] @ heights[beside]) / max(float(heights[beside] @ heights[beside]), 1e-300), 0.0, 1.0))
    return np.where(beside, scale, slope * scale)


class OnCurves(NamedTuple):
    """Heights [P] above the bounds on curves, and their weights [P], 0 where a run has no curve."""

    heights: Array
    weights: Array

    def share(self, error: Array) -> Array:
        """Their share beside an estimate with an error [P]."""
        other = np.where(np.isfinite(error), error**-POWER, 0.0)
        return np.where(self.weights > 0.0, self.weights / np.maximum(self.weights + other, 1e-300), 0.0)


def on_curves(block: Clipped, runs: Runs, errors: Array) -> OnCurves:
    """What curves with such errors [K, R] give."""
    curves = np.array([runs.curve(block, curve) for curve in CURVES]) * block.signs[runs.places]
    there = np.isfinite(curves)
    weights = np.where(there, errors[:, runs.row] ** -POWER, 0.0)
    total = weights.sum(axis=0)
    middle = (weights * np.where(there, curves, 0.0)).sum(axis=0) / np.maximum(total, 1e-300)
    deviation = np.where(total > 0.0, weights.max(axis=0), 1.0) ** (-0.5 / POWER)
    below = (block.bounds[runs.places] - middle) / deviation
    tail = np.sqrt(2.0 / np.pi) / erfcx(np.clip(below, -20.0, 1e6) / np.sqrt(2.0))  # density over tail of a normal distribution
    return OnCurves(np.maximum(deviation * (tail - below), 0.0), total)


def _crowding(block: Clipped, sample_rate: int) -> Array:
    """The clipped part [T] of the samples around each."""
    near: Array = uniform_filter1d((block.signs != 0).astype(np.float64), max(1, round(AROUND_S * sample_rate)))
    return near


def hidden_runs(signs: NDArray[np.int8], alone: NDArray[np.bool_], several: int) -> Runs:
    """Known samples to hide, of signs [T]: as long as the clipped runs that are ``alone`` [R], beside them, apart from each other."""
    starts, stops = (each[alone] for each in runs_of(signs))
    lengths = stops - starts
    free, found, alike = signs == 0, [], np.zeros(len(starts))
    order = np.argsort(np.arange(len(starts)) * GOLDEN % 1.0, kind="stable")  # spread over time
    for shift in SHIFTS:
        for run in order[alike[order] < several].tolist():
            start, length = int(starts[run]), int(lengths[run])
            at = start + round(shift * max(length, 2))
            if alike[run] < several and at > 0 and at + length < len(signs) and free[at - 1 : at + length + 1].all():
                found.append((at, start, length))
                free[at : at + length] = False
                alike += (lengths * ALIKE[0] <= length) & (length <= lengths * ALIKE[1])
    table = np.array(sorted(found), dtype=np.int64).reshape(-1, 3)
    return Runs(*table.T)


def _with_hidden(block: Clipped, estimate: Array, hidden: Runs) -> Clipped:
    """The estimate of a block, with hidden samples as clipped ones without a bound, on straight lines."""
    samples, signs, bounds = estimate.copy(), np.zeros_like(block.signs), block.bounds.copy()
    for start, length in zip(hidden.starts.tolist(), hidden.lengths.tolist(), strict=True):
        samples[start : start + length] = np.linspace(samples[start - 1], samples[start + length], length + 2)[1:-1]
    signs[hidden.places] = 1
    bounds[hidden.places] = -2.0 * float(np.abs(block.samples).max())
    return Clipped(samples, signs, bounds)
