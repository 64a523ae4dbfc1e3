"""The settings of a clipper from a dry and a wet signal: the level of the wet samples where the dry ones are louder."""

from __future__ import annotations

import math

import torch

from stemwright.datagen.effects import clip
from stemwright.datagen.effects.settings import range_of
from stemwright.datagen.effects.signal import NotIdentifiableError, pair


def fit_clip(wet: torch.Tensor, dry: torch.Tensor, sample_rate: int) -> clip.Settings:
    """The ceiling that turns dry into wet, both [C, T]: the level of the wet samples where the dry ones are louder."""
    del sample_rate  # a ceiling has no time in it
    wet, dry = pair(wet, dry)
    changed = dry.abs() > wet.abs() * (1.0 + 1e-4) + 1e-5
    if not bool(changed.any()):
        raise NotIdentifiableError("no sample is lower than its dry one: the ceiling was never reached")
    level_db = 20.0 * math.log10(float(wet.abs()[changed].median()) + 1e-12)
    return clip.Settings(ceiling_db=range_of(clip.Settings, "ceiling_db").limited(level_db))
