"""The rows of a corpus, as they are in its tables, and the numbers that are counted from them column by column.

Conventions
    A table that is not there yet is an empty one. Durations are in seconds, levels in LU and LUFS, sizes in bytes.
    Of a corpus folder, audio is what is in ``stems/`` and ``dataset/``; the report itself is not counted.
"""

from __future__ import annotations

import os
from array import array
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar, cast, get_args

import numpy as np

from stemwright.datagen.pairs.licences import normalise
from stemwright.datagen.pairs.rights import use_of
from stemwright.datagen.report.pair_figures import PairCounts, count_pairs, pairs_of_groups, rendered_of
from stemwright.datagen.run.configuration import Config
from stemwright.datagen.run.corpus import VERBS, Corpus
from stemwright.manifests import table
from stemwright.manifests.id_numbers import among, flags_of, plain
from stemwright.manifests.joined_rows import ById, JoinedRows, SelectedRows
from stemwright.manifests.pair_columns import Flags, TrackNumbers
from stemwright.manifests.pair_records import Example, Pair, Signal
from stemwright.manifests.records import RESIDUAL, Estimate, Part, Record, Rejected, Split, Stem, Track, TrackEstimate
from stemwright.manifests.stem_names import SIX_STEMS
from stemwright.manifests.table_rows import TableRows
from stemwright.manifests.wording import duration

R = TypeVar("R", bound=Record)
SPLITS: tuple[str, ...] = get_args(Split)


@dataclass(frozen=True)
class Rows:
    """The rows of a corpus, with the configuration and the versions that made them."""

    name: str
    folder: Path
    config: Config
    tracks: JoinedRows[Track]
    stems: JoinedRows[Stem]
    parts: JoinedRows[Part]
    estimates: JoinedRows[Estimate]
    part_estimates: JoinedRows[Estimate]
    track_estimates: JoinedRows[TrackEstimate]
    pairs: SelectedRows[Pair]  # a pair that was drawn again is the last one that was drawn
    num_redrawn: int
    examples: JoinedRows[Example]
    rejected: SelectedRows[Rejected]
    versions: dict[str, dict[str, str]]
    unfinished: tuple[str, ...]

    @cached_property
    def track(self) -> ById[Track]:
        """Track id -> track."""
        return ById(self.tracks, mapped=False)

    @cached_property
    def stem(self) -> ById[Stem]:
        """Id of a stem or part -> its row."""
        return ById(self.sources, mapped=False)

    @cached_property
    def sources(self) -> JoinedRows[Stem]:
        """The stems, and the parts of those that were taken apart."""
        return JoinedRows(*self.stems.tables, *cast("tuple[TableRows[Stem], ...]", self.parts.tables))

    @cached_property
    def rendered(self) -> Flags:
        """For each pair whether there is an example of it [N]."""
        return rendered_of(self.pairs, self.examples.ids("pair_id"))

    @cached_property
    def counts(self) -> PairCounts:
        """How many pairs there are, of which kind, split and length."""
        return count_pairs(self.pairs, self.rendered)

    @cached_property
    def kinds(self) -> list[str]:
        """The kinds of pairs, in the order of their names."""
        return sorted({group.kind for group in self.counts.of_group})

    @cached_property
    def stem_names(self) -> list[str]:
        """The names of the stems without the residual, in the order people expect."""
        return ordered({name for (name,) in columns(self.stems, "name")} - {RESIDUAL})

    @cached_property
    def num_artists(self) -> int:
        """How many artists are known."""
        return len({artist for (artist,) in columns(self.tracks, "artist") if artist})

    def tracks_of(self, pair: Pair) -> set[str]:
        """Ids of the tracks that a pair is made of: one, or several where a recipe mixes songs."""
        sources = {branch.source_id for signal in (*pair.inputs, *pair.targets) for branch in signal.branches}
        found = {self.stem[source].track_id if source in self.stem else source for source in sources}
        return {track for track in found if track in self.track} | {pair.track_id}


