"""The levels of stems in the sections of a recording.

Conventions
    The level in a section is the mean energy of the stem there over that of the mixture, both K-weighted, in LU: from the three-second
    windows within the section, or where none is, the one whose middle is nearest to the section's. It is not gated: a stem that plays for
    half of a section has half of the energy. -inf where the stem is silent, NaN where the mixture is. The interval is that of the windows,
    whose errors are taken to be alike.

References
    ITU-R BS.1770-5 (weighting). Windows: ``stemwright.separation.balance.measure.Trajectory``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stemwright.separation.balance.measure import StemBalance
from stemwright.separation.balance.mixture_line import MixtureCourse
from stemwright.separation.loudness.meter import SHORT_TERM_HOPS

Array = NDArray[np.floating]

WINDOW_S = SHORT_TERM_HOPS / 100


@dataclass(frozen=True)
class SectionLevels:
    """One section: its time, the loudness of the mixture, and the level of each stem with its 80 % interval (level, low, high)."""

    start_s: float
    end_s: float
    loudness_lufs: float
    stems: dict[str, tuple[float, float, float]]


def section_levels(
    sections: Sequence[tuple[float, float]], course: MixtureCourse, stems: Mapping[str, StemBalance]
) -> tuple[SectionLevels, ...]:
    """The levels of each section, given as start and end in seconds, of a measured mixture and its stems."""
    power = _power(course.short_term_lufs)
    found = []
    for start_s, end_s in sections:
        within = _windows(course.end_s, start_s, end_s)
        whole = power[within].mean()
        levels = {
            name: tuple(
                float(_level((_power(part) * power)[within].mean(), whole))
                for part in (stem.trajectory.level_lu, stem.trajectory.low_lu, stem.trajectory.high_lu)
            )
            for name, stem in stems.items()
        }
        absent = (-np.inf, -np.inf, -np.inf)
        shown = {name: (each[0], each[1], each[2]) if stems[name].present else absent for name, each in levels.items()}
        found.append(SectionLevels(start_s, end_s, float(_level(whole, 1.0)), shown))
    return tuple(found)


def _windows(end_s: Array, start: float, stop: float) -> NDArray[np.bool_]:
    """Which windows are within a section; the nearest one where none is."""
    starts = np.maximum(end_s - WINDOW_S, 0.0)
    within = (starts >= start - 1e-6) & (end_s <= stop + 1e-6)
    if not within.any():
        within = np.zeros(len(end_s), dtype=bool)
        within[np.argmin(np.abs((starts + end_s) / 2 - (start + stop) / 2))] = True
    return within


def _power(level: Array) -> Array:
    return np.asarray(10.0 ** (level / 10.0))


def _level(power: float, against: float) -> float:
    """Decibels of a ratio of powers; NaN against nothing."""
    if against <= 0:
        return np.nan
    return 10.0 * float(np.log10(power / against)) if power > 0 else -np.inf
