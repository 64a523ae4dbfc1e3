"""Learning a number from features: a Gaussian process, with the error to expect of each answer.

    answer        m + k(x)ᵀ A⁻¹ (y - m),   A = K + noise I,   K from a Gaussian kernel over standardised features
    left out      with the rows G of one group away, their errors are ((A⁻¹)_GG)⁻¹ (A⁻¹ (y - m))_G: no second fit is needed
    expected      |error| ≈ a + b |answer| + c deviation, all ≥ 0, fitted to the errors of groups left out
    trusted       the answers of least expected error, as many as have a mean error within a tolerance when their group is left out

Conventions
    x is [N, P], y and groups are [N]. A group is what must not be on both sides (the rows of one song). Standardised features are kept
    within three deviations, so that a strange one cannot carry an answer far. Width and noise of the kernel are those of a small grid
    with the least error of groups left out.

References
    Rasmussen and Williams 2006, Gaussian Processes for Machine Learning, equations 2.25, 2.26 and 5.10 to 5.12 (leaving out).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls

Array = NDArray[np.floating]

WIDTHS = (0.6, 0.9, 1.3, 2.0)  # of the kernel, times the square root of the number of features
NOISES = (0.1, 0.3, 1.0)
FARTHEST = 3.0  # deviations
FEWEST_TRUSTED = 6  # rows: fewer prove nothing


@dataclass(frozen=True)
class Answer:
    """A number and the mean absolute error to expect of it."""

    value: float
    expected_error: float

    def confidence(self, tolerance: float) -> float:
        """The probability that the value is right within a tolerance, for errors with a Laplace distribution."""
        return 1.0 - math.exp(-tolerance / max(self.expected_error, 1e-9))


@dataclass(frozen=True)
class Regression:
    """A fitted regression: see ``fit_regression``."""

    centre: Array
    scale: Array
    rows: Array
    weights: Array
    inverse: Array
    mean: float
    width: float
    noise: float
    error: Array
    left_out: Array  # [N, 2]: the error expected of each row and the error it had, its group left out

    def __call__(self, features: Sequence[float] | Array) -> Answer:
        """The answer for features [P]."""
        near = _kernel(_standard(np.asarray(features, float)[None], self.centre, self.scale), self.rows, self.width)[0]
        value = self.mean + float(near @ self.weights)
        deviation = math.sqrt(max(1.0 + self.noise - float(near @ self.inverse @ near), 0.0))
        return Answer(value, float(_terms(np.array([value]), np.array([deviation]))[0] @ self.error))

    def most_expected(self, tolerance: float) -> float:
        """The largest expected error to be trusted: rows up to it had a mean error within the tolerance, left out. 0 if there is none."""
        expected, errors = self.left_out[np.argsort(self.left_out[:, 0], kind="stable")].T
        means = np.cumsum(errors) / np.arange(1, len(errors) + 1)
        enough = np.flatnonzero(means[FEWEST_TRUSTED - 1 :] <= tolerance)
        return float(expected[FEWEST_TRUSTED - 1 + enough[-1]]) if len(enough) else 0.0


def fit_regression(x: Array, y: Array, groups: Sequence[object]) -> Regression:
    """Learns y from x. Raises ValueError for fewer than three groups: nothing could be left out."""
    x, y = np.asarray(x, float), np.asarray(y, float)
    names = sorted(set(map(str, groups)))
    if len(names) < 3:
        raise ValueError(f"a regression needs rows of at least three songs; got {len(names)}")
    members = [np.flatnonzero(np.array([str(group) == name for group in groups])) for name in names]
    centre, scale = np.median(x, axis=0), x.std(axis=0) + 1e-6
    rows, mean = _standard(x, centre, scale), float(y.mean())
    best = None
    for width in WIDTHS:
        kernel = _kernel(rows, rows, width)
        for noise in NOISES:
            inverse = np.linalg.inv(kernel + noise * np.eye(len(y)))
            errors, deviations = _left_out(inverse, y - mean, members)
            cost = float(np.abs(errors).mean())
            if best is None or cost < best[0] - 1e-9:
                best = (cost, width, noise, inverse, errors, deviations)
    assert best is not None
    _, width, noise, inverse, errors, deviations = best
    terms = _terms(y - errors, deviations)
    error = nnls(terms, np.abs(errors))[0]
    left_out = np.stack([terms @ error, np.abs(errors)], -1)
    return Regression(centre, scale, rows, inverse @ (y - mean), inverse, mean, width, noise, error, left_out)


def _left_out(inverse: Array, y: Array, members: Sequence[NDArray[np.int64]]) -> tuple[Array, Array]:
    """Errors of the rows when their group is away, and the deviation that the process gives them."""
    weights = inverse @ y
    errors, deviations = np.empty_like(y), np.empty_like(y)
    for group in members:
        covariance = np.linalg.inv(inverse[np.ix_(group, group)])
        errors[group] = covariance @ weights[group]
        deviations[group] = np.sqrt(np.maximum(np.diag(covariance), 0.0))
    return errors, deviations


def _terms(values: Array, deviations: Array) -> Array:
    return np.stack([np.ones_like(values), np.abs(values), deviations], axis=-1)


def _standard(x: Array, centre: Array, scale: Array) -> Array:
    return np.clip((x - centre) / scale, -FARTHEST, FARTHEST)


def _kernel(a: Array, b: Array, width: float) -> Array:
    squares = (a * a).sum(1)[:, None] + (b * b).sum(1)[None] - 2.0 * a @ b.T
    return np.asarray(np.exp(-np.maximum(squares, 0.0) / (2.0 * width * width * a.shape[1])))
