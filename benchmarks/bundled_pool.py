"""The music that the model ``bundled`` is trained on: made songs, free scores and free recordings in one folder, and remixes of them.

    POOL/made/      songs of musical_songs.py, a quarter of them with our own synthesisers only, the others with a sound font of MIT licence
    POOL/scores/    drums, bass and other of free scores (collection ``scores``), with drawn effects
    POOL/kits/      drums: made-up patterns on hits of free kits (collection ``drumkits``), with drawn effects
    POOL/guitars/   guitars of a rock band (collection ``guitar``), the seconds in which they play
    POOL/bands/     the whole songs of that band: drums, bass and other together, no voice

Conventions
    A file is int16 [4, 2, T] in the order of ``songs.STEMS`` at 1/SCALE of full scale, 44.1 kHz; of bands [1, 2, T].
    Only music whose licence lets weights be shipped is taken: MIT, BSD, CC0, CC BY (LICENCES). HELD_OUT songs are never in a pool: the song
    of the excerpt that ships, and scores to judge by. Tracker modules are not used: all but one are GPL.
"""

from __future__ import annotations

import csv
import itertools
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import soundfile
import soxr
import torch
from musical_songs import render_musical_song
from song_drums import DRUM_LEVELS
from song_filters import add_at
from song_score import compose
from songs import STEMS, finished

Array = np.ndarray

SAMPLE_RATE, SCALE, LONGEST_S = 44_100, 16_384.0, 60.0
LICENCES = frozenset({"MIT", "BSD-3-Clause", "CC0", "CC-BY-3.0", "CC-BY-4.0", "Zlib"})
HELD_OUT = frozenset({
    "escape-from-chaosland", "freedoom1-e1m3", "freedoom1-e2m2", "freedoom1-e3m4", "freedoom2-count2", "freedoom2-shawn", "freedoom2-doom",
    "freedm-in-cit", "freedm-tense",
})  # fmt: skip
SHARES = {  # from where a stem of a remix is drawn
    "drums": {"made": 0.4, "scores": 0.35, "kits": 0.25},
    "bass": {"made": 0.45, "scores": 0.55},
    "other": {"made": 0.35, "scores": 0.4, "guitars": 0.25},
    "vocals": {"made": 1.0},
}
SILENT = {"drums": 0.06, "bass": 0.06, "other": 0.06, "vocals": 0.15}
BANDS = 0.1  # share of remixes that are a whole song and a voice
PIECES = {  # words by which the hits of a kit are found for a part of our patterns
    "kick": ("kick", "bass drum"), "snare": ("snare",), "clap": ("clap",), "rim": ("stick",), "hat": ("closed",), "open": ("open",),
    "crash": ("crash",), "ride": ("ride",), "tom1": ("tom hi", "high tom"), "tom2": ("tom mid", "middle tom"),
    "tom3": ("tom low", "low tom"), "shaker": ("pedal",), "perc": ("cowbell",),
}  # fmt: skip


def write(path: Path, stems: Array) -> None:
    """Writes stems as a file of a pool, under another name until it is whole."""
    packed = np.clip(np.round(stems * SCALE), -32_767, 32_767).astype(np.int16)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".tmp")
    with partial.open("wb") as file:
        np.save(file, packed)
    partial.rename(path)


def made_songs(folder: Path, seeds: range, duration_s: float) -> None:
    """Renders the songs of some seeds; those there are kept."""
    for seed in seeds:
        if not (path := folder / f"{seed}.npy").exists():
            stems = render_musical_song(seed, duration_s, SAMPLE_RATE, timbre="synth" if seed % 4 == 0 else "soundfont")
            write(path, np.stack([stems[stem] for stem in STEMS]))


def free_music(music: Path, pool: Path) -> None:
    """Adds what the folder of `free_music.py` has of licences that allow it."""
    with (music / "index.csv").open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["licence"] in LICENCES and Path(row["path"]).name not in HELD_OUT]
    for number, row in enumerate(rows):
        folder = music / row["path"]
        if row["collection"] == "scores":
            _score(folder, pool, np.random.default_rng([number, 3]))
        elif row["collection"] == "guitar":
            _band(folder, pool)
    if (music / "drumkits" / "index.csv").exists():
        _kits(music / "drumkits", pool)


