"""The verb ``demo``. ``datagen/cli/app.py`` puts it on the command line."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from stemwright.datagen.cli import completion
from stemwright.datagen.cli.checking import check_folder
from stemwright.datagen.cli.options import JobsOption, JsonOption, ModelFolderOption, absolute
from stemwright.datagen.cli.running import close, run_stages, working
from stemwright.datagen.cli.terminal import Terminal

if TYPE_CHECKING:
    from stemwright.datagen.run.corpus import Corpus


def demo(
    corpus: Annotated[Path, typer.Argument(metavar="CORPUS", help="Folder for the demo corpus.")] = Path("demo-corpus"),
    jobs: JobsOption = 1,
    model: Annotated[
        str,
        typer.Option(
            "--model",
            "-m",
            metavar="NAME",
            help="Separation model that is compared with the multitrack's own stems.",
            autocompletion=completion.models,
        ),
    ] = "bundled",
    model_folder: ModelFolderOption = None,
    as_json: JsonOption = False,
) -> None:
    """Run every stage on a real multitrack excerpt: catalog, balance, pairs, dataset, check.

    Example: stemwright demo demo-corpus
    """
    from stemwright.datagen.cli.demo_corpus import configuration, excerpt_folder
    from stemwright.datagen.run.corpus import Corpus
    from stemwright.datagen.run.stages import build_stages
    from stemwright.datagen.run.tasks import Workers

    terminal, place = Terminal(as_json), Corpus(corpus)
    config = configuration(excerpt_folder())
    place.check_free(config)
    with working(terminal, place, config):
        stages = build_stages(Workers(jobs))
        summaries = run_stages(terminal, place, {name: stages.pop(name) for name in ("catalog", "separate", "estimate")})
        _show_demo_balance(terminal, place, model, absolute(model_folder))
        summaries += run_stages(terminal, place, stages)
        wrong = check_folder(terminal, place)
    terminal.say("What to look at next")
    for what, why in NEXT_STEPS:
        terminal.say(f"  {what.format(corpus=corpus):<34}{why.format(corpus=corpus)}")
    close(terminal, place, "demo", summaries, wrong)


NEXT_STEPS = (
    ("stemwright report {corpus}", "then open report.html: charts and players"),
    ("{corpus}/dataset/*/removal/*/", "compare input_wet and target_dry by ear"),
    ("{corpus}/pairs.parquet", "all drawn settings (pandas.read_parquet)"),
    ("{corpus}/config.toml", "edit, then run stemwright plan and render"),
    ("stemwright build SONGS CORPUS", "the same with your own songs"),
)


def _show_demo_balance(terminal: Terminal, place: Corpus, model: str, model_folder: Path | None) -> None:
    """The balance from the multitrack's own stems, and, where a model can be had, from separated ones with the error."""
    from stemwright.datagen.cli.demo_corpus import separated_balance
    from stemwright.datagen.cli.tables import balance_plain, balance_table, comparison_table
    from stemwright.manifests.records import Estimate, Track
    from stemwright.separation.demucs.checkpoints import ModelError

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
        terminal.say("The bundled model is for a first try only; for real work use htdemucs_ft.")
