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
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from datagen.terminal import Terminal

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

SongsArgument = Annotated[Path, typer.Argument(help="Folder of songs, a CSV file, or a MUSDB18 / MUSDB18-HQ folder.", show_default=False)]
CorpusArgument = Annotated[Path, typer.Argument(help="Corpus folder.", show_default=False)]
ConfigOption = Annotated[Path | None, typer.Option("--config", "-c", help="TOML file; what it leaves out keeps its default.")]
JobsOption = Annotated[int, typer.Option("--jobs", "-j", min=1, help="Processes that work at the same time.")]
DaskOption = Annotated[str | None, typer.Option("--dask", help="Address of a dask scheduler to work on instead, e.g. tcp://10.0.0.1:8786.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of tables.")]
KindOption = Annotated[str | None, typer.Option(help="What SONGS is: auto, folder, csv, stems, musdb18, musdb18hq.")]
ModelOption = Annotated[
    str | None, typer.Option("--model", "-m", help="Demucs model: htdemucs, htdemucs_ft, bundled, hf://OWNER/NAME, ...")
]
ModelFolderOption = Annotated[Path | None, typer.Option(help="Folder with NAME.yaml and SIG.safetensors, instead of the hub.")]
SeparatorOption = Annotated[str | None, typer.Option(help="auto (a multitrack's own stems, else Demucs), demucs, or reference.")]
SeedOption = Annotated[int | None, typer.Option(help="Seed of everything that is drawn.")]


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


def _close(terminal: Terminal, corpus: Corpus, verb: str, summaries: Sequence[Summary]) -> None:
    """Shows what was refused, prints the last line, and leaves with 1 if anything was refused."""
    from dataclasses import asdict

    from datagen.tables import rejected_table

    stages = {summary.stage for summary in summaries}
    rejected = [row for row in corpus.rejected() if row.stage in stages]
    if rejected or terminal.as_json:
        terminal.show("rejected", rejected_table(rejected), [row.model_dump(mode="json") for row in rejected])
    terminal.collected["stages"] = [asdict(summary) for summary in summaries]
    terminal.say(_line(verb, summaries))
    terminal.finish(1 if rejected else 0)


def _configured(corpus: Corpus, config_path: Path | None, changes: dict[str, dict[str, Any]]) -> Config:
    """The configuration to run with: the file that is given, else the corpus's own, else the defaults; with the options of the command."""
    from datagen import config as configuration

    if config_path is not None:
        config = configuration.read(config_path)
    else:
        config = corpus.config if corpus.config_path.exists() else configuration.Config()
    values = configuration.plain(config)
    for section, options in changes.items():
        given = {key: str(value) if isinstance(value, Path) else value for key, value in options.items() if value is not None}
        values = {**values, **given} if section == "" else {**values, section: {**values[section], **given}}
    return configuration.check(values, where="the options")


def _stages() -> Any:
    """The module of stages, imported when a verb runs."""
    from datagen import stages

    return stages


def _workers(jobs: int, dask: str | None) -> Any:
    from datagen.runner import Workers

    return Workers(jobs, dask)


def _sharing(stage: Callable[..., Summary], jobs: int, dask: str | None) -> Callable[..., Summary]:
    """A stage with its workers filled in."""
    from functools import partial

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
    seed: SeedOption = None,
    as_json: JsonOption = False,
) -> None:
    """Songs in, verified pairs out: catalog, separate, estimate, plan, render and check, one after another.

    Run it again to go on after an interruption, or after adding songs: what is finished is skipped.

    Example: stemwright build ~/music corpus --model htdemucs_ft --jobs 4
    """
    from datagen.corpus import Corpus

    terminal, place, stages = Terminal(as_json), Corpus(corpus), _stages()
    separation = {"model": model, "model_folder": _absolute(model_folder), "separator": separator}
    with _corpus_of(place, songs, config, {"": {"seed": seed}, "songs": {"kind": kind}, "separation": separation}):
        run = _run(
            terminal,
            place,
            [
                ("catalog", _sharing(stages.run_catalog, jobs, dask)),
                ("separate", stages.run_separate),
                ("estimate", _sharing(stages.run_estimate, jobs, dask)),
                ("plan", stages.run_plan),
                ("render", _sharing(stages.run_render, jobs, dask)),
            ],
        )
        wrong = _check(terminal, place)
    if wrong:
        terminal.finish(1)
    _close(terminal, place, "build", run)


