"""The finished tasks of journals, found by name: 16 bytes each in memory, their rows read from the journal when they are used.

Conventions
    A task is known by 64 bits of its name: the id that it is, or a digest of another name. Two of 10^7 tasks share them with a
    probability of 3 * 10^-6; the name in the line decides.
    A journal that others append to, replace or remove is read as it is then: what is no longer where it was counts as without rows.
"""

from __future__ import annotations

import hashlib
import weakref
from array import array
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from itertools import groupby
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import numpy as np
import numpy.typing as npt
from pydantic import TypeAdapter, ValidationError
from pydantic_core import SchemaValidator, core_schema, from_json

from stemwright.manifests.disk.regular import regular
from stemwright.manifests.id_numbers import among
from stemwright.manifests.records import Record

OFFSET_BITS = 44  # of a line's place: 16 TB, and a million journals
OFFSET = (1 << OFFSET_BITS) - 1
MERGED = 65_536  # so many new tasks are put in order with the others at a time
MOST_OPEN = 16  # journals
READ_BYTES = 1 << 16  # of a journal at a time: tasks are mostly in the order of their lines


def number_of_task(name: str) -> int:
    """The 64 bits by which a task is known."""
    if len(name) == 16:
        try:
            return int(name, 16)
        except ValueError:
            pass
    return int.from_bytes(hashlib.blake2b(name.encode("utf-8", "surrogatepass"), digest_size=8).digest())


R = TypeVar("R", bound=Record)


@cache
def _rows(record_type: type[R]) -> TypeAdapter[tuple[R, ...]]:
    return TypeAdapter(tuple[record_type, ...])  # type: ignore[valid-type]


def _line_of(rows: core_schema.CoreSchema) -> SchemaValidator:
    """Reads the line of a task without making Python objects of what it does not give."""
    fields = {"task": core_schema.typed_dict_field(core_schema.str_schema()), "rows": core_schema.typed_dict_field(rows)}
    return SchemaValidator(core_schema.typed_dict_schema(fields))


_NAMED = _line_of(core_schema.list_schema(core_schema.typed_dict_schema({})))  # all columns of the rows are skipped


@cache
def _typed(record_type: type[Record]) -> SchemaValidator:
    return _line_of(_rows(record_type).core_schema)


def _read(line: bytes, validator: SchemaValidator) -> dict[str, Any] | None:
    """The line of a task; None if it is none, or one that only ``entry_of`` can judge."""
    # JSON forbids numbers that are none, the validator lets them pass. A search for one byte takes a tenth of one for three.
    if not line.endswith(b"\n") or (b"N" in line and b"NaN" in line) or (b"I" in line and b"Infinity" in line):
        return None
    try:
        return dict(validator.validate_json(line))
    except ValidationError:
        return None


def task_or_turn(line: bytes) -> str | int | None:
    """The task or the turn that a line of a journal names, as ``entry_of`` finds it, in half of the time."""
    if (found := _read(line, _NAMED)) is not None:
        return str(found["task"])
    if (entry := entry_of(line)) is None:
        return None
    return str(entry["task"]) if "task" in entry else int(entry["turn"])


def entry_of(line: bytes) -> dict[str, Any] | None:
    """A whole line of a journal: a task with its rows as plain values, or a turn; None if it is incomplete, or none of ours."""
    if not line.endswith(b"\n"):
        return None
    try:
        entry = from_json(line, allow_inf_nan=False)
    except ValueError:
        return None
    if not isinstance(entry, dict):
        return None
    is_task = isinstance(entry.get("rows"), list) and "task" in entry
    return entry if is_task or isinstance(entry.get("turn"), int) else None


