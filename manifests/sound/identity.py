"""The identity of a recording by its sound, whatever file it is in.

Conventions
    Where decoding is exact (PCM, FLAC, ALAC, ADPCM), the identity is over the samples as ``audio`` reads them, float32, with rate and
    channels. So FLAC, WAV, AIFF and ALAC of the same samples are one recording, and 16 bits that were padded to 24 are, too. Samples of
    64 bits that differ by less than float32 resolution are equal here, since nothing in a corpus reads more.
    Where a decoder may differ from another in its last bits (MP3, AAC, Vorbis, Opus), the identity is over the coded packets, with the
    codec, rate, channels and the number of frames that they decode to. So other tags, another cover, and another Ogg file around the same
    packets change nothing. What changes the decoded frames does: an MP3 that loses the header which says how much its encoder padded, or
    AAC taken out of the m4a whose edit list cuts its start, sounds different and is another recording.
    Of MP3 only whole frames count: no ID3, APE or lyrics tag, and no Xing, Info or VBRI frame. Of Opus the gain in its header counts, since
    decoders apply it.
    Equal identities mean equal decoded frames. Different ones may still be one recording, in another encoding: that is for fingerprints.

References
    MPEG audio frames: ISO/IEC 11172-3, 2.4.1. Opus in Ogg: RFC 7845, 5.1.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from stemwright.manifests.records import canonical_json
from stemwright.manifests.sound.containers import av_open
from stemwright.manifests.sound.decoding import blocks, probe
from stemwright.manifests.sound.formats import BLOCK_FRAMES, Audio, AudioInfo

EXACT = ("pcm_", "flac", "alac", "adpcm_", "wavpack", "tta")  # prefixes of the names of codecs whose decoding is exact
MP3_MARKS = (b"Xing", b"Info", b"VBRI")  # of a first frame that contains no sound
MP3_MARK_WITHIN = 64  # bytes from the start of a frame: side information is at most 32 bytes long
OPUS_GAIN = slice(16, 18)  # of the header OpusHead, Q7.8 dB


class IdentityHash:
    """Takes a stream's blocks as they are decoded, [C, t] each, and returns its identity at the end."""

    def __init__(self, path: Path, stream: int, info: AudioInfo) -> None:
        self._path, self._stream, self._info = path, stream, info
        self._codec = _codec(path, stream)
        self._num_frames = 0
        # One hash a channel: the rows of a block are contiguous, and need not be interleaved for it.
        self._samples = [hashlib.sha256() for _ in range(info.num_channels)] if self._codec.startswith(EXACT) or not self._codec else []

    def add(self, block: Audio) -> None:
        """Takes the next block [C, t]."""
        self._num_frames += block.shape[1]
        if not self._samples:
            return
        if self._codec.startswith("pcm_f"):
            block = block + np.float32(0.0)  # -0 is 0: no integer format can tell them apart
        for channel, samples in zip(block, self._samples, strict=True):
            samples.update(np.ascontiguousarray(channel, "<f4").data)

    def identity(self) -> str:
        """The identity of the decoded sound, a SHA-256 in hex."""
        facts = [self._info.sample_rate, self._info.num_channels, self._num_frames]
        if self._samples:
            content = ["samples", *(samples.hexdigest() for samples in self._samples)]
        else:
            content = [self._codec.removesuffix("float"), _packets_sha256(self._path, self._stream, self._codec)]
        return hashlib.sha256(canonical_json([*facts, *content]).encode()).hexdigest()


def of_file(path: Path, *, stream: int = 0) -> str:
    """The identity of a sound file; decodes it. Raises Refused as ``audio.blocks`` does."""
    hasher = IdentityHash(path, stream, probe(path, stream=stream))
    for block in blocks(path, BLOCK_FRAMES, stream=stream):
        hasher.add(block)
    return hasher.identity()


def _codec(path: Path, stream: int) -> str:
    """The name of a stream's codec; "" where ffmpeg's libraries do not read the file: then its samples count."""
    import av

    try:
        with av_open(path) as container:
            context = container.streams.audio[stream].codec_context
            return context.name if context is not None else ""
    except (av.FFmpegError, OSError, ValueError, IndexError):
        return ""


def _packets_sha256(path: Path, stream: int, codec: str) -> str:
    content = hashlib.sha256()
    for packet in _packets(path, stream, codec):
        content.update(packet)
    return content.hexdigest()


def _packets(path: Path, stream: int, codec: str) -> Iterator[bytes]:
    """The coded packets of a stream, without tags and container."""
    is_mp3, first = codec.startswith("mp3"), True
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
