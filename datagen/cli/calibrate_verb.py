"""The verb ``calibrate``: levels that allow for the separator in use. ``datagen/cli/app.py`` puts it on the command line."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from stemwright.datagen.cli.listening import separator_for
from stemwright.datagen.cli.options import (
    OUTPUT,
    DeviceOption,
    EngineOption,
    JsonOption,
    KindOption,
    ModelFolderOption,
    OfflineOption,
    OneModelOption,
    OtherSeparatorOption,
    PrecisionOption,
    SongStemsOption,
    StemsOfOption,
    TrustPickleOption,
)
from stemwright.datagen.cli.running import exit_code
from stemwright.datagen.cli.terminal import Terminal
from stemwright.manifests.usage import UsageError
from stemwright.manifests.wording import counted

if TYPE_CHECKING:
    from stemwright.manifests.catalog.candidates import Candidate, FoundSongs
    from stemwright.separation.calibrating.measured_rows import StemRow
    from stemwright.separation.calibrating.songs_left_out import SongsLeftOut


def calibrate(
    multitracks: Annotated[
        Path | None,
        typer.Argument(metavar="MULTITRACKS", help="Folder of songs with stems of their own, in any layout, or a CSV.", show_default=False),
    ] = None,
    kind: KindOption = None,
    model: OneModelOption = None,
    model_folder: ModelFolderOption = None,
    device: DeviceOption = None,
    engine: EngineOption = None,
    precision: PrecisionOption = None,
    separator: OtherSeparatorOption = None,
    stems: SongStemsOption = None,
    stems_of: StemsOfOption = None,
    offline: OfflineOption = False,
    trust_pickle: TrustPickleOption = False,
    corpus: Annotated[
        Path | None, typer.Option("--corpus", metavar="CORPUS", help="Also use the calibration in this corpus.", rich_help_panel=OUTPUT)
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print how good it is; keep no calibration.", rich_help_panel=OUTPUT)] = False,
    show_list: Annotated[bool, typer.Option("--list", help="List the calibrations that are kept; make none.")] = False,
    remove: Annotated[
        list[str] | None,
        typer.Option(
            "--remove", metavar="ID", help="Delete this calibration of yours; may be given several times. Corpora keep their copies."
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Fit levels, pans and their 80 % ranges to one separator, on multitracks whose stems are known.

    The mixtures are separated and compared with the stems. Balance and rules then use it; a corpus does if its configuration names it.

    Example: stemwright calibrate multitracks/ --model htdemucs_ft
    """
    from stemwright.separation.calibrating.level_fit import check_enough, check_songs

    terminal = Terminal(as_json)
    how = {"device": device, "engine": engine, "precision": precision, "separator": separator}
    if remove:
        _remove(terminal, remove, {"MULTITRACKS": multitracks, "--list": show_list or None, "--corpus": corpus})
    if show_list:
        _list(terminal, multitracks, corpus)
    if multitracks is None:
        raise UsageError(
            "expected MULTITRACKS, songs with stems of their own; for the calibrations that are kept: stemwright calibrate --list"
        )
    _check_ready(stems, stems_of, {"model": model, "model_folder": model_folder, **how})
    _check_corpus(corpus)
    found = _songs(multitracks, kind)
    check_songs(len(found.candidates))
    if stems is not None and stems_of is not None:
        from stemwright.separation.calibrating.ready_stems import ReadyStems

        try:
            separating: Any = ReadyStems(stems_of, stems, tuple(found.songs / song.path for song in found.candidates))
            separating.check()
        except ValueError as error:
            raise UsageError(f"--stems {stems} --stems-of {stems_of}: {error}") from error
    else:
        separating = separator_for(model, model_folder, how, offline=offline, trust_pickle=trust_pickle)
    _check_separates(corpus, separating.origin)
    if not dry_run:
        _check_places(separating, corpus)
    usable, misnamed = _named_rightly(terminal, found, separating)
    _end_where_few(terminal, misnamed, lambda: check_songs(len(usable)))
    rows, rejected = _measured(terminal, found.songs, usable, separating)
    rejected = [*misnamed, *rejected]
    _end_where_few(terminal, rejected, lambda: check_enough(rows))
    _fit(terminal, separating, rows, corpus, dry_run=dry_run)
    songs = len({row.song for row in rows})
    terminal.say(f"calibrate: {songs} done, {len(rejected)} rejected")
    terminal.finish(exit_code(songs, len(rejected)))


def _end_where_few(terminal: Terminal, rejected: list[dict[str, str]], check: Callable[[], None]) -> None:
    """Collects what was rejected, and ends the run where a check says that too little is left to fit to."""
    from stemwright.separation.calibrating.level_fit import TooFewSongsError

    if rejected:
        terminal.collected["rejected"] = rejected
    try:
        check()
    except TooFewSongsError as error:
        why = f"{error}. {counted(len(rejected), 'song')} could not be used, for the reasons above" if rejected else str(error)
        terminal.collected["error"] = why
        terminal.warn(why)
        terminal.finish(1)


