"""The settings of an algorithmic reverb from a dry and a wet signal: the best of a small grid of rooms, refined on the waveform."""

from __future__ import annotations

import torch

from stemwright.datagen.effects import reverb
from stemwright.datagen.effects.signal import pair
from stemwright.datagen.inverse.known_dry.waveform import fit_waveform


def fit_reverb(wet: torch.Tensor, dry: torch.Tensor, sample_rate: int) -> reverb.Settings:
    """The settings that turn dry into wet, both [C, T]: the best of a small grid of rooms, refined on the waveform."""
    wet, dry = pair(wet, dry)
    names = [name for name in reverb.Settings.model_fields if name != "width" or len(dry) > 1]
    starts = [
        reverb.Settings(room_size=size, damping=damping, wet=0.3, dry=0.7) for size in (0.2, 0.5, 0.8, 0.95) for damping in (0.2, 0.7)
    ]
    # Wet and dry enter linearly, so a few steps show which room is near.
    tried = [
        fit_waveform(reverb.apply, wet[:, : 3 * sample_rate], dry[:, : 3 * sample_rate], sample_rate, start, names, iterations=2)
        for start in starts
    ]
    best = min(tried, key=lambda fit: fit.error_db)
    return fit_waveform(reverb.apply, wet, dry, sample_rate, best.settings, names, iterations=15).settings
