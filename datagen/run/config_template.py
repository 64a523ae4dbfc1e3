"""A configuration to start from: every key with its meaning, unit, range and default, as comments.

Conventions
    A line ``#key = value`` is a key at its default: removing its ``#`` changes nothing. A line ``# text`` explains. Tables are
    named, so a key is set by removing one character. A key without a default stays a line of text until it gets a value.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator

from stemwright.datagen.run.config_reference import NOT_GIVEN, ConfigKey, SectionOfKeys, sections

FILE_NAME = "stemwright.toml"  # what a configuration is called where its name is not given
WIDTH = 100

HEAD = """\
Configuration of stemwright. Remove the # before a key to set it; every key that is left out keeps its default.
Use it with: stemwright build SONGS CORPUS --config {name}
One key in full: stemwright config pairs.removal.kept"""


def commented(name: str = FILE_NAME) -> str:
    """The text of a configuration file that changes nothing: valid TOML, with every key in a comment. ``name`` is the file's own."""
    lines = list(_prose(HEAD.format(name=name)))
    for section in sections():
        lines += ["", *_section(section)]
    return "\n".join(lines) + "\n"


def _section(section: SectionOfKeys) -> Iterator[str]:
    if section.path:
        yield f"[{section.path}]"
        yield from _prose(plain_text(section.description))
    for key in section.keys:
        yield ""
        yield from _prose(plain_text(key.description))
        yield from _prose(f"({facts(key)})")
        yield f"# {key.name} = ...  is not given" if key.default == NOT_GIVEN else f"#{key.name} = {key.default}"


def facts(key: ConfigKey) -> str:
    """What a key takes, as text: "number, dB, from -60 to 0" or the choices."""
    if key.kind == "choice":
        return f"one of {', '.join(key.choices)}"
    kind = f"list of {', '.join(key.choices)}" if key.choices else key.kind
    return ", ".join(fact for fact in (kind, key.unit if key.unit != key.kind else "", key.range) if fact)


def plain_text(description: str) -> str:
    """A description as a terminal and a comment show it: without the double quotes of code."""
    return description.replace("``", "")


def _prose(text: str) -> Iterator[str]:
    for paragraph in text.split("\n"):
        wrapped = textwrap.wrap(paragraph.strip(), WIDTH - 2, break_long_words=False, break_on_hyphens=False)
        yield from (f"# {line}" for line in wrapped or [])
