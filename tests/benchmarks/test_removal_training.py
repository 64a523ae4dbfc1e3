"""Removers and the detector of effects learn from a few pairs that our effects made, and the callable of both keeps a sound's shape."""

import numpy as np
import pytest
import torch
import train_removal
import trained_remover
from effect_detector import EFFECTS, EffectDetector, average_precision, heard
from removal_networks import (
    HOP,
    RATE,
    CurveInverter,
    EchoFilter,
    GainRider,
    frame_sums,
    levels,
    si_sdr,
    si_sdr_of_gain,
)
from removal_training import step_of

from stemwright.datagen.effects import apply_chain

SECONDS = 1.4
SETTINGS = {
    "compressor": lambda rng: {"threshold_db": rng.uniform(-36.0, -24.0), "ratio": 4.0, "attack_ms": 5.0, "release_ms": 80.0},
    "distortion": lambda rng: {"drive_db": rng.uniform(8.0, 25.0)},
    "reverb": lambda rng: {"room_size": rng.uniform(0.3, 0.8), "wet": rng.uniform(0.2, 0.6), "dry": 1.0},
}


def dry_sounds(count: int, seed: int) -> torch.Tensor:
    """Notes of noise and tones that decay, [count, T]."""
    rng, sounds = np.random.default_rng(seed), []
    time = np.arange(round(SECONDS * RATE)) / RATE
    for _ in range(count):
        sound = 0.001 * rng.standard_normal(time.size)
        for onset in np.sort(rng.uniform(0.0, SECONDS, 6)):
            after = np.maximum(time - onset, 0.0)
            tone = np.sin(2.0 * np.pi * rng.uniform(80.0, 900.0) * time) + 0.3 * rng.standard_normal(time.size)
            sound += rng.uniform(0.1, 1.0) * (time >= onset) * np.exp(-after / rng.uniform(0.03, 0.3)) * tone
        sounds.append(0.1 * sound / np.sqrt(np.mean(sound**2)))
    return torch.from_numpy(np.array(sounds, np.float32))


