"""The verb ``check``. ``datagen/cli/app.py`` puts it on the command line."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from stemwright.datagen.cli.options import JsonOption
from stemwright.datagen.cli.terminal import Terminal
from stemwright.manifests.shards import DATASET

if TYPE_CHECKING:
    from stemwright.datagen.run.corpus import Corpus
    from stemwright.manifests.check import CheckProblem
    from stemwright.manifests.progress import OnProgress


def check(
    folder: Annotated[Path, typer.Argument(help="Corpus folder, or a dataset folder that stands alone.", show_default=False)],
    songs: Annotated[
        Path | None, typer.Option("--songs", help="Where the songs are now, if they were moved: a folder, or the CSV file.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Check every table against the files and against itself; exits with 1 and names the file if anything is wrong.

    While a stage runs, what is under way is not judged.

    Example: stemwright check corpus
    """
    from stemwright.datagen.run.corpus import Corpus
    from stemwright.manifests.catalog.tracks import songs_root
    from stemwright.manifests.usage import UsageError

    if songs is not None and not songs.exists():
        raise UsageError(f"--songs {songs} does not exist; expected the folder of the corpus's songs, or the CSV file that lists them")
    terminal, place = Terminal(as_json), Corpus(folder)
    wrong = check_folder(terminal, place, songs=songs and songs_root(songs.absolute()), alone=False)
    terminal.finish(1 if wrong else 0)


def check_folder(terminal: Terminal, place: Corpus, *, songs: Path | None = None, alone: bool = True) -> int:
    """Checks a corpus or a dataset, shows what is wrong, and returns how many errors there are; a warning is none.

    ``songs`` is where the songs are, if not where the configuration says. ``alone`` says that the caller holds the corpus itself.
    """
    from stemwright.datagen.cli.tables import problems_table
    from stemwright.manifests.check import errors
    from stemwright.manifests.wording import counted

    with terminal.progress("check") as report:
        problems = _problems(place, songs, report, alone)
    if problems or terminal.as_json:
        terminal.show("problems", problems_table(problems), [problem.model_dump(mode="json") for problem in problems])
    wrong = len(errors(problems))
    if any(problem.table == "shards" or problem.file.endswith((".flac", ".wav")) for problem in errors(problems)):
        terminal.say("A damaged file is made again once it is deleted and the same command is run again.")
    terminal.say(f"check: {counted(wrong, 'problem')}, {counted(len(problems) - wrong, 'warning')}")
    return wrong


def _problems(place: Corpus, songs: Path | None, tell: OnProgress, alone: bool) -> list[CheckProblem]:
    """What is wrong. Where another process works on the corpus, or has begun to since, only what it does not touch is judged."""
    from stemwright.datagen.run.config import ConfigError
    from stemwright.datagen.run.stages.rendering import unrendered
    from stemwright.manifests.check import CheckProblem, check_corpus, check_dataset, check_meanwhile
    from stemwright.manifests.disk.locks import is_held

    if not place.config_path.exists():
        within = place.folder.parent
        busy = place.folder.name == DATASET and (within / "config.toml").exists() and is_held(within / ".lock")
        if busy:  # of a corpus, whose lock says so: judged with it
            return _problems(type(place)(within), songs, tell, alone)
        return check_dataset(place.folder, progress=tell)
    unusable, held = [], frozenset[str]()
    try:
        songs = songs or place.songs
    except (ConfigError, OSError) as error:
        unusable = [CheckProblem(file=place.config_path.name, what=str(error))]
    if not unusable:
        with suppress(ValueError, OSError):  # a table that cannot be read: the check says so itself
            held, _ = unrendered(place)
    lock = place.folder / ".lock"
    if alone or not is_held(lock):
        found = [*unusable, *check_corpus(place.folder, songs, unrendered=held, progress=tell)]
        if alone or not found or not is_held(lock):
            return found
    return [*unusable, *check_meanwhile(place.folder, songs, progress=tell)]
