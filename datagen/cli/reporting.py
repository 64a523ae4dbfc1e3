"""The verb ``report``. ``datagen/cli/app.py`` puts it on the command line."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from stemwright.datagen.cli.options import CorpusArgument, JsonOption
from stemwright.datagen.cli.running import exit_code
from stemwright.datagen.cli.terminal import Terminal


def report(
    corpus: CorpusArgument,
    out: Annotated[
        Path | None, typer.Argument(metavar="OUT", help="HTML file to write; by default CORPUS/report.html.", show_default=False)
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
    from stemwright.datagen.report.page import write_report
    from stemwright.datagen.run.corpus import Corpus, CorpusError
    from stemwright.manifests.disk.durable import NOT_ALLOWED
    from stemwright.manifests.wording import counted, duration, size

    terminal = Terminal(as_json)
    try:
        with terminal.progress("report") as progress:
            path, made = write_report(Corpus(corpus), out, num_players=players, seed=seed, on_progress=progress)
    except OSError as error:
        if out is None and error.errno in NOT_ALLOWED:
            raise CorpusError(f"{error.filename}: {error.strerror}; name another file: stemwright report {corpus} OUT.html") from error
        raise
    num_bytes = path.stat().st_size
    for note in made.notes:
        terminal.warn(note)
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
    terminal.finish(exit_code(1, len(made.notes)))
