"""The kind and split of pairs, by their ids; those of tables are read from columns, without making records."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from stemwright.manifests.joined_rows import ById, JoinedRows, SelectedRows
from stemwright.manifests.pair_records import Pair
from stemwright.manifests.records import Record
from stemwright.manifests.table_rows import TableRows


def columns_of(rows: Sequence[Record], *names: str) -> Iterator[tuple[Any, ...]]:
    """The values of some columns, one tuple a row."""
    if not isinstance(rows, TableRows | JoinedRows | SelectedRows):
        yield from (tuple(getattr(row, name) for name in names) for row in rows)
        return
    for batch in rows.columns(*names):
        yield from zip(*(batch.column(name).to_pylist() for name in names), strict=True)


def by_id(pairs: Sequence[Pair]) -> Mapping[str, Pair]:
    """Pairs by their ids."""
    if isinstance(pairs, TableRows):
        return ById(JoinedRows(pairs))
    return ById(pairs) if isinstance(pairs, JoinedRows) else {pair.id: pair for pair in pairs}


class KindsById:
    """Kind and split of each pair, in 14 bytes; ``names`` are the different (kind, split), in the order of their numbers."""

    def __init__(self, pairs: Sequence[Pair]) -> None:
        numbers: dict[tuple[str, str], int] = {}
        columns = columns_of(pairs, "id", "kind", "split")
        found = ((int(key, 16), numbers.setdefault((kind, split), len(numbers))) for key, kind, split in columns)
        rows = np.fromiter(found, np.dtype([("id", np.uint64), ("number", np.uint16)]))
        self._order = np.argsort(rows["id"], kind="stable").astype(np.uint32)
        self._rows = rows[self._order]
        self.names = list(numbers)

    def number(self, pair_id: str) -> int:
        """The number of the kind and split of a pair. Raises KeyError if there is no such pair."""
        return int(self._rows["number"][self._at(pair_id)])

    def row(self, pair_id: str) -> int:
        """The number of a pair in the order of the pairs, from 0. Raises KeyError if there is no such pair."""
        return int(self._order[self._at(pair_id)])

    def _at(self, pair_id: str) -> int:
        wanted = np.uint64(int(pair_id, 16))
        at = int(np.searchsorted(self._rows["id"], wanted, side="right")) - 1
        if at < 0 or self._rows["id"][at] != wanted:
            raise KeyError(pair_id)
        return at
