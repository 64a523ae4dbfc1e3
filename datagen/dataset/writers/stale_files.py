"""Removing the files of examples that are no longer planned: those that an earlier table or journal of ours names, and no others.

Conventions
    Before rendering writes a file, ``begun.jsonl.part`` in the corpus folder names it, one JSON text a line: so a file that a killed
    process wrote but did not journal is known as ours even when the plan has changed since. It is removed when the stage ends.
    Paths are those inside the dataset folder, as its own rows call them.
    Names are read without checking the rows they are in, which may be of another version; each is checked before it is used.
    ``stemwright.manifests.disk.deletion`` says what is deleted at all, and what a link is to it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from stemwright.manifests import shards, table
from stemwright.manifests.disk import deletion, durable
from stemwright.manifests.disk.regular import regular
from stemwright.manifests.names import inside
from stemwright.manifests.records import Refused
from stemwright.manifests.shards import DATASET, in_dataset
from stemwright.manifests.sound.formats import SUFFIXES

BEGUN = "begun.jsonl.part"
ROWS_AT_ONCE = 1024
OURS = (*SUFFIXES.values(), ".tar", ".parquet")  # the suffixes that we give, besides those of other packages' shards


def note_started(corpus: Path, paths: Iterable[str], writer: str = "") -> None:
    """Notes, on the disk, that files are about to be written under these paths. Of several writers each has notes of its own."""
    notes = table.journal_of(corpus / BEGUN, writer)
    deletion.check_plain(notes)
    is_new = not notes.exists()
    with notes.open("a", encoding="utf-8") as file:
        file.writelines(f"{json.dumps(path)}\n" for path in paths)
        file.flush()
        durable.sync(file.fileno())
    if is_new:
        durable.sync_folder(corpus)


def claim(corpus: Path, paths: Sequence[str]) -> None:
    """Notes that files are about to be written under names that a user's files could have as well.

    Raises Refused if a link leads there, or if a file has such a name already that no earlier run of ours wrote.
    """
    dataset = corpus / DATASET
    for path in paths:
        deletion.check_way(dataset, dataset / path)
    taken = {path for path in paths if os.path.lexists(dataset / path)}
    if taken and (others := sorted(taken.difference(named_before(corpus)))):
        raise Refused(f"{dataset / others[0]} is not a file of this corpus, and a file of that name must be written; move it away")
    note_started(corpus, paths)


def forget_started(corpus: Path) -> None:
    """Removes the notes: the tables now name all that was written."""
    table.remove_journals(corpus / BEGUN)


def has_unfinished(corpus: Path) -> bool:
    """Whether a process was killed that may have written files which no table names."""
    return bool(table.journals(corpus / BEGUN))


def remove_stale(corpus: Path, wanted: Container[str], shard_suffix: str = "") -> int:
    """Removes the files that were named before and are not wanted now; returns how many were there. ``shard_suffix`` is the format's."""
    dataset, ours = corpus / DATASET, (*OURS, *((shard_suffix,) if shard_suffix else ()))
    stale = {path for path in named_before(corpus) if path not in wanted and path.endswith(ours) and _is_inside(path)}
    return deletion.remove_all(dataset, [dataset / path for path in sorted(stale)])


def _is_inside(path: str) -> bool:
    with suppress(ValueError):
        return bool(inside(path))
    return False


def named_before(corpus: Path) -> Iterator[str]:
    """Every path that the tables, journals and notes of earlier runs give to a file of the dataset; some of them several times."""
    dataset = corpus / DATASET
    yield from (path for notes in table.journals(corpus / BEGUN) for path in _lines(notes) if isinstance(path, str))
    yield from map(in_dataset, _column(corpus / "examples.parquet", "signals", "audio", "path"))
    yield from _column(dataset / "examples.parquet", "signals", "audio", "path")
    yield from _column(dataset / shards.TABLE, "path")
    yield from _column(dataset / shards.TABLE, "members", "path")
    for journal in table.journals(corpus / f"examples{table.JOURNAL}"):
        yield from map(in_dataset, _journalled(journal, lambda row: [file["audio"]["path"] for file in row["signals"]]))
    yield from _journalled(dataset / shards.JOURNAL, lambda row: [row["path"], *(member["path"] for member in row["members"])])


def _journalled(journal: Path, paths_in: Callable[[Any], list[str]]) -> Iterator[str]:
    """The paths in all whole lines of a journal, in those too that a later line voids."""
    for entry in _lines(journal):
        found: list[str] = []
        with suppress(KeyError, TypeError):  # not one of ours
            found = [path for row in entry["rows"] for path in paths_in(row) if isinstance(path, str)]
        yield from found


def _lines(path: Path) -> Iterator[Any]:
    """The values of a file of JSON lines; an incomplete line is skipped."""
    if path.is_file():
        with path.open("rb") as file:
            for line in file:
                with suppress(ValueError):
                    yield json.loads(line.lstrip(b"\0"))


def _column(path: Path, name: str, *fields: str) -> Iterator[str]:
    """The texts of a column, or of a field of the records in its lists; none if there is no such table."""
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    with suppress(OSError, KeyError, pa.ArrowInvalid, pa.ArrowTypeError):  # pyarrow's FileNotFoundError is an OSError
        for batch in pq.ParquetFile(regular(path)).iter_batches(batch_size=ROWS_AT_ONCE, columns=[name]):
            values = batch.column(name)
            if fields:
                values = pc.struct_field(pc.list_flatten(values), list(fields))
            yield from values.drop_null().to_pylist()
