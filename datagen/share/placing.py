"""Replacing a folder by a new one, atomically.

It is built in a hidden folder beside its place and then exchanged with what is there, so the place is never empty, and a kill
at any moment leaves the earlier folder or the new one. What else a person has put into the earlier folder is kept.

Conventions
    The hidden folder is ``.NAME.export.part``. It holds ``new``, which is being built and after the exchange is the earlier folder; where
    the file system cannot exchange names, ``old`` is the earlier folder on its way out. The next export to the same place removes it, and
    puts ``old`` back first if a kill left the place empty.
    A person's files are in the place before and after: they are linked into the new folder (copied where that cannot be) before the
    exchange.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from stemwright.manifests.disk import deletion, durable
from stemwright.manifests.usage import UsageError

NEW, OLD = "new", "old"


@contextmanager
def replaced(place: Path, ours: Collection[str]) -> Iterator[Path]:
    """An empty folder to build in; at the end it is at ``place``. After an error what was there is as it was.

    ``ours`` are the paths in an earlier folder at ``place`` that are not to be taken over.
    """
    work = place.with_name(f".{place.name}.export{durable.SUFFIX}")
    clear(place)
    durable.make_folder(work / NEW)
    try:
        yield work / NEW
        _take_along(place, work / NEW, ours)
        durable.put_folder(work / NEW, place, aside=work / OLD)
    finally:
        clear(place)


def clear(place: Path) -> None:
    """Removes what a killed export left beside its place. Raises UsageError if something else is there."""
    durable.remove_earlier(place)
    work = place.with_name(f".{place.name}.export{durable.SUFFIX}")
    if not work.is_symlink() and not work.exists():
        return
    if work.is_symlink() or not work.is_dir() or not {path.name for path in work.iterdir()} <= {NEW, OLD}:
        raise UsageError(f"{work} is in the way of an export; move it away")
    if (work / OLD).exists() and not place.exists():
        durable.move(work / OLD, place)
    shutil.rmtree(work)
    durable.sync_folder(work.parent)


def _take_along(earlier: Path, new: Path, ours: Collection[str]) -> None:
    """Copies files that the user added to the earlier folder into the new one, links as links."""
    for path in files_in(earlier):
        relative = path.relative_to(earlier)
        if relative.as_posix() in ours or os.path.lexists(new / relative):
            continue
        durable.make_folder((new / relative).parent)
        try:
            os.link(path, new / relative, follow_symlinks=False)
        except OSError:
            shutil.copy2(path, new / relative, follow_symlinks=False)


def files_in(folder: Path) -> Iterator[Path]:
    """Everything below a folder that is no folder; links are not followed."""
    for where, folders, names in os.walk(folder):
        yield from (Path(where, name) for name in names)
        yield from (Path(where, name) for name in folders if Path(where, name).is_symlink())


def copy_synced(source: Path, target: Path, paths: Iterable[str]) -> None:
    """Copies files below a folder, as far as they are there, so that all of them are on the disk at the end; none through a link."""
    folders = {target}
    for path in paths:
        if deletion.link_on_the_way(source, source / path) or not (source / path).is_file():
            continue
        folders.add((target / path).parent)
        durable.make_folder((target / path).parent)
        with durable.naming(target / path):
            shutil.copyfile(source / path, target / path)
            durable.sync_file(target / path)
    for folder in sorted(folders):
        durable.make_folder(folder)
        durable.sync_folder(folder)
