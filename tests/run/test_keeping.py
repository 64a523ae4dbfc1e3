"""A corpus keeps its requested settings, and separates nothing again by accident."""

import os
import re
import shutil
from pathlib import Path

import pytest
import soundfile
from conftest import make_song
from tiny_model import write_tiny_model
from typer.testing import CliRunner

from stemwright.datagen.cli.app import app
from stemwright.datagen.run.configuration import read
from stemwright.manifests import table
from stemwright.manifests.catalog.tracks import matches
from stemwright.manifests.records import Rejected
from stemwright.manifests.usage import UsageError

LIMITS = "[separation.limits]\nclosure_db = 60.0\nbleed = 1.0\n"  # a network with random weights leaves everything
PAIRS = "[pairs]\nduration_s = 0.5\n[pairs.mix]\nper_track = 2\n[pairs.removal]\nper_track = 0\n"


def run(*arguments):
    return CliRunner().invoke(app, list(map(str, arguments)))


def songs_in(folder: Path, count: int) -> Path:
    folder.mkdir(exist_ok=True)
    for number in range(count):
        soundfile.write(folder / f"{number} song.wav", make_song(number, 1.5)["mixture"].T, 44_100, subtype="PCM_24")
    return folder


@pytest.fixture(scope="module")
def separated(tmp_path_factory):
    """A corpus of two songs, separated with one model of a folder that has two."""
    place = tmp_path_factory.mktemp("keeping")
    models = write_tiny_model(place / "models", "tiny", seed=0)
    write_tiny_model(models, "other", seed=7)
    (place / "c.toml").write_text(f"seed = 3\n{LIMITS}{PAIRS}")
    options = ["--config", place / "c.toml", "--model", "tiny", "--model-folder", models, "--precision", "fp32"]
    assert run("build", songs_in(place / "songs", 2), place / "corpus", *options).exit_code == 0
    return place


@pytest.fixture
def place(separated, tmp_path):
    shutil.copytree(separated / "corpus", tmp_path / "corpus")
    return tmp_path


def state(corpus: Path) -> dict[str, tuple[int, int]]:
    return {
        str(path): (path.stat().st_mtime_ns, path.stat().st_size)
        for path in sorted(corpus.rglob("*"))
        if path.name not in (".lock", "stemwright.log")
    }


def test_options_that_were_given_once_stay_when_a_file_asks_for_more_pairs(separated, place):
    (place / "more.toml").write_text("[pairs.mix]\nper_track = 3\n")
    done = run("build", separated / "songs", place / "corpus", "--config", place / "more.toml")
    assert done.exit_code == 0, done.output
    assert "separate: 0 done, 2 skipped" in done.output
    config = read(place / "corpus" / "config.toml")
    assert (config.separation.model, config.separation.precision, config.seed) == ("tiny", "fp32", 3)
    assert (config.pairs.mix.per_track, config.pairs.duration_s, config.pairs.removal.per_track) == (3, 0.5, 0)


@pytest.mark.parametrize("way", ["separate", "build", "file", "reset"])
def test_what_would_separate_again_is_reported_first_and_changes_nothing(separated, place, way):
    corpus, songs = place / "corpus", separated / "songs"
    (place / "other.toml").write_text("[separation]\nmodel = 'other'\n")
    before = state(corpus)
    commands = {
        "separate": ["separate", corpus, "--model", "other"],
        "build": ["build", songs, corpus, "--model", "other", "--seed", 9],
        "file": ["build", songs, corpus, "--config", place / "other.toml"],
        "reset": ["separate", corpus, "--reset", "separation.precision", "--model", "other"],
    }
    done = run(*commands[way])
    assert isinstance(done.exception, UsageError)  # leaves with 2
    assert re.match(r"model tiny -> other(, precision fp32 -> auto)?: 2 tracks would be separated again", str(done.exception))
    assert "--again" in str(done.exception)
    assert state(corpus) == before


def test_again_separates_again_and_reports_it(separated, place):
    done = run("separate", place / "corpus", "--model", "other", "--again")
    assert done.exit_code == 0, done.output
    assert "model tiny -> other: 2 tracks would be separated again, as --again allows" in done.output
    assert "separate: 2 done, 0 skipped, 0 rejected" in done.output


def test_new_songs_are_no_reason_to_ask(separated, place):
    shutil.copytree(separated / "songs", place / "songs")
    songs_in(place / "songs", 3)
    done = run("build", place / "songs", place / "corpus")
    assert done.exit_code == 0, done.output
    assert "separate: 1 done, 2 skipped" in done.output
    assert "again" not in done.output


