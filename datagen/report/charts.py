"""Charts as inline SVG: strips, histograms and bars, drawn with nothing but text.

Not made with matplotlib: these take their colours from the page (one chart serves light and dark), are a tenth of the size, and have the
same bytes everywhere.

Conventions
    A chart is a ``Markup`` that is safe in HTML; every text that comes in is escaped. Values are plain floats without NaN.
    Colours are CSS classes: ``stem-NAME`` for a stem, ``first`` and ``second`` for two series.
    Strips: a thick bar is the interquartile range, a thin one 10 % to 90 %, the gap in the thick one the median.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from markupsafe import Markup, escape

from stemwright.manifests.visible import visible

WIDTH = 440.0
LEFT, RIGHT = 66.0, 52.0  # for the names of rows and for their medians
ROW = 34.0
MAX_DOTS = 40  # beyond this a silhouette says more than dots
BINS = 20
BLOCK = 1 << 16  # values that are placed on an axis at a time
Position = Callable[[float], float]
Values = Sequence[float] | npt.NDArray[np.float64]


@dataclass(frozen=True)
class Axis:
    """A horizontal axis: a label with its unit, its ends, and the positions of its ticks.

    ``to_unit`` maps a value to 0 at the left and 1 at the right; None: linearly.
    """

    label: str
    low: float
    high: float
    ticks: tuple[float, ...]
    to_unit: Position | None = None

    def units(self, values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """The positions of values from 0 at the left to 1 at the right; values beyond the ends are at the end."""
        if self.to_unit:
            return np.clip(np.array(list(map(self.to_unit, values.tolist())), float), 0.0, 1.0)
        return np.clip((values - self.low) / ((self.high - self.low) or 1.0), 0.0, 1.0)

    def place(self, value: float, left: float, width: float) -> float:
        """The position of a value between ``left`` and ``left + width``; values beyond the ends are at the end."""
        unit = self.to_unit(value) if self.to_unit else (value - self.low) / ((self.high - self.low) or 1.0)
        return left + min(1.0, max(0.0, unit)) * width


@dataclass(frozen=True)
class Strip:
    """One row of a strip chart."""

    name: str
    values: Values
    colour: str = "first"


def nice_ticks(low: float, high: float, count: int = 5) -> tuple[float, ...]:
    """Round values between two ends, about ``count`` of them."""
    span = (high - low) or 1.0
    power = 10.0 ** math.floor(math.log10(span / count))
    step = next((m * power for m in (1.0, 2.0, 5.0, 10.0) if span / (m * power) <= count), 10.0 * power)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return tuple(round(k * step, 10) for k in range(first, last + 1))


def log_ticks(low: float, high: float) -> tuple[float, ...]:
    """Decades, with their halves and fifths where there are few decades; round values where there is hardly one."""
    decades = math.log10(high / low)
    powers = range(math.floor(math.log10(low)) - 1, math.ceil(math.log10(high)) + 1)
    for marks in ((1.0,) if decades > 2.5 else (1.0, 3.0), (1.0, 2.0, 5.0), (1.0, 1.5, 2.0, 3.0, 5.0, 7.0)):
        found = tuple(mark * 10.0**power for power in powers for mark in marks if low * 0.999 <= mark * 10.0**power <= high * 1.001)
        if len(found) >= 3:
            return found
    return nice_ticks(low, high, 4)  # less than an octave or so: nearly linear


def rounded(axis: Axis) -> Axis:
    """The same linear axis from round value to round value."""
    step = axis.ticks[1] - axis.ticks[0] if len(axis.ticks) > 1 else axis.high - axis.low
    low, high = math.floor(axis.low / step + 1e-6) * step, math.ceil(axis.high / step - 1e-6) * step
    return Axis(axis.label, low, high, nice_ticks(low, high))


def ends_of(*values: Values) -> list[float]:
    """The smallest and the largest of all values; nothing where there are none."""
    found = [np.asarray(each, float) for each in values if len(each)]
    return [float(min(each.min() for each in found)), float(max(each.max() for each in found))] if found else []


def around(label: str, values: Sequence[float], *, least: float = 1.0, keep: Sequence[float] = (), lowest: float = -math.inf) -> Axis:
    """A linear axis that holds all values, those to ``keep``, and some margin; at least ``least`` wide, and from ``lowest`` on."""
    everything = [*values, *keep]
    low, high = (min(everything), max(everything)) if everything else (0.0, 1.0)
    air = max(least - (high - low), 0.08 * (high - low)) / 2
    low, high = max(low - air, lowest), high + air
    return Axis(label, low, high, nice_ticks(low, high))


def fixed(value: float, digits: int = 1) -> str:
    """A number with so many decimals and a real minus sign, but no minus zero."""
    return f"{round(value, digits) + 0.0:.{digits}f}".replace("-", "−")


def number(value: float, digits: int = 3) -> str:
    """A number for an axis or a table: three significant digits, thousands as k, a real minus sign."""
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    text = f"{value / 1000:.{digits}g}k" if abs(value) >= 10_000 else f"{value:.{max(digits, 4) if abs(value) >= 1000 else digits}g}"
    return text.replace("-", "−")


def strips(title: str, rows: Sequence[Strip], axis: Axis, *, digits: int = 1, zero: float | None = None) -> Markup:
    """One strip for each row over a common axis: dots or a silhouette, the interquartile range, the median and its value."""
    width, height = WIDTH - LEFT - RIGHT, ROW * len(rows) + 40.0
    parts = [grid(axis, LEFT, width, 4.0, ROW * len(rows))]
    if zero is not None and axis.low <= zero <= axis.high:
        x = axis.place(zero, LEFT, width)
        parts.append(f'<line class="zero" x1="{x:.1f}" x2="{x:.1f}" y1="4" y2="{ROW * len(rows) + 4:.0f}"/>')
    for index, row in enumerate(rows):
        parts.append(_strip(row, axis, 4.0 + ROW * (index + 0.5), digits))
    parts.append(f'<text class="muted" x="{WIDTH:.0f}" y="{ROW * len(rows) + 34:.0f}" text-anchor="end">median</text>')
    phrase = "; ".join(
        f"{row.name}: median {fixed(float(np.median(row.values)), digits)}, {len(row.values)} values" for row in rows if len(row.values)
    )
    return svg(title, phrase, height, parts)


def _strip(row: Strip, axis: Axis, middle: float, digits: int) -> str:
    left, width = LEFT, WIDTH - LEFT - RIGHT
    name = f'<text x="{LEFT - 8:.0f}" y="{middle + 4:.1f}" text-anchor="end">{escaped(_short(row.name, 11))}</text>'
    if not len(row.values):
        return f'{name}<text class="muted" x="{LEFT + 4:.0f}" y="{middle + 4:.1f}">none</text>'
    values = np.asarray(row.values, float)
    at = [axis.place(float(value), left, width) for value in np.percentile(values, [10, 25, 50, 75, 90])]
    shape = _dots(values, axis, middle) if len(values) <= MAX_DOTS else _silhouette(values, axis, middle)
    bars = ""
    if len(values) >= 5:  # fewer values have no meaningful quartiles
        bars = f'<line class="thin" x1="{at[0]:.1f}" x2="{at[4]:.1f}" y1="{middle + 9:.1f}" y2="{middle + 9:.1f}"/>'
        bars += f'<line class="thick" x1="{at[1]:.1f}" x2="{at[3]:.1f}" y1="{middle + 9:.1f}" y2="{middle + 9:.1f}"/>'
    if len(values) > 1:
        bars += f'<line class="median" x1="{at[2]:.1f}" x2="{at[2]:.1f}" y1="{middle + 3.5:.1f}" y2="{middle + 14.5:.1f}"/>'
    median = fixed(float(np.median(values)), digits)
    value = f'<text x="{WIDTH:.0f}" y="{middle + 4:.1f}" text-anchor="end" class="value">{median}</text>'
    return f'{name}<g class="{escaped(row.colour)}">{shape}{bars}</g>{value}'


def _dots(values: np.ndarray, axis: Axis, middle: float) -> str:
    """A dot for each value; equal ones are stacked upwards."""
    heaps: dict[int, int] = {}
    dots = []
    for value in sorted(values.tolist()):
        x = axis.place(value, LEFT, WIDTH - LEFT - RIGHT)
        level = heaps.get(round(x / 5), 0)
        heaps[round(x / 5)] = level + 1
        dots.append(f'<circle cx="{x:.1f}" cy="{middle - 1 - 3.5 * min(level, 3):.1f}" r="3"/>')
    return "".join(dots)


def _silhouette(values: np.ndarray, axis: Axis, middle: float) -> str:
    """A histogram of 48 bins as one area on top of the strip's bar."""
    counts, edges = _binned(values, axis, 48)
    width, base, scale = WIDTH - LEFT - RIGHT, middle + 4.0, 19.0 / max(int(counts.max()), 1)
    points = [f"{LEFT:.1f},{base:.1f}"]
    for count, low, high in zip(counts, edges[:-1], edges[1:], strict=True):
        y = base - count * scale
        points += [f"{LEFT + low * width:.1f},{y:.1f}", f"{LEFT + high * width:.1f},{y:.1f}"]
    return f'<polygon points="{" ".join([*points, f"{LEFT + width:.1f},{base:.1f}"])}"/>'


