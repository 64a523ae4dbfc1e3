"""What pictures share, and the picture of the console behind a mix.

Conventions
    One colour per stem name, the same in every picture (``stemwright.datagen.report.palette``). matplotlib is imported where it is used and
    draws without a display.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from stemwright.datagen.report.lettering import short_names
from stemwright.datagen.report.lettering import signed as _signed
from stemwright.datagen.report.palette import colours as colours
from stemwright.datagen.report.sheet import drawing, prepare_matplotlib, write_picture
from stemwright.separation.balance.panorama import in_words

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from stemwright.datagen.inverse.console import Console

MOST_LETTERS = 24


def pyplot_without_display() -> Any:
    """matplotlib's figures, drawn without a display."""
    prepare_matplotlib()
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    return pyplot


def save_figure(figure: Any, path: Path) -> None:
    """Writes a picture in the form that its name says, PNG where it says none, whole or not at all."""
    write_picture([figure], path)


def style(axes: Axes) -> None:
    """The plain look of every picture: no frame but the bottom line, no ticks."""
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.tick_params(length=0)
    axes.set_axisbelow(True)


def plot_console(found: Console, sample_rate: int, path: Path | str) -> None:
    """Draws the gain and pan of every stem beside those of the plain fit, and the curves of the equalisers, if there are any."""
    with drawing(texts=list(found.chains)):
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
    axes.set_yticks(range(len(found.chains)), list(reversed(short_names(list(found.chains), MOST_LETTERS).values())), fontsize=11)
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
    names = short_names(list(found.chains), MOST_LETTERS)
    curves = {name: use for name, chain in found.chains.items() for use in chain if is_equaliser(use[0])}
    for name, (equaliser, settings) in curves.items():
        axes.semilogx(hz, response_db(equaliser, settings, hz, sample_rate), color=palette[name], lw=1.8, label=names[name])
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
