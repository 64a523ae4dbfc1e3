"""The fingerprint that a catalog keeps of every recording, so that copies of one are found without decoding them again.

Conventions
    Words are made as in ``stemwright.manifests.sound.fingerprint``, one every STEP samples at 8 kHz (32 ms): by them two recordings are
    compared. Keys are coarser words, at the same times: 16 wide bands now and the same half a second later. A copy shares some of them
    exactly, at low bit rates or 1 % faster, too; so they are what an index is made of. 0 is silence, in both.
    The energies of a word are sums over FRAMES frames of 128 ms. That takes a third of the time of one frame of 0.375 s for each word, and
    copies differ as little (ffmpeg's encoders at low bit rates, excerpts, other speeds).
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
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from stemwright.manifests.disk.durable import make_folder, write_bytes
from stemwright.manifests.disk.regular import regular
from stemwright.manifests.sound.fingerprint import BANDS_HZ, RATE, Words, words_of_energies
from stemwright.manifests.sound.formats import Audio, AudioInfo
from stemwright.manifests.sound.resampling import MonoResampler

STEP = 256  # samples at RATE: 32 ms
SCALES = (1.0, 1.014)  # of the bands' frequencies
LOW_HZ = np.array([40.0, 80.0, 140.0])  # edges of more bands, of which there are no words: for the spectrum, where basses are
EDGES_HZ = [np.concatenate([LOW_HZ, BANDS_HZ]), *(BANDS_HZ * scale for scale in SCALES[1:])]
NUM_BANDS = len(EDGES_HZ[0]) - 1
ROW = 16  # steps of one row of the spectrum: half a second
FRAME, FRAMES = 1_024, 6  # samples of a frame, and how many of them a word looks at
AT_ONCE = 128  # frames that are waited for
AT_A_TIME = 32  # frames that are computed: they stay in the cache of a processor, and are too few for BLAS to start threads
KEY_SMOOTH, KEY_SPAN, KEY_AHEAD = 4, 8, 16  # steps: mean of the energies, the span of a difference, and between the halves of a key
KEY_BITS = 16
FLOOR_DB = -100.0  # of a band without energy; full scale is about +60
VERSION = 3  # of the file: another one is made again
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
        self._waiting: list[Audio] = []
        self._energies: list[Floats] = []
        self._window = (np.hanning(FRAME) / info.num_channels).astype(np.float32)  # of the sum of the channels, as if of their mean

    def add(self, block: Audio) -> None:
        """Takes the next [C, t]."""
        # Rows added one by one: ``sum`` over the first axis takes several times as long.
        self._waiting.append(self._resampler.add(sum(block[1:], block[0])))
        if sum(map(len, self._waiting)) >= FRAME + AT_ONCE * STEP:
            self._compute()

    def _compute(self) -> None:
        """Takes the energies of all whole frames of what waits."""
        mono = np.concatenate(self._waiting)
        count = max(0, (len(mono) - FRAME) // STEP + 1)
        if count:
            frames = np.lib.stride_tricks.sliding_window_view(mono, FRAME)[::STEP]
            self._energies += [_energies(frames[start : start + AT_A_TIME] * self._window) for start in range(0, count, AT_A_TIME)]
        self._waiting = [mono[count * STEP :]]

    def fingerprint(self) -> KeptFingerprint:
        """The fingerprint of all that was added; without words if that is shorter than half a second."""
        self._waiting.append(self._resampler.add(np.zeros(0, np.float32), last=True))
        self._compute()
        frames = np.concatenate([np.zeros((0, _weights().shape[1]), np.float32), *self._energies])
        whole, *higher = np.split(_added(frames, FRAMES), np.cumsum([len(edges) - 1 for edges in EDGES_HZ[:-1]]), axis=1)
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


@cache
def _weights() -> Floats:
    """[bins, bands]: how much of each bin of a frame's spectrum, 1 wide, is in each band of each of EDGES_HZ."""
    edges = [one * FRAME / RATE + 0.5 for one in EDGES_HZ]
    low, high = (np.concatenate([one[part] for one in edges]) for part in (slice(None, -1), slice(1, None)))
    bins = np.arange(int(high.max()) + 1)[:, None]
    return np.maximum(0, np.minimum(bins + 1, high) - np.maximum(bins, low)).astype(np.float32)


def _energies(windowed: Floats) -> Floats:
    """The energies [n, bands] of frames [n, FRAME] in all bands."""
    from scipy.fft import rfft  # a third faster than numpy's, and not imported with this module

    weights = _weights()
    spectrum = rfft(windowed, axis=1, overwrite_x=True)[:, : len(weights)]
    energies: Floats = (spectrum.real**2 + spectrum.imag**2) @ weights
    return energies


def _added(rows: Floats, count: int) -> Floats:
    """The sums of so many rows that follow one another, [N - count + 1, B]."""
    last = max(0, len(rows) - count + 1)
    total = rows[:last].copy()
    for number in range(1, count):
        total += rows[number : number + last]
    return total


def _keys(energy: Floats) -> Words:
    """The keys of energies [N, 33]; fewer than N."""
    wide = np.concatenate([energy[:, : 2 * KEY_BITS : 2] + energy[:, 1 : 2 * KEY_BITS : 2], energy[:, -1:]], axis=1)
    mean = _added(wide, KEY_SMOOTH)
    slope = mean[:, :-1] - mean[:, 1:]
    if len(slope) <= KEY_SPAN + KEY_AHEAD:
        return np.zeros(0, np.uint32)
    bits = (slope[KEY_SPAN:] - slope[:-KEY_SPAN]) > 0
    half = np.packbits(bits, axis=1, bitorder="little").view("<u2")[:, 0].astype(np.uint32)
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
