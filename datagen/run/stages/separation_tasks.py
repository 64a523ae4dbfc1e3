"""The tasks of separating: one for each track, made when it is used, and the rows of all of them in their order.

Conventions
    A million tracks are in memory as one byte each. What is kept beside the stems of a track (``kept_stems``) is read again where its rows
    are written, rather than held.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, overload

from stemwright.datagen.run.configuration import Config
from stemwright.datagen.run.stages.separation_keys import identity_of, own_stems_of, separation_key
from stemwright.datagen.run.tasks import Share, Task
from stemwright.manifests.records import Stem, Track
from stemwright.manifests.table_rows import TableRows
from stemwright.separation.separator import Separator


class TrackTasks(Sequence[Task]):
    """One task for each track of a table; its payload is (the track, its own stems or None). Its id is a hash of what was
    requested and does not depend on the machine.

    Its length is that of what goes through the networks: own stems take no time.
    """

    def __init__(self, tracks: TableRows[Track], songs: Path, separator: Separator, config: Config) -> None:
        self._tracks, self._songs, self._separator, self._config = tracks, songs, separator, config
        self._numbers = range(len(tracks))

    def of_share(self, share: Share | None) -> TrackTasks:
        """The tasks of a share; all of them without one."""
        some = TrackTasks(self._tracks, self._songs, self._separator, self._config)
        some._numbers = self._numbers if share is None else self._numbers[share.tasks]
        return some

    def __len__(self) -> int:
        return len(self._numbers)

    def __iter__(self) -> Iterator[Task]:
        numbers = self._numbers
        return map(self._task, islice(self._tracks, numbers.start, numbers.stop, numbers.step))

    @overload
    def __getitem__(self, index: int) -> Task: ...
    @overload
    def __getitem__(self, index: slice) -> list[Task]: ...
    def __getitem__(self, index: int | slice) -> Task | list[Task]:
        if isinstance(index, slice):
            return [*map(self._task, self._tracks.few(self._numbers[index]))]
        return self._task(self._tracks.few([self._numbers[index]])[0])

    def _task(self, track: Track) -> Task:
        own = own_stems_of(track, self._config, self._songs)
        cache_key = separation_key(track, identity_of(track, own, self._separator, self._config))
        return Task(cache_key, track.audio.path, track.id, (track, own), 0.0 if own else track.audio.duration_s)


class StemRows(Iterable[Stem]):
    """The rows of tasks in their order, read when they are iterated over. ``kept`` gives the rows of a task that is marked; those of all
    others are in ``made``, in the same order, without the tasks that were refused. ``digest`` is that of the rows, where it is known.
    """

    def __init__(self, tasks: Sequence[Task], is_kept: Sequence[int], kept: Any, made: Iterable[Stem], digest: str | None = None) -> None:
        self._tasks, self._is_kept, self._kept, self._made, self.digest = tasks, is_kept, kept, made, digest

    def __iter__(self) -> Iterator[Stem]:
        made = iter(self._made)
        row = next(made, None)
        for task, is_kept in zip(self._tasks, self._is_kept, strict=True):
            rows = [*self._kept(task)] if is_kept else []
            while row is not None and not is_kept and row.cache_key == task.id:
                rows.append(row)
                row = next(made, None)
            yield from in_order(task, rows)


def in_order(task: Task, rows: Iterable[Any]) -> list[Any]:
    """The rows of a track's own stems in the order that its row names them in now: a list of songs and a folder may differ in it."""
    _, own = task.payload
    order = {name: number for number, name in enumerate(own.stem_names)} if own else {}
    return sorted(rows, key=lambda row: order.get(row.name, len(order)))
