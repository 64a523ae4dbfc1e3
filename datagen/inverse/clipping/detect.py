"""Which channels of a recording were clipped, and at which levels: the public form of ``stemwright.separation.clip_detection``."""

from __future__ import annotations

import numpy as np

from stemwright.manifests.sound.formats import Audio
from stemwright.separation.clip_detection.ceilings import Clipping, clipping_of

BLOCK = 1 << 18  # frames


def detect_clipping(audio: Audio, sample_rate: int) -> tuple[Clipping, ...]:
    """Whether each channel was clipped, and at which level of its lower and its upper half, from the samples alone.

    ``audio`` is float [C, T], full scale 1.0. Returns one ``Clipping`` a channel. ``ceiling_low <= 0 <= ceiling_high`` are the levels of
    the flat parts, 0 where none was found, and ``ceilings_low`` and ``ceilings_high`` all of them where there are several, the outermost
    first. ``share`` is the part of the channel's samples that are there, 0 to 1; ``confidence`` the likelihood that the channel was
    clipped, 0 to 1, 0 where nothing was found; ``spread`` the part of a ceiling by which clipped samples differ from it: below 0.002 where
    they are equal but for rounding, 0.01 to 0.08 in resampled and lossy copies.

    Found are flat tops at a common level in exact copies (also at another gain), and in resampled, MP3, AAC and Vorbis copies piles of tops
    that are flatter than the lower ones of the same sound. A limiter with look-ahead leaves round tops and is not called clipping; one
    without cuts half of a top flat: in exact copies it is nearly always recognised, in others often. It abstains in silence, in
    sounds of few levels (a square wave is as if clipped) and where there is too little to compare with: exact copies need a few clipped
    samples, lossy ones 0.1 to 0.3 % of some seconds, 1 % at 128 kbit/s and less.

    Raises ValueError for another shape, integers, NaN, or a sample rate that is not positive. For a long file see ``sw.blocks``, and
    ``stemwright.separation.clip_detection.ceilings.clipping_of``, whose memory does not grow. Method: see
    ``stemwright.separation.clip_detection.evidence``; measured by ``benchmarks/clipping_detection.py``.

    >>> import numpy, stemwright as sw
    >>> noise = numpy.random.default_rng(0).normal(0, 0.2, (2, 44_100))
    >>> noise[0] = noise[0].clip(-0.5, 0.4)
    >>> left, right = sw.detect_clipping(noise, 44_100)
    >>> print(f"{left.ceiling_low:.2f} {left.ceiling_high:.2f} {100 * left.share:.1f} %")
    -0.50 0.40 3.0 %
    >>> right.ceiling_low, right.ceiling_high, right.confidence
    (0.0, 0.0, 0.0)
    """
    samples = np.asarray(audio)
    if samples.ndim != 2 or 0 in samples.shape:
        raise ValueError(f"expected audio [C, T] with a channel and a frame at least, got shape {samples.shape}; mono is audio[None]")
    if not np.issubdtype(samples.dtype, np.floating):
        raise ValueError(f"expected float audio with full scale 1.0, got {samples.dtype}; divide integers by their full scale")
    if not sample_rate > 0:
        raise ValueError(f"expected a sample rate in Hz above 0, got {sample_rate!r}")
    return clipping_of(samples[:, start : start + BLOCK] for start in range(0, samples.shape[1], BLOCK))
