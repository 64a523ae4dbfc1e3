"""``removal``: wet -> dry. One stem twice: with effects that stay and effects to be removed, and with those that stay alone.

Conventions
    The stem is first brought to one loudness, so that a threshold in dB means the same on every song: by a fader that planning knows, or,
    with ``level_after_each``, by the effect ``loudness`` on the excerpt itself, there and after every effect.
    The effects that stay and those to be removed are drawn without repetition and stand in random order; the target keeps that order.
    Settings are drawn uniformly on each setting's own scale, within the effect's ``TYPICAL`` ranges or those of the configuration. A
    setting may also follow from another: ``dry = "2 - 2 wet"``.
    A pair whose sides sound alike when they are rendered is drawn again (``datagen.redraw``).
    A preset fills in what the section leaves out. ``remfx`` has the published effects and ranges; its excerpts of 262,144 samples at
    48 kHz are for all kinds of pairs: ``[pairs] sample_rate = 48000, duration_s = 5.46133``. ``wide`` draws from every effect that can be
    heard in one stem, at least as strongly.

References
    RemFX (Rice et al. 2023): 0 to 4 effects kept on both sides, 1 to 5 removed, order random, mono, -20 LUFS after every effect, drawn
    again below a distance of 1e-3. Where its effects have other settings than ours: its compressor has one attack and one release, so our
    detector follows at once; its drive has no asymmetry; its chorus depth is taken as a share of the centre delay.
"""

from __future__ import annotations

from itertools import chain
from typing import Any, Literal

import numpy as np
from pydantic import Field, model_validator

from datagen.effects import EFFECTS
from datagen.recipes.base import Draft, Material, RecipeConfig, filled_in
from datagen.recipes.drawing import Range, draw_settings, draw_use
from manifests.records import Branch, EffectUse, Refused, Signal

