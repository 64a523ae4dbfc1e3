"""The protocol ``removal``: its layouts, its pairs and its scores, against pedalboard and auraloss."""

from __future__ import annotations

import csv
import math
import re

import numpy as np
import pytest
import torch
from commands import stemwright

from stemwright.datagen.evaluate.evaluated_songs import excerpt
from stemwright.datagen.evaluate.evaluation import evaluate
from stemwright.datagen.evaluate.given_models import GivenModel
from stemwright.datagen.evaluate.protocol import EvaluationRequest
from stemwright.datagen.evaluate.protocols.removal import PROTOCOL, UNDO, WET
from stemwright.datagen.evaluate.removal_pairs import RATE, DrySound, mono
from stemwright.datagen.evaluate.scores import si_sdr_db
from stemwright.manifests.records import Refused
from stemwright.manifests.sound.resampling import resample
from stemwright.manifests.sound.writing import save
from stemwright.manifests.usage import UsageError

PAIRS = "__distortion_compressor_reverb_chorus_delay___0_0___1_1"
MODELS = """
import numpy as np
def half(wet, sample_rate): return 0.5 * wet
def shorter(wet, sample_rate): return wet[:, 1:]
def no_numbers(wet, sample_rate): return np.full_like(wet, np.nan)
def fails(wet, sample_rate): raise RuntimeError("out of ideas")
"""


@pytest.fixture(scope="module")
def guitar():
    """Two seconds of the real guitar that ships, [1, T] at RATE."""
    song = excerpt()
    return resample(mono(song.stems["guitar"]), song.sample_rate, RATE)[:, : 2 * RATE]


@pytest.fixture
def models(tmp_path, monkeypatch):
    (tmp_path / "removers_of_tests.py").write_text(MODELS)
    monkeypatch.syspath_prepend(tmp_path)
    return lambda *names: tuple(GivenModel(f"removers_of_tests:{name}") for name in names)


def write_pair(folder, wet, dry, flags=None):
    folder.mkdir(parents=True)
    save(folder / "input.wav", wet, RATE, encoding="wav32f")
    save(folder / "target.wav", dry, RATE, encoding="wav32f")
    if flags is not None:
        torch.save(torch.tensor(flags), folder / "wet_effects.pt")


def found_in(figures, group, name, who):
    return next(each for each in figures if (each.group, each.name, each.who) == (group, name, who))


def test_pairs_of_another_library_score_as_auraloss_scores_them(tmp_path, guitar):
    pedalboard, time, freq = (pytest.importorskip(name) for name in ("pedalboard", "auraloss.time", "auraloss.freq"))
    expected = {}
    for number, (effect, flags, name) in enumerate(
        [
            (pedalboard.Compressor(-30.0, 4.0, 5.0, 100.0), [0.0, 0.0, 0.0, 0.0, 1.0], "compressor"),
            (pedalboard.Reverb(0.7, 0.5, 0.4, 0.6, 1.0), [1.0, 0.0, 0.0, 0.0, 0.0], "reverb"),
        ]
    ):
        wet = effect(guitar, RATE)
        write_pair(tmp_path / "data" / PAIRS / "test" / str(number), wet, guitar, flags)
        one, other = (torch.from_numpy(np.ascontiguousarray(each))[None] for each in (wet, guitar))
        expected[name] = -float(time.SISDRLoss()(one, other)), float(freq.MultiResolutionSTFTLoss()(one, other))
    found = evaluate(PROTOCOL, EvaluationRequest(tmp_path / "data"), tmp_path / "out")
    assert not found.rejected
    for name, (sdr, loss) in expected.items():
        assert found_in(found.figures, name, "SI-SDR", WET).value == pytest.approx(sdr, abs=1e-3)
        assert found_in(found.figures, name, "MR-STFT", WET).value == pytest.approx(loss, rel=1e-3)
    both = found_in(found.figures, "1 effect", "SI-SDR", WET)
    assert both.value == pytest.approx(np.mean([sdr for sdr, _ in expected.values()]), abs=1e-3)
    assert both.count == 2


def test_a_set_of_pairs_without_labels_counts_by_its_name_and_a_pair_cut_short_is_rejected(tmp_path, guitar):
    write_pair(tmp_path / "3-3" / "test" / "0", 0.9 * guitar, guitar)
    write_pair(tmp_path / "3-3" / "test" / "1", guitar[:, :RATE], guitar)
    write_pair(tmp_path / "3-3" / "test" / "2", guitar, guitar)
    (tmp_path / "3-3" / "test" / "2" / "wet_effects.pt").write_bytes(b"no labels")
    found = evaluate(PROTOCOL, EvaluationRequest(tmp_path), tmp_path / "out")
    assert {each.group for each in found.figures if each.origin == "measured"} == {"3 effects"}
    reasons = [reason for _, reason in found.rejected]
    assert "expected the same" in reasons[0]
    assert "wet_effects.pt is not five labels" in reasons[1]


