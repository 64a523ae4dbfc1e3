"""Shares of a stage: the same command on any machines that see the corpus folder, each with a part of the tasks.

    stemwright separate CORPUS --share 0/2        stemwright separate CORPUS --share 1/2        then: stemwright separate CORPUS

Each share does every N-th task and writes a journal of its own; the command without ``--share`` takes all journals over, does what is left,
and writes the table. Nothing schedules and nothing waits: what a share did not do, another run does.

Conventions
    ``lease/<share>`` in the corpus folder says that a share is at work (``stemwright.manifests.disk.lease``), and on what: the verb, a
    digest of the configuration, and how far it is. A share creates its lease before it looks at the others, so of two that do not fit
    at least one sees the other. Shares at work must have one verb, one number of shares and one configuration.
    Every other verb that writes holds the lock of the corpus and requires all leases to be free; a share that finds the lock taken
    ends. The share has its lease before it looks at the lock, and the verb its lock before it looks at the leases: never both go on.
    The leases of processes that died are removed by the next verb that holds the lock.
    Where several machines share the file system, the lock may reach this machine alone. There a verb without ``--share`` has a lease as
    well, ``lease/whole``, which it creates before it looks at the others.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from stemwright.datagen.run.tasks import LEASES, Share
from stemwright.manifests.disk import lease
from stemwright.manifests.disk.deletion import check_way
from stemwright.manifests.disk.lease import HeldError, Holder, Lease, Timing
from stemwright.manifests.disk.locks import is_held
from stemwright.manifests.disk.mounts import is_shared
from stemwright.manifests.progress import AudioDone, OnProgress
from stemwright.manifests.usage import UsageError

LEASE = re.compile(r"\d+of\d+")
WHOLE = "whole"
LOCK = ".lock"
WAIT_S = 10.0  # for the lock: other shares look at it at the same time, each for a moment


class SharesError(UsageError):
    """Shares of a corpus that do not fit, or are at work where all must have ended; and what to do."""


@dataclass(frozen=True)
class AtWork:
    """A lease of a corpus: which share it is of, who holds it, and how long ago it was renewed, in seconds."""

    share: Share
    holder: Holder
    renewed_s: float | None

    @property
    def verb(self) -> str:
        """What the share does."""
        return str(self.holder.work.get("verb", "a stage"))

    def __str__(self) -> str:
        return f"share {self.share} of {self.verb} is at work: {lease.where(self.holder, self.renewed_s)}"


def share_of(path: Path) -> Share:
    """The share that a lease, or a journal's writer, is named after."""
    number, of = path.name.split("of")
    return Share(int(number), int(of))


def leases(folder: Path) -> list[Path]:
    """The leases of shares in a corpus folder, whether their holders live or not."""
    place = folder / LEASES
    found = [path for path in place.iterdir() if LEASE.fullmatch(path.name)] if place.is_dir() and not place.is_symlink() else []
    return sorted(found, key=lambda path: (share_of(path).of, share_of(path).number))


def at_work(folder: Path) -> list[AtWork]:
    """The shares that may be at work, without waiting: of a holder on another machine it is not known whether it lives."""
    found = ((path, lease.read(path)) for path in leases(folder))
    return [AtWork(share_of(path), holder, lease.age_s(path)) for path, holder in found if holder is not None and not holder.is_gone()]


def check_none_at_work(folder: Path, timing: Timing | None = None) -> None:
    """Raises SharesError naming a share that is at work; removes the leases of those that died. The caller holds the corpus's lock.

    Takes up to ``dead_s`` where leases are of other machines, since it has to be seen whether they move.
    """
    timing = timing or lease.TIMING
    if (folder / LEASES).is_symlink():
        raise SharesError(f"{folder / LEASES} is a link: nothing is written or deleted through it. Remove it")
    if not (folder / LEASES).is_dir():
        return
    moved, dead = lease.watch(leases(folder), timing)
    try:
        if not moved:
            lease.clear(folder / LEASES, dead)
            return
        path, holder = next(iter(moved.items()))
        found = AtWork(share_of(path), holder, lease.age_s(path))
    except HeldError as error:
        found = AtWork(share_of(error.path), error.holder, error.renewed_s)
    raise SharesError(f"{found}. Every share of {folder} must have ended; wait for it, or stop it")


def at_work_on_all(folder: Path) -> Holder | None:
    """The process without ``--share`` that may be at work, by its lease, without waiting."""
    holder = lease.read(folder / LEASES / WHOLE)
    return None if holder is None or holder.is_gone() else holder


