"""Judging mixers by songs: errors of levels, their ratios with intervals, and that a mixer learns levels that can be heard."""

import numpy as np
import pytest
import torch
from label_error import Disturbance
from mixer_training import Material, label_loss, mix_pairs_of, ratio_of, rms, song_errors, songs_of, train_on_labels

import stemwright as sw
from stemwright.datagen.mixing.mixer_network import BANDS, untrained


def test_errors_are_of_songs_and_blind_to_a_gain_of_the_whole():
    truth = np.array([[0.0, 2.0, np.nan], [0.0, 2.0, np.nan], [1.0, 3.0, 5.0]])
    gains = np.array([[11.0, 11.0, 40.0], [9.0, 13.0, 40.0], [1.0, 3.0, 5.0]])
    errors = song_errors(gains, truth, ["a", "a", "b"])
    np.testing.assert_allclose(errors, [[0.0, 0.0, np.nan], [0.0, 0.0, 0.0]], atol=1e-12)  # one excerpt errs by +1 -1, the other by -1 +1


def test_a_ratio_has_the_interval_of_songs_drawn_for_both_at_once():
    theirs = np.random.default_rng(0).standard_normal((12, 4))
    found = ratio_of(0.5 * theirs, theirs)
    assert (found.value, found.low, found.high) == (pytest.approx(0.5), pytest.approx(0.5), pytest.approx(0.5))
    assert found.songs == 12


@pytest.fixture(scope="module")
def material():
    """Songs of three tracks with a level that falls by the octave of their centre: 40 songs, two excerpts each."""
    rng = np.random.default_rng(1)
    heard, truth = [], []
    for _ in range(40):
        places = rng.uniform(8, 40, 3)
        bands = -4.0 + 4.0 * np.exp(-(((np.arange(BANDS)[None] - places[:, None]) / 4.0) ** 2))
        heard += [bands[..., None] + 0.1 * rng.standard_normal((3, BANDS, 40)) for _ in range(2)]
        truth += [-(places - 24.0) / 4.0] * 2
    songs = [str(number // 2) for number in range(80)]
    return Material(torch.from_numpy(np.stack(heard)).float(), torch.from_numpy(np.stack(truth)).float(), songs)


def test_training_on_labels_finds_levels_that_can_be_heard(material):
    network = train_on_labels(untrained(torch.zeros(3), 22_050), material, 60, report=False)
    with torch.inference_mode():
        gains, pans = network.decide(material.heard)
        start = label_loss(torch.zeros(80, 3), pans, material.truth)
    errors = song_errors(gains.numpy(), material.truth.numpy(), material.songs)
    assert rms(errors) < 0.5 * float(start) ** 0.5


def test_a_stem_without_a_label_changes_no_gradient_of_the_others():
    gains, pans = torch.tensor([[1.0, 5.0, -2.0], [0.0, 1.0, 4.0]], requires_grad=True), torch.zeros(2, 3)
    truth = torch.tensor([[0.0, torch.nan, 1.0], [2.0, 0.0, 1.0]])
    loss = label_loss(gains, pans, truth)
    errors = [np.array([1.0, -3.0]) + 1.0, np.array([-2.0, 1.0, 3.0]) - 2.0 / 3.0]
    assert loss.item() == pytest.approx(np.mean(np.square(np.concatenate(errors))), rel=1e-6)
    loss.backward()
    assert torch.isfinite(gains.grad).all()
    assert gains.grad[0, 1] == 0.0
    assert gains.grad[0, 0] > 0.0 > gains.grad[0, 2]


def test_training_goes_on_where_some_stems_have_no_label(material):
    truth = material.truth.clone()
    truth[::3, 1] = torch.nan
    start = untrained(torch.zeros(3), 22_050)
    before = {name: value.clone() for name, value in start.state_dict().items()}
    trained = train_on_labels(start, Material(material.heard, truth, material.songs), 12, report=False)
    assert any(not torch.equal(value, before[name]) for name, value in trained.state_dict().items() if name.startswith("encoder"))


def test_disturbed_labels_are_off_by_what_was_said_alike_in_all_excerpts_of_a_song(material):
    changed = Disturbance(random_lu=2.0).apply(material, 0).truth.numpy() - material.truth.numpy()
    np.testing.assert_allclose(changed[::2], changed[1::2], atol=1e-5)
    assert np.std(changed) == pytest.approx(2.0, rel=0.15)
    biased = Disturbance(bias=0.5).apply(material, 0).truth.numpy()
    loudest = material.truth.numpy().max(1, keepdims=True)
    np.testing.assert_allclose(biased, (material.truth.numpy() + loudest) / 2.0, atol=1e-5)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    """Mix pairs of seven songs, whose loud tone is 6 dB above the soft one in the mix; two songs are kept for tests."""
    folder, rate = tmp_path_factory.mktemp("own"), 8000
    for number in range(7):
        rng = np.random.default_rng(number)
        seconds = np.arange(4 * rate) / rate
        tones = {"low": 0.2 * np.sin(2 * np.pi * 220 * seconds), "high": 0.1 * np.sin(2 * np.pi * 1500 * seconds)}
        stems = {name: np.stack([tone, tone]) + 1e-3 * rng.standard_normal((2, 4 * rate)) for name, tone in tones.items()}
        for name, audio in {**stems, "mixture": sum(stems.values())}.items():
            sw.save(folder / "songs" / f"{number}" / f"{name}.wav", audio, rate)
    pairs = {"duration_s": 4.0, "mix": {"per_track": 2, "inputs": "levelled", "target": "sum"}, "removal": {"per_track": 0}}
    songs = {"kind": "multitracks", "shares": {"train": 0.7, "valid": 0.0, "test": 0.3}}
    return sw.build(folder / "songs", folder / "corpus", {"songs": songs, "pairs": pairs}).dataset


def test_a_console_is_trained_on_a_dataset_of_ones_own_and_judged_on_its_test_songs(dataset, capsys):
    import train_console

    train_console.main(["--dataset", str(dataset), "--label-steps", "2", "--mix-steps", "1"])
    said = capsys.readouterr().out
    pairs = mix_pairs_of(dataset)
    assert f"{len(pairs.train)} mix pairs of {len(set(songs_of(pairs.train)))} songs ({', '.join(pairs.names)})" in said
    assert "Judged on" in said
    assert set(pairs.names) == {"low", "high"}
    assert set(songs_of(pairs.train)).isdisjoint(songs_of(pairs.held_out))
    mean = next(line for line in said.splitlines() if line.startswith("| mean of each name"))
    equal = next(line for line in said.splitlines() if line.startswith("| equal loudness"))
    assert float(mean.split("|")[4]) < 0.1 < float(equal.split("|")[4])  # all songs have one balance


def test_a_dataset_without_levels_to_find_is_refused_with_what_is_needed(dataset, tmp_path):
    with pytest.raises(SystemExit, match="nowhere"):
        mix_pairs_of(tmp_path / "nowhere")
    config = {"songs": {"kind": "multitracks"}, "pairs": {"duration_s": 2.0, "mix": {"per_track": 1}, "removal": {"per_track": 0}}}
    plain = sw.build(dataset.parent.parent / "songs", tmp_path / "plain", config).dataset
    with pytest.raises(SystemExit, match=r'no gains to find.*inputs = "levelled"'):
        mix_pairs_of(plain)
