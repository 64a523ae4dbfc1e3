"""Writing to disk: a file under its final name is complete, and work that is reported as finished has reached the disk.

A file is written under a hidden name beside its place, synced, renamed, and then its folder is synced: after a kill the name is that of
the old file or of the new one, and after a power cut as well. Only then may a journal or a table say that the file is there.

Conventions
    Every writer of the project goes through here: nothing else calls ``os.fsync`` or renames a file or folder.
    A hidden name is ``.NAME.PROCESS.part`` (``attempts``); the next start removes what a killed process left under one.
    A file system that cannot sync (some network and memory file systems) is accepted: only the order of writing then protects the files.
    A full disk or a failing one is always an error.

References
    fsync(2), rename(2): a rename is atomic, but is on the disk only once its folder is synced. renameat2(2): RENAME_EXCHANGE.
"""

from __future__ import annotations

import ctypes
import errno
import functools
import glob
import os
import re
import shutil
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any

from stemwright.manifests.disk.attempts import PROCESS, may_run, process_name

SUFFIX = ".part"
LEFTOVER = re.compile(rf"\..+\.(?:\d+|{PROCESS})\.part")  # what ``hidden`` makes, and what it made in version 0.1
CANNOT_SYNC = {errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EBADF, errno.EROFS}
CANNOT_OPEN = {errno.EACCES, errno.EPERM, errno.EISDIR, errno.EINVAL}  # for folders, on systems that cannot open them
HIDDEN = re.compile(rf"\.([^/]+)\.(?:\d+|{PROCESS}|export)\.part(?:/new)?")  # parts of a path that messages leave out
RENAME_EXCHANGE = 2  # linux/fs.h; RENAME_SWAP of macOS is the same number
AT_FDCWD = {"linux": -100, "darwin": -2}.get(sys.platform, 0)
NO_LINKS = {*CANNOT_SYNC, errno.EPERM, errno.EMLINK, errno.EXDEV}
TAKEN = {errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR}  # of a name: a folder that is not empty has it, or no folder
FULL = {errno.ENOSPC, errno.EDQUOT}
NOT_ALLOWED = {errno.EROFS, errno.EACCES, errno.EPERM}


def hidden(path: Path) -> Path:
    """A hidden name beside the final one, with the process in it: a dying worker and its successor, on any machine, do not collide."""
    return path.with_name(f".{path.name}.{process_name()}{SUFFIX}")


def begin(path: Path) -> Path:
    """The hidden name to write under before ``put`` moves the file to ``path``. Makes the folder; nothing has the hidden name yet."""
    make_folder(path.parent)
    temporary = hidden(path)
    temporary.unlink(missing_ok=True)  # a link that was planted, or what an error left
    return temporary


def remove_earlier(path: Path) -> None:
    """Removes what killed processes left of a file that is about to be written again, but not what a running process is writing."""
    for other in path.parent.glob(f".{glob.escape(path.name)}.*{SUFFIX}"):
        if LEFTOVER.fullmatch(other.name) and not may_run(other.name.split(".")[-2]):
            remove([other])


def leftovers(folder: Path) -> list[Path]:
    """The unfinished files that killed processes left below a folder; nothing behind a link is looked at."""
    if folder.is_symlink():
        return []
    return [Path(place, name) for place, _, names in os.walk(folder) for name in names if LEFTOVER.fullmatch(name)]


def sync(descriptor: int) -> None:
    """Waits until what was written to an open file (or folder) is on the disk, where its file system supports that."""
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in CANNOT_SYNC:
            raise


