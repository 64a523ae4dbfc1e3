"""Least squares through a renderer: the search behind every waveform fit, of an effect, a chain or a whole console.

Conventions
    Unknowns are numbers in [0, 1] (``Range.to_unit``). The residual is a float64 vector [M] of one point [P], or [B, M] of several
    [B, P] where a caller can compute them together. Derivatives are differences: a renderer is fast, its kernels are smooth between
    their branches, and one method serves all effects. A caller with a cheaper way to compute the differences passes it as ``columns``.
    A prior pulls unknowns towards typical values, as if the residual were noise of few independent samples, and vanishes with the
    residual: where the audio does not determine a setting, it stays typical.

References
    Levenberg 1944, Marquardt 1963, with the step kept inside the box by fixing unknowns that would leave it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from stemwright.datagen.inverse.confidence import differences_of_excerpts, standard_errors

Vector = NDArray[np.float64]
Table = NDArray[Any]  # float32 or float64 [P, M]

STEP = 1e-6  # of the unit range: the square root of rounding in float64, times the smoothness of the effects
TRIALS = 8  # steps, each more damped than the last, before a search gives up
PIECE = 65_536  # samples that are summed at once: long sums lose precision in float32
INDEPENDENT = 300.0  # number of samples that a residual counts as against the prior: it is far from white noise
LEAST_CHORD = 0.1  # of the residual's energy: a step that removes less is the last one of its Jacobian


class Prior(NamedTuple):
    """Typical values: the middle [P] of each unknown, and its width [P]."""

    middle: Vector
    width: Vector


class SearchLimits(NamedTuple):
    """When a search ends: after so many Jacobians, or one that removes less than the fraction ``least_gain``, or at a cost of ``enough``.

    One Jacobian serves up to ``chords`` steps; one more is taken at the end where ``fresh``. A step that does not
    gain is damped by ``growth`` more. The residual is that of ``channels`` signals
    one after another. Without ``errors`` those of the minimum are NaN, which saves their time.
    """

    iterations: int = 40
    least_gain: float = 0.0
    chords: int = 1
    enough: float = 0.0
    channels: int = 1
    fresh: bool = True
    growth: float = 5.0
    errors: bool = True


class Minimum(NamedTuple):
    """The result of a search: the unknowns, half of the squared residual there, the standard error of each unknown, and J'J, near the end.

    ``unit_error`` is the standard error that one independent sample of a residual of one would leave: the root of the diagonal of the
    inverse of J'J. ``difference`` is how far the unknowns are from those that single excerpts call for, rms.
    """

    unit: Vector
    cost: float
    error: Vector
    matrix: Vector
    unit_error: Vector
    difference: Vector


def refine(
    residual: Callable[[Vector], Vector],
    start: Vector,
    limits: SearchLimits | None = None,
    *,
    batched: bool = False,
    columns: Callable[[Vector], Table] | None = None,
    prior: Prior | None = None,
) -> Minimum:
    """Minimises the squared residual from a start inside the unit box; ``batched`` says that the residual takes several points [B, P].

    ``columns`` gives the derivatives [P, M] at a point. The standard errors are those of linear regression with the residual as it is
    (``stemwright.datagen.inverse.confidence``): infinite where the audio does not determine it.
    """
    limits = limits or SearchLimits()
    unit = np.clip(np.asarray(start, float), 0.0, 1.0)
    miss = residual(unit)
    cost, damping = 0.5 * float(miss @ miss), 1e-3
    table = _derivatives(residual, columns, unit, miss, batched)
    matrix = gram(table)
    for number in range(limits.iterations):
        before, first = cost, unit
        pull = np.zeros(len(unit)) if prior is None else 2.0 * cost / INDEPENDENT / prior.width**2
        middle = unit if prior is None else prior.middle
        for _ in range(limits.chords):
            slope = product(table, miss) + pull * (unit - middle)
            found = _stepped(residual, (unit, cost, damping), (matrix + np.diag(pull), slope), (pull, middle), limits.growth)
            if found is None:
                break
            gain = (cost - found[2]) / max(cost, 1e-300)
            unit, miss, cost, damping = found
            if gain < LEAST_CHORD or cost <= limits.enough:
                break
        gained = (before - cost) / max(before, 1e-300)
        if cost == before and np.array_equal(unit, first):
            break
        if cost <= max(limits.enough, 1e-28 * len(miss)) or gained < limits.least_gain:
            break
        if gained < 1e-10 and float(np.abs(unit - first).max()) < 1e-9:
            break
        if number + 1 < limits.iterations or limits.fresh:
            table = _derivatives(residual, columns, unit, miss, batched)
            matrix = gram(table)
    if not limits.errors:
        unknown = np.full(len(unit), np.nan)
        return Minimum(unit, cost, unknown, matrix, unknown, unknown)
    return _minimum(unit, cost, miss, table, matrix, limits.channels)


def gram(table: Table) -> Vector:
    """J'J of derivatives [P, M], float64 [P, P]."""
    matrix = np.zeros((len(table), len(table)))
    for start in range(0, table.shape[1], PIECE):
        part = table[:, start : start + PIECE]
        matrix += part @ part.T
    return matrix


