"""The verb ``clean``. ``datagen/cli/app.py`` puts it on the command line."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from stemwright.datagen.cli.options import CorpusArgument, JsonOption
from stemwright.datagen.cli.terminal import Terminal
from stemwright.manifests.disk.mirror import as_named, is_mirrored
from stemwright.manifests.wording import counted, size

if TYPE_CHECKING:
    from rich.table import Table

    from stemwright.datagen.run.corpus import Corpus
    from stemwright.datagen.run.orphans import Orphan


def clean(
    corpus: CorpusArgument,
    kept: Annotated[bool, typer.Option("--kept", help="Include stems and tables kept for other settings, or for missing songs.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Delete without asking (required in scripts).")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="List what would be deleted, and delete nothing.")] = False,
    as_json: JsonOption = False,
) -> None:
    """List files that a corpus no longer uses, and delete them after confirmation.

    These are stems and examples that no row names, and leftovers of killed processes. Your own files are never touched.

    Stems of other models are deleted only with --kept.

    Example: stemwright clean corpus --dry-run
    """
    from stemwright.datagen.run.corpus import Corpus
    from stemwright.datagen.run.orphans import find_orphans

    terminal, place = Terminal(as_json), Corpus(corpus)
    _ = place.config  # says so when the folder is no corpus
    place.check_not_in_use()
    every = find_orphans(place, kept=True)
    found = [orphan for orphan in every if kept or orphan.kind != "kept"]
    spared = [orphan for orphan in every if orphan not in found]
    if found or as_json:
        terminal.show("orphans", _table(found), [_plain(place, orphan) for orphan in found])
    if spared:
        terminal.say(f"kept: {_in_all(spared)} for other settings, or for missing songs; --kept lists them, too")
    deleted, freed, code = 0, 0, 0
    if found and not dry_run:
        if yes or _agreed(terminal, found):
            deleted, freed = _delete(place, found, kept=kept)
        elif as_json or not sys.stdin.isatty():
            terminal.warn("nothing was deleted: no terminal to confirm at. Pass --yes to delete these files, or --dry-run to list them")
            code = 2
    terminal.collected |= {"deleted": deleted, "freed_bytes": freed}
    terminal.say(_last_line(found, deleted, freed, dry_run=dry_run))
    terminal.finish(code)


def _delete(place: Corpus, found: Sequence[Orphan], *, kept: bool) -> tuple[int, int]:
    """Deletes what was listed and is still an orphan now that this process has locked the corpus."""
    from stemwright.datagen.run.orphans import find_orphans, remove_orphans

    with place.locked():  # this removes hidden files of killed processes, too
        listed, gone = (
            {orphan.path for orphan in found},
            [orphan for orphan in found if not (orphan.path.exists() or is_mirrored(orphan.path))],
        )
        count, freed = remove_orphans(orphan for orphan in find_orphans(place, kept=kept) if orphan.path in listed)
    return count + len(gone), freed + sum(orphan.num_bytes for orphan in gone)


def _agreed(terminal: Terminal, found: Sequence[Orphan]) -> bool:
    """Asks at a terminal; no, where there is none."""
    if terminal.as_json or not sys.stdin.isatty():
        return False
    return typer.confirm(f"Delete {_in_all(found)}?", default=False)


def _in_all(found: Sequence[Orphan]) -> str:
    return f"{counted(len(found), 'file')} ({size(sum(orphan.num_bytes for orphan in found))})"


def _last_line(found: Sequence[Orphan], deleted: int, freed: int, *, dry_run: bool) -> str:
    if not found:
        return "clean: nothing to delete"
    if deleted:
        return f"clean: {counted(deleted, 'file')} deleted, {size(freed)} freed"
    return f"clean: {_in_all(found)} would be deleted" if dry_run else "clean: nothing deleted"


def _plain(place: Corpus, orphan: Orphan) -> dict[str, Any]:
    file = as_named(orphan.path) if is_mirrored(orphan.path) else orphan.path.relative_to(place.folder).as_posix()
    return {"kind": orphan.kind, "file": file, "bytes": orphan.num_bytes}


def _table(found: Sequence[Orphan]) -> Table:
    """Each kind with the number of its files, their size, and the folders that they are in."""
    from rich.table import Table

    from stemwright.datagen.run.orphans import KINDS

    shown = Table(title="Of no use to this corpus", title_justify="left", title_style="bold")
    shown.add_column("what", overflow="fold")
    for heading in ("files", "size"):
        shown.add_column(heading, justify="right", no_wrap=True)
    shown.add_column("first", overflow="fold")
    for kind, what in KINDS.items():
        if of_kind := [orphan for orphan in found if orphan.kind == kind]:
            first = of_kind[0]
            root = first.root.parent if first.root.name in ("stems", "dataset") else first.root
            name = as_named(first.path) if is_mirrored(first.path) else first.path.relative_to(root).as_posix()
            shown.add_row(what, f"{len(of_kind):,}", size(sum(orphan.num_bytes for orphan in of_kind)), name)
    return shown
