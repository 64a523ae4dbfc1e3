"""Edits by text on a real recording. The verb ``edit`` is in ``datagen/cli/editing.py``.

    out = mixture + Σ over the stems that are named (processed - stem)

Conventions
    The stems change the mixture only by what the edit does to them: what is not named, and what is in no stem, stays as it was. An edit
    that changes nothing gives back the samples of the mixture, bit for bit. The sum is taken in float64 and rounded once.
    "isolate" leaves out what is in no stem, since it leaves out all that is not named; "everything but the vocals" has it among the others.
    Several edits act one after another, each on what the one before has left of the stems.
    No gain is taken for the level: what a file cannot hold is the matter of ``stemwright.datagen.edit.song_output``.
    The reverberation of a real recording has no dry version to put back: "remove reverb" is refused here. The recipe ``edit`` makes pairs
    that a model can learn it from.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stemwright.datagen.edit import grammar
from stemwright.datagen.edit.grammar import Edit, EditError
from stemwright.datagen.edit.song_output import Levelled, Limited
from stemwright.manifests.sound.formats import Audio

REST = "residual"  # what is in no stem
POSSIBLE = tuple(operation for operation in grammar.OPERATIONS if operation != "dereverb")  # on a real recording


@dataclass(frozen=True)
class Edited:
    """An edited recording: its level, with its audio [C, T]; the energy of what is in no stem against the mixture's; and what was found and
    mended of stems that were given, or changed by the format of the file.
    """

    level: Levelled
    closure_db: float | None
    notes: tuple[str, ...] = ()

    @property
    def audio(self) -> Audio:
        """The edited recording [C, T], full scale 1.0."""
        return self.level.audio

    @property
    def gain_db(self) -> float:
        """The gain that the whole got, since its file holds no peak above full scale; 0.0 without."""
        return self.level.gain_db

    @property
    def limited(self) -> Limited | None:
        """What a limiter did where the level was kept."""
        return self.level.limited


def parse_all_edits(texts: Sequence[str], names: Mapping[str, object] | Sequence[str] = ()) -> list[Edit]:
    """The edits in some texts. Raises EditError for a text that is not an edit, and for an edit that is impossible on a recording.

    ``names`` are the stems that are there, where that is known: they are understood beside those of the grammar.
    """
    edits = grammar.parse_all(texts, stems=tuple(dict.fromkeys((*grammar.STEMS, *names))), there=tuple(names), possible=POSSIBLE)
    if any(each.operation == "dereverb" for each in edits):
        raise EditError(
            "the reverberation of a recording cannot be removed: its stems have no dry version. "
            "To train a model for it, set [pairs.edit] operations = ['dereverb'] and build a corpus"
        )
    return edits


def check_named(edits: Sequence[Edit], names: Sequence[str], source: str) -> None:
    """Raises EditError if an edit names a stem that does not exist."""
    for each in edits:
        for name in each.stems if each.all_but is None else each.all_but:
            if name not in names:
                hint = "; try --model htdemucs_6s" if name in ("guitar", "piano") and source.startswith("model") else ""
                raise EditError(f"there is no stem {name!r}: {source} gives {', '.join(names)}{hint}")


def apply_edits(mixture: Audio, stems: Mapping[str, Audio], sample_rate: int, edits: Sequence[Edit]) -> Edited:
    """Edits a mixture [C, T] with its stems {name: [C, T]}, at the level of the mixture. Raises EditError where an effect cannot be had on
    this audio.
    """
    residual = mixture.astype(np.float64)
    for audio in stems.values():
        residual -= audio
    processed, rest = dict(stems), residual
    for each in edits:
        processed = {name: _processed(audio, sample_rate, each, name) for name, audio in processed.items()}
        rest = _rest(rest, sample_rate, each)
    change = rest - residual
    for name, audio in stems.items():
        if processed[name] is not audio:
            change += processed[name].astype(np.float64) - audio
    out = mixture + change
    energy = float((mixture.astype(np.float64) ** 2).sum())
    left = float((residual**2).sum())
    closure_db = round(10.0 * math.log10(left / energy), 2) if left and energy else None
    return Edited(Levelled(out.astype(np.float32)), closure_db)


def _rest(rest: NDArray[np.float64], sample_rate: int, each: Edit) -> NDArray[np.float64]:
    """What is in no stem [C, T] after one edit: gone with all that is not isolated, else part of "everything but" some stems."""
    if each.operation == "isolate":
        return np.zeros_like(rest)
    return rest if each.all_but is None else _processed(rest.astype(np.float32), sample_rate, each, REST).astype(np.float64)


def _processed(audio: Audio, sample_rate: int, each: Edit, name: str) -> Audio:
    """A stem [C, T] after one edit; the very same array if the edit is not about it."""
    chains = grammar.chains(each, name)
    if chains == ((),):
        return audio
    if not chains:
        return np.zeros_like(audio)
    import torch

    from stemwright.datagen.effects import apply_chain

    mono_pan = each.operation == "pan" and len(audio) != 2  # its chain begins with a width, which would be named
    try:
        with torch.inference_mode():
            return np.asarray(apply_chain(torch.from_numpy(np.array(audio)), sample_rate, chains[0]).numpy())
    except ValueError as error:  # a pan of a mono song, a cutoff beyond half of its sample rate
        why = f"a pan needs two channels; got {len(audio)}: write the song as stereo first" if mono_pan else error
        raise EditError(f"{each.operation} of {name} is not possible on this recording: {why}") from error
