"""``remix``: mixes that were never released. Stems of several songs together, or one song through a console of random settings.

    songs     the stems of different songs of one split whose tempo and key match, each from a beat on, under one joint gain
    console   every stem of the track through its own equaliser, compressor and fader, and the sum through a bus of the same
    both      each pair is one or the other, by a draw

Conventions
    songs: the excerpt starts on a beat of the track, and each stem from elsewhere on a beat of its own song, so the first beats fall
    together; ``Branch.offset_frames`` is the offset between the songs. Nothing is stretched in time or shifted in pitch: beats drift apart
    over the excerpt by as much as the tempos differ. All songs of a pair match one another (``stemwright.datagen.pairs.partners`` says
    when), not only the track's own. Stems keep the level of their files; the joint gain brings the sum of their powers to
    ``loudness_lufs``. A stem's source says which song it is of. The first stem is always the track's own.
    console: inputs are the dry stems, levelled to ``loudness_lufs`` each so that a threshold means the same on every song; the target has
    the same level first, then what was drawn. All of it is in the row: the chains of the target's branches, and its bus. Every effect
    of the console is ``added``; one that does nothing has its pair drawn again (``stemwright.datagen.pairs.audibility``).
    The faders of the strips are a balance: each is drawn in its range, and all are moved by one gain that sets the sum of the powers to
    ``loudness_lufs``, so that the bus has the same to do however many stems there are. A range that is given for them is taken as it is.
    The bus scales the highest sample of the excerpt to a level that is drawn, as an engineer leaves headroom: what equalisers, and the
    onsets that a slow compressor lets through, add to a peak is known only when they have run. Its gain is in the example's row
    (``levelled_db``).
    A mono track has no pan, nor has the bus.
    ``sends`` and ``rides`` are drawn last, so that a pair is otherwise the same without them. Stems that sound feed every send, after their
    faders and rides.
    A stem that does not sound in the excerpt is in the mix as it is: nothing could be learnt from its strip.
    A stem that would have to be lifted by more than 40 dB is silence: an input without branches, and no part of the mix.

Preset (what is given besides wins)
    dmc       the console of Steinmetz et al. 2021: equaliser, compressor, gain and pan of each stem, and sends to one stereo reverb;
              nothing on the sum but its level; 262,144 samples at 44.1 kHz. Stems are levelled to one loudness, where theirs are to one
              peak.

References
    Uhlich et al. 2017 for mixing stems of different songs as training data; Steinmetz et al. 2021 for what a console consists of.
    15 % of tempo and 3 semitones are this project's limits for stems that fit together without being changed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal, cast

import numpy as np
from pydantic import Field, field_validator, model_validator

from stemwright.datagen.effects import EFFECTS
from stemwright.datagen.pairs.drawing import Channels, Ranges, draw_settings, draw_use, effective_ranges
from stemwright.datagen.pairs.recipes.base import (
    MOST_PER_TRACK,
    Draft,
    RecipeConfig,
    Shape,
    TrackMaterial,
    fader,
    min_change_field,
    with_preset,
)
from stemwright.datagen.pairs.recipes.shared_effects import ALSO_CALLED, RIDE, draw_ride, draw_send
from stemwright.datagen.pairs.section import since
from stemwright.manifests.pair_records import Branch, Signal
from stemwright.manifests.records import EffectUse, Refused

if TYPE_CHECKING:
    from stemwright.datagen.pairs.partners import PartnerTracks
    from stemwright.manifests.records import TrackEstimate

STRIP = ("eq", "compressor", "fader")  # of one stem, in this order; the last has its level
HIGHEST_DRY_DBFS = -1.0  # a stem of sharp peaks is brought to less than its loudness, so that its dry side needs no joint gain
PRESETS: dict[str, dict[str, Any]] = {"dmc": {"mode": "console", "bus_effects": [], "sends": ["reverb"]}}
SHAPES = {"dmc": Shape(44_100, 262_144)}

Peak = Annotated[float, Field(ge=-60.0, le=0.0)]
Gain = Annotated[float, Field(ge=-48.0, le=24.0)]


class Config(RecipeConfig):
    """The section ``[pairs.remix]``: mixes that were never released, made from the stems of one song or several."""

    per_track: int = Field(
        0,
        ge=0,
        le=MOST_PER_TRACK,
        description="number of pairs of this kind planned for each track; 0: none",
        json_schema_extra=since("0.1", unit="pairs a track"),
    )
    preset: Literal["dmc"] | None = Field(
        None,
        description="published setup that fills in the keys that are not given: dmc (a strip for each stem, and one reverb that "
        "all of them are sent to)",
        json_schema_extra=since("0.1"),
    )
    mode: Literal["songs", "console", "both"] = Field(
        "songs",
        description="what a remix is made of; songs: stems of several songs with matching tempo and key; console: one song through "
        "a console with random settings; both: either one, drawn for each pair",
        json_schema_extra=since("0.1"),
    )
    stems: tuple[str, ...] = Field(
        (), description="names of the stems to use as inputs, in this order; empty: all stems of the track", json_schema_extra=since("0.1")
    )
    loudness_lufs: float = Field(
        -20.0,
        ge=-70.0,
        le=0.0,
        description="in songs mode, integrated loudness of the remix, set by one joint gain; in console mode, integrated loudness "
        "of each dry stem",
        json_schema_extra=since("0.1", unit="LUFS"),
    )
    mix_peak_dbfs: tuple[Peak, Peak] = Field(
        (-9.0, -1.0),
        description="console mode only: range [low, high] that the sample peak of the mix is drawn from",
        json_schema_extra=since("0.1", unit="dBFS"),
    )
    min_change_db: float = min_change_field()
    tempo_share: float = Field(
        0.15,
        ge=0.0,
        le=1.0,
        description="songs mode only: largest tempo difference between the fastest and the slowest song of a remix",
        json_schema_extra=since("0.1", unit="fraction of the tempo"),
    )
    semitones: int = Field(
        3,
        ge=0,
        le=6,
        description="songs mode only: largest distance between the keys of two songs; a minor key counts as its relative major",
        json_schema_extra=since("0.1", unit="semitones"),
    )
    num_songs: int = Field(
        4, ge=2, le=64, description="songs mode only: largest number of songs in one remix", json_schema_extra=since("0.1", unit="songs")
    )
    bus_effects: tuple[Literal["eq", "compressor"], ...] = Field(
        ("eq", "compressor"),
        description="console mode only: effects of the sum, in this order, before its level is set; empty: none",
        json_schema_extra=since("0.1"),
    )
    sends: tuple[Literal["reverb", "delay"], ...] = Field(
        (),
        description="console mode only: effects that the stems share, each fed by all of them with gains of their own; empty: none. "
        '"room", as `stemwright fit --send` calls it, is "reverb"',
        json_schema_extra=since("0.1"),
    )
    send_gain_db: tuple[Gain, Gain] = Field(
        (-30.0, -6.0),
        description="console mode only: range [low, high] that the gain of a stem into a send is drawn from",
        json_schema_extra=since("0.1", unit="dB"),
    )
    rides: bool = Field(
        False,
        description="console mode only: whether each fader moves over the excerpt, by an effect envelope whose settings are drawn",
        json_schema_extra=since("0.1"),
    )
    ranges: Ranges = Field(
        default_factory=dict,
        description="ranges that settings of an effect are drawn from, instead of its typical ranges: a table "
        "[pairs.remix.ranges.EFFECT] with lines setting = [low, high]",
        json_schema_extra=since("0.1"),
    )

    @model_validator(mode="before")
    @classmethod
    def _preset(cls, values: Any) -> Any:
        return with_preset(values, PRESETS)

    @field_validator("sends", mode="before")
    @classmethod
    def _as_fit_calls_them(cls, value: Any) -> Any:
        return (
            [ALSO_CALLED.get(name, name) if isinstance(name, str) else name for name in value] if isinstance(value, list | tuple) else value
        )

    @model_validator(mode="after")
    def _known_ranges(self) -> Config:
        for effect, ranges in self.ranges.items():
            known_effects = (*STRIP, *self.sends, *((RIDE,) if self.rides else ()))
            if effect not in known_effects:
                raise ValueError(f"ranges: expected ranges for effects of a console: {', '.join(known_effects)}; got ranges for {effect!r}")
            known = {**EFFECTS[effect].TYPICAL, **ranges}
            try:
                draw_settings(EFFECTS[effect].Settings, np.random.default_rng(0), known)
            except ValueError as error:  # a wrong name or range
                raise ValueError(f"[pairs.remix.ranges.{effect}]: {error}") from error
        return self

    @model_validator(mode="after")
    def _levels_are_ranges(self) -> Config:
        for name in ("mix_peak_dbfs", "send_gain_db"):
            low, high = getattr(self, name)
            if low > high:
                raise ValueError(f"{name}: expected [low, high] with low <= high; got {[low, high]}")
        if self.mode == "songs" and (unused := [name for name in ("sends", "rides") if getattr(self, name)]):
            raise ValueError(f"{', '.join(unused)}: only mixes of a console have them; expected mode = 'console' or 'both', got 'songs'")
        if len(set(self.sends)) < len(self.sends):
            raise ValueError(f"sends: expected each effect once; got {', '.join(self.sends)}")
        return self

    @property
    def needs_tempo(self) -> bool:
        """Songs are matched by tempo and key."""
        return self.mode != "console"

    @property
    def shape(self) -> Shape | None:
        """The excerpts that the preset was published with."""
        return SHAPES[self.preset] if self.preset else None

    def num_signals(self, num_stems: int) -> int:
        """The inputs and their mix."""
        return 1 + (len(self.stems) or num_stems)


def draft(material: TrackMaterial, config: Config, rng: np.random.Generator) -> Draft:
    """Plans one remix. Raises Refused if no other song matches, or a stem is not there."""
    by_songs = config.mode == "songs" or (config.mode == "both" and rng.random() < 0.5)
    return _songs(material, config, rng) if by_songs else _console(material, config, rng)


def _songs(material: TrackMaterial, config: Config, rng: np.random.Generator) -> Draft:
    """Stems of different songs, the first of them the track's own."""
    names = material.choose(config.stems)
    material.check_beats()
    kept = [name for name in names if name in material.on_beat]
    if not kept:
        raise Refused(f"none of its stems {', '.join(names)} is active at a beat from which an excerpt fits")
    own = kept[int(rng.random() * len(kept))]
    start_frame = material.excerpt_on_beat(own, rng)
    songs = _choose_songs(material, [name for name in names if name != own], config, rng)
    starts = {name: song.excerpt_on_beat(name, rng) for name, song in songs.items() if song is not material}
    songs[own] = material
    gain = _joint_gain(songs, config)
    branches = {
        name: Branch(source_id=songs[name].named[name].id, chain=(gain,), offset_frames=starts.get(name, start_frame) - start_frame)
        for name in names
        if not songs[name].is_silent(name, config.loudness_lufs)
    }
    inputs = tuple(Signal(name=name, branches=(branches[name],) if name in branches else ()) for name in names)
    return Draft(start_frame, inputs, (Signal(name="mix", branches=tuple(branches.values())),))


