"""The picture of blind estimates of one recording: for each effect the estimated quantity of every stem with its interval.

Conventions
    Those of ``stemwright.datagen.report.plots``. A dot is the value, its bar the 80 % interval; its size and shade grow with the
    confidence. The grey band is what songs of the profile get as they are, 10 % to 90 %. A stem without an answer says so.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from stemwright.datagen.report.lettering import drawable, short_names, shortened
from stemwright.datagen.report.plots import colours, pyplot_without_display, save_figure, style
from stemwright.datagen.report.sheet import drawing

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from stemwright.datagen.edit.estimated_file import EffectAnswer, EstimatedFile

TYPICAL = "0.85"
MOST_LETTERS, MOST_TITLE = 24, 48
MOST_ACROSS = 3  # effects beside each other; more are in rows of two


def plot_estimates(made: EstimatedFile, path: Path | str) -> None:
    """Draws the estimates of one recording to ``path`` (its suffix says the format)."""
    with drawing(texts=[made.song.name, *made.stems]):
        pyplot = pyplot_without_display()
        stems, effects = made.stems, made.effects
        across = len(effects) if len(effects) <= MOST_ACROSS else 2
        down = -(-len(effects) // across)
        size = (4.4 * across + 0.8, (1.1 + 0.42 * len(stems)) * down + 0.4)
        figure, axes = pyplot.subplots(down, across, figsize=size, sharey=True, squeeze=False, layout="constrained")
        figure.suptitle(
            f"{drawable(shortened(made.song.name, MOST_TITLE))}: blind estimates, grey: songs of the profile as they are",
            x=0.01,
            ha="left",
            fontsize=11,
        )
        palette = colours(stems)
        axes[0, 0].set_yticks(range(len(stems)), list(short_names(stems, MOST_LETTERS).values()))
        axes[0, 0].set_ylim(len(stems) - 0.5, -0.5)
        for axis, effect in zip(axes.flat, effects, strict=False):
            _draw(axis, [row for row in made.rows if row.effect == effect], stems, palette)
        for axis in axes.flat[len(effects) :]:
            axis.set_axis_off()
        save_figure(figure, Path(path))
        pyplot.close(figure)


def _draw(axes: Axes, rows: Sequence[EffectAnswer], stems: Sequence[str], palette: dict[str, str]) -> None:
    """One effect."""
    from matplotlib.ticker import MaxNLocator

    style(axes)
    axes.grid(axis="x", color="0.93")
    axes.axvline(0.0, color="0.5", lw=0.8)
    empty = []
    for row in rows:
        place, known = stems.index(row.stem), row.answer.quantity
        if row.typical:
            axes.barh(place, row.typical.high - row.typical.low, 0.62, left=row.typical.low, color=TYPICAL, zorder=1)
        if known is None:
            empty.append(place)
            continue
        colour, sure = palette[row.stem], row.answer.confidence
        axes.plot((known.low, known.high), (place, place), color=colour, lw=2.0, alpha=0.35 + 0.65 * sure, zorder=3)
        axes.plot(known.value, place, "o", color=colour, ms=4.0 + 5.0 * sure, alpha=0.35 + 0.65 * sure, zorder=4)
        text = f"{100.0 * sure:.0f} %" if row.answer.settings is not None else f"{100.0 * sure:.0f} %, not found"
        axes.annotate(text, (known.high, place), xytext=(5, 0), textcoords="offset points", va="center", fontsize=8, color="0.3")
    axes.margins(x=0.16)
    if axes.dataLim.x0 >= 0.0:
        axes.set_xlim(left=0.0)
    if len(empty) < len(rows) or any(row.typical for row in rows):
        axes.xaxis.set_major_locator(MaxNLocator(5))
    else:
        axes.set_xticks([])  # nothing to read off
    plate = {"facecolor": "white", "edgecolor": "none", "pad": 1.5, "alpha": 0.8}
    for place in empty:
        across = axes.get_yaxis_transform()
        axes.text(0.99, place, "no estimate", transform=across, ha="right", va="center", fontsize=8, color="0.4", bbox=plate, zorder=5)
    axes.set_xlabel(max((row.label for row in rows), key=len))
