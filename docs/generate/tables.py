"""Markdown tables and the text of cells, as all generated pages write them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence


def cell(text: object) -> str:
    """A text as a cell of a Markdown table: one line, with the signs escaped that a table or Markdown would read."""
    parts = re.split(r"(``[^`]+``|`[^`]+`)", " ".join(str(text).split()))
    return "".join(f"`{part.strip('`')}`".replace("|", r"\|") if part.startswith("`") else _plain(part) for part in parts)


def code(text: object) -> str:
    """A text as code in a cell; nothing for an empty one."""
    return f"`{text!s}`".replace("|", r"\|") if str(text) else ""


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table. Cells are taken as they are."""
    lines = [f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in rows)]) + "\n"


def number(value: float) -> str:
    """A number as a person writes it."""
    if value in (float("inf"), float("-inf")):
        return "∞" if value > 0 else "−∞"
    return f"{value:,.10g}".replace("-", "−")


def _plain(text: str) -> str:
    return re.sub(r"([\\*_<>|$\[\]~])", r"\\\1", text)
