"""The table of a recording's sections. Prints nothing itself."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.table import Table

    from stemwright.separation.balance.music import Music
    from stemwright.separation.balance.track_balance import TrackBalance

MOST_COLUMNS = 6  # sections beside each other; more are in further tables


def sections_tables(track: TrackBalance) -> list[Table]:
    """The level of each stem in each section, a column for each, as many beside each other as a terminal of 80 columns has room for."""
    from rich.table import Table

    tables = []
    for first in range(0, len(track.sections), MOST_COLUMNS):
        sections = track.sections[first : first + MOST_COLUMNS]
        title = f"{track.title}: level LU in sections {first + 1} to {first + len(sections)} of {len(track.sections)}"
        table = Table(title=title, title_justify="left", title_style="bold")
        table.add_column("stem")
        for section in sections:
            table.add_column(clock(section.start_s), justify="right", no_wrap=True)
        table.add_row("mixture LUFS", *(_level(section.loudness_lufs) for section in sections), style="dim")
        for name, stem in track.stems.items():
            if stem.present:
                table.add_row(name, *(_level(section.stems[name][0]) for section in sections))
        tables.append(table)
    return tables


def clock(time_s: float) -> str:
    """A time as minutes and seconds, "1:05"."""
    minutes, seconds = divmod(round(time_s), 60)
    return f"{minutes}:{seconds:02d}"


def in_short(music: Music) -> str:
    """Tempo and key, "120 BPM, A minor (confidence 0.12)"."""
    tempo = f"{music.tempo_bpm:.0f} BPM" if music.tempo_bpm else "no tempo found"
    key = f"{music.key} (confidence {music.key_confidence:.2f})" if music.key else "key not clear"
    return f"{tempo}, {key}"


def _level(value: float) -> str:
    return f"{value + 0.0:.1f}" if math.isfinite(value) else "-"
