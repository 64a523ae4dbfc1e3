"""A set of ids in 8 bytes each: a million of them take 8 MB, and 90 MB as strings.

Conventions
    An id is 16 hex digits in lower case. Other texts are kept as they are; there should be few.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, MutableSet

import numpy as np
import numpy.typing as npt

from stemwright.manifests.id_numbers import among

ID = re.compile(r"[0-9a-f]{16}")
MERGED = 65_536  # so many new ids are merged into the sorted ones at a time


def id_number(text: str) -> int | None:
    """The number that an id is in hex; None for any other text."""
    return int(text, 16) if ID.fullmatch(text) else None


class IdSet(MutableSet[str]):
    """Texts, nearly all of them ids; ids are iterated over in their order, other texts after them.

    >>> from stemwright.manifests.id_set import IdSet
    >>> sorted(IdSet(["00000000000000ff", "a song.wav"]) | {"00000000000000ff"})
    ['00000000000000ff', 'a song.wav']
    """

    def __init__(self, texts: Iterable[str] = ()) -> None:
        self._ids, self._recent, self._others = np.zeros(0, np.uint64), set[int](), set[str]()
        for text in texts:
            self.add(text)

    @classmethod
    def of_numbers(cls, numbers: npt.NDArray[np.uint64]) -> IdSet:
        """The ids that are these numbers."""
        found = cls()
        found._ids = np.unique(numbers)
        return found

    def add(self, value: str) -> None:
        """Adds a text."""
        if (number := id_number(value)) is None:
            self._others.add(value)
        else:
            self._recent.add(number)
            if len(self._recent) >= MERGED:
                self._merged()

    def discard(self, value: str) -> None:
        """Removes a text, if it is there."""
        if (number := id_number(value)) is None:
            self._others.discard(value)
        else:
            ids = self._merged()
            self._ids = ids[ids != np.uint64(number)]

    def __contains__(self, value: object) -> bool:
        if not isinstance(value, str) or (number := id_number(value)) is None:
            return value in self._others
        at = int(np.searchsorted(self._ids, np.uint64(number)))
        return number in self._recent or (at < len(self._ids) and int(self._ids[at]) == number)

    def __iter__(self) -> Iterator[str]:
        for part in np.array_split(self._merged(), 1 + len(self._ids) // MERGED):
            yield from (f"{number:016x}" for number in part.tolist())
        yield from self._others

    def __len__(self) -> int:
        return len(self._merged()) + len(self._others)

    def _merged(self) -> npt.NDArray[np.uint64]:
        if self._recent:
            recent = np.sort(np.fromiter(self._recent, np.uint64, len(self._recent)))
            recent, self._recent = recent[~among(recent, self._ids)], set()
            self._ids = np.insert(self._ids, np.searchsorted(self._ids, recent), recent)  # the only copy
        return self._ids

    def __repr__(self) -> str:
        return f"{type(self).__name__}({list(self)!r})"
