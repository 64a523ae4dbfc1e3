"""All settings of a chain together, by least squares on the waveform.

Conventions
    Audio is a torch tensor, float64 [C, T]. The residual is whitened by the spectrum of wet, so that treble counts like bass.
    A gain that two effects share (make-up and fader) is left to the fader. Whole numbers, delays and other steps keep their initial values.

References
    ``stemwright.datagen.inverse.solver`` for the search.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from scipy.signal import lfilter

from stemwright.datagen.effects import apply_chain
from stemwright.datagen.effects.settings import Range
from stemwright.datagen.inverse.effect_roles import is_fader, searchable, silent
from stemwright.datagen.inverse.fitted_chain import Use

if TYPE_CHECKING:
    import torch

    from stemwright.datagen.inverse.confidence import Errors
    from stemwright.datagen.inverse.solver import Vector


def refined(wet: torch.Tensor, dry: torch.Tensor, sample_rate: int, uses: list[Use], iterations: int) -> tuple[list[Use], Errors]:
    """All settings of a chain together, by least squares on the whitened waveform; and the standard error of each in parts of its range."""
    found, errors, _ = searched(wet, dry, sample_rate, uses, unknowns(uses, dry.shape[0]), iterations)
    return found, errors


def searched(
    wet: torch.Tensor, dry: torch.Tensor, sample_rate: int, uses: list[Use], unknown: Sequence[tuple[int, Range]], iterations: int
) -> tuple[list[Use], Errors, Errors]:
    """Some settings of a chain together: the chain, their standard errors and differences between excerpts, in parts of their ranges."""
    from stemwright.datagen.inverse.solver import SearchLimits, refine

    if not unknown:
        return uses, {}, {}
    taps = whitener(wet)
    goal = lfilter(taps, [1.0], wet.numpy())

    def residual(unit: Vector) -> Vector:
        return np.asarray(lfilter(taps, [1.0], apply_chain(dry, sample_rate, moved(uses, unknown, unit)).numpy()) - goal).ravel()

    found = refine(residual, units(uses, unknown), SearchLimits(iterations, channels=len(dry)))
    places = [(index, field.name) for index, field in unknown]
    errors, differences = (dict(zip(places, values.tolist(), strict=True)) for values in (found.error, found.difference))
    return moved(uses, unknown, found.unit), errors, differences


def moved(uses: Sequence[Use], unknown: Sequence[tuple[int, Range]], unit: Vector) -> list[Use]:
    """The chain with its unknown settings at a point of the unit box."""
    changes: dict[int, dict[str, float]] = {}
    for (index, field), value in zip(unknown, unit, strict=True):
        changes.setdefault(index, {})[field.name] = field.from_unit(float(value))
    return [(name, settings.model_copy(update=changes.get(index, {}))) for index, (name, settings) in enumerate(uses)]


def units(uses: Sequence[Use], unknown: Sequence[tuple[int, Range]]) -> Vector:
    """The point in the unit box of a chain's unknown settings."""
    return np.array([min(max(field.to_unit(getattr(uses[index][1], field.name)), 0.0), 1.0) for index, field in unknown])


def unknowns(uses: Sequence[Use], channels: int, *, heard: bool = False) -> list[tuple[int, Range]]:
    """The settings that can be searched, each with the place of its effect in the chain; ``heard`` leaves out bands without gain."""
    has_fader = any(is_fader(name) for name, _ in uses)
    return [
        (index, field)
        for index, (name, settings) in enumerate(uses)
        for field in searchable(settings, channels)
        if not (field.gain and has_fader and not is_fader(name)) and not (heard and field.name in silent(name, settings))
    ]


def residual_db(wet: torch.Tensor, dry: torch.Tensor, sample_rate: int, uses: Sequence[Use]) -> float:
    """The residual of a chain relative to wet, in dB."""
    return _level_db(apply_chain(dry, sample_rate, uses) - wet, wet)


def _level_db(error: torch.Tensor, reference: torch.Tensor) -> float:
    return 10.0 * math.log10(float(error.square().sum()) / max(float(reference.square().sum()), 1e-30) + 1e-40)


def whitener(signal: torch.Tensor) -> np.ndarray:
    """A short linear predictor of the signal: its residual has a flat spectrum."""
    from stemwright.datagen.inverse.known_dry.response import predictor

    return predictor(signal, order=12, floor_db=-60.0)
