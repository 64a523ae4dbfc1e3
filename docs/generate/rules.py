"""The page of published rules of mixing: each with its range and source, and the quantities that they speak of."""

from __future__ import annotations

from pathlib import Path

from generate.tables import cell, code, table
from stemwright.separation.rules.published import RULES
from stemwright.separation.rules.quantities import QUANTITIES
from stemwright.separation.rules.rule import CERTAINTY, READ, Rule

HEAD = """# Published rules of mixing

What `stemwright rules` measures; [which rules do songs keep?](../guides/rules.md) says how to read its answers. This page is made from
the table in `separation/rules/published.py`.

"""


def write(page: Path) -> None:
    """Writes the page."""
    rows = [(code(rule.name), _statement(rule), cell(_range(rule)), cell(rule.certainty)) for rule in RULES.values()]
    parts = [HEAD, table(["rule", "statement, source", "range", "certainty"], rows)]
    parts += ["\n## How certain a rule is\n\n", table(["word", "meaning"], [(code(word), cell(text)) for word, text in CERTAINTY.items()])]
    parts += ["\nIn brackets behind a source is what of it was read:\n\n", *(f"- {cell(text)}\n" for text in READ.values())]
    quantities = [(code(name), cell(each.unit), cell(each.description)) for name, each in QUANTITIES.items()]
    parts += ["\n## The quantities\n\n", table(["name", "unit", "what it is"], quantities)]
    page.write_text("".join(parts), encoding="utf-8")


def _statement(rule: Rule) -> str:
    why = f" Not measured: {cell(rule.not_measured)}" if rule.not_measured else ""
    return f"{cell(rule.statement)}{why}<br>{cell(rule.source.text())}"


def _range(rule: Rule) -> str:
    if not rule.quantity:
        return ""
    about = f"; {rule.conditions_text()}" if rule.conditions_text() else ""
    return f"{rule.quantity} {rule.range_text()} {rule.unit}{about} ({rule.range_from})"
