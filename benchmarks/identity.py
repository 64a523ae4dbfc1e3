"""What it costs to find copies of recordings by their sound: time and memory of the index and the comparison, and their growth.

    python benchmarks/identity.py [--songs 20000] [--write]

Conventions
    Fingerprints are synthetic, of songs of four minutes: random words of which a third repeat the word before and one in fifty is of
    100,000 that many songs share, so that two keys of different songs are equal ten times as often as in real music (2.6e-9, measured on
    ten rock and film songs). One song in ten is a copy of the one before, of each of KINDS in turn. How many bits of its words differ and
    how many of its keys are as they were is what the worst of twelve rock and tracker songs had after ffmpeg's encoders (MP3 of 128 to 32
    kbit/s, Vorbis at quality 0, AAC of 48, Opus of 64 and 24 kbit/s), 1 and 2 % faster or slower playing, and cuts to 6 and 10 s; of a
    faster one, without what comes from comparing two seconds at once.
    They are drawn on request, so that nothing is read from a disk; the time of each is subtracted. Times are the processor's, of one core.
    Each size runs in a process of its own, whose peak memory counts, less that of the imports.
    What making a fingerprint adds to cataloguing is measured on a synthetic song of three minutes, as FLAC.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # before this folder, whose separation.py is a benchmark

import numpy as np
import soundfile
from results import publish
from songs import render_song

from stemwright.manifests.catalog.tracks import SplitShares, find, inspect
from stemwright.manifests.deduplication.copies import find_alike
from stemwright.manifests.deduplication.key_index import KEYS
from stemwright.manifests.sound.kept_fingerprint import NUM_BANDS, ROW, SCALES, KeptFingerprint

WORDS = 7_500  # of four minutes
A_SECOND = 31.25  # words
COPIES = 10  # one song in so many is a copy of the one before
SHARED, SHARED_PART = 100_000, 0.02


@dataclass(frozen=True)
class Kind:
    """What was done to a copy: how many bits of a word differ, how many keys do not, and of what part of the song it is."""

    name: str
    error_rate: float = 0.05
    same_keys: float = 0.15
    excerpt_s: float = 0.0
    before_s: float = 0.0
    speed: float = 1.0


KINDS = (
    Kind("another encoding", 0.08, 0.17),
    Kind("a low bit rate", 0.12, 0.045),
    Kind("1 % faster", 0.05, 0.12, speed=1.01),
    Kind("2 % slower", 0.05, 0.048, speed=0.98),
    Kind("excerpt of 60 s at a low bit rate", 0.12, 0.045, excerpt_s=60),
    Kind("excerpt of 10 s", 0.08, 0.16, excerpt_s=10),
    Kind("excerpt of 6 s at a low bit rate", 0.12, 0.053, excerpt_s=6),
    Kind("30 s of another song before it", 0.05, 0.15, before_s=30),
)


def song(number: int) -> tuple[np.ndarray, np.ndarray]:
    """Words and keys [S, N] of a song that is no copy."""
    rng = np.random.default_rng(number)
    words, keys = rng.integers(1, 1 << 32, (2, len(SCALES), WORDS), dtype=np.uint32)
    common = rng.random(keys.shape) < SHARED_PART
    keys[common] = np.minimum(rng.geometric(10 / SHARED, int(common.sum())), SHARED).astype(np.uint32) * np.uint32(40_503)
    place = np.maximum.accumulate(np.where(rng.random(WORDS) < 1 / 3, 0, np.arange(WORDS)))
    return words[:, place], keys[:, place]


def kind_of(number: int) -> Kind | None:
    """What was done to the song before to make a song; None if it is no copy."""
    return KINDS[number // COPIES % len(KINDS)] if number % COPIES == 1 else None


def fingerprint(number: int) -> KeptFingerprint:
    """The fingerprint of a song; that of every tenth is one of a copy of the song before."""
    kind = kind_of(number)
    words, keys = song(number) if kind is None else copied(number, kind)
    return KeptFingerprint(words, keys, np.zeros((words.shape[1] // ROW, NUM_BANDS), np.float32))


def copied(number: int, kind: Kind) -> tuple[np.ndarray, np.ndarray]:
    """Words and keys of a copy of the song before. Of a faster or slower one the bands as they are fit the song's higher ones."""
    rng = np.random.default_rng([number, 1])
    length = round(kind.excerpt_s * A_SECOND) or WORDS
    start = int(rng.integers(0, WORDS - length + 1))
    times = start + np.round(np.arange(0, length / kind.speed) * kind.speed).astype(int).clip(0, length - 1)
    words, keys = (rows[:, times] for rows in song(number - 1))
    if kind.speed != 1:
        words, keys = words[::-1], keys[::-1]
    words = words ^ np.packbits(rng.random((*words.shape, 32)) < kind.error_rate, axis=2).view("<u4")[..., 0]
    keys = np.where(rng.random(keys.shape) < kind.same_keys, keys, rng.integers(1, 1 << 32, keys.shape, dtype=np.uint32))
    if kind.before_s:
        others = song(number + 10**9)
        words, keys = (
            np.concatenate([other[:, : round(kind.before_s * A_SECOND)], own], 1) for other, own in zip(others, (words, keys), strict=True)
        )
    return words, keys


