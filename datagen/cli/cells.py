"""Tables whose cells are text: shown as they are, sentences broken at spaces, paths on one line without their middle.

A table of rich takes a string for markup, in which ``song [remix].wav`` loses its brackets, and breaks a long path anywhere.
"""

from __future__ import annotations

import re
from typing import Any

from rich.cells import cell_len, set_cell_size
from rich.containers import Lines
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from stemwright.manifests.visible import visible

SEPARATORS = ("/\\", " _-.,:;=&+")  # behind which a long word may end a line, the best ones first


ELLIPSIS = "\u2026"
NARROWEST = 24  # cells that a column of paths keeps when a table is too wide


class Cell(Text):
    """Text of a table that breaks long paths behind their separators."""

    def wrap(self, console: Any, width: int, **how: Any) -> Lines:
        """The lines of the text in a column of ``width``."""
        broken = Lines(piece for line in self.split(allow_blank=True) for piece in line.divide(breaks(line.plain, width)))
        return Lines(line for piece in broken for line in Text.wrap(_stripped(piece, width), console, width, **how))


class PathCell(Text):
    """A path on one line: where it does not fit, folders in its middle are left out, and never its end."""

    def wrap(self, console: Any, width: int, **how: Any) -> Lines:
        """The one line, in a column of ``width``."""
        self.plain = shortened(self.plain, width)
        return super().wrap(console, width, **{**how, "no_wrap": True})

    def __rich_measure__(self, console: Any, options: Any) -> Measurement:
        """A column of paths may be narrower than they are."""
        room = cell_len(self.plain)
        return Measurement(min(room, NARROWEST), room)


def path_cell(path: object, style: str = "") -> PathCell:
    """A cell for a path, as text that steers no terminal."""
    return PathCell(visible(str(path)), style=style)


def shortened(path: str, width: int) -> str:
    """A path in ``width`` cells: its first folders and its name, ``very/long/…/name.flac``; a name that is longer loses its middle."""
    if cell_len(path) <= width:
        return path
    *folders, name = re.split(r"(?<=[/\\])(?=.)", path)
    if cell_len(name) + 2 > width or not folders:
        end = _last(name, max(1, (width - 1) * 2 // 3))
        return set_cell_size(name, max(0, width - 1 - cell_len(end))).rstrip() + ELLIPSIS + end
    kept, separator = "", folders[-1][-1]
    for folder in folders:
        if cell_len(f"{kept}{folder}{ELLIPSIS}{separator}{name}") > width:
            break
        kept += folder
    return f"{kept}{ELLIPSIS}{separator}{name}"


def _last(text: str, width: int) -> str:
    """As much of the end of a text as takes ``width`` cells at most."""
    start, cells = len(text), 0
    while start and (cells := cells + cell_len(text[start - 1])) <= width:
        start -= 1
    return text[start:]


def _stripped(piece: Text, width: int) -> Text:
    piece.rstrip_end(width)
    return piece


def as_text(table: Table) -> Table:
    """The table with every string as literal text; given styles are kept."""
    table.title = _shown(table.title, table.title_style or "table.title")
    table.caption = _lines(table.caption, table.caption_style)
    for column in table.columns:
        column.header, column.footer = _shown(column.header), _shown(column.footer)
        column._cells[:] = [_shown(cell) for cell in column._cells]
    return table


def _shown(value: Any, style: Any = None) -> Any:
    return Cell(visible(value), style=style or "") if isinstance(value, str) else value


def _lines(value: Any, style: Any) -> Any:
    """A caption may have several lines of ours."""
    return Cell("\n".join(map(visible, value.split("\n"))), style=style or "table.caption") if isinstance(value, str) else value


def lines_cell(style: str, *lines: str) -> Cell:
    """A heading or title of several lines, each shown as literal text."""
    return Cell("\n".join(map(visible, lines)), style=style)


def breaks(text: str, width: int) -> list[int]:
    """The offsets at which a text is broken so that each piece, but for spaces at its end, takes ``width`` cells at most."""
    offsets: list[int] = []
    used = 0
    for word in re.finditer(r"\S+\s*|\s+", text):
        room = cell_len(word[0].rstrip())
        if used and used + room > width:
            offsets.append(word.start())
            used = 0
        start = word.start()
        while cell_len(text[start : word.end()].rstrip()) > width:
            start += _longest(text[start : word.end()].rstrip(), width)
            offsets.append(start)
            used = 0
        used += cell_len(text[start : word.end()])
    return offsets


def _longest(word: str, width: int) -> int:
    """How many characters of a word that does not fit go on a line: at least one."""
    fits, cells = 0, 0
    while fits < len(word) and (cells := cells + cell_len(word[fits])) <= width:
        fits += 1
    fits = max(fits, 1)
    for separators in SEPARATORS:
        found = max((word.rfind(separator, 0, fits) + 1 for separator in separators), default=0)
        if found > width // 3:
            return found
    return fits
