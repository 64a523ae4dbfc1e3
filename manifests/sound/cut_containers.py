"""Whether an mp4, Matroska or ASF file ends before the size that its own boxes state, or is several files that were joined.

Conventions
    Only the outermost boxes are read, and where these have no size those within. What states no size (a live recording) gives no answer
    here but a note.

References
    ISO/IEC 14496-12, 4.2 (boxes). RFC 8794, section 6 (EBML sizes). Microsoft, Advanced Systems Format 1.2, section 2.2 (objects).
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import BinaryIO

from stemwright.manifests.records import Refused
from stemwright.manifests.sound.content import Content

SEGMENT = b"\x18\x53\x80\x67"  # of Matroska
CLUSTER = b"\x1f\x43\xb6\x75"
EBML = b"\x1a\x45\xdf\xa3"
MP4_BOXES = {
    *(b"ftyp", b"moov", b"mdat", b"moof", b"mfra", b"free", b"skip", b"wide", b"udta", b"meta", b"uuid", b"pnot", b"styp", b"sidx"),
    *(b"ssix", b"emsg", b"prft", b"pdin", b"bloc"),
}
JOINED = "several recordings are joined in it, of which programs play only the first. Split it into its parts"
NO_LENGTH = "its header states no length (a recording of a stream): read to the end of the file"
ASF_DATA = b"\x36\x26\xb2\x75"
MOST_BOXES = 100_000  # at the top of one file: a fragment takes two


def check_not_cut(path: Path, content: Content) -> list[str]:
    """Notes. Raises Refused if a box reaches beyond the end of the file, or a second recording follows the first."""
    reader = {"mp4": _mp4_end, "matroska": _matroska_end, "asf": _asf_end}.get(content.format)
    if reader is None:
        return []
    size = path.stat().st_size
    with path.open("rb") as file:
        stated = reader(file, content.start, size)
    if stated is None:
        return [NO_LENGTH]
    if stated > size:
        raise Refused(f"truncated: has {size} bytes; its header states {stated}")
    return []


def _mp4_end(file: BinaryIO, at: int, size: int) -> int | None:
    """Where the last box ends; None where the boxes of a live recording do not say whether there were more."""
    names, indexed = list[bytes](), 0
    for _ in range(MOST_BOXES):
        if at >= size:
            break
        file.seek(at)
        header = file.read(16)
        if len(header) < 8 or not all(32 <= byte < 127 or byte == 0xA9 for byte in header[4:8]):
            break  # what other programs put behind the last box
        if header[4:8] not in MP4_BOXES and b"moov" in names and (b"mdat" in names or b"moof" in names):
            break
        names.append(header[4:8])
        length = struct.unpack(">I", header[:4])[0]
        if length == 1 and len(header) == 16:
            length = struct.unpack(">Q", header[8:])[0]
        if length < 8:  # 0: to the end of the file
            break
        at += length
        if header[4:8] == b"sidx":
            indexed = at + _indexed_bytes(file, at - length, length)
    if names.count(b"moov") > 1 and b"moof" not in names:
        raise Refused(JOINED)
    if b"moof" in names and not indexed and b"mfra" not in names and at <= size:
        return None
    return max(at, indexed)


def _indexed_bytes(file: BinaryIO, at: int, length: int) -> int:
    """How many bytes of fragments an index of segments names."""
    file.seek(at)
    box = file.read(min(length, 1 << 20))
    if len(box) < 28:
        return 0
    times, first = (28, ">I") if box[8] == 0 else (36, ">Q")
    count = struct.unpack_from(">H", box, times + 2)[0] if len(box) >= times + 4 else 0
    total = struct.unpack_from(first, box, times - struct.calcsize(first))[0]
    for entry in range(min(count, (len(box) - times - 4) // 12)):
        total += struct.unpack_from(">I", box, times + 4 + 12 * entry)[0] & 0x7FFFFFFF
    return int(total)


def _matroska_end(file: BinaryIO, at: int, size: int) -> int | None:
    """Where the segment ends; of one without a size where its last element ends, if that is beyond the file, else None."""
    is_open = False
    for _ in range(MOST_BOXES):
        if at >= size:
            break
        file.seek(at)
        header = file.read(12)
        id_bytes, _ = _vint(header)
        size_bytes, length = _vint(header[id_bytes:])
        if size_bytes == 0:
            break
        if is_open and header.startswith(EBML):
            raise Refused(JOINED)
        if length == (1 << 7 * size_bytes) - 1:  # unknown, as is what contains it: its elements follow
            if not header.startswith((SEGMENT, CLUSTER)):
                break
            is_open, length = True, 0
        at += id_bytes + size_bytes + length
        if header.startswith(SEGMENT) and not is_open:
            file.seek(at)
            if file.read(4) == EBML:
                raise Refused(JOINED)
            return at
    return at if at > size or not is_open else None


def _vint(data: bytes) -> tuple[int, int]:
    """(bytes, value) of a number of EBML."""
    if not data or data[0] == 0:
        return 0, 0
    count = 9 - data[0].bit_length()
    return count, int.from_bytes(data[:count]) & ((1 << 7 * count) - 1)


def _asf_end(file: BinaryIO, at: int, size: int) -> int | None:
    for _ in range(MOST_BOXES):
        file.seek(at)
        header = file.read(24)
        if len(header) < 24 or at >= size:
            break
        length = struct.unpack("<Q", header[16:])[0]
        if length < 24:
            break
        at += length
        if header.startswith(ASF_DATA):
            return at
    return 0
