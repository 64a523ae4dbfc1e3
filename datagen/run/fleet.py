"""The workers of a dask cluster: which are there, which may be given tasks, and what was found out about each.

Conventions
    A worker is examined before it is given anything (``preflight``). One that differs at the start ends the stage; one that joins later and
    differs is given nothing, which is reported once, and if no other is left the stage ends with the reason.
"""

from __future__ import annotations

import logging
import queue
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from stemwright.datagen.run.connection import ANSWER_S, KEPT
from stemwright.datagen.run.preflight import Examination, WorkerFacts, examination, examine, first_difference, norm_of
from stemwright.datagen.run.tasks import Needs, StoppedError, UnsuitedError
from stemwright.manifests.visible import visible

EXAMINED_S = 30.0  # after the first worker has been examined, for the others
PREPARED_S = 900.0  # for a worker to be examined: it may have to fetch a model
WORKERS_S = 300.0  # without a worker that can be used, before the stage is ended: one that was killed is started again, which takes a while
REFRESH_S = 1.0  # between looks at the list of workers
PAUSED_S = 120.0  # a worker that dask has paused for so long gets no tasks, and loses its own

FOR_USERS = {"for_users": True}  # extra of a record that the command line shows as well

_log = logging.getLogger(__name__)


@dataclass
class Worker:
    """A worker as this process sees it: ``slots`` is how many tasks it works on at once, 0 until it has been examined."""

    address: str
    info: Mapping[str, Any]
    facts: WorkerFacts | None = None
    examined: Any = None  # the future of its examination
    slots: int = 0
    out: set[Any] = field(default_factory=set)  # the futures of its tasks
    asked_at: float = 0.0
    paused_at: float | None = None


class Fleet:
    """The workers of a cluster, with what was found out about each. Raises StoppedError where none can be used."""

    def __init__(self, client: Any, needs: Needs, resources: Mapping[str, float]) -> None:
        self._client, self._needs, self._requested = client, needs, resources
        self.resources = {name: quantity * needs.fraction for name, quantity in resources.items()}
        self._asked: Examination = examination(needs)
        self.workers: dict[str, Worker] = {}
        self.ended: queue.SimpleQueue[Any] = queue.SimpleQueue()  # futures of tasks and examinations
        self.norm: dict[str, Any] = {}
        self._usable_at = self._looked_at = time.monotonic()
        self._left_out = ""  # why the last worker was that cannot be used

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
            raise UnsuitedError(f"no dask worker has the resources {wanted}; start some: dask worker ADDRESS --resources '{wanted}'")
        self.norm = norm_of(answers)
        if sentence := first_difference(answers, self.norm):
            raise UnsuitedError(f"{sentence}. Nothing was done")
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
            worker = self.workers.setdefault(address, Worker(address, info))
            if worker.facts is None and worker.examined is None and self._room(info) > 0:
                asked = replace(self._asked, threads=int(info["nthreads"]))
                worker.asked_at = now
                worker.examined = self._client.submit(
                    examine, asked, key=f"examine-{uuid.uuid4().hex}", workers=[address], allow_other_workers=False, priority=100
                )
                worker.examined.add_done_callback(self.ended.put)
            lost += self._paused(worker, info, now)
        self._looked_at = now
        if any(worker.out or worker.examined is not None or _is_running(worker) for worker in self.workers.values()):
            self._usable_at = now
        elif now - self._usable_at > WORKERS_S:
            why = f" that can be used: {self._left_out}" if self._left_out and found else ""
            raise StoppedError(f"the dask cluster has no workers left{why}. {KEPT}")
        return lost

    def look(self, *, now: bool = False) -> list[Any]:
        """As ``refresh``, once in a while or now, with the answers of workers that could not be fetched before: a busy one is slow."""
        if not now and time.monotonic() - self._looked_at < REFRESH_S:
            return []
        lost = self.refresh()
        self.take_answers()
        return lost

    def take_answers(self) -> None:
        """Lets workers that joined have tasks, once they have been examined."""
        for worker in self.workers.values():
            if worker.examined is None:
                continue
            if worker.examined.done():
                self._take_answer(worker, wait_s=2.0)
            if worker.examined is not None and time.monotonic() - worker.asked_at > PREPARED_S:
                worker.facts, worker.examined = WorkerFacts(_host(worker), {}, f"it has not answered for {PREPARED_S:.0f} s"), None
            self._admit(worker)

    def _paused(self, worker: Worker, info: Mapping[str, Any], now: float) -> list[Any]:
        """The tasks of a worker that dask has paused for long, since it is out of memory: it does not go on with them."""
        worker.info = info
        if info.get("status") != "paused":
            worker.paused_at = None
            return []
        worker.paused_at = worker.paused_at or now
        if now - worker.paused_at < PAUSED_S or not worker.out:
            return []
        _log.warning(
            "the dask worker on %s is paused, since its memory is full: its tasks go to others", visible(_host(worker)), extra=FOR_USERS
        )
        taken, worker.out = list(worker.out), set()
        return taken

    def _take_answer(self, worker: Worker, wait_s: float) -> None:
        try:
            worker.facts = worker.examined.result(timeout=wait_s)
        except TimeoutError:
            return
        except Exception as error:  # it was lost, or it cannot unpickle the request
            worker.facts = WorkerFacts(
                _host(worker), {}, f"it cannot be examined ({type(error).__name__}: {error}); is stemwright installed there?"
            )
        worker.examined = None

    def _admit(self, worker: Worker) -> None:
        """Lets a worker have tasks if it is as the others; else it is left out."""
        if worker.facts is None or worker.slots:
            return
        if sentence := first_difference([worker.facts], self.norm):
            self._left_out = sentence
            _log.warning("%s. It is left out", visible(sentence), extra=FOR_USERS)
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

    def usable(self) -> list[Worker]:
        """The workers that may have tasks, those with the fewest first."""
        return sorted(filter(_is_running, self.workers.values()), key=lambda worker: len(worker.out) / worker.slots)


def _is_running(worker: Worker) -> bool:
    """Whether a worker was admitted and goes on with what it is given."""
    return bool(worker.slots) and worker.info.get("status", "running") == "running"


def _host(worker: Worker) -> str:
    return str(worker.info.get("host", worker.address))


def _process(info: Mapping[str, Any] | None) -> Any:
    """A value that differs between two processes that were workers at one address, one after the other."""
    return info and info.get("local_directory")
