"""``stemwright estimate SONG --profile``: tables, picture and refusals, against a profile of four short songs."""

import csv
import json

import numpy as np
import pandas
import pytest
from conftest import make_song, write_song_file
from typer.testing import CliRunner

from stemwright.datagen.cli.app import app
from stemwright.datagen.inverse.blind.left_out import left_out
from stemwright.datagen.inverse.blind.profile import Profile, profile_of
from stemwright.manifests.sound.writing import save
from stemwright.manifests.usage import UsageError

RATE = 44_100
NAMES = ("drums", "vocals")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A profile, and a song with its stems."""
    folder = tmp_path_factory.mktemp("estimates")
    songs = ({name: make_song(seed, 1.5)[name] for name in NAMES} for seed in range(4))
    profile_of(songs, RATE).save(folder / "profile.parquet")
    song = make_song(9, 1.5)
    for name in NAMES:
        write_song_file(folder / "song" / f"{name}.wav", song[name])
    write_song_file(folder / "song" / "bass.wav", np.zeros_like(song["bass"]))
    write_song_file(folder / "song" / "mixture.wav", song["drums"] + song["vocals"])
    return folder


def invoke(*arguments):
    return CliRunner().invoke(app, ["estimate", *map(str, arguments)], env={"COLUMNS": "80"})


def test_the_stems_of_a_song_get_a_row_for_each_effect_as_table_json_csv_and_picture(place, tmp_path):
    out = {name: tmp_path / f"found.{name}" for name in ("csv", "png")}
    options = ("--profile", place / "profile.parquet", "--csv", out["csv"], "--plot", out["png"])
    ended = invoke(place / "song" / "mixture.wav", "--stems", place / "song", *options)
    assert ended.exit_code == 0, ended.output
    assert max(len(line) for line in ended.stdout.splitlines() if "│" in line) <= 80
    assert "mean response (dB)" in ended.stdout
    assert "room: reverberation time (s)" in ended.stdout
    found = json.loads(invoke(place / "song", "--profile", place / "profile.parquet", "--json").stdout)  # the mixture beside its stems
    assert found["profile"] == Profile.load(place / "profile.parquet").id
    rows = {(row["stem"], row["effect"]): row for row in found["estimates"]}
    assert {stem for stem, _ in rows} == {"drums", "vocals", "bass"}
    for row in rows.values():
        assert (row["quantity"] is None) == (row["confidence"] == 0.0)
        assert row["quantity"] is not None or row["reason"]
        assert row["quantity"] is None or row["low"] <= row["value"] <= row["high"]
        assert row["settings"] is None or set(row["derived"]) <= set(row["settings"])
    assert rows["bass", "eq"]["profile_songs"] == 0
    assert "the profile has 0 songs with a stem 'bass'" in ended.stdout
    assert rows["drums", "eq"]["typical_low"] <= rows["drums", "eq"]["typical"] <= rows["drums", "eq"]["typical_high"]
    with out["csv"].open(encoding="utf-8", newline="") as file:
        written = {(row["stem"], row["effect"]): row for row in csv.DictReader(file)}
    assert written.keys() == rows.keys()
    assert float(written["drums", "eq"]["value"]) == rows["drums", "eq"]["value"]
    assert json.loads(written["drums", "eq"]["settings"]) == rows["drums", "eq"]["settings"]
    assert out["png"].read_bytes().startswith(b"\x89PNG")


def test_left_out_trials_are_those_of_the_profile_and_the_surest_come_first(place):
    own = Profile.load(place / "profile.parquet")["drums"]
    trials = left_out("compressor", own)
    assert len(trials.values) == sum(len(row.simulated) + 1 for row in own.rows)
    assert len(trials.untouched) == len(own.rows)
    coverage, risk = trials.risk()
    assert coverage[-1] == 1.0
    assert risk[-1] == pytest.approx(np.mean(trials.errors))
    assert risk[0] == trials.errors[np.argmin(trials.uncertainties)]
    assert left_out("compressor", Profile.load(place / "profile.parquet")["piano"]) is None


def test_what_cannot_be_estimated_is_refused_with_what_to_do(place, tmp_path):
    song, profile = place / "song" / "mixture.wav", place / "profile.parquet"
    Profile(Profile.load(profile).rows[:2]).save(tmp_path / "few.parquet")
    (tmp_path / "corpus").mkdir()
    (tmp_path / "corpus" / "config.toml").write_text("")
    pandas.DataFrame({"a": [1]}).to_parquet(tmp_path / "foreign.parquet")
    stems = ("--stems", place / "song")
    for arguments, expected in (
        ((song,), f"stemwright estimate {song} --profile CORPUS"),
        ((place / "song",), f"{place / 'song'} is a folder with a mixture, not a corpus. To estimate the effects of a recording, name a"),
        ((song, "--profile", tmp_path / "corpus", *stems), "this one has none. Write [estimate] with effects = true into a file"),
        ((song, "--profile", tmp_path / "foreign.parquet", *stems), "it is not the table of a profile. Expected a corpus, or its"),
        ((song, "--profile", song, *stems), "it is not the table of a profile. Expected a corpus, or its"),
        ((song, "--profile", tmp_path / "none", *stems), "no such file; expected a corpus, or the profile.parquet of one"),
        ((tmp_path / "corpus", "--profile", profile), "--profile is for a recording"),
        ((tmp_path / "corpus", "--plot", "a.png"), "--plot: for a recording, SONG --profile CORPUS"),
        ((song, "--profile", profile, "--jobs", "2", *stems), "--jobs: for a corpus"),
        ((song, "--profile", tmp_path / "few.parquet", *stems), "has 2 songs; at least 3 are needed"),
        ((song, "--profile", profile, "--model", "htdemucs", *stems), "--model: for a separation"),
    ):
        ended = CliRunner().invoke(app, ["estimate", *map(str, arguments)])
        assert isinstance(ended.exception, UsageError), (arguments, ended.output)
        assert expected in str(ended.exception)
    slow = tmp_path / "slow"
    save(slow / "mixture.wav", make_song(1, 1.5)["drums"][:, ::4], RATE // 4)
    save(slow / "drums.wav", make_song(1, 1.5)["drums"][:, ::4], RATE // 4)
    ended = invoke(slow, "--profile", profile)
    assert "has 11025 Hz, nothing above 5.5125 kHz, and stems 'drums' of the profile reach" in str(ended.exception)
