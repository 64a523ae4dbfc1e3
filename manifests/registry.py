"""Extensions by name: our own in a visible table, and those of other packages from entry points (``importlib.metadata``).

    RECIPES = Registry("kind of pair", "stemwright.recipes", {"mix": "stemwright.datagen.pairs.recipes.mix"}, plural="kinds of pair")

A table gives each name its module, or ``module:object``. Another package names its own in its ``pyproject.toml``:

    [project.entry-points."stemwright.recipes"]
    duet = "their_package.duet"

Conventions
    A registry is a mapping. Our own names come first, in the order of the table, then those of other packages, sorted. Nothing of ours is
    imported before it is looked up; the entry points are read once in a process.
    Our own name wins over another package's, and a warning says so. A name that two packages provide is used from neither.
    An extension that cannot be imported, or lacks what is required of it, is left out where a registry is iterated over, with a warning
    that names package, entry point and error; if it is requested by name, it raises ``BrokenExtensionError`` with the same message.

References
    https://packaging.python.org/en/latest/specifications/entry-points/
"""

from __future__ import annotations

import difflib
import importlib
import re
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from importlib import metadata
from typing import Any, Generic, TypeVar, cast

from stemwright.manifests.usage import UsageError

T = TypeVar("T")
NAME = re.compile(r"[a-z][a-z0-9_]{0,39}")  # a name becomes a key of the configuration, a folder and a column


class UnknownNameError(KeyError, UsageError):
    """A name that a registry does not have; the message names the nearest one."""

    def __str__(self) -> str:
        return str(self.args[0])


class BrokenExtensionError(UsageError):
    """An extension of another package that cannot be used; the message names package, entry point and reason."""


class ExtensionWarning(UserWarning):
    """An extension of another package that was left out."""


class Registry(Mapping[str, T], Generic[T]):
    """Name -> object, for one kind of extension: ``what`` is its noun, ``own`` our table, ``group`` that of the entry points.

    ``check(name, found)`` raises TypeError or ValueError, saying what is missing, for an object that is not what is required; only other
    packages' objects are checked, since our own have tests.
    """

    def __init__(
        self,
        what: str,
        group: str,
        own: Mapping[str, str],
        *,
        plural: str = "",
        check: Callable[[str, Any], None] | None = None,
        unknown: type[UnknownNameError] = UnknownNameError,
    ) -> None:
        self.what, self.group, self.own = what, group, dict(own)
        self.plural = plural or f"{what}s"
        self._check, self._unknown = check, unknown
        self._loaded: dict[str, T] = {}
        self._broken: dict[str, str] = {}

    def __getitem__(self, name: str) -> T:
        """The object of this name. Raises UnknownNameError, with the nearest name, or BrokenExtensionError."""
        if name in self._loaded:
            return self._loaded[name]
        if name in self.own:
            return self._loaded.setdefault(name, cast("T", load(self.own[name])))
        if name not in self._points:
            raise self._unknown(self._no_such(name))
        self._load_point(name)
        if name in self._broken:
            raise BrokenExtensionError(self._broken[name])
        return self._loaded[name]

    def __iter__(self) -> Iterator[str]:
        """The usable names: our own, then those of other packages."""
        yield from self.own
        yield from (name for name in self._points if self._works(name))

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __contains__(self, name: object) -> bool:
        return name in self.own or (isinstance(name, str) and name in self._points and self._works(name))

    def others(self) -> dict[str, T]:
        """The usable extensions of other packages, by name."""
        return {name: self[name] for name in self if name not in self.own}

    def package(self, name: str) -> str | None:
        """The package and its version, ``their-package 1.2``, that provides a name; None for our own.

        It belongs in the ids of everything that is made with it, since another version may behave differently.
        """
        if name in self.own or name not in self._points:
            return None
        return " and ".join(map(_package, self._points[name]))

    def packages(self, names: Iterable[str]) -> dict[str, str]:
        """The packages, by name, of those of these names that are not our own: for an id, which stays as it is where there are none."""
        return {name: package for name in sorted(set(names)) if (package := self.package(name)) is not None}

    @cached_property
    def _points(self) -> dict[str, list[metadata.EntryPoint]]:
        """The entry points of other packages by name, without those that have a name of ours."""
        points: dict[str, list[metadata.EntryPoint]] = {}
        for point in sorted(metadata.entry_points(group=self.group), key=lambda point: (point.name, _package(point), point.value)):
            if point.name in self.own:
                self._warn(f"{self._named(point)} is not used: {point.name!r} is one of stemwright's own names")
            elif point not in points.setdefault(point.name, []):  # one found twice on the path counts once
                points[point.name].append(point)
        return points

    def _works(self, name: str) -> bool:
        """Whether an extension can be used; warns once if not."""
        known = name in self._broken
        self._load_point(name)
        if name in self._broken and not known:
            self._warn(self._broken[name])
        return name not in self._broken

    def _load_point(self, name: str) -> None:
        if name in self._loaded or name in self._broken:
            return
        point, *others = self._points[name]
        if others:
            both = " and ".join(_package(point) for point in self._points[name])
            self._broken[name] = f"the {self.what} {name!r} is provided by {both}; uninstall one of them"
            return
        try:
            if not NAME.fullmatch(name):
                raise ValueError("a name has lower-case letters, digits and _, at most 40 characters, and begins with a letter")
            found = point.load()
            if self._check is not None:
                self._check(name, found)
        except Exception as error:  # another package's import may raise anything
            self._broken[name] = f"{self._named(point)} cannot be used: {type(error).__name__}: {error}"
        else:
            self._loaded[name] = found

    def _named(self, point: metadata.EntryPoint) -> str:
        return f"the {self.what} {point.name!r} of {_package(point)} (entry point {point.value} in {self.group})"

    def _no_such(self, name: object) -> str:
        names = list(self)
        if not names:
            return f"there is no {self.what} {name!r}; no installed package provides one"
        return f"there is no {self.what} {name!r}{self._hint(name, names)} The {self.plural} are {', '.join(names)}"

    def _hint(self, name: object, names: Sequence[str]) -> str:
        """What an unknown name probably meant."""
        near = _nearest(name, names) if isinstance(name, str) else None
        return f"; did you mean {near!r}?" if near else "."

    def _warn(self, message: str) -> None:
        warnings.warn(message, ExtensionWarning, stacklevel=3)


