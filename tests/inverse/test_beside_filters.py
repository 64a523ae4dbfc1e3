"""A compressor beside filters that a search does not know: those of scipy, on either side of it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from scipy.signal import ellip, iirpeak, lfilter, sosfilt

from stemwright.datagen.effects import EFFECTS, apply_chain, compressor, eq
from stemwright.datagen.inverse.known_dry import beside_filters
from stemwright.datagen.inverse.known_dry.beside_filters import _Beside, found_beside_filters
from stemwright.datagen.inverse.known_dry.chain_search import residual_db
from stemwright.datagen.inverse.known_dry.shared_level import with_level

SAMPLE_RATE = 44_100
COMPRESSOR = compressor.Settings(
    threshold_db=-24.0, ratio=4.0, detector_attack_ms=3.0, detector_release_ms=5.0, attack_ms=15.0, release_ms=150.0
)
NEUTRAL: dict[str, Any] = {name: EFFECTS[name].Settings() for name in ("eq", "compressor", "fader")}


@pytest.fixture
def dry(synthetic_song: dict[str, np.ndarray]) -> torch.Tensor:
    return torch.from_numpy(synthetic_song["bass"][:, :SAMPLE_RATE].copy()).double()


def filtered(audio: torch.Tensor) -> torch.Tensor:
    """Audio through a resonance and an elliptic low-pass."""
    peak = audio.numpy() + 2.0 * lfilter(*iirpeak(180.0, 4.0, SAMPLE_RATE), audio.numpy())
    return torch.from_numpy(sosfilt(ellip(4, 1.0, 60.0, 9000.0, output="sos", fs=SAMPLE_RATE), peak))


def uses(*names: str) -> list[tuple[str, Any]]:
    return [(name, NEUTRAL[name]) for name in names]


@pytest.mark.parametrize("before", [True, False], ids=["filters in front", "filters behind"])
def test_only_the_right_compressor_leaves_nothing_to_a_filter(dry: torch.Tensor, before: bool) -> None:
    if before:
        wet, names = compressor.apply(filtered(dry), SAMPLE_RATE, COMPRESSOR), ("eq", "compressor")
    else:
        wet, names = filtered(compressor.apply(dry, SAMPLE_RATE, COMPRESSOR)), ("compressor", "eq")
    beside = _Beside(wet, dry, SAMPLE_RATE, uses(*names), names.index("compressor"), before)

    def left(**changes: Any) -> float:
        return float((beside.left(COMPRESSOR.model_copy(update=changes)) ** 2).sum())

    assert left() < 1e-2
    for wrong in (
        {"threshold_db": -21.0},
        {"threshold_db": -27.0},
        {"ratio": 8.0},
        {"attack_ms": 45.0},
        {"release_ms": 50.0},
        {"ratio": 1.0},
    ):
        assert left(**wrong) > 1.5 * left(), wrong


def test_compressor_is_found_behind_an_equaliser_that_was_not(dry: torch.Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(beside_filters, "DETECTOR_MS", (3.0,))  # a smaller grid
    monkeypatch.setattr(beside_filters, "RELEASE_MS", (100.0,))
    boosted = eq.Settings(low_shelf_gain_db=8.0, low_shelf_hz=110.0, low_shelf_q=3.0, peak2_gain_db=9.0, peak2_hz=3000.0)
    wet = apply_chain(dry, SAMPLE_RATE, [("eq", boosted), ("compressor", COMPRESSOR)])
    found = found_beside_filters(wet, dry, SAMPLE_RATE, uses("eq", "compressor"))
    assert residual_db(wet, dry, SAMPLE_RATE, found) < -50.0
    assert found[1][1].ratio == pytest.approx(4.0, rel=0.05)  # type: ignore[attr-defined]


def test_chain_of_another_form_is_left_as_it_is(dry: torch.Tensor) -> None:
    for names in (("eq", "fader"), ("eq", "compressor", "eq"), ("compressor", "fader"), ("eq", "compressor", "room")):
        chain = [(name, EFFECTS[name].Settings()) for name in names]
        assert found_beside_filters(dry, dry, SAMPLE_RATE, chain) is chain


def test_shelves_that_changed_places_are_put_back_within_typical_ranges(dry: torch.Tensor) -> None:
    """A low shelf sounds as a gain and the opposite high shelf at its frequency, to the last bit."""
    true = eq.Settings(low_shelf_gain_db=8.0, low_shelf_hz=110.0, low_shelf_q=3.0)
    swapped = eq.Settings(high_shelf_gain_db=-8.0, high_shelf_hz=110.0, high_shelf_q=3.0)
    wet = apply_chain(dry, SAMPLE_RATE, [("eq", true), ("compressor", COMPRESSOR)])
    same: list[tuple[str, Any]] = [
        ("eq", swapped),
        ("compressor", COMPRESSOR.model_copy(update={"threshold_db": COMPRESSOR.threshold_db - 8.0, "makeup_db": 8.0})),
    ]
    assert residual_db(wet, dry, SAMPLE_RATE, same) < -150.0
    (_, bands), (_, squeezed) = with_level(wet, dry, SAMPLE_RATE, same, {})[0]
    assert bands.low_shelf_gain_db == pytest.approx(8.0, abs=0.01)  # type: ignore[attr-defined]
    assert squeezed.threshold_db == pytest.approx(COMPRESSOR.threshold_db, abs=0.01)  # type: ignore[attr-defined]
