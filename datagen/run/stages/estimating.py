"""The stage ``estimate``: stems -> estimates, and whatever else the recipes of the configuration need.

Conventions
    Each table is a step of its own with its own journal; the tables are finished together, once all steps are done.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from stemwright.datagen.inverse.blind.statistics import STATISTICS
from stemwright.datagen.pairs.recipes import any_needs
from stemwright.datagen.run import rates
from stemwright.datagen.run.corpus import Corpus, CorpusError
from stemwright.datagen.run.runner import Outcome, Stage, finish, rows_of_all, set_aside, shared
from stemwright.datagen.run.runner import run as run_tasks
from stemwright.datagen.run.stages.stem_tasks import TracksWithStems
from stemwright.datagen.run.stages.summary import Summary, of_share
from stemwright.datagen.run.tasks import Workers
from stemwright.manifests import table
from stemwright.manifests.feature_rows import StemFeatures, StemStatistic
from stemwright.manifests.grouped_rows import GroupedRows
from stemwright.manifests.id_set import IdSet
from stemwright.manifests.progress import OnProgress
from stemwright.manifests.records import Estimate, Normalisation, Part, Stem, Track, TrackEstimate

if TYPE_CHECKING:
    from stemwright.datagen.inverse.blind.profile import Profile
    from stemwright.datagen.inverse.blind.track_effects import ProfileFile
    from stemwright.separation.balance.level_estimators import Calibration


# Tables that are not made for every configuration.
ON_DEMAND = ("features", "statistics", "track_estimates", "normalisations", "part_estimates")

Step = tuple[Stage, Outcome]


def run_estimate(corpus: Corpus, workers: Workers, on_progress: OnProgress | None = None) -> Summary:
    """Measures the balance of every track from its stems, then whatever else the recipes of the configuration need.

    A share does the same for its tracks. Where effects are estimated against a profile of the corpus itself, which is made of the features
    of all tracks, it measures the features, and estimates only if those of the other shares are there.
    """
    workers = workers.seeing(corpus.folder)
    settled = _settle_calibration(corpus, alone=workers.share is None)
    stems = GroupedRows(corpus.table_rows("stems", Stem), "track_id")
    every = TracksWithStems(stems, GroupedRows(corpus.table_rows("tracks", Track), "id"))
    pairs, share = corpus.config.pairs, workers.share
    by_track = every.of_share(share)
    normalising = any_needs(pairs, "normalisations")
    profiled, timed = normalising or corpus.config.estimate.effects, any_needs(pairs, "tempo")
    own_profile = profiled and corpus.config.estimate.profile is None
    further = own_profile and len(STATISTICS) > 0
    wanted = {"features": own_profile, "statistics": further, "profile": profiled}
    apart = corpus.table("parts").exists()
    wanted |= {"normalisations": normalising, "track_estimates": timed, "part_estimates": apart}
    given = _given_profile(corpus.config.estimate.profile) if profiled else None  # before anything is set aside: it may be none
    if share is None:
        _set_aside(corpus, wanted)
    steps, profile, notes = _measure_profile(corpus, every, workers, on_progress, given) if profiled else ([], None, ())
    if further:
        steps.append(_measure_statistics(corpus, by_track, workers, on_progress))
    effects = profile if corpus.config.estimate.effects else None
    if effects is not None or not corpus.config.estimate.effects:
        steps.append(_estimate_balance(corpus, by_track, workers, on_progress, effects))
    if apart:
        steps.append(_estimate_parts(corpus, every, workers, on_progress))
    if timed:
        steps.append(_estimate_tempo(corpus, by_track, workers, on_progress))
    if normalising and profile is not None:
        steps.append(_normalise(corpus, by_track, workers, on_progress, profile))
    if share is not None:
        return of_share(share, "estimate", [outcome for _, outcome in steps], notes)
    return replace(_finished_together(corpus, "estimate", steps, by_track.stems), notes=(*notes, *settled))


def _set_aside(corpus: Corpus, wanted: Mapping[str, bool]) -> None:
    """Sets aside the tables that this configuration does not need; their rows are found again when one does."""
    for name in (name for name, asked in wanted.items() if not asked):
        if name == "profile":  # made of the features at once
            table.remove_journals(corpus.journal(name))
            corpus.table(name).unlink(missing_ok=True)
        else:
            set_aside(corpus.folder, name)


def _given_profile(path: str | None) -> Profile | None:
    """The profile of another corpus that the configuration names, if it names one. Raises CorpusError if it cannot be read."""
    from stemwright.datagen.inverse.blind.profile import Profile

    try:
        return None if path is None else Profile.load(path)
    except (ValueError, OSError) as error:
        raise CorpusError(f"the profile {path} cannot be read: {error}. Give the profile.parquet of a corpus") from error


def _measure_profile(
    corpus: Corpus, by_track: TracksWithStems, workers: Workers, on_progress: OnProgress | None, given: Profile | None
) -> tuple[list[Step], ProfileFile | None, tuple[str, ...]]:
    """What effects are estimated against: a given profile, or the features of all stems and a profile of them."""
    from stemwright.datagen.inverse.blind import track_effects
    from stemwright.datagen.inverse.blind.profile import FEWEST_SONGS, Profile

    steps: list[Step] = []
    if given is None:
        train = _training_ids(corpus)
        learnt = track_effects.learnt_from(train)
        tasks = by_track.tasks(
            lambda stems: track_effects.features_cache_key(stems, stems[0].track_id in learnt),
            lambda stems: (stems, stems[0].track_id in learnt),
        )
        stage = Stage("estimate", corpus.folder, "features", StemFeatures, share=workers.share)
        work = shared(partial(track_effects.measure_track, corpus=corpus.folder), workers)
        steps.append((stage, run_tasks(stage, tasks.of_share(workers.share), work, on_progress)))
        rows = steps[0][1].rows if workers.share is None else rows_of_all(stage, tasks)
        if rows is None:
            return steps, None, ("effects are estimated when all shares have measured features: run each share again then",)
        profile = Profile(row for row in rows if row.track_id in train)
    else:
        profile = given
    table.replace(corpus.table("profile"), profile.rows, StemFeatures)
    few = [name for name in profile if profile[name].songs < FEWEST_SONGS] if profile else ["of any name"]
    note = f"the profile has fewer than {FEWEST_SONGS} songs with the stem {', '.join(few)}: its effects are not estimated"
    return steps, track_effects.ProfileFile(str(corpus.table("profile")), profile.id), (note,) if few else ()


def _training_ids(corpus: Corpus) -> set[str]:
    """The ids of the tracks of the training split."""
    columns = (batch.to_pydict() for batch in corpus.table_rows("tracks", Track).columns("id", "split"))
    return {key for part in columns for key, split in zip(part["id"], part["split"], strict=True) if split == "train"}


def _measure_statistics(corpus: Corpus, by_track: TracksWithStems, workers: Workers, on_progress: OnProgress | None) -> Step:
    """The table of the statistics that other packages add to the profile."""
    from stemwright.datagen.inverse.blind import track_effects

    tasks = by_track.tasks(track_effects.statistics_cache_key)
    stage = Stage("estimate", corpus.folder, "statistics", StemStatistic, share=workers.share)
    return stage, run_tasks(stage, tasks, shared(partial(track_effects.measure_statistics, corpus=corpus.folder), workers), on_progress)


def _normalise(corpus: Corpus, by_track: TracksWithStems, workers: Workers, on_progress: OnProgress | None, profile: ProfileFile) -> Step:
    """The table of normalisations: one chain for each stem."""
    from stemwright.datagen.inverse.blind import track_effects

    tasks = by_track.tasks(lambda stems: track_effects.normalise_cache_key(stems, profile.id))
    stage = Stage("estimate", corpus.folder, "normalisations", Normalisation, share=workers.share)
    work = partial(track_effects.normalise_track, corpus=corpus.folder, profile=profile)
    return stage, run_tasks(stage, tasks, shared(work, workers), on_progress)


def _estimate_balance(
    corpus: Corpus, by_track: TracksWithStems, workers: Workers, on_progress: OnProgress | None, profile: ProfileFile | None
) -> Step:
    """The table of estimates: one row for each stem, with its effects if there is a profile; by the calibration to its separator, if there
    is one."""
    from stemwright.datagen.run import (
        track_estimation,  # imports numba, which takes a third of a second; not needed where all work is done
    )

    calibration = _calibrations(corpus, by_track)
    tasks = by_track.tasks(
        lambda stems: track_estimation.cache_key(stems, profile, calibration(stems)), lambda stems: (stems, calibration(stems))
    )
    speed = "" if workers.dask else rates.of_stage("estimate", workers.jobs)
    stage = Stage("estimate", corpus.folder, "estimates", Estimate, speed, workers.share)
    work = partial(track_estimation.estimate_calibrated, corpus=corpus.folder, profile=profile)
    return stage, run_tasks(stage, tasks, shared(work, workers), on_progress)


def _calibrations(corpus: Corpus, by_track: TracksWithStems) -> Callable[[Sequence[Stem]], Calibration | None]:
    """The calibration to the separator of a track's stems, as the configuration says; None where there is none."""
    from stemwright.datagen.run.corpus_calibrations import of_corpus

    found = of_corpus(corpus)
    if not found:
        return lambda _: None
    return lambda stems: found.of_track(by_track.tracks[stems[0].track_id][-1], stems[0])


