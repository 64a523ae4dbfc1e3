"""Profiles drawn at random of stems that were measured before."""

import json

import blind_profiles
import numpy as np
import pytest
import soundfile

RATE = 44_100


@pytest.fixture
def music(tmp_path):
    from conftest import make_song

    for number in range(2):
        folder = tmp_path / "scores" / f"song-{number}"
        folder.mkdir(parents=True)
        soundfile.write(folder / "drums.flac", 0.5 * make_song(number, 2.0)["drums"].T, RATE)
    (tmp_path / "modules" / "silent").mkdir(parents=True)
    soundfile.write(tmp_path / "modules" / "silent" / "bass.flac", np.zeros((RATE, 2)), RATE)
    return tmp_path


def test_a_stopped_run_goes_on_and_silent_stems_are_left_out(music, tmp_path):
    kept = tmp_path / "kept.jsonl"
    assert blind_profiles.measured(music, kept, minutes=0.0) == []
    first = blind_profiles.measured(music, kept, minutes=5.0)
    assert [(one.collection, one.song, one.stem) for one in first] == [("scores", f"song-{number}", "drums") for number in range(2)]
    assert len(kept.read_text().splitlines()) == 3
    assert [json.loads(line)["row"] is None for line in kept.read_text().splitlines()] == [True, False, False]
    again = blind_profiles.measured(music, kept, minutes=0.0)
    assert [one.row for one in again] == [one.row for one in first]
    assert again[0].trials[0][:2] == ("untouched", 0.0)


def test_the_compressor_of_the_textbook_does_nothing_below_its_threshold_and_reaches_its_ratio_above():
    rng = np.random.default_rng(0)
    tone = np.sin(2 * np.pi * 400.0 * np.arange(3 * RATE) / RATE)[None].astype(np.float32)
    quiet, gain = blind_profiles.textbook(1e-4 * tone, RATE, rng)
    assert np.abs(quiet - 1e-4 * tone).max() < 1e-9
    assert gain.min() == pytest.approx(1.0)
    used = blind_profiles.blind_compression.drawn(np.random.default_rng(3))
    _, gain = blind_profiles.textbook(tone, RATE, np.random.default_rng(3))
    over = -3.01 - used["threshold_db"]
    assert -20.0 * np.log10(gain[-RATE // 2]) == pytest.approx(over * (1.0 - 1.0 / used["ratio"]), abs=0.3)
