"""Whether samples at one level were left by a clipper, or by what else flattens tops: limiters without look-ahead, filtered square waves.

Three measures decide, over all channels and both polarities:

    levelling off   the tops of a square wave through a first-order filter begin gently and end abruptly in both polarities
    ends            a limiter's flat tops end round, a clipper's do not (``flat_tops``): visible where the sound is smooth enough, and
                    subtracted from the measure of continuity
    continuity      a clipper sets all that is higher to its ceiling, so the time above a level and the duration of excursions (Rice) are
                    at the ceiling as they are just below it: the pairs of neighbours at a ceiling c are about those expected from the
                    excursions at 0.97 c, and its samples are most of those above 0.97 c. A limiter recovers slowly: a wave touches its
                    ceiling, then stays a little below

Continuity also finds clipped noise over tones, whose samples at the ceiling are single. A limiter without look-ahead is not distinguished
from a clipper in white noise that it limits little, nor in constant pulse waves, which stay at its ceiling.

Conventions
    ``Levels`` of polarities with magnitudes, and their ceilings, in.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from stemwright.separation.clip_detection.flat_tops import COLUMNS, CUT_EXIT, OTHER_EXIT, ROUND_EXIT, STEEP_ENTRY, STEEP_EXIT
from stemwright.separation.clip_detection.levels import Levels
from stemwright.separation.clip_detection.scale import fine_index

NEAR = 1e-3  # relative to a ceiling: flat tops within it are at the ceiling
LEVELS_OFF = 20.0  # ratio of tops with a steep exit to those with a steep entry, in either polarity
LEAST_OFF = 6  # such tops
CUT_WEIGHT, FEW_ENDS = 0.3, 10.0  # ends that are cut outweigh this part of round ones; as many unknown ones are added
BELOW, LOW = 0.97, 0.9  # times a ceiling: from where on it is compared
FEW_PAIRS, USUAL_DURATION = 6.0, 0.8  # with fewer pairs expected, this is assumed
CONTINUOUS = 1.28  # sum of the two ratios, less the part of round ends: clipped by 1 to 12 dB 1.25 to 1.9; limited music mostly 0.1 to 1.25
LEAST_PAIRED, MOST_PART = 0.5, 0.6  # of single samples: ratios of pairs, and of samples, which limiters with look-ahead do not reach
FULL_SCALE, EASIER = 1.5e-4, 0.15  # distance from full scale; and by how much less it needs there, where limiters seldom are


def is_limiter(polarities: Sequence[Sequence[tuple[Levels, float]]]) -> bool:
    """Whether flat tops were not left by a clipper. ``polarities`` has the levels and ceilings of all channels, for both polarities."""
    counts = np.array([sum((_shapes(*each) for each in one), np.zeros(COLUMNS, np.int64)) for one in polarities])
    if (counts[:, STEEP_EXIT] >= np.maximum(LEVELS_OFF * counts[:, STEEP_ENTRY], LEAST_OFF)).all():
        return True
    rounded, cut, other = counts.sum(axis=0)[[ROUND_EXIT, CUT_EXIT, OTHER_EXIT]].tolist()
    round_part = max(0.0, rounded - CUT_WEIGHT * cut) / (rounded + cut + other + FEW_ENDS)
    ceilings = [each for one in polarities for each in one]
    touching, above, _, pairs, expected = np.sum([_continuity(*each) for each in ceilings], axis=0).tolist()
    duration = pairs / expected if expected >= FEW_PAIRS else USUAL_DURATION
    easier = EASIER if all(abs(level - 1.0) < FULL_SCALE for _, level in ceilings) else 0.0
    return bool(duration + touching / max(above, 1.0) - round_part < CONTINUOUS - easier)


def single_samples_continue(levels: Levels, level: float) -> bool:
    """Whether samples at a level, most of them without neighbours there, are as many as a clipper leaves: of noise, or of noise over tones.

    A limiter with look-ahead has no pairs at its ceiling, and at most half of what is above ``LOW`` times it.
    """
    touching, above, far, pairs, expected = _continuity(levels, level).tolist()
    easier = EASIER if abs(level - 1.0) < FULL_SCALE else 0.0
    duration = pairs / max(expected, FEW_PAIRS)
    continued = duration >= LEAST_PAIRED and touching / max(above, 1.0) + duration >= CONTINUOUS - easier
    return bool(continued or touching >= MOST_PART * far)


def _continuity(levels: Levels, level: float) -> NDArray[np.float64]:
    """The samples at a ceiling, and from ``BELOW`` and ``LOW`` times it on; the pairs at it, and those expected from ``BELOW``."""
    start, stop = fine_index(level * (1 - NEAR)), fine_index(level * (1 + NEAR)) + 1
    below, low = fine_index(level * BELOW), fine_index(level * LOW)
    time = levels.time - levels.time[stop]
    touches = levels.excursions[start] - levels.excursions[stop]
    pairs_below = time[below] - (levels.excursions[below] - levels.excursions[stop])
    excursions_below = max(int(levels.excursions[below] - levels.excursions[stop]), 1)
    return np.array([time[start], time[below], time[low], time[start] - touches, touches * pairs_below / excursions_below], np.float64)


def _shapes(levels: Levels, level: float) -> NDArray[np.int64]:
    """The flat tops at a level, by how they begin and end."""
    shapes: NDArray[np.int64] = levels.flat_tops[int(fine_index(level * (1 - NEAR))) : int(fine_index(level * (1 + NEAR))) + 1].sum(axis=0)
    return shapes
