"""The panels over several recordings: each stem's levels in all of them, and the recordings by name while there is room.

Conventions
    Those of ``stemwright.datagen.report.balance_plot``. A dot is one recording, the line the median, the box the quartiles. Left, dots of
    about one level are above each other; right, each recording has a row, in the order in which they were given.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from stemwright.datagen.report.balance_scales import GAP, MARGIN, Scales, page_width
from stemwright.datagen.report.lettering import signed
from stemwright.datagen.report.sheet import LARGE, SMALL, USUAL, Sheet, beside
from stemwright.manifests.wording import counted

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from stemwright.separation.balance.track_balance import TrackBalance

HEAD, FOOT, PANEL_TITLE = 0.62, 0.62, 0.3
ROW, TALLEST, LEAST, SONG = 0.42, 0.9, 1.2, 0.19  # heights: of a stem's row, at least and at most, of a panel, of a recording's row
LEVELS, NUMBERS, MIXTURE = 4.2, 2.5, 1.1  # widths
FEWEST = 4  # recordings whose quartiles are drawn
MOST_NAMED = 60  # recordings with a row of their own
SPREAD = 0.3  # of a row: how far dots are from its middle
ALIKE = 0.02  # of the scale: dots nearer than so are drawn apart


class SummaryPanels:
    """Several recordings, to be drawn on a sheet."""

    def __init__(self, tracks: Sequence[TrackBalance], scales: Scales) -> None:
        self.tracks, self.scales, self.look = tracks, scales, scales.look
        levels = {
            name: [t.stems[name].level_lu if name in t.stems and t.stems[name].present else np.nan for t in tracks] for name in scales.names
        }
        self.levels = dict(sorted(((n, np.array(v)) for n, v in levels.items()), key=lambda item: -_median(item[1])))
        self.named = len(tracks) <= MOST_NAMED
        self.right = max(LEAST, SONG * len(tracks)) if self.named else 0.0
        self.left = max(LEAST, ROW * len(self.levels), min(TALLEST * len(self.levels), self.right))
        self.height = HEAD + PANEL_TITLE + max(self.left, self.right) + FOOT

    def draw(self, sheet: Sheet, top: float) -> None:
        """Draws the panels, from a height in inches downwards."""
        scales = self.scales
        loudness = [track.loudness.integrated_lufs for track in self.tracks]
        sheet.text(MARGIN, top, f"{counted(len(self.tracks), 'recording')}: levels of their stems", fontsize=LARGE, fontweight="bold")
        said = f"mixtures {signed(min(loudness))} to {signed(max(loudness))} LUFS, median {signed(float(np.median(loudness)))}"
        sheet.text(MARGIN, top + 0.26, said, fontsize=USUAL, color=self.look.muted)
        top += HEAD + PANEL_TITLE
        left = MARGIN + scales.name_width + GAP
        widest = page_width(scales) - left - NUMBERS - MARGIN
        self._draw_stems(sheet.axes(left, top, LEVELS if self.named else widest, self.left))
        if self.named:
            left += LEVELS + NUMBERS + scales.title_width + GAP
            width = page_width(scales) - left - MARGIN - MIXTURE
            self._draw_recordings(sheet.axes(left, top, width, self.right))

    def _level_axis(self, axes: Axes) -> None:
        from matplotlib.ticker import MaxNLocator

        axes.set_xlim(*self.scales.levels)
        axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
        axes.axvline(0, color=self.look.line, lw=1)
        axes.grid(axis="x", color=self.look.grid)
        axes.set_xlabel("level against the mixture (LU)", fontsize=SMALL)

    def _draw_stems(self, axes: Axes) -> None:
        """A row for each stem: dots, quartiles, median, and these as numbers."""
        low, high = self.scales.levels
        for row, (name, all_levels) in enumerate(self.levels.items()):
            levels, colour = all_levels[np.isfinite(all_levels)], self.scales.colours[name]
            found = f"in {len(levels)} of {len(self.tracks)}"
            if levels.size:
                first, middle, third = np.percentile(levels, [25, 50, 75])
                many = len(levels) >= FEWEST
                if many:
                    axes.fill_between(np.clip([first, third], low, high), row - 0.36, row + 0.36, color=colour, alpha=0.22, lw=0)
                axes.plot([np.clip(middle, low, high)] * 2, [row - 0.4, row + 0.4], color=colour, lw=2.4)
                shown = np.clip(levels, low, high)
                axes.plot(shown, row + _heights(shown, ALIKE * (high - low)), "o", color=colour, ms=4.5, mec=self.look.ground, mew=0.5)
                found = f"{signed(middle)}  {f'({signed(first)} to {signed(third)})  ' * many}{found}"
            beside(axes, row, found)
        axes.set_yticks(range(len(self.levels)), [self.scales.names[name] for name in self.levels], fontsize=USUAL, color=self.look.ink)
        axes.set_ylim(len(self.levels) - 0.5, -0.5)
        self._level_axis(axes)
        axes.set_title(f"line: median{', box: quartiles' * (len(self.tracks) >= FEWEST)}, dot: one recording", loc="left", fontsize=USUAL)

    def _draw_recordings(self, axes: Axes) -> None:
        """A row for each recording: the dots of all its stems, and its loudness."""
        for row, track in enumerate(self.tracks):
            for name in self.levels:
                level = self.levels[name][row]
                axes.plot(max(level, self.scales.levels[0]), row, "o", color=self.scales.colours[name], ms=5)
            number = f"{signed(track.loudness.integrated_lufs)} LUFS"
            beside(axes, row, number)
        titles = [self.scales.short_titles[track.title] for track in self.tracks]
        axes.set_yticks(range(len(self.tracks)), titles, fontsize=SMALL, color=self.look.ink)
        axes.set_ylim(len(self.tracks) - 0.4, -0.6)
        axes.grid(axis="y", color=self.look.grid, lw=0.6)
        self._level_axis(axes)
        axes.set_title("each recording", loc="left", fontsize=USUAL)


def _median(levels: np.ndarray) -> float:
    known = levels[np.isfinite(levels)]
    return float(np.median(known)) if known.size else -np.inf


def _heights(levels: np.ndarray, alike: float) -> np.ndarray:
    """How far from the middle of its row each dot is, so that dots of about one level are above each other."""
    heights = np.zeros(len(levels))
    placed: list[int] = []
    for number in np.argsort(levels, kind="stable"):
        near = {round(heights[other] / 0.1) for other in placed if abs(levels[other] - levels[number]) < alike}
        free = next((step for step in (0, 1, -1, 2, -2, 3, -3) if step not in near), 0)
        heights[number] = min(SPREAD, max(-SPREAD, 0.1 * free))
        placed.append(int(number))
    return heights
