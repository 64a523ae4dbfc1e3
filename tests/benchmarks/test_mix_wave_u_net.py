"""The Mix-Wave-U-Net: its published shape, and a small one that learns from emitted pairs of drums."""

from itertools import pairwise

import drum_multitracks
import numpy as np
import pytest
import torch
import train_drums
from corpora import kept_corpus
from mix_wave_u_net import MixWaveUNet, centre

from stemwright.datagen.dataset.loader import PairDataset
from stemwright.datagen.pairs.recipes.mix import DRUM_STEMS


def test_the_published_width_has_as_many_parameters_as_its_layers():
    widths = [8, *range(24, 24 * 12, 24)]  # the microphones, then 24 channels more at each of ten levels and below them
    down = sum(15 * a * b + b for a, b in pairwise(widths))
    up = sum(5 * (widths[level] + widths[level + 1]) * widths[level] + widths[level] for level in range(1, 11))
    assert sum(each.numel() for each in MixWaveUNet().parameters()) == down + up + 2 * (24 + 8) + 2 == 6_183_450


@pytest.mark.parametrize(("width", "levels", "wanted"), [(24, 10, 88_200), (3, 4, 1000), (2, 1, 7)])
def test_so_many_frames_of_the_tracks_make_the_frames_of_the_mix_that_are_stated(width, levels, wanted):
    network = MixWaveUNet(8, width, levels)
    whole, given = network.input_frames(wanted), network.output_frames(wanted)
    assert wanted <= given < wanted + 2 ** (levels + 1)
    if width < 24:
        assert network.mixed(torch.zeros(1, 8, whole)).shape == (1, 2, given)
    else:
        assert (whole, given) == (121_843, 89_093)


def test_a_frame_of_the_mix_depends_on_the_receptive_field_and_no_more():
    torch.manual_seed(0)
    network = MixWaveUNet(2, 4, 4)
    tracks = torch.randn(1, 2, network.input_frames(64), requires_grad=True)
    reached = []
    for frame in range(16, 32):  # where a frame is between those of the lowest level decides
        (gradient,) = torch.autograd.grad(network.mixed(tracks)[0, :, frame].sum(), tracks)
        touched = torch.nonzero(gradient.abs().sum((0, 1)))[:, 0]
        reached.append(int(touched[-1] - touched[0]) + 1)
    assert 0.97 * network.receptive_field <= max(reached) <= network.receptive_field


def test_the_mix_is_as_long_as_the_tracks_and_begins_as_their_gains():
    network = MixWaveUNet(8, 2, 3).eval()
    gains = torch.rand(2, 8)
    network.begin_as(gains)
    tracks = 0.1 * torch.randn(2, 8, 777)
    torch.testing.assert_close(network(tracks), torch.einsum("cn,bnt->bct", gains, tracks))


def test_outside_training_the_mix_is_limited_to_full_scale():
    network = MixWaveUNet(8, 2, 3)
    network.begin_as(torch.ones(2, 8))
    loud = torch.ones(1, 8, 100)
    assert network.train()(loud).max() > 7.0
    assert network.eval()(loud).max() == 1.0


def test_gains_that_made_a_mix_are_fitted():
    tracks, gains = torch.randn(3, 4, 5000), torch.tensor([[0.5, 1.0, -0.2, 2.0], [0.1, 0.3, 0.7, 0.0]])
    torch.testing.assert_close(train_drums.fitted_gains(tracks, torch.einsum("cn,bnt->bct", gains, tracks)), gains, atol=1e-4, rtol=1e-4)


def test_the_interval_of_a_ratio_holds_it_and_is_below_one_where_every_song_is_better():
    losses = {str(song): [0.1 + 0.01 * song] for song in range(12)}
    better = {song: [0.8 * value] for song, (value,) in losses.items()}
    value, low, high = train_drums.ratio({"a": better, "b": losses}, "a", "b")
    assert [value, low, high] == pytest.approx([0.8, 0.8, 0.8])


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    """Emitted pairs of drums: two songs of synthetic kits, of three seconds."""
    folder = tmp_path_factory.mktemp("drums")
    for seed in (1, 2):
        kit = drum_multitracks.synthetic_kit(np.random.default_rng(seed))
        drum_multitracks.write_song(folder / f"song {seed}", kit, seed, 3.0)
    listed = folder / "songs.csv"
    listed.write_text("path,title,split\nsong 1,one,train\nsong 2,two,train\n")
    wanted = {**train_drums.PAIRS, "duration_s": 0.5, "mix": {**train_drums.PAIRS["mix"], "per_track": 4}}
    return PairDataset(kept_corpus(listed, folder / "corpus", wanted).dataset, kind="mix", split="train")


def test_the_microphones_are_in_the_order_of_the_preset_whatever_the_files_are_in(pairs):
    assert [signal.name for signal in pairs.pair(0).inputs] == list(DRUM_STEMS) == list(drum_multitracks.INPUTS)
    sounding = [signal.name for signal in pairs.pair(0).inputs if signal.branches]
    assert {"hihat", "kick", "overhead_l", "overhead_r", "snare"} <= set(sounding)


def test_a_few_steps_on_emitted_pairs_lower_the_loss_below_that_of_the_best_mean_gains(pairs):
    torch.manual_seed(0)
    network, gains = MixWaveUNet(8, 4, 3), train_drums.mean_gains(pairs)
    network.begin_as(gains)
    tracks = torch.stack([pairs[index].inputs[:, 0] for index in range(len(pairs))])[..., : network.input_frames(8000)]
    mix = torch.stack([pairs[index].targets[0] for index in range(len(pairs))])[..., : network.input_frames(8000)]
    optimiser = torch.optim.Adam(network.parameters(), 2e-3)
    losses = []
    for _ in range(40):
        answer = network.mixed(tracks)
        loss = torch.nn.functional.l1_loss(answer, centre(mix, answer.shape[-1]))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.97 * losses[0]
