"""The command line: a verb is a stage.

Conventions
    Tables and the last line go to standard output, progress and errors to standard error. ``--json`` prints one JSON object instead.
    Exit 0: done. 1: something was rejected or failed. 2: wrong usage. 130: stopped by Ctrl-C; the same command goes on from there.
    Heavy imports stand inside the verbs, so that ``--help`` answers at once.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from datagen.usage import UsageError
from datagen.verbs import editing, fitting, listening, sharing
from datagen.verbs.options import (
    ConfigOption,
    CorpusArgument,
    DaskOption,
    DeviceOption,
    EngineOption,
    FormatOption,
    InputLufsOption,
    JobsOption,
    JsonOption,
    KindOption,
    ModelFolderOption,
    ModelOption,
    OfflineOption,
    PrecisionOption,
    SeedOption,
    SeparatorOption,
    SongsArgument,
    TrustPickleOption,
    absolute,
)
from datagen.verbs.reporting import report
from datagen.verbs.terminal import Terminal

if TYPE_CHECKING:
    from datagen.config import Config
    from datagen.corpus import Corpus
    from datagen.stages import Summary

app = typer.Typer(
    name="stemwright",
    help="Turns released mixtures into verified training data for music mixing models.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    rich_markup_mode="rich",
)


def _run(terminal: Terminal, corpus: Corpus, stages: Sequence[tuple[str, Callable[..., Summary]]]) -> list[Summary]:
    """Runs stages one after another, each with its bar and its line."""
    summaries = []
    for name, stage in stages:
        with terminal.progress(name) as report:
            summary = stage(corpus, on_progress=report)
        summaries.append(summary)
        if len(stages) > 1:
            terminal.say(_line(summary.stage, [summary]))
        for note in summary.notes:
            terminal.say(f"  {note}")
    return summaries


def _line(name: str, summaries: Sequence[Summary]) -> str:
    counts = [sum(getattr(summary, what) for summary in summaries) for what in ("done", "skipped", "rejected")]
    return f"{name}: {counts[0]} done, {counts[1]} skipped, {counts[2]} rejected"


def _close(terminal: Terminal, corpus: Corpus, verb: str, summaries: Sequence[Summary], wrong: int = 0) -> None:
    """Shows what was refused, prints the last line, and leaves with 1 if anything was refused, or found wrong by a check."""
    from dataclasses import asdict

    from datagen.verbs.tables import rejected_table

    stages = {summary.stage for summary in summaries}
    every = [row for row in corpus.rejected() if row.stage in stages]
    rejected = [row for row in every if row.replaced_by is None]  # what is missing in the end; a note counts what was replaced
    if rejected or terminal.as_json:
        terminal.show("rejected", rejected_table(rejected), [row.model_dump(mode="json") for row in every])
    terminal.collected["stages"] = [asdict(summary) for summary in summaries]
    terminal.say(_line(verb, summaries))
    terminal.finish(1 if rejected or wrong else 0)


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


def _stages() -> Any:
    """The module of stages, imported when a verb runs."""
    from datagen import stages

    return stages


def _workers(jobs: int, dask: str | None) -> Any:
    from datagen.runner import Workers

    return Workers(jobs, dask)


def _sharing(stage: Callable[..., Summary], jobs: int, dask: str | None) -> Callable[..., Summary]:
    """A stage with its workers filled in."""
    return partial(stage, workers=_workers(jobs, dask))


@app.command()
def build(
    songs: SongsArgument,
    corpus: CorpusArgument,
    config: ConfigOption = None,
    jobs: JobsOption = 1,
    dask: DaskOption = None,
    kind: KindOption = None,
    model: ModelOption = None,
    model_folder: ModelFolderOption = None,
    separator: SeparatorOption = None,
    device: DeviceOption = None,
    engine: EngineOption = None,
    precision: PrecisionOption = None,
    input_lufs: InputLufsOption = None,
    offline: OfflineOption = False,
    trust_pickle: TrustPickleOption = False,
    seed: SeedOption = None,
    dataset_format: FormatOption = None,
    as_json: JsonOption = False,
) -> None:
    """Songs in, verified pairs out: catalog, separate, estimate, plan, render and check, one after another.

    Run it again to go on after an interruption, or after adding songs: what is finished is skipped.

    Example: stemwright build ~/music corpus --model htdemucs_ft --jobs 4
    """
    from datagen.corpus import Corpus

    terminal, place, stages = Terminal(as_json), Corpus(corpus), _stages()
    separation: dict[str, Any] = {"model": model, "model_folder": absolute(model_folder), "separator": separator}
    separation |= {"device": device, "engine": engine, "precision": precision, "input_lufs": input_lufs}
    changes: dict[str, dict[str, Any]] = {"": {"seed": seed}, "songs": {"kind": kind}, "separation": separation}
    changes["dataset"] = {"format": dataset_format}
    with _corpus_of(place, songs, config, changes):
        run = _run(
            terminal,
            place,
            [
                ("catalog", _sharing(stages.run_catalog, jobs, dask)),
                ("separate", partial(stages.run_separate, offline=offline, trust_pickle=trust_pickle)),
                ("estimate", _sharing(stages.run_estimate, jobs, dask)),
                ("plan", stages.run_plan),
                ("render", _sharing(stages.run_render, jobs, dask)),
            ],
        )
        wrong = _check(terminal, place)
    _close(terminal, place, "build", run, wrong)


@contextmanager
def _corpus_of(place: Corpus, songs: Path, config: Path | None, changes: dict[str, dict[str, Any]]) -> Iterator[None]:
    """Makes or reopens the corpus of a songs folder and holds it."""
    from datagen.corpus import CorpusError

    if not songs.exists():
        raise CorpusError(f"{songs} does not exist; expected a folder of songs or a CSV file")
    changes = {**changes, "songs": {**changes.get("songs", {}), "folder": str(songs.resolve())}}
    checked = _configured(place, config, changes)
    place.check_free(checked)
    with _working(place, checked):
        yield


@contextmanager
def _working(place: Corpus, config: Config) -> Iterator[None]:
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
        except Exception:
            place.restore(before)
            raise


@app.command()
def catalog(
    songs: SongsArgument,
    corpus: CorpusArgument,
    config: ConfigOption = None,
    jobs: JobsOption = 1,
    kind: KindOption = None,
    as_json: JsonOption = False,
) -> None:
    """Find the songs, decode each once, and write the table of tracks.

    Example: stemwright catalog ~/music corpus --jobs 2
    """
    from datagen.corpus import Corpus

    terminal, place = Terminal(as_json), Corpus(corpus)
    with _corpus_of(place, songs, config, {"songs": {"kind": kind}}):
        summaries = _run(terminal, place, [("catalog", _sharing(_stages().run_catalog, jobs, None))])
    _close(terminal, place, "catalog", summaries)


@app.command()
def separate(
    corpus: CorpusArgument,
    model: ModelOption = None,
    model_folder: ModelFolderOption = None,
    separator: SeparatorOption = None,
    device: DeviceOption = None,
    engine: EngineOption = None,
    precision: PrecisionOption = None,
    input_lufs: InputLufsOption = None,
    offline: OfflineOption = False,
    trust_pickle: TrustPickleOption = False,
    as_json: JsonOption = False,
) -> None:
    """Separate every track into stems and a residual that sum to it.

    Example: stemwright separate corpus --model htdemucs_ft
    """
    options: dict[str, Any] = {"model": model, "model_folder": absolute(model_folder), "separator": separator}
    options |= {"device": device, "engine": engine, "precision": precision, "input_lufs": input_lufs}
    _one_stage(
        corpus,
        "separate",
        partial(_stages().run_separate, offline=offline, trust_pickle=trust_pickle),
        as_json,
        changes={"separation": options},
    )


@app.command()
def estimate(
    corpus: CorpusArgument, config: ConfigOption = None, jobs: JobsOption = 1, dask: DaskOption = None, as_json: JsonOption = False
) -> None:
    """Measure the balance, place and activity of every stem, and what else the recipes of the configuration need (tempo and key, say).

    Example: stemwright estimate corpus --jobs 2
    """
    _one_stage(corpus, "estimate", _sharing(_stages().run_estimate, jobs, dask), as_json, config=config)


@app.command()
def plan(corpus: CorpusArgument, config: ConfigOption = None, seed: SeedOption = None, as_json: JsonOption = False) -> None:
    """Draw every pair and write it down; touches no audio.

    Example: stemwright plan corpus --seed 7
    """
    _one_stage(corpus, "plan", _stages().run_plan, as_json, changes={"": {"seed": seed}}, config=config)


@app.command()
def render(
    corpus: CorpusArgument,
    jobs: JobsOption = 1,
    dask: DaskOption = None,
    dataset_format: FormatOption = None,
    as_json: JsonOption = False,
) -> None:
    """Render every planned pair into the dataset.

    In another format it is packed anew, and nothing is rendered twice.

    Example: stemwright render corpus --jobs 2 --format webdataset
    """
    changes = {"dataset": {"format": dataset_format}}
    _one_stage(corpus, "render", _sharing(_stages().run_render, jobs, dask), as_json, changes=changes)


def _one_stage(
    folder: Path,
    verb: str,
    stage: Callable[..., Summary],
    as_json: bool,
    *,
    changes: dict[str, dict[str, Any]] | None = None,
    config: Path | None = None,
) -> None:
    from datagen.corpus import Corpus

    terminal, place = Terminal(as_json), Corpus(folder)
    _ = place.config  # says so when the folder is no corpus
    with _working(place, _configured(place, config, changes or {})):
        summaries = _run(terminal, place, [(verb, stage)])
    _close(terminal, place, verb, summaries)


@app.command()
def check(
    folder: Annotated[Path, typer.Argument(help="Corpus folder, or a dataset folder that stands alone.", show_default=False)],
    as_json: JsonOption = False,
) -> None:
    """Hold every table against the files and against itself; leaves with 1 and names the file if anything is wrong.

    Example: stemwright check corpus
    """
    from datagen.corpus import Corpus

    terminal = Terminal(as_json)
    wrong = _check(terminal, Corpus(folder))
    terminal.finish(1 if wrong else 0)


def _check(terminal: Terminal, place: Corpus) -> int:
    """Checks a corpus or a dataset, shows what is wrong, and returns how many errors there are; a warning is none."""
    from datagen.stages.rendering import unrendered
    from datagen.verbs.tables import problems_table
    from manifests.check import check_corpus, check_dataset, errors

    with terminal.progress("check") as report:

        def tell(what: str, done: int, total: int) -> None:
            report(done, total, what)

        if place.config_path.exists():
            held, _ = unrendered(place)
            problems = check_corpus(place.folder, place.songs if place.songs.exists() else None, unrendered=held, progress=tell)
        else:
            problems = check_dataset(place.folder, progress=tell)
    if problems or terminal.as_json:
        terminal.show("problems", problems_table(problems), [problem.model_dump(mode="json") for problem in problems])
    wrong = len(errors(problems))
    if any(problem.table == "shards" or problem.file.endswith((".flac", ".wav")) for problem in errors(problems)):
        terminal.say("A damaged file is made anew once it is deleted and the same command is run again.")
    terminal.say(f"check: {wrong} problems, {len(problems) - wrong} warnings")
    return wrong


@app.command()
def demo(
    corpus: Annotated[Path, typer.Argument(help="Folder for the corpus it makes.")] = Path("demo-corpus"),
    jobs: JobsOption = 1,
    model: Annotated[str, typer.Option("--model", "-m", help="Model that separates the excerpt for comparison.")] = "bundled",
    model_folder: ModelFolderOption = None,
    as_json: JsonOption = False,
) -> None:
    """The main job on a real multitrack excerpt: catalog, balance, pairs, dataset, check.

    Example: stemwright demo demo-corpus
    """
    from datagen.corpus import Corpus
    from datagen.demo import configuration, excerpt_folder

    terminal, place, stages = Terminal(as_json), Corpus(corpus), _stages()
    config = configuration(excerpt_folder())
    place.check_free(config)
    with _working(place, config):
        summaries = _run(
            terminal,
            place,
            [
                ("catalog", _sharing(stages.run_catalog, jobs, None)),
                ("separate", stages.run_separate),
                ("estimate", _sharing(stages.run_estimate, jobs, None)),
            ],
        )
        _show_demo_balance(terminal, place, model, absolute(model_folder))
        summaries += _run(terminal, place, [("plan", stages.run_plan), ("render", _sharing(stages.run_render, jobs, None))])
        wrong = _check(terminal, place)
    terminal.say("What to look at next")
    for what, why in NEXT_STEPS:
        terminal.say(f"  {what.format(corpus=corpus):<34}{why.format(corpus=corpus)}")
    _close(terminal, place, "demo", summaries, wrong)


NEXT_STEPS = (
    ("stemwright report {corpus}", "then open {corpus}/report.html: charts, and wet against dry to hear"),
    ("{corpus}/dataset/*/removal/*/", "input_wet.flac against target_dry.flac: listen"),
    ("{corpus}/pairs.parquet", "every setting that was drawn (pandas.read_parquet)"),
    ("{corpus}/config.toml", "what to change; `stemwright plan` and `render` go on from there"),
    ("stemwright build SONGS CORPUS", "the same on your own songs"),
)


def _show_demo_balance(terminal: Terminal, place: Corpus, model: str, model_folder: Path | None) -> None:
    """The balance from the multitrack's own stems, and, where a model can be had, from separated ones with the error."""
    from datagen.demo import separated_balance
    from datagen.verbs.tables import balance_plain, balance_table, comparison_table
    from manifests.records import Estimate, Track
    from separation.checkpoints import ModelError

    compared = None
    (track,), rows = place.rows("tracks", Track), place.rows("estimates", Estimate)
    terminal.show("balance", balance_table(f"Mix balance of {track.title}, from its own stems", rows), balance_plain(rows))
    try:
        compared = separated_balance(place, model, model_folder)
    except ModelError as error:
        terminal.say(f"not separated, going on with the reference stems: {error}")
    else:
        title = f"From the mixture alone, separated by {model!r}"
        terminal.show("separated", comparison_table(title, rows, compared), balance_plain(rows, compared))
    if compared and model == "bundled":
        terminal.say("The bundled model is small and for first steps only; for real work take --model htdemucs_ft.")


app.command()(report)
app.command()(listening.balance)
app.command()(fitting.fit)
app.command()(listening.effects)
app.command()(editing.edit)
app.command()(sharing.export)
app.command()(sharing.rebuild)
app.add_typer(listening.models_app, name="models")


def main() -> None:
    """Runs the command line; turns what went wrong into a line and an exit code."""
    try:
        app()
    except Exception as error:  # a person at a terminal is helped by a sentence; STEMWRIGHT_TRACEBACK=1 gives the rest
        import os

        if os.environ.get("STEMWRIGHT_TRACEBACK"):
            raise
        _fail(str(error) or type(error).__name__, 2 if isinstance(error, UsageError) else 1)


def _fail(message: str, exit_code: int) -> None:
    sys.stderr.write(f"stemwright: {message}\n")
    sys.exit(exit_code)
