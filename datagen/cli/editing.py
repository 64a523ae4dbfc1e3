"""The verb ``edit``: a recording changed as a sentence says. ``datagen/cli/app.py`` puts it on the command line.

Conventions
    ``.flac`` is written in 24 bit, which holds 16- and 24-bit songs exactly; ``.wav`` in 32-bit float, which holds all.
    The song is left as it is: the edited one is another file.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer

from stemwright.datagen.cli import completion
from stemwright.datagen.cli.options import (
    DeviceOption,
    EngineOption,
    JsonOption,
    ModelFolderOption,
    OfflineOption,
    PrecisionOption,
    TrustPickleOption,
)
from stemwright.datagen.cli.terminal import Terminal
from stemwright.datagen.edit.grammar import Edit, EditError
from stemwright.datagen.edit.recording import Edited, apply_edits, check_named, understood
from stemwright.manifests.disk.durable import remove_earlier
from stemwright.manifests.records import Refused
from stemwright.manifests.sound.audio import Audio, Encoding, gain_to_db, load, load_song, resample, save

if TYPE_CHECKING:
    from rich.table import Table

ENCODINGS: dict[str, Encoding] = {".flac": "flac24", ".wav": "wav32f"}
FOREIGN_DB = 0.1  # taking a stem out of its own mixture does not add energy; one of another recording does


def edit(
    song: Annotated[Path, typer.Argument(help="Recording to edit.", show_default=False)],
    texts: Annotated[list[str], typer.Argument(metavar="TEXT...", help='Edits in words, one by one or joined by ";".', show_default=False)],
    out: Annotated[Path, typer.Argument(help="File to write, .flac or .wav.", show_default=False)],
    stems: Annotated[Path | None, typer.Option("--stems", help="Folder with the stems (vocals.wav ...), instead of separating.")] = None,
    model: Annotated[str, typer.Option("--model", "-m", help="Model that separates.", autocompletion=completion.models)] = "htdemucs",
    model_folder: ModelFolderOption = None,
    device: DeviceOption = None,
    engine: EngineOption = None,
    precision: PrecisionOption = None,
    offline: OfflineOption = False,
    trust_pickle: TrustPickleOption = False,
    as_json: JsonOption = False,
) -> None:
    """Change a recording as a sentence says: mute, isolate, volume, pan, lowpass, highpass. What is not named stays as it was.

    Example: stemwright edit song.mp3 "increase the volume of vocals by 3 dB; mute drums" out.flac
    """
    from stemwright.datagen.cli.listening import separator_for

    terminal, how = Terminal(as_json), {"device": device, "engine": engine, "precision": precision}
    encoding = _encoding(song, out)
    paths = _stem_paths(stems, song)
    edits = understood(texts, paths)
    with terminal.progress("edit") as report:
        separator = None if stems else separator_for(model, model_folder, how, offline=offline, trust_pickle=trust_pickle)
        check_named(
            edits, tuple(paths) if separator is None else separator.stem_names, str(stems) if separator is None else f"model {model}"
        )
        mixture, sample_rate = load_song(song)
        parts = _stems_of(mixture, sample_rate, paths, separator, lambda share: report(2 * share, 3, f"separating {song.name}"))
        report(2, 3, "editing")
        made = apply_edits(mixture, parts, sample_rate, edits, encoding=encoding)
        if separator is None and made.closure_db is not None and made.closure_db > FOREIGN_DB:
            raise Refused(
                f"taking the stems in {stems} out of {song.name} raises its energy by {made.closure_db:.1f} dB; "
                "they are of another recording, or not aligned"
            )
        remove_earlier(out)
        save(out, made.audio, sample_rate, encoding=encoding)
        report(3, 3, "")
    same = "" if not np.array_equal(made.audio, mixture) else "exactly" if np.array_equal(load(out)[0], mixture) else "rounded to 24 bit"
    _tell(terminal, song, out, edits, made, same)


def _encoding(song: Path, out: Path) -> Encoding:
    """How the file to write is encoded. Raises EditError if it cannot be written, or if there is no song."""
    if not song.is_file():
        raise EditError(f"{song}: no such file; expected a recording to edit")
    if out.suffix.lower() not in ENCODINGS:
        raise EditError(f"expected an output file that ends in {' or '.join(ENCODINGS)}; got {str(out)!r}")
    if out.is_dir():
        raise EditError(f"{out} is a folder; name a file in it")
    if out.resolve() == song.resolve():
        raise EditError(f"{out} is the song itself; name another file, the song is left as it is")
    return ENCODINGS[out.suffix.lower()]


def _stem_paths(folder: Path | None, song: Path) -> dict[str, Path]:
    from stemwright.separation.balance.tracks import stem_paths

    try:
        return {} if folder is None else stem_paths(folder, song)
    except ValueError as error:
        raise EditError(str(error)) from error


def _stems_of(
    mixture: Audio, sample_rate: int, paths: Mapping[str, Path], separator: Any, on_share: Callable[[float], None]
) -> dict[str, Audio]:
    """The stems {name: [C, T]} at the mixture's rate and length, from files or from a separator."""
    if separator is None:
        from stemwright.separation.separator import ReferenceStems

        return ReferenceStems({name: (path, 0) for name, path in paths.items()}).separate(mixture, sample_rate)
    on_share(0.0)
    from stemwright.datagen.cli.listening import finite_stems

    separated = finite_stems(separator.separate(mixture, sample_rate, on_share=on_share), mixture, separator)
    return {name: _fitted(resample(audio, separator.sample_rate, sample_rate), mixture.shape[1]) for name, audio in separated.items()}


def _fitted(audio: Audio, num_frames: int) -> Audio:
    """[C, T] cut or padded by the frame or two that resampling there and back may add or take."""
    return np.pad(audio, ((0, 0), (0, max(0, num_frames - audio.shape[1]))))[:, :num_frames]


def _tell(terminal: Terminal, song: Path, out: Path, edits: Sequence[Edit], made: Edited, same: str) -> None:
    """Says what was done; ``same`` is empty if the edits changed something, or how the file holds the unchanged song."""
    plain = [{"operation": each.operation, "stems": list(each.stems), "amount": each.amount} for each in edits]
    terminal.show("edits", _table(edits), plain)
    peak = float(np.abs(made.audio).max(initial=0.0))
    terminal.collected |= {"song": str(song), "out": str(out), "changed": not same, "gain_db": made.gain_db, "closure_db": made.closure_db}
    terminal.collected["peak_dbfs"] = round(gain_to_db(peak), 3) if peak else None
    if made.closure_db is not None:
        terminal.say(f"In no stem, and as it was unless a stem was isolated: {made.closure_db:.1f} dB of the song's energy.")
    if made.gain_db:
        terminal.say(f"Lowered as a whole by {-made.gain_db:.2f} dB: the edited song would have peaked above full scale.")
    terminal.say(f"edit: {out}" + (f", which holds the samples of the song {same}" if same else ""))
    terminal.finish(0)


def _table(edits: Sequence[Edit]) -> Table:
    from rich.table import Table

    table = Table("edit", "stems", "amount", title_justify="left")
    for each in edits:
        amount = f"{each.amount:+.1f} dB" if isinstance(each.amount, float) else each.amount or ""
        table.add_row(each.operation, ", ".join(each.stems), amount)
    return table
