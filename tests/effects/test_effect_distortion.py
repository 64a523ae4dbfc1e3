"""The distortion: drive and asymmetry measured from the curve of output against input."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

from stemwright.datagen.effects import EFFECTS, distortion
from stemwright.datagen.effects.distortion import Settings
from stemwright.datagen.effects.signal import NotIdentifiableError

SAMPLE_RATE = 44_100


def curve(x: np.ndarray, **settings: float) -> np.ndarray:
    return np.asarray(distortion.apply(torch.from_numpy(x)[None], SAMPLE_RATE, Settings(**settings))[0])


@pytest.mark.parametrize("drive_db", [-10.0, 8.0, 25.0])
def test_drive_is_measured_back_from_slope_and_saturation(drive_db: float) -> None:
    # A tanh of gain g has the slope g / tanh(g) at zero when its ends are tied to 1.
    slope = float(curve(np.array([1e-6]), drive_db=drive_db)[0] / 1e-6)
    gain = 10.0 ** (drive_db / 20.0)
    assert slope == pytest.approx(gain / math.tanh(gain), rel=1e-6)
    measured = np.arctanh(curve(np.array([0.05]), drive_db=drive_db) * math.tanh(gain))[0] / 0.05
    assert 20.0 * math.log10(measured) == pytest.approx(drive_db, abs=1e-6)


@pytest.mark.parametrize("asymmetry", [-0.7, 0.0, 0.4])
def test_full_swing_stays_a_full_swing(asymmetry: float) -> None:
    ends = curve(np.array([-1.0, 0.0, 1.0]), drive_db=12.0, asymmetry=asymmetry)
    assert ends[2] - ends[0] == pytest.approx(2.0)
    assert ends[1] == 0.0


def test_asymmetry_is_measured_back_from_the_steepest_point() -> None:
    x = np.linspace(-0.5, 0.5, 100_001)
    gain = 10.0 ** (12.0 / 20.0)
    steepest = x[int(np.argmax(np.gradient(curve(x, drive_db=12.0, asymmetry=0.6), x)))]
    assert -steepest * gain == pytest.approx(0.6, abs=1e-3)


def test_symmetric_curve_makes_odd_harmonics_only() -> None:
    tone = 0.5 * np.sin(2.0 * np.pi * 10.0 * np.arange(2000) / 2000.0)
    even, odd = (slice(20, 200, 20), slice(30, 200, 20))
    symmetric, asymmetric = (np.abs(np.fft.rfft(curve(tone, drive_db=12.0, asymmetry=asymmetry))) for asymmetry in (0.0, 0.5))
    assert symmetric[even].max() < 1e-9 < 1.0 < symmetric[odd].max()
    assert asymmetric[even].max() > 1.0


@pytest.mark.parametrize(("drive_db", "asymmetry"), [(10.0, 0.0), (20.0, 0.3), (3.0, -0.5)])
def test_fit_finds_drive_and_asymmetry(song: torch.Tensor, drive_db: float, asymmetry: float) -> None:
    wet = distortion.apply(song, SAMPLE_RATE, Settings(drive_db=drive_db, asymmetry=asymmetry))
    fitted = EFFECTS["distortion"].fit(wet, song, SAMPLE_RATE)
    assert fitted.drive_db == pytest.approx(drive_db, abs=0.01)
    assert fitted.asymmetry == pytest.approx(asymmetry, abs=0.01)


def test_fit_of_unrelated_signals_is_refused(song: torch.Tensor) -> None:
    noise = 0.1 * torch.randn(song.shape, generator=torch.Generator().manual_seed(0))
    with pytest.raises(NotIdentifiableError, match="no function of dry"):
        EFFECTS["distortion"].fit(noise, song, SAMPLE_RATE)


def test_gradients_are_exact() -> None:
    def number(value: Any) -> torch.Tensor:
        return torch.tensor(value, dtype=torch.float64, requires_grad=True)

    audio = torch.randn(2, 1, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64, requires_grad=True)
    values = (number([6.0, 12.0]), number([0.2, -0.4]))
    assert torch.autograd.gradcheck(lambda x, d, a: distortion.apply(x, SAMPLE_RATE, Settings(drive_db=d, asymmetry=a)), (audio, *values))


@pytest.mark.parametrize("asymmetry", [0.5, -1.0])
def test_soft_signals_keep_their_digits_in_single_precision(asymmetry: float) -> None:
    soft = 1e-6 * torch.randn(1, 5000, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    settings = Settings(drive_db=20.0, asymmetry=asymmetry)
    exact = distortion.apply(soft, SAMPLE_RATE, settings)
    error = distortion.apply(soft.float(), SAMPLE_RATE, settings).double() - exact
    assert 10.0 * math.log10(float(error.square().sum() / exact.square().sum())) < -120.0
