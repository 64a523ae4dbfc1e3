"""What every recipe works with: the material of one track, and the draft of one pair.

Conventions
    Positions are frames at the rate of the pairs; a stem's level is that of its file (the track's joint gain is already in it).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from manifests.records import RESIDUAL, Branch, EffectUse, Estimate, Refused, Signal, Stem, Track

MIN_ACTIVE_SHARE = 0.5  # of an excerpt's seconds in which the stem it was chosen for must sound


class Section(BaseModel):
    """Base of all configuration sections: frozen, and an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class RecipeConfig(Section):
    """Base of a recipe's section."""

    per_track: int = Field(4, ge=0, description="how many pairs of this kind each track gives")

    @property
    def needs_tempo(self) -> bool:
        """Whether the recipe, so configured, reads ``Material.tempo``: then the estimate stage writes the table ``track_estimates``."""
        return False

    @property
    def needs_normalisations(self) -> bool:
        """Whether the recipe, so configured, reads ``Material.normalisations``: then the estimate stage writes that table."""
        return False


def filled_in(values: Any, presets: Mapping[str, Mapping[str, Any]]) -> Any:
    """The keys of a section with those of its ``preset`` beneath them: what is given wins, table within table."""
    preset = values.get("preset") if isinstance(values, dict) else None
    return _over(presets[preset], values) if isinstance(preset, str) and preset in presets else values


def _over(beneath: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    nested = [key for key, value in given.items() if isinstance(value, dict) and isinstance(beneath.get(key), dict)]
    both = {key: _over(beneath[key], given[key]) for key in nested}
    return {**beneath, **given, **both}


@dataclass(frozen=True)
class Draft:
    """One pair without its book-keeping."""

    start_frame: int
    inputs: tuple[Signal, ...]
    targets: tuple[Signal, ...]
    text: str | None = None
    redraw_below: float = 0.0


@dataclass(frozen=True)
class Material:
    """All that is known about one track when its pairs are planned."""

    track: Track
    stems: tuple[Stem, ...]
    estimates: dict[str, Estimate] = field(repr=False)
    sample_rate: int
    num_frames: int

    @cached_property
    def named(self) -> dict[str, Stem]:
        """Stem name -> stem, without the residual."""
        return {stem.name: stem for stem in self.stems if stem.name != RESIDUAL}

    @cached_property
    def sounding(self) -> tuple[str, ...]:
        """Names of the stems that sound long enough somewhere for an excerpt."""
        return tuple(name for name in self.named if len(self._starts(name)))

    @cached_property
    def track_frames(self) -> int:
        """Length of the stems at the pairs' rate."""
        audio = self.stems[0].audio
        return audio.num_frames * self.sample_rate // audio.sample_rate

    def choose(self, wanted: Sequence[str]) -> tuple[str, ...]:
        """The wanted stems, or all if none is named. Raises Refused if the track lacks one."""
        missing = [name for name in wanted if name not in self.named]
        if missing:
            raise Refused(f"no stem {missing[0]!r}; the track has {', '.join(self.named)}")
        return tuple(wanted) or tuple(self.named)

    def excerpt(self, name: str, rng: np.random.Generator) -> int:
        """Draws the start of an excerpt in which the stem sounds. Raises Refused if there is none."""
        starts = self._starts(name)
        if not len(starts):
            raise Refused(
                f"the stem {name!r} sounds nowhere for {MIN_ACTIVE_SHARE:.0%} of an excerpt of {self.num_frames / self.sample_rate:g} s"
            )
        first = int(starts[int(rng.random() * len(starts))]) * self.sample_rate
        beyond = min(first + self.sample_rate, self.track_frames - self.num_frames + 1)
        return first + int(rng.random() * (beyond - first))

    def loudness_lufs(self, name: str) -> float:
        """Integrated loudness of the stem as its file has it. Raises Refused if it is silent."""
        loudness = self.estimates[name].loudness_lufs
        if loudness is None:
            raise Refused(f"the stem {name!r} is silent")
        return loudness + self.named[name].gain_db

    def fader_to(self, name: str, loudness_lufs: float) -> EffectUse:
        """The fader that brings the stem to a loudness, as far as a fader goes (-48 to +24 dB)."""
        gain_db = min(24.0, max(-48.0, loudness_lufs - self.loudness_lufs(name)))
        return EffectUse(effect="fader", settings={"gain_db": round(gain_db, 4)})

    @cached_property
    def held(self) -> dict[str, tuple[Signal, ...]]:
        """Signals that are alike in all pairs of one kind of this track: planned once."""
        return {}

    def sum_of(self, name: str, stems: Sequence[Stem]) -> Signal:
        """The signal that adds stems as they are."""
        return Signal(name=name, branches=tuple(Branch(source_id=stem.id) for stem in stems))

    def _starts(self, name: str) -> np.ndarray:
        """Seconds at which an excerpt may start for the stem to sound in enough of it."""
        cache = self.__dict__.setdefault("_starts_by_name", {})
        if name not in cache:
            active = np.asarray(self.estimates[name].active, dtype=np.int64)
            seconds = max(1, round(self.num_frames / self.sample_rate))
            total = np.concatenate([[0], np.cumsum(active)])
            last = max(0, (self.track_frames - self.num_frames) // self.sample_rate)
            start = np.arange(min(last, len(active) - 1) + 1)
            share = (total[np.minimum(start + seconds, len(active))] - total[start]) / seconds
            cache[name] = start[share >= MIN_ACTIVE_SHARE]
        return cache[name]
