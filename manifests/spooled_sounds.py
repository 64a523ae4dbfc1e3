"""Sound files that were rendered and are not packed yet: appended to a few larger files, the spool, instead of being files of their own.

What goes into which shard is known only when all is rendered: examples are in the order of their pairs' ids, a shard is full at a size in
bytes, pairs that cannot be heard are replaced by others with other ids. And rendering in the order of the ids would read every stem many
times, from a bucket as well. So workers render in the order of the plan and append to the spool; packing copies from it into the shards.
A corpus of 10^6 pairs has some thousand files at any time, not three million.

Conventions
    ``dataset/.spool/.PART.RUN.PROCESS.sounds`` holds sound files one after another, nothing else. One process appends to it in one run: no
    other, and no later run, uses the name. PART is a kind, a split and the first digit of the pairs' ids, so that packing, which goes
    through these in order, can remove one file after another.
    ``dataset/.spool/.sounds.jsonl.part`` says where each sound file is: a line a pair, written by the process that runs the stage after the
    bytes have reached the disk. Bytes that no line names, as a kill leaves them, are never read.
    Of several places for one sound file the last one counts; who knows its checksum tries the others as well.
    When all is packed the folder is removed. What is not ours in it stays.
"""

from __future__ import annotations

import os
import re
import secrets
import threading
from array import array
from collections.abc import Container, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

import numpy as np
from pydantic import Field, TypeAdapter, ValidationError

from stemwright.manifests import table
from stemwright.manifests.disk import deletion, durable
from stemwright.manifests.disk.attempts import PROCESS, process_name
from stemwright.manifests.journal_index import entry_of, lines_of
from stemwright.manifests.records import Member, Record
from stemwright.manifests.shards import Place

SPOOL = ".spool"  # folder of a dataset
SPOOL_JOURNAL = f".sounds{table.JOURNAL}"
FILE = re.compile(rf"\.[a-z0-9_-]+\.[0-9a-f]{{8}}\.{PROCESS}\.sounds")
START_BITS = 44  # of a sound file's place: 16 TB, and a million files
START = (1 << START_BITS) - 1

_appending = threading.Lock()  # a worker of a cluster may have several threads, which share its files


class Spooled(Record):
    """Sound files that were appended to a file of the spool together: those of one pair."""

    file: str = Field(pattern=f"^{FILE.pattern}$", description="name of the file in the folder of the spool")
    members: tuple[Member, ...] = Field(description="the sound files in it")


_ROWS: TypeAdapter[tuple[Spooled, ...]] = TypeAdapter(tuple[Spooled, ...])


def folder_of(dataset: Path) -> Path:
    """The folder of a dataset's spool."""
    return dataset / SPOOL


def has_spool(dataset: Path) -> bool:
    """Whether rendering, or packing, was interrupted before all was packed."""
    return os.path.lexists(folder_of(dataset))


@dataclass(frozen=True)
class SoundSpool:
    """Where the processes of one run append sound files. It is sent to each of them; ``run`` is in the names of all files."""

    dataset: Path
    run: str = field(default_factory=lambda: secrets.token_hex(4))

    def append(self, part: str, sounds: Mapping[str, bytes]) -> Spooled:
        """Appends sound files, given by what the dataset's rows call them, to this process's file of a part.

        They are on the disk when it returns. Raises Refused if a link leads there, OSError if they cannot be written: nothing is left then.
        """
        name = f".{part}.{self.run}.{process_name()}.sounds"
        path = folder_of(self.dataset) / name
        deletion.check_way(self.dataset, path)
        deletion.check_plain(path)
        with _appending, durable.naming(path):
            start = durable.append(path, sounds.values())
        members = []
        for sound, data in sounds.items():
            members.append(Member(path=sound, start_byte=start, num_bytes=len(data)))
            start += len(data)
        return Spooled(file=name, members=tuple(members))

    def journal(self, writer: str = "") -> table.Journal:
        """The journal of what is in the spool; of several writers, each has one."""
        base = folder_of(self.dataset) / SPOOL_JOURNAL
        deletion.check_way(self.dataset, base)
        return table.Journal(base, Spooled, writer)


