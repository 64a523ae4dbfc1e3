"""Corpora of real free songs: the middle of multitracks that ``free_music.py`` laid out, their mix pairs, and who made each song.

Conventions
    Stems are drums, bass and other, and the mixture is their sum: the levels are those that the composer gave the instruments of a tracker
    module, or the channels and notes of a score in MIDI, which ``game_scores.py`` renders with a sound font. No engineer mixed them with
    effects. A score without a bass has silence for it; of modules only those that have all three are taken.
    The owner of a song is its composer, of modules the package that it is from: songs that one person may have made have one owner.

References
    Freedoom project, CREDITS-MUSIC, revision of 2025-06-16 (BSD-3-Clause): composers of the music of Freedoom and FreeDM 0.12.1; of what
    was replaced since, its section on that release, which has all files that changed but three, whose titles are the same.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from corpora import build
from free_excerpts import PARTS, middle, songs_with

from stemwright.datagen.dataset.loader import PairDataset
from stemwright.manifests.sound import writing
from stemwright.manifests.sound.resampling import resample

ALL_TEST = {"kind": "multitracks", "shares": {"train": 0.0, "valid": 0.0, "test": 1.0}}  # who trains on them chooses by owner
COMPOSERS = {  # works with several authors under the first
    "Lola Harvey": (
        "freedm-stalks freedoom1-e3m1 freedoom1-e3m2 freedoom1-e3m3 freedoom1-e3m4 freedoom1-e3m5 freedoom1-e3m6 freedoom1-e3m7 "
        "freedoom2-ddtblu freedoom2-doom freedoom2-evil freedoom2-in-cit freedoom2-runni2 freedoom2-runnin freedoom2-stalks "
        "freedoom2-stlks3 freedoom2-tense"
    ),
    "jute": (
        "freedm-adrian freedm-ampie freedm-count2 freedm-ddtblu freedm-messag freedm-openin freedm-romero freedm-shawn "
        "freedm-shawn2 freedm-theda2 freedoom1-e1m6 freedoom1-e2m1 freedoom1-e2m9 freedoom2-ampie freedoom2-messag "
        "freedoom2-read-m freedoom2-stlks2"
    ),
    "Kevin and Jonathan Martins": (
        "freedm-betwee freedm-ddtbl3 freedm-evil freedoom1-e1m4 freedoom1-e1m8 freedoom1-e1m9 freedoom1-e2m2 freedoom1-e2m3 "
        "freedoom1-e2m4 freedoom2-ddtbl2 freedoom2-romer2 freedoom2-romero freedoom2-ultima"
    ),
    "Jeremy Emerson": (
        "freedm-countd freedm-romer2 freedoom1-e1m3 freedoom1-e2m5 freedoom1-e2m7 freedoom1-e3m9 freedoom1-inter freedoom2-adrian "
        "freedoom2-betwee freedoom2-count2 freedoom2-messg2"
    ),
    "Picklehammer": (
        "freedm-the-da freedoom1-intro freedoom2-ddtbl3 freedoom2-dm2int freedoom2-dm2ttl freedoom2-openin freedoom2-shawn freedoom2-the-da"
    ),
    "Ralph Vickers": "freedm-doom freedm-runni2 freedm-runnin freedm-shawn3 freedm-tense freedoom1-e1m1",
    "Discoholic": "freedoom1-e1m7 freedoom2-countd freedoom2-doom2",
    "Mark McGill-Smith": "freedm-ddtbl2 freedm-stlks2 freedoom1-e1m2",
    "Bradley Lavigne": "freedm-dead freedoom2-theda2",
    "Matias Roldan": "freedm-in-cit freedm-theda3",
    "Andrew Bassett": "freedoom2-theda3",
    "Anthony Pierce": "freedoom1-e2m8",
    "Jazz Mickle": "freedoom1-e1m5",
    "Julian Aubourg": "freedoom2-shawn2",
    "RestlessRodent": "freedoom1-bunny",
    "Scragadelic": "freedoom2-dead2",
    "Varis Alpha": "freedoom2-shawn3",
    "Vincent Fong": "freedm-stlks3",
}
COMPOSER_OF = {name: composer for composer, names in COMPOSERS.items() for name in names.split()}


class FreeSong(NamedTuple):
    """The folder of a song, its collection ("modules" or "scores"), and its owner."""

    place: Path
    collection: str
    owner: str

    @property
    def title(self) -> str:
        """The name of its folder, which is its title in a corpus."""
        return self.place.name


def free_songs(music: Path, collections: Sequence[str]) -> list[FreeSong]:
    """The songs of the collections. Raises KeyError for a score whose composer is not known here."""
    with (music / "index.csv").open(encoding="utf-8") as index:
        packages = {row["path"]: row["package"] for row in csv.DictReader(index)}
    found = []
    for collection in collections:
        for place in songs_with(music, collection, PARTS if collection == "modules" else ("drums", "other")):
            owner = COMPOSER_OF[place.name] if collection == "scores" else packages[f"{collection}/{place.name}"]
            found.append(FreeSong(place, collection, owner))
    return found


def free_corpus(
    folder: Path, songs: Sequence[FreeSong], pairs: dict[str, Any], seconds: float, *, sample_rate: int | None = None
) -> PairDataset:
    """The pairs of the middle of songs, all of split "test"; those there are kept. Without ``sample_rate`` files keep theirs."""
    multitracks = folder.with_name(f"songs {folder.name}")
    for song in songs:
        if not (multitracks / song.title / "mixture.wav").exists():
            _write(multitracks / song.title, song, seconds, sample_rate)
    corpus = build(multitracks, folder, pairs, ALL_TEST)
    return PairDataset(corpus.dataset, kind="mix", split="test")


def _write(place: Path, song: FreeSong, seconds: float, sample_rate: int | None) -> None:
    there = [name for name in PARTS if (song.place / f"{name}.flac").is_file()]
    read, rate = middle(song.place, seconds, there)
    parts = {name: resample(audio, rate, sample_rate or rate) for name, audio in read.items()}
    silence = np.zeros_like(parts["drums"])
    stems = {name: parts.get(name, silence) for name in PARTS}
    for name, audio in {**stems, "mixture": sum(stems.values())}.items():  # the mixture last: then the song is whole
        writing.save(place / f"{name}.wav", audio, sample_rate or rate, encoding="wav32f")


def by_track(data: PairDataset, songs: Sequence[FreeSong]) -> dict[str, FreeSong]:
    """The song of every track of a corpus."""
    named = {song.title: song for song in songs}
    return {data.pair(index).track_id: named[str(data.pair(index).sources[0].title)] for index in range(len(data))}
