"""The protocol ``edit``: AMSS-Net's tasks and scores, on stems whose edits are known."""

import re

import numpy as np
import pytest
from scipy import signal
from sklearn.metrics import root_mean_squared_error

from stemwright.datagen.edit import grammar
from stemwright.datagen.evaluate.amss_tasks import BUTTERWORTH_Q, edited, pair_of, tasks_of
from stemwright.datagen.evaluate.edit_distances import mean_absolute_error, mfcc_rmse
from stemwright.datagen.evaluate.evaluation import evaluate
from stemwright.datagen.evaluate.given_models import GivenModel
from stemwright.datagen.evaluate.protocol import PROTOCOLS, EvaluationRequest
from stemwright.manifests.sound.writing import save
from stemwright.manifests.usage import UsageError

RATE = 22_050
NAMES = ("vocals", "drums", "bass", "other")


def stems(seconds=0.5):
    rng = np.random.default_rng(3)
    return {name: (0.1 * rng.normal(size=(2, round(seconds * RATE)))).astype(np.float32) for name in NAMES}


def song_in(folder, parts):
    save(folder / "song" / "mixture.wav", sum(parts.values()), RATE)
    for name, audio in parts.items():
        save(folder / "song" / f"{name}.wav", audio, RATE)
    return folder


def copies(mixture, sample_rate, text):
    assert sample_rate == RATE
    assert grammar.parse(text).stems[0] in NAMES
    return mixture


def mono(mixture, sample_rate, text):
    del sample_rate, text
    return mixture[:1]


def silent_bass(mixture, sample_rate):
    del sample_rate
    return {"vocals": mixture / 2, "drums": mixture / 2}


silent_bass.stem_names = ("vocals", "drums")


def test_there_are_the_21_tasks_of_the_paper_and_each_sentence_means_its_edit():
    tasks = tasks_of(dict.fromkeys(NAMES))
    assert len(tasks) == 21
    assert all(grammar.parse(each.text) == each.edit for each in tasks)


def test_a_multitrack_of_other_stems_has_tasks_of_each():
    tasks = tasks_of(dict.fromkeys(("guitar", "backing")))
    assert len(tasks) == 14
    assert tasks[-1].text == "decrease the volume of backing"


def test_targets_are_those_of_the_published_definitions():
    parts = stems()
    total = sum(audio.astype(float) for audio in parts.values())
    by_text = {each.text: pair_of(each, parts, RATE) for each in tasks_of(parts)}
    vocals = parts["vocals"].astype(float)
    left = np.stack([vocals.mean(axis=0), np.zeros(vocals.shape[1])])
    wanted = {
        "increase the volume of vocals": total + vocals,
        "decrease the volume of vocals": total - 0.5 * vocals,
        "pan vocals completely to the left side": total - vocals + left,
        "apply heavy lowpass to vocals": total - vocals + signal.lfilter(*signal.butter(2, 344.0, fs=RATE), vocals),
        "apply heavy highpass to bass": total - parts["bass"] + signal.lfilter(*signal.butter(2, 344.0, "high", fs=RATE), parts["bass"]),
    }
    for text, target in wanted.items():
        pair = by_text[text]
        np.testing.assert_allclose(pair.wanted * pair.scale, target, atol=1e-6, err_msg=text)
        np.testing.assert_allclose(pair.given * pair.scale, total, atol=1e-6, err_msg=text)


def test_the_removal_of_reverberation_starts_from_it_and_ends_with_the_plain_sum():
    parts = stems()
    task = next(each for each in tasks_of(parts) if each.text == "remove reverb from drums")
    pair = pair_of(task, parts, RATE)
    np.testing.assert_allclose(pair.wanted * pair.scale, sum(audio.astype(float) for audio in parts.values()), atol=1e-6)
    late = round(0.032 * RATE)
    np.testing.assert_allclose(pair.given[:, :late], pair.wanted[:, :late], atol=1e-6)
    assert mean_absolute_error(pair.given[:, late:], pair.wanted[:, late:]) > 0.001


def test_a_pair_above_full_scale_is_divided_by_its_largest_sample():
    loud = {name: 4.0 * audio for name, audio in stems().items()}
    pair = pair_of(tasks_of(loud)[5], loud, RATE)
    assert pair.scale > 1.0
    assert max(pair.given.max(), pair.wanted.max()) == pytest.approx(1.0)


