"""Tasks on a dask cluster: given by this process to workers that were examined, with an end to every wait.

Conventions
    Each worker, and each that joins later, is examined first (``preflight``). A difference found at the start ends the stage before it
    has begun; a worker that joins later and differs is given nothing, and a warning says why.
    A task is given to one worker by name, and a worker has no more tasks than it works on at once, twice as many where they are
    short. So a worker that joins late is given work at once, memory here does not grow with the number of tasks, and it is known which
    tasks a worker had when it was lost.
    A task whose worker was lost is given to another. If that one is lost too, it waits for the end, where it is given to a worker that has
    nothing else; lost a third time, it is returned as ``FailedTask``. So a task that takes its worker's memory is found, its neighbours
    give results, and workers whose machines are taken away cost nothing but time.
    A scheduler that cannot be reached or disappears, and a cluster without workers for too long, end the stage with an error message;
    finished work is kept.
    dask's own repetition (``allowed-failures``) plays no part, since it counts every task that a lost worker had against that task.
"""

from __future__ import annotations

import queue
import time
import uuid
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Generic, TypeVar

from stemwright.datagen.run.connection import ANSWER_S, KEPT, connected
from stemwright.datagen.run.fleet import REFRESH_S, Fleet, Worker
from stemwright.datagen.run.tasks import FailedTask, StoppedError, Workers

T = TypeVar("T")
R = TypeVar("R")

SHORT_S, SHORT_OF_MANY_S = 0.5, 0.1  # tasks that take less than either, the latter times all that run at once, wait at the worker
LOSSES = 3  # of the workers of one task, before it is given up
LOST = f"lost its worker {LOSSES} times, the last time while that worker had nothing else to do: most likely it needs more memory"


def on_cluster(work: Callable[[T], R], tasks: Iterable[T], workers: Workers) -> Iterator[R | FailedTask[T]]:
    """The results of independent tasks, in the order in which they finish. Raises StoppedError where the cluster is gone."""
    with connected(workers.dask or "") as client:
        fleet = Fleet(client, workers.needs, workers.resources)
        yield from _Dispatch(client, work, iter(tasks), fleet).results()


def asked_of_workers(workers: Workers) -> dict[str, Any]:
    """What the workers of a cluster have in common, by the probe of ``workers.needs``. Raises StoppedError if one differs."""
    with connected(workers.dask or "") as client:
        fleet = Fleet(client, workers.needs, workers.resources)
        fleet.begin()
        return fleet.norm


@dataclass
class _Attempt(Generic[T]):
    task: T
    losses: int = 0
    began: float = 0.0
    turns: int = 1
    worker: Worker | None = None


class _Dispatch(Generic[T, R]):
    """The tasks of one stage on their way to workers and back."""

    def __init__(self, client: Any, work: Callable[[T], R], tasks: Iterator[T], fleet: Fleet) -> None:
        self._client, self._work, self._tasks, self._fleet = client, work, tasks, fleet
        self._again: deque[_Attempt[T]] = deque()
        self._suspects: deque[_Attempt[T]] = deque()
        self._out: dict[Any, _Attempt[T]] = {}
        self._all_begun = False
        self._mean_s: float | None = None
        self._lost_count = 0

    def results(self) -> Iterator[R | FailedTask[T]]:
        """Runs all of them. Raises StoppedError where the cluster is gone."""
        try:
            self._fleet.begin()
            while True:
                self._give_out()
                if not self._out and not self._again and not self._suspects and self._all_begun:
                    return
                lost_before = self._lost_count
                for future in self._arrived():
                    yield from self._took(future)
                # Nothing may be given to a worker that is gone, or the task would be blamed for it.
                for future in self._fleet.look(now=self._lost_count > lost_before):
                    yield from self._lost(future)
        except (StoppedError, GeneratorExit):
            raise
        except Exception as error:  # cancelled, lost, or a closed connection: whatever it is, nothing more will come
            raise StoppedError(f"the dask cluster is gone ({type(error).__name__}). {KEPT}") from error

    def _give_out(self) -> None:
        usable = self._fleet.usable()
        short_s = max(SHORT_S, SHORT_OF_MANY_S * sum(worker.slots for worker in usable))  # many end at once, and wait for us in turn
        ahead = 2 if self._mean_s is not None and self._mean_s < short_s else 1
        for worker in usable:
            while len(worker.out) < ahead * worker.slots and (attempt := self._next()) is not None:
                self._submit(attempt, worker)
            if not worker.out and self._suspects and self._all_begun:
                self._submit(self._suspects.popleft(), worker)

    def _next(self) -> _Attempt[T] | None:
        if self._again:
            return self._again.popleft()
        for task in islice(self._tasks, 1):
            return _Attempt(task)
        self._all_begun = True
        return None

    def _submit(self, attempt: _Attempt[T], worker: Worker) -> None:
        attempt.began, attempt.worker = time.monotonic(), worker
        attempt.turns = 1 + len(worker.out) // worker.slots  # it may have to wait for one that is there
        future = self._client.submit(
            self._work,
            attempt.task,
            key=f"stemwright-{uuid.uuid4().hex}",
            workers=[worker.address],
            allow_other_workers=False,
            resources=self._fleet.resources or None,
        )
        self._out[future] = attempt
        worker.out.add(future)
        future.add_done_callback(self._fleet.ended.put)

    def _arrived(self) -> Sequence[Any]:
        """The futures that have ended since the last call; waits for one, but not for long."""
        try:
            ended = [self._fleet.ended.get(timeout=REFRESH_S)]
        except queue.Empty:
            return []
        while not self._fleet.ended.empty():
            ended.append(self._fleet.ended.get())
        return ended

    def _took(self, future: Any) -> Iterator[R | FailedTask[T]]:
        if future not in self._out:
            self._fleet.take_answers()  # it was an examination
            return
        if future.status != "finished":
            if future.status == "error" and type(future.exception()).__name__ != "KilledWorker":
                error = future.exception()
                yield FailedTask(self._forget(future).task, f"unexpected {type(error).__name__}: {error}")
            elif self._client.status != "running":
                raise StoppedError(f"the scheduler of the dask cluster is gone. {KEPT}")
            else:
                yield from self._lost(future)
            return
        try:
            result: R = future.result(timeout=ANSWER_S)
        except TimeoutError:  # its worker was lost with the result
            yield from self._lost(future)
            return
        attempt = self._forget(future)
        spent_s = (time.monotonic() - attempt.began) / attempt.turns
        self._mean_s = spent_s if self._mean_s is None else 0.9 * self._mean_s + 0.1 * spent_s
        yield result

    def _forget(self, future: Any) -> _Attempt[T]:
        attempt = self._out.pop(future)
        if attempt.worker is not None:
            attempt.worker.out.discard(future)
        return attempt

    def _lost(self, future: Any) -> Iterator[FailedTask[T]]:
        """What becomes of a task whose worker is gone."""
        if future not in self._out:
            return
        attempt = self._forget(future)
        self._client.cancel([future], force=True)
        self._lost_count += 1
        attempt.losses += 1
        if attempt.losses >= LOSSES:
            yield FailedTask(attempt.task, LOST)
        elif attempt.losses == LOSSES - 1:
            self._suspects.append(attempt)
        else:
            self._again.append(attempt)
