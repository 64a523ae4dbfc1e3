import random

import pyarrow.parquet as pq
import pytest
from rows import corpus_rows

from stemwright.manifests import joined_rows, table
from stemwright.manifests.grouped_rows import GroupedRows
from stemwright.manifests.records import Stem, Track
from stemwright.manifests.table_rows import TableRows

TRACKS, STEMS, _ = corpus_rows(12)


def grouped(path, stems):
    table.write(path, stems, Stem)
    return GroupedRows(TableRows(path, Stem), "track_id")


@pytest.mark.parametrize("order", ["as written", "by name", "shuffled"])
def test_groups_are_those_of_a_dictionary_in_any_order_of_the_rows(tmp_path, monkeypatch, order):
    monkeypatch.setattr("stemwright.manifests.table_rows.BATCH_ROWS", 7)
    stems = sorted(STEMS, key=lambda row: row.name) if order == "by name" else [*STEMS]
    if order == "shuffled":
        random.Random(1).shuffle(stems)
    expected = {}
    for row in stems:
        expected.setdefault(row.track_id, []).append(row)
    found = grouped(tmp_path / "stems.parquet", stems)
    assert [(key, [*rows]) for key, rows in found.items()] == [*expected.items()]
    assert [(key, [*rows]) for key, rows in found.forward(slice(1, None, 3)).items()] == [*expected.items()][1::3]
    assert {key: [*found[key]] for key in reversed([*expected])} == expected


def test_what_has_no_rows_is_no_key(tmp_path):
    found = grouped(tmp_path / "stems.parquet", STEMS)
    assert len(found) == len(TRACKS)
    assert "f" * 16 not in found
    assert "a song" not in found
    assert found.get(f"{TRACKS[0].id}0") is None
    assert len(grouped(tmp_path / "none.parquet", [])) == 0


def test_rows_in_the_order_of_the_table_are_not_looked_up(tmp_path, monkeypatch):
    monkeypatch.setattr("stemwright.manifests.table_rows.BATCH_ROWS", 7)
    found = grouped(tmp_path / "stems.parquet", STEMS)
    monkeypatch.setattr(joined_rows.JoinedRows, "take", lambda *_: pytest.fail("looked up by number"))
    assert sum(len(found[key]) for key in found) == len(STEMS)


def test_a_column_of_other_texts_names_the_table(tmp_path):
    path = tmp_path / "tracks.parquet"
    table.write(path, TRACKS, Track)
    with pytest.raises(ValueError, match=r"tracks\.parquet: column title: .*hex digits"):
        GroupedRows(TableRows(path, Track), "title")
    assert pq.read_metadata(path).num_rows == len(TRACKS)
