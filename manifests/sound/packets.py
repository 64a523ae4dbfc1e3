"""The coded packets of a sound file: what an encoder made, whatever container and tags are around it.

Conventions
    Raw MP3 and AAC are split by their own headers (``stemwright.manifests.sound.mpeg_packets``), all else by ffmpeg's libraries. So no
    decoder has a part in it, and its version none.
    Of MP3 only frames that contain sound are packets: no ID3, APE or lyrics tag, no Xing, Info or VBRI frame, and no frame that is cut.
    Of raw AAC a packet has no ADTS header, as in MP4. What a decoder has to know besides packets is the setup: of Opus channels and the
    gain that it applies, of Vorbis its first and third header (the second is tags), of AAC the profile, rate and channels of its core.

References
    MPEG audio frames: ISO/IEC 11172-3, 2.4.1. ADTS: ISO/IEC 13818-7, 6.2; AudioSpecificConfig: ISO/IEC 14496-3, 1.6.2.1.
    Opus in Ogg: RFC 7845, 5.1. Vorbis I, 4.2; its headers in Matroska and ffmpeg: the lacing of Xiph.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from stemwright.manifests.sound.chunks import CHUNKED
from stemwright.manifests.sound.containers import HEADER_ONLY, av_open
from stemwright.manifests.sound.content import Content, content_of
from stemwright.manifests.sound.mpeg_packets import ADTS_RATES, packet_bytes

MP3_MARKS = (b"Xing", b"Info", b"VBRI")  # of a first frame that contains no sound
MP3_MARK_WITHIN = 64  # bytes from the start of a frame: side information is at most 32 bytes long
AV_NAMES = {"mpeg": "mp3", "adts": "aac"}  # ffmpeg's names of the formats that have headers of their own before each packet
OPUS_CHANNELS, OPUS_PRE_SKIP, OPUS_SOUND = 9, 10, slice(16, None)  # of OpusHead; the last: gain and mapping
AAC_AROUND_A_CORE = (5, 29)  # object types: SBR and PS, whose core is stated behind them


class CodedStream(NamedTuple):
    """An audio stream as an encoder made it: the codec, what a decoder has to know, how many frames are cut at its start, and whether its
    packets are found by headers of their own, not by ffmpeg's libraries.
    """

    codec: str
    setup: tuple[str | int, ...]
    delay_frames: int
    is_raw: bool = False


def coded_stream(path: Path, stream: int = 0) -> CodedStream | None:
    """What a stream is; None where ffmpeg's libraries do not read the file: then its samples count."""
    import av

    try:
        content = content_of(path)
        if content.format in CHUNKED and (plain := _plain_stream(path, stream)) is not None:
            return plain
        with av_open(path, AV_NAMES.get(content.format)) as container:
            wanted = container.streams.audio[stream]
            context = wanted.codec_context
            if context is None:
                return None
            codec, header = _codec(context.name), bytes(context.extradata or b"")
            if _raw_format(container, content) == "adts":
                setup = _adts_setup(next(packet_bytes(path, "adts", content.start)))
            elif codec in SETUPS:
                setup = SETUPS[codec](header)
            else:
                setup = (header.hex(), context.sample_rate, context.channels)
            is_raw = codec == "mp3" or bool(_raw_format(container, content))  # of MP3 not every packet is one of sound
            return CodedStream(codec, setup, _delay(container, wanted, codec, header), is_raw)
    except (av.FFmpegError, OSError, ValueError, IndexError, StopIteration, struct.error):
        return None


def _plain_stream(path: Path, stream: int) -> CodedStream | None:
    """An uncoded stream by its header; None for another one."""
    with av_open(path, options=HEADER_ONLY) as container:
        context = container.streams.audio[stream].codec_context
        if context is None or not context.name.startswith("pcm_"):
            return None
        return CodedStream(context.name, ("", context.sample_rate, context.channels), 0)


