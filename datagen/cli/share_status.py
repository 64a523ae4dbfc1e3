"""The verb ``status``: how far the stages are, and which shares are at work. ``datagen/cli/app.py`` puts it on the command line."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from stemwright.datagen.cli.options import CorpusArgument, JsonOption
from stemwright.datagen.cli.terminal import Terminal
from stemwright.manifests.wording import counted

if TYPE_CHECKING:
    from rich.table import Table

    from stemwright.datagen.run.corpus_status import StageStatus
    from stemwright.datagen.run.shares import AtWork


def status(corpus: CorpusArgument, as_json: JsonOption = False) -> None:
    """Show how far each stage is, and which shares are at work, on which machines.

    Reads the tables, the journals and the leases, and changes nothing: on any machine that sees the corpus, while others work on it.

    Example: stemwright status corpus
    """
    from stemwright.datagen.run.corpus import Corpus
    from stemwright.datagen.run.corpus_status import status_of
    from stemwright.datagen.run.shares import at_work

    terminal, place = Terminal(as_json), Corpus(corpus)
    _ = place.config  # says so when the folder is no corpus
    stages, shares = status_of(place), at_work(place.folder)
    terminal.show("stages", _stages(stages), [asdict(stage) for stage in stages])
    if shares or as_json:
        terminal.show("shares", _shares(shares), [_plain(share) for share in shares])
    terminal.say(f"status: {counted(len(shares), 'share')} at work")
    terminal.finish(0)


def _stages(stages: list[StageStatus]) -> Table:
    from rich.table import Table

    table = Table(title="stages", title_justify="left", title_style="bold")
    for heading in ("stage", "done", "of", "rejected", "table"):
        table.add_column(heading, justify="left" if heading in ("stage", "table") else "right", no_wrap=True)
    for stage in stages:
        table.add_row(
            stage.stage, f"{stage.done:,}", f"{stage.of:,}", f"{stage.rejected:,}", "written" if stage.finished else "not written"
        )
    return table


def _shares(shares: list[AtWork]) -> Table:
    from rich.table import Table

    table = Table(title="shares at work", title_justify="left", title_style="bold")
    for heading in ("share", "verb", "done", "of", "machine", "process", "renewed", "subject"):
        table.add_column(
            heading, justify="right" if heading in ("done", "of", "process", "renewed") else "left", no_wrap=heading != "subject"
        )
    for each in shares:
        plain = _plain(each)
        done, total = ("-" if plain[name] is None else f"{int(plain[name]):,}" for name in ("done", "total"))
        renewed = "-" if each.renewed_s is None else f"{each.renewed_s:.0f} s ago"
        table.add_row(str(each.share), each.verb, done, total, plain["host"], str(plain["process"]), renewed, str(plain["subject"] or ""))
    return table


def _plain(each: AtWork) -> dict[str, Any]:
    work = {name: each.holder.work.get(name) for name in ("done", "total", "done_s", "total_s", "subject")}
    where = {"host": each.holder.host, "process": each.holder.process}
    return {
        "share": str(each.share),
        "verb": each.verb,
        **where,
        **work,
        "renewed_s": None if each.renewed_s is None else round(each.renewed_s, 1),
    }
