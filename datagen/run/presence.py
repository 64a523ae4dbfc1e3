"""Whether the files that rows name are there: what a start may skip.

Conventions
    Each row is looked at by itself: rows are there if every one of them is. A finished table is looked at by columns, without making
    records: on a finished corpus, a start does little else.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from stemwright.manifests.disk.bulk import is_stored
from stemwright.manifests.disk.regular import has_size
from stemwright.manifests.records import AudioFile, Record
from stemwright.manifests.table_rows import TableRows

Flags = npt.NDArray[np.bool_]


class Present(Protocol):
    """Says of rows whether all that they name is there."""

    def __call__(self, rows: Sequence[Any], /) -> bool:
        """Whether all is there that these rows name."""
        ...


class _Named(NamedTuple):
    """What a row says about a file, as far as it is needed to find it."""

    path: str
    num_bytes: int
    sha256: str

    @classmethod
    def columns(cls) -> tuple[str, ...]:
        """The columns of a table that have these values."""
        return tuple(f"audio.{name}" for name in cls._fields)


@cache
def _has(kind: type[object], name: str) -> bool:
    """Whether rows of a type have a column: asking a record for one that it has not takes as long as looking for a file."""
    return name in getattr(kind, "model_fields", ())


@cache
def _has_files(kind: Any) -> tuple[bool, bool]:
    """Whether rows of a type name files of the corpus in ``audio``, and in ``signals``; those about the songs folder name none there."""
    return (False, False) if _has(kind, "source") else (_has(kind, "audio"), _has(kind, "signals"))


def files_of(row: Any) -> Iterator[AudioFile]:
    """The files that a row says exist in the corpus folder. Rows about the songs folder name none there."""
    kind: Any = type(row)
    has_audio, has_signals = _has_files(kind)
    if has_audio and isinstance(row.audio, AudioFile):
        yield row.audio
    for signal in row.signals if has_signals else ():
        yield signal.audio


def files_exist(folder: Path, rows: Iterable[Record]) -> bool:
    """Whether every file that the rows name is there and whole, in the folder or its store."""
    root = f"{folder}/"
    for row in rows:
        for file in files_of(row):
            if not has_size(root + file.path, file.num_bytes) and not is_stored(folder, file):
                return False
    return True


@dataclass(frozen=True)
class FilesExist:
    """``files_exist`` in a folder, also of the rows of a table."""

    folder: Path

    def __call__(self, rows: Sequence[Record], /) -> bool:
        """Whether every file that the rows name is there."""
        return files_exist(self.folder, rows)

    def of_table(self, rows: TableRows[Any], wanted: Flags) -> Flags:
        """Of each row of a table whether its files are there; False for those that are not wanted."""
        kind: Any = rows.record_type
        if _has(kind, "source") or not (_has(kind, "audio") or _has(kind, "signals")):
            return wanted.copy()
        if not _has(kind, "audio") or kind.model_fields["audio"].annotation is not AudioFile or not rows.has_columns(*_Named.columns()):
            return flags_by_record(rows, wanted, self)
        found, start, root = np.zeros(len(rows), np.bool_), 0, str(self.folder)
        for batch in rows.columns(*_Named.columns()):
            here = wanted[start : start + batch.num_rows]
            audio = batch.column(0)
            if here.any():
                columns = (audio.field(name).to_pylist() for name in _Named._fields)
                files = zip(here.tolist(), map(_Named, *columns), strict=True)
                found[start : start + batch.num_rows] = [
                    asked and (has_size(f"{root}/{file.path}", file.num_bytes) or is_stored(self.folder, file)) for asked, file in files
                ]
            start += batch.num_rows
        return found


def flags_by_record(rows: TableRows[Any], wanted: Flags, present: Present) -> Flags:
    """Of each row of a table whether what it names is there, by its record; False for those that are not wanted."""
    found, start = np.zeros(len(rows), np.bool_), 0
    for batch in rows.columns():
        here = wanted[start : start + batch.num_rows]
        if here.any():
            records = zip(here.tolist(), rows.records(batch, start), strict=True)
            found[start : start + batch.num_rows] = [asked and present((record,)) for asked, record in records]
        start += batch.num_rows
    return found


def flags_of(rows: TableRows[Any], wanted: Flags, present: Present) -> Flags:
    """Of each row of a table whether what it names is there; False for those that are not wanted."""
    return present.of_table(rows, wanted) if isinstance(present, FilesExist) else flags_by_record(rows, wanted, present)
