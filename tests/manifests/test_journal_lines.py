"""Lines of journals are read without making what they hold: with the outcome of reading them as JSON, whatever is in them."""

import json

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from stemwright.manifests import table
from stemwright.manifests.journal_index import entry_of, task_or_turn
from stemwright.manifests.records import Rejected, seal

ROW = seal(Rejected, stage="catalog", row_id="Nirvana.mp3", subject="Süßes Infinity\n", reason="NaN")
LINE = json.dumps({"task": "0123456789abcdef", "rows": [ROW.model_dump(mode="json")] * 2}).encode() + b"\n"


def expected(line):
    entry = entry_of(line)
    return None if entry is None else str(entry["task"]) if "task" in entry else int(entry["turn"])


@pytest.mark.parametrize(
    "line",
    [
        LINE,
        LINE[:-1],
        LINE.replace(b'"replaced_by": null', b'"replaced_by": NaN'),
        LINE.replace(b'"replaced_by": null', b'"replaced_by": -Infinity'),
        b'{"task": "a", "task": "b", "rows": []}\n',
        b'{"task": 7, "rows": []}\n',
        b'{"task": "a", "rows": [1]}\n',
        b'{"task": "a", "rows": {}}\n',
        b'{"task": "a", "rows": [], "turn": 3}\n',
        b'{"turn": 12}\n',
        b'{"turn": "12"}\n',
        b'{"task": "\xff", "rows": []}\n',
        b'{"task": "a", "rows": []} {}\n',
        b"[]\n",
        b"\n",
    ],
)
def test_a_line_names_what_its_json_names(line):
    assert task_or_turn(line) == expected(line)


@settings(max_examples=150, deadline=None)
@given(at=st.integers(0, len(LINE) - 1), count=st.integers(0, 3), other=st.binary(max_size=2))
def test_a_damaged_line_names_what_its_json_names(at, count, other):
    line = LINE[:at] + other + LINE[at + count :]
    assert task_or_turn(line) == expected(line)


def test_rows_with_a_number_that_is_none_are_as_in_a_line_that_is_no_json(tmp_path):
    path = tmp_path / "rejected.jsonl.part"
    path.write_bytes(LINE + LINE.replace(b"0123", b"4567").replace(b'"replaced_by": null', b'"replaced_by": NaN'))
    assert dict(table.journalled(path, Rejected)) == {"0123456789abcdef": (ROW, ROW)}