REMFX_RANGES: dict[str, dict[str, Any]] = {
    "distortion": {"drive_db": (8.0, 25.0), "asymmetry": 0.0},
    "compressor": {
        "threshold_db": (-42.0, -20.0),
        "ratio": (1.5, 6.0),
        "detector": "peak",
        "detector_attack_ms": 0.0,
        "detector_release_ms": 0.0,
        "attack_ms": (1.0, 50.0),
        "release_ms": (10.0, 250.0),
        "makeup_db": 0.0,
    },
    "reverb": {"room_size": (0.3, 1.0), "damping": (0.2, 1.0), "wet": (0.2, 0.6), "dry": "2 - 2 wet", "width": (0.2, 1.0)},
    "chorus": {
        "rate_hz": (0.25, 1.5),
        "depth": (0.2, 0.6),
        "centre_ms": (5.0, 10.0),
        "feedback": (0.1, 0.4),
        "mix": (0.15, 0.4),
        "phase": 0.0,
    },
    "delay": {"delay_ms": (100.0, 1000.0), "feedback": (0.05, 0.3), "mix": (0.1, 0.35)},
}
PRESETS: dict[str, dict[str, Any]] = {
    "remfx": {
        "effects": tuple(REMFX_RANGES),
        "kept": (0, 4),
        "removed": (1, 5),
        "loudness_lufs": -20.0,
        "level_after_each": True,
        "mono": True,
        "redraw_below": 1e-3,
        "ranges": REMFX_RANGES,
    },
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
NEEDS_STEREO = ("width",)


class Config(RecipeConfig):
    """The section ``[pairs.removal]``."""

    preset: Literal["remfx", "wide"] | None = Field(None, description="fills in the keys that are not given")
    stems: tuple[str, ...] = Field((), description="stems to draw from; none: all stems of the track")
    effects: tuple[str, ...] = Field(("eq", "compressor", "reverb"), min_length=1, description="effects to draw from")
    kept: tuple[int, int] = Field((0, 1), description="fewest and most effects on both sides")
    removed: tuple[int, int] = Field((1, 2), description="fewest and most effects on the wet side only")
    loudness_lufs: float = Field(-20.0, ge=-70.0, le=0.0, description="of the stem before its effects")
    level_after_each: bool = Field(False, description="bring the excerpt to loudness_lufs again after every effect")
    mono: bool = Field(False, description="both channels of a stereo stem the same before its effects")
    redraw_below: float = Field(1e-3, ge=0.0, description="MR-STFT distance of wet and dry below which a pair is drawn again; 0: never")
    ranges: dict[str, dict[str, Range]] = Field(
        default_factory=dict, description="[pairs.removal.ranges.EFFECT] setting = [low, high]: instead of the effect's typical range"
    )

    @model_validator(mode="before")
    @classmethod
    def _preset(cls, values: Any) -> Any:
        preset = PRESETS.get(values.get("preset") or "", {}) if isinstance(values, dict) else {}
        drawn = values.get("effects", preset.get("effects", ())) if preset else ()
        ranges = {effect: ranges for effect, ranges in preset.get("ranges", {}).items() if effect in drawn}
        return filled_in(values, {values["preset"]: {**preset, "ranges": ranges}}) if preset else values

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
            known = {**EFFECTS[effect].TYPICAL, **ranges}
            draw_settings(EFFECTS[effect].Settings, np.random.default_rng(0), known)  # raises for a wrong name or range
        return self


def draft(material: Material, config: Config, rng: np.random.Generator) -> Draft:
    """Plans one wet/dry pair of a stem that sounds."""
    candidates = [name for name in material.choose(config.stems) if name in material.sounding] or list(material.choose(config.stems)[:1])
    name = candidates[_between(0, len(candidates) - 1, rng)]
    start_frame = material.excerpt(name, rng)
    stereo = material.named[name].audio.num_channels == 2
    effects = config.effects if stereo else tuple(effect for effect in config.effects if effect not in NEEDS_STEREO)
    if len(effects) < config.removed[0] + config.kept[0]:
        raise Refused(f"the stem {name!r} is mono; of {', '.join(config.effects)} too few can be used on it")
    removed = _between(config.removed[0], min(config.removed[1], len(effects) - config.kept[0]), rng)
    kept = _between(config.kept[0], min(config.kept[1], len(effects) - removed), rng)
    order = _shuffled(len(effects), rng)[: removed + kept]
    stays = set(_shuffled(removed + kept, rng)[:kept])
    uses = [draw_use(effects[index], config.ranges.get(effects[index], {}), material.sample_rate, rng) for index in order]
    before = (EffectUse(effect="width", settings={"width": 0.0}),) if config.mono and stereo else ()
    level = _level(config) if config.level_after_each else material.fader_to(name, config.loudness_lufs)
    after_each = (level,) if config.level_after_each else ()
    steps = [(use, *after_each) for use in uses]
    wet = (*before, level, *chain.from_iterable(steps))
    dry = (*before, level, *chain.from_iterable(step for place, step in enumerate(steps) if place in stays))
    source = material.named[name].id
    return Draft(start_frame, (_signal("wet", source, wet),), (_signal("dry", source, dry),), redraw_below=config.redraw_below)


def _level(config: Config) -> EffectUse:
    return EffectUse(effect="loudness", settings={"target_db": config.loudness_lufs, "measure": "lufs"})


def _signal(name: str, source_id: str, uses: tuple[EffectUse, ...]) -> Signal:
    return Signal(name=name, branches=(Branch(source_id=source_id, chain=uses),))


def _between(fewest: int, most: int, rng: np.random.Generator) -> int:
    return fewest + int(rng.random() * (most - fewest + 1))


def _shuffled(count: int, rng: np.random.Generator) -> list[int]:
    """0 to count - 1 in random order; for a handful five times as fast as numpy's permutation."""
    units = rng.random(count).tolist()
    return sorted(range(count), key=units.__getitem__)
