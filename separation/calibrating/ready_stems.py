"""Stems that a separator made elsewhere, in a folder for each song, with the name by which their calibration is kept and found.

Conventions
    The folder may be a pattern, as for ``stemwright balance --stems``: {song} is the name of the song, {folder} the folder that it is in.
"""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from stemwright.manifests.disk.regular import file_sha256
from stemwright.manifests.names import checked_name
from stemwright.manifests.records import Refused
from stemwright.manifests.sound.decoding import load_song
from stemwright.manifests.sound.formats import Audio
from stemwright.manifests.sound.resampling import resample
from stemwright.separation.balance.named_songs import filled_pattern
from stemwright.separation.balance.own_stems import stem_paths


class ReadyStems:
    """Stands for a separator that has separated already; ``pattern`` is where its stems of each song are, ``name`` what it is called."""

    sample_rate = None

    def __init__(self, name: str, pattern: str, songs: tuple[Path, ...] = ()) -> None:
        self.name, self.pattern, self._songs = checked_name(name), pattern, songs

    @property
    def origin(self) -> str:
        """Its name in messages."""
        return f"{self.name}@ready"

    @property
    def identity(self) -> dict[str, Any]:
        """The name: nothing else is known of what made the stems."""
        return {"stems_of": self.name}

    @cached_property
    def stem_names(self) -> tuple[str, ...]:
        """The stems of the first song that has any. Raises Refused where none has."""
        for song in self._songs:
            try:
                return tuple(self.paths(song))
            except Refused:
                continue
        raise Refused(f"no song has stems in {self.pattern}; expected a folder for each song with files such as vocals.wav")

    def check(self) -> None:
        """Raises Refused where no song has stems."""
        _ = self.stem_names

    def paths(self, song: Path) -> dict[str, Path]:
        """The files of a song's stems. Raises Refused where there are none."""
        try:
            return stem_paths(filled_pattern(self.pattern, song), song)
        except ValueError as error:
            raise Refused(str(error)) from error

    def sums(self, song: Path) -> dict[str, str]:
        """The checksums of the files of a song's stems."""
        return {name: file_sha256(path) for name, path in self.paths(song).items()}

    def of_song(self, song: Path, mixture: Audio, sample_rate: int) -> dict[str, Audio]:
        """The stems of a song in the shape of its mixture. Raises Refused where they are of other names, or of another length."""
        paths = self.paths(song)
        names = self.stem_names if self._songs else tuple(paths)
        if set(paths) != set(names):
            raise Refused(f"its stems are {', '.join(paths)}, and those of the first song {', '.join(self.stem_names)}; expected the same")
        found = {}
        for name in names:
            audio, rate = load_song(paths[name])
            audio = resample(audio, rate, sample_rate)
            if abs(audio.shape[1] - mixture.shape[1]) > sample_rate // 10:
                lasts = audio.shape[1] / sample_rate, mixture.shape[1] / sample_rate
                raise Refused(f"{paths[name]} lasts {lasts[0]:.2f} s and the mixture {lasts[1]:.2f} s: it is of another recording")
            found[name] = _as_mixture(audio, mixture)
        return found


def _as_mixture(audio: Audio, mixture: Audio) -> Audio:
    channels, frames = mixture.shape
    wide = audio if len(audio) == channels else audio.mean(axis=0, keepdims=True).repeat(channels, axis=0)
    return np.pad(wide, ((0, 0), (0, max(0, frames - wide.shape[1]))))[:, :frames]
