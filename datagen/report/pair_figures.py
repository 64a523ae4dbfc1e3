"""What the report counts of pairs and examples, column by column and batch by batch: of a million pairs only numbers are in memory.

Conventions
    The pairs are those that count (``Rows.pairs``): of a pair that was drawn again, the last one that was drawn.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from stemwright.manifests.id_numbers import Ids, among, numbers_of, places_among
from stemwright.manifests.joined_rows import JoinedRows, SelectedRows
from stemwright.manifests.pair_records import Pair
from stemwright.manifests.records import Stem, Track

if TYPE_CHECKING:
    import pyarrow

SIDES = ("inputs", "targets")
Numbers = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]


class PairGroup(NamedTuple):
    """What pairs are counted by."""

    kind: str
    split: str
    rendered: bool
    num_frames: int
    sample_rate: int


@dataclass
class PairCounts:
    """How many pairs there are, by their group and of each track."""

    of_group: Counter[PairGroup] = field(default_factory=Counter)
    of_track: Counter[str] = field(default_factory=Counter)

    def total(self, *, kind: str | None = None, split: str | None = None, rendered: bool = False) -> int:
        """How many pairs are of a kind and a split; with ``rendered`` only those that are rendered."""
        return sum(count for group, count in self.of_group.items() if _fits(group, kind, split, rendered))

    def rendered_seconds(self, split: str | None = None) -> float:
        """How long the rendered pairs of a split last."""
        fitting = ((group, count) for group, count in self.of_group.items() if _fits(group, None, split, True))
        return sum(count * group.num_frames / group.sample_rate for group, count in fitting)


def _fits(group: PairGroup, kind: str | None, split: str | None, rendered: bool) -> bool:
    return kind in (group.kind, None) and split in (group.split, None) and (group.rendered or not rendered)


def count_pairs(pairs: SelectedRows[Pair], rendered: Flags) -> PairCounts:
    """Counts pairs; ``rendered`` [N] says which are."""
    found, start = PairCounts(), 0
    for batch in pairs.columns("kind", "split", "num_frames", "sample_rate", "track_id"):
        columns = {name: batch.column(name).to_pylist() for name in batch.schema.names}
        done = rendered[start : start + batch.num_rows].tolist()
        groups = zip(columns["kind"], columns["split"], done, columns["num_frames"], columns["sample_rate"], strict=True)
        found.of_group.update(map(PairGroup._make, groups))
        found.of_track.update(columns["track_id"])
        start += batch.num_rows
    return found


def rendered_of(pairs: SelectedRows[Pair], example_pairs: Ids) -> Flags:
    """For each pair whether it has an example [N], from the pairs of all examples."""
    return among(pairs.ids(), np.unique(example_pairs))


class SourceBranches(NamedTuple):
    """The branches of one side of a batch of pairs: of which pair, of which signal, and themselves."""

    rows: Numbers
    signals: Numbers
    branches: Any


def signals_of(batch: pyarrow.RecordBatch, side: str) -> tuple[Numbers, Any]:
    """(row of its pair for each signal, the signals) of one side of a batch of pairs."""
    import pyarrow.compute as pc

    column = batch.column(side)
    return pc.list_parent_indices(column).to_numpy().astype(np.int64), pc.list_flatten(column)


def branches_of(rows: Numbers, signals: Any) -> SourceBranches:
    """The branches of signals; ``rows`` are the rows of the pairs of these signals."""
    import pyarrow.compute as pc

    branches = pc.struct_field(signals, "branches")
    parents = pc.list_parent_indices(branches).to_numpy().astype(np.int64)
    return SourceBranches(rows[parents], parents, pc.list_flatten(branches))


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


def tracks_of_pairs(pairs: SelectedRows[Pair], numbers: TrackNumbers) -> Iterator[tuple[Numbers, Numbers]]:
    """Batch by batch (numbers of pairs, numbers of tracks that they are made of): the pair's own, which may be -1, those of its sources."""
    import pyarrow.compute as pc

    start = 0
    for batch in pairs.columns("track_id", *(f"{side}.branches.source_id" for side in SIDES)):
        rows, tracks = [np.arange(batch.num_rows)], [numbers.of(numbers_of(batch.column("track_id")))]
        for side in SIDES:
            found = branches_of(*signals_of(batch, side))
            of_sources = numbers.of_sources(numbers_of(pc.struct_field(found.branches, "source_id")))
            rows.append(found.rows[of_sources >= 0])
            tracks.append(of_sources[of_sources >= 0])
        yield start + np.concatenate(rows), np.concatenate(tracks)
        start += batch.num_rows


def pairs_of_groups(
    pairs: SelectedRows[Pair], rendered: Flags, numbers: TrackNumbers, group_of: Sequence[int], num_groups: int
) -> tuple[list[int], list[int]]:
    """For each group of tracks how many pairs have a track of it, and how many of them are rendered.

    ``group_of`` has the group of each track, in the order of ``TrackNumbers``, and then that of a pair whose own track is not known.
    """
    groups, planned, done = np.asarray(group_of, np.int64), np.zeros(num_groups, np.int64), np.zeros(num_groups, np.int64)
    for rows, tracks in tracks_of_pairs(pairs, numbers):
        both = np.unique(rows * num_groups + groups[tracks])  # -1 is the last
        planned += np.bincount(both % num_groups, minlength=num_groups)
        done += np.bincount((both % num_groups)[rendered[both // num_groups]], minlength=num_groups)
    return planned.tolist(), done.tolist()
