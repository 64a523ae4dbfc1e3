"""The command line: a verb is a stage.

Conventions
    Tables and the last line go to standard output, progress and errors to standard error. ``--json`` prints one JSON object instead.
    Exit 0: done. 1: failed, or a check found something wrong. 2: wrong usage. 3: done, but something was rejected. 130: stopped by Ctrl-C;
    the same command resumes.
    Heavy imports are inside the verbs, so that ``--help`` answers at once.
"""

from __future__ import annotations

import sys
from functools import partial
from typing import Any

import typer

from stemwright.datagen.cli import (
    applying,
    blind_estimates,
    build_run,
    calibrate_verb,
    checking,
    cleaning,
    configuring,
    demonstration,
    editing,
    evaluating,
    first_mixes,
    fitting,
    gpu_shares,
    listening,
    preemption,
    reporting,
    ruling,
    share_status,
    sharing,
    undoing,
)
from stemwright.datagen.cli.options import (
    AgainOption,
    CalibrationOption,
    CatalogDryRunOption,
    ConfigOption,
    CorpusArgument,
    DaskOption,
    DeviceOption,
    DryRunOption,
    EngineOption,
    EstimatedArgument,
    EstimatesCsvOption,
    EstimatesPlotOption,
    FormatOption,
    GpusOption,
    InputLufsOption,
    JobsOption,
    JsonOption,
    KindOption,
    LimitOption,
    MixtureOption,
    ModelFolderOption,
    ModelOption,
    OfflineOption,
    OneModelOption,
    OtherSeparatorOption,
    PrecisionOption,
    ProfileOption,
    ResetOption,
    ResourcesOption,
    SeedOption,
    SeparatorOption,
    ShareOption,
    SongsArgument,
    StemsOption,
    TrustPickleOption,
)
from stemwright.datagen.cli.running import (
    RequestedChanges,
    SeparationOptions,
    StageRun,
    close,
    corpus_of,
    run_stages,
    workers_of,
)
from stemwright.datagen.cli.separation_options import DrumsModelOption, calibration_changes, separation_changes
from stemwright.datagen.cli.stage_runs import one_stage
from stemwright.datagen.cli.stopping import UNCHANGED, Stopped
from stemwright.datagen.cli.terminal import Terminal, as_json_text, handle_termination, json_requested, was_stopped
from stemwright.datagen.cli.verbs import VerbGroup, Verbs
from stemwright.manifests.disk.durable import sentence
from stemwright.manifests.usage import UsageError
from stemwright.manifests.visible import visible

MAKE, LOOK, SHARE = "Make a corpus", "Inspect a corpus", "Share a corpus"
WITHOUT, SETTINGS = "Tools that need no corpus", "Configuration"
BEGINNING = "Where to begin: stemwright demo, which needs no songs; then stemwright build SONGS CORPUS"

app = Verbs(
    name="stemwright",
    cls=VerbGroup,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    rich_markup_mode="rich",
)


def _say_version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        number = version("stemwright")
        typer.echo(as_json_text({"version": number}) if json_requested() else f"stemwright {number}")
        raise typer.Exit


@app.callback(epilog=BEGINNING)
def stemwright(
    version: bool = typer.Option(
        False, "--version", callback=_say_version, is_eager=True, help="Show the version (with --json as JSON) and exit."
    ),
    as_json: bool = typer.Option(False, "--json", hidden=True),
) -> None:
    """Turn released mixtures into verified training data for music mixing models.

    Arguments, options and an example of a verb: stemwright VERB --help
    """
    if as_json and not version:
        raise typer.BadParameter("expected --json after the verb: stemwright VERB ... --json")


app.command(rich_help_panel=MAKE)(demonstration.demo)


