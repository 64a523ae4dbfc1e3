"""The protocol ``declip``: clipping to a known SDR, gains of declippers, and what is refused."""

import re

import numpy as np
import pytest

from stemwright.datagen.evaluate import clipping_gains
from stemwright.datagen.evaluate.evaluation import evaluate
from stemwright.datagen.evaluate.given_models import GivenModel
from stemwright.datagen.evaluate.protocol import PROTOCOLS, EvaluationRequest
from stemwright.manifests.sound.writing import save
from stemwright.manifests.usage import UsageError

RATE = 8000
QUICK = {"inputs": "10", "methods": "ours, cubic spline"}


def tones(seconds=0.5):
    time = np.arange(round(seconds * RATE)) / RATE
    return (0.3 * np.sin(2 * np.pi * 220 * time) + 0.2 * np.sin(2 * np.pi * 331 * time))[None].astype(np.float32)


def answer(text):
    """A model of a user's; its name says what it does."""
    return f"{__name__}:{text}"


def leaves_all(clipped, sample_rate, ceiling):
    assert sample_rate == RATE
    assert np.abs(clipped).max() == pytest.approx(ceiling)
    return clipped


def one_short(clipped, sample_rate, ceiling):
    del sample_rate, ceiling
    return clipped[:, 1:]


def not_a_number(clipped, sample_rate, ceiling):
    del sample_rate, ceiling
    return clipped * np.nan


@pytest.mark.parametrize("input_db", [3.0, 7.0, 20.0])
def test_clipped_signal_has_the_requested_sdr(input_db):
    truth = clipping_gains.loudest_part(tones(), RATE)
    clipped, ceiling = clipping_gains.clip_to(truth, input_db)
    sdr_db = 10.0 * np.log10((truth**2).sum() / ((truth - clipped) ** 2).sum())
    assert sdr_db == pytest.approx(input_db, abs=1e-6)
    assert np.abs(clipped).max() == ceiling


@pytest.mark.parametrize("method", [clipping_gains.spline, clipping_gains.spade])
def test_peers_keep_what_was_not_clipped_and_give_the_clipped_again(method):
    truth = clipping_gains.loudest_part(tones(), RATE)
    clipped, ceiling = clipping_gains.clip_to(truth, 10.0)
    restored = method(clipped, ceiling)
    np.testing.assert_array_equal(restored.clip(-ceiling, ceiling), clipped)
    assert clipping_gains.gain_db(truth, clipped, restored, clipped != truth) > 5.0


def test_loudest_part_is_the_loud_half():
    audio = np.concatenate([np.full((2, 100), 0.1), np.full((2, 100), 0.5)], axis=1)
    np.testing.assert_allclose(clipping_gains.loudest_part(audio, 100), 1.0)


def test_recordings_are_measured_with_a_given_model_and_a_finished_one_is_not_measured_again(tmp_path):
    for name in "ab":
        save(tmp_path / "data" / f"{name}.wav", tones() * (1.0 if name == "a" else 0.5), RATE)
    request = EvaluationRequest(tmp_path / "data", (GivenModel(answer("leaves_all")),), options=QUICK)
    found = evaluate(PROTOCOLS["declip"], request, tmp_path / "out")
    assert found.rejected == ()
    gains = {each.who: each.value for each in found.figures if each.origin == "measured"}
    assert gains[answer("leaves_all")] == pytest.approx(0.0, abs=1e-4)
    assert gains["ours"] > gains["cubic spline"] > 10.0
    again = evaluate(PROTOCOLS["declip"], request, tmp_path / "out")
    assert (again.finished_before, again.figures) == (2, found.figures)
    one = evaluate(PROTOCOLS["declip"], EvaluationRequest(tmp_path / "data", request.models, num_songs=1, options=QUICK), tmp_path / "out")
    assert (one.cases, one.finished_before) == (1, 1)


def test_sound_that_is_clipped_already_is_rejected_with_the_reason(tmp_path):
    save(tmp_path / "a.wav", (4.0 * tones(2.0)).clip(-0.5, 0.5), RATE)
    save(tmp_path / "b.wav", np.zeros((1, RATE), np.float32), RATE)
    found = evaluate(PROTOCOLS["declip"], EvaluationRequest(tmp_path, options=QUICK), tmp_path / "out")
    assert dict(found.rejected) == {
        "a.wav": "nothing to clip: recording is clipped already",
        "b.wav": "it is silent (below -100 dBFS); expected sound",
    }


@pytest.mark.parametrize(
    ("model", "reason"),
    [("one_short", r"of the shape \[1, 3999\]; expected \[1, 4000\]"), ("not_a_number", "NaN or infinite samples")],
)
def test_a_model_that_returns_something_else_is_rejected(tmp_path, model, reason):
    save(tmp_path / "a.wav", tones(), RATE)
    found = evaluate(PROTOCOLS["declip"], EvaluationRequest(tmp_path, (GivenModel(answer(model)),), options=QUICK), tmp_path / "out")
    ((_, said),) = found.rejected
    assert re.search(reason, said)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"inputs": "loud"}, "--set inputs=loud: expected SDRs in dB above 0"),
        ({"inputs": "0"}, "--set inputs=0: expected SDRs in dB above 0"),
        ({"methods": "magic"}, "--set methods: no method 'magic'; expected some of ours, expansion, cubic spline, a-spade"),
    ],
)
def test_options_that_cannot_be_are_refused(tmp_path, options, message):
    save(tmp_path / "a.wav", tones(), RATE)
    with pytest.raises(UsageError, match=message):
        evaluate(PROTOCOLS["declip"], EvaluationRequest(tmp_path, options=options), tmp_path / "out")


def test_a_folder_without_sound_is_refused_with_what_was_expected(tmp_path):
    (tmp_path / "notes.txt").write_text("no sound")
    with pytest.raises(UsageError, match="is a folder without sound files; expected recordings, or a folder of songs or multitracks"):
        evaluate(PROTOCOLS["declip"], EvaluationRequest(tmp_path), tmp_path / "out")


def test_a_recording_in_two_encodings_counts_once(tmp_path):
    import soundfile
    from conftest import make_song

    audio = make_song(4, 6.0)["mixture"]
    for suffix in ("flac", "ogg"):
        soundfile.write(tmp_path / f"a.{suffix}", audio.T, 44_100)
    soundfile.write(tmp_path / "b.flac", make_song(5, 6.0)["mixture"].T, 44_100)
    found = evaluate(
        PROTOCOLS["declip"],
        EvaluationRequest(tmp_path, duration_s=0.2, options={"inputs": "10", "methods": "cubic spline"}),
        tmp_path / "kept",
    )
    assert [reason for _, reason in found.rejected] == [
        f"it is the same recording as {found.rows[0]['song']}, by its sound; each counts once"
    ]
    assert len({row["song"] for row in found.rows}) == 2
