"""Generates every page that is made from the code, and brings the pages that stand at the top of the repository into the site."""

from __future__ import annotations

import re
from pathlib import Path

from generate import api, commands, configuration, effects, rows

TOP = {"CHANGELOG.md": "changelog.md", "CONTRIBUTING.md": "contributing.md", "separation/demucs/models/bundled.md": "bundled.md"}


def generate(root: Path, source: Path) -> None:
    """Writes the generated pages into a copy of the folder ``docs``."""
    reference = source / "reference"
    reference.mkdir(exist_ok=True)
    configuration.write(reference / "configuration.md")
    commands.write(reference / "commands.md")
    rows.write(reference / "rows.md")
    effects.write(reference / "effects")
    api.write(reference / "api.md")
    for name, page in TOP.items():
        (source / page).write_text(_links((root / name).read_text(encoding="utf-8")), encoding="utf-8")


def _links(text: str) -> str:
    """Links of a page at the top of the repository, as they are from within the site."""
    return re.sub(r"\]\(docs/([^)]+)\)", r"](\1)", text)
