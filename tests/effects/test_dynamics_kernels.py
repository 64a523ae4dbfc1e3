"""The kernels of compressor and limiter, block by block, against their equations written out sample by sample."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

from stemwright.datagen.effects import compressor, limiter
from stemwright.datagen.effects.dsp.dynamics import BLOCK
from stemwright.datagen.effects.dsp.powers import CONTRACT, exp2, log2
from stemwright.separation.kernels import njit

RATE = 8000


@njit(fastmath=CONTRACT)
def _raise(ratios, exponent, powers):  # type: ignore[no-untyped-def]
    for i in range(ratios.size):
        powers[i] = exp2(exponent * log2(ratios[i]))


@pytest.mark.parametrize("exponent", [-1.0, -0.75, -1e-3, 0.0])
def test_powers_are_those_of_the_c_library_to_rounding(exponent: float) -> None:
    ratios = np.exp(np.random.default_rng(0).uniform(0.0, 20.0, 1000))
    ratios[:3] = 1.0, 2.0, 1.0 + 2.0**-52
    powers = np.empty_like(ratios)
    _raise(ratios, exponent, powers)
    assert powers[0] == 1.0
    # A logarithm of up to 29 is rounded to 2^-49 and so is its product with the exponent: both are a relative error of the power.
    np.testing.assert_allclose(powers, ratios**exponent, rtol=2.0**-48, atol=0.0)


def _music(frames: int, *, quiet: int = 0) -> torch.Tensor:
    noise = torch.randn(2, frames, generator=torch.Generator().manual_seed(frames), dtype=torch.float64)
    noise *= (torch.arange(frames, dtype=torch.float64) / 90.0).sin().abs()
    noise[:, frames - quiet : frames - quiet // 4] *= 1e-4
    return noise


def _compressed(x: np.ndarray, settings: compressor.Settings) -> np.ndarray:
    def speed(time_ms: float) -> float:
        return -math.expm1(-2200.0 / (RATE * time_ms)) if time_ms else 1.0

    power = 2 if settings.detector == "rms" else 1
    threshold = 10.0 ** (settings.threshold_db / 20.0)
    v, g, y = 0.0, 1.0, np.empty_like(x)
    for n in range(x.shape[1]):
        level = np.abs(x[:, n]).max() ** power
        v += speed(settings.detector_attack_ms if level > v else settings.detector_release_ms) * (level - v)
        f = max(v ** (1.0 / power) / threshold, 1.0) ** (1.0 / settings.ratio - 1.0)
        g += speed(settings.attack_ms if f < g else settings.release_ms) * (f - g)
        y[:, n] = g * x[:, n]
    return y


@pytest.mark.parametrize("frames", [1, BLOCK - 1, BLOCK, 2 * BLOCK + 1, 5 * BLOCK + 7])
@pytest.mark.parametrize("times_ms", [(2.0, 9.0, 3.0, 50.0), (9.0, 2.0, 50.0, 3.0), (5.0, 5.0, 0.0, 20.0)])
@pytest.mark.parametrize("detector", ["peak", "rms"])
def test_compressor_follows_its_equations(frames: int, times_ms: tuple[float, ...], detector: Any) -> None:
    times = dict(zip(("detector_attack_ms", "detector_release_ms", "attack_ms", "release_ms"), times_ms, strict=True))
    settings = compressor.Settings(threshold_db=-30.0, ratio=4.0, detector=detector, **times)
    audio = _music(frames, quiet=frames // 2)
    made = compressor.apply(audio, RATE, settings)
    torch.testing.assert_close(made, torch.from_numpy(_compressed(audio.numpy(), settings)), rtol=1e-12, atol=0.0)
    wide = audio.clone().requires_grad_()
    torch.testing.assert_close(compressor.apply(wide, RATE, settings), made, rtol=0.0, atol=0.0)  # with the states that a gradient needs
    torch.testing.assert_close(compressor.gain_curve(audio, RATE, settings) * audio, made)


def _limited(x: np.ndarray, settings: limiter.Settings, rate: int = RATE) -> np.ndarray:
    ceiling, ahead = 10.0 ** (settings.ceiling_db / 20.0), round(settings.lookahead_ms * rate / 1000.0)
    release = -math.expm1(-2200.0 / (rate * settings.release_ms))
    need = np.minimum(1.0, ceiling / np.maximum(np.abs(x).max(axis=0), 1e-30))
    held = np.array([need[n : n + ahead + 1].min() for n in range(len(need))])
    e, released = held[0], [held[0]] * (ahead + 1)
    for m in held:
        e = m if m < e else e + release * (m - e)
        released.append(e)
    gain = np.array([np.mean(released[n + 1 : n + ahead + 2]) for n in range(len(need))])
    return gain * x


@pytest.mark.parametrize(("frames", "quiet"), [(1, 0), (511, 0), (512, 0), (1100, 0), (9000, 8000)])
@pytest.mark.parametrize("lookahead_ms", [0.0, 0.125, 1.5, 20.0])
def test_limiter_follows_its_equations(frames: int, quiet: int, lookahead_ms: float) -> None:
    settings = limiter.Settings(ceiling_db=-15.0, release_ms=8.0, lookahead_ms=lookahead_ms)
    audio = _music(frames, quiet=quiet)
    made = limiter.apply(audio, RATE, settings)
    torch.testing.assert_close(made, torch.from_numpy(_limited(audio.numpy(), settings)), rtol=1e-11, atol=0.0)
    wide = audio.clone().requires_grad_()
    torch.testing.assert_close(limiter.apply(wide, RATE, settings), made, rtol=0.0, atol=0.0)  # with the states that a gradient needs
    torch.testing.assert_close(limiter.gain_curve(audio, RATE, settings) * audio, made, rtol=0.0, atol=0.0)


def test_look_ahead_longer_than_a_block_follows_the_equations() -> None:
    settings, rate = limiter.Settings(ceiling_db=-15.0, lookahead_ms=20.0, release_ms=30.0), 96_000  # 1920 samples
    audio = _music(9000)
    expected = torch.from_numpy(_limited(audio.numpy(), settings, rate))
    torch.testing.assert_close(limiter.apply(audio, rate, settings), expected, rtol=1e-11, atol=0.0)


def test_gradient_of_a_limiter_s_gain_curve_is_exact() -> None:
    audio = (0.5 * torch.randn(2, 60, generator=torch.Generator().manual_seed(2), dtype=torch.float64)).requires_grad_()
    ceiling = torch.tensor(-9.0, dtype=torch.float64, requires_grad=True)

    def run(x: torch.Tensor, ceiling_db: torch.Tensor) -> torch.Tensor:
        settings = limiter.Settings(release_ms=10.0, lookahead_ms=4.0, linked=True)
        return limiter.gain_curve(x, 1000, settings.model_copy(update={"ceiling_db": ceiling_db}))

    assert torch.autograd.gradcheck(run, (audio, ceiling))
