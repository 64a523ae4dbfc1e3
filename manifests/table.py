"""Tables: the rows of one record type, on disk.

While a stage runs, one process appends its rows to a journal, a text file of JSON lines that survives a kill at any moment. When the
stage ends, the journal becomes a Parquet file by rename. ``stemwright.manifests.table_rows`` reads it without holding all of its records.

Conventions
    ``NAME.parquet`` is a finished table, ``NAME.jsonl.part`` its journal.
    A stage whose tasks are shared out has one journal for each share, ``NAME.WRITER.jsonl.part``, each with one writer; readers take all of
    them. A line ``{"turn": n}`` says that what follows it is later than what any journal has with a lower number: no clock is needed.
    A journal without a writer's name takes the lines of all others over when it is opened; no share may be at work then.
    A journal line is one finished task: ``{"task": id, "rows": [...]}``.
    A line is on the disk within a second (``SYNC_S``), one without rows, which voids earlier work whose files are about to go, at once.
    A line that is incomplete, or NULs after a power cut, was not yet reported as finished: it is dropped, its task is done again, and the
    lines before and after it are kept.
    A Parquet file carries in its metadata a digest of its rows (``is_as_written`` checks whether they were edited since)
    and the id of what it was made from (``made_from``).
"""

from __future__ import annotations

import glob
import hashlib
import json
import os
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from functools import cache
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import TypeAdapter

from stemwright.manifests.disk import durable
from stemwright.manifests.disk.deletion import check_plain
from stemwright.manifests.disk.mirror import RangedFile
from stemwright.manifests.disk.regular import regular
from stemwright.manifests.disk.stores import Address, address_of, is_address
from stemwright.manifests.joined_rows import JoinedRows, SelectedRows
from stemwright.manifests.journal_index import Scan, TaskIndex, whole_lines
from stemwright.manifests.records import Record
from stemwright.manifests.row_columns import table_of
from stemwright.manifests.row_text import joined_by_commas, texts
from stemwright.manifests.table_rows import FORMER_NAMES, TableRows, arrow_schema

if TYPE_CHECKING:
    import pandas
    import pyarrow

R = TypeVar("R", bound=Record)
JOURNAL = ".jsonl.part"
SYNC_S = 1.0  # a power cut costs the work of a second: the files of a lost line are there, but are made again
CARD_FILE = "README.md"  # of a dataset


def write(path: Path, rows: Iterable[Record], record_type: type[Record], *, made_from: str = "", card: str = "") -> int:
    """Writes a finished table by rename; returns how many rows. ``made_from`` is kept in the file's metadata (see ``made_from``).

    Rows are taken chunk by chunk: a generator of them need never be in memory as a whole. Those of tables are copied column by column.
    """
    import pyarrow.parquet as pq

    schema = arrow_schema(record_type).with_metadata(
        {"record": record_type.__name__, "made_from": made_from, "versions": _versions()} | ({"card": card} if card else {})
    )
    temporary = durable.begin(path)
    try:
        rows_digest, count = RowsDigest(record_type), 0
        with durable.naming(path), pq.ParquetWriter(temporary, schema, compression="zstd") as writer:
            for chunk in _tables(rows, record_type, schema, rows_digest):
                writer.write_table(chunk)
                count += chunk.num_rows
            writer.add_key_value_metadata({"digest": rows_digest.hexdigest()})
        durable.put(temporary, path)
    finally:
        durable.remove([temporary])
    return count


def _tables(rows: Iterable[Record], record_type: type[Record], schema: pyarrow.Schema, rows_digest: RowsDigest) -> Iterator[pyarrow.Table]:
    """Rows in Arrow, as many at a time as are written together; they are added to a digest."""
    if isinstance(rows, TableRows | JoinedRows | SelectedRows):
        yield from rechunked(_batches(rows, schema, rows_digest), record_type.AT_ONCE)
        return
    for chunk in _chunks(rows, record_type.AT_ONCE):
        rows_digest.add(chunk)
        yield table_of(chunk, schema)


