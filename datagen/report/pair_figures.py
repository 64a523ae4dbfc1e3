"""What the report counts of pairs and examples, column by column and batch by batch: of a million pairs only numbers are in memory.

Conventions
    The pairs are those that count (``Rows.pairs``): of a pair that was drawn again, the last one that was drawn.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from stemwright.manifests.id_numbers import Ids, among, numbers_of, plain
from stemwright.manifests.joined_rows import SelectedRows
from stemwright.manifests.pair_columns import SOURCES, Flags, Numbers, TrackNumbers, sources_in
from stemwright.manifests.pair_records import Pair


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
    import pyarrow.compute as pc

    found, start = PairCounts(), 0
    for batch in pairs.columns("kind", "split", "num_frames", "sample_rate", "track_id"):
        kinds, splits = (batch.column(name).dictionary_encode() for name in ("kind", "split"))
        done = rendered[start : start + batch.num_rows]
        numbers = (plain(batch.column(name)) for name in ("num_frames", "sample_rate"))
        columns = np.stack([plain(kinds.indices), plain(splits.indices), done, *numbers])
        _, first, counts = np.unique(columns, axis=1, return_index=True, return_counts=True)
        for place in np.argsort(first).tolist():
            kind, split, is_done, *length = columns[:, first[place]].tolist()
            found.of_group[PairGroup(kinds.dictionary[kind].as_py(), splits.dictionary[split].as_py(), bool(is_done), *length)] += int(
                counts[place]
            )
        found.of_track.update({each["values"]: each["counts"] for each in pc.value_counts(batch.column("track_id")).to_pylist()})
        start += batch.num_rows
    return found


def rendered_of(pairs: SelectedRows[Pair], example_pairs: Ids) -> Flags:
    """For each pair whether it has an example [N], from the pairs of all examples."""
    return among(pairs.ids(), np.unique(example_pairs))


def tracks_of_pairs(pairs: SelectedRows[Pair], numbers: TrackNumbers) -> Iterator[tuple[Numbers, Numbers]]:
    """Batch by batch (numbers of pairs, numbers of tracks that they are made of): the pair's own, which may be -1, those of its sources."""
    start = 0
    for batch in pairs.columns("track_id", *SOURCES):
        rows, sources = sources_in(batch)
        tracks = numbers.of_sources(sources)
        own = np.arange(batch.num_rows), numbers.of(numbers_of(batch.column("track_id")))
        yield start + np.concatenate([own[0], rows[tracks >= 0]]), np.concatenate([own[1], tracks[tracks >= 0]])
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
