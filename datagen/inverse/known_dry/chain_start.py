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
from stemwright.datagen.effects.traits import Trait
from stemwright.datagen.inverse.fitted_chain import Use

if TYPE_CHECKING:
    import torch

WINDOW = 1024  # samples within which a gain is assumed constant
BLUR_DB = 0.2  # of a response, after a first estimate of the gain
LIMIT_DB = 24.0  # of a moving gain


def start(wet: torch.Tensor, dry: torch.Tensor, sample_rate: int, names: Sequence[str], fader: Any = None) -> list[Use]:
    """A first estimate of every effect: filters and levels, then what changes with level or time. ``fader`` is kept where it is given."""
    uses: list[Use] = [(name, EFFECTS[name].Settings()) for name in names]
    if fader is not None:
        uses = [(name, fader if name == "fader" else settings) for name, settings in uses]
    still = _without_swing(wet, dry, names)
    order = sorted(range(len(names)), key=lambda index: _rank(names[index]))
    for index in order:
        if names[index] == "fader" and fader is not None:
            continue
        target = still if has(names[index], "filter") else wet
        uses = _fitted(target, dry, sample_rate, uses, index, rounds=2)
    return with_one_gain(uses)


def has(effect: str, trait: Trait) -> bool:
    """Whether an effect has a trait."""
    return trait in EFFECTS[effect].TRAITS


def shares_levels(effect: str) -> bool:
    """Whether a level that bands of an equaliser share could as well be this effect's."""
    return has(effect, "level") or has(effect, "dynamic")


def _rank(effect: str) -> int:
    """Filters first, then what only weighs the channels, then all that changes with level or time."""
    traits = EFFECTS[effect].TRAITS
    if "filter" in traits:
        return 0
    return 1 if {"linear", "time-invariant"} <= traits and "late" not in traits else 2


def again(wet: torch.Tensor, dry: torch.Tensor, sample_rate: int, uses: list[Use], *, starts: int = 1) -> list[Use]:
    """Every effect fitted once more, given the others. ``starts`` is that of the compressor's search."""
    for index in range(len(uses)):
        uses = with_one_gain(_fitted(wet, dry, sample_rate, uses, index, rounds=6, starts=starts))
    return uses


def with_one_gain(uses: list[Use]) -> list[Use]:
    """The same chain with the make-up of its compressors moved into its fader, if it has one."""
    faders = [index for index, (name, _) in enumerate(uses) if name == "fader"]
    if not faders:
        return uses
    makeup_db = sum(float(settings.makeup_db) for name, settings in uses if name == "compressor")  # type: ignore[attr-defined, misc]
    moved = [(name, settings.model_copy(update={"makeup_db": 0.0}) if name == "compressor" else settings) for name, settings in uses]
    name, fader = moved[faders[0]]
    gain_db = min(max(float(fader.gain_db) + makeup_db, -48.0), 24.0)  # type: ignore[attr-defined]
    moved[faders[0]] = (name, fader.model_copy(update={"gain_db": gain_db}))
    return moved


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


def _fitted(
    wet: torch.Tensor, dry: torch.Tensor, sample_rate: int, uses: list[Use], index: int, *, rounds: int, starts: int = 1
) -> list[Use]:
    """The chain with one of its effects refitted on its own; unchanged if the audio does not determine it."""
    inputs = [dry]
    for use in uses:
        inputs.append(apply_chain(inputs[-1], sample_rate, [use]))
    name, settings = uses[index]
    target = undone(wet, sample_rate, uses, inputs[:-1], index + 1)
    try:
        if name == "eq":
            return _equalised(target, inputs[index], sample_rate, uses, index, rounds)
        if name == "compressor":
            from stemwright.datagen.inverse.known_dry.fit_compressor import Effort, fit_compression

            near = _known(settings)
            fit = fit_compression(target, inputs[index], sample_rate, Effort(starts if near else 1, 8, near))
            return _with(uses, index, fit.settings)
        effect: Any = EFFECTS[name]
        return _with(uses, index, effect.fit(target, inputs[index], sample_rate)) if hasattr(effect, "fit") else uses
    except ValueError:  # NotIdentifiableError among them: the joint search may still find it
        return uses


def _known(settings: Any) -> Any:
    return None if settings.is_neutral() or settings.ratio == 1.0 else settings


def _equalised(wet: torch.Tensor, dry: torch.Tensor, sample_rate: int, uses: list[Use], index: int, rounds: int) -> list[Use]:
    """The chain with a new equaliser; a level that its bands lack goes to an effect that has one."""
    from stemwright.datagen.effects import eq
    from stemwright.datagen.effects.dsp.biquads import response
    from stemwright.datagen.inverse.known_dry.fit_eq import fit_response
    from stemwright.datagen.inverse.known_dry.response import measure_response, whiten

    settings: Any = uses[index][1]
    near = None if settings.is_neutral() else settings
    level_free = any(shares_levels(name) for name, _ in uses)
    measured = measure_response(*whiten(wet, dry), sample_rate)
    if any(has(name, "dynamic") for name, _ in uses):
        # The error of a half-known gain is the same at all frequencies: coherence does not show it.
        measured = replace(measured, error_db=np.hypot(measured.error_db, BLUR_DB if near is None else BLUR_DB / 10.0))
    found = fit_response(measured, sample_rate, near=near, rounds=rounds, level_free=level_free)
    uses = _with(uses, index, found)
    if not level_free:
        return uses
    miss = measured.gain / response(eq.sections(found, sample_rate), measured.hz, sample_rate)
    level_db = float(np.average(20.0 * np.log10(np.abs(miss) + 1e-9), weights=1.0 / (measured.error_db**2 + 0.01)))
    return _shifted(uses, index, level_db)


def _shifted(uses: list[Use], index: int, level_db: float) -> list[Use]:
    """The chain whose equaliser at ``index`` lost a level: compressors after it get a lower input, and the first gain there compensates."""
    moved, given = list(uses), False
    for place, (name, settings) in enumerate(uses):
        values: Any = settings
        changes: dict[str, float] = {}
        if name == "compressor" and not settings.is_neutral():
            if place > index and not given:
                changes["threshold_db"] = min(max(values.threshold_db - level_db, -80.0), 0.0)
            if not given:
                changes["makeup_db"] = min(max(values.makeup_db + level_db, -24.0), 36.0)
                given = True
        elif name == "fader" and not given:
            changes["gain_db"] = min(max(values.gain_db + level_db, -48.0), 24.0)
            given = True
        moved[place] = (name, settings.model_copy(update=changes))
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