def _batches(
    rows: TableRows[Any] | JoinedRows[Any] | SelectedRows[Any], schema: pyarrow.Schema, rows_digest: RowsDigest
) -> Iterator[pyarrow.RecordBatch]:
    """The rows of tables, some at a time; records are made of those that columns cannot vouch for."""
    import pyarrow as pa

    for batch in rows.row_batches():
        if (written := texts(rows_digest.record_type, batch.columns)) is None:
            records = batch.records()
            rows_digest.add(records)
            yield from table_of(records, schema).to_batches()
        else:
            rows_digest.add_texts(written)
            yield pa.RecordBatch.from_arrays(batch.columns.columns, schema=schema)


def rechunked(batches: Iterable[pyarrow.RecordBatch], count: int) -> Iterator[pyarrow.Table]:
    """The rows of batches, ``count`` of them at a time; the last of the tables may have fewer."""
    import pyarrow as pa

    waiting: list[pyarrow.RecordBatch] = []
    for batch in batches:
        waiting.append(batch)
        while sum(each.num_rows for each in waiting) >= count:
            whole = pa.Table.from_batches(waiting, waiting[0].schema)
            yield whole.slice(0, count).combine_chunks()
            waiting = whole.slice(count).to_batches()
    if waiting:
        yield pa.Table.from_batches(waiting).combine_chunks()


def _chunks(rows: Iterable[R], count: int) -> Iterator[tuple[R, ...]]:
    left = iter(rows)
    while chunk := tuple(islice(left, count)):
        yield chunk


def replace(path: Path, rows: Iterable[Record], record_type: type[Record], *, made_from: str = "", card: str = "") -> None:
    """Writes a finished table unless it already holds these rows, every column of them, and says that it was made from the same.

    ``rows`` are iterated over twice if there is a table to compare them with, unless they have their digest in ``digest``.

    ``card`` is the checksum of the dataset card that goes with it (see ``card_sha256``).
    """
    there = _metadata(path) if path.exists() else {}
    is_same = there.get("made_from") == made_from and there.get("card", "") == card
    if not is_same or there.get("digest") != (getattr(rows, "digest", None) or _digest(rows, record_type)):
        write(path, rows, record_type, made_from=made_from, card=card)


class RowsDigest:
    """The digest of rows, as ``digest`` states that of a table: the SHA-256 of their JSON array, added to chunk by chunk."""

    def __init__(self, record_type: type[Record]) -> None:
        self.record_type = record_type
        self._adapter: TypeAdapter[tuple[Record, ...]] = TypeAdapter(tuple[record_type, ...])  # type: ignore[valid-type]
        self._hash, self._joint = hashlib.sha256(b"["), b""

    def add(self, rows: tuple[Record, ...]) -> None:
        """Adds the next rows, at least one."""
        self._hash.update(self._joint + self._adapter.dump_json(rows, by_alias=True)[1:-1])
        self._joint = b","

    def add_texts(self, rows: pyarrow.StringArray) -> None:
        """Adds the next rows, at least one, by their JSON texts (``row_text.texts``)."""
        self._hash.update(self._joint + joined_by_commas(rows))
        self._joint = b","

    def hexdigest(self) -> str:
        """Of all rows so far, in hex."""
        whole = self._hash.copy()
        whole.update(b"]")
        return whole.hexdigest()


def _digest(rows: Iterable[Record], record_type: type[Record]) -> str:
    whole = RowsDigest(record_type)
    for chunk in _chunks(rows, record_type.AT_ONCE):
        whole.add(chunk)
    return whole.hexdigest()


def is_as_written(path: Path, record_type: type[Record], rows: Sequence[Record] | None = None) -> bool:
    """Whether the rows of a finished table are those that ``write`` was given: False once a row was edited, added or removed.

    ``rows`` is what ``read`` returned, if the caller has it.
    """
    return _metadata(path).get("digest", "") == _digest(read(path, record_type) if rows is None else rows, record_type)


def read(path: Path | str, record_type: type[R]) -> list[R]:
    """All rows of a finished table, in order. Raises ValueError naming the file if it is not such a table."""
    return list(TableRows(path, record_type))


