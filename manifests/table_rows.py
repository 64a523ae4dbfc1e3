"""The rows of a finished table, on disk: a record is made when it is used.

A million pairs take 17 GB as records and 1 GB in Arrow. So ``TableRows`` is a sequence that contains none: passes over it read the Parquet
file batch by batch, single columns are Arrow arrays, and single records come from a memory-mapped copy of the table in Arrow's own format.

Conventions
    The copy is ``.NAME-KEY.arrow`` beside the table, or in the user's cache where that folder is not writable; the key is that of the
    table's size, time and rows, so that a table which was replaced has another. It is made when a record of a large table is requested by
    its number, and can be deleted at any time. A small table is kept in memory instead.
    An open ``TableRows`` keeps its file: it goes on as it began when the table is replaced meanwhile.
    Several threads may share one: each pass has a Parquet reader of its own over that file, for a reader must not serve two at once, and
    none of them buffers ahead, which would keep all the bytes of a pass until its end.
    Pickled, it is the path of its file: each process maps the copy itself, and the system keeps its pages once for all of them.
    A column within records is named by dots: ``inputs.branches.source_id``.
    Settings of effects differ from row to row and are JSON text in Arrow.
"""

from __future__ import annotations

import hashlib
import operator
import re
import threading
import types
from abc import abstractmethod
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache, partial
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar, Union, get_args, get_origin, overload

from pydantic import TypeAdapter, ValidationError

from stemwright.manifests.disk import durable
from stemwright.manifests.disk.folders import cache_folder
from stemwright.manifests.disk.regular import regular
from stemwright.manifests.records import Record

if TYPE_CHECKING:
    import pyarrow

R = TypeVar("R", bound=Record)
FORMER_NAMES = {"cache_key": "task_id"}  # of columns, in tables of version 0.1
BATCH_ROWS = 1024  # made into records at a time: 20 MB of pairs
BATCH_BYTES = 4 * 2**20  # of a table, uncompressed: fewer rows at a time where they are larger
IN_MEMORY_BYTES = 32 * 2**20  # of a table, uncompressed: a larger one is mapped
LISTS = re.compile(r"\.list\.(element|item)\b")  # what Parquet calls the entries of a list


def arrow_schema(record_type: type[Record]) -> pyarrow.Schema:
    """The Arrow schema of a record type, derived from its annotations."""
    import pyarrow as pa

    return pa.schema([_arrow_field(name, field.annotation) for name, field in record_type.model_fields.items()])


def _arrow_field(name: str, annotation: Any) -> pyarrow.Field:
    import pyarrow as pa

    inner, nullable = annotation, False
    if get_origin(annotation) in (Union, types.UnionType):
        members = [member for member in get_args(annotation) if member is not type(None)]
        nullable = len(members) < len(get_args(annotation))
        inner = members[0]
    return pa.field(name, _arrow_type(inner), nullable=nullable)


def _arrow_type(annotation: Any) -> pyarrow.DataType:
    import pyarrow as pa

    origin = get_origin(annotation)
    if origin is tuple:
        return pa.list_(_arrow_field("item", get_args(annotation)[0]))
    if origin is dict:
        return pa.string()  # settings, as JSON text
    if origin is Literal:
        return pa.string()
    if origin is not None and hasattr(annotation, "__metadata__"):
        return _arrow_type(annotation.__origin__)
    if isinstance(annotation, type) and issubclass(annotation, Record):
        return pa.struct([_arrow_field(name, field.annotation) for name, field in annotation.model_fields.items()])
    return {str: pa.string(), int: pa.int64(), float: pa.float64(), bool: pa.bool_()}[annotation]


@cache
def _adapter(record_type: type[R]) -> TypeAdapter[tuple[R, ...]]:
    return TypeAdapter(tuple[record_type, ...])  # type: ignore[valid-type]  # one call for many rows is three times as fast as one each


@dataclass(frozen=True)
class RowBatch(Generic[R]):
    """Some rows of a table, one after another but those left out: their columns, and a record of each where one is needed."""

    columns: pyarrow.RecordBatch
    records: Callable[[], tuple[R, ...]]

    def slice(self, start: int, count: int | None = None) -> RowBatch[R]:
        """Some of the rows, from one on: so many, or all that are left."""
        end = None if count is None else start + count
        return RowBatch(self.columns.slice(start, count), lambda: self.records()[start:end])


class NumberedRows(Sequence[R]):
    """A sequence of records that are read by the numbers of their rows (``take``)."""

    what = "these tables"  # for messages

    @overload
    def __getitem__(self, index: int) -> R: ...
    @overload
    def __getitem__(self, index: slice) -> list[R]: ...
    def __getitem__(self, index: int | slice) -> R | list[R]:
        if isinstance(index, slice):
            return list(self.take(range(*index.indices(len(self)))))
        number = operator.index(index)
        if not -len(self) <= number < len(self):
            raise IndexError(f"row {number} of {self.what}, with {len(self)} rows")
        return next(self.take([number % len(self)]))

    @abstractmethod
    def take(self, numbers: Iterable[int]) -> Iterator[R]:
        """The records of the rows of these numbers, from 0, in any order."""


