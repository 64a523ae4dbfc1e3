"""Tables by themselves and against one another: readable, not edited, every id known, no artist in two splits, and so on."""

from __future__ import annotations

from array import array
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from itertools import compress
from pathlib import Path
from typing import Any

import numpy as np

from stemwright.manifests import dataset_rows, table
from stemwright.manifests.catalog.artists import nodes_of
from stemwright.manifests.catalog.tracks import credit_of
from stemwright.manifests.check.problems import CheckProblem
from stemwright.manifests.dataset_rows import SourceRows
from stemwright.manifests.deduplication.copies import find_alike
from stemwright.manifests.feature_rows import profile_id
from stemwright.manifests.id_numbers import Ids, among, numbers_of
from stemwright.manifests.joined_rows import ById, JoinedRows
from stemwright.manifests.pair_columns import sources_of_pairs
from stemwright.manifests.pair_records import Example, Pair
from stemwright.manifests.records import Record, Track, track_id
from stemwright.manifests.row_types import ROW_TYPES
from stemwright.manifests.shards import DATASET
from stemwright.manifests.sound.kept_fingerprint import FINGERPRINTS, place_of, read, read_facts
from stemwright.manifests.table_rows import TableRows

# Their validation tracks share artists, or recordings, with their training tracks.
PUBLISHED_SPLITS = {"musdb18", "musdb18hq", "slakh"}
ID_COLUMNS = {"id", "track_id", "stem_id", "pair_id", "redraw_of"}  # whose values have to be ids
Tables = dict[str, JoinedRows[Any]]


def read_tables(folder: Path, types: Mapping[str, type[Record]]) -> tuple[Tables, list[CheckProblem]]:
    """The rows of the existing tables, and what is wrong with each table by itself. Each is read once, a batch of records at a time."""
    rows: Tables = {name: JoinedRows() for name in ROW_TYPES}
    problems: list[CheckProblem] = []
    for name, row_type in types.items():
        path = folder / f"{name}.parquet"
        if not path.exists():
            continue
        try:
            found = TableRows(path, row_type)
            as_written, edited = _edited(found)
            for column in ID_COLUMNS & row_type.model_fields.keys():
                JoinedRows(found).ids(column)
        except (ValueError, OSError) as error:
            problems.append(CheckProblem(table=name, file=path.name, what=str(error)))
            continue
        rows[name] = JoinedRows(found)
        problems += [
            CheckProblem(table=name, row_id=row_id, file=path.name, what="the row was edited: its id does not match its content")
            for row_id in edited
        ]
        if not as_written and not edited:
            problems.append(CheckProblem(table=name, file=path.name, what="rows were edited, added or removed since the table was written"))
        problems += [
            CheckProblem(table=name, row_id=row_id, file=path.name, what="two rows have the same id") for row_id in _twice(rows[name].ids())
        ]
    return rows, problems


def _edited(rows: TableRows[Any]) -> tuple[bool, list[str]]:
    """Whether a table's rows are those that were written, and the ids of those whose content gives another."""
    digest, edited = table.RowsDigest(rows.record_type), []
    for batch in rows.batches():
        digest.add(batch)
        edited += [row.id for row in batch if _identity(row) not in (row.id, None)]
    return table.digest(rows.path) == digest.hexdigest(), edited


def _twice(ids: Ids) -> list[str]:
    """The ids that were there before, in their order."""
    order = np.argsort(ids, kind="stable")
    again = np.sort(order[1:][ids[order][1:] == ids[order][:-1]])
    return [f"{number:016x}" for number in ids[again].tolist()]


def _identity(row: Any) -> str | None:
    """The id that a row's content gives it, or None where the id is another row's: a pair in a dataset has that of its plan."""
    if isinstance(row, dataset_rows.WrittenPair):
        return None
    return track_id(row.sound, row.references) if isinstance(row, Track) else row.seal_id()


def dangling(rows: Tables) -> Iterator[CheckProblem]:
    """Ids of rows that are in no table."""
    yield from unknown_ids(rows, "stems", "track_id", ("tracks",))
    yield from unknown_ids(rows, "estimates", "track_id", ("tracks",))
    yield from unknown_ids(rows, "estimates", "stem_id", ("stems",))
    yield from unknown_ids(rows, "features", "track_id", ("tracks",))  # the rows of the profile may be those of another corpus
    yield from unknown_ids(rows, "features", "stem_id", ("stems",))
    yield from unknown_ids(rows, "statistics", "stem_id", ("stems",))
    profile = profile_id(rows["profile"])
    for row in rows["normalisations"]:
        if row.profile != profile:
            yield CheckProblem(table="normalisations", row_id=row.id, what=f"profile {row.profile} is not the one in profile.parquet")
    yield from unknown_ids(rows, "track_estimates", "track_id", ("tracks",))
    yield from unknown_ids(rows, "normalisations", "track_id", ("tracks",))
    yield from unknown_ids(rows, "normalisations", "stem_id", ("stems",))
    yield from unknown_ids(rows, "pairs", "track_id", ("tracks",))
    yield from unknown_ids(rows, "examples", "pair_id", ("pairs",))
    known = _known(rows, ("tracks", "stems"))
    for pair_id, _, _, sources in sources_of_pairs(rows["pairs"]):
        for source_id in sorted(set(sources) - known):
            yield CheckProblem(table="pairs", row_id=pair_id, what=f"source {source_id} is neither a stem nor a track")


