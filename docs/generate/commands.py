"""The reference of the command line: every verb with its arguments and options, from the command line itself."""

from __future__ import annotations

import re
from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import typer

from generate.tables import cell, code
from stemwright.datagen.cli.app import app
from stemwright.datagen.cli.options import completed_help

HEAD = """# Command line

`stemwright VERB --help` prints the same. `python -m stemwright` is `stemwright`.

| exit code | means |
|---|---|
| 0 | done |
| 1 | failed, or a check found something wrong |
| 2 | wrong usage: a key, an option or a file that is not there |
| 3 | done, but something was rejected; `rejected.parquet` says what and why |
| 130 | stopped by Ctrl-C or SIGTERM; the same command goes on from there |

This page is generated from the command line itself.

"""
METAVARS = {Path: "PATH", int: "N", float: "NUMBER", str: "TEXT"}


def verbs() -> Iterator[tuple[str, Any]]:
    """Every verb by the words that are typed, those of groups included (``models fetch``)."""
    yield from _verbs(typer.main.get_command(app), "")


def _verbs(command: Any, name: str) -> Iterator[tuple[str, Any]]:
    commands = getattr(command, "commands", {})
    if name and (not commands or getattr(command, "invoke_without_command", False)):
        yield name, command
    for word, each in commands.items():
        if not each.hidden:
            yield from _verbs(each, f"{name} {word}".strip())


def write(path: Path) -> None:
    """Writes the page."""
    path.write_text(HEAD + "\n".join(_verb(name, command) for name, command in verbs()), encoding="utf-8")


def _verb(name: str, command: Any) -> str:
    anchor = f"command-{name.replace(' ', '-')}"
    text, examples = _help(command.help or "")
    parts = [f"({anchor})=\n## {name}\n", f"```text\n{_usage(name, command)}\n```\n", text + "\n"]
    parts += [f"```console\n$ {example}\n```\n" for example in examples]
    shown = [parameter for parameter in command.params if not getattr(parameter, "hidden", False) and parameter.name != "help"]
    if shown:
        parts += [_term(parameter) for parameter in shown]
    return "\n".join(parts)


def _usage(name: str, command: Any) -> str:
    arguments = [_argument(each) for each in command.params if each.param_type_name == "argument"]
    return " ".join(["stemwright", name, *(["[OPTIONS]"] if len(arguments) < len(command.params) else []), *arguments])


def _argument(parameter: Any) -> str:
    metavar = (parameter.metavar or str(parameter.name)).upper() + ("..." if parameter.nargs == -1 else "")
    return metavar if parameter.required else f"[{metavar}]"


def _help(text: str) -> tuple[str, list[str]]:
    """The text of a verb's help in Markdown, and its examples by themselves."""
    paragraphs = [" ".join(part.split()) for part in re.split(r"\n\s*\n", text.replace("\b", ""))]
    examples = [re.sub(r"^Examples?:\s*", "", part) for part in paragraphs if part.startswith("Example")]
    return "\n\n".join(cell(part) for part in paragraphs if part and not part.startswith("Example")), examples


def _term(parameter: Any) -> str:
    """An argument or option as a term, and its help."""
    about = cell(completed_help(getattr(parameter, "help", None) or ""))
    if parameter.param_type_name == "argument":
        return f"{code(_argument(parameter))}\n: {about}\n"
    names = ", ".join(code(name) for name in (*parameter.opts, *parameter.secondary_opts))
    kind = "" if getattr(parameter, "is_flag", False) else " " + code(_takes(parameter))
    default = parameter.default
    known = isinstance(default, (str, int, float)) and default is not False and default != ""
    return f"{names}{kind}\n: {about}{f' Default {code(default)}.' if known else ''}\n"


def _takes(parameter: Any) -> str:
    if parameter.metavar:
        return str(parameter.metavar).upper()
    annotation = parameter.type_descriptor.annotation
    if get_origin(annotation) is list:
        annotation = get_args(annotation)[0]
    choices = (
        get_args(annotation) if get_origin(annotation) is Literal else [each.value for each in annotation] if _is_enum(annotation) else ()
    )
    return "|".join(choices) or METAVARS.get(annotation, "TEXT")


def _is_enum(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, Enum)
