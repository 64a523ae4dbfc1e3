"""Finding the settings of a limiter from a dry and a wet signal.

The ceiling is the level that wet reaches and never exceeds. Look-ahead and release follow from the gain between the signals: the
best of a grid, then the neighbours in whole samples, each with the release that suits it.

Conventions
    The residual is wet minus gain times dry, with its sign. The look-ahead counts in whole samples, so it is found to half a sample.
    Signals are [C, T] and aligned; the first ten seconds are used.
"""

from __future__ import annotations

import itertools
import math

import numpy as np
import torch

from stemwright.datagen.effects import limiter
from stemwright.datagen.effects.settings import range_of
from stemwright.datagen.effects.signal import NotIdentifiableError, pair
from stemwright.datagen.inverse.known_dry.waveform import WaveformFit, fit_waveform

EXCERPT_S = 10.0
AHEAD_MS = (0.0, 0.2, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 7.0, 10.0, 14.0, 20.0)
RELEASES_MS = (5.0, 20.0, 60.0, 150.0, 400.0, 1500.0)
SMALLEST_DB = 0.01  # of gain reduction: below, nothing was limited
FOREIGN_DB = -10.0  # residual above which it is not a limiter


def fit_limiter(wet: torch.Tensor, dry: torch.Tensor, sample_rate: int) -> limiter.Settings:
    """The settings that turn dry into wet. Raises NotIdentifiableError if the ceiling was never reached, or another effect is between."""
    return fit_limiting(wet, dry, sample_rate).settings


def fit_limiting(wet: torch.Tensor, dry: torch.Tensor, sample_rate: int) -> WaveformFit[limiter.Settings]:
    """Like ``fit_limiter``, with the error left over and the settings that could not be determined."""
    wet, dry = (audio[:, : round(EXCERPT_S * sample_rate)].contiguous() for audio in pair(wet, dry))
    loud = dry.abs() > 1e-3 * dry.abs().max()
    gain_db = 20.0 * np.log10((wet[loud].abs() / dry[loud].abs()).numpy().clip(1e-9))
    if float(np.quantile(gain_db, 0.001)) > -SMALLEST_DB:
        raise NotIdentifiableError("wet is nowhere quieter than dry: the limiter never reached its ceiling")
    ceiling_db = range_of(limiter.Settings, "ceiling_db").limited(20.0 * math.log10(float(wet.abs().max()) + 1e-12))
    best: tuple[float, limiter.Settings] | None = None
    for linked in (True, False) if len(dry) > 1 else (True,):
        for ahead_ms, release_ms in itertools.product(AHEAD_MS, RELEASES_MS):
            settings = limiter.Settings(ceiling_db=ceiling_db, release_ms=release_ms, lookahead_ms=ahead_ms, linked=linked)
            best = _better(best, wet, dry, sample_rate, settings)
    assert best is not None
    best = _along(best, wet, dry, sample_rate)
    fit = fit_waveform(limiter.apply, wet, dry, sample_rate, best[1], ("ceiling_db", "release_ms"), iterations=15)
    if fit.error_db > FOREIGN_DB and _gap_db(wet, dry) <= fit.error_db + 3.0:
        raise NotIdentifiableError("no limiter gives the gain between these signals: there is another effect between them")
    return fit


def _along(best: tuple[float, limiter.Settings], wet: torch.Tensor, dry: torch.Tensor, sample_rate: int) -> tuple[float, limiter.Settings]:
    """Look-ahead and release in turns, in steps that halve down to one sample and a hundredth of the release."""
    ahead_range, release_range = (range_of(limiter.Settings, name) for name in ("lookahead_ms", "release_ms"))
    step_ms, factor = 1.0, 1.6
    while step_ms > 0.4 * 1000.0 / sample_rate or factor > 1.002:
        before = best[0]
        settings = best[1]
        for sign, power in ((-1.0, 0.0), (1.0, 0.0), (0.0, -1.0), (0.0, 1.0), (-1.0, -1.0), (1.0, 1.0), (-1.0, 1.0), (1.0, -1.0)):
            # Half a sample aside, rounding would pick either neighbour: whole samples only.
            samples = round((settings.lookahead_ms + sign * step_ms) * sample_rate / 1000.0)
            ahead_ms = ahead_range.limited(1000.0 * samples / sample_rate)
            release_ms = release_range.limited(settings.release_ms * factor**power)
            trial = settings.model_copy(update={"lookahead_ms": ahead_ms, "release_ms": release_ms})
            best = _better(best, wet, dry, sample_rate, trial)
        if best[0] >= before:
            step_ms, factor = max(step_ms / 2.0, 0.39 * 1000.0 / sample_rate), 1.0 + (factor - 1.0) / 2.0
            if step_ms <= 0.4 * 1000.0 / sample_rate and factor <= 1.002:
                break
    return best


def _better(
    best: tuple[float, limiter.Settings] | None, wet: torch.Tensor, dry: torch.Tensor, sample_rate: int, settings: limiter.Settings
) -> tuple[float, limiter.Settings]:
    error = float((limiter.apply(dry, sample_rate, settings) - wet).square().sum())
    return (error, settings) if best is None or error < best[0] else best


def _gap_db(wet: torch.Tensor, dry: torch.Tensor) -> float:
    """The residual of the best constant gain, relative to wet, in dB."""
    gain = (wet * dry).sum() / dry.square().sum()
    return 10.0 * math.log10(float((wet - gain * dry).square().sum() / wet.square().sum().clamp(min=1e-30)) + 1e-40)
