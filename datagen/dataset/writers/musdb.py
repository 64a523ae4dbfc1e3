"""``musdb``: a tree of the shape of MUSDB18-HQ, which ``musdb.DB(root, is_wav=True)`` opens.

Conventions
    ``dataset/<split>/<Artist - Title [pair id]>/{mixture,drums,bass,other,vocals}.wav``, 32-bit float; an excerpt is a track of its own.
    Separation trainers read the same layout: one folder a song, with its stems and their mixture.
    Of ``mix`` pairs the mixture is the sum of the four stems, sample by sample and up to rounding, as musdb's ``linear_mixture`` is: their
    inputs are the four stems as separated, their target is the sum. Of ``restore`` pairs, whose target is every dry stem, the mixture is
    the degraded one, which no sum of the stems is. The configuration refuses all others.
    musdb reads through 16 bits and clips what is above full scale: a peak there takes one gain for mixture and stems, kept in the row.
    musdb has two folders, ``train`` and ``test``, and takes validation tracks from ``train`` by a list of its own. Ours has a folder of its
    own, so that it cannot be trained on by mistake: ``musdb.DB(root, is_wav=True, subsets="valid")``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np

from stemwright.datagen.dataset.writers.base import DATASET, FormatBase, Spread, Storage, in_turn, write_signals
from stemwright.datagen.dataset.writers.packing import finish_loose
from stemwright.manifests import __version__
from stemwright.manifests.decibels import gain_to_db
from stemwright.manifests.pair_records import Example, Pair
from stemwright.manifests.records import Refused, Track, content_id
from stemwright.manifests.sound.formats import Audio, Encoding
from stemwright.manifests.stem_names import FOUR_STEMS

SUM_LIMIT = 2.0**-22  # rounding of sums in float32 around full scale
LONGEST_NAME = 180  # bytes; file systems take 255, and the pair's id comes after


def title_of(track: Track) -> str:
    """ "Artist - Title" as a folder can be called."""
    name = re.sub(r'[\x00-\x1f/\\:*?"<>|]', "_", f"{track.artist or 'Unknown'} - {track.title}").strip(" .")
    return name.encode()[:LONGEST_NAME].decode(errors="ignore")


@dataclass(frozen=True)
class MusdbWriter(FormatBase):
    """One folder for each excerpt, as MUSDB18-HQ has one for each track. ``titles`` are the names of tracks by their ids."""

    format_name = "musdb"
    encodings: ClassVar[tuple[Encoding, ...]] = ("wav32f",)
    loading = """import musdb

