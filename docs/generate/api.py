"""The page of the public names: what ``import stemwright`` gives, with signatures and docstrings read by Sphinx."""

from __future__ import annotations

import inspect
from pathlib import Path

import stemwright

HEAD = """# Python

`import stemwright as sw` loads nothing heavy; a name is imported when it is first used. Every name on this page is public: it keeps its
meaning, and a change is announced in the [changelog](../changelog.md) before it is made. Everything else may change.

Audio is a float32 array `[C, T]` with full scale 1.0, unless a name says otherwise. What is silent has no loudness: `-inf`.

"""


def write(path: Path) -> None:
    """Writes the page."""
    names = [name for name in stemwright.__all__ if not name.startswith("_")]
    path.write_text(HEAD + "\n".join(_name(name) for name in names), encoding="utf-8")


def _name(name: str) -> str:
    value = getattr(stemwright, name)
    if inspect.isclass(value):
        directive, options = "autoclass", "\n   :members:"
    elif callable(value):
        directive, options = "autofunction", ""
    else:
        directive, options = "autodata", "\n   :no-value:"
    return f"## {name}\n\n```{{eval-rst}}\n.. currentmodule:: stemwright\n\n.. {directive}:: {name}{options}\n```\n"
