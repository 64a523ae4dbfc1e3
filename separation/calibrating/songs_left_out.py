"""How good a calibration is for songs that it was not made with: each song is left out, and judged by what the others give.

Conventions
    ``before`` is the base, which knows nothing of the separator; ``after`` the calibration to all songs but the one that is judged.
    Coverage is the share of true levels within their 80 % intervals. Levels are in LU.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from stemwright.separation.balance.image_intervals import pan_interval
from stemwright.separation.balance.level_estimators import Calibration, interval_around, leak_margin
from stemwright.separation.calibrating.level_fit import NOMINAL, LevelColumns, fit, levels_of, spreads_of, windows_of
from stemwright.separation.calibrating.measured_rows import StemRow
from stemwright.separation.calibrating.seen_pans import pan_holds, seen_pan

Array = NDArray[np.floating]

ROUNDING_LU = 0.005  # levels are shown with two digits
ALL = "all"


@dataclass(frozen=True)
class Judged:
    """True levels [N] of stems, what was estimated of them with its interval, and the stem and song of each.

    ``lost``: a stem that is present and that a balance would call not present; its error counts nevertheless.
    """

    true: Array
    point: Array
    low: Array
    high: Array
    names: tuple[str, ...]
    songs: tuple[str, ...]
    lost: NDArray[np.bool_]

    def figures(self, name: str = ALL) -> dict[str, float | int | None]:
        """RMSE, largest error (signed), coverage and mean width of the intervals, and the number that is lost, of one stem or all."""
        some = np.array([name in (ALL, each) for each in self.names], dtype=bool)
        if not some.any():
            return {"rmse_lu": None, "worst_lu": None, "coverage": None, "width_lu": None, "lost": 0}
        missed = self.point[some] - self.true[some]
        held = (self.low[some] - ROUNDING_LU <= self.true[some]) & (self.true[some] <= self.high[some] + ROUNDING_LU)
        return {
            "rmse_lu": round(float(np.sqrt(np.mean(missed**2))), 3),
            "worst_lu": round(float(missed[np.argmax(np.abs(missed))]), 2),
            "coverage": round(float(np.mean(held)), 3),
            "width_lu": round(float(np.mean(self.high[some] - self.low[some])), 2),
            "lost": int(self.lost[some].sum()),
        }


class PanFigures(NamedTuple):
    """Mean error of pans, the share of true ones within their ranges, and the mean width of these."""

    error: float
    coverage: float
    width: float


@dataclass(frozen=True)
class SongsLeftOut:
    """Levels, windows and pans of all songs before and after; no pans: None."""

    before: Judged
    after: Judged
    windows_before: Judged
    windows_after: Judged
    pan_before: PanFigures | None
    pan_after: PanFigures | None

    @property
    def pan_holds(self) -> bool:
        """Whether calibrated ranges of pans contain the nominal share of them, or no fewer than generic ones."""
        before, after = self.pan_before, self.pan_after
        return before is None or after is None or after.coverage >= min(NOMINAL, before.coverage)

    def kept(self, found: Calibration, base: Calibration) -> Calibration:
        """A calibration without what was found worse than its base for songs that are left out: pans and their ranges."""
        return found if self.pan_holds else replace(found, image=base.image)

    def rows(self) -> list[dict[str, Any]]:
        """One row for each stem, one for all, one for windows of three seconds: as in tables and JSON."""
        names = sorted(set(self.before.names))
        found = [(name, self.before, self.after, name) for name in names] + [(ALL, self.before, self.after, ALL)]
        found.append(("windows", self.windows_before, self.windows_after, ALL))
        return [_row(label, before, after, name) for label, before, after, name in found]


def _row(label: str, before: Judged, after: Judged, name: str) -> dict[str, Any]:
    count = sum(name in (ALL, each) for each in before.names)
    old, new = before.figures(name), after.figures(name)
    return {"stem": label, "count": count} | {f"{key}_{when}": its[key] for key in old for when, its in (("before", old), ("after", new))}


def leave_one_out(rows: Sequence[StemRow], base: Calibration, on_song: Callable[[str], None] = lambda _: None) -> SongsLeftOut:
    """Judges every song by the calibration that the others give; at least two songs. ``on_song`` is called before each."""
    before, after, windows = [], [], []
    pans: list[tuple[float, ...]] = []
    for song in dict.fromkeys(row.song for row in rows):
        on_song(song)
        own, others = [row for row in rows if row.song == song], [row for row in rows if row.song != song]
        if not any(row.present for row in own) or not any(row.present for row in others):
            continue
        calibration = fit(others, base)
        at_leak = [row.at(calibration.leak) for row in own]
        before.append(judged(levels_of(own, base), base))
        after.append(judged(levels_of(at_leak, base), calibration))
        course, unleaked = (windows_of(some, base) for some in (own, at_leak))
        windows.append((judged(course, base, window=True), judged(unleaked, calibration, window=True)))
        pans += [
            (*_pan(row, base, base), *_pan(row, base, calibration)) for row in own if row.present and None not in (row.pan, row.true_pan)
        ]
    columns = np.array(pans, dtype=np.float64).reshape(-1, 6).mean(axis=0) if pans else None
    pan_before, pan_after = (None if columns is None else PanFigures(*map(float, columns[at : at + 3])) for at in (0, 3))
    course_before, course_after = (together([each[at] for each in windows]) for at in (0, 1))
    return SongsLeftOut(together(before), together(after), course_before, course_after, pan_before, pan_after)


def judged(levels: LevelColumns, calibration: Calibration, *, window: bool = False) -> Judged:
    """Levels as a calibration estimates them, with their intervals; ``window``: those of three seconds."""
    point = levels.points(calibration, calibration.correction)
    margins = (calibration.window_low, calibration.window_high) if window else (calibration.low, calibration.high)
    low, high = interval_around(point, levels.gap, *margins, spreads_of(calibration.correction, levels.names))
    more_lu = leak_margin(levels.cross, levels.part, calibration)
    lost = np.zeros(levels.true.shape, dtype=bool)
    if not window:
        lost = levels.naive < np.array([calibration.absent_below(name) for name in levels.names])
    return Judged(levels.true, point, low - more_lu, high + more_lu, levels.names, levels.songs, lost)


def together(parts: Sequence[Judged]) -> Judged:
    """Several as one."""
    true, point, low, high, lost = (
        np.concatenate([getattr(part, name) for part in parts] or [np.zeros(0)]) for name in ("true", "point", "low", "high", "lost")
    )
    names, songs = (tuple(text for part in parts for text in getattr(part, name)) for name in ("names", "songs"))
    return Judged(true, point, low, high, names, songs, lost.astype(bool))


def _pan(row: StemRow, base: Calibration, calibration: Calibration) -> PanFigures:
    """The error of the pan of a row, whether its interval contains the true one, and how wide it is."""
    found = seen_pan(row, base)
    pan = calibration.image.pan_of(found.pan, found.seen)
    low, high = pan_interval(pan, found.seen, calibration.image)
    return PanFigures(abs(found.error(calibration.image)), float(pan_holds(found, calibration.image)), high - low)
