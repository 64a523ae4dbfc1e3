"""Checking a corpus, or a dataset that stands alone, against the disk and against itself.

Tables first (readable, not edited, every id known, no artist in two splits), then files (there, with the bytes, length, rate and channels
of their rows, samples finite, none that no row names), whether they stand alone or in shards, which are held against their own rows, then
sound: the stems of each track sum to its mixture, measured on the written files.

Conventions
    What is wrong is a ``Problem`` of level "error". What could not be measured, or is a published data set's own doing, is a "warning".
    Every file is read once for its checksum and, where the format can hold NaN or the sum is measured, once as sound, in blocks.
    Of a shard that is missing or cut off one problem is told, not one for each sound file that is lost with it.
    A dataset's own tables are held against those of its corpus column by column (``manifests.written``), and where it was moved out of
    its corpus against themselves.

The limit of the sum
    Each file is rounded to 24 bits, at most 2^-24 off. The residual is taken after rounding, so the sum should be off by 2^-24, which is
    -144 dBFS, over the joint gain; five files rounded independently would reach -130. Decoders of mp3 and AAC differ by up to about
    -120 dBFS between processors and versions. The smallest mistake worth finding, a gain that is wrong by 0.01 dB, is one of -59 dBFS
    where the mixture is at full scale. CLOSURE_LIMIT_DBFS lies between.
"""

from __future__ import annotations

import hashlib
import os
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Literal, TypeVar

import numpy as np

from manifests import audio, table, written
from manifests.catalog import artist_key, resolve, source_changed
from manifests.records import ROW_TYPES, AudioFile, Example, Pair, Record, Refused, Shard, Stem, Track, profile_id, track_id
from manifests.removal import somebodys
from manifests.shards import DATASET, JOURNAL, Place, Places, files, in_dataset
from manifests.written import Facts

CLOSURE_LIMIT_DBFS = -100.0
BLOCK_FRAMES = 1 << 17
PUBLISHED_SPLITS = {"musdb18", "musdb18hq"}  # their validation tracks share artists with their training tracks
KEPT_STEMS = "stems.json"  # beside the stems of a track that are whole, whether or not the table names them
R = TypeVar("R", bound=Record)
Rows = dict[str, list[Any]]
OnProgress = Callable[[str, int, int], None]  # (what is checked, done, of how many)


class Problem(Record):
    """One thing that is not as it should be: in which table, about which row, which file, and what."""

    level: Literal["error", "warning"] = "error"
    table: str = ""
    row_id: str = ""
    file: str = ""
    what: str


@dataclass(frozen=True)
class _Claim:
    """A file that a row says exists, and where it should be."""

    table: str
    row_id: str
    audio: AudioFile
    place: Path
    inside: Place | None = None  # where in a shard, which is ``place``, if it does not stand alone

    def problem(self, what: str) -> Problem:
        return Problem(table=self.table, row_id=self.row_id, file=self.audio.path, what=what)


def check_corpus(
    corpus: Path, songs: Path | None = None, *, unrendered: Collection[str] = (), progress: OnProgress | None = None
) -> list[Problem]:
    """What is wrong in a corpus folder; empty if all is well.

    ``songs`` is the folder that the tracks' paths are relative to; without it the sources and the sums of stems are not checked, and a
    warning says so. ``unrendered`` are the ids of pairs that are meant to have no example.
    """
    corpus = Path(corpus)
    rows, problems = _read_tables(corpus, ROW_TYPES)
    if not any((corpus / f"{name}.parquet").exists() for name in ROW_TYPES):
        return [Problem(file=str(corpus), what="no tables here; expected a corpus folder with tracks.parquet")]
    problems += _known(rows, "redraws", "redraw_of", ("pairs", "redraws"))
    rows["pairs"] += rows["redraws"]  # from here on they are pairs like the others
    problems += [
        Problem(file=path.name, what="a stage was interrupted; run the same command again, it goes on where it was")
        for path in sorted(corpus.glob("*.jsonl.part"))
    ]
    problems += [*_dangling(rows), *_splits(rows), *_examples_fit_pairs(rows), *_unsettled(rows, unrendered), *_copies(corpus, rows)]
    claims = [_Claim("stems", stem.id, stem.audio, corpus / stem.audio.path) for stem in rows["stems"]]
    problems += _card(corpus / DATASET, DATASET)
    places, found = _shards(corpus / DATASET, progress)
    claims += _example_claims(rows["examples"], places, in_dataset)
    sound = _check_files(claims, progress)
    problems += [*found, *sound, *_unnamed(corpus, ("stems", DATASET), claims, places)]
    sounds = [in_dataset(file.audio.path) for example in rows["examples"] for file in example.signals]
    problems += _somebodys(corpus, corpus / DATASET, sounds, places)
    damaged = {problem.row_id for problem in sound}
    broken = {stem.track_id for stem in rows["stems"] if stem.id in damaged}  # said already, so their sums are not measured
    whole = [stem for stem in rows["stems"] if stem.track_id not in broken]
    return problems + _check_sources(corpus, songs, rows["tracks"], whole, progress)


