"""Stems of synthetic songs as a mixer may have them for training: dry, wet, separated from the mixture, and effect-normalised.

What is kept in FOLDER, song by song, so that a run that was stopped goes on
    heard      every stem at the loudness and sample rate of the network's input, mono: float32 [stems, T]
    separated  what the bundled model makes of the mixture: float32 [stems, 2, T] at RATE, and its label: the balance measured in it
    profiles   the features of the training songs in a state (``dry`` has none), the targets of a normalisation

Conventions
    A stem that is silent in the song is silent in every state, as a pipeline leaves out a stem that is not present.
    A stem that the normalisation refuses stays as it is, and is counted.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
from engineered_songs import RATE, SECONDS, STEMS, Engineered, Stems, at_loudness, dry_stems, engineered

from stemwright.datagen.evaluate.scores import si_sdr_db
from stemwright.datagen.inverse.blind.normalise import normalise
from stemwright.datagen.inverse.blind.profile import Profile, features_row
from stemwright.datagen.mixing.mixer_network import LISTENING_LUFS
from stemwright.datagen.mixing.settling import loudness_at_any_level
from stemwright.manifests.decibels import db_to_gain
from stemwright.manifests.records import Refused, content_id
from stemwright.manifests.sound.resampling import resample
from stemwright.separation.balance.measure import measure_balance
from stemwright.separation.demucs.separator import DemucsSeparator
from stemwright.separation.loudness.meter import integrated_loudness

Array = np.ndarray


@dataclass(frozen=True)
class State:
    """The state of stems: dry, wet or separated; and the state of the songs whose profile they are normalised to, if they are."""

    stems: str
    normalised_to: str | None = None

    @property
    def name(self) -> str:
        """As in a table, and of its folder."""
        return self.stems if self.normalised_to is None else f"{self.stems}, normalised to {self.normalised_to}"


@dataclass(frozen=True)
class WetSongs:
    """The songs in a folder; ``profiled`` are the seeds of those that profiles are made from."""

    folder: Path
    profiled: Sequence[int]
    _last: list[tuple[int, Engineered]] = field(default_factory=list, compare=False, repr=False)

    @cached_property
    def separator(self) -> DemucsSeparator:
        """The bundled model."""
        return DemucsSeparator("bundled", offline=True, precision="fp32", engine="torch")

    def song(self, seed: int) -> Engineered:
        """Dry and wet stems; the last song is cached, since its states follow one another."""
        if self._last and self._last[0][0] == seed:
            return self._last[0][1]
        self._last[:] = [(seed, engineered(dry_stems(seed, SECONDS, self.folder / "dry"), seed))]
        return self._last[0][1]

    def dry(self, seed: int) -> Stems:
        """The dry stems, each at the loudness at which it is heard."""
        stems = dry_stems(seed, SECONDS, self.folder / "dry")
        return {name: at_loudness(audio, LISTENING_LUFS) for name, audio in stems.items() if np.isfinite(integrated_loudness(audio, RATE))}

    def levels_db(self, seed: int) -> Array:
        """[stems]: the gain that brings each dry stem from the loudness at which it is heard to its level in the mix; NaN for silence."""

        def made() -> Array:
            dry = self.song(seed).dry
            return np.array([integrated_loudness(dry[name], RATE) - LISTENING_LUFS if name in dry else np.nan for name in STEMS])

        return _kept(self.folder / "levels" / f"{seed}.npy", made)

    def separated(self, seed: int) -> Stems:
        """What the model makes of the mixture, without what is silent in the song; the measured balance and SI-SDR are kept beside it."""

        def made() -> Array:
            song = self.song(seed)
            found = self.separator.separate(song.mixture, RATE)
            levels = measure_balance(song.mixture, found, RATE, calibration="bundled")
            facts = {
                name: {
                    "level_lu": levels[name].level_lu,
                    "si_sdr_db": si_sdr_db(found[name], wet),
                    "mixture_db": si_sdr_db(song.mixture, wet),
                }
                for name, wet in song.wet.items()
            }
            self._facts(seed).parent.mkdir(parents=True, exist_ok=True)
            self._facts(seed).write_text(json.dumps(facts))
            return np.stack([found[name] for name in STEMS])

        whole = _kept(self.folder / "separated" / f"{seed}.npy", made)
        return {name: audio for name, audio in zip(STEMS, whole, strict=True) if name in self.facts(seed)}

    def facts(self, seed: int) -> dict[str, dict[str, float]]:
        """Of every stem of a separated song: its measured level, and the SI-SDR of stem and of mixture against the true wet stem."""
        found: dict[str, dict[str, float]] = json.loads(self._facts(seed).read_text())
        return found

    def _facts(self, seed: int) -> Path:
        return self.folder / "measured" / f"{seed}.json"

    def stems(self, seed: int, state: State) -> Stems:
        """The stems of a song in a state."""
        plain = {"dry": self.dry, "wet": lambda number: self.song(number).wet, "separated": self.separated}[state.stems](seed)
        if state.normalised_to is None:
            return plain
        profile = self.profile(state.normalised_to)
        return {name: self._normalised(audio, profile, (seed, name, state)) for name, audio in plain.items()}

    def _normalised(self, audio: Array, profile: Profile, of: tuple[int, str, State]) -> Array:
        try:
            return normalise(audio, RATE, profile[of[1]]).audio
        except Refused as reason:
            with (self.folder / "refused.txt").open("a", encoding="utf-8") as file:
                file.write(f"{of[2].name}; {of[0]}; {of[1]}; {reason}\n")
            return audio

    def profile(self, stems: str) -> Profile:
        """What is typical of the training songs in a state."""
        path = self.folder / "profiles" / f"{stems} {self.profiled[0]}-{self.profiled[-1]}.parquet"
        if not path.exists():
            rows = []
            for seed in self.profiled:
                for name, audio in self.stems(seed, State(stems)).items():
                    ids = {key: content_id({key: [seed, name]}) for key in ("cache_key", "stem_id")} | {
                        "track_id": content_id({"track": seed})
                    }
                    rows.append(features_row(audio, RATE, name=name, ids=ids, simulate=False))
            path.parent.mkdir(parents=True, exist_ok=True)
            Profile(rows).save(path)
        return Profile.load(path)

    def heard(self, seed: int, state: State, sample_rate: int) -> Array:
        """[stems, T]: the stems as they are heard, mono; zeros for what is silent."""

        def made() -> Array:
            found = np.zeros((len(STEMS), round(SECONDS * sample_rate)), np.float32)
            for name, audio in self.stems(seed, state).items():
                gain = db_to_gain(LISTENING_LUFS - loudness_at_any_level(audio, RATE))
                sound = resample(np.asarray(audio * np.float32(gain), np.float32), RATE, sample_rate).mean(0)
                found[STEMS.index(name), : len(sound)] = sound[: found.shape[1]]
            return found

        return _kept(self.folder / "heard" / state.name / f"{seed}.npy", made)

    def num_normalised(self) -> int:
        """How many stems were normalised, or should have been."""
        kept = (np.load(path) for path in (self.folder / "heard").glob("*normalised*/*.npy"))
        return sum(int((np.abs(whole).max(1) > 0.0).sum()) for whole in kept)

    def num_refused(self) -> int:
        """How many stems the normalisation refused."""
        path = self.folder / "refused.txt"
        return len(set(path.read_text(encoding="utf-8").splitlines())) if path.exists() else 0


def _kept(path: Path, made: Callable[[], Array]) -> Array:
    """What is in the file, made where it is not there."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        passing = path.with_suffix(".tmp")
        with passing.open("wb") as file:
            np.save(file, np.asarray(made(), np.float32))
        passing.rename(path)
    found: Array = np.load(path)
    return found
