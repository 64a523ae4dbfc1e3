"""Starts for the settings of a chain: each effect by its own fit, between the others as far as they are known.

What lies before an effect is applied to dry, what lies after it is taken off wet; then its own ``fit`` does the rest, and the next
effect has a better idea of both. A filter behind or before a compressor cannot be measured as it stands, since the gain moves with the
music: at first the moving gain is taken from short spectra of both signals, and divided out.

Conventions
    Audio is a torch tensor, float64 [C, T]. A use is (effect's name, settings). A gain that two effects share (make-up and fader) is
    left to the fader; the level of an equaliser with a level behind it is free while its bands are searched.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from stemwright.datagen.effects import EFFECTS, apply_chain
from stemwright.datagen.effects.settings import EffectSettings
from stemwright.datagen.inverse.effect_roles import bounds, gains, has, is_equaliser, is_fader, moved_by, shares_levels, usual, with_gain
from stemwright.datagen.inverse.fitted_chain import Use

if TYPE_CHECKING:
    import torch

WINDOW = 1024  # samples within which a gain is assumed constant
BLUR_DB = 0.2  # of a response, after a first estimate of the gain
LIMIT_DB = 24.0  # of a moving gain


def start(wet: torch.Tensor, dry: torch.Tensor, sample_rate: int, names: Sequence[str]) -> list[Use]:
    """A first estimate of every effect: filters and levels, then what changes with level or time."""
    uses: list[Use] = [(name, _unfitted(name)) for name in names]
    still = _without_swing(wet, dry, names)
    order = sorted(range(len(names)), key=lambda index: _rank(names[index]))
    for index in order:
        target = still if has(names[index], "filter") else wet
        uses = fitted(target, dry, sample_rate, uses, index, rounds=2)
    return with_one_gain(uses)


def _unfitted(effect: str) -> EffectSettings:
    """Neutral settings; of an effect without a fit typical ones, since a neutral effect may have no derivatives for a search to follow."""
    return EFFECTS[effect].Settings() if hasattr(EFFECTS[effect], "fit") or is_fader(effect) or is_equaliser(effect) else usual(effect)


def _rank(effect: str) -> int:
    """Filters first, then what only weighs the channels, then all that changes with level or time."""
    traits = EFFECTS[effect].TRAITS
    if "filter" in traits:
        return 0
    return 1 if {"linear", "time-invariant"} <= traits and "late" not in traits else 2


def again(wet: torch.Tensor, dry: torch.Tensor, sample_rate: int, uses: list[Use], *, starts: int = 1) -> list[Use]:
    """Every effect fitted once more, given the others. ``starts`` is that of the compressor's search."""
    for index in range(len(uses)):
        uses = with_one_gain(fitted(wet, dry, sample_rate, uses, index, rounds=6, starts=starts))
    return uses


def with_one_gain(uses: list[Use]) -> list[Use]:
    """The same chain with all gains after an effect, such as make-up, moved into its fader, if it has one."""
    faders = [index for index, (name, _) in enumerate(uses) if is_fader(name)]
    if not faders:
        return uses
    gain_db = sum(settings.final_gain_db() for name, settings in uses if not is_fader(name))
    moved = [(name, settings if is_fader(name) else _without_gain(settings)) for name, settings in uses]
    name, fader = moved[faders[0]]
    moved[faders[0]] = (name, with_gain(fader, fader.final_gain_db() + gain_db))
    return moved


def _without_gain(settings: EffectSettings) -> EffectSettings:
    return settings.model_copy(update={field.name: 0.0 for field in gains(type(settings))})


def undone(wet: torch.Tensor, sample_rate: int, uses: Sequence[Use], inputs: Sequence[torch.Tensor], first: int) -> torch.Tensor:
    """Wet without the effects from ``first`` on, as far as they can be taken off. ``inputs`` are the estimated inputs of each effect.

    A moving gain is divided out and a reverberation subtracted as they follow from the inputs: their inverses would accumulate the
    errors of the settings.
    """
    for (name, settings), source in reversed(list(zip(uses, inputs, strict=True))[first:]):
        effect: Any = EFFECTS[name]
        if settings.is_neutral():
            continue
        if has(name, "dynamic"):
            wet = wet / (effect.gain_curve(source, sample_rate, settings) * 10.0 ** (settings.final_gain_db() / 20.0))
        elif has(name, "stochastic"):
            wet = wet - (effect.apply(source, sample_rate, settings) - source)
        elif hasattr(effect, "invert"):
            try:
                wet = effect.invert(wet, sample_rate, settings)
            except ValueError:
                continue
    return wet


def _with(uses: list[Use], index: int, settings: EffectSettings) -> list[Use]:
    return [*uses[:index], (uses[index][0], settings), *uses[index + 1 :]]


def fitted(
    wet: torch.Tensor, dry: torch.Tensor, sample_rate: int, uses: list[Use], index: int, *, rounds: int, starts: int = 1
) -> list[Use]:
    """The chain with one of its effects refitted on its own; unchanged if the audio does not determine it."""
    inputs = [dry]
    for use in uses:
        inputs.append(apply_chain(inputs[-1], sample_rate, [use]))
    target = undone(wet, sample_rate, uses, inputs[:-1], index + 1)
    return fitted_between(target, inputs[index], sample_rate, uses, index, rounds=rounds, starts=starts)


