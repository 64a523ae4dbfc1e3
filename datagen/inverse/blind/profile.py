"""What is typical of stems of one name: the features of many songs, against which a blind estimate is made.

A profile is nothing but the rows of its songs: the features of each stem, and what simulated compressors with known settings did to it.
Its summary (middle and spread of each feature) and what is learnt from the simulations follow from the rows, whichever corpus they are of.

Conventions
    The middle is the median over songs, the spread 1.4826 times the median distance from it (a normal distribution's deviation). Bands
    that fewer than ``FEWEST_SONGS`` songs hold are NaN. With a profile of fewer songs, estimates abstain.
    Levels of simulated stems: the peak at -10 dBFS. Simulated settings follow from the features themselves, so that equal sound gives
    equal rows.

References
    Martinez Ramirez et al. 2022 (FxNorm-automix): statistics of a class as the reference. RemFX 2023: the ranges of the compressors.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from stemwright.datagen.inverse.blind.features import DYNAMICS, ONSET_PEAK_DBFS, loudest, measure_dynamics, measure_features
from stemwright.datagen.inverse.blind.regression import Answer, Regression, fit_regression
from stemwright.datagen.inverse.blind.statistics import ByStem, by_stem, over_songs
from stemwright.manifests import table
from stemwright.manifests.decibels import db_to_gain
from stemwright.manifests.feature_rows import Features, Simulated, StemFeatures, StemStatistic, profile_id
from stemwright.manifests.records import EffectUse, content_id, seal
from stemwright.manifests.sound.formats import Audio
from stemwright.manifests.usage import UsageError

Array = NDArray[np.float64]

FEWEST_SONGS = 3
SIMULATIONS = 6
MOST_LEARNT = 64  # songs per stem name that a regression learns from; the summary takes all


@dataclass(frozen=True)
class Typical:
    """Middle and spread of one feature (or of each band of it) over songs, and how many songs have it."""

    middle: Array
    spread: Array
    songs: NDArray[np.int64]


@dataclass(frozen=True)
class StemProfile:
    """What is typical of stems of one name; ``rows`` are those of its songs that are not silent."""

    name: str
    rows: tuple[StemFeatures, ...]
    learnt: dict[tuple[str, int], Array] = field(
        default_factory=dict, compare=False, repr=False
    )  # results of estimates, cached for the next
    statistics: ByStem = field(default_factory=dict, compare=False, repr=False)

    @property
    def songs(self) -> int:
        """The number of songs in it."""
        return len({row.track_id for row in self.rows})

    def typical(self, feature: str) -> Typical:
        """Middle and spread of a feature of ``manifests.feature_rows.Features``, or of a statistic of another package: arrays of no
        dimension, or one value a band.
        """
        return summarise(self.values(feature))

    def values(self, feature: str) -> Array:
        """A feature of every song, [N] or [N, B] for bands; NaN where it does not exist."""
        if feature in self.statistics:
            return over_songs(self.statistics[feature], [row.stem_id for row in self.rows])
        return np.array([getattr(_features(row), feature) for row in self.rows], float)

    @cached_property
    def gain_reduction(self) -> Regression:
        """The regression of a compressor's mean gain reduction, in dB, on the dynamics of a stem."""
        return self._learn(lambda simulated: simulated.amount, 0.0)

    @cached_property
    def slope(self) -> Regression:
        """The regression of a compressor's 1 - 1 / ratio on the dynamics of a stem."""
        return self._learn(lambda simulated: 1.0 - 1.0 / float(simulated.use.settings["ratio"]), None)

    def _learn(self, of: Callable[[Simulated], float], undone: float | None) -> Regression:
        x, y, groups = list[Sequence[float]](), list[float](), list[str]()
        learnt = sorted(row.track_id for row in self.rows)[:MOST_LEARNT]
        for row in sorted(self.rows, key=lambda row: row.id):
            if row.track_id not in learnt or not row.simulated:
                continue
            examples = [(simulated.dynamics, of(simulated)) for simulated in row.simulated]
            if undone is not None:
                examples.append((_features(row).dynamics, undone))
            for dynamics, value in examples:
                x.append(dynamics)
                y.append(value)
                groups.append(row.track_id)
        return fit_regression(np.array(x), np.array(y), groups)


class Profile(Mapping[str, StemProfile]):
    """What is typical of stems by their names: the reference of blind estimates (``estimate_effects``).

    A mapping of stem names to ``StemProfile``; of a name that no song has, it gives a profile of no songs. ``rows`` are the features of
    the songs' stems, from which its ``id`` follows; ``statistics`` are rows of statistics that other packages add. ``stemwright estimate``
    makes one of a corpus: ``Profile.load("CORPUS/profile.parquet")``; ``save`` writes one.

    >>> import stemwright as sw
    >>> profile = sw.Profile([])
    >>> profile.save("profile.parquet")
    >>> sw.Profile.load("profile.parquet")["vocals"].songs
    0
    """

    def __init__(self, rows: Iterable[StemFeatures], statistics: Iterable[StemStatistic] = ()) -> None:
        further = by_stem(statistics)
        self.rows = tuple(sorted(rows, key=lambda row: (row.name, row.id)))
        self.id = profile_id(self.rows)
        names = sorted({row.name for row in self.rows})
        self._stems = {
            name: StemProfile(name, tuple(row for row in self.rows if row.name == name and row.features is not None), statistics=further)
            for name in names
        }

    def __getitem__(self, name: str) -> StemProfile:
        """What is typical of stems of a name; of a name that no song has, a profile of no songs."""
        return self._stems.get(name) or StemProfile(name, ())

    def __iter__(self):  # type: ignore[no-untyped-def]
        return iter(self._stems)

    def __len__(self) -> int:
        return len(self._stems)

    def save(self, path: Path | str) -> None:
        """Writes the profile as a table of ``StemFeatures``."""
        table.write(Path(path), self.rows, StemFeatures)

    @classmethod
    def load(cls, path: Path | str) -> Profile:
        """Reads a profile, such as a corpus's ``profile.parquet``, with the ``statistics.parquet`` beside it if there is one.

        Raises ValueError if it is none, or holds another number of dynamics than this version; FileNotFoundError if it is missing.
        """
        rows = table.read(path, StemFeatures)
        for row in rows:
            if row.features is not None and len(row.features.dynamics) != len(DYNAMICS):
                raise ValueError(
                    f"{path} holds stems with {len(row.features.dynamics)} numbers of dynamics; this version measures {len(DYNAMICS)}. "
                    "Make the profile again with `stemwright estimate` on its corpus"
                )
        further = Path(path).with_name("statistics.parquet")
        return cls(rows, table.read(further, StemStatistic) if further.exists() else ())


