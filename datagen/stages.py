"""The stages of a corpus: each reads the tables before it and writes its own.

    catalog -> tracks      separate -> stems      estimate -> estimates      plan -> pairs      render -> dataset/ and examples

Conventions
    A stage takes the corpus, where its work is to be done, and whom to tell about progress, and returns a ``Summary``.
    Separation runs in this process, one track after another: the model uses all cores or the GPU by itself. The other stages share tasks
    out.
"""

from __future__ import annotations

import shutil
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from datagen import rights
from datagen.config import Config
from datagen.corpus import Corpus, CorpusError
from datagen.plan import Knowledge, Planning
from datagen.recipes import wants
from datagen.redraw import Redraws, check_audible, is_settled, unreplaced
from datagen.render import Sources, render
from datagen.runner import (
    Begin,
    OnProgress,
    Outcome,
    Result,
    Stage,
    StoppedError,
    Task,
    Workers,
    attempt,
    failed,
    finish,
    shared,
)
from datagen.runner import run as run_tasks
from datagen.writers import DatasetWriter, writer_of
from datagen.writers.base import Present
from manifests import __version__, audio, catalog, table
from manifests.records import (
    ROW_TYPES,
    AudioFile,
    Estimate,
    Example,
    Normalisation,
    Pair,
    Refused,
    Rejected,
    Stem,
    StemFeatures,
    Track,
    TrackEstimate,
    content_id,
    seal,
)
from separation.pipeline import Job, OnShare
from separation.quality import Limits, judge
from separation.separator import DemucsSeparator, ReferenceStems
from separation.stem_files import SeparatedFile

if TYPE_CHECKING:
    from datagen.blind import ProfileFile


@dataclass(frozen=True)
class Summary:
    """What a stage did: how many tasks (or pairs) were done now, were already there, and were refused; and what else a person should
    know.
    """

    stage: str
    done: int
    skipped: int
    rejected: int
    notes: tuple[str, ...] = ()


def run_catalog(corpus: Corpus, workers: Workers, on_progress: OnProgress | None = None) -> Summary:
    """Finds the songs, decodes each once, and writes the table of tracks."""
    config, songs = corpus.config, Path(corpus.config.songs.folder)
    found = catalog.find(songs, kind=config.songs.kind)
    if not found.candidates and not found.refused:
        raise CorpusError(f"no recordings in {songs} (looked for kind {config.songs.kind!r}). Is a drive not mounted?")
    root, shares = corpus.songs, config.songs.shares
    tasks, unreadable = [], list(found.refused)
    for candidate in found.candidates:
        try:
            tasks.append(Task(catalog.task_id(root, candidate, shares), candidate.path, candidate.path, candidate))
        except (Refused, OSError) as reason:
            unreadable.append((candidate.path, str(getattr(reason, "strerror", None) or reason)))
    stage = Stage("catalog", corpus.folder, "tracks", Track)
    outcome = run_tasks(stage, tasks, shared(partial(_inspect, root, shares), workers), on_progress)
    kept, duplicates = catalog.drop_duplicates(outcome.rows)
    outcome.rows = kept
    outcome.rejected += [
        seal(Rejected, stage="catalog", row_id=path, subject=path, reason=reason) for path, reason in (*unreadable, *duplicates)
    ]
    return _finished(corpus, stage, outcome)


def _inspect(songs: Path, shares: catalog.SplitShares, candidate: catalog.Candidate) -> list[Track]:
    return [catalog.inspect(songs, candidate, shares)]


def run_separate(corpus: Corpus, on_progress: OnProgress | None = None, *, offline: bool = False, trust_pickle: bool = False) -> Summary:
    """Separates every track, or takes its own stems, and writes stems and residual on the mixture's scale."""
    config, tracks = corpus.config, corpus.rows("tracks", Track)
    audio.remove_leftovers(corpus.folder / "stems")
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
    return _finished(corpus, stage, outcome, notes=(f"{kept} tracks are no longer among the songs; their stems are kept",) if kept else ())


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


Step = tuple[Stage, Outcome]
ByTrack = dict[str, list[Stem]]
Titles = dict[str, str]  # track id -> what a person calls it
ON_DEMAND: dict[str, Literal["tempo", "normalisations"]] = {"track_estimates": "tempo", "normalisations": "normalisations"}  # table -> need


