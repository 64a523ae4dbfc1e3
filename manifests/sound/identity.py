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
from pathlib import Path

import numpy as np

from stemwright.manifests.records import canonical_json
from stemwright.manifests.sound.decoding import blocks, probe
from stemwright.manifests.sound.formats import BLOCK_FRAMES, Audio, AudioInfo
from stemwright.manifests.sound.packets import codec_name, packets

EXACT = ("pcm_", "flac", "alac", "adpcm_", "wavpack", "tta")  # prefixes of the names of codecs whose decoding is exact


class IdentityHash:
    """Takes a stream's blocks as they are decoded, [C, t] each, and returns its identity at the end."""

    def __init__(self, path: Path, stream: int, info: AudioInfo) -> None:
        self._path, self._stream, self._info = path, stream, info
        self._codec = codec_name(path, stream)
        self._num_frames = 0
        # One hash a channel: the rows of a block are contiguous, and need not be interleaved for it.
        self._samples = [hashlib.sha256() for _ in range(info.num_channels)] if self._codec.startswith(EXACT) or not self._codec else []

    @property
    def exact(self) -> bool:
        """Whether the identity is over samples, and the recording lossless as far as is known."""
        return bool(self._samples)

    def add(self, block: Audio) -> None:
        """Takes the next block [C, t]."""
        self._num_frames += block.shape[1]
        if not self._samples:
            return
        if self._codec.startswith("pcm_f"):
            block = block + np.float32(0.0)  # -0 is 0: no integer format distinguishes them
        for channel, samples in zip(block, self._samples, strict=True):
            samples.update(np.ascontiguousarray(channel, "<f4").data)

    def identity(self) -> str:
        """The identity of the decoded sound, a SHA-256 in hex."""
        facts = [self._info.sample_rate, self._info.num_channels, self._num_frames]
        if self._samples:
            content = ["samples", *(samples.hexdigest() for samples in self._samples)]
        else:
            content = [self._codec.removesuffix("float"), _packets_sha256(self._path, self._stream)]
        return hashlib.sha256(canonical_json([*facts, *content]).encode()).hexdigest()


def of_file(path: Path, *, stream: int = 0) -> str:
    """The identity of a sound file; decodes it. Raises Refused as ``audio.blocks`` does."""
    hasher = IdentityHash(path, stream, probe(path, stream=stream))
    for block in blocks(path, BLOCK_FRAMES, stream=stream):
        hasher.add(block)
    return hasher.identity()


def _packets_sha256(path: Path, stream: int) -> str:
    content = hashlib.sha256()
    for packet in packets(path, stream):
        content.update(packet)
    return content.hexdigest()
