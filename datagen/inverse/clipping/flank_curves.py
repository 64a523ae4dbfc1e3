"""Clipped samples on smooth curves through the unclipped samples around them: exact for slow sines, far too high for flat tops.

Conventions
    As in ``...clipping.conditional_mean``. Runs that have no known samples on both sides stay as they are.

References
    de Boor 1978, "A practical guide to splines".
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline

from stemwright.datagen.inverse.clipping.conditional_mean import Clipped
from stemwright.datagen.inverse.clipping.frame_estimates import runs_of, within

Array = NDArray[np.float64]
DEGREE = 4
LEAST_FLANK = 6  # known samples on either side of a run that a polynomial goes through, at most: this, or the length of the run


def splined(block: Clipped) -> Array:
    """The block with its clipped samples on a cubic spline through the others; those at its ends stay."""
    known = np.flatnonzero(block.signs == 0)
    found = block.samples.copy()
    if len(known) >= 2:
        inside = np.flatnonzero(block.signs[known[0] : known[-1]]) + known[0]
        found[inside] = CubicSpline(known, block.samples[known])(inside)
    return within(block, found)


def polynomials(block: Clipped) -> Array:
    """The block with every run on a polynomial: least squares over its flanks, of about its own length, as far as they are known.

    Where a spline goes through the noise of two samples on each side, this goes between those of many.
    """
    found = block.samples.copy()
    starts, stops = runs_of(block.signs)
    before, after = np.concatenate([[0], stops[:-1]]), np.concatenate([starts[1:], [len(found)]])
    for start, stop, first, last in zip(starts, stops, before, after, strict=True):
        length = stop - start
        flank = max(length, LEAST_FLANK)
        left, right = np.arange(max(first, start - flank), start), np.arange(stop, min(last, stop + flank))
        places = np.concatenate([left, right])
        if min(len(left), len(right)) < 2 or len(places) < DEGREE + 2:
            continue
        middle = (start + stop - 1) / 2
        where, inside = (places - middle) / length, (np.arange(start, stop) - middle) / length
        weights = np.exp(-np.abs(where))
        solved = np.linalg.lstsq(np.vander(where, DEGREE + 1) * weights[:, None], block.samples[places] * weights, rcond=1e-9)[0]
        found[start:stop] = np.vander(inside, DEGREE + 1) @ solved
    return within(block, found)
