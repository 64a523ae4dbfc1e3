"""The stage ``separate``: tracks -> stems.

Conventions
    It runs in this process, one track after another: the model uses all cores or the GPU by itself.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from datagen.config import Config
from datagen.corpus import Corpus
from datagen.runner import (
    Begin,
    OnProgress,
    Result,
    Stage,
    StoppedError,
    Task,
    attempt,
    failed,
)
from datagen.runner import run as run_tasks
from datagen.stages.base import Summary, finished
from manifests import __version__, audio, catalog
from manifests.records import Refused, Stem, Track, content_id, seal
from separation.pipeline import Job, OnShare
from separation.quality import Limits, judge
from separation.separator import DemucsSeparator, ReferenceStems
from separation.stem_files import SeparatedFile, clear_all_work


def run_separate(corpus: Corpus, on_progress: OnProgress | None = None, *, offline: bool = False, trust_pickle: bool = False) -> Summary:
    """Separates every track, or takes its own stems, and writes stems and residual on the mixture's scale."""
    config, tracks = corpus.config, corpus.rows("tracks", Track)
    audio.remove_leftovers(corpus.folder / "stems")
    clear_all_work(corpus.folder / "stems")
    separator = separator_of(config, offline=offline, trust_pickle=trust_pickle)
    tasks = []
    for track in tracks:
        own = _own_stems(track, config, corpus.songs)
        task_id = content_id({"track": track.id, "separator": _identity(track, own, separator, config), "version": __version__})
        tasks.append(Task(task_id, track.audio.path, track.id, (track, own)))
    stage = Stage("separate", corpus.folder, "stems", Stem)
    separation = Separation(corpus, separator, config)
    outcome = run_tasks(stage, tasks, separation.do, separation.tracked(on_progress))
    kept = _kept(corpus, {task.row_id for task in tasks})
    return finished(corpus, stage, outcome, notes=(f"{kept} tracks are no longer among the songs; their stems are kept",) if kept else ())


def _kept(corpus: Corpus, tracks: set[str]) -> int:
    """How many folders of stems belong to no track: they are never removed here, since a drive that is not mounted takes songs away too."""
    return sum(place.is_dir() and place.name not in tracks for place in (corpus.folder / "stems").glob("*"))


def separator_of(config: Config, *, offline: bool = False, trust_pickle: bool = False) -> DemucsSeparator:
    """The separator that a configuration names; nothing is loaded yet."""
    section = config.separation
    return DemucsSeparator(
        section.model,
        section.model_folder,
        section.device,
        section.precision,
        section.engine,
        input_lufs=section.input_lufs,
        offline=offline,
        trust_pickle=trust_pickle,
    )


def _own_stems(track: Track, config: Config, songs: Path) -> ReferenceStems | None:
    """The track's own stems, if it has any and the configuration lets them stand for separated ones."""
    if not track.references or config.separation.separator == "demucs":
        return None
    return ReferenceStems({stem.name: (songs / stem.audio.path, stem.audio.stream) for stem in track.references})


def _identity(track: Track, own: ReferenceStems | None, separator: DemucsSeparator, config: Config) -> object:
    """What determines the stems of a track, as far as the track itself does not."""
    if own is not None:
        return {"reference": {stem.name: [stem.audio.sha256, stem.audio.stream] for stem in track.references}}
    return None if config.separation.separator == "reference" else separator.identity


class Separation:
    """The work of separating: multitracks give their own stems, all other tracks go through the networks as one stream."""

    def __init__(self, corpus: Corpus, separator: DemucsSeparator, config: Config) -> None:
        self.folder, self.songs, self.separator = corpus.folder, corpus.songs, separator
        self.needs_own = config.separation.separator == "reference"
        self.limits = Limits(**config.separation.limits.model_dump())
        self._on_share: OnShare | None = None

    def tracked(self, on_progress: OnProgress | None) -> OnProgress | None:
        """Progress that also tells how far the track under way is: a single song can take many minutes."""
        if on_progress is None:
            return None
        counts = (0, 0)

        def report(done: int, total: int, subject: str) -> None:
            nonlocal counts
            counts = (done, total)
            on_progress(done, total, subject)

        self._on_share = lambda job, share: on_progress(*counts, f"{Path(job.path).name} {share:.0%}")
        return report

    def do(self, tasks: Sequence[Task], begin: Begin) -> Iterator[Result]:
        """The results of tasks whose payload is (track, its own stems or None)."""
        mixtures = []
        for task in tasks:
            _, own = task.payload
            if own is None and not self.needs_own:
                mixtures.append(task)
            else:
                begin(task)
                yield attempt(partial(self._take, task, own), task)
        yield from self._separate(mixtures, begin)

    def _take(self, task: Task, own: ReferenceStems | None, payload: tuple[Track, object]) -> list[Stem]:
        track, _ = payload
        if own is None:
            raise Refused("no reference stems; the configuration asks for separator = 'reference'")
        self._check_sources(track)
        separated = own.separate_file(self.songs / track.audio.path, self._place(track), stream=track.audio.stream)
        return self._rows(task, own.origin, separated)

    def _separate(self, tasks: Sequence[Task], begin: Begin) -> Iterator[Result]:
        by_place = {self._place(task.payload[0]): task for task in tasks}
        refused: list[Result] = []

        def jobs() -> Iterator[Job]:
            for place, task in by_place.items():
                track = task.payload[0]
                try:
                    self._check_sources(track)
                except Refused as reason:
                    refused.append(failed(task, reason))
                else:
                    begin(task)
                    yield Job(self.songs / track.audio.path, place, track.audio.stream)

        try:
            for job, separated in self.separator.separate_files(jobs(), self._on_share) if tasks else ():
                yield self._result(by_place[Path(job.out_folder)], separated)
                while refused:
                    yield refused.pop()
        except OSError as error:
            # The stream of tracks has ended early: every track after it stays undone, and the command has to say so.
            stopped = failed(tasks[0], error)
            raise StoppedError(stopped.fatal or f"separation ended early: {stopped.reason}") from error
        yield from refused

    def _result(self, task: Task, separated: SeparatedFile | Refused) -> Result:
        try:
            if isinstance(separated, Refused):
                raise separated
            return Result(task, tuple(self._rows(task, self.separator.origin, separated)))
        except Refused as reason:
            return failed(task, reason)

    def _place(self, track: Track) -> Path:
        return self.folder / "stems" / track.id

    def _check_sources(self, track: Track) -> None:
        for file in (track.audio, *(stem.audio for stem in track.references)):
            if changed := catalog.source_changed(self.songs, file):
                raise Refused(changed)

    def _rows(self, task: Task, origin: str, separated: SeparatedFile) -> list[Stem]:
        track = task.payload[0]
        verdict = judge(separated.tally, self.limits)
        if not verdict.accepted:
            shutil.rmtree(self._place(track))
            raise Refused(verdict.reason)
        facts = {"task_id": task.id, "track_id": track.id, "origin": origin}
        facts |= {"gain_db": separated.gain_db, "closure_db": separated.closure_db}
        return [seal(Stem, name=name, audio=file.record(self.folder), **facts) for name, file in separated.files.items()]