def test_a_misspelt_model_name_is_reported_before_anything_is_done(separated, tmp_path):
    for options, meant in (
        (["--model", "htdemucs_fft"], "htdemucs_ft"),
        (["--model", "tinny", "--model-folder", separated / "models"], "tiny"),
    ):
        done = run("build", separated / "songs", tmp_path / "corpus", *options)
        assert isinstance(done.exception, UsageError)
        assert f"did you mean '{meant}'" in str(done.exception)
        assert not (tmp_path / "corpus").exists()
    balance = run("balance", separated / "songs" / "0 song.wav", "--model", "htdemuc")
    assert "did you mean 'htdemucs'" in str(balance.exception)


def test_planning_takes_no_change_of_the_separation(separated, place):
    before = state(place / "corpus")
    for arguments in (["--reset", "separation.model"], ["--config", separated / "other.toml"]):
        (separated / "other.toml").write_text("[separation]\nmodel = 'other'\n")
        done = run("plan", place / "corpus", *arguments)
        assert isinstance(done.exception, UsageError)
        assert "[separation] differs" in str(done.exception)
    assert state(place / "corpus") == before


def test_ignored_files_are_counted_in_a_note_and_are_no_rejected_songs(separated, tmp_path):
    songs = songs_in(tmp_path / "songs", 1)
    (songs / "notes.txt.mp3").write_text("no music")
    (songs / "Demo").mkdir()
    (songs / "Demo" / "empty.wav").write_bytes(b"")
    assert run("catalog", songs, tmp_path / "corpus").exit_code == 3
    (tmp_path / "c.toml").write_text("[songs]\nignore = ['*.txt.mp3', 'demo/*', 'never.wav']\n")
    done = run("catalog", songs, tmp_path / "corpus", "--config", tmp_path / "c.toml")
    assert done.exit_code == 0, done.output
    assert "2 files ignored because of songs.ignore" in done.output
    assert "the pattern 'never.wav' of songs.ignore matches no file" in done.output
    assert "catalog: 0 done, 1 skipped, 0 rejected" in done.output
    assert table.read(tmp_path / "corpus" / "rejected.parquet", Rejected) == []
    assert run("catalog", songs, tmp_path / "corpus").exit_code == 0  # it stays


@pytest.mark.parametrize(
    ("path", "pattern", "expected"),
    [
        ("a/b/x.txt.mp3", "*.txt.mp3", True),
        ("demo/x.wav", "demo/*", True),
        ("demo/deep/x.wav", "demo/*", True),
        ("Demo/x.wav", "demo/", True),
        ("album/demo/x.wav", "demo", True),
        ("album/x.wav", "x.wav", True),
        ("song [remix].wav", "song [remix].wav", True),
        ("demolition/x.wav", "demo", False),
        ("demo.wav", "demo/*", False),
        ("x.wav", "*.mp3", False),
    ],
)
def test_patterns_match_paths_names_and_folders(path, pattern, expected):
    assert matches(path, [pattern]) is expected


def test_a_copy_is_rejected_and_not_done_as_well(tmp_path):
    songs = songs_in(tmp_path / "songs", 2)
    shutil.copy(songs / "1 song.wav", songs / "copy.wav")
    done = run("catalog", songs, tmp_path / "corpus")
    assert done.exit_code == 3
    assert "catalog: 2 done, 0 skipped, 1 rejected" in done.output
    assert "catalog: 0 done, 2 skipped, 1 rejected" in run("catalog", songs, tmp_path / "corpus").output


def test_a_song_that_is_called_otherwise_is_done_and_the_others_are_skipped(tmp_path):
    songs = songs_in(tmp_path / "songs", 2)
    run("catalog", songs, tmp_path / "corpus")
    os.rename(songs / "1 song.wav", songs / "one.wav")  # noqa: PTH104
    assert "catalog: 1 done, 1 skipped, 0 rejected" in run("catalog", songs, tmp_path / "corpus").output


def test_where_nothing_could_be_done_the_command_failed(tmp_path):
    (tmp_path / "songs").mkdir()
    (tmp_path / "songs" / "text.mp3").write_text("no music")
    assert run("catalog", tmp_path / "songs", tmp_path / "corpus").exit_code == 1


def test_going_back_to_stems_that_are_kept_costs_nothing_and_asks_nothing(separated, place):
    assert run("separate", place / "corpus", "--model", "other", "--again").exit_code == 0
    done = run("separate", place / "corpus", "--model", "tiny")
    assert done.exit_code == 0, done.output
    assert "separate: 0 done, 2 skipped, 0 rejected" in done.output
    assert "model tiny" not in done.output


def test_stems_that_were_deleted_are_made_again_without_a_word(separated, place):
    shutil.rmtree(place / "corpus" / "stems")
    done = run("separate", place / "corpus")
    assert done.exit_code == 0, done.output
    assert "separate: 2 done" in done.output
