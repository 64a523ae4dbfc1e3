"""The settings of a width from a dry and a wet signal: least squares on the side signal."""

from __future__ import annotations

import torch

from stemwright.datagen.effects import width
from stemwright.datagen.effects.settings import range_of
from stemwright.datagen.effects.signal import NotIdentifiableError, pair


def fit_width(wet: torch.Tensor, dry: torch.Tensor, sample_rate: int) -> width.Settings:
    """The width that turns dry into wet, both [2, T], by least squares on the side signal."""
    del sample_rate  # a width has no time in it
    wet, dry = pair(wet, dry)
    width.check_stereo(dry)
    side = dry[0] - dry[1]
    energy = float((side * side).sum())
    if energy <= 1e-14 * float((dry * dry).sum()):
        raise NotIdentifiableError("the dry signal has no difference between its channels: any width leaves it as it is")
    return width.Settings(width=range_of(width.Settings, "width").limited(float((side * (wet[0] - wet[1])).sum()) / energy))
