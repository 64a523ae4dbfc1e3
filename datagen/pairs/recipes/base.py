"""What every recipe works with: the material of one track, and the draft of one pair.

Conventions
    Positions are frames at the rate of the pairs; a stem's level is that of its file (the track's joint gain is already in it).
    An excerpt for a stem starts in a second from which the stem sounds in at least half of the excerpt's seconds, every frame of such
    seconds from which an excerpt fits being equally likely. On beats, it starts at
    the beat nearest the start that was drawn, among those in such a second; there is no fallback to a start off the beat.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
from pydantic import Field

from stemwright.datagen.effects.ranges import within_fader
from stemwright.datagen.pairs.section import Section, since
from stemwright.manifests.pair_records import Branch, Signal
from stemwright.manifests.records import RESIDUAL, EffectUse, Estimate, Normalisation, Refused, Stem, Track, TrackEstimate

if TYPE_CHECKING:
    from stemwright.datagen.pairs.drawing import Channels
    from stemwright.datagen.pairs.partners import PartnerTracks

MIN_ACTIVE_SHARE = 0.5  # of an excerpt's seconds in which the stem it was chosen for must sound
MOST_PER_TRACK = 100_000  # pairs: what a table of one track holds
MIN_CHANGE_DB = -40.0  # 1 % of the amplitude: a level that differs by so much (0.09 dB) is below what listeners can distinguish
EQUAL_WIDTH, EQUAL_PAN = 0.005, 0.005  # what is narrower and nearer to the centre has two equal channels


class Shape(NamedTuple):
    """The shape of the excerpts that a preset was published with."""

    sample_rate: int
    num_frames: int


class RecipeConfig(Section):
    """Base of a recipe's section."""

    per_track: int = Field(
        4,
        ge=0,
        le=MOST_PER_TRACK,
        description="number of pairs of this kind planned for each track; 0: none",
        json_schema_extra=since("0.1", unit="pairs a track"),
    )

    @property
    def needs_tempo(self) -> bool:
        """Whether the recipe, so configured, reads ``TrackMaterial.tempo``: then the stage ``estimate`` writes ``track_estimates``."""
        return False

    @property
    def shape(self) -> Shape | None:
        """The excerpts that the section's preset was published with, for a configuration that gives no length itself."""
        return None

    @property
    def is_float(self) -> bool:
        """Whether the section's preset was published as float files, in which no peak is too high and no example needs a gain."""
        return False

    def num_signals(self, num_stems: int) -> int:
        """How many signals, inputs and targets, a pair of a track with so many stems has at most: what its size is forecast by."""
        del num_stems
        return 2

    @property
    def needs_parts(self) -> bool:
        """Whether the recipe, so configured, reads ``TrackMaterial.parts``, where the configuration takes stems apart."""
        return False

    @property
    def needs_normalisations(self) -> bool:
        """Whether the recipe, so configured, reads ``TrackMaterial.normalisations``: then the estimate stage writes that table."""
        return False


def with_preset(values: Any, presets: Mapping[str, Mapping[str, Any]]) -> Any:
    """The keys of a section with those of its ``preset`` beneath them: what is given wins, table within table."""
    preset = values.get("preset") if isinstance(values, dict) else None
    return merged(presets[preset], values) if isinstance(preset, str) and preset in presets else values


