"""What is known of each song of a corpus, or of songs that were measured: its columns (year, genre, any) and the values of its stems.

How to use:

    songs = songs_of_corpus("corpus")                                # or songs_of_balances(measured, columns)
    values = values_of(songs, "vocals", "against_rest_lu")           # one value a song with its 80 % interval, for ``groups``
    compare_groups(values, texts_of(songs, "genre"))                 # stemwright.separation.balance.groups
    fit_trend(values, numbers_of(songs, "year"), per=10.0)

Conventions
    QUANTITIES are of a stem: its level against the mixture, its level against everything else, its pan and its width; each with the ends of
    its 80 % interval where there is one. The table of estimates has no level against the rest: it is the stem's level minus that of all
    other stems, whose energies add up as those of uncorrelated signals; its interval is from one end with the other's other end.
    Columns are those of ``COLUMNS`` and whatever the list of songs and the tags have (``Track.metadata``), under their names in lower case.
    A column is one of numbers if all its texts are numbers, of at least two values; ``year`` is one always.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stemwright.manifests.metadata import year_and_genre
from stemwright.manifests.records import RESIDUAL, Refused, Track
from stemwright.manifests.table import frame
from stemwright.manifests.table_rows import TableRows
from stemwright.separation.balance.groups import NO_VALUE, Values, group_names
from stemwright.separation.balance.track_balance import TrackBalance

QUANTITIES = {
    "level_lu": ("level against the mixture", "LU"),
    "against_rest_lu": ("level against the rest", "LU"),
    "pan": ("pan, -1 left, 1 right", ""),
    "width": ("stereo width", ""),
}
COLUMNS = ("year", "genre", "artist", "album", "title", "rights", "split", "source")  # of a track, besides those of a list of songs
YEAR = "year"
Triple = tuple[float, float, float]  # a value and the ends of its interval, NaN where it has none
NOTHING: Triple = (math.nan, math.nan, math.nan)


@dataclass(frozen=True)
class SongValues:
    """A song: what it is called, its columns as texts, and the values of its stems: stem -> quantity -> (value, low, high).

    ``path`` is its file, by which songs of one title are distinguished.
    """

    title: str
    columns: Mapping[str, str] = field(default_factory=dict)
    stems: Mapping[str, Mapping[str, Triple]] = field(default_factory=dict)
    path: str = ""


def songs_of_corpus(corpus: Path | str) -> list[SongValues]:
    """The songs of a corpus that have estimates. Raises Refused if it has none."""
    place = Path(corpus)
    if not (place / "tracks.parquet").exists() or not (place / "estimates.parquet").exists():
        raise Refused(f"{place} has no estimates; expected a corpus, after: stemwright estimate {place}")
    by_track: dict[str, dict[str, Any]] = {}
    columns = ("track_id", "name", "level_lu", "level_low_lu", "level_high_lu", "pan", "width")  # no record of each row is needed
    for row in frame(place / "estimates.parquet", columns).itertuples(index=False):
        by_track.setdefault(row.track_id, {})[row.name] = row
    tracks = [row for row in TableRows(place / "tracks.parquet", Track) if row.id in by_track]
    return [SongValues(row.title, columns_of(row), _stems_of_estimates(by_track[row.id]), row.audio.path) for row in tracks]


def songs_of_balances(measured: Iterable[TrackBalance], columns: Sequence[Mapping[str, str]]) -> list[SongValues]:
    """Songs that were measured, with the columns of each."""
    return [SongValues(track.title, its, _stems_of_balance(track), track.path) for track, its in zip(measured, columns, strict=True)]


def columns_of(track: Track) -> dict[str, str]:
    """The columns of a track, of its list of songs and of its tags, as texts."""
    own = {name: str(value) for name in COLUMNS if (value := getattr(track, name)) is not None}
    listed, _ = year_and_genre(track.metadata, {})  # of a track that a version without these columns read
    said = {name: str(listed[name]) for name in (YEAR, "genre") if listed[name] is not None}
    return {**said, **own, **{name: text for name, text in track.metadata.items() if name not in (YEAR, "genre")}}


def _stems_of_estimates(rows: Mapping[str, Any]) -> dict[str, dict[str, Triple]]:
    levels = {name: _triple(row.level_lu, row.level_low_lu, row.level_high_lu) for name, row in rows.items()}
    rest = against_rest(levels)
    return {
        name: {"level_lu": levels[name], "against_rest_lu": rest[name], "pan": _triple(row.pan), "width": _triple(row.width)}
        for name, row in rows.items()
        if name != RESIDUAL
    }


def against_rest(levels: Mapping[str, Triple]) -> dict[str, Triple]:
    """The level of each stem against all others with its 80 % interval, from the levels against the mixture with theirs, in LU."""
    found = {}
    for name, level in levels.items():
        rest = _sum([other for key, other in levels.items() if key != name])
        found[name] = (level[0] - rest[0], level[1] - rest[2], level[2] - rest[1])
    return found


def _triple(value: float | None, low: float | None = None, high: float | None = None) -> Triple:
    value, low, high = (math.nan if each is None or not math.isfinite(each) else float(each) for each in (value, low, high))
    return value, low if math.isfinite(low) else value, high if math.isfinite(high) else value


def _sum(levels: Sequence[Triple]) -> Triple:
    """The level of several uncorrelated signals together, and its ends where all are at theirs; NaN of none."""
    heard = np.array([level for level in levels if math.isfinite(level[0])])
    if not heard.size:
        return NOTHING
    low, high = heard[:, 1], heard[:, 2]
    value = np.sum(10 ** (heard[:, 0] / 10))
    # Errors of stems are not of one mind: their ends are taken in quadrature, by what each is of the sum.
    shares = 10 ** (heard[:, 0] / 10) / value
    below, above = (float(np.sqrt(np.sum((shares * (heard[:, 0] - end)) ** 2))) for end in (low, high))
    level = float(10 * np.log10(value))
    return level, level - below, level + above


def _stems_of_balance(track: TrackBalance) -> dict[str, dict[str, Triple]]:
    found: dict[str, dict[str, Triple]] = {}
    for name, stem in track.stems.items():
        if name == RESIDUAL:
            continue
        heard = stem if stem.present else None
        found[name] = {
            "level_lu": _triple(stem.level_lu, stem.level_low_lu, stem.level_high_lu) if heard else NOTHING,
            "against_rest_lu": _triple(stem.against_rest_lu, stem.against_rest_low_lu, stem.against_rest_high_lu) if heard else NOTHING,
            "pan": _interval_of(stem, "pan") if heard else NOTHING,
            "width": _interval_of(stem, "width") if heard else NOTHING,
        }
    return found


def _interval_of(stem: Any, name: str) -> Triple:
    """A value with its interval, where the measurement gives one."""
    return _triple(getattr(stem, name), getattr(stem, f"{name}_low", None), getattr(stem, f"{name}_high", None))


def stem_names(songs: Iterable[SongValues]) -> list[str]:
    """The stems that any of the songs has, in the order in which they are found."""
    return list(dict.fromkeys(name for song in songs for name in song.stems))


def values_of(songs: Sequence[SongValues], stem: str, quantity: str) -> Values:
    """One value of each song with its interval, [N]; NaN where it has none."""
    found = np.array([song.stems.get(stem, {}).get(quantity, NOTHING) for song in songs], np.float64).reshape(-1, 3)
    return Values(found[:, 0], found[:, 1], found[:, 2])


def texts_of(songs: Sequence[SongValues], column: str) -> list[str | None]:
    """The group of each song by a column: of several genres the first, which is the main one; None where it has none.

    Raises Refused if no song has the column.
    """
    check_column(songs, column)
    texts = [song.columns.get(column) for song in songs]
    return group_names([text.partition(";")[0] if text and column == "genre" else text for text in texts])


def numbers_of(songs: Sequence[SongValues], column: str) -> NDArray[np.float64]:
    """The number that each song has in a column, [N]; NaN where it has none. Raises Refused if no song has the column."""
    check_column(songs, column)
    return np.array([_number(song.columns.get(column)) for song in songs], np.float64)


def has_numbers(songs: Sequence[SongValues], column: str) -> bool:
    """Whether a column is one of numbers, over which there are trends: the year, or one whose texts are all numbers, not all the same."""
    stated = [text for song in songs if (text := song.columns.get(column, "")).strip().casefold() not in NO_VALUE]
    numbers = {_number(text) for text in stated}
    return column == YEAR or (len(numbers) > 1 and all(map(math.isfinite, numbers)))


def _number(text: str | None) -> float:
    try:
        value = float((text or "").replace(",", ".") if (text or "").count(",") == 1 else text or "")
    except ValueError:
        return math.nan
    return value if math.isfinite(value) else math.nan


def check_column(songs: Sequence[SongValues], column: str) -> None:
    """Raises Refused, with what to do, if no song has anything in a column."""
    known = {name for song in songs for name, text in song.columns.items() if text.strip()}
    if column in known:
        return
    count = f"{len(songs)} songs" if len(songs) != 1 else "the song"
    if column in (YEAR, "genre"):
        tags = "DATE, ORIGINALDATE, TDRC, TDOR or ©day" if column == YEAR else "genre"
        raise Refused(
            f"none of {count} has a {column}; expected a column {column!r} in the CSV that lists the songs, or tags of the files ({tags}). "
            "Add it, then run `stemwright catalog` again: nothing is separated again"
        )
    near = difflib.get_close_matches(column, sorted(known), n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    raise Refused(f"none of {count} has a column {column!r}; expected one of {', '.join(sorted(known)) or 'none'}{hint}")
