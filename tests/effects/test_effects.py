"""The contract of every effect, the settings they share, and chains."""

from __future__ import annotations

import math
import runpy
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from stemwright import testing
from stemwright.datagen.effects import EFFECTS, MODULES, Effect, apply_chain
from stemwright.datagen.effects.settings import EffectSettings, Range, choice, describe, draw, draw_values, fields, setting
from stemwright.datagen.effects.signal import NotIdentifiableError
from stemwright.datagen.inverse import ESTIMATES, FITS

SAMPLE_RATE = 44_100
EVERY = pytest.mark.parametrize("effect", EFFECTS.values(), ids=EFFECTS)
# The gain of ``loudness`` is a measured number that carries no gradient; a coder has none.
DIFFERENTIABLE = [effect for effect in EFFECTS.values() if not effect.TRAITS & {"normalising", "coded"}]
INVERTIBLE = [effect for effect in EFFECTS.values() if hasattr(effect, "invert")]
FITTED = [effect for effect in EFFECTS.values() if hasattr(effect, "fit")]
EVERY_FIT = pytest.mark.parametrize("effect", FITTED, ids=[effect.NAME for effect in FITTED])


def drawn(effect: Any, seed: int = 0) -> Any:
    return draw(effect.Settings, np.random.default_rng(seed), getattr(effect, "TYPICAL", None))


# Every effect


@EVERY
def test_every_effect_keeps_the_published_contract(effect: Any) -> None:
    testing.check_effect(effect)


@pytest.mark.parametrize("effect", DIFFERENTIABLE, ids=[effect.NAME for effect in DIFFERENTIABLE])
def test_gradient_of_the_audio_is_that_of_a_finite_difference(effect: Any, song: torch.Tensor) -> None:
    audio = song[:, 30_000:33_000].double().requires_grad_()
    settings = drawn(effect, 5)
    rng = torch.Generator().manual_seed(0)
    direction, weight = (torch.randn(audio.shape, generator=rng, dtype=torch.float64) for _ in range(2))
    (gradient,) = torch.autograd.grad((weight * effect.apply(audio, SAMPLE_RATE, settings)).sum(), audio)
    step = 1e-7
    with torch.no_grad():
        ahead, behind = (effect.apply(audio + sign * step * direction, SAMPLE_RATE, settings) for sign in (1, -1))
    difference = float((weight * (ahead - behind)).sum()) / (2 * step)
    assert float((gradient * direction).sum()) == pytest.approx(difference, rel=1e-4)


@EVERY
def test_name_is_the_key(effect: Any) -> None:
    assert EFFECTS[effect.NAME] is effect


@pytest.mark.parametrize("effect", INVERTIBLE, ids=[effect.NAME for effect in INVERTIBLE])
@pytest.mark.parametrize("seed", [7, 8])
def test_invert_undoes_apply(effect: Any, seed: int, song: torch.Tensor) -> None:
    settings = drawn(effect, seed)
    audio = song[:, :40_000].double()
    torch.testing.assert_close(effect.invert(effect.apply(audio, SAMPLE_RATE, settings), SAMPLE_RATE, settings), audio, atol=1e-8, rtol=0)


