"""All rows of a corpus at once, and the numbers that are counted from them.

Conventions
    A table that is not there yet is an empty one. Durations are in seconds, levels in LU and LUFS, sizes in bytes.
    Of a corpus folder, audio is what is in ``stems/`` and ``dataset/``; the report itself is not counted.
"""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar, get_args

import numpy as np

from stemwright.datagen.pairs.licences import normalise
from stemwright.datagen.pairs.rights import use_of
from stemwright.datagen.run.configuration import Config
from stemwright.datagen.run.corpus import VERBS, Corpus
from stemwright.manifests import table
from stemwright.manifests.pair_records import Example, Pair, Signal
from stemwright.manifests.records import RESIDUAL, Estimate, Record, Rejected, Split, Stem, Track, TrackEstimate
from stemwright.manifests.stem_names import SIX_STEMS
from stemwright.manifests.wording import duration

R = TypeVar("R", bound=Record)
SPLITS: tuple[str, ...] = get_args(Split)


@dataclass(frozen=True)
class Rows:
    """The rows of a corpus, with the configuration and the versions that made them."""

    name: str
    folder: Path
    config: Config
    tracks: Sequence[Track]
    stems: Sequence[Stem]
    estimates: Sequence[Estimate]
    track_estimates: Sequence[TrackEstimate]
    pairs: Sequence[Pair]  # a pair that was drawn again is the last one that was drawn
    num_redrawn: int
    examples: Sequence[Example]
    rejected: Sequence[Rejected]
    versions: dict[str, dict[str, str]]
    unfinished: tuple[str, ...]

    @cached_property
    def track(self) -> dict[str, Track]:
        """Track id -> track."""
        return {track.id: track for track in self.tracks}

    @cached_property
    def stem(self) -> dict[str, Stem]:
        """Stem id -> stem."""
        return {stem.id: stem for stem in self.stems}

    @cached_property
    def rendered(self) -> dict[str, Example]:
        """Pair id -> its example."""
        return {example.pair_id: example for example in self.examples}

    @cached_property
    def kinds(self) -> list[str]:
        """The kinds of pairs, in the order of their names."""
        return sorted({pair.kind for pair in self.pairs})

    @cached_property
    def stem_names(self) -> list[str]:
        """The names of the stems without the residual, in the order people expect."""
        return ordered({stem.name for stem in self.stems if stem.name != RESIDUAL})

    def tracks_of(self, pair: Pair) -> set[str]:
        """Ids of the tracks that a pair is made of: one, or several where a recipe mixes songs."""
        sources = {branch.source_id for signal in (*pair.inputs, *pair.targets) for branch in signal.branches}
        found = {self.stem[source].track_id if source in self.stem else source for source in sources}
        return (found & self.track.keys()) | {pair.track_id}


def read_rows(corpus: Corpus) -> Rows:
    """Reads every table of a corpus. Raises CorpusError if the folder is no corpus."""
    config = corpus.config
    versions = {name: table.versions(corpus.table(name)) for name in VERBS if corpus.table(name).exists()}

    def rows(name: str, record_type: type[R]) -> list[R]:
        return corpus.rows(name, record_type) if corpus.table(name).exists() else []

    rejected = corpus.rejected()
    replaced = {row.row_id for row in rejected if row.replaced_by is not None}
    return Rows(
        name=corpus.folder.name,
        folder=corpus.folder,
        config=config,
        tracks=rows("tracks", Track),
        stems=rows("stems", Stem),
        estimates=rows("estimates", Estimate),
        track_estimates=rows("track_estimates", TrackEstimate),
        pairs=[pair for pair in (*rows("pairs", Pair), *rows("redraws", Pair)) if pair.id not in replaced],
        num_redrawn=len(replaced),
        examples=rows("examples", Example),
        rejected=[row for row in rejected if row.replaced_by is None],
        versions=versions,
        unfinished=tuple(name for name in VERBS if table.journals(corpus.journal(name))),
    )


def ordered(names: Iterable[str]) -> list[str]:
    """Stem names in the order people expect: drums first, unknown ones last."""
    return sorted(names, key=lambda name: (SIX_STEMS.index(name) if name in SIX_STEMS else len(SIX_STEMS), name))


def seconds(track: Track) -> float:
    """How long a track lasts."""
    return track.audio.num_frames / track.audio.sample_rate


def disk_bytes(folder: Path) -> dict[str, int]:
    """How many bytes ``stems`` and ``dataset`` hold; hidden files are not counted."""
    found = {}
    for part in ("stems", "dataset"):
        places = [Path(place, name) for place, _, names in os.walk(folder / part) for name in names if not name.startswith(".")]
        found[part] = sum(path.stat().st_size for path in places)
    return found


