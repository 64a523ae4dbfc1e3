"""Hard clipping: samples beyond a ceiling are set to it.

Conventions
    The ceiling is in dB against full scale; an infinite one clips nothing. Clipping is many-to-one: it has no ``invert``.
"""

from __future__ import annotations

import math

from stemwright.datagen.effects.batches import each, is_batch
from stemwright.datagen.effects.deferred import torch
from stemwright.datagen.effects.ranges import DB_TOLERANCE
from stemwright.datagen.effects.settings import EffectSettings, setting
from stemwright.datagen.effects.signal import check_form, checked, column, is_off, on_gpu
from stemwright.datagen.effects.traits import Trait

NAME = "clip"
TRAITS: frozenset[Trait] = frozenset({"time-invariant", "level-dependent", "flattening"})

TYPICAL = {"ceiling_db": (-18.0, -3.0)}


class Settings(EffectSettings):
    """One ceiling."""

    ceiling_db: float = setting(
        math.inf,
        low=-48.0,
        high=0.0,
        unit="dBFS",
        off=math.inf,
        level="absolute",
        bound="ceiling",
        tolerance=DB_TOLERANCE,
        description="level no sample exceeds",
    )


def apply(audio: torch.Tensor, sample_rate: int, settings: Settings) -> torch.Tensor:
    """Returns the clipped audio."""
    from stemwright.datagen.effects.dsp.ceiling import Ceiling, Clamp

    check_form(audio, sample_rate)
    if is_off(settings.ceiling_db, math.inf):
        return checked(audio, sample_rate)
    ceiling = 10.0 ** (column(settings.ceiling_db, audio) / 20.0)
    if on_gpu(audio) or not is_batch(audio):
        clipped: torch.Tensor = Ceiling.apply(checked(audio, sample_rate), ceiling)
        return clipped
    return each(Clamp(), audio, ceiling.expand(*audio.shape[:-2], 1, 1).flatten(0, -3))