def run_estimate(corpus: Corpus, workers: Workers, on_progress: OnProgress | None = None) -> Summary:
    """Measures the balance of every track from its stems, then whatever else the recipes of the configuration need.

    Each table is a step of its own with its own journal; the tables are finished together, once all steps are done.
    """
    titles = {track.id: track.audio.path for track in corpus.rows("tracks", Track)}
    by_track, pairs = _by_track(corpus.rows("stems", Stem)), corpus.config.pairs
    normalising = wants(pairs, "normalisations")
    _drop_orphans(corpus, {stem.id for stems in by_track.values() for stem in stems})
    steps, profile, notes = _measure_profile(corpus, by_track, titles, workers, on_progress, normalising=normalising)
    effects = profile if corpus.config.estimate.effects else None
    steps.append(_estimate_balance(corpus, by_track, titles, workers, on_progress, effects))
    if wants(pairs, "tempo"):
        steps.append(_estimate_tempo(corpus, by_track, titles, workers, on_progress))
    if normalising and profile is not None:
        steps.append(_normalise(corpus, by_track, titles, workers, on_progress, profile))
    return replace(_finished_together(corpus, "estimate", steps), notes=notes)


def _drop_orphans(corpus: Corpus, stems: set[str]) -> None:
    """Takes out of the tables that are not made in every run the rows of stems that are gone."""
    for name, record_type in (("features", StemFeatures), ("normalisations", Normalisation)):
        path = corpus.table(name)
        if path.exists() and not stems.issuperset(table.column(path, "stem_id")):
            rows = [row for row in table.read(path, record_type) if row.stem_id in stems]  # type: ignore[attr-defined]
            table.write(path, rows, record_type)


def _measure_profile(
    corpus: Corpus, by_track: ByTrack, titles: Titles, workers: Workers, on_progress: OnProgress | None, *, normalising: bool
) -> tuple[list[Step], ProfileFile | None, tuple[str, ...]]:
    """What effects are estimated against, where the configuration wants any: the features of all stems, and a profile of them."""
    section = corpus.config.estimate
    if not section.effects and not normalising:
        return [], None, ()
    from datagen import blind
    from datagen.profile import FEWEST_SONGS, Profile

    steps: list[Step] = []
    tracks = corpus.rows("tracks", Track)
    if section.profile is None:
        learnt = blind.learnt_from(tracks)
        tasks = [
            Task(blind.features_task_id(stems, key in learnt), titles.get(key, key), key, (stems, key in learnt))
            for key, stems in by_track.items()
        ]
        stage = Stage("estimate", corpus.folder, "features", StemFeatures)
        steps.append((stage, run_tasks(stage, tasks, shared(partial(blind.measure_track, corpus=corpus.folder), workers), on_progress)))
        train = {track.id for track in tracks if track.split == "train"}
        profile = Profile(row for row in steps[0][1].rows if row.track_id in train)
    else:
        try:
            profile = Profile.load(section.profile)
        except (ValueError, OSError) as error:
            raise CorpusError(f"the profile {section.profile} cannot be read: {error}. Give the profile.parquet of a corpus") from error
    table.replace(corpus.table("profile"), profile.rows, StemFeatures)
    few = [name for name in profile if profile[name].songs < FEWEST_SONGS] if profile else ["of any name"]
    note = f"the profile has fewer than {FEWEST_SONGS} songs with the stem {', '.join(few)}: no effects are estimated for it"
    return steps, blind.ProfileFile(str(corpus.table("profile")), profile.id), (note,) if few else ()


def _normalise(
    corpus: Corpus, by_track: ByTrack, titles: Titles, workers: Workers, on_progress: OnProgress | None, profile: ProfileFile
) -> Step:
    """The table of normalisations: one chain for each stem."""
    from datagen import blind

    tasks = [Task(blind.normalise_task_id(stems, profile.id), titles.get(key, key), key, stems) for key, stems in by_track.items()]
    stage = Stage("estimate", corpus.folder, "normalisations", Normalisation)
    work = partial(blind.normalise_track, corpus=corpus.folder, profile=profile)
    return stage, run_tasks(stage, tasks, shared(work, workers), on_progress)


def _estimate_balance(
    corpus: Corpus, by_track: ByTrack, titles: Titles, workers: Workers, on_progress: OnProgress | None, profile: ProfileFile | None
) -> Step:
    """The table of estimates: one row for each stem, with its effects if there is a profile."""
    from datagen import estimate as estimating  # brings numba, a third of a second that a start over finished work need not wait

    tasks = [Task(estimating.task_id(stems, profile), titles.get(key, key), key, stems) for key, stems in by_track.items()]
    stage = Stage("estimate", corpus.folder, "estimates", Estimate)
    work = partial(estimating.estimate_track, corpus=corpus.folder, profile=profile)
    return stage, run_tasks(stage, tasks, shared(work, workers), on_progress)


