"""The equaliser: bands measured from the response to an impulse and to sines."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from stemwright.datagen.effects import EFFECTS, eq
from stemwright.datagen.effects.eq import BANDS, TYPICAL, Settings
from stemwright.datagen.effects.settings import draw, fields

SAMPLE_RATE = 48_000
FRAMES = 96_000  # half a hertz a bin


def response_db(settings: Settings) -> np.ndarray:
    """Gain in dB at every half hertz, from the response to an impulse."""
    impulse = torch.zeros(1, FRAMES, dtype=torch.float64)
    impulse[0, 0] = 1.0
    return 20.0 * np.log10(np.abs(np.fft.rfft(eq.apply(impulse, SAMPLE_RATE, settings)[0].numpy())))


def bin_of(hz: float) -> int:
    return round(hz * FRAMES / SAMPLE_RATE)


@pytest.mark.parametrize("band", BANDS[1:5])
@pytest.mark.parametrize("gain_db", [-24.0, 6.0, 18.0])
def test_peak_has_its_gain_at_its_frequency_and_its_width(band: str, gain_db: float) -> None:
    hz, q = 1000.0, 2.0
    response = response_db(Settings(**{f"{band}_gain_db": gain_db, f"{band}_hz": hz, f"{band}_q": q}))
    assert int(np.argmax(np.abs(response))) == bin_of(hz)
    assert response[bin_of(hz)] == pytest.approx(gain_db, abs=1e-6)
    over_half = np.flatnonzero(np.abs(response) >= abs(gain_db) / 2.0)
    bandwidth = (over_half[-1] - over_half[0]) * SAMPLE_RATE / FRAMES
    # The bilinear transform narrows a band a little as it nears half the sample rate: 0.4 % at 1 kHz of 48 kHz.
    assert hz / bandwidth == pytest.approx(q, rel=0.01)
    assert abs(response[bin_of(50.0)]) < 0.2


@pytest.mark.parametrize("gain_db", [-12.0, 6.0])
def test_shelves_have_their_gain_beyond_and_half_of_it_at_their_frequency(gain_db: float) -> None:
    low = response_db(Settings(low_shelf_gain_db=gain_db, low_shelf_hz=500.0))
    assert (low[bin_of(10.0)], low[bin_of(500.0)], low[bin_of(20_000.0)]) == pytest.approx((gain_db, gain_db / 2, 0.0), abs=0.01)
    high = response_db(Settings(high_shelf_gain_db=gain_db, high_shelf_hz=2000.0))
    assert (high[bin_of(22_000.0)], high[bin_of(2000.0)], high[bin_of(20.0)]) == pytest.approx((gain_db, gain_db / 2, 0.0), abs=0.01)


def test_shelf_with_a_higher_q_overshoots() -> None:
    gentle, steep = (response_db(Settings(low_shelf_gain_db=6.0, low_shelf_hz=500.0, low_shelf_q=q)).max() for q in (0.7, 3.0))
    assert gentle < 6.01
    assert steep > 7.0


def test_sine_is_raised_by_the_sum_of_the_bands() -> None:
    settings = draw(Settings, np.random.default_rng(3), TYPICAL)
    tone = torch.sin(2.0 * math.pi * 1500.0 * torch.arange(SAMPLE_RATE, dtype=torch.float64) / SAMPLE_RATE)[None]
    late = slice(SAMPLE_RATE // 2, None)
    measured = 10.0 * math.log10(float(eq.apply(tone, SAMPLE_RATE, settings)[:, late].square().mean() / tone[:, late].square().mean()))
    alone = sum(
        response_db(Settings(**{name: value for name, value in settings.plain().items() if name.startswith(band)}))[bin_of(1500.0)]
        for band in BANDS
    )
    assert measured == pytest.approx(alone, abs=0.001)


def test_negated_gains_undo_the_equaliser() -> None:
    settings = draw(Settings, np.random.default_rng(4), TYPICAL)
    negated = Settings(**{name: -value if name.endswith("gain_db") else value for name, value in settings.plain().items()})  # type: ignore[operator]
    np.testing.assert_allclose(response_db(settings) + response_db(negated), 0.0, atol=1e-6)


def test_band_above_half_the_sample_rate_is_refused_if_it_acts() -> None:
    audio = torch.zeros(1, 100)
    eq.apply(audio, 8000, Settings(high_shelf_hz=12_000.0))
    with pytest.raises(ValueError, match="high_shelf_hz = 12000 needs a sample rate above 24000 Hz; got 8000 Hz"):
        eq.apply(audio, 8000, Settings(high_shelf_hz=12_000.0, high_shelf_gain_db=1.0))


def test_fit_finds_the_response() -> None:
    noise = 0.1 * torch.randn(2, 2 * SAMPLE_RATE, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    coloured = eq.apply(noise, SAMPLE_RATE, Settings(low_shelf_gain_db=12.0, high_shelf_gain_db=-18.0))
    truth = Settings(
        low_shelf_gain_db=4.0, peak1_gain_db=-6.0, peak1_hz=300.0, peak2_gain_db=5.0, peak2_hz=1500.0, peak2_q=2.0, high_shelf_gain_db=-3.0
    )
    found = EFFECTS["eq"].fit(eq.apply(coloured, SAMPLE_RATE, truth), coloured, SAMPLE_RATE)
    band = slice(bin_of(50.0), bin_of(16_000.0))
    assert np.abs(response_db(found) - response_db(truth))[band].mean() < 0.1


def test_fit_of_an_unchanged_signal_is_flat() -> None:
    noise = 0.1 * torch.randn(1, SAMPLE_RATE, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    found = EFFECTS["eq"].fit(noise, noise, SAMPLE_RATE)
    assert np.abs(response_db(found))[bin_of(50.0) : bin_of(16_000.0)].max() < 0.01


def test_gradients_are_exact() -> None:
    rng = np.random.default_rng(0)
    names = list(fields(Settings))
    drawn = [draw(Settings, rng, TYPICAL) for _ in range(2)]
    values = [torch.tensor([getattr(settings, name) for settings in drawn], dtype=torch.float64, requires_grad=True) for name in names]
    audio = torch.randn(2, 1, 20, generator=torch.Generator().manual_seed(0), dtype=torch.float64, requires_grad=True)

    def run(x: torch.Tensor, *numbers: torch.Tensor) -> torch.Tensor:
        return eq.apply(x, SAMPLE_RATE, Settings(**dict(zip(names, numbers, strict=True))))

    assert torch.autograd.gradcheck(run, (audio, *values))
