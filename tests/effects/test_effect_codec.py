"""The codec effect: what it adds to coding itself. The codings are measured in tests/manifests/test_lossy_coding.py."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from stemwright.datagen.effects import codec
from stemwright.datagen.effects.codec import Settings, achievable
from stemwright.datagen.effects.scaling import at_level
from stemwright.datagen.effects.settings import fields
from stemwright.manifests.sound.lossy_coding import CODECS, coded

RATE = 44_100


def test_the_codecs_are_those_that_are_coded() -> None:
    assert fields(Settings)["codec"].options == CODECS  # type: ignore[union-attr]


@pytest.mark.parametrize("name", CODECS)
def test_the_effect_is_the_coding_of_its_settings(name: str, song: torch.Tensor) -> None:
    audio = song[:, :20_000]
    found = codec.apply(audio, RATE, Settings(codec=name, bit_rate_kbps=100.0))
    taken = achievable({"codec": name, "bit_rate_kbps": 100.0}, RATE)["bit_rate_kbps"]
    np.testing.assert_array_equal(found.numpy(), coded(audio.numpy(), RATE, name, taken))
    assert torch.equal(codec.apply(audio, RATE, Settings(codec=name, bit_rate_kbps=taken)), found)


def test_halving_the_audio_halves_the_output_where_the_level_follows(song: torch.Tensor) -> None:
    audio, settings, half_db = song[:, :20_000].double(), Settings(bit_rate_kbps=64.0), 20.0 * np.log10(0.5)
    whole = codec.apply(audio, RATE, settings)
    moved = at_level("codec", settings, half_db)
    assert moved.level_db == pytest.approx(-half_db)  # type: ignore[attr-defined]
    torch.testing.assert_close(codec.apply(0.5 * audio, RATE, moved), 0.5 * whole, atol=1e-6, rtol=0)
    soft = codec.apply(1e-3 * audio, RATE, settings) * 1e3  # what is nearer to the threshold of hearing is coded otherwise
    assert float((soft - whole).norm()) > 1e-3 * float(whole.norm())


def test_gradient_passes_unchanged_and_silence_stays_silent() -> None:
    audio = torch.stack([torch.zeros(2, 5000), 0.2 * torch.randn(2, 5000, generator=torch.Generator().manual_seed(0))]).requires_grad_()
    weight = torch.randn(2, 2, 5000, generator=torch.Generator().manual_seed(1))
    wet = codec.apply(audio, RATE, Settings(codec="opus", bit_rate_kbps=32.0))
    (gradient,) = torch.autograd.grad((weight * wet).sum(), audio)
    torch.testing.assert_close(gradient, weight)
    assert not wet[0].any()
    assert float((wet[1] - audio[1]).detach().abs().max()) > 0.01


def test_no_bit_rate_is_needed_for_what_is_not_coded() -> None:
    assert achievable({"codec": "mp3", "bit_rate_kbps": "inf"}, RATE)["bit_rate_kbps"] == "inf"
