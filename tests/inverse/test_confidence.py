"""One meaning of confidence: the probability that a fitted setting is within its tolerance, whichever function fitted it."""

from __future__ import annotations

import math
from typing import Any, cast

import numpy as np
import pytest
import torch

from stemwright.datagen.effects import EFFECTS, apply_chain
from stemwright.datagen.effects.settings import Range, fields
from stemwright.datagen.inverse.chain import fit_chain
from stemwright.datagen.inverse.confidence import (
    DETERMINED,
    WIDTH,
    confidence_of,
    confidences,
    differences_of_excerpts,
    setting_names,
    standard_errors,
)
from stemwright.datagen.inverse.console import fit_console
from stemwright.datagen.inverse.console.doubts import reach
from stemwright.datagen.inverse.console.joint_search import ConsoleProblem, ConsoleSettings
from stemwright.datagen.inverse.known_dry import waveform
from stemwright.datagen.inverse.solver import SearchLimits, refine

RATE = 22_050


def use(name: str, **settings: Any) -> tuple[str, Any]:
    return name, EFFECTS[name].Settings(**settings)


def setting(effect: str, name: str) -> Range:
    return cast("Range", fields(EFFECTS[effect].Settings)[name])


def noise(seed: int, frames: int = RATE) -> torch.Tensor:
    return torch.from_numpy(0.2 * np.random.default_rng(seed).standard_normal((2, frames)))


@pytest.mark.parametrize(
    ("effect", "name", "value", "right", "wrong"),
    [
        ("fader", "gain_db", -3.0, -2.51, -2.49),
        ("compressor", "threshold_db", -20.0, -20.99, -21.01),
        ("compressor", "ratio", 4.0, 1.0 / 0.2201, 1.0 / 0.2199),
        ("compressor", "release_ms", 100.0, 124.9, 125.1),
        ("lowpass", "cutoff_hz", 1000.0, 1099.0, 1101.0),
    ],
)
def test_tolerance_is_a_distance_along_the_scale(effect: str, name: str, value: float, right: float, wrong: float) -> None:
    field = setting(effect, name)
    far = [abs(field.to_unit(other) - field.to_unit(value)) for other in (right, wrong)]
    assert far[0] < field.unit_tolerance < far[1]


def test_every_setting_that_is_searched_states_its_tolerance() -> None:
    for effect in EFFECTS.values():
        for field in fields(effect.Settings).values():
            if isinstance(field, Range) and field.scale != "integer":
                assert field.tolerance is not None, f"{effect.NAME}.{field.name}"


def test_confidence_is_that_of_a_normal_error() -> None:
    gain = setting("fader", "gain_db")
    assert confidence_of(gain, 0.0) == 1.0
    assert confidence_of(gain, math.inf) == 0.0
    assert confidence_of(gain, gain.unit_tolerance) == pytest.approx(0.6827, abs=1e-4)
    assert confidence_of(gain, 0.5 * gain.unit_tolerance) == pytest.approx(0.9545, abs=1e-4)
    assert confidence_of(gain, 3e-3, 4e-3) == pytest.approx(confidence_of(gain, 5e-3))


def test_a_difference_between_excerpts_lowers_the_confidence_more_than_any_bound_on_noise() -> None:
    gain = setting("fader", "gain_db")
    assert confidence_of(gain, 0.0, difference=gain.unit_tolerance / WIDTH) == pytest.approx(0.5)
    assert confidence_of(gain, 0.0, difference=math.inf) == 0.0
    one, other = confidence_of(gain, gain.unit_tolerance), confidence_of(gain, 0.0, difference=0.01)
    assert confidence_of(gain, gain.unit_tolerance, difference=0.01) == pytest.approx(one * other)


def test_a_gain_that_is_not_what_it_is_said_to_be_differs_between_excerpts() -> None:
    rng = np.random.default_rng(4)
    dry = rng.standard_normal((2, 6000))
    stands = {"noise": dry + 0.3 * rng.standard_normal(dry.shape), "rides": dry * np.repeat([1.3, 0.7, 1.3, 0.7, 1.3, 0.7], 1000)}
    found = {}
    for name, wet in stands.items():
        gain = float((wet * dry).sum() / (dry**2).sum())
        table = dry.reshape(1, -1)
        found[name] = float(differences_of_excerpts(table, gain * dry.ravel() - wet.ravel(), table @ table.T, 2)[0])
    assert found["noise"] == pytest.approx(0.3 / math.sqrt(2000) / 1.3, rel=0.7)  # 1.3: the other excerpts count, too
    assert found["rides"] == pytest.approx(0.3 / 1.3, rel=0.1)
    assert float(differences_of_excerpts(table, 0.0 * dry.ravel(), table @ table.T, 2)[0]) == 0.0


def test_settings_of_repeated_effects_have_names_of_their_own() -> None:
    chain = [use("fader", gain_db=1.0), use("room", rt60_s=1.0), use("fader", gain_db=2.0)]
    assert [name for name in setting_names(chain) if name.startswith("fader")] == [
        "fader.gain_db",
        "fader.pan",
        "fader#2.gain_db",
        "fader#2.pan",
    ]
    found = confidences(chain, {(0, "gain_db"): 0.001, (2, "gain_db"): 0.02}, {"fader#2.gain_db": 0.0})
    assert found["fader.gain_db"] > 0.99 > 0.5 > found["fader#2.gain_db"]
    assert found["room.seed"] == 0.0  # no sound tells the name of a noise


