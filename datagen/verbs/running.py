"""How the verbs run stages: the configuration to run with, the lock, the bars, the last line and the exit code."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from datagen.verbs.terminal import Terminal
from manifests.durable import is_full, sentence

if TYPE_CHECKING:
    from datagen.config import Config
    from datagen.corpus import Corpus
    from datagen.stages import Summary
    from datagen.stages.counting import SongCounts


def run_stages(terminal: Terminal, corpus: Corpus, stages: Sequence[tuple[str, Callable[..., Summary]]]) -> list[Summary]:
    """Runs stages one after another, each with its bar and its line."""
    summaries = []
    for name, stage in stages:
        with terminal.progress(name) as report:
            summary = stage(corpus, on_progress=report)
        summaries.append(summary)
        if len(stages) > 1:
            terminal.say(line(summary.stage, summary))
        for note in summary.notes:
            terminal.say(f"  {note}")
    return summaries


def line(name: str, counts: Summary | SongCounts) -> str:
    """The line that says what became of everything that was looked at."""
    return f"{name}: {counts.done} done, {counts.skipped} skipped, {counts.rejected} rejected"


def close(terminal: Terminal, corpus: Corpus, verb: str, summaries: Sequence[Summary], wrong: int = 0) -> None:
    """Shows what was refused, prints the last line, and leaves with the exit code that says so."""
    from datagen.stages.counting import count_songs
    from datagen.verbs.tables import counted, rejected_table

    stages = {summary.stage for summary in summaries}
    every = [row for row in corpus.rejected() if row.stage in stages]
    rejected = [row for row in every if row.replaced_by is None]  # what is missing in the end; a note counts what was replaced
    if rejected or terminal.as_json:
        terminal.show("rejected", rejected_table(rejected), [row.model_dump(mode="json") for row in every])
    terminal.collected["stages"] = [_plain(summary) for summary in summaries]
    if len(summaries) == 1:
        (counts,) = summaries
        terminal.say(line(verb, counts))
    else:
        songs, rendered = count_songs(corpus, summaries), summaries[-1].done + summaries[-1].skipped
        terminal.collected["songs"] = asdict(songs)
        terminal.say(f"{line(verb, songs)}, of {counted(songs.total, 'song')}; {counted(rendered, 'pair')} in the dataset")
    terminal.finish(exit_code(sum(summary.done + summary.skipped for summary in summaries), len(rejected), wrong))


def _plain(summary: Summary) -> dict[str, Any]:
    """A summary as JSON has it: counts and notes."""
    return {name: value for name, value in asdict(summary).items() if name != "songs"}


def exit_code(done: int, rejected: int, wrong: int = 0) -> int:
    """0: done. 1: a check found something wrong, or nothing could be done at all. 3: done, but something was rejected."""
    if wrong or (rejected and not done):
        return 1
    return 3 if rejected else 0


def _configured(corpus: Corpus, config_path: Path | None, changes: dict[str, dict[str, Any]]) -> Config:
    """The configuration to run with: the file that is given, else the corpus's own, else the defaults; with the options of the command."""
    from datagen import config as configuration

    if config_path is not None:
        config = configuration.read(config_path)
        if corpus.config_path.exists() and "songs" not in changes:
            config = _pairs_of(config, corpus.config, config_path)
    else:
        config = corpus.config if corpus.config_path.exists() else configuration.Config()
    values = configuration.plain(config)
    asked = changes.get("songs", {}).get("folder")
    if (
        asked
        and config_path is not None
        and "folder" in config.songs.model_fields_set
        and Path(config.songs.folder).resolve() != Path(asked)
    ):
        raise configuration.ConfigError(
            f"{config_path}: songs.folder is {config.songs.folder!r}, but the command says {asked}; strike one of them"
        )
    for section, options in changes.items():
        given = {key: str(value) if isinstance(value, Path) else value for key, value in options.items() if value is not None}
        values = {**values, **given} if section == "" else {**values, section: {**values[section], **given}}
    return configuration.check(values, where="the options")


def _pairs_of(given: Config, kept: Config, path: Path) -> Config:
    """The corpus's configuration with seed, estimate, pairs and rights of a file. Raises ConfigError if it would change more than that."""
    from datagen.config import ConfigError

    for section in ("separation", "dataset"):
        if section in given.model_fields_set and getattr(given, section) != getattr(kept, section):
            raise ConfigError(
                f"{path}: [{section}] differs from the corpus's; planning takes seed, [estimate], [pairs] and [rights] only. "
                "Run `stemwright build` with the file"
            )
    kept_too = {name: getattr(given if name in given.model_fields_set else kept, name) for name in ("rights", "estimate")}
    return kept.model_copy(update={"seed": given.seed, "pairs": given.pairs, **kept_too})


def shared_out(stage: Callable[..., Summary], jobs: int, dask: str | None) -> Callable[..., Summary]:
    """A stage with its workers filled in."""
    from datagen.runner import Workers

    return partial(stage, workers=Workers(jobs, dask))


@contextmanager
def corpus_of(place: Corpus, songs: Path, config: Path | None, changes: dict[str, dict[str, Any]]) -> Iterator[None]:
    """Makes or reopens the corpus of a songs folder and holds it."""
    from datagen.corpus import CorpusError

    if not songs.exists():
        raise CorpusError(f"{songs} does not exist; expected a folder of songs or a CSV file")
    changes = {**changes, "songs": {**changes.get("songs", {}), "folder": str(songs.resolve())}}
    checked = _configured(place, config, changes)
    place.check_free(checked)
    with working(place, checked):
        yield


@contextmanager
def working(place: Corpus, config: Config) -> Iterator[None]:
    """Holds a corpus and keeps the configuration in it, unless it turns out that it could not be used: then the one before comes back."""
    from datagen.runner import StoppedError

    with place.locked():
        before = place.config_path.read_bytes() if place.config_path.exists() else None
        place.create(config)
        try:
            yield
        except KeyboardInterrupt:
            sys.stderr.write("stemwright: stopped; what was finished is kept, and the same command goes on from there\n")
            raise typer.Exit(130) from None
        except (typer.Exit, StoppedError):
            raise
        except Exception as error:
            if isinstance(error, OSError) and is_full(error):  # no fault of the configuration, and no room to put another back
                raise StoppedError(sentence(error, "what was finished is kept")) from error
            place.restore(before)
            raise


def one_stage(
    folder: Path,
    verb: str,
    stage: Callable[..., Summary],
    as_json: bool,
    *,
    changes: dict[str, dict[str, Any]] | None = None,
    config: Path | None = None,
) -> None:
    """Runs one stage of a corpus that is there, and leaves."""
    from datagen.corpus import Corpus

    terminal, place = Terminal(as_json), Corpus(folder)
    _ = place.config  # says so when the folder is no corpus
    with working(place, _configured(place, config, changes or {})):
        summaries = run_stages(terminal, place, [(verb, stage)])
    close(terminal, place, verb, summaries)
