"""Running a stage over its tasks: here, on several cores, or on a cluster; resuming; collecting what was refused.

Conventions
    A task is one unit of work with an id that covers everything its result depends on. Its rows are appended to the stage's journal by this
    process alone, after the worker has closed and renamed the audio; a start skips the tasks whose rows and files it finds.
    The work is done in this process (one job), in processes of one thread each (``processes``), or on a dask cluster (``cluster``).
    A refused task, one that fails, or one whose process the system kills twice, becomes a ``Rejected`` row and the rest continues. A full
    disk, a store that cannot be used and Ctrl-C end the stage; finished work is kept, and the same command resumes.
"""

from __future__ import annotations

import logging
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, MutableSet, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from stemwright.datagen.run import rates
from stemwright.datagen.run.known_tasks import EarlierWork, KnownTasks, RowsOfTasks, SomeTasks
from stemwright.datagen.run.presence import FilesExist, Present
from stemwright.datagen.run.processes import in_processes
from stemwright.datagen.run.tasks import LEASES, Begin, Do, FailedTask, Result, Share, StoppedError, Task, Work, Workers
from stemwright.manifests import table
from stemwright.manifests.disk import deletion, durable, lease
from stemwright.manifests.disk.stores import StoreError
from stemwright.manifests.id_numbers import Ids
from stemwright.manifests.id_set import IdSet
from stemwright.manifests.joined_rows import JoinedRows
from stemwright.manifests.progress import AudioDone, OnProgress
from stemwright.manifests.records import Record, Refused, Rejected, seal
from stemwright.manifests.table_rows import TableRows
from stemwright.manifests.visible import visible

_log = logging.getLogger(__name__)

UNUSED = ".unused"  # folder of a corpus for tables that its configuration does not need


@dataclass(frozen=True)
class Stage:
    """A stage's name, the table it writes with its record type, and the corpus folder. Its speed is stored under ``rate``; ``share`` is
    given where this process does one share of it.
    """

    name: str
    folder: Path
    table: str
    record_type: type[Record]
    rate: str = ""
    share: Share | None = None

    @property
    def writer(self) -> str:
        """The name of this process's journal."""
        return self.share.writer if self.share else ""

    def check(self) -> None:
        """Raises LostError if another process has taken the share, or the whole corpus, over."""
        if self.share:
            self.share.check()
        else:
            lease.check_all(self.folder / LEASES)


def finished_rows(stage: Stage) -> JoinedRows[Record]:
    """The rows of a stage's finished table, and of the one that was set aside while the configuration did not need it."""
    places = (folder / f"{stage.table}.parquet" for folder in (stage.folder / UNUSED, stage.folder))
    return JoinedRows(*(TableRows(path, stage.record_type) for path in places if path.exists()))


@dataclass
class Outcome:
    """The outcome of the tasks of a stage. ``rows`` are all rows of its table, in the order of the tasks, read from journal and table each
    time they are iterated over; ``fresh`` are the ids of those rows that the tasks done now are about.
    """

    done: int = 0
    skipped: int = 0
    fresh: MutableSet[str] = field(default_factory=IdSet)
    rows: Iterable[Any] = ()
    rejected: list[Rejected] = field(default_factory=list)


