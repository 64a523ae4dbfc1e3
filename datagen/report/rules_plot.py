"""A picture of rules: a row for each, its range as a band, what was measured on it, and whether that is kept.

Conventions
    Each row has a scale of its own, since rules have units of their own: the band is the range, and what is beside it is drawn to scale.
    What was not measured is not drawn. Blue is kept, orange is not, grey is undecided (Okabe and Ito's palette, as in all pictures).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from stemwright.datagen.report.lettering import drawable, shortened
from stemwright.datagen.report.plots import pyplot_without_display, save_figure, style
from stemwright.datagen.report.sheet import drawing
from stemwright.separation.rules.quantities import Measured
from stemwright.separation.rules.rule import Rule
from stemwright.separation.rules.verdicts import NO, UNDECIDED, YES, Kept, Verdict

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLOURS = {YES: "#0072B2", NO: "#D55E00"}
GREY = "#777777"
BAND, EDGE = (1.0, 2.0), (0.0, 3.0)  # where the range is drawn, and how far the row goes: values beyond are at its edge, as arrows
ROW_INCHES, HEAD_INCHES = 0.38, 1.4
MOST_TITLE = 100


class Drawn(NamedTuple):
    """A row of the picture: a rule, what was measured, what that comes to, and text at its end."""

    rule: Rule
    measured: Measured
    kept: str
    text: str


def plot_verdicts(title: str, verdicts: Sequence[Verdict], path: Path) -> None:
    """Draws what one song keeps."""
    drawn = [Drawn(each.rule, each.measured, each.kept, each.kept) for each in verdicts if each.kept in (YES, NO, UNDECIDED)]
    _draw(title, drawn, "Dot: what was measured, with its 80 % interval.", path)


def plot_kept(title: str, kept: Sequence[Kept], path: Path) -> None:
    """Draws what songs keep: the median, or the trend, and the share of songs that keeps each rule."""
    drawn = [Drawn(each.rule, each.middle, each.kept, share_text(each)) for each in kept if each.middle.value is not None]
    _draw(title, drawn, "Dot: median of the songs, or their trend, with its 80 % interval. Right: the share of songs that keep it.", path)


def share_text(kept: Kept) -> str:
    """The share of songs that keep a rule with its interval, in percent; of a trend, whether it does."""
    share = kept.share
    if share.value is None or share.low is None or share.high is None:
        return kept.kept
    return f"{100 * share.value:.0f} % ({100 * share.low:.0f}-{100 * share.high:.0f})"


def figure_text(value: float | None) -> str:
    """A value in few digits, one behind the point from 1 on; "-" where there is none."""
    if value is None:
        return "-"
    text = f"{value:.1f}" if abs(value) >= 0.995 or abs(value) < 0.0005 else f"{value:.2g}"
    return "0.0" if float(text) == 0 else text


def place(value: float, rule: Rule) -> float:
    """Where a value is drawn: the range from 1 to 2, the rest to the same scale, at most to the edges.

    Where the range is open at an end, its other end is at that side of the band, and the scale is what is usual for the number.
    """
    if rule.low is not None and rule.high is not None:
        width = max(rule.high - rule.low, 1e-9)
        return min(max(BAND[0] + (value - rule.low) / width, EDGE[0]), EDGE[1])
    limit = rule.low if rule.low is not None else rule.high
    scale = max(abs(limit or 0.0), 0.2 if rule.unit in ("", "1/oct") else 3.0)
    at = BAND[0] if rule.low is not None else BAND[1]
    return min(max(at + (value - (limit or 0.0)) / scale, EDGE[0]), EDGE[1])


def _draw(title: str, drawn: Sequence[Drawn], caption: str, path: Path) -> None:
    with drawing(texts=[title]):
        pyplot = pyplot_without_display()
        figure, axes = pyplot.subplots(figsize=(11.0, HEAD_INCHES + ROW_INCHES * max(1, len(drawn))), layout="constrained")
        style(axes)
        for row, each in enumerate(reversed(drawn)):
            _draw_row(axes, row, each)
        if not drawn:
            axes.text(1.5, 0, "no rule could be measured", ha="center", va="center", color="0.4")
        axes.set_yticks(range(len(drawn)), [each.rule.statement.rstrip(".") for each in reversed(drawn)], fontsize=9)
        for label, each in zip(axes.get_yticklabels(), reversed(drawn), strict=True):
            label.set_color("0.45" if each.rule.certainty == "refuted" else "0.1")
            label.set_style("italic" if each.rule.certainty == "refuted" else "normal")
        axes.set_xticks([])
        axes.spines["bottom"].set_visible(False)
        axes.set_xlim(EDGE[0] - 0.08, EDGE[1] + 1.1)
        axes.set_ylim(-0.7, max(1, len(drawn)) - 0.3)
        axes.set_title(drawable(shortened(title, MOST_TITLE)), loc="left", fontsize=11)
        axes.set_xlabel(
            f"Band: the range of each rule, to a scale of its own.\n{caption}\nItalic: refuted by its source.", fontsize=8, loc="left"
        )
        save_figure(figure, path)
        pyplot.close(figure)


def _draw_row(axes: Axes, row: int, each: Drawn) -> None:
    rule, value, colour = each.rule, each.measured, COLOURS.get(each.kept, GREY)
    low = BAND[0] if rule.low is not None else EDGE[0]
    high = BAND[1] if rule.high is not None else EDGE[1]
    axes.barh(row, high - low, left=low, height=0.56, color="#E4EAF0", zorder=1)
    for limit, at in ((rule.low, low), (rule.high, high)):
        if limit is not None:
            axes.text(at, row + 0.33, f"{limit:g}".replace("-", "\u2212"), ha="center", va="bottom", fontsize=6.5, color="0.45", zorder=2)
    ends = [value.value if end is None else end for end in (value.low, value.value, value.high)]
    if any(end is None or not math.isfinite(end) for end in ends):
        return
    left, middle, right = (place(float(end or 0.0), rule) for end in ends)
    axes.plot([left, right], [row, row], color=colour, lw=5, alpha=0.4, solid_capstyle="round", zorder=3)
    marker = "<" if middle <= EDGE[0] else ">" if middle >= EDGE[1] else "o"
    axes.plot(middle, row, marker, color=colour, ms=7, zorder=4)
    number = figure_text(value.value).replace("-", "\u2212")
    axes.text(EDGE[1] + 0.06, row, f"{number} {rule.unit}".strip(), va="center", fontsize=8, color=colour)
    axes.text(EDGE[1] + 1.1, row, each.text, ha="right", va="center", fontsize=8, color="0.25")