def frame(path: Path | str, columns: Sequence[str] | None = None) -> pandas.DataFrame:
    """A table of a corpus or a dataset, such as ``CORPUS/estimates.parquet``, as a pandas DataFrame; with ``columns`` only these.

    ``path`` may be an address in a store (``s3://BUCKET/PREFIX/dataset/pairs.parquet``): only these columns are requested from it.

    Nested columns hold dicts and arrays, settings JSON text, which ``apply_chain`` takes as it is. The columns and their units are those
    of the row types in ``stemwright.manifests.records``. Raises FileNotFoundError if there is none, ValueError for a folder and
    for a file that is no table.

    >>> import stemwright as sw
    >>> from pathlib import Path
    >>> import numpy, pandas
    >>> pandas.DataFrame({"name": ["vocals"], "level_lu": [-6.2]}).to_parquet("estimates.parquet")
    >>> sw.read_table("estimates.parquet")["level_lu"].item()
    -6.2
    """
    import pandas
    import pyarrow

    if is_address(path):
        return _stored_frame(address_of(path), columns)
    path = Path(path)
    if path.is_dir():
        tables = ", ".join(sorted(each.name for each in path.glob("*.parquet")))
        raise ValueError(
            f"{path} is a folder; expected the file of a table in it" + (f": {tables}" if tables else ", such as stems.parquet")
        )
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist; expected the file of a table, such as CORPUS/estimates.parquet")
    try:
        return pandas.read_parquet(regular(path), columns=None if columns is None else [*columns])
    except pyarrow.ArrowInvalid as error:
        raise ValueError(f"{path} is no table: expected a Parquet file ({str(error).partition(': ')[2] or error})") from error


def _stored_frame(address: Address, columns: Sequence[str] | None) -> pandas.DataFrame:
    """Columns of a table in a store."""
    import pyarrow
    import pyarrow.parquet as pq

    try:
        with RangedFile(address) as file:
            return pq.ParquetFile(file, pre_buffer=True).read(columns=None if columns is None else [*columns]).to_pandas()
    except pyarrow.ArrowInvalid as error:
        raise ValueError(f"{address} is no table: expected a Parquet file ({str(error).partition(': ')[2] or error})") from error


def column(path: Path, name: str) -> list[Any]:
    """One column of a finished table, without reading the others; empty if the table does not exist."""
    import pyarrow.parquet as pq

    if not path.exists():
        return []
    file = pq.ParquetFile(regular(path))
    name = FORMER_NAMES.get(name, name) if name not in file.schema_arrow.names else name
    return list(file.read(columns=[name])[name].to_pylist())


def columns_of(path: Path) -> tuple[str, ...]:
    """The names of the columns of any Parquet file; none if it is not one."""
    import pyarrow
    import pyarrow.parquet as pq

    try:
        return tuple(pq.ParquetFile(regular(path)).schema_arrow.names)
    except pyarrow.ArrowInvalid:
        return ()


def made_from(path: Path) -> str | None:
    """What a finished table says it was made from (the id of its inputs), or None if there is no such table."""
    return _metadata(path).get("made_from", "") if path.exists() else None


def digest(path: Path) -> str:
    """What a finished table states about its rows: the digest of all their columns, in their order. "" if there is no such table."""
    return _metadata(path).get("digest", "") if path.exists() else ""


def card_sha256(path: Path) -> str:
    """The checksum of the card that was written with a dataset's table of examples; empty if the table does not state it, or does not
    exist.
    """
    return _metadata(path).get("card", "") if path.exists() else ""


def versions(path: Path) -> dict[str, str]:
    """The versions of what wrote a finished table: a row is sources, settings, seed and these."""
    return dict(json.loads(_metadata(path).get("versions", "{}")))


@cache
def _versions() -> str:
    from importlib.metadata import PackageNotFoundError, version

    found = {}
    for name in ("stemwright", "demucs", "torch", "numba", "numpy", "scipy", "soxr", "soundfile", "av"):
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    return json.dumps(found)


def _metadata(path: Path) -> dict[str, str]:
    import pyarrow.parquet as pq

    return {key.decode(): value.decode() for key, value in (pq.read_metadata(regular(path)).metadata or {}).items()}


def journal_of(path: Path, writer: str) -> Path:
    """The journal of one of several writers, from the path ``NAME.jsonl.part``; that path itself for the writer "".

    >>> from pathlib import Path
    >>> from stemwright.manifests.table import journal_of
    >>> journal_of(Path("stems.jsonl.part"), "3of64").name
    'stems.3of64.jsonl.part'
    """
    return path.with_name(f"{path.name.removesuffix(JOURNAL)}.{writer}{JOURNAL}") if writer else path


