"""The help of every verb at two widths, and what a person sees first."""

import re

import pytest
import typer
from typer.testing import CliRunner

from stemwright.datagen.cli.app import app
from stemwright.datagen.cli.options import completed_help

VERBS = [(name,) for name in typer.main.get_command(app).commands] + [("models", "fetch"), ("models", "verify")]


def helped(*verb, width=80):
    done = CliRunner().invoke(app, [*verb, "--help"], env={"COLUMNS": str(width)}, prog_name="stemwright")
    assert done.exit_code == 0
    return done.stdout


@pytest.mark.parametrize("width", [80, 60])
@pytest.mark.parametrize("verb", [(), *VERBS], ids=" ".join)
def test_the_help_fits_its_terminal_and_cuts_no_word(verb, width):
    said = helped(*verb, width=width)
    assert max(map(len, said.splitlines())) <= width
    assert "…" not in said
    assert "<bool>" not in said or not verb  # a switch takes nothing


@pytest.mark.parametrize("verb", VERBS, ids=" ".join)
def test_the_help_of_a_verb_has_an_example_and_what_every_verb_takes(verb):
    said = helped(*verb)
    assert f"Example: stemwright {' '.join(verb)}" in said
    assert verb == ("models",) or all(option in said for option in ("--json", "--verbose", "--quiet"))


@pytest.mark.parametrize("verb", VERBS, ids=" ".join)
def test_no_text_of_a_help_is_taken_for_markup(verb):
    command = typer.main.get_command(app)
    for name in verb:
        command = command.commands[name]
    for parameter in command.params:
        if parameter.help:
            shown = re.sub(r"[\s│]+", "", helped(*verb, width=200))
            assert re.sub(r"\s+", "", completed_help(parameter.help).replace("\\[", "[")) in shown


def test_without_arguments_it_shows_the_verbs_by_use_and_where_to_begin():
    said = CliRunner().invoke(app, [], prog_name="stemwright").output
    headings = re.findall(r"^╭─ ([A-Z][\w ]+?) ─", said, re.MULTILINE)
    assert headings == ["Options", "Make a corpus", "Inspect a corpus", "Share a corpus", "Tools that need no corpus", "Configuration"]
    assert "Where to begin: stemwright demo" in said
    assert said.index("│ demo ") < said.index("│ build ") < said.index("│ catalog ") < said.index("│ check ") < said.index("│ models ")


def test_the_version_is_available_as_json(monkeypatch):
    monkeypatch.setattr("sys.argv", ["stemwright", "--version", "--json"])
    assert re.fullmatch(r'\{\s*"version": "\d+\.\d+\.\d+\S*"\s*\}\s*', CliRunner().invoke(app, ["--version", "--json"]).stdout)