def _check_ready(stems: str | None, stems_of: str | None, separation: Mapping[str, Any]) -> None:
    """Raises UsageError where ready stems come without a name, a name without stems, or either with a separation."""
    from stemwright.datagen.cli.balance_inputs import check_stems_alone

    check_stems_alone(stems, separation)
    if stems is not None and stems_of is None:
        raise UsageError(
            "--stems: expected --stems-of NAME with it, a name for what separated them, by which balance finds the calibration"
        )
    if stems_of is not None and stems is None:
        raise UsageError("--stems-of names the separator of ready stems; expected --stems FOLDER with it, with {song} in it")


def _check_corpus(corpus: Path | None) -> None:
    """Raises UsageError where the folder is no corpus."""
    if corpus is not None and not (corpus / "config.toml").exists():
        raise UsageError(f"--corpus {corpus} is no corpus; expected a folder that stemwright build or catalog made")


def _check_separates(corpus: Path | None, origin: str) -> None:
    """Raises UsageError where the corpus is to be separated by another model."""
    if corpus is None:
        return
    from stemwright.datagen.run.corpus import Corpus
    from stemwright.datagen.run.corpus_calibrations import check_separates

    check_separates(Corpus(corpus).config, origin, "this calibration")


def _check_places(separator: Any, corpus: Path | None) -> None:
    """Raises UsageError where the calibration could not be kept, before anything is separated."""
    from stemwright.separation.balance.kept_calibrations import check_place, place_of_calibrations
    from stemwright.separation.calibrating.multitrack_songs import kept_rows_folder

    for place in (None, corpus) if corpus else (None,):
        check_place(kept_rows_folder(separator).name, place_of_calibrations(place))


def _songs(multitracks: Path, kind: str | None) -> FoundSongs:
    from stemwright.separation.calibrating.multitrack_songs import multitracks_in

    try:
        return multitracks_in(multitracks, kind)
    except ValueError as error:
        raise UsageError(str(error)) from error


def _list(terminal: Terminal, multitracks: Path | None, corpus: Path | None) -> None:
    """Shows the calibrations of the user, or of a corpus."""
    from stemwright.datagen.cli.calibration_tables import calibrations_table
    from stemwright.separation.balance.kept_calibrations import damage, damaged_in, kept_calibrations, place_of_calibrations

    if multitracks is not None:
        raise UsageError(f"--list shows what is kept and measures nothing; leave out {multitracks}, or --list")
    _check_corpus(corpus)
    place = place_of_calibrations(corpus)
    for path in damaged_in(place):
        terminal.warn(damage(path))
    found = kept_calibrations(place)
    plain = [{**each.model_dump(mode="json", exclude={"calibration"}), "path": str(place / f"{each.key}.json")} for each in found]
    terminal.show("calibrations", calibrations_table(found), plain)
    terminal.say(f"calibrate: {counted(len(found), 'calibration')} in {place}")
    terminal.finish(0)


def _remove(terminal: Terminal, ids: Sequence[str], others: Mapping[str, Any]) -> None:
    """Deletes calibrations of the user by their ids; none of them if one is unknown."""
    from stemwright.manifests.disk import deletion
    from stemwright.separation.balance.calibration_names import is_file
    from stemwright.separation.balance.kept_calibrations import named_calibration, place_of_calibrations

    if given := [name for name, value in others.items() if value is not None]:
        raise UsageError(f"--remove deletes calibrations and does nothing else; leave out {', '.join(given)}")
    place = place_of_calibrations()
    if wrong := [each for each in ids if is_file(each)]:
        raise UsageError(f"--remove: expected an id of stemwright calibrate --list; got {wrong[0]!r}")
    try:
        found = [named_calibration(each, [place]) for each in dict.fromkeys(ids)]
    except UsageError as error:
        raise UsageError(f"--remove: {error}. Nothing was removed") from error
    gone = [each for each in found if deletion.remove(place, place / f"{each.key}.json")]
    for each in gone:
        terminal.say(f"removed: {each.id}, to {each.origin}")
    terminal.collected["removed"] = [each.id for each in gone]
    terminal.finish(0 if len(gone) == len(found) else 1)


def _named_rightly(terminal: Terminal, found: FoundSongs, separator: Any) -> tuple[list[Candidate], list[dict[str, str]]]:
    """The songs whose files are named after stems of the separator; and the others, with the reason, before anything is separated."""
    from stemwright.manifests.records import Refused
    from stemwright.separation.calibrating.multitrack_songs import stems_of_files

    usable, rejected = [], [{"song": path, "reason": reason} for path, reason in found.refused]
    for song in found.candidates:
        try:
            stems_of_files(song, separator.stem_names)
        except Refused as reason:
            rejected.append({"song": song.path, "reason": str(reason)})
        else:
            usable.append(song)
    _warn(terminal, rejected)
    return usable, rejected