def read_rows(corpus: Corpus) -> Rows:
    """Opens every table of a corpus. Raises CorpusError if the folder is no corpus."""
    config = corpus.config
    versions = {name: table.versions(corpus.table(name)) for name in VERBS if corpus.table(name).exists()}

    def rows(record_type: type[R], *names: str) -> JoinedRows[R]:
        return JoinedRows(*(TableRows(corpus.table(name), record_type) for name in names if corpus.table(name).exists()))

    rejected, pairs = rows(Rejected, "rejected"), rows(Pair, "pairs", "redraws")
    given_up = np.array([successor is None for (successor,) in columns(rejected, "replaced_by")], np.bool_)
    replaced = {row_id for row_id, successor in columns(rejected, "row_id", "replaced_by") if successor is not None}
    return Rows(
        name=corpus.folder.name,
        folder=corpus.folder,
        config=config,
        tracks=rows(Track, "tracks"),
        stems=rows(Stem, "stems"),
        parts=rows(Part, "parts"),
        estimates=rows(Estimate, "estimates"),
        part_estimates=rows(Estimate, "part_estimates"),
        track_estimates=rows(TrackEstimate, "track_estimates"),
        pairs=SelectedRows(pairs, ~among(pairs.ids(), np.array(sorted(int(row_id, 16) for row_id in replaced), np.uint64))),
        num_redrawn=len(replaced),
        examples=rows(Example, "examples"),
        rejected=SelectedRows(rejected, given_up),
        versions=versions,
        unfinished=tuple(name for name in VERBS if table.journals(corpus.journal(name))),
    )


def columns(rows: JoinedRows[Any] | SelectedRows[Any], *names: str) -> Iterator[tuple[Any, ...]]:
    """The values of some columns, row by row."""
    for batch in rows.columns(*names):
        yield from zip(*(batch.column(name).to_pylist() for name in names), strict=True)


def ordered(names: Iterable[str]) -> list[str]:
    """Stem names in the order people expect: drums first, unknown ones last."""
    return sorted(names, key=lambda name: (SIX_STEMS.index(name) if name in SIX_STEMS else len(SIX_STEMS), name))


def track_columns(rows: Rows, *names: str) -> Iterator[tuple[Any, ...]]:
    """The seconds of each track, and then the values of some columns."""
    for batch in rows.tracks.columns("audio.num_frames", "audio.sample_rate", *names):
        audio = batch.column("audio").to_pylist()
        values = [batch.column(name).to_pylist() for name in names]
        yield from zip((each["num_frames"] / each["sample_rate"] for each in audio), *values, strict=True)


def disk_bytes(folder: Path) -> dict[str, int]:
    """How many bytes ``stems`` and ``dataset`` hold; hidden files are not counted."""
    found = {}
    for part in ("stems", "dataset"):
        files = (Path(place, name) for place, _, names in os.walk(folder / part) for name in names if not name.startswith("."))
        found[part] = sum(path.stat().st_size for path in files)
    return found


def split_table(rows: Rows) -> list[dict[str, Any]]:
    """For each split and for all: tracks, known artists, seconds, stems, pairs of each kind, rendered pairs and their seconds."""
    split_of = dict(columns(rows.tracks, "id", "split"))
    tracks = list(track_columns(rows, "split", "artist"))
    stems = Counter(split_of.get(track) for name, track in columns(rows.stems, "name", "track_id") if name != RESIDUAL)
    found = []
    for split in (*SPLITS, "all"):
        of_split = [(length, artist) for length, each, artist in tracks if split in (each, "all")]
        only = None if split == "all" else split
        found.append(
            {
                "split": split,
                "tracks": len(of_split),
                "artists": len({artist for _, artist in of_split if artist}),
                "music": duration(sum(length for length, _ in of_split)),
                "stems": stems.total() if only is None else stems[split],
                "kinds": [rows.counts.total(kind=kind, split=only) for kind in rows.kinds],
                "rendered": rows.counts.total(split=only, rendered=True),
                "rendered_time": duration(rows.counts.rendered_seconds(only)),
            }
        )
    return found


@dataclass
class _Playing:
    """The seconds in which stems of one name play, and all their seconds."""

    playing: int = 0
    every: int = 0


