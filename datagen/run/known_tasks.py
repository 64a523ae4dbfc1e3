"""The tasks of a stage that were done before, and their rows, which stay in the journal and the finished table until they are used.

Conventions
    A journal is later than the table: what it says of a task counts, also that its work is void.
    In memory are 16 bytes a task that was done, and one a task that is wanted.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import compress
from typing import Any, overload

import numpy as np

from stemwright.datagen.run.tasks import Task
from stemwright.manifests.joined_rows import JoinedRows
from stemwright.manifests.journal_index import TaskIndex, number_of_task
from stemwright.manifests.records import Record


class KnownTasks:
    """The rows of tasks that were done, by task."""

    def __init__(self, journal: TaskIndex[Any], finished: JoinedRows[Any]) -> None:
        self._journal, self._finished = journal, finished
        keys = finished.ids("cache_key")
        self._order = np.argsort(keys, kind="stable").astype(np.int32)
        self._keys = keys[self._order]

    def of(self, task: Task) -> tuple[Record, ...]:
        """The rows of a task; none if it was not done, or its work is void."""
        if task.id in self._journal:
            return self._journal[task.id]
        number = np.uint64(number_of_task(task.id))
        first, last = (int(np.searchsorted(self._keys, number, side=side)) for side in ("left", "right"))
        found = self._finished.take(self._order[first:last].tolist()) if last > first else ()
        return tuple(row for row in found if row.cache_key == task.id)

    def without(self, tasks: Iterable[Task]) -> Iterator[tuple[str, tuple[Record, ...]]]:
        """(cache key, rows) of what was done besides these tasks and is not void; of the finished table only the first row."""
        wanted = np.unique(np.fromiter((number_of_task(task.id) for task in tasks), np.uint64))
        yield from self._journal.without(wanted)
        first = np.ones(len(self._keys), np.bool_)
        first[1:] = self._keys[1:] != self._keys[:-1]
        for row in self._finished.take(self._order[first & ~np.isin(self._keys, wanted)].tolist()):
            if row.cache_key not in self._journal:
                yield row.cache_key, (row,)


class SomeTasks(Sequence[Task]):
    """Those tasks of a sequence that are marked, in their order; a sequence that makes its tasks when they are used stays one that does."""

    def __init__(self, tasks: Sequence[Task], marks: bytearray) -> None:
        self._tasks, self._marks, self._count = tasks, marks, sum(marks)

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Task]:
        return compress(self._tasks, self._marks)

    @overload
    def __getitem__(self, index: int) -> Task: ...
    @overload
    def __getitem__(self, index: slice) -> list[Task]: ...
    def __getitem__(self, index: int | slice) -> Task | list[Task]:
        (numbers,) = np.frombuffer(bytes(self._marks), np.bool_).nonzero()
        return [self._tasks[number] for number in numbers[index].tolist()] if isinstance(index, slice) else self._tasks[int(numbers[index])]


class RowsOfTasks(Iterable[Any]):
    """The rows of tasks in their order, but of those that were refused; read when they are iterated over."""

    def __init__(self, known: KnownTasks, tasks: Sequence[Task], refused: frozenset[str]) -> None:
        self._known, self._tasks, self._refused = known, tasks, refused

    def __iter__(self) -> Iterator[Any]:
        for task in self._tasks:
            if task.row_id not in self._refused:
                yield from self._known.of(task)