def _warn(terminal: Terminal, rejected: Sequence[Mapping[str, str]]) -> None:
    for each in rejected:
        terminal.warn("{song}: {reason}".format(**each))


def _measured(terminal: Terminal, folder: Path, songs: Sequence[Candidate], separator: Any) -> tuple[list[StemRow], list[dict[str, str]]]:
    """The rows of all songs of a folder; and those that give none, with the reason."""
    from stemwright.datagen.run.runner import describe_error
    from stemwright.manifests.disk.durable import is_full, make_folder
    from stemwright.separation.calibrating.multitrack_songs import kept_rows_folder, kept_song_rows, song_facts, title_of_song

    make_folder(kept_rows_folder(separator))  # raises, where it cannot be written, before anything is separated
    seen: dict[str, str] = {}
    rows: list[StemRow] = []
    rejected: list[dict[str, str]] = []
    again = 0
    with terminal.progress("calibrate") as report:
        total = len(songs)
        for number, song in enumerate(songs):
            title = title_of_song(song)
            within = partial(_report, report, number, total, title)
            within(0.0)
            try:
                facts = song_facts(folder, song, separator)
                if (other := seen.setdefault(facts["mixture"], title)) != title:
                    rejected.append({"song": song.path, "reason": f"a copy of {other}, which counts once"})
                    continue
                its, kept = kept_song_rows(folder, song, separator, facts, within)
                rows += its
                again += kept
            except SystemExit as left:  # of a separator's code
                rejected.append({"song": song.path, "reason": f"the code of the separator ended the program with {left.code!r}"})
            except Exception as error:  # from any library, about this song: the others still count
                if is_full(error):
                    raise
                rejected.append({"song": song.path, "reason": str(error) if isinstance(error, ValueError) else describe_error(error)})
            within(1.0)
    _warn(terminal, rejected)
    if again:
        terminal.say(f"{counted(again, 'song')} separated by an earlier run")
    return rows, rejected


def _report(report: Any, number: int, total: int, title: str, share: float) -> None:
    report(number + share, total, title)


def _fit(terminal: Terminal, separator: Any, rows: Sequence[StemRow], corpus: Path | None, *, dry_run: bool) -> None:
    """Fits, shows how good it is for songs that are left out, and keeps it."""
    from stemwright.datagen.cli.calibration_tables import left_out_lines, left_out_table, pan_line
    from stemwright.datagen.run.corpus import Corpus
    from stemwright.datagen.run.corpus_calibrations import carry
    from stemwright.separation.balance.kept_calibrations import keep, kept_calibration, place_of_calibrations
    from stemwright.separation.calibrating.level_fit import base_for, fit
    from stemwright.separation.calibrating.songs_left_out import leave_one_out

    base = base_for(separator.origin, rows)
    songs = list(dict.fromkeys(row.song for row in rows))
    with terminal.progress("leave one out") as report:
        judged = leave_one_out(rows, base, lambda song: report(songs.index(song), len(songs), song))
    fitted = judged.kept(fit(rows, base), base)
    found = kept_calibration(separator.origin, separator.identity, songs, fitted, judged.rows())
    terminal.show("left_out", left_out_table(separator.origin, len(songs), judged), judged.rows())
    for line in left_out_lines(judged):
        terminal.say(line)
    terminal.say(pan_line(judged, fitted, base))
    if missing := [name for name in dict.fromkeys(row.stem for row in rows) if name not in judged.before.names]:
        terminal.warn(f"no song has {', '.join(missing)}: corrected as all stems are on average")
    terminal.collected |= {
        "separator": separator.origin,
        "key": found.key,
        "id": found.id,
        "songs": songs,
        "pan": _pan(judged, kept=fitted.image != base.image),
    }
    terminal.collected["calibration"] = found.model_dump(mode="json")["calibration"]
    kept = [] if dry_run else [str(keep(found, place_of_calibrations()))]
    if corpus and not dry_run:
        kept.append(carry(Corpus(corpus), found))
    terminal.collected["kept"] = kept
    if dry_run:
        terminal.say("nothing is kept (--dry-run)")
        return
    terminal.say(f"calibration {found.id}: balance and rules now use it; for a corpus: --calibration with this id")
    for path in kept:
        terminal.say(f"its file, named by the separator: {path}")


def _pan(judged: SongsLeftOut, *, kept: bool) -> dict[str, Any]:
    """Mean error, coverage and width of ranges of pans before and after, as plain values; and whether the latter are kept."""
    sides = {"before": judged.pan_before, "after": judged.pan_after}
    figures = {
        when: None if each is None else {name: round(value, 4) for name, value in each._asdict().items()} for when, each in sides.items()
    }
    return {**figures, "calibrated": kept}
