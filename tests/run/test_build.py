"""The whole path as a person runs it: the command on files; in processes of its own where these are killed, stopped or compared."""

import json
import os
import signal
import subprocess
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import soundfile
from commands import COMMAND, killed_at, own_process, stemwright
from tiny_model import write_tiny_model

from stemwright.datagen.dataset.loader import PairDataset
from stemwright.manifests import table
from stemwright.manifests.pair_records import Pair
from stemwright.manifests.records import Rejected, Stem, Track
from stemwright.manifests.sound.decoding import load

CONFIG = """
seed = 11
[pairs]
duration_s = 0.5
[pairs.mix]
per_track = 3
[pairs.removal]
per_track = 5
effects = ["eq", "compressor", "reverb", "room"]
[separation.limits]
closure_db = 60.0  # a network with random weights leaves everything, and its stems resemble one another
bleed = 1.0
"""


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory):
    return write_tiny_model(tmp_path_factory.mktemp("models"), "tiny", seed=0)


@pytest.fixture
def options(tmp_path, model_folder):
    config = tmp_path / "config.toml"
    config.write_text(CONFIG)
    return ["--config", config, "--model", "tiny", "--model-folder", model_folder]


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below a folder by its path, but for the log."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file() and path.name != "stemwright.log"]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def assert_same_corpus(one: Path, other: Path) -> None:
    assert (one / "pairs.parquet").read_bytes() == (other / "pairs.parquet").read_bytes()
    first, second = contents(one / "dataset"), contents(other / "dataset")
    assert list(first) == list(second)
    assert [name for name in first if first[name] != second[name]] == []
    assert len(first) > 20


def test_jobs_and_kills_change_neither_the_pairs_nor_a_byte_of_the_dataset(tmp_path, songs_folder, options):
    songs = songs_folder(4, duration_s=2.0)
    own_process("build", songs, tmp_path / "one", *options, "--jobs", 1)
    for when in ("separate: 2 of 4", "render: 9 of"):  # with the other process still at work
        build = ["build", songs, tmp_path / "killed", *options, "--jobs", 2, "-v"]
        assert killed_at(when, *build) == -signal.SIGKILL
    own_process("build", songs, tmp_path / "killed", *options, "--jobs", 2)
    assert_same_corpus(tmp_path / "one", tmp_path / "killed")
    assert not list((tmp_path / "killed").rglob("*.part"))


def test_a_second_start_skips_everything_and_touches_nothing(tmp_path, songs_folder, options):
    songs, corpus = songs_folder(2), tmp_path / "corpus"
    stemwright("build", songs, corpus, *options)
    before = {
        path: path.stat().st_mtime_ns for path in corpus.rglob("*") if path.is_file() and path.name not in (".lock", "stemwright.log")
    }
    done = stemwright("build", songs, corpus, "--json")
    assert {stage["stage"]: stage["done"] for stage in json.loads(done.stdout)["stages"]} == dict.fromkeys(
        ("catalog", "separate", "estimate", "plan", "render"), 0
    )
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_adding_a_song_leaves_the_pairs_of_the_others_as_they_were(tmp_path, songs_folder, options):
    corpus = tmp_path / "corpus"
    stemwright("build", songs_folder(2), corpus, *options)
    before = {pair.id for pair in table.read(corpus / "pairs.parquet", Pair)}
    stemwright("build", songs_folder(3), corpus)
    assert before < {pair.id for pair in table.read(corpus / "pairs.parquet", Pair)}


def test_missing_songs_delete_nothing_else(tmp_path, songs_folder, options):
    songs, corpus = songs_folder(2), tmp_path / "corpus"
    stemwright("build", songs, corpus, *options)
    before = contents(corpus / "stems")
    songs.rename(tmp_path / "elsewhere")
    songs.mkdir()
    done = stemwright("build", songs, corpus, check=False)
    assert done.returncode == 2
    assert "no recordings in" in done.stderr
    (tmp_path / "elsewhere" / "00 song.flac").rename(songs / "00 song.flac")
    stemwright("build", songs, corpus)
    assert contents(corpus / "stems") == before


