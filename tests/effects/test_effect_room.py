"""The room: decay by Schroeder integration in bands, pre-delay and level from the response to an impulse."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from scipy.signal import butter, sosfiltfilt

from stemwright.datagen.effects import EFFECTS, room
from stemwright.datagen.effects.room import Settings
from stemwright.datagen.effects.signal import NotIdentifiableError
from stemwright.datagen.inverse.known_dry.subbands import Decay, NarrowBand, terms

SAMPLE_RATE = 44_100


def response(duration_s: float = 3.0, channels: int = 2, sample_rate: int = SAMPLE_RATE, **settings: float) -> np.ndarray:
    impulse = torch.zeros(channels, round(duration_s * sample_rate), dtype=torch.float64)
    impulse[:, 0] = 1.0
    return np.asarray(room.apply(impulse, sample_rate, Settings(**{"wet_db": 0.0, **settings}))) - impulse.numpy()


def decay_time_s(tail: np.ndarray, low_hz: float, high_hz: float, sample_rate: int = SAMPLE_RATE) -> float:
    """RT60 of a band [C, T] by Schroeder integration from -5 to -35 dB."""
    sos = butter(4, (low_hz, high_hz), "bandpass", fs=sample_rate, output="sos")
    energy = (sosfiltfilt(sos, tail, axis=-1) ** 2).sum(0)
    level = 10.0 * np.log10(np.cumsum(energy[::-1])[::-1] / energy.sum() + 1e-30)
    inside = np.flatnonzero((level <= -5.0) & (level >= -35.0))
    return float(-60.0 / np.polyfit(inside / sample_rate, level[inside], 1)[0])


@pytest.mark.parametrize("rt60_s", [0.3, 0.9, 2.0])
@pytest.mark.parametrize("sample_rate", [16_000, 44_100])
def test_decay_without_damping_is_rt60_in_every_band(rt60_s: float, sample_rate: int) -> None:
    tail = np.concatenate([response(4.0, sample_rate=sample_rate, rt60_s=rt60_s, damping=0.0, seed=seed) for seed in range(4)])
    for low_hz, high_hz in ((300.0, 800.0), (1500.0, 6000.0)):
        assert decay_time_s(tail, low_hz, high_hz, sample_rate) == pytest.approx(rt60_s, rel=0.05)


def test_damping_is_measured_back_from_the_decay_of_two_bands() -> None:
    tail = np.concatenate([response(3.0, rt60_s=1.2, damping=1.0, seed=seed) for seed in range(6)])
    # Octave around 5657 Hz (4 to 8 kHz) against the band below 500 Hz, whose centre is 177 Hz.
    high = decay_time_s(tail, 4800.0, 6600.0)
    low = decay_time_s(tail, 120.0, 300.0)
    assert low == pytest.approx(1.2 / (1.0 + 177.0 / 4000.0), rel=0.05)
    assert high == pytest.approx(1.2 / (1.0 + 5657.0 / 4000.0), rel=0.05)


@pytest.mark.parametrize("pre_delay_ms", [0.0, 12.5, 80.0])
def test_pre_delay_is_silent(pre_delay_ms: float) -> None:
    tail = response(1.0, pre_delay_ms=pre_delay_ms)
    first = round(pre_delay_ms * SAMPLE_RATE / 1000.0)
    assert np.abs(tail[:, :first]).max(initial=0.0) < 1e-12
    assert 1000.0 * int(np.argmax(np.abs(tail).max(0) > 1e-4)) / SAMPLE_RATE == pytest.approx(pre_delay_ms, abs=0.1)


@pytest.mark.parametrize("wet_db", [-30.0, -6.0, 6.0])
def test_wet_is_the_energy_of_the_tail_against_the_direct_sound(wet_db: float) -> None:
    assert 10.0 * math.log10((response(2.0, rt60_s=0.8, wet_db=wet_db) ** 2).sum(-1).mean()) == pytest.approx(wet_db, abs=1e-6)


def test_seed_names_the_noise_and_channels_have_their_own() -> None:
    first, again, other = (response(0.5, seed=seed) for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert abs(np.corrcoef(first[0], other[0])[0, 1]) < 0.05
    assert abs(np.corrcoef(first[0], first[1])[0, 1]) < 0.05


def test_direct_sound_stays_where_it_is(song: torch.Tensor) -> None:
    dry = song.double()
    wet = room.apply(dry, SAMPLE_RATE, Settings(wet_db=-20.0, pre_delay_ms=20.0))
    torch.testing.assert_close(wet[:, :880], dry[:, :880], atol=1e-12, rtol=0)


def test_convolution_is_that_of_the_response(song: torch.Tensor) -> None:
    dry = song[:, :3000].double()
    settings = Settings(wet_db=0.0, rt60_s=0.05, pre_delay_ms=1.0)
    tail = room.impulse_response(settings, SAMPLE_RATE, 2)
    expected = np.stack([np.convolve(dry[c].numpy(), tail[c].numpy())[:3000] for c in range(2)])
    np.testing.assert_allclose((room.apply(dry, SAMPLE_RATE, settings) - dry).numpy(), expected, atol=1e-12)


def bursts(duration_s: float, sample_rate: int = SAMPLE_RATE) -> torch.Tensor:
    """A burst of noise a second."""
    frames = round(duration_s * sample_rate)
    noise = torch.randn(2, frames, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return noise * torch.exp(-8.0 * (torch.arange(frames) / sample_rate % 1.0))


def bass(duration_s: float) -> torch.Tensor:
    """Three notes in a row, of partials up to a kilohertz, as a float32 file keeps them."""
    time_s = torch.arange(round(duration_s * SAMPLE_RATE), dtype=torch.float64) / SAMPLE_RATE
    pitch_hz = torch.tensor([41.2, 55.0, 49.0], dtype=torch.float64)[(time_s / 0.4).long() % 3]
    phase = 2.0 * math.pi * torch.cumsum(pitch_hz / SAMPLE_RATE, 0)
    tone = torch.stack([torch.sin(k * phase) / k for k in range(1, 19)]).sum(0) * torch.exp(-4.0 * (time_s % 0.4))
    return (0.3 * tone).expand(2, -1).float().double()


@pytest.mark.parametrize(
    ("rt60_s", "pre_delay_ms", "damping", "wet_db"), [pytest.param(0.3, 20.0, 0.8, -8.0, marks=pytest.mark.slow), (0.9, 5.0, 0.4, -14.0)]
)
def test_fit_finds_the_room_from_bursts_of_noise(rt60_s: float, pre_delay_ms: float, damping: float, wet_db: float) -> None:
    dry = bursts(2.0)
    truth = Settings(rt60_s=rt60_s, pre_delay_ms=pre_delay_ms, damping=damping, wet_db=wet_db, seed=5)
    found = EFFECTS["room"].fit(room.apply(dry, SAMPLE_RATE, truth), dry, SAMPLE_RATE)
    assert found.rt60_s == pytest.approx(rt60_s, rel=0.02)
    assert found.pre_delay_ms == pytest.approx(pre_delay_ms, abs=0.5)
    assert found.damping == pytest.approx(damping, abs=0.05)
    assert found.wet_db == pytest.approx(wet_db, abs=0.5)


def test_fit_finds_the_room_of_a_bass_though_its_beginning_is_late() -> None:
    dry = bass(3.0)
    truth = Settings(rt60_s=0.5, pre_delay_ms=60.0, damping=0.6, wet_db=-10.0, seed=3)
    found = EFFECTS["room"].fit(room.apply(dry, SAMPLE_RATE, truth).float().double(), dry, SAMPLE_RATE)
    assert found.rt60_s == pytest.approx(0.5, rel=0.05)
    assert found.pre_delay_ms == pytest.approx(60.0, abs=1.0)
    assert found.wet_db == pytest.approx(-10.0, abs=1.0)


def test_fit_finds_the_room_in_noise_40_db_below_it() -> None:
    dry = bursts(3.0)
    truth = Settings(rt60_s=0.6, pre_delay_ms=8.0, damping=0.5, wet_db=-10.0, seed=4)
    wet = room.apply(dry, SAMPLE_RATE, truth)
    noise = torch.randn(wet.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    found = EFFECTS["room"].fit(wet + 0.01 * noise * (wet - dry).std(), dry, SAMPLE_RATE)
    assert found.rt60_s == pytest.approx(0.6, rel=0.05)
    assert found.pre_delay_ms == pytest.approx(8.0, abs=1.0)
    assert found.wet_db == pytest.approx(-10.0, abs=1.0)


@pytest.mark.slow
def test_fit_uses_the_loudest_part_of_a_long_signal_and_the_part_before_it() -> None:
    rate = 8000
    dry = bursts(18.0, rate)
    dry[:, : 5 * rate] *= 0.3
    truth = Settings(rt60_s=0.8, pre_delay_ms=10.0, damping=0.5, wet_db=-10.0, seed=4)
    found = EFFECTS["room"].fit(room.apply(dry, rate, truth), dry, rate)
    assert found.rt60_s == pytest.approx(0.8, rel=0.05)
    assert found.pre_delay_ms == pytest.approx(10.0, abs=1.0)
    assert found.wet_db == pytest.approx(-10.0, abs=1.0)


def test_fit_finds_the_latest_beginning_that_a_room_can_have() -> None:
    rate = 8000
    dry = bursts(2.0, rate)
    truth = Settings(rt60_s=0.4, pre_delay_ms=200.0, damping=0.5, wet_db=-10.0, seed=4)
    found = EFFECTS["room"].fit(room.apply(dry, rate, truth), dry, rate)
    assert found.pre_delay_ms == pytest.approx(200.0, abs=1.0)
    assert found.rt60_s == pytest.approx(0.4, rel=0.1)


def test_what_was_added_while_dry_was_silent_is_no_room() -> None:
    rate = 4000
    dry = bursts(32.0, rate)
    dry[:, 4 * rate :] = 0.0
    wet = dry.clone()
    wet[:, 16 * rate :] += torch.randn((len(dry), 16 * rate), generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    with pytest.raises(NotIdentifiableError, match="dry is silent where wet has most energy"):
        EFFECTS["room"].fit(wet, dry, rate)


def test_likelihood_is_that_of_the_whole_covariance() -> None:
    rng = np.random.default_rng(0)
    columns, y = (rng.standard_normal((12, n)) + 1j * rng.standard_normal((12, n)) for n in (5, 1))
    left_s = np.arange(5) / 10.0
    basis = np.linalg.qr(columns)[0]
    seen = basis.conj().T @ y[:, 0]
    spare = float((np.abs(y) ** 2).sum() - (np.abs(seen) ** 2).sum())
    band = NarrowBand(basis.conj().T @ columns, seen, spare, 12, left_s, left_s + 0.1, 0.2, 10.0)
    square, volume, number = terms([band], Decay(time_s=0.7, noise=3.0, start_s=0.14))
    # The response begins in the second cell, of which it fills six tenths; a cell's time is the middle of what it fills.
    since_s = np.array([0.0, 0.03, 0.11, 0.21, 0.31])
    variance = np.array([0.0, 0.6, 1.0, 1.0, 1.0]) * 10.0 ** (-6.0 * since_s / 0.7)
    whole = (columns * variance) @ columns.conj().T + 0.6 * np.eye(12)
    assert number == 12
    assert square == pytest.approx(float((y.conj().T @ np.linalg.solve(whole, y)).real[0, 0]), rel=1e-9)
    assert volume == pytest.approx(float(np.linalg.slogdet(whole)[1]), rel=1e-9)


def test_a_level_is_no_room() -> None:
    dry = bursts(2.0, 8000)
    with pytest.raises(NotIdentifiableError, match="ends at once"):
        EFFECTS["room"].fit(0.7 * dry, dry, 8000)


def test_another_signal_is_no_room() -> None:
    dry = bursts(2.0, 8000)
    other = torch.randn(dry.shape, generator=torch.Generator().manual_seed(9), dtype=torch.float64)
    with pytest.raises(NotIdentifiableError, match="does not decay"):
        EFFECTS["room"].fit(dry + other, dry, 8000)


def test_signals_without_a_room_between_them_are_refused(song: torch.Tensor) -> None:
    with pytest.raises(NotIdentifiableError, match="no room between them"):
        EFFECTS["room"].fit(song, song, SAMPLE_RATE)


def test_gradients_are_exact() -> None:
    def number(value: Any) -> torch.Tensor:
        return torch.tensor(value, dtype=torch.float64, requires_grad=True)

    audio = torch.randn(2, 1, 60, generator=torch.Generator().manual_seed(0), dtype=torch.float64, requires_grad=True)
    values = (number([0.0507, 0.1113]), number([0.3, 1.0]), number([-6.0, 0.0]))

    def run(x: torch.Tensor, rt60_s: torch.Tensor, damping: torch.Tensor, wet_db: torch.Tensor) -> torch.Tensor:
        return room.apply(x, 4000, Settings(rt60_s=rt60_s, damping=damping, wet_db=wet_db, pre_delay_ms=2.0))

    assert torch.autograd.gradcheck(run, (audio, *values))
