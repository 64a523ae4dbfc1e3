"""What pairs are made of, from the columns that say it, without a record of a pair being made."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from stemwright.manifests.id_numbers import Ids, numbers_of, places_among, plain
from stemwright.manifests.joined_rows import JoinedRows, SelectedRows
from stemwright.manifests.records import Stem, Track
from stemwright.manifests.table_rows import TableRows

if TYPE_CHECKING:
    import pyarrow

SIDES = ("inputs", "targets")
SOURCES = ("inputs.branches.source_id", "targets.branches.source_id")
Numbers = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]


def sources_of_pairs(pairs: TableRows[Any] | JoinedRows[Any] | SelectedRows[Any]) -> Iterator[tuple[str, str, str, list[str]]]:
    """(id, track, split, sources of all branches) of each pair."""
    for batch in pairs.columns("id", "track_id", "split", *SOURCES):
        yield from sources_of(batch)


def sources_of(batch: pyarrow.RecordBatch) -> Iterator[tuple[str, str, str, list[str]]]:
    """As ``sources_of_pairs``, of a batch with these columns."""
    for pair in batch.to_pylist():
        branches = (branch for side in SIDES for signal in pair[side] for branch in signal["branches"])
        yield pair["id"], pair["track_id"], pair["split"], [branch["source_id"] for branch in branches]


def sources_in(batch: pyarrow.RecordBatch) -> tuple[Numbers, Ids]:
    """(row, source) of every branch in a batch with the columns ``SOURCES``: row by row, those of the inputs first."""
    import pyarrow.compute as pc

    sides = [branches_of(*signals_of(batch, side)) for side in SIDES]
    rows = np.concatenate([side.rows for side in sides])
    order = np.argsort(rows, kind="stable")
    return rows[order], np.concatenate([numbers_of(pc.struct_field(side.branches, "source_id")) for side in sides])[order]


class SourceBranches(NamedTuple):
    """The branches of one side of a batch of pairs: of which pair, of which signal, and themselves."""

    rows: Numbers
    signals: Numbers
    branches: Any


def signals_of(batch: pyarrow.RecordBatch, side: str) -> tuple[Numbers, Any]:
    """(row of its pair for each signal, the signals) of one side of a batch of pairs."""
    import pyarrow.compute as pc

    column = batch.column(side)
    return plain(pc.list_parent_indices(column)).astype(np.int64), pc.list_flatten(column)


def branches_of(rows: Numbers, signals: Any) -> SourceBranches:
    """The branches of signals; ``rows`` are the rows of the pairs of these signals."""
    import pyarrow.compute as pc

    branches = pc.struct_field(signals, "branches")
    parents = plain(pc.list_parent_indices(branches)).astype(np.int64)
    return SourceBranches(rows[parents], parents, pc.list_flatten(branches))


def sends_of(signals: Any) -> Any:
    """The lists of sends of signals; None in a table of a version without them."""
    import pyarrow.compute as pc

    return pc.struct_field(signals, "sends") if signals.type.get_field_index("sends") >= 0 else None


class TrackNumbers:
    """Of which tracks pairs are made: ids of tracks, or of their stems, as numbers of tracks from 0 in the order of their ids."""

    def __init__(self, tracks: JoinedRows[Track], stems: JoinedRows[Stem]) -> None:
        self.tracks = np.unique(tracks.ids())
        ids = stems.ids()
        order = np.argsort(ids, kind="stable")
        self._stems, self._track_of_stem = ids[order], self.of(stems.ids("track_id")[order])

    def of(self, track_ids: Ids) -> Numbers:
        """The numbers of tracks; -1 for an id of none."""
        return places_among(track_ids, self.tracks)

    def of_sources(self, source_ids: Ids) -> Numbers:
        """The numbers of the tracks of stems and mixtures; -1 for a source that is in no table."""
        stems = places_among(source_ids, self._stems)
        of_stem = self._track_of_stem[stems] if len(self._stems) else stems
        return np.where(stems >= 0, of_stem, self.of(source_ids))
