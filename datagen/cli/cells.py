"""Tables whose cells are text: shown as they are, and broken at spaces, else behind the separators of a path.

A table of rich takes a string for markup, in which ``song [remix].wav`` loses its brackets, and breaks a long path anywhere.
"""

from __future__ import annotations

import re
from typing import Any

from rich.cells import cell_len
from rich.containers import Lines
from rich.table import Table
from rich.text import Text

from stemwright.manifests.visible import visible

SEPARATORS = ("/\\", " _-.,:;=&+")  # behind which a long word may end a line, the best ones first


class Cell(Text):
    """Text of a table that breaks long paths behind their separators."""

    def wrap(self, console: Any, width: int, **how: Any) -> Lines:
        """The lines of the text in a column of ``width``."""
        broken = Lines(piece for line in self.split(allow_blank=True) for piece in line.divide(breaks(line.plain, width)))
        return Lines(line for piece in broken for line in Text.wrap(_stripped(piece, width), console, width, **how))


def _stripped(piece: Text, width: int) -> Text:
    piece.rstrip_end(width)
    return piece


def as_text(table: Table) -> Table:
    """The table, with every string in it made text that is shown as it is; styles that were given stay."""
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
