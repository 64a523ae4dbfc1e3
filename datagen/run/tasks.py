"""What a runner and its worker processes exchange: a task, its result, or the reason why there is none."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Generic, Self, TypeVar

from stemwright.manifests.records import Record

T = TypeVar("T")

LEASES = "lease"  # folder of a corpus: which processes, on any machine, are at work

Work = Callable[[Any], Sequence[Record]]  # the payload of a task -> its rows; raises Refused
Begin = Callable[["Task"], None]  # to be called before a task touches its files
Do = Callable[[Sequence["Task"], Begin], Iterator["Result"]]  # tasks -> their results, in the order in which they come to an end


@dataclass(frozen=True)
class Task:
    """One unit of work: its id, a readable name, the id of its row, the argument of the work function, and seconds of audio."""

    id: str
    subject: str
    row_id: str
    payload: Any
    duration_s: float = 0.0


@dataclass(frozen=True)
class Share:
    """One of ``of`` shares of a stage: every ``of``-th task from ``number`` on, which counts from 0.

    ``check`` raises an error once another process has taken this share over: it is called before what only its holder may do.

    >>> from stemwright.datagen.run.tasks import Share
    >>> list(range(10))[Share(1, 4).tasks]
    [1, 5, 9]
    """

    number: int
    of: int
    check: Callable[[], None] = field(default=lambda: None, compare=False, repr=False)

    @classmethod
    def parse(cls, text: str) -> Share:
        """A share from K/N. Raises ValueError if these are no two whole numbers with K from 0 to N - 1.

        >>> from stemwright.datagen.run.tasks import Share
        >>> Share.parse("3/64").writer
        '3of64'
        """
        number, slash, of = text.strip().partition("/")
        if not slash or not (number.isascii() and number.isdecimal() and of.isascii() and of.isdecimal()) or int(number) >= int(of):
            empty = ". Is the variable set that K or N is taken from?" if not text.strip() or (slash and not (number and of)) else ""
            raise ValueError(f"expected K/N, share K of N with K from 0 to N - 1, such as 0/4; got {text!r}{empty}")
        return cls(int(number), int(of))

    @property
    def writer(self) -> str:
        """Its name in the names of files."""
        return f"{self.number}of{self.of}"

    @property
    def tasks(self) -> slice:
        """Which of all tasks are its own."""
        return slice(self.number, None, self.of)

    def __str__(self) -> str:
        return f"{self.number}/{self.of}"


@dataclass(frozen=True)
class Needs:
    """What a worker of a cluster must have to be given tasks.

    ``corpus`` is a folder that it sees at the same path as this process and may write to, ``songs`` one that it may read. ``probe`` is run
    once on each worker with its number of threads: it returns what must be equal on all of them, and raises an error where the work cannot
    be done. A worker is given at most ``at_once`` tasks (None: as many as it has threads), each of which takes ``fraction`` of the
    resources that were requested.
    """

    corpus: Path | None = None
    songs: Path | None = None
    probe: Callable[[int], Mapping[str, Any]] | None = None
    at_once: int | None = None
    fraction: float = 1.0


@dataclass(frozen=True)
class Workers:
    """Where the work is done: ``jobs`` processes here, or the dask cluster whose scheduler has an address; and which share of it.

    ``resources`` are those of dask that a task takes, such as {"GPU": 1}: only workers that have them are used.
    """

    jobs: int = 1
    dask: str | None = None
    share: Share | None = None
    resources: Mapping[str, float] = field(default_factory=dict)
    needs: Needs = Needs()

    def seeing(self, corpus: Path, songs: Path | None = None) -> Self:
        """The same workers, for work on a corpus."""
        return replace(self, needs=replace(self.needs, corpus=corpus, songs=songs))


class StoppedError(RuntimeError):
    """The stage cannot go on (a full disk); what was finished is kept."""


class UnsuitedError(StoppedError):
    """The workers of a cluster cannot do what the configuration asks for: nothing was begun, so an earlier configuration is restored."""


@dataclass(frozen=True)
class Result:
    """What became of one task: its rows, or the reason why it was refused, or why nothing can go on."""

    task: Task
    rows: tuple[Record, ...] = ()
    reason: str | None = None
    fatal: str | None = None
    trace: str = ""  # of an exception that was not expected, for the log


@dataclass(frozen=True)
class FailedTask(Generic[T]):
    """A task without a result, and why."""

    task: T
    reason: str
