"""A page to draw on, measured in inches from its top left corner, so that no text is cut and nothing moves when a name is long.

Conventions
    Lengths are inches, sizes of letters points. A page is drawn without a display and without changing matplotlib's settings for others.
    The same data give the same bytes: no date and no random number is written.
"""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from stemwright.datagen.report.lettering import families
from stemwright.datagen.report.palette import LIGHT, Look
from stemwright.manifests.disk.durable import remove_earlier, write_bytes
from stemwright.manifests.disk.folders import can_write, private_folder, user_folder

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SMALL, USUAL, LARGE = 8.5, 9.5, 12.0  # letters
DPI = 130
NO_DATE = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}
# Where matplotlib keeps its settings and its list of fonts, on Linux and elsewhere, unless the variable names another folder.
MATPLOTLIB_VARIABLE = "MPLCONFIGDIR"
MATPLOTLIB_FOLDERS = [("XDG_CONFIG_HOME", ".config", "matplotlib"), ("XDG_CACHE_HOME", ".cache", "matplotlib")]
if not sys.platform.startswith("linux"):
    MATPLOTLIB_FOLDERS = [("", "", ".matplotlib")]
MOST_PIXELS = 2**16 - 1  # of a side of a PNG


class Sheet:
    """One page: texts and axes are placed on it, its height is cut to what was drawn."""

    def __init__(self, width: float, height: float, look: Look) -> None:
        from matplotlib.figure import Figure

        self.look, self.width, self.height = look, width, height
        self.figure: Figure = Figure(figsize=(width, height), facecolor=look.ground)

    def axes(self, left: float, top: float, width: float, height: float, *, below: Axes | None = None) -> Axes:
        """Axes with their upper left corner at a place, in the plain look; ``below`` shares its time axis, if given."""
        place = (left / self.width, 1 - (top + height) / self.height, width / self.width, height / self.height)
        axes = self.figure.add_axes(place, sharex=below)
        for side in ("top", "right", "left"):
            axes.spines[side].set_visible(False)
        axes.tick_params(length=0, labelsize=SMALL)
        axes.set_axisbelow(True)
        return axes

    def text(self, left: float, top: float, text: str, **how: Any) -> Any:
        """A text whose first line's top is at a place."""
        return self.figure.text(left / self.width, 1 - top / self.height, text, va="top", **how)


def prepare_matplotlib() -> None:
    """To be called before matplotlib is imported: without a home it keeps its list of fonts in the private temporary folder."""
    usual = [user_folder(variable, folder) / name for variable, folder, name in MATPLOTLIB_FOLDERS]
    if not os.environ.get(MATPLOTLIB_VARIABLE) and not all(can_write(folder) for folder in usual) and (private := private_folder()):
        os.environ[MATPLOTLIB_VARIABLE] = str(private / "matplotlib")


@contextmanager
def drawing(look: Look = LIGHT, texts: Sequence[str] = ()) -> Iterator[None]:
    """matplotlib's settings for a picture in one look with the given texts in it, and as they were afterwards."""
    prepare_matplotlib()
    from matplotlib import style

    ours = {
        "text.parse_math": False,
        "text.usetex": False,
        "font.family": families(texts),
        "font.size": USUAL,
        "svg.hashsalt": "stemwright",
        "figure.facecolor": look.ground,
        "savefig.facecolor": look.ground,
        "axes.facecolor": look.ground,
        "axes.edgecolor": look.line,
        "text.color": look.ink,
        "axes.labelcolor": look.ink,
        "axes.titlecolor": look.ink,
        "xtick.color": look.muted,
        "ytick.color": look.muted,
        "xtick.labelcolor": look.muted,
        "ytick.labelcolor": look.muted,
        "grid.color": look.grid,
    }
    with style.context(["default", ours]):
        yield


def picture(figures: Sequence[Figure], kind: str) -> bytes:
    """Figures as a file of a kind such as "png" or "svg": the first, or in a PDF a page for each."""
    buffer = io.BytesIO()
    if kind == "pdf" and len(figures) > 1:
        from matplotlib.backends.backend_pdf import PdfPages

        with PdfPages(buffer, metadata=NO_DATE["pdf"]) as pages:
            for figure in figures:
                pages.savefig(figure)
    else:
        dpi = min(DPI, MOST_PIXELS / max(figures[0].get_size_inches()))
        figures[0].savefig(buffer, format=kind, dpi=dpi, metadata=NO_DATE.get(kind))
    return buffer.getvalue()


def write_picture(figures: Sequence[Figure], path: Path) -> None:
    """Writes figures in the form that the name of the file says, PNG where it says none, whole or not at all."""
    content = picture(figures, path.suffix[1:].lower() or "png")
    remove_earlier(path)
    write_bytes(path, content)


def width_of(texts: Sequence[str], size: float) -> float:
    """The width of the widest text, in inches, in letters of a size; 0 without any. To be asked within ``drawing``."""
    from matplotlib.figure import Figure

    figure = Figure(dpi=100)
    drawn = [figure.text(0, 0, text, fontsize=size).get_window_extent() for text in texts if text]
    return max((float(extent.width) for extent in drawn), default=0.0) / 100


def beside(axes: Axes, row: float, text: str, **how: Any) -> None:
    """A text right of the axes, at the height of a row."""
    place = axes.get_yaxis_transform()
    axes.annotate(text, (1.0, row), xycoords=place, xytext=(6, 0), textcoords="offset points", va="center", fontsize=SMALL, **how)


def apart(wanted: Sequence[float] | np.ndarray, least: float, low: float, high: float) -> np.ndarray:
    """Places as near as possible to the wanted ones (least squares), at least ``least`` apart, from ``low`` to ``high``; in order.

    Where there is no room for all, they are spread evenly from ``low`` to ``high``.

    >>> from stemwright.datagen.report.sheet import apart
    >>> apart([1.0, 1.0, 5.0], 1.0, 0.0, 10.0).tolist()
    [0.5, 1.5, 5.0]
    """
    places = np.asarray(wanted, float)
    count = len(places)
    if count < 2:
        return np.clip(places, low, high)
    if (count - 1) * least > high - low:
        even = np.linspace(low, high, count)
        return np.asarray(even[np.argsort(np.argsort(places, kind="stable"))])
    order = np.argsort(places, kind="stable")
    steps = least * np.arange(count)
    groups: list[list[float]] = []  # sum, number: neighbours that push each other share one shift
    for value in places[order] - steps:
        groups.append([float(value), 1.0])
        while len(groups) > 1 and groups[-2][0] / groups[-2][1] > groups[-1][0] / groups[-1][1]:
            value, number = groups.pop()
            groups[-1][0] += value
            groups[-1][1] += number
    shifts = np.concatenate([np.full(int(number), value / number) for value, number in groups])
    placed = np.clip(shifts, low, high - steps[-1]) + steps
    found = np.empty(count)
    found[order] = placed
    return found
