"""CSV that a spreadsheet opens without calculating anything, and that gives back what was written."""

import csv
import io

import pandas
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stemwright.manifests.spreadsheet import STARTS, cell, csv_text

texts = st.text(st.characters(codec="utf-8", exclude_characters="\x00"))
risky = st.builds(lambda start, rest: start + rest, st.sampled_from([*STARTS, " =", "\uff1d"]), texts)


@given(st.lists(st.tuples(texts | risky, st.floats(-1e6, 1e6) | st.none() | st.integers()), min_size=1, max_size=5))
def test_no_text_is_taken_for_a_formula_and_every_number_stays_one(rows):
    text = csv_text([{"name": name, "level_lu": level} for name, level in rows])
    head, *read = csv.reader(io.StringIO(text, newline=""))
    assert head == ["name", "level_lu"]
    for (name, level), (found, number) in zip(rows, read, strict=True):
        assert found.lstrip(" ")[:1] not in set(STARTS) - {""}
        assert found in (name, f"'{name}")
        assert number == "" if level is None else float(number) == level
        assert number != "-0.0"


@pytest.mark.parametrize("name", ["=cmd|calc!A1.wav", "+1", "-3.2", "@SUM(A1)", "\t=1", "\r=1", " =1+1", "\uff1d1"])
def test_what_looks_like_a_formula_is_marked_as_text(name):
    assert cell(name) == f"'{name}"


@pytest.mark.parametrize("value", ["song.wav", "a=b", "", "'quoted", "1 - 2", -3.2, 0, None, True, "drums"])
def test_everything_else_is_left_as_it_is(value):
    assert cell(value) == value


def test_pandas_reads_levels_as_numbers():
    frame = pandas.read_csv(io.StringIO(csv_text([{"track": "=x", "level_lu": -3.2}, {"track": "y", "level_lu": -0.0}])))
    assert list(frame.level_lu) == [-3.2, 0.0]
    assert str(frame.level_lu[1]) == "0.0"
