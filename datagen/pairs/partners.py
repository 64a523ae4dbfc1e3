"""The tracks of one split as partners of one another: which of them match in tempo and key, and a draw among them.

Conventions
    Tempos match when the faster is at most so much faster than the slower; half and double tempo do not match. Keys match when their pitch
    sets are at most so many semitones apart, on the circle of twelve; a minor key has the pitch set of its relative major, so A minor
    and C major are no semitone apart.
    Tracks without a tempo or without a key match nothing. Masks are bool [N] over the tracks in the order of their ids.
    A draw gives every track a score by a hash of its id and a random number, and takes the highest: a track that joins the
    corpus changes only the draws that it wins.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

import numpy as np

from stemwright.separation.tempo import pitch_set

HELD_ROWS = 4096  # size of the cache of masks; each mask has one byte per track


class PartnerCandidate(Protocol):
    """What has to be known about a track that others can be matched with."""

    @property
    def on_beat(self) -> tuple[str, ...]:
        """Names of its stems that sound at a beat."""
        ...


class Partner(NamedTuple):
    """A track that has a tempo and a key, and the number by which what else is known of it is found."""

    track_id: str
    tempo_bpm: float
    key: str
    number: int


M = TypeVar("M", bound=PartnerCandidate)


class PartnerTracks(Generic[M]):
    """The tracks of one split that have a tempo and a key. ``material`` gives what is known of the track of a number, when it is used."""

    def __init__(self, partners: Iterable[Partner], material: Callable[[int], M]) -> None:
        found, self._material = sorted(partners), material
        self._numbers = [partner.number for partner in found]
        self._number = {partner.track_id: number for number, partner in enumerate(found)}
        self._log_tempo = np.log([partner.tempo_bpm for partner in found])
        self._pitch_set = np.array([pitch_set(partner.key) for partner in found], dtype=np.int64)
        self._hashed_id = np.array([int(partner.track_id, 16) for partner in found], dtype=np.uint64)
        self._masks: dict[Any, np.ndarray] = {}
        self._holding: dict[str, np.ndarray] | None = None

    def __len__(self) -> int:
        return len(self._numbers)

    def matching(self, track_id: str, tempo_share: float, semitones: int) -> np.ndarray:
        """The tracks that match the given one in tempo and key, itself left out."""
        key = (track_id, tempo_share, semitones)
        if key not in self._masks:
            if len(self._masks) >= HELD_ROWS:
                self._masks.clear()
            self._masks[key] = self._match(self._number[track_id], tempo_share, semitones)
        return self._masks[key]

    def _match(self, number: int, tempo_share: float, semitones: int) -> np.ndarray:
        apart = np.abs(self._pitch_set - self._pitch_set[number])
        found = np.abs(self._log_tempo - self._log_tempo[number]) <= math.log1p(tempo_share) + 1e-12
        found &= np.minimum(apart, 12 - apart) <= semitones
        found[number] = False
        return np.asarray(found)

    def holding(self, name: str) -> np.ndarray:
        """The tracks whose stem of that name sounds at a beat."""
        if self._holding is None:
            self._holding = {}
            for at in np.argsort(self._numbers):  # in the order of the tables; for all names at once
                for stem in self._material(self._numbers[at]).on_beat:
                    self._holding.setdefault(stem, np.zeros(len(self), dtype=bool))[at] = True
        return self._holding.get(name, np.zeros(len(self), dtype=bool))

    def only(self, track_ids: Sequence[str]) -> np.ndarray:
        """The tracks of the given ids."""
        mask = np.zeros(len(self), dtype=bool)
        mask[[self._number[track_id] for track_id in track_ids]] = True
        return mask

    def draw(self, mask: np.ndarray, rng: np.random.Generator) -> M:
        """One of the tracks of a mask that is not empty."""
        numbers = np.flatnonzero(mask)
        return self._material(self._numbers[numbers[_scores(self._hashed_id[numbers], int(rng.integers(2**63))).argmax()]])


def _scores(values: np.ndarray, salt: int) -> np.ndarray:
    """A hash of each value and the salt: the finaliser of splitmix64 (Steele, Lea, Flood 2014), which mixes all bits."""
    mixed = values ^ np.uint64(salt)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(mixed ^ (mixed >> np.uint64(31)))
