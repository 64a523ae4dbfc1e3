"""``restore``: a degraded mixture -> what it was made of. Degradations of stems, of their sum, and of the finished recording.

    stem      branch: joint gain > effects of the stem (kept and removed, random order)
    bus       sum of the branches > effects of the bus (random order) > effects of the finished recording (in their configured order)

    target "stem"      one dry stem, with its kept effects: music source restoration
    target "stems"     every stem so
    target "mixture"   the sum of the stems with what is kept, before anything was removed

Conventions
    One fader, the same in all branches and on both sides, brings the mixture to ``loudness_lufs``, as far as planning knows the loudness of
    the track: so a threshold of the bus means the same on every song, and a target has the level that its stem has in the mixture.
    Typical settings are meant for a sound of TYPICAL_LUFS. A stem is softer than its mixture: what depends on level is drawn for that
    loudness and then moved to the stem's (``effects.scaling.at_level``), so that a soft stem is compressed or clipped as a loud one
    would be. A threshold is drawn where the peak of the track reaches it. A range that is given is taken as it is. A distortion raises
    what it distorts; its output follows its drive, so that the balance is roughly kept.
    Settings are drawn as in ``removal``, each in its typical range or the one that is given. Only stems that sound in the excerpt get
    effects: of the others nothing could be heard. Every removed effect is heard by itself, or the pair is drawn again.
    Kept effects of a stem are in the target too; of a bus they can be so only where the target is the mixture. Where the target is one
    stem, the others keep nothing: what they have is removed with them.
    A layer may name degradations of the section besides effects: a chain with ranges of its own, a group and a weight
    (``recipes.degradations``). Of a group there is at most one in a chain. The number of removed effects may have weights, too: with
    those of a binomial distribution, every group is drawn independently of the others.
    Effects of the difference of channels (``width``) are drawn for stereo only. A mono fold is ``width`` at 0.
    What a codec does depends on the samples so finely that its output is made again from its row by the same versions alone
    (``stemwright.datagen.effects.codec``).

References
    ``stemwright.datagen.pairs.recipes.restoration`` for the presets.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field, model_validator

from stemwright.datagen.effects import EFFECTS
from stemwright.datagen.pairs.drawing import (
    FLAT_CREST_DB,
    Channels,
    Ranges,
    Role,
    draw_settings,
    draw_use,
    effective_ranges,
    reached_ranges,
)
from stemwright.datagen.pairs.recipes.base import MOST_PER_TRACK, Draft, RecipeConfig, TrackMaterial, fader, min_change_field, with_preset
from stemwright.datagen.pairs.recipes.degradations import Degradation, Weight, group_of, moved, number_between, one_of_each_group
from stemwright.datagen.pairs.recipes.restoration import PRESETS
from stemwright.datagen.pairs.recipes.restoration_sentences import OF_GROUP, groups_of
from stemwright.datagen.pairs.section import since
from stemwright.manifests.pair_records import Branch, Signal
from stemwright.manifests.records import EffectUse, Refused

TYPICAL_LUFS = -20.0  # what typical settings are meant for, as in ``removal``
RANGES: dict[str, dict[str, Any]] = {"distortion": {"output_db": "0 - 0.75 drive_db"}}

Count = Annotated[int, Field(ge=0, le=64)]  # of effects in one chain
Counts = tuple[Count, Count]


def _counts(default: tuple[int, int], what: str) -> Any:
    return Field(default, description=f"smallest and largest number of {what}", json_schema_extra=since("0.1", unit="effects"))


def _weights(what: str) -> Any:
    description = f"weights of the numbers of {what}, from the smallest to the largest; empty: all are equally likely"
    return Field((), description=description, json_schema_extra=since("0.1", unit="weight"))


def _effects(default: tuple[str, ...], what: str) -> Any:
    return Field(default, description=what, json_schema_extra=since("0.1"))


class Config(RecipeConfig):
    """The section ``[pairs.restore]``: a degraded mixture, and its dry stems or the mixture before the degradations."""

    per_track: int = Field(
        0,
        ge=0,
        le=MOST_PER_TRACK,
        description="number of pairs of this kind planned for each track; 0: none",
        json_schema_extra=since("0.1", unit="pairs a track"),
    )
    preset: str | None = Field(
        None, description="named setup that fills in the keys that are not given: " + ", ".join(PRESETS), json_schema_extra=since("0.1")
    )
    target: Literal["stem", "stems", "mixture"] = Field(
        "stem",
        description="signal to predict; stem: one dry stem; stems: every dry stem; mixture: the mixture before the degradations",
        json_schema_extra=since("0.1"),
    )
    stems: tuple[str, ...] = Field(
        (),
        description='names of the stems that are targets, in this order; of the target "mixture", those that an excerpt is chosen for; '
        "empty: all stems of the track",
        json_schema_extra=since("0.1"),
    )
    mixture: Literal["sum", "released"] = Field(
        "sum",
        description="mixture that is degraded; sum: the sum of the stems; released: with the residual, which is never degraded by itself",
        json_schema_extra=since("0.1"),
    )
    stem_effects: tuple[str, ...] = _effects(("eq", "compressor", "reverb"), "effects that are drawn for each stem")
    stem_kept: Counts = _counts((0, 0), "effects of a stem that the target has, too")
    stem_removed: Counts = _counts((0, 2), "effects of a stem that the target does not have")
    stem_removed_weights: tuple[Weight, ...] = _weights("removed effects of a stem")
    bus_effects: tuple[str, ...] = _effects(("eq", "compressor", "limiter"), "effects that are drawn for the sum of the stems")
    bus_kept: Counts = _counts((0, 0), 'effects of the sum that the target has, too; only with target = "mixture"')
    bus_removed: Counts = _counts((0, 2), "effects of the sum that the target does not have")
    bus_removed_weights: tuple[Weight, ...] = _weights("removed effects of the sum")
    final_effects: tuple[str, ...] = _effects(
        ("clip", "highpass", "lowpass", "width", "dc", "noise", "codec"),
        "effects that are drawn for the finished recording: what storage and transmission do to it; they follow in this order",
    )
    final_removed: Counts = _counts((0, 2), "effects of the finished recording")
    final_removed_weights: tuple[Weight, ...] = _weights("effects of the finished recording")
    order: Literal["random", "listed"] = Field(
        "random",
        description="order of the effects of a stem and of the sum; random: drawn for each chain; listed: as they are configured",
        json_schema_extra=since("0.1"),
    )
    degradations: dict[str, Degradation] = Field(
        default_factory=dict,
        description="named degradations, for use in the lists of effects: a table [pairs.restore.degradations.NAME] each",
        json_schema_extra=since("0.1"),
    )
    group_weights: dict[str, Weight] = Field(
        default_factory=dict,
        description="how often a group of degradations is drawn, against the other groups of its layer; 1 for a group without a weight",
        json_schema_extra=since("0.1", unit="weight"),
    )
    loudness_lufs: float = Field(
        TYPICAL_LUFS,
        ge=-70.0,
        le=0.0,
        description="integrated loudness that the mixture of the track is brought to before its effects",
        json_schema_extra=since("0.1", unit="LUFS"),
    )
    sentences: bool = Field(
        False,
        description="true: the text of the pair asks for the restoration, in a sentence for each degradation of the sum that is named, and "
        "for each group of effects",
        json_schema_extra=since("0.1"),
    )
    min_change_db: float = min_change_field()
    redraw_below: float = Field(
        1e-3,
        ge=0.0,
        le=10.0,
        description="a pair is drawn again if the MR-STFT distance of input and target is below this; 0: never",
        json_schema_extra=since("0.1", unit="MR-STFT distance"),
    )
    ranges: Ranges = Field(
        default_factory=dict,
        description="ranges that settings of an effect are drawn from, instead of its typical ranges: a table "
        "[pairs.restore.ranges.EFFECT] with lines setting = [low, high]",
        json_schema_extra=since("0.1"),
    )

    @model_validator(mode="before")
    @classmethod
    def _preset(cls, values: Any) -> Any:
        name = values.get("preset") if isinstance(values, dict) else None
        if isinstance(name, str) and name not in PRESETS:
            raise ValueError(f"preset: there is none with the name {name!r}; the presets are {', '.join(PRESETS)}")
        if not isinstance(name, str):
            return values
        merged = {**PRESETS[name], **{key: value for key, value in values.items() if key != "ranges"}}
        drawn = {effect for layer in LAYERS for effect in merged.get(f"{layer}_effects", cls.model_fields[f"{layer}_effects"].default)}
        recounted = {f"{key}_weights" for key in values}  # the weights of a preset belong to its numbers
        preset = {key: value for key, value in PRESETS[name].items() if key not in recounted}
        used = {each: wanted for each, wanted in preset["degradations"].items() if each in drawn}
        groups = {wanted.get("group", each) for each, wanted in used.items()}
        preset["degradations"] = used
        preset["group_weights"] = {group: weight for group, weight in preset.get("group_weights", {}).items() if group in groups}
        return with_preset(values, {name: preset})

    @model_validator(mode="after")
    def _counts_are_possible(self) -> Config:
        for layer in LAYERS:
            effects = getattr(self, f"{layer}_effects")
            groups = {group_of(effect, self.degradations) for effect in effects}
            fewest = 0
            for name in (name for name in (f"{layer}_kept", f"{layer}_removed") if hasattr(self, name)):
                least, most = getattr(self, name)
                fewest += least
                if least > most:
                    raise ValueError(f"{name}: expected [fewest, most] with fewest <= most; got {[least, most]}")
            if len(set(effects)) < len(effects):
                raise ValueError(f"{layer}_effects: expected each effect once; got {', '.join(effects)}")
            if fewest > len(groups):
                what = "effects" if len(groups) == len(effects) else "groups of effects"
                raise ValueError(f"{layer}_effects: {fewest} {what} cannot be drawn from {len(groups)}")
            (least, most), weights = getattr(self, f"{layer}_removed"), getattr(self, f"{layer}_removed_weights")
            if weights and len(weights) != most - least + 1:
                raise ValueError(f"{layer}_removed_weights: expected a weight for each number from {least} to {most}; got {len(weights)}")
        if self.bus_kept[1] and self.target != "mixture":
            raise ValueError(f'bus_kept: effects of the sum can be kept only where target = "mixture"; got target = {self.target!r}')
        if not any(getattr(self, f"{layer}_removed")[1] and getattr(self, f"{layer}_effects") for layer in LAYERS):
            raise ValueError("stem_removed, bus_removed, final_removed: expected at least one of them above 0; nothing is degraded")
        return self

    @model_validator(mode="after")
    def _known_effects(self) -> Config:
        drawn = [effect for layer in LAYERS for effect in getattr(self, f"{layer}_effects")]
        for name in self.degradations:
            if name in EFFECTS:
                raise ValueError(f"[pairs.restore.degradations.{name}]: {name!r} is the name of an effect; expected another name")
            if name not in drawn:
                raise ValueError(f"[pairs.restore.degradations.{name}] is not used; name it in stem_effects, bus_effects or final_effects")
        for effect in drawn:
            if effect not in self.degradations:
                EFFECTS[effect]  # raises, naming the nearest one
        known = {group_of(name, self.degradations) for name in drawn}
        for group in self.group_weights:
            if group not in known:
                raise ValueError(f"group_weights: there is no group {group!r}; the groups are {', '.join(sorted(known))}")
        for effect, ranges in self.ranges.items():
            if effect not in drawn or effect in self.degradations:
                effects = [each for each in dict.fromkeys(drawn) if each not in self.degradations]
                raise ValueError(f"ranges: {effect!r} is not among the effects drawn: {', '.join(effects)}")
            try:
                draw_settings(EFFECTS[effect].Settings, np.random.default_rng(0), {**EFFECTS[effect].TYPICAL, **ranges})
            except ValueError as error:  # a wrong name or range
                raise ValueError(f"[pairs.restore.ranges.{effect}]: {error}") from error
        return self

    def num_signals(self, num_stems: int) -> int:
        """The degraded mixture, and its targets."""
        return 1 + ((len(self.stems) or num_stems) if self.target == "stems" else 1)


LAYERS = ("stem", "bus", "final")
Use = tuple[str, Role]


def draft(material: TrackMaterial, config: Config, rng: np.random.Generator) -> Draft:
    """Plans one degraded mixture, in an excerpt where the stem that is the target, or any of them, sounds."""
    names = material.choose(config.stems)
    candidates = [name for name in names if name in material.sounding] or list(names[:1])
    wanted = candidates[int(rng.random() * len(candidates))]
    start_frame = material.excerpt(wanted, rng)
    joint = _joint_fader(material, config)
    channels: dict[str, Channels] = {name: material.channels_of(name) for name in material.named if material.sounds_in(name, start_frame)}
    on_bus: Channels = "one" if all(stem.audio.num_channels == 1 for stem in material.stems) else "different"
    orders = {
        name: _order(material, config, "stem", heard, rng, kept=config.stem_kept if config.target != "stem" or name == wanted else (0, 0))
        for name, heard in channels.items()
    }
    bus_order = [
        *_order(material, config, "bus", on_bus, rng, kept=config.bus_kept),
        *_order(material, config, "final", on_bus, rng, kept=(0, 0)),
    ]
    if not any(role == "removed" for order in (bus_order, *orders.values()) for _, role in order):
        _degrade(material, config, wanted, {"bus": on_bus, "final": on_bus, "stem": channels[wanted]}, (orders, bus_order), rng)
    chains = {name: (joint, *_uses(config, material, orders[name], name, channels[name], rng)) for name in orders}
    bus = tuple(_uses(config, material, bus_order, None, on_bus, rng))
    stems = material.stems if config.mixture == "released" else tuple(material.named.values())
    branches = tuple(Branch(source_id=stem.id, chain=chains.get(stem.name, (joint,))) for stem in stems)
    return Draft(
        start_frame,
        inputs=(Signal(name="degraded", branches=branches, bus=bus),),
        targets=_targets(material, config, branches, bus, names if config.target == "stems" else (wanted,)),
        text=_text(config, bus_order, rng) if config.sentences else None,
        redraw_below=config.redraw_below,
        min_change_db=config.min_change_db,
    )


def _joint_fader(material: TrackMaterial, config: Config) -> EffectUse:
    """The gain that brings the mixture, as it is heard in the stems' files, to its loudness."""
    return fader(config.loudness_lufs - (_mixture_lufs(material) + material.stems[0].gain_db))


