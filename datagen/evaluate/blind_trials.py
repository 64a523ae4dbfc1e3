"""Blind estimates beside the truth: stems through compressors and in rooms that are known, estimated without their dry sound.

Conventions
    Stems are float32 [C, T]. Through a compressor a stem has its peak at -10 dBFS; settings are drawn from the ranges of RemFX. The true
    mean gain reduction is that over the 5 ms in which the result sounds. "found": the answer has settings; of an untouched stem that
    is a false alarm. What a real stem has of its own compression and reverberation is an error of the estimate here.
    The peer of the reverberation time is the method of the textbooks without learning: straight falls of the level over 0.2 s in half
    octaves, at the fast end of which (10 %) is the room; its quantile is not fitted. A constant is the geometric mean of the times drawn.

References
    Ratnam et al. 2003: decay rates. Eaton et al. 2016 (the ACE challenge): the measures of reverberation. RemFX (Rice et al. 2023): ranges.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from stemwright.datagen.evaluate import known_rooms
from stemwright.manifests.sound.resampling import resample

if TYPE_CHECKING:
    from stemwright.datagen.inverse.blind.heard_reverberation import HeardReverberation
    from stemwright.datagen.inverse.blind.profile import Profile

Array = NDArray[np.floating]
Gain = NDArray[np.float64]
Compress = Callable[[Array, int, np.random.Generator], tuple[Array, Gain]]  # stem, rate -> wet, its gain [T]
DrawRoom = Callable[[str, np.random.Generator, int], known_rooms.Room]
PEAK = np.float32(10.0**-0.5)
UNTOUCHED, NO_ROOM = "untouched", "none"
PEER_QUANTILE, PEER_LENGTH = 0.1, 24
CONSTANT_S = math.sqrt(known_rooms.RT60_S[0] * known_rooms.RT60_S[1])


class Compressed(NamedTuple):
    """One trial: by whom, of which stem, the true mean gain reduction, and the answer: value, interval, confidence, and its kind."""

    maker: str
    stem: str
    true_db: float
    value_db: float
    low_db: float
    high_db: float
    confidence: float
    found: bool
    answered: bool


class HeardStem(NamedTuple):
    """A stem [C, T] of a song that is to be heard in rooms."""

    song: str
    stem: str
    audio: Array
    sample_rate: int


class InRoom(NamedTuple):
    """One stem in one room (a time of NaN: in none), and what was found by us and by the peer."""

    song: str
    stem: str
    make: str
    rt60_s: float
    drr_db: float
    found: HeardReverberation
    peer_s: float

    @property
    def answered(self) -> bool:
        """Whether a time was given."""
        return self.found.rt60_s is not None


def untouched(stem: Array, sample_rate: int, rng: np.random.Generator) -> tuple[Array, Gain]:
    """The stem as it is, with a gain of 1."""
    del sample_rate, rng
    return stem, np.ones(stem.shape[1])


def own_compressor(stem: Array, sample_rate: int, rng: np.random.Generator, *, detector: str = "peak") -> tuple[Array, Gain]:
    """A stem [C, T] through a compressor of ours, and the gain that it had [T]."""
    import torch

    from stemwright.datagen.effects import compressor
    from stemwright.datagen.effects.settings import draw

    settings = draw(compressor.Settings, rng, {**compressor.TYPICAL, "makeup_db": 0.0, "linked": True, "detector": detector})
    gain = compressor.gain_curve(torch.from_numpy(stem), sample_rate, settings).numpy()[0]
    return stem * gain.astype(np.float32), gain


def compressor_trials(
    name: str, audio: Array, sample_rate: int, profile: Profile, makers: Mapping[str, tuple[Compress, int]], rng: np.random.Generator
) -> Iterator[Compressed]:
    """Every compressor on one stem, each so many times."""
    import torch

    from stemwright.datagen.effects import EFFECTS
    from stemwright.datagen.inverse.blind.profile import mean_gain_reduction

    stem = np.ascontiguousarray(audio, np.float32)
    stem = stem * (PEAK / np.float32(np.abs(stem).max()))
    for maker, (compress, times) in makers.items():
        for _ in range(times):
            wet, gain = compress(stem, sample_rate, rng)
            true = mean_gain_reduction(wet, gain, sample_rate)
            answer = EFFECTS["compressor"].estimate(torch.from_numpy(np.ascontiguousarray(wet)), sample_rate, profile[name])
            known = answer.quantity
            value, low, high = (known.value, known.low, known.high) if known else (math.nan, math.nan, math.nan)
            yield Compressed(maker, name, true, value, low, high, answer.confidence, answer.settings is not None, known is not None)


def room_trials(
    dry: HeardStem, makes: Sequence[str], rng: np.random.Generator, draw_room: DrawRoom = known_rooms.draw_room
) -> Iterator[InRoom]:
    """One stem dry, and in a room of each make."""
    from stemwright.datagen.inverse.blind.heard_reverberation import estimate_reverberation

    rate = dry.sample_rate
    yield InRoom(dry.song, dry.stem, NO_ROOM, math.nan, math.inf, estimate_reverberation(dry.audio, rate), math.nan)
    for make in makes:
        made = draw_room(make, rng, rate)
        wet = known_rooms.through(dry.audio, made)
        yield InRoom(dry.song, dry.stem, make, made.rt60_s, made.drr_db, estimate_reverberation(wet, rate), decay_rate(wet, rate))


def decay_rate(audio: Array, sample_rate: int) -> float:
    """The peer: the time in s at the fast end of the straight falls of a stem [C, T]; NaN without any."""
    from stemwright.datagen.inverse.blind import reverberation_features as features

    level = features.band_levels(resample(audio, sample_rate, features.SAMPLE_RATE))
    level = level[np.isfinite(level).all(1)]
    slope, deviation = features.lines(level, PEER_LENGTH)
    falls = slope[(level[:, : slope.shape[1]] > -features.SOUNDS_DB) & (slope < -3.0) & (deviation < features.STRAIGHT_DB)]
    return float(np.quantile(-60.0 / falls, PEER_QUANTILE)) if len(falls) else math.nan
