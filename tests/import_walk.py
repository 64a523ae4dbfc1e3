"""Who imports whom: every import of ours in the source files, those in functions and under TYPE_CHECKING included, resolved to modules.

Conventions
    A module is called by its path below the top: ``datagen.pairs.plan``, as the folders are, and not as it is imported.
    A package is its ``__init__``: ``from stemwright.datagen.pairs import plan`` imports the module plan, ``import RECIPES`` the package.
    Each file is parsed and walked once for all rules, which takes longer than the rules do; ``forget`` frees what that takes.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

TOP = "stemwright"


@cache
def parsed(path: Path) -> ast.Module:
    """The syntax tree of a file."""
    return ast.parse(path.read_text(encoding="utf-8"))


@cache
def nodes_of(path: Path) -> tuple[ast.AST, ...]:
    """Every node of a file's syntax tree, in the order of ``ast.walk``."""
    return tuple(ast.walk(parsed(path)))


def forget() -> None:
    """Frees the trees, which are hundreds of megabytes together."""
    parsed.cache_clear()
    nodes_of.cache_clear()


@dataclass(frozen=True)
class Import:
    """One name that a module takes from another one of ours; ``name`` is empty where it takes the module itself."""

    importer: str
    imported: str
    name: str
    line: int

    def __str__(self) -> str:
        return f"{self.importer}:{self.line} imports {self.imported}{self.name and f' ({self.name})'}"


class Sources:
    """The modules below some folders of a checkout, and what they take from one another."""

    def __init__(self, root: Path, folders: tuple[str, ...]) -> None:
        found = sorted(path for folder in folders for path in (root / folder).rglob("*.py"))
        self.paths = {_module(path.relative_to(root)): path for path in found}

    def is_package(self, module: str) -> bool:
        """Whether the module is the ``__init__`` of a folder."""
        return self.paths[module].name == "__init__.py"

    @cached_property
    def imports(self) -> tuple[Import, ...]:
        """All imports between the modules."""
        return tuple(found for module in self.paths for found in self._imports_of(module))

    @cached_property
    def graph(self) -> dict[str, set[str]]:
        """Each module with those that it imports."""
        graph: dict[str, set[str]] = {module: set() for module in self.paths}
        for found in self.imports:
            graph[found.importer].add(found.imported)
        return graph

    def _imports_of(self, module: str) -> Iterator[Import]:
        for node in nodes_of(self.paths[module]):
            if isinstance(node, ast.Import):
                for alias in node.names:
                    if (name := _plain(alias.name)) in self.paths:
                        yield Import(module, name, "", node.lineno)
            elif isinstance(node, ast.ImportFrom):
                base = _plain(node.module or "") if not node.level else self._relative(module, node)
                for alias in node.names:
                    if (inner := f"{base}.{alias.name}") in self.paths:
                        yield Import(module, inner, "", node.lineno)
                    elif base in self.paths:
                        yield Import(module, base, alias.name, node.lineno)

    def _relative(self, module: str, node: ast.ImportFrom) -> str:
        parts = module.split(".") if self.is_package(module) else module.split(".")[:-1]
        return ".".join(parts[: len(parts) - node.level + 1] + ([node.module] if node.module else []))

    def public_classes(self, module: str) -> list[str]:
        """The public classes that a module defines at its top."""
        return [node.name for node in parsed(self.paths[module]).body if isinstance(node, ast.ClassDef) and not is_private(node.name)]

    def private_uses(self, module: str) -> Iterator[tuple[int, str]]:
        """(line, text) of each private name of another module of ours that a module imports, or takes from it with a dot."""
        for found in self._imports_of(module):
            if is_private(found.name) or is_private(found.imported.rsplit(".", 1)[-1]):
                yield found.line, str(found)
        ours = set(self._names_of_modules(module))
        for node in nodes_of(self.paths[module]):
            if isinstance(node, ast.Attribute) and is_private(node.attr) and ast.unparse(node.value) in ours:
                yield node.lineno, ast.unparse(node)

    def _names_of_modules(self, module: str) -> Iterator[str]:
        """The names under which a module knows other modules and classes of ours."""
        for node in nodes_of(self.paths[module]):
            if isinstance(node, ast.Import | ast.ImportFrom):
                base = node.module or "" if isinstance(node, ast.ImportFrom) else ""
                for alias in node.names:
                    if (base or alias.name).split(".")[0] == TOP:
                        yield alias.asname or alias.name


def is_private(name: str) -> bool:
    """Whether a name is for its own module only."""
    return name.startswith("_") and not name.startswith("__") and name != "_"


def circles(graph: Mapping[str, set[str]]) -> list[list[str]]:
    """The sets of modules that import one another in a ring (strongly connected components, Tarjan 1972), each in alphabetical order."""
    number: dict[str, int] = {}
    lowest: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []

    def visit(module: str) -> None:
        number[module] = lowest[module] = len(number)
        stack.append(module)
        for other in sorted(graph[module]):
            if other not in number:
                visit(other)
                lowest[module] = min(lowest[module], lowest[other])
            elif other in stack:
                lowest[module] = min(lowest[module], number[other])
        if lowest[module] == number[module]:
            ring = stack[stack.index(module) :]
            del stack[stack.index(module) :]
            if len(ring) > 1 or module in graph[module]:
                found.append(sorted(ring))

    for module in graph:
        if module not in number:
            visit(module)
    return found


def layer_of(module: str, layers: tuple[tuple[str, ...], ...]) -> int:
    """The number of the layer that names a module or the nearest package around it. Raises LookupError if none does."""
    name = module
    while name:
        for number, layer in enumerate(layers):
            if name in layer:
                return number
        name = name.rpartition(".")[0]
    raise LookupError(f"{module} has no place in the order of the rooms; put it in a room, or name its room there")


def _module(path: Path) -> str:
    parts = path.with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _plain(module: str) -> str:
    return module.removeprefix(f"{TOP}.") if module != TOP else module
