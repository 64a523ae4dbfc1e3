"""Amplitude factors and decibels."""

from __future__ import annotations

import math

import numpy as np


def db_to_gain(db: float) -> float:
    """The amplitude factor of a level difference in dB."""
    return float(10.0 ** (db / 20.0))


def gain_to_db(gain: float) -> float:
    """The level difference in dB of an amplitude factor; -inf for 0."""
    return float(20.0 * np.log10(gain)) if gain > 0 else float("-inf")


def joint_gain_db(peak: float, limit: float = 1.0) -> float:
    """The gain for signals that have to keep their proportions, whose largest sample is ``peak``: 0, or the fewest hundredths of a dB of
    attenuation that bring the peak to the limit.
    """
    return -math.ceil(100.0 * gain_to_db(peak / limit)) / 100.0 if peak > limit else 0.0
