"""Resampling with soxr's best quality, in float32 and without dither.

Conventions
    Audio is float32 [C, T]; a stream is resampled as a whole would be, whatever its blocks.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from stemwright.manifests.sound.formats import Audio


def resampled(source: Iterator[Audio], from_rate: int, to_rate: int) -> Iterator[Audio]:
    """A stream of [C, t] at another rate: what ``resample`` gives, in pieces."""
    import soxr

    resampler = None
    for block in source:
        resampler = resampler or soxr.ResampleStream(from_rate, to_rate, len(block), dtype="float32", quality="VHQ")
        if (out := resampler.resample_chunk(np.ascontiguousarray(block.T))).size:
            yield np.ascontiguousarray(out.T)
    if resampler is not None:
        tail = resampler.resample_chunk(np.zeros((0, block.shape[0]), np.float32), last=True)
        if tail.size:
            yield np.ascontiguousarray(tail.T)


def resample(audio: Audio, from_rate: int, to_rate: int) -> Audio:
    """Resamples [C, T] with soxr's best quality, in float32 and without dither; the same array if the rates are equal."""
    if from_rate == to_rate:
        return audio
    import soxr

    return np.ascontiguousarray(soxr.resample(np.ascontiguousarray(audio.T), from_rate, to_rate, quality="VHQ").T, dtype=np.float32)
