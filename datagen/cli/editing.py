"""The verb ``edit``: a recording changed as a sentence says. ``datagen/cli/app.py`` puts it on the command line.

Conventions
    Formats and levels are those of ``stemwright.datagen.edit.song_output``. The song is left as it
    is: the edited one is another file.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from stemwright.datagen.cli.edit_sentences import show_sentences
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
from stemwright.datagen.cli.terminal import Terminal

if TYPE_CHECKING:
    from rich.table import Table

    from stemwright.datagen.edit.grammar import Edit
    from stemwright.datagen.edit.recording import Edited
    from stemwright.datagen.edit.song_output import SongOutput
    from stemwright.manifests.sound.formats import Audio


def edit(
    song: Annotated[Path, typer.Argument(metavar="SONG", help="Recording to edit.", show_default=False)],
    texts: Annotated[
        list[str], typer.Argument(metavar="TEXT", help='Edits in English, joined by ";", "then" or "and".', show_default=False)
    ],
    out: Annotated[Path, typer.Argument(metavar="OUT", help=f"File to write: {WRITTEN}.", show_default=False)],
    stems: StemsOption = None,
    model: OneModelOption = None,
    model_folder: ModelFolderOption = None,
    device: DeviceOption = None,
    engine: EngineOption = None,
    precision: PrecisionOption = None,
    separator: OtherSeparatorOption = None,
    offline: OfflineOption = False,
    trust_pickle: TrustPickleOption = False,
    bits: BitsOption = None,
    bit_rate: BitRateOption = None,
    keep_level: KeepLevelOption = None,
    as_json: JsonOption = False,
    _list: Annotated[
        bool, typer.Option("--list", callback=show_sentences, is_eager=True, help="Show all that can be said, and exit.")
    ] = False,
) -> None:
    """Edit a recording by text, from "karaoke" to "make the drums a bit punchier". Stems that are not named stay unchanged.

    Example: stemwright edit song.mp3 "turn up the vocals by 3 dB and mute the drums" out.flac
    """
    from stemwright.datagen.cli.balance_inputs import check_stems_alone
    from stemwright.datagen.cli.listening import check_separation, separator_for
    from stemwright.datagen.edit.edited_file import check_song, edit_file, stems_in
    from stemwright.datagen.edit.recording import parse_all_edits
    from stemwright.datagen.edit.song_output import OutputOptions

    terminal, how = Terminal(as_json), {"device": device, "engine": engine, "precision": precision, "separator": separator}
    check_stems_alone(stems, {"model": model, "model_folder": model_folder, **how})
    check_song(song, out)
    output = OutputOptions(bits, bit_rate, keep_level).to(out)
    paths = stems_in(stems, song)
    edits = parse_all_edits(texts, paths)
    if stems is None:
        check_separation(model, model_folder, how)
    _check_sound(song)  # all this before a model is looked for, which may take long
    allowed = {"offline": offline, "trust_pickle": trust_pickle}
    with terminal.progress("edit") as report:
        separating = None if stems else separator_for(model, model_folder, how, **allowed)
        made, mixture = edit_file(
            song, edits, output, stems=paths, separator=separating, on_share=lambda share: report(share, 1, f"separating {song.name}")
        )
        report(1, 1, "")
    _summarise(terminal, song, out, edits, made, _sameness(made.audio, mixture, output))


def _check_sound(song: Path) -> None:
    """Raises Refused, naming the file, for one that is no sound."""
    from stemwright.manifests.records import Refused
    from stemwright.manifests.sound.decoding import probe

    try:
        probe(song)
    except Refused as reason:
        raise Refused(f"{song}: {reason}") from reason


def _sameness(edited: Audio, mixture: Audio, output: SongOutput) -> str:
    """How a file holds a song that the edits left as it was; "" if they changed it."""
    import numpy as np

    from stemwright.manifests.sound.decoding import load

    if not np.array_equal(edited, mixture):
        return ""
    if output.format.codec:
        return f"as {output.format.name} codes them"
    held, rounding = np.array_equal(load(output.path)[0], mixture), f"rounded to {output.format.bits} bit"
    return "exactly" if held else rounding + (" with dither" if output.format.bits == 16 else "")


def _summarise(terminal: Terminal, song: Path, out: Path, edits: Sequence[Edit], made: Edited, same: str) -> None:
    """Says what was done; ``same`` is empty if the edits changed something, or how the file holds the unchanged song."""
    plain = [{"operation": each.operation, "stems": list(each.stems), "amount": each.amount} for each in edits]
    terminal.show("edits", _table(edits), plain)
    terminal.collected |= {"song": str(song), "out": str(out), "changed": not same, "closure_db": made.closure_db, **made.level.plain()}
    terminal.collected["notes"] = list(made.notes)
    for note in made.notes:
        terminal.warn(note)
    if made.closure_db is not None:
        terminal.say(f"Residual (in no stem; kept unless a stem is isolated): {made.closure_db:.1f} dB.")
    for line in made.level.lines("the edited song"):
        terminal.say(line)
    terminal.say(f"edit: {out}" + (f", which holds the samples of the song {same}" if same else ""))
    terminal.finish(0)


def _table(edits: Sequence[Edit]) -> Table:
    from rich.table import Table

    table = Table("edit", "stems", "amount", title_justify="left")
    for each in edits:
        table.add_row(each.operation, each.stems_text, each.amount_text)
    return table
