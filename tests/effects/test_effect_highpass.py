"""The highpass: cutoff and slope measured from the response to an impulse, and to sines."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from stemwright.datagen.effects import EFFECTS, highpass
from stemwright.datagen.effects.highpass import Settings
from stemwright.datagen.effects.signal import NotIdentifiableError

SAMPLE_RATE = 48_000
FRAMES = 96_000
OCTAVE = 0.5  # towards what is removed


def response_db(settings: Settings) -> np.ndarray:
    impulse = torch.zeros(1, FRAMES, dtype=torch.float64)
    impulse[0, 0] = 1.0
    return 20.0 * np.log10(np.abs(np.fft.rfft(highpass.apply(impulse, SAMPLE_RATE, settings)[0].numpy())) + 1e-30)


def bin_of(hz: float) -> int:
    return round(hz * FRAMES / SAMPLE_RATE)


@pytest.mark.parametrize("order", range(1, 9))
@pytest.mark.parametrize("cutoff_hz", [100.0, 1000.0])
def test_cutoff_is_measured_back_at_minus_three_db(order: int, cutoff_hz: float) -> None:
    response = response_db(Settings(cutoff_hz=cutoff_hz, order=order))
    crossing = int(np.argmin(np.abs(response - 10.0 * math.log10(0.5))))
    assert crossing * SAMPLE_RATE / FRAMES == pytest.approx(cutoff_hz, abs=0.5)


@pytest.mark.parametrize("order", range(1, 5))
def test_slope_is_six_db_an_octave_and_order(order: int) -> None:
    response = response_db(Settings(cutoff_hz=200.0, order=order))
    far = 200.0 * OCTAVE**3
    fall_db = response[bin_of(far)] - response[bin_of(far * OCTAVE)]
    assert fall_db == pytest.approx(6.02 * order, rel=0.02)
    assert response[bin_of(200.0 / OCTAVE**5)] == pytest.approx(0.0, abs=0.01)


def test_sine_at_the_cutoff_loses_three_db() -> None:
    tone = torch.sin(2.0 * math.pi * 600.0 * torch.arange(SAMPLE_RATE, dtype=torch.float64) / SAMPLE_RATE)[None]
    wet = highpass.apply(tone, SAMPLE_RATE, Settings(cutoff_hz=600.0, order=4))
    late = slice(SAMPLE_RATE // 2, None)
    assert float(wet[:, late].square().mean() / tone[:, late].square().mean()) == pytest.approx(0.5, rel=1e-6)


@pytest.mark.parametrize(("cutoff_hz", "order"), [(700.0, 2.0), (2500.0, 3.0), (150.0, 1.0)])
def test_fit_finds_cutoff_and_order(song: torch.Tensor, cutoff_hz: float, order: float) -> None:
    fitted = EFFECTS["highpass"].fit(highpass.apply(song, 44_100, Settings(cutoff_hz=cutoff_hz, order=order)), song, 44_100)
    assert fitted.order == order
    assert fitted.cutoff_hz == pytest.approx(cutoff_hz, rel=1e-4)


def test_fit_of_unrelated_signals_is_refused(song: torch.Tensor) -> None:
    noise = 0.1 * torch.randn(song.shape, generator=torch.Generator().manual_seed(0))
    with pytest.raises(NotIdentifiableError, match="no Butterworth filter"):
        EFFECTS["highpass"].fit(noise, song, 44_100)


def test_cutoff_above_half_the_sample_rate_is_refused() -> None:
    with pytest.raises(ValueError, match="cutoff_hz = 5000 needs a sample rate above 10000 Hz; got 8000 Hz"):
        highpass.apply(torch.zeros(1, 10), 8000, Settings(cutoff_hz=5000.0))


def test_order_that_is_no_whole_number_is_refused() -> None:
    with pytest.raises(ValueError, match=r"order must be a whole number between 1 and 8; got 2.5"):
        Settings(order=2.5)


@pytest.mark.parametrize("order", [1, 4, 5])
def test_gradients_are_exact(order: int) -> None:
    audio = torch.randn(2, 1, 30, generator=torch.Generator().manual_seed(0), dtype=torch.float64, requires_grad=True)
    cutoff_hz = torch.tensor([500.0, 2000.0], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x, hz: highpass.apply(x, 8000, Settings(cutoff_hz=hz, order=order)), (audio, cutoff_hz))
