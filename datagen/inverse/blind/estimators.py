"""Estimating eq and width without a dry signal: a stem against what is typical of stems of its name.

    eq          six bands, spread over where stems of the name sound, closest in dB to the stem's spectrum over the typical one
    width       the stem's side over mid energy against the typical one
    room        what reverberation is heard, which is a fact without a profile: ``stemwright.datagen.inverse.blind.heard_reverberation``

Each is the most probable answer given how far songs differ by themselves: where songs differ much, the answer stays near "nothing was
done". Compression is in ``stemwright.datagen.inverse.blind.compression``. Effects that leave no trace that can be distinguished from the
music have no estimate.

Conventions
    stem is torch float [C, T]; profile is a ``stemwright.datagen.inverse.blind.profile.StemProfile``. The answer is relative to the
    profile: processing that all its songs share is not detected. ``confidence`` is the probability that the main quantity is right within
    the effect's tolerance (``answers.TOLERANCE``): the response of the eq within 3 dB on average, the side level within 3 dB. That of an eq
    and the interval of its mean response follow from the errors on songs left out (``stemwright.datagen.inverse.blind.conformal``). The
    profile's songs, each left out in turn, decide what is trusted: a width is reported only if the estimates have smaller errors than no
    estimate.

References
    Martinez Ramirez et al. 2022 (FxNorm-automix): comparing a stem with its class.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import nnls

from stemwright.datagen.effects import eq, width
from stemwright.datagen.effects.dsp.biquads import response
from stemwright.datagen.effects.settings import draw, range_of
from stemwright.datagen.inverse.blind.answers import TOLERANCE, Abstained, Blind, Quantity, answer_of, check_profile, checked_array
from stemwright.datagen.inverse.blind.conformal import SongScores, song_scores
from stemwright.datagen.inverse.blind.features import SPECTRUM_HZ, measure_spectrum, whole_side
from stemwright.datagen.inverse.blind.profile import FEWEST_SONGS, summarise
from stemwright.separation.loudness.meter import integrated_loudness

if TYPE_CHECKING:
    from stemwright.datagen.inverse.blind.profile import StemProfile

Array = NDArray[np.floating]

SHORTEST_S = 0.5  # of a stem whose spectrum is compared
SOUNDING_DB = 50.0  # bands of the typical spectrum this far below its strongest are not changed
EQ_DEVIATION_DB = 6.9  # of the gain of a band: that of a uniform draw from ±12 dB (Diff-MST)
CORRELATED_BANDS = 6.0  # neighbouring bands of a spectrum deviate together: so many count as one
WIDTHS = 161
WIDTH_TAILS = ((0.8, 1.06), (0.2, 2.5))  # share and width of kernels: Silverman's, and one for outliers
LARGEST_WIDTH_ERROR = 0.9  # leave-one-out error of a width estimate, relative to that of no estimate
LEAST_SPREAD_DB = 1.0
SIMULATED_EQS, MOST_SONGS = 3, 32
MOST_GAIN_DB = 23.0  # of a band of the eq; a step for differences stays within the effect's range
STEPS = 8


@dataclass(frozen=True)
class EqBands:
    """Frequencies and Q of the six bands for stems of a name, and the weight of each frequency of the spectrum, [B], summing to 1."""

    hz: Array
    q: Array
    weight: Array
    spread_db: Array
    middle_db: Array

    def settings(self, gains_db: Array) -> eq.Settings:
        """The equaliser with these gains [6], each within the effect's range."""
        values: dict[str, float] = {}
        for band, gain_db, hz, q in zip(eq.BANDS, gains_db, self.hz, self.q, strict=True):
            gain_db = range_of(eq.Settings, f"{band}_gain_db").limited(float(gain_db))
            values |= {f"{band}_gain_db": round(gain_db, 3), f"{band}_hz": round(float(hz), 2), f"{band}_q": round(float(q), 3)}
        return eq.Settings(**values)

    def response_db(self, gains_db: Array, sample_rate: int) -> Array:
        """The response [B] at ``SPECTRUM_HZ`` below half the sample rate; 0 above."""
        hz = np.array(SPECTRUM_HZ)
        found, below = np.zeros(len(hz)), hz < 0.49 * sample_rate
        sections = eq.sections(self.settings(gains_db), sample_rate)
        if sections:
            found[below] = 20.0 * np.log10(np.abs(response(sections, hz[below], sample_rate)) + 1e-9)
        return found

    def fit(self, target_db: Array, sample_rate: int, *, prior: bool, near: Array | None = None) -> tuple[Array, Array]:
        """Gains [6] closest to a target response [B] (NaN: no target) up to its level, and the residual [B].

        With a ``prior`` the most probable gains, given that songs differ by ``spread_db``; otherwise least squares.
        """
        counts = np.isfinite(target_db) & (self.weight > 0.0)
        if counts.sum() < 8:
            raise Abstained("the stem has energy in too few of the frequencies that are typical of its name")
        root = np.sqrt(np.where(counts, self.weight, 0.0) / self.weight[counts].sum())
        target = np.where(counts, target_db, 0.0)
        pull = self._pull() if prior else 1e-4

        gains = np.zeros(6) if near is None else np.array(near, float)
        for _ in range(STEPS):
            found = self.response_db(gains, sample_rate)
            slopes = np.stack([self.response_db(gains + 0.5 * unit, sample_rate) - found for unit in np.eye(6)], -1) / 0.5
            left = found - target
            left, slopes = root * (left - root**2 @ left), root[:, None] * (slopes - root**2 @ slopes)
            step = np.linalg.solve(slopes.T @ slopes + pull**2 * np.eye(6), slopes.T @ left + pull**2 * gains)
            gains = np.clip(gains - step, -MOST_GAIN_DB, MOST_GAIN_DB)
            if np.abs(step).max() < 0.01:
                break
        return gains, np.where(counts, self.response_db(gains, sample_rate) - target, np.nan)

    def mean_size(self, response_db: Array) -> float:
        """Mean absolute value in dB of a response [B] where stems of the name have energy, without its mean level; NaN is ignored."""
        valid = np.isfinite(response_db) & (self.weight > 0.0)
        return float(np.abs(response_db[valid] - response_db[valid].mean()).mean())

    def _pull(self) -> float:
        """The weight of the prior relative to the mean weighted square of the residual."""
        precision = (1.0 / self.spread_db[self.weight > 0.0] ** 2).sum() / CORRELATED_BANDS
        return float(1.0 / (EQ_DEVIATION_DB * math.sqrt(precision)))


