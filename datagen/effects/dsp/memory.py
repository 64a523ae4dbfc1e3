"""Memory for large arrays, used again once nothing refers to it any more.

The system hands out fresh memory page by page and clears each page: for an effect that only multiplies, that takes as long as the effect.
An array made here gives its memory back when the last array or tensor over it is gone, and the next of that size takes it.

Conventions
    What is kept is at most MOST bytes, of at most SIZES sizes, two arrays each. An array holds arbitrary values until it is filled.
    Any thread may ask for memory and drop it. A forked process has its own copy.
"""

from __future__ import annotations

from typing import Any

import numpy as np

LEAST = 1 << 18  # bytes; smaller arrays the C library allocates quickly
MOST = 1 << 28  # bytes
SIZES = 8

_free: dict[int, list[np.ndarray]] = {}  # size in bytes -> what is free; each step on it is atomic


class _Loan:
    """The memory of one array; numpy refers to it as long as any array over it exists."""

    def __init__(self, data: np.ndarray) -> None:
        self.data = data
        self.__array_interface__ = data.__array_interface__

    def __del__(self, free: dict[int, list[np.ndarray]] = _free) -> None:  # bound here, since globals may be gone when a process ends
        same = free.get(self.data.nbytes)
        kept = sum(size * len(each) for size, each in list(free.items()))
        if same is not None and len(same) < 2 and kept + self.data.nbytes <= MOST:
            same.append(self.data)


def empty(shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    """An array of arbitrary values."""
    kind = np.dtype(dtype)
    size = int(np.prod(shape, dtype=np.int64)) * kind.itemsize
    if size < LEAST:
        return np.empty(shape, kind)
    if size not in _free:
        if len(_free) >= SIZES:
            _free.clear()
        _free[size] = []
    try:
        data = _free[size].pop()
    except (IndexError, KeyError):
        data = np.empty(size, np.uint8)  # numpy asks for it in large pages, which the system hands out in a sixth of the time
    return np.asarray(_Loan(data)).view(kind).reshape(shape)
