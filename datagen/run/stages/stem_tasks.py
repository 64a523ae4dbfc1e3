"""The tasks of a stage that works on the stems of one track at a time: made when they are used, from rows on disk."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, overload

from stemwright.datagen.run.tasks import Share, Task
from stemwright.manifests.grouped_rows import GroupedRows
from stemwright.manifests.records import Stem, Track

CacheKey = Callable[[Sequence[Stem]], str]
Payload = Callable[[Sequence[Stem]], Any]


class TracksWithStems:
    """The stems of each track, and how the track is called in messages."""

    def __init__(self, stems: GroupedRows[Stem], tracks: GroupedRows[Track]) -> None:
        self.stems, self.tracks = stems, tracks

    def of_share(self, share: Share | None) -> TracksWithStems:
        """The tracks of a share; all of them without one."""
        return self if share is None else TracksWithStems(self.stems.forward(share.tasks), self.tracks)

    def tasks(self, cache_key: CacheKey, payload: Payload = lambda stems: stems) -> StemTasks:
        """One task for each track; its payload is its stems, unless another is made of them."""
        return StemTasks(self, cache_key, payload)


class StemTasks(Sequence[Task]):
    """One task for each track, in the order of the table of stems."""

    def __init__(self, of: TracksWithStems, cache_key: CacheKey, payload: Payload) -> None:
        self._of, self._cache_key, self._payload = of, cache_key, payload

    def of_share(self, share: Share | None) -> StemTasks:
        """The tasks of a share; all of them without one."""
        return StemTasks(self._of.of_share(share), self._cache_key, self._payload)

    def __len__(self) -> int:
        return len(self._of.stems)

    def __iter__(self) -> Iterator[Task]:
        return self._made(slice(None))

    def _made(self, some: slice) -> Iterator[Task]:
        stems, tracks = self._of.stems.forward(some), self._of.tracks.forward()
        for track_id in stems:
            own, track = stems[track_id], tracks.get(track_id)
            subject = track[-1].audio.path if track else track_id
            yield Task(self._cache_key(own), subject, track_id, self._payload(own), own[0].audio.duration_s)

    @overload
    def __getitem__(self, index: int) -> Task: ...
    @overload
    def __getitem__(self, index: slice) -> list[Task]: ...
    def __getitem__(self, index: int | slice) -> Task | list[Task]:
        if isinstance(index, slice):
            return list(self._made(index))
        numbers = range(len(self))[index]
        return next(self._made(slice(numbers, numbers + 1)))
