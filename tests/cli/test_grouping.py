"""``balance`` of a corpus, and ``--by``: tables, JSON, CSV and picture; what is missing is said with what to do."""

import json
import re

import pandas
import pytest
from conftest import make_song, write_song_file
from rows import corpus_rows
from typer.testing import CliRunner

from stemwright.datagen.cli.app import app
from stemwright.manifests import table
from stemwright.manifests.records import Estimate, Stem, Track
from stemwright.manifests.usage import UsageError
from stemwright.separation.balance.grouped import grouped, trend_rows
from stemwright.separation.balance.song_values import SongValues


def run(*arguments):
    return CliRunner().invoke(app, [str(each) for each in arguments])


@pytest.fixture
def corpus(tmp_path):
    """Eight songs: vocals 1 LU lower each decade from 1950 on, rock 2 LU below the others; one without year, one without genre."""
    tracks, _, estimates = corpus_rows(8)
    rows, levels = [], {}
    for number, track in enumerate(tracks):
        said = {"year": str(1950 + 10 * number), "genre": "Rock; Blues" if number % 2 else "Pop"}
        said.pop(("year", "genre")[number - 6], None) if number > 5 else None
        columns = {"year": int(said["year"]) if "year" in said else None, "genre": said.get("genre"), "metadata": said}
        rows.append(track.model_copy(update=columns))
        levels[track.id] = -2.0 - number - 2.0 * (number % 2)
    estimates = [
        row.model_copy(update={name: level + by for name, by in (("level_lu", 0.0), ("level_low_lu", -0.5), ("level_high_lu", 0.5))})
        for row in estimates
        for level in [levels[row.track_id] if row.name == "vocals" else -6.0]
    ]
    (tmp_path / "corpus").mkdir()
    table.write(tmp_path / "corpus" / "tracks.parquet", rows, Track)
    table.write(tmp_path / "corpus" / "estimates.parquet", estimates, Estimate)
    return tmp_path / "corpus"


def test_balance_of_a_corpus_is_the_summary_of_its_estimates(corpus, tmp_path):
    done = run("balance", corpus, "--json", "--csv", tmp_path / "songs.csv")
    assert done.exit_code == 0, done.output
    summary = {row["stem"]: row for row in json.loads(done.stdout)["summary"]}
    assert summary["drums"] == {
        **{"stem": "drums", "tracks": 8, "present": 8, "median_lu": -6.0, "q25_lu": -6.0, "q75_lu": -6.0, "min_lu": -6.0, "max_lu": -6.0},
        "against_rest_lu": summary["drums"]["against_rest_lu"],
    }
    frame = pandas.read_csv(tmp_path / "songs.csv")
    assert len(frame) == 8 * 4
    assert frame["path"].nunique() == 8
    assert frame.query("stem == 'vocals'")["level_lu"].tolist() == [-2.0 - n - 2.0 * (n % 2) for n in range(8)]
    assert frame.query("stem == 'vocals'")["year"].tolist()[:6] == [1950.0 + 10 * n for n in range(6)]


def test_years_give_a_trend_and_say_how_many_songs_have_none(corpus, tmp_path):
    done = run("balance", corpus, "--by", "Year", "--json", "--plot", tmp_path / "years.png")
    assert done.exit_code == 0, done.output
    said = json.loads(done.stdout)
    (vocals,) = [row for row in said["trends"] if (row["stem"], row["quantity"]) == ("vocals", "level_lu")]
    assert (vocals["songs"], vocals["per"], vocals["first"], vocals["last"]) == (7, 10.0, 1950.0, 2020.0)
    assert vocals["slope_low"] < -1.0 < vocals["slope_high"]
    assert "1 of 8 songs left out, without year" in done.stderr
    assert (tmp_path / "years.png").stat().st_size > 20_000
    shown = run("balance", corpus, "--by", "year").stdout
    assert "change a decade, from 1950 to 2020" in shown
    assert "1990s" in shown


def test_genres_give_means_and_differences(corpus):
    said = json.loads(run("balance", corpus, "--by", "genre", "--json").stdout)
    vocals = {row["group"]: row for row in said["groups"] if (row["stem"], row["quantity"]) == ("vocals", "level_lu")}
    assert {name: row["songs"] for name, row in vocals.items()} == {"Pop": 4, "Rock": 3}
    assert vocals["Rock"]["mean"] == pytest.approx(-2.0 - 3.0 - 2.0)
    assert vocals["Pop"]["mean"] == pytest.approx(-2.0 - 3.0)
    assert vocals["Rock"]["against_others"] == pytest.approx(-2.0)
    assert "trends" not in said


