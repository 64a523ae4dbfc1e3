"""A verb that does one share of a stage: its lease, its configuration, its progress, and how it ends."""

from __future__ import annotations

import hashlib
from dataclasses import asdict
from typing import TYPE_CHECKING

from stemwright.datagen.cli import preemption
from stemwright.datagen.cli.logs import to_file
from stemwright.datagen.cli.running import SeparationOptions, StageRun, check_again, exit_code, line
from stemwright.datagen.cli.stopping import KEPT, Stopped
from stemwright.datagen.cli.terminal import Terminal

if TYPE_CHECKING:
    from stemwright.datagen.run.configuration import Config
    from stemwright.datagen.run.corpus import Corpus
    from stemwright.datagen.run.stages import Summary
    from stemwright.datagen.run.tasks import Share


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
        terminal.say(f"share {share} of {run.verb} was preempted, and ends; {KEPT.partition('; ')[2]}")
        terminal.finish(0)
        return
    for note in summary.notes:
        terminal.say(f"  {note}")
    terminal.collected["stages"] = [{name: value for name, value in asdict(summary).items() if name != "songs"}]
    terminal.say(line(f"{run.verb}, share {share}", summary))
    terminal.finish(exit_code(summary.done + summary.skipped, summary.rejected))


def _share(terminal: Terminal, place: Corpus, config: Config, run: StageRun, share: Share, separating: SeparationOptions | None) -> Summary:
    from stemwright.datagen.run import configuration, shares

    digest = hashlib.sha256(configuration.to_toml(config).encode()).hexdigest()[:16]
    with shares.working(place.folder, run.verb, share, digest) as (mine, lease):
        to_file(place.log_of(share))
        if separating is not None:
            check_again(terminal, place, config, separating)
        place.create(config)  # that of all shares at work
        with terminal.progress(f"{run.verb} {share}") as report:
            told = shares.telling(lease, preemption.checking(report))
            return run.of(mine)(place, on_progress=told)