def _mixture_lufs(material: TrackMaterial) -> float:
    """The loudness of the mixture, which every estimate of a stem's level states. Raises Refused if none does."""
    known = [
        each.loudness_lufs - each.level_lu
        for each in material.estimates.values()
        if each.loudness_lufs is not None and each.level_lu is not None
    ]
    if not known:
        raise Refused("none of its stems is audible")
    return float(np.median(known))


def _order(material: TrackMaterial, config: Config, layer: str, channels: Channels, rng: np.random.Generator, *, kept: Counts) -> list[Use]:
    """The effects of one chain, each kept or removed: of the finished recording as they are listed, of others in the configured order."""
    effects = _possible(material, config, layer, channels)
    removed: Counts = getattr(config, f"{layer}_removed")
    drawn = one_of_each_group(effects, config.degradations, config.group_weights, rng)
    num_removed = number_between(removed, len(drawn), rng, getattr(config, f"{layer}_removed_weights"))
    num_kept = number_between(kept, len(drawn), rng)
    num_removed = min(num_removed, max(0, len(drawn) - kept[0]))
    roles: dict[str, Role] = dict.fromkeys(drawn[:num_removed], "removed")
    roles |= dict.fromkeys(drawn[num_removed : num_removed + num_kept], "kept")
    as_listed = layer == "final" or config.order == "listed"
    return [(effect, roles[effect]) for effect in (effects if as_listed else _shuffled(list(roles), rng)) if effect in roles]


