"""The verb ``rules``: which published rules of mixing songs keep. ``datagen/cli/app.py`` puts it on the command line.

Conventions
    Of a corpus the stored stems are read, and nothing is separated. Anything else is songs, as for ``balance``.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from stemwright.datagen.cli import completion, grouping
from stemwright.datagen.cli.balance_inputs import check_outputs, recording_options, songs_to_measure
from stemwright.datagen.cli.listening import separator_for
from stemwright.datagen.cli.options import (
    DeviceOption,
    EngineOption,
    JsonOption,
    ModelFolderOption,
    OfflineOption,
    OneModelOption,
    OtherSeparatorOption,
    PrecisionOption,
    SongCalibrationOption,
    SongStemsOption,
    TrustPickleOption,
    whole_number,
)
from stemwright.datagen.cli.running import exit_code
from stemwright.datagen.cli.terminal import Terminal

if TYPE_CHECKING:
    from stemwright.separation.balance.named_songs import NamedSongs
    from stemwright.separation.balance.recordings import RecordingOptions
    from stemwright.separation.rules.rule import Rule
    from stemwright.separation.rules.verdicts import Kept, Song

ABOUT = "Songs"


def rules(
    places: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="SONG|CORPUS",
            help="Recordings, multitracks, folders of them, a CSV that lists them; or one corpus.",
            show_default=False,
        ),
    ] = None,
    rule: Annotated[
        list[str] | None,
        typer.Option("--rule", metavar="NAME", help="Only this rule; may be given again.", autocompletion=completion.rules),
    ] = None,
    show_list: Annotated[bool, typer.Option("--list", help="List the rules with their sources; measure nothing.")] = False,
    by: Annotated[
        str | None,
        typer.Option(metavar="COLUMN", help="Also for each group: year (by decade), genre, artist ...", rich_help_panel=ABOUT),
    ] = None,
    year: Annotated[
        int | None,
        typer.Option(
            "--year", parser=whole_number(1000), metavar="YEAR", help="Year of the recordings; else their tags'.", rich_help_panel=ABOUT
        ),
    ] = None,
    genre: Annotated[
        str | None, typer.Option(metavar="TEXT", help="Genre of the recordings; else their tags'.", rich_help_panel=ABOUT)
    ] = None,
    stems: SongStemsOption = None,
    model: OneModelOption = None,
    model_folder: ModelFolderOption = None,
    device: DeviceOption = None,
    engine: EngineOption = None,
    precision: PrecisionOption = None,
    separator: OtherSeparatorOption = None,
    calibration: SongCalibrationOption = "auto",
    offline: OfflineOption = False,
    trust_pickle: TrustPickleOption = False,
    csv: Annotated[Path | None, typer.Option(metavar="FILE", help="Also write a row for each song and rule to this CSV file.")] = None,
    plot: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Also plot what was measured against each rule (.png, .svg, .pdf or .jpg).")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Measure which published rules of mixing songs keep: level of the vocals, centre, width, spectrum, loudness.

    Example: stemwright rules corpus --by genre --plot rules.png
    """
    from stemwright.manifests.usage import UsageError

    terminal, places = Terminal(as_json), places or []
    chosen = _chosen(rule)
    if show_list:
        _list(terminal, chosen, places)
    if not places:
        raise UsageError("expected a recording or a corpus to measure; for the rules themselves: stemwright rules --list")
    check_outputs(places, stems, csv, plot)
    how = {"device": device, "engine": engine, "precision": precision, "separator": separator}
    separation = {"model": model, "model_folder": model_folder, **how}
    if corpus := grouping.corpus_among(places):
        _refuse(
            corpus,
            {"stems": stems, **separation, "calibration": None if calibration == "auto" else calibration, "year": year, "genre": genre},
        )
        songs, groups, rejected = _of_corpus(terminal, corpus, by, chosen)
    else:
        named = songs_to_measure(places, stems, separation)
        make = partial(separator_for, model, model_folder, how, offline=offline, trust_pickle=trust_pickle)
        lists = [place for place in places if place.suffix.lower() in grouping.LISTS]
        columns = grouping.columns_of_songs([*lists, *(song.path for song in named.songs)], by or "title")
        paths = [song.path for song in named.songs]
        said = _said(columns, year, genre)
        facts = [(title, said.get(path.absolute(), {})) for title, path in zip(grouping.titles_of_songs(places, paths), paths, strict=True)]
        measuring = HowToMeasure(make, recording_options(calibration))
        songs, groups, rejected = _of_songs(terminal, named, measuring, facts, by, chosen)
    _show(terminal, chosen, songs, groups)
    _write(terminal, chosen, songs, csv, plot)
    if rejected:
        terminal.collected["rejected"] = rejected
    terminal.say(f"rules: {len(songs)} done, {len(rejected)} rejected")
    terminal.finish(exit_code(len(songs), len(rejected)))


