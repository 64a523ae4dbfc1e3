"""The tasks of a stage that were done before, and their rows, which stay in the journal and the finished table until they are used.

Conventions
    A journal is later than the table: what it says of a task counts, also that its work is void.
    In memory are 16 bytes a task that was done, and 17 one that is wanted: its number (``number_of_task``), its length, and whether it is
    open. The rows of a task follow one another in the table, as the stage wrote them; where others sorted it, each part counts.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import compress, islice
from typing import Any, overload

import numpy as np
import numpy.typing as npt

from stemwright.datagen.run.presence import Present, flags_of
from stemwright.datagen.run.tasks import Task
from stemwright.manifests.grouped_rows import ForwardRows
from stemwright.manifests.id_numbers import Ids, numbers_of
from stemwright.manifests.id_set import id_number
from stemwright.manifests.joined_rows import JoinedRows
from stemwright.manifests.journal_index import TaskIndex, number_of_task
from stemwright.manifests.records import Record

Marks = npt.NDArray[np.bool_]
AT_ONCE = 1024  # tasks that are looked up together
KEYS_AT_ONCE = 65_536  # rows of which only the key is read
ABOUT = ("track_id", "pair_id")  # columns that say what a row of a stage is about


@dataclass(frozen=True)
class Wanted:
    """What is known of the tasks that a stage is to do: in their order, their numbers and marks of those that are open; and how long these
    last together, in s.
    """

    numbers: Ids
    is_open: bytearray
    open_s: float


class KnownTasks:
    """The rows of tasks that were done, by task."""

    def __init__(self, journal: TaskIndex[Any], finished: JoinedRows[Any]) -> None:
        self._journal, self._finished = journal, finished
        keys, firsts, counts = _runs(finished)
        order = np.argsort(keys, kind="stable").astype(np.int32)
        self._keys, self._firsts, self._counts = keys[order], firsts[order], counts[order]

    def wanted(self, tasks: Iterable[Task], present: Present | None = None) -> Wanted:
        """Which tasks are open: they were not done, their work is void, or not all that their rows name is there.

        Without ``present`` no files are looked for.
        """
        numbers, durations_s, is_open = array("Q"), array("d"), bytearray()
        in_table = bytearray()  # marks of the tasks that the table decides about
        for part, named, places in self._looked_up(tasks):
            for task, number, place in zip(part, named.tolist(), places.tolist(), strict=True):
                if place >= 0:
                    rows = self._journal.rows_at(place, task.id)
                    is_open.append(not rows or not (present is None or present(rows)))
                    in_table.append(False)
                else:
                    is_open.append(True)
                    in_table.append(id_number(task.id) == number)
                durations_s.append(task.duration_s)
            numbers.frombytes(named.tobytes())
        all_numbers, marks = np.frombuffer(numbers, np.uint64), np.frombuffer(is_open, np.bool_)
        if len(self._keys):
            self._look_in_table(all_numbers, np.frombuffer(in_table, np.bool_), marks, present)
        return Wanted(all_numbers, is_open, float(np.frombuffer(durations_s).sum(where=marks)))

    def _look_in_table(self, numbers: Ids, asked: Marks, is_open: Marks, present: Present | None) -> None:
        """Takes the mark off those of the tasks asked about whose rows are in the table, all of them whole."""
        wanted = numbers[asked]
        known = runs = np.isin(self._keys, wanted)
        if not runs.any():
            return
        if present is not None:
            runs = runs & self._whole(runs, present)
        is_open[asked] = ~(np.isin(wanted, self._keys[runs]) & ~np.isin(wanted, self._keys[known & ~runs]))

    def _whole(self, runs: Marks, present: Present) -> Marks:
        """Of each run of rows whether all that it names is there; those that are not marked are not looked at."""
        rows = np.zeros(len(self._finished) + 1, np.int32)
        np.add.at(rows, self._firsts[runs], 1)
        np.add.at(rows, self._firsts[runs] + self._counts[runs], -1)
        asked, start, lost = np.cumsum(rows[:-1], dtype=np.int32) > 0, 0, [np.zeros(1, np.bool_)]
        for table in self._finished.tables:
            here = asked[start : start + len(table)]
            lost.append(here & ~flags_of(table, here, present))
            start += len(table)
        num_lost = np.cumsum(np.concatenate(lost), dtype=np.int32)
        return num_lost[self._firsts + self._counts] == num_lost[self._firsts]

    def rows(self, tasks: Iterable[Task]) -> Iterator[Record]:
        """The rows of tasks, in their order; none of those that were not done, or whose work is void."""
        reader = ForwardRows(self._finished)
        for part, named, places in self._looked_up(tasks):
            first, last = (np.searchsorted(self._keys, named, side=side) for side in ("left", "right"))
            for task, place, one, end in zip(part, places.tolist(), first.tolist(), last.tolist(), strict=True):
                if place >= 0:
                    yield from self._journal.rows_at(place, task.id)
                    continue
                for run in range(one, end):
                    found = reader.take(int(self._firsts[run]), int(self._counts[run]))
                    yield from (row for row in found if row.cache_key == task.id)

    def _looked_up(self, tasks: Iterable[Task]) -> Iterator[tuple[list[Task], Ids, npt.NDArray[np.int64]]]:
        """Tasks, their numbers, and where in the journal their latest lines are; ``AT_ONCE`` at a time."""
        left = iter(tasks)
        while part := list(islice(left, AT_ONCE)):
            numbers = np.fromiter((number_of_task(task.id) for task in part), np.uint64, len(part))
            yield part, numbers, self._journal.places(numbers)

    def without(self, wanted: Ids) -> Iterator[tuple[str, str]]:
        """(cache key, what its rows are about) of what was done besides some tasks, which are given by number, and is not void."""
        for key, rows in self._journal.without(np.unique(wanted)):
            if rows:
                yield key, next((str(getattr(rows[0], name)) for name in ABOUT if hasattr(rows[0], name)), "")
        others = ~np.isin(self._keys, wanted)
        others &= self._journal.places(self._keys) < 0
        firsts, start = np.sort(self._firsts[others]), 0
        for table in self._finished.tables:
            names = [name for name in ABOUT if name in table.record_type.model_fields]
            if not names:
                return
            for batch in table.columns("cache_key", names[0]):
                first, last = np.searchsorted(firsts, [start, start + batch.num_rows])
                if last > first:
                    some = batch.take(firsts[first:last] - start)
                    yield from zip(*(some.column(number).to_pylist() for number in _order(some.schema.names, names[0])), strict=True)
                start += batch.num_rows


def _order(names: Sequence[str], about: str) -> tuple[int, int]:
    """Which column is the key, whatever its name is in tables of an earlier version, and which is the other."""
    return (1, 0) if names[0] == about else (0, 1)


def _runs(finished: JoinedRows[Any]) -> tuple[Ids, npt.NDArray[np.int32], npt.NDArray[np.int32]]:
    """For each run of rows with one key: the key, the number of its first row, and how many rows it has."""
    keys, firsts, start = [np.zeros(0, np.uint64)], [np.zeros(0, np.int32)], 0
    for table in finished.tables:
        for batch in table.columns("cache_key", num_rows=KEYS_AT_ONCE):
            numbers = numbers_of(batch.column(0))
            (changes,) = np.concatenate([[True], numbers[1:] != numbers[:-1]]).nonzero()
            keys.append(numbers[changes])
            firsts.append((changes + start).astype(np.int32))
            start += batch.num_rows
    all_keys, all_firsts = np.concatenate(keys), np.concatenate(firsts)
    is_new = np.concatenate([np.ones(min(1, len(all_keys)), np.bool_), all_keys[1:] != all_keys[:-1]])
    all_keys, all_firsts = all_keys[is_new], all_firsts[is_new]
    return all_keys, all_firsts, np.diff(all_firsts, append=start).astype(np.int32)


class SomeTasks(Sequence[Task]):
    """Those tasks of a sequence that are marked, in their order; a sequence that makes its tasks when they are used stays one that does."""

    def __init__(self, tasks: Sequence[Task], marks: bytearray) -> None:
        self._tasks, self._marks, self._count = tasks, marks, sum(marks)

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Task]:
        return compress(self._tasks, self._marks) if self._count else iter(())

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
        return self._known.rows(task for task in self._tasks if task.row_id not in self._refused)


class EarlierWork:
    """The keys of work that is not wanted any more, by what it is about; 16 bytes each."""

    def __init__(self, found: Iterable[tuple[str, str]]) -> None:
        abouts, keys = array("Q"), array("Q")
        self._others: dict[str, list[str]] = {}
        for key, about in found:
            number, about_number = id_number(key), id_number(about)
            if number is None or about_number is None:
                self._others.setdefault(about, []).append(key)
            else:
                keys.append(number)
                abouts.append(about_number)
        order = np.argsort(np.array(abouts, np.uint64), kind="stable")
        self._abouts, self._keys = np.array(abouts, np.uint64)[order], np.array(keys, np.uint64)[order]
        self._left = np.ones(len(order), np.bool_)

    def pop(self, about: str) -> list[str]:
        """The keys of the work about something; an empty list at the second call."""
        found = self._others.pop(about, [])
        if (number := id_number(about)) is not None and len(self._abouts):
            first, last = (int(np.searchsorted(self._abouts, np.uint64(number), side=side)) for side in ("left", "right"))
            found += [f"{key:016x}" for key in self._keys[first:last][self._left[first:last]].tolist()]
            self._left[first:last] = False
        return found
