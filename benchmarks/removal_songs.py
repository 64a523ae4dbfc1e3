"""Songs for the benchmarks that remove effects: stems of real free music and of synthetic songs, of which a third is held out.

Conventions
    ``--music`` is the folder that ``free_music.py`` makes. A song there is one of ``guitar`` or ``modules``, or, where its instruments
    could not be grouped, of ``channels``: of a song the LONGEST_S in which its mixture is loudest, of that the loudest MOST stems, in mono.
    Synthetic songs are ``songs.render_song`` without drive, compression, echo and reverb: what they are before an effect is dry.
    Every third song is in the split ``test``, also where one artist made several: what is held out is songs, not artists.
"""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # before this folder, whose separation.py is a benchmark

import numpy as np
import soundfile
from corpora import kept_corpus
from songs import render_song

from stemwright.datagen.run.corpus import Corpus

RATE, LONGEST_S, MOST, QUIETEST_DB, SYNTHETIC_S = 44_100, 60.0, 5, -30.0, 20.0
FIRST_SEED, HELD_OUT = 61_000, 3
WITHOUT = ("drive", "compression", "echo", "reverb")
FULL = 1 << 23  # of 24 bits
Stems = Mapping[str, np.ndarray]


def free_folders(music: Path) -> list[Path]:
    """The songs of a folder of free music with stems: those of instruments, and as channels those that have none of these."""
    with (music / "index.csv").open(encoding="utf-8") as index:
        rows = [row for row in csv.DictReader(index) if row["stems"] and (music / row["path"]).is_dir()]
    grouped = [Path(row["path"]) for row in rows if row["collection"] in ("guitar", "modules")]
    channels = [Path(row["path"]) for row in rows if row["collection"] == "channels"]
    return [music / path for path in (*grouped, *(path for path in channels if path.name not in {each.name for each in grouped}))]


def free_stems(folder: Path) -> Stems:
    """The stems [T] of a song in mono, of the part in which it is loudest."""
    paths = {path.stem: path for path in sorted(folder.glob("*.flac"))}
    mixture, rate = soundfile.read(paths.pop("mixture"), always_2d=True, dtype="float32")
    power = np.square(mixture).mean(1)[: len(mixture) // rate * rate].reshape(-1, rate).mean(1)
    length = min(len(power), round(LONGEST_S))
    start = int(np.argmax(np.convolve(power, np.ones(length), "valid"))) * rate
    stems = {
        name: soundfile.read(path, frames=length * rate, start=start, always_2d=True, dtype="float32")[0].mean(1)
        for name, path in paths.items()
    }
    energy = {name: float(np.square(audio, dtype=np.float64).sum()) for name, audio in stems.items()}
    loudest = sorted(stems, key=lambda name: -energy[name])[:MOST]
    return {name: stems[name] for name in loudest if energy[name] > 10.0 ** (QUIETEST_DB / 10.0) * energy[loudest[0]]}


def synthetic_stems(seed: int) -> Stems:
    """The stems [T] of a synthetic song in mono, without effects of their own."""
    stems = {name: audio.mean(0) for name, audio in render_song(seed, SYNTHETIC_S, without=WITHOUT).items()}
    return {name: audio for name, audio in stems.items() if np.abs(audio).max() > 1e-3}


def write_song(place: Path, stems: Stems) -> None:
    """Writes stems and the mixture that is exactly their sum, as FLAC of 24 bits."""
    place.mkdir(parents=True, exist_ok=True)
    peak = max(1.0, *(float(np.abs(audio).max()) for audio in (*stems.values(), sum(stems.values()))))
    whole = {name: np.round(0.99 / peak * FULL * audio.astype(np.float64)).astype(np.int32) for name, audio in stems.items()}
    for name, audio in {**whole, "mixture": sum(whole.values())}.items():
        soundfile.write(place / f"{name}.flac", audio * 256, RATE, subtype="PCM_24")


def _write_free(source: Path, place: Path) -> None:
    write_song(place, free_stems(source))


def _write_synthetic(seed: int, place: Path) -> None:
    write_song(place, synthetic_stems(seed))


def _songs(music: Path | None, synthetic: int) -> Iterator[tuple[str, Any]]:
    """(name, task that writes it to a folder)."""
    for source in free_folders(music) if music else ():
        yield f"free {source.name}", partial(_write_free, source)
    for seed in range(FIRST_SEED, FIRST_SEED + synthetic):
        yield f"synthetic {seed}", partial(_write_synthetic, seed)


def write_songs(folder: Path, music: Path | None, synthetic: int, *, workers: int = 1) -> Path:
    """Writes the songs below a folder, those there are kept, with a list of them and their splits: its path."""
    rows = []
    with ProcessPoolExecutor(workers) as pool:
        tasks = []
        for number, (name, task) in enumerate(_songs(music, synthetic)):
            rows.append((name, name, "test" if number % HELD_OUT == HELD_OUT - 1 else "train"))
            if not (folder / name / "mixture.flac").exists():
                tasks.append(pool.submit(task, folder / name))
        for task in tasks:
            task.result()
    with (folder / "songs.csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(("path", "title", "split"))
        table.writerows(rows)
    return folder / "songs.csv"


def build(songs: Path, folder: Path, removal: Mapping[str, Any], per_track: int) -> Corpus:
    """The corpus of listed songs with removal pairs alone, as ``kept_corpus``."""
    return kept_corpus(songs, folder, {"mix": {"per_track": 0}, "removal": {"per_track": per_track, **removal}})
