"""The verbs that share a corpus without publishing the recordings: ``export`` and ``rebuild``.

``datagen/cli/app.py`` puts them on the command line.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from stemwright.datagen.cli.logs import to_file
from stemwright.datagen.cli.options import (
    CorpusArgument,
    JobsOption,
    JsonOption,
    ModelFolderOption,
    OfflineOption,
    TrustPickleOption,
    absolute,
)
from stemwright.datagen.cli.running import exit_code
from stemwright.datagen.cli.stopping import KEPT, Stopped
from stemwright.datagen.cli.terminal import Terminal
from stemwright.manifests.disk.durable import NOT_ALLOWED
from stemwright.manifests.wording import counted

if TYPE_CHECKING:
    from rich.table import Table

    from stemwright.datagen.run.corpus import Corpus
    from stemwright.datagen.share.export import Exported
    from stemwright.datagen.share.rebuild import Rebuild, Rebuilt


def export(
    corpus: CorpusArgument,
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Folder to make, a .zip, or s3://BUCKET/PREFIX.", show_default=False)],
    audio: Annotated[bool, typer.Option("--audio/--no-audio", help="Include the audio of the dataset, or tables only.")] = True,
    jobs: JobsOption = 1,
    as_json: JsonOption = False,
) -> None:
    """Write a corpus for others: with --no-audio as tables only, from which `stemwright rebuild` makes the same bytes again.

    Example: stemwright export corpus recipes --no-audio
    """
    from stemwright.datagen.run.corpus import Corpus
    from stemwright.datagen.run.tasks import Workers
    from stemwright.datagen.share.export import export as export_corpus

    terminal, place = Terminal(as_json), Corpus(corpus)
    _ = place.config  # says so when the folder is no corpus
    with _held(place), terminal.progress("export") as report:
        done = export_corpus(place, out, audio=audio, workers=Workers(jobs), on_progress=report)
    plain = {"tracks": done.tracks, "pairs": done.pairs, "examples": done.examples, "bytes": done.total_bytes}
    terminal.show("export", _sizes(done), {**plain, "kb_per_song": round(done.kb_per_song, 2), "files": done.bytes_by_file})
    terminal.collected["notes"] = list(done.notes)
    for note in done.notes:
        terminal.say(f"  {note}")
    what = "tables" if not audio else "tables and sound"
    terminal.say(
        f"export: {counted(done.examples, 'example')} of {counted(done.tracks, 'song')}, {what}; {done.kb_per_song:.1f} kB of tables a song"
    )
    terminal.finish(0)


@contextmanager
def _held(place: Corpus) -> Iterator[None]:
    """Locks a corpus that is only read. On a read-only disk no process can change it, so it needs no lock."""
    with ExitStack() as stack:
        try:
            stack.enter_context(place.locked())
            to_file(place.log)
        except OSError as error:
            if error.errno not in NOT_ALLOWED:
                raise
        yield


def _sizes(done: Exported) -> Table:
    from rich.table import Table

    from stemwright.datagen.cli.cells import path_cell

    table = Table(title="What was written", title_justify="left", title_style="bold")
    table.add_column("file")
    table.add_column("kB", justify="right")
    for name, size in done.bytes_by_file.items():
        table.add_row(path_cell(name), f"{size / 1000:,.1f}")
    return table


def rebuild(
    recipes: Annotated[
        Path, typer.Argument(metavar="RECIPES", help="What `stemwright export` wrote: a folder or a .zip.", show_default=False)
    ],
    songs: Annotated[
        Path,
        typer.Argument(metavar="SONGS", help="Folder with your own copies of the songs, whatever they are called.", show_default=False),
    ],
    out: Annotated[Path, typer.Argument(metavar="CORPUS", help="Folder for the corpus.", show_default=False)],
    model_folder: ModelFolderOption = None,
    offline: OfflineOption = False,
    trust_pickle: TrustPickleOption = False,
    jobs: JobsOption = 1,
    as_json: JsonOption = False,
) -> None:
    """Make a dataset again, byte for byte, from its recipes and your own copies of the songs, and say how much of it is identical.

    Songs are found by their bytes, or in another encoding by their sound. Run it again to go on after an interruption.

    Example: stemwright rebuild recipes SONGS corpus
    """
    from stemwright.datagen.run.corpus import Corpus
    from stemwright.datagen.run.tasks import Workers
    from stemwright.datagen.share.reading import opened
    from stemwright.datagen.share.rebuild import Options, Rebuild, check_place

    terminal, place = Terminal(as_json), Corpus(out)
    options = Options(Workers(jobs), absolute(model_folder), offline, trust_pickle)
    with opened(recipes) as read:
        check_place(read, songs, place.folder)
        with place.locked():
            to_file(place.log)
            try:
                result = _steps(terminal, Rebuild(read, songs, place, options))
            except KeyboardInterrupt:
                raise Stopped(KEPT) from None
    _report(terminal, result, [(row.subject, row.reason) for row in place.rejected() if row.stage in ("separate", "render")])
    terminal.finish(exit_code(result.identical + result.different, result.rejected))


def _steps(terminal: Terminal, work: Rebuild) -> Rebuilt:
    """The steps of a rebuild, each with its bar."""
    work.begin()
    with terminal.progress("find") as report:
        work.find(report)
    with terminal.progress("separate") as report:
        work.separate(report)
    with terminal.progress("render") as report:
        return work.render(report)


def _report(terminal: Terminal, result: Rebuilt, refused: list[tuple[str, str]]) -> None:
    """Says what became of the songs, and how many examples are identical."""
    from rich.table import Table

    table = Table(title="Songs that are not the recorded files", title_justify="left", title_style="bold")
    for heading in ("song", "", "what"):
        table.add_column(heading)
    for song in result.songs:
        table.add_row(" - ".join(filter(None, (song["artist"], song["title"]))), song["status"], song["what"])
    if result.songs or terminal.as_json:
        terminal.show("songs", table, result.songs)
    for subject, reason in refused:
        if "was not rendered where" not in reason:
            terminal.say(f"  {subject}: {reason}")
    counts = {"recorded": result.recorded, "identical": result.identical, "different": result.different, "missing": result.missing}
    off = {"loudness_off_lu": round(result.loudness_off_lu, 3), "peak_off_db": round(result.peak_off_db, 3)}
    terminal.collected |= {"examples": {**counts, **off}, "notes": result.notes}
    terminal.collected["refused"] = [{"subject": subject, "reason": reason} for subject, reason in refused]
    for note in result.notes:
        terminal.say(f"  {note}")
    if result.different:
        worst = f"{result.loudness_off_lu:.2f} LU in loudness and {result.peak_off_db:.2f} dB in peak"
        terminal.say(
            f"  the files of {counted(result.different, 'example')} have other bytes than recorded: they differ by at most {worst}"
        )
    phrase = (
        f"{result.identical} of {counted(result.recorded, 'example')} identical, {result.different} different, {result.missing} missing"
    )
    terminal.say(f"rebuild: {phrase}")
