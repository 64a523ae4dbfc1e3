"""Waveshaping by the hyperbolic tangent, symmetric or not.

    s(x) = tanh(g x + b) - tanh(b),    y = o 2 s(x) / (s(1) - s(-1)),    g = 10^(drive_db / 20), b = asymmetry, o = 10^(output_db / 20)

Conventions
    At an output of 0 dB a full-scale swing stays a full-scale swing; silence stays silence, and quieter signals are raised by up to g. As
    g vanishes, y becomes x: a drive of minus infinity is off. An asymmetry adds even harmonics, and with them a constant that follows the
    envelope.
    It is computed as y = o t (1 - G^2 B^2) / (G (1 + t B)) with t = tanh(g x), G = tanh(g), B = tanh(b), which is the same and, unlike the
    difference of two hyperbolic tangents, keeps its precision for quiet signals.
    A gain k before it is a gain k after it where the drive is divided by k and the output makes up for what that changes: ``at_level``.
    There is no oversampling: the curve is exact, and its harmonics fold at half the sample rate.

References
    ``TYPICAL``: RemFX 2023 for the drive.
"""

from __future__ import annotations

import math

from stemwright.datagen.effects.batches import by_items
from stemwright.datagen.effects.deferred import torch
from stemwright.datagen.effects.operation import place
from stemwright.datagen.effects.ranges import DB_TOLERANCE
from stemwright.datagen.effects.settings import EffectSettings, setting
from stemwright.datagen.effects.signal import checked, column, is_off
from stemwright.datagen.effects.traits import Trait

NAME = "distortion"
TRAITS: frozenset[Trait] = frozenset({"time-invariant", "level-dependent", "flattening"})

TYPICAL = {"drive_db": (8.0, 25.0), "asymmetry": (0.0, 0.5), "output_db": 0.0}


class Settings(EffectSettings):
    """Drive, asymmetry and the gain of the output."""

    drive_db: float = setting(
        -math.inf, low=-20.0, high=40.0, unit="dB", off=-math.inf, level="inverse", tolerance=1.0, description="gain into the curve"
    )
    asymmetry: float = setting(0.0, low=-1.0, high=1.0, tolerance=0.05, description="shift of the curve: even harmonics")
    output_db: float = setting(
        0.0, low=-60.0, high=24.0, unit="dB", level="absolute", tolerance=DB_TOLERANCE, description="gain after the curve"
    )


@by_items
def apply(audio: torch.Tensor, sample_rate: int, settings: Settings) -> torch.Tensor:
    """Returns the distorted audio."""
    checked(audio, sample_rate)
    output = 10.0 ** (column(settings.output_db, audio) / 20.0)
    if is_off(settings.drive_db, -math.inf):
        return audio if is_off(settings.output_db, 0.0) else torch.mul(audio, output, out=place())
    gain = 10.0 ** (column(settings.drive_db, audio) / 20.0)
    shift = torch.tanh(column(settings.asymmetry, audio))
    bent, whole = torch.tanh(gain * audio), torch.tanh(gain)
    if is_off(settings.asymmetry, 0.0):
        return torch.mul(bent, output / whole, out=place())
    return torch.div(bent * (output * (1.0 - (whole * shift) ** 2) / whole), 1.0 + bent * shift, out=place())


def at_level(settings: Settings, gain_db: float) -> Settings:
    """The settings that do to audio with a gain what these do without it: the same, with the gain."""
    if is_off(settings.drive_db, -math.inf):
        return settings
    drive_db = settings.drive_db - gain_db
    change_db = 20.0 * math.log10(_scale(settings.drive_db, settings.asymmetry) / _scale(drive_db, settings.asymmetry))
    return settings.model_copy(update={"drive_db": drive_db, "output_db": settings.output_db + gain_db + change_db})


def _scale(drive_db: float, asymmetry: float) -> float:
    """2 / (s(1) - s(-1)), but for a factor that does not depend on the drive."""
    whole = math.tanh(10.0 ** (drive_db / 20.0))
    return (1.0 - (whole * math.tanh(asymmetry)) ** 2) / whole
