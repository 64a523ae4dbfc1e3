"""The reference of the configuration: every key of every section, from the models that check them."""

from __future__ import annotations

from pathlib import Path

from generate.tables import cell, code
from stemwright.datagen.run.config_reference import NOT_GIVEN, REQUIRED, ConfigKey, SectionOfKeys, named_tables, sections

HEAD = """# Configuration

A corpus keeps its configuration in `CORPUS/config.toml`, with every default filled in. Another one is given with `--config FILE`: it
changes the keys that it names and no others; `--reset KEY` gives a key (`separation.input_lufs`) or a section (`pairs`) its default again.
An empty file is a whole configuration, and an unknown key is an error that names the nearest known one.

This page is generated from the models that check the configuration.

"""


def write(path: Path) -> None:
    """Writes the page."""
    path.write_text(HEAD + "\n".join(_section(section) for section in (*sections(), *named_tables())), encoding="utf-8")


def _section(section: SectionOfKeys) -> str:
    title = f"`[{section.path}]`" if section.path else "Top level"
    anchor = f"config-{section.path.lower().replace('.', '-').replace('_', '-') or 'top'}"
    return "\n".join([f"({anchor})=\n## {title}\n\n{cell(_sentence(section.description))}\n", *(_key(key) for key in section.keys)])


def _key(key: ConfigKey) -> str:
    """A key as a term that can be linked to, its meaning, and a line of what it takes."""
    facts = " · ".join([_takes(key), f"default {_default(key)}", f"since {key.since}"])
    return f"[{code(key.name)}]{{#key-{key.path.replace('.', '-')}}}\n: {cell(_sentence(key.description))}\n\n  {facts}\n"


def _takes(key: ConfigKey) -> str:
    if key.choices:
        return ("several of " if key.kind.startswith("list") else "") + ", ".join(code(choice) for choice in key.choices)
    unit = f" {key.unit}" if key.unit and key.unit != key.kind else ""
    return cell(f"{key.kind}, {key.range}{unit}" if key.range else f"{key.kind},{unit}" if unit else key.kind)


def _default(key: ConfigKey) -> str:
    return key.default if key.default in (NOT_GIVEN, REQUIRED) else code(key.default)


def _sentence(text: str) -> str:
    text = " ".join(text.split())
    return text[:1].upper() + text[1:] + ("" if text.endswith((".", "!", "?")) else ".")
