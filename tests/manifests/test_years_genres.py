"""Years and genres of songs: from a list, from the tags of every container, checked where they enter; rows without them are as before."""

from __future__ import annotations

import shutil
import subprocess

import pyarrow.parquet as pq
import pytest
from conftest import make_song, write_song_file
from pydantic import ValidationError
from rows import corpus_rows

from stemwright.datagen.run import configuration
from stemwright.datagen.run.corpus import Corpus
from stemwright.datagen.run.stages import run_catalog
from stemwright.datagen.run.tasks import Workers
from stemwright.manifests import table
from stemwright.manifests.catalog.tracks import SplitShares, find, inspect
from stemwright.manifests.metadata import LONGEST_GENRE, genre_of, year_and_genre, year_of
from stemwright.manifests.records import Track

TONE = make_song(3, 0.3)["mixture"]
ffmpeg = pytest.mark.skipif(not shutil.which("ffmpeg"), reason="making these files needs the ffmpeg program")


@pytest.mark.parametrize(
    ("text", "year"),
    [
        ("1998", 1998),
        ("1998-05-01T12:00:00+0100", 1998),
        ("19980501", 1998),
        ("1998.0", 1998),
        ("c. 1998", 1998),
        ("1 May 1998", 1998),
        ("05/01/1998", 1998),
        ("1998?", 1998),
        ("1100", 1100),
        ("0", None),
        ("20240", None),
        ("0998", None),
        ("9999", None),
        ("19xx", None),
        ("1990s", None),
        ("1998-2003", None),
        ("2011 (1975)", None),
        ("１９９８", None),  # digits of another script
        ("\x00" * 50, None),
        ("1" * 10_000, None),
        ("", None),
    ],
)
def test_a_year_is_read_where_a_text_names_exactly_one(text, year):
    assert year_of(text) == year


@pytest.mark.parametrize(
    ("text", "genre"),
    [
        ("Rock;Blues", "Rock; Blues"),
        ("Rock\0rock / Pop", "Rock; Pop"),
        ("Hip-Hop/Rap", "Hip-Hop/Rap"),
        ("Folk, World, & Country", "Folk, World, & Country"),
        ("\x1b[31mR\x07ock\n", "[31mR ock"),
        ("x" * 10_000, None),
        (" ; ", None),
    ],
)
def test_genres_are_names_without_control_characters(text, genre):
    assert genre_of(text) == genre


def test_many_genres_are_few_and_short_enough_for_a_row():
    found = genre_of(";".join(f"{n}{'x' * (LONGEST_GENRE - 3)}" for n in range(100, 200)))
    row = corpus_rows(1)[0][0].model_dump() | {"genre": found}
    assert Track.model_validate(row).genre == found
    with pytest.raises(ValidationError, match="year"):
        Track.model_validate(row | {"year": 20240})


def test_the_list_takes_precedence_and_the_first_release_before_a_reissue():
    tags = {"date": "2011", "originaldate": "1975-03", "genre": "Rock"}
    assert year_and_genre({}, tags)[0] == {"year": 1975, "genre": "Rock", "metadata": {"genre": "Rock", "year": "1975"}}
    listed = {"year": "1974", "mood": "calm"}
    assert year_and_genre(listed, tags)[0] == {"year": 1974, "genre": "Rock", "metadata": {"genre": "Rock", "mood": "calm", "year": "1974"}}


@pytest.mark.parametrize("stated", ["c. 19xx", "1998-2003", "٢٠٠١"])
def test_what_the_list_says_is_not_replaced_by_a_tag_and_noted_where_it_is_no_year(stated):
    found, notes = year_and_genre({"year": stated}, {"date": "1992", "genre": "y" * 10_000})
    assert (found["year"], found["genre"], found["metadata"]) == (None, None, {"year": stated})
    assert year_and_genre({"year": " "}, {"date": "1992"})[0]["year"] == 1992
    assert notes == [
        f"its year is {stated!r}; expected a year from 1000 to 2100: left out",
        f"its genre is '{'y' * 40}...'; expected a genre of at most 100 characters: left out",
    ]


