"""Estimating effects in a corpus, in two passes: the features of all stems -> a profile -> settings and normalisations relative to it.

    features         one row a stem; those of the profile's songs also hold what simulated compressors did to them
    profile          the rows of the training tracks, or those of another corpus's profile
    estimates        the settings of eq, compressor, width and room with their confidence; those that abstain are left out
    normalisations   one chain a stem (``stemwright.datagen.inverse.blind.normalise``)

Conventions
    A task is one track; one stem is held at a time. The residual has no effects. The profile is read by each worker from its file, once.
    The ids of the second pass cover the id of the profile: with another profile, or another song in it, all is estimated again.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from stemwright.datagen.inverse.blind.features import DYNAMICS
from stemwright.datagen.inverse.blind.profile import MOST_LEARNT, Profile, features_row
from stemwright.datagen.inverse.blind.statistics import statistic_rows, statistics_cache_key
from stemwright.manifests import __version__
from stemwright.manifests.disk.bulk import located
from stemwright.manifests.feature_rows import StemFeatures, StemStatistic
from stemwright.manifests.records import RESIDUAL, EffectEstimate, Normalisation, Refused, Stem, content_id, seal
from stemwright.manifests.sound.decoding import load
from stemwright.manifests.sound.formats import Audio


@dataclass(frozen=True)
class ProfileFile:
    """Path and id of a profile, as passed to a worker."""

    path: str
    id: str

    def read(self) -> Profile:
        """The profile; kept for the next call."""
        return _read(self.path, self.id)


@lru_cache(maxsize=1)
def _read(path: str, profile_id: str) -> Profile:
    profile = Profile.load(path)
    if profile.id != profile_id:
        raise ValueError(f"{path} holds the profile {profile.id}, not {profile_id}; was it rewritten while a stage ran?")
    return profile


def learnt_from(train: Iterable[str]) -> set[str]:
    """The ids of the tracks whose stems simulations are made of: the first of the training tracks, which are given by id."""
    return set(heapq.nsmallest(MOST_LEARNT, train))


def features_cache_key(stems: Sequence[Stem], simulate: bool) -> str:
    """The id of measuring the stems of one track; it covers what is measured of their dynamics."""
    return content_id({"stems": [stem.id for stem in stems], "features": simulate, "dynamics": DYNAMICS, "version": __version__})


def measure_track(payload: tuple[Sequence[Stem], bool], corpus: Path) -> list[StemFeatures]:
    """The features of the stems of one track; the payload says whether simulations are wanted."""
    stems, simulate = payload
    task = features_cache_key(stems, simulate)
    return [
        features_row(
            audio,
            stem.audio.sample_rate,
            name=stem.name,
            ids={"cache_key": task, "stem_id": stem.id, "track_id": stem.track_id},
            simulate=simulate,
        )
        for stem, audio in _audio_of(stems, corpus)
    ]


def measure_statistics(stems: Sequence[Stem], corpus: Path) -> list[StemStatistic]:
    """The statistics of the stems of one track."""
    task = statistics_cache_key(stems)
    return [row for stem, audio in _audio_of(stems, corpus) for row in statistic_rows(audio, stem, task)]


def effect_rows(name: str, audio: Audio, sample_rate: int, profile: Profile) -> tuple[EffectEstimate, ...]:
    """The effects that one stem [C, T] seems to have gone through, without settings those that were not found; those that abstain are left
    out.
    """
    from stemwright.datagen.inverse.blind.stem_estimates import estimate_effects  # brings torch

    return tuple(
        EffectEstimate(effect=effect, settings={} if answer.settings is None else answer.settings.plain(), **answer.plain())
        for effect, answer in estimate_effects(audio, sample_rate, name, profile).items()
        if answer.quantity is not None
    )


def normalise_cache_key(stems: Sequence[Stem], profile_id: str) -> str:
    """The id of normalising the stems of one track."""
    return content_id({"stems": [stem.id for stem in stems], "normalisations": profile_id, "version": __version__})


def normalise_track(stems: Sequence[Stem], corpus: Path, profile: ProfileFile) -> list[Normalisation]:
    """The chains of the stems of one track. Raises Refused, naming the stem, if one of them cannot be normalised."""
    from stemwright.datagen.inverse.blind.normalise import normalise

    rows, task = [], normalise_cache_key(stems, profile.id)
    for stem, audio in _audio_of(stems, corpus):
        chain, _ = normalise(audio, stem.audio.sample_rate, profile.read()[stem.name])
        facts = {"cache_key": task, "stem_id": stem.id, "track_id": stem.track_id, "name": stem.name}
        rows.append(seal(Normalisation, profile=profile.id, chain=chain, **facts))
    if not rows:
        raise Refused("the track has no stems but a residual; there is nothing to normalise")
    return rows


def _audio_of(stems: Sequence[Stem], corpus: Path) -> Iterator[tuple[Stem, Audio]]:
    for stem in stems:
        if stem.name != RESIDUAL:
            yield stem, load(located(corpus, stem.audio))[0]
