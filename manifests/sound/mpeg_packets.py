"""The packets of an MP3, MP2 or raw AAC file by their headers: how many there are, where they change, what is between and behind them.

Such a file states no length, or one that need not be true: two files can be joined, half of one can be lost. The walk from header to header
costs about a hundredth of decoding.

Conventions
    A place begins a packet if three packets follow from it whose headers agree. ID3, APE and lyrics tags between packets are no damage.
    Frames are of sound (samples of one channel); a packet has 1152 of them or fewer.

References
    ISO/IEC 11172-3, 2.4.1 and 13818-3 (MPEG audio); 13818-7, 6.2 (ADTS). The Xing, Info and VBRI headers are conventions of
    encoders; of the tags behind the packets ID3v1, ID3v2.4, APEv2 and Lyrics3 have descriptions.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from stemwright.manifests.records import Refused

KBITS = {  # by version 1 or not, and layer
    (True, 1): (0, 32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (True, 2): (0, 32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (True, 3): (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (False, 1): (0, 32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (False, 2): (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (False, 3): (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
RATES = (44_100, 48_000, 32_000)
ADTS_RATES = (96_000, 88_200, 64_000, 48_000, 44_100, 32_000, 24_000, 22_050, 16_000, 12_000, 11_025, 8_000, 7_350)
CHAIN = 3  # headers in a row that make a packet certain
DECODER_DELAY = 529  # of an MP3 decoder, which ffmpeg cuts together with the encoder's where a header states that
LONGEST_LYRICS = 5_100 + 20  # bytes of Lyrics3 v1, with its marks
FREE_BYTES = 1 << 13  # more than a packet of 640 kbit/s at 8 kHz has
MOST_BEFORE = 1 << 20  # bytes before the first packet in which it is looked for

Kind = tuple[int, int, int]  # sample rate, channels, frames a packet
Header = Callable[[mmap.mmap, int], tuple[int, Kind] | None]  # reads the header at a place: bytes of its packet, and its kind


@dataclass
class Packets:
    """What the headers of a file say."""

    kind: Kind
    count: int = 0
    end: int = 0  # the byte behind the last whole packet
    changes: list[tuple[int, Kind]] = field(default_factory=list)  # packets before it, and what follows
    damage: list[tuple[int, int]] = field(default_factory=list)  # packets before it, and bytes that are neither packet nor tag
    interruptions: int = 0  # tags between packets; a decoder may lose the packet before one
    is_cut: bool = False  # ends within a packet
    promised: int | None = None  # packets of sound that a Xing, Info or VBRI header states
    trimmed: int = 0  # frames of encoder's delay and padding that such a header states, as decoders cut them

    @property
    def num_frames(self) -> int:
        """What a decoder gives of them."""
        return max(0, (self.count - (self.promised is not None)) * self.kind[2] - self.trimmed)


def _mpeg_header(data: mmap.mmap, at: int) -> tuple[int, Kind] | None:
    """(bytes, kind) of a packet of MPEG audio."""
    return _of_mpeg(data[at : at + 4])


@lru_cache(1 << 12)  # the headers of a file are few, again and again
def _of_mpeg(head: bytes) -> tuple[int, Kind] | None:
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE0 != 0xE0:
        return None
    version, layer = head[1] >> 3 & 3, 4 - (head[1] >> 1 & 3)
    bits, rate = head[2] >> 4, head[2] >> 2 & 3
    if version == 1 or layer == 4 or bits in (0, 15) or rate == 3:
        return None
    hz = RATES[rate] >> (0 if version == 3 else 1 if version == 2 else 2)
    padding, kbits = head[2] >> 1 & 1, KBITS[version == 3, layer][bits]
    frames = 384 if layer == 1 else 1152 if layer == 2 or version == 3 else 576
    size = (12_000 * kbits // hz + padding) * 4 if layer == 1 else frames // 8 * 1000 * kbits // hz + padding
    return size, (hz, 1 if head[3] >> 6 == 3 else 2, frames)


def _adts_header(data: mmap.mmap, at: int) -> tuple[int, Kind] | None:
    """(bytes, kind) of a packet of raw AAC."""
    if at + 7 > len(data) or data[at] != 0xFF or data[at + 1] & 0xF6 != 0xF0:
        return None
    rate, size = data[at + 2] >> 2 & 15, (data[at + 3] & 3) << 11 | data[at + 4] << 3 | data[at + 5] >> 5
    if rate >= len(ADTS_RATES) or size < 7:
        return None
    channels = (data[at + 2] & 1) << 2 | data[at + 3] >> 6
    return size, (ADTS_RATES[rate], channels, 1024 * ((data[at + 6] & 3) + 1))


HEADERS: dict[str, Header] = {"mpeg": _mpeg_header, "adts": _adts_header}


def packets_of(path: Path, format_name: str, start: int = 0) -> Packets:
    """Walks from header to header from byte ``start`` on. Raises Refused if there are no packets."""
    header = HEADERS[format_name]
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        at, first = _first(data, start, header, format_name)
        found = Packets(first)
        _read_stated(data[at : at + 400], found)
        for _ in _walk(data, at, header, found):
            pass
    return found


def packet_bytes(path: Path, format_name: str, start: int = 0) -> Iterator[bytes]:
    """The whole packets of a file with their headers, those of Xing, Info and VBRI among them. Raises Refused if there are none."""
    header = HEADERS[format_name]
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        at, first = _first(data, start, header, format_name)
        for place, size in _walk(data, at, header, Packets(first)):
            yield data[place : place + size]


def _first(data: mmap.mmap, start: int, header: Header, format_name: str) -> tuple[int, Kind]:
    """Where the first packet begins, and its kind."""
    at = _next(data, start, header, start + MOST_BEFORE)
    first = header(data, at) if at is not None else None
    if at is None or first is None:
        if format_name == "mpeg" and _is_free_format(data, start):
            raise Refused("MP3 of a free-format bit rate, which few programs read. Convert it to FLAC, e.g. with lame --decode")
        name = "MP3" if format_name == "mpeg" else "AAC"
        raise Refused(f"not a readable sound file (its content is not {name}, nor another format that is read)")
    return at, first[1]


def _walk(data: mmap.mmap, at: int, header: Header, found: Packets) -> Iterator[tuple[int, int]]:
    """Goes from packet to packet: yields where each begins and its size, and notes what it finds."""
    kind, size_of_file, last = found.kind, _before_tags(data, at), at
    while at < size_of_file:
        packet = header(data, at)
        if packet is not None and packet[1] != kind and _next(data, at, header, at + 1) != at:
            packet = None  # one header alone is found in random bytes, too
        if packet is None or at + packet[0] > size_of_file:
            after = _behind_tags(data, at)
            if after == at and packet is not None and _next(data, at + 1, header, size_of_file, kind) is None:
                found.is_cut = True
                return
            resumed = _next(data, after if after > at else last + 4, header, size_of_file, kind)
            if resumed is None:
                return
            found.interruptions += 1
            if resumed != after:
                found.damage.append((found.count, resumed - max(after, at)))
            at = resumed
            continue
        size, this = packet
        if this != kind:
            found.changes.append((found.count, this))
            kind = this
        found.count, last, at = found.count + 1, at, at + size
        found.end = at
        yield last, size


def _next(data: mmap.mmap, at: int, header: Header, limit: int, before: Kind | None = None) -> int | None:
    """The next place from which packets follow one another.

    The file's end may cut the chain short, but not its first packet, and only of packets like those ``before``: one header alone is found
    in random bytes, too.
    """
    while (at := data.find(b"\xff", at, min(limit, len(data)))) >= 0:
        place, kind = at, None
        for number in range(CHAIN):
            packet = header(data, place)
            if packet is None or (kind is not None and packet[1] != kind):
                break
            kind, place = packet[1], place + packet[0]
            if place > len(data):
                break
            if number == CHAIN - 1 or (place == len(data) and before in (None, kind)):
                return at
        at += 1
    return None


def _is_free_format(data: mmap.mmap, start: int) -> bool:
    """Whether headers without a bit rate follow one another at equal distances."""

    def is_like(at: int, first: bytes) -> bool:
        found = data[at : at + 3]
        return len(found) == 3 and found[:2] == first[:2] and found[2] & 0xFC == first[2] & 0xFC

    at = data.find(b"\xff", start, start + MOST_BEFORE)
    while at >= 0:
        first = data[at : at + 3]
        if len(first) == 3 and first[1] & 0xE0 == 0xE0 and first[1] & 0x06 and first[2] & 0xF0 == 0 and first[2] & 0x0C != 0x0C:
            following = (place for place in range(at + 24, min(at + FREE_BYTES, len(data))) if is_like(place, first))
            if any(is_like(2 * place - at + more, first) for place in following for more in (0, 1, -1)):
                return True
        at = data.find(b"\xff", at + 1, start + MOST_BEFORE)
    return False


def _behind_tags(data: mmap.mmap, at: int) -> int:
    """The byte behind the tags that begin here."""
    while True:
        if data[at : at + 3] == b"ID3" and at + 10 <= len(data):
            at += 10 + _syncsafe(data[at + 6 : at + 10])
        elif data[at : at + 8] == b"APETAGEX" and at + 24 <= len(data):
            size, flags = struct.unpack_from("<I4xI", data, at + 12)
            at += 32 + (size - 32 * (not flags & 0x20000000) if flags & 0x20000000 else 0)
        elif data[at : at + 11] == b"LYRICSBEGIN":
            end = max(data.find(b"LYRICS200", at), data.find(b"LYRICSEND", at))
            at = end + 9 if end >= 0 else at + 11
        elif data[at : at + 3] == b"TAG":
            at = min(len(data), at + 128)
        else:
            return min(at, len(data))


def _before_tags(data: mmap.mmap, start: int) -> int:
    """The byte at which the tags at the end of a file begin: a last packet that is cut does not go on in them."""
    end, size = len(data), 1
    while size > 0:
        size = _size_of_last_tag(data, end)
        if end - size < start:
            break
        end -= size
    return end


def _size_of_last_tag(data: mmap.mmap, end: int) -> int:
    """How many bytes the tag has that ends here; 0 if none does, or what should be its beginning is none."""
    if data[max(0, end - 128) : end][:3] == b"TAG":
        return 128
    if (footer := data[max(0, end - 32) : end])[:8] == b"APETAGEX":
        size, has_header = struct.unpack_from("<I4xI", footer, 12)
        return _if_begun(data, end, int(size) + 32, b"APETAGEX") if has_header >> 31 else _if_item(data, end, int(size))
    if (mark := data[max(0, end - 15) : end])[6:] == b"LYRICS200" and mark[:6].isdigit():
        return _if_begun(data, end, 15 + int(mark[:6]), b"LYRICSBEGIN")
    if mark[6:] == b"LYRICSEND":
        begin = data.rfind(b"LYRICSBEGIN", max(0, end - LONGEST_LYRICS), end)
        return end - begin if begin >= 0 else 0
    if (footer := data[max(0, end - 10) : end])[:3] == b"3DI":
        return _if_begun(data, end, 20 + _syncsafe(footer[6:]), b"ID3")
    return 0


def _if_begun(data: mmap.mmap, end: int, size: int, mark: bytes) -> int:
    """A size, or 0 if there is no mark so many bytes before the end."""
    return size if size <= end and data[end - size : end - size + len(mark)] == mark else 0


def _if_item(data: mmap.mmap, end: int, size: int) -> int:
    """The size of an APE tag without a header, or 0 if it does not begin with an item: its size, flags and a name."""
    item = data[max(0, end - size) : end][:10]
    return size if 32 < size <= end and int.from_bytes(item[:4], "little") < size and item[8:].isalnum() else 0


def _syncsafe(size: bytes) -> int:
    """A size of ID3v2: four bytes of seven bits."""
    return sum((byte & 0x7F) << shift for byte, shift in zip(size, (21, 14, 7, 0), strict=True))


def _read_stated(packet: bytes, found: Packets) -> None:
    """What the header in the first packet says of the file."""
    at = max(packet.find(b"Xing", 0, 44), packet.find(b"Info", 0, 44))
    if at >= 0 and packet[at + 7] & 1:
        flags = packet[at + 7]
        found.promised = struct.unpack_from(">I", packet, at + 8)[0]
        lame = at + 8 + 4 * (flags & 1) + 4 * (flags >> 1 & 1) + 100 * (flags >> 2 & 1) + 4 * (flags >> 3 & 1)
        cuts = int.from_bytes(packet[lame + 21 : lame + 24])
        delay, padding = cuts >> 12, cuts & 0xFFF
        if packet[lame : lame + 4] in (b"LAME", b"Lavf", b"Lavc"):
            found.trimmed = delay + DECODER_DELAY + max(0, padding - DECODER_DELAY)
    elif packet[36:40] == b"VBRI":
        found.promised = struct.unpack_from(">I", packet, 36 + 14)[0]
