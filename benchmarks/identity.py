"""What it costs to find copies of recordings by their sound: time and memory of the index and the comparison, and their growth.

    python benchmarks/identity.py [--songs 20000] [--write]

Conventions
    Fingerprints are synthetic, of songs of four minutes: random words with the statistics of music's (a third of them repeat the word
    before, a tenth is one of 100,000 words that many songs share). One song in ten is a copy: 10 % of its bits differ at random, which
    leaves one key in thirty as it was, and it begins up to 10 s later or is 60 s of the song. They are drawn on request, so that
    nothing is read from a disk.
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
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # before this folder, whose separation.py is a benchmark

import numpy as np
import soundfile
from results import publish
from songs import render_song

from stemwright.manifests.catalog import copies
from stemwright.manifests.catalog.copies import find_alike
from stemwright.manifests.catalog.tracks import SplitShares, find, inspect
from stemwright.manifests.sound.kept_fingerprint import BLOCK, KeptFingerprint

WORDS = 7_500  # of four minutes
COPIES = 10  # one song in so many is a copy of the one before
SHARED = 100_000
ERROR_RATE = 0.1
EXCERPT = 1_875  # words: 60 s


def song(number: int) -> tuple[np.ndarray, np.ndarray]:
    """Words and keys of a song that is no copy."""
    rng = np.random.default_rng(number)
    made = []
    for _ in range(2):
        words = rng.integers(1, 1 << 32, WORDS, dtype=np.uint32)
        common = rng.random(WORDS) < 0.1
        pool = np.minimum(rng.geometric(1e-4, WORDS), SHARED).astype(np.uint32)
        words = np.where(common, pool * np.uint32(40_503), words)
        place = np.maximum.accumulate(np.where(rng.random(WORDS) < 1 / 3, 0, np.arange(WORDS)))
        made.append(words[place])
    return made[0], made[1]


def fingerprint(number: int) -> KeptFingerprint:
    """The fingerprint of a song; that of every tenth is one of a copy of the song before."""
    spectrum = np.zeros((WORDS // BLOCK, 33), np.float32)
    if number % COPIES != 1:
        return KeptFingerprint(*song(number), spectrum)
    rng = np.random.default_rng([number, 1])
    start = int(rng.integers(0, 312)) if rng.random() < 0.5 else int(rng.integers(0, WORDS - EXCERPT))
    stop = WORDS if start < 312 else start + EXCERPT
    made = []
    for words in song(number - 1):
        flipped = np.packbits(rng.random((stop - start, 32)) < ERROR_RATE, axis=1).view("<u4")[:, 0]
        made.append(words[start:stop] ^ flipped)
    return KeptFingerprint(made[0], made[1], spectrum[: (stop - start) // BLOCK])


def measured(count: int) -> dict[str, float]:
    """Seconds, MB, and how many of the copies were found, and of other songs taken for copies, among so many songs."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    began = time.perf_counter()
    for number in range(200):
        fingerprint(number)
    drawn_s = (time.perf_counter() - began) / 200
    asked = [0]

    def counted(number: int) -> KeptFingerprint:
        asked[0] += 1
        return fingerprint(number)

    began = time.perf_counter()
    found = find_alike(count, counted)
    wall_s = time.perf_counter() - began - asked[0] * drawn_s
    right = sum(pair.is_copy and pair.first % COPIES == 0 and pair.second == pair.first + 1 for pair in found)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {"songs": count, "s": wall_s, "MB": (peak - before) / 1000, "found": right, "wrong": len(found) - right}


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
    lines = ["| songs | copies found | others taken for one | time s | memory MB |", "|---|---|---|---|---|"]
    lines += [f"| {r['songs']:,} | {r['found']} of {r['songs'] // COPIES} | {r['wrong']} | {r['s']:.1f} | {r['MB']:.0f} |" for r in rows]
    growth = [rows[1][name] / max(rows[0][name], 1e-9) for name in ("s", "MB")]
    without, with_it = catalog_s()
    body = "\n".join(lines) + (
        f"\n\nFour times the songs take {growth[0]:.1f} times the time and {growth[1]:.1f} times the memory "
        f"({copies.KEYS} keys a song in the index). "
        f"Cataloguing a song of three minutes takes {with_it:.2f} s with its fingerprint and {without:.2f} s without: "
        f"{with_it / without:.2f} times."
    )
    print(body)
    if options.write:
        publish("Copies of recordings", "python benchmarks/identity.py --write", body)


if __name__ == "__main__":
    main()
