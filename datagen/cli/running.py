"""How the verbs run stages: the configuration to run with, the lock, the bars, the last line and the exit code."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stemwright.datagen.cli.logs import to_file
from stemwright.datagen.cli.stopping import KEPT, Stopped
from stemwright.datagen.cli.terminal import Terminal
from stemwright.manifests.progress import AudioDone, OnProgress

if TYPE_CHECKING:
    from stemwright.datagen.run.configuration import Config
    from stemwright.datagen.run.corpus import Corpus
    from stemwright.datagen.run.stages import Summary
    from stemwright.datagen.run.stages.counting import SongCounts
    from stemwright.datagen.run.stages.separator_order import SeparationOrder
    from stemwright.datagen.run.tasks import Share, Workers


@dataclass(frozen=True)
class RequestedChanges:
    """What a command asks to change in the configuration: keys by section (None: not given), those of a file, and keys to set back."""

    options: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    file: Path | None = None
    reset: Sequence[str] = ()


@dataclass(frozen=True)
class SeparationOptions:
    """The options of a verb that separates: whether stems may be made again, how weights may be fetched, and where the work is done."""

    again: bool = False
    offline: bool = False
    trust_pickle: bool = False
    workers: Workers | None = None
    gpus: tuple[str, ...] = ()  # one share for each of them, in processes of their own

    def order(self, config: Config) -> SeparationOrder:
        """The separation that a configuration asks for."""
        from stemwright.datagen.run.stages.separator_order import SeparationOrder

        return SeparationOrder(config, self.offline, self.trust_pickle)


def workers_of(jobs: int, dask: str | None, resources: Mapping[str, float] | None, share: str | None = None) -> Workers:
    """Where the work is done, and which share of it, as the options say. Raises UsageError where they do not fit one another."""
    from stemwright.datagen.run.tasks import Share, Workers
    from stemwright.manifests.usage import UsageError

    if dask is not None and not dask.strip():
        raise UsageError(
            "--dask: expected the address of a scheduler, such as tcp://10.0.0.1:8786; got ''. Is the variable set that it is in?"
        )
    if resources and not dask:
        raise UsageError("--resources are those of dask's workers, and no --dask ADDRESS was given; add it, or leave --resources out")
    if share is None:
        return Workers(jobs, dask, resources=dict(resources or {}))
    if dask:
        raise UsageError("expected --share or --dask, not both: a cluster gives its workers tasks by itself")
    try:
        return Workers(jobs, share=Share.parse(share))
    except ValueError as error:
        raise UsageError(f"--share: {error}") from error


@dataclass(frozen=True)
class StageRun:
    """A stage that a verb runs: what it is called, its function, and, where tasks of it are shared out, to which workers."""

    verb: str
    stage: Callable[..., Summary]
    workers: Workers | None = None

    @property
    def share(self) -> Share | None:
        """The share that was requested."""
        return self.workers.share if self.workers else None

    def of(self, share: Share | None) -> Callable[..., Summary]:
        """The function of one share, or without one of the whole stage, which takes the corpus and ``on_progress``."""
        return self.stage if self.workers is None else partial(self.stage, workers=replace(self.workers, share=share))


def run_stages(terminal: Terminal, corpus: Corpus, stages: Mapping[str, Callable[..., Summary]]) -> list[Summary]:
    """Runs stages one after another, each with its bar and its line."""
    summaries = []
    for name, stage in stages.items():
        with terminal.progress(name) as report:
            summary = stage(corpus, on_progress=report)
        summaries.append(summary)
        if len(stages) > 1:
            terminal.say(line(summary.stage, summary))
        for note in summary.notes:
            terminal.say(f"  {note}")
    return summaries


def line(name: str, counts: Summary | SongCounts) -> str:
    """The line that counts what was done, skipped and rejected."""
    return f"{name}: {counts.done} done, {counts.skipped} skipped, {counts.rejected} rejected"


def close(terminal: Terminal, corpus: Corpus, verb: str, summaries: Sequence[Summary], wrong: int = 0) -> None:
    """Shows what was rejected, prints the last line, and exits with the code that follows from both."""
    from stemwright.datagen.cli.tables import rejected_table
    from stemwright.datagen.run.stages.counting import count_songs
    from stemwright.manifests.wording import counted

    stages = {summary.stage for summary in summaries}
    every = [row for row in corpus.rejected() if row.stage in stages]
    rejected = [row for row in every if row.replaced_by is None]  # what is missing in the end; a note counts what was replaced
    if rejected or terminal.as_json:
        terminal.show("rejected", rejected_table(rejected), [row.model_dump(mode="json") for row in every])
    terminal.collected["stages"] = [_plain(summary) for summary in summaries]
    counts: Summary | SongCounts
    if len(summaries) == 1:
        (counts,) = summaries
        terminal.say(line(verb, counts))
    else:
        counts, rendered = count_songs(corpus, summaries), summaries[-1].done + summaries[-1].skipped
        terminal.collected["songs"] = asdict(counts)
        terminal.say(f"{counted(rendered, 'pair')} in the dataset. Songs ({counts.total:,} in all):")
        terminal.say(line(verb, counts))
    terminal.finish(exit_code(counts.done + counts.skipped, len(rejected), wrong))


def _plain(summary: Summary) -> dict[str, Any]:
    """A summary as JSON has it: counts and notes."""
    return {name: value for name, value in asdict(summary).items() if name != "songs"}


def exit_code(done: int, rejected: int, wrong: int = 0) -> int:
    """0: done. 1: a check found something wrong, or nothing could be done at all. 3: done, but something was rejected."""
    if wrong or (rejected and not done):
        return 1
    return 3 if rejected else 0


DEMUCS_ONLY = ("model", "model_folder", "precision", "engine", "input_lufs")


def check_alone(separation: Mapping[str, Any]) -> None:
    """Raises UsageError if a command gives another separator together with options for Demucs only."""
    from stemwright.manifests.usage import UsageError
    from stemwright.separation.separator import is_other

    given = [key for key in DEMUCS_ONLY if separation.get(key) is not None]
    if given and is_other(separation.get("separator") or "auto"):
        options = ", ".join(f"--{key.replace('_', '-')}" for key in given)
        raise UsageError(f"{options}: for Demucs's models only, and --separator {separation['separator']} was given; leave out one of them")


@contextmanager
def corpus_of(
    terminal: Terminal, place: Corpus, songs: Path, asked: RequestedChanges, separating: SeparationOptions | None = None
) -> Iterator[None]:
    """Makes or reopens the corpus of a songs folder and locks it."""
    from stemwright.datagen.run.stages.readiness import check_separator

    checked = requested_config(place, songs, asked)
    if separating is not None:
        with fetching(terminal):
            warning = check_separator(place, separating.order(checked), separating.workers)
        if warning:
            terminal.warn(warning)
    with working(terminal, place, checked, separating):
        yield


@contextmanager
def fetching(terminal: Terminal) -> Iterator[None]:
    """Shows the progress of weights that are fetched within; nothing if none are."""
    from stemwright.separation.demucs import hub

    with ExitStack() as shown:
        reports: list[OnProgress] = []

        def report(done: float, total: int, subject: str, audio: AudioDone | None = None, /) -> None:
            if not reports:
                reports.append(shown.enter_context(terminal.progress("fetch")))
            reports[0](done, total, subject, audio)

        with hub.reporting(report):
            yield


def requested_config(place: Corpus, songs: Path, asked: RequestedChanges) -> Config:
    """The configuration of a corpus of a songs folder, with what a command asks to change. Raises CorpusError if the places do not fit."""
    from stemwright.datagen.run.building import songs_config

    check_alone(asked.options.get("separation", {}))
    return songs_config(place, songs, file=asked.file, options=asked.options, reset=asked.reset)


@contextmanager
def working(terminal: Terminal, place: Corpus, config: Config, separating: SeparationOptions | None = None) -> Iterator[None]:
    """Locks a corpus and stores the configuration in it; if the configuration cannot be used, the earlier one is restored.

    Raises UsageError, before anything was changed, if a verb that separates would make stems again and was not allowed to.
    """
    from stemwright.datagen.run.building import keeping

    warn_of_leases(terminal, place)
    with place.locked():
        to_file(place.log)
        if separating is not None:
            check_again(terminal, place, config, separating)
        try:
            with keeping(place, config):
                yield
        except KeyboardInterrupt:
            raise Stopped(KEPT) from None


def warn_of_leases(terminal: Terminal, place: Corpus) -> None:
    """Says that leases of other machines are watched before the work begins: that takes a while where their holders are dead."""
    from stemwright.datagen.run.shares import at_work, at_work_on_all
    from stemwright.manifests.disk import lease

    if (holder := at_work_on_all(place.folder)) and not holder.runs_here():
        terminal.warn(f"watching a lease, for up to {lease.TIMING.dead_s:g} s: {lease.where(holder)} may have died")
    if found := [each for each in at_work(place.folder) if not each.holder.runs_here()]:
        where = lease.where(found[0].holder, found[0].renewed_s)
        terminal.warn(f"watching the lease of share {found[0].share}, for up to {lease.TIMING.dead_s:g} s: {where} may have died")


def check_again(terminal: Terminal, place: Corpus, config: Config, separating: SeparationOptions) -> None:
    """Raises UsageError if stems would be made again and the command does not allow it."""
    from stemwright.datagen.run.building import separated_again
    from stemwright.manifests.usage import UsageError

    if reason := separated_again(place, separating.order(config), separating.workers):
        if not separating.again:
            raise UsageError(f"{reason}. Nothing was changed. Pass --again to do it")
        terminal.warn(f"{reason}, as --again allows")
