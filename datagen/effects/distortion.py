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

import numpy as np
import torch
from scipy.optimize import least_squares

from stemwright.datagen.effects.settings import EffectSettings, setting
from stemwright.datagen.effects.signal import NotIdentifiableError, checked, column, is_off, pair

NAME = "distortion"

TYPICAL = {"drive_db": (8.0, 25.0), "asymmetry": (0.0, 0.5), "output_db": 0.0}


class Settings(EffectSettings):
    """Drive, asymmetry and the gain of the output."""

    drive_db: float = setting(-math.inf, low=-20.0, high=40.0, unit="dB", off=-math.inf, level="inverse", description="gain into the curve")
    asymmetry: float = setting(0.0, low=-1.0, high=1.0, description="shift of the curve: even harmonics")
    output_db: float = setting(0.0, low=-60.0, high=24.0, unit="dB", level="absolute", description="gain after the curve")


def apply(audio: torch.Tensor, sample_rate: int, settings: Settings) -> torch.Tensor:
    """Returns the distorted audio."""
    checked(audio, sample_rate)
    output = 10.0 ** (column(settings.output_db, audio) / 20.0)
    if is_off(settings.drive_db, -math.inf):
        return audio if is_off(settings.output_db, 0.0) else audio * output
    gain = 10.0 ** (column(settings.drive_db, audio) / 20.0)
    shift = torch.tanh(column(settings.asymmetry, audio))
    bent, whole = torch.tanh(gain * audio), torch.tanh(gain)
    if is_off(settings.asymmetry, 0.0):
        return bent * (output / whole)
    return bent * (output * (1.0 - (whole * shift) ** 2) / whole) / (1.0 + bent * shift)


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


def fit(wet: torch.Tensor, dry: torch.Tensor, sample_rate: int) -> Settings:
    """Drive and asymmetry that turn dry into wet, both [C, T], by least squares on the curve of output against input."""
    wet, dry = pair(wet, dry)
    # The curve is known from a few thousand points; the loudest show most of it.
    order = dry.abs().flatten().argsort(descending=True)[:200_000:20]
    x, y = dry.flatten()[order][None], wet.flatten()[order][None]

    def miss(values: np.ndarray) -> np.ndarray:
        settings = Settings(drive_db=float(values[0]), asymmetry=float(values[1]))
        return np.asarray(apply(x, sample_rate, settings) - y)[0]

    starts = [(drive, asymmetry) for drive in (0.0, 12.0, 25.0) for asymmetry in (-0.3, 0.3)]
    found = [
        least_squares(miss, start, bounds=([-20.0, -1.0], [40.0, 1.0]), x_scale=(5.0, 0.2), xtol=1e-14, ftol=1e-14) for start in starts
    ]
    best = min(found, key=lambda result: result.cost)
    if math.sqrt(2.0 * best.cost / x.numel()) > 0.5 * float(y.square().mean().sqrt()):
        raise NotIdentifiableError("wet is no function of dry sample by sample: they are not aligned, or another effect lies between them")
    return Settings(drive_db=float(best.x[0]), asymmetry=float(best.x[1]))
