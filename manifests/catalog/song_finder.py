"""Finds the files and folders that a list of songs names.

Conventions
    Where no file has a path as it is written, one is taken that differs only in how accents are composed (macOS decomposes them), in
    backslashes (Windows), in case, or in space around a name; its row has a note. This does not depend on the file system.
    Where there is none either, the error names a file that may have been meant: one of the same name in another folder or with
    another suffix, or one whose name differs in a letter or two. Names that differ in a number are different songs.

References
    Unicode Standard Annex 15 for NFC and NFD.
"""

from __future__ import annotations

import difflib
import os
import re
import unicodedata
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from urllib.parse import unquote

from stemwright.manifests.catalog.song_list import shown
from stemwright.manifests.names import is_too_long
from stemwright.manifests.sound.formats import READABLE_SUFFIXES

MOST_NAMES = 50_000  # names below the folders among which one that was meant is looked for
MOST_HINTS = 20  # errors with a hint: a list of a million wrong paths is not searched for each
NEAR = 0.88  # similarity of the letters and digits of two names that may be one


class Finder:
    """Finds the songs that a list names, below the first of some folders that has them."""

    def __init__(self, folders: Sequence[Path]) -> None:
        self.folders = list(dict.fromkeys(folders))
        # folder -> what names have in common -> names: read once, not once for each line
        self._names: dict[Path, dict[str, list[str]]] = {}
        self._hints = MOST_HINTS
        self._known: dict[str, list[str]] | None = None  # letters and digits of a name without suffix -> paths

    def find(self, song: str) -> tuple[Path, str]:
        """Where a file or folder is, and a note if its name differs there. Raises ValueError if there is none, or several."""
        if is_too_long(song):
            raise ValueError(f"path {shown(song)!r} is longer than file systems allow")
        for folder in self.folders:
            if _exists(folder / song):
                return folder / song, ""
        for folder in self.folders:
            if (place := self._alike(folder, song)) is not None:
                return place, f"listed as {song!r}, found as {os.path.relpath(place, folder)!r}"
        raise ValueError(f"file not found; looked for {' and '.join(str(folder / song) for folder in self.folders)}{self._hint(song)}")

    def has(self, song: str) -> bool:
        """Whether a path, as it is written, is there."""
        return not is_too_long(song) and any(_exists(folder / song) for folder in self.folders)

    def _alike(self, folder: Path, song: str) -> Path | None:
        """The place below a folder whose path differs in accents, backslashes or case only. Raises ValueError if there are several."""
        path = Path(song.replace("\\", "/"))
        place = Path(path.anchor) if path.is_absolute() else folder
        for part in path.parts[1:] if path.is_absolute() else path.parts:
            if part == ".." or _exists(place / part):
                place = place / part
                continue
            names = self._below(place).get(_key(part), ())
            if len(names) > 1:
                raise ValueError(f"file not found; {' and '.join(names)} differ from it only in accents or case: write the exact name")
            if not names:
                return None
            place = place / names[0]
        return place

    def _below(self, folder: Path) -> dict[str, list[str]]:
        if folder not in self._names:
            grouped: dict[str, list[str]] = {}
            try:
                for entry in sorted(folder.iterdir()):
                    grouped.setdefault(_key(entry.name), []).append(entry.name)
            except OSError:
                grouped = {}
            self._names[folder] = grouped
        return self._names[folder]

    def _hint(self, song: str) -> str:
        """The path that may have been meant, as the end of a sentence; "" if none is near enough."""
        if not self._hints:
            return ""
        self._hints -= 1
        if self._known is None:
            self._known = {}
            for path in self._every_path():
                self._known.setdefault(_letters(PurePosixPath(path).name), []).append(path)
        name = PurePosixPath(unquote(song).replace("\\", "/")).name
        wanted = _letters(name)
        same_number = [each for each in self._known if _digits(each) == _digits(wanted)]
        near = [wanted] if wanted in self._known else difflib.get_close_matches(wanted, same_number, n=1, cutoff=NEAR)
        if not wanted or not near:
            return ""
        paths = sorted(self._known[near[0]], key=lambda path: PurePosixPath(path).name.casefold() != name.casefold())
        return f"; did you mean {shown(paths[0])!r}?"

    def _every_path(self) -> Iterator[str]:
        """The paths of sound files and folders below the folders."""
        count = 0
        for folder in self.folders:
            for place, folders, files in os.walk(folder):
                folders[:] = sorted(name for name in folders if name[0] != ".")
                sounds = (name for name in sorted(files) if PurePosixPath(name).suffix.lower() in READABLE_SUFFIXES and name[0] != ".")
                for name in (*folders, *sounds):
                    yield PurePosixPath(os.path.relpath(Path(place) / name, folder)).as_posix()
                    count += 1
                    if count == MOST_NAMES:
                        return


def _exists(place: Path) -> bool:
    try:
        return place.exists()
    except (OSError, ValueError):
        return False


def _key(name: str) -> str:
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold()).strip()


def _letters(name: str) -> str:
    """The letters and digits of a file's name without its suffix: in lower case, without accents."""
    path = PurePosixPath(name)
    stem = path.stem if path.suffix.lower() in READABLE_SUFFIXES else path.name
    return "".join(c for c in unicodedata.normalize("NFKD", stem).casefold() if c.isalnum())


def _digits(text: str) -> list[str]:
    return re.findall(r"\d+", text)
