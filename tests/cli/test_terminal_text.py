"""Names of strangers on a screen: shown as they are, steering nothing, in tables that fit."""

import io
import json
import re
import sys
from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table

from stemwright.datagen.cli.cells import as_text, breaks, shortened
from stemwright.datagen.cli.tables import rejected_table
from stemwright.datagen.cli.terminal import Terminal
from stemwright.manifests.records import Rejected, seal
from stemwright.manifests.visible import LONGEST, visible

HOSTILE = "live[/b] [red]x[/red] \x1b]0;owned\x07 \x9b31m \u202ecod.exe\u2066 a\nb\r\t\x7f :smile: \udce9.wav"
STEERING = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def shown(table, width=80):
    console = Console(width=width, file=io.StringIO(), highlight=False)
    console.print(as_text(table))
    return console.file.getvalue()


@given(st.text())
def test_what_is_shown_steers_nothing_and_is_one_line(text):
    assert not STEERING.search(visible(text))
    assert "\n" not in visible(text)


@given(st.text(st.characters(exclude_categories=["C", "Zl", "Zp"]), max_size=LONGEST))
def test_what_steers_nothing_is_shown_as_it_is(text):
    assert visible(text) == text


def test_a_text_that_is_too_long_is_cut_in_the_middle_and_marked_as_cut():
    cut = visible("a" * 50_000 + "z" * 50_000)
    assert len(cut) < LONGEST
    assert cut.startswith("aaa")
    assert cut.endswith("zzz")
    assert "99,200 characters left out" in cut


def test_every_string_of_a_table_is_text_and_no_markup():
    table = Table(title=HOSTILE, caption=HOSTILE, title_style="bold")
    table.add_column(HOSTILE, footer=HOSTILE)
    table.show_footer = True
    table.add_row(HOSTILE, style="dim")
    said = shown(table, 400)
    assert said.count("live[/b] [red]x[/red] \\x1b]0;owned\\x07 \\x9b31m \\u202ecod.exe\\u2066 a") == 5
    assert not STEERING.search(said.replace("\n", ""))
    assert ":smile:" in said


@given(st.text(st.characters(codec="utf-8", exclude_categories=["C", "Zl", "Zp", "M"])), st.integers(4, 90))
def test_a_cell_is_broken_into_pieces_that_fit_and_lose_nothing(text, width):
    offsets = breaks(text, width)
    pieces = [text[a:b] for a, b in zip([0, *offsets], [*offsets, len(text)], strict=True)]
    assert "".join(pieces) == text
    assert all(cell_len(piece.rstrip()) <= width for piece in pieces)


def test_a_path_is_broken_behind_its_separators():
    table = Table("file")
    table.add_row("dataset/train/removal/0123456789abcdef/input_wet_of_the_left_channel.flac")
    lines = [line.strip("│ ") for line in shown(table, 44).splitlines()[3:-1]]
    assert lines == ["dataset/train/removal/0123456789abcdef/", "input_wet_of_the_left_channel.flac"]


@pytest.mark.parametrize("way", ["say", "warn", "table", "progress", "json"])
def test_a_hostile_name_is_shown_as_text_everywhere(way, monkeypatch, capsys):
    terminal = Terminal(as_json=way == "json", clock=count(step=100.0).__next__)
    if way == "table":
        table = Table("what")
        table.add_row(HOSTILE)
        terminal.show("rows", table, [])
    elif way == "progress":
        with terminal.progress("stage") as report:
            report(0, 1, HOSTILE)
    elif way == "json":
        terminal.show("rows", Table(), HOSTILE)
        with pytest.raises(BaseException, match="0"):
            terminal.finish(0)
    else:
        getattr(terminal, way)(HOSTILE)
    out, err = capsys.readouterr()
    assert not STEERING.search((out + err).replace("\n", ""))
    if way == "json":
        assert json.loads(out)["rows"] == HOSTILE
    else:
        assert "live[/b]" in out + err


def test_json_is_exact_where_the_terminal_encodes_few_letters(monkeypatch):
    kept = io.TextIOWrapper(io.BytesIO(), encoding="latin-1")
    monkeypatch.setattr(sys, "stdout", kept)
    terminal = Terminal(as_json=True)
    terminal.show("rows", Table(), "Bj\u00f6rk \U0001f600 \u65e5")
    with pytest.raises(BaseException, match="0"):
        terminal.finish(0)
    kept.flush()
    assert json.loads(kept.buffer.getvalue().decode("latin-1"))["rows"] == "Bj\u00f6rk \U0001f600 \u65e5"


@pytest.mark.parametrize(
    ("path", "width", "expected"),
    [
        ("very/long/path/to/name.flac", 80, "very/long/path/to/name.flac"),
        ("very/long/path/to/name.flac", 22, "very/long/\u2026/name.flac"),
        ("very/long/path/to/name.flac", 15, "\u2026/name.flac"),
        ("/work/of/others/name.flac", 20, "/work/of/\u2026/name.flac"),
        ("folder/a name that is much too long.flac", 20, "a name\u2026oo long.flac"),
        ("\u66f2/\u66f2\u66f2\u66f2\u66f2/\u66f2\u66f2.flac", 16, "\u66f2/\u2026/\u66f2\u66f2.flac"),
        (r"C:\music\others\name.flac", 18, "C:\\\u2026\\name.flac"),
    ],
)
def test_a_path_that_does_not_fit_loses_folders_of_its_middle(path, width, expected):
    assert shortened(path, width) == expected
    assert cell_len(expected) <= width


@given(st.text(st.characters(codec="utf-8", exclude_categories=["C", "Zl", "Zp", "M"])), st.integers(6, 90))
def test_a_shortened_path_fits_and_keeps_its_end(path, width):
    short = shortened(path, width)
    assert cell_len(short) <= width
    assert short == path or short[-1] == path[-1]


def test_paths_of_tables_take_one_line_each_and_keep_their_names():
    rows = [
        seal(Rejected, stage="catalog", row_id="0" * 16, subject=f"{'folder/' * 20}{number} song.flac", reason="short")
        for number in range(5)
    ]
    said = shown(rejected_table(rows))
    assert len(said.splitlines()) == 5 + 5
    assert re.findall(r"folder/\u2026/(\d) song\.flac +\u2502 short", said) == list("01234")
    assert max(map(cell_len, said.splitlines())) <= 80