def _matching(material: TrackMaterial, config: Config) -> tuple[PartnerTracks[TrackMaterial], np.ndarray]:
    """The tracks of the split, and which of them match. Raises Refused if none does."""
    tempo, others = cast("TrackEstimate", material.tempo), material.others
    if tempo.key is None:
        raise Refused("its key is unclear; stems of other songs are matched by tempo and key")
    fits = others.matching(material.track.id, config.tempo_share, config.semitones) if others else np.zeros(0, bool)
    if others is None or not fits.any():
        raise Refused(
            f"no other song of the split {material.track.split!r} has a tempo within {config.tempo_share:.0%} of "
            f"{tempo.tempo_bpm:g} per minute and a key within {config.semitones} semitones of {tempo.key} "
            f"({max(0, len(fits) - 1)} compared); mode = 'console' needs none"
        )
    return others, fits


def _choose_songs(material: TrackMaterial, names: Sequence[str], config: Config, rng: np.random.Generator) -> dict[str, TrackMaterial]:
    """For each name the song whose stem is taken: another one wherever one matches all songs taken so far, else the track itself."""
    others, fits = _matching(material, config)
    songs: dict[str, TrackMaterial] = {}
    taken: list[str] = []
    for name in names:
        possible = fits & others.holding(name)
        if len(taken) == config.num_songs - 1:
            possible = possible & others.only(taken)
        if not possible.any():
            songs[name] = material
            continue
        song = others.draw(possible, rng)
        songs[name] = song
        if song.track.id not in taken:
            taken.append(song.track.id)
            fits = fits & (others.matching(song.track.id, config.tempo_share, config.semitones) | others.only([song.track.id]))
    if not taken:
        raise Refused(f"no matching song has one of the stems {', '.join(names) or 'that it lacks'}")
    return songs


