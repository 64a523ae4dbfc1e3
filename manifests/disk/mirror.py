"""Objects of a store as files: a folder in scratch that shows what a store holds, and downloads an object when it is opened.

    SCRATCH/stemwright-buckets/s3/BUCKET/PREFIX/...

Conventions
    A process that has the path of an object can open it: ``stemwright.manifests.disk.regular``, through which every file is opened that a
    table names, calls ``make_present`` first. On another machine the same path leads to the same object.
    A file that is listed and not downloaded is sparse: it has the size of the object, no content, and a time of 1970, by which it is known.
    SCRATCH is the folder that ``STEMWRIGHT_SCRATCH`` names, else this user's private temporary folder. What is downloaded stays as long as
    there is room (``STEMWRIGHT_SCRATCH_GB``, 20 by default, and never more than half of what is free) and goes in the order in which it was
    last opened. A file that is open stays readable when it goes.
    A download is written under a name that no other has and renamed: several processes may want the same object at once.
"""

from __future__ import annotations

import errno
import hashlib
import io
import json
import os
import secrets
import shutil
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO

from stemwright.manifests.disk import durable
from stemwright.manifests.disk.folders import private_folder
from stemwright.manifests.disk.locks import locked
from stemwright.manifests.disk.stores import STORES, Address, Listed, Span, StoreError, address_of, is_address, is_key

SCRATCH_VARIABLE, BUDGET_VARIABLE = "STEMWRIGHT_SCRATCH", "STEMWRIGHT_SCRATCH_GB"
MIRROR = "stemwright-buckets"
NO_BUCKET = "_"  # in place of a bucket's name, for stores that have none
USUAL_BUDGET_GB = 20.0
SPARED_S = 60.0  # since it was last opened: a file whose path was given out is about to be opened
SMALL_BYTES = 100_000_000
LISTS = (".csv", ".tsv", ".txt", ".json", ".yaml", ".yml", ".toml", ".md")  # what a listing reads, besides names
_INSIDE = f"{os.sep}{MIRROR}{os.sep}"
_downloaded = 0  # bytes, by this process since it last made room


def scratch() -> Path:
    """The folder for what is downloaded; made if needed. Raises StoreError if it cannot be."""
    given = os.environ.get(SCRATCH_VARIABLE)
    folder = Path(given).expanduser().absolute() if given else private_folder() or Path(tempfile.gettempdir())
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(f"the scratch folder {folder} cannot be made: {error.strerror}. Name another one in {SCRATCH_VARIABLE}") from error
    return folder


def place_of(address: Address) -> Path:
    """Where an object, or the folder of a prefix, is in the mirror."""
    return scratch() / MIRROR / address.scheme / (address.bucket or NO_BUCKET) / address.prefix


def is_mirrored(path: Path | str) -> bool:
    """Whether a path is in a mirror."""
    return _INSIDE in os.fspath(path)


def address_of_place(path: Path | str) -> Address:
    """The address of what is at a place in a mirror."""
    scheme, bucket, *parts = Path(os.fspath(path).rpartition(_INSIDE)[2]).parts
    return Address(scheme, "" if bucket == NO_BUCKET else bucket, "/".join(parts))


def here(path: Path) -> Path:
    """The same object, or folder, in the mirror of this machine, whose scratch folder may be another one; any other path as it is."""
    return place_of(address_of_place(path)) if is_mirrored(path) else path


def on_disk(place: Path | str) -> Path:
    """The path for what a user calls ``place``: a path as it is, an address as its folder in the mirror, which exists from then on."""
    if not is_address(place):
        return Path(place)
    folder = place_of(address_of(place))
    with _naming_scratch():
        (folder.parent if folder.suffix.lower() in LISTS else folder).mkdir(parents=True, exist_ok=True)
    return folder


def as_named(place: Path | str) -> str:
    """What a user calls a place: the address, where it is in a mirror."""
    return str(address_of_place(place)) if is_mirrored(place) else os.fspath(place)


def make_present(path: Path | str) -> None:
    """Downloads an object whose place in a mirror is about to be opened, unless it is there. Any other path is left alone.

    Raises FileNotFoundError if there is no such object, StoreError if the store or the scratch folder cannot be used.
    """
    if not is_mirrored(path):
        return
    path = Path(path)
    try:
        found = path.stat()
        if path.is_dir():
            return
        if found.st_mtime_ns:
            if time.time() - found.st_mtime > SPARED_S / 4:
                os.utime(path)
            return
    except FileNotFoundError:
        pass
    address = address_of_place(path)
    if address.prefix and address.scheme in STORES.own | STORES.others():
        _download(address, path)


def read_ranges(path: Path | str, spans: Sequence[Span]) -> list[bytes]:
    """Ranges of an object whose place is in a mirror: near ones in one request. Of an object that is downloaded no request is made."""
    path = Path(path)
    try:
        is_there = path.stat().st_mtime_ns != 0
    except FileNotFoundError:
        is_there = False
    if is_there:
        with path.open("rb", buffering=0) as file:
            return [os.pread(file.fileno(), length, start) for start, length in spans]
    address = address_of_place(path)
    return address.store.get_ranges(address.prefix, spans)


