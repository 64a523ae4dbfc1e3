"""Rows of several tables as one sequence, those of them that a condition selects, and rows by their ids; a record is made when it is used.

Conventions
    Those of ``stemwright.manifests.table_rows``.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache, partial
from itertools import accumulate, chain, compress
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import numpy.typing as npt

from stemwright.manifests.id_numbers import Ids, flags_in_arrow, numbers_or_0
from stemwright.manifests.records import Record
from stemwright.manifests.table_rows import BATCH_ROWS, NumberedRows, RowBatch, TableRows

if TYPE_CHECKING:
    import pyarrow

R = TypeVar("R", bound=Record)
KEPT = 256  # records that were looked up last


class JoinedRows(NumberedRows[R]):
    """The rows of several tables of one type, one table after another; empty without tables."""

    def __init__(self, *tables: TableRows[R]) -> None:
        self.tables = tables

    def __len__(self) -> int:
        return sum(map(len, self.tables))

    def __iter__(self) -> Iterator[R]:
        return chain.from_iterable(self.tables)

    def take(self, numbers: Iterable[int]) -> Iterator[R]:
        """The records of the rows of these numbers, from 0, in any order."""
        ends = list(accumulate(map(len, self.tables)))
        for number in numbers:
            which = bisect_right(ends, number)
            yield self.tables[which][number - (ends[which - 1] if which else 0)]

    def few(self, numbers: Sequence[int]) -> list[R]:
        """The records of a few rows, as ``TableRows.few`` gives them."""
        ends, found = list(accumulate(map(len, self.tables))), dict[int, R]()
        for rows, end in zip(self.tables, ends, strict=True):
            inside = [number for number in numbers if end - len(rows) <= number < end]
            found.update(zip(inside, rows.few([number - end + len(rows) for number in inside]), strict=True))
        return [found[number] for number in numbers]

    def row_batches(self) -> Iterator[RowBatch[R]]:
        """All rows, in order, some at a time."""
        for rows in self.tables:
            yield from rows.row_batches()

    def columns(self, *names: str, num_rows: int | None = None) -> Iterator[pyarrow.RecordBatch]:
        """Named columns, as ``TableRows.columns`` gives them."""
        for rows in self.tables:
            yield from rows.columns(*names, num_rows=num_rows)

    def ids(self, name: str = "id") -> Ids:
        """A column of ids, as numbers (``numbers_of``); 0 for a missing id."""
        found, start = np.zeros(len(self), np.uint64), 0
        for batch in self.columns(name, num_rows=64 * BATCH_ROWS):
            found[start : start + batch.num_rows] = numbers_or_0(batch.column(0))
            start += batch.num_rows
        return found


def _chosen(records: Callable[[], tuple[R, ...]], chosen: npt.NDArray[np.bool_]) -> tuple[R, ...]:
    return tuple(compress(records(), chosen))


class SelectedRows(NumberedRows[R]):
    """The rows for which ``chosen`` [N] is True, in order."""

    def __init__(self, rows: JoinedRows[R], chosen: npt.NDArray[np.bool_]) -> None:
        self._rows, self._chosen = rows, chosen
        self._numbers = np.flatnonzero(chosen)

    def __len__(self) -> int:
        return len(self._numbers)

    def __iter__(self) -> Iterator[R]:
        return compress(self._rows, self._chosen)

    def take(self, numbers: Iterable[int]) -> Iterator[R]:
        """The records of the rows of these numbers, from 0, in any order."""
        return self._rows.take(int(self._numbers[number]) for number in numbers)

    def few(self, numbers: Sequence[int]) -> list[R]:
        """The records of a few rows, as ``TableRows.few`` gives them."""
        return self._rows.few(self._numbers[numbers].tolist())

    def row_batches(self) -> Iterator[RowBatch[R]]:
        """All rows, in order, some at a time."""
        start = 0
        for batch in self._rows.row_batches():
            chosen = self._chosen[start : start + batch.columns.num_rows]
            start += len(chosen)
            if chosen.all():
                yield batch
            elif chosen.any():
                yield RowBatch(batch.columns.filter(flags_in_arrow(chosen)), partial(_chosen, batch.records, chosen))

    def columns(self, *names: str, num_rows: int | None = None) -> Iterator[pyarrow.RecordBatch]:
        """Named columns, as ``TableRows.columns`` gives them."""
        start = 0
        for batch in self._rows.columns(*names, num_rows=num_rows):
            chosen = self._chosen[start : start + batch.num_rows]
            yield batch if chosen.all() else batch.filter(flags_in_arrow(chosen))
            start += batch.num_rows

    def ids(self, name: str = "id") -> Ids:
        """As ``JoinedRows.ids``."""
        return self._rows.ids(name)[self._chosen]


class ById(Mapping[str, R]):
    """Rows by their ids, or by another column of ids; the last of several counts. The records used last are kept.

    ``mapped`` says that many are to be looked up: a large table is then copied and mapped, else each is read from its group of rows.
    """

    def __init__(self, rows: JoinedRows[R], name: str = "id", *, mapped: bool = True) -> None:
        ids = rows.ids(name)
        self._order = np.argsort(ids, kind="stable")
        self._ids = ids[self._order]
        self._record = lru_cache(KEPT)(rows.__getitem__ if mapped else lambda number: rows.few([number])[0])

    def __getitem__(self, wanted: str) -> R:
        if (number := self._number(wanted)) is None:
            raise KeyError(wanted)
        return self._record(number)

    def __contains__(self, wanted: object) -> bool:
        return isinstance(wanted, str) and self._number(wanted) is not None

    def __iter__(self) -> Iterator[str]:
        return (f"{number:016x}" for number in np.unique(self._ids).tolist())

    def __len__(self) -> int:
        return len(np.unique(self._ids))

    def _number(self, wanted: str) -> int | None:
        try:
            value = np.uint64(int(wanted, 16))
        except (ValueError, OverflowError):
            return None
        at = int(np.searchsorted(self._ids, value, side="right")) - 1
        return int(self._order[at]) if at >= 0 and self._ids[at] == value and len(wanted) == 16 else None
