"""The reverb: decay, damping, levels and width measured from the response to an impulse."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

from stemwright.datagen.effects import EFFECTS, reverb
from stemwright.datagen.effects.dsp.tank import COMB_DELAYS, Tank
from stemwright.datagen.effects.reverb import Settings

SAMPLE_RATE = 44_100


def tail(duration_s: float = 4.0, sample_rate: int = SAMPLE_RATE, channels: int = 2, **settings: float) -> np.ndarray:
    """The response [C, T] to an impulse in all channels, without the direct sound by default."""
    impulse = torch.zeros(channels, round(duration_s * sample_rate), dtype=torch.float64)
    impulse[:, 0] = 1.0
    return np.asarray(reverb.apply(impulse, sample_rate, Settings(**{"wet": 1.0, "dry": 0.0, **settings})))


def decay_time_s(response: np.ndarray, sample_rate: int, top_db: float = -10.0, bottom_db: float = -30.0) -> float:
    """RT60 by Schroeder integration, from the slope between two levels."""
    energy = np.cumsum(response[::-1] ** 2)[::-1]
    level = 10.0 * np.log10(energy / energy[0] + 1e-30)
    inside = np.flatnonzero((level <= top_db) & (level >= bottom_db))
    slope = np.polyfit(inside / sample_rate, level[inside], 1)[0]
    return float(-60.0 / slope)


@pytest.mark.parametrize("sample_rate", [22_050, 44_100, 48_000])
@pytest.mark.parametrize("room_size", [0.2, 0.8])
def test_decay_is_that_of_the_combs_at_every_rate(room_size: float, sample_rate: int) -> None:
    response = tail(6.0, sample_rate, room_size=room_size, damping=0.0)[0]
    feedback = 0.7 + 0.28 * room_size
    # Undamped, a comb falls by its feedback once a delay; the eight lie within 17 % of their mean.
    expected_s = 3.0 * COMB_DELAYS.mean() / 44_100 / -math.log10(feedback)
    assert decay_time_s(response, sample_rate) == pytest.approx(expected_s, rel=0.08)


def test_room_size_is_measured_back_from_the_late_decay() -> None:
    # Late, the longest comb alone is left: its feedback follows from the decay.
    late_s = decay_time_s(tail(8.0, room_size=0.6, damping=0.0)[0], SAMPLE_RATE, -60.0, -90.0)
    feedback = 10.0 ** (-3.0 * COMB_DELAYS[-1] / 44_100 / late_s)
    assert (feedback - 0.7) / 0.28 == pytest.approx(0.6, abs=0.03)


def test_damping_is_measured_back_from_the_first_echo_of_one_comb() -> None:
    coefficient = 0.4 * 0.7
    with_damping = Tank.apply(
        torch.eye(1, 4000, dtype=torch.float64), torch.tensor([[0.9, coefficient]], dtype=torch.float64), 1, SAMPLE_RATE
    )[0, 0]
    without = Tank.apply(torch.eye(1, 4000, dtype=torch.float64), torch.tensor([[0.9, 0.0]], dtype=torch.float64), 1, SAMPLE_RATE)[0, 0]
    # The first arrivals pass no feedback and are alike; the second arrival of the shortest comb is scaled by 1 - coefficient.
    start, again = int(COMB_DELAYS[0]), 2 * int(COMB_DELAYS[0])
    torch.testing.assert_close(with_damping[:again], without[:again])
    assert float(without[start].abs()) == pytest.approx(1.0)
    change = (with_damping[again] - without[again]) / 0.9
    assert abs(float(change)) == pytest.approx(coefficient, abs=1e-9)


def test_damping_shortens_high_frequencies_more() -> None:
    response = tail(room_size=0.7, damping=1.0)[0]
    spectrum = np.abs(np.fft.rfft(response[: SAMPLE_RATE // 4])), np.abs(np.fft.rfft(response[SAMPLE_RATE : SAMPLE_RATE * 5 // 4]))
    hz = np.fft.rfftfreq(SAMPLE_RATE // 4, 1.0 / SAMPLE_RATE)
    fall = [20.0 * np.log10(late[band].mean() / early[band].mean()) for early, late in [spectrum] for band in (hz < 300, hz > 8000)]
    assert fall[1] < fall[0] - 20.0


@pytest.mark.parametrize(("wet", "dry"), [(0.25, 1.0), (0.6, 0.4)])
def test_levels_of_tail_and_direct_sound_are_their_settings(wet: float, dry: float) -> None:
    full, mixed = tail(1.0), tail(1.0, wet=wet, dry=dry)
    assert mixed[:, 0] == pytest.approx(dry)
    np.testing.assert_allclose(mixed[:, 1:], wet * full[:, 1:], atol=1e-12)


def test_width_is_measured_back_from_the_difference_of_the_channels() -> None:
    wide = tail(2.0, width=1.0)
    for width in (0.0, 0.3, 0.8):
        narrow = tail(2.0, width=width)
        ratio = np.sqrt(((narrow[0] - narrow[1]) ** 2).sum() / ((wide[0] - wide[1]) ** 2).sum())
        assert ratio == pytest.approx(width, abs=1e-12)
        np.testing.assert_allclose(narrow.sum(0), wide.sum(0), atol=1e-12)


@pytest.mark.parametrize("width", [0.0, 0.3, 1.0])
def test_one_channel_has_the_left_tail_times_a_quarter_of_one_plus_width(width: float) -> None:
    np.testing.assert_allclose(tail(1.0, channels=1, width=width)[0], (1.0 + width) / 4.0 * tail(1.0, width=1.0)[0], atol=1e-15)


def test_nothing_arrives_before_the_shortest_comb() -> None:
    assert not np.any(tail(0.5)[0, : COMB_DELAYS[0]])


def test_end_of_the_excerpt_cuts_the_tail_only(song: torch.Tensor) -> None:
    settings = Settings(wet=0.5, room_size=0.9)
    whole = reverb.apply(song, SAMPLE_RATE, settings)
    torch.testing.assert_close(reverb.apply(song[:, :50_000], SAMPLE_RATE, settings), whole[:, :50_000], atol=0, rtol=0)


def test_fit_finds_every_setting(song: torch.Tensor) -> None:
    truth = Settings(room_size=0.65, damping=0.4, wet=0.35, dry=0.6, width=0.7)
    found = EFFECTS["reverb"].fit(reverb.apply(song, SAMPLE_RATE, truth), song, SAMPLE_RATE)
    for name, value in truth.plain().items():
        assert getattr(found, name) == pytest.approx(value, abs=1e-3), name


def test_gradients_are_exact() -> None:
    def number(value: Any) -> torch.Tensor:
        return torch.tensor(value, dtype=torch.float64, requires_grad=True)

    audio = torch.randn(2, 2, 120, generator=torch.Generator().manual_seed(0), dtype=torch.float64, requires_grad=True)
    names = ("room_size", "damping", "wet", "dry", "width")
    values = [number(value) for value in ([0.3, 0.9], [0.2, 0.8], 0.3, 0.5, 0.6)]

    def run(x: torch.Tensor, *numbers: torch.Tensor) -> torch.Tensor:
        return reverb.apply(x, 1000, Settings(**dict(zip(names, numbers, strict=True))))

    assert torch.autograd.gradcheck(run, (audio, *values))
