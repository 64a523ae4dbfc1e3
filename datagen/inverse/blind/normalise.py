"""Effect normalisation: a chain that brings a stem to what is typical of its name, so that wet stems can stand for dry ones.

    eq          ten bands over two eqs; the spectrum of the result is the profile's in the directions they can move without working
                against each other (``stemwright.datagen.inverse.blind.normalise_bands``)
    compressor  takes down the loud onsets of a stem that is more dynamic than the profile's calmer songs (``CALM``), until it matches
                them, if a compressor can; one that is less dynamic is left as it is: nothing expands it
    width       the side over mid energy of the result is the profile's; a stem that is mono, or nearly, stays so
    fader       the loudness of the result is the profile's. A gain, not a ``loudness``: any excerpt then sounds as it does in the song

Reverberation stays as it is: a room can only be added, never taken off, so that a stem that is wetter than the profile would keep what
it has, and one that is given more decays as the sum of two rooms, which a second normalisation would find to be another one.

Conventions
    The settings are those of a fixed point. They are changed until the *result* has the features wanted, each within its tolerance
    (``SETTLED_DB``); a stem that has them gets an empty chain. So normalising twice is normalising once.
    What is far from everything typical is left alone, instead of being forced: frequencies that differ by much more than ``FAR_DB``, a
    side signal that would need more than ``MOST_WIDTH``, onsets that no compressor brings to the target: lowered as far as one can, they
    are lowered further by a second run, and the stem is crushed. This is decided on the result, so that a second run finds the same.
    The first ratio is the one typical of the stem's name. The attack is instant: a slower one lets a spike through at each
    onset, and then the onsets do not fall with the threshold.

References
    Martinez Ramirez et al. 2022 (FxNorm-automix): which features, in which order; ratios raised up to 20. There each step is done once,
    against the signal before it, so that a second run finds something to do.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from stemwright.datagen.effects import apply_chain
from stemwright.datagen.effects.ranges import within_fader
from stemwright.datagen.inverse.blind.answers import Abstained, check_profile
from stemwright.datagen.inverse.blind.compression import USUAL
from stemwright.datagen.inverse.blind.estimators import eq_bands, spectrum_of
from stemwright.datagen.inverse.blind.features import onset_height, onset_peaks, whole_side
from stemwright.datagen.inverse.blind.normalise_bands import FAR_DB, StemBands
from stemwright.datagen.inverse.blind.profile import StemProfile, summarise
from stemwright.manifests.decibels import db_to_gain
from stemwright.manifests.records import EffectUse, Refused
from stemwright.manifests.sound.formats import Audio
from stemwright.separation.loudness.meter import integrated_loudness

__all__ = ["FAR_DB", "Normalised", "Target", "normalise", "target_of"]

Array = NDArray[np.floating]

SETTLED_DB = {"eq": 0.05, "compressor": 0.1, "width": 0.02, "loudness": 0.02}
ROUNDS = 24
CALM = 25.0  # percentile over songs of the height of their onsets: what a more dynamic stem is brought to
RATIOS = (1.0, 2.0, 5.0)  # times the usual one, up to MOST_RATIO, if the one before cannot do it
MOST_RATIO = 20.0
ATTACK_MS, RELEASE_MS = 0.0, 250.0
LOWEST_DB, COARSE_DB, FINE_DB = -32.0, 4.0, 0.05  # thresholds, against the highest sample
MOST_WIDTH = 4.0


class Target(NamedTuple):
    """The targets of a stem: None where the profile has none."""

    bands: StemBands
    height_db: float | None
    side_db: float | None
    loudness_lufs: float


class Normalised(NamedTuple):
    """The chain, and the stem through it [C, T]."""

    chain: tuple[EffectUse, ...]
    audio: Audio


@dataclass
class _State:
    """The settings so far."""

    gains_db: Array
    threshold_db: float = 0.0
    ratio: float = 1.0
    width: float = 1.0
    gain_db: float = 0.0


def normalise(stem: Audio, sample_rate: int, profile: StemProfile) -> Normalised:
    """Brings a stem [C, T] to what is typical of its name; silence gets an empty chain.

    Raises Refused for a profile of too few songs, and for a stem so unlike the profile that no settings are stable: a second run would find
    other ones.
    """
    if not math.isfinite(integrated_loudness(stem, sample_rate)):
        return Normalised((), stem)
    try:
        target = target_of(profile)
        found = _Search(np.ascontiguousarray(stem, np.float32), sample_rate, target, profile.name).run()
        if found is None or _Search(found.audio, sample_rate, target, profile.name).run(1) is None:
            raise Abstained(f"the stem {profile.name!r} is too unlike those of the profile: no settings of the chain bring it near them")
    except Abstained as reason:
        raise Refused(str(reason)) from reason
    return found


def target_of(profile: StemProfile) -> Target:
    """What stems of a name are brought to. Raises Abstained for a profile of too few songs."""
    check_profile(profile)
    heights = onset_height(profile.values("crest_db"), profile.values("onset_peak_db"))
    heights = heights[np.isfinite(heights)]
    side = float(profile.typical("whole_side_db").middle)
    return Target(
        bands=StemBands.spread_over(eq_bands(profile)),
        height_db=float(np.percentile(heights, CALM)) if len(heights) else None,
        side_db=side if math.isfinite(side) else None,
        loudness_lufs=float(summarise(profile.values("loudness_lufs")).middle),
    )


class _Search:
    """The search for the fixed point of one stem [C, T]."""

    def __init__(self, stem: Audio, sample_rate: int, target: Target, name: str) -> None:
        self.stem, self.sample_rate, self.target = stem, sample_rate, target
        self.usual = USUAL.get(name, USUAL["other"])
        self.state = _State(np.zeros(len(target.bands.hz)))

    def run(self, rounds: int = ROUNDS) -> Normalised | None:
        """Changes the settings until the result meets the targets; None if it does not within the allowed rounds."""
        for _ in range(rounds):
            result = self._render(self._chain())
            if not self._improve(result):
                return Normalised(self._chain(), result)
        return None

    def _improve(self, result: Audio) -> bool:
        """Changes whatever the result shows to be off, first to last; the first that is off is changed alone but for cheap ones."""
        moved = self._improve_eq(result)
        if not moved:
            moved = self._improve_compressor(result)
        return any([moved, self._improve_width(result), self._improve_gain(result)])

    def _improve_eq(self, result: Audio) -> bool:
        bands = self.target.bands
        if bands.off_db(spectrum_of(result, self.sample_rate)) < SETTLED_DB["eq"]:
            return False
        before = self.state.gains_db
        self.state.gains_db = bands.solve(result, self.sample_rate, before)
        return bool(np.abs(self.state.gains_db - before).max() > 1e-3)

    def _improve_compressor(self, result: Audio) -> bool:
        if self.target.height_db is None or (height := self._height(result)) is None:
            return False
        over = height - self.target.height_db
        if abs(over) <= SETTLED_DB["compressor"] or (over < 0.0 and self.state.ratio == 1.0):
            return False
        source = self._render(self._chain(compress=False))
        before = (self.state.threshold_db, self.state.ratio)
        self.state.threshold_db, self.state.ratio = self._compression(source)
        return (self.state.threshold_db, self.state.ratio) != before

    def _compression(self, source: Audio) -> tuple[float, float]:
        """The threshold and ratio that lower the onsets of the compressor's input [C, T] to the target, or nearly."""
        unchanged = self._height(self._render(self._width(), source))
        if unchanged is None or unchanged <= self._wanted() + SETTLED_DB["compressor"]:
            return 0.0, 1.0
        for factor in RATIOS:
            ratio = min(self.usual.ratio * factor, MOST_RATIO)
            if (threshold_db := self._threshold(source, ratio, self._wanted())) is not None:
                return threshold_db, ratio
        return 0.0, 1.0  # none brings them there

    def _wanted(self) -> float:
        assert self.target.height_db is not None
        return self.target.height_db

    def _threshold(self, source: Audio, ratio: float, wanted: float) -> float | None:
        """The highest threshold with which the onsets reach the target, or None if there is none."""
        peak_db, high = _peak_db(source), 0.0
        for low in np.arange(-COARSE_DB, LOWEST_DB - 0.5, -COARSE_DB):
            if self._compressed_height(source, peak_db + low, ratio) <= wanted:
                break
            high = low
        else:
            return None
        while high - low > FINE_DB:
            middle = 0.5 * (low + high)
            low, high = (middle, high) if self._compressed_height(source, peak_db + middle, ratio) <= wanted else (low, middle)
        return self._rounded(peak_db + low)

    def _rounded(self, threshold_db: float) -> float:
        return float(np.clip(round(threshold_db, 3), -80.0, 0.0))

    def _compressed_height(self, source: Audio, threshold_db: float, ratio: float) -> float:
        chain = (self._compressor(self._rounded(threshold_db), ratio), *self._width())
        height = self._height(self._render(chain, source))
        return math.inf if height is None else height

    def _height(self, audio: Audio) -> float | None:
        crest_db, peak_db, _ = onset_peaks(audio, self.sample_rate)
        return None if peak_db is None else onset_height(crest_db, peak_db)

    def _improve_width(self, result: Audio) -> bool:
        side_db = whole_side(result)
        if side_db is None or self.target.side_db is None:
            return False
        more = self.target.side_db - side_db
        if abs(more) < SETTLED_DB["width"]:
            return False
        before, wanted = self.state.width, self.state.width * db_to_gain(more)
        self.state.width = 1.0 if wanted > MOST_WIDTH else round(wanted, 5)
        return self.state.width != before

    def _improve_gain(self, result: Audio) -> bool:
        more = self.target.loudness_lufs - integrated_loudness(result, self.sample_rate)
        if abs(more) < SETTLED_DB["loudness"]:
            return False
        before = self.state.gain_db
        self.state.gain_db = round(within_fader(float(before + more)), 3)
        return self.state.gain_db != before

    def _chain(self, *, compress: bool = True) -> tuple[EffectUse, ...]:
        """The chain of the settings so far, without what does nothing; up to and without the compressor, if that is not wanted."""
        state, chain = self.state, list[EffectUse]()
        if np.any(state.gains_db != 0.0):
            chain += self.target.bands.chain(state.gains_db)
        if not compress:
            return tuple(chain)
        if state.ratio > 1.0:
            chain.append(self._compressor(state.threshold_db, state.ratio))
        chain += self._width()
        if state.gain_db != 0.0:
            chain.append(_use("fader", {"gain_db": state.gain_db}))
        return tuple(chain)

    def _width(self) -> tuple[EffectUse, ...]:
        return () if self.state.width == 1.0 else (_use("width", {"width": self.state.width}),)

    def _compressor(self, threshold_db: float, ratio: float) -> EffectUse:
        times = {"detector_attack_ms": 0.0, "attack_ms": ATTACK_MS, "release_ms": RELEASE_MS}
        return _use("compressor", {"threshold_db": threshold_db, "ratio": ratio, **times})

    def _render(self, chain: tuple[EffectUse, ...], source: Audio | None = None) -> Audio:
        import torch

        with torch.inference_mode():
            audio = torch.from_numpy(self.stem if source is None else source)
            return np.asarray(apply_chain(audio, self.sample_rate, chain).numpy())


def _peak_db(audio: Audio) -> float:
    return 20.0 * math.log10(float(np.abs(audio).max()))


def _use(effect: str, settings: dict[str, Any]) -> EffectUse:
    return EffectUse(effect=effect, settings=settings)
