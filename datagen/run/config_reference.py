"""Every key of the configuration with what it means, read from the models that check it: for the reference and the command line.

Conventions
    A key is described where it is declared: ``Field(default, ge=0, description="...", json_schema_extra=since("0.1", unit="dB"))``. Type,
    range and default are read from the field itself, so nothing is written twice.
    Texts are written as TOML writes the value; a default that is none reads "not given", since TOML has no null.
"""

from __future__ import annotations

import json
import types
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Any, Literal, Union, cast, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from stemwright.datagen.pairs.section import range_of
from stemwright.datagen.run.configuration import Config

NOT_GIVEN = "not given"
REQUIRED = "none: it must be given"  # a key of a named table only
NAMES = {str: "string", int: "whole number", float: "number", bool: "true or false"}


@dataclass(frozen=True)
class ConfigKey:
    """One key: ``section`` is its table ("" at the top), ``kind`` its type, ``choices`` the values that a choice takes."""

    section: str
    name: str
    description: str
    kind: str
    choices: tuple[str, ...]
    unit: str
    range: str
    default: str
    since: str

    @property
    def path(self) -> str:
        """The key with its section: ``pairs.mix.per_track``."""
        return f"{self.section}.{self.name}" if self.section else self.name


@dataclass(frozen=True)
class SectionOfKeys:
    """One table of the configuration: its path ("" is the top), what it is for, and its keys in the order of declaration."""

    path: str
    description: str
    keys: tuple[ConfigKey, ...]


@cache
def sections() -> tuple[SectionOfKeys, ...]:
    """All tables of the configuration, the top first, each before those below it."""
    return tuple(_sections(Config, "", ""))


@cache
def named_tables() -> tuple[SectionOfKeys, ...]:
    """The tables that a configuration gives names of its own, ``[pairs.restore.degradations.NAME]``: there are none by default."""
    return tuple(_named_tables(Config, ""))


def _named_tables(model: type[BaseModel], path: str) -> Iterator[SectionOfKeys]:
    for name, field in model.model_fields.items():
        if _is_section(field.annotation):
            yield from _named_tables(field.annotation, f"{path}.{name}".lstrip("."))  # type: ignore[arg-type]
        elif (item := _section_of_table(field.annotation)) is not None:
            yield from _sections(item, f"{path}.{name}.NAME".lstrip("."), "")


def _sections(model: type[BaseModel], path: str, description: str) -> Iterator[SectionOfKeys]:
    own = [(name, field) for name, field in model.model_fields.items() if not _is_section(field.annotation)]
    yield SectionOfKeys(path, description or (model.__doc__ or "").strip(), tuple(_key(path, name, field) for name, field in own))
    for name, field in model.model_fields.items():
        if _is_section(field.annotation):
            yield from _sections(field.annotation, f"{path}.{name}".lstrip("."), field.description or "")  # type: ignore[arg-type]


def _is_section(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def _section_of_table(annotation: Any) -> type[BaseModel] | None:
    """The section that each value of a table is, as in ``dict[str, Degradation]``; None for any other key."""
    item = get_args(annotation)[1] if get_origin(annotation) is dict else None
    return item if _is_section(item) else None


def _key(section: str, name: str, field: FieldInfo) -> ConfigKey:
    extra = field.json_schema_extra if isinstance(field.json_schema_extra, dict) else {}
    named = tuple(_toml(choice) for choice in cast("list[str]", extra.get("choices", [])))
    kind = "choice" if named else _kind(field.annotation)
    return ConfigKey(
        section=section,
        name=name,
        description=field.description or "",
        kind=kind,
        choices=named or (_choices(field.annotation) if "choice" in kind else ()),
        unit=str(extra.get("unit", "")),
        range=range_of(field),
        default=REQUIRED if field.is_required() else _toml(field.get_default(call_default_factory=True)),
        since=str(extra.get("since", "")),
    )


def _kind(annotation: Any) -> str:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin in (Union, types.UnionType):
        return _kind(next(each for each in arguments if each is not type(None)))
    if origin is Annotated:
        return _kind(arguments[0])
    if origin is Literal:
        return "choice"
    if origin is tuple:
        if len(arguments) == 2 and arguments[1] is Ellipsis:
            return f"list of {_kind(arguments[0])}s"
        return f"list of {len(arguments)} {_kind(arguments[0])}s"
    if origin is dict:
        return f"table of {_kind(arguments[1])}s" if get_origin(arguments[1]) is Annotated else "tables"
    if _is_section(annotation):
        return "table"
    return NAMES[annotation]


def _choices(annotation: Any) -> tuple[str, ...]:
    if get_origin(annotation) is Literal:
        return tuple(_toml(value) for value in get_args(annotation))
    return tuple(choice for part in get_args(annotation) for choice in _choices(part))


def _toml(value: Any) -> str:
    if value is None:
        return NOT_GIVEN
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(_toml(item) for item in value) + "]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{name} = {_toml(item)}" for name, item in value.items()) + "}"
    return json.dumps(value, ensure_ascii=False)
