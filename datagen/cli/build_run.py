"""What the verb ``build`` does, after ``datagen/cli/app.py`` has read its options."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from stemwright.datagen.cli import checking
from stemwright.datagen.cli.running import RequestedChanges, SeparationOptions, StageRun, close, corpus_of, requested_config, run_stages
from stemwright.datagen.cli.stage_runs import share_run
from stemwright.datagen.cli.terminal import Terminal

if TYPE_CHECKING:
    from stemwright.datagen.run.configuration import Config
    from stemwright.datagen.run.corpus import Corpus
    from stemwright.datagen.run.tasks import Workers


@dataclass(frozen=True)
class BuildOptions:
    """How a build is carried out: by which workers, at most so many songs, or only a forecast."""

    workers: Workers
    limit: int | None
    dry_run: bool


def build(
    terminal: Terminal, corpus: Path, songs: Path, asked: RequestedChanges, separating: SeparationOptions, options: BuildOptions
) -> None:
    """Runs all stages and the check, and exits; with ``dry_run`` shows what that would do."""
    from stemwright.datagen.run.corpus import Corpus
    from stemwright.datagen.run.stages import build_stages

    place = Corpus(corpus)
    if options.dry_run:
        from stemwright.datagen.cli import forecasting

        forecasting.dry_run(terminal, place, songs, asked, separating, jobs=options.workers.jobs, limit=options.limit)
        return
    if options.workers.share is not None:
        _one_share(terminal, place, requested_config(place, songs, asked), separating, options.workers)
    with corpus_of(terminal, place, songs, asked, separating):
        stages = build_stages(options.workers, limit=options.limit, offline=separating.offline, trust_pickle=separating.trust_pickle)
        run = run_stages(terminal, place, stages)
        wrong = checking.check_folder(terminal, place)
    close(terminal, place, "build", run, wrong)


def _one_share(terminal: Terminal, place: Corpus, config: Config, separating: SeparationOptions, workers: Workers) -> None:
    """Does one share of the separation, which is nearly all of the work of a build, and exits. The tracks must be known."""
    from stemwright.datagen.run.stages import run_separate

    place.ids("tracks")  # says so where there are none
    stage = partial(run_separate, offline=separating.offline, trust_pickle=separating.trust_pickle)
    assert workers.share is not None
    share_run(terminal, place, config, StageRun("separate", stage, workers), workers.share, separating)
