"""``balance`` of a corpus, and of any songs by a column (``--by``): the verb itself is in ``datagen/cli/listening.py``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from stemwright.datagen.cli.terminal import Terminal

if TYPE_CHECKING:
    from rich.table import Table

    from stemwright.separation.balance.grouped import Grouped, Series
    from stemwright.separation.balance.groups import GroupMean
    from stemwright.separation.balance.song_values import SongValues
    from stemwright.separation.balance.track_balance import TrackBalance

ByOption = Annotated[
    str | None,
    typer.Option(
        "--by",
        metavar="COLUMN",
        help="Compare songs by year, genre, artist or any column of the CSV that lists them: means and differences of groups, "
        "and trends over numbers such as the year, with 80 % intervals.",
    ),
]
Columns = Mapping[Path, Mapping[str, str]]  # absolute path of a song -> its columns
LISTS = (".csv", ".tsv")
MOST_GROUPS = 12  # of a table on a terminal; --json has them all
LEAD = ("vocals", "against_rest_lu")  # what is shown besides the level of every stem
MOST_CHARACTERS = 28  # of a group's name in a table


@dataclass(frozen=True)
class Plot:
    """The picture that is wanted: its file, and whether its ground is dark."""

    path: Path
    dark: bool = False

    @classmethod
    def of(cls, path: Path | None, *, dark: bool) -> Plot | None:
        """The picture of the options of a verb; None if none is wanted."""
        return None if path is None else cls(path, dark)


def corpus_among(paths: Sequence[Path]) -> Path | None:
    """The corpus that is named in place of songs; None if there is none. Raises UsageError if anything else is named besides."""
    from stemwright.manifests.usage import UsageError

    found = [path for path in paths if path.is_dir() and ((path / "tracks.parquet").exists() or (path / "estimates.parquet").exists())]
    if not found:
        return None
    if len(paths) > 1:
        raise UsageError(f"{found[0]} is a corpus; expected it alone, or songs alone: name one of them")
    return found[0]


def say_what_separated(terminal: Terminal, corpus: Path) -> None:
    """Warns if stems of a corpus are those of a demonstration model."""
    from stemwright.manifests.records import Stem
    from stemwright.manifests.table_rows import TableRows
    from stemwright.separation.balance.basis import rough

    stems = corpus / "stems.parquet"
    if stems.exists() and (doubt := rough(sorted(set(TableRows(stems, Stem).column("origin").to_pylist())))):
        terminal.warn(doubt)


def balance_of_corpus(
    terminal: Terminal, corpus: Path, by: str | None, csv: Path | None, plot: Plot | None, others: Mapping[str, Any]
) -> None:
    """The balance of a corpus by its table of estimates: over all songs, or by a column. Leaves the program.

    ``others`` are options that are of no use here, by name, and refused.
    """
    from stemwright.datagen.cli import tables
    from stemwright.manifests.disk.outputs import PICTURES, TABLES, check_output
    from stemwright.manifests.records import Refused
    from stemwright.manifests.usage import UsageError
    from stemwright.separation.balance import grouped, song_values

    if unused := [f"--{name.replace('_', '-')}" for name, value in others.items() if value not in (None, False)]:
        raise UsageError(
            f"{', '.join(unused)}: for songs, and {corpus} is a corpus, whose estimates are read as they are; leave out {unused[0]}"
        )
    for out, suffixes in ((csv, TABLES), (plot.path if plot else None, PICTURES)):
        if out:
            check_output(out, suffixes, [corpus])
    if plot and by is None:
        raise UsageError(f"--plot of a corpus needs --by; for distributions of all songs: stemwright report {corpus}")
    try:
        songs = song_values.songs_of_corpus(corpus)
    except Refused as reason:
        raise UsageError(str(reason)) from reason
    say_what_separated(terminal, corpus)
    rows = grouped.summary_rows(songs)
    if by is None:
        terminal.show("summary", tables.summary_table(rows), rows)
    else:
        terminal.collected["summary"] = rows
        show_groups(terminal, songs, by, plot)
    if csv:
        _write_csv(terminal, songs, by, csv)
    terminal.say(f"balance: {len(songs)} songs of {corpus}")
    terminal.finish(0)


def columns_of_songs(paths: Sequence[Path], by: str | None) -> Columns:
    """The columns of songs by their tags and the lists that name them, before they are measured; nothing without a column to group by.

    Raises UsageError if no song has that column.
    """
    if by is None:
        return {}
    files = [path for path in paths if path.suffix.lower() not in LISTS and path.is_file()]
    listed = {key: value for path in paths if path.suffix.lower() in LISTS for key, value in _listed(path).items()}
    files += [path for path in listed if path not in [each.absolute() for each in files]]
    found = {path.absolute(): _columns_of_file(path, listed.get(path.absolute(), {})) for path in files}
    if found:  # where no song is found, that is what is reported
        _check_column(found, by)
    return found


def columns_of_song(columns: Columns, path: Path | str, title: str) -> Mapping[str, str]:
    """The columns of a song by its file, whatever other songs are called; its title where nothing is known of it."""
    return columns.get(Path(path).absolute(), {"title": title})


def _check_column(columns: Columns, by: str) -> None:
    from stemwright.manifests.records import Refused
    from stemwright.manifests.usage import UsageError
    from stemwright.separation.balance.song_values import SongValues, check_column

    try:
        check_column([SongValues(path.name, its) for path, its in columns.items()], _name(by))
    except Refused as reason:
        raise UsageError(f"--by {by}: {reason}") from reason


def groups_of_measured(terminal: Terminal, measured: Sequence[TrackBalance], columns: Columns, by: str, plot: Plot | None) -> None:
    """Shows measured songs by a column, of those that ``columns_of_songs`` gave."""
    from stemwright.separation.balance import song_values

    songs = song_values.songs_of_balances(measured, [columns_of_song(columns, track.path, track.title) for track in measured])
    if measured:
        show_groups(terminal, songs, by, plot)


def _listed(path: Path) -> dict[Path, dict[str, Any]]:
    """What a list says about its songs, by their files."""
    from stemwright.manifests.catalog.tracks import find

    found = find(path)
    fields = ("title", "artist", "album", "rights", "metadata")
    return {(found.songs / song.path).absolute(): {name: getattr(song, name) for name in fields} for song in found.candidates}


def titles_of_songs(places: Sequence[Path], paths: Sequence[Path]) -> list[str]:
    """The titles of songs by the lists among the places that were given; of what no list gives a title, the name of its file.

    Songs of equal titles are distinguished by their files.
    """
    from stemwright.separation.balance.recordings import titles_of

    lists = [place for place in places if place.suffix.lower() in LISTS and place.is_file()]
    stated = {path: its["title"] for place in lists for path, its in _listed(place).items() if its["title"]}
    files = titles_of(paths)
    titles = [stated.get(path.absolute(), file) for path, file in zip(paths, files, strict=True)]
    equal = {title for title, number in Counter(titles).items() if number > 1}
    return [f"{title} ({file})" if title in equal and title != file else title for title, file in zip(titles, files, strict=True)]


def _columns_of_file(path: Path, listed: Mapping[str, Any]) -> dict[str, str]:
    """The columns of a song by its tags, and by what a list says about it."""
    from stemwright.manifests.catalog.candidates import Candidate
    from stemwright.manifests.catalog.descriptions import describe

    described, _ = describe(path.parent, Candidate(path=path.name, source="folder", **listed))
    own = {name: str(described[name]) for name in ("title", "artist", "album", "rights", "year", "genre") if described[name] is not None}
    return {**own, **{name: text for name, text in described["metadata"].items() if name not in ("year", "genre")}}


def show_groups(terminal: Terminal, songs: Sequence[SongValues], by: str, plot: Plot | None) -> None:
    """Tables of groups and trends, what to know about them, and the picture. Raises UsageError if no song has the column."""
    from stemwright.manifests.records import Refused
    from stemwright.manifests.usage import UsageError
    from stemwright.separation.balance.grouped import group_rows, grouped, trend_rows

    try:
        found = grouped(songs, _name(by))
    except Refused as reason:
        raise UsageError(f"--by {by}: {reason}") from reason
    shown = [*(series for series in found.groups if series[1] == "level_lu"), *(each for each in (LEAD,) if each in found.groups)]
    if found.trends:
        terminal.show("trends", _trend_table(found, shown), trend_rows(found))
    for series in shown:
        terminal.show("groups", _group_table(found, series), group_rows(found))
    for note in found.notes:
        terminal.warn(note)
    if plot:
        from stemwright.datagen.report.groups_plot import plot_groups

        plot_groups(found, plot.path, dark=plot.dark)
        terminal.say(f"picture: {plot.path}")


def _trend_table(found: Grouped, shown: Sequence[Series]) -> Table:
    from rich.table import Table

    from stemwright.separation.balance.grouped import per_words

    first = next(iter(found.trends.values()))
    title = f"change {per_words(found.column, first.per)}, from {first.first:g} to {first.last:g}"
    table = Table(title=title, title_justify="left", title_style="bold")
    table.add_column("what", no_wrap=True)
    for heading in ("songs", "LU", "80 % range", "songs spread by"):
        table.add_column(heading, justify="right", no_wrap=True)
    for series in shown:
        if trend := found.trends.get(series):
            cells = [str(trend.songs), _signed(trend.slope, 2), f"{_signed(trend.low, 2)} to {_signed(trend.high, 2)}"]
            cells.append(f"{trend.spread:.1f}")
            table.add_row(_words(series), *cells)
    return table


def _group_table(found: Grouped, series: Series) -> Table:
    from rich.table import Table

    table = Table(title=f"{_words(series)} (LU)", title_justify="left", title_style="bold")
    table.add_column(found.column, overflow="fold")
    for heading in ("songs", "mean (80 % range)", "spread", "to other songs"):
        table.add_column(heading, justify="right", no_wrap=True)
    groups, left = _shown(found, found.groups[series])
    for group in groups:
        other = group.against_others
        cells = [str(group.songs), f"{_plain(group.mean)} ({_plain(group.low)} to {_plain(group.high)})"]
        cells += ["-" if group.spread is None else f"{group.spread:.1f}"]
        cells += ["-" if other is None else f"{_signed(other.value)} ({_signed(other.low)} to {_signed(other.high)})"]
        table.add_row(_short(group.name), *cells)
    if left:
        table.caption, table.caption_justify = f"and {left} smaller groups, in --json", "left"
    return table


def _words(series: Series) -> str:
    return f"{series[0]} against the {'rest' if series[1] == LEAD[1] else 'mixture'}"


def _shown(found: Grouped, groups: Sequence[GroupMean]) -> tuple[list[GroupMean], int]:
    """The largest groups, as they are shown, and how many are left out."""
    from stemwright.separation.balance.grouped import in_order

    largest = groups[:MOST_GROUPS] if found.places is None else groups
    return in_order(largest, found), len(groups) - len(largest)


def _plain(value: float) -> str:
    return f"{round(value, 1) + 0.0:.1f}"  # no -0.0


def _signed(value: float, digits: int = 1) -> str:
    return f"{round(value, digits) + 0.0:+.{digits}f}"


def _name(by: str) -> str:
    """A column's name as lists and tags have it."""
    return " ".join(by.lower().split())


def _short(name: str) -> str:
    return name if len(name) <= MOST_CHARACTERS else name[: MOST_CHARACTERS - 1].rstrip() + "\u2026"


def _write_csv(terminal: Terminal, songs: Sequence[SongValues], by: str | None, path: Path) -> None:
    from stemwright.manifests.disk.durable import remove_earlier, write_bytes
    from stemwright.manifests.spreadsheet import csv_text
    from stemwright.separation.balance.grouped import song_rows

    columns = dict.fromkeys(["year", "genre", "artist", *([_name(by)] if by else [])])
    columns.pop("title", None)
    remove_earlier(path)
    write_bytes(path, csv_text(song_rows(songs, list(columns))).encode())
    terminal.say(f"rows: {path}")