def _playing(rows: Rows) -> dict[str, _Playing]:
    """The seconds in which the stems of each name play; one that is not present does not."""
    import pyarrow.compute as pc

    found: dict[str, _Playing] = defaultdict(_Playing)
    for batch in rows.estimates.columns("name", "level_lu", "active"):
        flags, lengths = batch.column("active"), pc.list_value_length(batch.column("active")).to_pylist()
        of_row = plain(pc.list_parent_indices(flags))[flags_of(pc.list_flatten(flags))]
        counts = np.bincount(of_row, minlength=batch.num_rows).tolist()
        levels = batch.column("level_lu").to_pylist()
        for name, level, playing, length in zip(batch.column("name").to_pylist(), levels, counts, lengths, strict=True):
            found[name].every += length
            found[name].playing += playing if level is not None else 0
    return found


def values_of_stems(rows: Rows, column: str) -> dict[str, array[float]]:
    """Stem name -> the values of a column of the estimates, as far as it has any."""
    values: dict[str, array[float]] = defaultdict(lambda: array("d"))
    for name, value in columns(rows.estimates, "name", column):
        if value is not None:
            values[name].append(value)
    return values


def stem_table(rows: Rows) -> list[dict[str, Any]]:
    """For each stem name: in how many tracks, by which origin, how often present and playing, its median level and loudness."""
    split_of = dict(columns(rows.tracks, "id", "split"))
    tracks: dict[str, Counter[str]] = defaultdict(Counter)
    for name, track in columns(rows.stems, "name", "track_id"):
        tracks[name][split_of.get(track, "")] += 1
    levels, loudness, playing = values_of_stems(rows, "level_lu"), values_of_stems(rows, "loudness_lufs"), _playing(rows)
    estimates = Counter(name for (name,) in columns(rows.estimates, "name"))
    return [
        {
            "name": name,
            "splits": [tracks[name][split] for split in SPLITS],
            "present": len(levels.get(name, ())),
            "estimates": estimates[name],
            "plays": playing[name].playing / playing[name].every if playing[name].every else None,
            "level": quartiles(levels.get(name, ())),
            "loudness": quartiles(loudness.get(name, ())),
        }
        for name in [*rows.stem_names, *([RESIDUAL] if RESIDUAL in tracks else [])]
    ]


def without_folders(rows: Rows, text: str) -> str:
    """A reason without the folders that lead to the songs: paths on the author's disk are private."""
    folder = Path(rows.config.songs.folder)
    for place in (folder, folder.parent):
        if len(place.parts) > 1:
            text = text.replace(f"{place}/", "")
    return text


def quartiles(values: Sequence[float]) -> tuple[float, float, float] | None:
    """Lower quartile, median, upper quartile; None without values."""
    if not len(values):
        return None
    low, middle, high = np.percentile(np.asarray(values, float), [25, 50, 75])
    return float(low), float(middle), float(high)


def rights_table(rows: Rows, heard: dict[str, float]) -> list[dict[str, Any]]:
    """For each statement of rights: tracks, seconds, pairs planned and rendered, and seconds to be heard on the page (by track id)."""
    of_track = dict(columns(rows.tracks, "id", "rights"))
    counted, music = Counter(of_track.values()), defaultdict[str, float](float)
    for length, rights in track_columns(rows, "rights"):
        music[rights] += length
    names = [*dict.fromkeys([*counted, "unknown"])]  # the latter of a track that is in no table
    numbers = TrackNumbers(rows.tracks, rows.sources)
    group_of = [names.index(of_track[f"{track:016x}"]) for track in numbers.tracks.tolist()] + [names.index("unknown")]
    planned, rendered = (
        dict(zip(names, counts, strict=True)) for counts in pairs_of_groups(rows.pairs, rows.rendered, numbers, group_of, len(names))
    )
    return [
        {
            "rights": rights,
            "licence": licence if (licence := normalise(rights)) != rights else "",
            "policy": policy(rows, rights),
            "tracks": count,
            "music": duration(music[rights]),
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
