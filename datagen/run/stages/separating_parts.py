"""The further separation: the stem ``drums`` of every track that has one -> its parts.

The stems stay as they are; parts are rows of a table of their own, so that whatever sums the stems of a track never counts drums twice.

Conventions
    Parts are kept as stems are (``kept_stems``), in ``stems/<model>-<eight digits>/<track id>/``: the digits are those of the model, the
    names that parts get, and the folder of the stems, so that the parts of drums of several first models are side by side.
    The key of the work covers the row of the stem: parts of other drums are other parts.
    A track without the stem is no task. One with silent drums has silent parts. The limits of a mixture's clipping do not apply.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, overload

import numpy as np

from stemwright.datagen.run import rates
from stemwright.datagen.run.corpus import Corpus
from stemwright.datagen.run.presence import files_exist
from stemwright.datagen.run.runner import Outcome, Stage, reject
from stemwright.datagen.run.runner import run as run_tasks
from stemwright.datagen.run.stages.kept_stems import STEMS, KeptStems, folder_name
from stemwright.datagen.run.stages.separation_tasks import StemRows
from stemwright.datagen.run.stages.separation_work import KeptTasks, Separation, spread
from stemwright.datagen.run.stages.separator_order import SeparationOrder, separator_for
from stemwright.datagen.run.tasks import Task, Workers
from stemwright.manifests import __version__
from stemwright.manifests.check import KEPT_STEMS
from stemwright.manifests.disk.bulk import located
from stemwright.manifests.disk.deletion import check_way
from stemwright.manifests.disk.name_set import NameSet
from stemwright.manifests.id_set import IdSet
from stemwright.manifests.joined_rows import ById, JoinedRows, SelectedRows
from stemwright.manifests.progress import OnProgress
from stemwright.manifests.records import Part, Refused, Stem, Track, content_id
from stemwright.manifests.wording import counted, unreadable_stem
from stemwright.separation.part_separator import DRUMS
from stemwright.separation.quality import Assessment, Figures, Limits, assess
from stemwright.separation.separator import Separator
from stemwright.separation.stem_files import SeparatedFile, clear_all_work


class PartStep(NamedTuple):
    """The step of the stage that takes stems apart: its table, its outcome, the folders of the parts, and notes."""

    stage: Stage
    outcome: Outcome
    places: NameSet
    notes: tuple[str, ...]


class PartSeparation(Separation):
    """The work of taking stems apart; the payload of a task is (the row of the stem, None)."""

    row_type: ClassVar[type[Stem]] = Part

    def place(self, track: Any) -> Path:
        """The folder of the parts of a stem, which is given by its row."""
        section, stem = self.config.separation, track
        within = Path(stem.audio.path).parent.parent.name
        name = section.model if section.drums.separator is None else self.separator.origin.partition("@")[0]
        facts = {**self.separator.identity, "of": stem.name, "in": within}
        return self.folder / STEMS / folder_name(name, facts, own_weights=True) / stem.track_id

    def _sound(self, track: Any) -> Path:
        return located(self.folder, track.audio)

    def _check_sources(self, track: Any) -> None:
        if not files_exist(self.folder, (track,)):
            raise Refused(unreadable_stem(self.folder, track.audio.path, "is missing", "separate"))
        check_way(self.folder / STEMS, self.place(track) / KEPT_STEMS)

    def _renamed(self, found: KeptStems, was: Track, task: Task) -> KeptStems:
        del was, task
        return found  # of a track that had another id: its drums are another row

    def _verdict(self, figures: Figures) -> Assessment:
        if figures.silent:
            return Assessment(True)
        limits = Limits(self.limits.closure_db, self.limits.bleed, 1.0)
        if figures.closure_db is not None and figures.closure_db > limits.closure_db:
            what = f"the parts leave a residual of {figures.closure_db:.1f} dB against the stem"
            limit = f"expected at most {limits.closure_db:.1f} dB"
            return Assessment(False, f"{what}; {limit}. Is their model one of drums, and does it keep the phase?")
        return assess(figures, limits)

    def _facts(self, task: Task, origin: str, separated: SeparatedFile) -> dict[str, Any]:
        stem, _ = task.payload
        facts = super()._facts(task, origin, separated)
        gain_db = round(stem.gain_db + separated.gain_db, 2)
        return facts | {"track_id": stem.track_id, "gain_db": gain_db, "stem_id": stem.id, "part_of": stem.name}


class PartTasks(Sequence[Task]):
    """One task for each stem that is taken apart, made when it is used."""

    def __init__(self, stems: Sequence[Stem], tracks: ById[Track], identity: object) -> None:
        self._stems, self._tracks, self._identity = stems, tracks, identity

    def __len__(self) -> int:
        return len(self._stems)

    def __iter__(self) -> Iterator[Task]:
        return map(self._task, self._stems)

    @overload
    def __getitem__(self, index: int) -> Task: ...
    @overload
    def __getitem__(self, index: slice) -> list[Task]: ...
    def __getitem__(self, index: int | slice) -> Task | list[Task]:
        if isinstance(index, slice):
            return [self._task(self._stems[number]) for number in range(len(self))[index]]
        return self._task(self._stems[range(len(self))[index]])

    def _task(self, stem: Stem) -> Task:
        cache_key = content_id({"stem": stem.id, "parts": self._identity, "version": __version__})
        track = self._tracks.get(stem.track_id)
        subject = f"{stem.name} of {track.audio.path if track else stem.track_id}"
        return Task(cache_key, subject, stem.track_id, (stem, None), stem.audio.duration_s)


def drums_of(corpus: Corpus) -> SelectedRows[Stem]:
    """The stems of a corpus that are taken apart, of all tracks that have one."""
    rows = JoinedRows(corpus.table_rows("stems", Stem))
    names = [name for batch in rows.columns("name") for name in batch.column("name").to_pylist()]
    return SelectedRows(rows, np.array([name == DRUMS for name in names], np.bool_))


def part_tasks(corpus: Corpus, identity: object, stems: Sequence[Stem]) -> PartTasks:
    """The tasks of taking stems apart."""
    return PartTasks(stems, ById(JoinedRows(corpus.table_rows("tracks", Track))), identity)


def parts_are_left(corpus: Corpus, separator: Separator) -> bool:
    """Whether a stem of a corpus is not yet taken apart as a separator would, or some track has no stems yet."""
    if not all(corpus.table(name).exists() for name in ("tracks", "stems", "parts")):
        return True
    rows = corpus.table_rows("parts", Part)
    finished = IdSet.of_numbers(np.unique(JoinedRows(rows).ids("cache_key")))
    return any(task.id not in finished for task in part_tasks(corpus, separator.identity, drums_of(corpus)))


def separate_parts(
    corpus: Corpus,
    order: SeparationOrder,
    workers: Workers,
    on_progress: OnProgress | None,
    rows: Iterable[Stem] | None = None,
) -> PartStep:
    """Takes the drums of all tracks apart, or those among the stems of a share; the table is not written yet."""
    stems: Sequence[Stem] = drums_of(corpus) if rows is None else [row for row in rows if row.name == DRUMS]
    whole = replace(workers, share=None) if workers.share else workers
    separator = separator_for(order, whole) if len(stems) else None
    stage = Stage("separate", corpus.folder, "parts", Part, share=workers.share)
    if separator is None:
        empty = run_tasks(stage, (), lambda *_: iter(()))
        return PartStep(stage, empty, NameSet(()), (f"no track has a stem {DRUMS!r} to take apart",))
    separation = PartSeparation(corpus, separator, order.config, workers.share)
    tasks = part_tasks(corpus, separator.identity, stems)
    kept = KeptTasks(separation, tasks)
    stage = replace(stage, rate="" if workers.dask else rates.of_separation(separator))
    report = on_progress if workers.dask else separation.tracked(on_progress)
    do = spread(order, corpus, workers, PartSeparation) if workers.dask else separation.do
    refused = [reject(stage.name, *each) for each in kept.refused]
    outcome = run_tasks(stage, kept.others, do, report, rejected=refused)
    if workers.dask:
        clear_all_work(corpus.folder / STEMS, KEPT_STEMS)
    outcome.rows = StemRows(tasks, kept.marks, separation.kept_stems, outcome.rows, kept.digest)
    outcome.rejected += refused
    outcome.skipped += sum(kept.marks) - len(refused)
    return PartStep(stage, outcome, kept.places, _notes(corpus, len(stems), workers))


def _notes(corpus: Corpus, count: int, workers: Workers) -> tuple[str, ...]:
    without = 0 if workers.share else len(corpus.table_rows("tracks", Track)) - count
    phrase = counted(without, "track has", "tracks have")
    return (f"{phrase} no stem {DRUMS!r} to take apart",) if without else ()
