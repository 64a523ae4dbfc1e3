"""The width: measured from the energies of sum and difference."""

from __future__ import annotations

import pytest
import torch

from stemwright.datagen.effects import EFFECTS, width
from stemwright.datagen.effects.signal import NotIdentifiableError
from stemwright.datagen.effects.width import Settings

SAMPLE_RATE = 44_100


@pytest.fixture
def noise() -> torch.Tensor:
    return 0.1 * torch.randn(2, 4096, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


@pytest.mark.parametrize("value", [0.0, 0.4, 1.7, 4.0])
def test_difference_is_scaled_and_sum_is_kept(noise: torch.Tensor, value: float) -> None:
    wet = width.apply(noise, SAMPLE_RATE, Settings(width=value))
    torch.testing.assert_close(wet.sum(0), noise.sum(0))
    measured = float((wet[0] - wet[1]).norm() / (noise[0] - noise[1]).norm())
    assert measured == pytest.approx(value, abs=1e-12)


def test_fit_undoes_apply(noise: torch.Tensor) -> None:
    for value in (0.0, 0.3, 1.6):
        assert EFFECTS["width"].fit(width.apply(noise, SAMPLE_RATE, Settings(width=value)), noise, SAMPLE_RATE).width == pytest.approx(
            value, abs=1e-12
        )


def test_two_widths_multiply(noise: torch.Tensor) -> None:
    twice = width.apply(width.apply(noise, SAMPLE_RATE, Settings(width=0.5)), SAMPLE_RATE, Settings(width=3.0))
    torch.testing.assert_close(twice, width.apply(noise, SAMPLE_RATE, Settings(width=1.5)))


def test_mono_has_no_width() -> None:
    mono = torch.ones(1, 10)
    with pytest.raises(ValueError, match="needs two channels; got 1"):
        width.apply(mono, SAMPLE_RATE, Settings(width=0.5))
    with pytest.raises(NotIdentifiableError, match="no difference between its channels"):
        EFFECTS["width"].fit(mono.expand(2, 10), mono.expand(2, 10), SAMPLE_RATE)


def test_width_of_nothing_cannot_be_undone(noise: torch.Tensor) -> None:
    with pytest.raises(ValueError, match="cannot be undone"):
        width.invert(noise, SAMPLE_RATE, Settings(width=0.0))


def test_gradients_are_exact() -> None:
    audio = torch.randn(2, 2, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64, requires_grad=True)
    value = torch.tensor([0.3, 1.4], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x, w: width.apply(x, SAMPLE_RATE, Settings(width=w)), (audio, value))
