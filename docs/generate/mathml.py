"""Equations as MathML, which browsers render by themselves: no script, no font and no LaTeX is needed."""

from __future__ import annotations

from typing import Any

from docutils import nodes
from latex2mathml.converter import convert


def inline_math(writer: Any, node: nodes.math) -> None:
    """Writes an equation within a line."""
    writer.body.append(convert(node.astext()))
    raise nodes.SkipNode


def display_math(writer: Any, node: nodes.math_block) -> None:
    """Writes an equation of its own; lines are separated as in LaTeX, by two backslashes."""
    for line in node.astext().split(r"\\"):
        writer.body.append(f'<div class="equation">{convert(line.strip(), display="block")}</div>\n')
    raise nodes.SkipNode
