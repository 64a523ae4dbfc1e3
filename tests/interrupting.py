"""Work that ends just before its k-th change of the file system, in this process: as by a kill, or by a power cut.

    with Interruption(folder, point=7) as interruption:
        work()
    interruption.died, interruption.count

Hundreds of points of a small piece of work take seconds; ``crashing`` does the same with whole commands, which it really kills.

Conventions
    A change is what ``crashing`` calls one, but for an exchange of two names. From the point on every change is refused with ``Killed``, so
    nothing that tidies up on the way out changes anything either.
    A power cut loses what was not synced. Of a file that is what it holds beyond its last sync: it is then as it was, or has its new
    length and NULs, or is whole by luck. Of a folder that is every change of its names since its last sync. ``disk`` says what is left:
    nothing of all that, or, of each file and folder, by chance.
"""

from __future__ import annotations

import os
import random
import shutil
import sys
from pathlib import Path
from types import TracebackType
from typing import Any

from crashing import CHANGES, is_write

Tree = dict[str, bytes | None]  # path below the root -> contents, None for a folder


class Killed(BaseException):
    """The end of the work at its point."""


class Interruption:
    """A context manager in which the work below a folder ends just before its change number ``point``, counted from 1; never with 0."""

    current: Interruption | None = None
    _hooked = False

    def __init__(self, root: Path, point: int = 0, *, watch_disk: bool = False) -> None:
        self.root, self.point, self.count, self.died = Path(root), point, 0, False
        self.what = ""  # the change before which the work ended
        self.watch_disk = watch_disk
        self._names: dict[int, dict[str, tuple[int, bool]]] = {}  # folder -> name -> (what, whether a folder), as last synced
        self._bytes: dict[int, bytes] = {}  # file -> contents as last synced

    def __enter__(self) -> Interruption:
        if self.watch_disk:
            for place, _, names in os.walk(self.root):
                self._note(Path(place))
                for name in names:
                    self._note(Path(place, name))
        if not Interruption._hooked:  # a hook cannot be taken away again
            sys.addaudithook(_hear)
            Interruption._hooked = True
        self._fsync, os.fsync = os.fsync, self._sync
        Interruption.current = self
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> bool:
        Interruption.current, os.fsync = None, self._fsync
        return kind is not None and self.died

    def _sync(self, descriptor: int) -> None:
        path = Path(f"/proc/self/fd/{descriptor}").resolve()
        self.change("sync", [str(path)])
        self._fsync(descriptor)
        if self.watch_disk and path.is_relative_to(self.root):
            self._note(path)

    def change(self, event: str, named: list[str]) -> None:
        """Called just before each change. Raises Killed from the point on."""
        if not any(
            not name.startswith("/") or Path(name).is_relative_to(self.root) for name in named
        ):  # relative to an open folder: rmtree
            return
        self.count += not self.died
        if self.point and self.count == self.point:
            if not self.died:
                self.what = " ".join([event, *(os.path.relpath(name, self.root) for name in named)])
            self.died = True
            raise Killed(self.what)

    def _note(self, path: Path) -> None:
        inode = path.stat().st_ino
        if path.is_dir():
            self._names[inode] = _names_in(path)
        else:
            self._bytes[inode] = path.read_bytes()

    def disk(self, rng: random.Random | None = None) -> Tree:
        """What a power cut at this moment leaves below the folder: without ``rng`` only what was synced."""
        names: dict[int, dict[str, tuple[int, bool]]] = {}
        contents: dict[int, bytes] = {}
        for place, _, files in os.walk(self.root):
            names[Path(place).stat().st_ino] = _names_in(Path(place))
            contents.update({Path(place, name).stat().st_ino: Path(place, name).read_bytes() for name in files})
        left: Tree = {}
        waiting = [(self.root.stat().st_ino, "")]
        while waiting:
            folder, prefix = waiting.pop()
            listed = self._names.get(folder, {})
            if rng and rng.random() < 0.5:
                listed = names.get(folder, listed)
            for name, (inode, is_folder) in listed.items():
                left[prefix + name] = None if is_folder else self._left(inode, contents.get(inode), rng)
                waiting += [(inode, f"{prefix}{name}/")] if is_folder else []
        return left

    def _left(self, inode: int, now: bytes | None, rng: random.Random | None) -> bytes:
        synced = self._bytes.get(inode, b"")
        if rng is None or now is None or now == synced:
            return synced
        return rng.choice((synced, synced[: len(now)].ljust(len(now), b"\0"), now))


def _names_in(folder: Path) -> dict[str, tuple[int, bool]]:
    return {entry.name: (entry.inode(), entry.is_dir()) for entry in os.scandir(folder)}


def _hear(event: str, given: tuple[Any, ...]) -> None:
    interruption = Interruption.current
    if interruption is None:
        return
    if event in CHANGES or (event == "open" and is_write(given[1], given[2])):
        named = given[:1] if event == "open" else given[:2]
        interruption.change(event, [os.fsdecode(one) for one in named if isinstance(one, str | bytes | os.PathLike)])


def lay_out(tree: Tree, folder: Path) -> None:
    """Makes a folder hold just this."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for path, data in tree.items():
        if data is None:
            (folder / path).mkdir(parents=True)
        else:
            (folder / path).write_bytes(data)


def tree_of(folder: Path) -> Tree:
    """Everything below a folder, as ``lay_out`` takes it."""
    found: Tree = {}
    for place, folders, names in os.walk(folder):
        where = Path(place).relative_to(folder)
        found.update({(where / name).as_posix(): None for name in folders})
        found.update({(where / name).as_posix(): Path(place, name).read_bytes() for name in names})
    return found
