"""What undoing changed: peak, crest factor, loudness and range before and after, and the gain over time.

Conventions
    Peaks in dBFS and dBTP, loudness in LUFS (BS.1770-5), range in LU (EBU Tech 3342). The crest factor is peak over RMS. PLR is true peak
    over integrated loudness (AES). A value that does not exist (of silence, of less than a gating block) is None.
    The gain is that of the RMS of each block of ``BLOCK_S``, where the recording is above ``FLOOR_DBFS``.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from stemwright.datagen.inverse.undo.requests import Array
from stemwright.manifests.decibels import gain_to_db
from stemwright.separation.loudness.meter import measure_loudness

BLOCK_S = 0.01
FLOOR_DBFS = -60.0
NAMES = {
    "peak_dbfs": ("sample peak", "dBFS"),
    "true_peak_dbtp": ("true peak", "dBTP"),
    "crest_db": ("crest factor", "dB"),
    "plr_db": ("PLR", "dB"),
    "loudness_lufs": ("loudness", "LUFS"),
    "range_lu": ("loudness range", "LU"),
}


def measured(audio: Array, sample_rate: int) -> dict[str, float | None]:
    """The figures of a recording [C, T] by the names of ``NAMES``."""
    peak, power = float(np.abs(audio).max(initial=0.0)), float(np.square(audio, dtype=np.float64).mean()) if audio.size else 0.0
    try:
        report = measure_loudness(audio, sample_rate)
        loudness, extent, true_peak = report.integrated_lufs, report.range_lu, report.true_peak_dbtp
    except ValueError:  # a rate, or a number of channels, that BS.1770 says nothing of
        loudness = extent = true_peak = math.nan
    values = {
        "peak_dbfs": gain_to_db(peak) if peak else math.nan,
        "true_peak_dbtp": true_peak,
        "crest_db": gain_to_db(peak / math.sqrt(power)) if power else math.nan,
        "plr_db": true_peak - loudness,
        "loudness_lufs": loudness,
        "range_lu": extent,
    }
    return {name: value if math.isfinite(value) else None for name, value in values.items()}


def gain_over_time(before: Array, after: Array, sample_rate: int) -> tuple[np.ndarray, np.ndarray]:
    """(times of the blocks' middles in s [N], gain in dB [N], NaN where the recording is nearly silent)."""
    size = max(1, round(BLOCK_S * sample_rate))
    levels = [_block_levels(audio, size) for audio in (before, after)]
    with np.errstate(divide="ignore", invalid="ignore"):
        gain_db = 10.0 * np.log10(levels[1] / levels[0])
    gain_db[(levels[0] < 10.0 ** (FLOOR_DBFS / 10.0)) | ~np.isfinite(gain_db)] = math.nan
    return (np.arange(len(gain_db)) + 0.5) * size / sample_rate, gain_db


def _block_levels(audio: Array, size: int) -> np.ndarray:
    """Mean square of each block, over the channels."""
    whole = audio.shape[1] // size
    blocks = audio[:, : whole * size].reshape(audio.shape[0], whole, size)
    return np.einsum("cbt,cbt->b", blocks, blocks, dtype=np.float64) / (size * max(1, audio.shape[0]))


def gain_figures(before: Array, after: Array, sample_rate: int) -> dict[str, Any]:
    """Mean, lowest and highest gain in dB, and where the highest is."""
    times, gain_db = gain_over_time(before, after, sample_rate)
    if not np.isfinite(gain_db).any():
        return {"mean_db": None, "lowest_db": None, "highest_db": None, "highest_s": None}
    top = int(np.nanargmax(gain_db))
    return {
        "mean_db": float(np.nanmean(gain_db)),
        "lowest_db": float(np.nanmin(gain_db)),
        "highest_db": float(gain_db[top]),
        "highest_s": float(times[top]),
    }
