"""Sound files as ``stemwright.manifests.sound`` reads them, with the file's name in every error.

Conventions
    The rooms give the reason of a refusal alone, since a table lists it beside the file. Who calls the library has only the error.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from stemwright.manifests.records import Refused
from stemwright.manifests.sound import decoding
from stemwright.manifests.sound.formats import Audio


@contextmanager
def naming(path: Path | str) -> Iterator[None]:
    """Puts the path of a file before the reason why it is refused, unless it begins with it."""
    try:
        yield
    except Refused as error:
        if str(error).startswith(f"{path}: "):
            raise
        raise Refused(f"{path}: {error}") from error


def load(path: Path | str, start_frame: int = 0, num_frames: int | None = None, *, stream: int = 0) -> tuple[Audio, int]:
    """Reads a sound file, or an excerpt of it without decoding what is far before it, as (float32 [C, T], sample rate).

    Full scale is 1.0, the rate that of the file in Hz. ``start_frame`` and ``num_frames`` (None: all) are in frames at that rate.
    WAV, FLAC, OGG, Opus, MP3, AIFF, m4a, aac and others are read; ``stream`` is the number of the stream in a STEM mp4. Raises
    ``Refused`` (a ValueError), naming the file, if it is unreadable or has fewer frames than requested.

    >>> import numpy, stemwright as sw
    >>> _ = sw.save("noise.wav", numpy.random.default_rng(0).normal(0, 0.1, (1, 8000)), 8000)
    >>> audio, sample_rate = sw.load("noise.wav", start_frame=4000, num_frames=1000)
    >>> audio.shape, audio.dtype.name, sample_rate
    ((1, 1000), 'float32', 8000)
    """
    if num_frames is not None and num_frames < 0:
        raise ValueError(f"num_frames must be 0 or more, or None for all; got {num_frames}")
    with naming(path):
        return decoding.load(path, start_frame, num_frames, stream=stream)


def blocks(path: Path | str, num_frames: int, *, sample_rate: int | None = None, stream: int = 0) -> Iterator[Audio]:
    """Decodes a sound file as a stream of float32 [C, t] with t about ``num_frames``, so that a long one needs little memory.

    It is resampled when ``sample_rate`` in Hz is another than the file's; ``stream`` is the number of the stream in a STEM mp4. Raises
    ``Refused`` (a ValueError), naming the file, if it is unreadable: at once by its header, or where its samples cannot be decoded.

    >>> import numpy, stemwright as sw
    >>> _ = sw.save("noise.flac", numpy.random.default_rng(0).normal(0, 0.1, (2, 44_100)), 44_100)
    >>> [block.shape for block in sw.blocks("noise.flac", 20_000)]
    [(2, 20000), (2, 20000), (2, 4100)]
    """
    if num_frames < 1:
        raise ValueError(f"num_frames must be 1 or more; got {num_frames}")
    with naming(path):
        found = decoding.blocks(path, num_frames, sample_rate=sample_rate, stream=stream)
    return _each(path, found)


def _each(path: Path | str, found: Iterator[Audio]) -> Iterator[Audio]:
    with naming(path):
        yield from found
