"""Pictures of measurements: the mix balance of tracks, the console behind a mix.

Conventions
    One colour per stem name, the same in every picture (Okabe and Ito's palette; safe for colour-blind readers). Levels are
    in LU against the mixture, 0 at the right or top. matplotlib is imported where it is used and draws without a display.

References
    Okabe and Ito 2008, Color universal design (the palette).
"""

from __future__ import annotations

import io
import math
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from stemwright.manifests.disk.durable import remove_earlier, write_bytes
from stemwright.manifests.disk.folders import can_write, private_folder, user_folder
from stemwright.separation.balance.panorama import in_words

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from stemwright.datagen.inverse.console import Console
    from stemwright.separation.balance.measure import StemBalance
    from stemwright.separation.balance.track_balance import TrackBalance

COLOURS = {"drums": "#D55E00", "bass": "#0072B2", "other": "#009E73", "vocals": "#CC79A7", "guitar": "#E69F00", "piano": "#56B4E9"}
SPARE_COLOURS = ("#000000", "#999999", "#8C6D31", "#637939")
# Where matplotlib keeps its settings and its list of fonts, on Linux and elsewhere, unless the variable names another folder.
MATPLOTLIB_VARIABLE = "MPLCONFIGDIR"
MATPLOTLIB_FOLDERS = [("XDG_CONFIG_HOME", ".config", "matplotlib"), ("XDG_CACHE_HOME", ".cache", "matplotlib")]
if not sys.platform.startswith("linux"):
    MATPLOTLIB_FOLDERS = [("", "", ".matplotlib")]
MAX_TRACKS = 10
MAX_TITLE = 48
FLOOR_LU = -30.0  # levels below are not drawn: the stem is practically silent there