def check_meanwhile(corpus: Path, songs: Path | None = None, *, progress: OnProgress | None = None) -> list[Problem]:
    """What is wrong in a corpus that another process is working on, and a warning that it is.

    Judged are the tables by themselves and the files that their rows name. What is under way is not: journals, work folders, files that no
    row names yet, tables that have a journal, and whether tables fit one another.
    """
    corpus, dataset = Path(corpus), Path(corpus) / DATASET
    rows, problems = _read_tables(corpus, ROW_TYPES)
    shards, _ = _read_tables(dataset, {"shards": Shard})
    claims = [_Claim("stems", stem.id, stem.audio, corpus / stem.audio.path) for stem in rows["stems"]]
    if not (dataset / JOURNAL).exists():
        claims += _example_claims(rows["examples"], Places(dataset, shards["shards"]), in_dataset)
    claims = [claim for claim in claims if not _is_under_way(corpus, claim.table)]
    problems += _check_files(claims, progress)
    if not any(_is_under_way(corpus, name) for name in ("tracks", "stems")):
        damaged = {problem.row_id for problem in problems}
        broken = {stem.track_id for stem in rows["stems"] if stem.id in damaged}
        whole = [stem for stem in rows["stems"] if stem.track_id not in broken]
        problems += _check_sources(corpus, songs, rows["tracks"], whole, progress)
    problems = [problem for problem in problems if not _is_under_way(corpus, problem.table)]  # one may have begun since
    return [Problem(level="warning", what=UNDER_WAY), *problems]


UNDER_WAY = "another stemwright is working on it; what is under way was not judged"


def _is_under_way(corpus: Path, name: str) -> bool:
    return (corpus / f"{name}.jsonl.part").exists()


def check_dataset(dataset: Path, *, progress: OnProgress | None = None) -> list[Problem]:
    """What is wrong in a dataset folder that stands alone; empty if all is well."""
    dataset = Path(dataset)
    rows, problems = _read_tables(dataset, {name: written.ROW_TYPES[name] for name in ("pairs", "examples")})
    missing = [f"{name}.parquet" for name in ("pairs", "examples") if not (dataset / f"{name}.parquet").exists()]
    problems += [Problem(file=name, what="is missing; a dataset folder cannot be read without it") for name in missing]
    problems += [*_known(rows, "examples", "pair_id", ("pairs",)), *_one_split_a_track(rows["pairs"]), *_examples_fit_pairs(rows)]
    problems += _card(dataset)
    places, found = _shards(dataset, progress)
    claims = _example_claims(rows["examples"], places, str)
    problems += [*found, *_check_files(claims, progress), *_unnamed(dataset, (".",), claims, places)]
    sounds = [file.audio.path for example in rows["examples"] for file in example.signals]
    return [*problems, *_somebodys(dataset, dataset, sounds, places)]