def profile_at(path: Path) -> Profile:
    """The profile that a person names: its file, or the corpus that has it. Raises UsageError, with the command that makes one, without."""
    file = path / "profile.parquet" if path.is_dir() else path
    if file.is_file():
        try:
            return Profile.load(file)
        except ValueError as error:
            if {"stem_id", "features"} <= {*table.columns_of(file)}:
                raise  # of another version
            raise UsageError(
                f"--profile {path}: it is not the table of a profile. Expected a corpus, or its profile.parquet, which stemwright estimate "
                "CORPUS writes where its configuration has [estimate] effects = true"
            ) from error
    if not path.is_dir():
        raise UsageError(f"--profile {path}: no such file; expected a corpus, or the profile.parquet of one")
    raise UsageError(
        f"--profile {path}: expected profile.parquet or a corpus that has it; this one has none. Write [estimate] with effects = true into "
        f"a file and run: stemwright estimate {path} --config FILE"
    )


def summarise(values: Array) -> Typical:
    """Median and spread over songs [N], or [N, B] for bands, of what is not NaN."""
    count = np.isfinite(values).sum(0)
    middle = np.where(count >= FEWEST_SONGS, _median(values), np.nan)
    return Typical(middle, 1.4826 * _median(np.abs(values - middle)), count)


def _median(values: Array) -> Array:
    return np.asarray(np.ma.filled(np.ma.median(np.ma.masked_invalid(values), axis=0), np.nan))


def _features(row: StemFeatures) -> Features:
    assert row.features is not None
    return row.features


def features_row(audio: Audio, sample_rate: int, *, name: str, ids: Mapping[str, str], simulate: bool = True) -> StemFeatures:
    """The row of one stem [C, T]: its features and, if it is to be part of a profile, the simulations to learn from.

    ``ids`` holds ``cache_key``, ``stem_id`` and ``track_id``.
    """
    features = measure_features(audio, sample_rate)
    simulated = simulate_compressors(audio, sample_rate, features) if simulate and features is not None else ()
    return seal(StemFeatures, name=name, features=features, simulated=simulated, **ids)


def profile_of(songs: Iterable[Mapping[str, Audio]], sample_rate: int) -> Profile:
    """The profile of songs given as stem name -> audio [C, T]; one song is in memory at a time."""
    rows = []
    for number, stems in enumerate(songs):
        song = content_id({"song": number})
        for name, audio in stems.items():
            ids = {"cache_key": song, "track_id": song, "stem_id": content_id({"song": number, "stem": name})}
            rows.append(features_row(audio, sample_rate, name=name, ids=ids))
    return Profile(rows)


def simulate_compressors(audio: Audio, sample_rate: int, features: Features) -> tuple[Simulated, ...]:
    """What compressors with settings drawn from the ranges of RemFX do to a stem [C, T] whose peak is at -10 dBFS."""
    import torch

    from stemwright.datagen.effects import compressor
    from stemwright.datagen.effects.settings import draw

    excerpt = np.asarray(loudest(audio, sample_rate), np.float32)
    excerpt = excerpt * np.float32(db_to_gain(ONSET_PEAK_DBFS) / float(np.abs(excerpt).max()))
    rng = np.random.default_rng(int(content_id({"simulations of": features.model_dump(mode="json")}), 16))
    found = []
    for _ in range(SIMULATIONS):
        settings = draw(compressor.Settings, rng, {**compressor.TYPICAL, "makeup_db": 0.0, "linked": True})
        gain = compressor.gain_curve(torch.from_numpy(excerpt), sample_rate, settings).numpy()[0]
        wet = excerpt * gain.astype(np.float32)
        dynamics = measure_dynamics(wet, sample_rate)
        if dynamics is not None:
            amount = round(mean_gain_reduction(wet, gain, sample_rate), 3)
            found.append(Simulated(use=EffectUse(effect="compressor", settings=settings.plain()), amount=amount, dynamics=dynamics))
    return tuple(found)


def mean_gain_reduction(wet: Audio, gain: Array, sample_rate: int) -> float:
    """Mean of -20 log10 of a compressor's gain [T] over the 5 ms in which its output [C, T] sounds, in dB."""
    from stemwright.datagen.inverse.blind.features import blocks, level_of, sounding

    energy, _ = blocks(wet, sample_rate)
    size = len(gain) // len(energy) if len(energy) else 1
    sounds, _ = sounding(level_of(energy, 10))
    reduction = -20.0 * np.log10(np.maximum(gain[: len(energy) * size].reshape(len(energy), size), 1e-9)).mean(1)
    return float(reduction[sounds].mean())


__all__ = [
    "Answer",
    "Profile",
    "StemProfile",
    "Typical",
    "features_row",
    "mean_gain_reduction",
    "profile_of",
    "simulate_compressors",
    "summarise",
]