def _estimate_tempo(
    corpus: Corpus, by_track: dict[str, list[Stem]], titles: dict[str, str], workers: Workers, on_progress: OnProgress | None
) -> Step:
    """The table of what was estimated about whole tracks: tempo, beats and key."""
    from datagen import estimate as estimating

    tasks = [Task(estimating.tempo_task_id(stems), titles.get(track_id, track_id), track_id, stems) for track_id, stems in by_track.items()]
    stage = Stage("estimate", corpus.folder, "track_estimates", TrackEstimate)
    return stage, run_tasks(stage, tasks, shared(partial(estimating.estimate_tempo, corpus=corpus.folder), workers), on_progress)


def _finished_together(corpus: Corpus, name: str, steps: Sequence[Step]) -> Summary:
    """Finishes the tables of a stage that writes several. A task counts once for each table that has it."""
    rejected = [row for _, outcome in steps for row in outcome.rejected]
    corpus.replace_rejected(name, rejected)  # first: once the tables stand, the stage counts as done
    for stage, outcome in steps:
        finish(stage, outcome.rows)
    done, skipped = (sum(getattr(outcome, what) for _, outcome in steps) for what in ("done", "skipped"))
    return Summary(name, done, skipped, len(rejected))


def run_plan(corpus: Corpus, on_progress: OnProgress | None = None) -> Summary:
    """Draws and writes down every pair. Skipped as a whole when nothing it depends on has changed."""
    config = corpus.config
    needed = _made_on_demand(corpus)
    ids = {name: corpus.ids(name) for name in ("tracks", "stems", "estimates", *needed)}
    splits = [table.column(corpus.table("tracks"), name) for name in ("split", "rights")]
    made_from = content_id(
        {
            "pairs": config.pairs.model_dump(mode="json"),
            "rights": config.rights.model_dump(mode="json"),
            "seed": config.seed,
            "rows": ids,
            "splits": splits,
            "version": __version__,
        }
    )
    if table.made_from(corpus.table("pairs")) == made_from:
        refused = sum(row.stage == "plan" for row in corpus.rejected())
        return Summary("plan", 0, len(table.column(corpus.table("pairs"), "id")), refused)
    tracks, stems, estimates = corpus.rows("tracks", Track), corpus.rows("stems", Stem), corpus.rows("estimates", Estimate)
    tracks, excluded = rights.admitted(config.rights, tracks)
    report = (lambda done, total: on_progress(done, total, "")) if on_progress else None
    besides = Knowledge(**{name: corpus.rows(name, ROW_TYPES[name]) for name in needed})  # type: ignore[arg-type]  # fields have the tables' names
    planning = Planning(config, tracks, stems, estimates, besides=besides, on_progress=report)
    count = table.write(corpus.table("pairs"), _then_rejected(corpus, planning, excluded), Pair, made_from=made_from)
    notes = planning.notes()
    if waiting := len(tracks) - len({estimate.track_id for estimate in estimates} & {track.id for track in tracks}):
        notes.append(f"{waiting} tracks have no stems or estimates yet and give no pairs: stemwright separate, then estimate")
    return Summary("plan", count, 0, len(planning.rejected) + len(excluded), tuple(notes))


def _then_rejected(corpus: Corpus, planning: Planning, excluded: Sequence[Rejected]) -> Iterator[Pair]:
    """The pairs, and after the last of them the table of what was refused: it has to stand before the table of pairs does."""
    yield from planning
    corpus.replace_rejected("plan", [*planning.rejected, *excluded])


def _made_on_demand(corpus: Corpus) -> list[str]:
    """The tables that recipes of the configuration need besides estimates. Raises CorpusError if one was not made."""
    needed = [name for name, need in ON_DEMAND.items() if wants(corpus.config.pairs, need)]
    for name in needed:
        if not corpus.table(name).exists():
            raise CorpusError(
                f"{corpus.table(name)} is missing, and the recipes of this configuration need it; make it with: "
                f"stemwright estimate {corpus.folder} --config FILE, with the file that asks for it"
            )
    return needed


