"""A set of very many names in 8 bytes each: their hashes, in order.

Conventions
    Two of 10^7 names share a hash of 64 bits with a probability of 3 * 10^-6; then a name that is not in the set counts as in it. The hash
    is Python's, which differs from process to process.
"""

from __future__ import annotations

from array import array
from collections.abc import Container, Iterable

import numpy as np


class NameSet(Container[str]):
    """The names that it is made of, which need not be in memory at once."""

    def __init__(self, names: Iterable[str]) -> None:
        hashes = array("q", map(hash, names))
        self._hashes = np.sort(np.frombuffer(hashes, np.int64)) if hashes else np.zeros(0, np.int64)

    def __contains__(self, name: object) -> bool:
        wanted = hash(name)
        at = int(np.searchsorted(self._hashes, wanted))
        return at < len(self._hashes) and int(self._hashes[at]) == wanted

    def repeated(self) -> set[int]:
        """The hashes of names that were given more than once."""
        return set(self._hashes[1:][self._hashes[1:] == self._hashes[:-1]].tolist())