def split_table(rows: Rows) -> list[dict[str, Any]]:
    """For each split and for all: tracks, known artists, seconds, stems, pairs of each kind, rendered pairs and their seconds."""
    split_of = {track.id: track.split for track in rows.tracks}
    found = []
    for split in (*SPLITS, "all"):
        tracks = [track for track in rows.tracks if split in (track.split, "all")]
        pairs = [pair for pair in rows.pairs if split in (pair.split, "all")]
        kinds = Counter(pair.kind for pair in pairs)
        done = [pair for pair in pairs if pair.id in rows.rendered]
        found.append(
            {
                "split": split,
                "tracks": len(tracks),
                "artists": len({track.artist for track in tracks if track.artist}),
                "music": duration(sum(map(seconds, tracks))),
                "stems": sum(stem.name != RESIDUAL and split in (split_of.get(stem.track_id), "all") for stem in rows.stems),
                "kinds": [kinds[kind] for kind in rows.kinds],
                "rendered": len(done),
                "rendered_time": duration(sum(pair.num_frames / pair.sample_rate for pair in done)),
            }
        )
    return found


def stem_table(rows: Rows) -> list[dict[str, Any]]:
    """For each stem name: in how many tracks, by which origin, how often present and playing, its median level and loudness."""
    by_name: dict[str, list[Estimate]] = defaultdict(list)
    for estimate in rows.estimates:
        by_name[estimate.name].append(estimate)
    tracks: dict[str, Counter[str]] = defaultdict(Counter)
    split_of = {track.id: track.split for track in rows.tracks}
    for stem in rows.stems:
        tracks[stem.name][split_of.get(stem.track_id, "")] += 1
    found = []
    for name in [*rows.stem_names, *([RESIDUAL] if RESIDUAL in tracks else [])]:
        estimates = by_name[name]
        levels = [row.level_lu for row in estimates if row.level_lu is not None]
        loudness = [row.loudness_lufs for row in estimates if row.loudness_lufs is not None]
        active = [flag and row.level_lu is not None for row in estimates for flag in row.active]
        found.append(
            {
                "name": name,
                "splits": [tracks[name][split] for split in SPLITS],
                "present": len(levels),
                "estimates": len(estimates),
                "plays": sum(active) / len(active) if active else None,
                "level": quartiles(levels),
                "loudness": quartiles(loudness),
            }
        )
    return found


def without_folders(rows: Rows, text: str) -> str:
    """A reason without the folders that lead to the songs: paths on the author's disk are private."""
    folder = Path(rows.config.songs.folder)
    for place in (folder, folder.parent):
        if len(place.parts) > 1:
            text = text.replace(f"{place}/", "")
    return text


def quartiles(values: Sequence[float]) -> tuple[float, float, float] | None:
    """Lower quartile, median, upper quartile; None without values."""
    if not values:
        return None
    low, middle, high = np.percentile(np.asarray(values, float), [25, 50, 75])
    return float(low), float(middle), float(high)


def rights_table(rows: Rows, heard: dict[str, float]) -> list[dict[str, Any]]:
    """For each statement of rights: tracks, seconds, pairs planned and rendered, and seconds to be heard on the page (by track id)."""
    of_track = {track.id: track.rights for track in rows.tracks}
    planned: Counter[str] = Counter()
    rendered: Counter[str] = Counter()
    for pair in rows.pairs:
        for rights in {of_track.get(track, "unknown") for track in rows.tracks_of(pair)}:
            planned[rights] += 1
            rendered[rights] += pair.id in rows.rendered
    counted = Counter(of_track.values())
    return [
        {
            "rights": rights,
            "licence": licence if (licence := normalise(rights)) != rights else "",
            "policy": policy(rows, rights),
            "tracks": count,
            "music": duration(sum(seconds(track) for track in rows.tracks if track.rights == rights)),
            "pairs": planned[rights],
            "rendered": rendered[rights],
            "heard": duration(sum(time for track, time in heard.items() if of_track.get(track) == rights)),
        }
        for rights, count in sorted(counted.items(), key=lambda item: (-item[1], item[0]))
    ]


def version_table(rows: Rows) -> list[tuple[str, str]]:
    """(package, version) of what wrote the tables; where tables differ, each version with its tables."""
    found: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for name, versions in rows.versions.items():
        for package, version in versions.items():
            found[package][version].append(name)
    return [
        (package, next(iter(versions)) if len(versions) == 1 else "; ".join(f"{v} ({', '.join(names)})" for v, names in versions.items()))
        for package, versions in found.items()
    ]


def policy(rows: Rows, rights: str) -> str:
    """What the corpus does with tracks of some rights, as ``[rights]`` says."""
    return {"render": "rendered", "recipes": "recipes only, no audio", "excluded": "excluded"}[use_of(rows.config.rights, rights)]


def signals(pair: Pair) -> tuple[tuple[str, Signal], ...]:
    """("input" or "target", signal) of a pair, inputs first."""
    return (*(("input", signal) for signal in pair.inputs), *(("target", signal) for signal in pair.targets))