def eq_bands(profile: StemProfile) -> EqBands:
    """Six bands over the frequencies in which stems of the profile sound."""
    check_profile(profile)
    typical = profile.typical("spectrum_db")
    hz = np.array(SPECTRUM_HZ)
    there = np.isfinite(typical.middle) & (typical.songs >= 0.8 * profile.songs)
    if not there.any():
        raise Abstained(f"the songs of the profile share no frequencies in the stem {profile.name!r}")
    sounds = there & (typical.middle > np.nanmax(np.where(there, typical.middle, -np.inf)) - SOUNDING_DB)
    low, high = hz[sounds][0], hz[sounds][-1]
    inside = (hz >= low) & (hz <= high) & there
    spread = np.where(inside, np.maximum(np.nan_to_num(typical.spread), LEAST_SPREAD_DB), np.inf)
    weight = 1.0 / spread**2
    octaves = max(math.log2(high / low) / 6.0, 0.2)
    places = low * 2.0 ** (octaves * (np.arange(6) + 0.5))
    bell = float(np.clip(1.0 / (2.0 * math.sinh(0.5 * math.log(2.0) * octaves)), 0.3, 6.0))
    return EqBands(places, np.array([0.71, bell, bell, bell, bell, 0.71]), weight / weight.sum(), spread, typical.middle)


def spectrum_of(stem: Array, sample_rate: int) -> Array:
    """The spectrum [B] of a stem [C, T] in dB, NaN where there is none. Raises Abstained for silence."""
    loudness = integrated_loudness(stem, sample_rate)
    if not math.isfinite(loudness):
        raise Abstained("the stem is silent")
    return np.array([np.nan if level is None else level for level in measure_spectrum(stem, sample_rate, loudness)])


