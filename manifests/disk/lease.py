"""Leases: which of several processes, on any machines that see a folder, works on what; a dead one's lease is taken over.

A lock of the file system is released when its holder dies, but does not reach other machines on every network file system. A lease is a
file: it is created exclusively, and its holder replaces it again and again with a higher counter. A watcher waits: if the
counter has not moved for ``dead_s`` of the watcher's own clock, its holder is dead, and the lease is taken over. No times of two machines
are compared, so clocks may differ.

Conventions
    The holder of a lease calls ``check`` before what only the holder may do. A process that was stopped for long (by a debugger, a
    suspended machine) finds there that its lease was taken over, and ends.
    A process of this machine need not be watched: whether it runs is known at once. One that runs holds its lease, however slow it is.
    A lease is no protection of files: what is written under its protection goes under names that no other process has (``attempts``),
    because between ``check`` and the next line a process can be stopped for any time.

References
    open(2): O_EXCL, which NFS supports from version 3 on. Gray, Cheriton, Leases: an efficient fault-tolerant mechanism for distributed
    file cache consistency (1989).
"""

from __future__ import annotations

import hashlib
import json
import os
import socket
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from stemwright.manifests.disk import durable
from stemwright.manifests.disk.attempts import attempt_name, is_running
from stemwright.manifests.disk.regular import regular


def _seconds() -> float:
    """A clock of this machine that only goes forward, also while it is suspended where the system can tell."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic()


@dataclass(frozen=True)
class Timing:
    """How often a lease is renewed, after how long without a change it is dead, and how often a watcher looks, in seconds."""

    every_s: float = 10.0
    dead_s: float = 90.0
    poll_s: float = 0.5
    clock: Callable[[], float] = _seconds


TIMING = Timing()


@dataclass(frozen=True)
class Holder:
    """What a lease says: who holds it, how often it was renewed, and what its holder says of its work."""

    owner: str
    counter: int
    host: str = ""
    process: int = 0
    machine: str = ""
    started: str = ""
    work: Mapping[str, Any] = field(default_factory=dict)

    def is_gone(self) -> bool:
        """Whether it is known at once that the holder does not run any more: it was a process of this machine."""
        if self.owner in _held:
            return False
        if not self.machine or self.machine != machine():
            return False
        return not is_running(self.process) or _started(self.process) != self.started

    def runs_here(self) -> bool:
        """Whether it is known at once that the holder runs."""
        return self.owner in _held or (bool(self.machine) and self.machine == machine() and not self.is_gone())


class HeldError(RuntimeError):
    """A process at work holds the lease."""

    def __init__(self, path: Path, holder: Holder) -> None:
        self.path, self.holder, self.renewed_s = path, holder, age_s(path)
        super().__init__(f"{where(holder, self.renewed_s)} holds {path}; wait for it, or stop it")


class LostError(RuntimeError):
    """The lease was taken over by another process, which believed this one dead."""


def where(holder: Holder, renewed_s: float | None = None) -> str:
    """Who holds a lease, as text: "process 4711 on gpu3 (its lease was renewed 4 s ago)"."""
    name = f"process {holder.process} on {holder.host}" if holder.host else "an unknown process"
    return name if renewed_s is None else f"{name} (its lease was renewed {renewed_s:.0f} s ago)"


_held: set[str] = set()  # by this process
_leases: list[Lease] = []  # of this process


@cache
def machine() -> str:
    """A digest that stands for this machine since it was started, and the processes that can be seen in it; "" where neither is known."""
    with suppress(OSError):
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii")
        seen = [socket.gethostname(), boot, str(Path("/proc/self/ns/pid").readlink())]
        return hashlib.sha256("\0".join(seen).encode()).hexdigest()[:16]
    return ""


def _started(process: int) -> str:
    """When a process was started, in the system's own units: its number may be used again. "" if it is not there, or not known."""
    with suppress(OSError):
        return Path(f"/proc/{process}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()[19]
    return ""


def read(path: Path) -> Holder | None:
    """Who holds a lease, by what its file says; None if no process does. A file that is not whole has an unknown holder."""
    try:
        found = json.loads(regular(path).read_bytes())
        return Holder(**{name: found[name] for name in Holder.__dataclass_fields__})
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError):
        return Holder("", 0)


def age_s(path: Path) -> float | None:
    """How long ago a lease was renewed, by the clock of the file system alone: for messages only. None if that is not known."""
    probe = path.with_name(f".{path.name}.probe.{attempt_name()}{durable.SUFFIX}")
    try:
        probe.touch()
        return max(0.0, probe.stat().st_mtime - path.stat().st_mtime)
    except OSError:
        return None
    finally:
        durable.remove([probe])


def watch(paths: Iterable[Path], timing: Timing = TIMING) -> tuple[dict[Path, Holder], dict[Path, Holder]]:
    """The leases that are held by processes at work, and those whose holders are dead, by their files.

    Returns as soon as one holder is known to be at work. It takes up to ``dead_s`` where holders of other machines do not move.
    """
    before = {path: holder for path in paths if (holder := read(path)) is not None}
    until, dead = timing.clock() + timing.dead_s, dict[Path, Holder]()
    while True:
        moved = {}
        for path, seen in before.items():
            now = read(path)
            if now is not None and (now.runs_here() or (now.owner, now.counter) != (seen.owner, seen.counter)):
                moved[path] = now
            elif now is not None and now.is_gone():
                dead[path] = now
        before = {path: seen for path, seen in before.items() if path not in dead and path.exists()}
        if moved or not before:
            return moved, dead
        if timing.clock() >= until:
            return {}, dead | before
        time.sleep(timing.poll_s)


