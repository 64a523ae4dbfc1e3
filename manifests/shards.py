"""Where the sound files of a dataset are: files by themselves, or byte for byte inside larger files, the shards.

A tar holds its members as they are, and so does a Parquet file whose pages are neither compressed nor dictionaries. So one table,
``shards.parquet``, says for every sound file its shard and its first byte there, whatever the format; reading one is a
seek, and its checksum is that of the example's row.

Conventions
    Paths are those of the dataset's own tables: relative to its folder. What a corpus's tables call them begins with ``dataset/``.
    While a dataset is being packed, ``shards.jsonl.part`` beside the table takes precedence: an entry without rows voids a shard.
    Where ``storage.json`` names a store (``stemwright.manifests.disk.bulk``), a shard that is not in the folder is there, and only the
    bytes of the files that are read are requested of it.
    A shard that is missing or whose length differs from its row counts as empty.
    A sound file is looked up by name in a mapped index (``stemwright.manifests.shard_members``): millions of names are not in memory.
"""

from __future__ import annotations

import os
from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from stemwright.manifests import table
from stemwright.manifests.disk import mirror
from stemwright.manifests.disk.bulk import STORAGE, Stored, is_stored, located
from stemwright.manifests.disk.name_set import NameSet
from stemwright.manifests.disk.regular import has_size, regular
from stemwright.manifests.disk.stores import Span
from stemwright.manifests.records import Refused, Shard
from stemwright.manifests.shard_members import Members
from stemwright.manifests.sound.embedded import load_bytes, load_range
from stemwright.manifests.sound.formats import Audio
from stemwright.manifests.table_rows import TableRows

DATASET = "dataset"  # the folder of a corpus that a training job reads
TABLE = "shards.parquet"
JOURNAL = "shards.jsonl.part"
TABLES = ("README.md", "pairs.parquet", "examples.parquet", TABLE, JOURNAL, STORAGE)  # files of a dataset folder besides sound


@dataclass(frozen=True)
class Place:
    """The place of a sound file's bytes: a whole file, or ``num_bytes`` of it from ``start_byte`` on."""

    file: Path
    start_byte: int = 0
    num_bytes: int | None = None

    def read(self) -> bytes:
        """The bytes of the sound file. Raises Refused naming the shard if it ends before them."""
        if self.num_bytes is None:
            return regular(self.file).read_bytes()
        if mirror.is_mirrored(self.file):
            return mirror.read_ranges(self.file, [(self.start_byte, self.num_bytes)])[0]
        with regular(self.file).open("rb", buffering=0) as file:
            data = os.pread(file.fileno(), self.num_bytes, self.start_byte)
        if len(data) < self.num_bytes:
            raise Refused(f"{self.file.name} is truncated: it ends {self.num_bytes - len(data)} bytes before the end of a sound file in it")
        return data

    def load(self, start_frame: int = 0, num_frames: int | None = None, *, scratch: bytearray | None = None) -> tuple[Audio, int]:
        """Decodes the sound file, or an excerpt of it, as ``audio.load_range`` does: (float32 [C, T], sample rate)."""
        if mirror.is_mirrored(self.file):
            return load_bytes(self.read(), self.file.name, start_frame, num_frames)
        return load_range(self.file, self.start_byte, self.num_bytes, start_frame, num_frames, scratch)


def in_dataset(path: str) -> str:
    """What a dataset's own tables call a file of it that the corpus's tables call ``path``, which begins with the dataset folder."""
    return path.partition("/")[2]


def read(dataset: Path) -> Sequence[Shard]:
    """The shards of a dataset folder after its last packing; empty if its sound files are not packed."""
    finished = TableRows(dataset / TABLE, Shard) if (dataset / TABLE).exists() else ()
    entries = table.journalled(dataset / JOURNAL, Shard)
    if not entries:
        return finished
    rows = {shard.path: shard for shard in finished}
    for path, entry in entries.items():
        rows.pop(path, None)
        rows.update({shard.path: shard for shard in entry})
    return [rows[path] for path in sorted(rows)]