def _known(rows: Tables, names: Sequence[str]) -> set[str]:
    return {row_id for name in names for batch in rows[name].columns("id") for row_id in batch.column("id").to_pylist()}


def unknown_ids(rows: Tables, name: str, column: str, tables: Sequence[str]) -> Iterator[CheckProblem]:
    """Rows of a table whose column names an id that is in none of some tables."""
    known = np.unique(np.concatenate([rows[other].ids() for other in tables]))
    wanted = rows[name].ids(column)
    (unknown,) = (~among(wanted, known)).nonzero()
    ids = rows[name].ids() if len(unknown) else wanted
    for number in unknown.tolist():
        what = f"{column} {int(wanted[number]):016x} is not in {' or '.join(tables)}"
        yield CheckProblem(table=name, row_id=f"{int(ids[number]):016x}", what=what)


def mixed_splits(rows: Tables) -> Iterator[CheckProblem]:
    """Artists, and tracks, that are in two splits; sources of a pair that are of another split than it."""
    splits = dict[str, str](_columns(rows["tracks"], "id", "split"))
    track_of = dict[str, str](_columns(rows["stems"], "id", "track_id")) | {track: track for track in splits}
    for pair_id, track, split, sources in sources_of_pairs(rows["pairs"]):
        if split != splits.get(track, split):
            yield CheckProblem(table="pairs", row_id=pair_id, what=f"is in {split}, its track in {splits[track]}")
        for source_id in dict.fromkeys(sources):
            song = track_of.get(source_id, track)
            if song != track and split != splits.get(song, split):
                yield CheckProblem(table="pairs", row_id=pair_id, what=f"is in {split}, its source {source_id} in {splits[song]}")
    yield from _artists_in_two_splits(rows["tracks"])


def _columns(rows: JoinedRows[Any], *names: str) -> Iterator[tuple[Any, ...]]:
    """The values of some columns, row by row."""
    for batch in rows.columns(*names):
        yield from zip(*(batch.column(name).to_pylist() for name in names), strict=True)


def _artists_in_two_splits(tracks: Sequence[Track]) -> Iterator[CheckProblem]:
    artists: dict[str, list[Track]] = defaultdict(list)
    for track, keys in zip(tracks, nodes_of([credit_of(track) for track in tracks]), strict=True):
        for key in keys:
            artists[key].append(track)
    said: set[tuple[str, ...]] = set()
    for shared in artists.values():
        found, ids = sorted({track.split for track in shared}), tuple(track.id for track in shared)
        if len(found) > 1 and ids not in said:  # a duo and each of the two may be in the same tracks
            said.add(ids)
            published = all(track.source in PUBLISHED_SPLITS for track in shared)
            name, *others = dict.fromkeys(repr(track.artist) for track in shared)
            what = f"artist {name} is in {' and '.join(found)}" + (", as the data set was published" if published else "")
            what += f" (also credited as {', '.join(others[:4])})" if others else ""
            yield CheckProblem(
                level="warning" if published else "error", table="tracks", row_id=shared[0].id, file=shared[0].audio.path, what=what
            )


def recordings_in_two_splits(corpus: Path, tracks: Sequence[Track]) -> Iterator[CheckProblem]:
    """Copies of one recording, by their fingerprints, that are in different splits."""
    if len({track.split for track in tracks}) < 2:
        return
    places = [place_of(corpus / FINGERPRINTS, track.audio.sha256, track.audio.stream) for track in tracks]
    if missing := sum(read_facts(place) is None for place in places):
        what = f"{missing} of {len(tracks)} tracks have no fingerprint, so copies of them were not looked for; run the catalog again"
        yield CheckProblem(level="warning", table="tracks", what=what)
    for pair in find_alike(len(tracks), lambda number: read(places[number])):
        one, other = tracks[pair.first], tracks[pair.second]
        if pair.is_copy and one.split != other.split:
            published = one.source in PUBLISHED_SPLITS and other.source in PUBLISHED_SPLITS
            what = f"is in {other.split} and sounds as {one.audio.path} does, which is in {one.split}: {pair.words()}"
            yield CheckProblem(level="warning" if published else "error", table="tracks", row_id=other.id, file=other.audio.path, what=what)


def one_split_a_track(pairs: JoinedRows[Any]) -> Iterator[CheckProblem]:
    """Tracks whose pairs are in several splits."""
    splits: dict[str, str] = {}
    for pair_id, track, split in _columns(pairs, "id", "track_id", "split"):
        if splits.setdefault(track, split) != split:
            yield CheckProblem(table="pairs", row_id=pair_id, what=f"track {track} is in {splits[track]} and in {split}")


