"""A picture of the errors of levels against the SDR of the separated stems: whether better separation gives better levels.

Conventions
    A panel for each separator and estimator, all on the same scales; a dot for each stem of each song in the colour that the stem has in
    every picture. Errors are estimate minus truth in LU. A dashed line marks the published RMSE of the best system of Ward et al. 2017.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from stemwright.datagen.report.lettering import drawable, shortened
from stemwright.datagen.report.plots import colours, pyplot_without_display, save_figure, style
from stemwright.datagen.report.sheet import drawing

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PUBLISHED_LU = 1.2  # Ward et al. 2017
PANEL_INCHES, HEAD_INCHES, MOST_LETTERS, MOST_IN_LINE = 3.0, 0.7, 30, 40

Points = Sequence[tuple[str, float, float]]  # stem, SDR in dB, error in LU


def plot_errors(points: Mapping[tuple[str, str], Points], path: Path) -> None:
    """Writes the picture of {(separator, estimator): points}; its suffix (.png, .svg, .pdf or .jpg) says in which format."""
    makers = list(dict.fromkeys(maker for maker, _ in points))
    estimators = {maker: [estimator for of, estimator in points if of == maker] for maker in makers}
    num_columns = max(map(len, estimators.values()), default=1)
    palette = colours(list(dict.fromkeys(stem for found in points.values() for stem, _, _ in found)))
    with drawing(texts=[*makers, *palette]):
        pyplot = pyplot_without_display()
        size = (PANEL_INCHES * num_columns + 1.6, PANEL_INCHES * max(len(makers), 1) * 0.8 + HEAD_INCHES)
        figure, grid = pyplot.subplots(
            max(len(makers), 1), num_columns, figsize=size, layout="constrained", squeeze=False, sharex=True, sharey=True
        )
        for row, maker in enumerate(makers):
            for column, estimator in enumerate(estimators[maker]):
                axes = grid[row, column]
                _draw(axes, points.get((maker, estimator), ()), palette)
                head = drawable(shortened(maker, MOST_LETTERS))
                between = ", " if len(head) + len(estimator) <= MOST_IN_LINE else ",\n"
                axes.set_title(f"{head}{between}{estimator}", fontsize=9, loc="left")
                if row == len(makers) - 1:
                    axes.set_xlabel("SDR of the stem, dB", fontsize=9)
                if not column:
                    axes.set_ylabel("error of its level, LU", fontsize=9)
        marks = [pyplot.Line2D([], [], color=colour, marker="o", ls="", ms=5, label=drawable(stem)) for stem, colour in palette.items()]
        marks.append(pyplot.Line2D([], [], color="0.5", ls="--", lw=0.8, label=f"±{PUBLISHED_LU} LU"))
        figure.legend(handles=marks, loc="outside right upper", fontsize=8, frameon=False)
        save_figure(figure, path)
        pyplot.close(figure)


def _draw(axes: Axes, points: Points, palette: Mapping[str, str]) -> None:
    style(axes)
    axes.axhline(0.0, color="0.3", lw=0.8)
    for level in (-PUBLISHED_LU, PUBLISHED_LU):
        axes.axhline(level, color="0.5", lw=0.8, ls="--")
    for stem, colour in palette.items():
        its = [(sdr, error) for name, sdr, error in points if name == stem]
        axes.plot([sdr for sdr, _ in its], [error for _, error in its], "o", color=colour, ms=4, alpha=0.75)
    axes.grid(color="0.94")
