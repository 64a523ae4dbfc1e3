"""Fitting a chain and a console: what was rendered is found again."""

from __future__ import annotations

from typing import Any

import numpy as np
import pedalboard
import pytest
import torch

from stemwright.datagen.effects import EFFECTS, apply_chain, eq
from stemwright.datagen.effects.dsp.biquads import response
from stemwright.datagen.effects.signal import NotIdentifiableError
from stemwright.datagen.inverse.chain import fit_chain, fit_console
from stemwright.datagen.inverse.undo.requests import Knowledge
from stemwright.datagen.inverse.undo.reversal import undo

SAMPLE_RATE = 44_100
FRAMES = 2 * SAMPLE_RATE


def use(name: str, **settings: Any) -> tuple[str, Any]:
    return name, EFFECTS[name].Settings(**settings)


@pytest.fixture
def stems(synthetic_song: dict[str, np.ndarray]) -> dict[str, torch.Tensor]:
    return {name: torch.from_numpy(synthetic_song[name][:, :FRAMES].copy()).double() for name in ("drums", "vocals")}


def test_chain_of_compressor_and_fader_is_found(stems: dict[str, torch.Tensor]) -> None:
    truth = [use("compressor", threshold_db=-30.0, ratio=3.0, attack_ms=5.0, release_ms=90.0), use("fader", gain_db=-4.0, pan=0.3)]
    found = fit_chain(apply_chain(stems["drums"], SAMPLE_RATE, truth), stems["drums"], SAMPLE_RATE, ["compressor", "fader"])
    assert found.error_db < -60.0
    compressor, fader = (settings for _, settings in found)
    assert compressor.threshold_db == pytest.approx(-30.0, abs=0.05)  # type: ignore[attr-defined]
    assert compressor.ratio == pytest.approx(3.0, rel=0.01)  # type: ignore[attr-defined]
    assert (fader.gain_db, fader.pan) == pytest.approx((-4.0, 0.3), abs=0.02)  # type: ignore[attr-defined]


def test_fitted_chain_is_a_chain(stems: dict[str, torch.Tensor]) -> None:
    dry = stems["vocals"]
    wet = apply_chain(dry, SAMPLE_RATE, [use("width", width=0.5), use("fader", gain_db=3.0)])
    found = fit_chain(wet.numpy(), dry.numpy(), SAMPLE_RATE, ["width", "fader"])
    torch.testing.assert_close(apply_chain(dry, SAMPLE_RATE, found), wet, atol=1e-5, rtol=0)


def test_effect_that_does_not_help_is_pruned(stems: dict[str, torch.Tensor]) -> None:
    dry = stems["drums"]
    found = fit_chain(apply_chain(dry, SAMPLE_RATE, [use("fader", gain_db=-3.0)]), dry, SAMPLE_RATE, ["width", "fader"])
    assert found.pruned == ("width",)
    assert [name for name, _ in found] == ["fader"]


@pytest.mark.parametrize("lag", [300, -441])
def test_late_or_early_wet_is_aligned_first(stems: dict[str, torch.Tensor], lag: int) -> None:
    dry = stems["drums"]
    found = fit_chain(torch.roll(0.5 * dry, lag, -1), dry, SAMPLE_RATE, ["fader"])
    assert found[0][1].gain_db == pytest.approx(-6.02, abs=0.1)  # type: ignore[union-attr]


def test_signals_that_cannot_be_compared_are_refused(stems: dict[str, torch.Tensor]) -> None:
    dry = stems["drums"]
    with pytest.raises(ValueError, match="one shape"):
        fit_chain(dry[:, 1:], dry, SAMPLE_RATE, ["fader"])
    with pytest.raises(ValueError, match="silent signal"):
        fit_chain(dry, torch.zeros_like(dry), SAMPLE_RATE, ["fader"])
    with pytest.raises(ValueError, match="did you mean 'fader'"):
        fit_chain(dry, dry, SAMPLE_RATE, ["fadr"])


def test_console_is_closer_to_the_mixture_than_faders_alone(stems: dict[str, torch.Tensor]) -> None:
    chains = {
        "drums": [use("compressor", threshold_db=-30.0, ratio=4.0, attack_ms=5.0, release_ms=90.0), use("fader", gain_db=4.0, pan=-0.2)],
        "vocals": [use("compressor", threshold_db=-28.0, ratio=2.5, attack_ms=10.0, release_ms=150.0), use("fader", gain_db=2.0, pan=0.3)],
    }
    mixture = torch.stack([apply_chain(stems[name], SAMPLE_RATE, chain) for name, chain in chains.items()]).sum(0)
    console = fit_console(mixture, stems, SAMPLE_RATE, ["compressor", "fader"])
    assert console.error_db < console.gain_and_pan_error_db - 20.0
    for name, chain in chains.items():
        assert console.chains[name][1][1].gain_db == pytest.approx(chain[1][1].gain_db, abs=0.3)  # type: ignore[union-attr]
    torch.testing.assert_close(console.mix(stems, SAMPLE_RATE), mixture, atol=0.02, rtol=0)


