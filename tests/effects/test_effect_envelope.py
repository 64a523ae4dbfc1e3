"""The gain ride: measured back from levels over time, and found again from wet and dry."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

from stemwright.datagen.effects import EFFECTS, envelope
from stemwright.datagen.effects.envelope import POINTS, Settings
from stemwright.datagen.effects.settings import draw
from stemwright.datagen.effects.signal import NotIdentifiableError
from stemwright.datagen.inverse.known_dry.fit_envelope import fit_envelope

RATE = 8000
RIDE = Settings(step_s=0.5, gain_01_db=-3.0, gain_02_db=4.0, gain_03_db=-6.0, gain_04_db=1.0)


def noise(seconds: float, channels: int = 2, seed: int = 0) -> torch.Tensor:
    frames = round(seconds * RATE)
    return torch.from_numpy(0.1 * np.random.default_rng(seed).standard_normal((channels, frames)))


def level_db(audio: torch.Tensor) -> float:
    return 10.0 * math.log10(float(audio.square().mean()))


@pytest.mark.parametrize("channels", [1, 2])
def test_the_level_rides_from_point_to_point_and_stays_at_the_last(channels: int) -> None:
    audio = noise(18.0, channels)
    settings = Settings(step_s=0.5, gain_01_db=-3.0, gain_02_db=4.0, gain_31_db=-2.0, gain_32_db=5.0)
    wet = envelope.apply(audio, RATE, settings)
    for time, gain_db in ((0.0, -3.0), (0.25, 0.5), (0.5, 4.0), (0.75, 2.0), (1.0, 0.0), (15.25, 1.5), (15.5, 5.0), (17.9, 5.0)):
        here = slice(max(0, round(time * RATE) - 4), round(time * RATE) + 5)  # 1 ms: 0.01 dB of a slope of 14 dB/s
        assert level_db(wet[:, here]) - level_db(audio[:, here]) == pytest.approx(gain_db, abs=0.02)


def test_time_does_not_depend_on_the_sample_rate() -> None:
    sine = torch.ones(1, 4 * RATE, dtype=torch.float64)
    slow, fast = (envelope.apply(sine[:, : 2 * rate], rate, RIDE) for rate in (RATE, 2 * RATE))
    torch.testing.assert_close(fast[:, ::2], slow, atol=1e-12, rtol=0)


def test_one_sample_gets_the_first_gain() -> None:
    wet = envelope.apply(torch.full((1, 1), 0.5), RATE, RIDE)
    assert float(wet) == pytest.approx(0.5 * 10.0 ** (-3.0 / 20.0))
    assert EFFECTS["envelope"].fit(wet, torch.full((1, 1), 0.5), RATE).gain_01_db == pytest.approx(-3.0, abs=1e-5)


def test_a_single_gain_everywhere_is_a_fader() -> None:
    audio = noise(0.5)
    wet = envelope.apply(audio, RATE, Settings(**dict.fromkeys(POINTS, -7.0)))
    torch.testing.assert_close(wet, audio * 10.0 ** (-7.0 / 20.0), atol=1e-15, rtol=0)


@pytest.mark.parametrize("step_s", [0.13, 0.5, 1.7])
def test_the_fit_finds_step_and_points_even_with_noise(step_s: float) -> None:
    audio = noise(4.0)
    true = draw(Settings, np.random.default_rng(3), {**envelope.TYPICAL, "step_s": step_s})
    wet = envelope.apply(audio, RATE, true)
    inside = [name for number, name in enumerate(POINTS) if number * step_s < 4.0]
    for hiss, allowed in ((0.0, 1e-6), (0.002, 0.2)):
        found = EFFECTS["envelope"].fit(wet + hiss * noise(4.0, seed=1) / 0.1, audio, RATE)
        assert found.step_s == pytest.approx(step_s, rel=1e-6 if hiss == 0.0 else 1e-3)
        assert [getattr(found, name) for name in inside] == pytest.approx([getattr(true, name) for name in inside], abs=allowed)
        assert all(getattr(found, name) == 0.0 for name in POINTS[len(inside) + 2 :])


def test_the_fit_takes_a_step_that_is_given_and_carries_the_gain_over_silence() -> None:
    audio = noise(3.0)
    audio[:, round(0.9 * RATE) : round(2.1 * RATE)] = 0.0
    wet = envelope.apply(audio, RATE, Settings(step_s=0.25, **{name: number - 6.0 for number, name in enumerate(POINTS[:14])}))
    found = fit_envelope(wet, audio, RATE, step_s=0.25)
    assert [getattr(found, name) for name in POINTS[:13]] == pytest.approx([number - 6.0 for number in range(13)], abs=1e-3)
    with pytest.raises(ValueError, match=r"step_s must be between 0\.01 and 60 s"):
        fit_envelope(wet, audio, RATE, step_s=0.001)


def test_no_ride_inverts_or_silences() -> None:
    audio = noise(1.0)
    for wet in (-audio, torch.zeros_like(audio)):
        with pytest.raises(NotIdentifiableError, match="wet is silent, or inverted against dry"):
            EFFECTS["envelope"].fit(wet, audio, RATE)


def test_gradients_are_exact() -> None:
    def number(value: Any) -> torch.Tensor:
        return torch.tensor(value, dtype=torch.float64, requires_grad=True)

    audio = torch.randn(2, 2, 9, generator=torch.Generator().manual_seed(0), dtype=torch.float64, requires_grad=True)

    def ride(x: torch.Tensor, step: torch.Tensor, first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
        return envelope.apply(x, 100, Settings(step_s=step, gain_01_db=first, gain_02_db=second))

    assert torch.autograd.gradcheck(ride, (audio, number([0.033, 0.047]), number([-3.0, 2.0]), number(0.3)))
