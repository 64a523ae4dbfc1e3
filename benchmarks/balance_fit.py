"""Fitting the constants of separation/balance/level_estimators.py to songs whose levels are known.

Conventions
    A frame has one row per stem of a song with ``truth``, ``naive`` and ``cross`` in LU against the mixture, its ``condition``, and
    ``windows``: loudness in LUFS of mixture, true stem, separated stem and cross-energy in windows of three seconds, [4, N].

References
    Koenker and Bassett 1978: quantile regression, as a linear programme.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas
from scipy import sparse

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # before this folder, whose separation.py is a benchmark

from stemwright.separation.balance.level_estimators import Calibration, Margin, point_between

MARGIN_GAPS_LU = (0.125, 0.25, 0.5, 1.0, 2.0)
LARGEST_GAP_LU = 10.0  # beyond it the correction is a share of the gap, whatever the constant
AUDIBLE_LU = -25.0  # a window in which a stem is softer says little about its trajectory


def windows_of(frame: pandas.DataFrame) -> np.ndarray:
    """Levels in all audible three-second windows: truth, naive, cross in LU against the mixture, [3, N]."""
    return _windows(frame)[0]


def _windows(frame: pandas.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """As ``windows_of``, and the number of the row that each is of, [N]."""
    mixture, *others = np.concatenate(list(frame["windows"]), axis=1)
    levels = np.stack(others) - np.where(np.isfinite(mixture), mixture, 0.0)
    heard = np.isfinite(levels).all(0) & np.isfinite(mixture) & (levels[0] > AUDIBLE_LU)
    return levels[:, heard], np.repeat(np.arange(len(frame)), [each.shape[1] for each in frame["windows"]])[heard]


def equal_weights(frame: pandas.DataFrame, groups: Sequence[np.ndarray]) -> np.ndarray:
    """Weights of rows by which every song counts the same within its group, and every group the same; groups are masks [N]. Rows of none
    of them do not count."""
    per_song = 1.0 / frame.groupby("song")["song"].transform("size").to_numpy()
    return np.sum([np.where(group, per_song, 0.0) / per_song[group].sum() for group in groups], axis=0)


def pinball(excess: np.ndarray, weight: np.ndarray) -> float:
    """Loss whose least value marks the nine-tenths quantile."""
    return float(np.average(np.maximum(0.9 * excess, -0.1 * excess), weights=weight))


def fit_margin(excess: np.ndarray, gap: np.ndarray, weight: np.ndarray | None = None) -> Margin:
    """The margin that nine tenths of the excesses stay under: quantile regression on the gap, no coefficient negative."""
    from scipy.optimize import linprog

    count, candidates = excess.size, []
    weight = np.ones(count) if weight is None else weight
    cost = np.concatenate([[0.0, 0.0], 0.9 * weight, 0.1 * weight]) / weight.sum()
    for gap_lu in MARGIN_GAPS_LU:
        basis = sparse.csr_array(np.stack([1 - np.exp(-gap / gap_lu), gap], axis=1))
        equalities = sparse.hstack([basis, sparse.eye_array(count), -sparse.eye_array(count)]).tocsr()
        bound_lu, per_gap = linprog(cost, A_eq=equalities, b_eq=excess, bounds=[(0, None)] * (2 + 2 * count)).x[:2]
        candidates.append(Margin(round(float(bound_lu), 3), gap_lu, round(float(per_gap), 3)))
    return min(candidates, key=lambda margin: pinball(excess - margin.at(gap), weight))


def widest(excess: np.ndarray, gap: np.ndarray, weights: Sequence[np.ndarray]) -> Margin:
    """Of the margins that fit by each of these weights [N] the one that is wider on average."""
    return max((fit_margin(excess, gap, weight) for weight in weights), key=lambda margin: float(np.mean(margin.at(gap))))


def fit(frame: pandas.DataFrame, kind: Calibration, of_margins: Sequence[np.ndarray]) -> Calibration:
    """Fits the constants of a kind of stems: the correction by least squares, then the margins, the wider of those by weights of rows [N].

    For the correction uncorrelated songs count twice: real multitracks are nearer to them.
    """
    from scipy.optimize import minimize

    truth, naive, cross = (np.asarray(frame[column]) for column in ("truth", "naive", "cross"))
    weight = np.where(frame["condition"].str.startswith("correlated"), 1.0, 2.0)
    nothing = Margin(0.0, 1.0, 0.0)

    def at(values: np.ndarray) -> Calibration:
        return Calibration(float(values[0]), float(values[1]), nothing, nothing, nothing, nothing)

    def loss(values: np.ndarray) -> float:
        return float(np.mean(weight * (point_between(naive, cross, at(values)) - truth) ** 2))

    best = minimize(loss, [0.3, 0.5], method="Nelder-Mead", bounds=[(0, 5), (0.05, LARGEST_GAP_LU)]).x
    found = at(np.round(best, 3))
    point, gap = point_between(naive, cross, found), np.abs(cross - naive)
    (window_truth, window_naive, window_cross), of_row = _windows(frame)
    of_windows = [(weight / np.bincount(of_row, minlength=len(frame)).clip(1))[of_row] for weight in of_margins]
    window_point, window_gap = point_between(window_naive, window_cross, found), np.abs(window_cross - window_naive)
    return replace(
        kind,
        correction_lu=round(float(found.correction_lu), 3),
        gap_lu=round(float(found.gap_lu), 3),
        low=widest(point - truth, gap, of_margins),
        high=widest(truth - point, gap, of_margins),
        window_low=widest(window_point - window_truth, window_gap, of_windows),
        window_high=widest(window_truth - window_point, window_gap, of_windows),
    )
