"""The picture of an undone recording: its peaks over time, the gain over time, and the waveform where it changed most.

Conventions
    Those of ``stemwright.datagen.report.plots``. Before is grey, after blue; ceilings of clipping are dashed lines.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from stemwright.datagen.inverse.undo.figures import gain_over_time
from stemwright.datagen.report.lettering import drawable, shortened
from stemwright.datagen.report.plots import pyplot_without_display, save_figure, style
from stemwright.datagen.report.sheet import drawing
from stemwright.manifests.decibels import db_to_gain
from stemwright.manifests.sound.formats import Audio

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from stemwright.datagen.edit.undone_file import UndoneFile

BEFORE, AFTER, CEILING = "#999999", "#0072B2", "#D55E00"
MOST_TITLE = 64
DETAIL_S = 0.02
COLUMNS = 1200  # of the peaks over time
FLOOR_DB = -40.0


def plot_undone(made: UndoneFile, path: Path | str) -> None:
    """Draws a recording before and after to ``path`` (its suffix says the format)."""
    with drawing(texts=[made.song.name]):
        pyplot = pyplot_without_display()
        figure, (peaks, gain, detail) = pyplot.subplots(3, 1, figsize=(11.0, 8.4), height_ratios=(1.0, 0.8, 1.3), layout="constrained")
        after = made.after / np.float32(db_to_gain(made.gain_db))  # on the scale of the recording
        effects = ", ".join(dict.fromkeys(step.effect for part in made.parts.values() for step in part.steps))
        figure.suptitle(f"{drawable(shortened(made.song.name, MOST_TITLE))}: {effects} undone", x=0.01, ha="left", fontsize=11)
        _draw_peaks(peaks, made.before, after, made.sample_rate)
        _draw_gain(gain, made.before, after, made.sample_rate)
        _draw_detail(detail, made, after)
        save_figure(figure, Path(path))
        pyplot.close(figure)


def _draw_peaks(axes: Axes, before: Audio, after: Audio, sample_rate: int) -> None:
    """Peak of each column of the picture, in dBFS."""
    style(axes)
    size = max(1, before.shape[1] // COLUMNS)
    times = (np.arange(before.shape[1] // size) + 0.5) * size / sample_rate
    for audio, colour, name in ((after, AFTER, "after"), (before, BEFORE, "before")):
        blocks = np.abs(audio[:, : len(times) * size]).max(axis=0).reshape(-1, size).max(axis=1)
        axes.plot(times, 20.0 * np.log10(np.maximum(blocks, db_to_gain(FLOOR_DB))), color=colour, lw=0.9, label=name)
    usual = np.abs(before).max(axis=0)
    low_db = 20.0 * np.log10(max(float(np.quantile(usual[usual > 0.0], 0.05)) if usual.any() else 1.0, db_to_gain(FLOOR_DB)))
    axes.set_ylim(bottom=low_db)
    axes.set_ylabel("peak (dBFS)")
    axes.set_xlim(0, before.shape[1] / sample_rate)
    axes.grid(axis="y", color="0.9")
    axes.legend(loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=2, frameon=False)


def _draw_gain(axes: Axes, before: Audio, after: Audio, sample_rate: int) -> None:
    """Gain of the RMS of each 10 ms, or its mean over a column of the picture."""
    style(axes)
    times, gain_db = gain_over_time(before, after, sample_rate)
    if (size := len(times) // COLUMNS) > 1:  # a long recording: the mean of each column of the picture
        whole = len(times) // size * size
        blocks = gain_db[:whole].reshape(-1, size)
        sounding = np.isfinite(blocks)
        gain_db = np.where(sounding, blocks, 0.0).sum(axis=1) / np.where(sounding.any(axis=1), sounding.sum(axis=1), np.nan)
        times = times[:whole].reshape(-1, size).mean(axis=1)
    axes.axhline(0.0, color="0.3", lw=1)
    axes.plot(times, gain_db, color=AFTER, lw=0.8)
    axes.set_ylabel("gain (dB)")
    axes.set_xlabel("time (s)")
    axes.set_xlim(0, before.shape[1] / sample_rate)
    axes.grid(axis="y", color="0.9")


def _draw_detail(axes: Axes, made: UndoneFile, after: Audio) -> None:
    """The waveform of the channel and the 20 ms that changed most."""
    style(axes)
    difference = np.abs(after.astype(np.float64) - made.before)
    size = min(after.shape[1], max(4, round(DETAIL_S * made.sample_rate)))
    sums = np.cumsum(np.pad(difference, ((0, 0), (1, 0))), axis=1)
    changed = sums[:, size:] - sums[:, :-size]
    channel, start = (int(place) for place in np.unravel_index(int(changed.argmax()), changed.shape))
    stop = start + size
    times = np.arange(start, stop) / made.sample_rate
    axes.plot(times, after[channel, start:stop], color=AFTER, lw=1.2, label="after")
    axes.plot(times, made.before[channel, start:stop], color=BEFORE, lw=1.6, label="before")
    for ceiling in _ceilings(made, channel):
        axes.axhline(ceiling, color=CEILING, lw=0.9, ls="--")
    axes.set_xlabel("time (s)")
    names = ("left", "right") if len(after) == 2 else [f"channel {number + 1}" for number in range(len(after))]
    axes.set_ylabel(f"waveform, {names[channel]}" if len(after) > 1 else "waveform")
    axes.set_xlim(times[0], times[-1])
    axes.grid(axis="y", color="0.9")
    axes.legend(loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=2, frameon=False)


def _ceilings(made: UndoneFile, channel: int) -> list[float]:
    """The ceilings of clipping that was found in the recording itself, as sample values."""
    found = []
    for step in made.parts[""].steps if "" in made.parts else ():
        settings: Any = step.settings
        if "share" in settings:
            low, high = settings["ceiling_low_dbfs"][channel], settings["ceiling_high_dbfs"][channel]
            found += [-db_to_gain(low)] if low is not None else []
            found += [db_to_gain(high)] if high is not None else []
    return found