class DatasetFiles(Container[str]):
    """Every file of a dataset, as a path relative to its folder: tables and card, sound files (as its rows call them), shards.

    Anything else there is foreign (``deletion.foreign_files``).
    """

    def __init__(self, sounds: Iterable[str], shards: Sequence[Shard]) -> None:
        self._sounds, self._members = NameSet(sounds), Members(shards)
        self._others = {*TABLES, *(shard.path for shard in self._members.shards())}

    def __contains__(self, name: object) -> bool:
        return name in self._others or (name in self._sounds and self._members.find(str(name)) is None)


def damage(dataset: Path, shard: Stored) -> str | None:
    """What is obviously wrong with a shard, or None: missing, truncated or too long. Its bytes are not read."""
    try:
        found = (dataset / shard.path).stat().st_size
    except FileNotFoundError:
        return None if is_stored(dataset, shard) else "is missing"
    if found == shard.num_bytes:
        return None
    what = "is cut off" if found < shard.num_bytes else "is another file"
    return f"{what}: it has {found:,} bytes; expected {shard.num_bytes:,}"


class Places:
    """Finds the sound files of a dataset folder, in shards or by themselves. Damaged shards are in ``damaged`` and count as empty."""

    def __init__(self, dataset: Path, shards: Sequence[Shard] | None = None) -> None:
        self.dataset = Path(dataset)
        self.shards = read(self.dataset) if shards is None else shards
        self._members = Members(self.shards)
        self.damaged = {shard.path: what for shard in self._members.shards() if (what := damage(self.dataset, shard))}
        files = ((shard.path, located(self.dataset, shard)) for shard in self._members.shards())
        self._elsewhere = {path: file for path, file in files if mirror.is_mirrored(file)}

    @property
    def shard_paths(self) -> list[str]:
        """The paths of all shards, damaged ones as well."""
        return [shard.path for shard in self._members.shards()]

    def find(self, path: str) -> Place:
        """Where the sound file that a row calls ``path`` is, or should be."""
        return self._inside(path) or Place(self.dataset / path)

    def inside(self, path: str) -> bool:
        """Whether the sound file is in an undamaged shard."""
        return self._inside(path) is not None

    def lost_with(self, path: str) -> str | None:
        """The damaged shard that holds a sound file, or None."""
        found = self._members.find(path)
        return found[0] if found is not None and found[0] in self.damaged else None

    def exists(self, path: str, num_bytes: int) -> bool:
        """Whether the sound file is there with this size, in an undamaged shard or by itself."""
        inside = self._inside(path)
        return (inside is not None and inside.num_bytes == num_bytes) or has_size(f"{self.dataset}/{path}", num_bytes)

    def _inside(self, path: str) -> Place | None:
        found = self._members.find(path)
        if found is None or found[0] in self.damaged:
            return None
        shard, start_byte, num_bytes = found
        return Place(self.file_of(shard), start_byte, num_bytes)

    def file_of(self, shard: str) -> Path:
        """The file of a shard that its row calls so: in the dataset folder, or in the mirror of its store."""
        return self._elsewhere.get(shard, self.dataset / shard)

    @property
    def stored(self) -> bool:
        """Whether any shard is in a store."""
        return bool(self._elsewhere) or mirror.is_mirrored(self.dataset)

    def fetch(self, paths: Sequence[str]) -> dict[str, bytes]:
        """The bytes of those sound files that are in a store, by path: one request for those of a shard that are near one another.

        The files of an example are: in a tar they follow one another.
        """
        grouped: dict[Path, list[tuple[str, Span]]] = {}
        for path in paths if self.stored else ():
            place = self.find(path)
            if place.num_bytes is not None and mirror.is_mirrored(place.file):
                grouped.setdefault(place.file, []).append((path, (place.start_byte, place.num_bytes)))
        found: dict[str, bytes] = {}
        for file, members in grouped.items():
            found.update(zip((path for path, _ in members), mirror.read_ranges(file, [span for _, span in members]), strict=True))
        return found
