"""What an effect is to a search for settings: a fader, an equaliser, a threshold, a gain, settings that can be followed.

Nothing here knows an effect by its name. An effect states its traits (``stemwright.datagen.effects.traits``), what each of its settings is
(``stemwright.datagen.effects.settings``), and has the verbs of the tables in ``stemwright.datagen.inverse``: an effect of another package
takes part in fits by what it states.

Conventions
    A use is (effect's name, settings). A gain that several effects share is left to the fader, the first effect that is one.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TypeVar

from stemwright.datagen.effects import EFFECTS
from stemwright.datagen.effects.dsp.nyquist import HIGHEST
from stemwright.datagen.effects.settings import Bound, EffectSettings, Range, effect_name, fields
from stemwright.datagen.effects.traits import Trait

S = TypeVar("S", bound=EffectSettings)


def has(effect: str, trait: Trait) -> bool:
    """Whether an effect has a trait."""
    return trait in EFFECTS[effect].TRAITS


def is_fader(effect: str) -> bool:
    """Whether an effect is a plain gain, which takes over the gains of all others."""
    return has(effect, "level") and not has(effect, "normalising") and bool(gains(EFFECTS[effect].Settings))


def is_equaliser(effect: str) -> bool:
    """Whether an effect's settings can be fitted to a measured response, and have one: verbs ``fit_response`` and ``sections``."""
    return hasattr(EFFECTS[effect], "fit_response") and hasattr(EFFECTS[effect], "sections")


def has_threshold(effect: str) -> bool:
    """Whether an effect's gain follows the level of what exceeds a threshold, as that of a compressor does."""
    return has(effect, "dynamic") and bool(bounds(EFFECTS[effect].Settings, "threshold"))


def shares_levels(effect: str) -> bool:
    """Whether a level that bands of an equaliser share could as well be this effect's."""
    return has(effect, "level") or has(effect, "dynamic")


def gains(settings_type: type[EffectSettings]) -> list[Range]:
    """The settings that are gains after all else that the effect does."""
    return [field for field in fields(settings_type).values() if isinstance(field, Range) and field.gain]


def bounds(settings_type: type[EffectSettings], kind: Bound) -> list[Range]:
    """The settings that are thresholds, or ceilings."""
    return [field for field in fields(settings_type).values() if isinstance(field, Range) and field.bound == kind]


def searchable(settings: EffectSettings, channels: int) -> list[Range]:
    """The settings of an effect that a search can follow: numbers that are not off and do not move the audio in steps.

    A coder has none, nor has noise that only its seed, which no search finds, would bring near.
    """
    name = effect_name(type(settings))
    if has(name, "coded") or (has(name, "stochastic") and not hasattr(EFFECTS[name], "fit")):
        return []
    found = [field for field in fields(type(settings)).values() if isinstance(field, Range)]
    return [
        field
        for field in found
        if field.continuous and getattr(settings, field.name) != field.off and not (field.needs == "stereo" and channels != 2)
    ]


def silent(effect: str, settings: EffectSettings) -> frozenset[str]:
    """The settings that make no difference, since they are those of a band without gain."""
    bands = getattr(EFFECTS[effect], "BANDS", ())
    off = [band for band in bands if getattr(settings, f"{band}_gain_db", 1.0) == 0.0]
    return frozenset(name for name in fields(type(settings)) if any(name.startswith(f"{band}_") for band in off))


def below_half_rate(uses: Iterable[tuple[str, EffectSettings]], sample_rate: int) -> list[tuple[str, EffectSettings]]:
    """The chain with all frequencies of filters below half the sample rate, as a search heard them."""
    limited = []
    for name, settings in uses:
        own = fields(type(settings)).values() if has(name, "filter") else ()
        high = [each.name for each in own if isinstance(each, Range) and each.unit == "Hz"]
        changes = {each: HIGHEST * sample_rate for each in high if sample_rate / 2.0 <= getattr(settings, each) < math.inf}
        limited.append((name, settings.model_copy(update=changes) if changes else settings))
    return limited


def moved_by(settings: S, moving: Iterable[Range], amount: float) -> S:
    """The settings with some of them changed by an amount in their unit, each within its range."""
    return settings.model_copy(update={field.name: field.limited(float(getattr(settings, field.name)) + amount) for field in moving})


def with_gain(settings: S, gain_db: float) -> S:
    """The settings of a fader at a gain in dB, as far as it goes."""
    first, *others = gains(type(settings))
    return settings.model_copy(update={first.name: first.limited(gain_db), **{field.name: 0.0 for field in others}})


def usual(name: str) -> EffectSettings:
    """An effect in the middle of what is typical of it."""
    typical = EFFECTS[name].TYPICAL
    declared = fields(EFFECTS[name].Settings).values()
    drawn = [each for each in declared if isinstance(each, Range) and isinstance(typical.get(each.name), tuple)]
    return EFFECTS[name].Settings(**{each.name: typical_value(name, each, 0.5) for each in drawn})


def typical_value(effect: str, setting: Range, part: float) -> float:
    """The value of a setting at a part of its typical range, along its scale."""
    low, high = (setting.to_unit(float(value)) for value in EFFECTS[effect].TYPICAL[setting.name][:2])
    return float(setting.from_unit((1.0 - part) * low + part * high))
