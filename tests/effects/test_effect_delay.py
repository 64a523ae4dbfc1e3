"""The delay: time by correlation, feedback and mix from the echoes of an impulse."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from stemwright.datagen.effects import EFFECTS, delay
from stemwright.datagen.effects.delay import Settings
from stemwright.datagen.effects.signal import NotIdentifiableError

SAMPLE_RATE = 44_100


def test_echoes_of_an_impulse_come_at_multiples_of_the_delay_and_fall_by_the_feedback() -> None:
    impulse = torch.zeros(2, SAMPLE_RATE, dtype=torch.float64)
    impulse[:, 0] = 1.0
    wet = delay.apply(impulse, SAMPLE_RATE, Settings(delay_ms=100.0, feedback=0.5, mix=0.3))[0].numpy()
    places = np.flatnonzero(wet)
    assert places.tolist() == [4410 * k for k in range(10)]
    assert wet[0] == pytest.approx(0.7)
    np.testing.assert_allclose(wet[places[1:]], 0.3 * 0.5 ** np.arange(9))


@pytest.mark.parametrize("delay_ms", [1.0, 37.3, 1000.0])
def test_time_is_measured_back_by_correlation(delay_ms: float) -> None:
    noise = torch.randn(1, 2 * SAMPLE_RATE, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    wet = delay.apply(noise, SAMPLE_RATE, Settings(delay_ms=delay_ms, mix=0.5))[0].numpy()
    size = 4 * SAMPLE_RATE
    correlation = np.fft.irfft(np.fft.rfft(wet, size) * np.fft.rfft(noise[0].numpy(), size).conj())
    correlation[:20] = 0.0
    assert 1000.0 * int(np.argmax(correlation[: size // 2])) / SAMPLE_RATE == pytest.approx(delay_ms, abs=500.0 / SAMPLE_RATE)


@pytest.mark.parametrize(("delay_ms", "feedback", "mix"), [(125.0, 0.3, 0.35), (400.0, 0.0, 0.2), (20.0, 0.7, 0.5)])
def test_fit_finds_every_setting(song: torch.Tensor, delay_ms: float, feedback: float, mix: float) -> None:
    wet = delay.apply(song, SAMPLE_RATE, Settings(delay_ms=delay_ms, feedback=feedback, mix=mix))
    fitted = EFFECTS["delay"].fit(wet, song, SAMPLE_RATE)
    assert fitted.delay_ms == pytest.approx(delay_ms, abs=500.0 / SAMPLE_RATE)
    assert (fitted.feedback, fitted.mix) == pytest.approx((feedback, mix), abs=0.01)


def test_fit_without_an_echo_is_refused(song: torch.Tensor) -> None:
    noise = 0.1 * torch.randn(song.shape, generator=torch.Generator().manual_seed(0))
    with pytest.raises(NotIdentifiableError, match="there is another effect between them"):
        EFFECTS["delay"].fit(noise, song, SAMPLE_RATE)


def test_echo_louder_than_the_direct_sound_cannot_be_undone() -> None:
    with pytest.raises(ValueError, match="would be unstable"):
        delay.invert(torch.zeros(1, 100), SAMPLE_RATE, Settings(mix=0.7))


def test_delay_longer_than_the_audio_leaves_the_direct_sound(song: torch.Tensor) -> None:
    short = song[:, :1000]
    torch.testing.assert_close(delay.apply(short, SAMPLE_RATE, Settings(delay_ms=500.0, mix=0.4)), 0.6 * short)


def test_gradients_are_exact() -> None:
    def number(value: Any) -> torch.Tensor:
        return torch.tensor(value, dtype=torch.float64, requires_grad=True)

    audio = torch.randn(2, 2, 40, generator=torch.Generator().manual_seed(0), dtype=torch.float64, requires_grad=True)
    values = (number([0.3, 0.7]), number([0.2, 0.6]))

    def run(x: torch.Tensor, feedback: torch.Tensor, mix: torch.Tensor) -> torch.Tensor:
        return delay.apply(x, 1000, Settings(delay_ms=7.0, feedback=feedback, mix=mix))

    assert torch.autograd.gradcheck(run, (audio, *values))
