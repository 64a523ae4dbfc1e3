"""The report's section by year, genre and any column: what is drawn is what the songs have, and every text in it is escaped."""

import re
from xml.etree import ElementTree

import pytest
from rows import corpus_rows

from stemwright.datagen.report import group_charts, report_html
from stemwright.datagen.report.groups_plot import panels_of, plot_groups
from stemwright.datagen.run import configuration
from stemwright.datagen.run.corpus import Corpus, CorpusError
from stemwright.manifests import table
from stemwright.manifests.records import Estimate, Track
from stemwright.separation.balance.grouped import grouped
from stemwright.separation.balance.song_values import songs_of_corpus

NASTY = "<script>alert(1)</script>"


def write_corpus(folder, said):
    """A corpus of songs that lists and tags say this of, whose vocals are 0.5 LU lower each decade."""
    tracks, _, estimates = corpus_rows(len(said))
    place = Corpus(folder)
    place.create(configuration.check({"songs": {"folder": str(folder)}}, where="test"))
    rows = [track.model_copy(update={"metadata": dict(sorted(its.items()))}) for track, its in zip(tracks, said, strict=True)]
    levels = {track.id: -3.0 - 0.5 * number + (-1) ** number for number, track in enumerate(tracks)}
    estimates = [
        row.model_copy(update={"level_lu": level, "level_low_lu": level - 0.4, "level_high_lu": level + 0.4})
        for row in estimates
        for level in [levels[row.track_id] if row.name == "vocals" else -7.0]
    ]
    table.write(folder / "tracks.parquet", rows, Track)
    table.write(folder / "estimates.parquet", estimates, Estimate)
    return place


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    said = [{"year": str(1950 + 10 * (n % 12)), "genre": "Pop" if n % 3 else "Rock", "studio": (NASTY, "Sun")[n % 2]} for n in range(12)]
    return write_corpus(tmp_path_factory.mktemp("songs") / "corpus", said)


def sections(html):
    return re.findall(r"<h3>By ([^<]*)</h3>", html)


def test_years_and_genres_are_shown_where_songs_differ_and_other_columns_on_request(corpus):
    html = report_html(corpus, num_players=0)
    assert sections(html) == ["year", "genre"]
    assert "LU a decade (" in html
    assert sections(report_html(corpus, num_players=0, by=["studio"])) == ["year", "genre", "studio"]
    assert report_html(corpus, num_players=0) == html, "drawing songs again has a seed"


def test_texts_of_lists_act_on_nothing(corpus):
    html = report_html(corpus, num_players=0, by=["studio"])
    assert NASTY not in html
    assert "&lt;script&gt;" in html


def test_a_corpus_without_years_or_with_one_genre_has_no_section(tmp_path):
    html = report_html(write_corpus(tmp_path / "corpus", [{"genre": "Pop"}] * 4), num_players=0)
    assert sections(html) == []
    assert 'id="by-column"' not in html


def test_a_column_that_no_song_has_is_an_error(corpus):
    with pytest.raises(CorpusError, match="--by: none of 12 songs has a column 'mood'; expected one of"):
        report_html(corpus, num_players=0, by=["mood"])


@pytest.mark.parametrize(("column", "marks"), [("year", 12), ("genre", 12)])
def test_every_song_is_a_dot_of_each_chart(corpus, column, marks):
    found = grouped(songs_of_corpus(corpus.folder), column)
    for series in (("vocals", "level_lu"), ("vocals", "against_rest_lu")):
        drawn = ElementTree.fromstring(str(group_charts.chart(found, series)))
        assert sum(each.get("class") == "song" for each in drawn.iter("circle")) == marks
        labels = [text.text or "" for text in drawn.iter("text")]
        assert (any(label.startswith("Pop (8)") for label in labels)) == (column == "genre")


def test_a_trend_is_drawn_from_the_first_year_to_the_last(corpus):
    drawn = ElementTree.fromstring(str(group_charts.chart(grouped(songs_of_corpus(corpus.folder), "year"), ("vocals", "level_lu"))))
    (straight,) = [each for each in drawn.iter("polyline") if each.get("class") == "straight"]
    (one, first), (other, last) = (map(float, point.split(",")) for point in straight.get("points").split())
    assert (one, other) == (group_charts.LEFT, group_charts.WIDTH - group_charts.RIGHT)
    assert last > first, "the level falls, and y grows downwards"


@pytest.mark.parametrize("column", ["year", "genre", "studio"])
def test_the_picture_has_a_panel_for_each_stem(corpus, tmp_path, column):
    found = grouped(songs_of_corpus(corpus.folder), column)
    assert panels_of(found) == [("vocals", "against_rest_lu"), *((name, "level_lu") for name in ("drums", "bass", "other", "vocals"))]
    plot_groups(found, tmp_path / "picture.svg")
    text = (tmp_path / "picture.svg").read_text()
    assert ElementTree.fromstring(text).tag.endswith("svg")
