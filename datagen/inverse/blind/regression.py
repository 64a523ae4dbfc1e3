"""Learning a number from features: a Gaussian process, with the error to expect of each answer.

    scale         z = sign(y) (√(1 + |y|) - 1): numbers are learnt on a scale on which errors do not grow with the number
    answer        m + k(x)ᵀ A⁻¹ (z - m),   A = K + noise I,   K from a Gaussian kernel over standardised features
    left out      with the rows G of one group away, their errors are ((A⁻¹)_GG)⁻¹ (A⁻¹ (z - m))_G: no second fit is needed
    uncertainty   |error of z| ≈ a deviation + b nearby, both ≥ 0, fitted to the errors of groups left out; nearby is the mean error, left
                  out, of the rows of other groups that are near (a narrower kernel): some songs are harder than others
    trusted       the answers of least uncertainty, as many as have a mean error within a tolerance when their group is left out, a standard
                  error over groups added: few groups prove little, and the largest number that passes is a lucky one
    scores        errors left out over uncertainties, of the rows that would be answered (``stemwright.datagen.inverse.blind.conformal``):
                  they give the interval and the confidence of an answer
    detected      numbers that exceed their uncertainty by more than those of rows that are 0 do when their group is left out; of few rows
                  the largest is no bound, and one by Student's t holds as well

Conventions
    x is [N, P], y and groups are [N]. A group must not be on both sides of a split (the rows of one song). Standardised features are kept
    within three deviations, so that an outlier cannot dominate an answer. Width and noise of the kernel are those of a small grid
    with the least error of groups left out.

References
    Rasmussen and Williams 2006, Gaussian Processes for Machine Learning, equations 2.25, 2.26 and 5.10 to 5.12 (leaving out).
    Vovk, Gammerman and Shafer 2005, Algorithmic Learning in a Random World: the conformal quantile.
    Hahn and Meeker 1991, Statistical Intervals: the bound for one further value of a normal distribution (Student's t); cited from memory.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls
from scipy.stats import t as student_t

from stemwright.datagen.inverse.blind.conformal import SongScores, song_scores
from stemwright.datagen.inverse.confidence import half_interval

Array = NDArray[np.floating]

WIDTHS = (0.6, 0.9, 1.3, 2.0)  # of the kernel, times the square root of the number of features
NOISES = (0.1, 0.3, 1.0)
FARTHEST = 3.0  # deviations
NEARBY = 0.5  # width of the kernel that says which errors left out are near
PRIOR_ROWS = 3.0  # number of rows of mean error added to those nearby
FALSE_ALARMS = 0.1  # of a number that is 0: the probability that it is detected
FEWEST_TRUSTED, FEWEST_GROUPS = 12, 3  # rows and groups: fewer prove nothing


@dataclass(frozen=True)
class Answer:
    """A number, the mean absolute error to expect of it, and that on the scale on which errors do not grow with the number."""

    value: float
    expected_error: float
    uncertainty: float

    def interval(self, scores: SongScores) -> tuple[float, float]:
        """The 80 % interval of the number, as wide as the scores of songs left out call for."""
        z, half = float(_scaled(np.array(self.value))), scores.factor() * self.uncertainty
        return (_unscaled(z - half), _unscaled(z + half)) if math.isfinite(half) else (-math.inf, math.inf)

    def confidence(self, tolerance: float, scores: SongScores) -> float:
        """The probability that the value is right within a tolerance, by the scores of songs left out."""
        return scores.probability(tolerance / _slope(self.value) / max(self.uncertainty, 1e-9))


@dataclass(frozen=True)
class LeftOut:
    """The result of each row with its group left out: its uncertainty and its error, both of z, its group, and the number itself as it was
    found and as it is; all are [N].
    """

    uncertainties: Array
    errors: Array
    groups: NDArray[np.int64]
    found: Array = field(default_factory=lambda: np.zeros(0))
    true: Array = field(default_factory=lambda: np.zeros(0))


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
    uncertainty: Array
    left_out: LeftOut

    def __call__(self, features: Sequence[float] | Array) -> Answer:
        """The answer for features [P]."""
        row = _standard(np.asarray(features, float)[None], self.centre, self.scale)
        near = _kernel(row, self.rows, self.width)[0]
        z = self.mean + float(near @ self.weights)
        deviation = math.sqrt(max(1.0 + self.noise - float(near @ self.inverse @ near), 0.0))
        uncertainty = float(np.array([deviation, _nearby(_kernel(row, self.rows, NEARBY), self.left_out.errors)[0]]) @ self.uncertainty)
        return self.answer(_unscaled(z), uncertainty)

    def answer(self, value: float, uncertainty: float) -> Answer:
        """The answer with a value and its uncertainty on the scale of z."""
        return Answer(value, uncertainty * _slope(value), uncertainty)

    def largest_trusted_uncertainty(self, tolerance: float, *, at: float) -> float:
        """The largest uncertainty to trust: rows up to it had, when left out, a mean error within the tolerance. 0 if there is none.

        The tolerance is that of a number as large as ``at``; for others it is as much smaller or larger as the scale says.
        """
        allowed = tolerance / _slope(at)
        order = np.argsort(self.left_out.uncertainties, kind="stable")
        uncertainties, errors, groups = self.left_out.uncertainties[order], self.left_out.errors[order], self.left_out.groups[order]
        ends = np.append(np.flatnonzero(np.diff(uncertainties) > 0.0) + 1, len(uncertainties))  # equal ones stay together
        for count in ends[ends >= FEWEST_TRUSTED][::-1]:
            if _bound(errors[:count], groups[:count]) <= allowed:
                return float(uncertainties[count - 1])
        return 0.0

    def detected(self, answer: Answer) -> bool:
        """Whether a number is not 0: of a song left out whose number is 0, the probability of this is ``FALSE_ALARMS`` at most."""
        return float(_scaled(np.array(answer.value))) > self.detection_threshold * answer.uncertainty

    @property
    def detection_threshold(self) -> float:
        """How many times its uncertainty a number has to be, on the scale of z: a conformal quantile of the rows whose number is 0, the
        largest of few, and at least the prediction bound of one further normal value, which is higher with few rows, and half the 80 %
        interval of errors with a Laplace distribution. Infinite with fewer than two such rows.
        """
        zeros = self.left_out.true == 0.0
        if zeros.sum() < 2:
            return math.inf
        scores = np.sort(_scaled(self.left_out.found[zeros]) / np.maximum(self.left_out.uncertainties[zeros], 1e-9))
        rank = math.ceil((len(scores) + 1) * (1.0 - FALSE_ALARMS))
        bound = scores.mean() + student_t.ppf(1.0 - FALSE_ALARMS, len(scores) - 1) * scores.std(ddof=1) * math.sqrt(1.0 + 1.0 / len(scores))
        return float(max(scores[min(rank, len(scores)) - 1], bound, half_interval(1.0)))


@dataclass(frozen=True)
class Trust:
    """Which answers of a regression are given: the largest uncertainty that is trusted; of the rows left out, which would be answered [N];
    and the scores of these, or of all rows where they are of fewer than three songs.
    """

    allowed: float
    answered: NDArray[np.bool_]
    scores: SongScores


def trust_of(regression: Regression, tolerance: float, *, at: float, error_factor: float = 1.0) -> Trust:
    """What is answered: what is trusted within a tolerance (``largest_trusted_uncertainty``), and what is detected.

    ``error_factor``: how many times as large errors are as on songs left out, where what is estimated is unlike what was learnt from.
    """
    known, allowed = regression.left_out, regression.largest_trusted_uncertainty(tolerance, at=at)
    detected = _scaled(known.found) > regression.detection_threshold * known.uncertainties
    answered = detected | (known.uncertainties <= allowed)
    few = len(np.unique(known.groups[answered])) < FEWEST_GROUPS
    kept = np.ones_like(answered) if few else answered
    return Trust(allowed, answered, song_scores(error_factor * known.errors[kept], known.uncertainties[kept], known.groups[kept]))


def fit_regression(x: Array, y: Array, groups: Sequence[object]) -> Regression:
    """Learns y from x. Raises ValueError for fewer than three groups: no group could be left out."""
    x, z = np.asarray(x, float), _scaled(np.asarray(y, float))
    names, numbers = np.unique(np.array([str(group) for group in groups]), return_inverse=True)
    if len(names) < FEWEST_GROUPS:
        raise ValueError(f"a regression needs rows of at least three songs; got {len(names)}")
    members = [np.flatnonzero(numbers == number) for number in range(len(names))]
    centre, scale = np.median(x, axis=0), x.std(axis=0) + 1e-6
    rows, mean = _standard(x, centre, scale), float(z.mean())
    best = None
    for width in WIDTHS:
        kernel = _kernel(rows, rows, width)
        for noise in NOISES:
            inverse = np.linalg.inv(kernel + noise * np.eye(len(z)))
            errors, deviations = _left_out(inverse, z - mean, members)
            cost = float(np.abs(errors).mean())
            if best is None or cost < best[0] - 1e-9:
                best = (cost, width, noise, inverse, errors, deviations)
    assert best is not None
    _, width, noise, inverse, differences, deviations = best
    errors = np.abs(differences)
    others = np.where(numbers[:, None] == numbers, 0.0, _kernel(rows, rows, NEARBY))
    terms = np.stack([deviations, _nearby(others, errors)], axis=-1)
    uncertainty = nnls(terms, errors)[0]
    found = np.array([_unscaled(value) for value in z - differences])
    left_out = LeftOut(terms @ uncertainty, errors, numbers, found, np.asarray(y, float))
    return Regression(centre, scale, rows, inverse @ (z - mean), inverse, mean, width, noise, uncertainty, left_out)


def _left_out(inverse: Array, y: Array, members: Sequence[NDArray[np.int64]]) -> tuple[Array, Array]:
    """Errors of the rows when their group is left out, and the deviation that the process gives them."""
    weights = inverse @ y
    errors, deviations = np.empty_like(y), np.empty_like(y)
    for group in members:
        covariance = np.linalg.inv(inverse[np.ix_(group, group)])
        errors[group] = covariance @ weights[group]
        deviations[group] = np.sqrt(np.maximum(np.diag(covariance), 0.0))
    return errors, deviations


def _nearby(near: Array, errors: Array) -> Array:
    """The mean error of rows [N], weighted by proximity [M, N], with some weight on the mean error of all: [M]."""
    return np.asarray((near @ errors + PRIOR_ROWS * errors.mean()) / (near.sum(1) + PRIOR_ROWS))


def _bound(errors: Array, groups: NDArray[np.int64]) -> float:
    """The mean error of rows [N] and a standard error of it: the rows of a group err together."""
    names, numbers = np.unique(groups, return_inverse=True)
    if len(names) < FEWEST_GROUPS:
        return math.inf
    sums = np.bincount(numbers, errors - errors.mean())
    return float(errors.mean() + math.sqrt((sums @ sums) * len(names) / (len(names) - 1)) / len(errors))


def _slope(y: float) -> float:
    """How many units of the number one of z is: dy/dz = 2 (1 + |z|), and 1 + |z| = √(1 + |y|)."""
    return 2.0 * math.sqrt(1.0 + abs(y))


def _scaled(y: Array) -> Array:
    return np.asarray(np.sign(y) * (np.sqrt(1.0 + np.abs(y)) - 1.0))


def _unscaled(z: float) -> float:
    return math.copysign((1.0 + abs(z)) ** 2 - 1.0, z)


def _standard(x: Array, centre: Array, scale: Array) -> Array:
    return np.clip((x - centre) / scale, -FARTHEST, FARTHEST)


def _kernel(a: Array, b: Array, width: float) -> Array:
    squares = (a * a).sum(1)[:, None] + (b * b).sum(1)[None] - 2.0 * a @ b.T
    return np.asarray(np.exp(-np.maximum(squares, 0.0) / (2.0 * width * width * a.shape[1])))
