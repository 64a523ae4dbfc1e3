"""A CSV that lists songs, as a spreadsheet, a script or an editor writes it: read line by line, so that one bad line loses one song.

Conventions
    UTF-8 with or without a byte order mark, or UTF-16; separated by commas, semicolons, tabs or bars, as the first line is, or as a line
    ``sep=;`` (Excel) before it says. Other encodings are refused: which one it is would be a guess.
    The first line names the columns; their order, case and the space around them do not matter. COLUMNS are ours. All others are kept
    (``Line.metadata``) under their names in lower case, whatever these are; only one that looks like a misspelling of ours is
    refused, and one that is a synonym of ours is noted.
    A field may be in quotes. It may contain line ends, which become spaces, where no line in it looks like a song: a quote that is not
    closed does not swallow the songs after it. A list of paths alone, one column, needs no quotes around commas.
    Empty lines are left out. A line that begins with # is a comment unless it names a song (``Line.comment``).

References
    RFC 4180.
"""

from __future__ import annotations

import codecs
import csv
import difflib
import io
import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from stemwright.manifests.disk.regular import not_a_file
from stemwright.manifests.names import split_name
from stemwright.manifests.sound.formats import READABLE_SUFFIXES

COLUMNS = ("path", "title", "artist", "album", "rights", "split")
OTHER_NAMES = {  # other programs' names for our columns
    **dict.fromkeys(
        ("file", "filename", "file_name", "file name", "filepath", "file_path", "audio", "audio_path", "location", "mixture", "uri"), "path"
    ),
    **dict.fromkeys(("name", "song", "track", "track_name"), "title"),
    **dict.fromkeys(("artists", "performer", "band", "creator", "author"), "artist"),
    **dict.fromkeys(("license", "licence", "copyright", "terms"), "rights"),
    **dict.fromkeys(("subset", "fold", "set", "partition"), "split"),
}
EXPECTED = "expected a first line such as path,title,artist: a column named path, and any others"
DELIMITERS = {",": "a comma", ";": "a semicolon", "\t": "a tab", "|": "a bar"}
SEPARATOR_LINE = re.compile(r'"?sep=(.)"?[,;\t|]*', re.IGNORECASE)  # as Excel writes and reads it
MISSPELT = 0.8  # similarity from which a column is taken for a misspelt one of ours
LARGEST_BYTES = 1 << 28  # of a CSV: a million songs have about 100 MB
LONGEST_LINE = 1 << 16  # characters
LONGEST_COLUMN, MOST_COLUMNS = 100, 1024  # characters of a column's name; columns
MOST_LINES = 100  # of one record
SHOWN = 80  # characters of what is wrong, in a sentence about it


@dataclass(frozen=True)
class Line:
    """One line of the list: where it is, its fields by column, ours and others, and what is wrong with it, if anything is."""

    where: str
    values: dict[str, str | None] = field(default_factory=dict)
    metadata: dict[str, str] = field(default_factory=dict)
    wrong: str = ""
    comment: bool = False  # whether it is a comment, if its path is no song

    def differs_in(self, other: Line) -> str:
        """The first column in which two lines of one song differ; "" if in none."""
        own, others = ({**{name: value for name, value in line.values.items() if value}, **line.metadata} for line in (self, other))
        return next((name for name in sorted({*own, *others} - {"path"}) if own.get(name) != others.get(name)), "")


