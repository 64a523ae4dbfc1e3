"""Tables by themselves and against one another: readable, not edited, every id known, no artist in two splits, and so on."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import numpy as np
import numpy.typing as npt

from stemwright.manifests import dataset_rows, row_text, table
from stemwright.manifests.arrow_arrays import joined_lists, joined_texts, lists_of, numbers_in_arrow, texts_in_arrow
from stemwright.manifests.catalog.artists import nodes_of
from stemwright.manifests.catalog.tracks import credit_of
from stemwright.manifests.check.problems import CheckProblem
from stemwright.manifests.deduplication.copies import find_alike
from stemwright.manifests.feature_rows import profile_id
from stemwright.manifests.id_numbers import Ids, among, numbers_of, plain
from stemwright.manifests.joined_rows import JoinedRows
from stemwright.manifests.pair_columns import SOURCES, TrackNumbers, sources_in, sources_of
from stemwright.manifests.records import Record, Split, Track, track_id
from stemwright.manifests.row_types import ROW_TYPES
from stemwright.manifests.sound.kept_fingerprint import FINGERPRINTS, place_of, read, read_facts
from stemwright.manifests.table_rows import TableRows

if TYPE_CHECKING:
    import pyarrow

# Their validation tracks share artists, or recordings, with their training tracks.
PUBLISHED_SPLITS = {"musdb18", "musdb18hq", "slakh"}
SPLIT_NAMES: tuple[str, ...] = get_args(Split)
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
    digest, edited = table.RowsDigest(rows.record_type), list[str]()
    for batch in rows.row_batches():
        written = row_text.texts(rows.record_type, batch.columns)
        if written is not None and _has_own_ids(rows.record_type, batch.columns, written):
            digest.add_texts(written)
        else:
            records = batch.records()
            digest.add(records)
            edited += [row.id for row in records if _identity(row) not in (row.id, None)]
    return table.digest(rows.path) == digest.hexdigest(), edited


def _has_own_ids(record_type: type[Record], batch: pyarrow.RecordBatch, written: pyarrow.StringArray) -> bool:
    """Whether the ids of rows are those that their content gives; False where only their records say it."""
    if record_type is Track:
        return False
    same = record_type is dataset_rows.WrittenPair or row_text.seals(record_type, batch, written) == numbers_of(batch.column("id"))
    return bool(np.all(same))


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
    yield from unknown_ids(rows, "part_estimates", "stem_id", ("parts",))
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
    known = np.unique(np.concatenate([rows[name].ids() for name in ("tracks", "stems")]))
    for batch in rows["pairs"].columns("id", "track_id", "split", *SOURCES):
        in_row, sources = sources_in(batch)
        for pair_id, _, _, ids in sources_of(batch.take(numbers_in_arrow(np.unique(in_row[~among(sources, known)])))):
            for source_id in sorted(set(ids)):
                if not among(np.array([int(source_id, 16)], np.uint64), known).all():
                    yield CheckProblem(table="pairs", row_id=pair_id, what=f"source {source_id} is neither a stem nor a track")


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
    numbers, split_of = TrackNumbers(rows["tracks"], rows["stems"]), _splits_of_tracks(rows["tracks"])
    for batch in rows["pairs"].columns("id", "track_id", "split", *SOURCES):
        splits, own = _split_numbers(batch), numbers.of(numbers_of(batch.column("track_id")))
        in_row, sources = sources_in(batch)
        songs = numbers.of_sources(sources)
        elsewhere = (songs >= 0) & (songs != own[in_row]) & (split_of[songs] != splits[in_row])
        wrong = np.union1d(np.flatnonzero((own >= 0) & (split_of[own] != splits)), in_row[elsewhere])
        for pair in sources_of(batch.take(numbers_in_arrow(wrong))):
            yield from _other_splits(*pair, numbers, split_of)
    yield from _artists_in_two_splits(rows["tracks"])


def _splits_of_tracks(tracks: JoinedRows[Track]) -> npt.NDArray[np.int32]:
    """The numbers of the splits of all tracks, in the order of ``TrackNumbers``; one more, of no track, for the place -1."""
    numbers = np.concatenate([np.zeros(0, np.int32), *(_split_numbers(batch) for batch in tracks.columns("split"))])
    _, first = np.unique(tracks.ids()[::-1], return_index=True)
    return np.append(numbers[::-1][first], np.int32(-1))


def _split_numbers(batch: pyarrow.RecordBatch) -> npt.NDArray[np.int32]:
    """The number of the split of each row."""
    import pyarrow.compute as pc

    return plain(pc.index_in(batch.column("split"), texts_in_arrow(SPLIT_NAMES)))


def _other_splits(
    pair_id: str, track: str, split: str, sources: Sequence[str], numbers: TrackNumbers, split_of: npt.NDArray[np.int32]
) -> Iterator[CheckProblem]:
    """What is wrong with the splits of a pair, its track's and its sources'."""
    (own,) = numbers.of(np.array([int(track, 16)], np.uint64)).tolist()
    if own >= 0 and (found := SPLIT_NAMES[split_of[own]]) != split:
        yield CheckProblem(table="pairs", row_id=pair_id, what=f"is in {split}, its track in {found}")
    for source_id in dict.fromkeys(sources):
        (song,) = numbers.of_sources(np.array([int(source_id, 16)], np.uint64)).tolist()
        if song >= 0 and song != own and (found := SPLIT_NAMES[split_of[song]]) != split:
            yield CheckProblem(table="pairs", row_id=pair_id, what=f"is in {split}, its source {source_id} in {found}")


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
        self.names: dict[str, int] = {}
        shapes: dict[tuple[int, int, int], int] = {}
        numbers = [np.zeros(0, np.int32)]
        for batch in pairs.columns("num_frames", "sample_rate", "inputs.name", "targets.name"):
            names = self.numbers_of_names(
                _names_in_lists(batch.column("inputs"), "input"), _names_in_lists(batch.column("targets"), "target")
            )
            columns = np.stack([names, *(plain(batch.column(name)) for name in ("num_frames", "sample_rate"))], axis=1)
            found, places = np.unique(columns, axis=0, return_inverse=True)
            known = [shapes.setdefault((shape[0], shape[1], shape[2]), len(shapes)) for shape in found.tolist()]
            numbers.append(np.array(known, np.int32)[places.reshape(-1)])
        self.shapes = np.array([*shapes, (-1, -1, -1)], np.int64)  # the last of no pair
        ids = pairs.ids()
        order = np.argsort(ids, kind="stable")
        self._ids, self._numbers = ids[order], np.concatenate(numbers)[order]

    def numbers_of_names(self, *lists: pyarrow.StringArray) -> npt.NDArray[np.int64]:
        """The number of the names of each row [N]: equal names, in several lists of them one after another, have one number."""

        coded = joined_texts(*lists).dictionary_encode()
        numbers = [self.names.setdefault(names, len(self.names)) for names in coded.dictionary.to_pylist()]
        return np.array(numbers, np.int64)[plain(coded.indices)]

    def of(self, pair_ids: Ids) -> npt.NDArray[np.int64]:
        """(names, frames, rate) of pairs [N, 3]; -1 for one that there is not."""
        if not len(self._ids):
            return np.full((len(pair_ids), 3), -1, np.int64)
        at = np.searchsorted(self._ids, pair_ids, side="right") - 1
        return self.shapes[np.where((at >= 0) & (self._ids[at] == pair_ids), self._numbers[at], len(self.shapes) - 1)]


def _names_in_lists(signals: pyarrow.ListArray, roles: Any = None) -> pyarrow.StringArray:
    """The roles and names of the signals of each row, as one text; without ``roles`` they are in the signals."""
    import pyarrow.compute as pc

    each = pc.list_flatten(signals)
    texts = joined_texts(roles or pc.struct_field(each, "role"), "/", pc.struct_field(each, "name"), " ")
    return joined_lists(lists_of(plain(pc.list_value_length(signals)), texts), "")


def examples_fit_pairs(rows: Tables) -> Iterator[CheckProblem]:
    """Signals that differ from the plan in name, length or sample rate."""
    import pyarrow.compute as pc

    pairs = _Shapes(rows["pairs"])
    audio = [f"signals.audio.{name}" for name in ("path", "num_frames", "sample_rate")]
    for batch in rows["examples"].columns("id", "pair_id", "signals.role", "signals.name", *audio):
        wanted, signals = pairs.of(numbers_of(batch.column("pair_id"))), batch.column("signals")
        in_row, files = plain(pc.list_parent_indices(signals)), pc.struct_field(pc.list_flatten(signals), "audio")
        found = np.stack([plain(pc.struct_field(files, name)) for name in ("num_frames", "sample_rate")], axis=1)
        wrong = pairs.numbers_of_names(_names_in_lists(signals)) != wanted[:, 0]
        wrong[in_row[(found != wanted[in_row, 1:]).any(axis=1)]] = True
        places = np.flatnonzero(wrong & (wanted[:, 0] >= 0))
        names = [*pairs.names]
        for example, shape in zip(batch.take(numbers_in_arrow(places)).to_pylist(), wanted[places].tolist(), strict=True):
            yield from _misfits(example, [tuple(signal.split("/")) for signal in names[shape[0]].split()], shape[1:])


def _misfits(example: Any, planned: list[tuple[str, ...]], wanted: list[int]) -> Iterator[CheckProblem]:
    """What differs in an example from the signals, and the frames and the rate, that its pair plans."""
    written = [(file["role"], file["name"]) for file in example["signals"]]
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
