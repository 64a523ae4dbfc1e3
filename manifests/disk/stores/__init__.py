"""Object stores: where the bytes of a corpus may be instead of a folder, by the scheme of an address such as ``s3://bucket/prefix``.

A store holds songs, stems and shards; tables, journals, the configuration and locks stay in a POSIX folder. A row is what commits bytes:
they are put under a name that no other content can have (``stemwright.manifests.disk.bulk``), then the row that names them is written. So
no rename, no lock and no listing of the store has to be relied on.

Conventions
    An address is ``SCHEME://BUCKET/PREFIX``, plain text: a space, ``%`` or accent in it is itself and no escape. A key is what follows the
    bucket, with forward slashes, no part of it empty, ``.`` or ``..``.
    A missing object is a FileNotFoundError, of that object alone. What no other object would fare better with (credentials, a bucket that
    is missing, the network, a full disk) is a ``StoreError``, with which a stage stops; finished work is kept.
    What is read is as long as was requested, or an OSError: clients give less without an error where an object ends early.

To add a store: one file with a class that has the methods of ``Store`` and is made with a bucket's name, and one line in ``STORES``, or an
entry point of the group ``stemwright.stores`` in another package.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import NamedTuple, Protocol

from stemwright.manifests.registry import Registry, requires
from stemwright.manifests.usage import UsageError

Span = tuple[int, int]  # first byte, number of bytes


class StoreError(RuntimeError):
    """A store that cannot be used at all, now: a sentence on what, and what to do. The stage stops; what was finished is kept."""


class Listed(NamedTuple):
    """An object in a listing: its key, its size in bytes, and its version's tag ("" where the store has none)."""

    key: str
    num_bytes: int
    e_tag: str = ""


class Store(Protocol):
    """The objects of one bucket."""

    def get(self, key: str, start: int = 0, length: int | None = None) -> bytes:
        """The bytes of an object, or so many of them from ``start`` on, in one request. Raises OSError if there are fewer."""

    def get_ranges(self, key: str, spans: Sequence[Span]) -> list[bytes]:
        """Several ranges of an object; those near one another in one request. Raises OSError if the object ends before one."""

    def download(self, key: str, place: Path) -> None:
        """Writes an object to a new file, piece by piece."""

    def size(self, key: str) -> int | None:
        """The size of an object in bytes; None if there is no such object."""

    def put(self, key: str, data: Path | bytes, *, create: bool = True) -> bool:
        """Writes an object, a file or bytes, in one step: whole or not at all. With ``create`` an object that is there is left as it is.

        Returns whether it was written.
        """

    def list(self, prefix: str) -> Iterator[Listed]:
        """All objects below a prefix, which is a folder's name: ``a/b`` lists ``a/b/c`` and not ``a/bc``."""

    def delete(self, keys: Iterable[str]) -> None:
        """Deletes objects; those that are not there are no error."""


STORES: Registry[Callable[[str], Store]] = Registry(
    "store",
    "stemwright.stores",
    {
        "file": "stemwright.manifests.disk.stores.folder_store:FolderStore",
        "s3": "stemwright.manifests.disk.stores.bucket_store:s3_bucket",
        "gs": "stemwright.manifests.disk.stores.bucket_store:google_bucket",
        "az": "stemwright.manifests.disk.stores.bucket_store:azure_container",
    },
    check=requires(__call__=callable),
)


@dataclass(frozen=True)
class Address:
    """A place in a store: a bucket and a prefix in it, which may be empty."""

    scheme: str
    bucket: str
    prefix: str = ""

    def __str__(self) -> str:
        return f"{self.scheme}://{self.bucket}/{self.prefix}".rstrip("/") if self.bucket else f"{self.scheme}:///{self.prefix}"

    def below(self, path: str) -> Address:
        """The address of what has a path, relative to this one."""
        return Address(self.scheme, self.bucket, f"{self.prefix}/{path}" if self.prefix and path else self.prefix or path)

    @property
    def store(self) -> Store:
        """The store of the bucket, opened once in a process."""
        return opened(self.scheme, self.bucket)


def is_address(text: str | os.PathLike[str]) -> bool:
    """Whether a text, or a path that was made of it, is the address of a store; ``Path("s3://b/p")`` is ``s3:/b/p``."""
    scheme, colon, rest = os.fspath(text).partition(":")
    return bool(colon) and rest.startswith("/") and len(scheme) > 1 and "/" not in scheme


def address_of(text: str | os.PathLike[str]) -> Address:
    """The address that a text, or a path that was made of it, gives. Raises UsageError if it is none that can be used."""
    scheme, _, rest = os.fspath(text).partition(":")
    where = f"{scheme}://{rest.lstrip('/')}"
    STORES[scheme]  # raises, naming the nearest one
    bucket, _, prefix = ("", "", rest.strip("/")) if scheme == "file" else rest.strip("/").partition("/")
    if not bucket and scheme != "file":
        raise UsageError(f"{where} names no bucket; expected {scheme}://BUCKET or {scheme}://BUCKET/PREFIX")
    if prefix and not is_key(prefix):
        raise UsageError(f"{where} is no address; expected {scheme}://BUCKET/PREFIX, no part of it empty, '.' or '..'")
    return Address(scheme, bucket, prefix)


def is_key(text: str) -> bool:
    """Whether every part of a key can be the name of an object and of a file."""
    parts = text.split("/")
    return "\0" not in text and all(part not in ("", ".", "..") and len(part.encode(errors="replace")) <= 255 for part in parts)


@cache
def opened(scheme: str, bucket: str) -> Store:
    """The store of a bucket, opened once in a process."""
    return STORES[scheme](bucket)


def check_length(data: bytes, expected: int, what: str) -> bytes:
    """Returns what was read. Raises OSError if it is not as long as expected."""
    if len(data) != expected:
        raise OSError(5, f"the store gave {len(data):,} of {expected:,} bytes", what)  # EIO
    return data


def merged(spans: Sequence[Span], gap: int) -> list[Span]:
    """The spans to read for some spans: those that overlap, or are at most ``gap`` bytes apart, in one."""
    joined: list[Span] = []
    for start, length in sorted(spans):
        if joined and start <= sum(joined[-1]) + gap:
            joined[-1] = (joined[-1][0], max(sum(joined[-1]), start + length) - joined[-1][0])
        else:
            joined.append((start, length))
    return joined


def cut(spans: Sequence[Span], parts: Sequence[tuple[Span, bytes]]) -> list[bytes]:
    """The bytes of each span out of the parts that were read for all of them."""
    found = []
    for start, length in spans:
        (first, _), data = next(part for part in parts if part[0][0] <= start and start + length <= sum(part[0]))
        found.append(data[start - first : start - first + length])
    return found
