"""Decoding against ffmpeg's own, reading by reading, and the speed of the catalog against earlier commits, as ratios of one run.

    python benchmarks/decoding.py [--before COMMIT ...] [--write]

Conventions
    The files are a minute of noise and tones at 44.1 kHz in stereo, as the ffmpeg program encodes it, and 90 s of three synthetic songs in
    four encodings. A difference is the largest of any sample, full scale 1.0; "length" means that the numbers of frames differ. Blocks are
    of 2^17 frames, excerpts of 10,000 at 20 random places.
    The catalog's time is that of ``inspect``, all in: the checksum of the file, decoding, the identity, and now the fingerprint, of which
    earlier commits knew nothing. Seconds are the processor's. Earlier commits are checked out beside, all take turns, and the best of three
    runs counts for each file. Of MP3 without a header the earlier code read a part only.
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
from songs import render_song

from stemwright.manifests.records import Refused
from stemwright.manifests.sound import decoding

ROOT = Path(__file__).resolve().parent.parent
RATE, SECONDS, RUNS = 44_100, 60, 3
SONGS, SONG_S = 3, 90
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
SONG_CODECS = {"MP3": "mp3 -b:a 192k", "FLAC": "flac -sample_fmt s16", "WAV": "wav -c:a pcm_s16le", "AAC": "m4a -c:a aac -b:a 192k"}
BEFORE = ("08be1e0", "1379570")  # before the identity of a recording was its sound, and before its fingerprint
TIME_ONE = """
import inspect as python, json, sys, tempfile, time
from pathlib import Path
songs = Path(sys.argv[1])
try:  # the older layout first: elsewhere an installed stemwright would be found
    from manifests.catalog import SplitShares, inspect, task_id
    from manifests.listing import find
    look = lambda song: (task_id(songs, song, SplitShares()), inspect(songs, song, SplitShares()))
except ImportError:
    from stemwright.manifests.catalog.tracks import SplitShares, find, inspect
    more = {"fingerprints": Path(tempfile.mkdtemp(dir=songs.parent))} if "fingerprints" in python.signature(inspect).parameters else {}
    look = lambda song: inspect(songs, song, SplitShares(), **more)
times = {}
for song in (found := find(songs).candidates)[:1] + found:  # the first a second time, without imports
    wall, own = time.perf_counter(), time.process_time()
    try:
        look(song)
    except ValueError:
        continue
    times[song.path] = time.process_time() - own, time.perf_counter() - wall
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


def made_songs(folder: Path) -> dict[str, list[str]]:
    """Writes the songs; the names of the files of each codec."""
    names: dict[str, list[str]] = {name: [] for name in SONG_CODECS}
    for number in range(SONGS):
        source, mixture = folder / f"{number}.source.wav", sum(render_song(number, SONG_S / 3).values())
        soundfile.write(source, np.tile(0.5 * mixture / np.abs(mixture).max(), (1, 3)).T, RATE, subtype="PCM_16")
        for name, how in SONG_CODECS.items():
            suffix, *options = how.split()
            names[name].append(f"{number}.{suffix}")
            subprocess.run(["ffmpeg", "-v", "error", "-y", "-i", source, *options, folder / names[name][-1]], check=True)
        source.unlink()
    return names


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


Times = dict[str, tuple[float, float]]  # by file: seconds of the processor and of the clock


def times(folders: list[Path], songs: Path) -> list[Times]:
    """What each file takes by the code in each of the folders, which take turns."""
    best: list[Times] = [{} for _ in folders]
    for _ in range(RUNS):
        for number, folder in enumerate(folders):
            environment = {**os.environ, "PYTHONPATH": str(folder)}
            done = subprocess.run(
                [sys.executable, "-c", TIME_ONE, songs], env=environment, cwd=folder, capture_output=True, check=True, text=True
            )
            for path, taken in json.loads(done.stdout.splitlines()[-1]).items():
                known = best[number].get(path, (np.inf, np.inf))
                best[number][path] = min(taken[0], known[0]), min(taken[1], known[1])
    return best


def ratios(paths: list[str], old: list[Times], new: Times, which: int = 0) -> list[str]:
    """The time of some files over that by earlier code, for each of them."""
    cells = []
    for before in old:
        common = [path for path in paths if path in before and path in new]
        found = sum(new[path][which] for path in common) / sum(before[path][which] for path in common) if common else None
        cells.append("was refused" if found is None else f"{found:.2f}")
    return cells


def decoding_lines(folder: Path, folders: list[Path]) -> list[str]:
    """The rows of the files of a minute."""
    paths, lines = made(folder), list[str]()
    *old, new = times(folders, folder)
    for name, path in paths.items():
        try:
            found = differences(path)
        except Refused as reason:
            found = [str(reason), "", ""]
        seconds = new.get(path.name, (np.nan,))[0]
        lines.append(f"| {' | '.join([name, *found, f'{seconds:.2f}', *ratios([path.name], old, new)])} |")
    return [*lines, *total_lines(old, new)]


def song_lines(folder: Path, folders: list[Path]) -> list[str]:
    """The rows of the songs."""
    names = made_songs(folder)
    *old, new = times(folders, folder)
    lines = []
    for name, files in names.items():
        seconds = sum(new[file][0] for file in files)
        lines.append(f"| {' | '.join([f'{SONGS} songs, {name}', '', '', '', f'{seconds:.2f}', *ratios(files, old, new)])} |")
    return [*lines, *total_lines(old, new)]


def total_lines(old: list[Times], new: Times) -> list[str]:
    """The rows of all files that every version reads, by the processor and by the clock."""
    common = [path for path in new if all(path in before for before in old)]
    lines = []
    for which, name in enumerate(("all that all read", "the same, by the clock")):
        seconds = sum(new[path][which] for path in common)
        lines.append(f"| {' | '.join([name, '', '', '', f'{seconds:.2f}', *ratios(common, old, new, which)])} |")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--before", nargs="+", default=BEFORE, help="the earlier commits")
    parser.add_argument("--write", action="store_true", help="into docs/results.md")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        folders = [Path(place, commit) for commit in asked.before]
        for folder in folders:
            folder.mkdir()
            archive = subprocess.run(["git", "archive", folder.name], cwd=ROOT, capture_output=True, check=True).stdout
            subprocess.run(["tar", "-x", "-C", folder], input=archive, check=True)
        short, long = Path(place, "short", "files"), Path(place, "long", "files")
        for made_in in (short, long):
            made_in.mkdir(parents=True)
        heads = ["codec", "whole", "blocks", "excerpts", "catalog, s", *(f"against {commit}" for commit in asked.before)]
        lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
        lines += [*decoding_lines(short, [*folders, ROOT]), *song_lines(long, [*folders, ROOT])]
    body = (
        f"Largest difference to the ffmpeg program's decode of a minute of sound; then what the catalog takes, with fingerprints now, and "
        f"against earlier commits, which had none. Songs are {SONG_S} s long.\n\n" + "\n".join(lines)
    )
    print(body)
    if asked.write:
        publish("decoding", "python benchmarks/decoding.py --write", body)


if __name__ == "__main__":
    main()
