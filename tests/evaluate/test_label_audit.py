"""The audit of label truth: effects of ours are true, effects that are not what they say are found, honest ones of others are true."""

import json
import math
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
from commands import stemwright

from benchmarks.label_peers.stand_in import without_torchaudio
from stemwright.datagen.effects import EFFECTS
from stemwright.datagen.effects.settings import EffectSettings, choice, fields, setting
from stemwright.datagen.evaluate import evaluation, label_probes
from stemwright.datagen.evaluate.given_models import GivenModel
from stemwright.datagen.evaluate.label_audit import AuditedEffect, Extent, Probe, audit, judge, latency
from stemwright.datagen.evaluate.label_measures import coding_noise, level_steps, responses, signal_levels
from stemwright.datagen.evaluate.protocol import PROTOCOLS, EvaluationRequest
from stemwright.manifests.usage import UsageError

SHORT = Extent((44_100,), (1, 2), 2)
NOT_MEASURABLE = {("room", "seed"), ("noise", "seed")}
if not coding_noise.has_program():
    NOT_MEASURABLE |= {("codec", "codec"), ("codec", "bit_rate_kbps"), ("codec", "level_db")}


@pytest.mark.parametrize("name", label_probes.OWN)
def test_every_setting_of_ours_has_a_probe(name):
    probed = [probe.setting for probe in label_probes.OWN[name]()]
    assert set(probed) == set(fields(EFFECTS[name].Settings))


def test_every_effect_of_ours_has_probes():
    assert set(label_probes.OWN) == set(EFFECTS.own)


@pytest.mark.parametrize("name", label_probes.OWN)
def test_every_setting_of_ours_is_true_of_the_audio(name):
    channels = {"eq": (1,), "envelope": (1,), "codec": (1,), "chorus": (1,), "fader": (1, 2), "loudness": (1, 2)}.get(name, (2,))
    found = judge(audit(label_probes.registered([name])[name], Extent((48_000,), channels, 2)))
    expected = {each.setting: "moves" if (name, each.setting) in NOT_MEASURABLE else "true" for each in found}
    assert {each.setting: each.verdict for each in found} == expected
    assert all(each.same_shape and not each.wrong for each in found)
    assert min((abs(each.latency) for each in found), default=0) <= 1


def effect(apply, *probes):
    return AuditedEffect("made", lambda audio, _, given: apply(audio, given), probes, "here", "1")


def verdicts(made, extent=SHORT):
    return {each.setting: each.verdict for each in judge(audit(made, extent))}


GAIN = Probe("gain_db", (-12.0, 3.0, 12.0), signal_levels.gain_db, unit="dB", tolerance=0.1)


@pytest.mark.parametrize(
    ("apply", "verdict"),
    [
        (lambda audio, given: audio * 10.0 ** (given["gain_db"] / 20.0), "true"),
        (lambda audio, given: audio * 10.0 ** (given["gain_db"] / 10.0), "off"),
        (lambda audio, given: audio * 10.0 ** (-given["gain_db"] / 20.0), "off"),
        (lambda audio, _: audio * 2.0, "ignored"),
        (lambda audio, _: audio, "no-op"),
        (lambda audio, _: audio * np.float32(1.0 + 1e-7), "no-op"),
        (lambda audio, _: audio * np.nan, "error"),
        (lambda audio, _: audio[5], "error"),
    ],
)
def test_a_gain_that_is_not_what_it_says_is_found(apply, verdict):
    assert verdicts(effect(apply, GAIN)) == {"gain_db": verdict}


def test_an_effect_that_fails_in_stereo_alone_is_off_and_says_so():
    def apply(audio, given):
        if len(audio) == 2:
            raise RuntimeError("shape '[1, 2, -1]' is invalid")
        return audio * 10.0 ** (given["gain_db"] / 20.0)

    (found,) = judge(audit(effect(apply, GAIN), SHORT))
    assert (found.verdict, found.wrong, found.count) == ("off", 2, 4)
    assert found.note == "2 of 4 raise RuntimeError: shape '[1, 2, -1]' is invalid"


def test_a_compressor_that_ignores_its_release_is_found():
    def apply(audio, given, ignores):
        times = [given["attack_ms"], given["attack_ms"] if ignores else given["release_ms"]]
        fall, rise = (1.0 - math.exp(-1000.0 / (44_100 * each)) for each in times)
        wanted = np.minimum(1.0, 0.03 / np.maximum(np.abs(audio).max(axis=0), 1e-9)) ** 0.75
        gain, held = np.empty_like(wanted), 1.0
        for n, each in enumerate(wanted.tolist()):
            held += (fall if each < held else rise) * (each - held)
            gain[n] = held
        return audio * gain

    time = level_steps.step_time(level_steps.LevelStep((-10.0, -50.0), 1.0 - math.exp(-1.0), hold_s=0.1))
    release = Probe("release_ms", (20.0, 80.0), time, {"attack_ms": 2.0}, tolerance=0.02, relative=True)
    mono = Extent((44_100,), (1,))
    assert verdicts(effect(lambda *given: apply(*given, False), release), mono) == {"release_ms": "true"}
    assert verdicts(effect(lambda *given: apply(*given, True), release), mono) == {"release_ms": "ignored"}


def test_random_effects_are_judged_by_what_is_measured():
    rng = np.random.default_rng(0)

    def apply(audio, given):
        return audio + rng.standard_normal(audio.shape) * np.sqrt(np.square(audio).mean()) * 10.0 ** (-given["snr_db"] / 20.0)

    probe = Probe("snr_db", (10.0, 30.0), signal_levels.snr_db, tolerance=0.1)
    assert verdicts(effect(apply, probe)) == {"snr_db": "true"}
    assert verdicts(effect(lambda audio, _: apply(audio, {"snr_db": 20.0}), probe)) == {"snr_db": "ignored"}


