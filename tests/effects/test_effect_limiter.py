"""The limiter: ceiling, release and look-ahead measured from a burst; the ceiling holds; the gain curve undoes it."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import settings as options
from hypothesis import strategies as st

from stemwright.datagen.effects import EFFECTS, limiter
from stemwright.datagen.effects.limiter import Settings
from stemwright.datagen.effects.signal import NotIdentifiableError

SAMPLE_RATE = 48_000


def burst(loud: int = 9600, frames: int = 48_000, start: int = 12_000) -> torch.Tensor:
    """A constant of 0.1 with a stretch of 1.0: the gain can be read off as output over input."""
    audio = torch.full((1, frames), 0.1, dtype=torch.float64)
    audio[:, start : start + loud] = 1.0
    return audio


def test_ceiling_lookahead_and_release_are_measured_back_from_a_burst() -> None:
    settings = Settings(ceiling_db=-12.0, release_ms=80.0, lookahead_ms=2.0)
    audio = burst()
    gain = (limiter.apply(audio, SAMPLE_RATE, settings) / audio)[0].numpy()
    assert 20.0 * math.log10(gain[15_000]) == pytest.approx(-12.0, abs=1e-9)
    falling = np.flatnonzero((gain[:12_001] < 1.0 - 1e-12) & (gain[:12_001] > gain[15_000] + 1e-12))
    assert 1000.0 * len(falling) / SAMPLE_RATE == pytest.approx(2.0, abs=1000.0 / SAMPLE_RATE)
    assert gain[12_000] == pytest.approx(gain[15_000])
    recovery = (gain[21_600:] - gain[15_000]) / (1.0 - gain[15_000])
    # The mean over the look-ahead delays the recovery by half of it.
    measured_ms = 1000.0 * (1 + int(np.argmax(recovery >= 1.0 - math.exp(-2.2)))) / SAMPLE_RATE - 1.0
    assert measured_ms == pytest.approx(80.0, rel=0.01)


@given(
    seed=st.integers(0, 10_000),
    ceiling_db=st.floats(-40.0, 0.0),
    release_ms=st.floats(1.0, 500.0),
    lookahead_ms=st.floats(0.0, 20.0),
    linked=st.booleans(),
)
@options(max_examples=40, deadline=None)
def test_no_sample_exceeds_the_ceiling(seed: int, ceiling_db: float, release_ms: float, lookahead_ms: float, linked: bool) -> None:
    noise = torch.randn(2, 3000, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    noise *= torch.linspace(0.0, 2.0, 3000).sin().abs()
    chosen = Settings(ceiling_db=ceiling_db, release_ms=release_ms, lookahead_ms=lookahead_ms, linked=linked)
    assert float(limiter.apply(noise, 8000, chosen).abs().max()) <= 10.0 ** (ceiling_db / 20.0) * (1.0 + 1e-9)


def test_audio_below_the_ceiling_is_left_alone(song: torch.Tensor) -> None:
    assert torch.equal(limiter.apply(song, SAMPLE_RATE, Settings(ceiling_db=0.0)), song)


@pytest.mark.parametrize("linked", [True, False])
def test_gain_curve_undoes_the_limiter(song: torch.Tensor, linked: bool) -> None:
    dry = song.double()
    settings = Settings(ceiling_db=-20.0, linked=linked)
    curve = limiter.gain_curve(dry, SAMPLE_RATE, settings)
    assert curve.shape[-2] == (1 if linked else 2)
    assert float(curve.min()) < 0.5
    torch.testing.assert_close(limiter.restore(limiter.apply(dry, SAMPLE_RATE, settings), curve), dry, atol=1e-14, rtol=0)


def test_linked_channels_share_one_gain(song: torch.Tensor) -> None:
    audio = song * torch.tensor([[1.0], [0.2]])
    linked = limiter.gain_curve(audio, SAMPLE_RATE, Settings(ceiling_db=-20.0))
    own = limiter.gain_curve(audio, SAMPLE_RATE, Settings(ceiling_db=-20.0, linked=False))
    assert bool((linked <= own + 1e-6).all())
    assert float(own[1].min()) > float(own[0].min())


@pytest.mark.parametrize("linked", [True, False])
def test_gradients_are_exact(linked: bool) -> None:
    def number(value: Any) -> torch.Tensor:
        return torch.tensor(value, dtype=torch.float64, requires_grad=True)

    audio = (0.5 * torch.randn(2, 2, 50, generator=torch.Generator().manual_seed(3), dtype=torch.float64)).requires_grad_()
    values = (number([-6.0, -9.0]), number([5.0, 20.0]))

    def run(x: torch.Tensor, ceiling: torch.Tensor, release: torch.Tensor) -> torch.Tensor:
        return limiter.apply(x, 1000, Settings(ceiling_db=ceiling, release_ms=release, lookahead_ms=4.0, linked=linked))

    assert torch.autograd.gradcheck(run, (audio, *values))


@pytest.mark.parametrize(("ceiling_db", "release_ms", "lookahead_ms", "linked"), [(-14.0, 60.0, 2.0, True), (-20.0, 150.0, 0.7, False)])
def test_fit_finds_every_setting(synthetic_song: Any, ceiling_db: float, release_ms: float, lookahead_ms: float, linked: bool) -> None:
    dry = torch.from_numpy(synthetic_song["drums"][:, :96_000].copy()).double() * torch.tensor([[1.0], [0.7]])
    truth = Settings(ceiling_db=ceiling_db, release_ms=release_ms, lookahead_ms=lookahead_ms, linked=linked)
    found = EFFECTS["limiter"].fit(limiter.apply(dry, SAMPLE_RATE, truth), dry, SAMPLE_RATE)
    assert found.ceiling_db == pytest.approx(ceiling_db, abs=1e-3)
    assert found.release_ms == pytest.approx(release_ms, rel=1e-3)
    assert abs(found.lookahead_ms - lookahead_ms) * SAMPLE_RATE / 1000.0 < 0.6
    assert found.linked == linked


def test_limiter_that_never_reached_its_ceiling_is_not_identifiable(song: torch.Tensor) -> None:
    with pytest.raises(NotIdentifiableError, match="never reached its ceiling"):
        EFFECTS["limiter"].fit(song, song, SAMPLE_RATE)
