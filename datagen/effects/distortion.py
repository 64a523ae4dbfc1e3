"""Waveshaping by the hyperbolic tangent, symmetric or not.

    s(x) = tanh(g x + b) - tanh(b),    y = 2 s(x) / (s(1) - s(-1)),    g = 10^(drive_db / 20), b = asymmetry

Conventions
    A full-scale swing stays a full-scale swing, and silence stays silence; quieter signals are raised by up to g. As g vanishes, y becomes
    x: a drive of minus infinity is off. An asymmetry adds even harmonics, and with them a constant that follows the envelope.
    There is no oversampling: the curve is exact, and its harmonics fold at half the sample rate.

References
    ``TYPICAL``: RemFX 2023 for the drive.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from scipy.optimize import least_squares

from datagen.effects.setting import EffectSettings, setting
from datagen.effects.signal import NotIdentifiableError, checked, column, is_off, pair

NAME = "distortion"

TYPICAL = {"drive_db": (8.0, 25.0), "asymmetry": (0.0, 0.5)}


class Settings(EffectSettings):
    """Drive and asymmetry."""

    drive_db: float = setting(-math.inf, low=-20.0, high=40.0, unit="dB", off=-math.inf, description="gain into the curve")
    asymmetry: float = setting(0.0, low=-1.0, high=1.0, description="shift of the curve: even harmonics")


def apply(audio: torch.Tensor, sample_rate: int, settings: Settings) -> torch.Tensor:
    """Returns the distorted audio."""
    checked(audio, sample_rate)
    if is_off(settings.drive_db, -math.inf):
        return audio
    gain = 10.0 ** (column(settings.drive_db, audio) / 20.0)
    bias = column(settings.asymmetry, audio)
    scale = 2.0 / (torch.tanh(bias + gain) - torch.tanh(bias - gain))
    if is_off(settings.asymmetry, 0.0):
        return torch.tanh(gain * audio) * scale
    # tanh(a) - tanh(b) = tanh(a - b) (1 - tanh(a) tanh(b)): of a soft signal the difference itself would keep no digit in float32.
    return torch.tanh(gain * audio) * (1.0 - torch.tanh(torch.addcmul(bias, gain, audio)) * torch.tanh(bias)) * scale


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