def merged(beneath: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """What is given, and beneath it what it leaves out, table within table."""
    nested = [key for key, value in given.items() if isinstance(value, dict) and isinstance(beneath.get(key), dict)]
    both = {key: merged(beneath[key], given[key]) for key in nested}
    return {**beneath, **given, **both}


@dataclass(frozen=True)
class Draft:
    """One pair without its book-keeping."""

    start_frame: int
    inputs: tuple[Signal, ...]
    targets: tuple[Signal, ...]
    text: str | None = None
    redraw_below: float = 0.0
    min_change_db: float | None = None


def min_change_field(default: float = MIN_CHANGE_DB) -> Any:
    """The key ``min_change_db`` of a recipe whose pairs have removed or added effects."""
    return Field(
        default,
        ge=-120.0,
        le=0.0,
        description="smallest audible change: a pair is drawn again if one of its removed or added effects changes the signal by "
        "less than this; -120 accepts nearly every pair",
        json_schema_extra=since("0.1", unit="dB of the signal's energy"),
    )


@dataclass(frozen=True)
class TrackMaterial:
    """All that is known about one track when its pairs are planned."""

    track: Track
    stems: tuple[Stem, ...]
    estimates: dict[str, Estimate] = field(repr=False)
    sample_rate: int
    num_frames: int
    normalisations: Mapping[str, Normalisation] = field(default_factory=dict, repr=False)
    tempo: TrackEstimate | None = field(default=None, repr=False)
    others: PartnerTracks[TrackMaterial] | None = field(default=None, repr=False)
    parts: Mapping[str, TrackMaterial] = field(default_factory=dict, repr=False)  # name of a stem -> its parts, with their residual
    _found: dict[tuple[str, str], np.ndarray] = field(default_factory=dict, repr=False, compare=False)  # shared by its copies

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

    @cached_property
    def on_beat(self) -> tuple[str, ...]:
        """Names of the stems for which an excerpt may start on a beat."""
        return tuple(name for name in self.sounding if len(self._beats(name)))

    def choose(self, wanted: Sequence[str]) -> tuple[str, ...]:
        """The wanted stems, or all if none is named. Raises Refused if the track lacks one."""
        missing = [name for name in wanted if name not in self.named]
        if missing:
            raise Refused(f"no stem {missing[0]!r}; the track has {', '.join(self.named)}")
        return tuple(wanted) or tuple(self.named)

    def draw_excerpt(self, names: Sequence[str], rng: np.random.Generator, *, align: Literal["none", "beats"] = "none") -> int:
        """Draws one of the stems that sound and the start of an excerpt in which it does. Raises Refused if there is none."""
        if align == "beats":
            self.check_beats()
        if not names:
            raise Refused("none of its stems is audible")
        possible = self.on_beat if align == "beats" else self.sounding
        found = [name for name in names if name in possible] or list(names[:1])
        name = found[int(rng.random() * len(found))]
        return self.excerpt_on_beat(name, rng) if align == "beats" else self.excerpt(name, rng)

    def excerpt(self, name: str, rng: np.random.Generator) -> int:
        """Draws the start of an excerpt in which the stem sounds. Raises Refused if there is none."""
        starts = self._starts(name)
        if not len(starts):
            raise Refused(
                f"the stem {name!r} is nowhere active for {MIN_ACTIVE_SHARE:.0%} of an excerpt of {self.num_frames / self.sample_rate:g} s"
            )
        # The last second from which an excerpt fits may be a part of one: it holds fewer starts, and is drawn as much less often.
        cut = max(0, (int(starts[-1]) + 1) * self.sample_rate - (self.track_frames - self.num_frames + 1))
        second, frame = divmod(int(rng.random() * (len(starts) * self.sample_rate - cut)), self.sample_rate)
        return int(starts[second]) * self.sample_rate + frame

    def excerpt_on_beat(self, name: str, rng: np.random.Generator) -> int:
        """Draws an excerpt as ``excerpt`` does and moves it to the nearest beat at which it may start. Raises Refused if there is none."""
        drawn, beats = self.excerpt(name, rng), self._beats(name)
        if not len(beats):
            raise Refused(f"the stem {name!r} is active at no beat from which an excerpt of {self.num_frames / self.sample_rate:g} s fits")
        after = int(np.searchsorted(beats, drawn))
        near = beats[max(0, after - 1) : after + 1]
        return int(near[np.abs(near - drawn).argmin()])

    def check_beats(self) -> None:
        """Raises Refused if no beats of the track are known."""
        if self.tempo is None:
            raise Refused("its tempo and beats were not estimated; run stemwright estimate with this configuration")
        if self.tempo.tempo_bpm is None:
            raise Refused("no beat was found in it; align = 'beats' needs beats")

    def loudness_lufs(self, name: str) -> float:
        """Integrated loudness of the stem as its file has it. Raises Refused if it is silent."""
        loudness = self.estimates[name].loudness_lufs
        if loudness is None:
            raise Refused(f"the stem {name!r} is silent")
        return loudness + self.named[name].gain_db

    def channels_of(self, name: str, *, mono: bool = False) -> Channels:
        """What is known of the channels of a stem, or of their mean if it is taken in mono."""
        estimate = self.estimates[name]
        if mono or self.named[name].audio.num_channels == 1:
            return "one"
        equal = estimate.width is not None and estimate.width < EQUAL_WIDTH and abs(estimate.pan or 0.0) < EQUAL_PAN
        return "equal" if equal else "different"

    def is_silent(self, name: str, target_db: float, measure: Literal["loudness", "peak"] = "loudness") -> bool:
        """Whether the stem is silent, or so soft that it is taken for silence where it should be brought to a loudness or peak."""
        from stemwright.datagen.effects.loudness import is_taken_for_silence

        estimate = self.estimates[name]
        level_db = estimate.loudness_lufs if measure == "loudness" else estimate.peak_dbfs
        return is_taken_for_silence(None if level_db is None else level_db + self.named[name].gain_db, target_db)

    def crest_db(self, name: str) -> float | None:
        """The stem's peak over its loudness, both over the track; None where one of them is not known."""
        peak, loudness = self.estimates[name].peak_dbfs, self.estimates[name].loudness_lufs
        return None if peak is None or loudness is None else peak - loudness

    def sounds_in(self, name: str, start_frame: int) -> bool:
        """Whether the stem sounds in half of the seconds of an excerpt, as it does where an excerpt is drawn for it."""
        return start_frame // self.sample_rate in self._starts(name)

    def fader_to(self, name: str, loudness_lufs: float) -> EffectUse:
        """The fader that scales the stem to a loudness, within its range (-48 to +24 dB)."""
        return fader(loudness_lufs - self.loudness_lufs(name))

    def peak_dbfs(self, name: str) -> float:
        """Largest sample of the stem as its file has it. Raises Refused if it is silent or was not measured."""
        peak = self.estimates[name].peak_dbfs
        if peak is None:
            raise Refused(f"the stem {name!r} is silent, or its peak was not measured: run stemwright estimate")
        return peak + self.named[name].gain_db

    def fader_to_peak(self, name: str, peak_dbfs: float) -> EffectUse:
        """The fader that scales the largest sample of the whole stem to a level, within its range."""
        return fader(peak_dbfs - self.peak_dbfs(name))

    def normalising(self, name: str) -> tuple[EffectUse, ...]:
        """The chain that normalises the stem's effects to the profile of its name. Raises Refused if there is none."""
        if name not in self.normalisations:
            raise Refused(f"the stem {name!r} has no normalisation; run stemwright estimate with this configuration, or take other inputs")
        return self.normalisations[name].chain

    @cached_property
    def cache(self) -> dict[str, tuple[Signal, ...]]:
        """Signals that are alike in all pairs of one kind of this track: planned once."""
        return {}

    def sum_of(self, name: str, stems: Sequence[Stem]) -> Signal:
        """The signal that adds stems as they are."""
        return Signal(name=name, branches=tuple(Branch(source_id=stem.id) for stem in stems))

    def _starts(self, name: str) -> np.ndarray:
        """Seconds at which an excerpt may start for the stem to sound in enough of it."""
        if ("starts", name) not in self._found:
            active = np.asarray(self.estimates[name].active, dtype=np.int64)
            seconds = max(1, round(self.num_frames / self.sample_rate))
            total = np.concatenate([[0], np.cumsum(active)])
            last = max(0, (self.track_frames - self.num_frames) // self.sample_rate)
            start = np.arange(min(last, len(active) - 1) + 1)
            share = (total[np.minimum(start + seconds, len(active))] - total[start]) / seconds
            self._found["starts", name] = start[share >= MIN_ACTIVE_SHARE]
        return self._found["starts", name]

    def _beats(self, name: str) -> np.ndarray:
        """Frames of the beats at which an excerpt may start for the stem to sound in enough of it."""
        if ("beats", name) not in self._found:
            beats = np.rint(np.asarray(self.tempo.beats_s if self.tempo else (), dtype=np.float64) * self.sample_rate).astype(np.int64)
            beats = beats[beats + self.num_frames <= self.track_frames]
            allowed = np.zeros(self.track_frames // self.sample_rate + 1, dtype=bool)
            allowed[self._starts(name)] = True
            self._found["beats", name] = beats[allowed[beats // self.sample_rate]]
        return self._found["beats", name]


def fader(gain_db: float) -> EffectUse:
    """A fader with a gain, limited to its range."""
    return EffectUse(effect="fader", settings={"gain_db": round(within_fader(gain_db), 4)})