class RangedFile(io.RawIOBase):
    """An object as a file that is read by ranges: of a large table, its footer and the columns that are wanted."""

    def __init__(self, address: Address) -> None:
        size = address.store.size(address.prefix)
        if size is None:
            raise FileNotFoundError(2, "there is no such object", str(address))
        self._address, self._size, self._at = address, size, 0

    def readable(self) -> bool:
        """It is."""
        return True

    def seekable(self) -> bool:
        """It is."""
        return True

    def tell(self) -> int:
        """The next byte."""
        return self._at

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Goes to a byte."""
        self._at = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._size}[whence]
        return self._at

    def read(self, size: int | None = -1) -> bytes:
        """The next bytes, in one request."""
        count = max(0, min(self._size - self._at if size is None or size < 0 else size, self._size - self._at))
        data = self._address.store.get(self._address.prefix, self._at, count) if count else b""
        self._at += count
        return data

    def readinto(self, buffer: Any) -> int:
        """Fills a buffer."""
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)


def opened(path: Path) -> BinaryIO | RangedFile:
    """A file that is read here and there; one in a mirror that is not downloaded, by ranges."""
    if is_mirrored(path) and not (path.exists() and path.stat().st_mtime_ns):
        return RangedFile(address_of_place(path))
    return path.open("rb")


def show(address: Address) -> tuple[Path, list[str]]:
    """Makes the mirror of a prefix show what the store lists now; returns its folder, and the keys that cannot be names of files.

    Small lists and descriptions of songs are downloaded at once, sound when it is opened. What was downloaded and has changed since is
    downloaded again. Raises StoreError if the store cannot be listed.
    """
    folder = place_of(address)
    if folder.suffix.lower() in LISTS and address.store.size(address.prefix) is not None:
        folder, address = folder.parent, Address(address.scheme, address.bucket, address.prefix.rpartition("/")[0])  # a list of songs
    listed = {found.key: found for found in address.store.list(address.prefix) if not found.key.endswith("/")}
    index = scratch() / MIRROR / ".listed" / f"{hashlib.sha256(str(address).encode()).hexdigest()[:32]}.json"
    with _naming_scratch():
        for each in (folder, index.parent):
            each.mkdir(parents=True, exist_ok=True)
        with locked(index.with_suffix(".lock"), wait=True):
            before = json.loads(index.read_text(encoding="utf-8")) if index.exists() else {}
            for key in before.keys() - listed.keys():
                place_of(Address(address.scheme, address.bucket, key)).unlink(missing_ok=True)
            unusable = [key for key in listed if not is_key(key) or "\\" in key]
            for found in listed.values():
                if found.key not in unusable:
                    _show_one(address, found, before.get(found.key))
            durable.write_bytes(index, json.dumps({key: [found.num_bytes, found.e_tag] for key, found in listed.items()}).encode())
    return folder, sorted(unusable)


def _show_one(address: Address, found: Listed, before: list[object] | None) -> None:
    object_ = Address(address.scheme, address.bucket, found.key)
    place = place_of(object_)
    try:
        status = place.stat()
        if before == [found.num_bytes, found.e_tag] and status.st_size == found.num_bytes:
            return
    except FileNotFoundError:
        place.parent.mkdir(parents=True, exist_ok=True)
    _make_sparse(place, found.num_bytes)
    if place.suffix.lower() in LISTS and found.num_bytes <= SMALL_BYTES:
        _download(object_, place)


def _temporary() -> Path:
    folder = scratch() / MIRROR / ".part"
    folder.mkdir(parents=True, exist_ok=True)
    return folder / f"{os.getpid()}-{secrets.token_hex(8)}"


def _make_sparse(place: Path, num_bytes: int) -> None:
    temporary = _temporary()
    with temporary.open("xb") as file:
        file.truncate(num_bytes)
    os.utime(temporary, ns=(0, 0))
    durable.put_unsynced(temporary, place)


def _download(address: Address, place: Path) -> None:
    global _downloaded
    for attempt in range(2):
        temporary = _temporary()
        try:
            address.store.download(address.prefix, temporary)
            num_bytes = temporary.stat().st_size
            place.parent.mkdir(parents=True, exist_ok=True)
            durable.put(temporary, place)
            break
        except OSError as error:
            if not durable.is_full(error):
                raise
            if attempt or not make_room(0.0):
                raise _full(error) from error
        finally:
            durable.remove([temporary])
    _downloaded += num_bytes
    if _downloaded > _budget_bytes() / 8:
        _downloaded = 0
        make_room(_budget_bytes())


def _budget_bytes() -> float:
    try:
        wanted = 1e9 * float(os.environ.get(BUDGET_VARIABLE, USUAL_BUDGET_GB))
    except ValueError:
        raise StoreError(f"{BUDGET_VARIABLE} is {os.environ[BUDGET_VARIABLE]!r}; expected a number of GB, such as 20") from None
    return min(wanted, shutil.disk_usage(scratch()).free / 2)


def make_room(budget_bytes: float) -> int:
    """Removes what was downloaded, first what was opened longest ago, until no more than so many bytes are left; returns how many went.

    What was opened within a minute stays.
    """
    found, now = [], time.time()
    for folder, _, names in os.walk(scratch() / MIRROR):
        for name in names:
            place = Path(folder, name)
            try:
                status = place.stat()
            except FileNotFoundError:
                continue
            if status.st_mtime_ns and ".listed" not in place.parts and ".part" not in place.parts:
                found.append((status.st_mtime, status.st_size, place))
    there, removed = sum(size for _, size, _ in found), 0
    for opened_s, size, place in sorted(found):
        if there - removed <= budget_bytes or now - opened_s < SPARED_S:
            break
        _make_sparse(place, size)
        removed += size
    return removed


class _naming_scratch:  # noqa: N801  # used as a function
    """Gives errors of the disk in the scratch folder a sentence of their own."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, OSError) and durable.is_full(error):
            raise _full(error) from error


def _full(error: OSError) -> StoreError:
    why = "the disk is full" if error.errno == errno.ENOSPC else "the quota is used up"
    return StoreError(
        f"{why} in the scratch folder {scratch()}: finished work is kept. Free some space, or name another folder in {SCRATCH_VARIABLE}, "
        "and run the same command again"
    )
