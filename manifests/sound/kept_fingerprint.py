"""The fingerprint that a catalog keeps of every recording, so that copies of one are found without decoding them again.

Conventions
    Words are those of ``stemwright.manifests.sound.fingerprint``, one every STEP samples at 8 kHz (32 ms): by them two recordings are
    compared. Keys are coarser words, at the same times: 16 wide bands now and the same half a second later. A copy shares some of them
    exactly, at low bit rates or 1 % faster, too; so they are what an index is made of. 0 is silence, in both.
    Both are kept twice, for bands at the frequencies as they are and SCALES[1] times as high: where a copy is played faster or slower by up
    to 2 %, one of the two fits one of the other recording within 0.7 %.
    Spectrum: the energy of the 33 bands and, before them, of three lower ones in dB, every half a second, by which a version with other
    parts, or a remastered one, is distinguished from a copy.
    In a file a line of JSON says how long each part is, with a checksum of everything and of the file's name: a file that was damaged, cut
    or put in the place of another counts as missing, and is made again.
"""

from __future__ import annotations

import json
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from stemwright.manifests.disk.durable import make_folder, write_bytes
from stemwright.manifests.disk.regular import regular
from stemwright.manifests.sound.fingerprint import BANDS_HZ, FRAME, NUM_BITS, RATE, Words, energies_between, words_of_energies
from stemwright.manifests.sound.formats import Audio, AudioInfo
from stemwright.manifests.sound.resampling import MonoResampler

STEP = 256  # samples at RATE: 32 ms
SCALES = (1.0, 1.014)  # of the bands' frequencies
LOW_HZ = np.array([40.0, 80.0, 140.0])  # edges of more bands, of which there are no words: for the spectrum, where basses are
EDGES_HZ = [np.concatenate([LOW_HZ, BANDS_HZ]), *(BANDS_HZ * scale for scale in SCALES[1:])]
NUM_BANDS = len(LOW_HZ) + NUM_BITS + 1
ROW = 16  # steps of one row of the spectrum: half a second
AT_ONCE = 128  # steps that are computed at a time, at least
KEY_SMOOTH, KEY_SPAN, KEY_AHEAD = 4, 8, 16  # steps: mean of the energies, the span of a difference, and between the halves of a key
KEY_BITS = 16
FLOOR_DB = -100.0  # of a band without energy; full scale is about +60
VERSION = 2  # of the file: another one is made again
FINGERPRINTS = "fingerprints"  # folder of a corpus
SUFFIX = ".fingerprint"

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class KeptFingerprint:
    """Words [S, N] and keys [S, N] of a recording, one every 32 ms, for each of SCALES, and its spectrum [N / 16, 36] in dB."""

    words: Words
    keys: Words
    spectrum: Floats

    @property
    def num_steps(self) -> int:
        """How many words it has."""
        return int(self.words.shape[1])


NO_WORDS = np.zeros((len(SCALES), 0), np.uint32)
EMPTY = KeptFingerprint(NO_WORDS, NO_WORDS, np.zeros((0, NUM_BANDS), np.float32))


class FingerprintMaker:
    """Takes a recording's blocks [C, t] as they are decoded, and makes its fingerprint."""

    def __init__(self, info: AudioInfo) -> None:
        self._resampler = MonoResampler(info.sample_rate, RATE)
        self._waiting: Audio = np.zeros(0, np.float32)
        self._energies = [[np.zeros((0, len(edges) - 1), np.float32) for edges in EDGES_HZ]]

    def add(self, block: Audio) -> None:
        """Takes the next [C, t]."""
        # Rows added one by one: ``mean`` over the first axis takes several times as long.
        self._take(sum(block[1:], block[0]) / np.float32(len(block)), last=False)

    def _take(self, mono: Audio, *, last: bool) -> None:
        self._waiting = np.concatenate([self._waiting, self._resampler.add(mono, last=last)])
        count = (len(self._waiting) - FRAME) // STEP + 1
        if count >= (1 if last else AT_ONCE):
            self._energies.append(energies_between(self._waiting[: FRAME + (count - 1) * STEP], STEP, EDGES_HZ))
            self._waiting = self._waiting[count * STEP :]

    def fingerprint(self) -> KeptFingerprint:
        """The fingerprint of all that was added; without words if that is shorter than half a second."""
        self._take(np.zeros(0, np.float32), last=True)
        whole, *higher = map(np.concatenate, zip(*self._energies, strict=True))
        energies = [whole[:, len(LOW_HZ) :], *higher]
        words = np.stack([words_of_energies(energy, step=STEP) for energy in energies])
        keys = np.zeros_like(words)
        for energy, row in zip(energies, keys, strict=True):
            made = _keys(energy)[: len(row)]
            row[: len(made)] = made
        keys[words == 0] = 0
        count = len(whole) // ROW
        power = whole[: count * ROW].reshape(count, ROW, NUM_BANDS).mean(axis=1)
        return KeptFingerprint(words, keys, (10 * np.log10(np.maximum(power, 10 ** (FLOOR_DB / 10)))).astype(np.float16).astype(np.float32))