def _settle_calibration(corpus: Corpus, *, alone: bool) -> tuple[str, ...]:
    """Copies the calibration that the configuration names into the corpus. Returns notes for the user. Raises CorpusError."""
    from stemwright.datagen.run.corpus_calibrations import settle

    return settle(corpus, partial(_first_stems, corpus), alone=alone)


def _first_stems(corpus: Corpus) -> Iterator[tuple[Track, Stem]]:
    """Each track that has stems, with one of them."""
    stems: GroupedRows[Stem] = GroupedRows(corpus.table_rows("stems", Stem), "track_id").forward()
    tracks: GroupedRows[Track] = GroupedRows(corpus.table_rows("tracks", Track), "id").forward()
    return ((track[-1], stems[track_id][0]) for track_id in stems if (track := tracks.get(track_id)))


def _estimate_parts(corpus: Corpus, every: TracksWithStems, workers: Workers, on_progress: OnProgress | None) -> Step:
    """The table of the estimates of parts: one row for each part of a stem that was taken apart."""
    from stemwright.datagen.run import part_estimation

    parts: GroupedRows[Any] = GroupedRows(corpus.table_rows("parts", Part), "track_id")

    def both(own: Sequence[Any]) -> tuple[Sequence[Stem], Sequence[Part]]:
        return every.stems[own[0].track_id], own

    tasks = TracksWithStems(parts, every.tracks).tasks(lambda own: part_estimation.cache_key(*both(own)), both)
    stage = Stage("estimate", corpus.folder, "part_estimates", Estimate, share=workers.share)
    work = shared(partial(part_estimation.estimate_parts, corpus=corpus.folder), workers)
    return stage, run_tasks(stage, tasks.of_share(workers.share), work, on_progress)


