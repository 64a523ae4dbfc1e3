"""Rows that a process has made and will use again, in a temporary file that ends with it: 8 bytes of memory a row.

Conventions
    The file has no name, so that nothing is left of a process that is killed. A row is a line of JSON; a record is made when it is used.
"""

from __future__ import annotations

import tempfile
from array import array
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import IO, TypeVar

from stemwright.manifests.disk import durable
from stemwright.manifests.records import Record
from stemwright.manifests.table_rows import NumberedRows

R = TypeVar("R", bound=Record)


class SpooledRows(NumberedRows[R]):
    """Rows in the order in which they are added. ``folder`` is that of a disk with room for them, a kilobyte each or more.

    Use as a context manager.
    """

    def __init__(self, folder: Path, record_type: type[R], rows: Iterable[R] = ()) -> None:
        self.record_type, self._starts = record_type, array("Q")
        durable.make_folder(folder)
        self._file: IO[bytes] = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115  # closed by __exit__
        self.extend(rows)

    def __enter__(self) -> SpooledRows[R]:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._file.close()

    def extend(self, rows: Iterable[R]) -> None:
        """Adds rows."""
        end = self._file.seek(0, 2)
        for row in rows:
            self._starts.append(end)
            end += self._file.write(row.model_dump_json().encode() + b"\n")

    def __len__(self) -> int:
        return len(self._starts)

    def __iter__(self) -> Iterator[R]:
        return self.take(range(len(self)))

    def take(self, numbers: Iterable[int]) -> Iterator[R]:
        """The records of the rows of these numbers, from 0, in any order."""
        for number in numbers:
            self._file.seek(self._starts[number])
            yield self.record_type.model_validate_json(self._file.readline())

    def few(self, numbers: Iterable[int]) -> list[R]:
        """As ``take``."""
        return list(self.take(numbers))
