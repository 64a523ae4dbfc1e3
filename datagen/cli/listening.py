"""The verbs that need no corpus: ``balance``, ``effects``, ``models``. ``datagen/cli/app.py`` puts them on the command line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from stemwright.datagen.cli import completion, grouping
from stemwright.datagen.cli.balance_inputs import (
    check_outputs,
    kept_stems,
    ready_separator,
    recording_options,
    songs_to_measure,
    warn_of_damaged,
)
from stemwright.datagen.cli.grouping import ByOption
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
    StemsOfOption,
    TrustPickleOption,
)
from stemwright.datagen.cli.running import check_alone, exit_code, fetching
from stemwright.datagen.cli.separation_options import DrumsModelOption, absolute_separator, apart
from stemwright.datagen.cli.terminal import Terminal
from stemwright.datagen.cli.verbs import VerbGroup, Verbs
from stemwright.manifests.progress import AudioDone, OnProgress
from stemwright.manifests.usage import UsageError

if TYPE_CHECKING:
    from stemwright.datagen.run.configuration import SeparationConfig
    from stemwright.separation.balance.named_songs import NamedSong, NamedSongs
    from stemwright.separation.balance.recordings import RecordingOptions
    from stemwright.separation.balance.track_balance import TrackBalance

DEFAULT_MODEL = "htdemucs"
CSV_HELP = (
    "Also write the rows to this CSV file, with the percentiles of --against. level_lu: the estimate; naive_lu: loudness of the stem as "
    "it was separated; cross_lu: of what stem and mixture share; active_share: part of the time in which it plays."
)


def effects(
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="EFFECT", help="Effects to show; all by default.", show_default=False, autocompletion=completion.effects),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """List every effect with its settings, their ranges and units.

    Example: stemwright effects compressor
    """
    from stemwright.datagen.cli.tables import effects_rows, effects_table
    from stemwright.datagen.effects import EFFECTS

    terminal = Terminal(as_json)
    chosen = names or list(EFFECTS)
    terminal.show("effects", effects_table(chosen), effects_rows(chosen))
    terminal.finish(0)


def balance(
    songs: Annotated[
        list[Path],
        typer.Argument(
            metavar="SONG", help="Recordings, multitracks, folders of them, a CSV that lists them, or a corpus.", show_default=False
        ),
    ],
    stems: SongStemsOption = None,
    model: OneModelOption = None,
    model_folder: ModelFolderOption = None,
    device: DeviceOption = None,
    engine: EngineOption = None,
    precision: PrecisionOption = None,
    separator: OtherSeparatorOption = None,
    drums_model: DrumsModelOption = None,
    stems_of: StemsOfOption = None,
    calibration: SongCalibrationOption = "auto",
    offline: OfflineOption = False,
    trust_pickle: TrustPickleOption = False,
    by: ByOption = None,
    save_stems: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Keep the separated stems, in a sub-folder for each song; --stems then measures in them."),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Let --save-stems write over stems that are there.")] = False,
    against: Annotated[
        Path | None, typer.Option(metavar="CORPUS", help="Corpus to compare with; adds the percentile of each level in it.")
    ] = None,
    csv: Annotated[Path | None, typer.Option(metavar="FILE", help=CSV_HELP)] = None,
    plot: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Also plot levels, overall and over time, to this file (.png, .svg, .pdf or .jpg).")
    ] = None,
    dark: Annotated[bool, typer.Option("--dark", help="Draw the plot on a dark ground.")] = False,
    sections: Annotated[
        bool,
        typer.Option("--sections", help="Also find the sections of each recording, with the level of each stem in them, tempo and key."),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Measure how loud each stem is in existing recordings, with an 80 % interval; its pan, width and when it plays.

    Songs with stems of their own are measured in them, the others are separated.

    Example: stemwright balance song.mp3 --plot balance.png

    With stems: stemwright balance songs/ --stems 'stems/{song}' --csv balance.csv
    """
    terminal = Terminal(as_json)
    how = {"device": device, "engine": engine, "precision": precision, "separator": separator}
    if dark and plot is None:
        raise UsageError("--dark is how a plot is drawn; expected --plot FILE with it")
    drawn = grouping.Plot.of(plot, dark=dark)
    if corpus_folder := grouping.corpus_among(songs):
        unused: dict[str, Any] = {"sections": sections, "stems": stems, "model": model, "model_folder": model_folder, **how}
        unused |= {"against": against, "save_stems": save_stems, "drums_model": drums_model, "force": force, "stems_of": stems_of}
        unused["calibration"] = None if calibration == "auto" else calibration
        grouping.balance_of_corpus(terminal, corpus_folder, by, csv, drawn, unused)
    named = songs_to_measure(songs, stems, {"model": model, "model_folder": model_folder, **how, "drums_model": drums_model})
    paths = [song.path for song in named.songs]
    check_outputs(songs, stems, csv, plot)
    if any(song.stems is None for song in named.songs):
        check_separation(model, model_folder, how)
    keep = kept_stems(save_stems, named.songs, force=force, others=[*songs, *(each for each in (csv, plot) if each)])
    columns = grouping.columns_of_songs([*(path for path in songs if path.suffix.lower() in grouping.LISTS), *paths], by)
    corpus = _compared(terminal, paths, against)
    readable, rejected = _readable(terminal, named)  # before a model is looked for, which may take long
    options = recording_options(calibration, keep, _hearing(sections=sections, tempo=plot is not None))
    listening = ready_separator(stems, stems_of)
    if any(song.stems is None for song in readable):
        warn_of_damaged(terminal)
        listening = separator_for(model, model_folder, how, offline=offline, trust_pickle=trust_pickle)
        listening = apart(listening, drums_model, how, partial(separator_for, offline=offline, trust_pickle=trust_pickle))
    titled = list(zip(readable, grouping.titles_of_songs(songs, [song.path for song in readable]), strict=True))
    measured = _measured(terminal, titled, listening, options, rejected)
    _show(terminal, measured, corpus, str(against) if against else "")
    if by:
        grouping.groups_of_measured(terminal, measured, columns, by, drawn)
    _write(terminal, measured, csv, None if by else plot, corpus, dark=dark)
    if rejected:
        terminal.collected["rejected"] = rejected
    moved = sum(track.moved for track in measured)
    with_moved = f"{moved} with stems moved in time, " if moved else ""
    terminal.say(f"balance: {len(measured) - moved} done, {with_moved}{len(rejected)} rejected")
    terminal.finish(exit_code(len(measured), len(rejected)))


