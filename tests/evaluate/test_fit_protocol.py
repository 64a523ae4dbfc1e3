"""The protocol ``fit``: settings recovered on multitracks, what is refused, and the figures of its rows."""

import numpy as np
import pytest

from stemwright.datagen.evaluate.evaluation import evaluate
from stemwright.datagen.evaluate.protocol import PROTOCOLS, EvaluationRequest
from stemwright.manifests.sound.writing import save
from stemwright.manifests.usage import UsageError

RATE = 22_050
ROWS = {"rows": "fader, lowpass"}


def song_in(folder, channels=2, names=("drums", "vocals"), seconds=1.0, rate=RATE):
    rng = np.random.default_rng(7)
    parts = {name: (0.1 * rng.normal(size=(channels, round(seconds * rate)))).astype(np.float32) for name in names}
    parts["bass"] = np.zeros_like(parts[names[0]])
    save(folder / "song" / "mixture.wav", sum(parts.values()), rate)
    for name, audio in parts.items():
        save(folder / "song" / f"{name}.wav", audio, rate)
    return folder


def test_drawn_settings_are_recovered_on_every_stem_that_sounds_and_kept(tmp_path):
    data = song_in(tmp_path / "data")
    request = EvaluationRequest(data, options=ROWS)
    found = evaluate(PROTOCOLS["fit"], request, tmp_path / "out")
    assert found.rejected == ()
    assert {row["stem"] for row in found.rows} == {"drums", "vocals"}
    figures = {(each.group, each.name): each for each in found.figures}
    assert figures["fader and pan", "error of gain_db"].value < 1e-3
    assert "asked: at most 0.01" in figures["fader and pan", "error of gain_db"].note
    assert figures["lowpass", "error of cutoff_hz"].value < 0.01
    assert figures["lowpass", "SDR (wet)"].value > 60.0
    again = evaluate(PROTOCOLS["fit"], request, tmp_path / "out")
    assert (again.finished_before, again.figures) == (2, found.figures)


def test_another_seed_draws_other_settings(tmp_path):
    data = song_in(tmp_path / "data")
    errors = [
        [row["gain_db"] for row in evaluate(PROTOCOLS["fit"], EvaluationRequest(data, seed=seed, options={"rows": "fader"}), tmp_path).rows]
        for seed in (0, 1)
    ]
    assert errors[0] != errors[1]


def test_a_fit_without_an_answer_is_counted_and_is_no_figure(tmp_path):
    found = evaluate(PROTOCOLS["fit"], EvaluationRequest(song_in(tmp_path / "data", 1), options={"rows": "width"}), tmp_path / "out")
    width = next(each for each in found.figures if each.name == "error of width")
    assert width.value is None
    assert "refused 2: " in width.note


def test_a_console_that_the_sample_rate_cannot_hold_is_counted_as_refused(tmp_path):
    data = song_in(tmp_path / "data", seconds=0.5)
    found = evaluate(PROTOCOLS["fit"], EvaluationRequest(data, options={"rows": "console"}), tmp_path / "out")
    assert found.rejected == ()
    level = next(each for each in found.figures if each.name == "error of level in the mix")
    assert level.value is None
    assert "refused 1: peak3_hz = 11666.7 needs a sample rate above 23333.3 Hz" in level.note


@pytest.mark.slow
def test_the_console_of_a_mix_is_found(tmp_path):
    data = song_in(tmp_path / "data", seconds=3.0, rate=44_100)
    found = evaluate(PROTOCOLS["fit"], EvaluationRequest(data, options={"rows": "console"}), tmp_path / "out")
    figures = {each.name: each.value for each in found.figures}
    assert found.rejected == ()
    assert figures["error of level in the mix"] < 1.0
    assert figures["loss / gains and pans"] < 0.5


def test_unknown_rows_and_silent_songs_are_refused(tmp_path):
    with pytest.raises(UsageError, match=r"--set rows=tape: no row 'tape'; expected some of fader, eq, .*, console, with commas between"):
        evaluate(PROTOCOLS["fit"], EvaluationRequest(options={"rows": "tape"}), tmp_path / "out")
    with pytest.raises(UsageError, match="no row ''; expected"):
        evaluate(PROTOCOLS["fit"], EvaluationRequest(options={"rows": " "}), tmp_path / "out")