@EVERY_FIT
def test_fit_undoes_apply(effect: Any, song: torch.Tensor) -> None:
    audio = 2.0 * song[:, : 3 * SAMPLE_RATE // 2].double()
    wet = effect.apply(audio, SAMPLE_RATE, drawn(effect, 9))
    again = effect.apply(audio, SAMPLE_RATE, effect.fit(wet, audio, SAMPLE_RATE))
    if effect.NAME == "room":
        # Another room of the same kind: its noise has no name, and few tones share a level only within a decibel or two.
        assert float((again - audio).square().sum() / (wet - audio).square().sum()) == pytest.approx(1.0, abs=0.6)
        return
    assert float((again - wet).square().sum()) < 1e-5 * float(wet.square().sum())


@EVERY_FIT
def test_fit_refuses_signals_that_cannot_be_compared(effect: Any, song: torch.Tensor) -> None:
    audio = song[:, :20_000].double()
    with pytest.raises(ValueError, match="one shape"):
        effect.fit(audio[:, 1:], audio, SAMPLE_RATE)
    with pytest.raises(NotIdentifiableError, match="silent"):
        effect.fit(audio, torch.zeros_like(audio), SAMPLE_RATE)
    broken = audio.clone()
    broken[0, 5] = float("nan")
    with pytest.raises(ValueError, match="NaN or infinite"):
        effect.fit(broken, audio, SAMPLE_RATE)


def test_fits_and_estimates_are_those_of_the_tables() -> None:
    for verb, table in (("fit", FITS), ("estimate", ESTIMATES)):
        assert {name for name in EFFECTS.own if hasattr(EFFECTS[name], verb)} == set(table)
    assert "chorus" not in FITS
    with pytest.raises(AttributeError, match="the effect 'chorus' has no fit; those of our own that have one are fader, width"):
        EFFECTS["chorus"].fit  # noqa: B018


def test_an_effect_may_provide_its_own_fit() -> None:
    module = SimpleNamespace(NAME="eq", fit=lambda *_: "own")
    assert Effect(module).fit(None, None, 1) == "own"
    assert Effect(SimpleNamespace(NAME="eq")).fit is EFFECTS["eq"].fit
    assert not hasattr(Effect(SimpleNamespace(NAME="toy")), "fit")
    assert not hasattr(Effect(module), "invert")


# The table of effects and chains


def test_looking_at_the_names_loads_no_effect_and_settings_load_no_torch() -> None:
    code = """
import sys, stemwright.datagen.effects as e
assert len([*e.EFFECTS.own]) > 10 and "eq" in e.EFFECTS and "stemwright.datagen.effects.eq" not in sys.modules
for name in e.EFFECTS.own:
    assert e.EFFECTS[name].Settings().is_neutral() and e.EFFECTS[name].TYPICAL
sys.exit(", ".join({"torch", "numba", "scipy"} & sys.modules.keys()) or None)
"""
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert (done.returncode, done.stderr.strip()) == (0, "")


def test_unknown_effect_names_the_nearest() -> None:
    with pytest.raises(ValueError, match="did you mean 'compressor'"):
        EFFECTS["compresor"]


def test_chain_is_its_effects_one_after_another(song: torch.Tensor) -> None:
    eq, fader = EFFECTS["eq"], EFFECTS["fader"]
    chain = [("eq", eq.Settings(peak1_gain_db=6.0)), ("fader", fader.Settings(gain_db=-3.0))]
    expected = fader.apply(eq.apply(song, SAMPLE_RATE, chain[0][1]), SAMPLE_RATE, chain[1][1])
    assert torch.equal(apply_chain(song, SAMPLE_RATE, chain), expected)
    rows: Any = [SimpleNamespace(effect=name, settings=settings.plain()) for name, settings in chain]
    assert torch.equal(apply_chain(song, SAMPLE_RATE, rows), expected)


def test_two_gains_add(song: torch.Tensor) -> None:
    fader = EFFECTS["fader"].Settings
    twice = apply_chain(song, SAMPLE_RATE, [("fader", fader(gain_db=-4.0)), ("fader", fader(gain_db=1.5))])
    torch.testing.assert_close(twice, apply_chain(song, SAMPLE_RATE, [("fader", fader(gain_db=-2.5))]))


def test_setting_of_a_chain_outside_its_range_is_refused(song: torch.Tensor) -> None:
    row: Any = SimpleNamespace(effect="fader", settings={"gain_db": 99.0})
    with pytest.raises(ValueError, match="gain_db must be between -48 and 24 dB; got 99"):
        apply_chain(song, SAMPLE_RATE, [row])


def test_modules_of_the_table_are_in_the_folder() -> None:
    assert set(MODULES.values()) == {EFFECTS[name].module.__name__ for name in EFFECTS.own}


# Settings


class Example(EffectSettings):
    level_db: float = setting(0.0, low=-10.0, high=10.0, unit="dB", description="level")
    hz: float = setting(100.0, low=20.0, high=2000.0, unit="Hz", scale="log", off=0.0, description="frequency")
    ratio: float = setting(1.0, low=1.0, high=math.inf, scale="reciprocal", description="ratio")
    seed: float = setting(0.0, low=0.0, high=9.0, scale="integer", description="seed")
    mode: str = choice("soft", ("soft", "hard"), description="mode")
    linked: bool = choice(True, (True, False), description="link")


@pytest.mark.parametrize("value", [10.1, -math.inf, math.nan, True, "3", None])
def test_number_outside_its_range_is_refused(value: Any) -> None:
    with pytest.raises(ValueError, match=r"level_db must .* between -10 and 10 dB.*got"):
        Example(level_db=value)


def test_unknown_setting_is_refused() -> None:
    with pytest.raises(ValueError, match="levl_db"):
        Example(levl_db=1.0)


def test_off_is_accepted_outside_the_range() -> None:
    assert Example(hz=0.0).hz == 0.0
    with pytest.raises(ValueError, match="between 20 and 2000 Hz, or 0 for none"):
        Example(hz=1.0)


def test_infinity_is_written_as_json_can() -> None:
    assert Example(ratio=math.inf).plain()["ratio"] == "inf"
    assert Example(**{"ratio": "inf"}).ratio == math.inf


def test_tensor_passes_through_with_its_gradient() -> None:
    level = torch.tensor([1.0, 99.0], requires_grad=True)
    assert Example(level_db=level).level_db is level


@pytest.mark.parametrize("name", ["level_db", "hz", "ratio"])
def test_unit_interval_maps_there_and_back(name: str) -> None:
    field = fields(Example)[name]
    assert isinstance(field, Range)
    for unit in (0.0, 0.2, 0.9):
        assert field.to_unit(field.from_unit(unit)) == pytest.approx(unit, abs=1e-12)
        tensor = torch.tensor(unit, dtype=torch.float64)
        assert float(field.from_unit(tensor)) == pytest.approx(field.from_unit(unit))
        assert float(field.to_unit(field.from_unit(tensor))) == pytest.approx(unit, abs=1e-12)
    assert field.from_unit(0.0) == field.low
    assert field.from_unit(1.0) == pytest.approx(field.high)


def test_draws_fill_the_range_along_the_scale() -> None:
    rng = np.random.default_rng(0)
    rows = [draw_values(Example, rng) for _ in range(4000)]
    assert np.mean([row["level_db"] for row in rows]) == pytest.approx(0.0, abs=0.3)  # type: ignore[arg-type]
    assert np.median([row["hz"] for row in rows]) == pytest.approx(200.0, rel=0.1)  # type: ignore[arg-type]
    assert np.median([row["ratio"] for row in rows]) == pytest.approx(2.0, rel=0.1)  # type: ignore[arg-type]
    assert {row["seed"] for row in rows} == set(map(float, range(10)))
    assert {row["mode"] for row in rows} == {"soft", "hard"}
    assert Example(**rows[0]) == draw(Example, np.random.default_rng(0))  # type: ignore[arg-type]


def test_narrowing_one_setting_leaves_the_others_as_drawn() -> None:
    whole = draw(Example, np.random.default_rng(5))
    part = draw(Example, np.random.default_rng(5), {"level_db": (1, 2), "mode": ("hard",), "ratio": 4.0})
    assert 1.0 <= part.level_db <= 2.0
    assert (part.mode, part.ratio) == ("hard", 4.0)
    assert (part.hz, part.seed, part.linked) == (whole.hz, whole.seed, whole.linked)


@pytest.mark.parametrize("ranges", [{"levl_db": (0, 1)}, {"level_db": (0, 11)}, {"level_db": (2, 1)}, {"level_db": 11.0}])
def test_range_that_is_none_is_refused(ranges: Any) -> None:
    with pytest.raises(ValueError, match=r"levl_db|level_db"):
        draw(Example, np.random.default_rng(0), ranges)


def test_description_has_a_row_a_setting() -> None:
    rows = {row.name: row for row in describe(Example)}
    assert (rows["hz"].low, rows["hz"].high, rows["hz"].unit, rows["hz"].scale, rows["hz"].off) == (20.0, 2000.0, "Hz", "log", 0.0)
    assert rows["mode"].unit == "soft | hard"
    assert rows["linked"].unit == "true | false"


def test_the_benchmarks_have_settings_for_every_effect_of_ours():
    names = runpy.run_path(str(Path(__file__).parents[2] / "benchmarks" / "effect_settings.py"))["SETTINGS"]
    assert set(names) == set(MODULES)
    for name, settings in names.items():
        assert not EFFECTS[name].Settings(**settings).is_neutral()
