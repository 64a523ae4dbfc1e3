"""What a listing collects: recordings that were found but not read, what was refused, what was ignored; and the walk through a folder.

Conventions
    Paths are relative to the songs folder, with forward slashes. Hidden files, folders that are themselves a corpus, and files of other
    suffixes are skipped. Links are followed; each real folder is read once, so a loop of links ends.
"""

from __future__ import annotations

import fnmatch
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, ClassVar, Literal

from pydantic import Field, ValidationError

from stemwright.manifests.catalog.stem_map import StemRules
from stemwright.manifests.metadata import Metadata
from stemwright.manifests.names import Name, RelativePath
from stemwright.manifests.records import Record, Refused, Split
from stemwright.manifests.sound import containers, formats
from stemwright.manifests.stem_names import FOUR_STEMS, STREAMS

TABLES = ("tracks.parquet", "tracks.jsonl.part", "examples.parquet")  # a folder with one of them is a corpus or a dataset, not songs

IsSong = Callable[[Path, frozenset[str]], bool]  # takes a folder, by the names of all that is in it, as one recording


class Candidate(Record):
    """A recording that was found but not read: its path, and what the CSV or the data set says about it.

    ``references`` are the files of its own stems: the name of each, its path and its stream. ``parts`` says by their names which are
    summed into one stem. A multitrack whose mixture is the sum of its files has the path of its folder.
    """

    # Since version 0.1, whose keys stay: no key is over the defaults of these.
    LATER: ClassVar[frozenset[str]] = frozenset({"metadata", "parts", "unmatched", "bleed", "mixture", "folder_artist"})

    path: RelativePath
    stream: int = 0
    references: tuple[tuple[Name, RelativePath, int], ...] = ()
    parts: dict[Name, Name] = Field({}, description="file -> the stem that it is a part of")
    unmatched: tuple[Name, ...] = Field((), description="files that no pattern matches, where there are patterns")
    bleed: dict[Name, bool] = Field({}, description="file -> whether other instruments are heard in it, as the data set says")
    mixture: Literal["file", "sum"] = "file"
    title: str | None = None
    artist: str | None = None
    album: str | None = None
    rights: str | None = None
    metadata: Metadata = Field(default_factory=dict)
    split: Split | None = None
    folder_artist: str = Field("", description="the artist that a folder on its way is named after, as far as the tree shows")
    note: str = Field("", description="anything unusual about how the file was found")
    source: str

    def content(self) -> dict[str, Any]:
        """The candidate as plain JSON values."""
        every = self.model_dump(mode="json")
        return {name: value for name, value in every.items() if name not in self.LATER or value not in ({}, [], "file", "")}


@dataclass(frozen=True)
class FoundSongs:
    """What ``find`` found: the folder that paths are relative to, the recordings, (path, reason) of what was refused, and the paths of
    what was ignored on request; notes about the CSV.
    """

    songs: Path
    candidates: tuple[Candidate, ...]
    refused: tuple[tuple[str, str], ...]
    ignored: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass
