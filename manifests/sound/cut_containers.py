"""Whether an mp4, Matroska or ASF file ends before the size that its own boxes state.

Conventions
    Only the outermost boxes are read. What states no size (a live recording) gives no answer here.

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
ASF_DATA = b"\x36\x26\xb2\x75"
MOST_BOXES = 100_000  # at the top of one file: a fragment takes two


def check_not_cut(path: Path, content: Content) -> None:
    """Raises Refused if a box reaches beyond the end of the file."""
    reader = {"mp4": _mp4_end, "matroska": _matroska_end, "asf": _asf_end}.get(content.format)
    if reader is None:
        return
    size = path.stat().st_size
    with path.open("rb") as file:
        stated = reader(file, content.start, size)
    if stated > size:
        raise Refused(f"truncated: has {size} bytes; its header states {stated}")


def _mp4_end(file: BinaryIO, at: int, size: int) -> int:
    for _ in range(MOST_BOXES):
        if at >= size:
            break
        file.seek(at)
        header = file.read(16)
        if len(header) < 8 or not all(32 <= byte < 127 or byte == 0xA9 for byte in header[4:8]):
            break  # what other programs put behind the last box
        length = struct.unpack(">I", header[:4])[0]
        if length == 1 and len(header) == 16:
            length = struct.unpack(">Q", header[8:])[0]
        if length < 8:  # 0: to the end of the file
            break
        at += length
    return at


def _matroska_end(file: BinaryIO, at: int, size: int) -> int:
    for _ in range(MOST_BOXES):
        if at >= size:
            break
        file.seek(at)
        header = file.read(12)
        if len(header) < 5:
            break
        id_bytes, _ = _vint(header)
        size_bytes, length = _vint(header[id_bytes:])
        if size_bytes == 0 or length == (1 << 7 * size_bytes) - 1:  # unknown
            break
        at += id_bytes + size_bytes + length
        if header.startswith(SEGMENT):
            return at
    return 0


def _vint(data: bytes) -> tuple[int, int]:
    """(bytes, value) of a number of EBML."""
    if not data or data[0] == 0:
        return 0, 0
    count = 9 - data[0].bit_length()
    return count, int.from_bytes(data[:count]) & ((1 << 7 * count) - 1)


def _asf_end(file: BinaryIO, at: int, size: int) -> int:
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
