"""``removal``: wet -> dry. One stem twice: with effects that stay and effects to be removed, and with those that stay alone.

Conventions
    The stem is first brought to one loudness, so that a threshold in dB means the same on every song.
    The effects that stay and those to be removed are drawn without repetition and stand in random order; the target keeps that order.
    Settings are drawn uniformly on each setting's own scale, within the effect's ``TYPICAL`` ranges or those of the configuration.

References
    RemFX (Rice et al. 2023): 0 to 4 effects kept on both sides, 0 to 5 removed, order random, level -20 LUFS.
"""

from __future__ import annotations

from typing import Annotated

import numpy as np
from pydantic import Field, model_validator

from datagen.effects import EFFECTS
from datagen.effects.setting import Range as Bounds
from datagen.effects.setting import draw_values, fields
from datagen.recipes.base import Draft, Material, RecipeConfig
from manifests.records import Branch, EffectUse, Refused, Signal

Number = Annotated[float, Field(strict=True)]  # or true and false would be 1 and 0
Range = Number | bool | str | tuple[Number, Number] | tuple[bool | str, ...]  # one value, from .. to, or some of the options

HIGHEST_SHARE = 0.45  # of the sample rate: what a frequency is kept below, since an effect refuses one beyond half of it


class Config(RecipeConfig):
    """The section ``[pairs.removal]``."""

    stems: tuple[str, ...] = Field((), description="stems to draw from; none: all stems of the track")
    effects: tuple[str, ...] = Field(("eq", "compressor", "reverb"), min_length=1, description="effects to draw from")
    kept: tuple[int, int] = Field((0, 1), description="fewest and most effects on both sides")
    removed: tuple[int, int] = Field((1, 2), description="fewest and most effects on the wet side only")
    loudness_lufs: float = Field(-20.0, ge=-70.0, le=0.0, description="of the stem before its effects")
    ranges: dict[str, dict[str, Range]] = Field(
        default_factory=dict, description="[pairs.removal.ranges.EFFECT] setting = [low, high]: instead of the effect's typical range"
    )

    @model_validator(mode="after")
    def _enough_effects(self) -> Config:
        for name, (fewest, most) in (("kept", self.kept), ("removed", self.removed)):
            if not 0 <= fewest <= most:
                raise ValueError(f"{name} must be [fewest, most] with 0 <= fewest <= most; got {[fewest, most]}")
        if self.removed[0] < 1:
            raise ValueError("removed must be at least 1: with none, wet and dry are the same")
        if self.removed[0] + self.kept[0] > len(self.effects):
            raise ValueError(f"{self.removed[0]} removed and {self.kept[0]} kept effects cannot be drawn from {len(self.effects)}")
        if len(set(self.effects)) < len(self.effects):
            raise ValueError(f"effects names one twice: {', '.join(self.effects)}")
        return self

    @model_validator(mode="after")
    def _known_effects(self) -> Config:
        for effect in self.effects:
            if effect not in EFFECTS:
                EFFECTS[effect]  # raises, naming the nearest one
        for effect, ranges in self.ranges.items():
            if effect not in self.effects:
                raise ValueError(f"ranges are given for {effect!r}, which is not among the effects drawn: {', '.join(self.effects)}")
            draw_values(EFFECTS[effect].Settings, np.random.default_rng(0), ranges)  # raises for a wrong name or range
        return self


def draft(material: Material, config: Config, rng: np.random.Generator) -> Draft:
    """Plans one wet/dry pair of a stem that sounds."""
    candidates = [name for name in material.choose(config.stems) if name in material.sounding] or list(material.choose(config.stems)[:1])
    name = candidates[_between(0, len(candidates) - 1, rng)]
    start_frame = material.excerpt(name, rng)
    removed = _between(config.removed[0], min(config.removed[1], len(config.effects) - config.kept[0]), rng)
    kept = _between(config.kept[0], min(config.kept[1], len(config.effects) - removed), rng)
    order = _shuffled(len(config.effects), rng)[: removed + kept]
    stays = set(_shuffled(removed + kept, rng)[:kept])
    level = material.fader_to(name, config.loudness_lufs)
    uses = [_draw(config.effects[index], config, material.sample_rate, rng) for index in order]
    wet = (level, *uses)
    dry = (level, *(use for place, use in enumerate(uses) if place in stays))
    source = material.named[name].id
    return Draft(start_frame, (_signal("wet", source, wet),), (_signal("dry", source, dry),))


def _signal(name: str, source_id: str, chain: tuple[EffectUse, ...]) -> Signal:
    return Signal(name=name, branches=(Branch(source_id=source_id, chain=chain),))


def _draw(effect: str, config: Config, sample_rate: int, rng: np.random.Generator) -> EffectUse:
    settings_type, wanted = EFFECTS[effect].Settings, config.ranges.get(effect, {})
    ranges: dict[str, Range] = {**EFFECTS[effect].TYPICAL, **wanted}
    limit = HIGHEST_SHARE * sample_rate
    for name, field in fields(settings_type).items():
        if not name.endswith("_hz") or not isinstance(field, Bounds) or field.low >= limit:
            continue
        low, high = _ends(ranges.get(name, (field.low, field.high)))
        if high <= limit:
            continue
        if name in wanted:
            raise Refused(f"{effect}.{name} up to {high:g} Hz cannot be held at {sample_rate} Hz; expected at most {limit:g} Hz")
        ranges[name] = (min(low, limit), limit)
        if low >= limit and (gain := name.replace("_hz", "_gain_db")) in fields(settings_type):
            ranges[gain] = 0.0  # the whole band lies beyond what the rate can hold: it does nothing
    return EffectUse(effect=effect, settings=draw_values(settings_type, rng, ranges))


def _ends(wanted: Range) -> tuple[float, float]:
    """From and to of a range of numbers; of a single value, twice the value."""
    return (float(wanted[0]), float(wanted[-1])) if isinstance(wanted, tuple) else (float(wanted), float(wanted))


def _between(fewest: int, most: int, rng: np.random.Generator) -> int:
    return fewest + int(rng.random() * (most - fewest + 1))


def _shuffled(count: int, rng: np.random.Generator) -> list[int]:
    """0 to count - 1 in random order; for a handful five times as fast as numpy's permutation."""
    units = rng.random(count).tolist()
    return sorted(range(count), key=units.__getitem__)
