"""The panels of one recording: levels, octave bands, the mixture's loudness, levels over time, when stems play, and sections.

Conventions
    Those of ``stemwright.datagen.report.balance_plot``. Stems are ranked by level, the loudest on top; the loudest is labelled first, too.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from stemwright.datagen.report.balance_scales import (
    AXIS,
    BANDS,
    COURSES,
    GAP,
    LEVELS,
    MARGIN,
    NUMBERS,
    SWATCH,
    Scales,
    middles,
    within,
)  # fmt: skip
from stemwright.datagen.report.lettering import signed
from stemwright.datagen.report.sheet import LARGE, SMALL, USUAL, Sheet, apart, beside
from stemwright.separation.balance.basis import sentence

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from stemwright.separation.balance.measure import StemBalance
    from stemwright.separation.balance.track_balance import TrackBalance

HEAD, PANEL_TITLE, FOOT, BETWEEN = 0.62, 0.3, 0.62, 0.12  # heights
LOUDNESS, LEAST_COURSES, LABEL, PLAYS, SECTION = 0.9, 2.7, 0.185, 0.095, 0.2
MOST_ROW = 0.85  # height of a stem's row in the panel of levels
FEW_STEMS = 8  # so many have the bands of their intervals drawn over time
UNSMOOTHED_S, SMOOTHINGS = 480.0, 160  # a longer recording is smoothed over a 160th of it
POINTS = 900  # of a line
BAND_RANGE_LU = (-30.0, 0.0)
SILENT_LU = -60.0  # a cell with less is empty
SMALLEST = 7.0  # letters within cells


class SongPanels:
    """One recording, to be drawn on a sheet."""

    def __init__(self, track: TrackBalance, scales: Scales) -> None:
        self.track, self.scales, self.look = track, scales, scales.look
        ranked = sorted(track.stems.items(), key=lambda item: (item[1].present, item[1].level_lu), reverse=True)
        self.ranked: dict[str, StemBalance] = dict(ranked)
        self.present = {name: stem for name, stem in ranked if stem.present}
        count = max(1, len(self.present))
        self.courses = max(LEAST_COURSES, LABEL * count + 0.1)
        self.plays = PLAYS * count + 0.05
        self.sections = (SECTION * count + BETWEEN + 0.2) if track.sections else 0.0
        self.body = LOUDNESS + BETWEEN + self.courses + BETWEEN + self.plays + self.sections
        self.height = HEAD + PANEL_TITLE + self.body + FOOT
        self.smoothing_s = track.duration_s / SMOOTHINGS if track.duration_s > UNSMOOTHED_S else 0.0

    def draw(self, sheet: Sheet, top: float) -> None:
        """Draws the panels, from a height in inches downwards."""
        scales, track = self.scales, self.track
        sheet.text(MARGIN, top, scales.titles[track.title], fontsize=LARGE, fontweight="bold")
        sheet.text(MARGIN, top + 0.26, described(track), fontsize=USUAL, color=self.look.muted)
        top += HEAD + PANEL_TITLE
        rows = min(self.body, max(1.0, MOST_ROW * len(self.ranked)))
        left = MARGIN + scales.name_width + GAP
        draw_levels(sheet.axes(left, top, LEVELS, rows), self)
        left += LEVELS + NUMBERS + GAP
        draw_bands(sheet.axes(left, top, BANDS, rows), self)
        left += BANDS + AXIS
        loudness = sheet.axes(left, top, COURSES, LOUDNESS)
        draw_loudness(loudness, self)
        top += LOUDNESS + BETWEEN
        courses = sheet.axes(left, top, COURSES, self.courses, below=loudness)
        labels = sheet.axes(left + COURSES, top, SWATCH + scales.name_width, self.courses)
        draw_labels(labels, self, draw_courses(courses, self))
        top += self.courses + BETWEEN
        plays = sheet.axes(left, top, COURSES, self.plays, below=loudness)
        draw_plays(plays, self)
        lowest = plays
        if track.sections:
            lowest = sheet.axes(left, top + self.plays + BETWEEN, COURSES, self.sections - BETWEEN, below=loudness)
            draw_sections(lowest, self)
        for axes in {loudness, courses, plays, lowest} - {lowest}:
            axes.tick_params(labelbottom=False)
        time_axis(lowest, track.duration_s)


def described(track: TrackBalance) -> str:
    """One line: what the levels rest on, and about the mixture."""
    loudness = track.loudness
    parts = [
        sentence(track.basis, track.origin),
        f"mixture {signed(loudness.integrated_lufs)} LUFS",
        f"range {signed(loudness.range_lu)} LU",
    ]
    parts += [f"true peak {signed(loudness.true_peak_dbtp)} dBTP"] if math.isfinite(loudness.true_peak_dbtp) else []
    parts += [f"PLR {signed(track.plr_db)} dB"] if track.plr_db is not None else []
    if track.music is not None:
        parts += [f"{track.music.tempo_bpm:.0f} BPM" if track.music.tempo_bpm else "no tempo found"]
        parts += [f"{track.music.key} (confidence {track.music.key_confidence:.2f})" if track.music.key else "key not clear"]
    return "  \u00b7  ".join(parts)


def reason(stem: StemBalance) -> str:
    """Why a stem has no level, in a few words."""
    return stem.note.replace("its energy is ", "").replace("the stem is ", "").split(" at this")[0].split(" (")[0]


def draw_levels(axes: Axes, song: SongPanels) -> None:
    """Levels as dots with intervals, and their numbers right of them; a stem that is not present says why."""
    from matplotlib.ticker import MaxNLocator

    scales, look = song.scales, song.look
    low, high = scales.levels
    for row, (name, stem) in enumerate(song.ranked.items()):
        if not stem.present:
            axes.text(
                0.02, row, reason(stem), transform=axes.get_yaxis_transform(), va="center", color=look.muted, style="italic", fontsize=SMALL
            )
            continue
        colour = scales.colours[name]
        ends = np.clip([stem.level_low_lu, stem.level_high_lu], low, high)
        axes.plot(ends, [row, row], color=colour, lw=6, alpha=0.4, solid_capstyle="butt")
        shown = stem.level_lu >= low
        axes.plot(max(stem.level_lu, low), row, "o" if shown else "<", color=colour, ms=8, clip_on=False)
        number = f"{signed(stem.level_lu)}  ({signed(stem.level_low_lu)} to {signed(stem.level_high_lu)})"
        beside(axes, row, number)
    axes.set_yticks(range(len(song.ranked)), [scales.names[name] for name in song.ranked], fontsize=USUAL, color=look.ink)
    axes.set_ylim(len(song.ranked) - 0.5, -0.5)
    axes.set_xlim(low, high)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=5, integer=True))
    axes.axvline(0, color=look.line, lw=1)
    axes.grid(axis="x", color=look.grid)
    axes.set_xlabel("level against the mixture (LU); bar: 80 % interval", fontsize=SMALL)
    axes.set_title("level", loc="left", fontsize=USUAL)


def draw_bands(axes: Axes, song: SongPanels) -> None:
    """Levels in octave bands, as colours and whole numbers."""
    centres = next((tuple(band.centre_hz for band in stem.bands) for stem in song.present.values() if stem.bands), ())
    levels = np.full((len(song.ranked), max(1, len(centres))), -math.inf)
    for row, stem in enumerate(song.ranked.values()):
        for column, band in enumerate(stem.bands):
            levels[row, column] = band.level_lu
    cells(axes, levels, np.arange(levels.shape[1] + 1.0), BANDS)
    axes.set_ylim(len(song.ranked) - 0.5, -0.5)
    axes.set_yticks([])
    axes.spines["bottom"].set_visible(False)
    axes.set_xticks(np.arange(len(centres)) + 0.5, [_hertz(centre) for centre in centres], fontsize=SMALLEST + 0.5)
    axes.set_xlabel("octave band (Hz); dB against the mixture", fontsize=SMALL)
    axes.set_title("level in bands", loc="left", fontsize=USUAL)


def _hertz(value: float) -> str:
    nominal = min((31.5, 63, 125, 250, 500, 1000, 2000, 4000, 8000, 16000), key=lambda each: abs(math.log(each / value)))
    return f"{nominal / 1000:.0f}k" if nominal >= 1000 else f"{nominal:g}"


def cells(axes: Axes, levels: np.ndarray, edges: np.ndarray, panel_width: float) -> None:
    """Levels [rows, columns] as colours between upright edges, with numbers where there is room for them; nothing where no level is."""
    import matplotlib

    low, high = BAND_RANGE_LU
    colour_map = matplotlib.colormaps["cividis"]
    width = (edges[-1] - edges[0]) / panel_width * 0.24  # of a number
    for row, column in zip(*np.nonzero(np.nan_to_num(levels, nan=-np.inf) > SILENT_LU), strict=True):
        value = float(levels[row, column])
        colour = colour_map((value - low) / (high - low))
        start, stop = float(edges[column]), float(edges[column + 1])
        axes.fill_between([start, stop], row - 0.46, row + 0.46, color=colour, lw=0)
        if stop - start >= width:
            ink = "#000000" if sum(np.multiply(colour[:3], (0.2126, 0.7152, 0.0722))) > 0.42 else "#FFFFFF"
            axes.text((start + stop) / 2, row, signed(value, 0), ha="center", va="center", color=ink, fontsize=SMALLEST)
    axes.set_xlim(float(edges[0]), float(edges[-1]))


def draw_loudness(axes: Axes, song: SongPanels) -> None:
    """The mixture's short-term loudness, and the true peak of the same three seconds over it."""
    look, course = song.look, song.track.course
    axes.set_xlim(0, max(song.track.duration_s, 1e-3))
    axes.set_ylim(*song.scales.loudness)
    axes.grid(axis="y", color=look.grid)
    axes.set_ylabel("mixture\n(LUFS)", fontsize=SMALL)
    axes.set_title(f"over time (3 s windows{_smoothed(song)})", loc="left", fontsize=USUAL)
    if course is None or not np.isfinite(course.short_term_lufs).any():
        return
    time_s = middles(course.end_s)
    loudness = thinned(time_s, course.short_term_lufs, song)
    peak = thinned(time_s, course.short_term_lufs + np.nan_to_num(course.psr_db), song)
    axes.fill_between(loudness[0], loudness[1], peak[1], color=look.muted, alpha=0.25, lw=0)
    axes.plot(*loudness, color=look.ink, lw=1.4)
    if len(course.end_s) == 1:
        axes.plot(*loudness, "o", color=look.ink, ms=3)
    low, high = song.scales.loudness
    lasts = [float(np.clip(line[1][np.isfinite(line[1])][-1], low, high)) for line in (loudness, peak)]
    for place, text in zip(apart(lasts, 0.15 * (high - low) / LOUDNESS, low, high), ("short-term", "true peak"), strict=True):
        beside(axes, place, text, color=look.muted)


