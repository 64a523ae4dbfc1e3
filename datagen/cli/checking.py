"""The verb ``check``. ``datagen/cli/app.py`` puts it on the command line."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from stemwright.datagen.cli.options import JsonOption
from stemwright.datagen.cli.terminal import Terminal

if TYPE_CHECKING:
    from stemwright.datagen.run.corpus import Corpus


def check(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Corpus folder, or a dataset folder.", show_default=False)],
    songs: Annotated[
        Path | None,
        typer.Option("--songs", metavar="SONGS", help="New location of the songs, if they were moved: a folder, or the CSV file."),
    ] = None,
    checksums: Annotated[bool, typer.Option("--checksums", help="Also download what is in a bucket, and compare its bytes.")] = False,
    deep: Annotated[bool, typer.Option("--deep", help="Also decode and sum stems that an earlier check of the same bytes summed.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Check every table for consistency and against the files; exit with 1 and name the file if anything is wrong.

    Stems are decoded and summed once; later checks of the same bytes compare checksums (--deep: sum again).

    While a stage is running, its unfinished work is not checked.

    Also lists what was found in songs and handled: mended stems of multitracks, copies, clipping, offsets. These are no problems.

    Example: stemwright check corpus
    """
    from stemwright.datagen.cli.tables import findings_table
    from stemwright.datagen.run.corpus import Corpus
    from stemwright.datagen.run.findings import findings_of
    from stemwright.manifests.catalog.tracks import songs_root
    from stemwright.manifests.disk.mirror import on_disk
    from stemwright.manifests.usage import UsageError

    if songs is not None and not on_disk(songs).exists():
        raise UsageError(f"--songs {songs} does not exist; expected the folder of the corpus's songs, or the CSV file that lists them")
    if not folder.is_dir():
        why = "is a file" if folder.exists() else "does not exist"
        raise UsageError(f"{folder} {why}; expected a corpus folder, or a self-contained dataset folder")
    terminal, place = Terminal(as_json), Corpus(folder)
    if not place.config_path.exists() and not any(folder.glob("*.parquet")):
        raise UsageError(f"{folder} is neither a corpus (it has no config.toml) nor a dataset (it has no pairs.parquet)")
    found = findings_of(place) if place.config_path.exists() else []
    if listed := [each for each in found if each.kind != "note"]:
        terminal.show("findings", findings_table(listed), [each.plain() for each in found])
    elif terminal.as_json:
        terminal.collected["findings"] = [each.plain() for each in found]
    wrong = check_folder(terminal, place, songs=songs and songs_root(songs).absolute(), alone=False, download=checksums, deep=deep)
    terminal.finish(1 if wrong else 0)


def check_folder(
    terminal: Terminal, place: Corpus, *, songs: Path | None = None, alone: bool = True, download: bool = False, deep: bool = False
) -> int:
    """Checks a corpus or a dataset, shows what is wrong, and returns how many errors there are; a warning is none.

    ``songs`` is where the songs are, if not where the configuration says. ``alone`` says that the caller holds the corpus itself.
    ``download`` also compares the bytes of what is in a store, ``deep`` measures sums again that were measured.
    """
    from stemwright.datagen.cli.tables import problems_table
    from stemwright.datagen.run.corpus_check import problems_of
    from stemwright.manifests.check import errors
    from stemwright.manifests.wording import counted

    with terminal.progress("check") as report:
        problems = problems_of(place, songs, on_progress=report, alone=alone, download=download, deep=deep)
    if problems or terminal.as_json:
        terminal.show("problems", problems_table(problems), [problem.model_dump(mode="json") for problem in problems])
    wrong = len(errors(problems))
    if any(problem.table == "shards" or problem.file.endswith((".flac", ".wav")) for problem in errors(problems)):
        terminal.say("A damaged file is made again once it is deleted and the same command is run again.")
    terminal.say(f"check: {counted(wrong, 'problem')}, {counted(len(problems) - wrong, 'warning')}")
    return wrong