@contextmanager
def working_on_all(folder: Path, timing: Timing | None = None) -> Iterator[None]:
    """Holds the lease of a whole corpus, where other machines may work in its folder. Raises SharesError if another process has it.

    Takes up to ``dead_s`` where another machine's process has left one.
    """
    path = folder / LEASES / WHOLE
    if (folder / LEASES).is_symlink() or not (is_shared(folder) or path.exists()):
        yield
        return
    mine = Lease(path, timing or lease.TIMING)
    try:
        mine.__enter__()
    except HeldError as error:
        raise SharesError(in_use(folder, error.holder, error.renewed_s)) from error
    try:
        yield
    finally:
        mine.__exit__(None, None, None)
        with suppress(OSError):  # shares have leases in it, or had before this verb began
            (folder / LEASES).rmdir()


def in_use(folder: Path, holder: Holder | None = None, renewed_s: float | None = None) -> str:
    """That another process works on the whole of a corpus, which process if its lease says so, and what to do, as a sentence.

    >>> from pathlib import Path
    >>> from stemwright.datagen.run.shares import in_use
    >>> in_use(Path("CORPUS"))
    'another stemwright process is working on CORPUS; wait for it, or stop it'
    """
    which = "" if holder is None else f": {lease.where(holder, renewed_s)}"
    return f"another stemwright process is working on {folder}{which}; wait for it, or stop it"


@contextmanager
def working(folder: Path, verb: str, share: Share, config: str, timing: Timing | None = None) -> Iterator[tuple[Share, Lease]]:
    """Holds the lease of a share, with what it works on: a verb, by a configuration of which ``config`` is a digest.

    Yields the share, whose ``check`` raises LostError once another process has taken its lease over. Raises SharesError where another
    process has the share, where shares at work do not fit it, and where another verb works on the corpus.
    """
    path, timing = folder / LEASES / share.writer, timing or lease.TIMING
    check_way(folder, path)
    mine = Lease(path, timing)
    mine.describe(verb=verb, config=config)
    try:
        mine.__enter__()
    except HeldError as error:
        found = AtWork(share, error.holder, error.renewed_s)
        raise SharesError(f"{found}. Wait for it, stop it, or give this process another share") from error
    try:
        _check_fit(folder, mine, share, {"verb": verb, "config": config}, timing)
        _check_lock(folder, timing)
        yield replace(share, check=mine.check), mine
    finally:
        mine.__exit__(None, None, None)


def _check_fit(folder: Path, mine: Lease, share: Share, work: Mapping[str, str], timing: Timing) -> None:
    """Raises SharesError if a share at work has another number of shares, another verb or another configuration."""
    others = {path: holder for path in leases(folder) if path != mine.path and (holder := lease.read(path)) is not None}
    unfit = [
        path for path, holder in others.items() if share_of(path).of != share.of or any(holder.work.get(key) != work[key] for key in work)
    ]
    moved, _ = lease.watch(unfit, timing)
    for path, holder in moved.items():
        other = AtWork(share_of(path), holder, lease.age_s(path))
        if other.share.of != share.of:
            why = f"all shares at work must divide the corpus into the same number; got {share}"
        elif other.verb != work["verb"]:
            why = f"all shares at work must do the same; got {work['verb']}"
        else:
            why = "this command asks for another configuration; give all shares the same options"
        raise SharesError(f"{other}, and {why}. Wait for it, or stop it")


def _check_lock(folder: Path, timing: Timing) -> None:
    until = timing.clock() + min(WAIT_S, timing.dead_s)
    while is_held(folder / LOCK):
        if timing.clock() > until:
            raise SharesError(in_use(folder))
        time.sleep(timing.poll_s)
    moved, dead = lease.watch([folder / LEASES / WHOLE], timing)
    try:
        for path, holder in dead.items():
            lease.take_away(path, holder)
    except HeldError as error:
        moved = {error.path: error.holder}
    for path, holder in moved.items():
        raise SharesError(in_use(folder, holder, lease.age_s(path)))


def published(mine: Lease, on_progress: OnProgress | None) -> OnProgress:
    """Progress that is also written into the lease, where others read it."""

    def report(done: float, total: int, subject: str, audio: AudioDone | None = None, /) -> None:
        facts: dict[str, Any] = {"done": round(done, 3), "total": total, "subject": subject}
        mine.describe(**facts, done_s=None if audio is None else round(audio.done_s, 3), total_s=None if audio is None else audio.total_s)
        if on_progress:
            on_progress(done, total, subject, audio)

    return report
