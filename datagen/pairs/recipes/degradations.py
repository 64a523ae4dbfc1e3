"""Named degradations: chains of effects with ranges of their own, drawn by weight, at most one of each group.

Conventions
    A degradation is what its ranges say: a setting without a range has its neutral value, but for a seed, which is always drawn.
    Groups are drawn one after another without repetition, each by its weight among those that are left, and then one of the group by its
    weight. An effect without a name of its own is a group of one with a weight of 1.
    With ``relative_to = "peak"`` thresholds, ceilings and drives are those for a sound whose peak is at full scale, and are moved to
    the peak of the stem, or of the mixture, over the track (``effects.scaling.at_level``): before its degradations, since what they do
    to a peak is not known when a pair is planned.
    A band above what the sample rate can represent is left out; a degradation of which nothing is left is not drawn.

References
    Efraimidis and Spirakis 2006, "Weighted random sampling with a reservoir": sampling by one exponential number for each item.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from typing import Annotated, Any, Literal, cast

import numpy as np
from pydantic import Field, model_validator

from stemwright.datagen.effects import EFFECTS
from stemwright.datagen.effects.scaling import at_level
from stemwright.datagen.effects.settings import fields
from stemwright.datagen.pairs.drawing import Channels, EffectRanges, Range, Role, draw_settings, draw_use, effective_ranges, within_rate
from stemwright.datagen.pairs.section import Section, since
from stemwright.manifests.records import EffectUse

Weight = Annotated[float, Field(gt=0.0, le=1000.0)]


class DegradingEffect(Section):
    """One effect of a degradation."""

    effect: str = Field(description="name of the effect", json_schema_extra=since("0.1"))
    ranges: EffectRanges = Field(
        description="ranges of its settings, setting = [low, high] or one value; a setting without one is neutral",
        json_schema_extra=since("0.1"),
    )

    @model_validator(mode="after")
    def _does_something(self) -> DegradingEffect:
        settings_type = EFFECTS[self.effect].Settings  # raises, naming the nearest one
        try:
            values = draw_settings(settings_type, np.random.default_rng(0), self.filled())
        except ValueError as error:  # a wrong name or range
            raise ValueError(f"the effect {self.effect!r}: {error}") from error
        if settings_type(**values).is_neutral():
            raise ValueError(f"the effect {self.effect!r} does nothing: none of its settings has a range; expected at least one")
        return self

    def filled(self) -> dict[str, Range]:
        """The ranges, with the neutral value of every setting that has none but of a seed."""
        neutral = {name: field.neutral for name, field in fields(EFFECTS[self.effect].Settings).items() if name != "seed"}
        return {**neutral, **self.ranges}


class Degradation(Section):
    """A degradation that ``stem_effects``, ``bus_effects`` or ``final_effects`` names, beside effects: a chain with ranges of its own."""

    chain: tuple[DegradingEffect, ...] = Field(
        min_length=1,
        description='effects that it consists of, in their order, each a table {effect = "eq", ranges = {peak1_gain_db = [-6.0, 6.0]}}; a '
        "setting without a range is neutral",
        json_schema_extra=since("0.1"),
    )
    group: str | None = Field(
        None,
        description="group of alternatives that it belongs to: a chain has at most one of each; not given: a group of its own",
        json_schema_extra=since("0.1"),
    )
    weight: Weight = Field(
        1.0,
        description="how often it is drawn, against the others of its group",
        json_schema_extra=since("0.1", unit="weight"),
    )
    relative_to: Literal["full_scale", "peak"] = Field(
        "full_scale",
        description="level that thresholds, ceilings and drives refer to; peak: the peak of the stem or mixture over the track",
        json_schema_extra=since("0.1"),
    )
    sentences: tuple[str, ...] = Field(
        (), description="sentences that ask for its repair, one of which is drawn for the text of a pair", json_schema_extra=since("0.1")
    )

    def stages(self, channels: Channels, sample_rate: int) -> list[tuple[str, Mapping[str, Range]]]:
        """Its effects with their ranges, as far as the channels and the sample rate allow; empty where it cannot be used."""
        if (channels, sample_rate) not in self._prepared:
            self._prepared[channels, sample_rate] = self._stages(channels, sample_rate)
        return self._prepared[channels, sample_rate]

    @cached_property
    def _prepared(self) -> dict[tuple[Channels, int], list[tuple[str, Mapping[str, Range]]]]:
        """Its stages, which are needed for every pair, by channels and sample rate."""
        return {}

    def _stages(self, channels: Channels, sample_rate: int) -> list[tuple[str, Mapping[str, Range]]]:
        if channels != "different" and any("stereo" in EFFECTS[stage.effect].TRAITS for stage in self.chain):
            return []
        fitted = ((stage.effect, within_rate(stage.effect, stage.filled(), sample_rate)) for stage in self.chain)
        return [(effect, effective_ranges(effect, ranges, channels)) for effect, ranges in fitted if ranges is not None]

    def uses(
        self, channels: Channels, sample_rate: int, rng: np.random.Generator, *, role: Role, peak_dbfs: float | None
    ) -> list[EffectUse]:
        """Draws its effects for a sound with a peak, None where levels are absolute."""
        uses = [draw_use(effect, ranges, sample_rate, rng, role=role) for effect, ranges in self.stages(channels, sample_rate)]
        return uses if peak_dbfs is None else [moved(use, round(min(0.0, peak_dbfs), 2)) for use in uses]


def moved(use: EffectUse, gain_db: float) -> EffectUse:
    """The effect for a sound with a gain, a reduction."""
    settings = EFFECTS[use.effect].Settings(**cast("dict[str, Any]", use.settings))
    return EffectUse(effect=use.effect, settings=at_level(use.effect, settings, gain_db).plain(), role=use.role)


def group_of(name: str, degradations: Mapping[str, Degradation]) -> str:
    """The group of an effect or a named degradation: its own name where it has none."""
    return (degradations[name].group or name) if name in degradations else name


def one_of_each_group(
    names: Sequence[str], degradations: Mapping[str, Degradation], group_weights: Mapping[str, float], rng: np.random.Generator
) -> list[str]:
    """One of each group, by its weight, in an order in which each group follows by its weight among those that are left."""
    groups: dict[str, list[str]] = {}
    for name in names:
        groups.setdefault(group_of(name, degradations), []).append(name)
    units = rng.random(len(groups))
    waits = {group: -math.log1p(-unit) / group_weights.get(group, 1.0) for group, unit in zip(groups, units.tolist(), strict=True)}
    return [_one(groups[group], degradations, rng) for group in sorted(groups, key=waits.__getitem__)]


def _one(names: Sequence[str], degradations: Mapping[str, Degradation], rng: np.random.Generator) -> str:
    weights = [degradations[name].weight if name in degradations else 1.0 for name in names]
    return names[0] if len(names) == 1 else names[by_weight(weights, rng)]


def by_weight(weights: Iterable[float], rng: np.random.Generator) -> int:
    """Draws the index of a weight."""
    total = np.cumsum(list(weights))
    return int(np.searchsorted(total[:-1], rng.random() * total[-1], side="right"))


def number_between(counts: tuple[int, int], most: int, rng: np.random.Generator, weights: Sequence[float] = ()) -> int:
    """A number from the fewest to the largest, by its weight if there are weights; as many as there are, at most."""
    fewest, largest = min(counts[0], most), min(counts[1], most)
    if not weights:
        return fewest + int(rng.random() * (largest - fewest + 1))
    return fewest + by_weight(weights[: largest - fewest + 1], rng)
