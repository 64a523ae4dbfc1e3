"""One process at a time: a lock on a file, which the system releases when its holder exits, even by a kill.

Some file systems give no such locks (NFS without its lock service, some of FUSE's): a missing lock protects nothing, and a file
in its place (a soft lock) protects only against processes that look for it and remains after a kill. Since one machine may have locks on a
file system where another has none, the two kinds are mixed only on request: without locks the work is refused with a message, and
``STEMWRIGHT_LOCKS=soft`` asks for soft locks. A process that can lock then holds both kinds, and every process checks for a soft lock.

References
    flock(2): ENOLCK, EOPNOTSUPP, ENOSYS; filelock's ``FileLock`` and ``SoftFileLock``.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

LOCKS_VARIABLE = "STEMWRIGHT_LOCKS"
SOFT_SUFFIX = ".soft"
_ABSENT = {errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS, errno.EINVAL}
WAIT_S = 0.5  # between polls of a soft lock


class LockedError(RuntimeError):
    """Another process holds the lock. ``soft`` is the lock file, if the lock is a soft one, which a killed process leaves behind."""

    def __init__(self, path: Path, soft: Path | None = None) -> None:
        self.path, self.soft = path, soft
        left = "" if soft is None else f" If it was killed, delete {soft}."
        super().__init__(f"another process holds the lock {path}; wait for it, or stop it.{left}")


class NoLocksError(RuntimeError):
    """The file system supports no locks, and soft ones were not requested."""

    def __init__(self, path: Path, error: OSError) -> None:
        phrase = error.strerror or str(error)
        super().__init__(
            f"{path} cannot be locked ({phrase}): this file system supports no locks, and two processes would corrupt each other's files. "
            f"Either (1) work on another file system, such as a local disk, or (2) set {LOCKS_VARIABLE}=soft, for every "
            f"process that works here: a file {path.name}{SOFT_SUFFIX} is then the lock; delete it after a kill."
        )


@contextmanager
def locked(path: Path, *, wait: bool = False) -> Iterator[None]:
    """Holds the lock ``path``. Raises LockedError if another process has it and ``wait`` is false; NoLocksError if there are no locks.

    A user may take the lock if they may write to its folder.
    Other errors of the file system (no permission, a full disk) are raised as they are.
    """
    soft = path.with_name(path.name + SOFT_SUFFIX)
    requested = os.environ.get(LOCKS_VARIABLE, "")
    if requested not in ("", "soft"):
        raise ValueError(f"{LOCKS_VARIABLE} is {requested!r}; expected 'soft', or leave it unset for the file system's own locks")
    with ExitStack() as held:
        try:
            held.enter_context(_native(path, wait=wait))
        except NoLocksError:
            if requested != "soft":
                raise
        if requested == "soft":
            held.enter_context(_soft(path, soft, wait=wait))
        elif soft.exists():  # checked while holding the lock: a process that takes a soft one where locks work takes the lock first
            raise LockedError(path, soft)
        yield


def is_held(path: Path) -> bool:
    """Whether a process holds the lock at this moment; False where that cannot be known. Never creates a file."""
    if not path.exists() and not path.with_name(path.name + SOFT_SUFFIX).exists():
        return False
    try:
        with locked(path):
            return False
    except LockedError:
        return True
    except (NoLocksError, OSError, ValueError):
        return False


@contextmanager
def _native(path: Path, *, wait: bool) -> Iterator[None]:
    from filelock import FileLock, Timeout

    mode = path.parent.stat().st_mode & 0o666
    lock = FileLock(path, timeout=-1 if wait else 0, mode=mode | 0o600, fallback_to_soft=False)
    with ExitStack() as held:
        try:
            held.enter_context(lock)
        except Timeout as error:
            raise LockedError(path) from error
        except OSError as error:
            if error.errno in _ABSENT:
                raise NoLocksError(path, error) from error
            raise
        yield


@contextmanager
def _soft(path: Path, soft: Path, *, wait: bool) -> Iterator[None]:
    """A file that exists while the lock is held: its holder creates and removes it. One of a dead process of this machine is ignored."""
    from filelock import SoftFileLock, Timeout

    lock = SoftFileLock(soft, timeout=-1 if wait else 0, poll_interval=WAIT_S)
    with ExitStack() as held:
        try:
            held.enter_context(lock)
        except Timeout as error:
            raise LockedError(path, soft) from error
        yield
