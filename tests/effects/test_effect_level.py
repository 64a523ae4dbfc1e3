"""Settings that depend on the level of the audio: what they become when it gets a gain."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

from stemwright.datagen.effects import EFFECTS, apply_chain
from stemwright.datagen.effects.scaling import at_level, written
from stemwright.datagen.effects.settings import LEVEL_ROOM_DB, Range, draw, fields
from stemwright.manifests.records import EffectUse

SAMPLE_RATE = 44_100
GAINS_DB = (-0.01, -5.37, -18.0)
EVERY = pytest.mark.parametrize("effect", EFFECTS.values(), ids=EFFECTS)
SAYS_NOTHING = {"fader", "width", "eq", "lowpass", "highpass", "reverb", "room", "delay", "chorus", "noise", "dc", "envelope"}
# Wider than TYPICAL, so that every effect acts on the song; frequencies below what 44.1 kHz holds.
WIDE = {
    "compressor": {"threshold_db": (-60.0, -10.0), "ratio": (1.5, math.inf)},
    "limiter": {"ceiling_db": (-48.0, -6.0)},
    "clip": {"ceiling_db": (-48.0, -6.0)},
    "distortion": {"drive_db": (-20.0, 40.0), "asymmetry": (-1.0, 1.0), "output_db": (-20.0, 6.0)},
    "loudness": {"target_db": (-60.0, 0.0)},
    "chorus": {"depth": (0.0, 0.95), "feedback": (0.0, 0.8)},
    "room": {"rt60_s": (0.1, 0.6)},
}


def settings_of(effect: Any, number: int) -> Any:
    return draw(effect.Settings, np.random.default_rng([7, number]), {**effect.TYPICAL, **WIDE.get(effect.NAME, {})})


def quiet_beside_loud(song: torch.Tensor) -> torch.Tensor:
    """One second, the second half of it 50 dB lower: near the gate of a loudness meter."""
    audio = 2.0 * song[:, :44_100]
    audio[:, 22_050:] *= 10.0 ** (-50.0 / 20.0)
    return audio


@EVERY
def test_an_effect_at_the_level_of_a_gain_is_the_effect_with_the_gain(effect: Any, song: torch.Tensor) -> None:
    for number in range(6):
        settings, audio = settings_of(effect, number), quiet_beside_loud(song)
        for gain_db in GAINS_DB:
            gain = 10.0 ** (gain_db / 20.0)
            expected = effect.apply(audio, SAMPLE_RATE, settings) * gain
            moved = at_level(effect.NAME, settings, gain_db)
            found = effect.apply(audio * gain, SAMPLE_RATE, moved)
            # Input that differs by a rounding may be coded in another way: with another noise, as strong.
            allowed = 1.5 * (expected - audio * gain).norm() if "coded" in effect.TRAITS else 1e-5 * expected.norm()
            assert float((found - expected).norm()) <= float(allowed), (settings, gain_db)


@EVERY
def test_only_settings_that_say_so_depend_on_level(effect: Any) -> None:
    stated = {name for name, field in fields(effect.Settings).items() if isinstance(field, Range) and field.level}
    assert (not stated) == (effect.NAME in SAYS_NOTHING)
    settings = settings_of(effect, 0)
    moved = at_level(effect.NAME, settings, -6.0)
    assert {name for name in fields(effect.Settings) if getattr(moved, name) != getattr(settings, name)} == stated


@EVERY
def test_a_gain_and_its_inverse_leave_settings_as_they_were(effect: Any) -> None:
    settings = settings_of(effect, 1)
    there = at_level(effect.NAME, settings, -7.25)
    back = at_level(effect.NAME, there, 7.25).plain()
    assert back == pytest.approx(settings.plain(), abs=1e-9)


@EVERY
def test_neutral_settings_stay_neutral_in_what_they_do(effect: Any, song: torch.Tensor) -> None:
    moved = at_level(effect.NAME, effect.Settings(), -12.0)
    torch.testing.assert_close(effect.apply(song, SAMPLE_RATE, moved), song, atol=1e-6, rtol=0)


def test_a_row_at_another_level_names_every_setting_and_keeps_its_other_columns() -> None:
    use = written(EffectUse(effect="limiter", settings={"ceiling_db": -3.0}), -10.0)
    assert use.settings == {"ceiling_db": -13.0, "release_ms": 100.0, "lookahead_ms": 1.5, "linked": True}
    off = written(EffectUse(effect="clip"), -10.0)
    assert off.settings == {"ceiling_db": "inf"}


def test_settings_follow_a_reduction_to_the_edge_and_no_further(song: torch.Tensor) -> None:
    settings = EFFECTS["clip"].Settings(ceiling_db=-48.0)
    assert at_level("clip", settings, -LEVEL_ROOM_DB).ceiling_db == -48.0 - LEVEL_ROOM_DB  # type: ignore[attr-defined]
    with pytest.raises(ValueError, match="ceiling_db must be between -48 and 0 dBFS"):
        at_level("clip", settings, -LEVEL_ROOM_DB - 0.01)
    with pytest.raises(ValueError, match="ceiling_db must be between -48 and 0 dBFS"):
        EFFECTS["clip"].Settings(ceiling_db=0.5)


def test_what_is_drawn_keeps_to_the_range_without_the_room() -> None:
    with pytest.raises(ValueError, match="a range for ceiling_db must be within -48 to 0"):
        draw(EFFECTS["clip"].Settings, np.random.default_rng(0), {"ceiling_db": (-60.0, -3.0)})


def test_a_distortion_with_asymmetry_keeps_its_precision_for_quiet_signals(song: torch.Tensor) -> None:
    quiet = song[:, :20_000] * 1e-6
    settings = EFFECTS["distortion"].Settings(drive_db=20.0, asymmetry=0.4)
    exact = EFFECTS["distortion"].apply(quiet.double(), SAMPLE_RATE, settings)
    error = EFFECTS["distortion"].apply(quiet, SAMPLE_RATE, settings).double() - exact
    assert float(error.norm()) < 1e-6 * float(exact.norm())


def test_a_distortion_is_the_difference_of_two_hyperbolic_tangents(song: torch.Tensor) -> None:
    x, g, b = song[:, :20_000].double(), 10.0 ** (15.0 / 20.0), -0.7

    def s(value: torch.Tensor | float) -> torch.Tensor:
        return torch.tanh(g * torch.as_tensor(value, dtype=torch.float64) + b) - math.tanh(b)

    settings = EFFECTS["distortion"].Settings(drive_db=15.0, asymmetry=b, output_db=-6.0)
    expected = 10.0 ** (-6.0 / 20.0) * 2.0 * s(x) / (s(1.0) - s(-1.0))
    torch.testing.assert_close(EFFECTS["distortion"].apply(x, SAMPLE_RATE, settings), expected, atol=1e-12, rtol=1e-9)


def test_a_loudness_meter_with_a_lower_gate_measures_what_a_gain_moved_below_the_usual_one(song: torch.Tensor) -> None:
    quiet = song * 10.0 ** (-40.0 / 20.0)
    moved = written(EffectUse(effect="loudness", settings={"target_db": -20.0}), -40.0)
    found = apply_chain(quiet * 10.0 ** (-40.0 / 20.0), SAMPLE_RATE, (moved,))
    expected = apply_chain(quiet, SAMPLE_RATE, (EffectUse(effect="loudness", settings={"target_db": -20.0}),))
    assert float(expected.abs().max()) > 10.0 * float(quiet.abs().max())
    torch.testing.assert_close(found * 10.0 ** (40.0 / 20.0), expected, atol=1e-5, rtol=1e-5)
