"""Level normalisation: one gain that scales a signal to a loudness or to a peak.

Conventions
    measure "lufs" is the integrated loudness of BS.1770, "peak" the highest sample. A target of infinity leaves the signal as it is, and
    so do silence and a signal below every gate: they have no level to change. All channels of an item share the gain.
    The meter's absolute gate, below which nothing is counted, is a setting only so that it can follow a gain of the whole programme;
    BS.1770 says -70 LUFS.
    No signal is raised by more than MOST_LIFT_DB: one that would need more is treated as silence and not changed. That is the dither of a
    muted track (its peak at -84 dBFS or less) or what a filter left of a sound, and raising it would amplify noise.
    Only rendering can know the gain: ``gain_db`` returns it, to be written down. The gain is a measured number: a gradient flows through
    the audio that it multiplies, not through the measurement.

References
    ``stemwright.separation.loudness.meter`` for the measurement. RemFX 2023 raises by at most 40 dB.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np

from stemwright.datagen.effects.batches import by_items
from stemwright.datagen.effects.deferred import torch
from stemwright.datagen.effects.operation import place
from stemwright.datagen.effects.ranges import DB_TOLERANCE
from stemwright.datagen.effects.settings import EffectSettings, choice, setting
from stemwright.datagen.effects.signal import checked, column, is_off
from stemwright.datagen.effects.traits import Trait
from stemwright.separation.loudness.gates import ABSOLUTE_GATE_LUFS

NAME = "loudness"
TRAITS: frozenset[Trait] = frozenset({"level-dependent", "level", "normalising"})

TYPICAL = {"target_db": (-30.0, -14.0), "gate_db": ABSOLUTE_GATE_LUFS}
MOST_LIFT_DB = 40.0
REACHED_DB = 20.0  # a signal that was not raised is MOST_LIFT_DB or more below the target


class Settings(EffectSettings):
    """Target, what is measured, and the gate of the meter."""

    target_db: float = setting(
        math.inf,
        low=-70.0,
        high=0.0,
        unit="LUFS | dBFS",
        off=math.inf,
        level="absolute",
        tolerance=DB_TOLERANCE,
        description="level to reach",
    )
    measure: Literal["lufs", "peak"] = choice("lufs", ("lufs", "peak"), description="loudness after BS.1770, or highest sample")
    gate_db: float = setting(
        ABSOLUTE_GATE_LUFS, low=-100.0, high=-40.0, unit="LUFS", level="absolute", tolerance=1.0, description="the meter's absolute gate"
    )


@by_items
def apply(audio: torch.Tensor, sample_rate: int, settings: Settings) -> torch.Tensor:
    """Returns the normalised audio."""
    return levelled(audio, sample_rate, settings)[0]


def levelled(audio: torch.Tensor, sample_rate: int, settings: Settings) -> tuple[torch.Tensor, torch.Tensor]:
    """The normalised audio, and the gain in dB of each item as ``gain_db`` gives it."""
    checked(audio, sample_rate)
    if is_off(settings.target_db, math.inf):
        return audio, torch.zeros(audio.shape[:-2], dtype=torch.float64, device=audio.device)
    gain = gain_db(audio, sample_rate, settings)
    return torch.mul(audio, 10.0 ** (gain.to(audio)[..., None, None] / 20.0), out=place()), gain


def gain_db(audio: torch.Tensor, sample_rate: int, settings: Settings) -> torch.Tensor:
    """The gain in dB that ``apply`` gives each item: float64 with the leading dimensions of the audio, 0 where nothing can be measured, or
    more than MOST_LIFT_DB would be needed.
    """
    gain = _wanted_db(audio, sample_rate, settings)
    return torch.where(torch.isfinite(gain) & (gain <= MOST_LIFT_DB), gain, torch.zeros_like(gain))


def is_too_soft(audio: torch.Tensor, sample_rate: int, settings: Settings) -> bool:
    """Whether any item is left as it is because it is silent, or would have to be raised by more than MOST_LIFT_DB."""
    return not is_off(settings.target_db, math.inf) and bool((_wanted_db(audio, sample_rate, settings) > MOST_LIFT_DB).any())


def _wanted_db(audio: torch.Tensor, sample_rate: int, settings: Settings) -> torch.Tensor:
    """The gain in dB that scales each item to the target, without a limit; infinite where nothing can be measured."""
    items = audio.detach().reshape(-1, *audio.shape[-2:])
    if settings.measure == "peak":
        levels = 20.0 * torch.log10(items.abs().amax((-2, -1)).double())
    else:
        from stemwright.datagen.effects.dsp.item_batches import in_threads

        gates_db = torch.as_tensor(settings.gate_db, dtype=torch.float64).detach().cpu().expand(audio.shape[:-2]).reshape(-1).tolist()
        arrays = items.cpu().numpy()
        measured = in_threads(lambda number: _loudness(arrays[number], sample_rate, gates_db[number]), len(arrays))
        levels = torch.tensor(measured, dtype=torch.float64, device=audio.device)
    return column(settings.target_db, audio.double())[..., 0, 0] - levels.reshape(audio.shape[:-2])


def _loudness(audio: np.ndarray, sample_rate: int, gate_db: float) -> float:
    """Integrated loudness [C, T] by a meter whose absolute gate is another: of the audio moved to where the gate is BS.1770's."""
    from stemwright.separation.loudness.meter import integrated_loudness

    off_db = gate_db - ABSOLUTE_GATE_LUFS
    return (
        integrated_loudness(audio * 10.0 ** (-off_db / 20.0), sample_rate) + off_db if off_db else integrated_loudness(audio, sample_rate)
    )


def reached(settings: Mapping[str, Any], loudness_lufs: float | None, peak_dbfs: float | None) -> bool:
    """Whether a signal of this loudness and peak was brought to the target: nearly there, as a row's plain settings ask for it."""
    # An excerpt may be too short for a loudness.
    level_db = peak_dbfs if settings["measure"] == "peak" or loudness_lufs is None else loudness_lufs
    return level_db is not None and level_db > float(settings["target_db"]) - REACHED_DB


def is_taken_for_silence(level_db: float | None, target_db: float) -> bool:
    """Whether a signal of a level, loudness or peak (None: none), is so far below a target that it is not brought there."""
    return level_db is None or target_db - level_db > MOST_LIFT_DB
