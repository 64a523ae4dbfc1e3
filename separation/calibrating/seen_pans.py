"""Pans of separated stems whose true pans are known: how far off they are, and whether their intervals contain the true ones.

Conventions
    As in ``stemwright.separation.balance.image_intervals``. Images are those of stems as given, whatever leak is subtracted from levels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from stemwright.separation.balance.image_intervals import ImageCalibration, Seen, pan_interval
from stemwright.separation.balance.level_estimators import Calibration
from stemwright.separation.calibrating.measured_rows import StemRow


class SeenPan(NamedTuple):
    """The pan of a separated stem, the true one, and what its interval is judged by."""

    song: str
    pan: float
    true: float
    seen: Seen

    def error(self, image: ImageCalibration) -> float:
        """What the corrected pan is off by."""
        return image.pan_of(self.pan, self.seen) - self.true


def seen_pan(row: StemRow, base: Calibration) -> SeenPan:
    """The pan of a row that has one, as given: with the gap that a balance has."""
    levels = row.raised if base.together else row.plain
    gap_lu = max(levels.cross_lu - levels.naive_lu, 0.0)
    return SeenPan(row.song, row.pan or 0.0, row.true_pan or 0.0, Seen(gap_lu, row.shared_pan, row.mixture_width))


def pan_holds(found: SeenPan, image: ImageCalibration) -> bool:
    """Whether the interval of a pan contains the true one."""
    low, high = pan_interval(image.pan_of(found.pan, found.seen), found.seen, image)
    return low - 1e-6 <= found.true <= high + 1e-6


def pan_squares(parts: Sequence[tuple[SeenPan, ImageCalibration]]) -> dict[str, float]:
    """The mean square of the errors of the pans of each song, each with an image calibration."""
    errors: dict[str, list[float]] = {}
    for found, image in parts:
        errors.setdefault(found.song, []).append(found.error(image) ** 2)
    return {song: sum(its) / len(its) for song, its in errors.items()}


def pan_times(image: ImageCalibration, factor: float) -> ImageCalibration:
    """The same for intervals of pans so many times as wide."""
    return replace(image, **{name: round(getattr(image, name) * factor, 4) for name in ("place", "apart", "spread")})