@app.command(rich_help_panel=MAKE)
def build(
    songs: SongsArgument,
    corpus: CorpusArgument,
    config: ConfigOption = None,
    reset: ResetOption = None,
    again: AgainOption = False,
    jobs: JobsOption = 1,
    dask: DaskOption = None,
    resources: ResourcesOption = None,
    share: ShareOption = None,
    kind: KindOption = None,
    mixture: MixtureOption = None,
    limit: LimitOption = None,
    model: ModelOption = None,
    model_folder: ModelFolderOption = None,
    separator: SeparatorOption = None,
    device: DeviceOption = None,
    engine: EngineOption = None,
    precision: PrecisionOption = None,
    input_lufs: InputLufsOption = None,
    drums_model: DrumsModelOption = None,
    offline: OfflineOption = False,
    trust_pickle: TrustPickleOption = False,
    calibration: CalibrationOption = None,
    seed: SeedOption = None,
    dataset_format: FormatOption = None,
    dry_run: DryRunOption = False,
    as_json: JsonOption = False,
) -> None:
    """Songs in, verified pairs out: catalog, separate, estimate, plan, render and check, one after another.

    Run the same command again to resume after an interruption or to add songs: finished work is skipped.

    Example: stemwright build ~/music corpus --model htdemucs_ft --jobs 4
    """
    given: dict[str, Any] = {"model": model, "model_folder": model_folder, "separator": separator, "device": device, "engine": engine}
    given |= {"precision": precision, "input_lufs": input_lufs}
    changes: dict[str, dict[str, Any]] = {"": {"seed": seed}, "songs": {"kind": kind, "mixture": mixture}}
    changes["separation"] = separation_changes(given, drums_model)
    changes |= {"estimate": calibration_changes(calibration), "dataset": {"format": dataset_format}}
    asked, workers = RequestedChanges(changes, config, reset or ()), workers_of(jobs, dask, resources, share)
    separating, options = SeparationOptions(again, offline, trust_pickle, workers), build_run.BuildOptions(workers, limit, dry_run)
    build_run.build(Terminal(as_json), corpus, songs, asked, separating, options)


@app.command(rich_help_panel=MAKE)
def catalog(
    songs: SongsArgument,
    corpus: CorpusArgument,
    config: ConfigOption = None,
    reset: ResetOption = None,
    jobs: JobsOption = 1,
    dask: DaskOption = None,
    resources: ResourcesOption = None,
    kind: KindOption = None,
    mixture: MixtureOption = None,
    limit: LimitOption = None,
    dry_run: CatalogDryRunOption = False,
    as_json: JsonOption = False,
) -> None:
    """Find the songs, decode each once, and write the table of tracks.

    Example: stemwright catalog ~/music corpus --jobs 2
    """
    from stemwright.datagen.cli import stem_mapping
    from stemwright.datagen.run.corpus import Corpus
    from stemwright.datagen.run.stages import run_catalog

    terminal, place = Terminal(as_json), Corpus(corpus)
    asked = RequestedChanges({"songs": {"kind": kind, "mixture": mixture}}, config, reset or ())
    if dry_run:
        stem_mapping.dry_run(terminal, place, songs, asked, limit=limit)
        return
    with corpus_of(terminal, place, songs, asked):
        workers = workers_of(jobs, dask, resources)
        summaries = run_stages(terminal, place, {"catalog": partial(run_catalog, workers=workers, limit=limit)})
    close(terminal, place, "catalog", summaries)


