"""Edits in words on a real recording: ``stemwright edit SONG "increase the volume of vocals" OUT``.

    out = mixture + Σ over the stems that are named (processed - stem)

Conventions
    The stems change the mixture only by what the edit does to them: what is not named, and what is in no stem, stays as it was. An edit
    that changes nothing gives back the samples of the mixture, bit for bit. The sum is taken in float64 and rounded once.
    "isolate" alone leaves out what is in no stem, since it leaves out all that is not named.
    Several edits act one after another, each on what the one before has left of the stems.
    One gain lowers the whole where a peak demands it, and is told: FLAC holds nothing above full scale; a float WAV holds it, but players
    do not, so it is allowed to peak as high as the song did and no higher.
    ``.flac`` is written in 24 bit, which holds 16- and 24-bit songs exactly; ``.wav`` in 32-bit float, which holds all.
    The reverberation of a real recording has no dry version to put back: "remove reverb" is refused here. The recipe ``edit`` makes pairs
    that a model can learn it from.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer

from datagen import grammar
from datagen.grammar import Edit, EditError
from datagen.options import DeviceOption, EngineOption, JsonOption, ModelFolderOption, OfflineOption, PrecisionOption, TrustPickleOption
from datagen.terminal import Terminal
from manifests.audio import Audio, Encoding, db_to_gain, gain_to_db, load, resample, save
from manifests.records import Refused

if TYPE_CHECKING:
    from rich.table import Table

ENCODINGS: dict[str, Encoding] = {".flac": "flac24", ".wav": "wav32f"}
FOREIGN_DB = 0.1  # taking a stem out of its own mixture does not add energy; one of another recording does


@dataclass(frozen=True)
class Edited:
    """An edited recording: audio [C, T], the gain that is already in it, and the energy of what is in no stem against the mixture's."""

    audio: Audio
    gain_db: float
    closure_db: float | None


