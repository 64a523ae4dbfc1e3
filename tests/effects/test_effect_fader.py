"""The fader: level and pan measured from levels."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from stemwright.datagen.effects import EFFECTS, fader
from stemwright.datagen.effects.fader import Settings
from stemwright.datagen.effects.signal import NotIdentifiableError

SAMPLE_RATE = 44_100


def level_db(audio: torch.Tensor) -> float:
    return 10.0 * math.log10(float(audio.double().square().mean()))


@pytest.fixture
def noise() -> torch.Tensor:
    """Stereo noise with the same power in both channels."""
    audio = 0.1 * torch.randn(2, 8192, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return audio / audio.square().mean(-1, keepdim=True).sqrt() * 0.1


@pytest.mark.parametrize("gain_db", [-48.0, -7.5, 0.1, 24.0])
def test_gain_raises_the_level_by_as_many_db(noise: torch.Tensor, gain_db: float) -> None:
    wet = fader.apply(noise, SAMPLE_RATE, Settings(gain_db=gain_db))
    assert level_db(wet) - level_db(noise) == pytest.approx(gain_db, abs=1e-9)


@pytest.mark.parametrize("pan", [-1.0, -0.4, 0.0, 0.25, 1.0])
def test_pan_keeps_the_power_and_moves_it(noise: torch.Tensor, pan: float) -> None:
    wet = fader.apply(noise, SAMPLE_RATE, Settings(pan=pan))
    assert level_db(wet) == pytest.approx(level_db(noise), abs=1e-9)
    left, right = wet.square().mean(-1).sqrt().tolist()
    assert 4.0 / math.pi * math.atan2(right, left) - 1.0 == pytest.approx(pan, abs=1e-9)


def test_hard_left_is_three_db_louder_and_leaves_nothing_right(noise: torch.Tensor) -> None:
    wet = fader.apply(noise, SAMPLE_RATE, Settings(pan=-1.0))
    assert level_db(wet[0]) - level_db(noise[0]) == pytest.approx(10.0 * math.log10(2.0))
    assert float(wet[1].abs().max()) < 1e-15


@pytest.mark.parametrize(("gain_db", "pan"), [(-6.0, 0.3), (12.0, -0.9), (0.0, 0.0)])
def test_fit_undoes_apply_even_with_noise(noise: torch.Tensor, gain_db: float, pan: float) -> None:
    wet = fader.apply(noise, SAMPLE_RATE, Settings(gain_db=gain_db, pan=pan))
    fitted = EFFECTS["fader"].fit(wet, noise, SAMPLE_RATE)
    assert fitted.gain_db == pytest.approx(gain_db, abs=1e-9)
    assert fitted.pan == pytest.approx(pan, abs=1e-9)
    hiss = 1e-4 * torch.randn(wet.shape, generator=torch.Generator().manual_seed(1))
    noisy = EFFECTS["fader"].fit(wet + hiss, noise, SAMPLE_RATE)
    assert noisy.gain_db == pytest.approx(gain_db, abs=0.01)
    assert noisy.pan == pytest.approx(pan, abs=1e-3)


def test_mono_takes_a_gain_but_no_pan(noise: torch.Tensor) -> None:
    mono = noise[:1]
    assert EFFECTS["fader"].fit(fader.apply(mono, SAMPLE_RATE, Settings(gain_db=-3.0)), mono, SAMPLE_RATE).gain_db == pytest.approx(-3.0)
    with pytest.raises(ValueError, match="a pan needs two channels; got 1"):
        fader.apply(mono, SAMPLE_RATE, Settings(pan=0.1))


def test_hard_pan_cannot_be_undone(noise: torch.Tensor) -> None:
    with pytest.raises(ValueError, match="silences one channel"):
        fader.invert(noise, SAMPLE_RATE, Settings(pan=1.0))


def test_silence_identifies_no_fader(noise: torch.Tensor) -> None:
    with pytest.raises(NotIdentifiableError, match="dry signal is silent"):
        EFFECTS["fader"].fit(noise, torch.zeros_like(noise), SAMPLE_RATE)
    with pytest.raises(NotIdentifiableError, match="silent or inverted"):
        EFFECTS["fader"].fit(-noise, noise, SAMPLE_RATE)
    with pytest.raises(ValueError, match="one shape"):
        EFFECTS["fader"].fit(noise[:, 1:], noise, SAMPLE_RATE)


def test_gradients_are_exact() -> None:
    def number(value: Any) -> torch.Tensor:
        return torch.tensor(value, dtype=torch.float64, requires_grad=True)

    audio = torch.randn(2, 2, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64, requires_grad=True)
    arguments = (audio, number([-3.0, 2.0]), number(0.3))
    assert torch.autograd.gradcheck(lambda x, gain, pan: fader.apply(x, SAMPLE_RATE, Settings(gain_db=gain, pan=pan)), arguments)
