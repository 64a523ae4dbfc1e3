"""Faders read back from a mixture and its dry tracks."""

import math

import numpy as np
import pytest

from stemwright.datagen.effects import EFFECTS
from stemwright.separation.balance.console_levels import fit_console_levels

RATE = 22_050
SECONDS = 30


def tracks(num_channels: int = 2) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {name: (0.1 * rng.standard_normal((num_channels, SECONDS * RATE))).astype(np.float32) for name in ("kick", "guitar", "voice")}


def through_faders(dry: dict[str, np.ndarray], settings: dict[str, tuple[float, float]]) -> np.ndarray:
    """The mixture that the fader effect makes of the tracks at (gain in dB, pan) each."""
    import torch

    fader = EFFECTS["fader"]
    wet = [
        fader.apply(torch.from_numpy(dry[name]), RATE, fader.Settings(gain_db=gain_db, pan=pan)).numpy()
        for name, (gain_db, pan) in settings.items()
    ]
    return np.sum(wet, axis=0, dtype=np.float32)


def test_gain_and_pan_of_the_fader_effect_are_read_back():
    settings = {"kick": (-6.0, 0.0), "guitar": (2.5, -0.7), "voice": (-20.0, 0.4)}
    dry = tracks()
    levels = fit_console_levels(through_faders(dry, settings), dry, RATE)
    np.testing.assert_allclose(levels.start_s, [0, 10, 20])
    for name, (gain_db, pan) in settings.items():
        np.testing.assert_allclose(levels.gain_db[name], gain_db, atol=1e-3)
        np.testing.assert_allclose(levels.pan[name], pan, atol=1e-3)
    assert (levels.residual_db < -80).all()


def test_a_ride_shows_window_by_window():
    dry = tracks()
    ride_db = np.repeat([0.0, -12.0, 6.0], 10 * RATE)
    mixture = dry["kick"] + dry["guitar"] + dry["voice"] * (10 ** (ride_db / 20)).astype(np.float32)
    levels = fit_console_levels(mixture, dry, RATE)
    np.testing.assert_allclose(levels.gain_db["voice"], [0, -12, 6], atol=0.01)
    np.testing.assert_allclose(levels.gain_db["kick"], 0, atol=0.01)


def test_mono_tracks_are_panned_into_a_stereo_mixture():
    dry = tracks(1)
    left, right = math.sqrt(2) * math.cos(0.9 * math.pi / 4), math.sqrt(2) * math.sin(0.9 * math.pi / 4)
    mixture = np.concatenate([left * dry["voice"] + dry["kick"], right * dry["voice"] + dry["kick"]]).astype(np.float32)
    levels = fit_console_levels(mixture, dry, RATE)
    np.testing.assert_allclose(levels.pan["voice"], -0.1, atol=1e-4)
    np.testing.assert_allclose(levels.gain_db["voice"], 0, atol=1e-3)
    assert (levels.gain_db["guitar"] < -50).all()


def test_mono_mixture_has_gains_and_no_pan():
    dry = tracks(1)
    levels = fit_console_levels(0.5 * dry["kick"] + dry["voice"], dry, RATE)
    assert levels.pan is None
    np.testing.assert_allclose(levels.gain_db["kick"], 20 * math.log10(0.5), atol=1e-3)


def test_what_other_tracks_cannot_explain_is_left_in_the_residual():
    dry = tracks()
    hidden = dry.pop("guitar")
    levels = fit_console_levels(dry["kick"] + dry["voice"] + hidden, dry, RATE)
    np.testing.assert_allclose(levels.residual_db, -10 * math.log10(3), atol=0.1)
    np.testing.assert_allclose(levels.gain_db["voice"], 0, atol=0.1)


def test_a_factor_is_never_negative():
    dry = tracks()
    levels = fit_console_levels(dry["kick"] - dry["voice"], dry, RATE)
    assert np.isneginf(levels.gain_db["voice"]).all()


def test_the_gain_of_a_silent_track_or_of_a_copy_is_undefined():
    dry = tracks()
    dry["voice"][:, 10 * RATE : 20 * RATE] = 0
    levels = fit_console_levels(dry["kick"] + dry["voice"], dry, RATE)
    assert np.isnan(levels.gain_db["voice"]).tolist() == [False, True, False]
    assert np.isnan(levels.pan["voice"]).tolist() == [False, True, False]
    twins = tracks() | {"copy": tracks()["kick"]}
    levels = fit_console_levels(twins["kick"] + twins["voice"], twins, RATE)
    assert np.isnan(levels.gain_db["kick"]).all()
    assert np.isnan(levels.gain_db["copy"]).all()
    np.testing.assert_allclose(levels.gain_db["voice"], 0, atol=1e-3)


@pytest.mark.parametrize("seconds", [1.0, 10.0, 14.0, 15.0])
def test_every_moment_belongs_to_a_window(seconds):
    dry = {name: track[:, : round(seconds * RATE)] for name, track in tracks().items()}
    levels = fit_console_levels(dry["kick"] + dry["voice"], dry, RATE)
    assert levels.start_s.tolist() == ([0.0, 10.0] if seconds == 15.0 else [0.0])
    np.testing.assert_allclose(levels.gain_db["kick"], 0, atol=1e-3)


@pytest.mark.parametrize(
    ("mixture", "dry", "message"),
    [
        (np.zeros((2, RATE), np.float32), {}, "at least one dry track"),
        (np.ones((2, RATE), np.float32), {"kick": np.ones((2, 5), np.float32)}, r"track 'kick' as \[1 or 2, 22050\].*got \(2, 5\)"),
        (np.zeros((2, RATE), np.float32), {"kick": np.ones((2, RATE), np.float32)}, "expected an audible mixture"),
        (np.zeros((5, RATE), np.float32), {"kick": np.ones((1, RATE), np.float32)}, r"mixture \[1 or 2, T\]"),
        (np.ones((1, RATE), np.float32), {"kick": np.full((1, RATE), np.nan, np.float32)}, "NaN"),
    ],
)
def test_what_cannot_be_fitted_is_refused(mixture, dry, message):
    with pytest.raises(ValueError, match=message):
        fit_console_levels(mixture, dry, RATE)
