"""Puts what ``stemwright evaluate ... --json`` printed into docs/results.md, published figures beside measured ones.

    stemwright evaluate declip SOUNDS --seconds 20 --json > found.json
    python benchmarks/evaluated.py found.json --title "Declipping: the survey" --command "stemwright evaluate declip SOUNDS ..." --write

Conventions
    A figure of which nothing was measured is left out. Notes of published figures are their sources, listed below the table.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from results import publish


def table(found: Mapping[str, Any], groups: Sequence[str] = ()) -> str:
    """The figures as Markdown; of ``groups`` only, if some are named."""
    figures = found["figures"]
    measured = {(each["group"], each["name"]) for each in figures if each["origin"] == "measured"}
    lines = ["| of | figure | by | value | 95 % interval | songs | note |", "|---|---|---|---|---|---|---|"]
    sources = []
    for each in figures:
        if (each["group"], each["name"]) not in measured or (groups and each["group"] not in groups):
            continue
        is_published = each["origin"] == "published"
        if is_published and each["note"] not in sources:
            sources.append(each["note"])
        value = "-" if each["value"] is None else f"{each['value']:.3g} {each['unit']}".strip()
        ends = "" if each["low"] is None else f"{each['low']:.3g} to {each['high']:.3g}"
        note = f"source {sources.index(each['note']) + 1}" if is_published else each["note"]
        cells = [each["group"], each["name"], ("published: " if is_published else "") + each["who"], value, ends, each["count"] or "", note]
        lines.append(f"| {' | '.join(map(str, cells))} |")
    rejected = [f"Rejected: {each['case']}: {each['reason']}" for each in found["rejected"]]
    listed = [f"Source {number}: {text}." for number, text in enumerate(sources, 1)]
    return "\n".join([*lines, "", *(f"{line}\n" for line in [*listed, *rejected])])


def main() -> None:
    """Prints the table; ``--write`` puts it into docs/results.md."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("found", type=Path, help="what evaluate --json printed")
    parser.add_argument("--title", required=True, help="of the section")
    parser.add_argument("--command", required=True, help="the command that printed it")
    parser.add_argument("--groups", nargs="*", default=[], help="only what is measured of these")
    parser.add_argument("--write", action="store_true", help="into docs/results.md")
    chosen = parser.parse_args()
    text = table(json.loads(chosen.found.read_text()), chosen.groups)
    print(text)
    if chosen.write:
        publish(chosen.title, chosen.command, text)


if __name__ == "__main__":
    main()
