"""Finding the settings of a compressor from a dry and a wet signal, by least squares on the gain between them.

Conventions
    The residual is wet minus gain times dry, with its sign: other sound in wet that is unrelated to dry biases no setting.
    Signals are [C, T] and aligned. A coarse grid over threshold, ratio and times gives the starts; the best of them are refined
    (``stemwright.datagen.inverse.solver``) on an excerpt from the beginning, and the best result on the whole. Peak and RMS detector are
    both tried, and linked or separate channels where the gains of the channels do not decide.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, cast

import numpy as np
import torch

from stemwright.datagen.effects import compressor
from stemwright.datagen.effects.settings import Range, fields
from stemwright.datagen.effects.signal import NotIdentifiableError, pair
from stemwright.datagen.inverse.known_dry.waveform import WaveformFit, confidence_by_name
from stemwright.datagen.inverse.solver import Minimum, SearchLimits, Vector, refine
from stemwright.manifests.progress import OnProgress

Detector = Literal["peak", "rms"]
DETECTORS: tuple[Detector, ...] = ("peak", "rms")
NAMES = ("threshold_db", "ratio", "detector_attack_ms", "detector_release_ms", "attack_ms", "release_ms", "makeup_db")
RANGES = [cast("Range", fields(compressor.Settings)[name]) for name in NAMES]
EXCERPT_S, WHOLE_S = 4.0, 30.0
STARTS = 4
SETTLED = 1e-12  # squared error against energy: -120 dB is no local minimum, other starts need not be tried
SETTLING = 1e-4  # of the squared error: what an iteration removes at least, else the search ends
SMALLEST_SWING = 1e-4  # of the gain, in nepers: below, nothing was compressed


class Effort(NamedTuple):
    """How far a search goes: starts for each kind of detector and link, iterations from each, the detectors that are tried.

    Settings ``near`` are an additional start for every detector; with ``starts`` 0 the only one.
    """

    starts: int = STARTS
    iterations: int = 25
    near: compressor.Settings | None = None
    detectors: Sequence[Detector] = DETECTORS


USUAL = Effort()


class Kind(NamedTuple):
    """The settings that are not numbers."""

    detector: Detector
    linked: bool


@dataclass(frozen=True)
class _Problem:
    """Both signals, [C, T]."""

    dry: torch.Tensor
    wet: np.ndarray
    sample_rate: int

    def residual(self, unit: Vector, kind: Kind, frames: int) -> Vector:
        settings = _settings(unit, kind)
        dry = self.dry[:, :frames]
        gain = compressor.gain_curve(dry, self.sample_rate, settings).numpy() * 10.0 ** (settings.makeup_db / 20.0)
        return np.asarray(gain * dry.numpy() - self.wet[:, :frames]).ravel()


def fit_compressor(wet: torch.Tensor, dry: torch.Tensor, sample_rate: int, *, on_progress: OnProgress | None = None) -> compressor.Settings:
    """The settings that turn dry into wet. Raises NotIdentifiableError if the gain between them never moves."""
    return fit_compression(wet, dry, sample_rate, on_progress=on_progress).settings


def refit_compressor(
    wet: torch.Tensor, dry: torch.Tensor, sample_rate: int, near: compressor.Settings, *, starts: int
) -> compressor.Settings:
    """Like ``fit_compressor``, sooner: from earlier settings if they compress anything, and ``starts`` others for each kind of detector."""
    known = None if near.is_neutral() or near.ratio == 1.0 else near
    return fit_compression(wet, dry, sample_rate, Effort(starts if known else 1, 8, known)).settings


def fit_compression(
    wet: torch.Tensor, dry: torch.Tensor, sample_rate: int, effort: Effort = USUAL, *, on_progress: OnProgress | None = None
) -> WaveformFit[compressor.Settings]:
    """Like ``fit_compressor``, with the error left over and the settings that could not be determined.

    ``on_progress`` is called with (done, total, what) before every search; where one is settled, others are left out.
    """
    wet, dry = (audio[:, : round(WHOLE_S * sample_rate)].contiguous() for audio in pair(wet, dry))
    kinds = [Kind(detector, linked) for detector in effort.detectors for linked in _links(wet, dry)]
    problem = _Problem(dry, wet.numpy(), sample_rate)
    whole = dry.shape[-1]
    frames = min(whole, round(EXCERPT_S * sample_rate))
    energy = float((problem.wet[:, :frames] ** 2).sum())
    best: tuple[float, Kind, Minimum] | None = None
    limits = SearchLimits(effort.iterations, SETTLING, channels=len(dry), errors=False)
    first = [start for each in kinds for start in _starts(problem, each, frames)[: effort.starts]] if effort.starts else []
    near = effort.near
    if near is not None:
        unit = np.array([min(max(field.to_unit(max(getattr(near, field.name), field.low)), 0.0), 1.0) for field in RANGES])
        first += [(-1.0, Kind(detector, near.linked), unit) for detector in effort.detectors]
    steps = itertools.count()
    total = len(first) + len(kinds)

    def report(what: str) -> None:
        if on_progress:
            on_progress(min(next(steps), total - 1), total, what)

    for _, kind, start in sorted(first, key=lambda start: start[0]):
        report("starts")
        found = refine(lambda unit, kind=kind: problem.residual(unit, kind, frames), start, limits)  # type: ignore[misc]
        if best is None or found.cost < best[0]:
            best = (found.cost, kind, found)
        if found.cost < SETTLED * energy:
            break
    assert best is not None
    for other in [kind for kind in kinds if kind != best[1] and effort.starts and best[0] >= SETTLED * energy]:
        report("other detectors")
        # The wrong detector often fits best from the grid; the right one is then found starting from its result.
        found = refine(lambda unit, kind=other: problem.residual(unit, kind, frames), best[2].unit, limits)  # type: ignore[misc]
        best = min(best, (found.cost, other, found), key=lambda one: one[0])
    kind = best[1]
    report("whole")
    whole_limits = limits._replace(iterations=max(effort.iterations, 8), errors=True)
    found = refine(lambda unit: problem.residual(unit, kind, whole), best[2].unit, whole_limits)
    error_db = 10.0 * math.log10(2.0 * found.cost / float((problem.wet**2).sum()) + 1e-40)
    return WaveformFit(_settings(found.unit, kind), error_db, confidence_by_name(RANGES, found.error, found.difference))


def _settings(unit: Vector, kind: Kind) -> compressor.Settings:
    values: dict[str, Any] = {field.name: field.from_unit(float(value)) for field, value in zip(RANGES, unit, strict=True)}
    return compressor.Settings(detector=kind.detector, linked=kind.linked, **values)


def _links(wet: torch.Tensor, dry: torch.Tensor) -> tuple[bool, ...]:
    """Whether the channels may share one gain: yes if theirs are equal, else both are tried. Raises where the gain never moves."""
    loud = dry.abs() > 1e-3 * dry.abs().max()
    gain = torch.where(loud, wet.abs() / dry.abs().clamp(min=1e-12), torch.nan)
    swing = np.nanquantile(np.log(gain.numpy().clip(1e-9)), (0.001, 0.999))
    if swing[1] - swing[0] < SMALLEST_SWING:
        raise NotIdentifiableError(
            "the gain between dry and wet never changes: the compressor never reached its threshold, so its ratio is undetermined"
        )
    both = loud.all(0)
    if len(dry) == 1 or not bool(both.any()):
        return (True,)
    spread = (gain[:, both].amax(0) / gain[:, both].amin(0).clamp(min=1e-9)).log()
    return (True,) if float(spread.quantile(0.9) if len(spread) < 1e6 else spread.mean()) < 0.01 * (swing[1] - swing[0]) else (True, False)


def _starts(problem: _Problem, kind: Kind, frames: int) -> list[tuple[float, Kind, Vector]]:
    """The best points of a coarse grid, with their squared error."""
    dry, wet = problem.dry[:, :frames].numpy(), problem.wet[:, :frames]
    level_db = 20.0 * np.log10(np.abs(dry).max(0) + 1e-9)
    thresholds = np.unique(np.clip(np.quantile(level_db, (0.2, 0.5, 0.75, 0.9)), -79.0, -1.0))
    loud = np.abs(dry) > 0.03 * np.abs(dry).max()
    gain_db = 20.0 * math.log10(float(np.quantile(np.abs(wet[loud] / dry[loud]), 0.98)) + 1e-9)
    makeup_db = min(max(gain_db, -23.0), 35.0)
    scored = []
    for threshold_db, ratio, detector_ms, attack_ms, release_ms in itertools.product(
        thresholds, (2.0, 5.0), (1.0, 10.0), (2.0, 20.0), (30.0, 200.0)
    ):
        values = (threshold_db, ratio, detector_ms, detector_ms, attack_ms, release_ms, makeup_db)
        unit = np.array([field.to_unit(value) for field, value in zip(RANGES, values, strict=True)])
        miss = problem.residual(unit, kind, frames)
        scored.append((float(miss @ miss), kind, unit))
    return sorted(scored, key=lambda start: start[0])[:STARTS]
