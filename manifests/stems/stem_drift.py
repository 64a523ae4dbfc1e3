"""Whether a stem was recorded by another clock than its mixture, so that it is more and more late.

How it is found
    The delays of all stems are sought in each excerpt by itself (``stem_alignment``). Where a stem's clock is right they are one delay;
    where it is not they are on a line over time, whose slope is the drift: the median of the slopes between all pairs of excerpts. A drift
    is taken only if most excerpts are near that line, if it moves the stem by frames, and if the mixture is explained much better with a
    delay for each excerpt, or if all delays are on it: a tone is alike at many delays, and its delays are on no line. Where a loop is
    alike a beat later, half of the excerpts must be on one line, and fewer at one delay.

Conventions
    Drift is in parts per million; positive for a stem whose clock is fast: it lasts longer than its part of the mixture.

References
    Theil 1950, Sen 1968 (median of slopes).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating]

FEWEST_EXCERPTS = 4
LEAST_MOVE = 1.5  # frames from the first excerpt to the last
NEAR = 1.0  # frame, and NEAR_SHARE of the whole move: what is near the line
NEAR_SHARE = 0.1
MOST_NEAR = 0.75  # of the excerpts in which a stem plays
MUCH_LESS = 0.97  # of the energy that is left with one delay: what delays for each excerpt leave
BEAT_NEAR = 2.0  # frames: delays that are on the line, where others are those of another beat of a loop
SURE_MOVE = 10.0  # frames: where all excerpts are near a line that moves a stem so far, it need not explain much more
LEAST_PLAYS = 0.03  # of a stem's energy in its loudest excerpt: it plays in an excerpt with more
LARGEST = 3000.0  # parts per million: a varispeed is no clock


@dataclass(frozen=True)
class _Line:
    """A line of delays over time: its slope, by how many frames it moves a stem, and which share of the excerpts is near it."""

    slope: float
    move: float
    near: float

    @property
    def drift(self) -> float:
        """In parts per million: a slow clock gives fewer frames, and the stem is ahead more and more."""
        return round(-self.slope * 1e6, 1)


def drift_of(starts: Array, delays: Array, energies: Array) -> float:
    """The drift of one stem from its delays [W] in excerpts that begin at frames [W], with its energies there; 0 where it has none."""
    line = _line(starts, delays, energies)
    return line.drift if line else 0.0


def _line(starts: Array, delays: Array, energies: Array) -> _Line | None:
    """The line of most of the delays, or of half of them where the others are those of another beat."""
    plays = energies > LEAST_PLAYS * max(float(energies.max(initial=0.0)), 1e-30)
    times, places = starts[plays].astype(np.float64), delays[plays]
    if times.size < FEWEST_EXCERPTS:
        return None
    whole = _through(times, places, None)
    if whole.near >= MOST_NEAR and whole.move >= LEAST_MOVE:
        return whole
    first, second = np.triu_indices(times.size, 1)
    slopes = (places[second] - places[first]) / (times[second] - times[first])
    off = places - places[first, None] - slopes[:, None] * (times - times[first, None])
    counts = np.where(np.abs(slopes) * 1e6 <= LARGEST, np.sum(np.abs(off) < BEAT_NEAR, axis=1), 0)
    still = max(int(np.sum(np.abs(places - place) < BEAT_NEAR)) for place in places)
    best = int(np.argmax(counts))
    if counts[best] < max(FEWEST_EXCERPTS, times.size / 2, still + 1):
        return None
    found = _through(times, places, np.abs(off[best]) < BEAT_NEAR)
    return found if found.move >= LEAST_MOVE else None


def _through(times: Array, places: Array, chosen: NDArray[np.bool_] | None) -> _Line:
    """The line through all or some delays, by the median of the slopes between any two of them; near none if it is no clock's."""
    at, there = (times, places) if chosen is None else (times[chosen], places[chosen])
    first, second = np.triu_indices(at.size, 1)
    slope = float(np.median((there[second] - there[first]) / (at[second] - at[first])))
    off = np.abs(places - slope * times - np.median(there - slope * at))
    move = abs(slope) * float(np.ptp(at))
    return _Line(slope, move, float(np.mean(off < NEAR + NEAR_SHARE * move)) if abs(slope) * 1e6 <= LARGEST else 0.0)


def drifts(starts: Array, delays: Array, energies: Array, left: float, left_at_one: float) -> tuple[float, ...]:
    """The drift of each stem from delays and energies [W, S]; ``left`` is the energy that delays for each excerpt leave."""
    lines = [_line(starts, delays[:, number], energies[:, number]) for number in range(delays.shape[1])]
    explains = left <= MUCH_LESS * left_at_one
    return tuple(line.drift if line and (explains or (line.near == 1.0 and line.move >= SURE_MOVE)) else 0.0 for line in lines)


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
