"""The verb ``edit``: a recording changed as a sentence says. ``datagen/cli/app.py`` puts it on the command line.

Conventions
    ``.flac`` is written in 24 bit, which holds 16- and 24-bit songs exactly; ``.wav`` in 32-bit float, which holds all.
    The song is left as it is: the edited one is another file.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from stemwright.datagen.cli.options import (
    DeviceOption,
    EngineOption,
    JsonOption,
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
    from stemwright.manifests.sound.formats import Audio


def edit(
    song: Annotated[Path, typer.Argument(metavar="SONG", help="Recording to edit.", show_default=False)],
    texts: Annotated[
        list[str], typer.Argument(metavar="TEXT", help='Edits in English, separated by ";" within one text.', show_default=False)
    ],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="File to write, .flac or .wav.", show_default=False)],
    stems: StemsOption = None,
    model: OneModelOption = None,
    model_folder: ModelFolderOption = None,
    device: DeviceOption = None,
    engine: EngineOption = None,
    precision: PrecisionOption = None,
    separator: OtherSeparatorOption = None,
    offline: OfflineOption = False,
    trust_pickle: TrustPickleOption = False,
    as_json: JsonOption = False,
) -> None:
    """Edit a recording by text: mute, isolate, volume, pan, lowpass, highpass. Stems that are not named stay unchanged.

    Example: stemwright edit song.mp3 "increase the volume of vocals by 3 dB; mute drums" out.flac
    """
    from stemwright.datagen.cli.listening import check_separation, check_stems_alone, separator_for
    from stemwright.datagen.edit.edited_file import edit_file, output_encoding, stems_in
    from stemwright.datagen.edit.recording import parse_all_edits

    terminal, how = Terminal(as_json), {"device": device, "engine": engine, "precision": precision, "separator": separator}
    check_stems_alone(stems, {"model": model, "model_folder": model_folder, **how})
    output_encoding(song, out)
    paths = stems_in(stems, song)
    edits = parse_all_edits(texts, paths)
    if stems is None:
        check_separation(model, model_folder, how)
    _check_sound(song)  # all this before a model is looked for, which may take long
    allowed = {"offline": offline, "trust_pickle": trust_pickle}
    with terminal.progress("edit") as report:
        separating = None if stems else separator_for(model, model_folder, how, **allowed)
        made, mixture = edit_file(
            song, edits, out, stems=paths, separator=separating, on_share=lambda share: report(share, 1, f"separating {song.name}")
        )
        report(1, 1, "")
    _summarise(terminal, song, out, edits, made, _sameness(made.audio, mixture, out))


def _check_sound(song: Path) -> None:
    """Raises Refused, naming the file, for one that is no sound."""
    from stemwright.manifests.records import Refused
    from stemwright.manifests.sound.decoding import probe

    try:
        probe(song)
    except Refused as reason:
        raise Refused(f"{song}: {reason}") from reason


def _sameness(edited: Audio, mixture: Audio, out: Path) -> str:
    """How a file holds a song that the edits left as it was; "" if they changed it."""
    import numpy as np

    from stemwright.manifests.sound.decoding import load

    if not np.array_equal(edited, mixture):
        return ""
    return "exactly" if np.array_equal(load(out)[0], mixture) else "rounded to 24 bit"


def _summarise(terminal: Terminal, song: Path, out: Path, edits: Sequence[Edit], made: Edited, same: str) -> None:
    """Says what was done; ``same`` is empty if the edits changed something, or how the file holds the unchanged song."""
    import numpy as np

    from stemwright.manifests.decibels import gain_to_db

    plain = [{"operation": each.operation, "stems": list(each.stems), "amount": each.amount} for each in edits]
    terminal.show("edits", _table(edits), plain)
    peak = float(np.abs(made.audio).max(initial=0.0))
    terminal.collected |= {"song": str(song), "out": str(out), "changed": not same, "gain_db": made.gain_db, "closure_db": made.closure_db}
    terminal.collected["peak_dbfs"] = round(gain_to_db(peak), 3) if peak else None
    terminal.collected["notes"] = list(made.notes)
    for note in made.notes:
        terminal.warn(note)
    if made.closure_db is not None:
        terminal.say(f"Residual (in no stem; kept unless a stem is isolated): {made.closure_db:.1f} dB.")
    if made.gain_db:
        terminal.say(f"Lowered by {-made.gain_db:.2f} dB: the edited song would have peaked above full scale.")
    terminal.say(f"edit: {out}" + (f", which holds the samples of the song {same}" if same else ""))
    terminal.finish(0)


def _table(edits: Sequence[Edit]) -> Table:
    from rich.table import Table

    table = Table("edit", "stems", "amount", title_justify="left")
    for each in edits:
        amount = f"{each.amount:+.1f} dB" if isinstance(each.amount, float) else each.amount or ""
        table.add_row(each.operation, ", ".join(each.stems), amount)
    return table