def test_the_input_of_each_effect_is_undone_where_it_has_an_inverse_and_nothing_else_is(guitar):
    sound = DrySound(guitar, "guitar")
    for preset, undone in (("compression", True), ("delay", True), ("distortion", False), ("reverb", False), ("chorus", False)):
        pair = sound.pair(f"remfx-{preset}", 0, 0)
        assert (pair.undone is not None) == undone
        if pair.undone is not None:
            assert 20.0 * math.log10(np.linalg.norm(pair.undone - pair.dry) / np.linalg.norm(pair.dry)) < -80.0
    assert np.array_equal(*(getattr(sound.untouched(0, 0), side) for side in ("wet", "dry")))


def test_a_pair_depends_on_its_seed_name_and_number_alone(guitar):
    one, again = (DrySound(guitar, "a").pair("remfx-2-2", 1, 5).wet for _ in range(2))
    assert np.array_equal(one, again)
    for name, number, seed in (("b", 1, 5), ("a", 2, 5), ("a", 1, 6)):
        other = DrySound(guitar, name).pair("remfx-2-2", number, seed).wet
        assert not np.array_equal(one, other)


def test_silence_and_a_sound_that_is_too_short_are_refused(guitar):
    with pytest.raises(Refused, match=r"it lasts 0\.50 s; an excerpt takes at least 1 s"):
        DrySound(guitar[:, : RATE // 2], "short")
    with pytest.raises(Refused, match="it sounds nowhere for half of an excerpt"):
        DrySound(np.zeros_like(guitar), "silent")


def test_a_silent_stem_is_left_out_and_said_so(tmp_path, guitar):
    song = tmp_path / "data" / "Song"
    song.mkdir(parents=True)
    for name, audio in {"guitar": guitar[:, :RATE], "silent": 0.0 * guitar[:, :RATE], "mixture": guitar[:, :RATE]}.items():
        save(song / f"{name}.wav", audio, RATE)
    found = evaluate(PROTOCOL, EvaluationRequest(tmp_path / "data"), tmp_path / "out")
    assert not found.rejected
    assert {(row["source"], row["reason"]) for row in found.rows if row["group"] == "left out"} == {
        ("silent", "it sounds nowhere for half of an excerpt")
    }
    assert found_in(found.figures, "0 effects", "SI-SDR", WET).note == "without 1 stem that can give no excerpt"
    assert {row["source"] for row in found.rows if row["group"] == "1 effect"} == {"guitar"}


def test_seconds_are_taken_from_the_middle_of_a_published_pair(tmp_path, guitar):
    part = slice(RATE // 2, RATE // 2 + RATE)
    wet = guitar.copy()
    wet[:, : RATE // 2] = 0.0
    wet[:, part] = 0.8 * np.roll(guitar[:, part], 3, axis=1)
    write_pair(tmp_path / "data" / "1-1" / "test" / "0", wet, guitar)
    found = evaluate(PROTOCOL, EvaluationRequest(tmp_path / "data", duration_s=1.0), tmp_path / "out")
    assert found_in(found.figures, "1 effect", "SI-SDR", WET).value == pytest.approx(si_sdr_db(wet[:, part], guitar[:, part]), abs=1e-4)


def test_a_remover_is_scored_beside_doing_nothing_and_what_it_gains_is_the_difference(tmp_path, models):
    (given,) = models("half")
    found = evaluate(PROTOCOL, EvaluationRequest(models=(given,), duration_s=1.0), tmp_path)
    assert not found.rejected
    for group in ("distortion", "5 effects"):
        wet = found_in(found.figures, group, "SI-SDR", WET).value
        assert found_in(found.figures, group, "SI-SDR", given.text).value == pytest.approx(wet, abs=1e-3)
        assert found_in(found.figures, group, "SI-SDRi", given.text).value == pytest.approx(0.0, abs=1e-3)
    assert found_in(found.figures, "0 effects", "MR-STFT", WET).value == 0.0
    assert 0.5 < found_in(found.figures, "0 effects", "MR-STFT", given.text).value <= 0.5 + math.log(2.0)
    assert found_in(found.figures, "compressor", "SI-SDR", UNDO).value > 60.0
    assert found_in(found.figures, "reverb", "SI-SDR", "RemFX, wet").value == 9.3
    again = evaluate(PROTOCOL, EvaluationRequest(models=(given,), duration_s=1.0), tmp_path)
    assert (again.finished_before, again.figures) == (again.cases, found.figures)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("shorter", r"removers_of_tests:shorter returned audio of the shape \[1, \d+\]; expected \[1, \d+\]"),
        ("no_numbers", "removers_of_tests:no_numbers returned audio with NaN"),
        ("fails", "removers_of_tests:fails failed: RuntimeError: out of ideas"),
    ],
)
def test_a_remover_that_returns_something_else_is_named(tmp_path, models, guitar, name, reason):
    write_pair(tmp_path / "data" / "1-1" / "test" / "0", guitar, guitar)
    found = evaluate(PROTOCOL, EvaluationRequest(tmp_path / "data", models=models(name)), tmp_path / "out")
    (rejected,) = found.rejected
    assert re.search(reason, rejected[1])


def test_the_four_data_sets_are_found_in_their_layouts_and_drawn_equally(tmp_path, guitar):
    data = tmp_path / "data"
    for path in (
        "VocalSet1-2/data_by_singer/male11/scales/straight/m11.wav",
        "VocalSet1-2/data_by_singer/male1/scales/straight/m1.wav",
        "GuitarSet/audio_mono-mic/05_BN1-129-Eb_comp_mic.wav",
        "GuitarSet/audio_mono-mic/04_BN1-129-Eb_comp_mic.wav",
        "DSD100/Sources/Test/051 - Song/bass.wav",
        "DSD100/Sources/Dev/001 - Song/bass.wav",
        "IDMT-SMT-DRUMS-V2/audio/WaveDrum01_01#MIX.wav",
        "IDMT-SMT-DRUMS-V2/audio/RealDrum01_01#MIX.wav",
    ):
        (data / path).parent.mkdir(parents=True, exist_ok=True)
        save(data / path, guitar[:, : RATE + RATE // 5], RATE)
    save(data / "VocalSet1-2/data_by_singer/male11/scales/straight/short.wav", guitar[:, : RATE // 2], RATE)
    cases = PROTOCOL.cases(EvaluationRequest(data, duration_s=1.0))
    assert sorted(case.title for case in cases) == [
        "DSD100/Sources/Test/051 - Song/bass.wav",
        "GuitarSet/audio_mono-mic/05_BN1-129-Eb_comp_mic.wav",
        "IDMT-SMT-DRUMS-V2/audio/WaveDrum01_01#MIX.wav",
        "VocalSet1-2/data_by_singer/male11/scales/straight/m11.wav",
    ]
    assert len(PROTOCOL.cases(EvaluationRequest(data, num_songs=2, duration_s=1.0))) == 2
    rows = next(case for case in cases if "DSD100" in case.title).measure()
    assert {row["source"] for row in rows} == {"DSD100"}
    with pytest.raises(UsageError, match=r"none of VocalSet, .* as long as an excerpt of 5\.46 s"):
        PROTOCOL.cases(EvaluationRequest(data))


def test_other_layouts_are_refused_with_what_was_looked_for(tmp_path, guitar):
    (tmp_path / "empty").mkdir()
    with pytest.raises(
        UsageError, match=r"a folder without sound files; .* RemFX's evaluation sets .*VocalSet .*GuitarSet .*DSD100 .*IDMT-SMT-Drums"
    ):
        PROTOCOL.cases(EvaluationRequest(tmp_path / "empty"))
    save_in = tmp_path / "data_by_singer" / "male1"
    save_in.mkdir(parents=True)
    save(save_in / "a.wav", guitar, RATE)
    with pytest.raises(UsageError, match=r"VocalSet is at .* expected data_by_singer/male11 and data_by_singer/female9"):
        PROTOCOL.cases(EvaluationRequest(tmp_path))
    write_pair(tmp_path / "sets" / "1-1" / "test" / "7", guitar, guitar)
    (tmp_path / "sets" / "1-1" / "test" / "7" / "target.wav").unlink()
    with pytest.raises(UsageError, match=r"has input\.wav and no target\.wav"):
        PROTOCOL.cases(EvaluationRequest(tmp_path / "sets"))


@pytest.mark.parametrize("number", ["0", "-1", "many", "1.5"])
def test_a_number_of_pairs_that_is_none_is_refused(number):
    with pytest.raises(UsageError, match=f"--set pairs={number}: expected a whole number"):
        PROTOCOL.cases(EvaluationRequest(options={"pairs": number}))


def test_the_command_shows_published_and_measured_figures(tmp_path, guitar):
    write_pair(tmp_path / "data" / "1-1" / "test" / "0", 0.5 * guitar, guitar, [0.0, 0.0, 0.0, 0.0, 1.0])
    stemwright("evaluate", "removal", tmp_path / "data", "--out", tmp_path / "out", "--csv", tmp_path / "table.csv")
    with (tmp_path / "table.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if (row["group"], row["name"]) == ("compressor", "SI-SDR")]
    assert [row["who"] for row in rows] == ["RemFX, wet", "RemFX, best model", WET]
