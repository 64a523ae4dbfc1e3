"""The settings of a distortion from a dry and a wet signal: least squares on the curve of output against input."""

from __future__ import annotations

import math

import numpy as np
import torch
from scipy.optimize import least_squares

from stemwright.datagen.effects import distortion
from stemwright.datagen.effects.signal import NotIdentifiableError, pair


def fit_distortion(wet: torch.Tensor, dry: torch.Tensor, sample_rate: int) -> distortion.Settings:
    """Drive and asymmetry that turn dry into wet, both [C, T], by least squares on the curve of output against input."""
    wet, dry = pair(wet, dry)
    # The curve is known from a few thousand points; the loudest show most of it.
    order = dry.abs().flatten().argsort(descending=True)[:200_000:20]
    x, y = dry.flatten()[order][None], wet.flatten()[order][None]

    def miss(values: np.ndarray) -> np.ndarray:
        settings = distortion.Settings(drive_db=float(values[0]), asymmetry=float(values[1]))
        return np.asarray(distortion.apply(x, sample_rate, settings) - y)[0]

    starts = [(drive, asymmetry) for drive in (0.0, 12.0, 25.0) for asymmetry in (-0.3, 0.3)]
    found = [
        least_squares(miss, start, bounds=([-20.0, -1.0], [40.0, 1.0]), x_scale=(5.0, 0.2), xtol=1e-14, ftol=1e-14) for start in starts
    ]
    best = min(found, key=lambda result: result.cost)
    if math.sqrt(2.0 * best.cost / x.numel()) > 0.5 * float(y.square().mean().sqrt()):
        raise NotIdentifiableError(
            "wet is no function of dry sample by sample: they are not aligned, or there is another effect between them"
        )
    return distortion.Settings(drive_db=float(best.x[0]), asymmetry=float(best.x[1]))
