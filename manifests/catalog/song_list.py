"""A CSV that lists songs, as a spreadsheet, a script or an editor writes it: read line by line, so that one bad line loses one song.

Conventions
    UTF-8, with or without a byte order mark; separated by commas, semicolons or tabs, whichever the first line has most of.
    The first line names the columns; their order, case and the space around them do not matter.
    A field may be in quotes, and may not contain a line end: no title does, and an unmatched quote would swallow the songs after
    it.
    Where no file has a path as it is written, one is taken that differs only in how accents are composed (macOS decomposes them), in
    backslashes (Windows), or in case; its row has a note.

References
    RFC 4180. Unicode Standard Annex 15 for NFC and NFD.
"""

from __future__ import annotations

import codecs
import csv
import difflib
import io
import os
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from stemwright.manifests.disk.regular import not_a_file
from stemwright.manifests.names import is_too_long, split_name

COLUMNS = ("path", "title", "artist", "album", "rights", "split")
OTHER_NAMES = {  # other programs' names for our columns
    **dict.fromkeys(
        ("file", "filename", "file_name", "filepath", "file_path", "audio", "audio_path", "location", "mixture", "uri"), "path"
    ),
    **dict.fromkeys(("name", "song", "track", "track_name"), "title"),
    **dict.fromkeys(("performer", "band", "creator", "author"), "artist"),
    **dict.fromkeys(("license", "licence", "copyright", "terms"), "rights"),
    **dict.fromkeys(("subset", "fold", "set", "partition"), "split"),
}
LARGEST_BYTES = 1 << 28  # of a CSV: a million songs have about 100 MB
LONGEST_LINE = 1 << 16  # characters
SHOWN = 80  # characters of what is wrong, in a sentence about it


@dataclass(frozen=True)
class Line:
    """One line of the list: where it is, its fields by column, and what is wrong with it, if anything is."""

    where: str
    values: dict[str, str | None] = field(default_factory=dict)
    wrong: str = ""


def shown(text: str) -> str:
    """A text shortened for an error message."""
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}..."


def nearest(name: str, known: Iterable[str], cutoff: float = 0.4) -> str:
    """A hint for an error about an unknown name: the nearest known one, if one is near."""
    found = difflib.get_close_matches(name.lower(), list(known), n=1, cutoff=cutoff)
    return f"; did you mean {found[0]!r}?" if found else "."


def read(path: Path) -> Iterator[Line]:
    """The lines of a list below its first one, empty ones left out. Raises ValueError if it is not such a list."""
    text = _text(path)
    lines = enumerate(io.StringIO(text, newline=None), 1)
    head = next((line for _, line in lines if line.strip()), "")
    delimiter = max(",;\t", key=head.count)
    columns = _columns(path, head, delimiter)
    for number, line in lines:
        if line.strip():
            yield _line(f"{path.name}, line {number}", line.rstrip("\n"), columns, delimiter)


def _text(path: Path) -> str:
    if what := not_a_file(path):
        raise ValueError(f"{path} is {what}; expected a CSV file that lists songs")
    if path.stat().st_size > LARGEST_BYTES:
        raise ValueError(f"{path} has {path.stat().st_size / 1e6:,.0f} MB; expected a list of songs, at most {LARGEST_BYTES / 1e6:,.0f} MB")
    data = path.read_bytes()
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) or 4 * data[:200].count(b"\0") > len(data[:200]):
        raise ValueError(f"{path} is UTF-16 or not a text file; save it as CSV UTF-8")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise ValueError(f"{path} is not UTF-8 text (byte {error.start}, in line {line}); save it as CSV UTF-8") from error


def _columns(path: Path, head: str, delimiter: str) -> list[str]:
    try:
        columns = [name.strip().lower() for name in _fields(head, delimiter)]
    except csv.Error as error:
        raise ValueError(f"{path}: its first line cannot be read ({error}); expected some of: {', '.join(COLUMNS)}") from error
    for name in columns:
        if name not in COLUMNS:
            meant = f"; did you mean {OTHER_NAMES[name]!r}?" if name in OTHER_NAMES else nearest(name, COLUMNS, 0.7)
            raise ValueError(f"{path}: unknown column {shown(name)!r}{meant} Known: {', '.join(COLUMNS)}")
    if "path" not in columns:
        raise ValueError(f"{path}: no column 'path'; expected a first line with some of: {', '.join(COLUMNS)}")
    if len(set(columns)) < len(columns):
        raise ValueError(f"{path}: a column is named twice ({', '.join(columns)}); name each once")
    return columns


def _fields(line: str, delimiter: str) -> list[str]:
    rows = list(csv.reader([line], delimiter=delimiter, skipinitialspace=True, strict=True))
    return rows[0] if rows else []


def _line(where: str, line: str, columns: Sequence[str], delimiter: str) -> Line:
    if len(line) > LONGEST_LINE:
        return Line(where, wrong=f"has {len(line):,} characters; expected at most {LONGEST_LINE:,}. Is a quote or a line break missing?")
    if "\0" in line:
        return Line(where, wrong="contains a NUL character; save the file as CSV UTF-8")
    try:
        fields = _fields(line, delimiter)
    except csv.Error:
        return Line(where, wrong="an unmatched quote: close it, or double it inside a quoted field")
    values = {name: text.strip() or None for name, text in zip(columns, fields, strict=False)}
    if len(fields) > len(columns):
        return Line(where, values, f"has more fields than the first line; put fields with {delimiter!r} in quotes")
    if values.get("path") is None:
        return Line(where, values, "no path")
    if (split := values.get("split")) is not None:
        values["split"] = split_name(split)
        if values["split"] not in ("train", "valid", "test"):
            return Line(where, values, f"split must be train, valid (or validation, dev) or test; got {shown(split)!r}")
    return Line(where, values)


class Finder:
    """Finds the songs that a list names, below the first of some folders that has them."""

    def __init__(self, folders: Sequence[Path]) -> None:
        self.folders = list(dict.fromkeys(folders))
        self._names: dict[
            Path, dict[str, list[str]]
        ] = {}  # folder -> what names have in common -> names: read once, not once for each line

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
        raise ValueError(f"file not found; looked for {' and '.join(str(folder / song) for folder in self.folders)}")

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


def _exists(place: Path) -> bool:
    try:
        return place.exists()
    except (OSError, ValueError):
        return False


def _key(name: str) -> str:
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())
