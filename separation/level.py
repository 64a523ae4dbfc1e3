"""How loud a stem is in its mixture, from the separated stem: three estimators and an interval.

    naive   loudness of the separated stem. A separator that minimises squared error shrinks its stems, E|ŝ|² = E|s|² - E|e|², so naive
    reads low. cross   gated loudness of the K-weighted cross-energy of stem and mixture. For uncorrelated sources and ŝ = E[s | x] its
    mean is E|s|²;
            positively correlated sources make it read high.
    point   between the two, in dB; its weight was fitted on songs that no test uses.

Conventions
    Block arrays hold mean squares of 0.4 s windows every 100 ms, [N]. Levels are in LU against the mixture's integrated loudness.

References
    Ward, Wierstorf, Mason, Plumbley, Hummersone 2017 (the quantity). ITU-R BS.1770-5, annex 1 (gating). The orthogonality of the mean
    square error estimate, E⟨s - ŝ, x⟩ = 0, gives the cross estimator.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from separation.loudness import gated_loudness

Array = NDArray[np.floating]


@dataclass(frozen=True)
class Calibration:
    """Where between naive (0) and cross (1) the point lies, and the interval around it. All in LU."""

    cross_weight: float = 0.8
    low_margin_lu: float = 0.3
    high_margin_lu: float = 0.3
    low_share: float = 0.5
    high_share: float = 0.5


SEPARATED = Calibration()
REFERENCE = Calibration(cross_weight=0.0, low_margin_lu=0.0, high_margin_lu=0.0, low_share=0.0, high_share=0.0)


@dataclass(frozen=True)
class Level:
    """The estimators for one stem, in LU against the mixture; -inf for all when the stem is not in it."""

    naive_lu: float
    cross_lu: float
    point_lu: float
    low_lu: float
    high_lu: float


NOT_PRESENT = Level(-math.inf, -math.inf, -math.inf, -math.inf, -math.inf)


def estimate_level(stem_blocks: Array, cross_blocks: Array, mixture_lufs: float, *, calibration: Calibration = SEPARATED) -> Level:
    """Level of a stem from its block energies and its block cross-energies with the mixture; negative cross-energies count as none."""
    naive = gated_loudness(stem_blocks) - mixture_lufs
    cross = gated_loudness(np.maximum(cross_blocks, 0.0)) - mixture_lufs
    if not (math.isfinite(naive) and math.isfinite(cross)):
        return Level(naive, cross, -math.inf, -math.inf, -math.inf)
    gap = cross - naive
    point = naive + calibration.cross_weight * gap
    low = point - calibration.low_margin_lu - calibration.low_share * abs(gap)
    high = point + calibration.high_margin_lu + calibration.high_share * abs(gap)
    return Level(naive, cross, point, low, high)
