"""Regular files: the only ones that are opened by a name that a corpus or an export gives.

Why
    To open a named pipe is to wait for whoever writes to it, for ever if there is none, and a device has no end. A corpus may be a
    stranger's. What a person names on the command line is opened as it is: ``--config <(...)`` is a pipe.
"""

from __future__ import annotations

import stat
from pathlib import Path


def regular(path: Path) -> Path:
    """The path itself. Raises OSError naming it if a pipe, device or socket has that name, also behind a link; it need not exist.

    A folder passes: to open it is an error of its own, at once.
    """
    try:
        mode = path.stat().st_mode
    except OSError:
        return path  # to open it says why
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
        raise OSError(f"{path} is a pipe or a device, expected a regular file; move it away")
    return path