def journals(path: Path) -> list[Path]:
    """The journals of a table that exist, those of all writers, from the path ``NAME.jsonl.part``."""
    others = sorted(path.parent.glob(f"{glob.escape(path.name.removesuffix(JOURNAL))}.*{JOURNAL}"))
    return [each for each in (path, *others) if os.path.lexists(each)]


def remove_journals(path: Path) -> None:
    """Removes the journals of a table, those of all writers."""
    for each in journals(path):
        each.unlink(missing_ok=True)


def journalled(path: Path, record_type: type[R]) -> TaskIndex[R]:
    """The finished tasks of the journals of a table (task id -> rows), without opening one for more; empty if there is none."""
    return Scan(journals(path)).index(record_type)


class Journal:
    """The rows of a running stage: appended and flushed task by task, by one process.

    Use as a context manager. ``tasks`` are the finished tasks (task id -> rows), also those of an interrupted run and of other writers; the
    rows are read from the journal when they are used. ``path`` is that of the journal without a writer.
    """

    def __init__(self, path: Path, record_type: type[Record], writer: str = "") -> None:
        self.base, self.path, self.writer = path, journal_of(path, writer), writer
        self.record_type = record_type
        self.tasks = Scan([]).index(record_type)

    def __enter__(self) -> Journal:
        there = journals(self.base)
        for path in (self.path, *there):
            check_plain(path)
        is_new = not self.path.exists()
        scan = Scan(there)
        others = [path for path in there if path != self.path]
        # One of several writers always begins a file of its own: a process that was believed dead appends to the one before, which is gone.
        if self.writer or others or (not is_new and scan.num_bytes[self.path] != self.path.stat().st_size):
            self._rewrite(self._lines(scan, others))
            for path in () if self.writer else others:  # their lines are in this one now
                path.unlink()
            scan = Scan(journals(self.base))
        self.tasks = scan.index(self.record_type)
        durable.make_folder(self.path.parent)
        self._file = self.path.open("ab")
        self._end = self._file.seek(0, os.SEEK_END)
        self._synced = time.monotonic()
        if is_new:
            durable.sync_folder(self.path.parent)
        return self

    def __exit__(self, *_: object) -> None:
        with durable.naming(self.path):  # of a full disk: closing tries again to write what could not be written
            try:
                durable.sync(self._file.fileno())
            finally:
                self._file.close()

    def _lines(self, scan: Scan, others: Sequence[Path]) -> Iterator[bytes]:
        """The lines with which this journal goes on."""
        own = whole_lines(self.path) if self.path in scan.paths else iter(())
        if not others:
            return own
        turn = max(scan.turns.get(self.path, 0), 1 + max(scan.turns[path] for path in others))
        marker = b'{"turn":%d}\n' % turn
        return chain(own, [marker]) if self.writer else chain([marker], scan.latest())

    def _rewrite(self, lines: Iterable[bytes]) -> None:
        durable.make_folder(self.path.parent)
        temporary = durable.begin(self.path)
        try:
            with durable.naming(self.path), temporary.open("wb") as file:
                file.writelines(lines)
            durable.put(temporary, self.path)
        finally:
            durable.remove([temporary])

    def append(self, cache_key: str, rows: Iterable[Record], *, at_once: bool = False) -> None:
        """Adds one finished task, whose audio must already be under its final name, synced.

        The line is on the disk within ``SYNC_S``; at once if it has no rows, or if ``at_once`` says that something is about to be
        removed that this line replaces.
        """
        rows = tuple(rows)
        line = json.dumps(
            {"task": cache_key, "rows": [row.model_dump(mode="json") for row in rows]}, separators=(",", ":"), allow_nan=False
        )
        with durable.naming(self.path):
            written = self._file.write(line.encode() + b"\n")
            self._file.flush()
            if at_once or not rows or time.monotonic() - self._synced >= SYNC_S:
                durable.sync(self._file.fileno())
                self._synced = time.monotonic()
        self.tasks.put(cache_key, self.path, self._end)
        self._end += written