def test_stems_of_one_model_are_never_taken_for_those_of_another(tmp_path, songs_folder, options, model_folder):
    songs, corpus = songs_folder(2), tmp_path / "corpus"
    stemwright("build", songs, corpus, *options)
    (folder,) = (corpus / "stems").iterdir()
    before = contents(folder)
    write_tiny_model(model_folder, "other", seed=7)
    process = subprocess.Popen([*COMMAND, "separate", corpus, "--model", "other", "--again"], stdout=subprocess.DEVNULL)
    while process.poll() is None and not list((corpus / "stems").glob("other-*/*/*.flac")):
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    stemwright("build", songs, corpus, "--model", "tiny")
    assert contents(folder) == before
    assert all(row.audio.path.startswith(f"stems/{folder.name}/") for row in table.read(corpus / "stems.parquet", Stem))
    stemwright("check", corpus)


def test_a_kill_between_the_tables_of_a_corpus_and_its_dataset_is_mended(tmp_path, songs_folder, options):
    songs, corpus = songs_folder(1), tmp_path / "corpus"
    stemwright("build", songs, corpus, *options)
    old = {path.name: path.read_bytes() for path in (corpus / "dataset").glob("*.parquet")}
    stemwright("build", songs, corpus, "--seed", 5)
    for name, data in old.items():
        (corpus / "dataset" / name).write_bytes(data)
    (corpus / ".pairs.parquet.7.part").write_bytes(b"left by a killed process")
    stemwright("build", songs, corpus)
    assert (corpus / "dataset" / "pairs.parquet").read_bytes() != old["pairs.parquet"]
    assert not list(corpus.glob(".*.part"))


def test_an_option_that_cannot_be_used_is_not_kept(tmp_path, songs_folder, options):
    songs, corpus = songs_folder(1), tmp_path / "corpus"
    stemwright("build", songs, corpus, *options)
    before = (corpus / "config.toml").read_bytes()
    assert stemwright("build", songs, corpus, "--model", "tinny", check=False).returncode == 2
    assert stemwright("build", songs, corpus, "--kind", "musdb18", check=False).returncode in (1, 2)
    assert (corpus / "config.toml").read_bytes() == before
    stemwright("build", songs, corpus)


def test_planning_from_a_file_leaves_the_separation_as_it_was(tmp_path, songs_folder, options):
    songs, corpus = songs_folder(1), tmp_path / "corpus"
    stemwright("build", songs, corpus, *options)
    (tmp_path / "pairs.toml").write_text("seed = 3\n[pairs]\nduration_s = 0.4\n")
    stemwright("plan", corpus, "--config", tmp_path / "pairs.toml")
    assert 'model = "tiny"' in (corpus / "config.toml").read_text()
    (tmp_path / "other.toml").write_text("[separation]\nmodel = 'htdemucs'\n")
    done = stemwright("plan", corpus, "--config", tmp_path / "other.toml", check=False)
    assert done.returncode == 2
    assert "[separation] differs" in done.stderr


@pytest.mark.parametrize(
    "stopping",
    [
        pytest.param(signal.SIGINT, marks=pytest.mark.slow, id="Ctrl-C"),  # as in the tests of stopping
        pytest.param(signal.SIGTERM, marks=pytest.mark.slow, id="terminated"),
        pytest.param(signal.SIGHUP, id="terminal closed"),
    ],
)
def test_whatever_stops_a_build_reports_that_the_same_command_resumes_it(stopping, tmp_path, songs_folder, options):
    songs, corpus = songs_folder(3), tmp_path / "corpus"
    process = subprocess.Popen(
        [*COMMAND, "build", songs, corpus, *map(str, options)],
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        preexec_fn=partial(signal.signal, stopping, signal.SIG_DFL),  # tests that run in the background inherit its being ignored
    )
    assert process.stdout.readline().startswith("catalog: 3 done")
    process.send_signal(stopping)
    _, said = process.communicate(timeout=300)
    assert process.returncode == 130
    assert "the same command resumes it" in said
    stemwright("build", songs, corpus)


def test_a_changed_setting_is_never_mistaken_for_finished_work(tmp_path, songs_folder, options):
    songs, corpus = songs_folder(1), tmp_path / "corpus"
    stemwright("build", songs, corpus, *options)
    before = contents(corpus / "dataset")
    stemwright("build", songs, corpus, "--seed", 12)
    after = contents(corpus / "dataset")
    assert not {name for name in before if name.endswith(".flac")} & set(after)
    done = stemwright("check", corpus)
    assert "check: 0 problems" in done.stdout