class TableRows(NumberedRows[R]):
    """The rows of a finished table, in order, made into records as they are used.

    Raises FileNotFoundError without a table, ValueError naming the file if it is none, and where a record is made of a row that is none.
    """

    def __init__(self, path: Path | str, record_type: type[R]) -> None:
        self.path, self.record_type = Path(path), record_type
        self.what = str(path)
        self._open()

    def _open(self) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            self._bytes = pa.OSFile(str(regular(self.path)))
            self._file = pq.ParquetFile(self._bytes)
        except pa.ArrowInvalid as error:
            raise _unreadable(self.path, error) from error
        status = self.path.stat()
        stated = (self._file.metadata.metadata or {}).get(b"digest", b"")
        self._key = hashlib.sha256(b"%d %d %s" % (status.st_size, status.st_mtime_ns, stated)).hexdigest()[:16]
        metadata = self._file.metadata
        self._size = sum(metadata.row_group(number).total_byte_size for number in range(metadata.num_row_groups))
        self._batch_rows = max(1, min(BATCH_ROWS, BATCH_BYTES * len(self) // max(1, self._size)))
        self._stored: list[pyarrow.RecordBatch] | None = None
        self._ends: list[int] = []
        self._storing = threading.Lock()
        self._validated: set[int] = set()

    def __len__(self) -> int:
        return int(self._file.metadata.num_rows)

    def __iter__(self) -> Iterator[R]:
        for batch in self.batches():
            yield from batch

    def batches(self, num_rows: int | None = None) -> Iterator[tuple[R, ...]]:
        """The records of all rows, so many at a time at most."""
        start = 0
        for batch in self.columns(num_rows=num_rows):
            yield self.records(batch, start)
            start += batch.num_rows

    def row_batches(self) -> Iterator[RowBatch[R]]:
        """All rows, in order, some at a time."""
        start = 0
        for batch in self.columns():
            yield RowBatch(batch, partial(self.records, batch, start))
            start += batch.num_rows

    def columns(self, *names: str, num_rows: int | None = None) -> Iterator[pyarrow.RecordBatch]:
        """The named columns of all rows, or all of them, so many rows at a time at most, without a record being made."""
        return self._read(self._leaves(names), num_rows or self._batch_rows)

    def _read(self, leaves: list[str] | None, num_rows: int, groups: list[int] | None = None) -> Iterator[pyarrow.RecordBatch]:
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            reader = pq.ParquetFile(self._bytes, metadata=self._file.metadata, pre_buffer=False)
            yield from reader.iter_batches(batch_size=num_rows, columns=leaves, row_groups=groups)
        except pa.ArrowInvalid as error:
            raise _unreadable(self.path, error) from error

    def column(self, name: str) -> pyarrow.ChunkedArray:
        """One column of all rows. Raises ValueError naming the file if it has no such column."""
        import pyarrow as pa

        found = [batch.column(0) for batch in self.columns(name, num_rows=64 * BATCH_ROWS)]
        return pa.chunked_array(found, None if found else self._file.schema_arrow.field(self._top(name)).type)

    def check_columns(self, *names: str) -> None:
        """Raises ValueError naming the file if one of these columns is missing, or has another type than in the record."""
        schema = arrow_schema(self.record_type)
        for name in names:
            found, expected = self._file.schema_arrow.field(self._top(name)).type, schema.field(name).type
            if not found.equals(expected):
                raise ValueError(f"{self.path}: the column {name} has the type {found}; expected {expected}. Was the table edited?")

    def has_columns(self, *names: str) -> bool:
        """Whether the file has these columns; a table of another version may lack some."""
        return all(name.partition(".")[0] in self._file.schema_arrow.names and self._leaves([name]) for name in names)

    def _top(self, name: str) -> str:
        top = name.partition(".")[0]
        known = self._file.schema_arrow.names
        top = top if top in known else FORMER_NAMES.get(top, top)
        if top not in known:
            raise ValueError(f"{self.path} has no column {top!r}; it has {', '.join(known)}. Was it written by another version?")
        return top

    def _leaves(self, names: Sequence[str]) -> list[str] | None:
        """What Parquet calls the parts of the named columns."""
        if not names:
            return None
        wanted = {f"{self._top(name)}{name[len(name.partition('.')[0]) :]}" for name in names}
        paths = [self._file.schema.column(number).path for number in range(len(self._file.schema))]
        return [path for path in paths if any(f"{LISTS.sub('', path)}.".startswith(f"{name}.") for name in wanted)]

    def take(self, numbers: Iterable[int]) -> Iterator[R]:
        """The records of the rows of these numbers, from 0, in any order."""
        batches = self.stored()
        for number in numbers:
            batch = bisect_right(self._ends, number)
            start = self._ends[batch - 1] if batch else 0
            if batch not in self._validated:  # a copy beside a dataset of unknown origin may be anything
                batches[batch].validate(full=True)
                self._validated.add(batch)
            yield self.records(batches[batch].slice(number - start, 1), number)[0]

    def few(self, numbers: Sequence[int]) -> list[R]:
        """The records of a few rows, in the order of their numbers in the argument: no copy of the table is made for them.

        Of each only the group of rows that it is in is read.
        """
        found: dict[int, R] = {}
        metadata = self._file.metadata
        ends = list(accumulate(metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)))
        for group in sorted({bisect_right(ends, number) for number in numbers}):
            start = ends[group - 1] if group else 0
            wanted = sorted({number for number in numbers if start <= number < ends[group]})
            for batch in self._read(None, self._batch_rows, [group]):
                inside = [number for number in wanted if start <= number < start + batch.num_rows]
                found.update((number, self.records(batch.slice(number - start, 1), number)[0]) for number in inside)
                start += batch.num_rows
        return [found[number] for number in numbers]

    def records(self, batch: pyarrow.RecordBatch, start: int) -> tuple[R, ...]:
        """The records of rows that ``columns`` gave with all columns; the first of them has the number ``start`` in the table."""
        try:
            return _adapter(self.record_type).validate_python(batch.to_pylist())
        except ValidationError as error:
            first = error.errors()[0]
            number, *within = first["loc"]
            where = ".".join(map(str, (start + int(number), *within)))
            other = not self._file.schema_arrow.equals(arrow_schema(self.record_type))
            raise ValueError(
                f"{self.path}: row {where}: {first['msg']}; got {_shortened(first['input'])}. Was the table edited, or written by another "
                "version?" + (" Its columns differ from this version's: build the corpus again, into a new folder" if other else "")
            ) from error

    def stored(self) -> list[pyarrow.RecordBatch]:
        """The whole table in Arrow, in memory or mapped."""
        with self._storing:
            if self._stored is None:
                stored = self.derived("", self._file.schema_arrow, self.columns)
                self._ends = list(accumulate(batch.num_rows for batch in stored))
                self._stored = stored
        return self._stored

    def derived(self, what: str, schema: pyarrow.Schema, make: Callable[[], Iterator[pyarrow.RecordBatch]]) -> list[pyarrow.RecordBatch]:
        """What is computed from the table and kept beside it: in memory of a small table, else mapped, and made if it is not there yet.

        ``what`` names it, and how it is computed. Raises OSError if there is no room for it anywhere.
        """
        if self._size <= IN_MEMORY_BYTES:
            return list(make())
        name = f".{self.path.stem}{what and f'.{what}'}-{self._key}.arrow"
        places = [self.path.parent / name, cache_folder() / "tables" / name]
        for place in places:
            if (found := _mapped(place, schema)) is not None:
                return found
        for place in places:
            with suppress(*(() if place is places[-1] else (OSError,))):  # the folder of a dataset is often not writable
                self._keep(place, schema, make())
                if (found := _mapped(place, schema)) is not None:
                    return found
        raise ValueError(f"{self.path} changed while it was read; open it again")

    def _keep(self, place: Path, schema: pyarrow.Schema, batches: Iterator[pyarrow.RecordBatch]) -> None:
        """Writes what was computed by rename; beside the table, it also removes that of the table as it was before."""
        import pyarrow as pa

        place.parent.mkdir(parents=True, exist_ok=True)
        temporary = durable.begin(place)
        try:
            with durable.naming(place), pa.OSFile(str(temporary), "wb") as sink, pa.ipc.new_file(sink, schema) as writer:
                for batch in batches:
                    writer.write_batch(batch)
            durable.put(temporary, place)
        finally:
            durable.remove([temporary])
        if place.parent == self.path.parent:
            former = re.compile(rf"\.{re.escape(self.path.stem)}(\.\w+)?-(?!{self._key})[0-9a-f]{{16}}\.arrow")
            durable.remove(other for other in place.parent.iterdir() if former.fullmatch(other.name))

    def __getstate__(self) -> dict[str, Any]:
        return {"path": self.path, "record_type": self.record_type, "key": self._key}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.path, self.record_type = state["path"], state["record_type"]
        self.what = str(self.path)
        self._open()
        if self._key != state["key"]:
            raise ValueError(f"{self.path} was replaced after it was opened; open it again")


def _mapped(place: Path, schema: pyarrow.Schema) -> list[pyarrow.RecordBatch] | None:
    """A file that ``_keep`` wrote, or None if it is none of this schema: its footer, the last thing in it, says that it is whole."""
    import pyarrow as pa

    try:
        reader = pa.ipc.open_file(pa.memory_map(str(regular(place))))
        batches = [reader.get_batch(number) for number in range(reader.num_record_batches)]
        for batch in batches:
            batch.validate()
    except (pa.ArrowInvalid, OSError):
        return None
    return batches if reader.schema.equals(schema) else None


def _unreadable(path: Path, error: Exception) -> ValueError:
    return ValueError(f"{path} is not a readable Parquet table: {error}")


def _shortened(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:80]}..."
