"""Reading sound files: headers, whole files, excerpts, streams of blocks.

Which library reads a file is decided by its content, never by its name: libsndfile where one value stands for each sample and in FLAC whose
header states its length (``plain_reader``), ffmpeg's libraries elsewhere (``coded_reader``).

Conventions
    Audio is float32 [C, T], full scale 1.0. The whole, its blocks and its excerpts are the same samples, and those of ffmpeg's own decode.
    A file from which sound is missing by its own account is refused. What is unusual, but missing nothing that is known of, is a note of
    the reader, and a warning in the log where no reader is seen.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import numpy as np

from stemwright.manifests.decibels import gain_to_db
from stemwright.manifests.records import Refused
from stemwright.manifests.sound.chunks import CHUNKED, Samples, samples_of
from stemwright.manifests.sound.coded_reader import CodedReader
from stemwright.manifests.sound.content import content_of
from stemwright.manifests.sound.flac_length import flac_length
from stemwright.manifests.sound.formats import (
    LONGEST_S,
    Audio,
    AudioInfo,
    check_complete,
    check_length,
    check_peak,
    check_readable,
)
from stemwright.manifests.sound.plain_reader import PlainReader
from stemwright.manifests.sound.resampling import resampled
from stemwright.manifests.sound.summing import Sound, Sum, SumReader

log = logging.getLogger(__name__)


Reader = PlainReader | CodedReader | SumReader


def opened(path: Sound | str, *, stream: int = 0, compared: bool = False) -> Reader:
    """A sound file, or a sum of some, open to be read once as ``blocks`` or as an excerpt. Raises Refused with a reason if it is none, or
    not whole. ``compared`` checks the samples of a FLAC against the MD5 in its header, if the whole file is read; it takes as long again as
    decoding.
    """
    return _opened_sum(path, compared) if isinstance(path, Sum) else _opened_file(Path(path), stream, compared)


def _opened_sum(sound: Sum, compared: bool) -> SumReader:
    with ExitStack() as ready:
        readers: list[PlainReader | CodedReader] = []
        for path in sound.files:
            try:
                readers.append(_opened_file(path, 0, compared))
                ready.push(readers[-1])
            except Refused as reason:
                raise Refused(f"{path.name}: {reason}") from reason
        reader = SumReader(sound, readers)
        ready.pop_all()
    return reader


def _opened_file(path: Path, stream: int, compared: bool) -> PlainReader | CodedReader:
    check_readable(path)
    content = content_of(path)
    found, is_plain, md5 = Samples(), False, bytes(16)
    if content.format in CHUNKED:
        found = samples_of(path, content)
        is_plain = found.plain and not found.open
    elif content.format == "flac" and (length := flac_length(path, content.start)):
        # libsndfile reads no samples of 32 bits, and stops where a second file is joined to the first.
        is_plain = length.stated > 0 and length.stated == length.reached and length.bits <= 24 and not length.is_joined
        is_plain = is_plain and content.start == 0
        md5 = length.md5 if compared and length.bits in (16, 24) else md5
    if is_plain:
        if stream:
            raise Refused(f"{path.name} has 1 audio streams; stream {stream} does not exist")
        return PlainReader(path, md5)
    reader = CodedReader(path, content, stream, has_open_size=found.open)
    reader.notes += found.notes
    if found.open and found.bytes_per_s:
        reader.info = replace(reader.info, num_frames=round(found.seconds(found.there) * reader.info.sample_rate))
    return reader


def probe(path: Sound | str, *, stream: int = 0) -> AudioInfo:
    """Reads the header of a sound file. Raises Refused with a reason if it is not one.

    The number of frames is exact for what libsndfile reads and for MP3; elsewhere it is the container's claim, which decoding may correct.
    """
    with opened(path, stream=stream) as reader:
        return reader.info


def load(path: Sound | str, start_frame: int = 0, num_frames: int | None = None, *, stream: int = 0) -> tuple[Audio, int]:
    """Reads a sound file, or an excerpt of it, as (float32 [C, T], sample rate).

    Full scale is 1.0, the rate that of the file in Hz. ``start_frame`` and ``num_frames`` (None: all) are in frames at that rate.
    WAV, FLAC, OGG, Opus, MP3, AIFF, m4a, aac and others are read; ``stream`` is the number of the stream in a STEM mp4. Raises
    ``Refused`` (a ValueError) if the file is unreadable, says that sound is missing, or has fewer frames than requested.

    >>> import numpy, stemwright as sw
    >>> _ = sw.save("noise.wav", numpy.random.default_rng(0).normal(0, 0.1, (1, 8000)), 8000)
    >>> audio, sample_rate = sw.load("noise.wav", start_frame=4000, num_frames=1000)
    >>> audio.shape, audio.dtype.name, sample_rate
    ((1, 1000), 'float32', 8000)
    """
    path = path if isinstance(path, Sum) else Path(path)
    if start_frame < 0:
        raise ValueError(f"start_frame must be 0 or more; got {start_frame}")
    with opened(path, stream=stream, compared=not start_frame and num_frames is None) as reader:
        audio = reader.read(start_frame, num_frames)
    _log(path, reader.notes)
    check_complete(path, audio, start_frame, num_frames)
    return audio, reader.info.sample_rate


def load_song(path: Path | str, *, stream: int = 0) -> tuple[Audio, int]:
    """Reads a whole recording from an untrusted source, as (float32 [C, T], sample rate).

    Raises Refused as ``load`` does, and where it is too long for the memory, or its samples must be damaged.
    """
    path, way_out = Path(path), "Cut it, or build a corpus from it, which reads it in blocks"
    with opened(path, stream=stream, compared=True) as reader:
        info = reader.info
        check_length(info.num_frames, info.sample_rate, LONGEST_S, way_out)
        audio = reader.read(0, int(LONGEST_S * info.sample_rate) + 1)  # a header may understate the length
    _log(path, reader.notes)
    check_length(audio.shape[1], info.sample_rate, LONGEST_S, way_out)
    peak = float(np.abs(audio).max(initial=0.0))
    if not np.isfinite(peak):
        raise Refused(f"{path.name} contains NaN or infinite samples; repair it, or leave it out")
    check_peak(gain_to_db(peak))
    return audio, info.sample_rate


def blocks(path: Sound | str, num_frames: int, *, sample_rate: int | None = None, stream: int = 0) -> Iterator[Audio]:
    """Decodes a sound file as a stream of float32 [C, num_frames], the last shorter, so that a long one needs little memory.

    It is resampled when ``sample_rate`` in Hz is another than the file's (then blocks are of about that length); ``stream`` is the number
    of the stream in a STEM mp4. Raises ``Refused`` (a ValueError) if the file is unreadable or says that sound is missing.

    >>> import numpy, stemwright as sw
    >>> _ = sw.save("noise.flac", numpy.random.default_rng(0).normal(0, 0.1, (2, 44_100)), 44_100)
    >>> [block.shape for block in sw.blocks("noise.flac", 20_000)]
    [(2, 20000), (2, 20000), (2, 4100)]
    """
    reader = opened(path, stream=stream)
    path = path if isinstance(path, Sum) else Path(path)
    source, file_rate = _closing(reader, num_frames, path), reader.info.sample_rate
    return source if sample_rate in (None, file_rate) else resampled(source, file_rate, int(sample_rate or file_rate))


def _closing(reader: Reader, block_frames: int, path: Sound) -> Iterator[Audio]:
    with reader:
        yield from reader.blocks(block_frames)
    _log(path, reader.notes)


def _log(path: Sound, notes: list[str]) -> None:
    for note in notes:
        log.warning("%s: %s", path.name, note)
