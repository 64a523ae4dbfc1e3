"""Finding the settings of a compressor from a dry and a wet signal, by least squares on the gain between them.

Conventions
    The gain at a sample is the wet level over the dry level, of the loudest channel where the channels share one gain. Its error is
    weighted by the wet level, so that rounding and noise of a constant level count alike everywhere. Signals are [C, T] and aligned.
    A coarse grid over threshold, ratio and times gives the starts; the best of them are refined (``datagen.effects.refine``) on an
    excerpt from the beginning, and the best result on the whole. Peak and RMS detector are both tried.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import Any, Literal, cast

import numpy as np
import torch

from datagen.effects import compressor
from datagen.effects.refine import Found, Vector, refine
from datagen.effects.setting import Range, fields
from datagen.effects.signal import NotIdentifiableError, pair

Detector = Literal["peak", "rms"]
DETECTORS: tuple[Detector, ...] = ("peak", "rms")
NAMES = ("threshold_db", "ratio", "detector_attack_ms", "detector_release_ms", "attack_ms", "release_ms", "makeup_db")
RANGES = [cast("Range", fields(compressor.Settings)[name]) for name in NAMES]
EXCERPT_S, WHOLE_S = 4.0, 30.0
STARTS = 4
SETTLED = 1e-12  # squared error against energy: -120 dB is no local minimum, other starts need not be tried
UNDETERMINED = 0.05  # standard error of a setting, as a part of its whole range
SMALLEST_SWING = 1e-4  # of the gain, in nepers: below, nothing was compressed


@dataclass(frozen=True)
class Fit:
    """Settings, the residual of the wet level in dB against it, and the names of settings that the audio does not determine."""

    settings: compressor.Settings
    error_db: float
    undetermined: tuple[str, ...]


@dataclass(frozen=True)
class _Problem:
    """Levels [G, T] before and after, and how they are weighted."""

    dry: torch.Tensor
    wet: np.ndarray
    sample_rate: int
    linked: bool

    def residual(self, unit: Vector, detector: Detector, frames: int) -> Vector:
        settings = _settings(unit, detector, self.linked)
        dry = self.dry[:, :frames]
        gain = compressor.gain_curve(dry, self.sample_rate, settings.model_copy(update={"linked": False}))
        level = gain.numpy() * dry.numpy() * 10.0 ** (float(unit_to_value(unit, "makeup_db")) / 20.0)
        return np.asarray(level - self.wet[:, :frames]).ravel()


def fit_compressor(wet: torch.Tensor, dry: torch.Tensor, sample_rate: int) -> compressor.Settings:
    """The settings that turn dry into wet. Raises NotIdentifiableError if the gain between them never moves."""
    return fit_compression(wet, dry, sample_rate).settings


def fit_compression(wet: torch.Tensor, dry: torch.Tensor, sample_rate: int) -> Fit:
    """Like ``fit_compressor``, with the error left over and the settings that could not be determined."""
    wet, dry = (audio[:, : round(WHOLE_S * sample_rate)] for audio in pair(wet, dry))
    problem = _problem(wet, dry, sample_rate)
    whole = problem.dry.shape[-1]
    frames = min(whole, round(EXCERPT_S * sample_rate))
    energy = float((problem.wet[:, :frames] ** 2).sum())
    best: tuple[float, Detector, Found] | None = None
    starts = sorted((start for detector in DETECTORS for start in _starts(problem, detector, frames)), key=lambda start: start[0])
    for _, detector, start in starts:
        found = refine(lambda unit, d=detector: problem.residual(unit, d, frames), start, iterations=25)  # type: ignore[misc]
        if best is None or found.cost < best[0]:
            best = (found.cost, detector, found)
        if found.cost < SETTLED * energy:
            break
    assert best is not None
    detector = best[1]
    found = refine(lambda unit: problem.residual(unit, detector, whole), best[2].unit)
    energy = float((problem.wet**2).sum())
    undetermined = tuple(name for name, error in zip(NAMES, found.error, strict=True) if error > UNDETERMINED)
    return Fit(_settings(found.unit, detector, problem.linked), 10.0 * math.log10(2.0 * found.cost / energy + 1e-40), undetermined)


def unit_to_value(unit: Vector, name: str) -> Any:
    """One unknown in its own unit."""
    index = NAMES.index(name)
    return RANGES[index].from_unit(float(unit[index]))


def _settings(unit: Vector, detector: Detector, linked: bool) -> compressor.Settings:
    values = {name: unit_to_value(unit, name) for name in NAMES}
    return compressor.Settings(detector=detector, linked=linked, **values)


def _problem(wet: torch.Tensor, dry: torch.Tensor, sample_rate: int) -> _Problem:
    """Levels of the channels, or of the loudest one where all channels have the same gain."""
    loud = dry.abs() > 1e-3 * dry.abs().max()
    gain = torch.where(loud, wet.abs() / dry.abs().clamp(min=1e-12), torch.nan)
    swing = np.nanquantile(np.log(gain.numpy().clip(1e-9)), (0.001, 0.999))
    if swing[1] - swing[0] < SMALLEST_SWING:
        raise NotIdentifiableError(
            "the gain between dry and wet never moves: the compressor never reached its threshold, so it has no ratio"
        )
    both = loud.all(0)
    spread = (gain[:, both].amax(0) / gain[:, both].amin(0)).log() if bool(both.any()) else torch.zeros(1)
    linked = len(dry) == 1 or float(spread.square().mean().sqrt()) < 0.02 * (swing[1] - swing[0])
    if linked:
        loudest = dry.abs().argmax(0, keepdim=True)
        dry, wet = dry.gather(0, loudest), wet.gather(0, loudest)
    return _Problem(dry.abs().contiguous(), wet.abs().numpy(), sample_rate, linked)


def _starts(problem: _Problem, detector: Detector, frames: int) -> list[tuple[float, Detector, Vector]]:
    """The best points of a coarse grid, with their squared error."""
    level_db = 20.0 * np.log10(problem.dry[:, :frames].numpy().ravel() + 1e-9)
    thresholds = np.unique(np.clip(np.quantile(level_db, (0.2, 0.5, 0.75, 0.9)), -79.0, -1.0))
    loud = problem.dry[:, :frames].numpy() > 0.03 * float(problem.dry[:, :frames].max())
    gain_db = 20.0 * np.log10(np.quantile(problem.wet[:, :frames][loud] / problem.dry[:, :frames].numpy()[loud], 0.99) + 1e-9)
    makeup_db = float(np.clip(gain_db, -23.0, 35.0))
    scored = []
    for threshold_db, ratio, detector_ms, attack_ms, release_ms in itertools.product(
        thresholds, (2.0, 5.0), (1.0, 10.0), (2.0, 20.0), (30.0, 200.0)
    ):
        values = (threshold_db, ratio, detector_ms, detector_ms, attack_ms, release_ms, makeup_db)
        unit = np.array([field.to_unit(value) for field, value in zip(RANGES, values, strict=True)])
        miss = problem.residual(unit, detector, frames)
        scored.append((float(miss @ miss), detector, unit))
    return sorted(scored, key=lambda start: start[0])[:STARTS]