def test_a_model_error_lowers_the_confidence_of_its_setting_alone() -> None:
    dry = noise(0)
    wet = apply_chain(dry, RATE, [use("fader", gain_db=-4.0, pan=0.2)])
    known, doubted = (fit_chain(wet, dry, RATE, ["fader"], model_errors=errors) for errors in ({}, {"fader.gain_db": 0.02}))
    assert known.confidence["fader.gain_db"] > 0.999
    assert doubted.confidence["fader.gain_db"] == pytest.approx(confidence_of(setting("fader", "gain_db"), 0.02), abs=1e-6)
    assert doubted.confidence["fader.pan"] == known.confidence["fader.pan"]
    assert doubted.undetermined == ("fader.gain_db",)


@pytest.mark.parametrize("error", [0.002, 0.02])
def test_the_same_standard_error_is_the_same_confidence_through_each_door(error: float, monkeypatch: pytest.MonkeyPatch) -> None:
    def with_error(*arguments: Any, **options: Any) -> Any:
        found = refine(*arguments, **options)
        return found._replace(error=np.full(len(found.unit), error), difference=np.zeros(len(found.unit)))

    monkeypatch.setattr("stemwright.datagen.inverse.solver.refine", with_error)
    monkeypatch.setattr("stemwright.datagen.inverse.console.joint_search.refine", with_error)
    monkeypatch.setattr(waveform, "refine", with_error)
    dry = {"one": noise(1), "two": noise(2)}
    chains = {name: [use("fader", gain_db=-3.0, pan=pan)] for name, pan in (("one", 0.3), ("two", -0.4))}
    wet = {name: apply_chain(dry[name], RATE, chain) for name, chain in chains.items()}
    expected = confidence_of(setting("fader", "gain_db"), error)
    chain = fit_chain(wet["one"], dry["one"], RATE, ["fader"])
    console = fit_console(wet["one"] + wet["two"], dry, RATE, ["fader"])
    fader: Any = EFFECTS["fader"]
    alone = waveform.fit_waveform(fader.apply, wet["one"], dry["one"], RATE, fader.Settings(), ("gain_db", "pan"))
    assert chain.confidence["fader.gain_db"] == console.chains["two"].confidence["fader.gain_db"] == alone.confidence["gain_db"] == expected
    rows = {(row["stem"], row["setting"]): row for row in console.rows()}
    assert rows["two", "gain_db"]["confidence"] == expected
    assert rows["two", "gain_db"]["determined"] == ("fader.gain_db" not in chain.undetermined) == (expected >= 0.5)
    assert DETERMINED == 0.5


def test_standard_errors_include_coloured_noise_that_is_equal_in_both_channels() -> None:
    rng = np.random.default_rng(3)
    frames, filtered = 20_000, np.ones(16) / 4.0
    slopes = np.stack([np.convolve(rng.standard_normal(frames), filtered, "same") for _ in range(2)])
    table = np.concatenate([slopes, slopes], axis=1)  # the same in both channels
    inverse = np.linalg.inv(table @ table.T)
    found, stated = [], []
    for _ in range(300):
        one = 0.1 * np.convolve(rng.standard_normal(frames), filtered, "same")
        miss = np.concatenate([one, one])
        found.append(inverse @ (table @ miss))
        stated.append(standard_errors(table, miss - found[-1] @ table, inverse, 2))
    np.testing.assert_allclose(np.mean(stated, 0), np.std(found, 0), rtol=0.15)


def test_the_stated_probability_is_how_often_a_fit_is_right() -> None:
    # Noise beside the wet signal, so strong that about half of the settings are within their tolerances.
    limits = SearchLimits(12, channels=2)
    effect: Any = EFFECTS["eq"]
    names = ("peak2_gain_db", "peak2_hz", "peak2_q")
    ranges = [setting("eq", name) for name in names]
    true = effect.Settings(peak2_gain_db=4.0, peak2_hz=1500.0, peak2_q=1.5)
    start = np.array([each.to_unit(getattr(true, name)) for each, name in zip(ranges, names, strict=True)])
    stated, right = [], []
    for seed in range(60):
        dry = noise(100 + seed, 4096)
        rng = np.random.default_rng(seed)
        level = 10.0 ** rng.uniform(0.2, 0.9)
        wet = effect.apply(dry, RATE, true) + level * noise(500 + seed, 4096)

        def residual(unit: Any, dry: torch.Tensor = dry, wet: torch.Tensor = wet) -> Any:
            values = {name: each.from_unit(float(value)) for each, name, value in zip(ranges, names, unit, strict=True)}
            return (effect.apply(dry, RATE, true.model_copy(update=values)) - wet).numpy().ravel()

        found = refine(residual, start, limits)
        for each, unit, value, error in zip(ranges, start, found.unit, found.error, strict=True):
            stated.append(confidence_of(each, float(error)))
            right.append(abs(value - unit) <= each.unit_tolerance)
    assert 0.3 < np.mean(stated) < 0.8
    assert np.mean(right) == pytest.approx(np.mean(stated), abs=0.08)
    sure = np.array(stated) > np.median(stated)
    for part in (sure, ~sure):
        assert np.mean(np.array(right)[part]) == pytest.approx(np.mean(np.array(stated)[part]), abs=0.12)


def test_how_far_a_fader_can_go_follows_from_the_residual() -> None:
    dry, other = noise(7), noise(8)
    console = ConsoleSettings({"one": (use("fader"),)})
    far = reach(ConsoleProblem(dry + 0.1 * other, {"one": dry}, RATE), console)
    gain = next(each for each in far if each.setting.name == "gain_db")
    # The residual of 0.01 may have 0.3 as much more: a gain that leaves sqrt(0.003) of the signal.
    expected_db = 20.0 * math.log10(1.0 + math.sqrt(0.3) * 0.1)
    assert far[gain] * (gain.setting.high - gain.setting.low) == pytest.approx(expected_db, rel=0.1)
    assert max(reach(ConsoleProblem(dry, {"one": dry}, RATE), console).values()) < 1e-4
