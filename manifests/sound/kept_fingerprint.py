"""The fingerprint that a catalog keeps of every recording, so that copies of one are found without decoding them again.

Conventions
    Words are those of ``stemwright.manifests.sound.fingerprint``, one every STEP samples at 8 kHz (32 ms): by them two recordings are
    compared. Keys are coarser words, at the same times: 16 wide bands now and the same half a second later. A copy shares some of them
    exactly, at low bit rates or 1 % faster, too; so they are what an index is made of. 0 is silence, in both.
    Spectrum: the energy of the 33 bands in dB, every two seconds, by which a remastered version is distinguished from a copy.
    In a file a line of JSON says how long each part is; a file of another length is damaged, and counts as missing.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from stemwright.manifests.disk.durable import make_folder, write_bytes
from stemwright.manifests.disk.regular import regular
from stemwright.manifests.sound.fingerprint import FRAME, NUM_BITS, RATE, Words, band_energies, words_of_energies
from stemwright.manifests.sound.formats import Audio, AudioInfo
from stemwright.manifests.sound.resampling import MonoResampler

STEP = 256  # samples at RATE: 32 ms
BLOCK = 64  # steps of one row of the spectrum: 2 s
KEY_SMOOTH, KEY_SPAN, KEY_AHEAD = 4, 8, 16  # steps: mean of the energies, the span of a difference, and between the halves of a key
KEY_BITS = 16
FLOOR_DB = -100.0  # of a band without energy; full scale is about +60
VERSION = 1  # of the file: another one is made again
FINGERPRINTS = "fingerprints"  # folder of a corpus
SUFFIX = ".fingerprint"

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class KeptFingerprint:
    """Words [N] and keys [N] of a recording, one every 32 ms, and its spectrum [N / 64, 33] in dB."""

    words: Words
    keys: Words
    spectrum: Floats


class FingerprintMaker:
    """Takes a recording's blocks [C, t] as they are decoded, and makes its fingerprint."""

    def __init__(self, info: AudioInfo) -> None:
        self._resampler = MonoResampler(info.sample_rate, RATE)
        self._waiting: Audio = np.zeros(0, np.float32)
        self._energies: list[Floats] = []

    def add(self, block: Audio) -> None:
        """Takes the next [C, t]."""
        # Rows added one by one: ``mean`` over the first axis takes several times as long.
        self._take(sum(block[1:], block[0]) / np.float32(len(block)), last=False)

    def _take(self, mono: Audio, *, last: bool) -> None:
        self._waiting = np.concatenate([self._waiting, self._resampler.add(mono, last=last)])
        count = (len(self._waiting) - FRAME) // STEP + 1
        if count >= (1 if last else BLOCK):
            self._energies.append(band_energies(self._waiting[: FRAME + (count - 1) * STEP], STEP).astype(np.float32))
            self._waiting = self._waiting[count * STEP :]

    def fingerprint(self) -> KeptFingerprint:
        """The fingerprint of all that was added; without words if that is shorter than half a second."""
        self._take(np.zeros(0, np.float32), last=True)
        energy = np.concatenate([np.zeros((0, NUM_BITS + 1), np.float32), *self._energies])
        words = words_of_energies(energy, step=STEP)
        keys = _keys(energy)[: len(words)]
        keys = np.concatenate([keys, np.zeros(len(words) - len(keys), np.uint32)])
        keys[words == 0] = 0
        blocks = energy[: len(energy) // BLOCK * BLOCK].reshape(-1, BLOCK, NUM_BITS + 1).mean(axis=1)
        return KeptFingerprint(words, keys, (10 * np.log10(blocks + 10 ** (FLOOR_DB / 10))).astype(np.float32))


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
    parts = (made.words.astype("<u4"), made.keys.astype("<u4"), made.spectrum.astype("<f4"))
    head = {"version": VERSION, "words": len(made.words), "rows": len(made.spectrum), "facts": facts}
    make_folder(path.parent)
    write_bytes(path, json.dumps(head, sort_keys=True).encode() + b"\n" + b"".join(part.tobytes() for part in parts))


def add_facts(path: Path, facts: dict[str, Any]) -> None:
    """Adds to what is known about the recording of a fingerprint that ``write`` wrote."""
    write(path, read(path), {**(read_facts(path) or {}), **facts})


def read_facts(path: Path) -> dict[str, Any] | None:
    """What is known about the recording of a fingerprint; None if there is no whole one."""
    head = _head(path)
    return None if head is None else dict(head["facts"])


def _head(path: Path) -> dict[str, Any] | None:
    try:
        with regular(path).open("rb") as file:
            line = file.readline(1 << 16)
        head = json.loads(line)
        whole = len(line) + 8 * head["words"] + 4 * (NUM_BITS + 1) * head["rows"]
        fits = head["version"] == VERSION and isinstance(head["facts"], dict) and path.stat().st_size == whole
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return head | {"start": len(line)} if fits else None


def read(path: Path) -> KeptFingerprint:
    """A fingerprint that ``write`` wrote; an empty one if there is no whole one."""
    head = _head(path)
    if head is None:
        return KeptFingerprint(np.zeros(0, np.uint32), np.zeros(0, np.uint32), np.zeros((0, NUM_BITS + 1), np.float32))
    data, count = path.read_bytes()[head["start"] :], head["words"]
    return KeptFingerprint(
        np.frombuffer(data, "<u4", count).astype(np.uint32),
        np.frombuffer(data, "<u4", count, 4 * count).astype(np.uint32),
        np.frombuffer(data, "<f4", offset=8 * count).reshape(-1, NUM_BITS + 1).astype(np.float32),
    )
