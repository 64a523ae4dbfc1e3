"""The picture of the balance of one recording or of several.

One: every stem's level with its interval, in octave bands and over time, below the mixture's own loudness. Several: a summary of all, with
median, quartiles and a dot for each; while they are few, the recordings themselves below it, and in a PDF always, on pages of their own.

Conventions
    Levels are in LU against the mixture, on the same scales for all recordings of a picture; each has its own time axis. A level below the
    scale is an arrow at its end; its number says what it is. Long recordings are smoothed, as the panel's title says.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from stemwright.datagen.report.balance_panels import SongPanels
from stemwright.datagen.report.balance_scales import MARGIN, Scales, page_width
from stemwright.datagen.report.balance_summary import SummaryPanels
from stemwright.datagen.report.palette import DARK, LIGHT, Look
from stemwright.datagen.report.sheet import Sheet, drawing, write_picture

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from stemwright.separation.balance.track_balance import TrackBalance

MOST_ON_PAGE = 4  # recordings with panels of their own on one page; of more only the summary is drawn, but in a PDF


def plot_balance(results: TrackBalance | Sequence[TrackBalance], path: Path | str, *, dark: bool = False) -> None:
    """Draws the balance of a recording, or of several, and writes it to ``path`` (its suffix says the format).

    ``dark`` draws on a dark ground. The same results give the same bytes. Raises ValueError when there is none.
    """
    tracks = list(results) if isinstance(results, Sequence) else [results]
    if not tracks:
        raise ValueError("expected at least one measured track, got none; measure_track gives one")
    look = DARK if dark else LIGHT
    texts = [text for track in tracks for text in (track.title, *track.stems)]
    with drawing(look, texts):
        write_picture(balance_figures(tracks, look, paged=Path(path).suffix.lower() == ".pdf"), Path(path))


def balance_figures(tracks: Sequence[TrackBalance], look: Look = LIGHT, *, paged: bool = False) -> list[Figure]:
    """The pages of a picture, to be drawn within ``drawing``: one, or where it is ``paged`` one for the summary and each recording."""
    scales = Scales.of(tracks, look)
    songs = [SongPanels(track, scales) for track in tracks]
    if len(tracks) == 1:
        return [_page(scales, songs)]
    summary = SummaryPanels(tracks, scales)
    if paged:
        return [_page(scales, [summary]), *(_page(scales, [song]) for song in songs)]
    return [_page(scales, [summary, *(songs if len(songs) <= MOST_ON_PAGE else [])])]


def _page(scales: Scales, blocks: Sequence[SongPanels | SummaryPanels]) -> Figure:
    """One page with blocks below each other."""
    sheet = Sheet(page_width(scales), sum(block.height for block in blocks) + MARGIN, scales.look)
    top = MARGIN
    for block in blocks:
        block.draw(sheet, top)
        top += block.height
    return sheet.figure
