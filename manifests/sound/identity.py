"""The identity of a recording by its sound, whatever file it is in.

Conventions
    Where decoding is exact (PCM, FLAC, ALAC, ADPCM), the identity is over the samples as ``audio`` reads them, float32, with rate and
    channels. So FLAC, WAV, AIFF and ALAC of the same samples are one recording, and 16 bits that were padded to 24 are, too. Samples of
    64 bits that differ by less than float32 resolution are equal here, since nothing in a corpus reads more.
    Where a decoder may differ from another in its last bits (MP3, AAC, Vorbis, Opus), the identity is over the coded packets and what a
    decoder has to know to decode them (``stemwright.manifests.sound.packets``), and nothing that a decoder says. So no version of a
    decoder changes it, and neither do tags, covers, and the container: an AAC file and the MP4 with the same packets are one recording.
    The identity of a sum of files is over its samples if all of them are exact, else over the identities of the files.
    How much of its decoded packets a file plays is its container's: a header of MP3 or an edit list of MP4 says how many frames to cut at
    the start. So two files of one recording may differ in that, by some thousand frames at most where packets are the same; what is made
    of the samples has to ask for ``delay_frames`` and the length besides (``stemwright.datagen.run.stages.separating``).
    Different identities may still be one recording, in another encoding: that is for fingerprints.
    Of a sum of files it is over the samples of the sum, whatever codecs they have.

References
    Of each coding in ``stemwright.manifests.sound.packets``.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np

from stemwright.manifests.records import canonical_json
from stemwright.manifests.sound.coded_reader import CodedReader
from stemwright.manifests.sound.decoding import Reader, blocks, probe
from stemwright.manifests.sound.formats import BLOCK_FRAMES, Audio, AudioInfo
from stemwright.manifests.sound.packets import coded_stream, packets
from stemwright.manifests.sound.summing import Sound, Sum

# Prefixes of the names of codecs whose decoding is exact.
EXACT = ("pcm_", "flac", "alac", "adpcm_", "wavpack", "tta", "wmalossless", "truehd", "mlp")


class IdentityHash:
    """Takes a stream's blocks as they are decoded, [C, t] each, and returns its identity at the end."""

    def __init__(self, path: Sound, stream: int, info: AudioInfo) -> None:
        self._path, self._stream, self._info = path, stream, info
        parts = {part: coded_stream(part, stream) for part in (path.files if isinstance(path, Sum) else (path,))}
        self._coded = None if isinstance(path, Sum) else parts[path]
        self._num_frames = 0
        self._packets: Any = None  # the hash of those that were seen while they were decoded
        exact = all(part is None or part.codec.startswith(EXACT) for part in parts.values())
        # One hash a channel: the rows of a block are contiguous, and need not be interleaved for it.
        self._samples = [hashlib.sha256() for _ in range(info.num_channels)] if exact else []

    @property
    def exact(self) -> bool:
        """Whether the identity is over samples, and the recording lossless as far as is known."""
        return bool(self._samples)

    @property
    def delay_frames(self) -> int | None:
        """How many frames at the start of its decoded packets a lossy file cuts; None of a lossless one, whose samples say all."""
        return None if self.exact or self._coded is None else self._coded.delay_frames

    def add(self, block: Audio) -> None:
        """Takes the next block [C, t]."""
        self._num_frames += block.shape[1]
        if not self._samples:
            return
        if self._coded is not None and self._coded.codec.startswith("pcm_f"):
            block = block + np.float32(0.0)  # -0 is 0: no integer format distinguishes them
        for channel, samples in zip(block, self._samples, strict=True):
            samples.update(np.ascontiguousarray(channel, "<f4").data)

    def watch(self, reader: Reader) -> None:
        """Takes the packets of the reader of this stream as they are decoded, so that they need not be read a second time."""
        if not self._samples and isinstance(reader, CodedReader) and self._coded is not None and not self._coded.is_raw:
            self._packets = hashlib.sha256()
            reader.on_packet = self._add_packet

    def _add_packet(self, packet: bytes) -> None:
        if packet:
            self._packets.update(len(packet).to_bytes(4) + packet)

    def identity(self) -> str:
        """The identity of the sound, a SHA-256 in hex."""
        content: list[object]
        if self._samples:
            facts = [self._info.sample_rate, self._info.num_channels, self._num_frames]
            content = [*facts, "samples", *(samples.hexdigest() for samples in self._samples)]
        elif isinstance(self._path, Sum):
            content = ["sum", *sorted(of_file(part) for part in self._path.files)]
        else:
            assert self._coded is not None  # else its samples count
            of_packets = self._packets.hexdigest() if self._packets else _packets_sha256(self._path, self._stream)
            content = ["packets", self._coded.codec, self._coded.setup, of_packets]
        return hashlib.sha256(canonical_json(content).encode()).hexdigest()


def of_file(path: Sound, *, stream: int = 0) -> str:
    """The identity of a sound file; decodes it where its decoding is exact. Raises Refused as ``audio.blocks`` does."""
    hasher = IdentityHash(path, stream, probe(path, stream=stream))
    for block in blocks(path, BLOCK_FRAMES, stream=stream) if hasher.exact else ():
        hasher.add(block)
    return hasher.identity()


def _packets_sha256(path: Path, stream: int) -> str:
    content = hashlib.sha256()
    for packet in packets(path, stream):
        content.update(len(packet).to_bytes(4) + packet)
    return content.hexdigest()
