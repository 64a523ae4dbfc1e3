"""Tasks in processes of their own: when the system kills one of them, the task that it was in is found, and the rest continues.

Conventions
    A killed process breaks the whole pool, which does not report which of the running tasks it had. Each of them is run again, alone
    in a new process; one that kills that process too is the cause, and is returned as ``FailedTask``. The others give results.
    Every process computes with one thread: there are as many processes as there is work for.
    A terminal sends Ctrl-C to all processes. Ours do not take it, from their first instruction on: this process does, and kills them.
    A signal that comes while one of them starts takes effect when it has started, since only then can it be killed.
    When this process is killed itself, ours notice within a few seconds and end, whatever they are doing.

References
    joblib ships loky, whose pool of processes survives between stages and reports how a process ended.
"""

from __future__ import annotations

import os
import re
import signal
import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import Any, TypeVar

from stemwright.datagen.run.tasks import FailedTask

T = TypeVar("T")
R = TypeVar("R")

THREADS = ("OMP", "OPENBLAS", "MKL", "BLIS", "VECLIB_MAXIMUM", "NUMBA", "NUMEXPR")
ONE_THREAD = {f"{name}_NUM_THREADS": "1" for name in THREADS}
IDLE_S = 300  # a process that has nothing to do for so long ends
WATCH_S = 2.0  # how often a process looks whether this one is still there
UNDER_WAY = 2  # tasks a process that are handed out: one in work, one that waits


def in_processes(work: Callable[[T], R], tasks: Iterable[T], jobs: int) -> Iterator[R | FailedTask[T]]:
    """The results of independent tasks, in the order in which they finish. ``work`` raises nothing that is its own."""
    coming = iter(tasks)
    while True:
        suspects = yield from _in_pool(work, coming, jobs)
        if suspects is None:
            return
        for task in suspects:
            yield _alone(work, task)


def _in_pool(work: Callable[[T], R], coming: Iterator[T], jobs: int) -> Generator[R | FailedTask[T], None, list[T] | None]:
    """Results as long as the pool holds; returns the tasks that were under way when it broke, or None at the end."""
    from joblib.externals.loky import get_reusable_executor

    under_way: dict[Any, T] = {}
    broken: list[T] = []
    pool, ended = None, False
    try:
        with _start_undisturbed():
            pool = get_reusable_executor(max_workers=jobs, timeout=IDLE_S, env=ONE_THREAD, **_watched())
        while not broken:
            while len(under_way) < UNDER_WAY * jobs and (task := next(coming, _END)) is not _END:
                try:
                    with _start_undisturbed():
                        under_way[pool.submit(work, task)] = task
                except BrokenProcessPool:  # it broke while we were elsewhere
                    broken.append(task)
                    break
            if not under_way:
                break
            for future in wait(under_way, return_when=FIRST_COMPLETED).done:
                task = under_way.pop(future)
                try:
                    result: R | FailedTask[T] = future.result()
                except BrokenProcessPool:
                    broken.append(task)
                except Exception as error:  # what it gives cannot be sent between processes
                    yield FailedTask(task, f"unexpected {type(error).__name__}: {error}")
                else:
                    yield result
        if not broken:
            ended = True
            return None
        for future, task in under_way.items():
            if future.done() and future.exception() is None:
                yield future.result()
            else:
                broken.append(task)
        return broken
    finally:
        if pool is not None and not ended:  # stopped, or broken: the next pool is another one
            pool.shutdown(wait=False, kill_workers=True)


_END: Any = object()


@contextmanager
def _start_undisturbed() -> Iterator[None]:
    """Processes that start here never take Ctrl-C, and signals that would raise an exception here do so at the end.

    Blocking Ctrl-C alone would not hold the exception back: where another thread gets the signal, it is raised in this one all the
    same, perhaps halfway through a start, and leaves a process that none knows of.
    """
    with _raised_later(), _interrupts_blocked():
        yield


@contextmanager
def _raised_later() -> Iterator[None]:
    """What a signal does in Python is done at the end. That is done in the main thread only, so that in others there is nothing to do."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    arrived: list[int] = []
    handlers: dict[int, Any] = {int(number): handler for number in signal.valid_signals() if callable(handler := signal.getsignal(number))}
    try:
        for number in handlers:
            signal.signal(number, lambda number, _: arrived.append(number))
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        for number in dict.fromkeys(arrived):
            signal.raise_signal(number)


@contextmanager
def _interrupts_blocked() -> Iterator[None]:
    """Processes and threads that start here inherit that Ctrl-C is blocked, and keep it so (POSIX)."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    from multiprocessing import resource_tracker

    from joblib.externals.loky.backend import resource_tracker as lokys_tracker

    resource_tracker.ensure_running()  # both are started first, since a start may end the block
    lokys_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _watched() -> dict[str, Any]:
    """Options of a pool whose processes end with this one."""
    return {"initializer": _end_with, "initargs": (os.getpid(),)}


def _end_with(parent: int) -> None:
    """Ends this process soon after its parent has ended, for whatever reason (POSIX)."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(WATCH_S)
        os.kill(os.getpid(), signal.SIGKILL)

    if os.name == "posix":
        threading.Thread(target=watch, daemon=True).start()


def _alone(work: Callable[[T], R], task: T) -> R | FailedTask[T]:
    from joblib.externals.loky import ProcessPoolExecutor

    fresh, ended = None, False
    try:
        with _start_undisturbed():
            fresh = ProcessPoolExecutor(max_workers=1, env=ONE_THREAD, **_watched())
            future = fresh.submit(work, task)
        result: R | FailedTask[T] = future.result()
        ended = True
    except BrokenProcessPool as error:
        return FailedTask(task, _how(error))
    except Exception as error:
        ended = True
        return FailedTask(task, f"unexpected {type(error).__name__}: {error}")
    finally:
        if fresh is not None:
            fresh.shutdown(wait=ended, kill_workers=not ended)
    return result


def _how(error: BrokenProcessPool) -> str:
    """How a process ended that was alone with a task, and what that most likely means."""
    ended = re.search(r"\{([^}]*)\}", str(error))
    code = ended[1] if ended else "no exit code"
    twice = f"its process ended ({code}), and so did a new process that did nothing else"
    if "SIGKILL" in code:
        return f"{twice}: most likely it ran out of memory. Free some memory or use fewer --jobs, then run the same command again"
    return f"{twice}: a library most likely crashed on it"
