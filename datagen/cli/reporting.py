"""The verb ``report``. ``datagen/cli/app.py`` puts it on the command line."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from stemwright.datagen.cli.options import CorpusArgument, JsonOption
from stemwright.datagen.cli.running import exit_code
from stemwright.datagen.cli.terminal import Terminal

REPORT = "report.html"


def report(
    corpus: CorpusArgument,
    out: Annotated[
        Path | None, typer.Argument(metavar="OUT", help=f"HTML file to write; by default CORPUS/{REPORT}.", show_default=False)
    ] = None,
    players: Annotated[
        int, typer.Option(min=0, metavar="N", help="Rendered pairs to listen to on the page; 0 for a page without audio.")
    ] = 12,
    seed: Annotated[int, typer.Option(metavar="NUMBER", help="Seed for choosing those pairs.")] = 0,
    as_json: JsonOption = False,
) -> None:
    """Write one HTML page about a corpus: numbers, distributions, what was rejected, and pairs to listen to.

    The page contains everything, audio included, and opens in any browser without a network.

    Example: stemwright report corpus report.html --players 6
    """
    from stemwright.datagen.report.page import make_report
    from stemwright.datagen.run.corpus import Corpus, CorpusError
    from stemwright.manifests.disk.durable import NOT_ALLOWED, remove_earlier, write_bytes
    from stemwright.manifests.disk.outputs import PAGES, check_output
    from stemwright.manifests.wording import counted, duration, size

    terminal, place = Terminal(as_json), Corpus(corpus)
    path = out or corpus / REPORT
    if path.is_dir():
        raise CorpusError(f"{path} is a folder; expected the HTML file to write, such as {path / REPORT}")
    check_output(path, PAGES)
    with terminal.progress("report") as progress:
        made = make_report(place, num_players=players, seed=seed, on_progress=progress)
    data = made.html.encode()
    remove_earlier(path)
    try:
        write_bytes(path, data)
    except OSError as error:
        if out is None and error.errno in NOT_ALLOWED:
            raise CorpusError(f"{path}: {error.strerror}; name another file: stemwright report {corpus} OUT.html") from error
        raise
    for note in made.notes:
        terminal.warn(note)
    terminal.collected["report"] = {
        "path": str(path),
        "bytes": len(data),
        "players": made.num_players,
        "audio_seconds": round(made.audio_seconds, 3),
        "notes": list(made.notes),
    }
    terminal.say(
        f"report: {path} ({size(len(data))}, {counted(made.num_players, 'pair')} to hear, {duration(made.audio_seconds)} of audio)"
    )
    terminal.finish(exit_code(1, len(made.notes)))