def _keys(energy: Floats) -> Words:
    """The keys of energies [N, 33]; fewer than N."""
    wide = energy[:, : 2 * KEY_BITS].reshape(len(energy), KEY_BITS, 2).sum(axis=2)
    wide = np.concatenate([wide, energy[:, -1:]], axis=1, dtype=np.float64)
    total = np.concatenate([np.zeros((1, wide.shape[1])), np.cumsum(wide, axis=0)])
    mean = total[KEY_SMOOTH:] - total[:-KEY_SMOOTH]
    slope = mean[:, :-1] - mean[:, 1:]
    if len(slope) <= KEY_SPAN + KEY_AHEAD:
        return np.zeros(0, np.uint32)
    bits = (slope[KEY_SPAN:] - slope[:-KEY_SPAN]) > 0
    half = bits.astype(np.uint32) @ (np.uint32(1) << np.arange(KEY_BITS, dtype=np.uint32))
    return half[:-KEY_AHEAD] | (half[KEY_AHEAD:] << np.uint32(KEY_BITS))


def place_of(folder: Path, sha256: str, stream: int) -> Path:
    """Where in a folder the fingerprint of a sound file's stream is kept: by the checksum of the file."""
    return folder / sha256[:2] / f"{sha256[:32]}-{stream}{SUFFIX}"


def write(path: Path, made: KeptFingerprint, facts: dict[str, Any]) -> None:
    """Writes a fingerprint, with what else is known about its recording."""
    parts = (made.words.astype("<u4"), made.keys.astype("<u4"), made.spectrum.astype("<f2"))
    head, data = {"version": VERSION, "words": made.num_steps, "rows": len(made.spectrum), "facts": facts}, b"".join(map(bytes, parts))
    make_folder(path.parent)
    write_bytes(path, _json(head | {"crc32": _checksum(path, head, data)}) + b"\n" + data)


def _json(head: dict[str, Any]) -> bytes:
    return json.dumps(head, sort_keys=True).encode()


def _checksum(path: Path, head: dict[str, Any], data: bytes) -> int:
    """Of a file's name, of its head and of what follows it."""
    return zlib.crc32(data, zlib.crc32(path.name.encode() + _json(head)))


def add_facts(path: Path, facts: dict[str, Any]) -> None:
    """Adds to what is known about the recording of a fingerprint that ``write`` wrote; nothing where there is no whole one."""
    if (known := read_facts(path)) is not None:
        write(path, read(path), {**known, **facts})


def read_facts(path: Path) -> dict[str, Any] | None:
    """What is known about the recording of a fingerprint; None if there is no whole one."""
    found = _whole(path)
    return None if found is None else dict(found[0]["facts"])


def _whole(path: Path) -> tuple[dict[str, Any], bytes] | None:
    """The head of a fingerprint and what follows it; None if they are not as they were written."""
    try:
        line, _, data = regular(path).read_bytes().partition(b"\n")
        head = json.loads(line)
        crc32, size = head.pop("crc32"), 8 * len(SCALES) * head["words"] + 2 * NUM_BANDS * head["rows"]
        fits = head["version"] == VERSION and isinstance(head["facts"], dict) and len(data) == size
        return (head, data) if fits and crc32 == _checksum(path, head, data) else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None


def read(path: Path) -> KeptFingerprint:
    """A fingerprint that ``write`` wrote; an empty one if there is no whole one."""
    found = _whole(path)
    if found is None:
        return EMPTY
    data, count = found[1], len(SCALES) * found[0]["words"]
    return KeptFingerprint(
        np.frombuffer(data, "<u4", count).astype(np.uint32).reshape(len(SCALES), -1),
        np.frombuffer(data, "<u4", count, 4 * count).astype(np.uint32).reshape(len(SCALES), -1),
        np.frombuffer(data, "<f2", offset=8 * count).reshape(-1, NUM_BANDS).astype(np.float32),
    )
