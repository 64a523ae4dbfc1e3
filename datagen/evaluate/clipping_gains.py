"""Declippers on a signal clipped to a known SDR: what each gains over leaving it, with a cubic spline and a textbook A-SPADE as peers.

Conventions
    Signals are float64 [T], mono, with a peak of 1; clipped at both signs of one ceiling, so that the SDR of the whole is as asked.
    The gain is the SDR of the samples that were clipped, after minus before, in dB; since all others stay, it is also that of the whole.
    A declipper keeps what was not clipped: where one changes those samples, its gain is that of the clipped ones alone.

References
    Zaviska, Rajmic, Ozerov, Rencker 2021, "A survey and an extensive evaluation of popular audio declipping methods", IEEE JSTSP 15(1): the
    clipping to an input SDR, and the gain on the clipped samples. A-SPADE: Kitic, Bertin, Gribonval 2015; Zaviska and others 2019, as
    recalled: frames of 2048 in a square-root Hann window, a quarter apart, twice redundant DFT, one more coefficient (in conjugate pairs)
    each iteration, relative tolerance of 0.1 in the frame. The survey's A-SPADE has frames of 8192, which is another result.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from stemwright.datagen.evaluate.evaluated_songs import loudest

Array = NDArray[np.float64]
SPADE_FRAME = 2048


def loudest_part(audio: NDArray[np.floating], num_frames: int) -> Array:
    """The passage with most energy of audio [C, T], as mono [num_frames] with a peak of 1; all of a shorter one. Silence stays silence."""
    mono = audio.mean(axis=0, dtype=np.float64)
    mono = mono[loudest(np.square(mono), num_frames)]
    peak = np.abs(mono).max(initial=0.0)
    return mono / peak if peak > 0.0 else mono


def clip_to(samples: Array, input_db: float) -> tuple[Array, float]:
    """The signal [T] clipped so that its SDR is ``input_db``, and the ceiling.

    >>> from stemwright.datagen.evaluate.clipping_gains import clip_to
    >>> import numpy as np
    >>> clipped, ceiling = clip_to(np.sin(0.01 * np.arange(10_000)), 20.0)
    >>> round(ceiling, 2), round(float(np.abs(clipped).max()), 2)
    (0.84, 0.84)
    """
    low, high = 0.0, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        error = ((samples - samples.clip(-middle, middle)) ** 2).sum()
        low, high = (middle, high) if error > 0 and (samples**2).sum() < 10 ** (input_db / 10) * error else (low, middle)
    return samples.clip(-high, high), high


def gain_db(truth: Array, before: Array, after: Array, lost: NDArray[np.bool_]) -> float:
    """How much nearer to the truth the ``lost`` samples [T] are after than before, in dB."""
    left = float(((truth - after)[lost] ** 2).sum())
    return float(10 * np.log10(((truth - before)[lost] ** 2).sum() / max(left, 1e-300)))


def ours(clipped: Array, ceiling: float, sample_rate: int, method: Literal["gaussian", "expansion"] = "gaussian") -> Array:
    """The signal restored by ``stemwright.declip``."""
    from stemwright.datagen.inverse.clipping.declipping import declip

    restored: Array = declip(clipped[None], sample_rate, ceiling_low=-ceiling, ceiling_high=ceiling, method=method)[0]
    return restored


def spline(clipped: Array, ceiling: float) -> Array:
    """The signal with its clipped samples on a cubic spline through the others, and at least at the ceiling. Clipped ends stay."""
    from scipy.interpolate import CubicSpline

    lost = np.abs(clipped) >= ceiling
    restored = clipped.copy()
    known = np.flatnonzero(~lost)
    if len(known) < 2:
        return restored
    inside = np.flatnonzero(lost[known[0] : known[-1]]) + known[0]  # no extrapolation
    restored[inside] = CubicSpline(known, clipped[known])(inside)
    return _beyond(restored, clipped, ceiling, lost)


def spade(clipped: Array, ceiling: float, size: int = SPADE_FRAME) -> Array:
    """The signal restored by A-SPADE, frame by frame."""
    hop, window = size // 4, np.sqrt(np.hanning(size + 1)[:-1])
    padded = np.pad(clipped, (size, size + hop))
    total, weight = np.zeros_like(padded), np.zeros_like(padded)
    for start in range(0, len(padded) - size + 1, hop):
        frame = padded[start : start + size]
        total[start : start + size] += window * _spade_frame(frame, ceiling, window)
        weight[start : start + size] += window**2
    restored = (total / np.maximum(weight, 1e-9))[size : size + len(clipped)]
    return _beyond(restored, clipped, ceiling, np.abs(clipped) >= ceiling)


def _spade_frame(frame: Array, ceiling: float, window: Array) -> Array:
    known, size = window * frame, len(frame)
    low = np.where(frame >= ceiling, ceiling * window, np.where(frame <= -ceiling, -np.inf, known))
    high = np.where(frame <= -ceiling, -ceiling * window, np.where(frame >= ceiling, np.inf, known))
    if not (np.abs(frame) >= ceiling).any():
        return known
    estimate, dual = known, np.zeros(size + 1, complex)
    for count in range(1, size):
        target = np.fft.rfft(estimate, 2 * size) + dual
        sparse = np.where(np.abs(target) >= np.partition(np.abs(target), -count)[-count], target, 0.0)
        estimate = np.clip(np.fft.irfft(sparse - dual)[:size], low, high)
        difference = np.fft.rfft(estimate, 2 * size) - sparse
        if np.sqrt((np.abs(difference) ** 2).sum() / size) <= 0.1:
            break
        dual += difference
    return estimate


def _beyond(restored: Array, clipped: Array, ceiling: float, lost: NDArray[np.bool_]) -> Array:
    return np.where(lost, np.sign(clipped) * np.maximum(np.sign(clipped) * restored, ceiling), clipped)
