"""What a sound file is by its first bytes, whatever its name says.

Conventions
    ID3v2 tags, which some programs put before any format, are skipped. A name counts only where the bytes begin like nothing that is known:
    a recording of a stream begins in the middle of a packet.

References
    ID3v2 size: id3.org, ID3v2.3.0, section 3.1. The other signatures are those of the formats' own descriptions.
"""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO, NamedTuple

ID3_HEADER = 10


class Content(NamedTuple):
    """A format, and the byte at which it begins."""

    format: str  # wav, rf64, w64, aiff, caf, flac, ogg, mp4, matroska, asf, mpeg, adts, loas, ac3, "" for what is not known
    start: int


SIGNATURES = {
    b"RF64": "rf64",
    b"BW64": "rf64",
    b"fLaC": "flac",
    b"OggS": "ogg",
    b"caff": "caf",
    b"riff\x2e\x91\xcf\x11": "w64",
    b"\x1a\x45\xdf\xa3": "matroska",
    b"\x30\x26\xb2\x75\x8e\x66\xcf\x11": "asf",
    b"\x0b\x77": "ac3",
}
BY_SUFFIX = {".mp3": "mpeg", ".aac": "adts"}


def content_of(path: Path) -> Content:
    """The format of a file. Raises OSError if it cannot be read."""
    with path.open("rb") as file:
        start = id3_end(file)
        file.seek(start)
        head = file.read(12)
    return Content(_named(head, path.suffix.lower()), start)


def id3_end(file: BinaryIO, start: int = 0) -> int:
    """The byte behind all ID3v2 tags that begin at ``start``."""
    while True:
        file.seek(start)
        head = file.read(ID3_HEADER)
        if len(head) < ID3_HEADER or head[:3] != b"ID3":
            return start
        start += ID3_HEADER + sum((byte & 0x7F) << shift for byte, shift in zip(head[6:10], (21, 14, 7, 0), strict=True))
        if head[5] & 0x10:  # a footer repeats the header
            start += ID3_HEADER


def _named(head: bytes, suffix: str) -> str:
    if head[:4] == b"RIFF" and head[8:12] == b"WAVE":
        return "wav"
    if head[:4] == b"FORM" and head[8:11] == b"AIF":
        return "aiff"
    if head[4:8] in (b"ftyp", b"moov", b"mdat", b"styp", b"moof"):
        return "mp4"
    for signature, name in SIGNATURES.items():
        if head.startswith(signature):
            return name
    if len(head) > 2 and head[0] == 0xFF and head[1] & 0xE0 == 0xE0:
        return "adts" if head[1] & 0xF6 == 0xF0 else "mpeg"  # ADTS has layer 0, which MPEG audio reserves
    if len(head) > 2 and head[0] == 0x56 and head[1] & 0xE0 == 0xE0:
        return "loas"
    return BY_SUFFIX.get(suffix, "")