def _binned(values: Values, axis: Axis, bins: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """How many values are in each of equal steps of an axis, and the ends of the steps from 0 to 1."""
    counts, edges = np.zeros(bins, np.int64), np.linspace(0.0, 1.0, bins + 1)
    for start in range(0, len(values), BLOCK):
        units = axis.units(np.asarray(values[start : start + BLOCK], float))
        counts += np.histogram(units, bins=bins, range=(0.0, 1.0))[0]
    return counts, edges


def histogram(title: str, first: Values, axis: Axis, *, second: Values = (), what: str = "uses") -> Markup:
    """Counts in equal steps of the axis; ``second`` is stacked on ``first``."""
    left, width, top, height = 40.0, 288.0, 10.0, 84.0
    stacks = [_binned(values, axis, BINS)[0] for values in (first, second)]
    most = max(1, int((stacks[0] + stacks[1]).max()))
    ticks = sorted({int(tick) for tick in nice_ticks(0, most, 2) if tick == int(tick)})
    parts = [grid(axis, left, width, top, height)]
    for tick in ticks:
        y = top + height * (1 - tick / most)
        parts.append(f'<line class="grid" x1="{left:.0f}" x2="{left + width:.0f}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text class="muted" x="{left - 5:.0f}" y="{y + 4:.1f}" text-anchor="end">{number(tick)}</text>')
    base = np.zeros(BINS)
    for counts, colour in zip(stacks, ("first", "second"), strict=True):
        bars = [_bar(left + index * width / BINS, width / BINS, base[index], count, most) for index, count in enumerate(counts) if count]
        parts.append(f'<g class="{colour}">{"".join(bars)}</g>')
        base = base + counts
    parts.append(
        f'<text class="muted" transform="translate(9 {top + height / 2:.0f}) rotate(-90)" text-anchor="middle">{escaped(what)}</text>'
    )
    ends = ends_of(first, second)
    phrase = f"{len(first) + len(second)} {what}" + (f", from {number(ends[0])} to {number(ends[1])}" if ends else "")
    return svg(title, phrase, top + height + 38.0, parts, width=340.0)


def _bar(x: float, width: float, base: float, count: float, most: int) -> str:
    y, height = 10.0 + 84.0 * (1 - (base + count) / most), 84.0 * count / most
    return f'<rect x="{x + 0.6:.1f}" y="{y:.1f}" width="{width - 1.2:.1f}" height="{height:.1f}"/>'


def bars(
    title: str,
    rows: Sequence[tuple[str, int, int]],
    *,
    width: float = 340.0,
    room: float = 92.0,
    colours: tuple[str, str] = ("first", "second"),
) -> Markup:
    """Horizontal bars with their counts: (name, first, second) each; ``room`` is left for the names."""
    most = max([1, *(first + second for _, first, second in rows)])
    scale = (width - room - 44.0) / most
    parts = []
    for index, (name, first, second) in enumerate(rows):
        y = 4.0 + 24.0 * index
        parts.append(f'<text x="{room - 8:.0f}" y="{y + 13:.1f}" text-anchor="end">{escaped(_short(name, int(room / 6.4)))}</text>')
        parts.append(f'<rect class="{colours[0]}" x="{room:.1f}" y="{y:.1f}" width="{first * scale:.1f}" height="18"/>')
        parts.append(f'<rect class="{colours[1]}" x="{room + first * scale:.1f}" y="{y:.1f}" width="{second * scale:.1f}" height="18"/>')
        end = room + (first + second) * scale
        parts.append(f'<text class="value" x="{end + 5:.1f}" y="{y + 13:.1f}">{number(first + second)}</text>')
    phrase = "; ".join(f"{name}: {first + second}" for name, first, second in rows)
    return svg(title, phrase, 24.0 * len(rows) + 6.0, parts, width=width)


def waveform(lows: Sequence[float], highs: Sequence[float], *, height: int = 64) -> Markup:
    """The path of a waveform's outline: lowest and highest sample of each column, -1 to 1 over ``height`` units."""
    half = height / 2

    def y(value: float) -> int:
        return round(half - value * (half - 1))

    upper = [f"{x},{y(high)}" for x, high in enumerate(highs)]
    # One unit of thickness stays where there is silence, so that it reads as a line and not as a hole.
    lower = [f"{x},{max(y(low), y(high) + 1)}" for x, (low, high) in enumerate(zip(lows, highs, strict=True))]
    return Markup(f"M{' '.join(upper)} {' '.join(reversed(lower))}z")


def grid(axis: Axis, left: float, width: float, top: float, height: float) -> str:
    """The ticks with their numbers and the axis's label below."""
    parts = []
    for tick in axis.ticks:
        x = axis.place(tick, left, width)
        parts.append(f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{top:.0f}" y2="{top + height:.0f}"/>')
        parts.append(f'<text class="muted" x="{x:.1f}" y="{top + height + 14:.0f}" text-anchor="middle">{number(tick)}</text>')
    middle = left + width / 2
    parts.append(f'<text class="muted" x="{middle:.0f}" y="{top + height + 30:.0f}" text-anchor="middle">{escaped(axis.label)}</text>')
    return "".join(parts)


def svg(title: str, phrase: str, height: float, parts: Sequence[str], *, width: float = WIDTH) -> Markup:
    """The picture of the parts, with a title and a phrase for those who cannot see it."""
    label = escaped(f"{title}. {phrase}")
    return Markup(f'<svg class="chart" viewBox="0 0 {width:.0f} {height:.0f}" role="img" aria-label="{label}">{"".join(parts)}</svg>')


def _short(text: str, length: int) -> str:
    return text if len(text) <= length else text[: length - 1].rstrip() + "…"


def escaped(text: str) -> Markup:
    """A text as a chart may hold it: nothing in it acts on the page or steers the direction of writing."""
    return escape(visible(text, longest=None))