@app.command(rich_help_panel=MAKE)
def separate(
    corpus: CorpusArgument,
    model: ModelOption = None,
    model_folder: ModelFolderOption = None,
    separator: SeparatorOption = None,
    device: DeviceOption = None,
    engine: EngineOption = None,
    precision: PrecisionOption = None,
    input_lufs: InputLufsOption = None,
    drums_model: DrumsModelOption = None,
    reset: ResetOption = None,
    again: AgainOption = False,
    offline: OfflineOption = False,
    trust_pickle: TrustPickleOption = False,
    dask: DaskOption = None,
    resources: ResourcesOption = None,
    share: ShareOption = None,
    gpus: GpusOption = None,
    as_json: JsonOption = False,
) -> None:
    """Separate every track into stems and a residual that sum to it.

    Example: stemwright separate corpus --model htdemucs_ft

    On two machines that see the corpus: stemwright separate corpus --share 0/2 on one, --share 1/2 on the other; then without --share.
    """
    from stemwright.datagen.run.stages import run_separate

    given = {"model": model, "model_folder": model_folder, "separator": separator, "device": device, "engine": engine}
    options = separation_changes(given | {"precision": precision, "input_lufs": input_lufs}, drums_model)
    workers = workers_of(1, dask, resources, share)
    on_gpus = () if gpus is None else gpu_shares.chosen(gpus, share=share, dask=dask, device=device)
    one_stage(
        corpus,
        StageRun("separate", partial(run_separate, offline=offline, trust_pickle=trust_pickle), workers),
        as_json,
        RequestedChanges({"separation": options}, reset=reset or ()),
        SeparationOptions(again, offline, trust_pickle, workers, on_gpus),
    )


@app.command(rich_help_panel=MAKE)
def estimate(
    corpus: EstimatedArgument,
    config: ConfigOption = None,
    reset: ResetOption = None,
    jobs: JobsOption = 1,
    dask: DaskOption = None,
    resources: ResourcesOption = None,
    share: ShareOption = None,
    calibration: CalibrationOption = None,
    profile: ProfileOption = None,
    stems: StemsOption = None,
    model: OneModelOption = None,
    model_folder: ModelFolderOption = None,
    device: DeviceOption = None,
    engine: EngineOption = None,
    precision: PrecisionOption = None,
    separator: OtherSeparatorOption = None,
    offline: OfflineOption = False,
    trust_pickle: TrustPickleOption = False,
    csv: EstimatesCsvOption = None,
    plot: EstimatesPlotOption = None,
    as_json: JsonOption = False,
) -> None:
    """Measure every stem of a corpus; or estimate the effects of one recording against a corpus's profile.

    A CORPUS: level, pan, width, activity, and what its recipes need (e.g. tempo). Its options are below Corpus and Resources.

    Example: stemwright estimate corpus --jobs 2

    A RECORDING, with --profile: the effects of its stems, without their dry signals. It is separated first, unless --stems is given.

    Its options are below Effects of a recording and Separation.

    Example: stemwright estimate song.mp3 --profile corpus --plot effects.png
    """
    from stemwright.datagen.run.stages import run_estimate

    how = {"model": model, "model_folder": model_folder, "device": device, "engine": engine, "precision": precision, "separator": separator}
    options = blind_estimates.SongOptions(how, profile, stems, offline, trust_pickle, csv, plot)
    of_stage = {"config": config, "reset": reset or None, "jobs": jobs if jobs > 1 else None, "dask": dask, "resources": resources}
    if blind_estimates.check_place(corpus, options, {**of_stage, "share": share, "calibration": calibration}):
        blind_estimates.estimate_song(Terminal(as_json), corpus, options)
        return
    run = StageRun("estimate", run_estimate, workers_of(jobs, dask, resources, share))
    one_stage(corpus, run, as_json, RequestedChanges({"estimate": calibration_changes(calibration)}, config, reset or ()))


@app.command(rich_help_panel=MAKE)
def plan(
    corpus: CorpusArgument, config: ConfigOption = None, reset: ResetOption = None, seed: SeedOption = None, as_json: JsonOption = False
) -> None:
    """Draw every pair and write the table of pairs; touches no audio.

    Example: stemwright plan corpus --seed 7
    """
    from stemwright.datagen.run.stages import run_plan

    one_stage(corpus, StageRun("plan", run_plan), as_json, RequestedChanges({"": {"seed": seed}}, config, reset or ()))


