"""Resampling with soxr, in float32 and without dither: with its best quality what is heard, faster what is only measured.

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


class MonoResampler:
    """Takes blocks of one channel, [t] each, at one rate and gives them at another, with medium quality: enough for a fingerprint."""

    def __init__(self, from_rate: int, to_rate: int) -> None:
        import soxr

        self._stream = None if from_rate == to_rate else soxr.ResampleStream(from_rate, to_rate, 1, dtype="float32", quality="MQ")

    def add(self, mono: Audio, *, last: bool = False) -> Audio:
        """What the next [t] gives; with ``last`` the rest, too."""
        return mono if self._stream is None else np.ravel(self._stream.resample_chunk(mono, last=last))