def test_a_setting_without_a_measure_moves_or_is_ignored():
    probe = Probe("colour", ("red", "blue"))
    assert verdicts(effect(lambda audio, given: audio * len(given["colour"]), probe)) == {"colour": "moves"}
    assert verdicts(effect(lambda audio, _: audio * 3.0, probe)) == {"colour": "ignored"}


def test_latency_and_another_shape_are_said():
    def late(audio, _):
        return np.pad(audio, ((0, 0), (37, 0)))

    (found,) = judge(audit(effect(late, Probe("any", (1.0, 2.0))), SHORT))
    assert (found.latency, found.same_shape) == (37, False)
    dry = np.random.default_rng(0).standard_normal((1, 4000))
    assert [latency(np.roll(dry, lag), dry) for lag in (-12, 0, 500)] == [-12, 0, 500]


def test_pedalboards_gain_filters_and_compressor_are_true():
    pytest.importorskip("pedalboard")
    from benchmarks.label_peers.pedalboard import effects

    found = effects()
    for name in ("Gain", "LowpassFilter", "PeakFilter", "Compressor", "Clipping"):
        assert set(verdicts(found[name], Extent((44_100,), (1,), 2)).values()) == {"true"}, name
    assert verdicts(found["Bitcrush"], Extent((44_100,), (1,), 2)) == {"bit_depth": "off"}


def test_an_effect_of_another_package_states_its_probes_or_is_tried_for_movement():
    class Settings(EffectSettings):
        """Of a made effect."""

        cutoff_hz: float = setting(0.0, low=20.0, high=20_000.0, unit="Hz", scale="log", off=0.0)
        ceiling_db: float = setting(math.inf, low=-48.0, high=0.0, unit="dBFS", off=math.inf, bound="ceiling")
        mode: str = choice("a", ("a", "b"))

    class Made:
        TYPICAL: ClassVar = {"cutoff_hz": (100.0, 1000.0), "ceiling_db": (-20.0, -6.0)}
        LABEL_PROBES = (Probe("cutoff_hz", (100.0, 400.0), responses.cutoff(high=False)),)

    Made.Settings = Settings
    found = {probe.setting: probe for probe in label_probes.probes_of("made", Made)}
    assert found["cutoff_hz"] is Made.LABEL_PROBES[0]
    assert found["ceiling_db"].measure is not None
    assert [found["ceiling_db"].values[0], found["ceiling_db"].fixed["mode"]] == [pytest.approx(-18.6), "a"]
    assert (found["mode"].measure, found["mode"].values) == (None, ("a", "b"))


def honest():
    """Effects as a user's library would give them."""
    return {"gain": effect(lambda audio, given: audio * 10.0 ** (given["gain_db"] / 20.0), GAIN)}


def nothing():
    """No effects."""
    return {"gain": 1}


def test_the_protocol_judges_given_effects_and_keeps_what_is_finished(tmp_path):
    request = EvaluationRequest(models=(GivenModel("test_label_audit:honest"),), options={"extent": "quick"})
    found = evaluation.evaluate(PROTOCOLS["labels"], request, tmp_path)
    assert [(each.group, each.name, each.who, each.value) for each in found.figures[:1]] == [("here 1", "settings", "true", 1.0)]
    assert [(each.group, each.name, each.who, each.count) for each in found.figures[1:]] == [("made", "gain_db", "true", 4)]
    assert found.rows[0]["measured"] == pytest.approx(-12.0, abs=1e-3)
    assert evaluation.evaluate(PROTOCOLS["labels"], request, tmp_path).finished_before == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"data": "."}, "labels takes no DATA"),
        ({"duration_s": 1.0}, "labels takes no --seconds"),
        ({"options": {"extent": "half"}}, "--set extent=half: expected full or quick"),
        ({"options": {"effects": "reverbb"}}, "there is no effect reverbb; the effects: .*reverb"),
        ({"models": (GivenModel("test_label_audit:nothing"),)}, "returned int as gain; expected an AuditedEffect"),
        ({"models": (GivenModel("time:time"),)}, "returned float; expected a dict of effects"),
        ({"models": (GivenModel("json:loads"),)}, "the model json:loads failed: TypeError"),
    ],
)
def test_what_is_no_audit_is_refused(tmp_path, change, message):
    change = {"data": Path(change["data"])} if "data" in change else change
    with pytest.raises(UsageError, match=message):
        evaluation.evaluate(PROTOCOLS["labels"], EvaluationRequest(**change), tmp_path)


def test_the_verb_shows_numbered_settings_once(tmp_path):
    shown = stemwright("evaluate", "labels", "--set", "effects=dc,envelope", "--set", "extent=quick", "--out", str(tmp_path), "--json")
    told = json.loads(shown.stdout)
    names = [each["name"] for each in told["figures"]]
    assert names == ["settings", "offset", "step_s", "gain_01_db to gain_32_db"]
    assert {each["who"] for each in told["figures"]} == {"true"}
    assert "not_run" not in told


def test_a_library_that_imports_torchaudio_is_imported_without_it():
    if find_spec("torchaudio") is not None:
        pytest.skip("torchaudio is installed")
    with without_torchaudio():
        import torchaudio

        assert torchaudio.functional is sys.modules["torchaudio.functional"]
    assert "torchaudio" not in sys.modules
