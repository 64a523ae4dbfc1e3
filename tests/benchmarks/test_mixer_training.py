"""Judging mixers by songs: errors of levels, their ratios with intervals, and that a mixer learns levels that can be heard."""

import numpy as np
import pytest
import torch
from label_error import Disturbance
from mixer_training import Material, label_loss, ratio_of, rms, song_errors, train_on_labels

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


def test_disturbed_labels_are_off_by_what_was_said_alike_in_all_excerpts_of_a_song(material):
    changed = Disturbance(random_lu=2.0).apply(material, 0).truth.numpy() - material.truth.numpy()
    np.testing.assert_allclose(changed[::2], changed[1::2], atol=1e-5)
    assert np.std(changed) == pytest.approx(2.0, rel=0.15)
    biased = Disturbance(bias=0.5).apply(material, 0).truth.numpy()
    loudest = material.truth.numpy().max(1, keepdims=True)
    np.testing.assert_allclose(biased, (material.truth.numpy() + loudest) / 2.0, atol=1e-5)
