"""What blind estimates are worth on a profile's own songs, each left out in turn: risk against coverage, and what untouched songs get.

    LEFT_OUT["compressor"](profile) -> the estimates, their errors and in which order they are trusted

Conventions
    Trials are songs of the profile as they are and with effects of known settings, as the estimators simulate them. Risk is the mean
    absolute error of the surest part of all trials, coverage how large that part is (El-Yaniv and Wiener 2010). The songs of a profile
    count as untouched: what an estimate says of them, left out, is typical, and a value within that range says little.

References
    El-Yaniv and Wiener 2010, On the foundations of noise-free selective classification.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from stemwright.datagen.inverse.blind.answers import LEAST_CONFIDENCE, TOLERANCE, Abstained
from stemwright.datagen.inverse.blind.profile import FEWEST_SONGS
from stemwright.datagen.inverse.blind.regression import trust_of

if TYPE_CHECKING:
    from stemwright.datagen.inverse.blind.profile import StemProfile

Array = NDArray[np.floating]
SAMPLE_RATE = 44_100  # at which responses are compared
TYPICAL = (10.0, 50.0, 90.0)  # percentiles over songs


class TypicalRange(NamedTuple):
    """What untouched songs of the profile get: 10 %, median and 90 %."""

    low: float
    middle: float
    high: float


@dataclass(frozen=True)
class LeftOutTrials:
    """Estimates of trials [N] with their song left out: the values, their errors, how unsure each was, which were answered, and the values
    of songs as they are [M]; in the unit of the effect.
    """

    quantity: str
    values: Array
    errors: Array
    uncertainties: Array
    answered: NDArray[np.bool_]
    untouched: Array
    unit: str = "dB"

    @property
    def typical(self) -> TypicalRange | None:
        """What songs as they are get; None of none."""
        return TypicalRange(*map(float, np.percentile(self.untouched, TYPICAL))) if len(self.untouched) else None

    def risk(self) -> tuple[Array, Array]:
        """Coverage and risk, [N] each: for every part of the trials, the surest first, how large it is and its mean error."""
        order = np.argsort(self.uncertainties, kind="stable")
        count = np.arange(1, len(order) + 1)
        return count / len(order), np.cumsum(self.errors[order]) / count


def left_out(effect: str, profile: StemProfile) -> LeftOutTrials | None:
    """The trials of an effect on the songs of a profile; None where it has none: too few songs, or an effect without such trials."""
    if effect not in LEFT_OUT or profile.songs < FEWEST_SONGS:
        return None
    try:
        return LEFT_OUT[effect](profile)
    except Abstained:
        return None


def _compression(profile: StemProfile) -> LeftOutTrials:
    from stemwright.datagen.inverse.blind.compression import COMPRESSED_DB, REDUCTION

    if sum(bool(row.simulated) for row in profile.rows) < FEWEST_SONGS:
        raise Abstained("the profile holds no simulated compressors")
    regression = profile.gain_reduction
    known = regression.left_out
    answered = trust_of(regression, TOLERANCE["compressor"], at=COMPRESSED_DB).answered
    found = np.maximum(known.found, 0.0)
    return LeftOutTrials(REDUCTION, found, np.abs(found - known.true), known.uncertainties, answered, found[known.true == 0.0])


def _equaliser(profile: StemProfile) -> LeftOutTrials:
    from stemwright.datagen.inverse.blind.estimators import eq_bands, eq_rows, eq_trials

    bands = eq_bands(profile)
    trials = eq_trials(profile, bands, SAMPLE_RATE)
    sure = np.array([trials.confidence(error) for error in trials.expected]) >= LEAST_CONFIDENCE
    untouched = eq_rows(profile, bands, SAMPLE_RATE, untouched=True)
    return LeftOutTrials("mean response", trials.rows[:, 2], trials.errors, trials.expected, sure, untouched[:, 2])


def _width(profile: StemProfile) -> LeftOutTrials:
    from stemwright.datagen.inverse.blind.estimators import width_is_estimable, width_trials

    sides = profile.values("whole_side_db")
    sides = sides[np.isfinite(sides)]
    if len(sides) < FEWEST_SONGS:
        raise Abstained("too few songs have a stereo stem")
    trials, done = width_trials(sides)
    values, sure = np.array([quantity.value for quantity, _ in trials]), np.array([confidence for _, confidence in trials])
    answered = (sure >= LEAST_CONFIDENCE) & width_is_estimable(profile, sides)
    return LeftOutTrials(trials[0][0].name, values, np.abs(values - done), 1.0 - sure, answered, values[done == 0.0])


LEFT_OUT: Mapping[str, Callable[[StemProfile], LeftOutTrials]] = MappingProxyType(
    {"compressor": _compression, "eq": _equaliser, "width": _width}
)