def _read(path: Path, seconds: float | None = None) -> Array:
    """A file as float [2, T] at SAMPLE_RATE."""
    rate = soundfile.info(path).samplerate
    audio = soundfile.read(path, frames=-1 if seconds is None else round(seconds * rate), always_2d=True)[0]
    audio = audio if rate == SAMPLE_RATE else soxr.resample(audio, rate, SAMPLE_RATE)
    return audio.T[:2] if audio.shape[1] > 1 else audio.T.repeat(2, axis=0)


def _at_peak(stems: Array, peak: float = 0.7) -> Array:
    return stems * (peak / max(float(np.abs(stems.sum(axis=0)).max()), 1e-6))


def _score(folder: Path, pool: Path, rng: np.random.Generator) -> None:
    found = {name: _read(path, LONGEST_S) for name in STEMS[:3] if (path := folder / f"{name}.flac").exists()}
    if "bass" not in found:
        return
    score = compose(rng, LONGEST_S)  # for the tempo of echoes
    stems = np.zeros((len(STEMS), 2, max(audio.shape[1] for audio in found.values())))
    for name, audio in found.items():
        done = finished(rng, audio, name, score, SAMPLE_RATE)
        stems[STEMS.index(name), :, : audio.shape[1]] = done * 10 ** (rng.normal(-1, 2) / 20) / max(float(np.std(done)), 1e-6)
    write(pool / "scores" / f"{folder.name}.npy", _at_peak(stems))


def _band(folder: Path, pool: Path) -> None:
    guitar = _read(folder / "guitar.flac")
    write(pool / "bands" / f"{folder.name}.npy", _at_peak(_read(folder / "mixture.flac")[None]))
    seconds = guitar[:, : guitar.shape[1] // SAMPLE_RATE * SAMPLE_RATE].reshape(2, -1, SAMPLE_RATE)
    energies = np.square(seconds).mean(axis=(0, 2))
    stems = np.zeros((len(STEMS), 2, int((energies > 1e-4 * energies.max()).sum()) * SAMPLE_RATE))
    stems[STEMS.index("other")] = seconds[:, energies > 1e-4 * energies.max()].reshape(2, -1)
    write(pool / "guitars" / f"{folder.name}.npy", _at_peak(stems))


def _kits(folder: Path, pool: Path, songs: int = 60) -> None:
    with (folder / "index.csv").open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["licence"] in LICENCES]
    hits = {
        piece: [row["path"] for row in rows if any(word in row["instrument"].lower() for word in words)] for piece, words in PIECES.items()
    }
    for seed in range(songs):
        rng = np.random.default_rng([seed, 99])
        score = compose(rng, 15.0)
        out = np.zeros((2, round(score.duration_s * SAMPLE_RATE)))
        chosen: dict[str, Array] = {}
        for at, name, velocity in score.drums:
            if not hits[name]:
                continue
            if name not in chosen:
                hit, pan = _read(folder / str(rng.choice(hits[name]))), float(rng.normal(0, 0.05 if name in ("kick", "snare") else 0.35))
                sides = np.array([[1 - np.clip(pan, 0, 0.8)], [1 + np.clip(pan, -0.8, 0)]])
                chosen[name] = hit / max(float(np.abs(hit).max()), 1e-6) * sides * DRUM_LEVELS.get(name, 0.6) * rng.uniform(0.6, 1.5)
            add_at(out, at, chosen[name] * velocity**1.5, SAMPLE_RATE)
        stems = np.zeros((len(STEMS), *out.shape))
        stems[0] = finished(rng, out, "drums", score, SAMPLE_RATE)
        write(pool / "kits" / f"{seed}.npy", _at_peak(stems))


# ---------------------------------------------------------------- remixes


