"""True peak: the largest magnitude between the samples, found by interpolating four times.

The interpolator is a Kaiser-windowed sinc of 24 taps a phase, flat within 0.01 dB to 0.42 of the sample rate. Phase 0 is the sample
itself, phase 2 is symmetric, phases 1 and 3 mirror each other, so sums and differences of sample pairs serve all three. No interpolated
value can exceed the largest sample near it times the sum of the taps' magnitudes (about 2); blocks that cannot exceed the peak found so far
are skipped.

Conventions
    audio is float32 [C, T], full scale 1.0; before and after the signal is silence. Silence has a true peak of -inf dBTP.

References
    Recommendation ITU-R BS.1770-5 (2023), annex 2 (at least four times oversampling; the filter there is an example).
    J. F. Kaiser, "Nonrecursive digital filter design using the I0-sinh window function", ISCAS 1974.
"""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from stemwright.separation.kernels import njit
from stemwright.separation.loudness.kweighting import check_audio, check_sample_rate

Array = NDArray[np.floating]

HALF_TAPS = 12  # taps on either side of the interpolated instant
KAISER_BETA = 6.0
BLOCK = 256


def _interpolator() -> tuple[Array, Array, Array, float]:
    """Even and odd part of phase 1 and the half of phase 2, each [12] from the centre outward; and the largest sum of magnitudes of a
    phase."""
    k = np.arange(HALF_TAPS)

    def taps(distance: Array) -> Array:
        return np.sinc(distance) * np.i0(KAISER_BETA * np.sqrt(np.maximum(0, 1 - (distance / HALF_TAPS) ** 2))) / np.i0(KAISER_BETA)

    left, right = taps(k + 0.25), taps(k + 0.75)  # phase 1: weights of x[n - k] and x[n + 1 + k]
    whole = left.sum() + right.sum()
    left, right = left / whole, right / whole
    half = taps(k + 0.5)
    half /= 2 * half.sum()
    bound = max(np.abs(left).sum() + np.abs(right).sum(), 2 * np.abs(half).sum())
    return ((left + right) / 2).astype(np.float32), ((left - right) / 2).astype(np.float32), half.astype(np.float32), float(bound)


_EVEN, _ODD, _HALF, _BOUND = _interpolator()


@njit(fastmath=True)
def _block_peak(x, start, stop):  # type: ignore[no-untyped-def]  # pragma: no cover - compiled
    """Largest interpolated magnitude between x[n] and x[n + 1] for n from start to stop - 1; x is padded by the taps."""
    peak = np.float32(0.0)
    for n in range(start, stop):
        even, odd, half = np.float32(0.0), np.float32(0.0), np.float32(0.0)
        for k in range(HALF_TAPS):
            added = x[n - k] + x[n + 1 + k]
            even += _EVEN[k] * added
            odd += _ODD[k] * (x[n - k] - x[n + 1 + k])
            half += _HALF[k] * added
        peak = max(peak, max(abs(even) + abs(odd), abs(half)))
    return peak


@njit(fastmath=True)
def _magnitude(x, start, stop):  # type: ignore[no-untyped-def]  # pragma: no cover - compiled
    largest = np.float32(0.0)
    for n in range(start, stop):
        largest = max(largest, abs(x[n]))
    return largest


@njit()
def _channel_peak(x, floor, edge, first_frame, stop_frame):  # type: ignore[no-untyped-def]  # pragma: no cover - compiled
    """Largest interpolated magnitude of one channel from a frame to about another, or ``floor`` where nothing exceeds it; ``edge`` is room
    for a block and its taps."""
    peak, total = floor, x.size
    for start in range(first_frame, stop_frame, BLOCK):
        low, high = start - HALF_TAPS, start + BLOCK + HALF_TAPS
        if _magnitude(x, max(low, 0), min(high, total)) * _BOUND <= peak:
            continue
        block, first = x, start
        if low < 0 or high > total:
            for i in range(edge.size):
                edge[i] = x[low + i] if 0 <= low + i < total else np.float32(0.0)
            block, first = edge, HALF_TAPS
        peak = max(peak, _block_peak(block, first, first + BLOCK))
    return peak


def true_peak(audio: Array, sample_rate: int) -> float:
    """Largest true peak of all channels, between the samples too, in dBTP (ITU-R BS.1770-5, annex 2); -inf for silence.

    ``audio`` is float [C, T], full scale 1.0; ``sample_rate`` 8 to 192 kHz. Raises ValueError for another shape or rate, and for NaN.

    >>> import numpy, stemwright as sw
    >>> tone = 0.5 * numpy.sin(2 * numpy.pi * (numpy.arange(48_000) / 4 + 1 / 8))[None]  # no sample is at its peak
    >>> tone *= numpy.hanning(48_000)
    >>> print(f"samples {20 * numpy.log10(tone.max()):.1f} dBFS, true peak {sw.true_peak(tone, 48_000):.1f} dBTP")
    samples -9.0 dBFS, true peak -6.0 dBTP
    """
    samples = check_audio(audio)
    check_sample_rate(sample_rate)
    peak = float(max(samples.max(), -samples.min()))
    if not math.isfinite(peak):
        raise ValueError("expected finite audio, got NaN or infinity; repair or leave out the source file")
    edge = np.empty(BLOCK + 2 * HALF_TAPS, np.float32)
    for channel in samples:
        peak = float(_channel_peak(channel, np.float32(peak), edge, -HALF_TAPS, channel.size + HALF_TAPS))
    return 20 * math.log10(peak) if peak > 0 else -math.inf


def true_peaks(audio: Array, edges: NDArray[np.int64], sample_rate: int) -> Array:
    """True peaks in dBTP of the spans of audio [C, T] between edges in frames [N + 1]: [N]; -inf for silence. Errors as ``true_peak``.

    A span may reach a block of 256 frames into the next.
    """
    samples = check_audio(audio)
    check_sample_rate(sample_rate)
    edge = np.empty(BLOCK + 2 * HALF_TAPS, np.float32)
    found = np.zeros(len(edges) - 1)
    for number, (start, stop) in enumerate(pairwise(edges)):
        found[number] = float(np.abs(samples[:, start:stop]).max(initial=0.0))
        for channel in samples:
            found[number] = _channel_peak(channel, np.float32(found[number]), edge, start, stop)
    with np.errstate(divide="ignore"):
        return 20 * np.log10(found)
