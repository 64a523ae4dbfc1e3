"""Whether a sound file is truncated: the number of frames its header states, against the number decoded.

Decoders return what is left of a truncated file without an error, so it would go unnoticed.

Conventions
    Only headers are read here, as bytes; nothing is decoded.
    Formats that state no length (raw AAC, MP3 without a Xing header, OGG) give None; a truncated OGG or Opus file is recognised by its
    last page. FLAC and CAF need nothing: their decoders report truncation.

References
    RIFF/WAVE: Microsoft and IBM, Multimedia Programming Interface 1.0 (1991). RF64: EBU Tech 3306. AIFF: Apple, version 1.3 (1989).
    OGG pages: RFC 3533, section 6. ID3v2 size: id3.org, ID3v2.3.0, section 3.1.
"""

from __future__ import annotations

import io
import struct
from pathlib import Path

from stemwright.manifests.sound.formats import AudioInfo

MP3_SLACK_FRAMES = 4096  # the Xing header counts encoder delay and padding, at most about three packets of 1152, which decoders may drop
CONTAINER_SLACK_S = 0.5  # mp4, Matroska and ASF state a duration that is rounded, and counts or leaves out padding
CONTAINER_SUFFIXES = {".m4a", ".m4b", ".mp4", ".mka", ".webm", ".wma"}
OGG_SUFFIXES = {".ogg", ".oga", ".opus"}
OGG_PAGE_BYTES = 27 + 255 + 255 * 255  # the largest page there can be


def missing_frames(path: Path, info: AudioInfo, num_decoded: int) -> int:
    """How many frames of those stated by its header a file lacks; 0 if it is complete, or states no length.

    Differences that a complete file can have (encoder delay, a rounded duration) count as 0. A truncated OGG file gives at least 1.
    """
    suffix = path.suffix.lower()
    if suffix in OGG_SUFFIXES:
        return int(_ogg_is_cut(path))
    if suffix in CONTAINER_SUFFIXES:
        promised, slack = info.num_frames, round(CONTAINER_SLACK_S * info.sample_rate)
    else:
        promised, slack = promised_frames(path) or 0, MP3_SLACK_FRAMES if suffix == ".mp3" else 0
    missing = promised - num_decoded
    return missing if missing > slack else 0


def promised_frames(path: Path) -> int | None:
    """How many frames the header of a WAV, RF64, AIFF or MP3 (Xing) file states; None for other formats."""
    with path.open("rb") as file:
        head = file.read(12)
        if head[:4] in (b"RIFF", b"RF64") and head[8:12] == b"WAVE":
            return _riff_frames(file)
        if head[:4] == b"FORM" and head[8:11] == b"AIF":
            return _aiff_frames(file)
        return _xing_frames(file, head) if path.suffix.lower() == ".mp3" else None


def _riff_frames(file: io.BufferedReader) -> int | None:
    block_align, long_size = 0, 0
    while len(header := file.read(8)) == 8:
        name, size = header[:4], struct.unpack("<I", header[4:])[0]
        if name == b"data":
            size = long_size if size == 0xFFFFFFFF else size
            return size // block_align if block_align and size else None
        body = file.read(size + size % 2) if name in (b"fmt ", b"ds64") else b""
        if name == b"fmt " and len(body) >= 14:
            block_align = struct.unpack("<H", body[12:14])[0]
        elif name == b"ds64" and len(body) >= 16:
            long_size = struct.unpack("<Q", body[8:16])[0]
        elif not body:
            file.seek(size + size % 2, io.SEEK_CUR)
    return None


def _aiff_frames(file: io.BufferedReader) -> int | None:
    while len(header := file.read(8)) == 8:
        name, size = header[:4], struct.unpack(">I", header[4:])[0]
        if name == b"COMM":
            body = file.read(6)
            return int(struct.unpack(">I", body[2:6])[0]) if len(body) == 6 else None
        file.seek(size + size % 2, io.SEEK_CUR)
    return None


def _xing_frames(file: io.BufferedReader, head: bytes) -> int | None:
    start = 0
    while head[:3] == b"ID3":  # the tag, often with a cover picture, precedes the first packet; its size has seven bits a byte
        start += 10 + sum((byte & 0x7F) << shift for byte, shift in zip(head[6:10], (21, 14, 7, 0), strict=True))
        file.seek(start)
        head = file.read(12)
    file.seek(start)
    packet = file.read(4096)
    sync = next((at for at in range(len(packet) - 1) if packet[at] == 0xFF and packet[at + 1] & 0xE0 == 0xE0), None)
    if sync is None:
        return None
    at = max(packet.find(b"Xing", sync), packet.find(b"Info", sync))
    if at < 0 or len(packet) < at + 12 or not packet[at + 7] & 1:
        return None
    per_packet = 1152 if packet[sync + 1] & 0x08 else 576  # MPEG 1 against MPEG 2 and 2.5
    return int(struct.unpack(">I", packet[at + 8 : at + 12])[0]) * per_packet


def _ogg_is_cut(path: Path) -> bool:
    """Whether the last page of an OGG file says that it is longer than what is there."""
    size = path.stat().st_size
    with path.open("rb") as file:
        file.seek(max(0, size - OGG_PAGE_BYTES))
        tail = file.read()
    at = tail.rfind(b"OggS\0")
    if at < 0:
        return True
    page = tail[at:]
    if len(page) < 27 or len(page) < 27 + page[26]:
        return True
    return len(page) < 27 + page[26] + sum(page[27 : 27 + page[26]])