def _degrade(
    material: TrackMaterial,
    config: Config,
    wanted: str,
    channels: Mapping[str, Channels],
    orders: tuple[dict[str, list[Use]], list[Use]],
    rng: np.random.Generator,
) -> None:
    """Adds one removed effect where the numbers that were drawn leave nothing degraded. Raises Refused if none is possible."""
    of_stems, of_bus = orders
    for layer, order in (("bus", of_bus), ("final", of_bus), ("stem", of_stems[wanted])):
        used = {group_of(effect, config.degradations) for effect, _ in order}
        effects = _possible(material, config, layer, channels[layer])
        possible = [each for each in effects if group_of(each, config.degradations) not in used]
        if possible and getattr(config, f"{layer}_removed")[1]:
            order.append((possible[int(rng.random() * len(possible))], "removed"))
            return
    raise Refused(
        f"the stem {wanted!r} is mono or the same in both channels, or its sample rate is too low, and no effect that is to be removed "
        "can be used on it"
    )


def _uses(
    config: Config, material: TrackMaterial, order: Sequence[Use], stem: str | None, channels: Channels, rng: np.random.Generator
) -> list[EffectUse]:
    """The effects of a chain with their settings, at the level of the stem, or of the mixture where none is named."""
    mixture_lufs, level_lufs = _mixture_lufs(material), config.loudness_lufs
    crest_db: float | None = material.track.peak_dbfs - mixture_lufs
    if stem is not None:
        level_lufs += material.loudness_lufs(stem) - material.stems[0].gain_db - mixture_lufs
        crest_db = material.crest_db(stem)
    below_db = round(min(0.0, level_lufs - TYPICAL_LUFS), 2)
    uses: list[EffectUse] = []
    for name, role in order:
        if name in config.degradations:
            degradation = config.degradations[name]
            peak_dbfs = _peak_dbfs(material, config, stem) if degradation.relative_to == "peak" else None
            made = degradation.uses(channels, material.sample_rate, rng, role=role, peak_dbfs=peak_dbfs)
        else:
            reached = {} if crest_db is None else reached_ranges(name, TYPICAL_LUFS + crest_db)
            wanted = effective_ranges(name, {**RANGES.get(name, {}), **reached, **config.ranges.get(name, {})}, channels)
            use = draw_use(name, wanted, material.sample_rate, rng, role=role)
            made = [moved(use, below_db) if below_db and name not in config.ranges else use]
        uses += made
        if crest_db is not None and any("flattening" in EFFECTS[use.effect].TRAITS for use in made):
            crest_db = min(crest_db, FLAT_CREST_DB)
    return uses


