"""How long a FLAC file is by its last frame, whatever its header says.

A header states 0 where its program could not come back to it, and half where files were joined; libsndfile believes it.

Conventions
    The headers of frames have a check sum of eight bits, so a false one is found in one of 256 places that look like one. The last place
    that agrees with the file's own block sizes counts, and only if it is at most one frame before the end.

References
    RFC 9639, sections 8.2 (STREAMINFO) and 9.1 (frame header, CRC-8 with polynomial 0x07).
"""

from __future__ import annotations

import mmap
import re
import struct
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO

SYNC = re.compile(rb"\xff[\xf8\xf9]")
TAIL_BYTES = 1 << 18  # more than two frames of 4,608 samples in eight channels of 24 bits with a picture's tag behind
BLOCK_SIZES = {1: 192, **{code: 576 << (code - 2) for code in range(2, 6)}, **{code: 256 << (code - 8) for code in range(8, 16)}}


@dataclass(frozen=True)
class FlacLength:
    """What a FLAC file says of its length, in frames of sound."""

    stated: int  # 0: unknown
    reached: int | None  # where the last frame ends; None where none was found
    bits: int = 16  # of a sample
    is_joined: bool = False  # another FLAC file, or the frames of one, follow in it
    md5: bytes = bytes(16)  # of its samples as the header states it; zeros: not stated


def _crc8_table() -> list[int]:
    table = []
    for value in range(256):
        for _ in range(8):
            value = (value << 1 ^ 0x07) & 0xFF if value & 0x80 else value << 1
        table.append(value)
    return table


CRC8 = _crc8_table()


def flac_length(path: Path, start: int = 0) -> FlacLength | None:
    """Reads header and last frame of a FLAC file that begins at byte ``start``; None if the header is damaged.

    The whole file is searched for a second header. What is known of a file is kept while it stays as it is: of a stem, many excerpts are
    read.
    """
    there = path.stat()
    return _length_of(path, start, (there.st_dev, there.st_ino, there.st_size, there.st_mtime_ns, there.st_ctime_ns))


@lru_cache(maxsize=4096)
def _length_of(path: Path, start: int, state: tuple[int, ...]) -> FlacLength | None:
    del state  # of the file, which is the key
    with path.open("rb") as file:
        file.seek(start)
        head = file.read(42)
        if len(head) < 42 or head[4] & 0x7F:
            return None
        first = _first_frame(file, start + 4)
        file.seek(0, 2)
        size = file.tell()
        at = max(start + 42, size - TAIL_BYTES)
        file.seek(at)
        tail = file.read()
        is_joined = _is_joined(file, start + 42)
    smallest, largest = struct.unpack(">HH", head[8:12])
    packed = struct.unpack(">Q", head[18:26])[0]
    stated, bits = packed & ((1 << 36) - 1), (packed >> 36 & 31) + 1
    begins = _position(first, smallest, largest)
    for match in reversed(list(SYNC.finditer(tail))):
        last = tail[match.start() : match.start() + 16]
        if (found := _position(last, smallest, largest)) is not None:
            is_joined = is_joined or _repeats(path, start, (first, last), smallest, largest)
            # A piece of a longer file goes on counting where the piece before it ended.
            return FlacLength(stated, sum(found) - (begins[0] if begins else 0), bits, is_joined, head[26:42])
    return FlacLength(stated, None, bits, is_joined, head[26:42])


def _repeats(path: Path, start: int, frames: tuple[bytes, bytes], smallest: int, largest: int) -> bool:
    """Whether a second frame has the number of the first or the last one: frames of another file follow, without its header."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        for frame in frames:
            if (wanted := _position(frame, smallest, largest)) is None:
                continue
            number = frame[4 : 4 + max(1, next((n for n in range(8) if not frame[4] << n & 0x80), 8))]
            places = re.finditer(re.escape(frame[:2]) + b".." + re.escape(number), data, re.DOTALL)
            same = (_position(data[place.start() : place.start() + 16], smallest, largest) for place in places if place.start() >= start)
            if sum(found is not None and found[0] == wanted[0] for found in same) > 1:
                return True
    return False


def _is_joined(file: BinaryIO, at: int) -> bool:
    """Whether a second header begins behind byte ``at``."""
    with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        while (at := data.find(b"fLaC", at)) >= 0:
            if data[at + 4 : at + 8] in (b"\0\0\0\x22", b"\x80\0\0\x22"):
                return True
            at += 4
    return False


def _first_frame(file: BinaryIO, at: int) -> bytes:
    """The first bytes behind the blocks of metadata, of which the first begins at byte ``at``."""
    is_last = False
    while not is_last:
        file.seek(at)
        header = file.read(4)
        if len(header) < 4:
            return b""
        is_last, at = bool(header[0] & 0x80), at + 4 + int.from_bytes(header[1:])
    file.seek(at)
    return file.read(16)


def _position(header: bytes, smallest: int, largest: int) -> tuple[int, int] | None:
    """Where the frame with this header begins, and its length; None if it is none."""
    if not SYNC.match(header) or len(header) < 6 or header[3] & 1 or header[2] & 0x0F == 15 or header[3] >> 4 > 10:
        return None
    size_code, rate_code = header[2] >> 4, header[2] & 0x0F
    extra = next((n for n in range(8) if not header[4] << n & 0x80), 8)  # leading ones: the length of a coded number, as in UTF-8
    if extra in (1, 8) or size_code == 0:
        return None
    length = max(1, extra)
    number = header[4] & (0x7F if extra == 0 else 0x7F >> extra)
    for byte in header[5 : 4 + length]:
        if byte & 0xC0 != 0x80:
            return None
        number = number << 6 | byte & 0x3F
    at = 4 + length
    size_bytes, rate_bytes = {6: 1, 7: 2}.get(size_code, 0), {12: 1, 13: 2, 14: 2}.get(rate_code, 0)
    end = at + size_bytes + rate_bytes
    if len(header) <= end:
        return None
    block = int.from_bytes(header[at : at + size_bytes]) + 1 if size_bytes else BLOCK_SIZES[size_code]
    crc = 0
    for byte in header[:end]:
        crc = CRC8[crc ^ byte]
    if crc != header[end] or block > largest:
        return None
    return (number if header[1] & 1 else number * max(smallest, largest)), block