def _compared(terminal: Terminal, files: Sequence[Path], against: Path | None) -> Mapping[str, Any]:
    """The levels of the corpus to compare with, and warnings about it; nothing without one. Raises UsageError if it has none."""
    from stemwright.separation.balance import track_balance

    if against is None:
        return {}
    if not (against / "estimates.parquet").exists():
        raise UsageError(f"--against {against}: it has no estimates.parquet; expected a corpus, after: stemwright estimate {against}")
    corpus = track_balance.corpus_levels(against)
    for doubt in track_balance.doubts(files, against, corpus):
        terminal.warn(doubt)
    return corpus


def _readable(terminal: Terminal, named: NamedSongs) -> tuple[list[NamedSong], list[dict[str, str]]]:
    """The songs but those that are no sound by their first bytes, and these and what was not found, with the reason."""
    from stemwright.manifests.records import Refused
    from stemwright.manifests.sound.decoding import probe

    readable: list[NamedSong] = []
    rejected = [{"track": track, "reason": reason} for track, reason in named.rejected]
    for song in named.songs:
        try:
            _ = song.path.is_file() and probe(song.path)
        except Refused as reason:
            rejected.append({"track": str(song.path), "reason": str(reason)})
        except OSError:
            readable.append(song)  # measuring it gives the error
        else:
            readable.append(song)
    for row in rejected:
        terminal.warn("{track}: {reason}".format(**row))
    for note in (*named.notes, *named.unused_stems()):
        terminal.warn(note)
    return readable, rejected


