"""Whether an OGG file is whole: its pages, read one by one.

A decoder skips pages that are damaged or absent, so that sound would be missing without an error.

Conventions
    A file is whole if every page is where the one before it ends, has its check sum and follows in number. The last page of a stream says
    that it is the last, except where a recording of a stream was stopped, a program cut it, or the file was cut at a page.
    A link is what is between two beginnings of streams: a chained file has several.

References
    RFC 3533, section 6 (pages; CRC-32 with polynomial 0x04c11db7, neither reflected nor inverted). RFC 7845 (Opus).
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass, field
from pathlib import Path

from stemwright.manifests.records import Refused

HEADER = struct.Struct("<4sBBqIIIB")
BEGINS, ENDS = 2, 4  # flags of a page
OPUS_RATE = 48_000  # of positions, whatever rate the header names
REVERSED = bytes(int(f"{value:08b}"[::-1], 2) for value in range(256))


@dataclass
class OggStream:
    """One logical stream so far."""

    codec: bytes
    sample_rate: int
    next_page: int
    first: int | None = None  # position at the end of the first page that has one
    position: int = 0
    ended: bool = False


@dataclass
class OggFile:
    """What the pages of a file contain."""

    codecs: list[bytes] = field(default_factory=list)  # of each link, in order: that of its first stream of sound, which is decoded
    channels: list[int] = field(default_factory=list)
    main: list[OggStream] = field(default_factory=list)
    at_least: int = 0  # frames that a decoder gives, or more: from the first position of each link to its last
    has_end: bool = True  # the last page of each stream says that it is the last
    ends_at: str = ""
    has_packets: bool = False  # a page behind the headers says where it ends


def checked_ogg(path: Path, start: int = 0) -> OggFile:
    """Reads all pages from byte ``start`` on. Raises Refused with what is missing, and where."""
    data, at, found = path.read_bytes(), start, OggFile()
    streams: dict[int, OggStream] = {}
    every: list[OggStream] = []
    is_beginning = False
    while True:
        page = _page(data, at)
        if page is None:
            if data.startswith(b"OggS", at) and at + HEADER.size <= len(data) and _size(data, at) > len(data) - at:
                raise Refused(f"truncated: ends at {_time(streams)} within a page")
            after = data.find(b"OggS", at + 1)
            while after >= 0 and _page(data, after) is None:
                after = data.find(b"OggS", after + 1)
            if after < 0:
                break
            raise Refused(f"damaged: {after - at} bytes at {_time(streams)} are no page of OGG, so that sound is missing there")
        flags, position, serial, number, body, size = page
        if flags & BEGINS:
            streams[serial] = _added(found, data[body : body + 40], number, is_first=not is_beginning)
            every.append(streams[serial])
        is_beginning = bool(flags & BEGINS)
        if serial not in streams:
            raise Refused("its beginning is missing: a stream of OGG begins without its header")
        stream = streams[serial]
        if number != stream.next_page:
            lost = max(0, position - stream.position) / stream.sample_rate if position >= 0 and stream.sample_rate else 0.0
            raise Refused(f"damaged: pages {stream.next_page} to {number - 1} are missing at {_time(streams)} (up to {lost:.2f} s)")
        stream.next_page, stream.ended = number + 1, bool(flags & ENDS)
        if position > 0 or (position == 0 and number > 1):
            stream.first, stream.position = stream.first if stream.first is not None else position, position
        at += size
    if not streams:
        raise Refused("not a readable sound file (no page of OGG is whole)")
    found.has_end = all(stream.ended for stream in every)
    found.ends_at = _time(streams)
    found.has_packets = any(stream.first is not None for stream in found.main)
    found.at_least = sum(stream.position - (stream.first or 0) for stream in found.main if stream.sample_rate)
    return found


def _added(found: OggFile, head: bytes, number: int, *, is_first: bool) -> OggStream:
    """A stream that begins with a packet; it is the first of a link or not."""
    codec, rate, channels = _kind(head)
    stream = OggStream(codec, rate, number)
    if is_first:
        found.codecs.append(b"")
    if codec and not found.codecs[-1]:
        found.codecs[-1] = codec
        found.channels.append(channels)
        found.main.append(stream)
    return stream


def _size(data: bytes, at: int) -> int:
    segments = data[at + 26]
    return 27 + segments + sum(data[at + 27 : at + 27 + segments])


def _page(data: bytes, at: int) -> tuple[int, int, int, int, int, int] | None:
    """(flags, position, serial, number, where its content begins, size) of a page; None if none is whole here."""
    if not data.startswith(b"OggS\0", at) or at + HEADER.size > len(data):
        return None
    size = _size(data, at)
    if at + size > len(data):
        return None
    _, _, flags, position, serial, number, crc, segments = HEADER.unpack_from(data, at)
    page = data[at : at + 22] + bytes(4) + data[at + 26 : at + size]
    if _crc(page) != crc:
        return None
    return flags, position, serial, number, at + 27 + segments, size


def _crc(data: bytes) -> int:
    """OGG's check sum by zlib's: that of mirrored bytes, mirrored, and without the inversions at both ends."""
    mirrored = zlib.crc32(data.translate(REVERSED), 0xFFFFFFFF) ^ 0xFFFFFFFF
    return int.from_bytes(mirrored.to_bytes(4, "little").translate(REVERSED), "big")


def _kind(head: bytes) -> tuple[bytes, int, int]:
    """Codec, rate of positions and channels that the first packet of a stream names; zeros for what is no sound, or another codec's."""
    if head.startswith(b"OpusHead") and len(head) > 9:
        return b"opus", OPUS_RATE, head[9]
    if head.startswith(b"\x01vorbis") and len(head) >= 16:
        return b"vorbis", struct.unpack_from("<I", head, 12)[0], head[11]
    if head.startswith(b"\x7fFLAC") and len(head) >= 30:
        return b"flac", int.from_bytes(head[27:30]) >> 4, (head[29] >> 1 & 7) + 1
    return (b"speex", 0, 0) if head.startswith(b"Speex   ") else (b"", 0, 0)


def _time(streams: dict[int, OggStream]) -> str:
    times = [stream.position / stream.sample_rate for stream in streams.values() if stream.sample_rate]
    return f"{max(times, default=0.0):.2f} s"
