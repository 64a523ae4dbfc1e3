"""The level that an equaliser shares with the effects beside it, and the response without bands that it is found by."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from stemwright.datagen.effects import EFFECTS, apply_chain, eq
from stemwright.datagen.effects.dsp.biquads import response
from stemwright.datagen.inverse.known_dry.band_search import Bands, search, settings_at
from stemwright.datagen.inverse.known_dry.chain_search import residual_db
from stemwright.datagen.inverse.known_dry.free_equaliser import filtered, fit_free_equaliser, free_gain, knots_hz
from stemwright.datagen.inverse.known_dry.shared_level import other_compressors, shares_level, with_level

SAMPLE_RATE = 44_100
FRAMES = SAMPLE_RATE
HZ = np.geomspace(50.0, 16_000.0, 300)
EQ = eq.Settings(low_shelf_gain_db=5.0, peak2_gain_db=-6.0, peak2_hz=2900.0, peak3_gain_db=3.0, peak3_hz=9000.0, high_shelf_gain_db=4.0)
COMPRESSOR = EFFECTS["compressor"].Settings(threshold_db=-30.0, ratio=3.0, attack_ms=8.0, release_ms=120.0)  # type: ignore[call-arg]
TRUTH: list[tuple[str, Any]] = [("eq", EQ), ("compressor", COMPRESSOR)]


def level_db(settings: Any, hz: np.ndarray) -> np.ndarray:
    return np.asarray(20.0 * np.log10(np.abs(response(eq.sections(settings, SAMPLE_RATE), hz, SAMPLE_RATE))))


@pytest.fixture
def dry(synthetic_song: dict[str, np.ndarray]) -> torch.Tensor:
    return torch.from_numpy(synthetic_song["drums"][:, :FRAMES].copy()).double()


@pytest.fixture
def wet(dry: torch.Tensor) -> torch.Tensor:
    return apply_chain(dry, SAMPLE_RATE, TRUTH)


def raised(by_db: float) -> list[tuple[str, Any]]:
    """The chain with bands that imitate its own, all of it higher, and a threshold and a make-up that follow."""
    hz = np.geomspace(30.0, 20_000.0, 150)
    points, _ = search(Bands(level_db(EQ, hz) + by_db, hz, SAMPLE_RATE, enough=0.0, least=0.0), np.random.default_rng(0), near=EQ, rounds=3)
    follow = {"threshold_db": COMPRESSOR.threshold_db + by_db, "makeup_db": -by_db}  # type: ignore[attr-defined]
    return [("eq", settings_at(points[0], SAMPLE_RATE)), ("compressor", COMPRESSOR.model_copy(update=follow))]


def test_level_hidden_in_a_threshold_and_a_make_up_is_found(wet: torch.Tensor, dry: torch.Tensor) -> None:
    start = raised(3.0)
    assert residual_db(wet, dry, SAMPLE_RATE, start) < -30.0  # an imitation that could pass for the truth
    assert float(np.abs(level_db(start[0][1], HZ) - level_db(EQ, HZ)).mean()) > 2.5
    (_, found), (_, compressor) = with_level(wet, dry, SAMPLE_RATE, start, {})[0]
    assert float(np.abs(level_db(found, HZ) - level_db(EQ, HZ)).mean()) < 0.1
    assert compressor.threshold_db == pytest.approx(-30.0, abs=0.1)  # type: ignore[attr-defined]


def test_detector_of_the_wrong_kind_is_replaced_beside_a_free_response(dry: torch.Tensor) -> None:
    truth = COMPRESSOR.model_copy(update={"detector": "rms", "ratio": 4.0})
    wrong = COMPRESSOR.model_copy(update={"detector": "peak", "ratio": 3.5, "threshold_db": -28.0})
    wet = apply_chain(dry, SAMPLE_RATE, [("eq", EQ), ("compressor", truth)])
    free = fit_free_equaliser(wet, dry, SAMPLE_RATE, [("eq", EQ), ("compressor", wrong)])
    best = min(other_compressors(wet, dry, SAMPLE_RATE, free), key=lambda one: one.cost)
    assert best.uses[1][1].detector == "rms"  # type: ignore[attr-defined]
    assert best.cost < 1e-3 * free.cost


def test_level_shared_by_all_frequencies_costs_nothing_and_another_response_does(wet: torch.Tensor, dry: torch.Tensor) -> None:
    free = fit_free_equaliser(wet, dry, SAMPLE_RATE, TRUTH)
    flat, tilt = np.ones_like(free.hz), np.log10(free.hz / 1000.0)
    assert float(((flat @ free.root) ** 2).sum()) < 1e-7 * float(((tilt @ free.root) ** 2).sum())
    # Threshold and make-up, the first and the last of the other settings, follow: one up, one down, of ranges of 80 and 60 dB.
    moved = free.follow @ flat
    assert moved[0] * 80.0 == pytest.approx(1.0, abs=1e-3)
    assert moved[-1] * 60.0 == pytest.approx(-1.0, abs=1e-3)


def test_free_response_of_a_band_has_the_phase_of_the_band() -> None:
    settings = eq.Settings(peak2_gain_db=6.0, peak2_hz=1500.0, high_shelf_gain_db=-5.0)
    size = 2 * SAMPLE_RATE
    gain = free_gain(level_db(settings, knots_hz(SAMPLE_RATE)), size, SAMPLE_RATE)[100:]
    true = response(eq.sections(settings, SAMPLE_RATE), np.arange(100, size // 2 + 1) * SAMPLE_RATE / size, SAMPLE_RATE)
    assert np.abs(gain / true - 1.0).max() < 0.01


def test_free_response_is_taken_off_again(wet: torch.Tensor, dry: torch.Tensor) -> None:
    free = fit_free_equaliser(wet, dry, SAMPLE_RATE, TRUTH)
    there = filtered(free, dry, SAMPLE_RATE)
    assert float((there - dry).abs().max()) > 0.05
    torch.testing.assert_close(filtered(free, there, SAMPLE_RATE, undo=True), dry, atol=1e-5, rtol=0)


def test_a_level_is_shared_between_an_equaliser_and_another_gain() -> None:
    assert shares_level(["eq", "compressor"])
    assert shares_level(["lowpass", "eq", "fader"])
    assert not shares_level(["eq", "lowpass"])
    assert not shares_level(["eq", "eq", "fader"])
    assert not shares_level(["eq", "compressor", "room"])
