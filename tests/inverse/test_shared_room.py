"""A reverb that stems share is found with the gains of each stem into it, and kept as a response."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from scipy.signal import fftconvolve

from stemwright.datagen.cli.fitting import lines
from stemwright.datagen.effects import EFFECTS, apply_chain
from stemwright.datagen.effects.room import apply as in_room
from stemwright.datagen.inverse.console import Console, fit_console
from stemwright.datagen.inverse.console.reverberation import most_likely_room, reverberation
from stemwright.datagen.inverse.console.shared_room import shared_room

RATE = 44_100
FADERS = {"drums": {"gain_db": -4.0, "pan": 0.3}, "vocals": {"gain_db": 2.0, "pan": -0.5}}
SENDS_DB = {"drums": -18.0, "vocals": -10.0}
ROOM = EFFECTS["room"].Settings(rt60_s=0.6, pre_delay_ms=15.0, damping=0.5, wet_db=0.0, seed=11.0)

Stems = dict[str, torch.Tensor]


@pytest.fixture(scope="module")
def stems(synthetic_song: dict[str, np.ndarray]) -> Stems:
    return {name: torch.from_numpy(synthetic_song[name][:, : 4 * RATE].copy()).double() for name in FADERS}


def sent(stems: Stems) -> torch.Tensor:
    """What the room adds."""
    fed = torch.stack([10.0 ** (SENDS_DB[name] / 20.0) * audio for name, audio in stems.items()]).sum(0)
    return in_room(fed, RATE, ROOM) - fed


@pytest.fixture(scope="module")
def mixture(stems: Stems) -> torch.Tensor:
    wet = {name: apply_chain(audio, RATE, [("fader", FADERS[name])]) for name, audio in stems.items()}
    return torch.stack(list(wet.values())).sum(0) + sent(wet)


@pytest.fixture(scope="module")
def console(stems: Stems, mixture: torch.Tensor) -> Console:
    return fit_console(mixture, stems, RATE, ["fader"], send="room")


@pytest.mark.slow
def test_faders_sends_and_decay_are_found(console: Console) -> None:
    assert console.send is not None
    assert console.send.settings.rt60_s == pytest.approx(0.6, rel=0.2)
    assert console.send.settings.pre_delay_ms == pytest.approx(15.0, abs=1.5)
    for name, chain in console.chains.items():
        fader: Any = dict(chain)["fader"]
        assert fader.gain_db == pytest.approx(FADERS[name]["gain_db"], abs=0.2)
        assert console.send.gains_db[name] == pytest.approx(SENDS_DB[name], abs=2.0)


@pytest.mark.slow
def test_the_mix_with_the_response_is_far_closer_than_gains_and_pans(console: Console, stems: Stems, mixture: torch.Tensor) -> None:
    assert console.loss < 0.4 * console.gain_and_pan_loss
    left = (console.mix(stems, RATE) - mixture).square().sum() / mixture.square().sum()
    assert 10.0 * float(left.log10()) == pytest.approx(console.error_db, abs=0.01)
    assert console.error_db < console.gain_and_pan_error_db - 8.0


@pytest.mark.slow
def test_a_room_without_its_response_has_the_same_level(console: Console, stems: Stems) -> None:
    assert console.send is not None
    wet = console.wet(stems, RATE)
    powers = [float(room.returned(wet, RATE).square().sum()) for room in (console.send, console.send.settings_alone())]
    assert 10.0 * np.log10(powers[0] / powers[1]) == pytest.approx(0.0, abs=2.0)


@pytest.mark.slow
def test_rows_name_the_send_of_each_stem_and_the_room(console: Console) -> None:
    rows = {(row["stem"], row["effect"], row["setting"]): row for row in console.rows()}
    assert rows["vocals", "send", "gain_db"]["unit"] == "dB"
    assert rows["shared room", "room", "rt60_s"]["value"] == console.send.settings.rt60_s  # type: ignore[union-attr]
    assert 0.0 <= rows["shared room", "room", "rt60_s"]["confidence"] <= 1.0


def test_the_response_of_noise_bursts_is_found_with_the_ratio_of_their_gains() -> None:
    rate, rng = 8000, np.random.default_rng(2)
    bursts = np.exp(-(np.arange(4 * rate) % (rate // 2)) / 200.0)
    wet = [torch.from_numpy(0.1 * rng.standard_normal((1, 4 * rate)) * np.roll(bursts, 900 * number)) for number in range(2)]
    fed = 0.2 * wet[0] + 0.5 * wet[1]
    room = EFFECTS["room"].Settings(rt60_s=0.4, wet_db=0.0, damping=0.5, seed=3.0)
    left = in_room(fed, rate, room) - fed
    found = reverberation(left, wet, rate, np.ones(1))
    assert found.left < 0.02
    assert found.gains[1] / found.gains[0] == pytest.approx(2.5, rel=0.15)
    assert float((found.returned(wet) - left).square().sum() / left.square().sum()) == pytest.approx(found.left, rel=0.05)


@pytest.mark.parametrize("rt60_s", [0.5, 1.2])
@pytest.mark.parametrize("wrong_db", [1.0, -2.0])
def test_the_decay_is_found_beside_errors_of_the_direct_sounds(rt60_s: float, wrong_db: float) -> None:
    rate, rng = 16_000, np.random.default_rng(4)
    swells = np.exp(-(np.arange(6 * rate) % (rate // 2)) / 500.0)
    wet = [torch.from_numpy(0.1 * rng.standard_normal((2, 6 * rate)) * np.roll(swells, 2900 * number)) for number in range(2)]
    time_s = np.arange(round(1.2 * rt60_s * rate)) / rate
    tail = rng.standard_normal((2, len(time_s))) * 10.0 ** (-3.0 * time_s / rt60_s)  # another noise than the effect's, undamped
    tail *= 0.2 / np.sqrt((tail**2).sum(1, keepdims=True))
    left = torch.from_numpy(
        np.stack([fftconvolve(own, other)[: 6 * rate] for own, other in zip((wet[0] + wet[1]).numpy(), tail, strict=True)])
    )
    left = left + (10.0 ** (wrong_db / 20.0) - 1.0) * wet[0]  # a fader that is off
    found = most_likely_room(left, wet, np.ones(2), rate)
    assert found.rt60_s / (1.0 + found.damping * 0.25) == pytest.approx(rt60_s, rel=0.15)  # at 1 kHz


def test_where_no_stem_is_sent_to_a_room_nothing_of_it_is_determined() -> None:
    rng = np.random.default_rng(3)
    wet = {name: torch.from_numpy(0.1 * rng.standard_normal((1, 8000))) for name in ("vocals", "bass")}
    found = shared_room(torch.stack(list(wet.values())).sum(0), wet, 8000, np.ones(1))
    assert not found.is_found
    assert {row["confidence"] for row in found.rows()} == {0.0}
    console = Console({}, -300.0, -300.0, send=found)
    assert not any(row["determined"] for row in console.rows())
    assert any(line.startswith("no shared room was found") for line in lines(console, 8000))


@pytest.mark.parametrize(
    ("console", "options", "message"),
    [
        (["fader"], {"send": "hall"}, "expected send room or reverb, or none"),
        (["fader"], {"send": "room", "bus": ["eq"]}, "mix bus"),
        (
            {"drums": ["fader"], "vocals": ["room", "fader"]},
            {"send": "room"},
            "a room of its own for vocals cannot be determined: .* Leave out the send, or the room of vocals, whose gain into",
        ),
    ],
)
def test_a_send_that_cannot_be_found_is_refused(
    console: Any, options: dict[str, Any], message: str, stems: Stems, mixture: torch.Tensor
) -> None:
    with pytest.raises(ValueError, match=message):
        fit_console(mixture, stems, RATE, console, **options)
