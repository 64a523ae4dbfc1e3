"""The mixture's own loudness over time, and how far its peaks are above it.

Conventions
    audio is float [C, T], full scale 1.0. Loudness is in LUFS of the three seconds that end at each time, a true peak in dBTP. A peak to
    loudness ratio is in dB, and larger for a more dynamic recording. Silent windows have -inf LUFS and no ratio: NaN.

References
    EBU Tech 3341 (short-term loudness). AES TD1004 (2015), Recommendation for loudness of audio streaming (PLR: true peak level less
    integrated loudness). The ratio over time (PSR) is the true peak of the same three seconds less their loudness, as meters show it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stemwright.separation.loudness.kweighting import HOPS_PER_S
from stemwright.separation.loudness.meter import BLOCK_STEP_HOPS, SHORT_TERM_HOPS, hop_energies, to_lufs, window_means
from stemwright.separation.loudness.true_peak import true_peaks

Array = NDArray[np.floating]

STEP_S = BLOCK_STEP_HOPS / HOPS_PER_S


@dataclass(frozen=True)
class MixtureCourse:
    """Short-term loudness and the ratio of true peak to it, over time; all [N], every tenth of a second."""

    end_s: Array
    short_term_lufs: Array
    psr_db: Array


def mixture_course(audio: Array, sample_rate: int) -> MixtureCourse:
    """The course of audio [C, T]. One that is shorter than three seconds is one window. Errors are as for ``integrated_loudness``.

    >>> import numpy
    >>> from stemwright.separation.balance.mixture_line import mixture_course
    >>> tone = 0.5 * numpy.sin(2 * numpy.pi * 997 * numpy.arange(4 * 48_000) / 48_000)[None]  # mono, true peak -6 dBTP, -9 LUFS
    >>> found = mixture_course(tone, 48_000)
    >>> print(f"{found.short_term_lufs[-1]:.1f} LUFS, {found.psr_db[-1]:.1f} dB at {found.end_s[-1]:.1f} s")
    -9.0 LUFS, 3.0 dB at 4.0 s
    """
    energies, edges = hop_energies(audio, sample_rate)
    means, ends = window_means(energies, edges, SHORT_TERM_HOPS, BLOCK_STEP_HOPS)
    loudness = to_lufs(means)
    peaks = true_peaks(audio, np.unique([*edges[::BLOCK_STEP_HOPS], audio.shape[1]]), sample_rate)
    window = min(SHORT_TERM_HOPS // BLOCK_STEP_HOPS, len(peaks))
    highest = np.lib.stride_tricks.sliding_window_view(peaks, window).max(axis=1)[: len(loudness)]
    with np.errstate(invalid="ignore"):
        return MixtureCourse(ends / sample_rate, loudness, np.where(np.isfinite(loudness), highest - loudness, np.nan))


def plr_db(true_peak_dbtp: float, integrated_lufs: float) -> float | None:
    """Peak to loudness ratio of a whole recording; None where it is silent."""
    return true_peak_dbtp - integrated_lufs if math.isfinite(true_peak_dbtp) and math.isfinite(integrated_lufs) else None
