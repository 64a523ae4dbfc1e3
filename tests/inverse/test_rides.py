"""Gain rides of stems are found over a whole song, after what their chains do."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from stemwright.datagen.inverse.confidence import DETERMINED
from stemwright.datagen.inverse.console import Console, fit_console

RATE, STEP_S = 22_050, 2.0
TRUE_DB = {"drums": [-3.0, 4.0, 1.0, -5.0, 0.0], "vocals": [2.0, -4.0, -4.0, 5.0, -2.0]}
FADER_DB = {"drums": -4.0, "vocals": 1.0}

Stems = dict[str, np.ndarray]


@pytest.fixture(scope="module")
def stems() -> Stems:
    """Noise of another colour each; the vocals pause for longer than from one point to the next but one."""
    rng, frames = np.random.default_rng(5), round(8.0 * RATE)
    drums, vocals = rng.normal(0.0, 0.1, (2, 2, frames))
    vocals = np.cumsum(vocals, 1) * 0.02
    vocals -= np.linspace(vocals[:, 0], vocals[:, -1], frames).T
    vocals[:, : round(2.2 * RATE)] = 0.0
    return {"drums": drums, "vocals": vocals}


def ridden(name: str, audio: np.ndarray) -> np.ndarray:
    """With a gain in dB that is read off a line between points, by numpy."""
    time_s = np.arange(audio.shape[1]) / RATE
    gain_db = FADER_DB[name] + np.interp(time_s, STEP_S * np.arange(len(TRUE_DB[name])), TRUE_DB[name])
    return np.asarray(audio * 10.0 ** (gain_db / 20.0))


@pytest.fixture(scope="module")
def console(stems: Stems) -> Console:
    mixture = sum(ridden(name, audio) for name, audio in stems.items())
    return fit_console(mixture, stems, RATE, ["fader"], ride_s=STEP_S)


def found_db(console: Console, name: str) -> np.ndarray:
    chain: dict[str, Any] = dict(console.chains[name])
    points = [getattr(chain["envelope"], f"gain_{number:02}_db") for number in range(1, len(TRUE_DB[name]) + 1)]
    return np.array(points) + chain["fader"].gain_db


@pytest.mark.parametrize(("name", "first"), [("drums", 0), ("vocals", 2)])
def test_rides_are_found_where_a_stem_sounds(name: str, first: int, console: Console) -> None:
    np.testing.assert_allclose(found_db(console, name)[first:], np.array(TRUE_DB[name])[first:] + FADER_DB[name], atol=0.1)


def test_a_point_where_the_stem_is_silent_is_not_determined(console: Console) -> None:
    sure = console.chains["vocals"].confidence
    assert sure["envelope.gain_01_db"] == 0.0
    assert min(sure[f"envelope.gain_{number:02}_db"] for number in (3, 4, 5)) > DETERMINED
    assert "envelope.gain_07_db" not in sure  # beyond the end
    row = next(row for row in console.rows() if row["stem"] == "vocals" and row["setting"] == "gain_01_db")
    assert not row["determined"]


def test_the_mix_with_rides_is_that_of_the_song(console: Console, stems: Stems) -> None:
    mixture = torch.from_numpy(sum(ridden(name, audio) for name, audio in stems.items()))
    left = (console.mix(stems, RATE) - mixture).square().sum() / mixture.square().sum()
    assert 10.0 * float(left.log10()) == pytest.approx(console.error_db, abs=0.01)
    assert console.error_db < console.gain_and_pan_error_db - 30.0


def test_stems_without_rides_get_none(stems: Stems) -> None:
    mixture = sum(0.5 * audio for audio in stems.values())
    found = fit_console(mixture, stems, RATE, ["fader"], ride_s=STEP_S)
    assert [[name for name, _ in chain] for chain in found.chains.values()] == [["fader"], ["fader"]]


@pytest.mark.parametrize(
    ("options", "message"), [({"ride_s": 0.1}, "from 0.258 to 60 s for 8 s"), ({"ride_s": 2.0, "bus": ["eq"]}, "mix bus")]
)
def test_a_ride_that_cannot_be_found_is_refused(options: dict[str, Any], message: str, stems: Stems) -> None:
    with pytest.raises(ValueError, match=message):
        fit_console(stems["drums"], stems, RATE, ["fader"], **options)
