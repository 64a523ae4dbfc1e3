"""The rows of a table by what they are about, on disk: those of a track, say, in 24 bytes of memory a row.

Conventions
    The rows of a group are in the order of the table, and the groups in that of their first rows.
    Stages write what they look up in one order. So rows that follow those read last are read on from there, batch by batch; others are
    looked up by their numbers (``stemwright.manifests.table_rows``).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np

from stemwright.manifests.joined_rows import JoinedRows
from stemwright.manifests.records import Record
from stemwright.manifests.table_rows import TableRows

R = TypeVar("R", bound=Record)


class ForwardRows:
    """Rows of tables by number: read sequentially where they follow the rows read last, else looked up by number."""

    def __init__(self, rows: JoinedRows[Any]) -> None:
        self._rows, self._start, self._batch = rows, 0, ()
        self._left = self._batches()

    def _batches(self) -> Iterator[tuple[int, TableRows[Any], Any, int]]:
        start = 0
        for table in self._rows.tables:
            within = 0
            for batch in table.columns():
                yield start + within, table, batch, within
                within += batch.num_rows
            start += len(table)

    def take(self, first: int, count: int) -> Sequence[Any]:
        """The records of ``count`` rows, beginning with the row ``first``."""
        if first < self._start:
            return list(self._rows.take(range(first, first + count)))
        found: list[Any] = []
        while len(found) < count:
            at = first + len(found) - self._start
            if at < len(self._batch):
                found += self._batch[at : at + count - len(found)]
                continue
            start, table, batch, within = next(self._left)
            self._start = start
            self._batch = table.records(batch, within) if first + len(found) < start + batch.num_rows else ()
        return found


class GroupedRows(Mapping[str, Sequence[R]]):
    """Id -> the rows that have it in a column, made into records as they are used.

    Raises ValueError naming the file if the column holds no ids.
    """

    def __init__(self, rows: TableRows[R], name: str) -> None:
        self._rows = JoinedRows(rows)
        try:
            numbers = self._rows.ids(name)
        except ValueError as error:
            raise ValueError(f"{rows.path}: column {name}: {error}") from error
        self._order = np.argsort(numbers, kind="stable").astype(np.int32)
        self._ids, starts = np.unique(numbers[self._order], return_index=True)
        self._ends = np.append(starts, len(numbers))
        self._sequence = np.argsort(self._order[starts])
        self._reader = ForwardRows(self._rows)

    def forward(self, some: slice = slice(None)) -> GroupedRows[R]:
        """The same for another pass in the order of the table, over all groups or some of them."""
        other: GroupedRows[R] = GroupedRows.__new__(GroupedRows)
        other.__dict__.update(self.__dict__, _reader=ForwardRows(self._rows), _sequence=self._sequence[some])
        return other

    def __len__(self) -> int:
        return len(self._sequence)

    def __iter__(self) -> Iterator[str]:
        return (f"{number:016x}" for number in self._ids[self._sequence])

    def __getitem__(self, wanted: str) -> Sequence[R]:
        try:
            number = np.uint64(int(wanted, 16))
        except (ValueError, OverflowError):
            raise KeyError(wanted) from None
        group = int(np.searchsorted(self._ids, number))
        if group == len(self._ids) or self._ids[group] != number or len(wanted) != 16:
            raise KeyError(wanted)
        rows = self._order[self._ends[group] : self._ends[group + 1]].tolist()
        if rows[-1] - rows[0] == len(rows) - 1:
            return self._reader.take(rows[0], len(rows))
        return list(self._rows.take(rows))