@dataclass
class SongList:
    """A list whose first line has been read: its columns in order, "" for those without a name; iterating gives the lines below it."""

    name: str
    columns: list[str]
    delimiter: str
    notes: list[str] = field(default_factory=list)
    _numbered: list[tuple[int, str]] = field(default_factory=list)

    def __iter__(self) -> Iterator[Line]:
        at = 0
        while at < len(self._numbered):
            number, line = self._numbered[at]
            count = self._num_lines(at)
            if count > 1:
                line = "".join(text for _, text in self._numbered[at : at + count])
            at += count
            if line.strip():
                yield self._line(f"{self.name}, line {number}", line.rstrip("\n"))

    def _num_lines(self, at: int) -> int:
        """How many lines a record takes that begins at a line: more than one where a field in quotes contains line ends, and no line in
        it looks like a song.
        """
        joined = self._numbered[at][1]
        if joined.count('"') % 2 == 0 or len(joined) > LONGEST_LINE:
            return 1
        for count, (_, line) in enumerate(self._numbered[at + 1 : at + MOST_LINES], 2):
            joined += line
            if Path(line.split(self.delimiter)[0].strip(' "')).suffix.lower() in READABLE_SUFFIXES or len(joined) > LONGEST_LINE:
                return 1
            if joined.count('"') % 2 == 0:
                try:
                    return count if len(_fields(joined.rstrip("\n"), self.delimiter)) == len(self.columns) else 1
                except csv.Error:
                    return 1
        return 1

    def _line(self, where: str, line: str) -> Line:
        if len(line) > LONGEST_LINE:
            wrong = f"has {len(line):,} characters; expected at most {LONGEST_LINE:,}. Is a quote or a line break missing?"
            return Line(where, wrong=wrong)
        if "\0" in line:
            return Line(where, wrong="contains a NUL character; save the file as CSV UTF-8")
        comment = line.startswith("#")
        try:
            fields = _fields(line, self.delimiter) if len(self.columns) > 1 or line.lstrip().startswith('"') else [line]
        except csv.Error:
            column = self._column(_position(line, self.delimiter))
            wrong = f"an unmatched quote in column {column}: close it, or double it inside a quoted field"
            return Line(where, wrong=wrong, comment=comment)
        while len(fields) > len(self.columns) and not fields[-1].strip():
            fields.pop()
        named = {name: text.replace("\n", " ").strip() for name, text in zip(self.columns, fields, strict=False) if name}
        values: dict[str, str | None] = {name: named[name] or None for name in COLUMNS if name in named}
        metadata = {name: text for name, text in sorted(named.items()) if text and name not in COLUMNS}
        return Line(where, values, metadata, self._wrong(fields, values), comment)

    def _wrong(self, fields: Sequence[str], values: dict[str, str | None]) -> str:
        """What is wrong with the fields of a line; changes the name of its split to ours."""
        if len(fields) > len(self.columns):
            wanted = f"put a field that contains {DELIMITERS.get(self.delimiter, repr(self.delimiter))} in quotes"
            return f"has more fields than the first line, {len(fields)} against {len(self.columns)}: {wanted}"
        if values.get("path") is None:
            return "no path"
        if (split := values.get("split")) is not None:
            values["split"] = split_name(split)
            if values["split"] not in ("train", "valid", "test"):
                return f"split must be train, valid (or validation, val, dev) or test; got {shown(split)!r}"
        return ""

    def _column(self, position: int) -> str:
        return repr(self.columns[position]) if position < len(self.columns) and self.columns[position] else str(position + 1)


def shown(text: str) -> str:
    """A text shortened for an error message."""
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}..."


def nearest(name: str, known: Iterable[str], cutoff: float = 0.6) -> str:
    """A hint for an error about an unknown name: the nearest known one, if one is near."""
    found = difflib.get_close_matches(name.lower(), list(known), n=1, cutoff=cutoff)
    return f"; did you mean {found[0]!r}?" if found else "."


def read(path: Path) -> SongList:
    """A list of songs. Raises ValueError, with the line and the column, if it is no such list."""
    numbered = list(enumerate(io.StringIO(_text(path), newline=None), 1))
    number, head, delimiter, below = _first_line(numbered)
    where = f"{path}, line {number}" if head else f"{path}"
    delimiter = delimiter or _delimiter(head)
    try:
        columns = _names(head, delimiter)
    except csv.Error as error:
        raise ValueError(f"{where}: its first line cannot be read ({error}); {EXPECTED}") from error
    _check(where, columns)
    return SongList(path.name, columns, delimiter, _column_notes(path.name, columns), numbered[below:])


def _text(path: Path) -> str:
    if what := not_a_file(path):
        raise ValueError(f"{path} is {what}; expected a CSV file that lists songs")
    if path.stat().st_size > LARGEST_BYTES:
        raise ValueError(f"{path} has {path.stat().st_size / 1e6:,.0f} MB; expected a list of songs, at most {LARGEST_BYTES / 1e6:,.0f} MB")
    data = path.read_bytes()
    if data.startswith(b"PK\x03\x04"):
        raise ValueError(f"{path} is a spreadsheet or another archive, not text; save it as CSV UTF-8")
    encoding = _encoding(data)
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        if encoding != "utf-8-sig":
            raise ValueError(f"{path} is not text in UTF-8 or UTF-16; save it as CSV UTF-8") from error
        where, byte = _place(data[: error.start].decode("latin-1")), data[error.start]
        raise ValueError(f"{path}, {where}: is not UTF-8 text (byte 0x{byte:02X}); save it as CSV UTF-8") from error
    if encoding != "utf-8-sig" and "\0" in text:
        raise ValueError(f"{path} is not text in UTF-8 or UTF-16; save it as CSV UTF-8")
    return text.removeprefix("\ufeff")


def _encoding(data: bytes) -> str:
    """UTF-16 by its mark, or where every second byte of the beginning is zero, as of Latin letters; else UTF-8."""
    head = data[:200]
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    if 4 * head.count(b"\0") > len(head):
        return "utf-16-be" if head[::2].count(b"\0") > head[1::2].count(b"\0") else "utf-16-le"
    return "utf-8-sig"


def _place(before: str) -> str:
    """The line and the column of what comes after some text of a list."""
    lines = list(io.StringIO(before, newline=None))
    if not lines or lines[-1].endswith("\n"):
        lines.append("")
    _, head, delimiter, below = _first_line(list(enumerate(lines, 1)))
    delimiter = delimiter or _delimiter(head)
    position = max(0, len(next(csv.reader([lines[-1]], delimiter=delimiter))) - 1) if lines[-1].strip() else 0
    try:
        name = _names(head, delimiter)[position] if below < len(lines) else ""
    except (csv.Error, IndexError):
        name = ""
    return f"line {len(lines)}, column {name or position + 1!r}"