@ffmpeg
@pytest.mark.parametrize(
    ("suffix", "tags", "year", "genre"),
    [
        (".mp3", {"date": "1998-05-01", "TDOR": "1975", "genre": "(17)"}, 1975, "Rock"),  # ID3v2.4, a genre of ID3v1 by its number
        (".mp3", {"date": "2011", "originalyear": "1969", "genre": "Trip Hop"}, 1969, "Trip Hop"),  # a free text of Picard's
        (".flac", {"DATE": "1999", "ORIGINALDATE": "1975-03", "GENRE": "Rock;Blues"}, 1975, "Rock; Blues"),
        (".m4a", {"date": "2001-02-03T00:00:00Z", "genre": "Rock"}, 2001, "Rock"),
        (".opus", {"date": "2001", "genre": "Jazz"}, 2001, "Jazz"),
        (".wav", {"date": "2001", "genre": "Jazz"}, 2001, "Jazz"),
        (".wma", {"date": "2001", "genre": "Jazz"}, 2001, "Jazz"),
    ],
)
def test_tags_of_every_container_give_year_and_genre(tmp_path, suffix, tags, year, genre):
    write_song_file(tmp_path / "plain.wav", TONE)
    texts = [part for name, text in tags.items() for part in ("-metadata", f"{name}={text}")]
    (tmp_path / "songs").mkdir()
    made = ["ffmpeg", "-v", "error", "-y", "-i", str(tmp_path / "plain.wav"), *texts, str(tmp_path / "songs" / f"song{suffix}")]
    subprocess.run(made, check=True)
    track = inspect(tmp_path / "songs", find(tmp_path / "songs").candidates[0], SplitShares())
    assert (track.year, track.genre) == (year, genre)
    assert track.metadata == {"genre": genre, "year": str(year)}


def test_a_list_gives_years_genres_and_any_other_column(tmp_path):
    write_song_file(tmp_path / "a.wav", TONE)
    (tmp_path / "list.csv").write_text("path,year,genre,id,studio\na.wav,1998-05,Rock,7,Abbey Road\n")
    corpus = Corpus(tmp_path / "corpus")
    corpus.create(configuration.check({"songs": {"folder": str(tmp_path / "list.csv")}}, where="test"))
    run_catalog(corpus, Workers(1))
    (track,) = corpus.rows("tracks", Track)
    assert (track.year, track.genre) == (1998, "Rock")
    assert track.metadata == {"genre": "Rock", "id": "7", "studio": "Abbey Road", "year": "1998-05"}
    frame = table.frame(corpus.table("tracks"))
    assert frame["year"].tolist() == [1998]
    assert table.is_as_written(corpus.table("tracks"), Track)


def test_a_table_of_tracks_without_years_is_read_and_keeps_its_digest(tmp_path):
    tracks = corpus_rows(3)[0]
    table.write(tmp_path / "tracks.parquet", tracks, Track)
    now = pq.read_table(tmp_path / "tracks.parquet")
    pq.write_table(now.drop_columns(["year", "genre"]), tmp_path / "old.parquet")
    assert table.read(tmp_path / "old.parquet", Track) == tracks
    assert all("year" not in row.model_dump_json() for row in tracks), "the digest of a table is over the text of its rows"
    assert table._digest(table.read(tmp_path / "old.parquet", Track), Track) == table.digest(tmp_path / "tracks.parquet")
    later = [tracks[0].model_copy(update={"year": 1998, "genre": "Rock"}), *tracks[1:]]
    table.write(tmp_path / "later.parquet", later, Track)
    assert table.read(tmp_path / "later.parquet", Track) == later
    assert table.is_as_written(tmp_path / "later.parquet", Track)
    assert table.digest(tmp_path / "later.parquet") != table.digest(tmp_path / "tracks.parquet")
