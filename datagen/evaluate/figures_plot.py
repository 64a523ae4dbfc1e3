"""A picture of an evaluation: for each figure what is published and what was measured, with its interval.

Conventions
    A panel for each name and unit of figures, since they share no scale. Grey diamonds are published, dots are measured here, each
    model in a colour of its own (Okabe and Ito's palette, as in all pictures). What has no value is not drawn.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from stemwright.datagen.evaluate.protocol import Figure
from stemwright.datagen.report.lettering import drawable, shortened
from stemwright.datagen.report.plots import pyplot_without_display, save_figure, style
from stemwright.datagen.report.sheet import drawing

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
GREY = "#777777"
ROW_INCHES, HEAD_INCHES, SPREAD = 0.2, 1.1, 0.7  # the height of each value; of the title and a scale; of a row's values within the row
MOST_TITLE = 100
LEAST_SPAN, LEAST_SPAN_OF_OTHERS = {"dB": 1.0, "LU": 1.0, "LUFS": 1.0, "%": 10.0}, 0.1  # of a scale, by unit: less would show rounding


def plot_figures(title: str, figures: Sequence[Figure], path: Path) -> None:
    """Writes the picture; its suffix (.png, .svg, .pdf or .jpg) says in which format."""
    panels: dict[tuple[str, str], list[Figure]] = {}
    for each in figures:
        if each.value is not None:
            panels.setdefault((each.name, each.unit), []).append(each)
    measured = list(dict.fromkeys(each.who for each in figures if each.origin == "measured"))
    colours = {who: COLOURS[index % len(COLOURS)] for index, who in enumerate(measured)}
    heights = [HEAD_INCHES + ROW_INCHES * len(shown) for shown in panels.values()] or [HEAD_INCHES]
    with drawing(texts=[title, *(each.group for each in figures), *(each.who for each in figures)]):
        pyplot = pyplot_without_display()
        shape = {"height_ratios": heights}
        figure, all_axes = pyplot.subplots(
            len(heights), 1, figsize=(10.0, 0.6 + sum(heights)), layout="constrained", squeeze=False, gridspec_kw=shape
        )
        for (name, unit), axes in zip(panels, all_axes[:, 0], strict=False):
            _draw_panel(axes, panels[name, unit], colours)
            axes.set_xlabel(drawable(f"{name}, {unit}" if unit else name), fontsize=9)
        if not panels:
            all_axes[0, 0].text(0.5, 0.5, "nothing was measured", ha="center", transform=all_axes[0, 0].transAxes, color="0.4")
        figure.suptitle(drawable(shortened(title, MOST_TITLE)), x=0.01, ha="left", fontsize=11)
        save_figure(figure, path)
        pyplot.close(figure)


def _widen(axes: Axes, shown: Sequence[Figure]) -> None:
    """Sets a scale with room for names, and not so fine that differences of rounding show."""
    ends = [end for each in shown for end in (each.value, each.low, each.high) if end is not None]
    middle, least = (min(ends) + max(ends)) / 2.0, LEAST_SPAN.get(shown[0].unit, LEAST_SPAN_OF_OTHERS)
    half = 0.75 * max(max(ends) - min(ends), least)
    axes.set_xlim(middle - half, middle + half)


def _draw_panel(axes: Axes, shown: Sequence[Figure], colours: dict[str, str]) -> None:
    """One scale: a row for each group, in it a mark for each value, named at its right."""
    style(axes)
    groups = list(dict.fromkeys(each.group for each in shown))
    for row, group in enumerate(reversed(groups)):
        its = [each for each in shown if each.group == group]
        for number, each in enumerate(its):
            at = row + SPREAD * (0.5 - (number + 0.5) / len(its))
            value = 0.0 if each.value is None else each.value  # those without one are left out before
            colour = colours.get(each.who, GREY) if each.origin == "measured" else GREY
            if each.low is not None and each.high is not None:
                axes.plot([each.low, each.high], [at, at], color=colour, lw=4, alpha=0.4, solid_capstyle="round")
            axes.plot(value, at, "o" if each.origin == "measured" else "D", color=colour, ms=5)
            right = max(value, each.high if each.high is not None else value)
            text = drawable(shortened(each.who, 48))
            axes.annotate(text, (right, at), (7, 0), textcoords="offset points", va="center", fontsize=7, color=colour)
        if row:
            axes.axhline(row - 0.5, color="0.88", lw=0.8)
    axes.set_yticks(range(len(groups)), [drawable(group) for group in reversed(groups)], fontsize=9)
    axes.set_ylim(-0.5, len(groups) - 0.5)
    _widen(axes, shown)