def fitted_between(
    after: torch.Tensor, before: torch.Tensor, sample_rate: int, uses: list[Use], index: int, *, rounds: int, starts: int = 1
) -> list[Use]:
    """The same where the audio before and after that effect is known."""
    name, settings = uses[index]
    try:
        effect: Any = EFFECTS[name]
        if is_equaliser(name):
            return _equalised(after, before, sample_rate, uses, index, rounds)
        if hasattr(effect, "refit"):
            return _with(uses, index, effect.refit(after, before, sample_rate, settings, starts=starts))
        return _with(uses, index, effect.fit(after, before, sample_rate)) if hasattr(effect, "fit") else uses
    except ValueError:  # NotIdentifiableError among them: the joint search may still find it
        return uses


def _equalised(wet: torch.Tensor, dry: torch.Tensor, sample_rate: int, uses: list[Use], index: int, rounds: int) -> list[Use]:
    """The chain with a new equaliser; a level that its bands lack goes to an effect that has one."""
    from stemwright.datagen.effects.dsp.biquads import response
    from stemwright.datagen.inverse.known_dry.response import measure_response, whiten

    name, settings = uses[index]
    effect: Any = EFFECTS[name]
    near = None if settings.is_neutral() else settings
    level_free = any(shares_levels(name) for name, _ in uses)
    measured = measure_response(*whiten(wet, dry), sample_rate)
    if any(has(name, "dynamic") for name, _ in uses):
        # The error of a half-known gain is the same at all frequencies: coherence does not show it.
        measured = replace(measured, error_db=np.hypot(measured.error_db, BLUR_DB if near is None else BLUR_DB / 10.0))
    found = effect.fit_response(measured, sample_rate, near=near, rounds=rounds, level_free=level_free)
    uses = _with(uses, index, found)
    if not level_free:
        return uses
    miss = measured.gain / response(effect.sections(found, sample_rate), measured.hz, sample_rate)
    level_db = float(np.average(20.0 * np.log10(np.abs(miss) + 1e-9), weights=1.0 / (measured.error_db**2 + 0.01)))
    return shifted(uses, index, level_db)


def shifted(uses: list[Use], index: int, level_db: float) -> list[Use]:
    """The chain whose equaliser at ``index`` lost a level: thresholds after it fall, up to the first gain, which compensates."""
    moved, given = list(uses), False
    for place, (name, settings) in enumerate(uses):
        if given or (settings.is_neutral() and not is_fader(name)):
            continue
        changed = moved_by(settings, bounds(type(settings), "threshold"), -level_db) if place > index else settings
        if final := gains(type(settings)):
            changed, given = moved_by(changed, final[:1], level_db), True
        moved[place] = (name, changed)
    return with_one_gain(moved)


def _without_swing(wet: torch.Tensor, dry: torch.Tensor, names: Sequence[str]) -> torch.Tensor:
    """Wet without the gain that moves with the music, where the chain has both filters and dynamics."""
    if any(has(name, "filter") for name in names) and any(has(name, "dynamic") for name in names):
        return wet / swing(wet, dry)
    return wet


def swing(wet: torch.Tensor, dry: torch.Tensor) -> torch.Tensor:
    """The gain [C, T] between two signals as far as it moves: near one on average.

    In dB the spectra differ by a part that depends on frequency alone, the filters, and one that depends on time alone, the gain; each
    is the median of what the other leaves, over the places where dry is not far below its mean at that frequency.
    """
    import torch

    window = torch.hann_window(WINDOW, dtype=torch.float64)
    hop = WINDOW // 4
    power_wet, power = (
        torch.stft(audio, WINDOW, hop, window=window, center=True, return_complex=True).abs().square().numpy() for audio in (wet, dry)
    )
    mean = power.mean((0, 2), keepdims=True)
    audible = (power > 0.03 * mean) & (mean > 1e-10 * mean.max()) & (power_wet > 0.0)
    level_db = np.where(audible, 10.0 * np.log10(np.maximum(power_wet, 1e-30) / np.maximum(power, 1e-30)), np.nan)
    audible_at = audible.sum(1) >= 8
    gain_db = np.zeros((len(wet), power.shape[-1]))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a frequency that is never audible has no median
        for _ in range(4):
            filter_db = np.nanmedian(level_db - gain_db[:, None], axis=(0, 2), keepdims=True)
            gain_db = np.where(audible_at, np.nanmedian(level_db - filter_db, axis=1), np.nan)
            gain_db -= np.nanmedian(gain_db)
            gain_db = np.stack([_filled(row) for row in gain_db])
    at = np.arange(wet.shape[-1]) / hop
    rows = [np.interp(at, np.arange(len(row)), row) for row in gain_db.clip(-LIMIT_DB, LIMIT_DB)]
    return torch.from_numpy(10.0 ** (np.stack(rows) / 20.0))


def _filled(row: np.ndarray) -> np.ndarray:
    """A row whose gaps are bridged by straight lines; zeros if nothing is known."""
    known = np.flatnonzero(np.isfinite(row))
    return np.interp(np.arange(len(row)), known, row[known]) if len(known) else np.zeros_like(row)