def run(
    stage: Stage,
    tasks: Sequence[Task],
    do: Do,
    on_progress: OnProgress | None = None,
    present: Present | None = None,
    rejected: Iterable[Rejected] = (),
) -> Outcome:
    """Runs the tasks that are not done yet, and journals each result as it arrives. Raises StoppedError on a full disk.

    ``present`` says of rows whether what they name is there; unless it is given, they name files in the stage's folder. ``rejected`` is
    what was rejected without being tried: a share journals what it rejects, for users who look at the corpus before all shares are merged.
    """
    outcome = Outcome()
    with (
        table.Journal(stage.folder / f"{stage.table}{table.JOURNAL}", stage.record_type, stage.writer) as journal,
        _rejections(stage) as note,
    ):
        for row in rejected:
            note(row)
        known = KnownTasks(journal.tasks, finished_rows(stage))
        wanted = known.wanted(tasks, present or FilesExist(stage.folder))
        open_tasks = SomeTasks(tasks, wanted.is_open)
        outcome.skipped = len(tasks) - len(open_tasks)
        total_s, done_s = wanted.open_s, 0.0
        if on_progress:
            on_progress(0, len(open_tasks), "", AudioDone(0.0, total_s) if total_s else None)
        begin, began = _voiding(known, wanted.numbers, journal, stage.check), time.monotonic()
        for count, result in enumerate(_stopping(do(open_tasks, begin)), 1):
            if result.fatal:
                raise StoppedError(f"{result.task.subject}: {result.fatal}")
            stage.check()
            if result.reason is None:
                journal.append(result.task.id, result.rows)
                outcome.done += 1
                outcome.fresh.add(result.task.row_id)
            else:
                if result.trace:
                    what = visible(f"{result.task.subject}: {result.reason}")  # no handler has to know what names may hold
                    _log.error("%s failed on %s", stage.name, what, extra={"trace": result.trace})
                outcome.rejected.append(reject(stage.name, result.task, result.reason))
                note(outcome.rejected[-1])
            done_s += result.task.duration_s
            if on_progress:
                on_progress(count, len(open_tasks), result.task.subject, AudioDone(done_s, total_s) if total_s else None)
    if stage.rate:
        rates.remember(stage.rate, done_s, time.monotonic() - began)
    outcome.rows = RowsOfTasks(known, tasks, frozenset(row.row_id for row in outcome.rejected))
    return outcome


@contextmanager
def _rejections(stage: Stage) -> Iterator[Callable[[Rejected], None]]:
    """Gives a function that adds to the share's journal of rejections, which each run empties, since it tries what was rejected again."""
    base = stage.folder / f"rejected{table.JOURNAL}"
    if stage.share is None:
        yield lambda _: None
        return
    durable.remove([table.journal_of(base, stage.writer)])
    with ExitStack() as opened:
        journals: list[table.Journal] = []

        def note(row: Rejected) -> None:
            if not journals:
                journals.append(opened.enter_context(table.Journal(base, Rejected, stage.writer)))
            journals[0].append(row.id, [row])

        yield note


def _stopping(results: Iterator[Result]) -> Iterator[Result]:
    """The results of tasks. Raises StoppedError where a store cannot be used any more."""
    try:
        yield from results
    except StoreError as error:
        raise StoppedError(str(error)) from error


def _voiding(known: KnownTasks, wanted: Ids, journal: table.Journal, check: Callable[[], None] = lambda: None) -> Begin:
    """What is done before a task begins: earlier work about the same row (by another model, say) is void, since its files go.

    ``check`` raises an error where this process may do no more.
    """
    earlier: EarlierWork | None = None

    def begin(task: Task) -> None:
        nonlocal earlier
        check()
        if earlier is None:  # a start that finds everything done needs none of it
            earlier = EarlierWork(known.without(wanted))
        for cache_key in earlier.pop(task.row_id):
            journal.append(cache_key, ())

    return begin


def finish(stage: Stage, rows: Iterable[Record], *, made_from: str = "") -> None:
    """Writes the finished table, unless it already holds these rows, and removes the journal."""
    table.replace(stage.folder / f"{stage.table}.parquet", rows, stage.record_type, made_from=made_from)
    table.remove_journals(stage.folder / f"{stage.table}{table.JOURNAL}")
    deletion.remove(stage.folder, stage.folder / UNUSED / f"{stage.table}.parquet")


def set_aside(folder: Path, name: str) -> None:
    """Sets a table aside that the configuration of a corpus does not need; its rows are found again when it does."""
    table.remove_journals(folder / f"{name}{table.JOURNAL}")
    found, place = folder / f"{name}.parquet", folder / UNUSED / f"{name}.parquet"
    if found.exists():
        deletion.check_way(folder, place)
        durable.make_folder(place.parent)
        durable.move(found, place)


def reject(stage: str, task: Task, reason: str) -> Rejected:
    """The row that says why a task was refused."""
    return seal(Rejected, stage=stage, row_id=task.row_id, subject=task.subject, reason=reason)