def packets(path: Path, stream: int = 0) -> Iterator[bytes]:
    """The coded packets of a stream in their order, without tags and container.

    Of MP3 the frames that contain sound. Raises PyAV's errors or OSError where ffmpeg's libraries do not read the file.
    """
    content = content_of(path)
    with av_open(path, AV_NAMES.get(content.format)) as container:
        wanted = container.streams.audio[stream]
        raw = _raw_format(container, content)
        if raw == "adts":
            yield from (packet[7 if packet[1] & 1 else 9 :] for packet in packet_bytes(path, raw, content.start))
            return
        is_mp3, first = wanted.codec_context is not None and _codec(wanted.codec_context.name) == "mp3", True
        for packet in packet_bytes(path, raw, content.start) if raw else map(bytes, container.demux(wanted)):
            if not packet or (is_mp3 and not _is_mp3_frame(packet)):
                continue
            is_mark, first = first and is_mp3 and any(mark in packet[:MP3_MARK_WITHIN] for mark in MP3_MARKS), False
            if not is_mark:
                yield packet


def _codec(name: str) -> str:
    """A codec by the name of one of ffmpeg's decoders of it: "mp3float" is mp3, "libopus" opus."""
    return name.removeprefix("lib").removeprefix("fdk_").removesuffix("float").removesuffix("_fixed")


def _raw_format(container: Any, content: Content) -> str:
    """ "mpeg" or "adts" if a file is nothing but packets with headers of their own, else ""."""
    return next((ours for ours, name in AV_NAMES.items() if content.format in (ours, "") and container.format.name == name), "")


def _delay(container: Any, stream: Any, codec: str, header: bytes) -> int:
    """How many decoded frames are cut at the start of a stream, by what its container says."""
    if codec == "opus":
        return int(struct.unpack_from("<H", header, OPUS_PRE_SKIP)[0])  # in every container; Matroska repeats it, rounded
    if codec == "vorbis":
        return 0  # its first block only overlaps with the second
    first = next(container.demux(stream), None)
    if first is None or first.pts is None or stream.start_time is None:
        return 0
    return max(0, round((stream.start_time - first.pts) * stream.time_base * stream.codec_context.sample_rate))


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


def _opus_setup(header: bytes) -> tuple[str | int, ...]:
    return header[OPUS_CHANNELS], header[OPUS_SOUND].hex()


def _vorbis_setup(header: bytes) -> tuple[str | int, ...]:
    """The first and the third of the three headers, laced: their number less one, the lengths of all but the last, and the headers."""
    sizes: list[int] = []
    at = 1
    for _ in range(2):
        size = 0
        while header[at] == 255:
            size, at = size + 255, at + 1
        sizes, at = [*sizes, size + header[at]], at + 1
    return header[at : at + sizes[0]].hex(), header[at + sum(sizes) :].hex()


def _aac_setup(header: bytes) -> tuple[str | int, ...]:
    """Object type, rate and channels of the core, from an AudioSpecificConfig."""
    bits, at = int.from_bytes(header), 8 * len(header)

    def take(count: int) -> int:
        nonlocal at
        at -= count
        if at < 0:
            raise ValueError("the configuration of AAC ends early")
        return bits >> at & (1 << count) - 1

    def object_type() -> int:
        return kind if (kind := take(5)) != 31 else 32 + take(6)

    def rate() -> int:
        return take(24) if (index := take(4)) == 15 else ADTS_RATES[index]

    kind, core_rate, channels = object_type(), rate(), take(4)
    if kind in AAC_AROUND_A_CORE:
        rate()
        kind = object_type()
    return kind, core_rate, channels


def _adts_setup(packet: bytes) -> tuple[str | int, ...]:
    """The same, from the header of a packet."""
    return (packet[2] >> 6) + 1, ADTS_RATES[packet[2] >> 2 & 15], (packet[2] & 1) << 2 | packet[3] >> 6


SETUPS: dict[str, Callable[[bytes], tuple[str | int, ...]]] = {  # of others the whole header, with rate and channels
    "opus": _opus_setup,
    "vorbis": _vorbis_setup,
    "aac": _aac_setup,
    **dict.fromkeys(("mp1", "mp2", "mp3", "ac3", "eac3"), lambda _: ()),  # each packet says it
}