def _chosen(names: Sequence[str] | None) -> list[Rule]:
    """The rules of some names, or all. Raises UsageError for a name that is none."""
    from stemwright.separation.rules.published import RULES

    return [RULES[name] for name in (names or RULES)]


def _list(terminal: Terminal, chosen: Sequence[Rule], places: Sequence[Path]) -> None:
    from stemwright.datagen.cli.rule_tables import rules_table
    from stemwright.datagen.report.rule_rows import rule_row
    from stemwright.manifests.usage import UsageError

    if places:
        raise UsageError(f"--list shows the rules and measures nothing; leave out {places[0]}, or --list")
    terminal.show("rules", rules_table(chosen), [rule_row(each) for each in chosen])
    terminal.finish(0)


def _refuse(corpus: Path, options: Mapping[str, Any]) -> None:
    """Raises UsageError for options that a corpus does not take."""
    from stemwright.manifests.usage import UsageError

    if given := [f"--{name.replace('_', '-')}" for name, value in options.items() if value is not None]:
        raise UsageError(f"{', '.join(given)}: for recordings; {corpus} is a corpus, whose stems and tracks are in its tables")


def _said(columns: grouping.Columns, year: int | None, genre: str | None) -> grouping.Columns:
    """The columns of songs, with the year and the genre that the options give to all of them."""
    given = {name: str(value) for name, value in (("year", year), ("genre", genre)) if value is not None}
    return {path: {**its, **given} for path, its in columns.items()}


class HowToMeasure(NamedTuple):
    """How recordings are measured: ``make`` gives the separator of those without stems, ``options`` names the calibration."""

    make: Callable[[], Any]
    options: RecordingOptions


Found = tuple[list["Song"], list[str | None], list[dict[str, str]]]  # songs, the group of each, and what was rejected


def _of_corpus(terminal: Terminal, folder: Path, by: str | None, chosen: Sequence[Rule]) -> Found:
    """What was measured of each track of a corpus."""
    from stemwright.datagen.run.corpus import Corpus
    from stemwright.datagen.run.corpus_calibrations import of_corpus
    from stemwright.datagen.run.track_rules import hear_track, tracks_with_stems
    from stemwright.separation.balance.basis import basis_of
    from stemwright.separation.balance.song_values import columns_of
    from stemwright.separation.rules.quantities import measure_quantities
    from stemwright.separation.rules.verdicts import Song, quantities_of

    corpus = Corpus(folder)
    _ = corpus.config  # says so, before anything else, when the folder is no corpus
    grouping.say_what_separated(terminal, folder)
    tracks = tracks_with_stems(corpus)
    grouped = _groups([(track.title, columns_of(track)) for track, _ in tracks], by)
    needed, calibrations = quantities_of(chosen, len(tracks)), of_corpus(corpus)

    def measure(number: int, report: Callable[[float], None]) -> Song:
        track, stems = tracks[number]
        report(0.0)
        found = measure_quantities(hear_track(stems, corpus.folder, calibrations.of_track(track, stems[0])), needed)
        origin = stems[0].origin
        return Song(track.title, found, track.year, track.genre, basis_of(origin), origin, track.audio.path)

    songs, numbers, rejected = _each(terminal, [track.audio.path for track, _ in tracks], measure)
    return songs, [grouped[number] for number in numbers], rejected


def _of_songs(
    terminal: Terminal,
    named: NamedSongs,
    how: HowToMeasure,
    facts: Sequence[tuple[str, Mapping[str, str]]],
    by: str | None,
    chosen: Sequence[Rule],
) -> Found:
    """What was measured of each recording, with its own stems or separated ones; ``facts`` are their titles and columns."""
    from stemwright.manifests.metadata import year_of
    from stemwright.separation.rules.quantities import measure_quantities
    from stemwright.separation.rules.recordings_heard import hear_recording
    from stemwright.separation.rules.verdicts import Song, quantities_of

    grouped = _groups(facts, by)
    needed = quantities_of(chosen, len(facts))
    for note in named.notes:
        terminal.warn(note)
    separator = how.make() if any(song.stems is None for song in named.songs) else None

    def measure(number: int, report: Callable[[float], None]) -> Song:
        song, (title, fact) = named.songs[number], facts[number]
        found, heard = hear_recording(song.path, separator, stems=song.stems, on_share=report, options=how.options)
        for note in found.notes:
            terminal.warn(f"{song.named}: {note}")
        year, values = year_of(fact.get("year", "")), measure_quantities(heard, needed)
        return Song(title, values, year, fact.get("genre"), found.basis, found.origin, found.path)

    songs, numbers, rejected = _each(terminal, [song.named for song in named.songs], measure)
    rejected = [*({"track": name, "reason": reason} for name, reason in named.rejected), *rejected]
    return songs, [grouped[number] for number in numbers], rejected


