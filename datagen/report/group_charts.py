"""The report's section of songs by year, genre or any column: trends with their bands, means of groups with their intervals.

Conventions
    Those of ``stemwright.datagen.report.charts``. Of a trend the points are songs, the line follows them, the band is its 80 % interval,
    and the dashed line is the straight one. Of groups the thick bar is the 80 % interval of the mean, and the dots are songs.
    Year and genre are shown where at least two songs differ in them; other columns on request.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup

from stemwright.datagen.report.charts import MAX_DOTS, Axis, around, escaped, fixed, grid, nice_ticks, number, svg
from stemwright.datagen.report.rows import Rows, columns
from stemwright.datagen.run.corpus import CorpusError
from stemwright.manifests.records import Refused
from stemwright.separation.balance.grouped import Grouped, Series, grouped, in_order, per_words
from stemwright.separation.balance.groups import GroupMean
from stemwright.separation.balance.song_values import QUANTITIES, SongValues, songs_of_corpus, texts_of

ALWAYS = ("year", "genre")
LEAD = ("vocals", "against_rest_lu")
WIDTH, LEFT, RIGHT, TOP, HEIGHT = 440.0, 44.0, 12.0, 8.0, 150.0
NAMES, VALUES, ROW = 126.0, 52.0, 26.0  # of groups: room for their names and means; height of a row
MOST_GROUPS, MOST_POINTS, LONGEST = 14, 2000, 14


@dataclass(frozen=True)
class ColumnCharts:
    """Songs by one column: what to know, and charts with their captions."""

    column: str
    notes: tuple[str, ...]
    charts: tuple[tuple[str, Markup], ...]


def section(found: Rows, asked: Sequence[str] = ()) -> list[ColumnCharts]:
    """The charts by year and genre, where songs differ in them, and by the requested columns. Raises CorpusError for one that no
    song has.
    """
    names = {name for (its,) in _metadata(found) for name in ALWAYS if f'"{name}"' in its}
    if not len(found.estimates) or not (names or asked):
        return []
    songs = songs_of_corpus(found.folder)
    try:
        wanted = [*(name for name in ALWAYS if name in names and name not in asked and _differs(songs, name)), *asked]
        return [_of_column(grouped(songs, name)) for name in dict.fromkeys(wanted)]
    except Refused as reason:
        raise CorpusError(f"--by: {reason}") from reason


def _metadata(found: Rows) -> list[tuple[str]]:
    """What lists and tags say about the tracks, as JSON texts; nothing of a table that is older than that."""
    try:
        return [(text or "",) for (text,) in columns(found.tracks, "metadata")]
    except ValueError:
        return []


def _differs(songs: Sequence[SongValues], column: str) -> bool:
    try:
        return len({name for name in texts_of(songs, column) if name is not None}) > 1
    except Refused:
        return False


def _of_column(found: Grouped) -> ColumnCharts:
    shown = [*(series for series in (LEAD,) if series in found.groups), *(each for each in found.groups if each[1] == "level_lu")]
    charts = tuple((caption(found, series), chart(found, series)) for series in shown)
    return ColumnCharts(found.column, tuple(found.notes), charts)


def caption(found: Grouped, series: Series) -> str:
    """What a chart shows, with the slope of a trend."""
    words = f"{series[0]}, {QUANTITIES[series[1]][0]}"
    if (trend := found.trends.get(series)) is None:
        return words
    slope, low, high = (fixed(value, 2) for value in (trend.slope, trend.low, trend.high))
    return f"{words}: {slope} LU {per_words(found.column, trend.per)} ({low} to {high}, {trend.songs} songs)"


def chart(found: Grouped, series: Series) -> Markup:
    """The trend of a stem's quantity over a column of numbers, or the means of its groups."""
    return _trend(found, series) if series in found.trends else _means(found, series)


def _axes(label: str, x: np.ndarray, y: np.ndarray, name: str) -> tuple[Axis, Axis]:
    x_axis = Axis(name, float(x.min()), float(x.max()), nice_ticks(float(x.min()), float(x.max())))
    return x_axis, around(label, [float(y.min()), float(y.max())], least=2.0)


