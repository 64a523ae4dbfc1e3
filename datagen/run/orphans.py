"""Orphans: files in a corpus that it no longer uses, and their removal.

Conventions
    An orphan is a regular file that we made and that nothing names: hidden files of killed processes, journals that hold no finished work,
    stems and examples that no row names. A journal with finished work is none: the next run of its stage resumes from it.
    "kept" files are complete and may be used again: stems of other settings or of missing songs, and tables that were set aside. They are
    orphans only on request.
    Our own files are recognised by their path (``stems/MODEL/TRACK ID/NAME.flac``), or because an earlier table or journal names them.
    Every other file belongs to the user: it is not listed and not touched. Nothing behind a link is looked at
    (``stemwright.manifests.disk.deletion``); ``stems`` and ``dataset`` may themselves be links.
    In a store (``stemwright.manifests.disk.bulk``) every stem and shard below its prefix is ours: the prefix is claimed for one corpus.
    The row file of a track's stems goes before the stems, so that where it is, they are whole.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from stemwright.datagen.dataset.writers.stale_files import named_before
from stemwright.datagen.run.corpus import VERBS, Corpus
from stemwright.datagen.run.stages.kept_stems import OLD, STEMS, read
from stemwright.manifests import shards, table
from stemwright.manifests.check import KEPT_STEMS
from stemwright.manifests.disk import deletion, durable
from stemwright.manifests.disk.bulk import bulk_of
from stemwright.manifests.disk.mirror import address_of_place, is_mirrored, place_of
from stemwright.manifests.disk.name_set import NameSet
from stemwright.manifests.pair_records import Example
from stemwright.manifests.records import Part, Stem
from stemwright.manifests.row_types import ROW_TYPES
from stemwright.manifests.sound.kept_fingerprint import FINGERPRINTS
from stemwright.separation.stem_files import ATTEMPT_FOLDER, MADE_IN_WORK, WORK_FOLDER

KINDS = {
    "temporary": "left half written by processes that were killed",
    "journal": "journals without finished work, of stages that were stopped",
    "layout": "stems in the layout of version 0.1",
    "stems": "stems that no row names",
    "dataset": "files of the dataset that no example names",
    "stored": "in the store, and named by no row",
    "kept": "kept for other settings, or for missing songs",
}
OUR_STEM = re.compile(r"[a-z0-9][a-z0-9_-]*\.flac")
OUR_EXAMPLE = re.compile(r"(train|valid|test)/[a-z0-9][a-z0-9_-]*/[0-9a-f]{16}/(input|target)_[a-z0-9][a-z0-9_-]*\.(flac|wav)")


@dataclass(frozen=True)
class Orphan:
    """A file that may go: of which kind, in which root (a folder of the corpus that may be a link), and how large it is."""

    kind: str
    root: Path
    path: Path
    num_bytes: int


def find_orphans(corpus: Corpus, *, kept: bool = False) -> list[Orphan]:
    """The orphans of a corpus, the least useful kinds first; with ``kept`` also what is whole and of use to other settings."""
    found = [
        *_temporary(corpus),
        *_journals(corpus),
        *_stems(corpus),
        *_dataset(corpus),
        *_stored(corpus),
        *(_orphan("kept", corpus.folder, corpus.unused(name)) for name in ROW_TYPES),
    ]
    order = list(KINDS)
    there = {orphan.path: orphan for orphan in found if orphan is not None and (kept or orphan.kind != "kept")}
    return sorted(
        there.values(), key=lambda orphan: (order.index(orphan.kind), orphan.path.parent, orphan.path.name != KEPT_STEMS, orphan.path)
    )


def remove_orphans(orphans: Iterable[Orphan]) -> tuple[int, int]:
    """Removes orphans, in their order, and the folders that this empties; returns how many files went, and their bytes."""
    count = freed = 0
    for orphan in orphans:
        if is_mirrored(orphan.path):
            address = address_of_place(orphan.path)
            address.store.delete([address.prefix])
        if is_mirrored(orphan.path) or deletion.remove(orphan.root, orphan.path):
            count, freed = count + 1, freed + orphan.num_bytes
    return count, freed


def _orphan(kind: str, root: Path, path: Path) -> Orphan | None:
    """A file as an orphan; None if it is not there, no regular file, or reached through a link."""
    if deletion.link_on_the_way(root, path) is not None:
        return None
    try:
        found = path.lstat()
    except OSError:
        return None
    return Orphan(kind, root, path, found.st_size) if stat.S_ISREG(found.st_mode) else None


def _files(root: Path) -> Iterator[Path]:
    """Every file below a root, which may be a link; what is behind links below it is not looked at."""
    for place, _, names in os.walk(root):
        yield from (Path(place, name) for name in names)


def _temporary(corpus: Corpus) -> Iterator[Orphan | None]:
    for path in (*corpus.folder.iterdir(), *_files(corpus.folder / FINGERPRINTS)):
        if durable.LEFTOVER.fullmatch(path.name):
            yield _orphan("temporary", corpus.folder, path)
    for root in (corpus.folder / STEMS, corpus.dataset):
        for path in _files(root):
            if _in_work(path) or durable.LEFTOVER.fullmatch(path.name):
                yield _orphan("temporary", root, path)


def _in_work(path: Path) -> bool:
    """Whether a file is one that only an unfinished separation has."""
    ours = MADE_IN_WORK.fullmatch(path.name) is not None
    in_attempt = ATTEMPT_FOLDER.fullmatch(path.parent.name) is not None
    return (ours and path.parent.name == WORK_FOLDER) or (in_attempt and (ours or path.name == KEPT_STEMS))


def _journals(corpus: Corpus) -> Iterator[Orphan | None]:
    for name in VERBS:
        there = [path for path in table.journals(corpus.journal(name)) if path.is_file()]
        if there and not table.journalled(corpus.journal(name), ROW_TYPES[name]):
            yield from (_orphan("journal", corpus.folder, path) for path in there)


def _stems(corpus: Corpus) -> Iterator[Orphan | None]:
    root = corpus.folder / STEMS
    rows = _stem_rows(corpus)
    named = {corpus.folder / row.audio.path for row in rows}
    current = {path.parent for path in named}
    for path in _files(root):
        parts = path.relative_to(root).parts
        if path in named or not (OUR_STEM.fullmatch(path.name) or path.name == KEPT_STEMS):
            continue
        if len(parts) == 2 and OLD.fullmatch(parts[0]):
            yield _orphan("layout", root, path)
        elif len(parts) == 3 and OLD.fullmatch(parts[1]):
            if path.parent not in current:
                yield _orphan("kept" if (path.parent / KEPT_STEMS).is_file() else "stems", root, path)
            elif path.name != KEPT_STEMS:
                yield _orphan("stems", root, path)


def _stem_rows(corpus: Corpus) -> list[Stem]:
    """The rows of stems and parts, in tables and journals."""
    found: list[Stem] = []
    for name, kind in (("stems", Stem), ("parts", Part)):
        found += corpus.rows(name, kind) if corpus.table(name).exists() else []
        found += [row for task in table.journalled(corpus.journal(name), kind).values() for row in task]
    return found


def _stored(corpus: Corpus) -> Iterator[Orphan]:
    """Stems and shards in the store that no row, journal or kept stems name."""
    if (bulk := bulk_of(corpus.folder)) is None:
        return
    bulk.claim(corpus.folder)
    rows = _stem_rows(corpus)
    named = {bulk.object_of(row.audio) for row in rows}
    kept = {bulk.object_of(row.audio) for found in map(read, _kept_folders(corpus)) if found is not None for row in found.stems}
    packed = bulk_of(corpus.dataset)
    named |= {packed.object_of(shard) for shard in shards.read(corpus.dataset)} if packed is not None else set()
    for address, num_bytes in bulk.objects().items():
        if address not in named:
            yield Orphan("kept" if address in kept else "stored", corpus.folder, place_of(address), num_bytes)


def _kept_folders(corpus: Corpus) -> Iterator[Path]:
    return (file.parent for file in (corpus.folder / STEMS).glob(f"*/*/{KEPT_STEMS}"))


def _dataset(corpus: Corpus) -> Iterator[Orphan | None]:
    """Sound files and shards of ours that neither the examples nor a journal name. While packing is interrupted none is judged."""
    dataset = corpus.dataset
    if (dataset / shards.JOURNAL).exists():
        return
    finished = corpus.table_rows("examples", Example) if corpus.table("examples").exists() else ()
    rows = chain(finished, (row for task in table.journalled(corpus.journal("examples"), Example).values() for row in task))
    sounds = (shards.in_dataset(file.audio.path) for row in rows for file in row.signals)
    named, earlier = shards.DatasetFiles(sounds, shards.read(dataset)), NameSet(named_before(corpus.folder))
    for path in _files(dataset):
        name = path.relative_to(dataset).as_posix()
        if name not in named and (OUR_EXAMPLE.fullmatch(name) or name in earlier):
            yield _orphan("dataset", dataset, path)
