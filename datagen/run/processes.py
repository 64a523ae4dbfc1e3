"""Tasks in processes of their own: when the system kills one of them, the task that it was in is found, and the rest continues.

Conventions
    A killed process breaks the whole pool, which does not report which of the running tasks it had. Each of them is run again, alone
    in a new process; one that kills that process too is the cause, and is returned as ``FailedTask``. The others give results.
    Every process computes with one thread: there are as many processes as there is work for.
    A terminal sends Ctrl-C to all processes. Ours do not take it, from their first instruction on: this process does, and kills them.

References
    joblib ships loky, whose pool of processes survives between stages and reports how a process ended.
"""

from __future__ import annotations

import re
import signal
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

    with _interrupts_blocked():
        pool = get_reusable_executor(max_workers=jobs, timeout=IDLE_S, env=ONE_THREAD)
    under_way: dict[Any, T] = {}
    broken: list[T] = []
    try:
        while not broken:
            while len(under_way) < UNDER_WAY * jobs and (task := next(coming, _END)) is not _END:
                try:
                    with _interrupts_blocked():
                        future = pool.submit(work, task)
                    under_way[future] = task
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
            return None
        for future, task in under_way.items():
            if future.done() and future.exception() is None:
                yield future.result()
            else:
                broken.append(task)
        under_way.clear()
        return broken
    finally:
        if under_way or broken:  # stopped, or broken: the next pool is another one
            pool.shutdown(wait=False, kill_workers=True)


_END: Any = object()


@contextmanager
def _interrupts_blocked() -> Iterator[None]:
    """Holds Ctrl-C back for a moment: processes and threads that start in it inherit that for good (POSIX)."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    from multiprocessing import resource_tracker

    resource_tracker.ensure_running()  # started first, since its start would end the block
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _alone(work: Callable[[T], R], task: T) -> R | FailedTask[T]:
    from joblib.externals.loky import ProcessPoolExecutor

    with _interrupts_blocked():
        fresh = ProcessPoolExecutor(max_workers=1, env=ONE_THREAD)
        future = fresh.submit(work, task)
    ended = False
    try:
        result: R | FailedTask[T] = future.result()
        ended = True
    except BrokenProcessPool as error:
        return FailedTask(task, _how(error))
    except Exception as error:
        ended = True
        return FailedTask(task, f"unexpected {type(error).__name__}: {error}")
    finally:
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
