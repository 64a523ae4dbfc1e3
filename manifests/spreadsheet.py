"""Rows as CSV for pandas and for spreadsheets: exact, except for text that a spreadsheet would take for a formula.

Conventions
    A text cell that begins with ``=``, ``+``, ``-``, ``@``, a tab or a line end, after spaces or not, gets an apostrophe before it, which
    a spreadsheet takes for "this is text". Numbers stay numbers: a level of -3.2 is one. None is an empty field.

References
    OWASP, CSV injection. RFC 4180 for the quotes.
"""

from __future__ import annotations

import csv
import io
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any

STARTS = "=+-@\t\r\n"  # of what a spreadsheet takes for a formula, or strips before it looks


def cell(value: Any) -> Any:
    """A value for a cell: text that would be taken for a formula is marked as text, and -0.0 is 0.0."""
    if isinstance(value, float):
        return value + 0.0  # IEEE 754: -0.0 + 0.0 is 0.0
    if not isinstance(value, str):
        return value
    first = unicodedata.normalize("NFKC", value.lstrip(" \u00a0\ufeff")[:1])  # some programs accept full-width signs
    return f"'{value}" if first and first[0] in STARTS else value


def csv_text(rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows as CSV text with a head, which is that of the first row."""
    heads = list(rows[0]) if rows else []
    return "".join(_line([cell(value) for value in line]) for line in (heads, *([row[head] for head in heads] for row in rows)))


def _line(cells: Sequence[Any]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\r\n").writerow(cells)  # what is in it is quoted in a cell, and a lone CR is a line end to many
    return text.getvalue().removesuffix("\r\n") + "\n"