class TaskIndex(Mapping[str, tuple[R, ...]]):
    """Task id -> rows, of the lines of some journals. A task whose rows are not of the record type, or whose line is gone, has none."""

    def __init__(self, record_type: type[R], paths: Sequence[Path], numbers: npt.NDArray[np.uint64], places: npt.NDArray[np.int64]) -> None:
        self.record_type, self._paths = record_type, list(paths)
        self._numbers, self._places = numbers, places
        self._recent: dict[int, int] = {}
        self._open: OrderedDict[Path, BinaryIO] = OrderedDict()
        weakref.finalize(self, _close, self._open)

    def put(self, task: str, path: Path, offset: int) -> None:
        """The latest line of a task begins at an offset of a journal."""
        if path not in self._paths:
            self._paths.append(path)
        self._recent[number_of_task(task)] = self._paths.index(path) << OFFSET_BITS | offset
        if len(self._recent) >= MERGED:
            self._merge()

    def _merge(self) -> None:
        if not self._recent:
            return
        numbers = np.fromiter(self._recent.keys(), np.uint64, len(self._recent))
        places = np.fromiter(self._recent.values(), np.int64, len(self._recent))
        self._recent = {}
        order = np.argsort(numbers)
        numbers, places = numbers[order], places[order]
        at, is_known = np.searchsorted(self._numbers, numbers), among(numbers, self._numbers)
        self._places[at[is_known]] = places[is_known]
        self._numbers = np.insert(self._numbers, at[~is_known], numbers[~is_known])
        self._places = np.insert(self._places, at[~is_known], places[~is_known])

    def places(self, numbers: npt.NDArray[np.uint64]) -> npt.NDArray[np.int64]:
        """Where the latest lines are of tasks that are given by number (``number_of_task``); -1 for those that have none."""
        self._merge()
        if not len(self._numbers):
            return np.full(len(numbers), -1, np.int64)
        at = np.minimum(np.searchsorted(self._numbers, numbers), len(self._numbers) - 1)
        return np.where(self._numbers[at] == numbers, self._places[at], -1)

    def rows_at(self, place: int, task: str) -> tuple[R, ...]:
        """The rows of a task in the line at a place; none if it is another task's."""
        line = self._line(place)
        if (found := _read(line, _typed(self.record_type))) is not None:
            return tuple(found["rows"]) if found["task"] == task else ()
        entry = _task_entry(line)
        return self._checked(entry) if entry is not None and entry["task"] == task else ()

    def without(self, wanted: npt.NDArray[np.uint64]) -> Iterator[tuple[str, tuple[R, ...]]]:
        """(task id, rows) of the tasks that are not among some, which are given by number (``number_of_task``)."""
        self._merge()
        for place in self._places[~np.isin(self._numbers, wanted)].tolist():
            if (entry := self._entry(place)) is not None:
                yield str(entry["task"]), self._checked(entry)

    def __getitem__(self, task: str) -> tuple[R, ...]:
        if (place := self._place(task)) is None:
            raise KeyError(task)
        return self.rows_at(place, task)

    def __contains__(self, task: object) -> bool:
        return isinstance(task, str) and self._place(task) is not None

    def __iter__(self) -> Iterator[str]:
        """The tasks in the order of their lines."""
        self._merge()
        for place in np.sort(self._places).tolist():
            if (entry := self._entry(place)) is not None:
                yield str(entry["task"])

    def __len__(self) -> int:
        self._merge()
        return len(self._numbers)

    def _place(self, task: str) -> int | None:
        number = number_of_task(task)
        if (place := self._recent.get(number)) is not None:
            return place
        at = int(np.searchsorted(self._numbers, np.uint64(number)))
        return int(self._places[at]) if at < len(self._numbers) and int(self._numbers[at]) == number else None

    def _entry(self, place: int) -> dict[str, Any] | None:
        """The task that a line names, with its rows; None if the line is no longer there."""
        return _task_entry(self._line(place))

    def _line(self, place: int) -> bytes:
        """What is at a place now; nothing if the journal is gone."""
        path, offset = self._paths[place >> OFFSET_BITS], place & OFFSET
        try:
            if path not in self._open:
                self._open[path] = regular(path).open("rb", READ_BYTES)
                if len(self._open) > MOST_OPEN:
                    self._open.popitem(last=False)[1].close()
            self._open[path].seek(offset)
            return self._open[path].readline().lstrip(b"\0")
        except FileNotFoundError:
            return b""

    def _checked(self, entry: dict[str, Any]) -> tuple[R, ...]:
        try:
            return _rows(self.record_type).validate_python(entry["rows"])
        except ValidationError:
            return ()


def _task_entry(line: bytes) -> dict[str, Any] | None:
    """``entry_of`` a line, if it is a task's."""
    entry = entry_of(line)
    return entry if entry is not None and "task" in entry else None


def _close(files: OrderedDict[Path, BinaryIO]) -> None:
    while files:
        files.popitem()[1].close()


class Scan:
    """What the journals of a table hold: whole lines, the latest of each task, and the turns that say which is the latest."""

    def __init__(self, paths: list[Path]) -> None:
        self.paths = paths
        self.num_bytes = dict.fromkeys(paths, 0)  # of whole lines
        self.turns = dict.fromkeys(paths, 0)  # the last one of each journal
        tasks, turns, places = array("Q"), array("q"), array("q")
        for number, path in enumerate(paths):
            for offset, line in lines_of(path):
                if (named := task_or_turn(line)) is None:
                    continue
                self.num_bytes[path] += len(line)
                if isinstance(named, int):
                    self.turns[path] = max(self.turns[path], named)
                    continue
                tasks.append(number_of_task(named))
                turns.append(self.turns[path])
                places.append(number << OFFSET_BITS | offset)
        order = np.lexsort((places, turns, tasks))
        numbers = np.array(tasks, np.uint64)[order]
        last = _last_of_each(numbers)
        self._numbers, self._places = numbers[last], np.array(places, np.int64)[order][last]

    def index(self, record_type: type[R]) -> TaskIndex[R]:
        """The tasks with their latest lines."""
        return TaskIndex(record_type, self.paths, self._numbers, self._places)

    def latest(self) -> Iterator[bytes]:
        """The latest line of each task, journal by journal."""
        for number, places in groupby(np.sort(self._places).tolist(), lambda place: place >> OFFSET_BITS):
            with regular(self.paths[number]).open("rb") as lines:
                for place in places:
                    lines.seek(place & OFFSET)
                    yield lines.readline().lstrip(b"\0")


def whole_lines(path: Path) -> Iterator[bytes]:
    """The lines of a journal that are whole, one after another."""
    return (line for _, line in lines_of(path) if task_or_turn(line) is not None)


def lines_of(path: Path) -> Iterator[tuple[int, bytes]]:
    """(offset, line) of all lines of a file; without the NULs where earlier writes never reached the disk."""
    offset = 0
    with regular(path).open("rb", READ_BYTES) as lines:
        for line in lines:
            yield offset, line.lstrip(b"\0")
            offset += len(line)


def _last_of_each(numbers: npt.NDArray[np.uint64]) -> npt.NDArray[np.bool_]:
    """Of numbers in order, which are the last of equal ones."""
    last = np.ones(len(numbers), np.bool_)
    last[:-1] = numbers[1:] != numbers[:-1]
    return last
