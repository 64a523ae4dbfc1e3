"""Polynomials through the samples around short runs of clipped ones: nearly exact in smooth sound, worthless in most other.

A sound whose highest frequency is far below half the sample rate is a polynomial over a run and its flanks. Of which degree, and how wide
the flanks are, depends on noise and bandwidth: a few of each (``CURVES``) are fitted, and what they are worth is found where samples are
known (``...clipping.held_out``).

Conventions
    A window is a run of L samples and its flanks. Windows of one L are fitted together [R, T]. Flanks of long runs are thinned out.

References
    Savitzky, Golay 1964, "Smoothing and differentiation of data by simplified least squares procedures".
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.polynomial.legendre import legvander
from numpy.typing import NDArray

Array = NDArray[np.float64]


class LocalCurve(NamedTuple):
    """A degree, and the length of either flank in lengths of the run."""

    degree: int
    flank: float


CURVES = (
    LocalCurve(2, 1.0),
    LocalCurve(4, 1.0),
    LocalCurve(6, 2.0),
    LocalCurve(8, 3.0),
    LocalCurve(10, 4.0),
    LocalCurve(14, 6.0),
    LocalCurve(6, 4.0),
    LocalCurve(5, 0.4),
)
PROBES = (1, 2)  # of CURVES: what the others are not tried without
LEAST_FLANK = 8  # samples
FINEST = 24  # samples of a run, at least, for each that flanks are thinned out by
RIDGE = 1e-13  # of the trace: what makes equations of too few samples solvable


class LocalWindows(NamedTuple):
    """Runs of one length: where they start [R], and the runs [R] whose unknown samples are unknown here as well, at the same places."""

    starts: NDArray[np.int64]
    like: NDArray[np.int64]
    length: int


def fitted(samples: Array, known: NDArray[np.bool_], windows: LocalWindows, curve: LocalCurve) -> Array:
    """The runs [R, L] on a curve through the known samples of both flanks; NaN where these are too few."""
    length, step = windows.length, max(1, windows.length // FINEST)
    flank = max(round(curve.flank * length), LEAST_FLANK, curve.degree)
    before = -np.arange(1, flank + 1, step)[::-1]
    offsets = np.concatenate([before, length - 1 - before[::-1]])
    last = len(samples) - 1
    places, model = windows.starts[:, None] + offsets, windows.like[:, None] + offsets
    there = (np.minimum(places, model) >= 0) & (np.maximum(places, model) <= last)
    places, model = places.clip(0, last), model.clip(0, last)
    middle, reach = (length - 1) / 2, length / 2 + flank
    near = np.exp(-2.0 * (np.abs(offsets - middle) - length / 2) / flank)
    weights = np.where(there & known[places] & known[model], near, 0.0)
    basis = legvander((offsets - middle) / reach, curve.degree)
    left, right = np.count_nonzero(weights[:, : len(before)], axis=1), np.count_nonzero(weights[:, len(before) :], axis=1)
    good = (np.minimum(left, right) >= 2) & (left + right >= curve.degree + 2)
    found = np.full((len(places), length), np.nan)
    if good.any():
        products = (basis[:, :, None] * basis[:, None]).reshape(len(basis), -1)
        equations = (weights[good] @ products).reshape(-1, curve.degree + 1, curve.degree + 1)
        equations += RIDGE * np.trace(equations, axis1=1, axis2=2)[:, None, None] * np.eye(curve.degree + 1)
        solved = np.linalg.solve(equations, ((weights * samples[places])[good] @ basis)[..., None])[..., 0]
        found[good] = solved @ legvander((np.arange(length) - middle) / reach, curve.degree).T
    return found