@pytest.mark.parametrize("shape", ["multitrack_folder", "stem_folder"])
def test_musdb_shaped_folders_go_through_build_with_their_own_stems_and_splits(shape, tmp_path, request):
    songs, corpus = request.getfixturevalue(shape)(2, 1, duration_s=2.0), tmp_path / "corpus"
    (tmp_path / "config.toml").write_text(CONFIG)
    stemwright("build", songs, corpus, "--config", tmp_path / "config.toml")
    tracks = table.read(corpus / "tracks.parquet", Track)
    assert sorted(track.split for track in tracks) == ["test", "train", "train"]
    assert {track.artist for track in tracks} == {"Artist 0", "Artist 1", "Artist 2"}
    stems = table.read(corpus / "stems.parquet", Stem)
    assert {stem.origin for stem in stems} == {"reference"}
    if shape == "multitrack_folder":  # AAC does not keep the sum
        assert {stem.closure_db for stem in stems} == {None}
    assert len(PairDataset(corpus / "dataset", kind="mix", split="test")) == 3


def test_mixture_equals_the_sum_of_inputs_for_a_multitrack_whose_stems_sum(tmp_path, multitrack_folder):
    (tmp_path / "config.toml").write_text(CONFIG)
    stemwright("build", multitrack_folder(1, 0), tmp_path / "corpus", "--config", tmp_path / "config.toml")
    for inputs, targets, mask in PairDataset(tmp_path / "corpus" / "dataset", kind="mix", split="all"):
        assert mask.all()
        np.testing.assert_array_equal(inputs.sum(dim=0), targets[0])


