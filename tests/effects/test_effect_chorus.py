"""The chorus: centre, depth, rate and phase measured from the delay of a ramp; mix and feedback from an impulse."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from scipy.optimize import curve_fit

from stemwright.datagen.effects import chorus
from stemwright.datagen.effects.chorus import Settings

SAMPLE_RATE = 44_100


def test_swing_is_measured_back_from_a_ramp() -> None:
    # A ramp read d samples late is lower by d: the delay at every sample can be read off.
    settings = Settings(rate_hz=1.3, depth=0.4, centre_ms=8.0, mix=1.0, phase=0.2)
    frames = 3 * SAMPLE_RATE
    ramp = torch.arange(frames, dtype=torch.float64)[None]
    time_s = np.arange(frames) / SAMPLE_RATE
    delay_ms = (ramp - chorus.apply(ramp, SAMPLE_RATE, settings))[0].numpy() * 1000.0 / SAMPLE_RATE

    def swing(t: np.ndarray, rate: float, depth: float, centre: float, phase: float) -> np.ndarray:
        return np.asarray(centre * (1.0 + depth * np.sin(2.0 * np.pi * (rate * t + phase))))

    late = slice(SAMPLE_RATE // 10, None)
    found, _ = curve_fit(swing, time_s[late], delay_ms[late], p0=(1.2, 0.3, 7.0, 0.25))
    assert found == pytest.approx((1.3, 0.4, 8.0, 0.2), rel=1e-5)


def test_mix_and_feedback_are_measured_back_from_an_impulse() -> None:
    impulse = torch.zeros(1, 4000, dtype=torch.float64)
    impulse[0, 0] = 1.0
    # Without a swing the copy is a delay line: 441 samples here, and one more each time that it is fed back.
    wet = chorus.apply(impulse, SAMPLE_RATE, Settings(depth=0.0, centre_ms=10.0, feedback=-0.6, mix=0.25))[0].numpy()
    found = np.flatnonzero(np.abs(wet) > 1e-6)[:5]
    np.testing.assert_array_equal(found, [0, 441, 441 + 442, 441 + 2 * 442, 441 + 3 * 442])
    np.testing.assert_allclose(wet[found], [0.75, 0.25, 0.25 * -0.6, 0.25 * 0.36, 0.25 * -0.216], atol=1e-9)


def test_a_swing_in_milliseconds_is_that_against_the_centre_and_stops_at_one_millisecond() -> None:
    ramp = torch.arange(SAMPLE_RATE, dtype=torch.float64)[None]

    def delays_ms(**settings: float) -> torch.Tensor:
        settings = {"rate_hz": 2.0, "centre_ms": 5.0, "mix": 1.0, "depth": 0.0, **settings}
        return (ramp - chorus.apply(ramp, SAMPLE_RATE, Settings(**settings)))[0, 1000:] * 1000.0 / SAMPLE_RATE

    torch.testing.assert_close(delays_ms(depth_ms=2.0), delays_ms(depth=0.4))
    wide = delays_ms(depth_ms=6.0)
    assert float(wide.min()) == pytest.approx(1.0)
    assert float(wide.max()) == pytest.approx(11.0, abs=1e-3)


def test_vibrato_moves_the_pitch_by_the_slope_of_the_delay() -> None:
    frames = SAMPLE_RATE
    tone = torch.sin(2.0 * np.pi * 1000.0 * torch.arange(frames, dtype=torch.float64) / SAMPLE_RATE)[None]
    wet = chorus.apply(tone, SAMPLE_RATE, Settings(rate_hz=1.0, depth=0.5, centre_ms=20.0, mix=1.0))[0].numpy()
    middle = wet[frames // 2 - 2000 : frames // 2 + 2000] * np.hanning(4000)
    spectrum = np.abs(np.fft.rfft(middle, 1 << 18))
    measured_hz = int(np.argmax(spectrum)) * SAMPLE_RATE / (1 << 18)
    # At half a cycle the delay falls by 2π · 0.5 · 20 ms a second: the tone rises by as much.
    assert measured_hz == pytest.approx(1000.0 * (1.0 + 2.0 * np.pi * 0.5 * 0.020), abs=1.5)


def test_delay_never_falls_below_one_sample() -> None:
    audio = torch.randn(1, 2000, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    wet = chorus.apply(audio, 1000, Settings(depth=0.95, centre_ms=0.5, feedback=0.9, mix=0.5))
    assert bool(torch.isfinite(wet).all())


def test_gradients_are_exact() -> None:
    def number(value: Any) -> torch.Tensor:
        return torch.tensor(value, dtype=torch.float64, requires_grad=True)

    audio = torch.randn(2, 1, 40, generator=torch.Generator().manual_seed(0), dtype=torch.float64, requires_grad=True)
    names = ("rate_hz", "depth", "depth_ms", "centre_ms", "feedback", "mix", "phase")
    values = [number(value) for value in ([3.0, 7.0], 0.3, 1.2, 6.3, 0.4, [0.3, 0.6], 0.1)]

    def run(x: torch.Tensor, *numbers: torch.Tensor) -> torch.Tensor:
        return chorus.apply(x, 1000, Settings(**dict(zip(names, numbers, strict=True))))

    assert torch.autograd.gradcheck(run, (audio, *values))