def _estimate_tempo(corpus: Corpus, by_track: TracksWithStems, workers: Workers, on_progress: OnProgress | None) -> Step:
    """The table of what was estimated about whole tracks: tempo, beats and key."""
    from stemwright.datagen.run import track_estimation

    tasks = by_track.tasks(track_estimation.tempo_cache_key)
    stage = Stage("estimate", corpus.folder, "track_estimates", TrackEstimate, share=workers.share)
    return stage, run_tasks(stage, tasks, shared(partial(track_estimation.estimate_tempo, corpus=corpus.folder), workers), on_progress)


def _finished_together(corpus: Corpus, name: str, steps: Sequence[Step], tracks: Iterable[str]) -> Summary:
    """Finishes the tables of a stage that writes several. A track counts once, however many tables it is in."""
    rejected = [row for _, outcome in steps for row in outcome.rejected]
    corpus.replace_rejected(name, rejected)  # first: once the tables exist, the stage counts as finished
    for stage, outcome in steps:
        finish(stage, outcome.rows)
    for table_name in ON_DEMAND:  # of a killed process, when the configuration still needed them
        table.remove_journals(corpus.journal(table_name))
    refused = {row.row_id for row in rejected}
    done = IdSet(row_id for _, outcome in steps for row_id in outcome.fresh) - refused
    return Summary(name, len(done), sum(track not in done and track not in refused for track in tracks), len(refused), songs=done)