@app.command(rich_help_panel=MAKE)
def render(
    corpus: CorpusArgument,
    jobs: JobsOption = 1,
    dask: DaskOption = None,
    resources: ResourcesOption = None,
    share: ShareOption = None,
    dataset_format: FormatOption = None,
    as_json: JsonOption = False,
) -> None:
    """Render every planned pair into the dataset.

    With another format the rendered audio is packed again; nothing is rendered twice.

    Example: stemwright render corpus --jobs 2 --format webdataset
    """
    from stemwright.datagen.run.stages import run_render

    changes, workers = {"dataset": {"format": dataset_format}}, workers_of(jobs, dask, resources, share)
    one_stage(corpus, StageRun("render", run_render, workers), as_json, RequestedChanges(changes))


app.command(rich_help_panel=LOOK)(checking.check)
app.command(rich_help_panel=LOOK)(share_status.status)
app.command(rich_help_panel=LOOK)(cleaning.clean)
app.command(rich_help_panel=LOOK)(reporting.report)
app.command(rich_help_panel=SHARE)(sharing.export)
app.command(rich_help_panel=SHARE)(sharing.rebuild)
app.command(rich_help_panel=WITHOUT)(listening.balance)
app.command(rich_help_panel=WITHOUT)(calibrate_verb.calibrate)
app.command(rich_help_panel=WITHOUT)(ruling.rules)
app.command(rich_help_panel=WITHOUT)(editing.edit)
app.command(rich_help_panel=WITHOUT)(undoing.undo)
app.command(rich_help_panel=WITHOUT)(first_mixes.mix)
app.command(rich_help_panel=WITHOUT)(fitting.fit)
app.command(rich_help_panel=WITHOUT)(applying.apply)
app.command(rich_help_panel=WITHOUT)(evaluating.evaluate)
app.command(rich_help_panel=WITHOUT)(listening.effects)
app.add_typer(listening.models_app, name="models", rich_help_panel=WITHOUT)
app.command(rich_help_panel=SETTINGS)(configuring.init)
app.command(rich_help_panel=SETTINGS)(configuring.config)


def main() -> None:
    """Runs the command line; turns what went wrong, and what stopped it, into a line and an exit code."""
    if preemption.requested():
        preemption.listen()
    handle_termination()
    try:
        left = app(prog_name="stemwright", standalone_mode=not json_requested())
    except SystemExit as ended:
        if was_stopped(ended):
            _stop(UNCHANGED)
        raise
    except Stopped as stopped:
        _stop(str(stopped))
    except Exception as error:  # a person at a terminal is helped by a sentence; --verbose gives the rest
        import os

        if os.environ.get("STEMWRIGHT_TRACEBACK"):
            raise
        _fail(_said(error), getattr(error, "exit_code", 2 if isinstance(error, UsageError) else 1))
    else:
        sys.exit(left)  # with --json, typer returns the code


def _said(error: Exception) -> str:
    """What went wrong, in a sentence. Wrong usage is typer's, which has one of its own."""
    if hasattr(error, "format_message"):
        return str(error.format_message())
    return sentence(error) if isinstance(error, OSError) else str(error) or type(error).__name__


def _stop(message: str) -> None:
    """Ends a command that was stopped. One that is preempted ends well, even before its work has begun."""
    if not preemption.preempted():
        _fail(message, 130)
    preempted = "preempted before the work began" if message == UNCHANGED else "preempted"
    sys.stderr.write(visible(f"stemwright: {preempted}; {message.partition('; ')[2]}") + "\n")
    if json_requested():
        sys.stdout.write(as_json_text({"preempted": True}) + "\n")
    sys.exit(0)


def _fail(message: str, exit_code: int) -> None:
    sys.stderr.write(visible(f"stemwright: {message}") + "\n")
    if json_requested():
        sys.stdout.write(as_json_text({"error": message, "exit_code": exit_code}) + "\n")
    sys.exit(exit_code)