def _card(dataset: Path, part: str = "") -> Iterator[Problem]:
    """A dataset card that is not the one that was written with the table of examples; a table of an earlier version does not say."""
    examples, card = dataset / "examples.parquet", dataset / table.CARD_FILE
    try:
        expected = table.card_sha256(examples)
    except (ValueError, OSError):
        return  # the table cannot be read: said already
    if not expected:
        return
    file = f"{part}/{table.CARD_FILE}".lstrip("/")
    again = "to have it written again, delete it and run render"
    if not card.exists():
        yield Problem(level="warning", file=file, what="the dataset card is missing; run render again")
    elif audio.file_sha256(card) != expected:
        yield Problem(level="warning", file=file, what=f"the dataset card is not as it was written; {again}")


def _shards(dataset: Path, progress: OnProgress | None) -> tuple[Places, list[Problem]]:
    """Where the sound files of a dataset stand, and what is wrong with its shards as files."""
    rows, problems = _read_tables(dataset, {"shards": Shard})
    if (dataset / JOURNAL).exists():
        problems.append(Problem(file=JOURNAL, what="packing was interrupted; run the same command again, it goes on where it was"))
    places = Places(dataset, rows["shards"])

    def work(shard: Shard) -> Problem | None:
        told = {"table": "shards", "row_id": shard.id, "file": shard.path}
        if what := places.damaged.get(shard.path):
            return Problem(**told, what=f"{what}; {len(shard.members)} sound files are lost with it. Delete it and run render again")
        if audio.file_sha256(dataset / shard.path) != shard.sha256:
            return Problem(**told, what="its bytes are not those that were written (other SHA-256). Delete it and run render again")
        return None

    return places, problems + [problem for problem in _in_threads("shards", work, places.shards, progress) if problem]


def _read_tables(folder: Path, types: Mapping[str, type[Record]]) -> tuple[Rows, list[Problem]]:
    """The rows of the tables that are there, and what is wrong with them as they stand."""
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
            problems.append(Problem(table=name, file=path.name, what=str(error)))
            continue
        edited = [row for row in rows[name] if _identity(row) not in (row.id, None)]
        problems += [
            Problem(table=name, row_id=row.id, file=path.name, what="the row was edited: its id is not its content's") for row in edited
        ]
        if not as_written and not edited:
            problems.append(Problem(table=name, file=path.name, what="rows were edited, added or removed since the table was written"))
        seen: set[str] = set()
        twice = [row.id for row in rows[name] if row.id in seen or seen.add(row.id)]  # type: ignore[func-returns-value]
        problems += [Problem(table=name, row_id=row_id, file=path.name, what="the same id stands in two rows") for row_id in twice]
    return rows, problems


def _identity(row: Any) -> str | None:
    """The id that a row's content gives it, or None where the id is another row's: a pair in a dataset has that of its plan."""
    if isinstance(row, written.WrittenPair):
        return None
    return track_id(row.sound, row.references) if isinstance(row, Track) else row.seal_id()


def _dangling(rows: Rows) -> Iterator[Problem]:
    """Ids of rows that are in no table."""
    yield from _known(rows, "stems", "track_id", ("tracks",))
    yield from _known(rows, "estimates", "track_id", ("tracks",))
    yield from _known(rows, "estimates", "stem_id", ("stems",))
    yield from _known(rows, "features", "track_id", ("tracks",))  # the rows of the profile may be those of another corpus
    yield from _known(rows, "features", "stem_id", ("stems",))
    profile = profile_id(rows["profile"])
    for row in rows["normalisations"]:
        if row.profile != profile:
            yield Problem(table="normalisations", row_id=row.id, what=f"profile {row.profile} is not that of the table profile")
    yield from _known(rows, "track_estimates", "track_id", ("tracks",))
    yield from _known(rows, "normalisations", "track_id", ("tracks",))
    yield from _known(rows, "normalisations", "stem_id", ("stems",))
    yield from _known(rows, "pairs", "track_id", ("tracks",))
    yield from _known(rows, "examples", "pair_id", ("pairs",))
    known = {row.id for name in ("tracks", "stems") for row in rows[name]}
    for pair in rows["pairs"]:
        sources = {branch.source_id for signal in (*pair.inputs, *pair.targets) for branch in signal.branches}
        for source_id in sorted(sources - known):
            yield Problem(table="pairs", row_id=pair.id, what=f"source {source_id} is neither a stem nor a track")


