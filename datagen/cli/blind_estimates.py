"""``stemwright estimate SONG --profile``: blind estimates of one recording. ``datagen/cli/app.py`` puts it beside the stage of a corpus."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stemwright.datagen.cli.terminal import Terminal

if TYPE_CHECKING:
    from rich.table import Table

    from stemwright.datagen.edit.estimated_file import EffectAnswer, EstimatedFile
    from stemwright.datagen.inverse.blind.answers import Quantity

TYPICAL_NOTE = "typical: what the songs of the profile get as they are, 10 % to 90 %; a value within it says little"


@dataclass(frozen=True)
class SongOptions:
    """The options that only a recording takes."""

    separation: Mapping[str, Any]  # model, model_folder, device, engine, precision and separator; None: not given
    profile: Path | None = None
    stems: Path | None = None
    offline: bool = False
    trust_pickle: bool = False
    csv: Path | None = None
    plot: Path | None = None

    def given(self) -> list[str]:
        """The options that were given, as a person writes them."""
        values = {"profile": self.profile, "stems": self.stems, **self.separation, "csv": self.csv, "plot": self.plot}
        values |= {"offline": self.offline or None, "trust_pickle": self.trust_pickle or None}
        return [f"--{name.replace('_', '-')}" for name, value in values.items() if value is not None]


def check_place(place: Path, options: SongOptions, stage: Mapping[str, Any]) -> bool:
    """Whether the argument of ``estimate`` is a recording. Raises UsageError for options of the other kind.

    ``stage`` holds the options that only a corpus takes, None where they were not given.
    """
    from stemwright.manifests.sound.song_writing import SONG_SUFFIXES
    from stemwright.manifests.usage import UsageError

    of_stage = [f"--{name}" for name, value in stage.items() if value is not None]
    if options.profile is None:
        if place.suffix.lower() in SONG_SUFFIXES and not place.exists():
            raise UsageError(f"{place}: no such file; expected a corpus, or a recording with --profile CORPUS")
        has_stems = not (place / "config.toml").is_file() and _with_own_stems(place, options)[0] != place
        if place.is_file() or has_stems:
            kind = "folder with a mixture" if has_stems else "file"
            raise UsageError(
                f"{place} is a {kind}, not a corpus. To estimate the effects of a recording, name a corpus to compare with: "
                f"stemwright estimate {place} --profile CORPUS"
            )
        if given := options.given():
            raise UsageError(
                f"{', '.join(given)}: for a recording, SONG --profile CORPUS; without --profile, {place} is taken for a corpus. "
                "Give --profile, or leave out what is only for a recording"
            )
        return False
    if (place / "config.toml").is_file():
        raise UsageError(
            f"{place} is a corpus, and --profile is for a recording. To estimate a corpus against another one's profile, set "
            "estimate.profile in its configuration"
        )
    if of_stage:
        raise UsageError(f"{', '.join(of_stage)}: for a corpus, and --profile estimates one recording; leave out one or the other")
    return True


def estimate_song(terminal: Terminal, song: Path, options: SongOptions) -> None:
    """Estimates the effects of the stems of one recording, shows them, and exits."""
    from stemwright.datagen.cli.balance_inputs import check_stems_alone
    from stemwright.datagen.cli.listening import check_separation, separator_for
    from stemwright.datagen.edit.estimated_file import check_profile_songs, estimate_file, unlike_origins
    from stemwright.datagen.inverse.blind.profile import profile_at
    from stemwright.manifests.disk.outputs import PICTURES, TABLES, check_output
    from stemwright.manifests.records import Refused
    from stemwright.manifests.usage import UsageError
    from stemwright.separation.balance.basis import rough

    song, options = _with_own_stems(song, options)
    assert options.profile is not None
    check_stems_alone(options.stems, options.separation)
    if not song.is_file():
        raise UsageError(f"{song}: no such file; expected a recording, or a folder with mixture.wav and stems")
    for out, suffixes in ((options.csv, TABLES), (options.plot, PICTURES)):
        if out:
            check_output(out, suffixes, [song, *([options.stems] if options.stems else [])])
    profile = profile_at(options.profile)
    check_profile_songs(profile, options.profile)
    separator = None
    if options.stems is None:
        how = {name: value for name, value in options.separation.items() if name not in ("model", "model_folder")}
        model, folder = options.separation["model"], options.separation["model_folder"]
        check_separation(model, folder, how)
        separator = separator_for(model, folder, how, offline=options.offline, trust_pickle=options.trust_pickle)
    if doubt := unlike_origins(options.profile, "reference" if separator is None else separator.origin):
        terminal.warn(doubt)
    if doubt := rough(() if separator is None else (separator.origin,)):
        terminal.warn(doubt)
    with terminal.progress("estimate") as report:
        try:
            made = estimate_file(
                song, profile, stems=options.stems, separator=separator, on_share=lambda share: report(share, 1, song.name)
            )
        except Refused as reason:
            raise Refused(f"{song}: {reason}" if str(song) not in str(reason) else str(reason)) from reason
        report(1, 1, "")
    _show(terminal, made, options)


def _with_own_stems(song: Path, options: SongOptions) -> tuple[Path, SongOptions]:
    """The mixture of a folder that has it beside its stems, which are used then; a file as it is."""
    from stemwright.datagen.cli.balance_inputs import mixture_files

    found = [song / name for name in mixture_files() if (song / name).is_file()] if song.is_dir() else []
    return (found[0], replace(options, stems=options.stems or song)) if found else (song, options)


def _show(terminal: Terminal, made: EstimatedFile, options: SongOptions) -> None:
    for note in made.notes:
        terminal.warn(note)
    terminal.collected |= {name: value for name, value in made.plain().items() if name != "estimates"}
    terminal.say(f"{made.song.name}, relative to the profile {made.profile}")
    for effect in made.effects:
        terminal.show("estimates", effect_table([row for row in made.rows if row.effect == effect]), made.plain()["estimates"])
    terminal.say(TYPICAL_NOTE)
    for row in made.rows:
        if row.answer.reason:
            terminal.say(f"{row.stem}, {row.effect}: {row.answer.reason}")
    if options.csv:
        _write_csv(made, options.csv)
        terminal.say(f"rows: {options.csv}")
    if options.plot:
        from stemwright.datagen.report.estimates_plot import plot_estimates

        plot_estimates(made, options.plot)
        terminal.say(f"picture: {options.plot}")
    answered = sum(row.answer.quantity is not None for row in made.rows)
    terminal.say(f"estimate: {answered} of {len(made.rows)} answered")
    terminal.finish(0)


def _write_csv(made: EstimatedFile, path: Path) -> None:
    from stemwright.manifests.disk.durable import remove_earlier, write_bytes
    from stemwright.separation.balance.track_balance import as_csv

    as_text = ("settings", "derived")
    rows = [{name: json.dumps(value) if name in as_text else value for name, value in row.plain().items()} for row in made.rows]
    remove_earlier(path)
    write_bytes(path, as_csv(rows).encode())


def effect_table(rows: Sequence[EffectAnswer]) -> Table:
    """The estimates of one effect: of every stem the quantity, its interval and confidence, and what songs of the profile get."""
    from rich.table import Table

    table = Table(title=max((row.label for row in rows), key=len), title_justify="left", title_style="bold")
    table.add_column("stem")
    for heading in ("value", "80 % range", "confidence", "typical"):
        table.add_column(heading, justify="right", no_wrap=True)
    for row in rows:
        table.add_row(*_cells(row))
    return table


def _cells(row: EffectAnswer) -> tuple[str, ...]:
    known = row.answer.quantity
    typical = "-" if row.typical is None else _span(row.typical.low, row.typical.high, known)
    if known is None:
        return (row.stem, "-", "-", "-", typical)
    sure = f"{100.0 * row.answer.confidence:.0f} %"
    return (row.stem, known.number(known.value), _span(known.low, known.high, known), sure, typical)


def _span(low: float, high: float, known: Quantity | None) -> str:
    """A range with the decimals of the quantity, one where there is none."""
    ends = [known.number(end) if known else f"{round(end, 1) + 0.0:.1f}" for end in (low, high)]
    return " to ".join(ends)
