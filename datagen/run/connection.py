"""The connection to the scheduler of a dask cluster: made within a time limit, or an error with a message for users.

Conventions
    The only module that imports ``distributed``.
    Every wait has a time limit, also where something that is no scheduler answers at the address: dask itself waits for it forever.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any

from stemwright.datagen.run.tasks import StoppedError
from stemwright.manifests.usage import UsageError

ANSWER_S = 30.0  # for a scheduler with a worker to answer, unless dask's own configuration says otherwise
CONNECT = "distributed.comm.timeouts.connect"  # of dask: DASK_DISTRIBUTED__COMM__TIMEOUTS__CONNECT in the environment
GRACE_S = 1.0  # for dask to report by itself that there is no answer
OF_CONNECTIONS = ("distributed", *(f"distributed.{name}" for name in ("client", "core", "comm", "comm.core", "comm.tcp", "batched")))
KEPT = "Finished work is kept; run the same command again with the address of a running cluster"


@contextmanager
def connected(address: str) -> Iterator[Any]:
    """A client of the scheduler at an address, which has a worker. Raises StoppedError if there is none, UsageError if it is no address."""
    try:
        from distributed import Client
    except ImportError as error:
        raise StoppedError("a dask cluster needs the extra: pip install 'stemwright[dask]'") from error
    _check_address(address)
    with _silenced():
        yield from _client_at(Client, address)


def _check_address(address: str) -> None:
    """Raises UsageError for what dask cannot connect to, whatever is running there."""
    from distributed.comm.addressing import parse_address, parse_host_port
    from distributed.comm.registry import get_backend

    try:
        scheme, place = parse_address(address)
        get_backend(scheme)
        if scheme != "inproc":  # within a process
            host, _ = parse_host_port(place)
            if not host:
                raise ValueError("no host")
    except ValueError as error:
        raise UsageError(f"expected the address of a scheduler, such as tcp://10.0.0.1:8786; got {address!r}") from error


def answer_s() -> float:
    """How long a scheduler has to answer, and to have a worker, in seconds: as dask's configuration says, which an environment can set."""
    import dask.utils

    return float(dask.utils.parse_timedelta(dask.config.get(CONNECT, ANSWER_S)))


def _client_at(make: Any, address: str) -> Iterator[Any]:
    limit_s = answer_s()
    until = time.monotonic() + limit_s
    client = _made(partial(make, address, timeout=limit_s, set_as_default=False), address, limit_s)
    try:
        try:
            client.wait_for_workers(1, timeout=max(0.1, until - time.monotonic()))
        except TimeoutError as error:
            raise StoppedError(
                f"the dask scheduler at {address} has no workers after {limit_s:.0f} s. Start some: dask worker {address}. {KEPT}"
            ) from error
        yield client
    finally:
        with suppress(Exception):  # of a scheduler that is gone
            client.close(timeout=5.0)


def _made(make: Callable[[], Any], address: str, limit_s: float) -> Any:
    """The client. It is made in a thread of its own, since dask waits forever for something that answers and is no scheduler."""
    made: queue.SimpleQueue[Any] = queue.SimpleQueue()

    def run() -> None:
        try:
            made.put(make())
        except Exception as error:  # of dask, or of the system: whatever it is, there is no scheduler
            made.put(error)

    threading.Thread(target=run, name="dask client", daemon=True).start()
    try:
        found = made.get(timeout=limit_s + GRACE_S)
    except queue.Empty:
        found = TimeoutError()
    if isinstance(found, Exception):
        raise StoppedError(f"no dask scheduler answers at {address} ({type(found).__name__}). {KEPT}") from found
    return found


@contextmanager
def _silenced() -> Iterator[None]:
    """Keeps dask from logging a lost connection, with a traceback: our own message reports it. Its loggers have levels of their own."""
    before = {name: logging.getLogger(name).level for name in OF_CONNECTIONS}
    for name in before:
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        for name, level in before.items():
            logging.getLogger(name).setLevel(level)
