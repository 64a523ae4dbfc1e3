"""Synthetic songs with an engineer: dry stems, and a mix of them through the project's own effects whose settings follow from the sound.

What depends on what
    level, pan   as ``musical_levels`` sets them; the level is that of the stem after its chain
    equaliser    a shelf below 150 Hz that goes down the more the others cover a part (not of drums and bass), and a shelf above 4 kHz
                 against what is brighter or duller than usual for its role
    compressor   the more a part's loud moments are above its mean, the higher the ratio; vocals two to one more
    room         one for all; drums and bass get little of it, others the more the less they play
    So what a console has to set can be heard in the dry stems. The rules of the effects are ours; those of levels have sources there.

Conventions
    Stems are float32 [2, T] at RATE. A song on disk is a folder in the layout of MUSDB18-HQ: its stems are dry, each as loud as in the mix,
    so that they do not sum to the mixture; what the effects add is the residual of the corpus.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # before this folder, whose separation.py is a benchmark

import numpy as np
from corpora import build
from musical_levels import ROLES, Heard, hear, musical_levels
from songs import STEMS, render_song

from stemwright.datagen.effects import apply_chain
from stemwright.datagen.run.corpus import Corpus
from stemwright.manifests.sound import writing
from stemwright.separation.loudness.meter import integrated_loudness

RATE, SECONDS = 44_100, 12.0
WITHOUT = ("drive", "compression", "echo", "reverb")  # which the engineer adds, and not the songs
LISTENING_LUFS, MIX_PEAK = -23.0, 0.7
LOW_SHELF_HZ, HIGH_SHELF_HZ = 150.0, 4000.0
SEND_DB = {"drums": -24.0, "bass": -40.0, "vocals": -14.0, "other": -18.0}
ROOM = {"rt60_s": 1.0, "damping": 0.8, "pre_delay_ms": 15.0, "seed": 7}

Stems = dict[str, np.ndarray]


@dataclass(frozen=True)
class Engineered:
    """A song: dry stems as loud as in the mix, wet stems, whose sum is the mix. Silent stems are in neither."""

    dry: Stems
    wet: Stems

    @property
    def mixture(self) -> np.ndarray:
        """The sum of the wet stems."""
        return np.sum(list(self.wet.values()), axis=0, dtype=np.float32)


def dry_stems(seed: int, duration_s: float, kept: Path) -> Stems:
    """A song without effects, from the folder ``kept`` where it was made before."""
    path = kept / f"{seed}.npy"
    if not path.exists():
        kept.mkdir(parents=True, exist_ok=True)
        passing = path.with_suffix(".tmp")
        with passing.open("wb") as file:
            np.save(file, np.stack(list(render_song(seed, duration_s, without=WITHOUT).values())))
        passing.rename(path)
    return dict(zip(STEMS, np.load(path), strict=True))


def treatment(name: str, heard: Heard) -> tuple[tuple[str, dict[str, float]], ...]:
    """Equaliser and compressor of a part that is at LISTENING_LUFS."""
    role = ROLES.get(name, ROLES["other"])
    low_db = 0.0 if role.centred and not role.leads else -float(np.clip(6.0 * (heard.covered_db - 1.0), 0.0, 10.0))
    high_db = float(np.clip(-2.5 * (heard.octaves - role.octaves), -8.0, 8.0))
    ratio = float(np.clip(1.0 + 0.5 * (heard.punch_db - 2.0), 1.0, 6.0)) + (2.0 if role.leads else 0.0)
    shelves = {"low_shelf_gain_db": low_db, "low_shelf_hz": LOW_SHELF_HZ, "high_shelf_gain_db": high_db, "high_shelf_hz": HIGH_SHELF_HZ}
    return ("eq", shelves), ("compressor", {"threshold_db": -24.0, "ratio": ratio, "attack_ms": 10.0, "release_ms": 150.0})


def engineered(stems: Mapping[str, np.ndarray], seed: int) -> Engineered:
    """The song as the engineer mixes it. Raises ValueError where all stems are silent."""
    heard, settings = hear(stems, RATE), musical_levels(stems, RATE, seed)
    if not settings:
        raise ValueError("all stems are silent: there is nothing to mix")
    dry, wet = Stems(), Stems()
    for name, setting in settings.items():
        listened = at_loudness(stems[name], LISTENING_LUFS)
        pan = float(np.clip(setting.pan, -0.9, 0.9))
        placed = apply_chain(listened, RATE, (*treatment(name, heard[name]), ("fader", {"pan": pan})))
        level = setting.level_lu + LISTENING_LUFS
        wet[name] = roomy(at_loudness(np.asarray(placed, np.float32), level), SEND_DB.get(name, -18.0) - 8.0 * (heard[name].density - 0.7))
        dry[name] = at_loudness(stems[name], level)
    scale = np.float32(MIX_PEAK / max(float(np.abs(sum(wet.values())).max()), 1e-9))
    return Engineered({name: audio * scale for name, audio in dry.items()}, {name: audio * scale for name, audio in wet.items()})


def roomy(audio: np.ndarray, send_db: float) -> np.ndarray:
    """A stem and its share of the one room, which is linear: the sum is that of one room for all."""
    return np.asarray(apply_chain(audio, RATE, (("room", {**ROOM, "wet_db": float(np.clip(send_db, -60.0, 12.0))}),)), np.float32)


def at_loudness(audio: np.ndarray, loudness_lufs: float) -> np.ndarray:
    """The audio at a loudness."""
    return audio * np.float32(10.0 ** ((loudness_lufs - integrated_loudness(audio, RATE)) / 20.0))


def write_songs(folder: Path, seeds: Mapping[str, range], kept: Path) -> Path:
    """Writes the songs of every split ("train", "test") below ``folder``; those that are there are kept, and their sound in ``kept``."""
    for split, numbers in seeds.items():
        for seed in numbers:
            place = folder / split / f"Artist {seed} - Song"
            if (place / "mixture.wav").exists():
                continue
            song = engineered(dry_stems(seed, SECONDS, kept), seed)
            silence = np.zeros_like(song.mixture)
            files = {name: song.dry.get(name, silence) for name in STEMS}
            for name, audio in {**files, "mixture": song.mixture}.items():  # the mixture last: then the song is whole
                writing.save(place / f"{name}.wav", audio, RATE, encoding="wav32f")
    return folder


def corpus_of(work: Path, seeds: Mapping[str, range], pairs: dict[str, Any]) -> Corpus:
    """The corpus of the songs with its mix pairs, in a folder of ``work`` whose name says which songs; made unless it is complete."""
    folder = work / f"corpus {' '.join(f'{split} {numbers[0]}-{numbers[-1]}' for split, numbers in seeds.items())}"
    songs = write_songs(folder.with_name(folder.name.replace("corpus", "songs")), seeds, work / "dry")
    return build(songs, folder, pairs)
