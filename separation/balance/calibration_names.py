"""How a calibration is named: by its id, by its file, as ``auto``, or as ``none``.

A user's cache is on one machine only, so the rows of a corpus never depend on it: they use the generic calibration unless the configuration
names another, and the id is a hash of the constants. ``auto``, the user's own calibration to the separator in use, is for results that no
corpus keeps: a balance, whose output says which one was used. ``none`` is the generic calibration.

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