def product(table: Table, miss: Vector) -> Vector:
    """J'r."""
    slope = np.zeros(len(table))
    for start in range(0, table.shape[1], PIECE):
        slope += table[:, start : start + PIECE] @ miss[start : start + PIECE].astype(table.dtype)
    return slope


def _minimum(unit: Vector, cost: float, miss: Vector, table: Table, matrix: Vector, channels: int) -> Minimum:
    inverse = np.asarray(np.linalg.pinv(matrix, hermitian=True))
    unseen = np.diag(matrix) <= 1e-14 * max(float(np.diag(matrix).max(initial=0.0)), 1e-300)
    error = np.where(unseen, np.inf, standard_errors(table, miss, inverse, channels))
    unit_error = np.where(unseen, np.inf, np.sqrt(np.diag(inverse).clip(min=0.0)))
    return Minimum(unit, cost, error, matrix, unit_error, differences_of_excerpts(table, miss, matrix, channels))


def _derivatives(
    residual: Callable[[Vector], Vector], columns: Callable[[Vector], Table] | None, unit: Vector, miss: Vector, batched: bool
) -> Table:
    """The derivatives [P, M] at a point, by differences towards the middle of the box."""
    if columns is not None:
        return columns(unit)
    steps = np.where(unit < 0.5, STEP, -STEP)
    moved = unit + np.diag(steps)
    misses = residual(moved) if batched else np.stack([residual(point) for point in moved])
    return np.asarray((misses - miss) / steps[:, None])


def _stepped(
    residual: Callable[[Vector], Vector],
    state: tuple[Vector, float, float],
    normal: tuple[Vector, Vector],
    prior: tuple[Vector, Vector],
    growth: float,
) -> tuple[Vector, Vector, float, float] | None:
    """One step, with increasing damping until it reduces the cost: unknowns, residual, cost and damping; None where no step gains."""
    unit, cost, damping = state
    pull, middle = prior

    def held(where: Vector) -> float:
        return 0.5 * float(pull @ (where - middle) ** 2)

    for _ in range(TRIALS):
        trial = np.clip(unit - damped_step(*normal, unit, damping), 0.0, 1.0)
        miss = residual(trial)
        trial_cost = 0.5 * float(miss @ miss)
        if trial_cost + held(trial) < cost + held(unit):
            return trial, miss, trial_cost, damping / 8.0
        damping = max(damping, 1e-12) * growth
    return None


def damped_step(matrix: Vector, slope: Vector, unit: Vector, damping: float) -> Vector:
    """The damped step; unknowns at an edge that the step would push through it stay there."""
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
