"""Curves over a common axis as inline SVG, such as risk against coverage.

Conventions
    Those of ``stemwright.datagen.report.charts``: text only, colours from the page, values without NaN. A mark on a curve is a dot.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup

from stemwright.datagen.report.charts import WIDTH, Axis, Values, escaped, fixed, grid, number, svg

LEFT, RIGHT, TOP, HEIGHT = 40.0, 62.0, 8.0, 150.0
MOST_POINTS = 100  # of a curve
APART = 13.0  # between names


@dataclass(frozen=True)
class Curve:
    """A named curve [N] over x [N] in increasing order; ``mark`` is the x of its dot, None: it has none."""

    name: str
    x: Values
    y: Values
    colour: str = "first"
    mark: float | None = None


def curves(title: str, drawn: Sequence[Curve], x_axis: Axis, y_axis: Axis) -> Markup:
    """Curves with their names at their ends, and a dot where each has its mark."""
    width = WIDTH - LEFT - RIGHT
    parts = [grid(x_axis, LEFT, width, TOP, HEIGHT)]
    for tick in y_axis.ticks:
        y = TOP + HEIGHT - y_axis.place(tick, 0.0, HEIGHT)
        parts.append(f'<line class="grid" x1="{LEFT:.0f}" x2="{LEFT + width:.0f}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text class="muted" x="{LEFT - 6:.0f}" y="{y + 4:.1f}" text-anchor="end">{number(tick)}</text>')
    names: list[tuple[float, str]] = []
    for curve in drawn:
        xs, ys = _thinned(np.asarray(curve.x, float), np.asarray(curve.y, float))
        places = [(x_axis.place(a, LEFT, width), TOP + HEIGHT - y_axis.place(b, 0.0, HEIGHT)) for a, b in zip(xs, ys, strict=True)]
        points = " ".join(f"{a:.1f},{b:.1f}" for a, b in places)
        dot = ""
        if curve.mark is not None:
            at = float(np.interp(curve.mark, xs, ys))
            a, b = x_axis.place(curve.mark, LEFT, width), TOP + HEIGHT - y_axis.place(at, 0.0, HEIGHT)
            dot = f'<circle cx="{a:.1f}" cy="{b:.1f}" r="4.5"/>'
        parts.append(f'<g class="{escaped(curve.colour)}"><polyline class="course" points="{points}"/>{dot}</g>')
        names.append((places[-1][1], curve.name))
    last = -APART
    for y, name in sorted(names):
        last = max(y + 4.0, last + APART)
        parts.append(f'<text x="{LEFT + width + 5:.0f}" y="{last:.1f}">{escaped(name[:9])}</text>')
    phrase = "; ".join(f"{curve.name}: {fixed(float(curve.y[0]))} to {fixed(float(curve.y[-1]))}" for curve in drawn)
    return svg(title, f"{y_axis.label} against {x_axis.label}. {phrase}", TOP + HEIGHT + 36.0, parts)


def _thinned(x: np.ndarray, y: np.ndarray) -> tuple[list[float], list[float]]:
    """As many points as are drawn, the ends among them."""
    kept = np.unique(np.linspace(0, len(x) - 1, min(len(x), MOST_POINTS)).round().astype(int))
    return x[kept].tolist(), y[kept].tolist()