def _smoothed(song: SongPanels) -> str:
    return f", means of {song.smoothing_s:.0f} s" if song.smoothing_s else ""


def thinned(time_s: np.ndarray, values: np.ndarray, song: SongPanels) -> tuple[np.ndarray, np.ndarray]:
    """A course of not many points, smoothed if the recording is long; times and values [N], of which those without a level are NaN."""
    shown = np.isfinite(values)
    values = np.where(shown, values, 0.0)
    step_s = (time_s[-1] - time_s[0]) / (len(time_s) - 1) if len(time_s) > 1 else 1.0
    if (size := round(song.smoothing_s / step_s)) > 1:
        kernel = np.ones(min(size, len(values)))
        number = np.convolve(shown.astype(float), kernel, "same")
        values = np.convolve(values, kernel, "same") / np.maximum(number, 1.0)
        shown = number >= 0.5 * len(kernel)
    every = max(1, len(values) // POINTS)
    return time_s[::every], np.where(shown, values, np.nan)[::every]


def draw_courses(axes: Axes, song: SongPanels) -> dict[str, float]:
    """Levels over time, with intervals while stems are few; the height at which each line ends, or is most of the time."""
    scales, look = song.scales, song.look
    anchors = {}
    for name, stem in reversed(song.present.items()):
        course = stem.trajectory
        time_s = middles(course.end_s)
        playing = np.isfinite(course.level_lu) & within(time_s, stem.active_spans_s)
        low, level, high = (
            thinned(time_s, np.where(playing, part, np.nan), song) for part in (course.low_lu, course.level_lu, course.high_lu)
        )
        colour, known = scales.colours[name], np.isfinite(level[1])
        if len(song.present) <= FEW_STEMS and known.any():
            breadth = float(np.mean((high[1] - low[1])[known]))
            axes.fill_between(low[0], low[1], high[1], where=known.tolist(), color=colour, alpha=min(0.18, 0.36 / max(breadth, 0.1)), lw=0)
        alone = known & ~np.concatenate([[False], known[:-1]]) & ~np.concatenate([known[1:], [False]])
        axes.plot(*level, color=colour, lw=1.8 if len(song.present) <= FEW_STEMS else 1.3, ls=scales.dashes[name])
        axes.plot(level[0][alone], level[1][alone], ".", color=colour, ms=4)  # a line of one point shows nothing
        ending = known & (level[0] > 0.93 * level[0][-1])
        shown = level[1][ending] if ending.any() else level[1][known]
        anchors[name] = float(shown[-1] if ending.any() else np.median(shown)) if shown.size else stem.level_lu
    axes.set_ylim(*scales.courses)
    axes.axhline(0, color=look.line, lw=0.8, zorder=0.5)
    axes.grid(axis="y", color=look.grid)
    axes.set_ylabel("level against the mixture (LU)", fontsize=SMALL)
    if not song.present:
        axes.text(0.5, 0.5, "no stem is present", transform=axes.transAxes, ha="center", va="center", color=look.muted)
    return anchors


def draw_labels(axes: Axes, song: SongPanels, anchors: dict[str, float]) -> None:
    """The names of the stems beside their lines, apart from each other, with a piece of their line."""
    low, high = song.scales.courses
    an_inch = (high - low) / song.courses
    names = sorted(song.present, key=lambda name: anchors[name])
    wanted = np.clip([anchors[name] for name in names], low, high)
    margin = 0.5 * LABEL * an_inch
    for name, own, place in zip(names, wanted, apart(wanted, LABEL * an_inch, low + margin, high - margin), strict=True):
        how: dict[str, Any] = {"color": song.scales.colours[name], "clip_on": False}
        axes.plot([0.0, 0.08], [own, place], lw=0.7, **how)
        axes.plot([0.08, SWATCH - 0.06], [place, place], lw=2.2, ls=song.scales.dashes[name], **how)
        axes.text(SWATCH, place, song.scales.names[name], va="center", fontsize=USUAL)
    axes.set_axis_off()
    axes.set_xlim(0, SWATCH + song.scales.name_width)
    axes.set_ylim(low, high)


def draw_plays(axes: Axes, song: SongPanels) -> None:
    """A bar for each stem where it plays; pauses too short to be seen are closed."""
    least_s = song.track.duration_s / (2 * POINTS)
    for row, (name, stem) in enumerate(song.present.items()):
        spans: list[list[float]] = []
        for start, end in stem.active_spans_s:
            if spans and start - spans[-1][1] < least_s:
                spans[-1][1] = end
            else:
                spans.append([start, end])
        bars = [(start, max(end - start, least_s)) for start, end in spans]
        axes.broken_barh(bars, (row - 0.36, 0.72), color=song.scales.colours[name], lw=0)
    axes.set_ylim(max(1, len(song.present)) - 0.5, -0.5)
    axes.set_yticks([])
    axes.set_ylabel("plays", rotation=0, ha="right", va="center", fontsize=SMALL)


def draw_sections(axes: Axes, song: SongPanels) -> None:
    """The level of each stem in each section."""
    sections = song.track.sections
    edges = np.array([sections[0].start_s, *(section.end_s for section in sections)])
    levels = np.array([[section.stems[name][0] for section in sections] for name in song.present])
    levels = levels.reshape(len(song.present), len(sections))
    cells(axes, levels, edges, COURSES)
    for edge in edges[1:-1]:
        axes.axvline(edge, color=song.look.ground, lw=1.5)
    axes.set_ylim(max(1, len(song.present)) - 0.5, -0.5)
    axes.set_yticks(range(len(song.present)), [song.scales.names[name] for name in song.present], fontsize=SMALLEST)
    axes.yaxis.tick_right()
    axes.set_ylabel("sections\n(LU)", fontsize=SMALL)


def time_axis(axes: Axes, duration_s: float) -> None:
    """Times as minutes and seconds, with hours where there are any, at most a dozen."""
    from matplotlib.ticker import FuncFormatter, MultipleLocator

    def clock(value: float, _: Any) -> str:
        minutes, seconds = divmod(round(value), 60)
        return f"{minutes // 60}:{minutes % 60:02d}:{seconds:02d}" if duration_s >= 3600 else f"{minutes}:{seconds:02d}"

    step = next(
        (s for s in (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800) if duration_s / s <= 10), 3600 * math.ceil(duration_s / 36000)
    )
    axes.xaxis.set_major_locator(MultipleLocator(step))
    axes.xaxis.set_major_formatter(FuncFormatter(clock))
    axes.set_xlabel("time (h:min:s)" if duration_s >= 3600 else "time (min:s)", fontsize=SMALL)