def _known(rows: Rows, name: str, column: str, tables: Sequence[str]) -> Iterator[Problem]:
    known = {row.id for other in tables for row in rows[other]}
    for row in rows[name]:
        if (wanted := getattr(row, column)) not in known:
            yield Problem(table=name, row_id=row.id, what=f"{column} {wanted} is not in {' or '.join(tables)}")


def _splits(rows: Rows) -> Iterator[Problem]:
    """Artists, and tracks, that are in two splits; sources of a pair that are of another split than it."""
    splits = {track.id: track.split for track in rows["tracks"]}
    track_of = {stem.id: stem.track_id for stem in rows["stems"]} | {track.id: track.id for track in rows["tracks"]}
    for pair in rows["pairs"]:
        if pair.split != splits.get(pair.track_id, pair.split):
            yield Problem(table="pairs", row_id=pair.id, what=f"is in {pair.split}, its track in {splits[pair.track_id]}")
        for source_id in dict.fromkeys(branch.source_id for signal in (*pair.inputs, *pair.targets) for branch in signal.branches):
            song = track_of.get(source_id, pair.track_id)
            if song != pair.track_id and pair.split != splits.get(song, pair.split):
                yield Problem(table="pairs", row_id=pair.id, what=f"is in {pair.split}, its source {source_id} in {splits[song]}")
    artists: dict[str, list[Track]] = defaultdict(list)
    for track in rows["tracks"]:
        if track.artist:
            artists[artist_key(track.artist)].append(track)
    for tracks in artists.values():
        if len(found := sorted({track.split for track in tracks})) > 1:
            published = all(track.source in PUBLISHED_SPLITS for track in tracks)
            what = f"artist {tracks[0].artist!r} is in {' and '.join(found)}" + (", as the data set was published" if published else "")
            yield Problem(
                level="warning" if published else "error", table="tracks", row_id=tracks[0].id, file=tracks[0].audio.path, what=what
            )


def _one_split_a_track(pairs: Sequence[Pair]) -> Iterator[Problem]:
    splits: dict[str, str] = {}
    for pair in pairs:
        if splits.setdefault(pair.track_id, pair.split) != pair.split:
            yield Problem(table="pairs", row_id=pair.id, what=f"track {pair.track_id} is in {splits[pair.track_id]} and in {pair.split}")


def _examples_fit_pairs(rows: Rows) -> Iterator[Problem]:
    """Signals that are other ones, longer, shorter or at another rate than planned."""
    pairs = {pair.id: pair for pair in rows["pairs"]}
    for example in rows["examples"]:
        if (pair := pairs.get(example.pair_id)) is None:
            continue
        planned = [("input", signal.name) for signal in pair.inputs] + [("target", signal.name) for signal in pair.targets]
        written = [(file.role, file.name) for file in example.signals]
        if planned != written:
            yield Problem(table="examples", row_id=example.id, what=f"has the signals {written}; its pair plans {planned}")
        for file in example.signals:
            found, wanted = (file.audio.num_frames, file.audio.sample_rate), (pair.num_frames, pair.sample_rate)
            if found != wanted:
                what = f"has {found[0]} frames at {found[1]} Hz; its pair plans {wanted[0]} at {wanted[1]} Hz"
                yield Problem(table="examples", row_id=example.id, file=file.audio.path, what=what)


def _unsettled(rows: Rows, unrendered: Collection[str] = ()) -> Iterator[Problem]:
    """Rows of which a later table neither has the result nor says why there is none."""
    rejected = {row.row_id for row in rows["rejected"]}.union(unrendered)
    for name, later, column, what in (("tracks", "stems", "track_id", "separated"), ("pairs", "examples", "pair_id", "rendered")):
        settled = {getattr(row, column) for row in rows[later]} | rejected
        for row in rows[name] if rows[later] else ():
            if row.id not in settled:
                yield Problem(level="warning", table=name, row_id=row.id, what=f"was neither {what} nor rejected; run the build again")