class _Shapes:
    """What each pair says of its files, as the number of one of few shapes: names of inputs and targets, frames and rate."""

    def __init__(self, pairs: JoinedRows[Any]) -> None:
        self.shapes: dict[tuple[tuple[tuple[str, str], ...], int, int], int] = {}
        numbers = array("i")
        for batch in pairs.columns("num_frames", "sample_rate", "inputs.name", "targets.name"):
            for pair in batch.to_pylist():
                names = tuple((role, signal["name"]) for role in ("input", "target") for signal in pair[f"{role}s"])
                shape = (names, pair["num_frames"], pair["sample_rate"])
                numbers.append(self.shapes.setdefault(shape, len(self.shapes)))
        ids = pairs.ids()
        order = np.argsort(ids, kind="stable")
        self._ids, self._numbers = ids[order], np.frombuffer(numbers, np.int32)[order] if numbers else np.zeros(0, np.int32)

    def of(self, pair_ids: Ids) -> list[int | None]:
        """The numbers of the shapes of some pairs; None for one that there is not."""
        at = np.searchsorted(self._ids, pair_ids, side="right") - 1
        return [
            int(self._numbers[place]) if place >= 0 and self._ids[place] == wanted else None
            for place, wanted in zip(at, pair_ids, strict=True)
        ]


def examples_fit_pairs(rows: Tables) -> Iterator[CheckProblem]:
    """Signals that differ from the plan in name, length or sample rate."""
    pairs = _Shapes(rows["pairs"])
    shapes = list(pairs.shapes)
    audio = [f"signals.audio.{name}" for name in ("path", "num_frames", "sample_rate")]
    for batch in rows["examples"].columns("id", "pair_id", "signals.role", "signals.name", *audio):
        for example, number in zip(batch.to_pylist(), pairs.of(numbers_of(batch.column("pair_id"))), strict=True):
            if number is None:
                continue
            names, *wanted = shapes[number]
            planned, written = list(names), [(file["role"], file["name"]) for file in example["signals"]]
            if planned != written:
                yield CheckProblem(table="examples", row_id=example["id"], what=f"has the signals {written}; its pair plans {planned}")
            for file in (file["audio"] for file in example["signals"]):
                found = [file["num_frames"], file["sample_rate"]]
                if found != wanted:
                    what = f"has {found[0]} frames at {found[1]} Hz; its pair plans {wanted[0]} at {wanted[1]} Hz"
                    yield CheckProblem(table="examples", row_id=example["id"], file=file["path"], what=what)


def unaccounted(rows: Tables, unrendered: Collection[str] = ()) -> Iterator[CheckProblem]:
    """Rows for which a later table has neither a result nor a reason for its absence."""
    rejected = {row_id for (row_id,) in _columns(rows["rejected"], "row_id")}.union(unrendered)
    for name, later, column, what in (("tracks", "stems", "track_id", "separated"), ("pairs", "examples", "pair_id", "rendered")):
        if not rows[later]:
            continue
        ids, decided = rows[name].ids(), np.unique(rows[later].ids(column))
        for number in ids[~among(ids, decided)].tolist():
            if (row_id := f"{number:016x}") not in rejected:
                yield CheckProblem(level="warning", table=name, row_id=row_id, what=f"was neither {what} nor rejected; run the build again")


def copies(corpus: Path, rows: Tables) -> Iterator[CheckProblem]:
    """Rows of the dataset's own tables that differ from those of the corpus (its pairs are those that were rendered)."""
    if not rows["examples"]:
        return
    ids = rows["examples"].ids("pair_id")
    order = np.argsort(ids, kind="stable")
    rendered = ids[order]
    gains_db = np.fromiter((gain for (gain,) in _columns(rows["examples"], "gain_db")), np.float64, len(ids))[order]
    facts = SourceRows(ById(rows["tracks"]), ById(rows["stems"]), ById(rows["track_estimates"], "track_id"))

    def as_planned(pair: Pair, found: dataset_rows.WrittenPair) -> bool:
        gain_db = float(gains_db[np.searchsorted(rendered, np.uint64(int(pair.id, 16)), side="right") - 1])
        return not any(dataset_rows.differences(pair, gain_db, found, facts))

    def as_rendered(example: Example, found: Example) -> bool:
        return dataset_rows.of_dataset(example) == found

    planned = among(rows["pairs"].ids(), rendered)
    expected: tuple[tuple[str, Iterable[Any], int, Callable[[Any, Any], bool]], ...]
    expected = (
        ("pairs", compress(rows["pairs"], planned.tolist()), int(planned.sum()), as_planned),
        ("examples", rows["examples"], len(ids), as_rendered),
    )
    for name, wanted, count, same in expected:
        file = f"{DATASET}/{name}.parquet"
        try:
            found = TableRows(corpus / file, dataset_rows.ROW_TYPES[name])
            equal = len(found) == count and all(map(same, wanted, found))
        except (ValueError, OSError) as error:
            missing = isinstance(error, FileNotFoundError)
            yield CheckProblem(table=name, file=file, what="is missing; run render again" if missing else str(error))
            continue
        if not equal:
            yield CheckProblem(table=name, file=file, what=f"differs from the corpus's {name}.parquet; run render again")
