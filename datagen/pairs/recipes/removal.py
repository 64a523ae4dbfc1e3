"""``removal``: wet -> dry. One stem twice: with effects that stay and effects to be removed, and with those that stay alone.

Conventions
    The stem is first brought to one loudness, so that a threshold in dB means the same on every song: by a fader that planning knows, or,
    with ``level_after_each``, by the effect ``loudness`` on the excerpt itself, there and after every effect.
    The effects that are kept on both sides and those that are removed are drawn without repetition and are in random order, or the kept
    ones first; the target keeps that order. Each use says which it is (``EffectUse.role``).
    Settings are drawn uniformly on each setting's own scale, within the effect's ``TYPICAL`` ranges or those of the configuration. A
    setting may also follow from another: ``dry = "2 - 2 wet"``. A typical threshold that the stem would not reach is drawn lower.
    A pair whose sides sound alike when they are rendered, or in which a removed effect does nothing by itself, is drawn again
    (``stemwright.datagen.pairs.audibility``).
    A preset fills in what the section leaves out. ``remfx`` and those that begin with it are the published data (``recipes.remfx``); their
    excerpts of 262,144 samples at 48 kHz are taken for all kinds of pairs unless others are given. ``wide`` draws from every effect that
    can be heard in one stem, at least as strongly.

References
    RemFX (Rice et al. 2023), see ``stemwright.datagen.pairs.recipes.remfx``.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Sequence
from itertools import chain
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field, model_validator

from stemwright.datagen.effects import EFFECTS
from stemwright.datagen.pairs.drawing import (
    FLAT_CREST_DB,
    Channels,
    Range,
    Ranges,
    Role,
    draw_settings,
    draw_use,
    effective_ranges,
    reached_ranges,
)
from stemwright.datagen.pairs.recipes import remfx
from stemwright.datagen.pairs.recipes.base import Draft, RecipeConfig, Shape, TrackMaterial, min_change_field, with_preset
from stemwright.datagen.pairs.section import since
from stemwright.manifests.pair_records import Branch, Signal
from stemwright.manifests.records import EffectUse, Refused

PRESETS: dict[str, dict[str, Any]] = {
    **remfx.PRESETS,
    "wide": {
        # All but fader and loudness, which only change the level.
        "effects": (
            *("eq", "lowpass", "highpass", "compressor", "limiter", "clip"),
            *("distortion", "reverb", "room", "delay", "chorus", "width"),
        ),
        "kept": (0, 4),
        "removed": (1, 5),
        "level_after_each": True,
    },
}

Count = Annotated[int, Field(ge=0, le=64)]  # of effects in one chain


class Config(RecipeConfig):
    """The section ``[pairs.removal]``: a stem with effects and the same stem without them."""

    preset: str | None = Field(
        None, description="named setup that fills in the keys that are not given: " + ", ".join(PRESETS), json_schema_extra=since("0.1")
    )
    stems: tuple[str, ...] = Field(
        (), description="names of the stems that pairs are drawn from; empty: all stems of the track", json_schema_extra=since("0.1")
    )
    effects: tuple[str, ...] = Field(
        ("eq", "compressor", "reverb"),
        min_length=1,
        description="effects that the removed ones are drawn from",
        json_schema_extra=since("0.1"),
    )
    kept_effects: tuple[str, ...] = Field(
        (),
        description="effects that the kept ones (in both wet and dry) are drawn from; empty: the same as effects",
        json_schema_extra=since("0.1"),
    )
    kept_first: bool = Field(
        False,
        description="true: kept effects come before removed ones in the chain; false: random order",
        json_schema_extra=since("0.1"),
    )
    counts: Literal["uniform", "rounded"] = Field(
        "uniform",
        description="how the numbers of kept and removed effects are drawn; uniform: each number is equally likely; rounded: a "
        "real number drawn uniformly is rounded, so the smallest and the largest number are half as likely, and a draw "
        "without removed effects is repeated",
        json_schema_extra=since("0.1"),
    )
    kept: tuple[Count, Count] = Field(
        (0, 1),
        description="smallest and largest number of kept effects, which are in both wet and dry",
        json_schema_extra=since("0.1", unit="effects"),
    )
    removed: tuple[Count, Count] = Field(
        (1, 2),
        description="smallest and largest number of effects to remove, which are in the wet signal only",
        json_schema_extra=since("0.1", unit="effects"),
    )
    loudness_lufs: float = Field(
        -20.0,
        ge=-70.0,
        le=0.0,
        description="integrated loudness that the stem is brought to before its effects",
        json_schema_extra=since("0.1", unit="LUFS"),
    )
    level_after_each: bool = Field(
        False, description="true: bring the excerpt back to loudness_lufs after every effect", json_schema_extra=since("0.1")
    )
    mono: bool = Field(False, description="true: mix each stem down to mono, the mean of its channels", json_schema_extra=since("0.1"))
    min_change_db: float = min_change_field()
    redraw_below: float = Field(
        1e-3,
        ge=0.0,
        le=10.0,
        description="a pair is drawn again if the MR-STFT distance of wet and dry is below this; 0: never",
        json_schema_extra=since("0.1", unit="MR-STFT distance"),
    )
    ranges: Ranges = Field(
        default_factory=dict,
        description="ranges that settings of an effect are drawn from, instead of its typical ranges: a table "
        "[pairs.removal.ranges.EFFECT] with lines setting = [low, high]",
        json_schema_extra=since("0.1"),
    )

    @model_validator(mode="before")
    @classmethod
    def _preset(cls, values: Any) -> Any:
        name = values.get("preset") if isinstance(values, dict) else None
        if isinstance(name, str) and name not in PRESETS:
            near = difflib.get_close_matches(name, PRESETS, n=1, cutoff=0.0)[0]
            raise ValueError(f"preset: there is none with the name {name!r}; did you mean {near!r}? The presets are {', '.join(PRESETS)}")
        preset = PRESETS[name] if isinstance(name, str) else {}
        drawn = [effect for key in ("effects", "kept_effects") for effect in values.get(key, preset.get(key, ()))] if preset else []
        ranges = {effect: ranges for effect, ranges in preset.get("ranges", {}).items() if effect in drawn}
        return with_preset(values, {values["preset"]: {**preset, "ranges": ranges}}) if preset else values

    @model_validator(mode="after")
    def _enough_effects(self) -> Config:
        for name, (fewest, most) in (("kept", self.kept), ("removed", self.removed)):
            if fewest > most:
                raise ValueError(f"{name}: expected [fewest, most] with fewest <= most; got {[fewest, most]}")
        if self.removed[0] < 1 and not (self.counts == "rounded" and self.removed[1] >= 1):
            raise ValueError(f"removed: expected at least 1, since with none wet and dry are the same; got {list(self.removed)}")
        for name, effects in (("effects", self.effects), ("kept_effects", self.kept_effects)):
            if len(set(effects)) < len(effects):
                raise ValueError(f"{name}: expected each effect once; got {', '.join(effects)}")
        if not _fits(self, self.effects):
            raise ValueError(f"{self.removed[0]} removed and {self.kept[0]} kept effects cannot be drawn from {len(self.all_effects)}")
        return self

    @property
    def all_effects(self) -> tuple[str, ...]:
        """Every effect that may be drawn, to be removed or kept."""
        return tuple(dict.fromkeys((*self.effects, *self.kept_effects)))

    @property
    def shape(self) -> Shape | None:
        """The excerpts that the preset was published with."""
        return remfx.SHAPE if self.preset in remfx.PRESETS else None

    @property
    def is_float(self) -> bool:
        """Whether the preset is RemFX's, whose files are 32-bit float."""
        return self.preset in remfx.PRESETS

    @model_validator(mode="after")
    def _known_effects(self) -> Config:
        for effect in self.all_effects:
            if effect not in EFFECTS:
                EFFECTS[effect]  # raises, naming the nearest one
        for effect, ranges in self.ranges.items():
            if effect not in self.all_effects:
                raise ValueError(f"ranges: {effect!r} is not among the effects drawn: {', '.join(self.all_effects)}")
            known = {**EFFECTS[effect].TYPICAL, **ranges}
            try:
                draw_settings(EFFECTS[effect].Settings, np.random.default_rng(0), known)
            except ValueError as error:  # a wrong name or range
                raise ValueError(f"[pairs.removal.ranges.{effect}]: {error}") from error
        return self