class Lease:
    """A lease of this process, renewed by a thread until it is released: a context manager.

    ``describe`` says what the holder does, which others read (``read``).
    """

    def __init__(self, path: Path, timing: Timing = TIMING) -> None:
        self.path, self.timing = path, timing
        self._state = Holder(attempt_name(), 0, socket.gethostname(), os.getpid(), machine(), _started(os.getpid()))
        self._lock, self._stop, self._lost = threading.Lock(), threading.Event(), False
        self._renewed_at = timing.clock()
        self._thread = threading.Thread(target=self._keep, name=f"lease {path.name}", daemon=True)

    def __enter__(self) -> Self:
        _held.add(self._state.owner)  # first: another thread that reads the new file must not believe its holder gone
        try:
            self._take()
        except BaseException:
            _held.discard(self._state.owner)
            raise
        _leases.append(self)
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stop.set()
        _held.discard(self._state.owner)
        _leases.remove(self)
        self._thread.join()
        holder = read(self.path)
        if holder is not None and holder.owner == self._state.owner:
            durable.remove([self.path])

    def _take(self) -> None:
        """Creates the file, that of a dead holder taken away. Raises HeldError where another holder is at work."""
        durable.make_folder(self.path.parent)
        if self._create():
            return
        moved, dead = watch([self.path], self.timing)
        if moved:
            raise HeldError(self.path, moved[self.path])
        for holder in dead.values():
            take_away(self.path, holder)
        if not self._create():
            raise HeldError(self.path, read(self.path) or Holder("", 0))

    def _create(self) -> bool:
        durable.make_folder(self.path.parent)
        try:
            descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
        except FileExistsError:
            return False
        except FileNotFoundError:  # the folder of leases was removed meanwhile, because it was empty
            return self._create()
        with durable.naming(self.path), os.fdopen(descriptor, "wb") as file:
            file.write(self._text())
        self._renewed_at = self.timing.clock()
        return True

    def _text(self) -> bytes:
        return json.dumps({name: getattr(self._state, name) for name in Holder.__dataclass_fields__}).encode()

    def describe(self, **work: Any) -> None:
        """Says what the holder does: at the next renewal, or at once if the last one was more than a tenth of ``every_s`` ago."""
        with self._lock:
            self._state = replace(self._state, work={**self._state.work, **work})
        if self.timing.clock() - self._renewed_at > self.timing.every_s / 10:
            with suppress(OSError):
                self.renew()

    def renew(self) -> None:
        """Raises the counter. Raises LostError if another process has the lease now, OSError if the file cannot be written."""
        with self._lock:
            now = self.timing.clock()
            holder = read(self.path)
            if self._lost or holder is None or holder.owner != self._state.owner:
                self._lost = True
                by = "" if holder is None else f" by {where(holder)}"
                raise LostError(f"the lease {self.path} was taken over{by}: this process did not renew it in time, and stops")
            self._state = replace(self._state, counter=self._state.counter + 1)
            durable.write_bytes(self.path, self._text())
            self._renewed_at = now

    def check(self) -> None:
        """Raises LostError if the lease was taken over. Costs nothing as long as it was renewed in time."""
        if self._lost or self.timing.clock() - self._renewed_at > self.timing.dead_s / 3:
            self.renew()

    def _keep(self) -> None:
        while not self._stop.wait(self.timing.every_s):
            try:
                self.renew()
            except LostError:
                return
            except OSError:  # a full disk, a server that does not answer: tried again
                continue


def check_all(folder: Path) -> None:
    """Raises LostError if this process has lost a lease that it has in a folder."""
    for each in tuple(_leases):
        if each.path.parent == folder:
            each.check()


def clear(folder: Path, dead: Mapping[Path, Holder]) -> None:
    """Removes the leases of dead holders from their folder, with what killed processes left there, and the folder if that empties it.

    Raises HeldError if one of them is not dead after all.
    """
    for path, holder in dead.items():
        take_away(path, holder)
    durable.remove(folder.glob(f".*{durable.SUFFIX}"))
    with suppress(OSError):  # a new lease is in it
        folder.rmdir()


def take_away(path: Path, holder: Holder) -> None:
    """Removes the lease of a dead holder; only one of several that do so at once succeeds. Raises HeldError for any other's."""
    aside = path.with_name(f".{path.name}.dead.{attempt_name()}{durable.SUFFIX}")
    try:
        durable.move(path, aside)
    except FileNotFoundError:
        return
    found = read(aside)
    if found is None or (found.owner, found.counter) == (holder.owner, holder.counter):
        durable.remove([aside])
        return
    with suppress(OSError):  # there is another by now, whose holder is at work as well
        os.link(aside, path)
    durable.remove([aside])
    raise HeldError(path, found)
