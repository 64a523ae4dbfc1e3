"""Hard clipping: samples beyond a ceiling are set to it.

Conventions
    The ceiling is in dB against full scale; an infinite one clips nothing. Clipping is many-to-one: it has no ``invert``.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch.autograd.function import once_differentiable

from stemwright.datagen.effects.batches import by_items
from stemwright.datagen.effects.ranges import DB_TOLERANCE
from stemwright.datagen.effects.settings import EffectSettings, setting
from stemwright.datagen.effects.signal import checked, column, is_off
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


@by_items
def apply(audio: torch.Tensor, sample_rate: int, settings: Settings) -> torch.Tensor:
    """Returns the clipped audio."""
    checked(audio, sample_rate)
    if is_off(settings.ceiling_db, math.inf):
        return audio
    ceiling = 10.0 ** (column(settings.ceiling_db, audio) / 20.0)
    clipped: torch.Tensor = Ceiling.apply(audio, ceiling)
    return clipped


class Ceiling(torch.autograd.Function):
    """x [..., C, T] within a ceiling [..., 1, 1] on both sides; its gradient in fewer passes than that of a minimum and a maximum."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, ceiling: torch.Tensor) -> torch.Tensor:
        """Returns x, and the ceiling where it is beyond."""
        ctx.save_for_backward(x, ceiling)
        return torch.minimum(torch.maximum(x, -ceiling), ceiling)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
        """What is beyond the ceiling moves with it and not with x."""
        x, ceiling = ctx.saved_tensors
        beyond = x.abs() > ceiling
        x_bar = grads[0].masked_fill(beyond, 0.0)
        if not ctx.needs_input_grad[1]:
            return x_bar, None
        return x_bar, ((grads[0] - x_bar) * x.sign()).sum_to_size(ceiling.shape)