def _trend(found: Grouped, series: Series) -> Markup:
    trend, values = found.trends[series], found.values[series]
    assert found.places is not None
    known = values.known & np.isfinite(found.places)
    chosen = np.flatnonzero(known)[:: max(1, int(known.sum()) // MOST_POINTS)]
    x_axis, y_axis = _axes("LU", found.places[known], values.value[known], found.column)
    width = WIDTH - LEFT - RIGHT
    parts = [grid(x_axis, LEFT, width, TOP, HEIGHT)]

    def at(x: float, y: float) -> str:
        return f"{x_axis.place(x, LEFT, width):.1f},{TOP + HEIGHT - y_axis.place(y, 0.0, HEIGHT):.1f}"

    def path(xs: np.ndarray, ys: np.ndarray) -> str:
        return " ".join(at(float(a), float(b)) for a, b in zip(xs, ys, strict=True))

    for tick in y_axis.ticks:
        y = TOP + HEIGHT - y_axis.place(tick, 0.0, HEIGHT)
        parts.append(f'<line class="grid" x1="{LEFT:.0f}" x2="{LEFT + width:.0f}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text class="muted" x="{LEFT - 6:.0f}" y="{y + 4:.1f}" text-anchor="end">{number(tick)}</text>')
    points = (at(float(found.places[n]), float(values.value[n])).split(",") for n in chosen)
    dots = "".join(f'<circle class="song" cx="{x}" cy="{y}" r="2.5"/>' for x, y in points)
    curve = trend.smooth or trend.line
    band = f"{path(curve.at, curve.low)} {path(curve.at[::-1], curve.high[::-1])}"
    lines = f'<polygon class="band" points="{band}"/><polyline class="course" points="{path(curve.at, curve.value)}"/>'
    straight = f'<polyline class="straight" points="{path(trend.line.at[[0, -1]], trend.line.value[[0, -1]])}"/>'
    parts.append(f'<g class="{escaped(f"stem-{series[0]}")}">{dots}{lines}</g>{straight}')
    return svg(caption(found, series), f"over {found.column} from {trend.first:g} to {trend.last:g}", TOP + HEIGHT + 38.0, parts)


def _means(found: Grouped, series: Series) -> Markup:
    groups, values = in_order(found.groups[series][:MOST_GROUPS], found), found.values[series]
    named = np.array(["" if name is None else name for name in found.names], object)
    drawn = {group.name: values.value[(named == group.name) & values.known] for group in groups}
    dots = {name: its if its.size <= MAX_DOTS else np.quantile(its, np.linspace(0.01, 0.99, MAX_DOTS)) for name, its in drawn.items()}
    ends = [end for group in groups for end in (group.low, group.high)] + [float(each) for its in dots.values() for each in its]
    axis = around(f"{QUANTITIES[series[1]][0]} (LU)", ends)
    width, height = WIDTH - NAMES - VALUES, ROW * len(groups)
    parts = [grid(axis, NAMES, width, 4.0, height)]
    for row, group in enumerate(groups):
        parts.append(_mean(group, dots[group.name], axis, 4.0 + ROW * (row + 0.5), f"stem-{series[0]}"))
    if left := len(found.groups[series]) - len(groups):
        parts.append(f'<text class="muted" x="{NAMES - 8:.0f}" y="{height + 34:.0f}" text-anchor="end">{left} smaller</text>')
    phrase = "; ".join(f"{group.name}: mean {fixed(group.mean)} ({fixed(group.low)} to {fixed(group.high)})" for group in groups)
    return svg(caption(found, series), phrase, height + 40.0, parts)


def _mean(group: GroupMean, songs: np.ndarray, axis: Axis, middle: float, colour: str) -> str:
    """One row: the name with the number of songs, the songs as dots, the interval of the mean, the mean."""
    width = WIDTH - NAMES - VALUES
    low, high, mean = (axis.place(value, NAMES, width) for value in (group.low, group.high, group.mean))
    short = group.name if len(group.name) <= LONGEST else group.name[: LONGEST - 1].rstrip() + "\u2026"
    name = f'<text x="{NAMES - 8:.0f}" y="{middle + 4:.1f}" text-anchor="end">{escaped(short)} ({group.songs})</text>'
    dots = "".join(f'<circle class="song" cx="{axis.place(float(v), NAMES, width):.1f}" cy="{middle - 6:.1f}" r="2.5"/>' for v in songs)
    bar = f'<line class="thick" x1="{low:.1f}" x2="{high:.1f}" y1="{middle + 4:.1f}" y2="{middle + 4:.1f}"/>'
    bar += f'<line class="median" x1="{mean:.1f}" x2="{mean:.1f}" y1="{middle - 1:.1f}" y2="{middle + 9:.1f}"/>'
    value = f'<text x="{WIDTH:.0f}" y="{middle + 4:.1f}" text-anchor="end" class="value">{fixed(group.mean)}</text>'
    return f'{name}<g class="{escaped(colour)}">{dots}{bar}</g>{value}'
