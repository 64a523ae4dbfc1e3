"""A constant offset, as of a converter or an amplifier that is out of adjustment.

    y = x + offset max|x|

Conventions
    The offset is a share of the largest absolute sample of all channels, and the same in each: a gain before it is a gain after it, and
    silence stays silence. 0 changes nothing.
"""

from __future__ import annotations

from stemwright.datagen.effects.deferred import torch
from stemwright.datagen.effects.settings import EffectSettings, setting
from stemwright.datagen.effects.signal import checked, column, is_off
from stemwright.datagen.effects.traits import Trait

NAME = "dc"
TRAITS: frozenset[Trait] = frozenset()

TYPICAL = {"offset": (-0.1, 0.1)}


class Settings(EffectSettings):
    """One constant."""

    offset: float = setting(0.0, low=-0.5, high=0.5, tolerance=0.005, description="what is added, as a share of the largest sample")


def apply(audio: torch.Tensor, sample_rate: int, settings: Settings) -> torch.Tensor:
    """Returns the audio with the offset."""
    checked(audio, sample_rate)
    if is_off(settings.offset, 0.0):
        return audio
    return audio + column(settings.offset, audio) * audio.abs().amax((-2, -1), keepdim=True)


def invert(audio: torch.Tensor, sample_rate: int, settings: Settings) -> torch.Tensor:
    """Undoes ``apply``."""
    checked(audio, sample_rate)
    offset = column(settings.offset, audio)
    # p = max(max x, -min x) with max x = max y - offset p and min x = min y - offset p: each root is too small where the other holds
    highest, lowest = audio.amax((-2, -1), keepdim=True), audio.amin((-2, -1), keepdim=True)
    peak = torch.maximum(highest / (1.0 + offset), -lowest / (1.0 - offset))
    return audio - offset * peak
