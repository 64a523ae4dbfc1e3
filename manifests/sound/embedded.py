"""Sound files inside other files: WAV and FLAC in a tar shard or in the cell of a table.

Conventions
    Audio is float32 [C, T], full scale 1.0. Of our own float WAV only the wanted frames are read.
"""

from __future__ import annotations

import io
import os
import stat
from pathlib import Path

import numpy as np

from stemwright.manifests.disk.regular import not_a_file
from stemwright.manifests.records import Refused
from stemwright.manifests.sound.float_wav import parse_wav_header, wav_header
from stemwright.manifests.sound.formats import Audio, AudioInfo, check_complete, info_of


def load_range(
    path: Path | str,
    start_byte: int = 0,
    num_bytes: int | None = None,
    start_frame: int = 0,
    num_frames: int | None = None,
    scratch: bytearray | None = None,
) -> tuple[Audio, int]:
    """Reads a WAV or FLAC file that is embedded in another file, or an excerpt of it, as ``load`` does; raises what ``load`` raises.

    Of our own float WAV only the wanted frames are read. FLAC has to be read as a whole to seek in it (but only the excerpt is decoded).
    The result may be a view in the file's own order, frame by frame, so that a caller who copies it copies once. With a large enough
    ``scratch`` it may be a view of that buffer, valid until the next call: new memory for each file costs more than reading it.
    """
    path = Path(path)
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))  # without it, opening a pipe waits for a writer
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise Refused(f"{path.name} is {not_a_file(path)}, not a sound file")
        head = os.pread(descriptor, len(wav_header(1, 1, 0)), start_byte)
        if plain := parse_wav_header(head):
            found = _plain_frames(descriptor, plain, start_byte + len(head), (start_frame, num_frames), scratch)
        else:
            wanted = status.st_size - start_byte if num_bytes is None else num_bytes
            found = _decoded(os.pread(descriptor, wanted, start_byte), path, start_frame, num_frames)
    finally:
        os.close(descriptor)
    check_complete(path, found[0], start_frame, num_frames)
    return found


def load_bytes(data: bytes, name: str, start_frame: int = 0, num_frames: int | None = None) -> tuple[Audio, int]:
    """What ``load_range`` reads, from the bytes of a WAV or FLAC file; ``name`` is what its errors call it."""
    found = _decoded(data, Path(name), start_frame, num_frames)
    check_complete(Path(name), found[0], start_frame, num_frames)
    return found


def decode(data: bytes) -> tuple[Audio, int]:
    """The sound of the bytes of a WAV or FLAC file, as (float32 [C, T], sample rate). Raises Refused if they are not one."""
    return _decoded(data, Path("these bytes"), 0, None)


def probe_bytes(data: bytes) -> AudioInfo:
    """What the header of a WAV or FLAC file says, from the file's bytes. Raises Refused if they are not one."""
    import soundfile

    try:
        with soundfile.SoundFile(io.BytesIO(data)) as file:
            return info_of(file)
    except soundfile.LibsndfileError as error:
        raise Refused(f"not a readable sound file ({str(error.error_string).rstrip('.')})") from error


def _decoded(data: bytes, path: Path, start_frame: int, num_frames: int | None) -> tuple[Audio, int]:
    import soundfile

    try:
        with soundfile.SoundFile(io.BytesIO(data)) as file:
            info_of(file)
            if start_frame:
                file.seek(min(start_frame, file.frames))
            samples = file.read(-1 if num_frames is None else num_frames, dtype="float32", always_2d=True)
            return samples.T, file.samplerate
    except soundfile.LibsndfileError as error:
        raise Refused(f"{path.name} cannot be decoded ({str(error.error_string).rstrip('.')}). Is it truncated?") from error


def _plain_frames(
    descriptor: int, plain: tuple[int, int, int], start_byte: int, excerpt: tuple[int, int | None], scratch: bytearray | None
) -> tuple[Audio, int]:
    sample_rate, num_channels, there = plain
    start_frame, num_frames = excerpt
    frame_bytes = 4 * num_channels
    count = max(0, there - start_frame) if num_frames is None else min(num_frames, max(0, there - start_frame))
    where = start_byte + start_frame * frame_bytes
    if scratch is not None and len(scratch) >= count * frame_bytes:
        got = os.preadv(descriptor, [memoryview(scratch)[: count * frame_bytes]], where)
        samples = np.frombuffer(scratch, "<f4", got // frame_bytes * num_channels)
    else:
        data = os.pread(descriptor, count * frame_bytes, where)
        samples = np.frombuffer(data, "<f4", len(data) // frame_bytes * num_channels)
    return samples.reshape(-1, num_channels).T, sample_rate