@contextmanager
def _corpus_of(place: Corpus, songs: Path, config: Path | None, changes: dict[str, dict[str, Any]]) -> Iterator[None]:
    """Makes or reopens the corpus of a songs folder and holds it."""
    from datagen.corpus import CorpusError

    if not songs.exists():
        raise CorpusError(f"{songs} does not exist; expected a folder of songs or a CSV file")
    changes = {**changes, "songs": {**changes.get("songs", {}), "folder": str(songs.resolve())}}
    checked = _configured(place, config, changes)
    place.check_free(checked)
    with place.locked():
        place.create(checked)
        yield


def _absolute(path: Path | None) -> Path | None:
    return None if path is None else path.expanduser().resolve()


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
    as_json: JsonOption = False,
) -> None:
    """Separate every track into stems and a residual that sum to it.

    Example: stemwright separate corpus --model htdemucs_ft
    """
    options = {"model": model, "model_folder": _absolute(model_folder), "separator": separator}
    _one_stage(corpus, "separate", _stages().run_separate, as_json, changes={"separation": options})


@app.command()
def estimate(corpus: CorpusArgument, jobs: JobsOption = 1, dask: DaskOption = None, as_json: JsonOption = False) -> None:
    """Measure the balance, place and activity of every stem.

    Example: stemwright estimate corpus --jobs 2
    """
    _one_stage(corpus, "estimate", _sharing(_stages().run_estimate, jobs, dask), as_json)


@app.command()
def plan(corpus: CorpusArgument, config: ConfigOption = None, seed: SeedOption = None, as_json: JsonOption = False) -> None:
    """Draw every pair and write it down; touches no audio.

    Example: stemwright plan corpus --seed 7
    """
    _one_stage(corpus, "plan", _stages().run_plan, as_json, changes={"": {"seed": seed}}, config=config)


@app.command()
def render(corpus: CorpusArgument, jobs: JobsOption = 1, dask: DaskOption = None, as_json: JsonOption = False) -> None:
    """Render every planned pair into the dataset.

    Example: stemwright render corpus --jobs 2
    """
    _one_stage(corpus, "render", _sharing(_stages().run_render, jobs, dask), as_json)


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
    songs = place.config.songs.folder  # also says so when the folder is no corpus
    with place.locked():
        place.create(_configured(place, config, {**(changes or {}), "songs": {"folder": songs}}))
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
    from datagen.tables import problems_table
    from manifests.check import check_corpus, check_dataset, errors

    with terminal.progress("check") as report:

        def tell(what: str, done: int, total: int) -> None:
            report(done, total, what)

        if place.config_path.exists():
            problems = check_corpus(place.folder, place.songs if place.songs.exists() else None, progress=tell)
        else:
            problems = check_dataset(place.folder, progress=tell)
    if problems or terminal.as_json:
        terminal.show("problems", problems_table(problems), [problem.model_dump(mode="json") for problem in problems])
    wrong = len(errors(problems))
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
    with place.locked():
        place.create(config)
        summaries = _run(
            terminal,
            place,
            [
                ("catalog", _sharing(stages.run_catalog, jobs, None)),
                ("separate", stages.run_separate),
                ("estimate", _sharing(stages.run_estimate, jobs, None)),
            ],
        )
        _show_demo_balance(terminal, place, model, _absolute(model_folder))
        summaries += _run(terminal, place, [("plan", stages.run_plan), ("render", _sharing(stages.run_render, jobs, None))])
        wrong = _check(terminal, place)
    for line in NEXT_STEPS.format(corpus=corpus).strip().splitlines():
        terminal.say(line)
    if wrong:
        terminal.finish(1)
    _close(terminal, place, "demo", summaries)


