"""Where the samples of a WAV, RF64, W64, AIFF or CAF file are, how many bytes of them its header states, and how many are there.

Conventions
    Only headers are read. Sizes are in bytes. A program that writes to a pipe cannot come back to its header, and leaves a size that means
    "to the end of the file": 0, all ones, or one near 2^31 (SoX 0x7FFFF000, GStreamer 0x7FFF0000, arecord 0x80000000).

References
    RIFF/WAVE: Microsoft and IBM, Multimedia Programming Interface 1.0 (1991). RF64: EBU Tech 3306. W64: Sony, Wave64. AIFF: Apple, 1.3
    (1989). CAF: Apple, Core Audio Format Specification 1.0.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from stemwright.manifests.records import Refused
from stemwright.manifests.sound.content import Content
from stemwright.manifests.sound.cut_containers import JOINED

OPEN_SIZES = (range(0x7FFF0000, 0x80000001), range(0xFFFF0000, 0x100000000))
OPEN_AIFF = 0x7F000000  # SoX
OPEN_64 = 1 << 62  # sizes of 64 bits from here on mean the same
SAMPLE_TAGS = {1, 3, 6, 7}  # of a WAV: integers, floats, A-law, µ-law
BLOCK_TAGS = {2, 0x11, 0x31}  # MS and IMA ADPCM, GSM 6.10: the frames of a block follow in the header
SAMPLE_TYPES = {
    *(b"NONE", b"sowt", b"twos", b"fl32", b"FL32", b"fl64", b"FL64", b"raw ", b"in24", b"in32", b"42n1", b"23ni", b"ulaw", b"alaw"),
    b"lpcm",
}
TAGS_BEHIND = (b"TAG", b"ID3", b"APETAGEX", b"LYRICSBEGIN")  # which other programs put behind a file
MOST_CHUNKS = 10_000  # of one file; more are no sound file's
MOST_PADDING = 1 << 16  # zeros behind the samples with which programs fill a block
SHORTEST_S = 0.01  # of a time that is given in seconds; what is shorter in bytes
SHORT_S = 0.05  # of bytes behind the samples that belong to nothing: too few to be sound


@dataclass
class Samples:
    """The samples of a file, coded or not."""

    plain: bool = False  # one value for each sample: libsndfile seeks in it exactly
    start: int = 0
    stated: int = 0
    there: int = 0  # bytes from ``start`` to the end of the file
    open: bool = False  # the header states no size
    behind: int = 0  # bytes behind the samples that are no chunk and no tag
    bytes_per_s: float = 0.0
    notes: list[str] = field(default_factory=list)

    @property
    def missing_s(self) -> float:
        """How much less there is than the header states, in seconds."""
        return 0.0 if self.open else self.seconds(self.stated - self.there)

    def seconds(self, size: float) -> float:
        """How long so many bytes last; 0 where that is not known."""
        return max(0.0, size) / self.bytes_per_s if self.bytes_per_s > 0 else 0.0


def _chunks(file: BinaryIO, at: int, order: str = "<") -> Iterator[tuple[bytes, int, int]]:
    """(name, where its content begins, size) of the chunks from a place on."""
    for _ in range(MOST_CHUNKS):
        file.seek(at)
        header = file.read(8)
        if len(header) < 8:
            return
        size = struct.unpack(f"{order}I", header[4:])[0]
        yield header[:4], at + 8, size
        at += 8 + size + size % 2


def _wave(file: BinaryIO, start: int, end: int) -> Samples | None:
    tag, block, bits, per_s, long_size = 0, 0, 0, 0, None
    file.seek(start)
    is_known = file.read(4) != b"BW64"  # libsndfile does not know that name
    for name, at, size in _chunks(file, start + 12):
        if name == b"fmt ":
            file.seek(at)
            body = file.read(min(size, 40))
            if len(body) < 14:
                return None
            tag, _, rate, per_s, block = struct.unpack_from("<HHIIH", body)
            bits = struct.unpack_from("<H", body, 14)[0] if len(body) >= 16 else 0
            tag = struct.unpack_from("<H", body, 24)[0] if tag == 0xFFFE and len(body) >= 26 else tag
            if tag in BLOCK_TAGS and len(body) >= 20 and (per_block := struct.unpack_from("<H", body, 18)[0]):
                per_s = round(rate * block / per_block)  # the header's own figure need not be true
        elif name == b"ds64":
            file.seek(at)
            body = file.read(16)
            long_size = struct.unpack("<Q", body[8:])[0] if len(body) == 16 else None
        elif name == b"data":
            if size == 0xFFFFFFFF and long_size is not None:
                size = long_size
            is_plain = is_known and tag in SAMPLE_TAGS and not (tag == 1 and bits > 32)
            found = _ends(file, Samples(is_plain, at, size, end - at, bytes_per_s=per_s), end)
            if size > found.there and size in (end - start, end - start - 8):
                found.open = True
                found.notes.append("its header states the size of the whole file as that of its samples: read to the end of the file")
            return found
    return None


def _ends(file: BinaryIO, found: Samples, end: int) -> Samples:
    """Decides whether a WAV's stated size is one, and what is behind its samples."""
    if found.stated >= OPEN_64 or (found.stated > found.there and any(found.stated in sizes for sizes in OPEN_SIZES)):
        found.open = True
        return found
    names = [name for name, _, _ in _chunks(file, found.start + found.stated + found.stated % 2)]
    if b"RIFF" in names or (found.stated and b"data" in names):
        raise Refused(JOINED)
    behind = end - found.start - found.stated - found.stated % 2
    if behind <= 0 or _is_chunk(file, found.start + found.stated, end):
        return found
    if found.stated == 0:
        found.open = True
    elif not _is_padding(file, found.start + found.stated, behind):
        found.behind = behind
    return found


