"""``compare_songs``: a table of songs gives what the functions below it give, and a corpus the same as its table."""

import json

import numpy as np
import pandas
import pytest
from typer.testing import CliRunner

import stemwright as sw
from stemwright.datagen.cli.app import app
from stemwright.separation.balance.groups import Values, compare_groups, fit_trend


def table_of(count=12):
    rng = np.random.default_rng(0)
    level = rng.normal(-6, 1, count)
    return pandas.DataFrame(
        {
            "track": [f"song {n}" for n in range(count)],
            "stem": "vocals",
            "level_lu": level,
            "level_low_lu": level - 0.5,
            "level_high_lu": level + 0.7,
            "year": [None if n == 3 else 1960 + 4 * n for n in range(count)],
            "Genre": ["Rock" if n % 2 else "Pop" for n in range(count)],
        }
    )


def test_groups_and_trends_of_a_table_are_those_of_its_values():
    table = table_of()
    values = Values.of(table["level_lu"], table["level_low_lu"], table["level_high_lu"])
    groups = sw.compare_songs(table, "genre").groups()
    for row, group in zip(groups.itertuples(), compare_groups(values, list(table["Genre"])), strict=True):
        assert (row.group, row.songs, row.mean, row.low) == (group.name, group.songs, round(group.mean, 3), round(group.low, 3))
    found = sw.compare_songs(table, "year")
    (slope,) = found.trends()["slope"]
    assert slope == round(fit_trend(values, table["year"], per=10.0).slope, 3)
    assert found.notes[0] == "1 of 12 songs left out, without year: expected a year or a text that names one in list or tags"
    assert repr(found) == "<SongComparison by year: 11 songs, 5 groups>"


def test_a_table_that_balance_writes_can_be_compared(tmp_path):
    from stemwright.manifests import table as tables
    from stemwright.manifests.records import Estimate, Track

    rows = pytest.importorskip("rows")
    tracks, _, estimates = rows.corpus_rows(6)
    tracks = [track.model_copy(update={"metadata": {"year": str(1970 + 5 * n)}}) for n, track in enumerate(tracks)]
    levels = {track.id: -3.0 - n % 4 for n, track in enumerate(tracks)}
    estimates = [row.model_copy(update={"level_lu": levels[row.track_id], "level_low_lu": -8.0, "level_high_lu": 0.0}) for row in estimates]
    (tmp_path / "corpus").mkdir()
    tables.write(tmp_path / "corpus" / "tracks.parquet", tracks, Track)
    tables.write(tmp_path / "corpus" / "estimates.parquet", estimates, Estimate)
    done = CliRunner().invoke(app, ["balance", str(tmp_path / "corpus"), "--csv", str(tmp_path / "songs.csv"), "--by", "year", "--json"])
    of_corpus = sw.compare_songs(tmp_path / "corpus", "year")
    assert json.loads(done.stdout)["trends"] == json.loads(of_corpus.trends().to_json(orient="records"))
    of_table = sw.compare_songs(pandas.read_csv(tmp_path / "songs.csv"), "year")
    pandas.testing.assert_frame_equal(of_table.groups(), of_corpus.groups(), atol=0.002)
    of_table.plot(tmp_path / "years.png")
    assert (tmp_path / "years.png").stat().st_size > 10_000


@pytest.mark.parametrize(
    ("columns", "by", "message"),
    [(["track", "stem"], "year", "no column level_lu"), (["track", "stem", "level_lu"], "year", "has a year; expected a column 'year'")],
)
def test_what_a_table_lacks_is_said(columns, by, message):
    with pytest.raises(ValueError, match=message):
        sw.compare_songs(table_of()[columns], by)
