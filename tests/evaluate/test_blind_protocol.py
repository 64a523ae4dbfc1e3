"""The protocol ``blind``: known compression and reverberation, the figures of its rows, and what is refused."""

import numpy as np
import pytest

from stemwright.datagen.evaluate import blind_trials, known_rooms
from stemwright.datagen.evaluate.evaluation import evaluate
from stemwright.datagen.evaluate.protocol import PROTOCOLS, EvaluationRequest
from stemwright.datagen.evaluate.protocols import blind
from stemwright.datagen.inverse.blind.profile import Profile
from stemwright.manifests.sound.writing import save
from stemwright.manifests.usage import UsageError

RATE = 44_100


def bursts(seed, seconds=3.0):
    """A decaying noise every half second, float32 [2, T]."""
    rng = np.random.default_rng(seed)
    time = np.arange(round(seconds * RATE)) / RATE
    return (0.3 * rng.normal(size=(2, len(time))) * 10.0 ** (-3.0 * (time % 0.5) / 0.1)).astype(np.float32)


def songs_in(folder, count, seconds=3.0):
    for song in range(count):
        parts = {name: bursts(10 * song + number, seconds) for number, name in enumerate(("drums", "other"))}
        save(folder / f"song {song}" / "mixture.wav", sum(parts.values()), RATE)
        for name, audio in parts.items():
            save(folder / f"song {song}" / f"{name}.wav", audio, RATE)
    return folder


@pytest.mark.parametrize("make", ["room", "network"])
def test_a_known_room_has_the_time_and_the_level_that_are_said(make):
    rng = np.random.default_rng(4)
    made = known_rooms.draw_room(make, rng, RATE)
    impulse = np.zeros((2, made.response.shape[1]), np.float32)
    impulse[:, 0] = 1.0
    heard = known_rooms.through(impulse, made)
    assert known_rooms.rt60_of(heard, RATE) == pytest.approx(made.rt60_s, rel=0.01)
    assert known_rooms.drr_of(heard, RATE) == pytest.approx(made.drr_db, abs=0.1)
    assert 0.19 <= made.rt60_s <= 2.1


def test_schroeder_time_of_an_exponential_decay_is_its_time():
    time = np.arange(2 * RATE) / RATE
    decay = np.random.default_rng(1).normal(size=(2, len(time))) * 10.0 ** (-3.0 * time / 0.8)
    assert known_rooms.rt60_of(decay, RATE) == pytest.approx(0.8, rel=0.05)


def test_untouched_stems_are_not_compressed_and_compressed_ones_are():
    rng = np.random.default_rng(0)
    trials = list(blind_trials.compressor_trials("drums", bursts(1, 1.0), RATE, Profile([]), blind.MAKERS, rng))
    assert [each.maker for each in trials] == ["untouched", "compressed", "compressed"]
    assert trials[0].true_db == 0.0
    assert trials[1].true_db > 0.0
    assert not any(each.answered or each.found for each in trials)


def row(effect, maker, *, song="a", true, value, low=None, high=None, answered=True, found=True, **more):
    return {
        "song": song, "stem": "drums", "effect": effect, "maker": maker, "true": true, "value": value, "low": low, "high": high,
        "answered": answered, "found": found, **more,
    }  # fmt: skip


def test_figures_are_those_of_the_rows():
    rows = [
        row("compression", "untouched", true=0.0, value=0.1, low=0.0, high=1.0, found=False),
        row("compression", "compressed", true=4.0, value=5.0, low=3.0, high=6.0),
        row("compression", "compressed", true=6.0, value=3.0, low=2.0, high=5.0, found=False),
        row("compression", "compressed", true=1.0, value=None, answered=False, found=False),
        row("reverberation", "none", true=None, value=None, answered=False, peer=None, drr_true=None, drr=32.0),
        row("reverberation", "room", true=1.0, value=1.2, low=0.9, high=1.1, peer=None, drr_true=6.0, drr=8.0),
        row("reverberation", "image", true=0.5, value=1.0, low=0.4, high=1.1, peer=0.5, drr_true=3.0, drr=2.0),
    ]
    found = {(each.group, each.name, each.who): each.value for each in PROTOCOLS["blind"].figures(rows)}
    compression, rooms = "compression, all", "reverberation, all"
    assert found[compression, "answered", "ours"] == pytest.approx(200.0 / 3.0)
    assert found[compression, "mean error of the answers", "ours"] == 2.0
    assert found[compression, "true in 80 % interval", "ours"] == 50.0
    assert found[compression, "found, of 3 dB and more", "ours"] == 50.0
    assert found[compression, "found, of untouched", "ours"] == 0.0
    assert found[rooms, "RT60 within 25 %", "ours"] == 50.0
    assert found[rooms, "median error of RT60", "ours"] == pytest.approx(60.0)
    assert found[rooms, "RT60 within 25 %", "decay rate"] == 50.0
    assert found[rooms, "true RT60 in 80 % interval", "ours"] == 100.0
    assert found[rooms, "mean error of the direct-to-reverberant ratio", "ours"] == 1.5


def test_no_answer_is_no_figure():
    found = PROTOCOLS["blind"].figures(
        [row("reverberation", "room", true=1.0, value=None, answered=False, peer=None, drr_true=6.0, drr=8.0)]
    )
    assert {each.name: each.value for each in found} == {"answered": 0.0}


def test_every_other_song_is_measured_against_a_profile_of_the_others(tmp_path):
    data = songs_in(tmp_path / "data", 2)
    found = evaluate(PROTOCOLS["blind"], EvaluationRequest(data), tmp_path / "out")
    assert found.rejected == ()
    assert {each["song"] for each in found.rows} == {"song 1"}
    assert {(each["effect"], each["maker"]) for each in found.rows} == {
        *(("reverberation", make) for make in ("none", *blind.MAKES)),
        ("compression", "untouched"),
        ("compression", "compressed"),
    }
    again = evaluate(PROTOCOLS["blind"], EvaluationRequest(data), tmp_path / "out")
    assert (again.finished_before, again.figures) == (1, found.figures)


def test_a_song_alone_is_measured_in_rooms_only(tmp_path):
    found = evaluate(PROTOCOLS["blind"], EvaluationRequest(songs_in(tmp_path / "data", 1)), tmp_path / "out")
    assert {each["effect"] for each in found.rows} == {"reverberation"}


def test_silent_stems_and_missing_profiles_are_refused(tmp_path):
    data = songs_in(tmp_path / "data", 1, 0.5)
    for name in ("mixture", "drums", "other"):
        save(data / "song 0" / f"{name}.wav", np.full((2, RATE), 1e-6, np.float32), RATE)
    ((_, said),) = evaluate(PROTOCOLS["blind"], EvaluationRequest(data), tmp_path / "out").rejected
    assert "none of its stems sounds" in said or "silent" in said
    with pytest.raises(UsageError, match="--set profile=/nowhere: no such folder; expected one with multitracks"):
        evaluate(PROTOCOLS["blind"], EvaluationRequest(data, options={"profile": "/nowhere"}), tmp_path / "out")