def _measured(
    terminal: Terminal,
    songs: Sequence[tuple[NamedSong, str]],
    listening: Any,
    options: RecordingOptions,
    rejected: list[dict[str, str]],
) -> list[TrackBalance]:
    """The balance of each recording by its title; those that could not be measured are added to ``rejected``, with the reason."""
    from stemwright.datagen.run.runner import describe_error
    from stemwright.separation.balance.recordings import measure_recording

    measured: list[TrackBalance] = []
    with terminal.progress("balance") if songs else nullcontext(lambda *_: None) as report:
        lengths_s = [_length_s(song.path) for song, _ in songs]
        for number, (song, title) in enumerate(songs):
            try:
                within = partial(_report_share, report, lengths_s, number, title)
                within(0.0)
                found = measure_recording(song.path, listening, stems=song.stems, on_share=within, options=options)
                measured.append(replace(found, title=title))
                for note in measured[-1].notes:
                    terminal.warn(f"{song.path}: {note}")
            except Exception as error:  # from any library, about this recording: the others are still measured
                rejected.append({"track": str(song.path), "reason": str(error) if isinstance(error, ValueError) else describe_error(error)})
                terminal.warn("{track}: {reason}".format(**rejected[-1]))
            within(1.0)
    return measured


def _hearing(*, sections: bool, tempo: bool) -> Any:
    """What is to be heard in a recording beside the levels of its stems; nothing if neither is requested: that loads librosa."""
    if not sections and not tempo:
        return None
    from stemwright.separation.balance.music import hear_music

    return partial(hear_music, sections=sections)


def _show(terminal: Terminal, measured: Sequence[TrackBalance], corpus: Mapping[str, Any], against: str) -> None:
    """Tables of each track, of all together if there are several, and of each against a corpus, if one is named."""
    from stemwright.datagen.cli import tables
    from stemwright.datagen.cli.section_tables import sections_tables
    from stemwright.separation.balance import track_balance

    for track in measured:
        for table in [tables.track_balance_table(track), *sections_tables(track)]:
            terminal.show("tracks", table, [track_balance.as_json(each) for each in measured])
    if len(measured) > 1:
        exact = track_balance.summary_rows(measured, exact=True)
        terminal.show("summary", tables.summary_table(exact, [track.basis for track in measured]), track_balance.summary_rows(measured))
    if against:
        for track in measured:
            exact = track_balance.percentile_rows([track], corpus, exact=True)
            terminal.show("against", tables.percentile_table(against, exact), track_balance.percentile_rows(measured, corpus))


def _write(
    terminal: Terminal,
    measured: Sequence[TrackBalance],
    csv: Path | None,
    plot: Path | None,
    corpus: Mapping[str, Any],
    *,
    dark: bool = False,
) -> None:
    """Writes the rows and the picture, if they were requested and there is anything to write."""
    from stemwright.manifests.disk.durable import remove_earlier, write_bytes
    from stemwright.separation.balance import track_balance

    if csv and measured:
        rows = track_balance.table_rows(measured)
        if corpus:
            rows = track_balance.with_percentiles(rows, track_balance.percentile_rows(measured, corpus))
        remove_earlier(csv)
        write_bytes(csv, track_balance.as_csv(rows).encode())
        terminal.say(f"rows: {csv}")
    if plot and measured:
        from stemwright.datagen.report.balance_plot import plot_balance

        plot_balance(measured, plot, dark=dark)
        terminal.say(f"picture: {plot}")


def separator_for(model: str | None, model_folder: Path | None, how: dict[str, str | None], *, offline: bool, trust_pickle: bool) -> Any:
    """The separator that the options of a verb select; ``how`` holds device, engine, precision and separator, None for automatic.

    Raises ConfigError for a word that is none of theirs, ModelError if the weights cannot be had.
    """
    from stemwright.separation.choosing import other_separator
    from stemwright.separation.demucs.separator import DemucsSeparator
    from stemwright.separation.separator import Separator, is_other

    section = check_separation(model, model_folder, how)
    separator: Separator
    if is_other(section.separator):
        separator = other_separator(section.separator, section.device)
    else:
        separator = DemucsSeparator(
            model or DEFAULT_MODEL,
            model_folder,
            section.device,
            section.precision,
            section.engine,
            offline=offline,
            trust_pickle=trust_pickle,
        )
    separator.check()  # a model that is not available is reported once, not once for each file
    return separator


