"""Builds the documentation site: ``python docs/build.py [FOLDER]``, by default ``build/docs``.

The pages of this folder are copied to a temporary one, the reference is generated there from the code, and Sphinx writes FOLDER/html.
Nothing else in FOLDER is touched. A warning is an error. Nothing is fetched from a network.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path

DOCS = Path(__file__).resolve().parent
ROOT = DOCS.parent
sys.path[:0] = [str(DOCS), str(ROOT)]


def prepare(source: Path) -> None:
    """Copies the pages and generates the reference, into a folder that does not exist yet."""
    from generate import site

    shutil.copytree(DOCS, source, ignore=shutil.ignore_patterns("__pycache__", "build.py"))
    site.generate(ROOT, source)


def build(folder: Path) -> int:
    """Builds the site into FOLDER/html and returns Sphinx's exit code."""
    from sphinx.cmd.build import build_main

    with tempfile.TemporaryDirectory(prefix="stemwright-docs-") as work:
        source = Path(work, "source")
        prepare(source)
        return build_main(["-W", "--keep-going", "-q", "-E", "-d", str(Path(work, "doctrees")), str(source), str(folder / "html")])


if __name__ == "__main__":
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "build" / "docs"
    code = build(folder)
    if not code:
        print(f"The site is in {folder / 'html' / 'index.html'}")  # noqa: T201
    sys.exit(code)
