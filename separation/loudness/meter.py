"""Loudness of a programme: integrated, momentary, short-term, range and true peak, after ITU-R BS.1770-5 and EBU R 128.

One pass over the audio gives the K-weighted energy of every 10 ms; all figures are sums of those.

Conventions
    audio is float [C, T], full scale 1.0, one to five channels: mono; L R; L R C; L R Ls Rs; L R C Ls Rs (no LFE).
    Silence has no loudness: -inf, never NaN. A signal shorter than a window (0.4 s, 3 s) counts as one window of its own length. Where no
    window passes the gates, the integrated loudness is -inf and the range 0. Mean squares below 1e-20, far under the last bit of any
    file, are silence.

References
    Recommendation ITU-R BS.1770-5 (2023), annex 1, equations 1 to 7. EBU Tech 3341 (2023), windows and hops. EBU Tech 3342 (2023), range.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from stemwright.separation.loudness.gates import ABSOLUTE_GATE_LUFS, RANGE_GATE_LU, RELATIVE_GATE_LU
from stemwright.separation.loudness.kweighting import channel_weights, check_audio, hop_edges, hop_products
from stemwright.separation.loudness.true_peak import true_peak

__all__ = [
    "LoudnessReport",
    "channel_weights",
    "gate",
    "integrated_loudness",
    "loudness_range",
    "measure_loudness",
    "momentary_loudness",
    "short_term_loudness",
    "to_lufs",
    "true_peak",
    "window_means",
]

Array = NDArray[np.floating]

OFFSET_LUFS = -0.691  # BS.1770-5, eq. 2: makes a 997 Hz full-scale tone in one front channel -3.01
MOMENTARY_HOPS, SHORT_TERM_HOPS, BLOCK_STEP_HOPS = 40, 300, 10  # of 10 ms
SILENT_MEAN_SQUARE = 1e-20


class LoudnessReport(NamedTuple):
    """Every figure of one programme from a single pass."""

    integrated_lufs: float
    range_lu: float
    true_peak_dbtp: float
    max_momentary_lufs: float
    max_short_term_lufs: float


def hop_energies(audio: Array, sample_rate: int) -> tuple[Array, NDArray[np.int64]]:
    """Channel-weighted K-weighted energy of every 10 ms, [K], and the hops' edges in frames, [K + 1]."""
    audio = check_audio(audio)
    sums = hop_products(audio, [(c, c) for c in range(audio.shape[0])], sample_rate)
    return channel_weights(audio.shape[0]) @ sums, hop_edges(audio.shape[1], sample_rate)


