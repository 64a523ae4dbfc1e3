"""Records as Arrow, column by column: a quarter of the time that dictionaries of all rows take, and none of their memory.

Conventions
    The columns are those of ``stemwright.manifests.table_rows.arrow_schema``. What a record holds as a mapping, whose keys differ from row
    to row, is JSON text.
    Arrays are made from numpy buffers: ``pyarrow.array`` of a list imports pandas, which takes 0.2 s and 46 MB.

References
    Arrow columnar format, "Physical Memory Layout": validity bitmaps, offsets, children.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from pydantic_core import to_json

from stemwright.manifests.records import Record

if TYPE_CHECKING:
    import pyarrow

MOST_BYTES = 2**31 - 1  # of texts in one array, and entries of lists: offsets have 32 bits


def table_of(rows: Sequence[Record], schema: pyarrow.Schema) -> pyarrow.Table:
    """Rows of one type as a table of its schema.

    Raises TypeError where a record was not validated and holds a value of another type.
    """
    import pyarrow as pa

    return pa.Table.from_arrays(_columns([row.__dict__ for row in rows], list(schema)), schema=schema)


def _columns(rows: Sequence[Mapping[str, Any]], fields: Sequence[pyarrow.Field]) -> list[pyarrow.Array]:
    return [_array([row[field.name] for row in rows], field.type) for field in fields]


def _array(values: list[Any], kind: pyarrow.DataType) -> pyarrow.Array:
    """The values of a column, None where there is none."""
    import pyarrow as pa

    validity = None
    if None in values:
        validity = _bits(np.array([value is not None for value in values], np.bool_))
        empty = _empty(kind)
        values = [empty if value is None else value for value in values]
    buffers, children = [validity], []
    if pa.types.is_struct(kind):
        children = _columns([value if isinstance(value, dict) else value.__dict__ for value in values], list(kind))
    elif pa.types.is_list(kind):
        buffers.append(_offsets([len(value) for value in values]))
        children = [_array(list(chain.from_iterable(values)), kind.value_type)]
    elif pa.types.is_string(kind):
        buffers += _text(values)
    elif pa.types.is_boolean(kind):
        buffers.append(_bits(_numbers(values, np.dtype(np.bool_))))
    else:
        buffers.append(pa.py_buffer(_numbers(values, np.dtype(str(kind).replace("double", "float64")))))
    return pa.Array.from_buffers(kind, len(values), buffers, children=children)


def _empty(kind: pyarrow.DataType) -> Any:
    """What takes the place of a value that is missing."""
    import pyarrow as pa

    if pa.types.is_struct(kind):
        return {field.name: _empty(field.type) for field in kind}
    return () if pa.types.is_list(kind) else "" if pa.types.is_string(kind) else False if pa.types.is_boolean(kind) else 0


def _numbers(values: list[Any], dtype: np.dtype[Any]) -> npt.NDArray[Any]:
    if not values:
        return np.zeros(0, dtype)
    return np.array(values).astype(dtype, casting="same_kind")


def _text(values: list[Any]) -> list[pyarrow.Buffer]:
    """Offsets and bytes of texts; of a mapping, its JSON text."""
    import pyarrow as pa

    try:
        text = "".join(values)
    except TypeError:
        values = [to_json(value).decode() if isinstance(value, dict) else value for value in values]
        text = "".join(values)
    data = text.encode()
    lengths = [len(value) for value in values] if len(data) == len(text) else [len(value.encode()) for value in values]
    return [_offsets(lengths), pa.py_buffer(data)]


def _offsets(lengths: list[int]) -> pyarrow.Buffer:
    import pyarrow as pa

    ends = np.zeros(len(lengths) + 1, np.int64)
    np.cumsum(lengths, out=ends[1:])
    if ends[-1] > MOST_BYTES:
        raise ValueError(f"a column of {len(lengths)} rows holds {ends[-1]:,} bytes or entries; expected at most {MOST_BYTES:,}")
    return pa.py_buffer(ends.astype(np.int32))


def _bits(flags: npt.NDArray[np.bool_]) -> pyarrow.Buffer:
    import pyarrow as pa

    return pa.py_buffer(np.packbits(flags, bitorder="little"))
