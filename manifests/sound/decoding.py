"""Reading sound files: headers, whole files, excerpts, streams of blocks.

Conventions
    Audio is float32 [C, T], full scale 1.0. An excerpt equals the same frames of the whole file, as far as its codec allows
    (``stemwright.manifests.sound.containers``).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np

from stemwright.manifests.decibels import gain_to_db
from stemwright.manifests.records import Refused
from stemwright.manifests.sound import quiet
from stemwright.manifests.sound.containers import ContainerReader, is_container
from stemwright.manifests.sound.formats import (
    LONGEST_S,
    Audio,
    AudioInfo,
    check_complete,
    check_length,
    check_peak,
    check_readable,
    info_of,
)
from stemwright.manifests.sound.resampling import resampled


def probe(path: Path | str, *, stream: int = 0) -> AudioInfo:
    """Reads the header of a sound file. Raises Refused with a reason if it is not one."""
    path = Path(path)
    if is_container(path):
        with ContainerReader(path, stream) as reader:
            return reader.info
    with _open(path) as file:
        return info_of(file)


def load(path: Path | str, start_frame: int = 0, num_frames: int | None = None, *, stream: int = 0) -> tuple[Audio, int]:
    """Reads a sound file, or an excerpt of it without decoding what is far before it, as (float32 [C, T], sample rate).

    Full scale is 1.0, the rate that of the file in Hz. ``start_frame`` and ``num_frames`` (None: all) are in frames at that rate.
    WAV, FLAC, OGG, Opus, MP3, AIFF, m4a, aac and others are read; ``stream`` is the number of the stream in a STEM mp4. Raises
    ``Refused`` (a ValueError) if the file is unreadable or has fewer frames than requested.
    """
    path = Path(path)
    if start_frame < 0:
        raise ValueError(f"start_frame must be 0 or more; got {start_frame}")
    if is_container(path):
        with ContainerReader(path, stream) as reader:
            audio = reader.read(start_frame, num_frames)
            sample_rate = reader.info.sample_rate
    else:
        with _open(path) as file:
            sample_rate = info_of(file).sample_rate
            if start_frame:
                with quiet.c_stderr():
                    file.seek(min(start_frame, file.frames))
            audio = _read(file, -1 if num_frames is None else num_frames)
    check_complete(path, audio, start_frame, num_frames)
    return audio, sample_rate


def load_song(path: Path | str, *, stream: int = 0) -> tuple[Audio, int]:
    """Reads a whole recording from an untrusted source, as (float32 [C, T], sample rate).

    Raises Refused as ``load`` does, and where it is too long for the memory, or its samples must be damaged.
    """
    path, way_out = Path(path), "Cut it, or build a corpus from it, which reads it in blocks"
    info = probe(path, stream=stream)
    check_length(info.num_frames, info.sample_rate, LONGEST_S, way_out)
    if is_container(path):
        with ContainerReader(path, stream) as reader:  # its header may understate the length
            audio = reader.read(0, int(LONGEST_S * info.sample_rate) + 1)
        check_length(audio.shape[1], info.sample_rate, LONGEST_S, way_out)
    else:
        audio, _ = load(path)
    peak = float(np.abs(audio).max(initial=0.0))
    if not np.isfinite(peak):
        raise Refused(f"{path.name} contains NaN or infinite samples; repair it, or leave it out")
    check_peak(gain_to_db(peak))
    return audio, info.sample_rate


def blocks(path: Path | str, num_frames: int, *, sample_rate: int | None = None, stream: int = 0) -> Iterator[Audio]:
    """Decodes a sound file as a stream of float32 [C, t] with t about ``num_frames``, so that a long one needs little memory.

    It is resampled when ``sample_rate`` in Hz is another than the file's; ``stream`` is the number of the stream in a STEM mp4. Raises
    ``Refused`` (a ValueError) if the file is unreadable.
    """
    path = Path(path)
    source = _raw_blocks(path, num_frames, stream)
    file_rate = probe(path, stream=stream).sample_rate
    return source if sample_rate in (None, file_rate) else resampled(source, file_rate, int(sample_rate or file_rate))


def _raw_blocks(path: Path, block_frames: int, stream: int) -> Iterator[Audio]:
    if is_container(path):
        with ContainerReader(path, stream) as reader:
            yield from reader.blocks(block_frames)
        return
    with _open(path) as file:
        info_of(file)
        while (block := _read(file, block_frames)).shape[1]:
            yield block


def _read(file: Any, num_frames: int) -> Audio:
    """The next [C, t] of a file that libsndfile has open."""
    import soundfile

    try:
        with quiet.c_stderr() if file.format == "MP3" else nullcontext():
            return np.ascontiguousarray(file.read(num_frames, dtype="float32", always_2d=True).T)
    except soundfile.LibsndfileError as error:
        name = Path(file.name).name
        raise Refused(f"{name} cannot be decoded ({str(error.error_string).rstrip('.')}). Is it truncated?") from error


def _open(path: Path) -> Any:
    import soundfile

    check_readable(path)
    try:
        with quiet.c_stderr():
            return soundfile.SoundFile(path)
    except soundfile.LibsndfileError as error:
        phrase = str(error.error_string).rstrip(".")
        if "does not exist" in phrase:  # libsndfile's error for a text file named .mp3; the file does exist here
            phrase = f"its content is not {path.suffix[1:].upper()}"
        raise Refused(f"not a readable sound file ({phrase})") from error
