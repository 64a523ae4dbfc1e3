"""Ids as numbers: a million of them take 8 MB, and are searched and counted without a text being made; columns of numbers as numpy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import pyarrow

Ids = npt.NDArray[np.uint64]
BLOCK = 1 << 16  # ids that are searched at a time
HEX = np.full(256, 255, np.uint8)  # character -> value of the digit
HEX[list(b"0123456789abcdef")] = range(16)


def numbers_of(ids: pyarrow.Array | pyarrow.ChunkedArray) -> Ids:
    """Ids, 16 hex digits each, as numbers of 64 bits. Raises ValueError for anything else."""
    import pyarrow as pa

    chunks = ids.chunks if isinstance(ids, pa.ChunkedArray) else [ids]
    found = [np.zeros(0, np.uint64)]
    for chunk in chunks:
        digits = _digits(chunk)
        found.append(((digits[:, 0::2] << 4) | digits[:, 1::2]).reshape(-1).view(">u8").astype(np.uint64))
    return np.concatenate(found)


def numbers_or_0(ids: pyarrow.Array) -> Ids:
    """As ``numbers_of``; 0 for a missing id."""
    if not ids.null_count:
        return numbers_of(ids)
    numbers = np.zeros(len(ids), np.uint64)
    numbers[[value is not None for value in ids.to_pylist()]] = numbers_of(ids.drop_null())
    return numbers


def plain(numbers: pyarrow.Array) -> npt.NDArray[Any]:
    """Whole numbers, none of them missing, as numpy without a copy: pyarrow's own way imports pandas, which takes 0.2 s and 20 MB.

    Raises ValueError where one is missing.
    """
    if numbers.null_count:
        raise ValueError("a number is missing. Was the table edited?")
    kind = np.dtype(str(numbers.type))
    if not len(numbers):
        return np.zeros(0, kind)
    return np.frombuffer(numbers.buffers()[1], kind, len(numbers), numbers.offset * kind.itemsize)


def flags_in_arrow(flags: npt.NDArray[np.bool_]) -> pyarrow.BooleanArray:
    """True and False in Arrow, without pandas (see ``plain``)."""
    import pyarrow as pa

    return pa.Array.from_buffers(pa.bool_(), len(flags), [None, pa.py_buffer(np.packbits(flags, bitorder="little"))])


def flags_of(flags: pyarrow.BooleanArray) -> npt.NDArray[np.bool_]:
    """True and False, none of them missing, as numpy, without pandas (see ``plain``)."""
    if not len(flags):
        return np.zeros(0, np.bool_)
    bits = np.unpackbits(np.frombuffer(flags.buffers()[1], np.uint8), bitorder="little")
    return bits[flags.offset : flags.offset + len(flags)].astype(np.bool_)


def among(wanted: Ids, known: Ids) -> npt.NDArray[np.bool_]:
    """For each of the wanted ids whether it is a known one; ``known`` is sorted."""
    found = np.zeros(len(wanted), np.bool_)
    for start in range(0, len(wanted) if len(known) else 0, BLOCK):
        part = wanted[start : start + BLOCK]
        found[start : start + BLOCK] = known[np.minimum(np.searchsorted(known, part), len(known) - 1)] == part
    return found


def places_among(wanted: Ids, known: Ids, missing: int = -1) -> npt.NDArray[np.int64]:
    """For each of the wanted ids its place in ``known``, which is sorted; ``missing`` for an id that is not there."""
    return np.where(among(wanted, known), np.searchsorted(known, wanted), missing)


def _digits(ids: pyarrow.Array) -> npt.NDArray[np.uint8]:
    """The values of the digits, [N, 16]."""
    import pyarrow as pa

    if len(ids) == 0:
        return np.zeros((0, 16), np.uint8)
    if pa.types.is_large_string(ids.type) or pa.types.is_string_view(ids.type) or pa.types.is_dictionary(ids.type):
        ids = ids.cast(pa.string())  # as pandas and other programs write text
    if ids.null_count or not pa.types.is_string(ids.type):
        raise ValueError(f"an id is missing, or no text but {ids.type}; expected 16 hex digits. Was the table edited?")
    _, offsets, data = ids.buffers()
    spans = np.frombuffer(offsets, np.int32)[ids.offset : ids.offset + len(ids) + 1]
    if (np.diff(spans) != 16).any():
        raise ValueError("an id has another length; expected 16 hex digits. Was the table edited?")
    digits = HEX[np.frombuffer(data, np.uint8)[spans[0] : spans[-1]].reshape(-1, 16)]
    if (digits > 15).any():
        raise ValueError("an id has other characters than hex digits. Was the table edited?")
    return digits
