"""Sound files that were made for tests, in memory: encoded by the ffmpeg program, taken apart, and read by all three ways."""

from __future__ import annotations

import functools
import io
import struct
import subprocess
import tempfile
from pathlib import Path

import numpy as np
import pytest
import soundfile

from stemwright.manifests.records import Refused
from stemwright.manifests.sound import decoding
from stemwright.manifests.sound.ogg_pages import _crc, _page

RATE = 44_100
BARE = ("-write_xing", "0", "-id3v2_version", "0")


def tone(duration_s: float, hz: float = 330.0, level: float = 0.3) -> np.ndarray:
    """Float [T, 2], with a little noise, so that packets differ."""
    time_s = np.arange(round(duration_s * RATE)) / RATE
    noise = 0.02 * np.random.default_rng(int(hz)).standard_normal((time_s.size, 2))
    return level * np.sin(2 * np.pi * hz * time_s)[:, None] + noise


def written(audio: np.ndarray, subtype: str = "PCM_16", form: str = "WAV", sample_rate: int = RATE) -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, audio, sample_rate, subtype=subtype, format=form)
    return buffer.getvalue()


def encode(audio: np.ndarray, suffix: str, *options: object) -> bytes:
    """The bytes of [T, C] as ffmpeg encodes them; the same request is encoded once in a process."""
    return _encoded(written(audio, "FLOAT"), suffix, tuple(map(str, options)))


@functools.cache
def _encoded(source: bytes, suffix: str, options: tuple[str, ...]) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "source.wav").write_bytes(source)
        path = Path(folder, f"made.{suffix}")
        subprocess.run(["ffmpeg", "-v", "error", "-y", "-i", f"{folder}/source.wav", *options, str(path)], check=True)
        return path.read_bytes()


def read(folder: Path, name: str, data: bytes) -> tuple[np.ndarray, list[str]]:
    """[C, T] and the notes; whole, blocks and excerpts must agree."""
    path = folder / name
    path.write_bytes(data)
    with decoding.opened(path, compared=True) as reader:
        parts = list(reader.blocks(5000))
    whole = decoding.load(path)[0]
    np.testing.assert_array_equal(np.concatenate(parts, axis=1), whole)
    for start in (whole.shape[1] // 2, whole.shape[1] - 900):
        np.testing.assert_array_equal(decoding.load(path, start, 800)[0], whole[:, start : start + 800])
    return whole, reader.notes


def refusal(folder: Path, name: str, data: bytes) -> str:
    """Why a file is refused, by all three ways of reading it."""
    path = folder / name
    path.write_bytes(data)
    with pytest.raises(Refused) as found:
        list(decoding.blocks(path, 5000))
    for call in (decoding.load, decoding.load_song):
        with pytest.raises(Refused):
            call(path)
    return str(found.value)


def pages(data: bytes) -> list[bytes]:
    found, at = [], 0
    while page := _page(data, at):
        found.append(data[at : at + page[-1]])
        at += page[-1]
    return found


def sealed(page: bytes) -> bytes:
    """A page with its right check sum."""
    blank = page[:22] + bytes(4) + page[26:]
    return page[:22] + struct.pack("<I", _crc(blank)) + page[26:]


def renamed(page: bytes, serial: bytes) -> bytes:
    return sealed(page[:14] + serial + page[18:])


def packets(mp3: bytes) -> list[bytes]:
    """The packets of an MPEG-1 layer III file at 44.1 kHz without tags."""
    kbits, found, at = (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320), [], mp3.index(b"\xff\xfb")
    while at + 4 <= len(mp3) and mp3[at] == 0xFF:
        size = 144_000 * kbits[mp3[at + 2] >> 4] // RATE + (mp3[at + 2] >> 1 & 1)
        found.append(mp3[at : at + size])
        at += size
    return found


def headed(data: bytes, name: bytes, size: bytes) -> bytes:
    """The bytes with another size in the header of a chunk."""
    at = data.index(name) + 4
    return data[:at] + size + data[at + len(size) :]