NEXT_STEPS = """
What to look at next
  {corpus}/dataset/*/removal/*/         input_wet.flac against target_dry.flac: listen
  {corpus}/pairs.parquet                every setting that was drawn (pandas.read_parquet)
  {corpus}/config.toml                  what to change; `stemwright plan` and `render` go on from there
  stemwright build SONGS CORPUS         the same on your own songs
"""


def _show_demo_balance(terminal: Terminal, place: Corpus, model: str, model_folder: Path | None) -> None:
    """The balance from the multitrack's own stems, and, where a model can be had, from separated ones with the error."""
    from datagen.demo import separated_balance
    from datagen.tables import balance_plain, balance_table
    from manifests.records import Estimate, Track
    from separation.checkpoints import ModelError

    compared = None
    try:
        compared = separated_balance(place, model, model_folder)
    except ModelError as error:
        terminal.say(f"not separated, going on with the reference stems: {error}")
    (track,), rows = place.rows("tracks", Track), place.rows("estimates", Estimate)
    title = f"Mix balance of {track.title}" + (f": reference stems, and stems separated by {model!r}" if compared else ": reference stems")
    terminal.show("balance", balance_table(title, rows, compared), balance_plain(rows, compared))
    if compared and model == "bundled":
        terminal.say("The bundled model is small and for first steps only; for real work take --model htdemucs_ft.")


@app.command()
def effects(
    names: Annotated[list[str] | None, typer.Argument(help="Effects to show; none: all.", show_default=False)] = None,
    as_json: JsonOption = False,
) -> None:
    """List every effect with its settings, their ranges and units.

    Example: stemwright effects compressor
    """
    from datagen.effects import EFFECTS
    from datagen.tables import effects_rows, effects_table

    terminal = Terminal(as_json)
    chosen = names or list(EFFECTS)
    terminal.show("effects", effects_table(chosen), effects_rows(chosen))
    terminal.finish(0)


@app.command()
def balance(
    files: Annotated[list[Path], typer.Argument(help="Recordings to listen to.", show_default=False)],
    stems: Annotated[Path | None, typer.Option("--stems", help="Folder with the stems (vocals.wav ...), instead of separating.")] = None,
    model: Annotated[str, typer.Option("--model", "-m", help="Model that separates.")] = "htdemucs",
    model_folder: ModelFolderOption = None,
    against: Annotated[Path | None, typer.Option(help="Corpus to compare with: which percentile is this vocal?")] = None,
    csv: Annotated[Path | None, typer.Option(help="Also write the rows to this CSV file.")] = None,
    plot: Annotated[Path | None, typer.Option(help="Also draw levels and their course in time to this PNG file.")] = None,
    as_json: JsonOption = False,
) -> None:
    """How loud each stem is in existing recordings, with an 80 % interval; pan, width and when it plays.

    Example: stemwright balance song.mp3 --plot balance.png
    """
    from datagen import tables
    from manifests.audio import write_bytes
    from manifests.records import Refused
    from separation import track_balance

    terminal = Terminal(as_json)
    corpus = track_balance.corpus_levels(against) if against else {}
    separator = None if stems else _separator(model, model_folder)
    measured, refused = [], 0
    with terminal.progress("balance") as report:
        for number, path in enumerate(files):
            report(number, len(files), path.name)
            try:
                measured.append(_measure(path, stems, separator))
            except (Refused, ValueError) as reason:
                refused += 1
                sys.stderr.write(f"stemwright: {path}: {reason}\n")
    for track in measured:
        terminal.show("tracks", tables.track_balance_table(track), [track_balance.as_json(each) for each in measured])
    if len(measured) > 1:
        rows = track_balance.summary_rows(measured)
        terminal.show("summary", tables.rows_table("all tracks", rows), rows)
    if against:
        rows = track_balance.percentile_rows(measured, corpus)
        terminal.show("against", tables.rows_table(f"against {against}", rows), rows)
    if csv and measured:
        write_bytes(csv, track_balance.as_csv(track_balance.table_rows(measured)).encode())
        terminal.say(f"rows: {csv}")
    if plot and measured:
        from datagen.plots import plot_balance

        plot_balance(measured, plot)
        terminal.say(f"picture: {plot}")
    terminal.say(f"balance: {len(measured)} done, {refused} rejected")
    terminal.finish(1 if refused else 0)