def rows_of_all(stage: Stage, tasks: Sequence[Task]) -> RowsOfTasks | None:
    """The rows of all tasks of a stage, whichever share has done them, in the order of the tasks; None if one of them has none yet."""
    known = KnownTasks(table.journalled(stage.folder / f"{stage.table}{table.JOURNAL}", stage.record_type), finished_rows(stage))
    return None if any(known.wanted(tasks).is_open) else RowsOfTasks(known, tasks, frozenset())


def shared(work: Work, workers: Workers) -> Do:
    """Tasks that are independent of one another, shared out to workers."""
    return shared_out(partial(attempt, work), workers)


def shared_out(each: Callable[[Task], Result], workers: Workers) -> Do:
    """As ``shared``, for a function that gives the result of a task and raises nothing."""

    def do(tasks: Sequence[Task], begin: Begin) -> Iterator[Result]:
        def started() -> Iterator[Task]:
            for task in tasks:
                begin(task)
                yield task

        jobs = min(workers.jobs, len(tasks))
        if workers.dask and tasks:
            from stemwright.datagen.run.cluster import on_cluster

            results: Iterable[Result | FailedTask[Task]] = on_cluster(each, started(), workers)
        else:
            results = in_processes(each, started(), jobs) if jobs > 1 else map(each, started())
        for result in results:
            yield Result(result.task, reason=result.reason) if isinstance(result, FailedTask) else result

    return do


def spread(workers: Workers) -> Callable[[Callable[[Any], Record], Iterable[Any]], Iterator[Any]]:
    """A function that distributes the parts of the last step of a stage over the workers: each part gives one row.

    What is refused, fails or cannot go on ends the stage: Refused or StoppedError is raised.
    """

    def rows(work: Callable[[Any], Record], items: Iterable[Any]) -> Iterator[Record]:
        if workers.jobs == 1 and not workers.dask:
            yield from map(work, items)
            return
        each = shared_out(partial(_one_row, work), workers)
        for result in each(_Parts(items), lambda _: None):
            if result.fatal:
                raise StoppedError(result.fatal)
            if result.reason is not None:
                raise Refused(result.reason)
            yield from result.rows

    return rows


class _Parts(Sequence[Task]):
    """Items as tasks, each of which is made when it is handed out; how many they are is not known."""

    def __init__(self, items: Iterable[Any]) -> None:
        self._items = items

    def __iter__(self) -> Iterator[Task]:
        return (Task(str(number), f"part {number}", "", item) for number, item in enumerate(self._items))

    def __len__(self) -> int:
        return sys.maxsize

    def __getitem__(self, index: Any) -> Any:
        raise TypeError("parts are made one after another")


def _one_row(work: Callable[[Any], Record], task: Task) -> Result:
    return replace(attempt(lambda item: (work(item),), task), task=replace(task, payload=None))  # which need not be sent back


def attempt(work: Work, task: Task) -> Result:
    """Runs one task. An error is returned as text: a library's exception may not survive the transfer from a worker."""
    try:
        return Result(task, rows=tuple(work(task.payload)))
    except Exception as error:  # one bad file among thousands must not end the run; its row says what happened
        return failed(task, error)


def failed(task: Task, error: Exception) -> Result:
    """The result of a task that ended in an exception."""
    if isinstance(error, StoreError):
        return Result(task, fatal=str(error))
    if isinstance(error, OSError) and durable.is_full(error):
        return Result(task, fatal=durable.sentence(error, "finished work is kept"))
    return Result(
        task, reason=describe_error(error), trace="" if isinstance(error, Refused) else "".join(traceback.format_exception(error))
    )


def describe_error(error: Exception) -> str:
    """Why a task was refused or failed, as a readable sentence."""
    if isinstance(error, Refused):
        return str(error)
    if isinstance(error, OSError):
        return f"{type(error).__name__}: {error.strerror or error}"
    if isinstance(error, MemoryError):
        return "not enough memory"
    return f"unexpected {type(error).__name__}: {error}"
