"""What is known of each run of clipped samples: its shape, how far estimates agree, and how they do where the sound is clipped again.

Conventions
    R runs of a block of T samples, from ``starts`` to ``stops``. ``heights`` [K, T] are above the bounds, of estimates in the order of
    ``METHODS``; of trials, of ``TRIED``. A trial is the block clipped again at a part of its ceiling: the samples between both
    ceilings are known, so that errors there are, too. Features are logarithms and shares, of a run and of what is around it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter1d

from stemwright.datagen.inverse.clipping.conditional_mean import Clipped
from stemwright.datagen.inverse.clipping.frame_estimates import runs_of

Array = NDArray[np.float64]
METHODS = ("expansion", "spline", "polynomial", "longer", "direct")
TRIED = METHODS[:4]
COMPARED = (("longer", "direct"), ("longer", "spline"), ("spline", "polynomial"), ("longer", "expansion"))
NEAR_S = 0.05
AROUND_S = 0.25  # before and after the middle of a run: what else is tried there counts for it


@dataclass(frozen=True)
class ClippedAgain:
    """A block clipped again, and the heights [K, T] of estimates there, of ``TRIED``."""

    again: Clipped
    heights: Array


def run_features(block: Clipped, heights: Array, trials: Sequence[ClippedAgain], sample_rate: int) -> Array:
    """Features [R, F] of every run of a block."""
    starts, stops = runs_of(block.signs)
    lengths = (stops - starts).astype(np.float64)
    ceilings = _sums(block.bounds, starts, stops) / lengths
    before, after = np.concatenate([[0], stops[:-1]]), np.concatenate([starts[1:], [len(block.signs)]])
    near: Array = uniform_filter1d((block.signs != 0).astype(np.float64), max(1, round(NEAR_S * sample_rate)))
    place = {name: heights[number] for number, name in enumerate(METHODS)}
    columns = [np.log10(lengths / sample_rate * 1e3), _log((starts - before + 0.5) / lengths), _log((after - stops + 0.5) / lengths)]
    columns += [_log(_sums(each, starts, stops) / lengths / ceilings + 0.02) for each in heights]
    energies = {name: _sums(each**2, starts, stops) for name, each in place.items()}
    for one, other in COMPARED:
        apart = _sums((place[one] - place[other]) ** 2, starts, stops)
        columns.append(np.sqrt(apart / (energies[one] + energies[other] + 1e-12)))
    middle, reach = (starts + stops) // 2, round(AROUND_S * sample_rate)
    first, last = np.maximum(middle - reach, 0), np.minimum(middle + reach, len(block.signs))
    columns += [_sums(near, starts, stops) / lengths, _sums(block.signs != 0, first, last) / np.maximum(last - first, 1)]
    for trial in trials:
        columns += (
            _of_runs(block, trial, starts, stops) + _of_surroundings(block, trial, first, last) + _beyond(block, trial, starts, stops)
        )
    return np.nan_to_num(np.stack(columns, axis=1))


def _of_runs(block: Clipped, trial: ClippedAgain, starts: NDArray[np.int64], stops: NDArray[np.int64]) -> list[Array]:
    """How estimates do at the known samples of the longer run that each run is in, once the block is clipped again."""
    first, last = runs_of(trial.again.signs)
    mine = np.searchsorted(first, starts, side="right") - 1
    lengths, ceilings = (stops - starts).astype(np.float64), _sums(block.bounds, starts, stops) / (stops - starts)
    known = np.flatnonzero((trial.again.signs != 0) & (block.signs == 0))
    inside = np.searchsorted(first, known, side="right") - 1
    true = np.abs(block.samples[known]) - trial.again.bounds[known]

    def added(values: Array) -> Array:
        summed: Array = np.bincount(inside, weights=values, minlength=len(first)).astype(np.float64)
        return summed[mine]

    counts, energy = added(np.ones(len(known))), added(true**2)
    some, divisor, least = counts > 0, np.maximum(counts, 1.0), 1e-6 * ceilings**2
    columns = [_log((starts - first[mine] + 0.5) / lengths), _log((last[mine] - stops + 0.5) / lengths), _log((counts + 0.5) / lengths)]
    for each in trial.heights:
        ratio = (added(each[known]) / divisor / ceilings + 0.01) / (added(true) / divisor / ceilings + 0.01)
        error = (added((each[known] - true) ** 2) + least) / (energy + least)
        columns += [np.where(some, _log(ratio), 0.0), np.where(some, _log(error, -8.0, 5.0), 0.0)]
    return columns


def _of_surroundings(block: Clipped, trial: ClippedAgain, first: NDArray[np.int64], last: NDArray[np.int64]) -> list[Array]:
    """How estimates do, around each run, at all known samples once the block is clipped again."""
    known = (trial.again.signs != 0) & (block.signs == 0)
    true, least = np.where(known, np.abs(block.samples) - trial.again.bounds, 0.0), block.bounds - trial.again.bounds
    some, summed, energy = _sums(known, first, last) > 0, _sums(true, first, last) + 1e-9, _sums(true**2, first, last) + 1e-12
    columns = []
    for each in trial.heights:
        found = np.where(known, each, 0.0)
        high = (trial.again.signs != 0) & (each > 2.0 * least)
        overshot = _sums(high & known, first, last) / np.maximum(_sums(high, first, last), 1.0)
        error = _log(_sums((found - true) ** 2, first, last) / energy, -10.0, 5.0)
        columns += [np.where(some, each, 0.0) for each in (_log((_sums(found, first, last) + 1e-9) / summed), error, overshot)]
    return columns


def _beyond(block: Clipped, trial: ClippedAgain, starts: NDArray[np.int64], stops: NDArray[np.int64]) -> list[Array]:
    """How high the estimates of each run are, once the block is clipped again, beside the least that is known: the first ceiling."""
    least = 0.01 * _sums(block.bounds, starts, stops)
    raised = _sums(block.bounds - trial.again.bounds, starts, stops) + least
    return [_log((_sums(each, starts, stops) + least) / raised) for each in trial.heights]


def _sums(values: NDArray[Any], starts: NDArray[np.int64], stops: NDArray[np.int64]) -> Array:
    """Sums of values [T] over runs."""
    total = np.concatenate([[0.0], np.cumsum(values)])
    summed: Array = np.maximum(total[stops] - total[starts], 0.0)
    return summed


def _log(values: Array | float, low: float = -4.0, high: float = 4.0) -> Array:
    logarithms: Array = np.clip(np.log(np.maximum(values, 1e-12)), low, high)
    return logarithms
