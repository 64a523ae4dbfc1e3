"""The store that holds the bytes of a corpus, its stems and shards, where ``[storage] bulk`` names one.

    BULK/stems/3f/drums.3f09...e1.flac          a stem; 3f09...e1 are 32 hex digits of the SHA-256 of its bytes
    BULK/dataset/mix/train-000000.9a41...07.tar        a shard
    BULK/.stemwright-owner                      which corpus uses the prefix

Conventions
    A name contains the checksum of the bytes, which the row has as well: so no two attempts can give one name to different bytes, a row
    alone says where its bytes are, and no id and no byte of a dataset depends on how often something was tried, by whom, or where it is
    stored.
    Bytes are put first, then the row that names them is written. What no row names is removed by ``stemwright clean``, and by nothing else.
    A stem or shard that is in the corpus folder itself is read there: one that was made before the store was named, for example.
    Whether bytes are there is asked of a listing, and of the store itself where the listing lacks them: a listing may lag behind. A store
    that may not be listed is trusted.
"""

from __future__ import annotations

import json
import os
import secrets
import time
import tomllib
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Protocol

from stemwright.manifests.disk import durable, mirror
from stemwright.manifests.disk.regular import regular
from stemwright.manifests.disk.stores import Address, StoreError, address_of, is_address
from stemwright.manifests.usage import UsageError

CONFIG, STORAGE = "config.toml", "storage.json"  # which of a corpus, and of a dataset, names the store
OWNER = ".stemwright-owner"
SECTION, KEY = "storage", "bulk"
FEWEST_S = 60.0  # a listing is used for so long, or for twenty times what it took
UPLOADS = 8  # files at once


class Stored(Protocol):
    """What a row says about a file whose bytes may be in a store: a stem or a shard."""

    @property
    def path(self) -> str:
        """Its path in the corpus or dataset folder."""

    @property
    def sha256(self) -> str:
        """The checksum of its bytes."""

    @property
    def num_bytes(self) -> int:
        """Its size."""


class Bulk:
    """The store of a corpus or of a dataset."""

    def __init__(self, address: Address) -> None:
        self.address = address
        self._listed: dict[str, int] | None = {}
        self._until = -1.0  # of time.monotonic()

    def object_of(self, file: Stored) -> Address:
        """Where the bytes of a file are."""
        path = PurePosixPath(file.path)
        name = f"{path.stem}.{file.sha256[:32]}{path.suffix}"
        folder = f"{path.parts[0]}/{file.sha256[:2]}" if path.parts[0] == "stems" else str(path.parent)
        return self.address.below(f"{folder}/{name}")

    def has(self, file: Stored) -> bool:
        """Whether the bytes of a file are in the store, as many as its row says."""
        place = self.object_of(file)
        if time.monotonic() > self._until:
            self._list()
        if self._listed is None or self._listed.get(place.prefix) == file.num_bytes:
            return True
        if (there := place.store.size(place.prefix)) is not None:
            self._listed[place.prefix] = there
        return there == file.num_bytes

    def _list(self) -> None:
        began = time.monotonic()
        try:
            self._listed = {found.key: found.num_bytes for found in self.address.store.list(self.address.prefix)}
        except StoreError as error:
            if "not allowed" not in str(error):
                raise
            self._listed = None  # rows say what is there
        took_s = time.monotonic() - began
        self._until = began + took_s + max(FEWEST_S, 20.0 * took_s)

    def take(self, files: Mapping[Path, Stored]) -> None:
        """Puts files into the store, by where they are now. Raises StoreError if it cannot; the files stay where they are."""
        with ThreadPoolExecutor(min(UPLOADS, max(1, len(files)))) as pool:
            for _ in pool.map(lambda source: self.put(source, files[source]), files):
                pass

    def put(self, source: Path, file: Stored) -> None:
        """Puts the bytes of one file into the store, from where they are now. What is there already is not sent again."""
        place = self.object_of(file)
        if not place.store.put(place.prefix, source) and place.store.size(place.prefix) != file.num_bytes:
            place.store.put(place.prefix, source, create=False)
        if self._listed is not None:
            self._listed[place.prefix] = file.num_bytes

    def objects(self) -> dict[Address, int]:
        """Every stem and shard in the store, with its size, as it lists them now."""
        found = (each for part in ("stems", "dataset") for each in self.address.store.list(self.address.below(part).prefix))
        return {Address(self.address.scheme, self.address.bucket, each.key): each.num_bytes for each in found}

    def claim(self, corpus: Path) -> None:
        """Notes in the store that its prefix is this corpus's. Raises UsageError if it is another's, StoreError if it cannot be written.

        So a bucket that is missing, read-only or in another region is noticed before anything is computed.
        """
        note, place = corpus / OWNER, self.address.below(OWNER)
        if not note.exists():
            durable.write_first(note, json.dumps({"owner": secrets.token_hex(16)}).encode())
        ours = note.read_bytes()
        if not place.store.put(place.prefix, ours) and place.store.get(place.prefix) != ours:
            raise UsageError(f"{self.address} is used by another corpus; give each corpus a prefix of its own in [{SECTION}] {KEY}")


def bulk_of(folder: Path) -> Bulk | None:
    """The store that a corpus, or a dataset outside its corpus, names for its bytes; None if they are in the folder itself."""
    for name in (CONFIG, STORAGE):
        try:
            status = os.stat(folder / name)  # noqa: PTH116  # for every file that is read
        except OSError:
            continue
        return _read(folder / name, (status.st_mtime_ns, status.st_size, status.st_ino))
    return None


@cache
def _read(path: Path, version: tuple[int, ...]) -> Bulk | None:
    del version  # of the file that is read
    try:
        text = regular(path).read_text(encoding="utf-8")
        values = tomllib.loads(text).get(SECTION, {}) if path.name == CONFIG else json.loads(text)
    except (OSError, ValueError):  # who needs the configuration says what is wrong with it
        return None
    given = values.get(KEY) if isinstance(values, dict) else None
    return Bulk(address_of(given)) if isinstance(given, str) and is_address(given) else None


def dataset_follows(corpus: Path, dataset: Path) -> bool:
    """Whether a dataset names the store that its corpus names for it."""
    wanted, named = bulk_of(corpus), bulk_of(dataset)
    return (wanted and wanted.address.below(dataset.name)) == (named and named.address)


def name_store(corpus: Path, dataset: Path) -> None:
    """Makes a dataset name the store of its corpus for its shards, so that it can be moved."""
    if dataset_follows(corpus, dataset):
        return
    if (wanted := bulk_of(corpus)) is None:
        (dataset / STORAGE).unlink(missing_ok=True)
    else:
        durable.write_bytes(dataset / STORAGE, json.dumps({KEY: str(wanted.address.below(dataset.name))}).encode())


def located(folder: Path, file: Stored) -> Path:
    """Where a file of a corpus or dataset is to be read: in its folder, or, if it is not there, in the mirror of its store."""
    place = folder / file.path
    if place.exists() or (bulk := bulk_of(folder)) is None:
        return place
    return mirror.place_of(bulk.object_of(file))


def is_stored(folder: Path, file: Stored) -> bool:
    """Whether the bytes of a file that is not in its folder are in the store."""
    return (bulk := bulk_of(folder)) is not None and bulk.has(file)
