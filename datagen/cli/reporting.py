"""The verb ``report``. ``datagen/cli/app.py`` puts it on the command line."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from stemwright.datagen.cli.options import CorpusArgument, JsonOption, whole_number
from stemwright.datagen.cli.running import exit_code
from stemwright.datagen.cli.terminal import Terminal

if TYPE_CHECKING:
    from stemwright.datagen.report.page import Report
    from stemwright.datagen.run.corpus import Corpus


def report(
    corpus: CorpusArgument,
    out: Annotated[
        Path | None, typer.Argument(metavar="OUT", help="HTML file to write; by default CORPUS/report.html.", show_default=False)
    ] = None,
    players: Annotated[
        int,
        typer.Option(
            parser=whole_number(0), metavar="N", help="Rendered pairs to listen to on the page, 0 or more; 0 makes a page without audio."
        ),
    ] = 12,
    seed: Annotated[
        int, typer.Option(parser=whole_number(0), metavar="NUMBER", help="Seed for choosing those pairs: a whole number, 0 or more.")
    ] = 0,
    by: Annotated[
        list[str] | None,
        typer.Option(
            "--by",
            metavar="COLUMN",
            help="Also compare the songs by artist or any column of the CSV that lists them; repeatable. Year and genre are shown anyway.",
            show_default=False,
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Write one HTML page about a corpus: numbers, distributions, what was rejected, and pairs to listen to.

    The page contains everything, audio included, and opens in any browser without a network.

    Example: stemwright report corpus report.html --players 6
    """
    from stemwright.datagen.run.corpus import Corpus

    terminal, place = Terminal(as_json), Corpus(corpus)
    _ = place.config  # says so, before anything else, when the folder is no corpus
    with terminal.progress("report") as progress:
        path, made = _written(
            place, out, num_players=players, seed=seed, by=[" ".join(name.lower().split()) for name in by or ()], on_progress=progress
        )
    for note in made.notes:
        terminal.warn(note)
    _say(terminal, path, made)
    terminal.finish(exit_code(1, len(made.notes)))


def _written(place: Corpus, out: Path | None, **options: Any) -> tuple[Path, Report]:
    """The file of the page, and the page. Where the corpus cannot be written to, the error says how to name another file."""
    from stemwright.datagen.report.page import write_report
    from stemwright.datagen.run.corpus import CorpusError
    from stemwright.manifests.disk.durable import NOT_ALLOWED

    try:
        return write_report(place, out, **options)
    except OSError as error:
        if out is None and error.errno in NOT_ALLOWED:
            again = f"name another file: stemwright report {place.folder} OUT.html"
            raise CorpusError(f"{error.filename}: {error.strerror}; {again}") from error
        raise


def _say(terminal: Terminal, path: Path, made: Report) -> None:
    from stemwright.manifests.wording import counted, duration, size

    num_bytes = path.stat().st_size
    terminal.collected["report"] = {
        "path": str(path),
        "bytes": num_bytes,
        "players": made.num_players,
        "audio_seconds": round(made.audio_seconds, 3),
        "notes": list(made.notes),
    }
    terminal.say(
        f"report: {path} ({size(num_bytes)}, {counted(made.num_players, 'pair')} to hear, {duration(made.audio_seconds)} of audio)"
    )
