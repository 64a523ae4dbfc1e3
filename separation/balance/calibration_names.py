"""How a calibration is named: by its id, by the file that it is kept in, or that there is to be none.

What is in a user's cache is on one machine only, so the rows of a corpus never follow from it: they are by the generic calibration
unless the configuration names another, and an id says what is in a calibration, wherever it is. ``auto``, the user's own calibration to the
separator in use, is for what is only looked at: a balance, whose screen and rows say which one it was.

Conventions
    An id is 16 hex digits; a file of such a name is given with its folder, ``./0123456789abcdef``.
"""

from __future__ import annotations

import re
from pathlib import Path

AUTO, NONE = "auto", "none"
_ID = re.compile(r"[0-9a-f]{16}")


def is_file(name: str) -> bool:
    """Whether a name is that of a file."""
    return name not in (AUTO, NONE) and not _ID.fullmatch(name)


def placed(name: str, folder: Path) -> str:
    """The name, with a file that is relative to a folder made absolute."""
    return str((folder / Path(name).expanduser()).resolve()) if name and is_file(name) else name