class Material:
    """The files of a pool by their kind, open as memory maps."""

    def __init__(self, pool: Path) -> None:
        kinds = sorted({kind for shares in SHARES.values() for kind in shares} | {"bands"})
        self.songs = {kind: [np.load(path, mmap_mode="r") for path in sorted((pool / kind).glob("*.npy"))] for kind in kinds}
        self.whole = self.songs["made"] + self.songs["scores"]
        if not self.whole:
            raise ValueError(f"{pool} has neither made/*.npy nor scores/*.npy; make it first: python benchmarks/train_bundled.py pool WORK")

    def song(self, rng: np.random.Generator, stem: str) -> Array:
        """A song that has a stem, by SHARES of what is there."""
        shares = {kind: share for kind, share in SHARES[stem].items() if self.songs[kind]} or {"scores": 1.0}
        kind = str(rng.choice(list(shares), p=np.array(list(shares.values())) / sum(shares.values())))
        return self.songs[kind][rng.integers(len(self.songs[kind]))]


def _changed(rng: np.random.Generator, stem: Array) -> Array:
    """A stem [2, T] with drawn gain, sign, side and a smooth equaliser (three cosines over log frequency, up to 9 dB together)."""
    gain = 10 ** (rng.normal(0, 4.0) / 20) * rng.choice([-1.0, 1.0])
    if rng.random() < 0.5:
        stem = stem[::-1]
    if rng.random() < 0.5:
        spectrum = np.fft.rfft(stem)
        octave = np.log2(np.arange(1, spectrum.shape[1] + 1) / spectrum.shape[1]) + 10
        curve_db = sum(rng.uniform(-3, 3) * np.cos(np.pi * k * octave / 10 + rng.uniform(0, np.pi)) for k in (1, 2, 3))
        stem = np.fft.irfft(spectrum * 10 ** (curve_db / 20), stem.shape[1])
    return stem * gain


def _piece(song: Array, index: int, num_frames: int, speed: float, place: float) -> Array:
    """A piece [2, T] of a stem of a song, from a place 0 to 1, played faster by ``speed``."""
    length = int(num_frames * speed) + 2
    start = int(place * max(0, song.shape[-1] - length))
    read = np.asarray(song[index, :, start : start + length], np.float32) / SCALE
    read = np.pad(read, ((0, 0), (0, max(0, length - read.shape[1]))))
    at = np.arange(num_frames) * speed
    whole = at.astype(int)
    part = (at - whole).astype(np.float32)
    return read[:, whole] * (1 - part) + read[:, whole + 1] * part


def _fill(item: Array, material: Material, rng: np.random.Generator, together: float) -> bool:
    """Fills stems [4, 2, T] with a remix; returns whether its first stem is drums, bass and other together."""
    num_frames = item.shape[-1]

    def placed() -> tuple[float, float]:
        return float(np.exp(rng.normal(0, 0.08))), rng.random()

    if material.songs["bands"] and rng.random() < BANDS:
        bands = material.songs["bands"]
        item[0] = _changed(rng, _piece(bands[rng.integers(len(bands))], 0, num_frames, *placed()))
        if rng.random() > SILENT["vocals"]:
            item[3] = _changed(rng, _piece(material.song(rng, "vocals"), 3, num_frames, *placed()))
        return True
    one_song, song, place = rng.random() < together, material.whole[rng.integers(len(material.whole))], placed()
    for index, stem in enumerate(STEMS):
        if rng.random() < SILENT[stem]:
            continue
        own = one_song and not (stem == "vocals" and not song[index].any())
        item[index] = _changed(rng, _piece(song if own else material.song(rng, stem), index, num_frames, *(place if own else placed())))
    return False


def remixes(
    pool: Path, num_frames: int, batch: int, rng: np.random.Generator, *, together: float
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Endless batches of stems [B, 4, 2, T], each mixture of unit deviation: of different songs but for a share ``together``.

    With each batch [B]: whether the first stem is drums, bass and other together, and the next two are nothing.
    """
    for number in itertools.count():
        if number % 200 == 0:  # the pool may still be growing
            material = Material(pool)
        items = np.zeros((batch, len(STEMS), 2, num_frames), np.float32)
        summed = [_fill(item, material, rng, together) for item in items]
        items /= items.sum(axis=1).std(axis=(1, 2))[:, None, None, None] + 1e-4
        yield torch.from_numpy(items), torch.tensor(summed)
