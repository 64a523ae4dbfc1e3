"""The tasks of AMSS-Net on a multitrack: the sentence, the mixture that a model is given, and the mixture that it should return.

Conventions
    Seven edits of each of vocals, drums and bass: 21 tasks. A multitrack without any of these has the edits of each of its stems.
    The mixture is the sum of the stems; where it or the target goes above 1 both are divided by the larger of their largest samples.
    Both channels of a stem that is panned get their mean. To remove reverberation the given mixture has it and the target has not.
    The target is made as AMSS-Net's code makes it, with biquads of a Q that is a setting: AMSS-Net's code has 10, a peak of 20 dB at the
    cutoff; ``stemwright edit`` has 0.707, no peak. Its reverberation is SoX's, here the effect ``reverb`` with SoX's values.

References
    As in ``stemwright.datagen.evaluate.edit_distances``: musdb_amss/*.py. Biquads: Bristow-Johnson's cookbook, which SoX uses.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from stemwright.datagen.edit import grammar
from stemwright.datagen.edit.grammar import Edit
from stemwright.manifests.records import Refused
from stemwright.manifests.sound.formats import Audio

NAMED = ("vocals", "drums", "bass")
REST = ("other", "residual")
SENTENCES = {
    "pan left": "pan {} completely to the left side",
    "pan right": "pan {} completely to the right side",
    "lowpass": "apply heavy lowpass to {}",
    "highpass": "apply heavy highpass to {}",
    "dereverb": "remove reverb from {}",
    "louder": "increase the volume of {}",
    "softer": "decrease the volume of {}",
}
BUTTERWORTH_Q = math.sqrt(0.5)
Array = NDArray[np.float64]


@dataclass(frozen=True)
class AmssTask:
    """One task: its kind (of ``SENTENCES``), its sentence, the edit that the sentence means, and the stem that it is about."""

    kind: str
    text: str
    edit: Edit
    stem: str


@dataclass(frozen=True)
class AmssPair:
    """The mixture given and the mixture wanted, float32 [C, T]; ``scale`` is what the stems were divided by."""

    given: Audio
    wanted: Audio
    scale: float


def tasks_of(stems: Mapping[str, Audio]) -> list[AmssTask]:
    """The tasks of a multitrack, stem by stem."""
    about = [name for name in NAMED if name in stems] or [name for name in stems if name not in REST]
    meant = {kind: grammar.parse(text.format(NAMED[0])) for kind, text in SENTENCES.items()}
    return [
        AmssTask(kind, text.format(name), replace(meant[kind], stems=(name,)), name) for name in about for kind, text in SENTENCES.items()
    ]


def pair_of(task: AmssTask, stems: Mapping[str, Audio], sample_rate: int, q: float = BUTTERWORTH_Q) -> AmssPair:
    """Given and wanted mixture of a task on stems {name: [2, T]}."""
    total = np.sum([audio.astype(np.float64) for audio in stems.values()], axis=0)
    changed = total + _processed(task, stems[task.stem], sample_rate, q) - stems[task.stem]
    given, wanted = (changed, total) if task.edit.operation == "dereverb" else (total, changed)
    scale = max(1.0, float(given.max()), float(wanted.max()))  # the largest samples, not magnitudes: as AMSS-Net's code
    return AmssPair((given / scale).astype(np.float32), (wanted / scale).astype(np.float32), scale)


def edited(task: AmssTask, pair: AmssPair, stems: Mapping[str, Audio], sample_rate: int, q: float = BUTTERWORTH_Q) -> Audio:
    """What ``stemwright edit`` makes of the given mixture with some stems of it, on the multitrack's own scale.

    With another Q than that of ``edit`` the filter is AMSS-Net's. Reverberation cannot be removed by it: raises EditError.
    """
    scaled = {name: (audio / pair.scale).astype(np.float32) for name, audio in stems.items()}
    if task.edit.operation in grammar.CUTOFFS_HZ and not math.isclose(q, BUTTERWORTH_Q, rel_tol=1e-3):
        change = _processed(task, scaled[task.stem], sample_rate, q) - scaled[task.stem]
        return (pair.given + change).astype(np.float32)
    if task.edit.operation == "dereverb":
        raise grammar.EditError(f"{task.text}: the reverberation of a recording cannot be removed by separating it")
    from stemwright.datagen.edit.recording import apply_edits

    return apply_edits(pair.given, scaled, sample_rate, [task.edit]).audio


def _processed(task: AmssTask, stem: Audio, sample_rate: int, q: float) -> Array:
    """A stem as the task wants it; for the removal of reverberation as it is given."""
    audio, edit = stem.astype(np.float64), task.edit
    if edit.operation == "pan":
        left = str(edit.amount).endswith("left")
        mono = audio.mean(axis=0)
        return np.stack([mono, 0.0 * mono] if left else [0.0 * mono, mono])
    if edit.operation == "volume":
        return audio * (2.0 if float(edit.amount or 0.0) > 0.0 else 0.5)
    if edit.operation == "dereverb":
        return _reverberated(edit, task.stem, stem, sample_rate)
    return _filtered(audio, grammar.cutoff_hz(edit, task.stem), q, sample_rate, high=edit.operation.startswith("high"))


def _filtered(audio: Array, hz: float, q: float, sample_rate: int, *, high: bool) -> Array:
    from scipy.signal import lfilter

    if hz >= 0.5 * sample_rate:
        raise Refused(f"it has {sample_rate} Hz; a filter at {hz:g} Hz needs more than {2.0 * hz:g} Hz")
    angle = 2.0 * math.pi * hz / sample_rate
    cosine, alpha = math.cos(angle), math.sin(angle) / (2.0 * q)
    edge = (1.0 + cosine) / 2.0 if high else (1.0 - cosine) / 2.0
    forward = [edge, -2.0 * edge if high else 2.0 * edge, edge]
    found: Array = lfilter(forward, [1.0 + alpha, -2.0 * cosine, 1.0 - alpha], audio, axis=-1)
    return found


def _reverberated(edit: Edit, name: str, stem: Audio, sample_rate: int) -> Array:
    import torch

    from stemwright.datagen.effects import apply_chain

    audio = torch.from_numpy(stem.astype(np.float64))
    return np.sum([apply_chain(audio, sample_rate, chain).numpy() for chain in grammar.chains(edit, name)], axis=0)
