"""A verb that runs one stage of an existing corpus, or one share of it: its lease, its configuration, its progress, and how it ends."""

from __future__ import annotations

import hashlib
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

from stemwright.datagen.cli import preemption
from stemwright.datagen.cli.gpu_shares import separate_on
from stemwright.datagen.cli.logs import to_file
from stemwright.datagen.cli.running import (
    RequestedChanges,
    SeparationOptions,
    StageRun,
    check_again,
    check_alone,
    close,
    exit_code,
    line,
    run_stages,
    warn_of_leases,
    working,
)
from stemwright.datagen.cli.stopping import KEPT, Stopped
from stemwright.datagen.cli.terminal import Terminal

if TYPE_CHECKING:
    from stemwright.datagen.run.configuration import Config
    from stemwright.datagen.run.corpus import Corpus
    from stemwright.datagen.run.stages import Summary
    from stemwright.datagen.run.tasks import Share


def one_stage(
    folder: Path,
    run: StageRun,
    as_json: bool,
    asked: RequestedChanges,
    separating: SeparationOptions | None = None,
) -> None:
    """Runs one stage of an existing corpus, or one share of it, and exits."""
    from stemwright.datagen.run.corpus import Corpus

    terminal, place = Terminal(as_json), Corpus(folder)
    kept = place.config  # says so when the folder is no corpus
    config = _configured(place, replace(asked, options={**asked.options, "songs": {"folder": kept.songs.folder}}))
    if separating is None:
        _check_only(kept, config, asked, run.verb)
    if run.share is not None:
        share_run(terminal, place, config, run, run.share, separating)
    if separating is not None and separating.gpus:
        separate_on(terminal, place.folder, separating.gpus)
    with working(terminal, place, config, separating):
        summaries = run_stages(terminal, place, {run.verb: run.of(None)})
    close(terminal, place, run.verb, summaries)


def _configured(corpus: Corpus, asked: RequestedChanges) -> Config:
    """The configuration to run with: the corpus's own, else the defaults, with what the command asks to change."""
    from stemwright.datagen.run.building import requested_config

    check_alone(asked.options.get("separation", {}))
    return requested_config(corpus, file=asked.file, options=asked.options, reset=asked.reset)


def _check_only(kept: Config, config: Config, asked: RequestedChanges, stage: str) -> None:
    """Raises ConfigError if a stage would keep a change of what only earlier stages use."""
    from stemwright.datagen.run.configuration import ConfigError

    for section in ("songs", "separation"):
        if getattr(kept, section) != getattr(config, section):
            raise ConfigError(
                f"{asked.file or '--reset'}: [{section}] differs from the corpus's, and {stage} changes nothing there. "
                "Run `stemwright build` with the file"
            )


def share_run(
    terminal: Terminal, place: Corpus, config: Config, run: StageRun, share: Share, separating: SeparationOptions | None = None
) -> None:
    """Does one share of a stage of an existing corpus, and exits: also where this machine is taken away, with exit code 0."""
    try:
        summary = _share(terminal, place, config, run, share, separating)
    except KeyboardInterrupt:
        if not preemption.preempted():
            raise Stopped(KEPT) from None
        terminal.collected |= {"share": str(share), "preempted": True}
        terminal.warn(f"share {share} of {run.verb} was preempted, and ends; {KEPT.partition('; ')[2]}")
        terminal.finish(0)
        return
    for note in summary.notes:
        terminal.say(f"  {note}")
    terminal.collected["stages"] = [{name: value for name, value in asdict(summary).items() if name != "songs"}]
    terminal.say(line(f"{run.verb}, share {share}", summary))
    terminal.finish(exit_code(summary.done + summary.skipped, summary.rejected))


def _share(terminal: Terminal, place: Corpus, config: Config, run: StageRun, share: Share, separating: SeparationOptions | None) -> Summary:
    """Does the share. The configuration, that of all shares at work, is stored once the first of them begins a task: one that fails before,
    for want of a device say, changes nothing.
    """
    from stemwright.datagen.run import configuration, shares

    digest = hashlib.sha256(configuration.to_toml(config).encode()).hexdigest()[:16]
    if (place.folder / shares.LEASES / share.writer).exists():
        warn_of_leases(terminal, place)
    with shares.working(place.folder, run.verb, share, digest) as (mine, lease):
        to_file(place.log_of(share))
        if separating is not None:
            from stemwright.datagen.run.stages.readiness import check_separator_of_tracks

            check_again(terminal, place, config, separating)
            check_separator_of_tracks(place, separating.order(config))
        stored: list[Config] = []

        def check() -> None:
            mine.check()
            if not stored:
                place.create(config)
                stored.append(config)

        with terminal.progress(f"{run.verb} {share}") as report:
            summary = run.of(replace(mine, check=check))(place.given(config), on_progress=shares.published(lease, report))
        check()
        return summary
