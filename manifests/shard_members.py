"""The sound files in shards, found by name among millions without one of them being in memory as an object.

The index is the checksums of the names, in order, beside the numbers of the members: 8 bytes a file, mapped from a file of its own where
the table is large. What a checksum finds is compared with the name itself.

References
    CRC-32 of ISO 3309, as zlib computes it: equal for one in 4 * 10^9 pairs of names.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt
from pydantic import TypeAdapter, ValidationError

from stemwright.manifests.id_numbers import plain
from stemwright.manifests.names import ShardPath
from stemwright.manifests.records import Member, Shard
from stemwright.manifests.table_rows import TableRows, arrow_schema

if TYPE_CHECKING:
    import pyarrow


_SHARD_PATH: TypeAdapter[str] = TypeAdapter(ShardPath)


class ShardFile(NamedTuple):
    """What a row says about a shard as a file."""

    path: str
    num_bytes: int
    sha256: str


class Members:
    """The sound files in shards: a table of them, or rows in memory. Of several of one name, the last one counts."""

    def __init__(self, shards: Sequence[Shard]) -> None:
        self._shards = shards
        self._open()

    def _open(self) -> None:
        import pyarrow as pa

        if isinstance(self._shards, TableRows):
            self._shards.check_columns("path", "num_bytes", "sha256", "members")
            schema = pa.schema([("checksum", pa.uint32()), ("number", pa.uint32())])
            self._batches = self._shards.stored()
            index = self._shards.derived("members", schema, lambda: iter([_index(self._batches)]))
        else:
            rows = [shard.model_dump() for shard in self._shards]
            self._batches = pa.Table.from_pylist(rows, schema=arrow_schema(Shard)).to_batches() if rows else []
            index = [_index(self._batches)]
        self._checksums, self._numbers = (_memory(index[0].column(name)) for name in ("checksum", "number"))
        self._validated: set[int] = set()
        self._members = [batch.column("members").flatten() for batch in self._batches]
        self._ends = np.cumsum([len(members) for members in self._members])
        self._spans = [plain(batch.column("members").offsets) for batch in self._batches]

    def shards(self) -> Iterator[ShardFile]:
        """Each shard, in order."""
        for batch in self._batches:
            for path, num_bytes, sha256 in zip(*(batch.column(name).to_pylist() for name in ShardFile._fields), strict=True):
                try:
                    yield ShardFile(_SHARD_PATH.validate_python(path), num_bytes, sha256)
                except ValidationError as error:
                    raise ValueError(f"a shard has the path {path!r}: {error.errors()[0]['msg']}. Was the table edited?") from error

    def find(self, path: str) -> tuple[str, int, int] | None:
        """(path of the shard, first byte, length in bytes) of a sound file that a row calls ``path``; None if it is in none."""
        wanted = np.uint32(zlib.crc32(path.encode()))
        for at in range(int(np.searchsorted(self._checksums, wanted, side="right")) - 1, -1, -1):
            if self._checksums[at] != wanted:
                break
            number = int(self._numbers[at])
            if (batch := int(np.searchsorted(self._ends, number, side="right"))) == len(self._ends):
                continue
            within = number - (int(self._ends[batch - 1]) if batch else 0)
            if batch not in self._validated:  # what is mapped may be anything
                self._members[batch].validate(full=True)
                self._validated.add(batch)
            member = Member.model_validate(self._members[batch][within].as_py())
            if member.path == path:
                spans = self._spans[batch]
                shard = int(np.searchsorted(spans, within + spans[0], side="right")) - 1
                return str(self._batches[batch].column("path")[shard]), member.start_byte, member.num_bytes
        return None

    def __getstate__(self) -> dict[str, Sequence[Shard]]:
        return {"shards": self._shards}

    def __setstate__(self, state: dict[str, Sequence[Shard]]) -> None:
        self._shards = state["shards"]
        self._open()


def _memory(column: pyarrow.Array) -> npt.NDArray[np.uint32]:
    """The numbers of a column, where they are. pyarrow's own conversion imports pandas, to test for arrays of pandas."""
    data = column.buffers()[1]
    return np.frombuffer(data, np.uint32)[column.offset : column.offset + len(column)] if len(column) else np.zeros(0, np.uint32)


def _index(batches: Sequence[pyarrow.RecordBatch]) -> pyarrow.RecordBatch:
    """The checksums of all members' paths in order, and the members' numbers."""
    import pyarrow as pa

    found: list[npt.NDArray[np.uint32]] = [np.zeros(0, np.uint32)]
    for batch in batches:
        for shard in range(batch.num_rows):
            paths = batch.column("members")[shard].values
            names = paths.field("path").cast(pa.binary()).to_pylist() if paths is not None else []
            found.append(np.fromiter(map(zlib.crc32, names), np.uint32, len(names)))
    checksums = np.concatenate(found)
    order = np.argsort(checksums, kind="stable").astype(np.uint32)
    columns = [pa.Array.from_buffers(pa.uint32(), len(order), [None, pa.py_buffer(each)]) for each in (checksums[order], order)]
    return pa.record_batch(columns, names=["checksum", "number"])