def sync_file(path: Path) -> None:
    """Waits until a file that others wrote and closed is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        sync(descriptor)
    finally:
        os.close(descriptor)


def sync_folder(folder: Path) -> None:
    """Waits until the names in a folder are on the disk, where the system supports that."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError as error:
        if error.errno not in CANNOT_OPEN:
            raise
        return
    try:
        sync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Gives errors of the system that name no file (those of a full disk seldom do) the name of the file that was being written."""
    try:
        yield
    except OSError as error:
        if error.errno and error.filename is None:
            error.filename = str(path)
        raise


def make_folder(folder: Path) -> None:
    """Makes a folder with those above it, and syncs the names of the new ones."""
    above = []
    place = folder
    while not place.exists() and place != place.parent:
        place = place.parent
        above.append(place)
    folder.mkdir(parents=True, exist_ok=True)
    for place in above:
        with naming(folder):
            sync_folder(place)


def put(temporary: Path, path: Path) -> None:
    """Renames a file that was written and closed under another name to its final name."""
    put_all([(temporary, path)])


class OvertakenError(OSError):
    """Another process has put a file of this name in its place since this one began to make it."""


State = tuple[int, int, int, int] | None


def state_of(path: Path) -> State:
    """What identifies the file at a path: the value changes once any process has put another file there. None if there is none."""
    try:
        found = path.lstat()
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


def put_all(files: Sequence[tuple[Path, Path]], before: Mapping[Path, State] | None = None) -> None:
    """Renames files that were written and closed, (other name, final name), all of them synced before and each folder once after.

    If one cannot be renamed, those before it are removed again, but for what replaced an earlier file: that is gone either way.
    ``before`` has the state of each place when the work began. Raises OvertakenError, and leaves all as it is, if one has changed since.
    """
    for temporary, path in files:
        with naming(path):
            sync_file(temporary)
    before = before or {}
    for _, path in files:
        if path in before and state_of(path) != before[path]:
            raise OvertakenError(errno.EEXIST, "another process has written it meanwhile", str(path))
    added: list[Path] = []
    try:
        for temporary, path in files:
            is_new = not os.path.lexists(path)
            with naming(path):
                if path in before and before[path] is None:
                    _put_first(temporary, path)
                else:
                    temporary.replace(path)
            added += [path] if is_new else []
    except OSError:
        remove(added)
        raise
    for folder, path in {path.parent: path for _, path in files}.items():
        with naming(path):
            sync_folder(folder)


def _put_first(temporary: Path, path: Path) -> None:
    """Gives a file its name if that is still free. Raises OvertakenError if it is not; without hard links the last one wins."""
    try:
        os.link(temporary, path)
    except FileExistsError as error:
        raise OvertakenError(errno.EEXIST, "another process has written it meanwhile", str(path)) from error
    except OSError as error:
        if error.errno not in NO_LINKS:
            raise
        temporary.replace(path)
    else:
        temporary.unlink()


def put_unsynced(temporary: Path, path: Path) -> None:
    """Renames a file that is nothing but a name and a size: after a power cut it may be gone."""
    with naming(path):
        temporary.replace(path)


def move(path: Path, other: Path) -> None:
    """Renames a file or folder that is complete and on the disk, and syncs the folders of both names."""
    with naming(other):
        path.replace(other)
    for folder in dict.fromkeys((other.parent, path.parent)):  # where it is now first: after a power cut there are two names, not none
        sync_folder(folder)


def claim(folder: Path, place: Path) -> bool:
    """Gives a finished folder its place if nothing, or an empty folder, is there: True for one of the processes that do so at once.

    False for the others, and where the place is taken: the folder stays where it is then. What is in it must be on the disk.
    """
    try:
        folder.rename(place)
    except OSError as error:
        if error.errno not in TAKEN:
            with naming(place):
                raise
        return False
    sync_folder(place.parent)
    return True


def write_bytes(path: Path, data: bytes) -> None:
    """Writes a file by rename, so that a full disk or a kill leaves no incomplete file under its name."""
    with FileGroup() as files:
        files.write(path, data)


def append(path: Path, parts: Iterable[bytes]) -> int:
    """Appends to a file that only this process writes, and makes it if needed; returns where the first part begins.

    What was appended is on the disk when it returns, and so is the file's name. An error leaves the file as it was.
    """
    make_folder(path.parent)
    is_new = not path.exists()
    with path.open("ab", buffering=0) as file:
        start = file.seek(0, os.SEEK_END)
        try:
            for part in parts:
                left = memoryview(part)
                while len(left):
                    left = left[file.write(left) :]
            sync(file.fileno())
        except OSError:
            with suppress(OSError):
                file.truncate(start)
            raise
    if is_new:
        sync_folder(path.parent)
    return start


def copy_file(source: Path, path: Path) -> None:
    """Copies a file's contents to a new place by rename."""
    temporary = begin(path)
    try:
        with naming(path):
            shutil.copyfile(source, temporary)
        put(temporary, path)
    finally:
        remove([temporary])