def edit(
    song: Annotated[Path, typer.Argument(help="Recording to edit.", show_default=False)],
    texts: Annotated[list[str], typer.Argument(metavar="TEXT...", help='Edits in words, one by one or joined by ";".', show_default=False)],
    out: Annotated[Path, typer.Argument(help="File to write, .flac or .wav.", show_default=False)],
    stems: Annotated[Path | None, typer.Option("--stems", help="Folder with the stems (vocals.wav ...), instead of separating.")] = None,
    model: Annotated[str, typer.Option("--model", "-m", help="Model that separates.")] = "htdemucs",
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
    from datagen.listening import separator_for

    terminal, how = Terminal(as_json), {"device": device, "engine": engine, "precision": precision}
    paths = _stem_paths(stems, song)
    edits = understood(texts, paths)
    encoding = _encoding(song, out)
    with terminal.progress("edit") as report:
        separator = None if stems else separator_for(model, model_folder, how, offline=offline, trust_pickle=trust_pickle)
        check_named(
            edits, tuple(paths) if separator is None else separator.stem_names, str(stems) if separator is None else f"model {model}"
        )
        mixture, sample_rate = load(song)
        parts = _stems_of(mixture, sample_rate, paths, separator, lambda share: report(0, 2, f"separating {song.name} {share:.0%}"))
        report(1, 2, "editing")
        made = apply_edits(mixture, parts, sample_rate, edits, encoding=encoding)
        if separator is None and made.closure_db is not None and made.closure_db > FOREIGN_DB:
            raise Refused(
                f"taking the stems in {stems} out of {song.name} raises its energy by {made.closure_db:.1f} dB; "
                "they are of another recording, or not aligned"
            )
        save(out, made.audio, sample_rate, encoding=encoding)
        report(2, 2, "")
    same = "" if not np.array_equal(made.audio, mixture) else "exactly" if np.array_equal(load(out)[0], mixture) else "rounded to 24 bit"
    _tell(terminal, song, out, edits, made, same)


def understood(texts: Sequence[str], names: Mapping[str, object] | Sequence[str] = ()) -> list[Edit]:
    """The edits that texts ask for. Raises EditError for a text that is none, and for one that no real recording can be given.

    ``names`` are stems beside those of the grammar.
    """
    possible = [operation for operation in grammar.OPERATIONS if operation != "dereverb"]
    edits = grammar.parse_all(texts, stems=tuple(dict.fromkeys((*grammar.STEMS, *names))), possible=possible)
    if any(each.operation == "dereverb" for each in edits):
        raise EditError(
            "the reverberation of a recording cannot be taken off: its stems have no dry version, and this tool guesses none. "
            "For pairs that teach it to a model, set [pairs.edit] operations = ['dereverb'] and build a corpus"
        )
    return edits


def check_named(edits: Sequence[Edit], names: Sequence[str], source: str) -> None:
    """Raises EditError if an edit names a stem that there is not."""
    for each in edits:
        for name in each.stems:
            if name not in names:
                hint = "; try --model htdemucs_6s" if name in ("guitar", "piano") and source.startswith("model") else ""
                raise EditError(f"there is no stem {name!r}: {source} gives {', '.join(names)}{hint}")


def apply_edits(
    mixture: Audio, stems: Mapping[str, Audio], sample_rate: int, edits: Sequence[Edit], *, encoding: Encoding = "wav32f"
) -> Edited:
    """Edits a mixture [C, T] with its stems {name: [C, T]}. Raises EditError where an effect cannot be had on this audio."""
    processed, isolated = dict(stems), False
    for each in edits:
        isolated |= each.operation == "isolate"
        processed = {name: _processed(audio, sample_rate, each, name) for name, audio in processed.items()}
    residual = mixture.astype(np.float64)
    for audio in stems.values():
        residual -= audio
    change = -residual if isolated else np.zeros_like(residual)
    for name, audio in stems.items():
        if processed[name] is not audio:
            change += processed[name].astype(np.float64) - audio
    out = mixture + change
    energy = float((mixture.astype(np.float64) ** 2).sum())
    left = float((residual**2).sum())
    closure_db = round(10.0 * math.log10(left / energy), 2) if left and energy else None
    gain_db = _gain_db(float(np.abs(out).max(initial=0.0)), float(np.abs(mixture).max(initial=0.0)), encoding)
    return Edited((out * db_to_gain(gain_db)).astype(np.float32) if gain_db else out.astype(np.float32), gain_db, closure_db)


def _processed(audio: Audio, sample_rate: int, each: Edit, name: str) -> Audio:
    """A stem [C, T] after one edit; the very same array if the edit is not about it."""
    chains = grammar.chains(each, name)
    if chains == ((),):
        return audio
    if not chains:
        return np.zeros_like(audio)
    import torch

    from datagen.effects import apply_chain

    try:
        with torch.inference_mode():
            return np.asarray(apply_chain(torch.from_numpy(np.array(audio)), sample_rate, chains[0]).numpy())
    except ValueError as error:  # a pan of a mono song, a cutoff beyond half of its sample rate
        raise EditError(f"{each.operation} of {name} cannot be done on this recording: {error}") from error


def _gain_db(peak: float, before: float, encoding: Encoding) -> float:
    """0, or the gain in hundredths of a dB that brings a peak to what the file holds, or to what the song had."""
    limit = 1.0 if encoding == "flac24" else max(1.0, before)
    return -math.ceil(100.0 * gain_to_db(peak / limit)) / 100.0 if peak > limit else 0.0


def _encoding(song: Path, out: Path) -> Encoding:
    """How the file to write is encoded. Raises EditError if it cannot be written."""
    if out.suffix.lower() not in ENCODINGS:
        raise EditError(f"expected an output file that ends in {' or '.join(ENCODINGS)}; got {str(out)!r}")
    if out.is_dir():
        raise EditError(f"{out} is a folder; name a file in it")
    if out.resolve() == song.resolve():
        raise EditError(f"{out} is the song itself; name another file, the song is left as it is")
    return ENCODINGS[out.suffix.lower()]


def _stem_paths(folder: Path | None, song: Path) -> dict[str, Path]:
    from separation.track_balance import stem_paths

    return {} if folder is None else stem_paths(folder, song)


def _stems_of(
    mixture: Audio, sample_rate: int, paths: Mapping[str, Path], separator: Any, on_share: Callable[[float], None]
) -> dict[str, Audio]:
    """The stems {name: [C, T]} at the mixture's rate and length, from files or from a separator."""
    if separator is None:
        from separation.separator import ReferenceStems

        return ReferenceStems({name: (path, 0) for name, path in paths.items()}).separate(mixture, sample_rate)
    on_share(0.0)
    separated = separator.separate(mixture, sample_rate, on_share=on_share)
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