class Listing:
    """What was found so far below ``root``, the patterns of what is to be ignored, and what becomes of a multitrack's stems."""

    root: Path
    ignore: tuple[str, ...] = ()
    rules: StemRules = field(default_factory=StemRules)
    candidates: list[Candidate] = field(default_factory=list)
    refused: list[tuple[str, str]] = field(default_factory=list)
    ignored: set[str] = field(default_factory=set)
    notes: list[str] = field(default_factory=list)
    _below: dict[Path, str] = field(default_factory=dict)  # paths of folders in the songs folder

    def ignores(self, path: str) -> bool:
        """Whether a file, by its path in the songs folder, is to be ignored; remembers it."""
        if not matches(path, self.ignore):
            return False
        self.ignored.add(_printable(path))
        return True

    def refuse(self, path: str, reason: str) -> None:
        """Keeps why a path gives no recording."""
        self.refused.append((_printable(path), reason))

    def add(
        self, source: str, files: Sequence[str], columns: Mapping[str, Any] | None = None, *, stem_names: Sequence[str] = FOUR_STEMS
    ) -> None:
        """Adds a recording: its mixture's path, then those of its stems if it has files for them."""
        if unreadable := next((path for path in files if _printable(path) != path), None):
            self.refuse(unreadable, "its name is not UTF-8; rename it")
            return
        references = tuple((name, stem, 0) for name, stem in zip(stem_names, files[1:], strict=False))
        if not references and files[0].lower().endswith(".mp4") and is_stem_file(self.root / files[0]):
            references = tuple((name, files[0], stream) for stream, name in enumerate(STREAMS) if stream)
        try:
            self.candidates.append(Candidate(path=files[0], references=references, source=source, **(columns or {})))
        except ValidationError:
            self.refuse(files[0], "other systems would read its name as a drive letter; rename it")  # "C: song.wav", see `inside`

    def below(self, folder: Path, name: str = "") -> str:
        """The path in the songs folder of a file in a folder, or of the folder itself."""
        if folder not in self._below:
            self._below[folder] = PurePosixPath(os.path.relpath(folder, self.root)).as_posix()
        return os.path.normpath(f"{self._below[folder]}/{name}")

    def walk(self, is_song: IsSong | None = None) -> Iterator[tuple[Path, list[str]]]:
        """Each real folder once, real ones before linked ones, with the sorted names of its sound files.

        Folders that ``is_song`` takes are left out, and so is what is below them.
        """
        seen: set[tuple[int, int]] = set()
        folders, links = [self.root], list[Path]()
        while folders or links:
            folder = folders.pop() if folders else links.pop(0)
            try:
                status = folder.stat()
                entries = sorted((entry for entry in os.scandir(folder) if not entry.name.startswith(".")), key=lambda entry: entry.name)
            except OSError as error:
                self.refuse(self.below(folder), f"folder cannot be listed: {error.strerror}")
                continue
            if (status.st_dev, status.st_ino) in seen:
                continue
            seen.add((status.st_dev, status.st_ino))
            if any(entry.name in TABLES for entry in entries):
                entries = [entry for entry in entries if folder == self.root and entry.name not in ("stems", "dataset")]
            if is_song is not None and is_song(folder, frozenset(entry.name for entry in entries)):
                continue
            yield folder, [entry.name for entry in entries if self.is_sound(folder, entry)]
            for entry in entries:
                if _is(entry.is_dir):
                    (links if entry.is_symlink() else folders).append(folder / entry.name)

    def sounds_in(self, folder: Path) -> list[str]:
        """The sorted names of the sound files of a folder."""
        return sorted(entry.name for entry in os.scandir(folder) if entry.name[0] != "." and self.is_sound(folder, entry))

    def is_sound(self, folder: Path, entry: os.DirEntry[str]) -> bool:
        """Whether an entry of a folder is a sound file by its suffix; refused with the reason if it has such a suffix but is none."""
        if os.path.splitext(entry.name)[1].lower() not in formats.READABLE_SUFFIXES:  # noqa: PTH122  # of every file of a collection
            return False
        if self.ignore and self.ignores(self.below(folder, entry.name)):
            return False
        if _is(entry.is_dir):
            reason = "a folder, not a sound file (the files in it are read)"
        elif not _is(entry.is_file):
            reason = "a broken link" if entry.is_symlink() else "not a regular file"
        else:
            return True
        self.refuse(self.below(folder, entry.name), reason)
        return False


def matches(path: str, patterns: Iterable[str]) -> bool:
    """Whether a path, its name, or a folder on its way matches a shell pattern, whatever its case; ``*`` also matches slashes."""
    wanted = [pattern.casefold().rstrip("/") for pattern in patterns]
    if not wanted:
        return False
    place = PurePosixPath(path.casefold())
    names = (str(place), place.name, *(str(parent) for parent in place.parents), *(parent.name for parent in place.parents))
    return any(name == pattern or fnmatch.fnmatchcase(name, pattern) for pattern in wanted for name in names if name not in ("", "."))


def is_stem_file(path: Path) -> bool:
    """Whether a file contains mixture and stems as streams."""
    if path.name.lower().endswith(".stem.mp4"):
        return True
    try:
        return path.suffix.lower() == ".mp4" and containers.num_streams(path) == len(STREAMS)
    except Refused:
        return False


def _is(question: Callable[[], bool]) -> bool:
    """The answer about an entry of a folder; false where a link leads to itself or to a place that may not be read."""
    try:
        return question()
    except OSError:
        return False


def _printable(path: str) -> str:
    return os.fsencode(path).decode("utf-8", "backslashreplace")
