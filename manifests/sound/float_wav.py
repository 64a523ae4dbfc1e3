"""Our own header of a WAV file of 32-bit floats: libsndfile's carries the time of day, so equal audio would not give equal bytes."""

from __future__ import annotations

import struct


def wav_header(sample_rate: int, num_channels: int, num_frames: int) -> bytes:
    """The header of a float WAV file. Raises ValueError if so many samples do not fit one."""
    size = num_frames * num_channels * 4
    if size + 50 > 0xFFFFFFFF:
        raise ValueError(f"{size / 2**30:.1f} GiB of float samples do not fit a WAV file (4 GiB); use flac24")
    fmt = struct.pack("<HHIIHHH", 3, num_channels, sample_rate, sample_rate * num_channels * 4, num_channels * 4, 32, 0)  # 3: IEEE float
    return (
        b"RIFF"
        + struct.pack("<I", size + 50)
        + b"WAVEfmt "
        + struct.pack("<I", 18)
        + fmt
        + b"fact"
        + struct.pack("<II", 4, num_frames)
        + b"data"
        + struct.pack("<I", size)
    )


def parse_wav_header(head: bytes) -> tuple[int, int, int] | None:
    """(sample rate, channels, frames) if this is the header that ``encode`` writes for float WAV."""
    if not head.startswith(b"RIFF"):
        return None
    num_channels, sample_rate = struct.unpack_from("<HI", head, 22)
    (num_frames,) = struct.unpack_from("<I", head, 46)
    return (sample_rate, num_channels, num_frames) if head == wav_header(sample_rate, num_channels, num_frames) else None