class SpoolGroup:
    """Sound files that are appended together when all of them are made: a context manager, used as ``durable.FileGroup`` is.

    ``row`` says afterwards where they are.
    """

    row: Spooled

    def __init__(self, spool: SoundSpool, part: str) -> None:
        self._spool, self._part = spool, part
        self._sounds: dict[str, bytes] = {}

    def __enter__(self) -> SpoolGroup:
        return self

    def write(self, path: Path, data: bytes) -> None:
        """Takes the bytes of a sound file whose own file would be ``path``."""
        self._sounds[path.relative_to(self._spool.dataset).as_posix()] = data

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if kind is None:
            self.row = self._spool.append(self._part, self._sounds)


def spooled_rows(dataset: Path) -> Iterator[Spooled]:
    """What the journals of a spool say, line by line; of two lines about one sound file the later one counts."""
    for path in table.journals(folder_of(dataset) / SPOOL_JOURNAL):
        for _, line in lines_of(path):
            with suppress(ValidationError):  # none of ours: its sound files count as missing
                yield from _ROWS.validate_python((entry_of(line) or {}).get("rows", ()))


class SpooledSounds:
    """Finds the sound files in the spool of a dataset; those that are wanted, if that is given. 24 bytes each are in memory.

    A file that is missing, or shorter than a line says, as after a power cut, counts as holding nothing.
    """

    def __init__(self, dataset: Path, wanted: Container[str] | None = None) -> None:
        self._folder = folder_of(dataset)
        numbers: dict[str, int] = {}
        names, places, lengths = array("q"), array("Q"), array("Q")
        for row in spooled_rows(dataset):
            number = numbers.setdefault(row.file, len(numbers))
            for member in row.members:
                if wanted is None or member.path in wanted:
                    names.append(hash(member.path))
                    places.append(number << START_BITS | member.start_byte)
                    lengths.append(member.num_bytes)
        self._files = list(numbers)
        order = np.argsort(np.array(names, np.int64), kind="stable")
        self._names, self._places = np.array(names, np.int64)[order], np.array(places, np.uint64)[order]
        self._lengths = np.array(lengths, np.uint64)[order]
        self._sizes = [_size(self._folder / name) for name in self._files]
        self._uses = np.bincount((self._places >> np.uint64(START_BITS)).astype(np.int64), minlength=len(self._files))

    def __len__(self) -> int:
        return len(self._names)

    def places(self, path: str) -> tuple[Place, ...]:
        """Where a sound file is, as a dataset's rows call it: the last place first; empty if it is not in the spool."""
        found = []
        for at in reversed(range(*self._span(path))):
            number, start, length = int(self._places[at]) >> START_BITS, int(self._places[at]) & START, int(self._lengths[at])
            if start + length <= self._sizes[number]:
                found.append(Place(self._folder / self._files[number], start, length))
        return tuple(found)

    def exists(self, path: str, num_bytes: int) -> bool:
        """Whether the sound file is in the spool with this size."""
        return any(place.num_bytes == num_bytes for place in self.places(path))

    def release(self, paths: Iterable[str]) -> list[Path]:
        """Notes that sound files are needed no more; returns the files of the spool in which no other one is."""
        emptied = []
        for path in paths:
            for at in range(*self._span(path)):
                number = int(self._places[at]) >> START_BITS
                self._uses[number] -= 1
                if not self._uses[number]:
                    emptied.append(self._folder / self._files[number])
        return emptied

    def unused(self) -> list[Path]:
        """The files of the spool that hold nothing that is needed."""
        used = {name for name, uses in zip(self._files, self._uses, strict=True) if uses}
        return [path for path in _files(self._folder) if path.name not in used]

    def _span(self, path: str) -> tuple[int, int]:
        wanted = np.int64(hash(path))
        return int(np.searchsorted(self._names, wanted)), int(np.searchsorted(self._names, wanted, side="right"))


def remove_spool(dataset: Path) -> None:
    """Removes the files of a spool, its journals and, if nothing else is in it, its folder."""
    folder = folder_of(dataset)
    if not has_spool(dataset) or deletion.link_on_the_way(dataset, folder / SPOOL_JOURNAL) is not None:
        return
    deletion.remove_all(dataset, (*_files(folder), *table.journals(folder / SPOOL_JOURNAL)))
    deletion.remove_empty(dataset, folder)
    durable.sync_folder(dataset)


def _files(folder: Path) -> list[Path]:
    """The files in the folder of a spool that have names as ours."""
    with suppress(OSError):
        return sorted(Path(entry.path) for entry in os.scandir(folder) if FILE.fullmatch(entry.name))
    return []


def _size(path: Path) -> int:
    with suppress(OSError):
        return path.stat().st_size
    return 0
