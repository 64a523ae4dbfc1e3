"""Regular files, their size and their checksum: the only files that are opened by a name that a corpus or an export gives.

Why
    Opening a named pipe waits for a writer, possibly forever, and a device has no end. A corpus may come from an
    untrusted source. A path given on the command line is opened as it is: ``--config <(...)`` is a pipe.
    So here is also where an object of a bucket that such a name leads to is downloaded (``stemwright.manifests.disk.mirror``).
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from pathlib import Path

from stemwright.manifests.disk.mirror import make_present


def regular(path: Path) -> Path:
    """The path itself. Raises OSError naming it if a pipe, device or socket has that name, also behind a link; it need not exist.

    A folder passes: to open it is an error of its own, at once.
    """
    try:
        make_present(path)
        mode = path.stat().st_mode
    except OSError:
        return path  # opening it gives the reason
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
        raise OSError(f"{path} is a pipe or a device; expected a regular file. Move it away")
    return path


def not_a_file(path: Path) -> str | None:
    """What kind of thing a path is if not a regular file ("a pipe"); None for a regular file. Does not open it: a pipe would block.

    Raises OSError as ``stat`` does.
    """
    make_present(path)
    mode = path.stat().st_mode
    if stat.S_ISREG(mode):
        return None
    names = {
        stat.S_IFIFO: "a pipe",
        stat.S_IFDIR: "a folder",
        stat.S_IFSOCK: "a socket",
        stat.S_IFCHR: "a device",
        stat.S_IFBLK: "a device",
    }
    return names.get(stat.S_IFMT(mode), "not a regular file")


def file_sha256(path: Path) -> str:
    """The SHA-256 of a file's bytes, in hex. Raises OSError for a pipe or a device, which may have no end."""
    if what := not_a_file(path):
        raise OSError(errno.EINVAL, f"{what}, not a file", str(path))
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def has_size(path: str, num_bytes: int) -> bool:
    """Whether there is a file of this size: a power cut can leave one that is empty, or short, under a final name."""
    try:
        return os.stat(path).st_size == num_bytes  # noqa: PTH116  # called for 50,000 files when a finished corpus is opened
    except (OSError, ValueError):
        return False
