"""``mix``: the stems of an excerpt -> its mix. The pair that mixing consoles and drum-mixing networks train on.

Conventions
    Inputs are the stems as separated; levelled, that is brought to one loudness or peak; or effect-normalised, through the chain of their
    row in the table ``normalisations``. A stem that is levelled over its track has a fader whose gain is the label (minus that gain is what
    a mixing model has to give back); levelled over the excerpt it has the effect ``loudness``, whose gain only rendering knows.
    The target is the released mixture, rebuilt from the stems and their residual, which sum to it, or the sum of the stems alone.
    A name of the preset ``drums`` that the track lacks is an input without branches: silence, and masked by the loader. So is a stem that
    would have to be lifted by more than 40 dB to its level (``stemwright.datagen.effects.loudness``): it is dither or what a separator
    left over.

Presets (what is given besides wins)
    console   up to 16 mono tracks, each with its excerpt's peak at -12 dBFS, to the released mixture; 262,144 samples at 44.1 kHz.
              The loader pads: ``PairDataset(..., num_inputs=16)`` stacks examples of fewer tracks, with a mask. A track of more is refused.
              The published drum variant has ``num_inputs = 8``.
    drums     the eight microphones of DRUM_STEMS by these names, mono, each with the peak of its track at full scale; 88,200 samples.
              The target is dry, the sum of these microphones; ``target = "released"`` is the wet one, for multitracks of drums alone.
              Of a track whose drums a further model took apart ([separation.drums]) the parts stand in for the microphones: toms are
              tom1, and the two sides of the cymbals the overheads; the released target is then the whole stem of the drums.
              It is on the scale on which the released mixture's peak is at full scale; a dry sum may exceed it a little.

References
    Steinmetz et al. 2021 (differentiable mixing console) and Martinez Ramirez, Stoller and Moffat 2021 (Mix-Wave-U-Net, on ENST-Drums) for
    the shapes. FxNorm-automix (Martinez Ramirez et al. 2022) for effect-normalised inputs.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
from pydantic import Field, model_validator

from stemwright.datagen.pairs.recipes.base import Draft, RecipeConfig, Shape, TrackMaterial, fader, with_preset
from stemwright.datagen.pairs.section import since
from stemwright.manifests.pair_records import Branch, Signal
from stemwright.manifests.records import RESIDUAL, EffectUse, Part, Refused

PRESETS: dict[str, dict[str, Any]] = {
    "console": {
        "inputs": "levelled",
        "level": "peak",
        "level_over": "excerpt",
        "peak_dbfs": -12.0,
        "channels": "mono",
        "num_inputs": 16,
    },
    "drums": {
        "inputs": "levelled",
        "level": "peak",
        "level_over": "track",
        "peak_dbfs": 0.0,
        "channels": "mono",
        "target": "sum",
        "target_peak_dbfs": 0.0,
    },
}
SHAPES = {"console": Shape(44_100, 262_144), "drums": Shape(44_100, 88_200)}
DRUM_STEMS: dict[str, tuple[str, ...]] = {  # input -> the names under which a multitrack may have it, first come first served
    "hihat": ("hihat", "hi_hat", "hh", "hat"),
    "kick": ("kick", "kick_in", "kick_out", "kick_sub", "bass_drum", "bd", "kick_drum"),
    "overhead_l": ("overhead_l", "overhead_left", "oh_l", "ohl"),
    "overhead_r": ("overhead_r", "overhead_right", "oh_r", "ohr"),
    "snare": ("snare", "snare_top", "snare_up", "snare_bottom", "sd", "snare_drum"),
    "tom1": ("tom1", "tom_1", "rack_tom", "rack", "rack_1", "tom_high", "high_tom"),
    "tom2": ("tom2", "tom_2", "tom_mid", "mid_tom"),
    "tom3": ("tom3", "tom_3", "floor_tom", "floor", "tom_floor", "tom_low", "low_tom"),
}
OVERHEADS = ("overheads", "overhead", "oh", "oh_stereo", "oh_mono", "overhead_mono")  # in stereo: left and right are taken from it
OF_PARTS: dict[str, tuple[str, ...]] = {  # more names, under which models of drums give parts
    "hihat": ("hihats", "hi-hat", "hats"),
    "overheads": ("cymbals", "cymbal", "crash", "ride"),
    "tom1": ("toms", "tom"),
}
DRUMS = "drums"  # the stem whose parts a model of drums gives
MIN_DRUMS = 2  # microphones: a mix of one is none


class Config(RecipeConfig):
    """The section ``[pairs.mix]``: the stems of an excerpt and its mix."""

    preset: Literal["console", "drums"] | None = Field(
        None,
        description="published setup that fills in the keys that are not given: console (up to 16 mono tracks) or drums "
        "(eight drum microphones)",
        json_schema_extra=since("0.1"),
    )
    stems: tuple[str, ...] = Field(
        (), description="names of the stems to use as inputs, in this order; empty: all stems of the track", json_schema_extra=since("0.1")
    )
    inputs: Literal["separated", "levelled", "normalised"] = Field(
        "separated",
        description="processing of the inputs; separated: as they were separated; levelled: brought to one loudness or peak; "
        "normalised: processed towards the typical effects of each stem",
        json_schema_extra=since("0.1"),
    )
    level: Literal["loudness", "peak"] = Field(
        "loudness", description='quantity that is made equal across inputs if inputs = "levelled"', json_schema_extra=since("0.1")
    )
    level_over: Literal["track", "excerpt"] = Field(
        "track",
        description="where that quantity is measured: over the whole track or over the excerpt; over an excerpt, the gain "
        "is known only after rendering",
        json_schema_extra=since("0.1"),
    )
    loudness_lufs: float = Field(
        -23.0,
        ge=-70.0,
        le=0.0,
        description='integrated loudness of each input if inputs = "levelled" and level = "loudness"',
        json_schema_extra=since("0.1", unit="LUFS"),
    )
    peak_dbfs: float = Field(
        -12.0,
        ge=-60.0,
        le=0.0,
        description='sample peak of each input if inputs = "levelled" and level = "peak"',
        json_schema_extra=since("0.1", unit="dBFS"),
    )
    channels: Literal["all", "mono"] = Field(
        "all", description="channels of each input; all: as in the stem; mono: the mean of its channels", json_schema_extra=since("0.1")
    )
    num_inputs: int = Field(
        0,
        ge=0,
        le=256,
        description="largest number of inputs; a track with more is rejected; 0: no limit",
        json_schema_extra=since("0.1", unit="inputs"),
    )
    target: Literal["released", "sum"] = Field(
        "released",
        description="signal to predict; released: the mixture as released (stems and residual); sum: the sum of the "
        "stems without the residual",
        json_schema_extra=since("0.1"),
    )
    target_peak_dbfs: float | None = Field(
        None,
        ge=-60.0,
        le=0.0,
        description="sample peak that the released mixture is scaled to, measured over the whole track; not given: no scaling",
        json_schema_extra=since("0.1", unit="dBFS"),
    )
    align: Literal["none", "beats"] = Field(
        "none", description="where excerpts start; none: anywhere; beats: on a beat", json_schema_extra=since("0.1")
    )

    @model_validator(mode="before")
    @classmethod
    def _preset(cls, values: Any) -> Any:
        return with_preset(values, PRESETS)

    @model_validator(mode="after")
    def _known_drums(self) -> Config:
        unknown = [name for name in self.stems if self.preset == "drums" and name not in DRUM_STEMS]
        if unknown:
            raise ValueError(f"stems: the preset 'drums' has the inputs {', '.join(DRUM_STEMS)}; got {unknown[0]!r}")
        return self

    @property
    def target_db(self) -> float:
        """What each input is brought to when levelled, LUFS or dBFS."""
        return self.loudness_lufs if self.level == "loudness" else self.peak_dbfs

    @property
    def needs_tempo(self) -> bool:
        """Beats are read from the table of track estimates."""
        return self.align == "beats"

    @property
    def needs_normalisations(self) -> bool:
        """Chains are read from the table of normalisations."""
        return self.inputs == "normalised"

    @property
    def needs_parts(self) -> bool:
        """The parts of the drums stand in for microphones."""
        return self.preset == "drums"

    def num_signals(self, num_stems: int) -> int:
        """The inputs and their mix."""
        return 1 + (len(self.stems) or (len(DRUM_STEMS) if self.preset == "drums" else num_stems))

    @property
    def shape(self) -> Shape | None:
        """The excerpts that the preset was published with."""
        return SHAPES[self.preset] if self.preset else None


def draft(material: TrackMaterial, config: Config, rng: np.random.Generator) -> Draft:
    """Plans one stem/mix pair, in an excerpt where a stem drawn at random sounds."""
    if config.preset == "drums":
        material = _drum_material(material)
    if not material.cache:
        sources = _drums(material, config) if config.preset == "drums" else {name: (name, "all") for name in material.choose(config.stems)}
        if config.num_inputs and len(sources) > config.num_inputs:
            raise Refused(f"has {len(sources)} stems, more than num_inputs = {config.num_inputs}; name those to take in pairs.mix.stems")
        material.cache["inputs"] = tuple(_input(material, name, source, config) for name, source in sources.items())
        material.cache["targets"] = (_target(material, [source[0] for source in sources.values() if source], config),)
    inputs = material.cache["inputs"]
    return Draft(material.draw_excerpt(_names(material, inputs), rng, align=config.align), inputs, material.cache["targets"])


def _names(material: TrackMaterial, inputs: tuple[Signal, ...]) -> tuple[str, ...]:
    """Names of the stems that the inputs are made of."""
    taken = {branch.source_id for signal in inputs for branch in signal.branches}
    return tuple(name for name, stem in material.named.items() if stem.id in taken)


Source = tuple[str, Literal["all", "mono", "left", "right"]]  # a stem's name, and the channels that are taken of it


def _input(material: TrackMaterial, name: str, source: Source | None, config: Config) -> Signal:
    if source is None:
        return Signal(name=name, branches=())
    stem, channels = source
    if config.inputs == "levelled" and material.is_silent(stem, config.target_db, config.level):
        return Signal(name=name, branches=())
    taken = config.channels if channels == "all" else channels
    branch = Branch(source_id=material.named[stem].id, channels=taken, chain=_chain(material, stem, config))
    return Signal(name=name, branches=(branch,))


def _chain(material: TrackMaterial, name: str, config: Config) -> tuple[EffectUse, ...]:
    if config.inputs == "separated" or material.estimates[name].loudness_lufs is None:
        return ()
    if config.inputs == "normalised":
        return material.normalising(name)
    by_loudness = config.level == "loudness"
    if config.level_over == "track":
        return (material.fader_to(name, config.target_db) if by_loudness else material.fader_to_peak(name, config.target_db),)
    return (EffectUse(effect="loudness", settings={"target_db": config.target_db, "measure": "lufs" if by_loudness else "peak"}),)


def _target(material: TrackMaterial, names: list[str], config: Config) -> Signal:
    released = config.target == "released"
    if released and config.preset == "drums" and (more := sorted(set(material.named) - set(names) - set(OVERHEADS))):
        what = "whole drums hold more than the inputs" if isinstance(material.stems[0], Part) else "released mixture holds more than drums"
        raise Refused(f"its {what} ({', '.join(more)}), so it is not a wet drum mix; set target = 'sum'")
    stems = material.stems if released else [material.named[name] for name in dict.fromkeys(names)]
    signal = material.sum_of("mixture" if released else "mix", stems)
    if config.target_peak_dbfs is None:
        return signal
    peak_dbfs = material.track.peak_dbfs + material.stems[0].gain_db  # stems are files on the mixture's scale times the joint gain
    return signal.model_copy(update={"bus": (fader(config.target_peak_dbfs - peak_dbfs),)})


def _drum_material(material: TrackMaterial) -> TrackMaterial:
    """The parts of the track's drums, where they were taken apart and the track has no microphones of a kit among its own stems."""
    named = {each for names in DRUM_STEMS.values() for each in names} | set(OVERHEADS)
    if DRUMS in material.parts and len(named & set(material.named)) < MIN_DRUMS:
        return material.parts[DRUMS]
    return material


