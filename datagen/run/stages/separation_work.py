"""The work of separating: one task a track, done in this process or on a cluster, and what is kept of earlier work.

Conventions
    Stems are made in a folder of the attempt and get their place, with their row file, when they are whole (``kept_stems``).
    A subclass separates something else than the mixtures of songs: the stems themselves (``separating_parts``).
"""

from __future__ import annotations

import socket
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any, ClassVar

from stemwright.datagen.run.configuration import Config
from stemwright.datagen.run.corpus import Corpus
from stemwright.datagen.run.known_tasks import SomeTasks
from stemwright.datagen.run.presence import files_exist
from stemwright.datagen.run.runner import attempt, failed, shared_out
from stemwright.datagen.run.stages.kept_stems import REFERENCE, STEMS, KeptStems, commit, folder_name, invalidate, name_of, put, read
from stemwright.datagen.run.stages.separation_keys import identity_of, own_stems_of, separation_key
from stemwright.datagen.run.stages.separation_tasks import in_order
from stemwright.datagen.run.stages.separator_order import AT_ONCE, SeparationOrder, described, of_worker
from stemwright.datagen.run.tasks import Begin, Do, Needs, Result, Share, StoppedError, Task, Workers
from stemwright.manifests import table
from stemwright.manifests.catalog.tracks import sound_of, source_changed
from stemwright.manifests.check import KEPT_STEMS
from stemwright.manifests.disk.bulk import bulk_of
from stemwright.manifests.disk.deletion import check_way
from stemwright.manifests.disk.durable import remove
from stemwright.manifests.disk.name_set import NameSet
from stemwright.manifests.progress import AudioDone, OnProgress
from stemwright.manifests.records import Record, Refused, Stem, Track, seal
from stemwright.manifests.sound.summing import Sound
from stemwright.separation.jobs import Job, JobOutcome, OnFileProgress
from stemwright.separation.quality import Assessment, Figures, Limits, assess
from stemwright.separation.separator import ReferenceStems, Separator, is_other
from stemwright.separation.stem_files import SeparatedFile, attempt_folder, clear_attempt


