"""The target of a normalising gain from a dry and a wet signal: the loudness of dry plus the gain between them."""

from __future__ import annotations

import math

import torch

from stemwright.datagen.effects import loudness
from stemwright.datagen.effects.settings import range_of
from stemwright.datagen.effects.signal import NotIdentifiableError, pair
from stemwright.separation.loudness.meter import integrated_loudness


def fit_loudness(wet: torch.Tensor, dry: torch.Tensor, sample_rate: int) -> loudness.Settings:
    """The target that turns dry into wet, both [C, T]: the loudness of dry plus the gain between the signals.

    Whether loudness or peak was measured leaves no trace in one pair of signals: ``measure`` is "lufs", or "peak" where dry lies below
    every gate of the meter. Raises NotIdentifiableError if more than one gain lies between them.
    """
    wet, dry = pair(wet, dry)
    gain = float((wet * dry).sum() / dry.square().sum())
    if gain <= 0.0 or float((wet - gain * dry).square().sum()) > 0.01 * float(wet.square().sum()):
        raise NotIdentifiableError("wet is no copy of dry at another level: there is another effect between them")
    level, measure = integrated_loudness(dry.numpy(), sample_rate), "lufs"
    if not math.isfinite(level):
        level, measure = 20.0 * math.log10(float(dry.abs().max())), "peak"
    return loudness.Settings(target_db=range_of(loudness.Settings, "target_db").limited(level + 20.0 * math.log10(gain)), measure=measure)
