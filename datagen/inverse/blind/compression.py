"""Estimating compression without a dry signal: the mean gain reduction, learnt from simulated compressors on the profile's songs.

Conventions
    The one quantity that leaves a trace is the mean gain reduction in dB where the stem sounds: of it are confidence and interval. The
    settings are one compressor that has this reduction: the ratio is a guess, the threshold follows from ratio and reduction, and the
    ballistics are those usual for stems of the name (``USUAL``). None of them has a confidence.
    Whether a stem was compressed is decided against the profile's own songs: at most a tenth of songs that were not, left out, are taken
    for compressed. Otherwise the interval begins at 0, and there are no settings.
    An estimate is reported where leave-one-out estimates of that uncertainty were within the tolerance on average (plus a standard
    error; the tolerance holds at ``COMPRESSED_DB`` and grows with the reduction, or only small ones would be reported); and where
    compression was found: by how much is then uncertain, and the interval wide, as it is for most basses. Its lower end is never 0,
    which the comparison with untouched songs excludes.
    Interval and confidence are by the errors on songs of the profile, left out, that would have been answered
    (``stemwright.datagen.inverse.blind.conformal``), with a margin for compressors of other makes than those simulated (``OTHER_MAKES``).
    An uncertainty is itself an estimate, and the smallest are too small more often than too large: the confidence is mapped to the share of
    answers that were right on other songs (``CALIBRATED``).

References
    Martinez Ramirez et al. 2022 (FxNorm-automix): the usual ballistics. Rasmussen and Williams 2006 for the regression
    (``stemwright.datagen.inverse.blind.regression``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from stemwright.datagen.effects import compressor
from stemwright.datagen.inverse.blind.answers import TOLERANCE, Abstained, Blind, Quantity, check_profile, checked_array
from stemwright.datagen.inverse.blind.features import blocks, level_of, loudest, measure_dynamics, sounding
from stemwright.datagen.inverse.blind.profile import FEWEST_SONGS
from stemwright.datagen.inverse.blind.regression import trust_of

if TYPE_CHECKING:
    from stemwright.datagen.inverse.blind.profile import StemProfile

Array = NDArray[np.floating]

COMPRESSED_DB = 5.0  # gain reduction at which the tolerance holds when trust is decided; a larger one may have a larger error
# Errors on compressors of other makes over those on simulated ones. Chosen on tracker songs, compressed by pedalboard, ffmpeg and a
# compressor of a textbook, with profiles of 4 to 16 of them; not on the scores that benchmarks/blind_profiles.py has beside them.
OTHER_MAKES = 1.2
# Confidence by the scores, and the share of such answers that were right: rising, by least squares over profiles of 4 to 24 songs:
# modules of four games (rafkill, criticalmass, circuslinux, biniax2) and synthetic ones. No benchmark reports them.
CALIBRATED = ((0.0, 0.2, 0.35, 0.5, 0.65, 0.8, 1.0), (0.25, 0.28, 0.33, 0.39, 0.52, 0.78, 0.91))
LEAST_DB = 0.1  # lowest end of the interval where compression was found: the least that tables show
REDUCTION = "mean gain reduction"
DERIVED = ("threshold_db", "ratio", "detector", "attack_ms", "release_ms")


class Ballistics(NamedTuple):
    """Attack, release and ratio that are usual for stems of a name."""

    attack_ms: float
    release_ms: float
    ratio: float


USUAL = {  # FxNorm-automix
    "vocals": Ballistics(7.5, 400.0, 4.0),
    "drums": Ballistics(10.0, 180.0, 6.0),
    "bass": Ballistics(10.0, 500.0, 5.0),
    "other": Ballistics(15.0, 666.0, 4.0),
}


def estimate_compressor(stem: torch.Tensor, sample_rate: int, profile: StemProfile) -> Blind:
    """The mean gain reduction that a stem seems to have had, with a compressor that gives it."""
    audio = checked_array(stem, sample_rate)
    try:
        check_profile(profile)
        if sum(bool(row.simulated) for row in profile.rows) < FEWEST_SONGS:
            raise Abstained("the profile holds no simulated compressors to learn from")
        excerpt = loudest(audio, sample_rate)
        dynamics = measure_dynamics(excerpt, sample_rate)
        if dynamics is None:
            raise Abstained("the stem is silent, or active for less than half a second")
    except Abstained as reason:
        return Blind(None, reason=str(reason))
    regression = profile.gain_reduction
    answer = regression(dynamics)
    found = regression.detected(answer)
    trust = trust_of(regression, TOLERANCE["compressor"], at=COMPRESSED_DB, error_factor=OTHER_MAKES)
    is_trusted = answer.uncertainty <= trust.allowed
    if not (found or is_trusted):
        return Blind(None, reason=_distrust(answer.expected_error if trust.allowed > 0.0 else None))
    low, high = (max(end, 0.0) for end in answer.interval(trust.scores))
    quantity = Quantity(REDUCTION, max(answer.value, 0.0), max(low, LEAST_DB) if found else 0.0, high)
    confidence = round(calibrated(answer.confidence(TOLERANCE["compressor"], trust.scores)), 4)
    if not found:
        return Blind(None, confidence, quantity, f"no compression found: a mean gain reduction of 0 to {high:.1f} dB fits the stem")
    settings = compressor_with(quantity.value, excerpt, sample_rate, ratio_of(dynamics, profile), profile.name)
    vague = "" if is_trusted else f"compression found, but by how much is uncertain: {low:.1f} to {high:.1f} dB fit the stem"
    return Blind(settings, confidence, quantity, vague, DERIVED)


def calibrated(confidence: float) -> float:
    """The share of answers right within the tolerance, on other songs, where the scores of a profile give this confidence; of none 0."""
    return float(np.interp(confidence, *CALIBRATED)) if confidence > 0.0 else 0.0


def _distrust(error_db: float | None) -> str:
    """Why an estimate with an expected error is not reported; None: no estimate is."""
    if error_db is None:
        return "leave-one-out estimates on the profile's songs were too often wrong to trust one for this stem"
    return f"leave-one-out estimates on the profile's songs fail at this uncertainty ({error_db:.1f} dB)"


def ratio_of(dynamics: tuple[float, ...], profile: StemProfile) -> float:
    """The ratio that songs of such dynamics had in the simulations: a guess, between 1.25 and 10."""
    slope = min(max(profile.slope(dynamics).value, 0.2), 0.9)
    return 1.0 / (1.0 - slope)


def compressor_with(reduction_db: float, wet: Array, sample_rate: int, ratio: float, name: str) -> compressor.Settings:
    """A compressor of that ratio, with the ballistics usual for stems of the name, whose output [C, T] had the mean gain reduction."""
    usual = USUAL.get(name, USUAL["other"])
    return compressor.Settings(
        threshold_db=round(threshold_of(wet, sample_rate, reduction_db, ratio), 2),
        ratio=round(ratio, 3),
        detector="rms",
        attack_ms=usual.attack_ms,
        release_ms=usual.release_ms,
    )


def threshold_of(wet: Array, sample_rate: int, reduction_db: float, ratio: float) -> float:
    """The threshold in dBFS with which a compressor of that ratio would have given its output [C, T] a mean gain reduction.

    By the static curve: an output level l above the threshold t had a gain reduction of (l - t)(ratio - 1).
    """
    energy, _ = blocks(wet, sample_rate)
    level = level_of(energy, 2)
    level = level[sounding(level)[0]]
    low, high = -80.0, 0.0
    for _ in range(40):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if np.maximum(level - middle, 0.0).mean() * (ratio - 1.0) > reduction_db else (low, middle)
    return 0.5 * (low + high)