def _first_line(numbered: Sequence[tuple[int, str]]) -> tuple[int, str, str, int]:
    """The line that names the columns: its number, its text ("": there is none), the delimiter that a line before it states ("": none),
    and how many lines it and those before it are.
    """
    delimiter = ""
    for at, (number, line) in enumerate(numbered, 1):
        text = line.strip("\n\ufeff")
        if stated := SEPARATOR_LINE.fullmatch(text.strip("\r\n ")):
            delimiter = stated[1]
        elif text.startswith("#"):
            bare = text.lstrip("# ")
            if "path" in _columns_or_none(bare, delimiter or _delimiter(bare)):
                return number, bare, delimiter, at
        elif text.strip():
            return number, text, delimiter, at
    return 0, "", delimiter, len(numbered)


def _delimiter(head: str) -> str:
    """The delimiter that the first line has most of; one that gives a column named path comes first."""
    found = {each: _columns_or_none(head, each) for each in DELIMITERS}
    return max(found, key=lambda each: ("path" in found[each], head.count(each)))


def _columns_or_none(head: str, delimiter: str) -> list[str]:
    try:
        return _names(head, delimiter)
    except csv.Error:
        return []


def _names(head: str, delimiter: str) -> list[str]:
    """The names of the columns: in lower case, composed, without space around them and characters that are not seen."""
    visible = ("".join(c for c in name if unicodedata.category(c) != "Cf") for name in _fields(head, delimiter))
    return [unicodedata.normalize("NFC", " ".join(name.lower().split())) for name in visible]


def _check(where: str, columns: Sequence[str]) -> None:
    """Raises ValueError if these are not the columns of a list of songs."""
    named = [name for name in columns if name]
    for name in named:
        if len(name) > LONGEST_COLUMN or len(named) > MOST_COLUMNS:
            raise ValueError(f"{where}: got {len(named)} columns, one of them {shown(name)!r}; {EXPECTED}")
        meant = "" if name in (*COLUMNS, *OTHER_NAMES) else _misspelt(name, columns)
        if meant:
            raise ValueError(f"{where}: unknown column {name!r}; did you mean {meant!r}? Correct its name, or take one that is less alike")
    if "path" not in columns:
        meant = next((name for name in named if OTHER_NAMES.get(name) == "path"), "")
        if meant:
            raise ValueError(f"{where}: no column 'path', but a column {meant!r}; did you mean 'path'? Rename it")
        if any(Path(name).suffix in READABLE_SUFFIXES for name in named):
            raise ValueError(f"{where}: its first line is a song and no column 'path'; {EXPECTED}")
        got = f"got {shown(', '.join(named))!r}" if named else "the file is empty"
        raise ValueError(f"{where}: no column 'path'; {EXPECTED}; {got}")
    twice = [name for name in named if named.count(name) > 1]
    if twice:
        raise ValueError(f"{where}: a column is named twice ({twice[0]}); name each once")


def _misspelt(name: str, columns: Sequence[str]) -> str:
    """The column of ours that a name is a misspelling of; "" if of none, or if that column is there as well."""
    missing = [each for each in COLUMNS if each not in columns and each not in name]
    return next(iter(difflib.get_close_matches(name, missing, n=1, cutoff=MISSPELT)), "")


def _column_notes(file: str, columns: Sequence[str]) -> list[str]:
    others = [name for name in columns if name and name not in COLUMNS]
    notes = [f"columns of {file} that are kept with the songs: {shown(', '.join(sorted(others)))}"] if others else []
    synonyms = {OTHER_NAMES[name]: name for name in reversed(others) if OTHER_NAMES.get(name) not in (None, *columns)}
    notes += [f"the column {name!r} of {file} is kept as it is; did you mean {meant!r}?" for meant, name in synonyms.items()]
    unnamed = [str(number) for number, name in enumerate(columns, 1) if not name]
    last = next((number for number, name in reversed(list(enumerate(columns, 1))) if name), 0)
    inner = [number for number in unnamed if int(number) < last]
    return notes + ([f"column {', '.join(inner)} of {file} has no name in the first line: not read"] if inner else [])


def _fields(line: str, delimiter: str) -> list[str]:
    rows = list(csv.reader([line], delimiter=delimiter, skipinitialspace=delimiter != "\t", strict=True))
    return rows[0] if rows else []


def _position(line: str, delimiter: str) -> int:
    """The number of the field, from 0, in which a line cannot be read: that after the longest beginning that can be."""
    parts = line.split(delimiter)
    for count in range(min(len(parts) - 1, 64), 0, -1):
        try:
            return len(_fields(delimiter.join(parts[:count]), delimiter))
        except csv.Error:
            continue
    return 0
