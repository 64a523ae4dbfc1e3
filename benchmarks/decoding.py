"""Decoding against ffmpeg's own, reading by reading, and the speed of the catalog against an earlier commit, as ratios of one run.

    python benchmarks/decoding.py [--before COMMIT] [--write]

Conventions
    The files are a minute of made-up music at 44.1 kHz in stereo, as the ffmpeg program encodes it. A difference is the largest of any
    sample, full scale 1.0; "length" means that the numbers of frames differ. Blocks are of 2^17 frames, excerpts of 10,000 at 20 random
    places. The catalog's time is that of ``inspect``, which decodes a file once and identifies it; the earlier commit is checked out
    beside, both take turns, and the best of three runs counts. Of MP3 without a header the earlier code read a part only.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import soundfile

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from results import publish

from stemwright.manifests.records import Refused
from stemwright.manifests.sound import decoding

ROOT = Path(__file__).resolve().parent.parent
RATE, SECONDS, RUNS = 44_100, 60, 3
CODECS = {
    "MP3 48 kbit/s": "mp3 -b:a 48k",
    "MP3 VBR": "mp3 -q:a 2",
    "MP3 VBR without header": "mp3 -q:a 4 -write_xing 0",
    "Vorbis": "ogg -c:a libvorbis",
    "Opus": "opus -c:a libopus",
    "AAC": "m4a -c:a aac -b:a 160k",
    "ALAC": "m4a -c:a alac",
    "FLAC": "flac -sample_fmt s16",
    "WAV": "wav -c:a pcm_s24le",
}
TIME_ONE = """
import json, sys, time
from pathlib import Path
from stemwright.manifests.catalog.tracks import SplitShares, find, inspect
songs = Path(sys.argv[1])
times = {}
for candidate in find(songs).candidates:
    start = time.perf_counter()
    try:
        inspect(songs, candidate, SplitShares())
    except ValueError:
        continue
    times[candidate.path] = time.perf_counter() - start
print(json.dumps(times))
"""


def made(folder: Path) -> dict[str, Path]:
    """Writes the files."""
    rng, time_s = np.random.default_rng(0), np.arange(SECONDS * RATE) / RATE
    gate = np.exp(-8 * (time_s * 2 % 1))
    tones = [0.2 * np.sin(2 * np.pi * hz * time_s) + 0.2 * gate * rng.standard_normal(time_s.size) for hz in (220, 331)]
    source = folder / "source.wav"
    soundfile.write(source, np.stack(tones, axis=1).clip(-1, 1), RATE, subtype="FLOAT")
    paths = {}
    for number, (name, how) in enumerate(CODECS.items()):
        suffix, *options = how.split()
        paths[name] = folder / f"{number}.{suffix}"
        subprocess.run(["ffmpeg", "-v", "error", "-y", "-i", source, *options, paths[name]], check=True)
    source.unlink()
    return paths


def differences(path: Path) -> list[str]:
    """The largest difference to ffmpeg's decode of the whole, of blocks and of excerpts."""
    done = subprocess.run(["ffmpeg", "-v", "quiet", "-i", path, "-f", "f32le", "-"], capture_output=True, check=True)
    peer = np.frombuffer(done.stdout, "<f4").reshape(-1, 2).T

    def off(found: np.ndarray, wanted: np.ndarray) -> str:
        return f"{np.abs(found - wanted).max():.1e}" if found.shape == wanted.shape else "length"

    rng, length = np.random.default_rng(1), peer.shape[1]
    starts = [int(start) for start in rng.integers(0, length - 10_000, 20)]
    parts = [decoding.load(path, start, 10_000)[0] for start in starts]
    wanted = [peer[:, start : start + 10_000] for start in starts]
    blocks = np.concatenate(list(decoding.blocks(path, 1 << 17)), axis=1)
    return [off(decoding.load(path)[0], peer), off(blocks, peer), off(np.concatenate(parts, axis=1), np.concatenate(wanted, axis=1))]


def times(folders: list[Path], songs: Path) -> list[dict[str, float]]:
    """Seconds for each file by the code in each of the folders, which take turns."""
    best: list[dict[str, float]] = [{} for _ in folders]
    for _ in range(RUNS):
        for number, folder in enumerate(folders):
            environment = {**os.environ, "PYTHONPATH": str(folder)}
            done = subprocess.run(
                [sys.executable, "-c", TIME_ONE, songs], env=environment, cwd=folder, capture_output=True, check=True, text=True
            )
            for path, seconds in json.loads(done.stdout.splitlines()[-1]).items():
                best[number][path] = min(seconds, best[number].get(path, np.inf))
    return best


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--before", default="1379570", help="the earlier commit")
    parser.add_argument("--write", action="store_true", help="into docs/results.md")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        songs, before = Path(place, "songs"), Path(place, "before")
        songs.mkdir()
        before.mkdir()
        archive = subprocess.run(["git", "archive", asked.before], cwd=ROOT, capture_output=True, check=True).stdout
        subprocess.run(["tar", "-x", "-C", before], input=archive, check=True)
        paths = made(songs)
        old, new = times([before, ROOT], songs)
        lines = ["| codec | whole | blocks | excerpts | catalog, s | against before |", "|---|---|---|---|---|---|"]
        for name, path in paths.items():
            try:
                found = differences(path)
            except Refused as reason:
                found = [str(reason), "", ""]
            ratio = f"{new[path.name] / old[path.name]:.2f}" if path.name in old and path.name in new else "was refused"
            lines.append(f"| {name} | {' | '.join(found)} | {new.get(path.name, np.nan):.2f} | {ratio} |")
        common = [path for path in new if path in old]
        total = sum(new[path] for path in common) / sum(old[path] for path in common)
        lines.append(f"| all that both read | | | | {sum(new[path] for path in common):.2f} | {total:.2f} |")
    body = (
        f"Largest difference to the ffmpeg program's decode; seconds for a minute of sound, against commit {asked.before}.\n\n"
        + "\n".join(lines)
    )
    print(body)
    if asked.write:
        publish("decoding", "python benchmarks/decoding.py --write", body)


if __name__ == "__main__":
    main()
