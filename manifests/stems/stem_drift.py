"""Whether a stem was recorded by another clock than its mixture, so that it is more and more late.

How it is found
    The delays of all stems are sought in each excerpt by itself (``stem_alignment``). Where a stem's clock is right they are one delay;
    where it is not they are on a line over time, whose slope is the drift: the median of the slopes between all pairs of excerpts. A drift
    is taken only if most excerpts are near that line, if it moves the stem by frames, and if the mixture is explained much better with a
    delay for each excerpt: a tone is alike at many delays, and its delays are on no line.

Conventions
    Drift is in parts per million; positive for a stem whose clock is fast: it lasts longer than its part of the mixture.

References
    Theil 1950, Sen 1968 (median of slopes).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating]

FEWEST_EXCERPTS = 4
LEAST_MOVE = 1.5  # frames from the first excerpt to the last
NEAR = 1.0  # frame, and NEAR_SHARE of the whole move: what is near the line
NEAR_SHARE = 0.1
MOST_NEAR = 0.75  # of the excerpts in which a stem plays
MUCH_LESS = 0.97  # of the energy that is left with one delay: what delays for each excerpt leave
LEAST_PLAYS = 0.03  # of a stem's energy in its loudest excerpt: it plays in an excerpt with more
LARGEST = 3000.0  # parts per million: a varispeed is no clock


def drift_of(starts: Array, delays: Array, energies: Array) -> float:
    """The drift of one stem from its delays [W] in excerpts that begin at frames [W], with its energies there; 0 where it has none."""
    plays = energies > LEAST_PLAYS * max(float(energies.max(initial=0.0)), 1e-30)
    times, places = starts[plays].astype(np.float64), delays[plays]
    if times.size < FEWEST_EXCERPTS:
        return 0.0
    first, second = np.triu_indices(times.size, 1)
    slope = float(np.median((places[second] - places[first]) / (times[second] - times[first])))
    off = np.abs(places - slope * times - np.median(places - slope * times))
    move = abs(slope) * float(np.ptp(times))
    if move < LEAST_MOVE or abs(slope) * 1e6 > LARGEST or np.mean(off < NEAR + NEAR_SHARE * move) < MOST_NEAR:
        return 0.0
    return round(-slope * 1e6, 1)  # a slow clock gives fewer frames, and the stem is ahead more and more


def drifts(starts: Array, delays: Array, energies: Array, left: float, left_at_one: float) -> tuple[float, ...]:
    """The drift of each stem from delays and energies [W, S]; ``left`` is the energy that delays for each excerpt leave."""
    if left > MUCH_LESS * left_at_one:
        return (0.0,) * delays.shape[1]
    return tuple(drift_of(starts, delays[:, number], energies[:, number]) for number in range(delays.shape[1]))


def in_words(name: str, parts_per_million: float, duration_s: float) -> str:
    """A sentence about the drift of a stem."""
    apart_ms = abs(parts_per_million) * 1e-3 * duration_s
    return (
        f"stem {name} is of a clock that runs {abs(parts_per_million):.0f} ppm too {'fast' if parts_per_million > 0 else 'slow'}: "
        f"{apart_ms:.1f} ms apart from the mixture by its end"
    )


def refusal(names: Sequence[str], sentences: Sequence[str]) -> str:
    """Why stems of another clock are refused."""
    return f"{'; '.join(sentences)}. Resample {', '.join(names)} to the mixture's clock, or leave {'it' if len(names) == 1 else 'them'} out"
