"""Songs compared by year, genre or any column, from a corpus or a table."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stemwright.manifests.usage import UsageError
from stemwright.separation.balance.grouped import Grouped, group_rows, grouped, trend_rows
from stemwright.separation.balance.song_values import NOTHING, QUANTITIES, SongValues, Triple, songs_of_corpus

if TYPE_CHECKING:
    import pandas

NEEDED = ("track", "stem", "level_lu")


@dataclass(frozen=True)
class SongComparison:
    """Songs by a column: the means of groups and, over a column of numbers, the trends of every stem, with 80 % intervals.

    ``notes`` say what was left out.
    """

    found: Grouped

    @property
    def notes(self) -> tuple[str, ...]:
        """What to know before reading the numbers: songs without the column, groups of one song."""
        return tuple(self.found.notes)

    def groups(self) -> pandas.DataFrame:
        """One row for each stem, quantity and group: mean, low, high, spread, against_others with its ends; in the unit of its row."""
        import pandas

        return pandas.DataFrame(group_rows(self.found))

    def trends(self) -> pandas.DataFrame:
        """One row for each stem and quantity over a column of numbers: slope for ``per`` of it, its ends, line and curve as lists."""
        import pandas

        return pandas.DataFrame(trend_rows(self.found))

    def plot(self, path: Path | str) -> None:
        """Draws trends, or groups beside each other, to a file; its suffix says the format, .png or .svg say."""
        from stemwright.datagen.report.groups_plot import plot_groups

        plot_groups(self.found, path)

    def __repr__(self) -> str:
        count = len(self.found.songs) - self.found.missing
        return f"<SongComparison by {self.found.column}: {count} songs, {len(set(self.found.names) - {None})} groups>"


def compare_songs(songs: Path | str | pandas.DataFrame, by: str) -> SongComparison:
    """Compares songs by a column: year, genre, artist, or any other that the list of songs has.

    ``songs`` is a corpus with estimates, or a table with one row for each song and stem, as ``Balance.to_pandas()`` gives them one after
    another: ``track``, ``stem``, ``level_lu`` and where they are known ``level_low_lu``, ``level_high_lu``, ``against_rest_lu``, ``pan``,
    ``width``, with the column to compare by added. Means, differences and slopes have 80 % intervals that carry each song's own interval
    and the spread between songs (docs/guides/years.md). Raises ValueError, saying what to add, where no song has the column.

    >>> import pandas, stemwright as sw
    >>> rows = [{"track": f"{year}", "stem": "vocals", "level_lu": (1960 - year) / 20 - 2, "year": year} for year in range(1950, 1990, 5)]
    >>> found = sw.compare_songs(pandas.DataFrame(rows), by="year")
    >>> print(f"{found.trends()['slope'].item():.1f} LU a decade")
    -0.5 LU a decade
    """
    every = songs_of_corpus(songs) if isinstance(songs, str | Path) else _songs_of_table(songs)
    return SongComparison(grouped(every, " ".join(by.lower().split())))


def _songs_of_table(table: pandas.DataFrame) -> list[SongValues]:
    if missing := [name for name in NEEDED if name not in table.columns]:
        raise UsageError(f"no column {', '.join(missing)}; expected a table with one row for each song and stem: {', '.join(NEEDED)}, ...")
    known = {"stem", *QUANTITIES, *(end for name in QUANTITIES for end in _ends(name))}
    others = [str(name) for name in table.columns if name not in known]
    stems: dict[str, dict[str, dict[str, Triple]]] = {}
    columns: dict[str, dict[str, str]] = {}
    for row in table.to_dict("records"):
        track = str(row["track"])
        stems.setdefault(track, {})[str(row["stem"])] = {name: _triple(row, name) for name in QUANTITIES}
        said = columns.setdefault(track, {"title": track})
        said |= {name.lower(): _text(row[name]) for name in others if _text(row[name])}
    return [SongValues(track, columns[track], its) for track, its in stems.items()]


def _ends(name: str) -> tuple[str, str]:
    stem = name.removesuffix("_lu")
    unit = name[len(stem) :]
    return f"{stem}_low{unit}", f"{stem}_high{unit}"


def _triple(row: dict[Any, Any], name: str) -> Triple:
    value, low, high = (_float(row.get(each)) for each in (name, *_ends(name)))
    return NOTHING if math.isnan(value) else (value, value if math.isnan(low) else low, value if math.isnan(high) else high)


def _float(value: Any) -> float:
    try:
        found = float(value)
    except (TypeError, ValueError):
        return math.nan
    return found if math.isfinite(found) else math.nan


def _text(value: Any) -> str:
    """A cell as text: a whole number without decimals, nothing for what is missing."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    return f"{value:g}" if isinstance(value, float) else str(value).strip()