def _groups(songs: Sequence[tuple[str, Mapping[str, str]]], by: str | None) -> list[str | None]:
    """The group of each song by a column, of the year its decade. Raises UsageError if no song has it."""
    from stemwright.manifests.metadata import year_of
    from stemwright.manifests.records import Refused
    from stemwright.manifests.usage import UsageError
    from stemwright.separation.balance.song_values import SongValues, texts_of

    if by is None:
        return [None] * len(songs)
    try:
        texts = texts_of([SongValues(title, its) for title, its in songs], by)
    except Refused as reason:
        raise UsageError(f"--by {by}: {reason}") from reason
    if by != "year":
        return texts
    years = [year_of(text or "") for text in texts]
    return [None if year is None else f"{year // 10 * 10}s" for year in years]


def _each(
    terminal: Terminal, names: Sequence[str], measure: Callable[[int, Callable[[float], None]], Song]
) -> tuple[list[Song], list[int], list[dict[str, str]]]:
    """Measures each song, with progress; those that could not be are rejected with the reason."""
    from stemwright.datagen.run.runner import describe_error

    songs: list[Song] = []
    numbers: list[int] = []
    rejected: list[dict[str, str]] = []
    with terminal.progress("rules") as report:
        for number, name in enumerate(names):
            try:
                songs.append(measure(number, lambda share, at=number, name=name: report(at + share, len(names), name)))  # type: ignore[misc]
                numbers.append(number)
            except Exception as error:  # from any library, about this recording: the others are still measured
                rejected.append({"track": name, "reason": str(error) if isinstance(error, ValueError) else describe_error(error)})
                terminal.warn("{track}: {reason}".format(**rejected[-1]))
            report(number + 1, len(names), name)
    return songs, numbers, rejected


def _shares(chosen: Sequence[Rule], songs: Sequence[Song], groups: Sequence[str | None]) -> dict[str | None, list[Kept]]:
    """What all songs keep, under None, which no group is called, and what each group does."""
    from stemwright.separation.rules.verdicts import share_kept

    by_group: dict[str | None, list[Song]] = defaultdict(list)
    by_group[None] = list(songs)
    for group, song in sorted(zip(groups, songs, strict=True), key=lambda each: each[0] or ""):
        if group is not None:
            by_group[group].append(song)
    return {group: [share_kept(rule, found) for rule in chosen] for group, found in by_group.items()}


def _show(terminal: Terminal, chosen: Sequence[Rule], songs: Sequence[Song], groups: Sequence[str | None]) -> None:
    """A table of each recording if there are few, else of all together, and of each group."""
    from stemwright.datagen.cli.rule_tables import kept_table, verdicts_table
    from stemwright.datagen.report.rule_rows import ALL, kept_rows, rule_row, song_rows
    from stemwright.manifests.wording import counted
    from stemwright.separation.rules.verdicts import verdict

    terminal.collected["rules"] = [rule_row(rule) for rule in chosen]
    if len(songs) == 1:
        (song,) = songs
        terminal.show("songs", verdicts_table(song, [verdict(rule, song) for rule in chosen]), song_rows(chosen, songs))
        return
    terminal.collected["songs"] = song_rows(chosen, songs)
    if songs:
        shares = _shares(chosen, songs, groups)
        plain = [row for group, kept in shares.items() for row in kept_rows(group, kept)]
        for group, kept in shares.items():
            its = [song for song, name in zip(songs, groups, strict=True) if group in (None, name)]
            title = f"{ALL if group is None else group}: {counted(len(its), 'song')}"
            terminal.show("summary", kept_table(title, kept, its), plain)


def _write(terminal: Terminal, chosen: Sequence[Rule], songs: Sequence[Song], csv: Path | None, plot: Path | None) -> None:
    """Writes the rows and the picture, if they were requested and there is anything to write."""
    from stemwright.datagen.report.rule_rows import song_rows
    from stemwright.manifests.disk.durable import remove_earlier, write_bytes
    from stemwright.manifests.spreadsheet import csv_text
    from stemwright.manifests.wording import counted
    from stemwright.separation.rules.verdicts import share_kept, verdict

    if csv and songs:
        remove_earlier(csv)
        write_bytes(csv, csv_text(song_rows(chosen, songs)).encode())
        terminal.say(f"rows: {csv}")
    if plot and songs:
        from stemwright.datagen.cli.rule_tables import bases
        from stemwright.datagen.report.rules_plot import plot_kept, plot_verdicts
        from stemwright.separation.balance.basis import sentence

        if len(songs) == 1:
            plot_verdicts(
                f"{songs[0].title}: {sentence(songs[0].basis, songs[0].origin)}", [verdict(rule, songs[0]) for rule in chosen], plot
            )
        else:
            plot_kept("; ".join([counted(len(songs), "song"), *bases(songs)]), [share_kept(rule, songs) for rule in chosen], plot)
        terminal.say(f"picture: {plot}")
