"""What a check finds, and how it checks many files in parallel."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import Literal, TypeVar

from stemwright.manifests.progress import OnProgress
from stemwright.manifests.records import Record

T = TypeVar("T")
U = TypeVar("U")
AHEAD = 4  # items a thread that wait for it


class CheckProblem(Record):
    """One problem: in which table, about which row, which file, and what."""

    level: Literal["error", "warning"] = "error"
    table: str = ""
    row_id: str = ""
    file: str = ""
    what: str


def in_threads(what: str, work: Callable[[T], U], items: Iterable[T], count: int, progress: OnProgress | None) -> Iterator[U]:
    """The results of work on many items, in order, computed in threads: hashing and decoding release the interpreter's lock.

    Of the items, ``count`` for the progress, few are taken ahead of their results.
    """
    threads, coming = min(8, os.cpu_count() or 1), iter(items)
    with ThreadPoolExecutor(max_workers=threads) as pool:
        under_way = deque(pool.submit(work, item) for item in islice(coming, AHEAD * threads))
        done = 0
        while under_way:
            result = under_way.popleft().result()
            under_way.extend(pool.submit(work, item) for item in islice(coming, 1))
            done += 1
            if progress:
                progress(done, count, what)
            yield result


def errors(problems: Iterable[CheckProblem]) -> list[CheckProblem]:
    """The problems that are more than warnings."""
    return [problem for problem in problems if problem.level == "error"]
