"""A differentiable console of the project's own effects: order and number of tracks, gradients of every setting, and training."""

import numpy as np
import pytest
import torch
from mixer_training import at_best_gain, stft_loss

from stemwright.datagen.effects import apply_chain
from stemwright.datagen.mixing.mixer_network import MixerNetwork, untrained
from stemwright.datagen.mixing.mixing_console import NUM_CONTROLS, NUM_SHARED, SHARED, STRIP, rendered, settings_of

RATE = 16_000


@pytest.fixture(scope="module")
def tracks():
    """Four tracks [1, N, 2, T] at one level: beats, a low tone, chords to one side, a tone with breaks."""
    rng, time_s = np.random.default_rng(0), np.arange(2 * RATE) / RATE
    beats = rng.standard_normal((2, time_s.size)) * np.exp(-12.0 * (time_s % 0.5))
    low = np.tile(np.sin(2 * np.pi * 80 * time_s) + 0.3 * np.sin(2 * np.pi * 160 * time_s), (2, 1))
    chords = np.array([1.0, 0.4])[:, None] * sum(np.sin(2 * np.pi * hz * time_s) for hz in (440, 554, 659, 2217))
    voice = np.tile(np.sin(2 * np.pi * 330 * time_s + 3.0 * np.sin(2 * np.pi * 5 * time_s)) * (time_s % 0.7 < 0.5), (2, 1))
    audio = torch.from_numpy(np.stack([beats, low, chords, voice])).float()
    return (0.1 * audio / audio.square().mean((1, 2), keepdim=True).sqrt())[None]


def console(num_names: int, spread: float = 0.1) -> MixerNetwork:
    """A console that decides something else for every track."""
    torch.manual_seed(0)
    network = untrained(torch.linspace(-3.0, 3.0, num_names), RATE, NUM_CONTROLS, NUM_SHARED).eval()
    for layer, each in ((network.head[-1], spread), (network.shared, spread), (network.line[-1], 0.05 * spread)):
        torch.nn.init.normal_(layer.weight, 0.0, each)
    return network


def mixed(network, tracks, kinds=None, mask=None):
    return rendered(tracks, RATE, settings_of(network, network.banded(tracks), kinds, mask))


def test_the_order_of_the_tracks_does_not_change_the_mix(tracks):
    network, order = console(4), torch.tensor([2, 0, 3, 1])
    with torch.inference_mode():
        one, other = mixed(network, tracks)[0], mixed(network, tracks[:, order], order)[0]
    torch.testing.assert_close(one, other, atol=1e-5, rtol=0)


@pytest.mark.parametrize("number", [1, 2, 7])
def test_any_number_of_tracks_is_mixed_and_masked_ones_change_nothing(tracks, number):
    network = console(4)
    kinds = torch.arange(number) % 4
    some = tracks[:, kinds] * torch.linspace(1.0, 0.5, number)[:, None, None]
    padded, more = torch.cat([some, torch.zeros_like(tracks)], 1), torch.cat([kinds, torch.arange(4)])
    with torch.inference_mode():
        one, other = mixed(network, some, kinds)[0], mixed(network, padded, more)[0]
        masked = network.controls(network.banded(tracks.repeat(1, 2, 1, 1)), torch.arange(8)[None] < 4)[0][:, :4]
        alone = network.controls(network.banded(tracks))[0]
    torch.testing.assert_close(one, other, atol=1e-5, rtol=0)
    torch.testing.assert_close(masked, alone, atol=1e-5, rtol=0)


def test_gradients_reach_every_setting(tracks):
    network = console(4)
    settings = settings_of(network, network.banded(tracks))
    target = tracks.sum(1).roll(100, -1)
    stft_loss()(rendered(tracks, RATE, settings)[0], target).backward()
    rows, shared = network.head[-1].weight.grad.abs().sum(1), network.shared.weight.grad.abs().sum(1)
    names = ["gain_db", "pan", *(f"{control.effect}.{control.setting}" for control in STRIP), "send"]
    assert not [name for name, value in zip(names, rows, strict=True) if not value > 0.0]
    assert not [control.setting for control, value in zip(SHARED, shared, strict=True) if not value > 0.0]


def test_an_untrained_console_gives_each_name_its_mean_gain(tracks):
    network = untrained(torch.tensor([3.0, 0.0, -3.0, 6.0]), RATE, NUM_CONTROLS, NUM_SHARED)
    settings = settings_of(network, network.banded(tracks))
    assert settings.strips["fader"]["gain_db"][0].tolist() == [3.0, 0.0, -3.0, 6.0]
    assert all(not value.any() for name, value in settings.strips["eq"].items() if name.endswith("gain_db"))
    assert settings.strips["compressor"]["ratio"][0].tolist() == [2.0] * 4


def test_what_it_says_is_what_the_effects_do(tracks):
    """The mix is that of ``apply_chain`` with the settings as plain numbers, the send included."""
    network = console(4)
    with torch.inference_mode():
        settings = settings_of(network, network.banded(tracks))
        mix = rendered(tracks, RATE, settings)[0][0].numpy()
    wet = []
    for number, track in enumerate(tracks[0].numpy()):
        chain = [(name, {key: float(value[0, number]) for key, value in values.items()}) for name, values in settings.strips.items()]
        wet.append(apply_chain(track, RATE, chain))
    sent = sum(10 ** (float(gain) / 20) * audio for gain, audio in zip(settings.sends_db[0], wet, strict=True))
    room = {key: float(value[0]) for key, value in settings.room.items()} | {"wet_db": 0.0, "seed": 0.0}
    np.testing.assert_allclose(mix, sum(wet) + apply_chain(sent, RATE, [("room", room)]) - sent, atol=2e-5)


def test_training_lowers_the_loss_towards_a_mix_by_known_effects(tracks):
    truth = console(4, 0.4)
    with torch.no_grad():
        target = mixed(truth, tracks)[0]
    torch.manual_seed(1)
    network = untrained(torch.zeros(4), RATE, NUM_CONTROLS, NUM_SHARED)
    loss, heard = stft_loss(), network.banded(tracks)
    network.standardise(heard)
    optimiser = torch.optim.Adam(network.parameters(), 2e-3)
    values = []
    for _ in range(25):
        optimiser.zero_grad()
        value = loss(at_best_gain(rendered(tracks, RATE, settings_of(network, heard))[0], target), target)
        value.backward()
        optimiser.step()
        values.append(value.item())
    assert np.mean(values[-3:]) < 0.6 * values[0]