def _copies(corpus: Path, rows: Rows) -> Iterator[Problem]:
    """Rows of the dataset's own tables that say otherwise than those of the corpus (its pairs are those that were rendered)."""
    if not rows["examples"]:
        return
    gains_db = {example.pair_id: example.gain_db for example in rows["examples"]}
    facts = Facts.of(rows["tracks"], rows["stems"], rows["track_estimates"])

    def as_planned(pair: Pair, found: written.WrittenPair) -> bool:
        return not any(written.differences(pair, gains_db[pair.id], found, facts))

    def as_rendered(example: Example, found: Example) -> bool:
        return written.of_dataset(example) == found

    planned = [pair for pair in rows["pairs"] if pair.id in gains_db]
    expected: tuple[tuple[str, list[Any], Callable[[Any, Any], bool]], ...]
    expected = (("pairs", planned, as_planned), ("examples", rows["examples"], as_rendered))
    for name, wanted, same in expected:
        file = f"{DATASET}/{name}.parquet"
        try:
            found = table.read(corpus / file, written.ROW_TYPES[name])
        except (ValueError, OSError) as error:
            missing = isinstance(error, FileNotFoundError)
            yield Problem(table=name, file=file, what="is missing; run render again" if missing else str(error))
            continue
        if len(found) != len(wanted) or not all(map(same, wanted, found)):
            yield Problem(table=name, file=file, what=f"holds other rows than the corpus's {name}.parquet; run render again")


def _example_claims(examples: Iterable[Example], places: Places, called: Callable[[str], str]) -> list[_Claim]:
    """The files that examples name, but for those that are lost with their shards. ``called`` gives what the dataset calls a file."""
    claims = []
    for example in examples:
        for file in example.signals:
            path = called(file.audio.path)
            place = places.find(path)
            if places.inside(path):
                claims.append(_Claim("examples", example.id, file.audio, place.file, place))
            elif place.file.exists() or not places.lost_with(path):
                claims.append(_Claim("examples", example.id, file.audio, place.file))
    return claims


def _check_files(claims: Sequence[_Claim], progress: OnProgress | None) -> list[Problem]:
    """What is wrong with the files that rows name. Hashing and decoding release the interpreter, so threads share them out."""
    first: dict[tuple[Path, Place | None], _Claim] = {}
    shared = [claim for claim in claims if first.setdefault((claim.place, claim.inside), claim) is not claim]
    problems = [claim.problem(f"row {first[claim.place, claim.inside].row_id} names the same file") for claim in shared]
    return problems + [problem for problem in _in_threads("files", _check_file, claims, progress) if problem]


def _in_threads(what: str, work: Callable[[Any], Any], items: Sequence[Any], progress: OnProgress | None) -> list[Any]:
    results = []
    with ThreadPoolExecutor(max_workers=min(8, os.cpu_count() or 1)) as pool:
        for done, result in enumerate(pool.map(work, items), 1):
            results.append(result)
            if progress:
                progress(what, done, len(items))
    return results


def _check_file(claim: _Claim) -> Problem | None:
    """The first thing that is wrong with one file: it stands for the others."""
    row = claim.audio
    if claim.inside is not None:
        return _check_inside(claim, claim.inside)
    try:
        if audio.file_sha256(claim.place) != row.sha256:
            return claim.problem("its bytes are not those that were written (other SHA-256)")
        info = audio.probe(claim.place, stream=row.stream)
        found = (info.num_frames, info.sample_rate, info.num_channels)
        if found != (row.num_frames, row.sample_rate, row.num_channels):
            return claim.problem(_differs(found, (row.num_frames, row.sample_rate, row.num_channels)))
        if claim.place.suffix != ".flac" and not all(np.isfinite(block).all() for block in audio.blocks(claim.place, BLOCK_FRAMES)):
            return claim.problem("holds NaN or infinite samples")
    except FileNotFoundError:
        return claim.problem("is missing")
    except (Refused, OSError) as error:
        return claim.problem(f"cannot be read: {getattr(error, 'strerror', None) or error}")
    return None


