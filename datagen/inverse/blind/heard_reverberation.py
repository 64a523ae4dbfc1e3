"""The reverberation of a stem without its dry signal: its time and its level, each with an interval, or why nothing can be said.

    rt60_s   time in s in which the reverberation falls by 60 dB: the mean of the octaves of 500 Hz and 1 kHz (ISO 3382-1)
    drr_db   direct-to-reverberant ratio: the energy of the direct sound, the first 2.5 ms of a response, against all that follows

A small network maps what rooms leave in a stem (``stemwright.datagen.inverse.blind.reverberation_features``) to a distribution of each:
probabilities of bins of log2 of the time, and of bins of the ratio, of which the last is "none". Medians are the answers, the 10th and 90th
percentiles their intervals, and the confidence of a time is the probability that it is right within ``TOLERANCE``. The weights are data of
this package, made of dry synthetic songs, scores and tracker modules in synthetic rooms (``benchmarks/train_reverberation.py``); rooms of
other makes and other music are for tests only. No profile is needed: a reverberation time is a fact about a sound, not a deviation from
what is typical.

Conventions
    A stem is float [C, T]. The answer is about its loudest 30 s, of whatever reverberation is heard: that of the recording counts as well
    as one that was added. Where most sounds decay slowly by themselves (a pad, a sustained bass), only what differs between two channels
    tells a room from the sound; of a dry sound that is wide itself, or in mono, there is mostly no answer. Where the ratio is above
    ``DRY_DB`` no reverberation is found, which is an answer of its own: ``is_dry``.
    Sample rates below 16 kHz lack bands that the network needs.

References
    Eaton et al. 2016 (the ACE challenge): both quantities, and methods compared. Gamper and Tashev 2018: a network for the time. Xiong et
    al. 2018: both at once, as a distribution over classes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from stemwright.datagen.inverse.blind.features import loudest
from stemwright.datagen.inverse.blind.reverberation_features import SAMPLE_RATE, deepest_fall, levels_of, reverberation_features
from stemwright.manifests.sound.resampling import resample

if TYPE_CHECKING:
    import torch

    from stemwright.datagen.inverse.blind.answers import Blind
    from stemwright.datagen.inverse.blind.profile import StemProfile

Array = NDArray[np.floating]

WEIGHTS = Path(__file__).with_name("heard_reverberation.npz")
OCTAVES = 0.2  # width of a bin of log2 of the time
TIMES = np.log2(0.1) + OCTAVES * np.arange(27)  # edges: 0.1 to 3.7 s
RATIO_STEP_DB = 2.0
RATIOS = -8.0 + RATIO_STEP_DB * np.arange(22)  # edges in dB: to 32, and a last bin for no reverberation
TOLERANCE = 0.25  # of the time, relative
# The distribution of the time is too narrow for other songs and rooms: its probabilities are raised to this power and divided by their sum,
# so that four of five intervals hold. The probability of being right within the tolerance is then mapped to the share of answers that were
# (``CALIBRATED``). Both, and the limits below, were chosen on songs that networks were not trained on (modules of five games, scores of
# two), in image sources and feedback delay networks; no benchmark reports these songs.
TEMPER = 0.75
NARROW = ((5, 9), (0.4, TEMPER))  # the power by the breadth of the stem, in bands: of basses and whistles, less can be believed
CALIBRATED = ((0.0, 0.25, 0.4, 0.55, 0.65, 0.8, 1.0), (0.1, 0.33, 0.53, 0.62, 0.73, 0.87, 0.95))
LEAST_CONFIDENCE = 0.55
DRY_DB = 22.0
MOST_DRY = 0.05  # probability of a ratio above ``DRY_DB`` up to which a time is given
SHORTEST_S = 2.0
LEAST_FALL_DB = 3.0  # within 0.26 s: a room of 2 s falls by 8 dB
INTERVAL = (0.1, 0.9)
LOWER_OVER_MIDDLE = 1.1  # decay time of low frequencies over that of 500 Hz and 1 kHz, in a ``room`` with its default damping


@dataclass(frozen=True)
class HeardReverberation:
    """An estimate, or an abstention: then ``rt60_s`` is None and ``reason`` says why.

    ``confidence`` is the probability that ``rt60_s`` is right within 25 %, 0 if it abstains. Low and high are the ends of 80 % intervals.
    A ratio is given wherever one could be found: 32 dB and more is no reverberation at all. ``is_dry``: no reverberation was found.
    """

    rt60_s: float | None
    rt60_low_s: float | None = None
    rt60_high_s: float | None = None
    drr_db: float | None = None
    drr_low_db: float | None = None
    drr_high_db: float | None = None
    confidence: float = 0.0
    is_dry: bool = False
    reason: str = ""


def estimate_reverberation(stem: Any, sample_rate: int) -> HeardReverberation:
    """Estimates the reverberation time and the direct-to-reverberant ratio of a stem whose dry signal is unknown.

    ``stem`` is float [C, T], numpy or torch, full scale 1.0, at ``sample_rate`` in Hz (16 kHz at least). Returns an object with
    ``rt60_s`` and ``drr_db``, the ends of their 80 % intervals (``rt60_low_s``, ``rt60_high_s``, ``drr_low_db``, ``drr_high_db``),
    ``confidence`` (0 to 1: that the time is right within 25 %) and ``is_dry``. Where nothing can be said, ``rt60_s`` is None and
    ``reason`` says why: silence, less than 2 s, no reverberation, or a sound that hides it. No profile is needed. The time is the mean of
    the octaves of 500 Hz and 1 kHz (ISO 3382-1). Raises ValueError for another shape or audio that is not finite.

    >>> import numpy, stemwright as sw
    >>> rng = numpy.random.default_rng(0)
    >>> clicks = (rng.normal(0, 0.3, (2, 441_000)) * (numpy.arange(441_000) % 44_100 < 1000)).astype("float32")
    >>> wet = sw.apply_chain(clicks, 44_100, [("room", {"rt60_s": 0.8, "wet_db": -6.0})])
    >>> found = sw.estimate_reverberation(wet, 44_100)
    >>> found.rt60_low_s < found.rt60_s < found.rt60_high_s
    True
    >>> sw.estimate_reverberation(0 * clicks, 44_100).reason
    'the stem is silent'
    """
    audio = _checked(stem, sample_rate)
    if sample_rate < SAMPLE_RATE:
        return HeardReverberation(None, reason=f"the sample rate is {sample_rate:g} Hz; reverberation is estimated from 16 kHz on")
    peak = max(float(audio.max(initial=0.0)), -float(audio.min(initial=0.0)))
    if not peak > 0.0:
        return HeardReverberation(None, reason="the stem is silent")
    if audio.shape[1] < SHORTEST_S * sample_rate:
        return HeardReverberation(None, reason=f"the stem has {audio.shape[1] / sample_rate:.2g} s; at least {SHORTEST_S:g} s are needed")
    heard = levels_of(resample(loudest(audio, sample_rate) / np.float32(peak), sample_rate, SAMPLE_RATE))
    fall_db = deepest_fall(heard.level)
    if math.isnan(fall_db):
        return HeardReverberation(None, reason="the stem sounds too seldom: a room cannot be heard in single short sounds")
    if fall_db < LEAST_FALL_DB:
        return HeardReverberation(None, reason="the stem is sustained: nothing in it decays, so that a room cannot be heard")
    times, ratios = _network()(reverberation_features(heard))
    return answer_of(tempered(times, float(np.interp(heard.breadth, *NARROW))), ratios)


def estimate_room(stem: torch.Tensor, sample_rate: int, profile: StemProfile) -> Blind:
    """The ``room`` whose reverberation a stem [C, T] has; the quantity is its time at middle frequencies. No profile is needed."""
    from stemwright.datagen.effects import room
    from stemwright.datagen.inverse.blind.answers import Blind, Quantity

    del profile
    found = estimate_reverberation(stem, sample_rate)
    if found.rt60_s is None or found.rt60_low_s is None or found.rt60_high_s is None or found.drr_db is None:
        return Blind(None, reason=found.reason)
    settings = room.Settings(rt60_s=round(LOWER_OVER_MIDDLE * found.rt60_s, 3), wet_db=round(-found.drr_db, 2))
    quantity = Quantity("reverberation time", found.rt60_s, found.rt60_low_s, found.rt60_high_s, "s")
    return Blind(settings, found.confidence, quantity, derived=("pre_delay_ms", "damping", "wet_db", "seed"))


def answer_of(times: Array, ratios: Array) -> HeardReverberation:
    """The answer that follows from the probabilities of the bins of the time and of the ratio."""
    drr_low, drr, drr_high = (round(float(value), 2) for value in percentiles(ratios, RATIOS, (INTERVAL[0], 0.5, INTERVAL[1])))
    nothing = HeardReverberation(None, drr_db=drr, drr_low_db=drr_low, drr_high_db=drr_high)
    if drr > DRY_DB:
        return replace(nothing, is_dry=True, reason="no reverberation was found")
    if ratios[RATIOS[:-1] >= DRY_DB].sum() > MOST_DRY:
        return replace(nothing, reason="whether there is reverberation is uncertain: it may be the decay of the sounds themselves")
    low, middle, high = percentiles(times, TIMES, (INTERVAL[0], 0.5, INTERVAL[1]))
    near = math.log2(1.0 + TOLERANCE)
    inside = np.interp([middle - near, middle + near], TIMES, np.append(0.0, np.cumsum(times)))
    confidence = round(float(np.interp(inside[1] - inside[0], *CALIBRATED)), 4)
    low_s, middle_s, high_s = (round(2.0 ** float(value), 4) for value in (low, middle, high))
    if confidence < LEAST_CONFIDENCE:
        reason = f"the time is between {low_s:.2g} and {high_s:.2g} s: the sounds of the stem decay too slowly, or too seldom, to say more"
        return replace(nothing, rt60_low_s=low_s, rt60_high_s=high_s, reason=reason)
    return replace(nothing, rt60_s=middle_s, rt60_low_s=low_s, rt60_high_s=high_s, confidence=confidence)


def tempered(probabilities: Array, power: float = TEMPER) -> Array:
    """The distribution that holds for other sounds, too: see ``TEMPER`` and ``NARROW``."""
    powers = probabilities**power
    return np.asarray(powers / powers.sum())


def percentiles(probabilities: Array, edges: Array, shares: tuple[float, ...]) -> Array:
    """Where a distribution over bins with these edges has its shares."""
    return np.interp(shares, np.append(0.0, np.cumsum(probabilities)), edges)


@dataclass(frozen=True)
class RoomNetwork:
    """A mean of networks with two hidden layers: features [P] -> probabilities of the bins of the time, and of the ratio."""

    centre: Array  # [P]
    scale: Array
    layers: tuple[tuple[Array, Array], ...]  # weight [K, in, out] and bias [K, 1, out] of each layer of the K networks

    def __call__(self, features: Array) -> tuple[Array, Array]:
        """Both distributions; a feature that is not defined counts as typical."""
        inputs = np.nan_to_num(np.clip((features - self.centre) / self.scale, -3.0, 3.0))
        hidden: Array = np.broadcast_to(inputs, (len(self.layers[0][0]), 1, len(inputs)))
        for weight, bias in self.layers[:-1]:
            hidden = np.maximum(hidden @ weight + bias, 0.0)
        scores = (hidden @ self.layers[-1][0] + self.layers[-1][1])[:, 0]
        split = len(TIMES) - 1
        return _softmax(scores[:, :split]).mean(0), _softmax(scores[:, split:]).mean(0)


def _softmax(scores: Array) -> Array:
    powers = np.exp(scores - scores.max(-1, keepdims=True))
    return np.asarray(powers / powers.sum(-1, keepdims=True))


@lru_cache(maxsize=1)
def _network() -> RoomNetwork:
    with np.load(WEIGHTS) as stored:
        arrays = {name: stored[name].astype(np.float64) for name in stored.files}
    layers = tuple((arrays[f"weight{n}"], arrays[f"bias{n}"]) for n in range(3))
    return RoomNetwork(arrays["centre"], arrays["scale"], layers)


def _checked(stem: Any, sample_rate: int) -> Array:
    if hasattr(stem, "detach"):
        stem = stem.detach().cpu().numpy()
    audio = np.asarray(stem)
    if audio.ndim != 2 or not np.issubdtype(audio.dtype, np.floating):
        raise ValueError(f"expected a stem of float [channels, time]; got {audio.dtype} of shape {list(audio.shape)}")
    if not np.isfinite(audio).all():
        raise ValueError("the audio contains NaN or infinite samples; repair or reject it before an estimate")
    if not sample_rate > 0:
        raise ValueError(f"a sample rate must be a positive number in Hz; got {sample_rate!r}")
    return np.asarray(audio, np.float32)
