"""The coded packets of a sound file: what an encoder made, whatever container and tags are around it.

Conventions
    Of MP3 only frames that contain sound are packets: no ID3, APE or lyrics tag, and no Xing, Info or VBRI frame. Opus has the gain of
    its header before its packets, since decoders apply it.

References
    MPEG audio frames: ISO/IEC 11172-3, 2.4.1. Opus in Ogg: RFC 7845, 5.1.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from stemwright.manifests.sound.containers import av_open

MP3_MARKS = (b"Xing", b"Info", b"VBRI")  # of a first frame that contains no sound
MP3_MARK_WITHIN = 64  # bytes from the start of a frame: side information is at most 32 bytes long
OPUS_GAIN = slice(16, 18)  # of the header OpusHead, Q7.8 dB


def codec_name(path: Path, stream: int) -> str:
    """The name of a stream's codec; "" where ffmpeg's libraries do not read the file: then its samples count."""
    import av

    try:
        with av_open(path) as container:
            context = container.streams.audio[stream].codec_context
            return context.name if context is not None else ""
    except (av.FFmpegError, OSError, ValueError, IndexError):
        return ""


def packets(path: Path, stream: int = 0) -> Iterator[bytes]:
    """The coded packets of a stream in their order, without tags and container.

    Of MP3 the frames that contain sound. Raises PyAV's errors or OSError where ffmpeg's libraries do not read the file.
    """
    is_mp3, first = codec_name(path, stream).startswith("mp3"), True
    with av_open(path) as container:
        wanted = container.streams.audio[stream]
        header = wanted.codec_context.extradata if wanted.codec_context is not None else None
        if header and header.startswith(b"OpusHead"):
            yield bytes(header[OPUS_GAIN])
        for packet in container.demux(wanted):
            data = bytes(packet)
            if is_mp3:
                if not _is_mp3_frame(data) or (first and any(mark in data[:MP3_MARK_WITHIN] for mark in MP3_MARKS)):
                    continue
                first = False
            yield data


def _is_mp3_frame(data: bytes) -> bool:
    """Whether a packet begins as a frame does: eleven bits set, then a layer, a bit rate and a rate that exist."""
    return (
        len(data) > 4
        and data[0] == 0xFF
        and data[1] & 0xE0 == 0xE0
        and bool(data[1] & 0x06)
        and data[2] & 0xF0 != 0xF0
        and data[2] & 0x0C != 0x0C
    )
