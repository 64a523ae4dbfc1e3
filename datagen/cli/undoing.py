"""The verb ``undo``: clipping, compression and other effects taken off recordings. ``datagen/cli/app.py`` puts it on the command line.

Conventions
    One recording goes to the file OUT; several, or a folder of them, to the folder OUT, with resume. Nothing is
    written where nothing was undone, unless --always is given.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from stemwright.datagen.cli import completion
from stemwright.datagen.cli.options import (
    WRITTEN,
    BitRateOption,
    BitsOption,
    DeviceOption,
    EngineOption,
    JsonOption,
    KeepLevelOption,
    ModelFolderOption,
    OfflineOption,
    OneModelOption,
    OtherSeparatorOption,
    PrecisionOption,
    StemsOption,
    TrustPickleOption,
)
from stemwright.datagen.cli.stopping import resumable
from stemwright.datagen.cli.terminal import Terminal

if TYPE_CHECKING:
    from rich.table import Table

    from stemwright.datagen.edit.song_output import OutputOptions
    from stemwright.datagen.edit.undone_file import Undoing, UndoneFile
    from stemwright.manifests.progress import OnProgress

KNOWN = "What is known of the effects"


def undo(
    songs: Annotated[list[Path], typer.Argument(metavar="SONG", help="Recordings, or folders of them.", show_default=False)],
    out: Annotated[
        Path, typer.Argument(metavar="OUT", help=f"File to write: {WRITTEN}; for several recordings a folder.", show_default=False)
    ],
    effect: Annotated[
        str,
        typer.Option(metavar="EFFECTS", help="Effects to undo, in the order they were applied.", autocompletion=completion.chain),
    ] = "",
    settings: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="JSON with the chain of effects, or a corpus of whose files SONG is one.", rich_help_panel=KNOWN),
    ] = None,
    gain: Annotated[
        Path | None,
        typer.Option("--gain-curve", metavar="FILE", help="Gain of each sample (.npy or sound), to divide by.", rich_help_panel=KNOWN),
    ] = None,
    dry: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Dry reference, whole or its first part; with stems a folder.", rich_help_panel=KNOWN),
    ] = None,
    profile: Annotated[
        Path | None,
        typer.Option(metavar="CORPUS", help="Estimate effects of stems against this corpus's profile.", rich_help_panel=KNOWN),
    ] = None,
    confidence: Annotated[
        float, typer.Option(metavar="P", min=0.0, max=1.0, help="Least confidence of what is found or estimated.", rich_help_panel=KNOWN)
    ] = 0.8,
    stems: StemsOption = None,
    separate: Annotated[bool, typer.Option("--separate", help="Separate SONG and undo each stem.")] = False,
    model: OneModelOption = None,
    model_folder: ModelFolderOption = None,
    device: DeviceOption = None,
    engine: EngineOption = None,
    precision: PrecisionOption = None,
    separator: OtherSeparatorOption = None,
    offline: OfflineOption = False,
    trust_pickle: TrustPickleOption = False,
    plot: Annotated[Path | None, typer.Option(metavar="FILE", help="Plot levels, gain and waveform before and after.")] = None,
    always: Annotated[bool, typer.Option("--always", help="Write recordings of which nothing was undone, too.")] = False,
    bits: BitsOption = None,
    bit_rate: BitRateOption = None,
    keep_level: KeepLevelOption = None,
    as_json: JsonOption = False,
) -> None:
    """Undo effects of recordings: clipping that is found in them; others by their settings, gain curve or dry reference.

    Example: stemwright undo song.mp3 declipped.flac --plot declipped.png
    """
    from stemwright.datagen.cli.balance_inputs import check_stems_alone
    from stemwright.datagen.cli.listening import check_separation, separator_for
    from stemwright.datagen.edit.song_output import OutputOptions
    from stemwright.datagen.edit.undone_file import Files, Undoing, recordings
    from stemwright.datagen.inverse.undo.requests import Request, check_request
    from stemwright.manifests.usage import UsageError

    terminal, how = Terminal(as_json), {"device": device, "engine": engine, "precision": precision, "separator": separator}
    options = {"model": model, "model_folder": model_folder, **how}
    names = tuple(name.strip() for name in effect.split(",") if name.strip())
    request = Request(names, settings, gain, dry, profile, confidence)
    check_request(request, has_stems=separate or stems is not None)
    check_stems_alone(stems, {**options, "separate": separate or None})
    if not separate and any(options.values()):
        given = ", ".join(f"--{key.replace('_', '-')}" for key, value in options.items() if value)
        raise UsageError(f"{given}: for a separation; add --separate to undo the effects of each stem")
    if not (found := list(recordings(songs))):
        raise UsageError(f"{', '.join(map(str, songs))}: there is no sound file in it")
    one = len(found) == 1 and not songs[0].is_dir()
    writing = OutputOptions(bits, bit_rate, keep_level)
    _check_outputs(songs, out, plot, writing, one=one)
    if separate:
        check_separation(model, model_folder, how)
    separating = separator_for(model, model_folder, how, offline=offline, trust_pickle=trust_pickle) if separate else None
    undoing = Undoing(request, Files(stems, separating), writing)
    if one:
        _one(terminal, undoing, found[0][0], out, plot, always=always)
    else:
        _many(terminal, undoing, found, out, always=always)


def _check_outputs(songs: Sequence[Path], out: Path, plot: Path | None, writing: OutputOptions, *, one: bool) -> None:
    """Raises UsageError for outputs that cannot be written, before anything is read."""
    from stemwright.datagen.edit.undone_file import FOLDER_SUFFIX
    from stemwright.manifests.disk.outputs import PICTURES, check_output
    from stemwright.manifests.sound.song_writing import SONG_SUFFIXES
    from stemwright.manifests.usage import UsageError

    writing.to(out if one else out / f"song{FOLDER_SUFFIX}", songs if one else ())
    if one:
        pass
    elif out.is_file() or out.suffix.lower() in SONG_SUFFIXES:
        raise UsageError(f"{out}: expected a folder for several recordings")
    elif any(out.resolve() == song.resolve() for song in songs):
        raise UsageError(f"{out} is the folder of the recordings; name another one, they are left as they are")
    if plot and not one:
        raise UsageError("--plot is of one recording; got several")
    if plot:
        check_output(plot, PICTURES, [*songs, out])


def _one(terminal: Terminal, undoing: Undoing, song: Path, out: Path, plot: Path | None, *, always: bool) -> None:
    """Undoes one recording and shows what changed."""
    from stemwright.datagen.edit.edited_file import check_song
    from stemwright.manifests.records import Refused

    check_song(song, out)
    with terminal.progress("undo") as report:
        try:
            made = undoing.undo_file(song, out, always=always, on_share=_share_of(report, 0, 1, song.name))
        except Refused as reason:
            raise Refused(f"{song}: {reason}") from reason
        report(1, 1, "")
    terminal.collected |= made.plain()
    for note in made.notes:
        terminal.warn(note)
    if made.done:
        terminal.show("steps", steps_table(made), made.plain()["undone"])
        terminal.show("figures", figures_table(made), made.figures)
    for line in lines(made):
        terminal.say(line)
    if plot and made.done:
        from stemwright.datagen.report.undone_plot import plot_undone

        plot_undone(made, plot)
        terminal.say(f"picture: {plot}")
    terminal.finish(0)


def _many(terminal: Terminal, undoing: Undoing, found: Sequence[tuple[Path, Path]], out: Path, *, always: bool) -> None:
    """Undoes recordings into a folder, skipping those that are finished; one that cannot be undone is rejected by name."""
    from rich.table import Table

    from stemwright.datagen.cli.running import exit_code
    from stemwright.datagen.edit.undone_file import Records, outputs
    from stemwright.manifests.records import Refused

    records = Records(out, undoing, always=always)
    rows, rejected, skipped = [], list[dict[str, str]](), 0
    both = outputs(found, out)
    with resumable(), terminal.progress("undo") as report:
        for number, (song, place) in enumerate(both):
            report(number, len(both), song.name)
            try:
                key = records.key(song)
                if (row := records.finished(place, key)) is not None:
                    skipped += 1
                else:
                    made = undoing.undo_file(song, place, always=always, on_share=_share_of(report, number, len(both), song.name))
                    row = made.plain()
                    records.add(place, key, row)
                rows.append(row)
            except (Refused, OSError) as reason:
                rejected.append({"song": str(song), "reason": str(reason)})
                terminal.warn(f"{song}: {reason}")
        report(len(both), len(both), "")
    lowered = [row["gain_db"] for row in rows if row["gain_db"]]
    table = Table("recording", "undone", "peak before", "after", *(["lowered by"] if lowered else []), title_justify="left")
    for row in rows:
        undone = ", ".join(dict.fromkeys(step["effect"] for step in row["undone"])) or "nothing"
        peaks = [_valued(row[side]["peak_dbfs"], "dBFS") for side in ("before", "after")]
        table.add_row(Path(row["song"]).name, undone, *peaks, *([_valued(-row["gain_db"], "dB")] if lowered else []))
    terminal.show("recordings", table, rows)
    terminal.collected["rejected"] = rejected
    if lowered:
        terminal.say(
            f"{len(lowered)} lowered, each by the gain that its file needed: their levels to each other are others than before",
            wrap=True,
        )
    written = sum(row["out"] is not None for row in rows)
    terminal.say(
        f"undo: {len(rows)} done ({skipped} of them before), {written} written to {out}, {len(rows) - written} with nothing to undo, "
        f"{len(rejected)} rejected"
    )
    terminal.finish(exit_code(len(rows), len(rejected)))


def _share_of(report: OnProgress, number: int, total: int, name: str) -> Callable[[float], None]:
    """Reports the share of one recording as a part of all of them."""
    return lambda share: report(number + share, total, name)


def steps_table(made: UndoneFile) -> Table:
    """What was undone, in order: the effect, its settings, where they are from."""
    from rich.table import Table

    table = Table("stem" if any(made.parts) else "", "undone", "settings", "known from", "confidence", title_justify="left")
    table.columns[-1].justify = "right"
    for name, part in made.parts.items():
        for step in part.steps:
            sure = "" if step.confidence is None else f"{100.0 * step.confidence:.0f} %"
            source = "the recording" if step.source == "found" else step.source
            table.add_row(name, step.effect, _settings_text(step.effect, step.settings), source, sure + _of_what(step.estimated))
    if not any(made.parts):
        del table.columns[0]
    return table


def _of_what(estimated: Mapping[str, Any]) -> str:
    """What a confidence is of, where it is not of the settings but of one quantity that was estimated."""
    return " ({quantity} {value:.1f} {unit})".format(**estimated) if estimated else ""


def _settings_text(effect: str, settings: Any) -> str:
    """Settings of a step as text: ceilings of each channel, or the values that are not the usual ones."""
    if "share" in settings:
        sides = zip(settings["ceiling_low_dbfs"], settings["ceiling_high_dbfs"], settings["share"], strict=True)
        named = "" if all(settings["share"]) else "channel {}: "
        return "; ".join(
            f"{named.format(number)}{_valued(low, '')} / {_valued(high, 'dBFS')}, {100.0 * share:.2f} % of samples"
            for number, (low, high, share) in enumerate(sides, start=1)
            if share
        )
    from stemwright.datagen.effects import EFFECTS

    usual = EFFECTS[effect].Settings().plain() if effect in EFFECTS else {}
    shown = {name: value for name, value in settings.items() if value != usual.get(name)}
    return ", ".join(f"{name} {value:.4g}" if isinstance(value, float) else f"{name} {value}" for name, value in shown.items())


def figures_table(made: UndoneFile) -> Table:
    """The figures before and after."""
    from rich.table import Table

    from stemwright.datagen.inverse.undo.figures import NAMES

    table = Table("", "before", "after", "change", title_justify="left")
    for column in table.columns[1:]:
        column.justify = "right"
    for name, (title, unit) in NAMES.items():
        before, after = made.figures["before"][name], made.figures["after"][name]
        change = "" if before is None or after is None else f"{after - before:+.2f}"
        table.add_row(title, _valued(before, unit), _valued(after, unit), change)
    return table


def _valued(value: float | None, unit: str) -> str:
    return "-" if value is None else f"{round(value, 2) + 0.0:.2f} {unit}".rstrip()  # + 0.0: no -0.00


def lines(made: UndoneFile) -> list[str]:
    """The lines below the tables."""
    shown = []
    for name, part in made.parts.items():
        head = f"{name}: " if name else ""
        shown += [f"{head}{effect} was left as it is: {why}" for effect, why in part.left.items()]
        if part.error_db is not None:
            shown.append(f"{head}error against the dry reference {part.error_db:.1f} dB")
    gain = made.figures["gain"]
    if made.done and gain["mean_db"] is not None:
        shown.append(f"gain: mean {gain['mean_db']:+.2f} dB, up to {gain['highest_db']:+.2f} dB at {gain['highest_s']:.2f} s")
    if made.out is None:
        return [*shown, "undo: nothing to undo, nothing written; --always writes it all the same"]
    shown += made.level.lines("the undone recording")
    return [*shown, f"undo: {made.out}" + ("" if made.done else ", in which nothing was undone")]