def measured(count: int) -> dict[str, Any]:
    """Seconds, MB, and how many of the copies were found, of each kind, too, and of other songs taken for copies, among so many songs."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    drawn_s = [0.0]

    def drawn(number: int) -> KeptFingerprint:
        began = time.process_time()
        made = fingerprint(number)
        drawn_s[0] += time.process_time() - began
        return made

    began = time.process_time()
    found = find_alike(count, drawn)
    own_s = time.process_time() - began - drawn_s[0]
    right = Counter(kind_of(pair.second) for pair in found if pair.is_copy and pair.second == pair.first + 1)
    del right[None]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    planted = Counter(kind_of(number) for number in range(count))
    kinds = {kind.name: (right[kind], planted[kind]) for kind in KINDS}
    known = sum(pair.second == pair.first + 1 and kind_of(pair.second) is not None for pair in found)
    return {"songs": count, "s": own_s, "MB": (peak - before) / 1000, "found": right.total(), "wrong": len(found) - known, "kinds": kinds}


def catalog_s() -> tuple[float, float]:
    """Seconds for cataloguing a song of three minutes without and with its fingerprint: the best of three."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place, "songs")
        folder.mkdir()
        mixture = np.tile(sum(render_song(0, 20).values()), (1, 9))
        soundfile.write(folder / "song.flac", 0.5 * mixture.T / np.abs(mixture).max(), 44_100, subtype="PCM_16")
        (candidate,) = find(folder).candidates
        best = [np.inf, np.inf]
        for _ in range(3):
            for which, fingerprints in enumerate((None, Path(place, "fingerprints"))):
                began = time.perf_counter()
                inspect(folder, candidate, SplitShares(), fingerprints=fingerprints)
                best[which] = min(best[which], time.perf_counter() - began)
    return best[0], best[1]


def main() -> None:
    """Prints the table; with --write, also into docs/results.md."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--songs", type=int, default=20_000)
    parser.add_argument("--only", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    if options.only:
        print(json.dumps(measured(options.only)))
        return
    rows = []
    for count in (options.songs // 4, options.songs):
        command = [sys.executable, __file__, "--only", str(count)]
        rows.append(json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout))
    planted = [sum(kind[1] for kind in row["kinds"].values()) for row in rows]
    lines = ["| songs | copies found | others taken for one | time s | memory MB |", "|---|---|---|---|---|"]
    for row, number in zip(rows, planted, strict=True):
        lines.append(f"| {row['songs']:,} | {row['found']:,} of {number:,} | {row['wrong']} | {row['s']:.1f} | {row['MB']:.0f} |")
    lines += ["", f"| of {options.songs:,} songs, copies | found |", "|---|---|"]
    lines += [f"| {name} | {found} of {number} |" for name, (found, number) in rows[1]["kinds"].items()]
    growth = [rows[1][name] / max(rows[0][name], 1e-9) for name in ("s", "MB")]
    without, with_it = catalog_s()
    body = "\n".join(lines) + (
        f"\n\nFour times the songs take {growth[0]:.1f} times the time and {growth[1]:.1f} times the memory "
        f"({KEYS[0]:,} keys a song in the index, and {KEYS[1]} of the higher bands). "
        f"Cataloguing a song of three minutes takes {with_it:.2f} s with its fingerprint and {without:.2f} s without: "
        f"{with_it / without:.2f} times."
    )
    print(body)
    if options.write:
        publish("Copies of recordings", "python benchmarks/identity.py --write", body)


if __name__ == "__main__":
    main()