def test_a_group_of_one_song_says_that_nothing_can_be_said(corpus):
    done = run("balance", corpus, "--by", "artist")
    assert done.exit_code == 0
    assert "every artist has one song: nothing can be said of differences; a group needs at least two" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--by", "mood"), "--by mood: none of 8 songs has a column 'mood'; expected one of artist, genre"),
        (("--by", "yaer"), "did you mean 'year'"),
        (("--plot", "a.png"), "--plot of a corpus needs --by"),
        (("--model", "htdemucs"), "--model: for songs, and .* is a corpus"),
    ],
)
def test_what_a_corpus_cannot_answer_is_an_error_that_says_what_to_do(corpus, arguments, message):
    done = run("balance", corpus, *arguments)
    assert isinstance(done.exception, UsageError)
    assert re.search(message, str(done.exception))


def test_a_corpus_without_years_says_how_to_add_them(corpus):
    tracks = [row.model_copy(update={"year": None, "metadata": {}}) for row in table.read(corpus / "tracks.parquet", Track)]
    table.write(corpus / "tracks.parquet", tracks, Track)
    done = run("balance", corpus, "--by", "year")
    assert "has a year; expected a column 'year' in the CSV that lists the songs, or tags of the files (DATE," in str(done.exception)
    assert "catalog" in str(done.exception)


def test_songs_are_compared_by_their_tags(tmp_path):
    for number in range(4):
        song = make_song(number, 2.0)
        name = f"song{number}"
        write_song_file(tmp_path / f"{name}.flac", song["mixture"], date=str(1980 + number), genre="Rock")
    (tmp_path / "stems").mkdir()
    for name, audio in make_song(0, 2.0).items():
        if name != "mixture":
            write_song_file(tmp_path / "stems" / f"{name}.wav", audio)
    files = sorted(tmp_path.glob("*.flac"))
    done = run("balance", *files, "--stems", tmp_path / "stems", "--by", "year", "--json")
    assert done.exit_code in (0, 3), done.output
    said = json.loads(done.stdout)
    assert {row["group"] for row in said["groups"]} <= {"1980", "1981", "1982", "1983"}
    assert "said of differences" in done.stderr
    refused = run("balance", *files, "--stems", tmp_path / "stems", "--by", "mood")
    assert "none of 4 songs has a column 'mood'" in str(refused.exception)


def test_a_list_whose_songs_are_missing_is_reported_as_that(tmp_path):
    (tmp_path / "list.csv").write_text("path,mood\ngone.wav,calm\n")
    done = run("balance", tmp_path / "list.csv", "--by", "mood")
    assert "gone.wav" in done.stderr + str(done.exception)
    assert "none of 0 songs" not in done.stderr + str(done.exception)


def test_a_rejected_song_takes_no_columns_from_one_of_its_name(tmp_path):
    files = [tmp_path / folder / "song.flac" for folder in ("first", "second", "third")]
    for number, path in enumerate(files):
        path.parent.mkdir()
        if number:
            write_song_file(path, make_song(number, 2.0)["mixture"], date=str(1980 + number))
        else:
            path.write_bytes(b"no sound at all")
    (tmp_path / "stems").mkdir()
    for name, audio in make_song(1, 2.0).items():
        if name != "mixture":
            write_song_file(tmp_path / "stems" / f"{name}.wav", audio)
    for chosen, years in ((files[:2], {"1981"}), (files, {"1981", "1982"})):
        done = run("balance", *chosen, "--stems", tmp_path / "stems", "--by", "year", "--json")
        assert "first/song.flac" in done.stderr
        assert {row["group"] for row in json.loads(done.stdout)["groups"]} == years


@pytest.mark.parametrize(("origin", "said"), [("bundled@1", True), ("htdemucs@demucs-4", False), ("reference", False)])
def test_a_corpus_says_that_a_demonstration_model_made_its_stems(corpus, origin, said):
    _, stems, _ = corpus_rows(8)
    table.write(corpus / "stems.parquet", [row.model_copy(update={"origin": origin}) for row in stems], Stem)
    for options in ((), ("--by", "year")):
        assert ("bundled is a demonstration model" in run("balance", corpus, *options).stderr) == said


def test_a_corpus_is_named_alone(corpus):
    assert "is a corpus; expected it alone" in str(run("balance", corpus, corpus / "song.wav").exception)
    (corpus / "estimates.parquet").unlink()
    assert "has no estimates; expected a corpus, after: stemwright estimate" in str(run("balance", corpus).exception)


def test_numbers_other_than_years_have_a_trend_and_quarters():
    songs = [SongValues(str(n), {"bpm": str(60 + n)}, {"vocals": {"level_lu": (n / 10, n / 10, n / 10)}}) for n in range(40)]
    found = grouped(songs, "bpm")
    assert [group.songs for group in found.groups["vocals", "level_lu"]] == [10] * 4
    (trend,) = trend_rows(found)
    assert (trend["per"], trend["slope"]) == (10.0, 1.0)
    assert found.notes == []
