"""Amplitude factors and decibels."""

from __future__ import annotations

import numpy as np


def db_to_gain(db: float) -> float:
    """The amplitude factor of a level difference in dB."""
    return float(10.0 ** (db / 20.0))


def gain_to_db(gain: float) -> float:
    """The level difference in dB of an amplitude factor; -inf for 0."""
    return float(20.0 * np.log10(gain)) if gain > 0 else float("-inf")
