"""How many bytes the stems of a minute of music take: five FLAC files of 24 bits, the residual included.

Conventions
    The material is real where it can be: the excerpt that stempeg ships, 6 s long, by its own four stems and as the bundled model
    separates it; beside it songs that ``songs.py`` makes, by their own stems. A corpus is made of each, and the sizes in its table of stems
    are summed.
    MB are 10^6 bytes. How well a file of 24 bits is compressed depends on how loud and how dense the music is.
"""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path

import numpy as np
import soundfile
from songs import mixture_of, render_song

from stemwright.datagen.run.configuration import check
from stemwright.datagen.run.corpus import Corpus
from stemwright.datagen.run.stages import run_catalog, run_separate
from stemwright.datagen.run.tasks import Workers
from stemwright.manifests.records import Stem, Track

RATE, SONGS, SONG_S = 44_100, 12, 20.0
SONG_MINUTES, MANY = 4.0, 100_000


def stem_bytes(folder: Path) -> str:
    """A line for each material: the minutes, the MB a minute, and what a corpus of many songs would take at that."""
    excerpt, made = folder / "excerpt", folder / "made"
    write_excerpt(excerpt)
    write_songs(made)
    materials = (
        ("the excerpt that stempeg ships, its own stems", excerpt, {"separator": "reference"}),
        ("the same, separated by the bundled model", excerpt, {"separator": "demucs", "model": "bundled"}),
        (f"{SONGS} made songs of {SONG_S:g} s, their own stems", made, {"separator": "reference"}),
    )
    lines = [
        f"| music | length, min | stems, MB | MB a minute | a song of {SONG_MINUTES:g} minutes, MB | {MANY:,} of them, TB |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for number, (name, songs, separation) in enumerate(materials):
        minutes, size_mb = minutes_and_mb(folder / f"corpus {number}", songs, separation)
        song_mb = SONG_MINUTES * size_mb / minutes
        lines.append(f"| {name} | {minutes:.2f} | {size_mb:.1f} | {size_mb / minutes:.0f} | {song_mb:.0f} | {MANY * song_mb / 1e6:.0f} |")
    return "\n".join(lines)


def minutes_and_mb(folder: Path, songs: Path, separation: dict[str, str]) -> tuple[float, float]:
    """The length of the tracks of a corpus that is made of songs, and the size of their stems."""
    corpus = Corpus(folder)
    limits = {"closure_db": 60.0, "bleed": 1.0}  # what is measured is size, not quality
    corpus.create(check({"songs": {"folder": str(songs)}, "separation": {**separation, "limits": limits}}, where="the benchmark"))
    run_catalog(corpus, Workers())
    run_separate(corpus)
    seconds = sum(track.audio.duration_s for track in corpus.rows("tracks", Track))
    return seconds / 60.0, sum(stem.audio.num_bytes for stem in corpus.rows("stems", Stem)) / 1e6


def write_excerpt(folder: Path) -> None:
    """Copies the excerpt to a folder of its own."""
    spec = importlib.util.find_spec("stempeg")
    if spec is None or spec.origin is None:
        raise SystemExit("this benchmark needs the excerpt inside stempeg: pip install stempeg")
    folder.mkdir()
    shutil.copy(next((Path(spec.origin).parent / "data").glob("*.stem.mp4")), folder)


def write_songs(folder: Path) -> None:
    """Writes made songs with their stems, their peaks 2 dB below full scale."""
    for number in range(SONGS):
        stems, song = render_song(number, SONG_S), folder / f"Artist {number} - Song {number}"
        song.mkdir(parents=True)
        scale = 0.8 / np.abs(mixture_of(stems)).max()
        for name, audio in {**stems, "mixture": mixture_of(stems)}.items():
            soundfile.write(song / f"{name}.wav", audio.T * scale, RATE, subtype="PCM_24")
