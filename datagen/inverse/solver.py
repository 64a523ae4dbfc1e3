"""Least squares through a renderer: the last step of every fit by waveform.

Conventions
    Unknowns are numbers in [0, 1] (``Range.to_unit``). The residual is a float64 vector [M] of one point [P], or [B, M] of several
    [B, P] where a caller can compute them together. Derivatives are differences: a renderer is fast, its kernels are smooth between
    their branches, and one method serves all effects.

References
    Levenberg 1944, Marquardt 1963, with the step kept inside the box by fixing what would leave it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float64]

STEP = 1e-6  # of the unit range: the square root of rounding in float64, times the smoothness of the effects


class Found(NamedTuple):
    """Where a search ended: the unknowns, half of the squared residual there, the standard error of each unknown, and J'J, near the end."""

    unit: Vector
    cost: float
    error: Vector
    matrix: Vector


def refine(
    residual: Callable[[Vector], Vector], start: Vector, *, iterations: int = 40, batched: bool = False, least_gain: float = 0.0
) -> Found:
    """Minimises the squared residual from a start inside the unit box; ``batched`` says that the residual takes several points [B, P].

    An iteration that takes away less than the part ``least_gain`` is the last one. The standard errors are those of linear regression with
    the residual as its noise: large where the audio says nothing.
    """
    unit = np.clip(np.asarray(start, float), 0.0, 1.0)
    miss = residual(unit)
    cost, damping = 0.5 * float(miss @ miss), 1e-3
    matrix, slope = _normal_equations(residual, unit, miss, batched)
    for _ in range(iterations):
        improved = False
        for _ in range(8):
            trial = np.clip(unit - damped_step(matrix, slope, unit, damping), 0.0, 1.0)
            trial_miss = residual(trial)
            trial_cost = 0.5 * float(trial_miss @ trial_miss)
            if trial_cost < cost:
                improved = True
                break
            damping = max(damping, 1e-12) * 5.0
        if not improved:
            break
        gain, move = (cost - trial_cost) / max(cost, 1e-300), float(np.abs(trial - unit).max())
        unit, miss, cost, damping = trial, trial_miss, trial_cost, damping / 8.0
        if cost < 1e-28 * len(miss) or gain < least_gain or (gain < 1e-10 and move < 1e-9):
            break
        matrix, slope = _normal_equations(residual, unit, miss, batched)
    noise = 2.0 * cost / max(len(miss) - len(unit), 1)
    spread = np.diag(np.linalg.pinv(matrix, hermitian=True)).clip(min=0.0)
    unseen = np.diag(matrix) <= 1e-14 * max(float(np.diag(matrix).max()), 1e-300)
    return Found(unit, cost, np.where(unseen, np.inf, np.sqrt(noise * spread)), matrix)


def _normal_equations(residual: Callable[[Vector], Vector], unit: Vector, miss: Vector, batched: bool) -> tuple[Vector, Vector]:
    """J'J and J'r, with the columns of J by differences towards the middle of the box."""
    steps = np.where(unit < 0.5, STEP, -STEP)
    moved = unit + np.diag(steps)
    misses = residual(moved) if batched else np.stack([residual(point) for point in moved])
    table = (misses - miss) / steps[:, None]
    return table @ table.T, table @ miss


def damped_step(matrix: Vector, slope: Vector, unit: Vector, damping: float) -> Vector:
    """The damped step; unknowns at an edge that the step would push through it are held."""
    free = np.ones(len(unit), bool)
    scale = np.diag(matrix) + 1e-12 * max(float(np.diag(matrix).max()), 1e-300)
    for _ in range(len(unit)):
        step = np.zeros(len(unit))
        if free.any():
            step[free] = np.linalg.lstsq(matrix[np.ix_(free, free)] + damping * np.diag(scale[free]), slope[free], rcond=None)[0]
        blocked = free & (((unit <= 0.0) & (step > 0.0)) | ((unit >= 1.0) & (step < 0.0)))
        if not blocked.any():
            break
        free &= ~blocked
    return step
