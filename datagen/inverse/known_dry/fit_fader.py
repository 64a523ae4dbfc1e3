"""The settings of a fader from a dry and a wet signal: gain and pan by least squares on each channel."""

from __future__ import annotations

import math

import torch

from stemwright.datagen.effects import fader
from stemwright.datagen.effects.settings import range_of
from stemwright.datagen.effects.signal import NotIdentifiableError, pair


def fit_fader(wet: torch.Tensor, dry: torch.Tensor, sample_rate: int) -> fader.Settings:
    """Gain and pan that turn dry into wet, both [C, T], by least squares on each channel."""
    del sample_rate  # a level has no time in it
    wet, dry = pair(wet, dry)
    energy = (dry * dry).sum(-1)
    if not bool((energy > 0.0).all()):
        raise NotIdentifiableError("a channel of the dry signal is silent: gain and pan cannot be separated")
    factors = (wet * dry).sum(-1) / energy
    if bool((factors < 0.0).any()) or float(factors.abs().max()) == 0.0:
        raise NotIdentifiableError("the wet signal is silent or inverted against the dry one: no fader does that")
    if len(factors) == 1:
        return fader.Settings(gain_db=20.0 * math.log10(float(factors[0])))
    left, right = float(factors[0]), float(factors[1])
    pan = range_of(fader.Settings, "pan").limited(4.0 / math.pi * math.atan2(right, left) - 1.0)
    return fader.Settings(gain_db=10.0 * math.log10((left**2 + right**2) / 2.0), pan=pan)
