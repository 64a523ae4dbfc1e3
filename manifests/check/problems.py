"""What a check finds, and how it checks many files in parallel."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Literal, TypeVar

from stemwright.manifests.progress import OnProgress
from stemwright.manifests.records import Record

R = TypeVar("R", bound=Record)


class CheckProblem(Record):
    """One problem: in which table, about which row, which file, and what."""

    level: Literal["error", "warning"] = "error"
    table: str = ""
    row_id: str = ""
    file: str = ""
    what: str


def in_threads(what: str, work: Callable[[Any], Any], items: Sequence[Any], progress: OnProgress | None) -> list[Any]:
    """The results of work on many items, in order, computed in threads: hashing and decoding release the interpreter's lock."""
    results = []
    with ThreadPoolExecutor(max_workers=min(8, os.cpu_count() or 1)) as pool:
        for done, result in enumerate(pool.map(work, items), 1):
            results.append(result)
            if progress:
                progress(done, len(items), what)
    return results


def errors(problems: Iterable[CheckProblem]) -> list[CheckProblem]:
    """The problems that are more than warnings."""
    return [problem for problem in problems if problem.level == "error"]
