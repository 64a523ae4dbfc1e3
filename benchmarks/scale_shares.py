"""Shares: whether kills at random change a byte, and how the time falls with their number.

Conventions
    The separator has no networks and sleeps, so that it takes the processor nothing: what is left is the start of processes, journals and
    leases. Songs are of 1.5 s at 8 kHz. Each share is a process of its own, as a user starts it.
"""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import soundfile

RATE = 8_000
ROUNDS, KILLED_SONGS, SHARES = 5, 12, 3
KILLS = 2  # of each share at most, so that a round ends
GROWTH_SONGS, GROWTH_S = 8, 2.0
SEPARATOR = """
import os, time
import numpy as np
class Parts:
    stem_names = ("vocals", "other")
    def __call__(self, mixture, sample_rate):
        time.sleep(float(os.environ["SONG_S"]))
        return {"vocals": 0.5 * mixture, "other": 0.25 * np.roll(mixture, 1, axis=1)}
parts = Parts()
"""
CONFIG = """
[separation]
separator = "scale_parts:parts"
[separation.limits]
closure_db = 60.0
bleed = 1.0
"""


class Bench:
    """A catalogued corpus of short songs, and processes that work on copies of it."""

    def __init__(self, folder: Path, songs: int, song_s: float) -> None:
        self.folder, rng = folder, np.random.default_rng(0)
        root = Path(__file__).resolve().parent.parent
        self.environment = {**os.environ, "PYTHONPATH": f"{root}:{folder}", "SONG_S": str(song_s), "OMP_NUM_THREADS": "1"}
        (folder / "scale_parts.py").write_text(SEPARATOR)
        (folder / "config.toml").write_text(CONFIG)
        (folder / "songs").mkdir()
        for number in range(songs):
            noise = rng.normal(0.0, 0.1, (RATE * 3 // 2, 2))
            soundfile.write(folder / "songs" / f"{number:02d}.wav", noise, RATE, subtype="PCM_24")
        self.wait(self.start("catalog", folder / "songs", folder / "catalogued", "--config", folder / "config.toml"))

    def copy(self, name: str) -> Path:
        """A fresh copy of the corpus without stems."""
        shutil.rmtree(self.folder / name, ignore_errors=True)
        return shutil.copytree(self.folder / "catalogued", self.folder / name)

    def start(self, *words: object) -> subprocess.Popen[bytes]:
        """A process of the command line."""
        command = [sys.executable, "-m", "stemwright", *map(str, words), "--quiet"]
        return subprocess.Popen(command, env=self.environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)

    def wait_until_separating(self, corpus: Path, running: dict[int, subprocess.Popen[bytes]]) -> None:
        """Waits until one of the shares has written a row, or has ended: how long a process takes to start says nothing about losses."""
        journals = [corpus / f"stems.{number}of{SHARES}.jsonl.part" for number in running]
        before = [path.stat().st_size if path.exists() else 0 for path in journals]
        while all(process.poll() is None for process in running.values()):
            if any(path.exists() and path.stat().st_size > size for path, size in zip(journals, before, strict=True)):
                return
            time.sleep(0.02)

    def wait(self, process: subprocess.Popen[bytes]) -> None:
        """Waits for a process that must end well."""
        said = process.communicate()[1]
        if process.returncode:
            raise RuntimeError(said.decode())


def digests(corpus: Path) -> dict[str, str]:
    """The checksum of the table of stems and of everything below ``stems``."""
    files = [corpus / "stems.parquet", *sorted(path for path in (corpus / "stems").rglob("*") if path.is_file())]
    return {path.relative_to(corpus).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def kills(folder: Path) -> str:
    """Four shares, of which processes are killed at random until all have ended; the bytes compared with those of one process."""
    bench, rng = Bench(folder, KILLED_SONGS, 0.3), random.Random(0)
    bench.wait(bench.start("separate", one := bench.copy("one")))
    expected, killed, equal = digests(one), 0, 0
    for _ in range(ROUNDS):
        corpus = bench.copy("killed")
        left = dict.fromkeys(range(SHARES), KILLS)
        while left:
            running = {number: bench.start("separate", corpus, "--share", f"{number}/{SHARES}") for number in left}
            bench.wait_until_separating(corpus, running)
            time.sleep(rng.uniform(0.0, 1.5))
            for number in rng.sample(sorted(left), rng.randint(1, len(left))):
                if left[number] and running[number].poll() is None:
                    running[number].kill()
                    left[number] -= 1
                    killed += 1
            for number, process in running.items():
                process.communicate()
                if process.returncode != -signal.SIGKILL:
                    left.pop(number)
        bench.wait(bench.start("separate", corpus))
        equal += digests(corpus) == expected
    return (
        f"| {SHARES} shares, {KILLED_SONGS} songs, processes killed at random | rounds | kills | rounds with the bytes of one process |\n"
        f"|---|---:|---:|---:|\n| separated, merged | {ROUNDS} | {killed} | {equal} |"
    )


def growth(folder: Path) -> str:
    """How long shares take together that are started at once, against an ideal without processes, journals and leases."""
    bench = Bench(folder, GROWTH_SONGS, GROWTH_S)
    lines = [
        f"| {GROWTH_SONGS} songs of {GROWTH_S:g} s of sleep | started to ended | songs alone | difference |",
        "|---|---:|---:|---:|",
    ]
    for shares in (1, 2, 4, 8):
        corpus, began = bench.copy("growing"), time.monotonic()
        processes = [bench.start("separate", corpus, "--share", f"{number}/{shares}") for number in range(shares)]
        for process in processes:
            bench.wait(process)
        took_s, ideal_s = time.monotonic() - began, GROWTH_S * GROWTH_SONGS / shares
        lines.append(f"| {shares} share{'s' * (shares > 1)} | {took_s:.1f} s | {ideal_s:.1f} s | {took_s - ideal_s:.1f} s |")
    began = time.monotonic()
    bench.wait(bench.start("separate", corpus))
    lines.append(f"| merge of 8 | {time.monotonic() - began:.1f} s | | |")
    return "\n".join(lines)