def estimate_equaliser(stem: torch.Tensor, sample_rate: int, profile: StemProfile) -> Blind:
    """The equaliser that a stem seems to have gone through."""
    try:
        audio, bands = checked_array(stem, sample_rate), eq_bands(profile)
        if audio.shape[-1] < SHORTEST_S * sample_rate:
            raise Abstained(f"the stem has {audio.shape[-1] / sample_rate:.2g} s; at least {SHORTEST_S:g} s are needed")
        difference = spectrum_of(audio, sample_rate) - bands.middle_db
        gains, left = bands.fit(difference, sample_rate, prior=True)
    except Abstained as reason:
        return Blind(None, reason=str(reason))
    amount = bands.mean_size(bands.response_db(gains, sample_rate))
    trials = eq_trials(profile, bands, sample_rate)
    expected = float(trials.growth @ [1.0, bands.mean_size(left), amount])
    half = trials.scores(trials.amounts).factor() * expected
    quantity = Quantity("mean response", amount, max(amount - half, 0.0), amount + half)
    return answer_of("eq", bands.settings(gains), trials.confidence(expected), quantity)


@dataclass(frozen=True)
class EqTrials:
    """Equalised songs of a profile, each left out of it: of each trial [1, dB of residual, dB of the estimated response], [N, 3]; errors of
    the response and of its mean size in dB, and the number of the song, [N]. ``growth`` is how the error of the response grows: dB, dB per
    dB of residual, dB per dB of the estimated response.
    """

    rows: Array
    errors: Array
    amounts: Array
    songs: NDArray[np.int64]
    growth: Array

    @property
    def expected(self) -> Array:
        """The error to expect of each trial [N]."""
        return np.asarray(self.rows @ self.growth)

    def scores(self, errors: Array) -> SongScores:
        """Errors [N] against those to expect, by songs left out."""
        return song_scores(errors, self.expected, self.songs)

    def confidence(self, expected: float) -> float:
        """The probability that a response of this expected error is right within the tolerance."""
        return self.scores(self.errors).probability(TOLERANCE["eq"] / max(expected, 1e-9))


def eq_trials(profile: StemProfile, bands: EqBands, sample_rate: int) -> EqTrials:
    """The trials of a profile, whose songs are equalised with drawn settings. Kept in the profile for the next estimate."""
    key = ("eq trials", sample_rate)
    if key not in profile.learnt:
        profile.learnt[key] = eq_rows(profile, bands, sample_rate).astype(float)
    kept = profile.learnt[key]
    rows, errors = kept[:, :3], kept[:, 3]
    return EqTrials(rows, errors, kept[:, 4], kept[:, 5].astype(int), nnls(rows, errors)[0])


def eq_rows(profile: StemProfile, bands: EqBands, sample_rate: int, *, untouched: bool = False) -> Array:
    """Estimates on the profile's own songs, each left out, equalised with drawn settings or as they are, [N, 6]: 1, dB of residual, dB of
    the estimated response, its error in dB, the error of its mean size, and the number of the song. The bands' responses in dB are assumed
    proportional to their gains.
    """
    basis = np.stack([bands.response_db(6.0 * unit, sample_rate) / 6.0 for unit in np.eye(6)], -1)
    centred = basis - bands.weight @ basis
    solve = np.linalg.solve((centred.T * bands.weight) @ centred + bands._pull() ** 2 * np.eye(6), centred.T * bands.weight)
    rng = np.random.default_rng(0)
    spectra = profile.values("spectrum_db")
    rows = []
    for number, spectrum in enumerate(spectra[:MOST_SONGS]):
        own = spectrum - summarise(np.delete(spectra, number, axis=0)).middle
        for _ in range(1 if untouched else SIMULATED_EQS):
            done = np.zeros(len(SPECTRUM_HZ)) if untouched else _drawn_response(rng, sample_rate)
            seen = np.where(np.isfinite(own), own, 0.0) + done
            found = basis @ (solve @ (seen - bands.weight @ seen))
            size = bands.mean_size(found)
            errors = (bands.mean_size(found - done), abs(size - bands.mean_size(done)))
            rows.append([1.0, bands.mean_size(seen - found), size, *errors, number])
    return np.array(rows)