def pairs(effect: str, count: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Wet and dry [count, T]."""
    dry, rng = dry_sounds(count, seed), np.random.default_rng([seed, 1])
    return torch.stack([apply_chain(each[None], RATE, [(effect, SETTINGS[effect](rng))])[0] for each in dry]), dry


def read(effect: str, wet: torch.Tensor, dry: torch.Tensor) -> dict[str, torch.Tensor]:
    """What training needs of pairs, as ``train_removal`` reads it from a data set."""
    rng = np.random.default_rng(0)
    found = [train_removal.read_of(effect, wet[i : i + 1], dry[i : i + 1], rng) for i in range(len(wet))]
    return {"first": torch.stack([each[0] for each in found]), "second": torch.stack([each[1] for each in found])}


@pytest.fixture(scope="module")
def remover():
    """Each network, trained on a few pairs."""
    torch.manual_seed(0)
    networks = {}
    for effect in SETTINGS:
        seen = read(effect, *pairs(effect, 24, 1))
        if effect == "compressor":
            network = GainRider(12, 6)
            optimiser = torch.optim.AdamW(network.parameters(), 3e-3)
            for _ in range(60):
                step_of(network, optimiser, seen["first"], seen["second"])
            networks[effect] = network.eval()
        elif effect == "reverb":
            networks[effect] = EchoFilter(6).fitted(seen["first"], seen["second"]).eval()
        else:
            networks[effect] = train_removal.train_inverter(seen, 200)
    return networks


@pytest.mark.parametrize(("effect", "least_db"), [("compressor", 0.5), ("distortion", 5.0), ("reverb", 1.0)])
def test_a_remover_makes_sounds_better_that_it_did_not_see(remover, effect, least_db):
    wet, dry = pairs(effect, 8, 2)
    with torch.inference_mode():
        better = si_sdr(remover[effect](wet), dry) - si_sdr(wet, dry)
    assert better.mean() > least_db


@pytest.mark.parametrize("kind", [GainRider, EchoFilter])
def test_before_training_a_remover_does_nothing(kind):
    wet = dry_sounds(2, 3)
    torch.testing.assert_close(kind()(wet), wet, atol=1e-4, rtol=0)


def test_si_sdr_from_sums_of_frames_is_that_of_the_sound_with_the_gain():
    wet, dry = pairs("compressor", 3, 4)
    gain = torch.rand(3, levels(wet).shape[-1]) + 0.5
    held = gain.repeat_interleave(HOP, -1)[:, : wet.shape[-1]]
    torch.testing.assert_close(si_sdr_of_gain(gain, frame_sums(wet, dry)), si_sdr(wet * held, dry), atol=0.01, rtol=0)


def test_the_right_reach_undoes_the_curve_exactly():
    dry = dry_sounds(1, 5)
    wet, reach = torch.tanh(6.0 * dry), 6.0 * dry.abs().max()
    network = CurveInverter()
    torch.nn.init.constant_(network.head[-1].bias, float(torch.log(torch.expm1(reach))))
    assert si_sdr(network(wet), dry) > 60.0


def test_average_precision_is_one_for_a_perfect_order_and_the_share_for_a_constant():
    on = np.array([1, 0, 1, 0, 0])
    assert average_precision(np.array([5.0, 1.0, 4.0, 2.0, 3.0]), on) == 1.0
    assert average_precision(np.array([1.0, 2.0, 3.0]), np.array([1, 0, 0])) == pytest.approx(1.0 / 3.0)
    assert np.isnan(average_precision(np.array([1.0, 2.0]), np.zeros(2)))


def test_the_detector_hears_distortion_in_sounds_that_it_did_not_see():
    torch.manual_seed(0)
    (wet, dry), (other_wet, other_dry) = (pairs("distortion", 16, seed) for seed in (6, 7))
    features, on = torch.cat([heard(wet), heard(dry)]), torch.zeros(32, len(EFFECTS))
    on[:16, EFFECTS.index("distortion")] = 1.0
    detector = EffectDetector(features.shape[1]).fitted(features, on, 100)
    with torch.inference_mode():
        answers = detector(torch.cat([heard(other_wet), heard(other_dry)]))[:, EFFECTS.index("distortion")]
    assert ((answers > 0.0) == (torch.arange(32) < 16)).float().mean() > 0.85


def test_what_is_heard_does_not_depend_on_the_level():
    sound = dry_sounds(2, 8)
    torch.testing.assert_close(heard(0.3 * sound), heard(sound), atol=0.05, rtol=0.01)


def test_the_callable_keeps_shape_and_loudness_and_leaves_silence(remover, tmp_path, monkeypatch):
    detector = EffectDetector(heard(dry_sounds(1, 1)).shape[1])
    torch.nn.init.constant_(detector.layers[-1].bias, 5.0)  # hears everything
    state = {"distortion": remover["distortion"], "compressor": GainRider(), "reverb": EchoFilter(), "detector": detector}
    torch.save({name: network.state_dict() for name, network in state.items()}, tmp_path / "remover.pt")
    monkeypatch.setenv(trained_remover.WEIGHTS, str(tmp_path / "remover.pt"))
    wet = np.stack([pairs("distortion", 1, 9)[0][0].numpy(), np.zeros(round(SECONDS * RATE), np.float32)])[:, :60_001]
    for rate in (RATE, 44_100):
        answer = trained_remover.remove(wet, rate)
        assert answer.shape == wet.shape
        assert answer.dtype == wet.dtype
        assert not answer[1].any()
        assert np.abs(answer[0]).max() > np.abs(wet[0]).max()  # peaks are back


def test_weights_that_are_missing_are_named(monkeypatch):
    monkeypatch.setenv(trained_remover.WEIGHTS, "nowhere.pt")
    with pytest.raises(SystemExit, match=r"STEMWRIGHT_REMOVER is 'nowhere.pt'; expected the file remover.pt"):
        trained_remover.remove(np.zeros((1, 48_000), np.float32), RATE)
