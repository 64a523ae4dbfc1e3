"""Tables by themselves and against one another: readable, not edited, every id known, no artist in two splits, and so on."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from stemwright.manifests import dataset_rows, table
from stemwright.manifests.catalog.artists import nodes_of
from stemwright.manifests.catalog.copies import find_alike
from stemwright.manifests.catalog.tracks import credit_of
from stemwright.manifests.check.problems import CheckProblem
from stemwright.manifests.dataset_rows import SourceRows
from stemwright.manifests.feature_rows import profile_id
from stemwright.manifests.records import Example, Pair, Record, Track, track_id
from stemwright.manifests.row_types import ROW_TYPES
from stemwright.manifests.shards import DATASET
from stemwright.manifests.sound.kept_fingerprint import FINGERPRINTS, place_of, read, read_facts

# Their validation tracks share artists, or recordings, with their training tracks.
PUBLISHED_SPLITS = {"musdb18", "musdb18hq", "slakh"}
Rows = dict[str, list[Any]]


def read_tables(folder: Path, types: Mapping[str, type[Record]]) -> tuple[Rows, list[CheckProblem]]:
    """The rows of the existing tables, and what is wrong with each table by itself."""
    rows: Rows = {name: [] for name in ROW_TYPES}
    problems = []
    for name, row_type in types.items():
        path = folder / f"{name}.parquet"
        if not path.exists():
            continue
        try:
            rows[name] = table.read(path, row_type)
            as_written = table.is_as_written(path, row_type, rows[name])
        except (ValueError, OSError) as error:
            problems.append(CheckProblem(table=name, file=path.name, what=str(error)))
            continue
        edited = [row for row in rows[name] if _identity(row) not in (row.id, None)]
        problems += [
            CheckProblem(table=name, row_id=row.id, file=path.name, what="the row was edited: its id does not match its content")
            for row in edited
        ]
        if not as_written and not edited:
            problems.append(CheckProblem(table=name, file=path.name, what="rows were edited, added or removed since the table was written"))
        seen: set[str] = set()
        twice = [row.id for row in rows[name] if row.id in seen or seen.add(row.id)]  # type: ignore[func-returns-value]
        problems += [CheckProblem(table=name, row_id=row_id, file=path.name, what="two rows have the same id") for row_id in twice]
    return rows, problems


def _identity(row: Any) -> str | None:
    """The id that a row's content gives it, or None where the id is another row's: a pair in a dataset has that of its plan."""
    if isinstance(row, dataset_rows.WrittenPair):
        return None
    return track_id(row.sound, row.references) if isinstance(row, Track) else row.seal_id()


def dangling(rows: Rows) -> Iterator[CheckProblem]:
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
    known = {row.id for name in ("tracks", "stems") for row in rows[name]}
    for pair in rows["pairs"]:
        sources = {branch.source_id for signal in (*pair.inputs, *pair.targets) for branch in signal.branches}
        for source_id in sorted(sources - known):
            yield CheckProblem(table="pairs", row_id=pair.id, what=f"source {source_id} is neither a stem nor a track")


def unknown_ids(rows: Rows, name: str, column: str, tables: Sequence[str]) -> Iterator[CheckProblem]:
    """Rows of a table whose column names an id that is in none of some tables."""
    known = {row.id for other in tables for row in rows[other]}
    for row in rows[name]:
        if (wanted := getattr(row, column)) not in known:
            yield CheckProblem(table=name, row_id=row.id, what=f"{column} {wanted} is not in {' or '.join(tables)}")


def mixed_splits(rows: Rows) -> Iterator[CheckProblem]:
    """Artists, and tracks, that are in two splits; sources of a pair that are of another split than it."""
    splits = {track.id: track.split for track in rows["tracks"]}
    track_of = {stem.id: stem.track_id for stem in rows["stems"]} | {track.id: track.id for track in rows["tracks"]}
    for pair in rows["pairs"]:
        if pair.split != splits.get(pair.track_id, pair.split):
            yield CheckProblem(table="pairs", row_id=pair.id, what=f"is in {pair.split}, its track in {splits[pair.track_id]}")
        for source_id in dict.fromkeys(branch.source_id for signal in (*pair.inputs, *pair.targets) for branch in signal.branches):
            song = track_of.get(source_id, pair.track_id)
            if song != pair.track_id and pair.split != splits.get(song, pair.split):
                yield CheckProblem(table="pairs", row_id=pair.id, what=f"is in {pair.split}, its source {source_id} in {splits[song]}")
    yield from _artists_in_two_splits(rows["tracks"])


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


def one_split_a_track(pairs: Sequence[Pair]) -> Iterator[CheckProblem]:
    """Tracks whose pairs are in several splits."""
    splits: dict[str, str] = {}
    for pair in pairs:
        if splits.setdefault(pair.track_id, pair.split) != pair.split:
            yield CheckProblem(
                table="pairs", row_id=pair.id, what=f"track {pair.track_id} is in {splits[pair.track_id]} and in {pair.split}"
            )


def examples_fit_pairs(rows: Rows) -> Iterator[CheckProblem]:
    """Signals that differ from the plan in name, length or sample rate."""
    pairs = {pair.id: pair for pair in rows["pairs"]}
    for example in rows["examples"]:
        if (pair := pairs.get(example.pair_id)) is None:
            continue
        planned = [("input", signal.name) for signal in pair.inputs] + [("target", signal.name) for signal in pair.targets]
        written = [(file.role, file.name) for file in example.signals]
        if planned != written:
            yield CheckProblem(table="examples", row_id=example.id, what=f"has the signals {written}; its pair plans {planned}")
        for file in example.signals:
            found, wanted = (file.audio.num_frames, file.audio.sample_rate), (pair.num_frames, pair.sample_rate)
            if found != wanted:
                what = f"has {found[0]} frames at {found[1]} Hz; its pair plans {wanted[0]} at {wanted[1]} Hz"
                yield CheckProblem(table="examples", row_id=example.id, file=file.audio.path, what=what)


def unaccounted(rows: Rows, unrendered: Collection[str] = ()) -> Iterator[CheckProblem]:
    """Rows for which a later table has neither a result nor a reason for its absence."""
    rejected = {row.row_id for row in rows["rejected"]}.union(unrendered)
    for name, later, column, what in (("tracks", "stems", "track_id", "separated"), ("pairs", "examples", "pair_id", "rendered")):
        decided = {getattr(row, column) for row in rows[later]} | rejected
        for row in rows[name] if rows[later] else ():
            if row.id not in decided:
                yield CheckProblem(level="warning", table=name, row_id=row.id, what=f"was neither {what} nor rejected; run the build again")


def copies(corpus: Path, rows: Rows) -> Iterator[CheckProblem]:
    """Rows of the dataset's own tables that differ from those of the corpus (its pairs are those that were rendered)."""
    if not rows["examples"]:
        return
    gains_db = {example.pair_id: example.gain_db for example in rows["examples"]}
    facts = SourceRows.of(rows["tracks"], rows["stems"], rows["track_estimates"])

    def as_planned(pair: Pair, found: dataset_rows.WrittenPair) -> bool:
        return not any(dataset_rows.differences(pair, gains_db[pair.id], found, facts))

    def as_rendered(example: Example, found: Example) -> bool:
        return dataset_rows.of_dataset(example) == found

    planned = [pair for pair in rows["pairs"] if pair.id in gains_db]
    expected: tuple[tuple[str, list[Any], Callable[[Any, Any], bool]], ...]
    expected = (("pairs", planned, as_planned), ("examples", rows["examples"], as_rendered))
    for name, wanted, same in expected:
        file = f"{DATASET}/{name}.parquet"
        try:
            found = table.read(corpus / file, dataset_rows.ROW_TYPES[name])
        except (ValueError, OSError) as error:
            missing = isinstance(error, FileNotFoundError)
            yield CheckProblem(table=name, file=file, what="is missing; run render again" if missing else str(error))
            continue
        if len(found) != len(wanted) or not all(map(same, wanted, found)):
            yield CheckProblem(table=name, file=file, what=f"differs from the corpus's {name}.parquet; run render again")
