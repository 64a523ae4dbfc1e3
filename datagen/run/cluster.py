"""Tasks on a dask cluster: submitted by this process, done by its workers, with a timeout on every wait.

Conventions
    A task is handed to few workers at a time, so that memory here does not grow with their number.
    dask gives a task whose worker was killed to another one, several times; what then still has no result is run again while nothing
    else is running, since another task may have been the cause. If that fails too it is returned as ``FailedTask``.
    A scheduler that cannot be reached or disappears, and a cluster without workers for too long, end the stage with an error message;
    finished work is kept.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from typing import Any, TypeVar

from stemwright.datagen.run.processes import UNDER_WAY
from stemwright.datagen.run.tasks import FailedTask, StoppedError

T = TypeVar("T")
R = TypeVar("R")

CONNECT_S = 20.0
STARTED_S = 60.0  # for the first worker of a cluster to be there
WORKERS_S = 300.0  # without a single worker, before the stage is ended: one that was killed is started again, which takes a while
POLL_S = 5.0
KEPT = "Finished work is kept; run the same command again with the address of a running cluster"


def on_cluster(work: Callable[[T], R], tasks: Iterable[T], address: str) -> Iterator[R | FailedTask[T]]:
    """The results of independent tasks, in the order in which they finish. Raises StoppedError where the cluster is gone."""
    coming, suspects = iter(tasks), list[T]()
    with _connected(address) as client:
        for task, result in _results(client, work, coming, UNDER_WAY * max(1, sum(client.nthreads().values()))):
            if isinstance(result, FailedTask):
                suspects.append(task)
            else:
                yield result
        for suspect in suspects:
            for _, result in _results(client, work, iter([suspect]), 1):
                yield result


@contextmanager
def _connected(address: str) -> Iterator[Any]:
    try:
        from distributed import Client
    except ImportError as error:
        raise StoppedError("a dask cluster needs the extra: pip install 'stemwright[dask]'") from error
    logging.getLogger("distributed").setLevel(logging.CRITICAL)  # what it says of a lost connection, we say in a sentence
    try:
        client = Client(address, timeout=CONNECT_S)
        client.wait_for_workers(1, timeout=STARTED_S)
    except (OSError, ValueError, TimeoutError, RuntimeError) as error:
        raise StoppedError(f"no dask cluster with a worker answers at {address} ({type(error).__name__}). {KEPT}") from error
    try:
        yield client
    finally:
        client.close(timeout=POLL_S)


def _results(client: Any, work: Callable[[T], R], coming: Iterator[T], limit: int) -> Iterator[tuple[T, R | FailedTask[T]]]:
    from distributed import KilledWorker, wait

    under_way: dict[Any, T] = {}
    seen_at = time.monotonic()
    try:
        while True:
            for task in islice(coming, limit - len(under_way)):
                under_way[client.submit(work, task, pure=False)] = task
            if not under_way:
                return
            try:
                done = wait(list(under_way), timeout=POLL_S, return_when="FIRST_COMPLETED").done
            except TimeoutError:
                seen_at = _still_there(client, seen_at)
                continue
            for future in done:
                task = under_way.pop(future)
                try:
                    result: R | FailedTask[T] = future.result(timeout=WORKERS_S)
                except KilledWorker:
                    result = FailedTask(task, "the cluster's workers that ran it were killed: most likely it needs more memory")
                seen_at = time.monotonic()
                yield task, result
    except StoppedError:
        raise
    except Exception as error:  # cancelled, lost, or a closed connection: whatever it is, nothing more will come
        raise StoppedError(f"the dask cluster is gone ({type(error).__name__}). {KEPT}") from error


def _still_there(client: Any, seen_at: float) -> float:
    """When a worker was last there. Raises StoppedError if the scheduler is gone, or if there was none for too long."""
    if client.status != "running":
        raise StoppedError(f"the scheduler of the dask cluster is gone. {KEPT}")
    if client.nthreads():
        return time.monotonic()
    if time.monotonic() - seen_at > WORKERS_S:
        raise StoppedError(f"the dask cluster has no workers left. {KEPT}")
    return seen_at