def _drums(material: TrackMaterial, config: Config) -> Mapping[str, Source | None]:
    """Where each of the eight inputs comes from; None if the track lacks it. Raises Refused if it has hardly any."""
    found: dict[str, Source | None] = {}
    more = OF_PARTS if isinstance(material.stems[0], Part) else {}
    for name in config.stems or tuple(DRUM_STEMS):
        stem = next((each for each in (*DRUM_STEMS[name], *more.get(name, ())) if each in material.named), None)
        found[name] = (stem, "mono") if stem else None
    both = next((each for each in (*OVERHEADS, *more.get("overheads", ())) if each in material.named), None)
    for name, side in (("overhead_l", "left"), ("overhead_r", "right")):
        if both and name in found and found[name] is None:
            found[name] = (both, side)  # type: ignore[assignment]  # side is one of the two literals
    if sum(source is not None for source in found.values()) < MIN_DRUMS:
        there = ", ".join(name for name in material.named if name != RESIDUAL)
        raise Refused(
            f"the preset 'drums' needs the microphones of a drum kit, two or more of {', '.join(DRUM_STEMS)}; the track has {there}. "
            "Multitracks whose stems are named after their files are read with songs.kind = 'multitracks'; other names of microphones are "
            'mapped to these by [songs.stems], such as kick = ["bd*"]. A model that takes separated drums apart is named in '
            "[separation.drums]"
        )
    return found