class Separation:
    """The work of separating: multitracks give their own stems, all other tracks go through the networks as one stream."""

    row_type: ClassVar[type[Stem]] = Stem

    def __init__(self, corpus: Corpus, separator: Separator, config: Config, share: Share | None = None) -> None:
        self.folder, self.songs, self.separator, self.config = corpus.folder, corpus.songs, separator, config
        self.needs_own = config.separation.separator == "reference"
        self.limits = Limits(**config.separation.limits.model_dump())
        self._on_share: OnFileProgress | None = None
        self._check = share.check if share else lambda: None
        self._attempts: dict[Path, Task] = {}  # by the folder in which the stems are made

    def tracked(self, on_progress: OnProgress | None) -> OnProgress | None:
        """Progress that also counts how far the tracks under way are: a single song can take many minutes."""
        if on_progress is None:
            return None
        finished: tuple[float, int, AudioDone | None] = (0, 0, None)
        shares: dict[str, tuple[Task, float]] = {}  # of tasks that are not finished, by id

        def tell(subject: str) -> None:
            done, total, audio = finished
            if audio is not None:
                under_way_s = sum(task.duration_s * share for task, share in shares.values())
                audio = AudioDone(audio.done_s + under_way_s, audio.total_s)
            on_progress(done + sum(share for _, share in shares.values()), total, subject, audio)

        def report(done: float, total: int, subject: str, audio: AudioDone | None = None, /) -> None:
            nonlocal finished
            finished = (done, total, audio)
            for key in [key for key, (task, _) in shares.items() if task.subject == subject]:
                del shares[key]
            tell(subject)

        def on_share(job: Job, share: float) -> None:
            task = self._attempts[Path(job.out_folder)]
            shares[task.id] = (task, max(share, shares[task.id][1] if task.id in shares else 0.0))  # less, where it is separated again
            tell(task.subject)

        self._on_share = on_share
        return report

    @cached_property
    def _of_model(self) -> Path:
        """The folder of the stems that the separator gives."""
        section = self.config.separation
        if is_other(section.separator):
            name = self.separator.origin.partition("@")[0]
            return self.folder / STEMS / folder_name(name, self.separator.identity, own_weights=True)
        own_weights = section.model_folder is not None
        return self.folder / STEMS / folder_name(section.model, self.separator.identity, own_weights=own_weights)

    def place(self, track: Track) -> Path:
        """The folder of a track's stems."""
        own = self.needs_own or own_stems_of(track, self.config, self.songs) is not None
        return (self.folder / STEMS / REFERENCE if own else self._of_model) / track.id

    def kept(self, task: Task, *, settle: bool = False) -> Result | None:
        """The result of an earlier run for a task, judged by the current limits; None if there is something to do.

        ``settle`` writes down what is kept of a track that had another id.
        """
        place = self.place(task.payload[0])
        found = was = read(place)
        if found is not None and found.was is not None:
            found = self._renamed(found, found.was, task)
        if found is None or found.cache_key != task.id:
            return None
        verdict = self._verdict(found.figures)
        if verdict.accepted and not (found.stems and files_exist(self.folder, found.stems)):
            return None
        if settle and was is not None and was.was is not None:
            check_way(self.folder / STEMS, place / KEPT_STEMS)
            commit(place, found.cache_key, found.figures, found.stems)
        return Result(task, found.stems) if verdict.accepted else Result(task, reason=verdict.reason)

    def kept_stems(self, task: Task) -> tuple[Record, ...]:
        """The rows that are kept for a task; none if they are refused."""
        found = self.kept(task)
        return found.rows if found is not None else ()

    def _renamed(self, found: KeptStems, was: Track, task: Task) -> KeptStems:
        """What is kept of a track that had another id, if it was made as is asked now, with the ids of today."""
        own = own_stems_of(was, self.config, self.songs)
        if found.cache_key != separation_key(was, identity_of(was, own, self.separator, self.config)):
            return found
        track: Track = task.payload[0]
        here = self.place(track).relative_to(self.folder).as_posix()
        rows = []
        for row in found.stems:
            columns = {name: getattr(row, name) for name in Stem.model_fields if name != "id"}
            audio = row.audio.model_copy(update={"path": f"{here}/{row.audio.path.rpartition('/')[2]}"})
            rows.append(seal(Stem, **columns | {"cache_key": task.id, "track_id": track.id, "audio": audio}))
        return KeptStems(cache_key=task.id, figures=found.figures, stems=tuple(rows))

    def do(self, tasks: Sequence[Task], begin: Begin) -> Iterator[Result]:
        """The results of tasks whose payload is (track, its own stems or None)."""
        mixtures = bytearray()
        for task in tasks:
            _, own = task.payload
            mixtures.append(own is None and not self.needs_own)
            if not mixtures[-1]:
                begin(task)
                yield attempt(partial(self._take, task, own), task)
        yield from self._separate(SomeTasks(tasks, mixtures), begin)

    def _take(self, task: Task, own: ReferenceStems | None, payload: tuple[Track, object]) -> list[Stem]:
        track, _ = payload
        if own is None:
            raise Refused("no reference stems; the configuration has separator = 'reference'")
        self._check_sources(track)
        separated = own.separate_file(sound_of(self.songs, track), attempt_folder(self.place(track)), stream=track.audio.stream)
        return self._rows(task, own.origin, separated)

    def _separate(self, tasks: Sequence[Task], begin: Begin) -> Iterator[Result]:
        refused: list[Result] = []

        def jobs() -> Iterator[Job]:
            for task in tasks:
                track = task.payload[0]
                try:
                    self._check_sources(track)
                except Refused as reason:
                    refused.append(failed(task, reason))
                else:
                    begin(task)
                    attempt = attempt_folder(self.place(track))
                    self._attempts[attempt] = task
                    yield Job(self._sound(track), attempt, track.audio.stream)

        try:
            for job, separated in self.separator.separate_files(jobs(), self._on_share) if tasks else ():
                yield self._result(self._attempts.pop(Path(job.out_folder)), separated)
                while refused:
                    yield refused.pop()
        except OSError as error:
            # The stream of tracks has ended early: every track after it stays undone, and the command has to say so.
            stopped = failed(tasks[0], error)
            raise StoppedError(stopped.fatal or f"separation ended early: {stopped.reason}") from error
        yield from refused

    def _result(self, task: Task, separated: JobOutcome) -> Result:
        try:
            if isinstance(separated, Exception):
                raise separated
            return Result(task, tuple(self._rows(task, self.separator.origin, separated)))
        except Exception as error:  # of whatever library, on this track: the others go on
            return failed(task, error)

    def _check_sources(self, track: Track) -> None:
        for file in track.files:
            if changed := source_changed(self.songs, file):
                raise Refused(changed)
        check_way(self.folder / STEMS, self.place(track) / KEPT_STEMS)

    def _sound(self, track: Any) -> Sound | Path:
        """What the separator reads for a task."""
        return sound_of(self.songs, track)

    def _verdict(self, figures: Figures) -> Assessment:
        """Whether stems with these figures are accepted."""
        return assess(figures, self.limits)

    def _facts(self, task: Task, origin: str, separated: SeparatedFile) -> dict[str, Any]:
        """The columns that all rows of a task have alike."""
        track, own = task.payload
        facts = {"cache_key": task.id, "track_id": track.id, "origin": origin}
        facts |= {"gain_db": separated.gain_db, "closure_db": separated.closure_db}
        return facts | ({} if own else self.separator.used._asdict())

    def _rows(self, task: Task, origin: str, separated: SeparatedFile) -> list[Stem]:
        verdict, place = self._verdict(separated.tally.figures), self.place(task.payload[0])
        facts = self._facts(task, origin, separated)
        attempt = next(iter(separated.values())).parent
        self._check()
        if not verdict.accepted:
            clear_attempt(attempt, KEPT_STEMS)
            invalidate(place)
            commit(place, task.id, separated.tally.figures, ())
            raise Refused(verdict.reason)
        files = {name: replace(file, path=place / file.path.name) for name, file in separated.files.items()}
        rows = tuple(seal(self.row_type, name=name, audio=file.record(self.folder), **facts) for name, file in files.items())
        if (bulk := bulk_of(self.folder)) is not None:
            bulk.take({attempt / files[row.name].path.name: row.audio for row in rows})
            remove(attempt / file.path.name for file in files.values())
        kept = KeptStems(cache_key=task.id, figures=separated.tally.figures, stems=rows)
        return list(put(attempt, place, kept, partial(files_exist, self.folder)).stems)