LIKENESS = 0.4  # of two spellings, by difflib, to be taken for one another: eq and egg have 0.4, compressor and mp3 0.3


def _nearest(name: str, names: Sequence[str]) -> str | None:
    """The most similar name: one that ``name`` begins with (eq of equalizer) or that begins with it, else the nearest in spelling."""
    lower = name.lower()
    whole = [each for each in names if lower and (lower.startswith(each) or each.startswith(lower))]
    return max(whole, key=len) if whole else next(iter(difflib.get_close_matches(lower, names, n=1, cutoff=LIKENESS)), None)


def load(reference: str) -> Any:
    """The module, or the object in a module, that ``module`` or ``module:object`` names. Raises ImportError or AttributeError."""
    module, _, path = reference.partition(":")
    found: Any = importlib.import_module(module)
    for attribute in path.split(".") if path else ():
        found = getattr(found, attribute)
    return found


def requires(**kinds: type | tuple[type, ...] | Callable[[Any], bool]) -> Callable[[str, Any], None]:
    """A check that an object has attributes, each of a type or passing a test; it raises TypeError naming what is missing or wrong."""

    def check(name: str, found: Any) -> None:
        del name
        missing = [attribute for attribute in kinds if not hasattr(found, attribute)]
        if missing:
            raise TypeError(f"it has no {' and no '.join(missing)}; expected {', '.join(kinds)}")
        for attribute, kind in kinds.items():
            value = getattr(found, attribute)
            if not (isinstance(value, kind) if isinstance(kind, (type, tuple)) else kind(value)):
                raise TypeError(f"its {attribute} is {value!r}, which is not what is expected there")

    return check


def _package(point: metadata.EntryPoint) -> str:
    """The name and version of the package that an entry point belongs to."""
    return "an unnamed package" if point.dist is None else f"{point.dist.name} {point.dist.version}"
