"""Deleting files of a corpus: only its own, and never through a link.

Conventions
    The folder of a corpus, its ``stems`` and its ``dataset`` may themselves be links: that is how people put them on another disk, and
    such a link is followed. Below these every folder is ours, and never a link: a link
    found there leads to other people's files. So nothing is written to, or deleted from, a place that is reached through such
    a link; the stage says so, and the link stays.
    A file that is replaced by rename may be a link: the link is replaced, its target is kept. A file that is appended to (a journal, a
    lock) may not: it is refused.
    What is deleted was named by an earlier table or journal of ours, is a regular file, and has a suffix that we give. Anything else
    found in our folders is foreign: it is kept, the stage counts it, and ``check`` names it.
    A link that is made between the check and the deletion is not detected: a process that can make it can also delete its target.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Container, Iterable, Iterator
from pathlib import Path

from stemwright.manifests.disk import durable
from stemwright.manifests.records import Refused


def link_on_the_way(root: Path, path: Path) -> Path | None:
    """The first folder between a root, which may be a link, and a path below it that is a link (or no folder); None if there is none."""
    place = Path(root)
    for part in path.relative_to(root).parts[:-1]:
        place = place / part
        try:
            mode = place.lstat().st_mode
        except FileNotFoundError:
            return None
        except OSError:
            return place
        if not stat.S_ISDIR(mode):
            return place
    return None


def check_way(root: Path, path: Path) -> None:
    """Raises Refused naming the link if a path below a root would be reached through one."""
    if (link := link_on_the_way(root, path)) is not None:
        what = "a link" if link.is_symlink() else "not a folder"
        raise Refused(f"{link} is {what}: nothing is written or deleted through it. Move it away, or make {root} itself a link")


def check_plain(path: Path) -> None:
    """Raises Refused if a file that is appended to or truncated is a link, or anything but a regular file; it need not exist."""
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISREG(mode):
        what = "a link" if stat.S_ISLNK(mode) else "not a regular file"
        raise Refused(f"{path} is {what}: nothing is written through it. Remove it and run the same command again")


def remove(root: Path, path: Path) -> bool:
    """Deletes a regular file below a root, and the folders that this empties; False if it is not there, or is reached through a link.

    Where the file is missing its empty folders are removed, too: a process may have been killed before it removed them.
    """
    if link_on_the_way(root, path) is not None:
        return False
    try:
        if not stat.S_ISREG(path.lstat().st_mode):
            return False
        path.unlink()
    except NotADirectoryError:
        return False
    except FileNotFoundError:
        remove_empty(root, path.parent)
        return False
    remove_empty(root, path.parent)
    return True


def remove_all(root: Path, paths: Iterable[Path]) -> int:
    """Deletes files below a root as ``remove`` does; returns how many were there. No power cut brings them back after it.

    The folders that they were in are synced, or, where this empties them, those above. This holds for files that were gone before, too: a
    process may have been killed before it synced.
    """
    count, places = 0, dict[Path, None]()
    for path in paths:
        count += remove(root, path)
        places[path.parent] = None
    for folder in dict.fromkeys(_remaining(root, place) for place in places):
        durable.sync_folder(folder)
    return count


def _remaining(root: Path, folder: Path) -> Path:
    """A folder below a root, or the first above it that exists."""
    while folder != root and not folder.is_dir():
        folder = folder.parent
    return folder


def remove_empty(root: Path, folder: Path) -> None:
    """Removes a folder below a root, and those above it, as far as they are empty; never the root."""
    while folder != root and folder.is_relative_to(root):
        try:
            folder.rmdir()  # the system refuses links and folders that are not empty
        except FileNotFoundError:
            pass  # its parents may exist
        except OSError:
            return
        folder = folder.parent


def foreign_files(root: Path, ours: Container[str]) -> Iterator[str]:
    """Files and links below a root that are not among ours, as paths relative to it; not behind links, and without hidden names."""
    for place, folders, files in os.walk(root):
        where = os.path.relpath(place, root)
        prefix = "" if where == "." else f"{where}/"
        linked = [name for name in folders if os.path.islink(f"{place}/{name}")]  # noqa: PTH114  # of 50,000 folders
        yield from (f"{prefix}{name}" for name in (*files, *linked) if f"{prefix}{name}" not in ours and not name.startswith("."))
