"""Scores of estimates, and their means over songs."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from stemwright.datagen.evaluate.scores import at_best_gain, mean_over_songs, mr_stft_loss, sdr_db, si_sdr_db
from stemwright.manifests.sound.decoding import load


@pytest.fixture(scope="module")
def pair():
    """Two different real signals [2, T]: the stems of the excerpt that ships."""
    from stemwright.datagen import excerpts

    folder = Path(excerpts.__file__).parent
    return tuple(load(folder / f"{name}.ogg", num_frames=60_000)[0] for name in ("guitar", "backing"))


def noisy(reference, level_db):
    """The reference with noise that is orthogonal to each channel, ``level_db`` below it."""
    noise = np.random.default_rng(0).standard_normal(reference.shape)
    noise -= noise.mean(-1, keepdims=True)
    centred = reference - reference.mean(-1, keepdims=True)
    noise -= centred * (noise * centred).sum(-1, keepdims=True) / (centred**2).sum(-1, keepdims=True)
    scale = np.sqrt((centred**2).sum(-1, keepdims=True) / (noise**2).sum(-1, keepdims=True)) * 10 ** (-level_db / 20)
    return reference + scale * noise


@pytest.mark.parametrize("level_db", [-6.0, 0.0, 15.57, 60.0])
def test_si_sdr_is_the_level_of_orthogonal_noise_at_any_gain_and_offset(pair, level_db):
    estimate = noisy(pair[0], level_db)
    assert si_sdr_db(estimate, pair[0]) == pytest.approx(level_db, abs=1e-4)
    assert si_sdr_db(-0.3 * estimate + 0.1, pair[0]) == pytest.approx(level_db, abs=1e-3)


def test_sdr_counts_a_gain_and_si_sdr_does_not(pair):
    assert sdr_db(0.5 * pair[0], pair[0]) == pytest.approx(20 * math.log10(2.0), abs=1e-3)
    assert si_sdr_db(0.5 * pair[0], pair[0]) > 60.0


def test_the_values_are_those_of_auraloss(pair):
    freq, time = pytest.importorskip("auraloss.freq"), pytest.importorskip("auraloss.time")
    for estimate, reference in (pair, (pair[0] + 0.3 * pair[1], pair[0])):
        one, other = (torch.from_numpy(each)[None] for each in (estimate, reference))
        assert si_sdr_db(estimate, reference) == pytest.approx(-float(time.SISDRLoss()(one, other)), abs=1e-3)
        expected = -float(time.SISDRLoss(zero_mean=False)(one, other))
        assert si_sdr_db(estimate, reference, zero_mean=False) == pytest.approx(expected, abs=1e-3)
        each = [float(freq.MultiResolutionSTFTLoss()(one[:, [channel]], other[:, [channel]])) for channel in (0, 1)]
        assert mr_stft_loss(estimate, reference) == pytest.approx(np.mean(each), rel=1e-4)


def test_an_exact_estimate_has_a_high_finite_score_and_no_loss(pair):
    assert 60.0 < si_sdr_db(pair[0], pair[0]) < 200.0
    assert 60.0 < sdr_db(pair[0], pair[0]) < 200.0
    assert mr_stft_loss(pair[0], pair[0]) == 0.0


def test_nothing_is_said_against_silence_and_a_silent_channel_does_not_count(pair):
    silence = np.zeros_like(pair[0])
    for score in (sdr_db, si_sdr_db, mr_stft_loss):
        assert math.isnan(score(pair[0], silence))
        half = np.stack([pair[0][0], silence[0]])
        estimate = noisy(pair[0], 10.0)
        assert score(estimate, half) == pytest.approx(score(estimate[:1], half[:1]))


def test_silence_is_a_bad_estimate_and_no_error(pair):
    assert si_sdr_db(np.zeros_like(pair[0]), pair[0]) < -60.0
    assert sdr_db(np.zeros_like(pair[0]), pair[0]) == pytest.approx(0.0, abs=1e-6)


def test_the_best_gain_leaves_the_error_orthogonal_to_the_estimate(pair):
    estimate = noisy(pair[0], 6.0)
    scaled = at_best_gain(estimate, pair[0])
    assert abs(float(((pair[0] - scaled) * scaled).sum())) < 1e-6 * float((scaled**2).sum())
    np.testing.assert_allclose(at_best_gain(7.0 * estimate, pair[0]), scaled, rtol=1e-9)
    assert not at_best_gain(np.zeros_like(estimate), pair[0]).any()


def test_other_shapes_are_refused(pair):
    with pytest.raises(ValueError, match=r"one shape \[channels, time\]; got \[2, 60000\] and \[1, 60000\]"):
        si_sdr_db(pair[0], pair[1][:1])
    with pytest.raises(ValueError, match=r"one song for each value; got 1 songs and values of the shape \[2\]"):
        mean_over_songs([1.0, 2.0], ["a"])


def test_the_interval_is_that_of_songs_not_of_their_excerpts():
    rng = np.random.default_rng(1)
    levels = rng.standard_normal(12)
    songs = [song for song in range(12) for _ in range(50)]
    found = mean_over_songs([levels[song] + 0.01 * rng.standard_normal() for song in songs], songs)
    expected = 2 * 2.201 * levels.std(ddof=1) / math.sqrt(12)  # Student's interval of a mean of twelve
    assert found.high - found.low == pytest.approx(expected, rel=0.15)
    assert (found.count, found.songs) == (600, 12)


def test_the_interval_covers_the_mean_of_the_population_about_as_often_as_it_states():
    rng = np.random.default_rng(2)
    held = 0
    for _ in range(100):
        found = mean_over_songs(rng.standard_normal(25), range(25))
        held += found.low <= 0.0 <= found.high
    assert 85 <= held <= 99


def test_the_interval_of_a_few_songs_is_that_of_students_distribution_and_wider_than_a_plain_bootstrap():
    from scipy.stats import bootstrap

    rng = np.random.default_rng(5)
    ours, plain, exact, held = [], [], [], 0
    for _ in range(60):
        values = rng.standard_normal(6)
        found = mean_over_songs(values, range(6))
        held += found.low <= 0.0 <= found.high
        ours.append(found.high - found.low)
        other = bootstrap((values,), np.mean, method="percentile", n_resamples=1000, rng=0).confidence_interval
        plain.append(other.high - other.low)
        exact.append(2 * 2.571 * values.std(ddof=1) / math.sqrt(6))
    assert np.mean(plain) < 0.75 * np.mean(exact)
    assert 0.9 * np.mean(exact) < np.mean(ours) < 1.05 * np.mean(exact)
    assert held >= 53


def test_another_statistic_is_taken_of_every_draw():
    found = mean_over_songs([0.0, 1.0, 2.0, 3.0, 4.0, 100.0, 101.0], "abcdefg", np.median)
    assert found.value == 3.0
    assert found.low in range(4)
    assert found.high in (3.0, 4.0, 100.0, 101.0)


def test_the_mean_has_the_interval_of_any_statistic_that_is_a_mean():
    rng = np.random.default_rng(3)
    values, songs = rng.standard_normal(40), [number // 3 for number in range(40)]
    found, same = (mean_over_songs(values, songs, statistic) for statistic in (np.mean, lambda drawn: drawn.sum() / drawn.size))
    assert (found.low, found.high) == pytest.approx((same.low, same.high))


def test_missing_values_are_left_out_and_few_songs_have_no_interval():
    found = mean_over_songs([1.0, math.nan, 3.0], ["a", "a", "b"])
    assert (found.value, found.low, found.high, found.count, found.songs) == (2.0, None, None, 2, 2)
    for songs in range(1, 8):
        few = mean_over_songs(np.arange(3.0 * songs), [number // 3 for number in range(3 * songs)])
        assert (few.low is None, few.high is None, few.songs) == (songs < 6, songs < 6, songs)
    assert mean_over_songs([math.nan], ["a"]).count == 0
    assert math.isnan(mean_over_songs([], []).value)
