"""What every section of the configuration is made of, and the error of one that cannot be used."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Annotated, Any, ClassVar, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field, SerializerFunctionWrapHandler, create_model, model_serializer
from pydantic.fields import FieldInfo

from stemwright.manifests.usage import UsageError


class ConfigError(UsageError):
    """A configuration that cannot be used, with the key and the nearest right one."""


def since(version: str, *, unit: str = "", choices: Iterable[str] = ()) -> dict[str, Any]:
    """What the reference says of a key besides its description, type, range and default: its first version, the unit of a number, and the
    names that a text may be.
    """
    return {"since": version, "unit": unit, **({"choices": list(choices)} if choices else {})}


def as_list(value: Any) -> Any:
    """The value of a key that takes one name or a list of names, as a list of names in lower case."""
    names = [value] if isinstance(value, str) else value
    return [name.strip().lower() if isinstance(name, str) else name for name in names] if isinstance(names, list | tuple) else names


def range_of(field: FieldInfo) -> str:
    """The range of a number as a sentence has it: "from 0 to 1", "above 0"; empty where there is none.

    That of the numbers of a list, where all have one; else theirs in turn: "from -70 to 0; from 0 to 20".
    """
    return "; ".join(dict.fromkeys(ranges_of_items(field))) or _range(field.metadata)


def ranges_of_items(field: FieldInfo) -> list[str]:
    """The ranges of the numbers of a list whose length is fixed; empty for any other key."""
    return [_range(_rules(item)) for item in get_args(field.annotation) if get_origin(item) is Annotated]


def _rules(item: Any) -> Iterable[Any]:
    """The rules of one number: ``Annotated[float, Field(ge=0)]`` has them in the metadata of its field."""
    return [rule for each in get_args(item)[1:] for rule in (each.metadata if isinstance(each, FieldInfo) else [each])]


def _range(rules: Iterable[Any]) -> str:
    bounds = {name: getattr(rule, name) for rule in rules for name in ("ge", "gt", "le", "lt") if hasattr(rule, name)}
    if set(bounds) == {"ge"}:
        return f"{bounds['ge']:,g} or more"
    low = f"from {bounds['ge']:,g}" if "ge" in bounds else f"above {bounds['gt']:,g}" if "gt" in bounds else ""
    high = f"to {bounds['le']:,g}" if "le" in bounds else f"below {bounds['lt']:.4g}" if "lt" in bounds else ""
    return " ".join(part for part in (low, high) if part)


class Section(BaseModel):
    """Base of all configuration sections: frozen, and an unknown key, or a number that is infinite or none, is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class ExtensibleSection(Section):
    """A section with sections of other packages in it, which are written only where they are not at their default."""

    extensions: ClassVar[Mapping[str, Section]] = {}

    @model_serializer(mode="wrap")
    def _without_unused(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        values: dict[str, Any] = handler(self)
        return {name: value for name, value in values.items() if getattr(self, name) != self.extensions.get(name, ...)}


def with_sections(
    base: type[ExtensibleSection], name: str, own: Mapping[str, Section], extensions: Mapping[str, Section]
) -> type[ExtensibleSection]:
    """A section with further sections, each given by its default: our own, and those of other packages."""
    defaults = {**own, **extensions}
    fields: dict[str, Any] = {key: (type(default), Field(default_factory=_returning(default))) for key, default in defaults.items()}
    made = create_model(name, __base__=base, __doc__=base.__doc__, **fields)
    made.extensions = dict(extensions)
    return made


def _returning(value: Section) -> Callable[[], Section]:
    return lambda: value