def _separator(model: str, model_folder: Path | None) -> Any:
    from separation.separator import DemucsSeparator

    separator = DemucsSeparator(model, model_folder)
    _ = separator.checkpoint  # a model that cannot be had is said once, not once for each file
    return separator


def _measure(path: Path, stems: Path | None, separator: Any) -> Any:
    """The balance of one recording, from stems that are there or by separating it."""
    from manifests.audio import load, resample
    from separation.track_balance import load_stems, measure_track

    if stems is not None:
        return measure_track(path.name, *load_stems(stems, path))
    mixture, sample_rate = load(path)
    separated = separator.separate(mixture, sample_rate)
    return measure_track(path.name, resample(mixture, sample_rate, separator.sample_rate), separated, separator.sample_rate)


models_app = typer.Typer(invoke_without_command=True, rich_markup_mode="rich")
app.add_typer(models_app, name="models")


@models_app.callback()
def models(context: typer.Context, model_folder: ModelFolderOption = None, as_json: JsonOption = False) -> None:
    """List the separation models with their stems and size, and whether they are on this machine; fetch and verify them.

    Example: stemwright models
    """
    if context.invoked_subcommand is not None:
        return
    from dataclasses import asdict

    from datagen.tables import models_table
    from separation.checkpoints import available

    terminal, listed = Terminal(as_json), available(model_folder=model_folder)
    plain = [{**asdict(model), "folder": model.folder and str(model.folder)} for model in listed]
    terminal.show("models", models_table(listed), plain)
    terminal.finish(0)


@models_app.command()
def fetch(
    name: Annotated[str, typer.Argument(help="htdemucs, htdemucs_ft, hf://OWNER/NAME, ...")],
    model_folder: ModelFolderOption = None,
    as_json: JsonOption = False,
) -> None:
    """Download a model into the hub's cache, or into --model-folder with its checksums.

    Example: stemwright models fetch htdemucs_ft --model-folder models
    """
    from separation import checkpoints

    terminal = Terminal(as_json)
    found = checkpoints.fetch(name, model_folder=model_folder)
    terminal.collected["fetched"] = {"name": name, "files": [str(member.path) for member in found.members]}
    terminal.say(f"fetched {name}: {len(found.members)} networks in {found.folder}")
    terminal.finish(0)


@models_app.command()
def verify(
    name: Annotated[str, typer.Argument(help="A model that is on this machine.")],
    model_folder: ModelFolderOption = None,
    as_json: JsonOption = False,
) -> None:
    """Compare the checksums of a model's files; never asks the network.

    Example: stemwright models verify bundled
    """
    from datagen.tables import verified_table
    from separation import checkpoints

    terminal, files = Terminal(as_json), checkpoints.verify(name, model_folder=model_folder)
    wrong = [file for file in files if not file.ok]
    plain = [{"path": str(file.path), "sha256": file.sha256, "expected": file.expected, "ok": file.ok} for file in files]
    terminal.show("files", verified_table(files), plain)
    terminal.say(f"verify: {len(files) - len(wrong)} as they should be, {len(wrong)} not")
    terminal.finish(1 if wrong else 0)


def main() -> None:
    """Runs the command line; turns what went wrong into a line and an exit code."""
    try:
        app()
    except KeyboardInterrupt:
        _fail("stopped; what was finished is kept, the same command goes on from there", 130)
    except Exception as error:  # a person at a terminal is helped by a sentence; STEMWRIGHT_TRACEBACK=1 gives the rest
        import os

        if os.environ.get("STEMWRIGHT_TRACEBACK"):
            raise
        wrong_usage = {"ConfigError", "CorpusError", "UnknownEffectError"}
        _fail(str(error) or type(error).__name__, 2 if type(error).__name__ in wrong_usage else 1)


def _fail(message: str, exit_code: int) -> None:
    sys.stderr.write(f"stemwright: {message}\n")
    sys.exit(exit_code)