def write_first(path: Path, data: bytes) -> bool:
    """Writes a file unless there is one: True for one of the processes that do so at once, False for the others, who find its file.

    On a file system without links the last one wins instead.
    """
    with naming(path):
        temporary = begin(path)
        try:
            temporary.write_bytes(data)
            sync_file(temporary)
            os.link(temporary, path)
        except FileExistsError:
            return False
        except OSError as error:
            if error.errno not in NO_LINKS:
                raise
            put(temporary, path)
        finally:
            remove([temporary])
        sync_folder(path.parent)
    return True


class FileGroup:
    """Files that are finished together: a context manager at whose end all of them are in their places, each folder synced once.

    An error before the end leaves none of them. A kill at the end can leave some: a caller that needs all or none writes a row after it.
    ``before`` has the state of those places when the work began (``put_all``).
    """

    def __init__(self, before: Mapping[Path, State] | None = None) -> None:
        self._before = before
        self._written: list[tuple[Path, Path]] = []

    def __enter__(self) -> FileGroup:
        return self

    def write(self, path: Path, data: bytes) -> None:
        """Writes a file under its hidden name. It is synced at the end: a file system syncs several at once for little more than one."""
        with naming(path):
            temporary = begin(path)
            self._written.append((temporary, path))
            temporary.write_bytes(data)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        try:
            if kind is None:
                put_all(self._written, self._before)
        finally:
            remove(temporary for temporary, _ in self._written)


def remove(paths: Iterable[Path]) -> None:
    """Removes unfinished files; a disk error here does not hide the error before it."""
    for path in paths:
        try:
            path.unlink(missing_ok=True)
        except OSError:
            continue


def swap(one: Path, other: Path) -> bool:
    """Exchanges two names in one step, so that neither is ever missing; False where the system or the file system cannot."""
    exchange = _exchange()
    if exchange is None or exchange(AT_FDCWD, os.fsencode(one), AT_FDCWD, os.fsencode(other), RENAME_EXCHANGE) != 0:
        return False
    sync_folder(one.parent)
    if other.parent != one.parent:
        sync_folder(other.parent)
    return True


def put_folder(folder: Path, place: Path, aside: Path) -> None:
    """Gives a finished folder, with all that is in it on the disk, its place in one step. What was there is then at ``folder``.

    Where names cannot be exchanged it takes two steps, what was there is at ``aside``, and a kill between them leaves the place empty.
    """
    if not place.exists():
        move(folder, place)
    elif not swap(folder, place):
        move(place, aside)
        move(folder, place)


@functools.cache
def _exchange() -> Any:
    """The system's call that exchanges two names, or None."""
    try:
        library = ctypes.CDLL(None, use_errno=True)
        return library.renameatx_np if sys.platform == "darwin" else library.renameat2
    except (OSError, AttributeError, TypeError):
        return None


def is_full(error: BaseException) -> bool:
    """Whether an error says that a disk, or a user's quota, is full."""
    return isinstance(error, OSError) and error.errno in FULL


def _shown(hidden_name: re.Match[str]) -> str:
    return hidden_name[1]


def sentence(error: OSError, kept: str = "") -> str:
    """What went wrong with a file, as a sentence: which file, why, which work is kept, and what to do."""
    name = error.filename2 or error.filename
    place = f" (writing {HIDDEN.sub(_shown, os.fsdecode(name))})" if isinstance(name, str | bytes | os.PathLike) else ""
    kept = kept or "the existing files are unchanged"
    why = os.strerror(error.errno) if error.errno else str(error)
    if error.errno in FULL:
        return f"the disk is full{place}: {kept}. Free some space and run the same command again"
    if error.errno in NOT_ALLOWED:
        return f"not allowed{place}: {why}; {kept}. Choose a folder that you may write to, or change its permissions"
    return f"{why}{place}: {kept}"
