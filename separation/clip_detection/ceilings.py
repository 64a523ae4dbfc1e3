"""The ceilings of each channel of a recording: of a clipper, in its upper and its lower half.

A channel's polarity is judged by itself; what is too little evidence there can be enough over all channels and polarities together, which a
clipper usually cuts at one level. That decides only for those where the same level is at least not unlikely.

Conventions
    Audio is float [C, T], full scale 1.0. A ceiling has the sign of the samples that it limits, and 0 says that none was found.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from stemwright.separation.clip_detection.evidence import FoundCeiling, blurred_ceilings, exact_ceilings
from stemwright.separation.clip_detection.levels import Levels, LevelTally, pooled
from stemwright.separation.clip_detection.limiters import is_limiter

LIKELY = 0.0  # even odds. Of unclipped songs that were left out of a fit, 99.5 % are below -0.47, and all below -0.17 (``--fit``)
NOT_UNLIKELY = -2.8  # with the others' evidence
SAME, ANOTHER = 0.04, 0.1  # logarithms of ratios of levels: about one ceiling, and two piles rather than one that is split
Piles: TypeAlias = tuple[list[FoundCeiling], list[FoundCeiling]]  # of clipping, and of something else


@dataclass(frozen=True)
class Clipping:
    """What clipping was found in a channel: ``ceiling_low <= 0 <= ceiling_high``, where 0 says that none was found on that side.

    ``share`` is the part of the channel's samples at its ceilings, ``confidence`` the likelihood that the channel was clipped (0 where
    nothing was found), ``spread`` the part of a ceiling by which clipped samples differ from it (0.0001 to 0.002 in exact copies, 0.01 to
    0.08 in resampled and lossy ones). ``ceilings_low`` and ``ceilings_high`` have all ceilings found, the outermost first;
    ``confidences_low`` and ``confidences_high`` the likelihood of each. ``undecided`` is the level of flat tops that a limiter without
    look-ahead leaves as well as a clipper, 0 where there are none: they begin steep and end round, and are not called clipping.
    """

    ceiling_low: float = 0.0
    ceiling_high: float = 0.0
    share: float = 0.0
    confidence: float = 0.0
    spread: float = 0.0
    ceilings_low: tuple[float, ...] = ()
    ceilings_high: tuple[float, ...] = ()
    confidences_low: tuple[float, ...] = ()
    confidences_high: tuple[float, ...] = ()
    undecided: float = 0.0


class ClippingTally:
    """Clipping of a recording that comes in blocks [C, t]: ``add`` each, then read ``found``."""

    def __init__(self, num_channels: int) -> None:
        self._num_channels = num_channels
        self._tally = LevelTally(num_channels)

    def add(self, block: NDArray[np.floating]) -> None:
        """Takes the next block [C, t] of floats. Raises ValueError for NaN or infinity, or another number of channels."""
        self._tally.add(block)

    def found(self) -> tuple[Clipping, ...]:
        """What was found so far, one result a channel."""
        levels = [[self._tally.levels(channel, polarity) for polarity in (1, 0)] for channel in range(self._num_channels)]
        exact, undecided = _exact(levels)
        together = _together(levels)
        sides = [[_side(one, *piles, together) for one, piles in zip(*both, strict=True)] for both in zip(levels, exact, strict=True)]
        clipped = [each for both in exact for piles, _ in both for each in piles]
        if clipped:  # what was clipped is at one level, and piles around others are not clipping
            sides = [[[one for one in side if any(_near(one, each, SAME) for each in clipped)] for side in both] for both in sides]
        found = [_channel(below, above, low.num_frames, together) for (below, above), (low, _) in zip(sides, levels, strict=True)]
        return tuple(replace(each, undecided=0.0 if each.share else level) for each, level in zip(found, undecided, strict=True))


def clipping_of(blocks: Iterable[NDArray[np.floating]]) -> tuple[Clipping, ...]:
    """Clipping of a recording from its blocks [C, t], one result a channel; none without blocks."""
    tally: ClippingTally | None = None
    for block in blocks:
        tally = tally or ClippingTally(len(block))
        tally.add(block)
    return tally.found() if tally else ()


def _together(levels: list[list[Levels]]) -> list[FoundCeiling]:
    """Likely ceilings of all channels and polarities as one signal."""
    return [each for each in blurred_ceilings(pooled([one for channel in levels for one in channel])) if each.logit >= LIKELY]


def _near(one: FoundCeiling, other: FoundCeiling, distance: float) -> bool:
    """Whether two ceilings are within a distance."""
    return abs(math.log(one.level / other.level)) < distance


def _exact(levels: list[list[Levels]]) -> tuple[list[list[Piles]], list[float]]:
    """The exact ceilings of each channel and polarity, of clipping and of something else; and what each channel has of undecided ones.

    Where the flat tops of all together are those of a limiter without look-ahead, no ceiling is exact, and they are judged as in changed
    copies: they may be the middles of tops that a resampler left flat there, and made ring around.
    """
    exact = [[exact_ceilings(one) for one in both] for both in levels]
    polarities = [
        [(both[side], each.level) for both, piles in zip(levels, exact, strict=True) for each in piles[side][0]] for side in range(2)
    ]
    if not any(polarities) or not is_limiter(polarities):
        return exact, [0.0] * len(exact)
    undecided = [max((each.level for clipped, _ in both for each in clipped), default=0.0) for both in exact]
    return [[([], others) for _, others in both] for both in exact], undecided


def _side(levels: Levels, exact: list[FoundCeiling], others: list[FoundCeiling], together: list[FoundCeiling]) -> list[FoundCeiling]:
    """The ceilings of one polarity, the outermost first; none near the levels of something else."""
    found = list(exact)
    for each in [] if found else blurred_ceilings(levels):
        if any(_near(each, other, SAME) for other in others) or any(_near(each, other, ANOTHER) for other in found):
            continue
        shared = any(_near(each, other, SAME) for other in together)
        if each.logit >= LIKELY or (shared and each.logit >= NOT_UNLIKELY):
            found.append(each)
    return sorted(found, key=lambda each: -each.level)


def _channel(below: list[FoundCeiling], above: list[FoundCeiling], num_frames: int, together: list[FoundCeiling]) -> Clipping:
    """The result of one channel from the ceilings of its lower and upper half."""
    every = [*below, *above]
    if not every:
        return Clipping()
    likely = [[_likelihood(each, together) for each in side] for side in (below, above)]
    return Clipping(
        ceiling_low=-below[0].level if below else 0.0,
        ceiling_high=above[0].level if above else 0.0,
        share=min(1.0, sum(each.num_clipped for each in every) / max(num_frames, 1)),
        confidence=max(likely[0] + likely[1]),
        spread=max(each.spread for each in every),
        ceilings_low=tuple(-each.level for each in below),
        ceilings_high=tuple(each.level for each in above),
        confidences_low=tuple(likely[0]),
        confidences_high=tuple(likely[1]),
    )


def _likelihood(one: FoundCeiling, together: list[FoundCeiling]) -> float:
    """The likelihood of a ceiling, by its own evidence or by that of all channels and polarities at its level."""
    logit = max(each.logit for each in (one, *(other for other in together if _near(one, other, SAME))))
    return 1.0 / (1.0 + math.exp(-logit))
