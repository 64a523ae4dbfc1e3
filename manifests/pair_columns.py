"""What pairs are made of, from the columns that say it, without a record of a pair being made."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from stemwright.manifests.joined_rows import JoinedRows, SelectedRows
from stemwright.manifests.table_rows import TableRows

SOURCES = ("inputs.branches.source_id", "targets.branches.source_id")


def sources_of_pairs(pairs: TableRows[Any] | JoinedRows[Any] | SelectedRows[Any]) -> Iterator[tuple[str, str, str, list[str]]]:
    """(id, track, split, sources of all branches) of each pair."""
    for batch in pairs.columns("id", "track_id", "split", *SOURCES):
        for pair in batch.to_pylist():
            branches = (branch for side in ("inputs", "targets") for signal in pair[side] for branch in signal["branches"])
            yield pair["id"], pair["track_id"], pair["split"], [branch["source_id"] for branch in branches]