def window_means(sums: Array, edges: NDArray[np.int64], window_hops: int, step_hops: int = 1) -> tuple[Array, NDArray[np.int64]]:
    """Mean squares over sliding windows, [..., N], and the frame at which each window ends, [N].

    ``sums`` are per hop, [..., K]. Fewer hops than a window give one shorter window.
    """
    window_hops = min(window_hops, sums.shape[-1])
    starts = np.arange(0, sums.shape[-1] - window_hops + 1, step_hops)
    coarse = math.gcd(window_hops, step_hops)
    if coarse > 1:  # first the hops of one step, so that a sparse grid costs little
        whole = sums.shape[-1] // coarse * coarse
        sums = sums[..., :whole].reshape(*sums.shape[:-1], -1, coarse).sum(-1)
    windows = np.lib.stride_tricks.sliding_window_view(sums, window_hops // coarse, axis=-1)[..., :: step_hops // coarse, :]
    ends = edges[starts + window_hops]
    return windows.sum(-1) / (ends - edges[starts]), ends


def to_lufs(mean_square: Array) -> Array:
    """Loudness of a weighted mean square, BS.1770-5 eq. 2; silence gives -inf."""
    mean_square = np.asarray(mean_square, dtype=np.float64)
    audible = mean_square > SILENT_MEAN_SQUARE
    return np.where(audible, OFFSET_LUFS + 10 * np.log10(np.where(audible, mean_square, 1.0)), -np.inf)


def gate(blocks: Array, *, relative_lu: float = RELATIVE_GATE_LU) -> NDArray[np.bool_]:
    """Which blocks (mean squares, [N]) pass the absolute gate and then the relative one, BS.1770-5 eq. 4 to 7."""
    above = to_lufs(blocks) > ABSOLUTE_GATE_LUFS
    if not above.any():
        return above
    return above & (to_lufs(blocks) > to_lufs(blocks[above].mean()) + relative_lu)


def gated_loudness(blocks: Array) -> float:
    """Integrated loudness of block mean squares [N], in LUFS; -inf when no block passes."""
    passing = gate(blocks)
    return float(to_lufs(blocks[passing].mean())) if passing.any() else -math.inf


def _range(windows: Array) -> float:
    passing = gate(windows, relative_lu=RANGE_GATE_LU)
    if not passing.any():
        return 0.0
    low, high = np.percentile(to_lufs(windows[passing]), [10, 95], method="nearest")
    return float(high - low)


def integrated_loudness(audio: Array, sample_rate: int) -> float:
    """Gated loudness of the whole programme, in LUFS (ITU-R BS.1770-5); -inf for silence.

    ``audio`` is float [C, T], full scale 1.0, one to five channels; ``sample_rate`` 8 to 192 kHz. Raises ValueError for another shape or
    rate, for integers, and for NaN.

    >>> import numpy, stemwright as sw
    >>> tone = 0.5 * numpy.sin(2 * numpy.pi * 997 * numpy.arange(96_000) / 48_000)[None]  # mono, -6 dBFS
    >>> print(f"{sw.integrated_loudness(tone, 48_000):.1f} LUFS")
    -9.0 LUFS
    """
    energies, edges = hop_energies(audio, sample_rate)
    return gated_loudness(window_means(energies, edges, MOMENTARY_HOPS, BLOCK_STEP_HOPS)[0])


def momentary_loudness(audio: Array, sample_rate: int) -> tuple[Array, Array]:
    """Loudness in LUFS of 0.4 s windows every 10 ms, [N], and the times in seconds at which they end, [N] (EBU Tech 3341).

    Silent windows have -inf; a signal shorter than a window is one window. ``audio``, ``sample_rate`` and errors are as for
    ``integrated_loudness``.

    >>> import numpy, stemwright as sw
    >>> tone = 0.5 * numpy.sin(2 * numpy.pi * 997 * numpy.arange(48_000) / 48_000)[None]  # mono, -6 dBFS
    >>> loudness_lufs, end_s = sw.momentary_loudness(tone, 48_000)
    >>> print(f"{loudness_lufs[0]:.1f} LUFS at {end_s[0]:.2f} s, {len(end_s)} windows")
    -9.0 LUFS at 0.40 s, 61 windows
    """
    means, ends = window_means(*hop_energies(audio, sample_rate), MOMENTARY_HOPS)
    return to_lufs(means), ends / sample_rate


def short_term_loudness(audio: Array, sample_rate: int) -> tuple[Array, Array]:
    """Loudness in LUFS of 3 s windows every 10 ms, [N], and the times in seconds at which they end, [N] (EBU Tech 3341).

    Silent windows have -inf; a signal shorter than a window is one window. ``audio``, ``sample_rate`` and errors are as for
    ``integrated_loudness``.

    >>> import numpy, stemwright as sw
    >>> tone = 0.5 * numpy.sin(2 * numpy.pi * 997 * numpy.arange(4 * 48_000) / 48_000)[None]  # mono, -6 dBFS
    >>> loudness_lufs, end_s = sw.short_term_loudness(tone, 48_000)
    >>> print(f"{loudness_lufs[-1]:.1f} LUFS at {end_s[-1]:.2f} s")
    -9.0 LUFS at 4.00 s
    """
    means, ends = window_means(*hop_energies(audio, sample_rate), SHORT_TERM_HOPS)
    return to_lufs(means), ends / sample_rate


def loudness_range(audio: Array, sample_rate: int) -> float:
    """Loudness range in LU: from the 10th to the 95th percentile of the gated short-term loudness (EBU Tech 3342).

    Where nothing passes the gates it is 0. ``audio``, ``sample_rate`` and errors are as for ``integrated_loudness``.

    >>> import numpy, stemwright as sw
    >>> tone = 0.5 * numpy.sin(2 * numpy.pi * 997 * numpy.arange(20 * 48_000) / 48_000)[None]  # mono, -6 dBFS
    >>> level_db = numpy.repeat([0.0, -10.0], 10 * 48_000)  # ten seconds, and ten seconds at 10 dB less
    >>> print(f"{sw.loudness_range(tone * 10 ** (level_db / 20), 48_000):.1f} LU")
    10.0 LU
    """
    return _range(window_means(*hop_energies(audio, sample_rate), SHORT_TERM_HOPS, BLOCK_STEP_HOPS)[0])


def measure_loudness(audio: Array, sample_rate: int) -> LoudnessReport:
    """Every figure at once: one pass for the energies, one for the true peak."""
    energies, edges = hop_energies(audio, sample_rate)
    momentary = window_means(energies, edges, MOMENTARY_HOPS)[0]
    short_term = window_means(energies, edges, SHORT_TERM_HOPS)[0]
    return LoudnessReport(
        integrated_lufs=gated_loudness(momentary[::BLOCK_STEP_HOPS]),
        range_lu=_range(short_term[::BLOCK_STEP_HOPS]),
        true_peak_dbtp=true_peak(audio, sample_rate),
        max_momentary_lufs=float(to_lufs(momentary.max())),
        max_short_term_lufs=float(to_lufs(short_term.max())),
    )
