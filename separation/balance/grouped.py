"""Songs grouped by a column, or ordered by one of numbers: every stem's level, level against the rest, pan and width, as rows and numbers.

How to use: ``grouped(songs_of_corpus("corpus"), "genre")``; ``group_rows`` and ``trend_rows`` are its results as plain values.

Conventions
    A column of numbers (``song_values.has_numbers``) has a trend, for a decade of years and a power of ten of others, and groups of near
    values: decades of years, or single years where there are few; quarters of the songs of other numbers. Any other has groups alone.
    Rows are dicts of plain values; numbers are rounded to 0.001, None where there is nothing to say.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stemwright.manifests.records import Refused
from stemwright.manifests.wording import counted
from stemwright.separation.balance.groups import GroupMean, Interval, Trend, Values, compare_groups, fit_trend
from stemwright.separation.balance.song_values import (
    QUANTITIES,
    YEAR,
    SongValues,
    has_numbers,
    numbers_of,
    stem_names,
    texts_of,
    values_of,
)

FEW_YEARS, FEW_NUMBERS = 12, 6  # different ones, which are groups by themselves
DECADE = 10.0
Series = tuple[str, str]  # stem, quantity


@dataclass(frozen=True)
class Grouped:
    """Songs by a column: for each stem and quantity its groups, and for a column of numbers its trend, or why there is none.

    ``places`` are the numbers of the songs [N], None for a column of texts; ``names`` their groups, None where a song has none.
    """

    column: str
    songs: Sequence[SongValues]
    names: list[str | None]
    places: NDArray[np.float64] | None
    values: dict[Series, Values] = field(default_factory=dict)
    groups: dict[Series, list[GroupMean]] = field(default_factory=dict)
    trends: dict[Series, Trend] = field(default_factory=dict)
    no_trend: str = ""

    @property
    def missing(self) -> int:
        """How many songs have nothing in the column."""
        return sum(name is None for name in self.names)

    @property
    def notes(self) -> list[str]:
        """What to know before reading the numbers: songs that are left out, groups of one song."""
        found = []
        if self.missing:
            what = "a year or a text that names one" if self.column == YEAR else "anything there"
            found.append(
                f"{self.missing} of {counted(len(self.songs), 'song')} left out, without {self.column}: expected {what} in list or tags"
            )
        sizes = [self.names.count(name) for name in dict.fromkeys(self.names) if name is not None]
        lone = sizes.count(1)
        if lone and lone == len(sizes):
            found.append(f"every {self.column} has one song: nothing can be said of differences; a group needs at least two")
        elif lone:
            found.append(
                f"{counted(lone, 'group')} of one song: its own interval, which says nothing about other songs of its {self.column}"
            )
        if self.no_trend:
            found.append(f"no trend: {self.no_trend}")
        return found


def grouped(songs: Sequence[SongValues], column: str) -> Grouped:
    """The songs by a column. Raises Refused, saying what to add, if no song has it."""
    is_number = has_numbers(songs, column)
    names = texts_of(songs, column)
    places = numbers_of(songs, column) if is_number else None
    if places is not None:
        names = _bins(places, column)
    found = Grouped(column, songs, names, places)
    reasons = []
    for stem in stem_names(songs):
        for quantity in QUANTITIES:
            values = values_of(songs, stem, quantity)
            if not values.known.any():
                continue
            found.values[stem, quantity] = values
            found.groups[stem, quantity] = compare_groups(values, names)
            if places is not None:
                try:
                    found.trends[stem, quantity] = fit_trend(values, places, per=per_of(column, places))
                except Refused as reason:
                    reasons.append(str(reason))
    if not found.values:
        raise Refused("no song has a stem with a level; nothing can be compared")
    return found if found.trends or not reasons else Grouped(**{**found.__dict__, "no_trend": reasons[0]})


def per_of(column: str, places: NDArray[np.float64]) -> float:
    """For how much of a column a slope is stated: a decade of years, of other numbers a power of ten that is less than they span."""
    span = float(np.ptp(places[np.isfinite(places)])) if np.isfinite(places).any() else 0.0
    return DECADE if column == YEAR or span <= 0 else 10.0 ** math.floor(math.log10(span))


def per_words(column: str, per: float) -> str:
    """The same as a phrase."""
    return "a decade" if column == YEAR else f"for {per:g} of {column}"


def _bins(places: NDArray[np.float64], column: str) -> list[str | None]:
    """The groups of songs by their numbers: see the head of the module."""
    known = places[np.isfinite(places)]
    different = np.unique(known)
    few = FEW_YEARS if column == YEAR else FEW_NUMBERS
    if different.size <= few and (column != YEAR or np.ptp(different) < 2 * FEW_YEARS):
        return [f"{place:g}" if math.isfinite(place) else None for place in places]
    if column == YEAR:
        return [f"{int(place // DECADE * DECADE)}s" if math.isfinite(place) else None for place in places]
    ends = np.unique(np.quantile(known, [0.0, 0.25, 0.5, 0.75, 1.0]))
    inner = np.searchsorted(ends[1:-1], places, side="right")
    return [f"{ends[at]:.3g} to {ends[at + 1]:.3g}" if math.isfinite(place) else None for at, place in zip(inner, places, strict=True)]


def in_order(groups: Sequence[GroupMean], found: Grouped) -> list[GroupMean]:
    """Groups as they are shown: of numbers in their order, others the largest first, as they are."""
    if found.places is None:
        return list(groups)
    first = {
        name: place for name, place in sorted(zip(found.names, found.places, strict=True), key=lambda each: -each[1]) if name is not None
    }
    return sorted(groups, key=lambda group: first[group.name])


def group_rows(found: Grouped) -> list[dict[str, Any]]:
    """One row for each stem, quantity and group."""
    return [
        {
            **_named(found, series),
            "group": group.name,
            "songs": group.songs,
            "mean": _plain(group.mean),
            "low": _plain(group.low),
            "high": _plain(group.high),
            "spread": _plain(group.spread),
            **_interval("against_others", group.against_others),
        }
        for series, groups in found.groups.items()
        for group in in_order(groups, found)
    ]


def trend_rows(found: Grouped) -> list[dict[str, Any]]:
    """One row for each stem and quantity over a column of numbers, with the line and the smooth curve as lists."""
    return [
        {
            **_named(found, series),
            "songs": trend.songs,
            "first": trend.first,
            "last": trend.last,
            "per": trend.per,
            "slope": _plain(trend.slope),
            "slope_low": _plain(trend.low),
            "slope_high": _plain(trend.high),
            "spread": _plain(trend.spread),
            "at": [round(float(place), 3) for place in trend.line.at],
            **{
                f"{name}{end}": None if curve is None else [_plain(value) for value in getattr(curve, part)]
                for name, curve in (("line", trend.line), ("smooth", trend.smooth))
                for end, part in (("", "value"), ("_low", "low"), ("_high", "high"))
            },
        }
        for series, trend in found.trends.items()
    ]


def _named(found: Grouped, series: Series) -> dict[str, Any]:
    return {"by": found.column, "stem": series[0], "quantity": series[1], "unit": QUANTITIES[series[1]][1]}


def _interval(name: str, value: Interval | None) -> dict[str, float | None]:
    values = (None, None, None) if value is None else (value.value, value.low, value.high)
    return dict(zip((name, f"{name}_low", f"{name}_high"), map(_plain, values), strict=True))


def _plain(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else round(float(value), 3) + 0.0  # no -0.0


def song_rows(songs: Sequence[SongValues], columns: Sequence[str] = ("year", "genre", "artist")) -> list[dict[str, Any]]:
    """One row for each song and stem: some of its columns, and every quantity with its interval; as a spreadsheet or pandas takes them."""
    return [
        {
            "track": song.title,
            "path": song.path,
            **{name: song.columns.get(name) for name in columns},
            "stem": stem,
            **{
                key: _plain(value)
                for quantity in QUANTITIES
                for key, value in zip(_keys(quantity), song.stems[stem][quantity], strict=False)
            },
        }
        for song in songs
        for stem in song.stems
    ]


def _keys(quantity: str) -> tuple[str, ...]:
    if not quantity.endswith("_lu"):
        return (quantity,)  # no interval in the table of estimates
    return quantity, f"{quantity[:-3]}_low_lu", f"{quantity[:-3]}_high_lu"


def summary_rows(songs: Sequence[SongValues]) -> list[dict[str, Any]]:
    """One row for each stem over all songs: as ``track_balance.summary_rows``, of which it has the columns."""
    rows = []
    for stem in stem_names(songs):
        levels, rest = (values_of(songs, stem, quantity) for quantity in ("level_lu", "against_rest_lu"))
        present = levels.value[levels.known]
        ends = np.percentile(present, [50, 25, 75, 0, 100]).tolist() if present.size else [None] * 5
        against = rest.value[rest.known]
        rows.append(
            {
                "stem": stem,
                "tracks": sum(stem in song.stems for song in songs),
                "present": int(present.size),
                **dict(zip(("median_lu", "q25_lu", "q75_lu", "min_lu", "max_lu"), map(_plain, ends), strict=True)),
                "against_rest_lu": _plain(float(np.median(against))) if against.size else None,
            }
        )
    return rows
