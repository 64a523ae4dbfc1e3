"""The numbers of many charts, in a temporary file: a million pairs have 15 million settings, and one chart shows those of one name."""

from __future__ import annotations

import os
import tempfile
from array import array
from collections import defaultdict
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt

Name = tuple[Any, ...]
BLOCK = 4096  # numbers of one series that are written at a time


class Spool:
    """Series of numbers by their names, on the disk: each is in memory only when it is used. Use as a context manager."""

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile(prefix="stemwright-")  # noqa: SIM115  # closed by __exit__
        self._left: dict[Name, array[float]] = defaultdict(lambda: array("d"))
        self._blocks: dict[Name, list[tuple[int, int]]] = defaultdict(list)
        self._end = 0

    def __enter__(self) -> Spool:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._file.close()

    def add(self, name: Name, values: npt.NDArray[np.float64]) -> None:
        """Adds the next numbers of a series [N]."""
        left = self._left[name]
        left.frombytes(values.tobytes())
        if len(left) >= BLOCK:
            data = left.tobytes()
            self._file.write(data)
            self._blocks[name].append((self._end, len(data)))
            self._end += len(data)
            del left[:]

    def values(self, name: Name) -> npt.NDArray[np.float64]:
        """A series as it was added; empty if it was not."""
        self._file.flush()
        parts = [os.pread(self._file.fileno(), num_bytes, start) for start, num_bytes in self._blocks.get(name, ())]
        return np.frombuffer(b"".join([*parts, self._left[name].tobytes()]))

    @property
    def names(self) -> list[Name]:
        """The names of all series, as they were added first."""
        return list(self._left)