def test_edit_with_the_real_stems_makes_the_target():
    parts = stems()
    for task in tasks_of(parts):
        if task.edit.operation != "dereverb":
            pair = pair_of(task, parts, RATE)
            assert mean_absolute_error(edited(task, pair, parts, RATE), pair.wanted) < 1e-6, task.text


def test_a_resonance_is_of_target_and_edit_alike_and_has_its_gain():
    parts = stems()
    task = next(each for each in tasks_of(parts) if each.text == "apply heavy lowpass to vocals")
    pair = pair_of(task, parts, RATE, 10.0)
    assert mean_absolute_error(edited(task, pair, parts, RATE, 10.0), pair.wanted) < 1e-6
    time = np.arange(RATE) / RATE
    tone = {"vocals": 0.01 * np.sin(2 * np.pi * 344.0 * time)[None].repeat(2, axis=0)}
    gains = [np.abs(pair_of(task, tone, RATE, q).wanted[:, RATE // 2 :]).max() / 0.01 for q in (10.0, BUTTERWORTH_Q)]
    np.testing.assert_allclose(gains, [10.0, BUTTERWORTH_Q], rtol=0.01)


def test_scores_are_those_of_librosa_and_scikit_learn():
    import librosa

    found, wanted = (np.random.default_rng(seed).normal(size=(2, RATE)).astype(np.float32) for seed in (1, 2))
    one, other = (
        np.concatenate([librosa.feature.mfcc(y=side, sr=RATE, n_mfcc=13, n_mels=128, n_fft=4096, hop_length=2048) for side in audio])
        for audio in (found, wanted)
    )
    assert mfcc_rmse(found, wanted, RATE) == pytest.approx(root_mean_squared_error(one, other), rel=1e-5)
    assert mfcc_rmse(found, found, RATE) == 0.0
    with pytest.raises(ValueError, match=r"two signals of one shape"):
        mean_absolute_error(found, wanted[:, 1:])


def test_a_song_is_scored_by_every_editor_and_kept(tmp_path):
    data = song_in(tmp_path / "data", stems())
    name = f"{__name__}:copies"
    request = EvaluationRequest(data, (GivenModel(name),))
    found = evaluate(PROTOCOLS["edit"], request, tmp_path / "out")
    assert found.rejected == ()
    of_all = {(each.who, each.name): each for each in found.figures if each.group == "all but dereverb"}
    assert of_all["oracle stems", "MAE"].value < 1e-6
    assert of_all["oracle stems", "MAE"].note == "18 tasks"
    assert of_all[name, "MAE"].value == pytest.approx(of_all["unchanged", "MAE"].value)
    assert of_all[name, "MFCC-RMSE"].value > 1.0
    assert len({row["task"] for row in found.rows}) == 21
    assert evaluate(PROTOCOLS["edit"], request, tmp_path / "out").finished_before == 1


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        ("mono", r"returned audio of the shape \[1, 11025\]; expected \[2, 11025\]"),
        ("silent_bass", "gives vocals, drums; the tasks of this song are also about bass"),
    ],
)
def test_a_model_that_cannot_do_the_tasks_is_rejected_with_the_reason(tmp_path, model, reason):
    data = song_in(tmp_path / "data", stems())
    found = evaluate(PROTOCOLS["edit"], EvaluationRequest(data, (GivenModel(f"{__name__}:{model}"),)), tmp_path / "out")
    ((_, said),) = found.rejected
    assert re.search(reason, said)


def test_mono_songs_and_wrong_options_are_refused(tmp_path):
    data = song_in(tmp_path / "data", {name: audio[:1] for name, audio in stems().items()})
    ((_, said),) = evaluate(PROTOCOLS["edit"], EvaluationRequest(data), tmp_path / "out").rejected
    assert "it has 1 channel; the tasks pan stems: expected 2" in said
    with pytest.raises(UsageError, match="--set q=steep: expected the Q of the filters"):
        evaluate(PROTOCOLS["edit"], EvaluationRequest(data, options={"q": "steep"}), tmp_path / "out")


def test_recordings_without_stems_are_refused_with_what_was_looked_for(tmp_path):
    save(tmp_path / "data" / "a.wav", stems()["other"], RATE)
    with pytest.raises(UsageError, match=r"has no multitrack \(1 recordings without stems\); looked for folders"):
        evaluate(PROTOCOLS["edit"], EvaluationRequest(tmp_path / "data"), tmp_path / "out")
