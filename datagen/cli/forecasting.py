"""What ``build --dry-run`` shows: the work of each stage, and the songs as ``catalog --dry-run`` shows them."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stemwright.datagen.cli.running import RequestedChanges, SeparationOptions, exit_code, requested_config
from stemwright.datagen.cli.stem_mapping import say_refused, show_stems
from stemwright.datagen.cli.terminal import Terminal
from stemwright.manifests.wording import counted, duration, size

if TYPE_CHECKING:
    from rich.table import Table

    from stemwright.datagen.run.configuration import Config
    from stemwright.datagen.run.corpus import Corpus
    from stemwright.datagen.run.forecast import Forecast


def dry_run(
    terminal: Terminal,
    place: Corpus,
    songs: Path,
    asked: RequestedChanges,
    separating: SeparationOptions,
    *,
    jobs: int,
    limit: int | None,
) -> None:
    """Shows what a build would do, and exits: with 1 if there is not enough disk space, else as the build would. Writes nothing."""
    from stemwright.datagen.run.forecast import forecast, measured_rate
    from stemwright.datagen.run.stages.reseparation import count_to_separate_again

    config = requested_config(place, songs, asked)
    place.check_not_in_use()
    _check_model(place, config, separating)
    found = forecast(place, config, jobs=jobs, limit=limit, test=measured_rate)
    again = count_to_separate_again(place, replace(separating, offline=True).order(config)) if place.config_path.exists() else 0
    lacking = found.lacking_bytes
    terminal.show("steps", _table(found), [{**asdict(step), "time_s": step.time_s} for step in found.steps])
    terminal.collected |= _plain(found, again)
    changes = found.songs
    terminal.say(f"songs: {changes.new} new, {changes.changed} changed, {changes.kept} as they were, {changes.removed} removed")
    if changes.later:
        terminal.say(f"  {counted(changes.later, 'song')} left for later, as --limit says")
    show_stems(terminal, found.candidates, config.songs.unmatched)
    for note in found.notes:
        terminal.say(f"  {note}")
    say_refused(terminal, found.refused)
    if again:
        terminal.warn(f"{counted(again, 'track')} would be separated again, which build does only with --again")
    if found.deleted_files:
        terminal.say(f"delete: {counted(found.deleted_files, 'file')} of examples ({size(found.deleted_bytes)})")
    for space in found.spaces:
        terminal.say(f"disk: {size(space.num_bytes)} in {space.folder}, where {size(space.free_bytes)} are free")
    if lacking:
        terminal.warn(f"there is not enough room: {size(lacking)} are missing. Free some, or link stems/ or dataset/ to another disk")
    time_s = found.time_s
    terminal.say("build --dry-run: nothing was written; " + ("how long is not known" if time_s is None else f"about {duration(time_s)}"))
    terminal.finish(1 if lacking else exit_code(found.usable, len(found.refused)))


def _check_model(place: Corpus, config: Config, separating: SeparationOptions) -> None:
    """Raises ModelError if the songs could not be separated, with what to do where the weights have to be fetched first."""
    from stemwright.datagen.run.stages.readiness import check_separator
    from stemwright.separation.demucs.weights import WeightsUnavailable

    try:
        check_separator(place, replace(separating, offline=True).order(config))
    except WeightsUnavailable as error:
        model = config.separation.model
        if separating.offline or config.separation.model_folder is not None:
            raise
        raise WeightsUnavailable(
            f"the weights of model {model!r} are not on this machine, and a dry run fetches nothing. Fetch them first: stemwright models "
            f"fetch {model}"
        ) from error


def _plain(found: Forecast, again: int) -> dict[str, Any]:
    spaces = [{"folder": str(space.folder), "bytes": space.num_bytes, "free_bytes": space.free_bytes} for space in found.spaces]
    deleted = {"files": found.deleted_files, "bytes": found.deleted_bytes}
    return {
        "songs": asdict(found.songs),
        "refused": [{"path": path, "reason": reason} for path, reason in found.refused],
        "separated_again": again,
        "delete": deleted,
        "disk": spaces,
        "lacking_bytes": found.lacking_bytes,
        "time_s": found.time_s,
    }


def _table(found: Forecast) -> Table:
    """A line for each stage: how much, how long, by which rate."""
    from rich.table import Table

    shown = Table(title="What build would do", title_justify="left", title_style="bold")
    shown.add_column("stage", no_wrap=True)
    for heading in ("count", "audio", "time"):
        shown.add_column(heading, justify="right", no_wrap=True)
    shown.add_column("rate", overflow="fold")
    for step in found.steps:
        if not step.count:
            shown.add_row(step.stage, "-", "", "", "")
            continue
        time_s = "?" if step.time_s is None else duration(step.time_s)
        rate = step.source if step.rate is None else f"{step.rate:.3g} x real time, {step.source}"
        shown.add_row(step.stage, counted(step.count, step.unit), duration(step.audio_s), time_s, rate)
    return shown