def _is_chunk(file: BinaryIO, at: int, end: int) -> bool:
    """Whether a chunk begins here; programs forget the byte that pads an odd size."""
    for start in (at + at % 2, at):
        file.seek(start)
        head = file.read(8)
        if len(head) == 8 and head[:4].isascii() and head[:4].decode("ascii").isprintable():
            return int(struct.unpack("<I", head[4:])[0]) <= end - start - 8 + 1
    return False


def _is_padding(file: BinaryIO, at: int, behind: int) -> bool:
    """Whether a tag begins here, or only a few zeros follow."""
    file.seek(at)
    head = file.read(MOST_PADDING + 1)
    return head.startswith(TAGS_BEHIND) or (behind <= MOST_PADDING and not head.strip(b"\0"))


def _wave64(file: BinaryIO, start: int, end: int) -> Samples | None:
    at, tag, per_s = start + 40, 0, 0
    for _ in range(MOST_CHUNKS):
        file.seek(at)
        header = file.read(24)
        if len(header) < 24:
            return None
        name, size = header[:4], struct.unpack("<Q", header[16:])[0] - 24  # a size counts its own header
        if name == b"fmt ":
            body = file.read(40)
            tag, _, _, per_s = struct.unpack_from("<HHII", body)
            tag = struct.unpack_from("<H", body, 24)[0] if tag == 0xFFFE and len(body) >= 26 else tag
        elif name == b"data":
            is_open = not 0 < size < OPEN_64 and end > at + 24
            return Samples(tag in SAMPLE_TAGS and not is_open, at + 24, size, end - at - 24, is_open, bytes_per_s=per_s)
        at += 24 + max(0, size) + -size % 8
    return None


def _aiff(file: BinaryIO, start: int, end: int) -> Samples | None:
    kind, num_frames, block, rate, in_chunk, found = b"NONE", 0, 0, 0.0, 0, None
    for name, at, size in _chunks(file, start + 12, ">"):
        if name == b"COMM":
            file.seek(at)
            body = file.read(min(size, 22))
            if len(body) < 18:
                return None
            channels, num_frames, bits, exponent, mantissa = struct.unpack_from(">HIHHQ", body)
            rate, block = mantissa * 2.0 ** ((exponent & 0x7FFF) - 16_383 - 63), channels * (-(-bits // 8))
            kind = body[18:22] if len(body) == 22 else b"NONE"
        elif name == b"SSND":
            is_open = size <= 8 or (at + size > end and size >= OPEN_AIFF)
            in_chunk = size - 8
            found = Samples(kind in SAMPLE_TYPES, at + 8, size - 8, end - at - 8, is_open and end > at + 8)
            if found.open or found.stated > found.there:
                break
    if found is None:
        return None
    if kind in SAMPLE_TYPES and kind not in (b"ulaw", b"alaw"):
        found.bytes_per_s = rate * block
        if not found.open:
            found.stated = num_frames * block
            if in_chunk < found.stated <= found.there:
                frames = in_chunk // max(block, 1)
                raise Refused(f"its header says {num_frames} frames, but {frames} are in its chunk of samples. Convert it again")
    found.plain = found.plain and not found.open and num_frames > 0
    return found


def _caf(file: BinaryIO, start: int, end: int) -> Samples | None:
    at, kind, per_s = start + 8, b"", 0.0
    for _ in range(MOST_CHUNKS):
        file.seek(at)
        header = file.read(12)
        if len(header) < 12:
            return None
        name, size = header[:4], struct.unpack(">q", header[4:])[0]
        if name == b"desc":
            body = file.read(32)
            if len(body) < 32:
                return None
            rate, kind, _, packet_bytes, packet_frames = struct.unpack_from(">d4sIII", body)
            per_s = rate * packet_bytes / packet_frames if packet_frames else 0.0
        elif name == b"data":
            is_open = size < 0 or (size <= 4 and end > at + 16)
            return Samples(kind in SAMPLE_TYPES and not is_open, at + 16, size - 4, end - at - 16, is_open, bytes_per_s=per_s)
        at += 12 + max(0, size)
    return None


CHUNKED = {"wav": _wave, "rf64": _wave, "w64": _wave64, "aiff": _aiff, "caf": _caf}


def samples_of(path: Path, content: Content) -> Samples:
    """Finds the samples of a file. Raises Refused if it has none, or lacks some that its header states."""
    size = path.stat().st_size
    with path.open("rb") as file:
        found = CHUNKED[content.format](file, content.start, size)
    if found is None:
        raise Refused("not a readable sound file (no samples were found in it: the header is damaged, or the file was cut)")
    if not found.open and found.stated > found.there:
        there = f"ends at {found.seconds(found.there):.2f} s, " if found.bytes_per_s else ""
        missing = f"{found.missing_s:.2f} s" if found.missing_s >= SHORTEST_S else f"{found.stated - found.there} bytes"
        raise Refused(f"truncated: {there}{missing} before the end that its header states")
    if not found.open and found.seconds(found.behind) > SHORT_S:
        raise Refused(
            f"its header says {found.seconds(found.stated):.2f} s, but {found.seconds(found.behind):.2f} s more follow. "
            "Convert it again, e.g. with ffmpeg -ignore_length 1"
        )
    if found.open and not found.notes:
        found.notes.append("its header states no length (written to a pipe): read to the end of the file")
    return found
