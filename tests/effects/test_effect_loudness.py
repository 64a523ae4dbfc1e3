"""Normalising: the level reached is measured by pyloudnorm's or our own meter and by the highest sample."""

from __future__ import annotations

from typing import Literal

import pytest
import torch

from stemwright.datagen.effects import EFFECTS, loudness
from stemwright.datagen.effects.loudness import Settings
from stemwright.datagen.effects.signal import NotIdentifiableError
from stemwright.separation.loudness.meter import integrated_loudness

SAMPLE_RATE = 44_100


@pytest.mark.parametrize("target_db", [-30.0, -14.0])
def test_loudness_reached_is_the_target(song: torch.Tensor, target_db: float) -> None:
    wet = loudness.apply(song, SAMPLE_RATE, Settings(target_db=target_db))
    assert integrated_loudness(wet.numpy(), SAMPLE_RATE) == pytest.approx(target_db, abs=1e-3)


def test_loudness_agrees_with_another_meter(song: torch.Tensor) -> None:
    pyebur128 = pytest.importorskip("pyebur128")
    wet = loudness.apply(song, SAMPLE_RATE, Settings(target_db=-18.0))
    meter = pyebur128.R128State(2, SAMPLE_RATE, pyebur128.MeasurementMode.MODE_I)
    meter.add_frames(wet.T.contiguous().flatten().double().numpy(), wet.shape[-1])
    assert pyebur128.get_loudness_global(meter) == pytest.approx(-18.0, abs=0.05)


def test_peak_reached_is_the_target(song: torch.Tensor) -> None:
    wet = loudness.apply(song, SAMPLE_RATE, Settings(target_db=-6.0, measure="peak"))
    assert float(wet.abs().max()) == pytest.approx(10.0 ** (-6.0 / 20.0), rel=1e-6)


def test_realised_gain_is_the_one_applied(song: torch.Tensor) -> None:
    settings = Settings(target_db=-20.0)
    batch = torch.stack([song, 0.1 * song])
    gains = loudness.gain_db(batch, SAMPLE_RATE, settings)
    torch.testing.assert_close(loudness.apply(batch, SAMPLE_RATE, settings), batch * 10.0 ** (gains.float()[:, None, None] / 20.0))
    assert float(gains[1] - gains[0]) == pytest.approx(20.0, abs=1e-4)


def test_normalising_twice_is_normalising_once(song: torch.Tensor) -> None:
    settings = Settings(target_db=-25.0)
    once = loudness.apply(song, SAMPLE_RATE, settings)
    torch.testing.assert_close(loudness.apply(once, SAMPLE_RATE, settings), once, atol=1e-6, rtol=1e-5)


def test_silence_has_no_gain() -> None:
    silence = torch.zeros(2, SAMPLE_RATE)
    for measure in ("lufs", "peak"):
        assert float(loudness.gain_db(silence, SAMPLE_RATE, Settings(target_db=-20.0, measure=measure))) == 0.0


@pytest.mark.parametrize("measure", ["lufs", "peak"])
def test_fit_gives_the_same_signal_whatever_was_measured(song: torch.Tensor, measure: Literal["lufs", "peak"]) -> None:
    wet = loudness.apply(song, SAMPLE_RATE, Settings(target_db=-20.0, measure=measure))
    found = EFFECTS["loudness"].fit(wet, song, SAMPLE_RATE)
    torch.testing.assert_close(loudness.apply(song, SAMPLE_RATE, found), wet, atol=1e-5, rtol=0)
    assert found.measure == "lufs"


def test_fit_of_more_than_a_gain_is_refused(song: torch.Tensor) -> None:
    with pytest.raises(NotIdentifiableError, match="another effect"):
        EFFECTS["loudness"].fit(song.flip(-1), song, SAMPLE_RATE)


@pytest.mark.parametrize("measure", ["lufs", "peak"])
def test_what_needs_more_than_40_db_is_taken_for_silence_and_left_as_it_is(song: torch.Tensor, measure: Literal["lufs", "peak"]) -> None:
    level_db = integrated_loudness(song.numpy(), SAMPLE_RATE) if measure == "lufs" else 20.0 * float(song.abs().max().log10())
    for lift_db, lifted in ((39.9, True), (40.1, False)):
        settings = Settings(target_db=level_db, measure=measure)
        soft = 10.0 ** (-lift_db / 20.0) * song
        assert float(loudness.gain_db(soft, SAMPLE_RATE, settings)) == pytest.approx(lift_db if lifted else 0.0, abs=0.01)
        assert loudness.is_taken_for_silence(level_db - lift_db, level_db) is not lifted
    assert loudness.is_taken_for_silence(None, -20.0)
