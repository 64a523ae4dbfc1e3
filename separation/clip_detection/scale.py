"""The logarithmic scale of levels on which a signal is counted: the upper bits of its float32 samples.

Conventions
    The scale is piecewise linear: ``FINE`` steps an octave (0.006 to 0.012 %) for samples, ``COARSE`` steps (0.4 to 0.8 %) for tops, from
    ``FLOOR`` (-72 dBFS) to ``TOP`` (+36 dBFS).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

FLOOR, TOP = 2.0**-12, 2.0**6
FINE, COARSE = 1 << 13, 1 << 7
OCTAVES = 18
FINE_SHIFT, COARSE_SHIFT = 10, 16  # 23 bits of mantissa - 13 and - 7
FLOOR_BITS = int(np.float32(FLOOR).view(np.int32))
NUM_FINE, NUM_COARSE = FINE * OCTAVES, COARSE * OCTAVES


def fine_index(level: float | NDArray[np.floating]) -> NDArray[np.int64]:
    """The index of the fine step that contains a level; 0 below the floor, the last one above the top."""
    bits = np.asarray(level, np.float32).view(np.int32).astype(np.int64)
    return np.clip((bits - FLOOR_BITS) >> FINE_SHIFT, 0, NUM_FINE)


def coarse_index(level: float | NDArray[np.floating]) -> NDArray[np.int64]:
    """The index of the coarse step that contains a level."""
    bits = np.asarray(level, np.float32).view(np.int32).astype(np.int64)
    return np.clip((bits - FLOOR_BITS) >> COARSE_SHIFT, 0, NUM_COARSE)


def fine_level(index: float | NDArray[np.int64]) -> NDArray[np.float64]:
    """The lower end of a fine step."""
    bits = (np.asarray(index, np.int64) << FINE_SHIFT) + FLOOR_BITS
    return bits.astype(np.int32).view(np.float32).astype(np.float64)
