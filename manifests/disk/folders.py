"""Folders of our own outside a corpus: the user's cache, and a private temporary one where the cache is not writable.

The installation may belong to another account, and there may be no home folder (a container, a service, a batch job): what is
computed once and kept (compiled kernels, translated networks, lists of fonts) then goes to the temporary folder.

Conventions
    The private folder is `stemwright-UID` below the system's temporary folder: a real directory of this user's that only this user can
    open. Any user can create that name beforehand in a shared folder, or link it elsewhere; anything else of that name is not
    used, and a new folder of this process, deleted at its end, replaces it.
"""

from __future__ import annotations

import atexit
import os
import shutil
import stat
import tempfile
from contextlib import suppress
from functools import cache
from pathlib import Path

CACHE_VARIABLE = "STEMWRIGHT_CACHE"


def cache_folder() -> Path:
    """Where compiled networks and measured decisions are cached, safe to delete: ``STEMWRIGHT_CACHE``, or the user's cache.

    The private temporary folder where the user's cache cannot be written. A folder that was named is the one that is used.
    """
    if value := os.environ.get(CACHE_VARIABLE):
        return Path(value).expanduser()
    usual = user_folder("XDG_CACHE_HOME", ".cache") / "stemwright"
    return usual if can_write(usual) else private_folder() or usual


def user_folder(variable: str, name: str) -> Path:
    """A folder of the user's that an environment variable names, otherwise ``~/NAME``.

    A relative path is ignored, as the XDG base directory specification requires; so is a home that does not exist.
    """
    if (given := Path(os.environ.get(variable, ""))).is_absolute():
        return given
    with suppress(RuntimeError):  # neither HOME nor an entry for this user
        return Path.home() / name
    return Path(os.sep) / name


def can_write(folder: Path) -> bool:
    """Whether a file can be created in a folder, which is created if needed."""
    with suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
        return True
    return False


@cache
def private_folder() -> Path | None:
    """A temporary folder that only this user can open; None if none can be made. It is shared by all of the user's processes where safe."""
    with suppress(OSError):
        shared = Path(tempfile.gettempdir())
        usual = shared / f"stemwright-{_user()}"
        with suppress(FileExistsError):
            usual.mkdir(mode=0o700)
        if _is_private(usual) and _stays_in(shared) and can_write(usual):
            return usual
        own = Path(tempfile.mkdtemp(prefix="stemwright-"))
        atexit.register(shutil.rmtree, own, ignore_errors=True)
        return own
    return None


def _user() -> int:
    return int(getattr(os, "geteuid", int)())


def _is_private(folder: Path) -> bool:
    """Whether this is a directory, no link to one, that belongs to this user and that no other can open."""
    found = folder.lstat()
    if os.name == "nt":  # its temporary folder is the user's own, and modes say nothing
        return stat.S_ISDIR(found.st_mode)
    return stat.S_ISDIR(found.st_mode) and found.st_uid == _user() and not found.st_mode & 0o077


def _stays_in(shared: Path) -> bool:
    """Whether others cannot rename what is in a folder, to put their own in its place: it is theirs to write only with the sticky bit."""
    found = shared.stat()
    return os.name == "nt" or bool(found.st_mode & stat.S_ISVTX) or (found.st_uid in (_user(), 0) and not found.st_mode & 0o022)
