"""The noise: its level, its spectrum and its seed measured back; taken away again where they are known."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from stemwright.datagen.effects import noise
from stemwright.datagen.effects.noise import Settings

RATE = 44_100


def added(song: torch.Tensor, **settings: object) -> torch.Tensor:
    audio = song.double()
    return noise.apply(audio, RATE, Settings(**settings)) - audio


@pytest.mark.parametrize("colour", ["white", "pink", "brown"])
@pytest.mark.parametrize("snr_db", [5.0, 33.0])
def test_the_ratio_is_that_of_the_setting(song: torch.Tensor, colour: str, snr_db: float) -> None:
    ratio = song.double().square().sum() / added(song, snr_db=snr_db, colour=colour).square().sum()
    assert 10.0 * np.log10(float(ratio)) == pytest.approx(snr_db, abs=1e-9)


@pytest.mark.parametrize(("colour", "slope_db"), [("white", 0.0), ("pink", -3.01), ("brown", -6.02)])
def test_the_power_falls_by_so_much_an_octave(song: torch.Tensor, colour: str, slope_db: float) -> None:
    spectrum = np.abs(np.fft.rfft(added(song, snr_db=20.0, colour=colour).numpy())) ** 2
    hz = np.fft.rfftfreq(song.shape[-1], 1.0 / RATE)
    edges = 50.0 * 2.0 ** np.arange(9)
    levels = [10.0 * np.log10(spectrum[:, (hz >= low) & (hz < 2.0 * low)].mean()) for low in edges]
    assert np.polyfit(np.arange(9), levels, 1)[0] == pytest.approx(slope_db, abs=0.15)


def test_a_seed_gives_one_noise_and_channels_have_different_ones(song: torch.Tensor) -> None:
    first, again, other = (added(song, snr_db=20.0, seed=seed) for seed in (3.0, 3.0, 4.0))
    assert torch.equal(first, again)
    for one, two in ((first, other), (first[0], first[1])):
        assert abs(float((one * two).sum() / (one.norm() * two.norm()))) < 0.02


@pytest.mark.parametrize("num_frames", [1, 2, 1000])
def test_known_noise_can_be_taken_away(song: torch.Tensor, num_frames: int) -> None:
    audio = song[:, 500 : 500 + num_frames].double()
    settings = Settings(snr_db=5.0, colour="pink", seed=7.0)
    wet = noise.apply(audio, RATE, settings)
    torch.testing.assert_close(noise.invert(wet, RATE, settings), audio, atol=1e-12, rtol=0)
    assert float((wet - audio).abs().max()) > 0.0
