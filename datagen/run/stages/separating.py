"""The stage ``separate``: tracks -> stems.

Conventions
    It runs in this process, one track after another: the model uses all cores or the GPU by itself. On a cluster each worker loads the
    networks once and has two tracks at a time: while the networks work on one, the other is decoded or encoded. What identifies the
    separator is asked of the workers, since this machine may have neither its weights nor its device.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from stemwright.datagen.run import rates
from stemwright.datagen.run.configuration import Config
from stemwright.datagen.run.corpus import Corpus, CorpusError
from stemwright.datagen.run.presence import FilesExist
from stemwright.datagen.run.runner import Outcome, Stage, finish, reject, set_aside
from stemwright.datagen.run.runner import run as run_tasks
from stemwright.datagen.run.stages.kept_stems import STEMS, unused
from stemwright.datagen.run.stages.separating_parts import PartStep, separate_parts
from stemwright.datagen.run.stages.separation_tasks import StemRows, TrackTasks
from stemwright.datagen.run.stages.separation_work import KeptTasks, Separation, spread
from stemwright.datagen.run.stages.separator_order import SeparationOrder, check_orders, separator_for
from stemwright.datagen.run.stages.summary import Summary, of_share
from stemwright.datagen.run.tasks import Task, Workers
from stemwright.manifests import table
from stemwright.manifests.check import KEPT_STEMS
from stemwright.manifests.disk.name_set import NameSet
from stemwright.manifests.id_set import IdSet
from stemwright.manifests.joined_rows import JoinedRows
from stemwright.manifests.progress import OnProgress
from stemwright.manifests.records import Stem, Track
from stemwright.manifests.sound import writing
from stemwright.manifests.table_rows import TableRows
from stemwright.manifests.wording import counted
from stemwright.separation.demucs.engines import Precision
from stemwright.separation.separator import Separator
from stemwright.separation.stem_files import clear_all_work


def run_separate(
    corpus: Corpus,
    on_progress: OnProgress | None = None,
    *,
    offline: bool = False,
    trust_pickle: bool = False,
    auto_precision: Precision | None = None,
    workers: Workers | None = None,
) -> Summary:
    """Separates every track, or takes its own stems, and writes stems and residual on the mixture's scale; then takes the drums apart, if
    the configuration names a model for it.

    Stems that are kept from an earlier run are taken up again. ``auto_precision`` is what precision "auto" means, instead of a trial.
    ``workers`` may name a dask cluster, or a share of the tracks; else the work is done in this process.
    """
    workers = workers or Workers()
    order, share = SeparationOrder(corpus.config, offline, trust_pickle, auto_precision), workers.share
    if share is None:  # otherwise other shares are at work
        writing.remove_leftovers((corpus.folder / STEMS).resolve())  # which may be a link to another disk
        clear_all_work(corpus.folder / STEMS, KEPT_STEMS)
    stage, outcome, places = _separate_tracks(corpus, order, workers, on_progress)
    part_order = order.of_parts()
    if share is not None:
        steps = [separate_parts(corpus, part_order, workers, on_progress, list(outcome.rows))] if part_order else []
        return of_share(share, "separate", [outcome, *(step.outcome for step in steps)], _of_parts(steps))
    corpus.replace_rejected(stage.name, outcome.rejected)  # first: once the table exists, the stage counts as finished
    table.remove_journals(corpus.journal("rejected"))  # of shares
    finish(stage, outcome.rows)
    if part_order is None:
        set_aside(corpus.folder, "parts")
        return _summary([outcome], _unused(corpus, [places]))
    step = separate_parts(corpus, part_order, workers, on_progress)
    corpus.replace_rejected(stage.name, [*outcome.rejected, *step.outcome.rejected])
    finish(step.stage, step.outcome.rows)
    return _summary([outcome, step.outcome], (*_of_parts([step]), *_unused(corpus, [places, step.places])))


def _separate_tracks(
    corpus: Corpus, order: SeparationOrder, workers: Workers, on_progress: OnProgress | None
) -> tuple[Stage, Outcome, NameSet]:
    """The stems of all tracks, or of those of a share, and the folders of all of them."""
    config, share = order.config, workers.share
    separator = separator_for(order, workers)
    separation = Separation(corpus, separator, config, share)
    tasks = tasks_of(corpus, separator, config).of_share(share)
    kept = KeptTasks(separation, tasks)
    _check_songs(corpus, kept.others)
    if any(task.duration_s for task in tasks):
        check_orders(order, separator, workers)
    speed = rates.of_separation(separator) if not workers.dask and any(task.duration_s for task in tasks) else ""
    stage = Stage("separate", corpus.folder, "stems", Stem, speed, share)
    do, report = (spread(order, corpus, workers), on_progress) if workers.dask else (separation.do, separation.tracked(on_progress))
    refused = [reject(stage.name, *each) for each in kept.refused]
    outcome = run_tasks(stage, kept.others, do, report, rejected=refused)
    if workers.dask:
        clear_all_work(corpus.folder / STEMS, KEPT_STEMS)  # of workers that were killed
    outcome.rows = StemRows(tasks, kept.marks, separation.kept_stems, outcome.rows, kept.digest)
    outcome.rejected += refused
    outcome.skipped += sum(kept.marks) - len(refused)
    return stage, outcome, kept.places


def _summary(outcomes: Sequence[Outcome], notes: tuple[str, ...]) -> Summary:
    """What was done with the tracks: one counts once, also where its stems were taken apart."""
    first, *others = outcomes
    refused = sum(len(outcome.rejected) for outcome in outcomes)
    if not others:
        return Summary("separate", first.done, first.skipped, refused, notes, first.fresh)
    done = IdSet(row_id for outcome in outcomes for row_id in outcome.fresh)
    return Summary("separate", len(done), first.done + first.skipped - len(done), refused, notes, done)


def _of_parts(steps: Sequence[PartStep]) -> tuple[str, ...]:
    return tuple(note for step in steps for note in step.notes)


def finished_keys(corpus: Corpus) -> IdSet:
    """The cache keys of separations whose stems are in the table and on the disk."""
    if not corpus.table("stems").exists():
        return IdSet()
    rows = TableRows(corpus.table("stems"), Stem)
    keys, are_there = JoinedRows(rows).ids("cache_key"), FilesExist(corpus.folder).of_table(rows, np.ones(len(rows), np.bool_))
    return IdSet.of_numbers(np.setdiff1d(keys, keys[~are_there]))


def _check_songs(corpus: Corpus, tasks: Sequence[Task]) -> None:
    """Raises CorpusError if there are songs to separate and no songs folder: one sentence, and not a refusal of every song."""
    if not tasks or corpus.songs.is_dir():
        return
    finished = finished_keys(corpus)
    if waiting := sum(task.id not in finished for task in tasks):
        raise CorpusError(
            f"the songs folder {corpus.songs} does not exist, and {counted(waiting, 'song is', 'songs are')} to be separated. "
            f"If it is on a drive, mount it; if it was moved, run `stemwright build FOLDER {corpus.folder}` with the new folder"
        )


def tasks_of(corpus: Corpus, separator: Separator, config: Config) -> TrackTasks:
    """One task for each track of a corpus."""
    return TrackTasks(corpus.table_rows("tracks", Track), corpus.songs, separator, config)


def _unused(corpus: Corpus, current: Sequence[NameSet]) -> tuple[str, ...]:
    """Notes about stems that no row names: they are never removed here."""
    kept, old = unused(corpus.folder / STEMS, _Places(current))
    notes = []
    if kept:
        notes.append(f"stems of {counted(kept, 'track')} are kept for other settings or for songs that are not in the folder now")
    if old:
        notes.append(
            f"{counted(old, 'folder')} in stems/ of version 0.1, not used any more: delete those named like a hash to free the space"
        )
    return tuple(notes)


class _Places:
    """Names of folders in several sets."""

    def __init__(self, sets: Sequence[NameSet]) -> None:
        self._sets = sets

    def __contains__(self, name: object) -> bool:
        return any(name in each for each in self._sets)