def draft(material: TrackMaterial, config: Config, rng: np.random.Generator) -> Draft:
    """Plans one wet/dry pair of a stem that sounds."""
    candidates = [name for name in material.choose(config.stems) if name in material.sounding] or list(material.choose(config.stems)[:1])
    name = candidates[_between(0, len(candidates) - 1, rng)]
    start_frame = material.excerpt(name, rng)
    channels = material.channels_of(name, mono=config.mono)
    effects = config.effects if channels == "different" else tuple(filter(_works_on_mono, config.effects))
    if not _fits(config, effects):
        raise Refused(
            f"the stem {name!r} is {'mono' if channels == 'one' else 'the same in both channels'}; "
            f"of {', '.join(config.effects)} too few can be used on it"
        )
    uses = _uses(material, config, name, _order(config, effects, channels, rng), rng)
    level = _level(config) if config.level_after_each else material.fader_to(name, config.loudness_lufs)
    after_each = (level,) if config.level_after_each else ()
    wet = (level, *chain.from_iterable((use, *after_each) for use in uses))
    dry = (level, *chain.from_iterable((use, *after_each) for use in uses if use.role == "kept"))
    source = Branch(source_id=material.named[name].id, channels="mono" if config.mono else "all")
    return Draft(
        start_frame,
        (_signal("wet", source, wet),),
        (_signal("dry", source, dry),),
        redraw_below=config.redraw_below,
        min_change_db=config.min_change_db,
    )