def _drawn_response(rng: np.random.Generator, sample_rate: int) -> Array:
    """The response [B] of an equaliser drawn from its typical ranges."""
    hz = np.array(SPECTRUM_HZ)
    ranges = {
        name: (low, min(high, 0.45 * sample_rate)) if name.endswith("_hz") else (low, high) for name, (low, high) in eq.TYPICAL.items()
    }
    ranges = {name: (min(low, high), high) for name, (low, high) in ranges.items()}
    sections = eq.sections(draw(eq.Settings, rng, ranges), sample_rate)
    below = hz < 0.49 * sample_rate
    found = np.zeros(len(hz))
    found[below] = 20.0 * np.log10(np.abs(response(sections, hz[below], sample_rate)) + 1e-9)
    return found


def estimate_width(stem: torch.Tensor, sample_rate: int, profile: StemProfile) -> Blind:
    """The width that a stem seems to have been given."""
    audio = checked_array(stem, sample_rate)
    try:
        check_profile(profile)
        typical, side_db = profile.typical("whole_side_db"), whole_side(audio)
        if not np.abs(audio).max(initial=0.0) > 0.0:
            raise Abstained("the stem is silent")
        if side_db is None:
            is_opposite = len(audio) == 2 and np.abs(audio[0] - audio[1]).max() > np.abs(audio[0] + audio[1]).max()
            what = "all side signal, its channels are opposite" if is_opposite else "mono"
            raise Abstained(f"the stem is {what}: it has no width to compare")
        if not np.isfinite(typical.middle):
            raise Abstained(f"fewer than {FEWEST_SONGS} songs of the profile have a stereo stem {profile.name!r}")
    except Abstained as reason:
        return Blind(None, reason=str(reason))
    sides = profile.values("whole_side_db")
    sides = sides[np.isfinite(sides)]
    if not width_is_estimable(profile, sides):
        return Blind(None, reason=f"songs differ too much in the width of the stem {profile.name!r} to estimate it")
    quantity, confidence = _width_done(side_db, sides)
    settings = width.Settings(width=round(min(10.0 ** (quantity.value / 20.0), 4.0), 4))
    return answer_of("width", settings, confidence, quantity)


def _width_done(side_db: float, sides_db: Array) -> tuple[Quantity, float]:
    """The most probable change in side level, given the present one and those of songs [N], and its confidence.

    Bayes' rule with the songs as they are, each widened by a kernel (``WIDTH_TAILS``), and widths drawn from the typical range: the
    answer with the least expected error, which is the median, and the probability that it is right within the tolerance.
    """
    done = 20.0 * np.log10(np.linspace(*width.TYPICAL["width"], WIDTHS))
    spread = max(float(np.std(sides_db, ddof=1)), LEAST_SPREAD_DB)
    away = (side_db - done)[:, None] - sides_db
    posterior = np.zeros(len(done))
    for share, factor in WIDTH_TAILS:
        scale = factor * spread * len(sides_db) ** -0.2
        posterior += share / scale * np.exp(-0.5 * (away / scale) ** 2).sum(1)
    posterior = (posterior + 1e-12) / (posterior + 1e-12).sum()
    low, found, high = (float(end) for end in np.interp((0.1, 0.5, 0.9), np.cumsum(posterior) - 0.5 * posterior, done))
    return Quantity("change of side level", found, low, high), float(posterior[np.abs(done - found) <= TOLERANCE["width"]].sum())


def width_trials(sides_db: Array) -> tuple[list[tuple[Quantity, float]], Array]:
    """Estimates on songs [N], each left out, as they are and with widths of the typical range; and the true changes of the side level."""
    done = np.append(0.0, 20.0 * np.log10(np.linspace(*width.TYPICAL["width"], 9)))
    trials = [_width_done(own + more, np.delete(sides_db, number)) for number, own in enumerate(sides_db) for more in done]
    return trials, np.tile(done, len(sides_db))


def width_is_estimable(profile: StemProfile, sides_db: Array) -> bool:
    """Whether leave-one-out estimates on the profile's songs [N] have a smaller error than assuming no change of width."""
    if ("width", 0) not in profile.learnt:
        trials, done = width_trials(sides_db)
        errors = np.abs([quantity.value for quantity, _ in trials] - done)[done != 0.0]
        profile.learnt["width", 0] = np.array([errors.mean(), np.abs(done[done != 0.0]).mean()])
    error, error_without = profile.learnt["width", 0]
    return bool(error < LARGEST_WIDTH_ERROR * error_without)
