"""The verbs ``init``, which writes a configuration to start from, and ``config``, which explains keys. ``datagen/cli/app.py`` puts them
on the command line.
"""

from __future__ import annotations

import difflib
import re
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from stemwright.datagen.cli.completion import configuration_keys
from stemwright.datagen.cli.options import JsonOption
from stemwright.datagen.cli.terminal import Terminal
from stemwright.manifests.usage import UsageError

if TYPE_CHECKING:
    from rich.table import Table

    from stemwright.datagen.run.config_reference import ConfigKey, SectionOfKeys


def init(
    place: Annotated[
        Path | None,
        typer.Argument(
            metavar="FILE", help="File to write (.toml), or a folder for it; by default stemwright.toml here.", show_default=False
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Write over a file that is there.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Write a configuration to start from, in which every key is explained and none is set.

    Example: stemwright init my.toml
    """
    from stemwright.datagen.run.config_template import FILE_NAME, commented
    from stemwright.manifests.disk.durable import write_bytes

    terminal = Terminal(as_json)
    path = place or Path(FILE_NAME)
    if path.is_dir() or path.suffix != ".toml":
        path = path / FILE_NAME
    if path.is_dir() or any(parent.exists() and not parent.is_dir() for parent in path.parents):
        raise UsageError(f"{path} cannot be written: expected the name of a file in a folder, such as {FILE_NAME}")
    if path.exists() and not force:
        raise UsageError(f"{path} exists; name another file, or use --force to replace it")
    write_bytes(path, commented(str(path)).encode())
    terminal.collected["written"] = str(path)
    terminal.say(f"written: {path}. Remove the # before a key to set it, then: stemwright build SONGS CORPUS --config {path}")
    terminal.finish(0)


def config(
    key: Annotated[
        str | None,
        typer.Argument(
            metavar="KEY",
            help="Key or section, e.g. pairs.mix; by default all, in short.",
            show_default=False,
            autocompletion=configuration_keys,
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Explain the configuration: every key with its default, or one key or section in full.

    Example: stemwright config pairs.removal.kept
    """
    from stemwright.datagen.run.config_reference import sections

    terminal, every = Terminal(as_json), sections()
    found = [(section, chosen) for section in every if (chosen := _chosen(section, key))]
    if not found:
        raise UsageError(_unknown(key or "", every))
    plain = [_plain(each) for _, keys in found for each in keys]
    if key is None or not any(each.path == key for _, keys in found for each in keys):
        terminal.show("keys", _table(found, in_short=key is None), plain)
        terminal.say("One key in full: stemwright config KEY. A file to start from: stemwright init")
    else:
        ((_, (one,)),) = found
        terminal.show("keys", _in_full(one), plain)
    terminal.finish(0)


def _chosen(section: SectionOfKeys, key: str | None) -> list[ConfigKey]:
    """The keys of a section that a name means: all, those of the section or of one above it, the key of this path, or none."""
    if key is None or f"{section.path}.".startswith(f"{key}."):
        return list(section.keys)
    return [each for each in section.keys if each.path == key]


def _unknown(key: str, every: tuple[SectionOfKeys, ...]) -> str:
    """What is wrong with a name that no key and no section has, and which were meant."""
    paths = [each.path for section in every for each in section.keys] + [section.path for section in every if section.path]
    ends = [path for path in paths if path.split(".")[-1] == key.split(".")[-1]]
    meant = ends or difflib.get_close_matches(key, paths, n=3, cutoff=0.6) or [path for path in paths if key in path][:5]
    return f"the configuration has no key {key!r}" + (
        f"; did you mean {' or '.join(map(repr, meant))}?" if meant else "; `stemwright config` lists all"
    )


def _plain(key: ConfigKey) -> dict[str, Any]:
    return {"key": key.path, **asdict(key), "choices": list(key.choices)}


def _table(found: list[tuple[SectionOfKeys, list[ConfigKey]]], *, in_short: bool) -> Table:
    """Keys by section, each with its default and what it means; in short, the first part of that, else with what it takes."""
    from rich.table import Table

    from stemwright.datagen.run.config_template import facts, plain_text

    table = Table()
    table.add_column("key", no_wrap=True)
    table.add_column("default", overflow="fold", max_width=14)
    table.add_column("meaning", overflow="fold")
    for section, keys in found:
        table.add_section()
        table.add_row(f"[{section.path}]" if section.path else "", "", plain_text(section.description.split("\n")[0]), style="bold")
        for key in keys:
            meaning = plain_text(key.description)
            meaning = re.split(r"; |\. ", meaning)[0] if in_short else f"{meaning} ({facts(key)})"
            table.add_row(f"  {key.name}", key.default, meaning)
    return table


def _in_full(key: ConfigKey) -> Table:
    """Everything that is known of one key."""
    from rich.table import Table

    from stemwright.datagen.run.config_template import facts, plain_text

    table = Table(show_header=False, title=key.path, title_justify="left", title_style="bold")
    table.add_column("what", no_wrap=True)
    table.add_column("value", overflow="fold")
    table.add_row("meaning", plain_text(key.description))
    table.add_row("takes", facts(key))
    table.add_row("default", key.default)
    table.add_row("since", key.since)
    table.add_row("in a file", f"[{key.section}] {key.name} = ..." if key.section else f"{key.name} = ... (before any section)")
    return table