def _joint_gain(songs: Mapping[str, TrackMaterial], config: Config) -> EffectUse:
    """One fader for all stems, by the sum of their powers over their songs."""
    levels = [song.loudness_lufs(name) for name, song in songs.items() if song.estimates[name].loudness_lufs is not None]
    loudness_lufs = 10.0 * math.log10(sum(10.0 ** (level / 10.0) for level in levels)) if levels else config.loudness_lufs
    return fader(config.loudness_lufs - loudness_lufs)


def _console(material: TrackMaterial, config: Config, rng: np.random.Generator) -> Draft:
    """One song through a console of random settings."""
    names = material.choose(config.stems)
    start_frame = material.draw_excerpt(names, rng)
    if not material.cache:
        material.cache["inputs"] = tuple(_dry(material, name, config) for name in names)
    inputs = material.cache["inputs"]
    sounding = [signal.name for signal in inputs if signal.branches and material.sounds_in(signal.name, start_frame)]
    heard = {name: material.channels_of(name) for name in sounding}
    strips = {name: _drawn(STRIP, config, material, rng, channels=channels) for name, channels in heard.items()}
    if not strips:
        raise Refused("none of its stems is audible")
    offset_db = 0.0 if "gain_db" in config.ranges.get(STRIP[-1], {}) else _offset_db(list(strips.values()))
    branches = tuple(
        branch.model_copy(update={"chain": (*branch.chain, *_moved(strips.get(signal.name, ()), offset_db))})
        for signal in inputs
        for branch in signal.branches
    )
    channels: Channels = "one" if material.stems[0].audio.num_channels == 1 else "different"
    bus = _drawn(config.bus_effects, config, material, rng, channels=channels)
    low, high = config.mix_peak_dbfs
    level = EffectUse(effect="loudness", settings={"target_db": round(low + rng.random() * (high - low), 2), "measure": "peak"})
    fed = [signal.name in strips for signal in inputs for _ in signal.branches]
    if config.rides:
        wanted, length = config.ranges.get(RIDE, {}), (material.num_frames, material.sample_rate)
        rides = [(draw_ride(wanted, *length, rng),) if is_fed else () for is_fed in fed]
        branches = tuple(branch.model_copy(update={"chain": (*branch.chain, *ride)}) for branch, ride in zip(branches, rides, strict=True))
    shape = (material.sample_rate, channels)
    sends = tuple(draw_send(name, config.ranges.get(name, {}), config.send_gain_db, fed, shape, rng) for name in config.sends)
    mix = Signal(name="mix", branches=branches, bus=(*bus, level), sends=sends)
    return Draft(start_frame, inputs, (mix,), min_change_db=config.min_change_db)