def _peak_dbfs(material: TrackMaterial, config: Config, stem: str | None) -> float:
    """The peak of a stem, or of the mixture where none is named, over the track and after the joint fader."""
    if stem is None:
        return material.track.peak_dbfs - _mixture_lufs(material) + config.loudness_lufs
    return material.peak_dbfs(stem) + float(_joint_fader(material, config).settings["gain_db"])


def _targets(
    material: TrackMaterial, config: Config, branches: tuple[Branch, ...], bus: tuple[EffectUse, ...], names: Sequence[str]
) -> tuple[Signal, ...]:
    """The dry side: the same branches without what is removed."""
    dry = {branch.source_id: branch.model_copy(update={"chain": _without_removed(branch.chain)}) for branch in branches}
    if config.target == "mixture":
        return (Signal(name="mixture", branches=tuple(dry.values()), bus=_without_removed(bus)),)
    return tuple(Signal(name=name, branches=(dry[material.named[name].id],)) for name in names)


def _without_removed(chain: tuple[EffectUse, ...]) -> tuple[EffectUse, ...]:
    return tuple(use for use in chain if use.role != "removed")


def _text(config: Config, bus_order: Sequence[Use], rng: np.random.Generator) -> str | None:
    """A sentence for each degradation of the bus that is named, and for each group of other effects; None if there is none."""
    removed = [name for name, role in bus_order if role == "removed"]
    named = [config.degradations[name].sentences for name in removed if name in config.degradations]
    others = groups_of(tuple(name for name in removed if name not in config.degradations))
    pools = [pool for pool in (*named, *(OF_GROUP[group] for group in others)) if pool]
    return " ".join(pool[int(rng.random() * len(pool))] for pool in pools) or None


def _possible(material: TrackMaterial, config: Config, layer: str, channels: Channels) -> list[str]:
    """The effects of a layer that the channels allow, and the degradations that the sample rate allows as well."""

    def is_possible(name: str) -> bool:
        if name in config.degradations:
            return bool(config.degradations[name].stages(channels, material.sample_rate))
        return channels == "different" or "stereo" not in EFFECTS[name].TRAITS

    return [name for name in getattr(config, f"{layer}_effects") if is_possible(name)]


def _shuffled(effects: Sequence[str], rng: np.random.Generator) -> list[str]:
    units = rng.random(len(effects)).tolist()
    return [effects[index] for index in sorted(range(len(effects)), key=units.__getitem__)]
