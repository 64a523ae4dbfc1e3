"""What all panels of a picture of balances share: names as drawn, colours, scales, and the measures of the page in inches.

Conventions
    Levels are in LU. The scale of levels ends at FLOOR_LU or at the softest interval, that of levels over time likewise.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from stemwright.datagen.report.lettering import short_names
from stemwright.datagen.report.palette import Look, colours, dashes
from stemwright.datagen.report.sheet import USUAL, width_of

if TYPE_CHECKING:
    from stemwright.separation.balance.measure import StemBalance
    from stemwright.separation.balance.track_balance import TrackBalance

MARGIN, GAP = 0.25, 0.15
LEVELS, NUMBERS, BANDS, COURSES = 2.8, 1.5, 2.7, 5.0  # widths of the panels
AXIS = 0.75  # room for the numbers and the label of an upright axis
SWATCH = 0.42  # a line before a name
MOST_LETTERS, MOST_TITLE = 24, 64
FLOOR_LU, COURSE_FLOOR_LU = -40.0, -30.0


@dataclass(frozen=True)
class Scales:
    """What the panels of a picture share."""

    look: Look
    names: dict[str, str]
    titles: dict[str, str]
    short_titles: dict[str, str]
    colours: dict[str, str]
    dashes: dict[str, Any]
    levels: tuple[float, float]
    courses: tuple[float, float]
    loudness: tuple[float, float]
    name_width: float
    title_width: float

    @classmethod
    def of(cls, tracks: Sequence[TrackBalance], look: Look) -> Scales:
        """The scales for some recordings."""
        stems = list(dict.fromkeys(name for track in tracks for name in track.stems))
        names = short_names(stems, MOST_LETTERS)
        titles, short_titles = (short_names([track.title for track in tracks], letters) for letters in (MOST_TITLE, MOST_LETTERS))
        present = [stem for track in tracks for stem in track.stems.values() if stem.present]
        return cls(
            look,
            names,
            titles,
            short_titles,
            colours(stems, look),
            dashes(stems),
            _level_scale(present),
            _course_scale(present),
            _loudness_scale(tracks),
            width_of(list(names.values()), USUAL),
            width_of(list(short_titles.values()), USUAL),
        )


def page_width(scales: Scales) -> float:
    """The width of a page in inches."""
    return MARGIN + scales.name_width + GAP + LEVELS + NUMBERS + GAP + BANDS + AXIS + COURSES + SWATCH + scales.name_width + MARGIN


def within(time_s: np.ndarray, spans_s: Sequence[tuple[float, float]]) -> np.ndarray:
    """Which times are in a span, [N]: a window in whose middle the stem pauses gives no level of it."""
    found = np.zeros(len(time_s), dtype=bool)
    if spans_s:
        starts, ends = np.array(spans_s).T
        place = np.searchsorted(starts, time_s, side="right") - 1
        found = (place >= 0) & (time_s <= ends[np.maximum(place, 0)])
    return found


def middles(end_s: np.ndarray) -> np.ndarray:
    """The middles of three-second windows by their ends; of a recording that is shorter, of the whole."""
    return end_s - min(1.5, float(end_s[0]) / 2) if end_s.size else end_s


def _finite(values: Iterable[float]) -> list[float]:
    return [value for value in values if math.isfinite(value)]


def _level_scale(present: Sequence[StemBalance]) -> tuple[float, float]:
    lows, highs = _finite(stem.level_low_lu for stem in present), _finite(stem.level_high_lu for stem in present)
    low = max(FLOOR_LU, min([-6.0, *lows]))
    span = -low
    return low - 0.1 * span, max([0.5, *highs]) + 0.08 * span


def _course_scale(present: Sequence[StemBalance]) -> tuple[float, float]:
    """A little under the softest stem's course while it plays, and over the loudest."""
    lows, highs = [-10.0], [1.0]
    for stem in present:
        course = stem.trajectory
        sounding = np.isfinite(course.level_lu) & within(middles(course.end_s), stem.active_spans_s)
        if sounding.any():
            ends = course.level_lu[sounding], course.low_lu[sounding], course.high_lu[sounding]
            lows.append(min(float(np.percentile(ends[0], 2)) - 1.0, float(np.percentile(ends[1], 10))))
            highs.append(max(float(np.percentile(ends[0], 99.5)) + 1.0, float(np.percentile(ends[2], 90))))
    return max(COURSE_FLOOR_LU, min(lows)), min(max(highs), 15.0)


def _loudness_scale(tracks: Sequence[TrackBalance]) -> tuple[float, float]:
    """From the softest short-term loudness, without the softest twentieth, to the highest peak."""
    lows, highs = [-20.0], [0.0]
    for track in tracks:
        if track.course is not None and np.isfinite(track.course.short_term_lufs).any():
            loudness = track.course.short_term_lufs[np.isfinite(track.course.short_term_lufs)]
            lows.append(float(np.percentile(loudness, 5)) - 3.0)
            highs.append(track.loudness.true_peak_dbtp + 1.0)
    return max(-60.0, min(lows)), max(_finite(highs))
