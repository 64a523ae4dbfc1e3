"""Generates every page that is made from the code, and brings the pages that stand at the top of the repository into the site."""

from __future__ import annotations

import re
from pathlib import Path

from generate import api, commands, configuration, effects, rows, rules

TOP = {"CHANGELOG.md": "changelog.md", "CONTRIBUTING.md": "contributing.md", "separation/demucs/models/bundled.md": "bundled.md"}


def generate(root: Path, source: Path) -> None:
    """Writes the generated pages into a copy of the folder ``docs``."""
    reference = source / "reference"
    reference.mkdir(exist_ok=True)
    configuration.write(reference / "configuration.md")
    commands.write(reference / "commands.md")
    rows.write(reference / "rows.md")
    effects.write(reference / "effects")
    rules.write(reference / "rules.md")
    api.write(reference / "api.md")
    for name, page in TOP.items():
        (source / page).write_text(_links((root / name).read_text(encoding="utf-8")), encoding="utf-8")
    _list_pages(source / "extending")


def _list_pages(folder: Path) -> None:
    """Puts the pages of a folder, whichever there are, into the navigation below its index."""
    names = sorted(path.stem for path in folder.glob("*.md") if path.stem != "index")
    index = folder / "index.md"
    text = index.read_text(encoding="utf-8")
    if names and "{toctree}" not in text:
        index.write_text(text + "\n```{toctree}\n:maxdepth: 1\n\n" + "\n".join(names) + "\n```\n", encoding="utf-8")


def _links(text: str) -> str:
    """Links of a page at the top of the repository, as they are from within the site."""
    return re.sub(r"\]\(docs/([^)]+)\)", r"](\1)", text)