def test_every_bad_input_becomes_one_rejected_row_and_the_rest_is_processed(tmp_path, songs_folder, options):
    songs = songs_folder(2)
    (songs / "empty.wav").write_bytes(b"")
    (songs / "text.mp3").write_text("this is not music\n" * 50)
    good = (songs / "01 song.wav").read_bytes()
    (songs / "truncated.wav").write_bytes(good[: len(good) // 2])
    (songs / "copy.wav").write_bytes(good)
    soundfile.write(songs / "nan.wav", np.full((44_100, 2), np.nan, np.float32), 44_100, subtype="FLOAT")
    soundfile.write(songs / "silent.wav", np.zeros((44_100, 2)), 44_100)
    soundfile.write(songs / "surround.wav", np.zeros((44_100, 6)) + 0.1, 44_100)
    short = np.random.default_rng(0).normal(0, 0.1, (8_000, 2))
    soundfile.write(songs / "short.wav", short, 44_100)
    os.write(os.open(os.fsencode(songs) + b"/caf\xe9.wav", os.O_CREAT | os.O_WRONLY), good)
    done = stemwright("build", songs, tmp_path / "corpus", *options, check=False)
    assert done.returncode == 3, done.stderr
    reasons = {row.subject: row.reason for row in table.read(tmp_path / "corpus" / "rejected.parquet", Rejected)}
    for subject, words in {
        "empty.wav": "empty file",
        "text.mp3": "not a readable sound file",
        "truncated.wav": "truncated",
        "copy.wav": "same",
        "nan.wav": "NaN",
        "silent.wav": "silen",
        "surround.wav": "6 channels",
        "short.wav": "shorter than one excerpt (0.18 s of 0.5 s)",
    }.items():
        assert words in reasons.pop(subject)
    ((name, reason),) = reasons.items()
    assert "caf" in name
    assert "UTF-8" in reason
    assert len(table.read(tmp_path / "corpus" / "tracks.parquet", Track)) == 3
    assert "catalog: 3 done, 0 skipped, 8 rejected" in done.stdout
    last = "16 pairs in the dataset. Songs (11 in all):"
    assert done.stdout.rstrip().splitlines()[-2:] == [last, "build: 2 done, 0 skipped, 9 rejected"]
    again = stemwright("build", songs, tmp_path / "corpus", check=False)
    assert again.returncode == 3
    assert "catalog: 0 done, 3 skipped, 8 rejected" in again.stdout
    assert again.stdout.rstrip().splitlines()[-2:] == [last, "build: 0 done, 2 skipped, 9 rejected"]


def test_unusual_files_are_handled_and_noted(tmp_path, song_maker, options):
    songs = tmp_path / "songs"
    songs.mkdir()
    soundfile.write(songs / "mono.wav", song_maker(0, 2.0, num_channels=1)["mixture"].T, 44_100, subtype="PCM_24")
    soundfile.write(songs / "low.wav", song_maker(1, 2.0, sample_rate=8_000)["mixture"].T, 8_000, subtype="PCM_24")
    soundfile.write(songs / "high.flac", song_maker(2, 2.0, sample_rate=96_000)["mixture"].T, 96_000, subtype="PCM_24")
    soundfile.write(songs / "loud.wav", song_maker(3, 2.0)["mixture"].T * 3.0, 44_100, subtype="FLOAT")
    corpus = tmp_path / "corpus"
    stemwright("build", songs, corpus, *options)
    notes = {track.title: " ".join(track.notes) for track in table.read(corpus / "tracks.parquet", Track)}
    assert "mono" in notes["mono"]
    assert "8000 Hz" in notes["low"]
    assert "96000 Hz" in notes["high"]
    assert "peak" in notes["loud"]
    by_track = {track.id: track.title for track in table.read(corpus / "tracks.parquet", Track)}
    stems = table.read(corpus / "stems.parquet", Stem)
    assert {stem.audio.num_channels for stem in stems if by_track[stem.track_id] == "mono"} == {1}
    assert {stem.gain_db < 0 for stem in stems if by_track[stem.track_id] == "loud"} == {True}
    assert len({stem.gain_db for stem in stems if by_track[stem.track_id] == "loud"}) == 1


def test_a_song_changed_since_it_was_cataloged_is_refused(tmp_path, songs_folder, song_maker, options):
    songs, corpus = songs_folder(2), tmp_path / "corpus"
    stemwright("catalog", songs, corpus)
    soundfile.write(songs / "00 song.flac", song_maker(9, 2.0)["mixture"].T, 44_100, subtype="PCM_24")
    done = stemwright("separate", corpus, *options[2:], check=False)
    assert done.returncode == 3
    (row,) = table.read(corpus / "rejected.parquet", Rejected)
    assert row.subject == "00 song.flac"
    assert "changed since it was cataloged" in row.reason


def test_stems_and_residual_of_a_separated_track_sum_to_the_mixture(tmp_path, songs_folder, options):
    songs, corpus = songs_folder(1), tmp_path / "corpus"
    stemwright("build", songs, corpus, *options)
    total = sum(load(corpus / stem.audio.path)[0] for stem in table.read(corpus / "stems.parquet", Stem))
    np.testing.assert_array_equal(total, load(songs / "00 song.flac")[0])


def test_check_names_the_file_of_a_changed_byte_a_missing_file_and_the_table_of_an_edited_row(tmp_path, songs_folder, options):
    corpus = tmp_path / "corpus"
    stemwright("build", songs_folder(1), corpus, *options)
    victim = sorted((corpus / "dataset").rglob("*.flac"))[0]
    data = bytearray(victim.read_bytes())
    data[len(data) // 2] ^= 1
    victim.write_bytes(data)
    done = stemwright("check", corpus, check=False)
    assert (done.returncode, victim.name in done.stdout) == (1, True)
    victim.unlink()
    done = stemwright("check", corpus, "--json", check=False)
    assert done.returncode == 1
    assert any(problem["file"].endswith(victim.relative_to(corpus).as_posix()) for problem in json.loads(done.stdout)["problems"])
    stemwright("build", songs_folder(1), corpus)  # makes the file again
    stemwright("check", corpus)
    frame = table.frame(corpus / "pairs.parquet")
    frame.loc[0, "start_frame"] += 1
    frame.to_parquet(corpus / "pairs.parquet")
    done = stemwright("check", corpus, check=False)
    assert done.returncode == 1
    assert "pairs" in done.stdout


@pytest.mark.parametrize("journal", ["examples.jsonl.part", "track_estimates.jsonl.part"])
def test_a_journal_that_a_kill_left_beside_a_finished_corpus_is_removed_at_the_next_start(journal, tmp_path, songs_folder, options):
    songs, corpus = songs_folder(1), tmp_path / "corpus"
    stemwright("build", songs, corpus, *options)
    before = contents(corpus)
    (corpus / journal).touch()
    done = stemwright("build", songs, corpus)
    assert "interrupted" not in done.stdout
    assert contents(corpus) == before
