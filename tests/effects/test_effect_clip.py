"""The clipper: its ceiling measured from a ramp; the expansion of clipped audio."""

from __future__ import annotations

import pytest
import torch

from stemwright.datagen.effects import EFFECTS, clip
from stemwright.datagen.effects.clip import Settings
from stemwright.datagen.effects.signal import NotIdentifiableError

SAMPLE_RATE = 44_100


@pytest.mark.parametrize("ceiling_db", [-20.0, -6.0, 0.0])
def test_ramp_follows_its_input_up_to_the_ceiling(ceiling_db: float) -> None:
    ramp = torch.linspace(-2.0, 2.0, 40_001, dtype=torch.float64)[None]
    wet = clip.apply(ramp, SAMPLE_RATE, Settings(ceiling_db=ceiling_db))
    ceiling = 10.0 ** (ceiling_db / 20.0)
    inside = ramp.abs() <= ceiling
    assert torch.equal(wet[inside], ramp[inside])
    assert float((wet[~inside].abs() - ceiling).abs().max()) < 1e-15
    assert torch.equal(wet.sign(), ramp.sign())


def test_clipping_twice_is_clipping_once(song: torch.Tensor) -> None:
    settings = Settings(ceiling_db=-15.0)
    once = clip.apply(song, SAMPLE_RATE, settings)
    assert torch.equal(clip.apply(once, SAMPLE_RATE, settings), once)
    assert not torch.equal(once, song)


@pytest.mark.parametrize("ceiling_db", [-18.0, -10.0])
def test_fit_finds_the_ceiling(song: torch.Tensor, ceiling_db: float) -> None:
    fitted = EFFECTS["clip"].fit(clip.apply(song, SAMPLE_RATE, Settings(ceiling_db=ceiling_db)), song, SAMPLE_RATE)
    assert fitted.ceiling_db == pytest.approx(ceiling_db, abs=1e-4)


def test_ceiling_that_was_never_reached_is_not_identifiable(song: torch.Tensor) -> None:
    with pytest.raises(NotIdentifiableError, match="never reached"):
        EFFECTS["clip"].fit(song, song, SAMPLE_RATE)


def test_gradients_are_exact() -> None:
    audio = torch.randn(2, 1, 20, generator=torch.Generator().manual_seed(0), dtype=torch.float64, requires_grad=True)
    ceiling_db = torch.tensor([-6.0, -3.0], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x, c: clip.apply(x, SAMPLE_RATE, Settings(ceiling_db=c)), (audio, ceiling_db))