data = musdb.DB("dataset", is_wav=True, subsets="{split}")  # train, valid or test: each excerpt is a track, its title ends in [pair id]
data[0].audio, data[0].sources["drums"].audio  # [T, C]"""

    encoding: Encoding = "wav32f"
    titles: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def from_section(cls, section: Any, encoding: Encoding, tracks: Callable[[], Iterable[Track]]) -> Self:
        """The writer, with the names of the tracks."""
        del section
        return cls(encoding, {track.id: title_of(track) for track in tracks()})

    @classmethod
    def check(cls, dataset: Any, pairs: Any) -> None:
        """Raises ValueError, saying what to change, if the sections ``[dataset]`` and ``[pairs]`` plan what the layout cannot hold."""
        del dataset
        sections = {name: section for name in type(pairs).model_fields if hasattr(section := getattr(pairs, name), "per_track")}
        for name, section in sections.items():
            if name not in CHECKS and section.per_track:
                raise ValueError(f"[dataset] format: 'musdb' holds stems and their mix, no {name!r} pairs: set pairs.{name}.per_track = 0")
        for name, check in CHECKS.items():
            if sections[name].per_track:
                check(sections[name])
                if (stems := getattr(sections[name], "stems", ())) and sorted(stems) != sorted(FOUR_STEMS):
                    raise ValueError(f"[dataset] format: 'musdb' holds {', '.join(FOUR_STEMS)}; got pairs.{name}.stems = {list(stems)}")

    def cache_key(self, pair: Pair) -> str:
        """The id of the work: of the pair, the format, the folder's name and this version."""
        return content_id({"pair": pair.id, "format": "musdb", "folder": self._folder(pair), "version": __version__})

    def paths(self, pair: Pair) -> dict[tuple[str, str], str]:
        """One file for each stem, and one for their mixture."""
        folder = self._folder(pair)
        of_stems, of_mixture = ("target", "input") if pair.kind == "restore" else ("input", "target")
        sides = {"input": pair.inputs, "target": pair.targets}
        stems = {(of_stems, signal.name): f"{folder}/{signal.name}.wav" for signal in sides[of_stems]}
        return stems | {(of_mixture, signal.name): f"{folder}/mixture.wav" for signal in sides[of_mixture]}

    def write(self, corpus: Path, pair: Pair, signals: Mapping[str, Audio]) -> Example:
        """Writes the stems and their mixture. Raises Refused if the pair has other stems, or if those of a mix do not sum to it."""
        stems, mixtures = (pair.targets, pair.inputs) if pair.kind == "restore" else (pair.inputs, pair.targets)
        names = [signal.name for signal in stems]
        if pair.kind not in CHECKS or sorted(names) != sorted(FOUR_STEMS) or len(mixtures) != 1:
            raise Refused(
                f"the MUSDB layout contains {', '.join(FOUR_STEMS)} and their mix; this {pair.kind!r} pair has {', '.join(names)}"
            )
        if pair.kind == "mix":
            _check_sum({name: signals[name] for name in names}, signals[mixtures[0].name])
        return write_signals(corpus, pair, signals, self.paths(pair), Storage("wav32f", self.cache_key(pair), full_scale=True))

    def finish(
        self, corpus: Path, pairs: Sequence[Pair], examples: Sequence[Example], *, made_from: str = "", spread: Spread = in_turn
    ) -> int:
        """Copies the tables into the dataset and removes the files of examples that are no longer planned."""
        del spread
        return finish_loose(corpus, pairs, examples, type(self), made_from=made_from)

    def _folder(self, pair: Pair) -> str:
        return f"{DATASET}/{pair.split}/{self.titles.get(pair.track_id, pair.track_id)} [{pair.id}]"


def _check_mix(mix: Any) -> None:
    """Raises ValueError if the section ``[pairs.mix]`` asks for anything but stems that sum to the mixture."""
    if getattr(mix, "inputs", "separated") != "separated":
        raise ValueError(
            f"[dataset] format: 'musdb' holds stems that sum to the mixture: set pairs.mix.inputs = 'separated'; got {mix.inputs!r}"
        )
    if getattr(mix, "target", "sum") != "sum":
        raise ValueError(f"[dataset] format: 'musdb' holds the sum of its stems: set pairs.mix.target = 'sum'; got {mix.target!r}")
    if getattr(mix, "preset", None) or getattr(mix, "channels", "all") != "all":
        raise ValueError("[dataset] format: 'musdb' holds stems as they are: remove pairs.mix.preset, and set pairs.mix.channels = 'all'")


def _check_restore(restore: Any) -> None:
    """Raises ValueError if the section ``[pairs.restore]`` asks for anything but every dry stem."""
    if restore.target != "stems":
        raise ValueError(f"[dataset] format: 'musdb' holds every stem: set pairs.restore.target = 'stems'; got {restore.target!r}")


CHECKS: Mapping[str, Callable[[Any], None]] = {"mix": _check_mix, "restore": _check_restore}  # kinds that the layout can hold


def _check_sum(stems: Mapping[str, Audio], mixture: Audio) -> None:
    """Raises Refused if stems do not sum to their mixture."""
    error = float(np.abs(sum(stems.values()) - mixture).max(initial=0.0))
    if error > SUM_LIMIT * max(1.0, float(np.abs(mixture).max(initial=0.0))):
        raise Refused(
            f"the stems differ from the mixture by {gain_to_db(error):.1f} dBFS; the MUSDB layout contains their sum (target = 'sum')"
        )