class KeptTasks:
    """Which tasks of separating have a result of an earlier run, and which of these results are refused.

    ``marks`` has 1 for each task with a result, ``others`` are the tasks without one, ``refused`` the tasks whose result is refused, with
    the reason; ``places`` are the folders of all tasks, as ``kept_stems.name_of`` names them.
    Each result found is settled at once (``Separation.kept``). ``digest`` is that of the table of all results, so that they need not be
    read again where the table has the same; None if there are others.
    """

    def __init__(self, separation: Separation, tasks: Sequence[Task]) -> None:
        self.marks, self.refused = bytearray(), list[tuple[Task, str]]()
        self._rows = table.RowsDigest(separation.row_type)
        self.places = NameSet(self._places(separation, tasks))
        self.others = SomeTasks(tasks, bytearray(not mark for mark in self.marks))
        self.digest = None if self.others else self._rows.hexdigest()

    def _places(self, separation: Separation, tasks: Iterable[Task]) -> Iterator[str]:
        for task in tasks:
            found = separation.kept(task, settle=True)
            self.marks.append(found is not None)
            if found is not None and found.reason is not None:
                self.refused.append((task, found.reason))
            elif found is not None:
                self._rows.add(tuple(in_order(task, found.rows)))
            yield name_of(separation.place(task.payload[0]))


def spread(order: SeparationOrder, corpus: Corpus, workers: Workers, work: type[Separation] = Separation) -> Do:
    """The work of separating on the workers of a cluster."""
    probe = None if order.config.separation.separator == "reference" else partial(described, order)
    needs = Needs(corpus.folder, corpus.songs, probe, AT_ONCE, 1 / AT_ONCE)
    return shared_out(partial(separate_one, corpus.folder, order, work), replace(workers, needs=needs))


def separate_one(folder: Path, order: SeparationOrder, work: type[Separation], task: Task) -> Result:
    """Separates one track in a worker of a cluster."""
    try:
        separation = work(Corpus(folder), of_worker(order), order.config)
        (result,) = separation.do([task], lambda _: None)
    except Exception as error:  # of the separator as a whole: in one process it would end the stage
        return Result(task, fatal=f"on {socket.gethostname()}: {error}")
    return result
