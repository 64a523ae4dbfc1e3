"""What a runner and its worker processes exchange: a task, its result, or the reason why there is none."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from stemwright.manifests.records import Record

T = TypeVar("T")

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

    >>> list(range(10))[Share(1, 4).tasks]
    [1, 5, 9]
    """

    number: int
    of: int

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
class Workers:
    """Where the work is done: ``jobs`` processes here, or the dask cluster whose scheduler has an address; and which share of it."""

    jobs: int = 1
    dask: str | None = None
    share: Share | None = None


class StoppedError(RuntimeError):
    """The stage cannot go on (a full disk); what was finished is kept."""


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