def colours(names: Sequence[str]) -> dict[str, str]:
    """A colour for every stem name; unknown names take the spare ones in turn."""
    spare = iter(SPARE_COLOURS * (len(names) // len(SPARE_COLOURS) + 1))
    return {name: COLOURS.get(name) or next(spare) for name in names}


def pyplot_without_display() -> Any:
    """matplotlib's figures, drawn without a display. Without a home it keeps its list of fonts in the private temporary folder."""
    usual = [user_folder(variable, folder) / name for variable, folder, name in MATPLOTLIB_FOLDERS]
    if not os.environ.get(MATPLOTLIB_VARIABLE) and not all(can_write(folder) for folder in usual) and (private := private_folder()):
        os.environ[MATPLOTLIB_VARIABLE] = str(private / "matplotlib")
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    return pyplot


def plot_balance(results: TrackBalance | Sequence[TrackBalance], path: Path | str) -> None:
    """Draws a track's balance, or several tracks' one below the other, and writes it to ``path`` (its suffix says the format).

    Left: every stem's level, loudest on top, with its 80 % interval. Right: its course in time with its interval, and when it plays. At
    most MAX_TRACKS tracks are drawn; the title says how many were given. Raises ValueError when there is none.
    """
    pyplot = pyplot_without_display()
    tracks = list(results) if isinstance(results, Sequence) else [results]
    if not tracks:
        raise ValueError("expected at least one measured track, got none; measure_track gives one")
    drawn = tracks[:MAX_TRACKS]
    figure, axes = pyplot.subplots(
        len(drawn), 2, figsize=(12.5, 4.6 * len(drawn)), squeeze=False, width_ratios=(1, 1.7), layout="constrained"
    )
    for (left, right), track in zip(axes, drawn, strict=True):
        palette = colours(list(track.stems))
        _draw_levels(left, track, palette)
        _draw_courses(right, track, palette)
    if len(tracks) > len(drawn):
        figure.suptitle(f"{len(drawn)} of {len(tracks)} tracks", fontsize=10)
    save_figure(figure, Path(path))
    pyplot.close(figure)


def save_figure(figure: Any, path: Path) -> None:
    """Writes a picture in the form that its name says, PNG where it says none, whole or not at all."""
    buffer = io.BytesIO()
    figure.savefig(buffer, dpi=130, format=path.suffix[1:] or "png")
    remove_earlier(path)
    write_bytes(path, buffer.getvalue())


def style(axes: Axes) -> None:
    """The plain look of every picture: no frame but the bottom line, no ticks."""
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.tick_params(length=0)
    axes.set_axisbelow(True)


def _draw_levels(axes: Axes, track: TrackBalance, palette: dict[str, str]) -> None:
    """Levels as dots with intervals and their values beside them; a stem that is not present says so."""
    from matplotlib.ticker import MaxNLocator

    ranked = sorted(track.stems.items(), key=lambda item: item[1].level_lu)
    style(axes)
    phrase = [stem for _, stem in ranked if stem.present]
    lowest = min((stem.level_low_lu for stem in phrase), default=-10.0)
    for row, (name, stem) in enumerate(ranked):
        if not stem.present:
            axes.text(lowest, row, stem.note.split(":")[0], va="center", color="0.5", style="italic")
            continue
        axes.plot([stem.level_low_lu, stem.level_high_lu], [row, row], color=palette[name], lw=7, alpha=0.35, solid_capstyle="round")
        axes.plot(stem.level_lu, row, "o", color=palette[name], ms=10)
        axes.annotate(_signed_level(stem), (stem.level_lu, row), xytext=(0, 11), textcoords="offset points", ha="center", fontsize=9)
    axes.set_yticks(range(len(ranked)), [name for name, _ in ranked], fontsize=11)
    axes.set_ylim(-0.6, len(ranked) - 0.3)
    span = max(4.0, -lowest)
    axes.set_xlim(lowest - 0.2 * span, max(0.5, *(stem.level_high_lu for stem in phrase), -math.inf) + 0.08 * span if phrase else 1.0)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
    axes.axvline(0, color="0.3", lw=1)
    axes.grid(axis="x", color="0.9")
    axes.set_xlabel("level against the mixture (LU), bar: 80 % interval")
    axes.set_title(f"{_shortened(track.title)}\nmixture {_signed(track.loudness.integrated_lufs)} LUFS", loc="left", fontsize=11)


def _signed_level(stem: StemBalance) -> str:
    return f"{_signed(stem.level_lu)}  ({_signed(stem.level_low_lu)} to {_signed(stem.level_high_lu)})"


def _shortened(title: str) -> str:
    return title if len(title) <= MAX_TITLE else title[: MAX_TITLE - 1].rstrip() + "\u2026"


def _signed(value: float) -> str:
    return f"{value:.1f}".replace("-", "\u2212")


def _draw_courses(axes: Axes, track: TrackBalance, palette: dict[str, str]) -> None:
    """Three-second levels over time with intervals; below them a bar per stem where it plays."""
    style(axes)
    present = {name: stem for name, stem in sorted(track.stems.items(), key=lambda item: -item[1].level_lu) if stem.present}
    floor = _floor(list(present.values()))
    for name, stem in present.items():
        course = stem.trajectory
        time_s = course.end_s - min(1.5, course.end_s[0] / 2)  # the middle of the window
        shown = np.isfinite(course.level_lu) & _within(time_s, stem.active_spans_s)
        breadth = float(np.mean((course.high_lu - course.low_lu)[shown])) if shown.any() else 0.0
        alpha = min(0.18, 0.36 / max(breadth, 0.1))  # broad bands overlap: paler, so that the lines stay in front
        axes.fill_between(time_s, course.low_lu, course.high_lu, where=shown.tolist(), color=palette[name], alpha=alpha, lw=0)
        axes.plot(time_s, np.where(shown, course.level_lu, np.nan), color=palette[name], lw=1.8, label=name)
    step = -floor / 22
    for row, (name, stem) in enumerate(present.items()):
        spans = [(start, end - start) for start, end in stem.active_spans_s]
        axes.broken_barh(spans, (floor - (row + 1.6) * step, 0.7 * step), color=palette[name])
    bottom = floor - (len(present) + 1.2) * step
    axes.text(track.duration_s * 1.005, (floor + bottom) / 2, "plays", va="center", fontsize=9, color="0.4")
    axes.axhline(floor - 0.3 * step, color="0.85", lw=1)
    axes.set_xlim(0, track.duration_s)
    axes.set_ylim(bottom, max([1.0, *(float(np.max(stem.trajectory.high_lu)) + 0.5 for stem in present.values())]))
    axes.set_yticks([tick for tick in range(0, math.floor(floor) - 1, -5 if floor > -26 else -10) if tick >= floor])
    axes.grid(axis="y", color="0.9")
    _time_axis(axes, track.duration_s)
    axes.set_ylabel("level against the mixture (LU)")
    axes.set_title("over time (3 s windows), band: 80 % interval", loc="left", fontsize=11)
    axes.legend(
        loc="lower left", bbox_to_anchor=(-0.01, 1.06), ncols=len(present) or 1, frameon=False, fontsize=9, handlelength=1.2, borderpad=0
    )


def _within(time_s: np.ndarray, spans_s: Sequence[tuple[float, float]]) -> np.ndarray:
    """Which times are in a span, [N]: a window in whose middle the stem pauses gives no level of it."""
    return np.array([any(start <= time <= end for start, end in spans_s) for time in time_s], dtype=bool)


def _floor(stems: Sequence[StemBalance]) -> float:
    """Lowest level drawn: a little under the softest stem's course while it plays, at least FLOOR_LU."""
    lowest = [-10.0]
    for stem in stems:
        course = stem.trajectory
        heard = np.isfinite(course.level_lu) & _within(course.end_s - 1.5, stem.active_spans_s)
        if heard.any():
            lowest.append(float(np.percentile(course.low_lu[heard], 5)) - 1.0)
    return max(FLOOR_LU, min(lowest))


def _time_axis(axes: Axes, duration_s: float) -> None:
    def clock(value: float, _: Any) -> str:
        return f"{int(value // 60)}:{int(value % 60):02d}"

    from matplotlib.ticker import FuncFormatter, MultipleLocator

    step = next((s for s in (1, 2, 5, 10, 15, 30, 60, 120, 300) if duration_s / s <= 10), 600)
    axes.xaxis.set_major_locator(MultipleLocator(step))
    axes.xaxis.set_major_formatter(FuncFormatter(clock))
    axes.set_xlabel("time (min:s)")


def plot_console(found: Console, sample_rate: int, path: Path | str) -> None:
    """Draws the gain and pan of every stem beside those of the plain fit, and the curves of the equalisers, if there are any."""
    pyplot = pyplot_without_display()
    figure, (left, right) = pyplot.subplots(1, 2, figsize=(12.5, 4.6), width_ratios=(1, 1.7), layout="constrained")
    palette = colours(list(found.chains))
    _draw_faders(left, found, palette)
    _draw_equalisers(right, found, sample_rate, palette)
    for axes in (left, right):
        axes.grid(color="0.92")
        style(axes)
    save_figure(figure, Path(path))
    pyplot.close(figure)


def _draw_faders(axes: Axes, found: Console, palette: dict[str, str]) -> None:
    """One row a stem: its fader, filled, and hollow the one that gain and pan alone would have."""
    from matplotlib.ticker import MaxNLocator

    from stemwright.datagen.inverse.effect_roles import is_fader

    levels = [0.0]
    for row, (name, chain) in enumerate(reversed(found.chains.items())):
        plain: Any = found.faders.get(name)
        fader: Any = next((settings for effect, settings in chain if is_fader(effect)), None)
        if plain is not None:
            axes.plot(plain.gain_db, row, "o", mfc="none", color=palette[name], ms=12)
            levels.append(plain.gain_db)
        if fader is not None:
            gain_db = fader.final_gain_db()
            axes.plot(gain_db, row, "o", color=palette[name], ms=8)
            levels.append(gain_db)
            phrase = f"{_signed(gain_db)} dB" + (f", {in_words(fader.pan)}" if hasattr(fader, "pan") else "")
            axes.annotate(phrase, (gain_db, row), xytext=(0, 11), textcoords="offset points", ha="center", fontsize=9)
    axes.set_yticks(range(len(found.chains)), list(reversed(found.chains)), fontsize=11)
    axes.set_ylim(-0.6, len(found.chains) - 0.3)
    axes.set_xlim(min(-3.0, 1.25 * min(levels)), max(3.0, 1.25 * max(levels)))  # a tenth of a dB is not to look like a difference
    axes.xaxis.set_major_locator(MaxNLocator(nbins=6))
    axes.axvline(0, color="0.3", lw=1)
    axes.set_xlabel("fader (dB); hollow: gain and pan only")


def _draw_equalisers(axes: Axes, found: Console, sample_rate: int, palette: dict[str, str]) -> None:
    """The response of each stem's equaliser over frequency."""
    from stemwright.datagen.inverse.console.initial_settings import response_db
    from stemwright.datagen.inverse.effect_roles import is_equaliser

    hz = np.geomspace(20.0, 0.45 * sample_rate, 400)
    curves = {name: use for name, chain in found.chains.items() for use in chain if is_equaliser(use[0])}
    for name, (equaliser, settings) in curves.items():
        axes.semilogx(hz, response_db(equaliser, settings, hz, sample_rate), color=palette[name], lw=1.8, label=name)
    axes.axhline(0.0, color="0.3", lw=1)
    axes.set_xscale("log")
    axes.set_xlim(hz[0], hz[-1])
    low, high = axes.get_ylim()
    axes.set_ylim(min(low, -3.0), max(high, 3.0))
    axes.set_xticks([20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000], ["20", "50", "100", "200", "500", "1k", "2k", "5k", "10k"])
    axes.minorticks_off()
    axes.set_xlabel("frequency (Hz)")
    axes.set_ylabel("equaliser (dB)")
    if curves:
        axes.legend(frameon=False, fontsize=9)
    else:
        axes.text(0.5, 0.7, "no stem has an equaliser", transform=axes.transAxes, ha="center", color="0.4")