def _check_inside(claim: _Claim, inside: Place) -> Problem | None:
    """The first thing that is wrong with a sound file inside a shard."""
    row = claim.audio
    try:
        data = inside.read()
        if hashlib.sha256(data).hexdigest() != row.sha256:
            return claim.problem(f"its bytes in {claim.place.name} are not those that were written (other SHA-256)")
        info = audio.probe_bytes(data)
        found = (info.num_frames, info.sample_rate, info.num_channels)
        if found != (row.num_frames, row.sample_rate, row.num_channels):
            return claim.problem(_differs(found, (row.num_frames, row.sample_rate, row.num_channels)))
        if not row.path.endswith(".flac") and not np.isfinite(audio.decode(data)[0]).all():
            return claim.problem("holds NaN or infinite samples")
    except (Refused, OSError) as error:
        return claim.problem(f"cannot be read: {getattr(error, 'strerror', None) or error}")
    return None


def _differs(found: tuple[int, int, int], stated: tuple[int, int, int]) -> str:
    names = ("frames", "Hz", "channels")
    return "has " + ", ".join(f"{a} {name}; its row says {b}" for a, b, name in zip(found, stated, names, strict=True) if a != b)


def _unnamed(folder: Path, parts: Sequence[str], claims: Iterable[_Claim], places: Places) -> Iterator[Problem]:
    """Leftovers of a killed process, and stems that no row names."""
    named = {claim.place for claim in claims} | {places.dataset / shard.path for shard in places.shards}
    folders, spare = {place.parent for place in named}, dict[Path, str]()
    for part in parts:
        for path in sorted((folder / part).rglob("*")):
            if path in named or path.is_dir():
                continue
            file = path.relative_to(folder).as_posix()
            in_hidden_folder = any(name.startswith(".") for name in PurePosixPath(file).parts[:-1])
            if in_hidden_folder or (path.name.startswith(".") and path.suffix == ".part"):
                yield Problem(file=file, what="was left half written by a process that was killed; delete it")
            elif part == "stems" and path.suffix.lower() in audio.READABLE_SUFFIXES and not path.name.startswith("."):
                if path.parent not in folders and file.count("/") > 1:
                    spare[path.parent] = file
                else:
                    yield Problem(file=file, what="no row names this file; delete it, or run separate again")
    # What is whole is kept on purpose, for a song that is away or for another model.
    if left := [file for parent, file in spare.items() if not (parent / KEPT_STEMS).exists()]:
        what = f"stems in {len(left)} folders are of no use to this version, nor is any row about them; delete them to free their space"
        yield Problem(level="warning", file=left[0], what=what)


def _somebodys(corpus: Path, dataset: Path, sounds: Iterable[str], places: Places) -> Iterator[Problem]:
    """What lies in the dataset folder and is none of ours: no stage touches it, but whoever reads the folder may."""
    for name in sorted(somebodys(dataset, files(sounds, places.shards))):
        what = "no row names this file; it is somebody's, and no stage touches it. Move it away if programs are to read the dataset"
        if (dataset / name).is_symlink():
            what = "is a link, and no row names it: nothing is written or deleted through it. Only the dataset itself may be a link"
        yield Problem(level="warning", file=(dataset / name).relative_to(corpus).as_posix(), what=what)


def _check_sources(
    corpus: Path, songs: Path | None, tracks: Sequence[Track], stems: Sequence[Stem], progress: OnProgress | None
) -> list[Problem]:
    """What is wrong with the songs, and with the sums of the stems against them."""
    if not tracks:
        return []
    if songs is None or not Path(songs).is_dir():
        why = "no songs folder was given" if songs is None else f"the songs folder {songs} is gone; give it with --songs"
        count = f"{len(tracks)} track{'' if len(tracks) == 1 else 's'}"
        return [Problem(level="warning", table="tracks", what=f"{why}: sources and sums of stems were not checked ({count})")]
    grouped: dict[str, list[Stem]] = defaultdict(list)
    for stem in stems:
        grouped[stem.track_id].append(stem)

    def work(track: Track) -> list[Problem]:
        files = {file.path: file for file in (track.audio, *(stem.audio for stem in track.references))}
        changed = [
            Problem(table="tracks", row_id=track.id, file=file.path, what=reason)
            for file in files.values()
            if (reason := _changed(Path(songs), file))
        ]
        return changed or list(_sums(corpus, Path(songs), track, grouped[track.id]))

    return [problem for found in _in_threads("tracks", work, tracks, progress) for problem in found]


