"""Intervals and confidences of estimates by their errors on songs left out, in units of the uncertainty that each estimate states.

    score        |error| / uncertainty of one trial of a song left out
    level        of a score: the share of the scores of all other songs that is smaller
    factor       how many uncertainties an interval reaches: the score at the level that four out of five trials of a song left out do not
                 exceed
    probability  that an error is within so many uncertainties: the share of trials at lower levels than that number of uncertainties

Conventions
    Scores and songs are [N]. Every song has the same weight, however many trials it has: their errors are alike. A quantile of the scores
    of a few songs is exceeded by the next song more often than by these songs; that is why a level is counted among the other songs. With
    fewer than three songs there is no factor.
    The scores are those of trials that would have been answered. Answers are given where the estimate is large or its uncertainty small,
    and such estimates are too large, and such uncertainties too small, more often than others.

References
    Vovk, Gammerman and Shafer 2005, Algorithmic Learning in a Random World. Dunn, Wasserman and Ramdas 2022, Distribution-free prediction
    sets for two-layer hierarchical models: songs as groups; it takes the song to come as beyond all others, which with four songs holds
    94 % where 80 % are meant. Jin and Ren 2024, Confidence on the focal: scores of what is selected alike. All cited from memory.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stemwright.datagen.inverse.confidence import INTERVAL

Array = NDArray[np.floating]

FEWEST_SONGS = 3
EPSILON = 1e-9  # levels are sums of weights


@dataclass(frozen=True)
class SongScores:
    """Scores in rising order with the share up to each, and levels in rising order with the share up to each; all are [N]."""

    scores: Array
    shares: Array
    levels: Array
    level_shares: Array
    songs: int

    def factor(self, probability: float = INTERVAL) -> float:
        """How many uncertainties an interval of that probability reaches on each side; infinite with too few songs."""
        if self.songs < FEWEST_SONGS:
            return math.inf
        level = self.levels[_place(self.level_shares, probability - EPSILON)]
        return float(self.scores[_place(self.shares, level + EPSILON)])

    def probability(self, factor: float) -> float:
        """The probability that an error is within so many uncertainties; 0 with too few songs, and never above n / (n + 1)."""
        within = int(np.searchsorted(self.scores, factor, side="right"))
        if self.songs < FEWEST_SONGS or not within:
            return 0.0
        lower = int(np.searchsorted(self.levels, self.shares[within - 1] - EPSILON))
        return min(float(self.level_shares[lower - 1]), self.songs / (self.songs + 1.0)) if lower else 0.0


def song_scores(errors: Array, uncertainties: Array, songs: NDArray[np.int64]) -> SongScores:
    """The scores of trials [N] of songs left out: their errors and uncertainties, in one unit, and the song of each."""
    scores = np.abs(errors) / np.maximum(uncertainties, 1e-9)
    order = np.argsort(scores, kind="stable")
    scores = scores[order]
    _, numbers = np.unique(songs[order], return_inverse=True)
    counts = np.bincount(numbers)
    weights = 1.0 / (len(counts) * counts[numbers])
    first = np.searchsorted(scores, scores)  # equal scores are at one level
    smaller = np.append(0.0, np.cumsum(weights))[first]
    for number in range(len(counts)):
        own = numbers == number
        smaller[own] -= np.append(0.0, np.cumsum(np.where(own, weights, 0.0)))[first[own]]
    levels = smaller * (len(counts) / max(len(counts) - 1, 1))
    rising = np.argsort(levels, kind="stable")
    return SongScores(scores, np.cumsum(weights), levels[rising], np.cumsum(weights[rising]), len(counts))


def _place(shares: Array, wanted: float) -> int:
    """The first place up to which the wanted share lies, or the last."""
    return min(int(np.searchsorted(shares, wanted)), len(shares) - 1)
