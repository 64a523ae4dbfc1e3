"""The offset: measured back as the mean that it adds."""

from __future__ import annotations

import pytest
import torch

from stemwright.datagen.effects import dc
from stemwright.datagen.effects.dc import Settings

RATE = 44_100


@pytest.mark.parametrize("offset", [-0.4, 0.02])
def test_the_mean_rises_by_the_share_of_the_peak_in_every_channel(song: torch.Tensor, offset: float) -> None:
    audio = song.double()
    rise = (dc.apply(audio, RATE, Settings(offset=offset)) - audio).mean(-1) / audio.abs().max()
    assert rise.tolist() == pytest.approx([offset, offset], abs=1e-12)


@pytest.mark.parametrize("sign", [1.0, -1.0])
@pytest.mark.parametrize("offset", [-0.5, 0.5])
def test_it_is_undone_whichever_sign_the_peak_has(sign: float, offset: float) -> None:
    audio = sign * torch.tensor([[0.9, -0.3, 0.2]], dtype=torch.float64)
    settings = Settings(offset=offset)
    torch.testing.assert_close(dc.invert(dc.apply(audio, RATE, settings), RATE, settings), audio, atol=1e-15, rtol=0)