def run_render(corpus: Corpus, workers: Workers, on_progress: OnProgress | None = None) -> Summary:
    """Renders every pair into the dataset. When all of it stands already, the pairs are not even read."""
    config = corpus.config
    held, note = rights.unrendered(corpus)
    ids = [pair_id for pair_id in corpus.ids("pairs") if pair_id not in held]
    facts = {"dataset": config.dataset.model_dump(mode="json"), "rights": table.column(corpus.table("tracks"), "rights")}  # for the card
    made_from = content_id({"pairs": ids, **facts, "version": __version__})
    if (standing := _standing(corpus, made_from)) is not None:
        refused = [row for row in corpus.rejected() if row.stage == "render"]
        return Summary("render", 0, standing, len(unreplaced(refused)), note + _of_redraws(refused))
    pairs = [pair for pair in corpus.rows("pairs", Pair) if pair.id not in held]
    audio.remove_leftovers(corpus.dataset)
    writer = writer_of(config.dataset, corpus.rows("tracks", Track) if config.dataset.format == "musdb" else ())
    present = Present(corpus.folder)
    files = {stem.id: stem.audio for stem in corpus.rows("stems", Stem)}
    stage, outcome, redraws = Stage("render", corpus.folder, "examples", Example), Outcome(), Redraws(corpus, config)
    work, drawn = shared(partial(_render, corpus.folder, writer), workers), pairs
    while drawn:
        tasks = [Task(writer.task_id(pair), f"{pair.kind} {pair.id}", pair.id, (pair, _sources(pair, files))) for pair in drawn]
        done = run_tasks(stage, tasks, work, on_progress, present)
        outcome.done, outcome.skipped, outcome.rows = outcome.done + done.done, outcome.skipped + done.skipped, outcome.rows + done.rows
        drawn = redraws.next_round(drawn, done.rejected)
    outcome.rejected = redraws.rejected
    if pairs and not outcome.rows:
        raise StoppedError(f"not one of {len(pairs)} pairs could be rendered: {outcome.rejected[0].reason}")
    redraws.finish()
    removed = writer.finish(corpus.folder, [*pairs, *redraws.rows], outcome.rows, made_from=made_from)
    notes = (*note, *((f"{removed} files of examples that are no longer planned were removed",) if removed else ()))
    summary = _finished(corpus, stage, outcome, made_from=made_from, notes=notes + _of_redraws(outcome.rejected))
    return replace(summary, rejected=len(unreplaced(outcome.rejected)))


def _of_redraws(rejected: Sequence[Rejected]) -> tuple[str, ...]:
    """What a person should know about pairs that others took the place of: nothing is missing, so they are not counted as rejected."""
    replaced = len(rejected) - len(unreplaced(rejected))
    return (f"{replaced} pairs whose wet and dry sounded alike were drawn again; rejected.parquet says which",) if replaced else ()


def _standing(corpus: Corpus, made_from: str) -> int | None:
    """How many examples stand finished, if they are all that was planned and every file is there."""
    tables = (corpus.table("examples"), corpus.dataset / "examples.parquet")
    if any(table.made_from(path) != made_from for path in tables):
        return None
    if any(row.stage == "render" and not is_settled(row) for row in corpus.rejected()):
        return None  # what failed for another reason is tried again
    examples = corpus.rows("examples", Example)
    known = {*corpus.ids("pairs"), *table.column(corpus.table("redraws"), "id")}
    if any(example.pair_id not in known for example in examples):
        return None
    return len(examples) if Present(corpus.folder)(examples) else None


def _sources(pair: Pair, files: dict[str, AudioFile]) -> dict[str, AudioFile]:
    wanted = {branch.source_id for signal in (*pair.inputs, *pair.targets) for branch in signal.branches}
    return {source_id: files[source_id] for source_id in wanted if source_id in files}


def _render(corpus: Path, writer: DatasetWriter, payload: tuple[Pair, dict[str, AudioFile]]) -> list[Example]:
    pair, files = payload
    signals = render(pair, Sources(corpus, files))
    check_audible(pair, signals)
    return [writer.write(corpus, pair, signals)]


def _by_track(stems: Sequence[Stem]) -> dict[str, list[Stem]]:
    grouped: dict[str, list[Stem]] = defaultdict(list)
    for stem in stems:
        grouped[stem.track_id].append(stem)
    return grouped


def _finished(corpus: Corpus, stage: Stage, outcome: Outcome, *, made_from: str = "", notes: tuple[str, ...] = ()) -> Summary:
    corpus.replace_rejected(stage.name, outcome.rejected)  # first: once the table stands, the stage counts as done
    finish(stage, outcome.rows, made_from=made_from)
    return Summary(stage.name, outcome.done, outcome.skipped, len(outcome.rejected), notes)