def _fits(config: Config, effects: Sequence[str]) -> bool:
    """Whether the fewest effects that are to be removed and kept can be drawn."""
    to_keep = set(config.kept_effects or effects)
    most_kept = len(to_keep - set(effects)) + max(0, len(to_keep & set(effects)) - max(1, config.removed[0]))
    return len(effects) >= max(1, config.removed[0]) and most_kept >= config.kept[0]


def _order(config: Config, effects: Sequence[str], channels: Channels, rng: np.random.Generator) -> list[tuple[str, Role]]:
    """The effects in the order of the chain, each kept or removed."""
    to_keep = [each for each in config.kept_effects or effects if channels == "different" or _works_on_mono(each)]
    spare = len(set(to_keep) - set(effects))  # kept ones that are never removed
    most = min(config.removed[1], len(effects) - max(0, config.kept[0] - spare))
    removed = _count(config, config.removed[0], most, rng)
    while not removed:
        removed = _count(config, config.removed[0], most, rng)
    chosen = [effects[index] for index in _shuffled(len(effects), rng)[:removed]]
    left = [effect for effect in to_keep if effect not in chosen]
    kept = [left[index] for index in _shuffled(len(left), rng)[: _count(config, config.kept[0], min(config.kept[1], len(left)), rng)]]
    order: list[tuple[str, Role]] = [*((effect, "kept") for effect in kept), *((effect, "removed") for effect in chosen)]
    return order if config.kept_first else [order[index] for index in _shuffled(len(order), rng)]


def _uses(
    material: TrackMaterial, config: Config, name: str, order: Sequence[tuple[str, Role]], rng: np.random.Generator
) -> list[EffectUse]:
    """The effects with their settings."""
    channels, uses, flat = material.channels_of(name, mono=config.mono), [], False
    for effect, role in order:
        wanted = {**_reached(effect, material, config, name, flat=flat), **config.ranges.get(effect, {})}
        use = draw_use(effect, effective_ranges(effect, wanted, channels), material.sample_rate, rng, role=role)
        if config.preset in remfx.PRESETS:
            use = use.model_copy(update={"settings": remfx.as_published(effect, use.settings, material.sample_rate)})
        uses.append(use)
        flat = flat or "flattening" in EFFECTS[effect].TRAITS
    return uses


def _reached(effect: str, material: TrackMaterial, config: Config, name: str, *, flat: bool) -> dict[str, Range]:
    """The typical range of a threshold, lowered to where the stem reaches it at the level that it is brought to; {} of another setting.

    The excerpt's own crest only rendering knows; that of the track says which thresholds no excerpt of it will reach.
    """
    crest_db = material.crest_db(name)
    return {} if crest_db is None else reached_ranges(effect, config.loudness_lufs + (min(crest_db, FLAT_CREST_DB) if flat else crest_db))


def _works_on_mono(effect: str) -> bool:
    """Whether an effect does anything where the channels are equal."""
    return "stereo" not in EFFECTS[effect].TRAITS


def _level(config: Config) -> EffectUse:
    return EffectUse(effect="loudness", settings={"target_db": config.loudness_lufs, "measure": "lufs"})


def _signal(name: str, source: Branch, uses: tuple[EffectUse, ...]) -> Signal:
    return Signal(name=name, branches=(source.model_copy(update={"chain": uses}),))


def _between(fewest: int, most: int, rng: np.random.Generator) -> int:
    return fewest + int(rng.random() * (most - fewest + 1))


def _count(config: Config, fewest: int, most: int, rng: np.random.Generator) -> int:
    """How many effects, by the configuration's law."""
    return math.floor(fewest + rng.random() * (most - fewest) + 0.5) if config.counts == "rounded" else _between(fewest, most, rng)


def _shuffled(count: int, rng: np.random.Generator) -> list[int]:
    """0 to count - 1 in random order; for a handful five times as fast as numpy's permutation."""
    units = rng.random(count).tolist()
    return sorted(range(count), key=units.__getitem__)
