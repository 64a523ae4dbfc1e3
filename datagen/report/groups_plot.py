"""The picture of songs by a column: trends with their bands over numbers, means with their intervals beside each other for groups.

Conventions
    A panel for the level of vocals against the rest, if there are any, and one for the level of every stem. Points are songs, their bars
    80 % intervals. Of a trend the curve follows the songs and the dashed line is the straight one; the band is of the curve where there is
    one, else of the line. Of groups the thick bar is the mean's interval. matplotlib is imported where it is used.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from stemwright.datagen.report.lettering import drawable, short_names
from stemwright.datagen.report.palette import DARK, LIGHT, Look, colours
from stemwright.datagen.report.plots import pyplot_without_display, style
from stemwright.datagen.report.sheet import drawing, write_picture
from stemwright.separation.balance.grouped import Grouped, Series, in_order, per_words
from stemwright.separation.balance.song_values import QUANTITIES

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from stemwright.separation.balance.groups import Values

MOST_GROUPS, MOST_PANELS, COLUMNS = 14, 12, 3
MANY_SONGS = 60  # more are drawn paler, and their own intervals thinner
LONGEST = 22  # characters of a group's name


def panels_of(found: Grouped) -> list[Series]:
    """The stems and quantities that are drawn: vocals against the rest first, then the level of every stem."""
    wanted = [("vocals", "against_rest_lu"), *(series for series in found.groups if series[1] == "level_lu")]
    return [series for series in wanted if series in found.groups][:MOST_PANELS]


def plot_groups(found: Grouped, path: Path | str, *, dark: bool = False) -> None:
    """Draws songs by a column and writes the picture to ``path``; its suffix says the format. ``dark`` draws on a dark ground."""
    look, panels = DARK if dark else LIGHT, panels_of(found)
    with drawing(look, [found.column, *(name for name in found.names if name), *(stem for stem, _ in panels)]):
        write_picture([_figure(found, panels, look)], Path(path))


def _figure(found: Grouped, panels: Sequence[Series], look: Look) -> Figure:
    pyplot_without_display()
    from matplotlib.figure import Figure

    columns = min(COLUMNS, len(panels))
    num_rows = math.ceil(len(panels) / columns)
    most = max(len(found.groups[series][:MOST_GROUPS]) for series in panels)
    height = 3.5 if found.trends else 1.3 + 0.36 * max(4, most)
    figure = Figure(figsize=(4.6 * columns, height * num_rows), layout="constrained", facecolor=look.ground)
    palette = colours([stem for stem, _ in panels], look)
    for number, series in enumerate(panels, 1):
        axes = figure.add_subplot(num_rows, columns, number)
        draw = _draw_trend if series in found.trends else _draw_groups
        style(axes)
        draw(axes, found, series, palette[series[0]], look)
    left_out = f", {found.missing} without {found.column} left out" if found.missing else ""
    lines = "curve: local trend, dashed: straight line; " if any(trend.smooth for trend in found.trends.values()) else ""
    phrase = f"{len(found.songs) - found.missing} songs by {found.column}{left_out}; {lines}bars and bands: 80 % intervals"
    figure.suptitle(phrase, fontsize=10)
    return figure


def _draw_trend(axes: Axes, found: Grouped, series: Series, colour: str, look: Look) -> None:
    from matplotlib.ticker import MaxNLocator

    trend, values = found.trends[series], found.values[series]
    assert found.places is not None
    pale = 0.35 if len(found.songs) > MANY_SONGS else 0.7
    axes.errorbar(found.places, values.value, yerr=_errors(values), fmt="o", ms=3.5, lw=0.8, color=colour, alpha=pale, mec="none", zorder=1)
    curve = trend.smooth or trend.line
    axes.fill_between(curve.at, curve.low, curve.high, color=colour, alpha=0.25, lw=0, zorder=2)
    if trend.smooth:
        axes.plot(curve.at, curve.value, color=colour, lw=2.4, zorder=3)
    axes.plot(trend.line.at, trend.line.value, color=look.line, lw=1.4, ls="--", zorder=3)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=found.column == "year"))
    axes.grid(color=look.grid)
    axes.set_xlabel(drawable(found.column))
    axes.set_ylabel(_label(series), fontsize=9)
    unit = QUANTITIES[series[1]][1]
    slope = f"{_signed(trend.slope, 2)} {unit} {per_words(found.column, trend.per)} ({_signed(trend.low, 2)} to {_signed(trend.high, 2)})"
    axes.set_title(f"{_title(series)}\n{slope}", loc="left", fontsize=10)


def _draw_groups(axes: Axes, found: Grouped, series: Series, colour: str, look: Look) -> None:
    groups, values = in_order(found.groups[series][:MOST_GROUPS], found)[::-1], found.values[series]
    named = np.array(["" if name is None else name for name in found.names], object)
    names = short_names([group.name for group in groups], LONGEST)
    spread = np.random.default_rng(0)
    for row, group in enumerate(groups):
        own = values.value[(named == group.name) & values.known]
        axes.plot(own, row + spread.uniform(-0.22, 0.22, own.size), "o", ms=3, color=colour, alpha=0.35, mec="none")
        faint = 0.35 if group.songs == 1 else 0.9
        axes.plot([group.low, group.high], [row, row], color=colour, lw=4, alpha=faint, solid_capstyle="round")
        axes.plot(group.mean, row, "o", ms=7, color=colour, mec=look.ground, mew=1.2)
    axes.set_yticks(range(len(groups)), [f"{names[group.name]} ({group.songs})" for group in groups], fontsize=9)
    axes.set_ylim(-0.6, len(groups) - 0.4)
    axes.grid(axis="x", color=look.grid)
    axes.set_xlabel(_label(series), fontsize=9)
    left = len(found.groups[series]) - len(groups)
    axes.set_title(_title(series) + (f"\nand {left} smaller groups" if left > 0 else ""), loc="left", fontsize=10)


def _errors(values: Values) -> np.ndarray:
    """How far the ends of the intervals are below and above the values, [2, N]."""
    apart = np.stack([values.value - values.low, values.high - values.value])
    return np.maximum(np.where(np.isfinite(apart), apart, 0.0), 0.0)


def _title(series: Series) -> str:
    return f"{series[0]} against the rest" if series[1] == "against_rest_lu" else f"{series[0]} against the mixture"


def _label(series: Series) -> str:
    words, unit = QUANTITIES[series[1]]
    return f"{words} ({unit})" if unit else words


def _signed(value: float, digits: int) -> str:
    return f"{round(value, digits) + 0.0:+.{digits}f}".replace("-", "\u2212")
