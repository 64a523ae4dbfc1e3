"""The cache key of separating a track: what of the track, of its own stems and of the separator determines the stems.

Conventions
    What was requested makes the key; the machine, the device and the versions of libraries do not.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from stemwright.datagen.run.configuration import Config
from stemwright.manifests import __version__
from stemwright.manifests.records import ReferenceStem, Track, content_id
from stemwright.manifests.stems.stem_reading import AS_IT_IS
from stemwright.manifests.stems.track_stems import mending_of
from stemwright.separation.separator import ReferenceStems, Separator


class RemoteSeparator:
    """What a stage must know of a separator that only the workers of a cluster have."""

    def __init__(self, origin: str, identity: dict[str, Any], stem_names: tuple[str, ...] = ()) -> None:
        self.origin, self.identity, self.stem_names = origin, identity, stem_names


def separation_key(track: Track, identity: Any) -> str:
    """The key of the work of separating a track by what has an identity.

    The id of a lossy track is of its packets. What is played of them is another fact, which stems have to fit: the length, and how much is
    cut at the start. The id of a lossless one is of its samples and says all.
    """
    played = [_played(track), {stem.name: found for stem in track.references if (found := _played(stem))}]
    return content_id({"track": track.id, "separator": identity, "version": __version__} | ({"played": played} if any(played) else {}))


def _played(row: Track | ReferenceStem) -> list[int]:
    """Rate, channels, frames cut at the start and length of a lossy file; nothing of a lossless one, and of rows of before 0.2."""
    return [] if row.delay_frames is None else [row.audio.sample_rate, row.audio.num_channels, row.delay_frames, row.audio.num_frames]


def own_stems_of(track: Track, config: Config, songs: Path) -> ReferenceStems | None:
    """The track's own stems, if it has any and the configuration lets them replace separated ones."""
    if not track.references or config.separation.separator not in ("auto", "reference"):
        return None
    files = {stem.name: (songs / stem.audio.path, stem.audio.stream) for stem in track.references}
    mending = {stem.name: mending_of(stem) for stem in track.references}
    return ReferenceStems(files, mending, parts={stem.name: stem.stem for stem in track.references}, any_length=track.mixture == "sum")


def identity_of(track: Track, own: ReferenceStems | None, separator: Separator, config: Config) -> object:
    """What determines the stems of a track, as far as the track itself does not."""
    if own is not None:
        mended = {stem.name: asdict(mending) for stem in track.references if (mending := mending_of(stem)) != AS_IT_IS}
        parts = {stem.name: stem.part for stem in track.references if stem.part not in (None, stem.name)}
        facts = {"mended": mended, "parts": parts}
        return {"reference": {stem.name: stem.sound for stem in track.references}} | {name: fact for name, fact in facts.items() if fact}
    return None if config.separation.separator == "reference" else separator.identity