def _changed(songs: Path, file: AudioFile) -> str | None:
    try:
        return source_changed(songs, file)
    except Refused as reason:
        return str(reason)


def _sums(corpus: Path, songs: Path, track: Track, stems: Sequence[Stem]) -> Iterator[Problem]:
    by_origin: dict[tuple[str, float], list[Stem]] = defaultdict(list)
    for stem in stems:
        by_origin[(stem.origin, stem.gain_db)].append(stem)
    for group in by_origin.values():
        try:
            what = _sum_differs(corpus, songs, track, group)
        except (Refused, OSError) as error:
            what = f"the sum of its stems cannot be measured: {error}"
        if what:
            yield Problem(table="stems", row_id=track.id, file=track.audio.path, what=what)


def _sum_differs(corpus: Path, songs: Path, track: Track, stems: Sequence[Stem]) -> str | None:
    """How the stems of a track fail to sum to its mixture, or None if they do. Streams all of them side by side."""
    if len({(stem.audio.sample_rate, stem.audio.num_frames) for stem in stems}) > 1:
        return "its stems differ in length or rate"
    rate, gain = stems[0].audio.sample_rate, audio.db_to_gain(stems[0].gain_db)
    mixture = _Rechunked(audio.blocks(resolve(songs, track.audio.path), BLOCK_FRAMES, sample_rate=rate, stream=track.audio.stream))
    readers = [_Rechunked(audio.blocks(resolve(corpus, stem.audio.path), BLOCK_FRAMES)) for stem in stems]
    at, worst, worst_at = 0, 0.0, 0
    while True:
        parts = [reader.take(BLOCK_FRAMES) for reader in readers]
        wanted = mixture.take(BLOCK_FRAMES)
        if any(part.shape[1] != wanted.shape[1] for part in parts):
            reached = f"{at + parts[0].shape[1]} and {at + wanted.shape[1]}"
            return f"its stems and its mixture differ in length: they reach frames {reached} at {rate} Hz"
        if wanted.shape[1] == 0:
            break
        total = np.sum(parts, axis=0, dtype=np.float64) / gain
        error = np.abs(total - wanted).max(axis=0)
        if not float(error.max()) <= worst:
            worst, worst_at = float(error.max()), at + int(error.argmax())
        at += wanted.shape[1]
    if worst <= audio.db_to_gain(CLOSURE_LIMIT_DBFS):
        return None
    names = ", ".join(stem.name for stem in stems)
    return (
        f"{names} miss the mixture by {audio.gain_to_db(worst):.1f} dBFS at {worst_at / rate:.2f} s; "
        f"expected at most {CLOSURE_LIMIT_DBFS:.0f} dBFS. Is a stem missing, or rescaled?"
    )


class _Rechunked:
    """A stream of blocks, taken in pieces of a wanted length."""

    def __init__(self, blocks: Iterator[audio.Audio]) -> None:
        self._blocks = blocks
        self._held: list[audio.Audio] = []

    def take(self, num_frames: int) -> audio.Audio:
        """The next [C, num_frames]; shorter only at the end, [1, 0] after it."""
        while sum(block.shape[1] for block in self._held) < num_frames and (block := next(self._blocks, None)) is not None:
            self._held.append(block)
        if not self._held:
            return np.zeros((1, 0), np.float32)
        whole = np.concatenate(self._held, axis=1)
        self._held = [whole[:, num_frames:]] if whole.shape[1] > num_frames else []
        return whole[:, :num_frames]


def errors(problems: Iterable[Problem]) -> list[Problem]:
    """The problems that are more than warnings."""
    return [problem for problem in problems if problem.level == "error"]
