"""The verb ``check``. ``datagen/cli.py`` puts it on the command line."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from datagen.verbs.options import JsonOption
from datagen.verbs.terminal import Terminal

if TYPE_CHECKING:
    from datagen.corpus import Corpus


def check(
    folder: Annotated[Path, typer.Argument(help="Corpus folder, or a dataset folder that stands alone.", show_default=False)],
    as_json: JsonOption = False,
) -> None:
    """Hold every table against the files and against itself; leaves with 1 and names the file if anything is wrong.

    Example: stemwright check corpus
    """
    from datagen.corpus import Corpus

    terminal = Terminal(as_json)
    wrong = check_folder(terminal, Corpus(folder))
    terminal.finish(1 if wrong else 0)


def check_folder(terminal: Terminal, place: Corpus) -> int:
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
