"""The songs that a CSV lists, found on disk: each once, with what its line says about it, or refused with the reason and the line.

Conventions
    A song that several lines list alike is one song, which is noted. Where they differ the first line counts, and the others are
    refused.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from stemwright.manifests.catalog import song_list
from stemwright.manifests.catalog.song_finder import Finder
from stemwright.manifests.disk.regular import not_a_file
from stemwright.manifests.wording import counted


@dataclass(frozen=True)
class ListedSong:
    """A file or folder in the songs folder, with what the list says about it; or what a line has for a path, and why it is refused."""

    path: str
    columns: dict[str, Any] = field(default_factory=dict)
    refused: str = ""


class ListedSongs:
    """The songs of a list, whose paths are relative to its own folder or the songs folder, or absolute; ``notes`` are complete at the end.

    Raises ValueError for a file that is no list of songs.
    """

    def __init__(self, root: Path, path: Path) -> None:
        self.root, self._lines = root, song_list.read(path)
        self.notes = list(self._lines.notes)
        self._finder = Finder((path.parent, root))
        self._first: dict[str, song_list.Line] = {}  # path in the songs folder -> the line that lists it first

    def __iter__(self) -> Iterator[ListedSong]:
        comments = 0
        for line in self._lines:
            song = line.values.get("path")
            if line.comment and not (song and self._finder.has(song)):
                comments += 1
            elif line.wrong:
                yield (
                    ListedSong(song_list.shown(song), refused=f"{line.where}: {line.wrong}")
                    if song
                    else ListedSong(line.where, refused=line.wrong)
                )
            elif song is not None and (found := self._found(song, line)) is not None:
                yield found
        if comments:
            self.notes.append(f"{counted(comments, 'comment')} in {self._lines.name} left out (lines that begin with #)")

    def _found(self, song: str, line: song_list.Line) -> ListedSong | None:
        """The song of a line; None if it is there already."""
        called = song_list.shown(song)
        try:
            place, note = self._finder.find(song)
            what = not_a_file(place)
        except (ValueError, OSError) as error:
            return ListedSong(called, refused=f"{line.where}: {getattr(error, 'strerror', None) or error}")
        path = PurePosixPath(Path(os.path.relpath(place.absolute(), self.root.absolute()))).as_posix()
        if path.split("/")[0] == "..":
            return ListedSong(called, refused=f"{line.where}: outside the songs folder {self.root}")
        if what and not place.is_dir():
            return ListedSong(called, refused=f"{line.where}: {what}, not a sound file")
        first = self._first.setdefault(path, line)
        if first is line:
            values = {name: value for name, value in line.values.items() if name != "path"}
            return ListedSong(path, {**values, "metadata": line.metadata, "note": note})
        if difference := first.differs_in(line):
            reason = f"{line.where}: the same song as in {first.where}, with another {difference}; that line is used. Remove one of them"
            return ListedSong(called, refused=reason)
        self.notes.append(f"{line.where}: the same song as in {first.where}, {called}; taken once")
        return None
