"""Fitting any effect's settings to a waveform: the effect gives initial settings, least squares through its ``apply`` the rest.

Conventions
    wet and dry are [C, T], float64, aligned. A name belongs to a numeric setting; the others keep their initial values.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar, cast

import numpy as np
import torch

from stemwright.datagen.effects.settings import EffectSettings, Range, fields
from stemwright.datagen.inverse.confidence import DETERMINED, confidence_of
from stemwright.datagen.inverse.solver import SearchLimits, Vector, refine

S = TypeVar("S", bound=EffectSettings)

EXCERPT_S = 10.0


@dataclass(frozen=True)
class WaveformFit(Generic[S]):
    """Settings, the residual against wet in dB, and the confidence of each setting that was searched, by name."""

    settings: S
    error_db: float
    confidence: Mapping[str, float]

    @property
    def undetermined(self) -> tuple[str, ...]:
        """The names of settings that the audio does not determine."""
        return tuple(name for name, confidence in self.confidence.items() if confidence < DETERMINED)


def confidence_by_name(settings: Sequence[Range], errors: Vector, differences: Vector) -> dict[str, float]:
    """The confidence of settings with standard errors [P] and differences between excerpts [P] in parts of their ranges."""
    return {
        each.name: confidence_of(each, float(error), difference=float(difference))
        for each, error, difference in zip(settings, errors, differences, strict=True)
    }


def fit_waveform(
    apply: Callable[[torch.Tensor, int, Any], torch.Tensor],
    wet: torch.Tensor,
    dry: torch.Tensor,
    sample_rate: int,
    start: S,
    names: Sequence[str],
    *,
    iterations: int = 30,
) -> WaveformFit[S]:
    """Refines the named settings so that ``apply`` turns dry into wet, on the first ten seconds."""
    wet, dry = (audio[:, : round(EXCERPT_S * sample_rate)] for audio in (wet, dry))
    ranges = [cast("Range", fields(type(start))[name]) for name in names]
    target = wet.numpy().ravel()

    def settings(unit: Vector) -> S:
        return start.model_copy(update={field.name: field.from_unit(float(value)) for field, value in zip(ranges, unit, strict=True)})

    def residual(unit: Vector) -> Vector:
        return np.asarray(apply(dry, sample_rate, settings(unit)).numpy().ravel() - target)

    first = np.array([field.to_unit(field.limited(getattr(start, field.name))) for field in ranges])
    found = refine(residual, first, SearchLimits(iterations, channels=len(dry)))
    error_db = 10.0 * math.log10(2.0 * found.cost / max(float(target @ target), 1e-30) + 1e-40)
    return WaveformFit(settings(found.unit), error_db, confidence_by_name(ranges, found.error, found.difference))
