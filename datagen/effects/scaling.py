"""The settings of an effect on audio with a gain: the same effect at another level.

    effect(x, s) g = effect(x g, at_level(s, g))        for every effect, settings s and gain g

Conventions
    A gain of the whole signal, such as the one that keeps a peak below full scale, leaves what an effect does as it is only if thresholds,
    ceilings and drives move with it. Which of an effect's settings depend on level is declared with them (``setting(..., level=...)``):
    an absolute one moves by the gain, an inverse one by its negative. An effect for which that is not all has an ``at_level`` of its own.
    Gains are reductions: settings have room in that direction (``setting.LEVEL_ROOM_DB``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from stemwright.datagen.effects import EFFECTS
from stemwright.datagen.effects.settings import EffectSettings, Range, fields

if TYPE_CHECKING:
    from stemwright.manifests.records import EffectUse

SIGNS = {"absolute": 1.0, "inverse": -1.0}


def at_level(effect: str, settings: EffectSettings, gain_db: float) -> EffectSettings:
    """The settings with which an effect does to audio that has a gain what it does with these to audio without.

    Raises ValueError where a setting cannot follow, which is so beyond a reduction of LEVEL_ROOM_DB.
    """
    if not gain_db:
        return settings
    own = getattr(EFFECTS[effect], "at_level", None)
    if own is not None:
        moved = cast("EffectSettings", own(settings, gain_db)).plain()
    else:
        moved = settings.plain()
        for name, field in fields(type(settings)).items():
            if isinstance(field, Range) and field.level and getattr(settings, name) != field.off:
                moved[name] = getattr(settings, name) + SIGNS[field.level] * gain_db
    return type(settings)(**cast("dict[str, Any]", moved))


def written(use: EffectUse, gain_db: float) -> EffectUse:
    """An effect as it is on audio that was written with a gain, with all of its settings: those that a row leaves out are neutral."""
    settings = EFFECTS[use.effect].Settings(**cast("dict[str, Any]", use.settings))
    return use.model_copy(update={"settings": dict(sorted(at_level(use.effect, settings, gain_db).plain().items()))})
