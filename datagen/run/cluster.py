"""Tasks on a dask cluster: given by this process to workers that were examined, with an end to every wait.

Conventions
    Each worker, and each that joins later, is examined first (``preflight``). A difference found at the start ends the stage before it
    has begun; a worker that joins later and differs is logged and left out.
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

import logging
import queue
import time
import uuid
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any, Generic, TypeVar

from stemwright.datagen.run.preflight import Examination, WorkerFacts, examination, examine, first_difference, norm_of
from stemwright.datagen.run.tasks import FailedTask, Needs, StoppedError, Workers
from stemwright.manifests.visible import visible

T = TypeVar("T")
R = TypeVar("R")

ANSWER_S = 30.0  # for a scheduler with a worker to answer
EXAMINED_S = 30.0  # after the first worker has been examined, for the others
PREPARED_S = 900.0  # for the first worker to be examined: it may have to fetch a model
WORKERS_S = 300.0  # without a single worker, before the stage is ended: one that was killed is started again, which takes a while
REFRESH_S = 1.0  # between looks at the list of workers
PAUSED_S = 120.0  # a worker that dask has paused for so long gets no tasks, and loses its own
SHORT_S, SHORT_OF_MANY_S = 0.5, 0.1  # tasks that take less than either, the latter times all that run at once, wait at the worker
LOSSES = 3  # of the workers of one task, before it is given up
OF_CONNECTIONS = ("distributed", *(f"distributed.{name}" for name in ("client", "core", "comm", "comm.core", "comm.tcp", "batched")))
KEPT = "Finished work is kept; run the same command again with the address of a running cluster"
LOST = f"lost its worker {LOSSES} times, the last time while that worker had nothing else to do: most likely it needs more memory"

_log = logging.getLogger(__name__)


def on_cluster(work: Callable[[T], R], tasks: Iterable[T], workers: Workers) -> Iterator[R | FailedTask[T]]:
    """The results of independent tasks, in the order in which they finish. Raises StoppedError where the cluster is gone."""
    with _connected(workers.dask or "") as client:
        fleet = _Fleet(client, workers.needs, workers.resources)
        yield from _Dispatch(client, work, iter(tasks), fleet).results()


def asked_of_workers(workers: Workers) -> dict[str, Any]:
    """What the workers of a cluster have in common, by the probe of ``workers.needs``. Raises StoppedError if one differs."""
    with _connected(workers.dask or "") as client:
        fleet = _Fleet(client, workers.needs, workers.resources)
        fleet.begin()
        return fleet.norm


@contextmanager
def _connected(address: str) -> Iterator[Any]:
    try:
        from distributed import Client
    except ImportError as error:
        raise StoppedError("a dask cluster needs the extra: pip install 'stemwright[dask]'") from error
    with _silenced():
        yield from _client_at(Client, address)


def _client_at(make: Any, address: str) -> Iterator[Any]:
    until = time.monotonic() + ANSWER_S
    try:
        client = make(address, timeout=ANSWER_S)
    except (OSError, ValueError, TimeoutError, RuntimeError) as error:
        raise StoppedError(f"no dask scheduler answers at {address} ({type(error).__name__}). {KEPT}") from error
    try:
        try:
            client.wait_for_workers(1, timeout=max(0.1, until - time.monotonic()))
        except TimeoutError as error:
            raise StoppedError(
                f"the dask scheduler at {address} has no workers after {ANSWER_S:.0f} s. Start some: dask worker {address}. {KEPT}"
            ) from error
        yield client
    finally:
        with suppress(Exception):  # of a scheduler that is gone
            client.close(timeout=5.0)


@contextmanager
def _silenced() -> Iterator[None]:
    """Keeps dask from logging a lost connection, with a traceback: we say it in a sentence. Its loggers have levels of their own."""
    before = {name: logging.getLogger(name).level for name in OF_CONNECTIONS}
    for name in before:
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        for name, level in before.items():
            logging.getLogger(name).setLevel(level)


@dataclass
class _Worker:
    """A worker as this process sees it: ``slots`` is how many tasks it works on at once, 0 until it has been examined."""

    address: str
    info: Mapping[str, Any]
    facts: WorkerFacts | None = None
    examined: Any = None  # the future of its examination
    slots: int = 0
    out: set[Any] = field(default_factory=set)  # the futures of its tasks
    paused_at: float | None = None


class _Fleet:
    """The workers of a cluster, with what was found out about each. Raises StoppedError where none can be used."""

    def __init__(self, client: Any, needs: Needs, resources: Mapping[str, float]) -> None:
        self._client, self._needs, self._requested = client, needs, resources
        self.resources = {name: quantity * needs.fraction for name, quantity in resources.items()}
        self._asked: Examination = examination(needs)
        self.workers: dict[str, _Worker] = {}
        self.ended: queue.SimpleQueue[Any] = queue.SimpleQueue()  # futures of tasks and examinations
        self.norm: dict[str, Any] = {}
        self._seen_at = self._looked_at = time.monotonic()

    def begin(self) -> None:
        """Examines the workers that are there, and compares them."""
        began, first_at = time.monotonic(), None
        while True:
            self.refresh()
            pending = [worker for worker in self.workers.values() if worker.examined is not None]
            for worker in pending:
                self._take_answer(worker, wait_s=0.2)
            answers = self._answers()
            now = time.monotonic()
            first_at = first_at or (now if answers else None)
            if all(worker.examined is None for worker in self.workers.values()) or (first_at and now - first_at > EXAMINED_S):
                break
            if now - began > PREPARED_S:
                raise StoppedError(f"no dask worker has answered after {PREPARED_S:.0f} s. {KEPT}")
        if not answers:
            wanted = ", ".join(f"{name}={quantity:g}" for name, quantity in self._requested.items())
            raise StoppedError(f"no dask worker has the resources {wanted}; start some: dask worker ADDRESS --resources '{wanted}'")
        self.norm = norm_of(answers)
        if sentence := first_difference(answers, self.norm):
            raise StoppedError(f"{sentence}. Nothing was done")
        for worker in self.workers.values():
            self._admit(worker)

    def _answers(self) -> list[WorkerFacts]:
        return [worker.facts for worker in self.workers.values() if worker.facts is not None]

    def refresh(self) -> list[Any]:
        """Looks at the list of workers, examines new ones; returns the futures of tasks whose workers are gone."""
        if self._client.status != "running":
            raise StoppedError(f"the scheduler of the dask cluster is gone. {KEPT}")
        found = self._client.sync(self._client.scheduler.identity, callback_timeout=ANSWER_S)["workers"]
        now = time.monotonic()
        lost: list[Any] = []
        for address, worker in list(self.workers.items()):
            if _process(found.get(address)) != _process(worker.info):  # gone, or started again at the same address
                lost += self.workers.pop(address).out
        for address, info in found.items():
            worker = self.workers.setdefault(address, _Worker(address, info))
            if worker.facts is None and worker.examined is None and self._room(info) > 0:
                asked = replace(self._asked, threads=int(info["nthreads"]))
                worker.examined = self._client.submit(
                    examine, asked, key=f"examine-{uuid.uuid4().hex}", workers=[address], allow_other_workers=False, priority=100
                )
                worker.examined.add_done_callback(self.ended.put)
            lost += self._paused(worker, info, now)
        self._looked_at = now
        if found:
            self._seen_at = now
        elif now - self._seen_at > WORKERS_S:
            raise StoppedError(f"the dask cluster has no workers left. {KEPT}")
        return lost

    def look(self, *, now: bool = False) -> list[Any]:
        """As ``refresh``, once in a while or now."""
        return self.refresh() if now or time.monotonic() - self._looked_at >= REFRESH_S else []

    def take_answers(self) -> None:
        """Lets workers that joined have tasks, once they have been examined."""
        for worker in self.workers.values():
            if worker.examined is not None and worker.examined.done():
                self._take_answer(worker, wait_s=5.0)
                self._admit(worker)

    def _paused(self, worker: _Worker, info: Mapping[str, Any], now: float) -> list[Any]:
        """The tasks of a worker that dask has paused for long, since it is out of memory: it does not go on with them."""
        worker.info = info
        if info.get("status") != "paused":
            worker.paused_at = None
            return []
        worker.paused_at = worker.paused_at or now
        if now - worker.paused_at < PAUSED_S or not worker.out:
            return []
        _log.warning("the dask worker on %s is paused, since its memory is full: its tasks go to others", visible(info.get("host", "?")))
        taken, worker.out = list(worker.out), set()
        return taken

    def _take_answer(self, worker: _Worker, wait_s: float) -> None:
        try:
            worker.facts = worker.examined.result(timeout=wait_s)
        except TimeoutError:
            return
        except Exception as error:  # it was lost, or it cannot even read the question
            host = str(worker.info.get("host", worker.address))
            worker.facts = WorkerFacts(host, {}, f"it cannot be examined ({type(error).__name__}: {error}); is stemwright installed there?")
        worker.examined = None

    def _admit(self, worker: _Worker) -> None:
        """Lets a worker have tasks if it is as the others; else it is left out."""
        if worker.facts is None or worker.slots:
            return
        if sentence := first_difference([worker.facts], self.norm):
            _log.warning("%s. It is left out", visible(sentence))
            return
        worker.slots = self._room(worker.info)

    def _room(self, info: Mapping[str, Any]) -> int:
        """How many tasks a worker works on at once."""
        slots = int(info["nthreads"])
        if self._needs.at_once is not None:
            slots = min(slots, self._needs.at_once)
        for name, quantity in self.resources.items():
            slots = min(slots, int(info.get("resources", {}).get(name, 0.0) / quantity + 1e-9)) if quantity else slots
        return slots

    def usable(self) -> list[_Worker]:
        """The workers that may have tasks, those with the fewest first."""
        able = [worker for worker in self.workers.values() if worker.slots and worker.info.get("status", "running") == "running"]
        return sorted(able, key=lambda worker: len(worker.out) / worker.slots)


def _process(info: Mapping[str, Any] | None) -> Any:
    """What differs between two processes that have been a worker one after the other."""
    return info and info.get("local_directory")


@dataclass
class _Attempt(Generic[T]):
    task: T
    losses: int = 0
    began: float = 0.0
    turns: int = 1
    worker: _Worker | None = None


class _Dispatch(Generic[T, R]):
    """The tasks of one stage on their way to workers and back."""

    def __init__(self, client: Any, work: Callable[[T], R], tasks: Iterator[T], fleet: _Fleet) -> None:
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

    def _submit(self, attempt: _Attempt[T], worker: _Worker) -> None:
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
