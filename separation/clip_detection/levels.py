"""How long, how often and with what tops a signal is above each level: the counts from which clipping is detected.

Of each channel and polarity there are, on a logarithmic scale of levels:

    time T(u)         samples at or above u
    excursions N(u)   upward crossings of u
    tops              local maxima by height, and their mean curvature
    flat tops         on each level, by how they begin and end
    overtopped        samples on each level in a segment (``SEGMENT``) that also goes higher, by more than each of ``MARGINS``

T(u) / N(u) is the mean duration of an excursion, and T(u) - N(u) the pairs of neighbours that are both above u (Rice).

Conventions
    Audio is float [C, T], full scale 1.0, in blocks of any length. Memory is 20 MB a channel, whatever the length.
    Polarity 0 is the upper, 1 the lower, whose samples count by magnitude; 2 is the sum of both. Samples
    outside the scale (-72 to +36 dBFS) count nowhere.
    The first and last ``EDGE`` samples of a signal have no shape and are not counted.

References
    S. O. Rice, "Mathematical analysis of random noise", Bell System Technical Journal 24, 1945: crossings of a level.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stemwright.separation.clip_detection.flat_tops import COLUMNS, EDGE, GRAIN, STATES, count_flat_tops
from stemwright.separation.clip_detection.scale import COARSE_SHIFT, FINE_SHIFT, FLOOR_BITS, NUM_COARSE, NUM_FINE
from stemwright.separation.kernels import njit

CLOSE = 16  # frames, 0.36 ms: no limiter with look-ahead touches its ceiling so soon again
SEGMENT = 4096  # frames, 93 ms at 44.1 kHz: holds a period of any tone
MARGINS = (0.02, 0.15)  # for exact copies, and for those whose tops scatter
COUNT, CURVATURE, WIDE_CURVATURE = range(3)  # columns of tops

Counts = NDArray[np.int64]
Sums = NDArray[np.float64]


@njit(nogil=True)
def _count(x, start, time, crossings, tops, recent, close):  # type: ignore[no-untyped-def]  # pragma: no cover - compiled
    """Counts the samples of x from ``EDGE`` to len(x) - EDGE; its neighbours on both sides are known. x begins at frame ``start``."""
    bits = x.view(np.int32)
    mask = 0x7FFFFFFF
    before = (bits[EDGE - 1] & mask) - FLOOR_BITS
    last = (before >> FINE_SHIFT) + 1 if 0 <= before < NUM_FINE << FINE_SHIFT else 0  # 0: on no step
    last_side = 1 if bits[EDGE - 1] < 0 else 0
    for n in range(EDGE, len(x) - EDGE):
        side = 1 if bits[n] < 0 else 0
        above = (bits[n] & mask) - FLOOR_BITS
        step = (above >> FINE_SHIFT) + 1 if 0 <= above < NUM_FINE << FINE_SHIFT else 0
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
                row = tops[side, above >> COARSE_SHIFT]
                row[COUNT] += 1.0
                row[CURVATURE] += 1.0 - (left + right) / (2.0 * top)
                row[WIDE_CURVATURE] += 1.0 - sign * (x[n - 2] + x[n + 2]) / (2.0 * top)
                if start + n - recent[side, step - 1] <= CLOSE:
                    close[side, step - 1] += 1
                recent[side, step - 1] = start + n
        last, last_side = step, side


@njit(nogil=True)
def _count_overtopped(segments, margins, overtopped):  # type: ignore[no-untyped-def]  # pragma: no cover - compiled
    """Counts the samples of segments [S, t] that are lower than the peak of their side of the segment, by more than each margin."""
    bits = segments.view(np.int32)
    for n in range(len(segments)):
        peaks = (segments[n].max(), -segments[n].min())
        for k in range(segments.shape[1]):
            side = 1 if bits[n, k] < 0 else 0
            above = (bits[n, k] & 0x7FFFFFFF) - FLOOR_BITS
            if 0 <= above < NUM_FINE << FINE_SHIFT:
                for m in range(len(margins)):
                    if abs(segments[n, k]) * (1.0 + margins[m]) < peaks[side]:
                        overtopped[side, above >> FINE_SHIFT, m] += 1


@dataclass(frozen=True)
class Levels:
    """The counts of one channel and polarity, or the sum of several."""

    num_frames: int
    time: Counts  # [fine + 1], samples at or above the lower end of each step
    excursions: Counts  # [fine + 1], upward crossings of it
    close: Counts  # [fine], tops on a step that follow another one there within ``CLOSE`` frames
    tops: Sums  # [coarse + 1, 3], sums over all tops below each step: differences are sums over bands
    flat_tops: Counts  # [fine, columns] of flat_tops
    overtopped: Counts  # [fine, M], samples on a step in segments that go higher by more than each margin


class LevelTally:
    """Counts the levels of a signal that comes in blocks [C, t]."""

    def __init__(self, num_channels: int) -> None:
        self.num_frames = 0
        self._time = np.zeros((num_channels, 2, NUM_FINE), np.int64)
        self._crossings = np.zeros((num_channels, 2, NUM_FINE + 1), np.int64)
        self._tops = np.zeros((num_channels, 2, NUM_COARSE, 3))
        self._recent = np.full((num_channels, 2, NUM_FINE), -CLOSE, np.int64)  # frame of the last top on each step
        self._close = np.zeros((num_channels, 2, NUM_FINE), np.int64)
        self._flat_tops = np.zeros((num_channels, 2, NUM_FINE, COLUMNS), np.int32)
        self._state = np.zeros((num_channels, STATES))
        self._state[:, GRAIN] = np.inf
        self._overtopped = np.zeros((num_channels, 2, NUM_FINE, len(MARGINS)), np.int32)
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
                counts = (self._time, self._crossings, self._tops, self._recent, self._close)
                _count(x, start, *(each[channel] for each in counts))
                count_flat_tops(x, start, self._flat_tops[channel], self._state[channel])
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
            self._flat_tops[channel, sides].sum(axis=0, dtype=np.int64),
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
        np.sum([each.flat_tops for each in levels], axis=0),
        np.sum([each.overtopped for each in levels], axis=0),
    )
