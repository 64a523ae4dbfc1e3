"""Checking a corpus, or a dataset that was moved out of its corpus, against the disk and for consistency.

Tables first (readable, not edited, every id known, no artist and no recording in two splits), then files (there, with the bytes, length,
rate and channels of their rows, samples finite, none that no row names), by themselves or in shards, which are compared with their own
rows, then sound: the stems of each track sum to its mixture, measured on the written files.

Conventions
    Whatever is wrong is a ``CheckProblem`` of level "error". What could not be measured, or is a published data set's fault, is a
    "warning". Every file is read once for its checksum and, where the format can contain NaN or the sum is measured, once as sound, in
    blocks. A sum that was measured for the same bytes before need not be measured again (``stemwright.manifests.check.proofs``).
    A missing or truncated shard is reported once, not once for each sound file that is lost with it.
    A dataset's own tables are compared with those of its corpus column by column (``stemwright.manifests.dataset_rows``), and, where it
    was moved out of its corpus, only with one another.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

from stemwright.manifests import dataset_rows, table
from stemwright.manifests.check.corpus_tables import (
    dangling,
    examples_fit_pairs,
    mixed_splits,
    one_split_a_track,
    read_tables,
    recordings_in_two_splits,
    unaccounted,
    unknown_ids,
)
from stemwright.manifests.check.dataset_copies import copies
from stemwright.manifests.check.files import KEPT_STEMS, ClaimedFile, Claims, check_files, check_shards, foreign, unnamed
from stemwright.manifests.check.problems import CheckProblem, errors
from stemwright.manifests.check.proofs import Proofs
from stemwright.manifests.check.stored import NOT_READ, check_stored, check_stored_songs, in_store
from stemwright.manifests.check.sums import CLOSURE_LIMIT_DBFS, StemsOfTracks, check_parts, check_sources
from stemwright.manifests.disk.mirror import is_mirrored
from stemwright.manifests.disk.regular import file_sha256
from stemwright.manifests.joined_rows import JoinedRows
from stemwright.manifests.progress import OnProgress
from stemwright.manifests.records import Shard, Stem
from stemwright.manifests.row_types import ROW_TYPES
from stemwright.manifests.shards import DATASET, JOURNAL, Places, in_dataset

__all__ = ["CLOSURE_LIMIT_DBFS", "KEPT_STEMS", "UNDER_WAY", "CheckProblem", "check_corpus", "check_dataset", "check_meanwhile", "errors"]

UNDER_WAY = "another stemwright process is working on it; unfinished parts were not checked"


def check_corpus(
    corpus: Path,
    songs: Path | None = None,
    *,
    unrendered: Collection[str] = (),
    download: bool = False,
    proofs: Proofs | None = None,
    progress: OnProgress | None = None,
) -> list[CheckProblem]:
    """What is wrong in a corpus folder; empty if all is well.

    ``songs`` is the folder that the tracks' paths are relative to; without it the sources and the sums of stems are not checked, and a
    warning says so. ``unrendered`` are the ids of pairs that are meant to have no example. Of what is in a store only the size is compared,
    unless ``download`` asks for its bytes. ``proofs`` has the sums that need not be measured again, and is given those that were; without
    it all are measured.
    """
    corpus = Path(corpus)
    rows, problems = read_tables(corpus, ROW_TYPES)
    if not any((corpus / f"{name}.parquet").exists() for name in ROW_TYPES):
        return [CheckProblem(file=str(corpus), what="no tables found; expected a corpus folder with tracks.parquet")]
    problems += unknown_ids(rows, "redraws", "redraw_of", ("pairs", "redraws"))
    rows["pairs"] = JoinedRows(*rows["pairs"].tables, *rows["redraws"].tables)  # from here on they are pairs like the others
    problems += [
        CheckProblem(file=path.name, what="a stage was interrupted; run the same command again to resume it")
        for path in sorted(corpus.glob("*.jsonl.part"))
    ]
    sources = {**rows, "stems": JoinedRows(*rows["stems"].tables, *rows["parts"].tables)}  # what pairs can be made of
    problems += [*dangling(sources), *mixed_splits(sources), *recordings_in_two_splits(corpus, rows["tracks"])]
    problems += unknown_ids(rows, "parts", "stem_id", ("stems",))
    problems += [*examples_fit_pairs(rows), *unaccounted(rows, unrendered), *copies(corpus, sources)]
    problems += _card(corpus / DATASET, DATASET)
    places, found = check_shards(corpus / DATASET, progress, download=download)
    claims = Claims(corpus, sources["stems"], rows["examples"], places)
    here, stored = (claims, []) if download else in_store(corpus, claims)
    sound = check_files(here, progress) + check_stored(corpus, stored, progress)
    problems += [*found, *sound, *unnamed(corpus, ("stems", DATASET), claims, places)]
    sounds = (in_dataset(file.audio.path) for example in rows["examples"] for file in example.signals)
    problems += foreign(corpus, corpus / DATASET, sounds, places)
    stems = _undamaged(rows["stems"], sound, stored)
    problems += check_parts(corpus, rows["stems"], _undamaged(rows["parts"], sound, stored), proofs)
    if songs is not None and is_mirrored(songs) and not download:
        return [*problems, *check_stored_songs(songs, rows["tracks"]), CheckProblem(level="warning", what=NOT_READ)]
    problems += [CheckProblem(level="warning", what=NOT_READ)] if stored or (places.stored and not download) else []
    return problems + check_sources(corpus, songs, rows["tracks"], stems, proofs, progress)


def check_meanwhile(
    corpus: Path, songs: Path | None = None, *, proofs: Proofs | None = None, progress: OnProgress | None = None
) -> list[CheckProblem]:
    """What is wrong in a corpus that another process is working on, and a warning that it is.

    Checked are the tables by themselves and the files that their rows name. Unfinished work is not: journals, work folders, files that no
    row names yet, tables that have a journal, and whether tables fit one another.
    """
    corpus, dataset = Path(corpus), Path(corpus) / DATASET
    rows, problems = read_tables(corpus, ROW_TYPES)
    shards, _ = read_tables(dataset, {"shards": Shard})
    finished = {name: () if _is_under_way(corpus, name) else rows[name] for name in ("stems", "parts", "examples")}
    places = None if (dataset / JOURNAL).exists() else Places(dataset, shards["shards"])
    here, stored = in_store(corpus, Claims(corpus, (*finished["stems"], *finished["parts"]), finished["examples"], places))
    problems += check_files(here, progress) + check_stored(corpus, stored, progress)
    songs = None if songs is not None and is_mirrored(songs) else songs
    if not any(_is_under_way(corpus, name) for name in ("tracks", "stems")):
        problems += check_sources(corpus, songs, rows["tracks"], _undamaged(rows["stems"], problems, stored), proofs, progress)
    problems = [problem for problem in problems if not _is_under_way(corpus, problem.table)]  # work may have started since
    return [CheckProblem(level="warning", what=UNDER_WAY), *problems]


def _undamaged(stems: JoinedRows[Stem], problems: Iterable[CheckProblem], stored: Iterable[ClaimedFile]) -> StemsOfTracks:
    """The stems of tracks none of whose stems has a problem, or is in a store: of the others the sums need not, or cannot, be measured."""
    return StemsOfTracks(stems, {problem.row_id for problem in problems} | {claim.row_id for claim in stored})


def _is_under_way(corpus: Path, name: str) -> bool:
    return bool(table.journals(corpus / f"{name}.jsonl.part"))


def check_dataset(dataset: Path, *, download: bool = False, progress: OnProgress | None = None) -> list[CheckProblem]:
    """What is wrong in a dataset folder outside its corpus; empty if all is well. ``download`` reads what of it is in a store."""
    dataset = Path(dataset)
    rows, problems = read_tables(dataset, {name: dataset_rows.ROW_TYPES[name] for name in ("pairs", "examples")})
    missing = [f"{name}.parquet" for name in ("pairs", "examples") if not (dataset / f"{name}.parquet").exists()]
    problems += [CheckProblem(file=name, what="is missing; the dataset cannot be read without it") for name in missing]
    problems += [*unknown_ids(rows, "examples", "pair_id", ("pairs",)), *one_split_a_track(rows["pairs"]), *examples_fit_pairs(rows)]
    problems += _card(dataset)
    places, found = check_shards(dataset, progress, download=download)
    claims = Claims(dataset, (), rows["examples"], places, str)
    if places.stored and not download:
        problems.append(CheckProblem(level="warning", what=NOT_READ))
    here = claims if download else in_store(dataset, claims)[0]
    problems += [*found, *check_files(here, progress), *unnamed(dataset, (".",), claims, places)]
    sounds = (file.audio.path for example in rows["examples"] for file in example.signals)
    return [*problems, *foreign(dataset, dataset, sounds, places)]


def _card(dataset: Path, part: str = "") -> Iterator[CheckProblem]:
    """A dataset card that is not the one that was written with the table of examples; a table of an earlier version does not say."""
    examples, card = dataset / "examples.parquet", dataset / table.CARD_FILE
    try:
        expected = table.card_sha256(examples)
    except (ValueError, OSError):
        return  # the table cannot be read: said already
    if not expected:
        return
    file = f"{part}/{table.CARD_FILE}".lstrip("/")
    again = "to write it again, delete it and run render"
    if not card.exists():
        yield CheckProblem(level="warning", file=file, what="the dataset card is missing; run render again")
    elif file_sha256(card) != expected:
        yield CheckProblem(level="warning", file=file, what=f"the dataset card was changed after it was written; {again}")
