"""Every public name has a docstring that says what its parameters are, and an example that runs; other examples run as well.

Conventions
    Each example runs by itself in an empty folder, and imports what it needs.
"""

import ast
import doctest
import inspect
import io
import re
from pathlib import Path

import pytest

import stemwright as sw

ROOT = Path(__file__).parent.parent.parent
NAMES = sorted(sw.PUBLIC)
OBVIOUS = {"self", "path", "audio", "sample_rate"}  # the same everywhere: the facade's docstring says it
DEFINED = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)


def docstrings(path: Path) -> dict[str, str]:
    """``module:qualified name`` -> docstring, of everything in a file."""
    module = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    tree, found = ast.parse(path.read_text(encoding="utf-8")), {}

    def walk(node: ast.AST, name: str) -> None:
        if isinstance(node, (ast.Module, *DEFINED)) and (text := ast.get_docstring(node)):
            found[f"{module}:{name}"] = text
        for child in ast.iter_child_nodes(node):
            if isinstance(child, DEFINED):
                walk(child, f"{name}.{child.name}".lstrip("."))

    walk(tree, "")
    return found


def place(name: str) -> str:
    """Where a public name is defined: of what a room passes on, the module; of a table of things, its class."""
    found = getattr(sw, name)
    found = found if callable(found) else type(found)
    return f"{found.__module__.removeprefix('stemwright.')}:{found.__qualname__}"


ROOMS = ("manifests", "separation", "datagen")
PLACES = {place(name) for name in NAMES}
OTHERS = {
    where: text
    for path in sorted([*(ROOT / "stemwright").glob("*.py"), *(path for room in ROOMS for path in (ROOT / room).rglob("*.py"))])
    for where, text in docstrings(path).items()
    if ">>>" in text and where not in PLACES
}


def run(text: str, name: str) -> int:
    """Runs the examples of a docstring and returns how many lines there are; fails with what was expected and got."""
    test = doctest.DocTestParser().get_doctest(text, {}, name, None, 0)
    said = io.StringIO()
    result = doctest.DocTestRunner(verbose=False).run(test, out=said.write)
    assert result.failed == 0, said.getvalue()
    return result.attempted


@pytest.mark.parametrize("name", NAMES)
def test_every_public_name_has_an_example_that_runs(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = inspect.getdoc(getattr(sw, name)) or ""
    assert run(text, name) >= 2, f"{name} has no example; expected '>>> import stemwright as sw' and what a user would type"
    assert "stemwright as sw" in text


def test_every_other_example_runs(tmp_path, monkeypatch):
    assert "stemwright.testing:check_effect" in OTHERS  # there are some
    monkeypatch.chdir(tmp_path)
    for where, text in OTHERS.items():
        assert run(text, where)


def test_an_example_that_gives_something_else_is_found():
    with pytest.raises(AssertionError, match=r"Expected:\s+3\s+Got:\s+2\s"):
        run(">>> 1 + 1\n3", "wrong")


@pytest.mark.parametrize("name", [name for name in NAMES if callable(getattr(sw, name))])
def test_docstrings_of_public_names_say_what_each_parameter_is(name):
    found = getattr(sw, name)
    text = inspect.getdoc(found) or ""
    prose = text.partition(">>>")[0]
    parameters = {*inspect.signature(found).parameters} - OBVIOUS
    silent = sorted(parameter for parameter in parameters if not re.search(rf"\b{parameter}\b", prose))
    assert not silent, f"the docstring of {name} does not say what {', '.join(silent)} is"


@pytest.mark.parametrize("name", [name for name in NAMES if inspect.isfunction(getattr(sw, name))])
def test_public_functions_are_typed_and_say_what_they_raise(name):
    found = getattr(sw, name)
    untyped = [each for each, parameter in inspect.signature(found).parameters.items() if parameter.annotation is inspect.Parameter.empty]
    assert not untyped
    assert "return" in found.__annotations__
    assert re.search(r"Raises|errors are as for|Returns what is wrong", inspect.getdoc(found) or ""), f"{name} does not say what it raises"
