"""How long, how often and with what tops a signal is above each level: the counts from which clipping is detected.

Of each channel and polarity there are, on a logarithmic scale of levels:

    time T(u)         samples at or above u
    excursions N(u)   upward crossings of u
    tops              local maxima by height, and their mean curvature
    rounded           flat tops on each level that begin steeper than they end, and those that end steeper
    overtopped        samples on each level in a segment (``SEGMENT``) that also goes higher, by more than each of ``MARGINS``

T(u) / N(u) is the mean duration of an excursion, and T(u) - N(u) the pairs of neighbours that are both above u (Rice).

Conventions
    Audio is float [C, T], full scale 1.0, in blocks of any length. Memory is 15 MB a channel, whatever the length.
    Polarity 0 is the upper, 1 the lower, whose samples count by magnitude; 2 is the sum of both. Levels go from ``FLOOR`` (-72 dBFS) to
    ``TOP`` (+36 dBFS); samples outside count nowhere.
    The scale is that of the float32's own bits, whose upper ones are a piecewise linear logarithm: ``FINE`` steps an octave (0.006 to
    0.012 %) for time and excursions, ``COARSE`` steps (0.4 to 0.8 %) for tops.
    The first and last ``EDGE`` samples of a signal have no shape and are not counted.

References
    S. O. Rice, "Mathematical analysis of random noise", Bell System Technical Journal 24, 1945: crossings of a level.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stemwright.separation.kernels import njit

FLOOR, TOP = 2.0**-12, 2.0**6
FINE, COARSE = 1 << 13, 1 << 7
OCTAVES = 18
EDGE = 3
LONG, FLAT_STEPS = 3, 4  # samples of a flat top whose shape is seen, and how many fine steps they may differ by
STEEPER = 1.5  # times the step at the other end of a flat top
CLOSE = 16  # frames, 0.36 ms: no limiter with look-ahead touches its ceiling so soon again
SEGMENT = 4096  # frames, 93 ms at 44.1 kHz: holds a period of any tone
MARGINS = (0.02, 0.15)  # for exact copies, and for those whose tops scatter
_FINE_SHIFT, _COARSE_SHIFT = 10, 16  # 23 bits of mantissa - 13 and - 7
_FLOOR_BITS = int(np.float32(FLOOR).view(np.int32))
_NUM_FINE, _NUM_COARSE = FINE * OCTAVES, COARSE * OCTAVES
COUNT, CURVATURE, WIDE_CURVATURE = range(3)  # columns of tops

Counts = NDArray[np.int64]
Sums = NDArray[np.float64]


def fine_index(level: float | NDArray[np.floating]) -> NDArray[np.int64]:
    """The index of the fine step that contains a level; 0 below the floor, the last one above the top."""
    bits = np.asarray(level, np.float32).view(np.int32).astype(np.int64)
    return np.clip((bits - _FLOOR_BITS) >> _FINE_SHIFT, 0, _NUM_FINE)


def coarse_index(level: float | NDArray[np.floating]) -> NDArray[np.int64]:
    """The index of the coarse step that contains a level."""
    bits = np.asarray(level, np.float32).view(np.int32).astype(np.int64)
    return np.clip((bits - _FLOOR_BITS) >> _COARSE_SHIFT, 0, _NUM_COARSE)


def fine_level(index: float | NDArray[np.int64]) -> NDArray[np.float64]:
    """The lower end of a fine step."""
    bits = (np.asarray(index, np.int64) << _FINE_SHIFT) + _FLOOR_BITS
    return bits.astype(np.int32).view(np.float32).astype(np.float64)


@njit(nogil=True)
def _count(x, start, time, crossings, tops, recent, close, rounded, state):  # type: ignore[no-untyped-def]  # pragma: no cover - compiled
    """Counts the samples of x from ``EDGE`` to len(x) - EDGE; its neighbours on both sides are known. x begins at frame ``start``."""
    bits = x.view(np.int32)
    mask = 0x7FFFFFFF
    before = (bits[EDGE - 1] & mask) - _FLOOR_BITS
    last = (before >> _FINE_SHIFT) + 1 if 0 <= before < _NUM_FINE << _FINE_SHIFT else 0  # 0: on no step
    last_side = 1 if bits[EDGE - 1] < 0 else 0
    run, first, rise = int(state[0]), int(state[1]), state[2]  # samples about a level since it was entered, its step, the way into it
    for n in range(EDGE, len(x) - EDGE):
        side = 1 if bits[n] < 0 else 0
        above = (bits[n] & mask) - _FLOOR_BITS
        step = (above >> _FINE_SHIFT) + 1 if 0 <= above < _NUM_FINE << _FINE_SHIFT else 0
        previous = last if side == last_side else 0
        if step > 0:
            time[side, step - 1] += 1
            if step > previous:
                crossings[side, previous] += 1
                crossings[side, step] -= 1
            sign = -1.0 if side == 1 else 1.0
            top = sign * x[n]
            left, right = sign * x[n - 1], sign * x[n + 1]
            if top >= left and top > right:
                row = tops[side, above >> _COARSE_SHIFT]
                row[COUNT] += 1.0
                row[CURVATURE] += 1.0 - (left + right) / (2.0 * top)
                row[WIDE_CURVATURE] += 1.0 - sign * (x[n - 2] + x[n + 2]) / (2.0 * top)
                if start + n - recent[side, step - 1] <= CLOSE:
                    close[side, step - 1] += 1
                recent[side, step - 1] = start + n
        if run > 0 and side == last_side and abs(step - first) <= FLAT_STEPS:
            run += 1
        else:
            if run >= LONG and (side != last_side or step < first):
                fall = abs(x[n] - x[n - 1])
                if rise > STEEPER * fall:
                    rounded[last_side, first - 1, 0] += 1
                elif fall > STEEPER * rise:
                    rounded[last_side, first - 1, 1] += 1
            run = 1 if step > previous else 0
            first, rise = step, abs(x[n] - x[n - 1])
        last, last_side = step, side
    state[0], state[1], state[2] = run, first, rise


@njit(nogil=True)
def _count_overtopped(segments, margins, overtopped):  # type: ignore[no-untyped-def]  # pragma: no cover - compiled
    """Counts the samples of segments [S, t] that are lower than the peak of their side of the segment, by more than each margin."""
    bits = segments.view(np.int32)
    for n in range(len(segments)):
        peaks = (segments[n].max(), -segments[n].min())
        for k in range(segments.shape[1]):
            side = 1 if bits[n, k] < 0 else 0
            above = (bits[n, k] & 0x7FFFFFFF) - _FLOOR_BITS
            if 0 <= above < _NUM_FINE << _FINE_SHIFT:
                for m in range(len(margins)):
                    if abs(segments[n, k]) * (1.0 + margins[m]) < peaks[side]:
                        overtopped[side, above >> _FINE_SHIFT, m] += 1


@dataclass(frozen=True)
class Levels:
    """The counts of one channel and polarity, or the sum of several."""

    num_frames: int
    time: Counts  # [fine + 1], samples at or above the lower end of each step
    excursions: Counts  # [fine + 1], upward crossings of it
    close: Counts  # [fine], tops on a step that follow another one there within ``CLOSE`` frames
    tops: Sums  # [coarse + 1, 3], sums over all tops below each step: differences are sums over bands
    rounded: Counts  # [fine, 2], flat tops on a step that begin steeper than they end, and the reverse
    overtopped: Counts  # [fine, M], samples on a step in segments that go higher by more than each margin


class LevelTally:
    """Counts the levels of a signal that comes in blocks [C, t]."""

    def __init__(self, num_channels: int) -> None:
        self.num_frames = 0
        self._time = np.zeros((num_channels, 2, _NUM_FINE), np.int64)
        self._crossings = np.zeros((num_channels, 2, _NUM_FINE + 1), np.int64)
        self._tops = np.zeros((num_channels, 2, _NUM_COARSE, 3))
        self._recent = np.full((num_channels, 2, _NUM_FINE), -CLOSE, np.int64)  # frame of the last top on each step
        self._close = np.zeros((num_channels, 2, _NUM_FINE), np.int64)
        self._rounded = np.zeros((num_channels, 2, _NUM_FINE, 2), np.int32)
        self._state = np.zeros((num_channels, 3))
        self._overtopped = np.zeros((num_channels, 2, _NUM_FINE, len(MARGINS)), np.int32)
        self._segment = np.zeros((num_channels, 0), np.float32)  # the part so far
        self._rest = np.zeros((num_channels, 0), np.float32)

    def add(self, block: NDArray[np.floating]) -> None:
        """Takes the next block [C, t], float. Raises ValueError if a sample is NaN or infinite, or the channels are others."""
        if block.ndim != 2 or len(block) != len(self._rest):
            raise ValueError(f"expected a block [{len(self._rest)}, t], got shape {block.shape}")
        if not np.isfinite(float(np.sum(block, dtype=np.float64))):
            raise ValueError("expected finite audio, got NaN or infinity; repair or leave out the source file")
        start = self.num_frames - self._rest.shape[1]
        self.num_frames += block.shape[1]
        joined = np.ascontiguousarray(np.concatenate([self._rest, block.astype(np.float32, copy=False)], axis=1))
        self._rest = joined[:, -2 * EDGE :].copy()
        if joined.shape[1] > 2 * EDGE:
            for channel, x in enumerate(joined):
                counts = (self._time, self._crossings, self._tops, self._recent, self._close, self._rounded, self._state)
                _count(x, start, *(each[channel] for each in counts))
            self._add_segments(joined[:, EDGE:-EDGE])

    def _add_segments(self, counted: NDArray[np.float32]) -> None:
        """Takes the next frames for the counts by segment."""
        frames = np.concatenate([self._segment, counted], axis=1)
        whole = frames.shape[1] // SEGMENT * SEGMENT
        self._segment = frames[:, whole:].copy()
        for channel, x in enumerate(frames[:, :whole]):
            _count_overtopped(x.reshape(-1, SEGMENT), np.array(MARGINS), self._overtopped[channel])

    def levels(self, channel: int, polarity: int) -> Levels:
        """The counts of a channel so far, of one polarity or (2) of both."""
        sides = slice(polarity, polarity + 1) if polarity < 2 else slice(0, 2)
        time = self._time[channel, sides].sum(axis=0)
        tops = self._tops[channel, sides].sum(axis=0)
        crossings = self._crossings[channel, sides].sum(axis=0)
        overtopped = self._overtopped[channel].copy()
        if self._segment.size:
            _count_overtopped(self._segment[channel : channel + 1], np.array(MARGINS), overtopped)
        return Levels(
            self.num_frames,
            np.append(time[::-1].cumsum()[::-1], 0),
            crossings.cumsum(),
            self._close[channel, sides].sum(axis=0),
            np.concatenate([np.zeros((1, 3)), tops.cumsum(axis=0)]),
            self._rounded[channel, sides].sum(axis=0, dtype=np.int64),
            overtopped[sides].sum(axis=0, dtype=np.int64),
        )


def pooled(levels: list[Levels]) -> Levels:
    """The counts of several channels or polarities as those of one signal."""
    return Levels(
        sum(each.num_frames for each in levels),
        np.sum([each.time for each in levels], axis=0),
        np.sum([each.excursions for each in levels], axis=0),
        np.sum([each.close for each in levels], axis=0),
        np.sum([each.tops for each in levels], axis=0),
        np.sum([each.rounded for each in levels], axis=0),
        np.sum([each.overtopped for each in levels], axis=0),
    )