def _dry(material: TrackMaterial, name: str, config: Config) -> Signal:
    if material.is_silent(name, config.loudness_lufs):
        return Signal(name=name, branches=())
    gain_db = float(material.fader_to(name, config.loudness_lufs).settings["gain_db"])
    chain = (fader(min(gain_db, HIGHEST_DRY_DBFS - material.peak_dbfs(name))),)
    return Signal(name=name, branches=(Branch(source_id=material.named[name].id, chain=chain),))


def _offset_db(strips: Sequence[tuple[EffectUse, ...]]) -> float:
    """The gain for all faders that makes the sum of the stems' powers, each times its fader, that of one stem."""
    powers = [10.0 ** (float(use.settings["gain_db"]) / 10.0) for *_, use in strips]
    return -10.0 * math.log10(sum(powers))


def _moved(strip: tuple[EffectUse, ...], offset_db: float) -> tuple[EffectUse, ...]:
    """A strip with more gain on its fader, within the fader's range."""
    if not offset_db or not strip:
        return strip
    *before, last = strip
    gain_db = fader(float(last.settings["gain_db"]) + offset_db).settings["gain_db"]
    return (*before, last.model_copy(update={"settings": {**last.settings, "gain_db": gain_db}}))


def _drawn(
    effects: Sequence[str], config: Config, material: TrackMaterial, rng: np.random.Generator, *, channels: Channels
) -> tuple[EffectUse, ...]:
    """The effects of a strip or a bus with settings that are drawn."""
    wanted = {effect: effective_ranges(effect, config.ranges.get(effect, {}), channels) for effect in effects}
    return tuple(draw_use(effect, wanted[effect], material.sample_rate, rng, role="added") for effect in effects)