@pytest.mark.slow  # half a minute on one core
def test_equaliser_in_front_of_a_compressor_is_found(stems: dict[str, torch.Tensor]) -> None:
    dry = stems["drums"]
    truth = [
        use("eq", low_shelf_gain_db=5.0, peak2_gain_db=-6.0, peak2_hz=900.0, high_shelf_gain_db=4.0),
        use("compressor", threshold_db=-30.0, ratio=3.0, attack_ms=8.0, release_ms=120.0),
    ]
    wet = apply_chain(dry, SAMPLE_RATE, truth)
    found = fit_chain(wet, dry, SAMPLE_RATE, ["eq", "compressor"])
    assert found.error_db < -100.0
    assert [name for name, _ in found] == ["eq", "compressor"]
    assert found[1][1].ratio == pytest.approx(3.0, rel=1e-3)  # type: ignore[union-attr]
    assert found[1][1].threshold_db == pytest.approx(-30.0, abs=0.1)  # type: ignore[union-attr]


def test_treble_of_a_foreign_shelf_is_found_at_a_low_sample_rate(stems: dict[str, torch.Tensor]) -> None:
    """The search steps beyond half the sample rate on its way."""
    sample_rate = 16_000
    dry = stems["drums"][:, :sample_rate]
    board = pedalboard.Pedalboard([pedalboard.HighShelfFilter(7000.0, 9.0, 0.7), pedalboard.Reverb(0.3, wet_level=0.1)])
    wet = torch.from_numpy(board(dry.float().numpy(), sample_rate)).double()
    for (_, found), *_ in (
        fit_chain(wet, dry, sample_rate, ["eq", "fader"]),
        fit_console(wet, {"drums": dry}, sample_rate, ["eq", "fader"]).chains["drums"],
    ):
        middle, treble = np.abs(response(eq.sections(found, sample_rate), np.array([500.0, 7500.0]), sample_rate))  # type: ignore[arg-type]
        assert treble > 1.4 * middle


def test_compressor_that_never_acted_is_pruned_and_has_no_ratio(stems: dict[str, torch.Tensor]) -> None:
    dry = stems["vocals"]
    found = fit_chain(apply_chain(dry, SAMPLE_RATE, [use("fader", gain_db=-3.0)]), dry, SAMPLE_RATE, ["compressor", "fader"])
    assert found.pruned == ("compressor",)
    assert "compressor.ratio" in found.undetermined
    assert found.confidence["compressor.ratio"] == 0.0
    assert found.confidence["fader.gain_db"] > 0.99


def test_order_is_chosen_by_what_it_leaves(stems: dict[str, torch.Tensor]) -> None:
    dry = stems["drums"][:, : FRAMES // 2]
    truth = [use("clip", ceiling_db=-22.0), use("lowpass", cutoff_hz=2000.0)]
    found = fit_chain(apply_chain(dry, SAMPLE_RATE, truth), dry, SAMPLE_RATE, ["lowpass", "clip"], any_order=True)
    assert [name for name, _ in found] == ["clip", "lowpass"]
    with pytest.raises(ValueError, match="at most 4 effects; got 5"):
        fit_chain(dry, dry, SAMPLE_RATE, ["eq", "clip", "width", "fader", "delay"], any_order=True)


def test_signals_more_than_a_second_apart_are_refused(synthetic_song: dict[str, np.ndarray]) -> None:
    dry = np.pad(synthetic_song["drums"][:, :SAMPLE_RATE], ((0, 0), (0, 2 * SAMPLE_RATE)))
    with pytest.raises(ValueError, match=r"wet is \+1\.50 s from dry; at most 1 s"):
        fit_chain(np.roll(dry, 3 * SAMPLE_RATE // 2, -1), dry, SAMPLE_RATE, ["fader"])


def test_unrelated_signals_are_not_identifiable(stems: dict[str, torch.Tensor]) -> None:
    with pytest.raises(NotIdentifiableError, match="wet does not follow from dry"):
        fit_chain(stems["vocals"], torch.randn(2, FRAMES, generator=torch.Generator().manual_seed(0)), SAMPLE_RATE, ["fader"])


def test_audio_that_is_not_finite_is_refused(stems: dict[str, torch.Tensor]) -> None:
    broken = stems["drums"].clone()
    broken[0, 7] = float("inf")
    with pytest.raises(ValueError, match="NaN or infinite"):
        fit_chain(broken, stems["drums"], SAMPLE_RATE, ["fader"])


def test_a_fit_of_a_chain_reports_its_steps_and_undoing_with_a_dry_reference_passes_them_on() -> None:
    dry = 0.1 * np.random.default_rng(0).standard_normal((2, 22_050))
    wet = apply_chain(dry, 44_100, [("width", {"width": 1.5}), ("fader", {"gain_db": -3.0})])
    steps, shares = list[tuple[float, int, str]](), list[float]()
    fit_chain(wet, dry, 44_100, ["width", "fader"], on_progress=lambda done, total, what, _=None: steps.append((done, total, what)))
    assert [done for done, *_ in steps] == sorted(done for done, *_ in steps)
    assert {total for _, total, _ in steps} == {10}
    assert [what for *_, what in steps[:3]] == ["start", "effect by effect", "all settings"]
    assert steps[-1][2] == "confidence"
    undo(wet.astype(np.float32), 44_100, ["width", "fader"], Knowledge(dry=dry.astype(np.float32)), on_share=shares.append)
    assert shares == pytest.approx([done / total for done, total, _ in steps])