def check_separation(model: str | None, model_folder: Path | None, how: Mapping[str, str | None]) -> SeparationConfig:
    """The section of a configuration that the options are. Raises ConfigError for a word that is none of theirs, as for a model's name."""
    from stemwright.datagen.run.building import check_model
    from stemwright.datagen.run.configuration import check
    from stemwright.separation.separator import is_other

    given = {key: value for key, value in {**how, "separator": absolute_separator(how["separator"])}.items() if value is not None}
    section = check({"separation": given}, where="the options").separation
    if is_other(section.separator):
        check_alone({**given, "model_folder": model_folder, "model": model})
    else:
        check_model(model or DEFAULT_MODEL, model_folder)
    return section


def _length_s(path: Path) -> float:
    """Duration of a recording by its header; 0 where that states none, or cannot be read: measuring it then reports the error."""
    from stemwright.manifests.records import Refused
    from stemwright.manifests.sound.decoding import probe
    from stemwright.manifests.sound.formats import LONGEST_S

    try:
        info = probe(path) if path.is_file() else None
    except (Refused, OSError):
        return 0.0
    length_s = info.num_frames / info.sample_rate if info else 0.0
    return length_s if length_s <= LONGEST_S else 0.0  # a header of unknown length may have any number here


def _report_share(report: OnProgress, lengths_s: Sequence[float], number: int, subject: str, share: float) -> None:
    """Reports a share of one recording, after all of those before it."""
    audio = AudioDone(sum(lengths_s[:number]) + share * lengths_s[number], sum(lengths_s))
    report(number + share, len(lengths_s), subject, audio if all(lengths_s) else None)


models_app = Verbs(cls=VerbGroup, invoke_without_command=True, rich_markup_mode="rich")


@models_app.callback()
def models(context: typer.Context, model_folder: ModelFolderOption = None, as_json: JsonOption = False) -> None:
    """List the separation models with their stems and size, and whether they are on this machine; fetch and verify them.

    Example: stemwright models
    """
    if context.invoked_subcommand is not None:
        return
    from dataclasses import asdict

    from stemwright.datagen.cli.tables import models_table
    from stemwright.separation.demucs.checkpoints import available

    terminal, listed = Terminal(as_json), available(model_folder=model_folder)
    plain = [{**asdict(model), "folder": model.folder and str(model.folder)} for model in listed]
    terminal.show("models", models_table(listed), plain)
    terminal.finish(0)


@models_app.command()
def fetch(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="htdemucs, htdemucs_ft, hf://OWNER/NAME, ...", autocompletion=completion.models)
    ],
    model_folder: ModelFolderOption = None,
    as_json: JsonOption = False,
) -> None:
    """Download a model into the hub's cache, or into --model-folder with its checksums.

    Example: stemwright models fetch htdemucs_ft --model-folder models
    """
    from stemwright.datagen.run.building import check_model
    from stemwright.separation.demucs import checkpoints

    terminal = Terminal(as_json)
    check_model(name, None)  # the folder is where the model is to go
    with fetching(terminal):
        found = checkpoints.fetch(name, model_folder=model_folder)
    terminal.collected["fetched"] = {"name": name, "files": [str(member.path) for member in found.members]}
    terminal.say(f"fetched {name}: {len(found.members)} networks in {found.folder}")
    if sums := checkpoints.first_sums(found):
        terminal.say(f"their checksums are in {sums}; their author states none, so these count from now on")
    terminal.finish(0)


@models_app.command()
def verify(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A model that is on this machine.", autocompletion=completion.models)],
    model_folder: ModelFolderOption = None,
    as_json: JsonOption = False,
) -> None:
    """Compare the checksums of a model's files; works offline.

    Example: stemwright models verify bundled
    """
    from stemwright.datagen.cli.tables import verified_table
    from stemwright.separation.demucs import checkpoints

    terminal, files = Terminal(as_json), checkpoints.verify(name, model_folder=model_folder)
    wrong = [file for file in files if not file.ok]
    plain = [{"path": str(file.path), "sha256": file.sha256, "expected": file.expected, "ok": file.ok} for file in files]
    terminal.show("files", verified_table(files), plain)
    terminal.say(f"verify: {len(files) - len(wrong)} intact, {len(wrong)} not")
    terminal.finish(1 if wrong else 0)
