"""Which examples go into which shard, and what a worker is given to assemble one.

Conventions
    Examples are in the order of their pairs' ids, kind by kind and split by split. Rows stay where they are until a shard is assembled.
"""

from __future__ import annotations

import hashlib
from array import array
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path

import numpy as np

from stemwright.datagen.dataset.writers.as_written import labels_text
from stemwright.datagen.dataset.writers.kinds import KindsById, by_id
from stemwright.manifests.dataset_rows import SourceRows
from stemwright.manifests.disk.name_set import NameSet
from stemwright.manifests.pair_records import Example, Pair, SignalFile
from stemwright.manifests.records import Refused, content_id
from stemwright.manifests.shards import DATASET, Place, in_dataset
from stemwright.manifests.spooled_sounds import SpooledSounds


@dataclass(frozen=True)
class RenderedFiles:
    """Reads the sound files that are to be packed: those that ``spooled`` finds in the spool, by path, and files of their own."""

    dataset: Path
    spooled: Mapping[str, tuple[Place, ...]]

    def read(self, file: SignalFile) -> bytes:
        """The bytes of a signal's sound file. Raises Refused if they are not those that were rendered."""
        path = in_dataset(file.audio.path)
        places = [place for place in (*self.spooled.get(path, ()), Place(self.dataset / path)) if place.file.exists()]
        for place in places or [Place(self.dataset / path)]:
            data = place.read()
            if hashlib.sha256(data).hexdigest() == file.audio.sha256:
                return data
        named = places[0].file
        raise Refused(f"{file.audio.path} has changed since it was rendered; delete {named} and run the same command again")


@dataclass(frozen=True)
class ShardContent:
    """What goes into one shard: its path in the dataset, its examples, the signals (role, name) that any example of its kind has, and what
    is known of the sources; ``loose`` reads the sound files. It is sent to a worker as it is.
    """

    path: str
    examples: tuple[tuple[Pair, Example], ...]
    signals: tuple[tuple[str, str], ...]
    loose: RenderedFiles
    facts: SourceRows

    def labels(self, pair: Pair, example: Example) -> str:
        """All that is known about an example, as one JSON text."""
        return labels_text(pair, example, self.facts)

    @cached_property
    def labels_id(self) -> str:
        """A hash of the labels of all examples."""
        return content_id([self.labels(pair, example) for pair, example in self.examples])

    def members(self) -> list[str]:
        """The paths of the sound files in it, as in the dataset's rows, in the order of the examples."""
        return [in_dataset(file.audio.path) for _, example in self.examples for file in example.signals]


@dataclass(frozen=True)
class ShardLimits:
    """When a shard is full: in 10^6 bytes of sound files, and in examples."""

    shard_mb: float
    shard_examples: int | None = None


class ShardPlan:
    """Says which examples go into which shard, and what is in each; ``paths`` are those of the shards, in their order.

    In memory are 16 bytes an example and 8 a sound file; an example and its pair are read when a shard is assembled. ``spooled`` finds the
    sound files that are in the spool then; without it they are files of their own.
    """

    def __init__(self, corpus: Path, pairs: Sequence[Pair], examples: Sequence[Example], limits: ShardLimits, suffix: str) -> None:
        self._dataset, self._facts = corpus / DATASET, SourceRows.read(corpus)
        self.spooled: SpooledSounds | None = None
        self._pairs, self._examples = by_id(pairs), examples
        self._signals: dict[str, dict[tuple[str, str], None]] = defaultdict(dict)
        groups = KindsById(pairs)
        ids, sizes, of_group = array("Q"), array("Q"), array("H")
        self.wanted = NameSet(self._looked_through(groups, ids, sizes, of_group))
        in_order = sorted(groups.names)
        ranks = np.array([in_order.index(name) for name in groups.names], np.int64)
        order = np.lexsort((np.array(ids, np.uint64), ranks[np.array(of_group, np.int64)]))
        self._numbers = order.astype(np.uint32)
        self._spans: dict[str, tuple[int, int]] = {}
        group = np.array(of_group, np.int64)[order]
        ends = [*(np.flatnonzero(group[1:] != group[:-1]) + 1).tolist(), *([len(order)] if len(order) else [])]
        size = np.array(sizes, np.uint64)[order]
        for start, end in pairwise([0, *ends]):
            kind, split = groups.names[group[start]]
            for number, (first, last) in enumerate(_parts(size[start:end].tolist(), limits)):
                self._spans[f"{kind}/{split}-{number:06d}{suffix}"] = (start + first, start + last)

    @property
    def paths(self) -> list[str]:
        """The paths of all shards in the dataset folder, in order."""
        return list(self._spans)

    def _looked_through(self, groups: KindsById, ids: array[int], sizes: array[int], of_group: array[int]) -> Iterator[str]:
        """Records id, size and group of each example; yields the paths of its sound files, as in the dataset's rows."""
        for example in self._examples:
            number = groups.number(example.pair_id)
            paths = [in_dataset(file.audio.path) for file in example.signals]
            ids.append(int(example.pair_id, 16))
            sizes.append(sum(file.audio.num_bytes for file in example.signals))
            of_group.append(number)
            self._signals[groups.names[number][0]].update(dict.fromkeys((file.role, file.name) for file in example.signals))
            yield from paths

    def content(self, path: str) -> ShardContent:
        """What goes into a shard."""
        first, last = self._spans[path]
        rows = [self._examples[number] for number in self._numbers[first:last].tolist()]
        found = tuple((self._pairs[row.pair_id], row) for row in rows)
        facts = self._facts.of_pairs(pair for pair, _ in found)
        return ShardContent(path, found, tuple(sorted(self._signals[path.partition("/")[0]])), self._files(rows), facts)

    def _files(self, rows: Sequence[Example]) -> RenderedFiles:
        """Where the sound files of examples are now."""
        if self.spooled is None:
            return RenderedFiles(self._dataset, {})
        paths = (in_dataset(file.audio.path) for row in rows for file in row.signals)
        return RenderedFiles(self._dataset, {path: places for path in paths if (places := self.spooled.places(path))})


def _parts(sizes: Sequence[int], limits: ShardLimits) -> Iterator[tuple[int, int]]:
    """(number of the first example, number after the last) of each shard."""
    first, filled = 0, 0
    for number, size in enumerate(sizes):
        if number > first and (filled + size > limits.shard_mb * 1e6 or number - first == limits.shard_examples):
            yield first, number
            first, filled = number, 0
        filled += size
    if sizes:
        yield first, len(sizes)
