"""Intervals and confidences by the errors of songs left out."""

import math
from dataclasses import replace

import numpy as np
import pytest

from stemwright.datagen.inverse.blind.compression import calibrated
from stemwright.datagen.inverse.blind.conformal import song_scores
from stemwright.datagen.inverse.blind.regression import LeftOut, fit_regression, trust_of

TRIALS = 7


def songs(rng, count, trials=TRIALS):
    """Errors of trials of songs: some songs are harder than others, and nothing says which."""
    size = np.exp(0.7 * rng.standard_normal(count))
    return (size[:, None] * rng.standard_normal((count, trials))).ravel(), np.repeat(np.arange(count), trials)


@pytest.mark.parametrize("count", [3, 4, 6, 12, 40])
def test_the_interval_of_songs_left_out_holds_the_error_of_the_next_song(count):
    rng, inside = np.random.default_rng(count), []
    for _ in range(200):
        errors, numbers = songs(rng, count)
        further, _ = songs(rng, 1)
        inside += list(np.abs(further) <= song_scores(errors, np.ones(len(errors)), numbers).factor())
    assert 0.75 <= np.mean(inside) <= 0.85  # a standard error of 200 songs is 0.025


def test_the_confidence_is_the_share_of_errors_within_the_tolerance():
    rng, right, stated = np.random.default_rng(1), [], []
    for _ in range(200):
        errors, numbers = songs(rng, 8)
        further, _ = songs(rng, 1)
        right += list(np.abs(further) <= 1.0)
        stated.append(song_scores(errors, np.ones(len(errors)), numbers).probability(1.0))
    assert np.mean(stated) == pytest.approx(np.mean(right), abs=0.05)


def test_many_trials_of_one_song_weigh_no_more_than_few_of_another():
    errors, numbers = np.concatenate([np.full(100, 0.1), [3.0, 3.0, 3.0]]), np.concatenate([np.zeros(100), [1, 2, 3]]).astype(int)
    scores = song_scores(errors, np.ones(103), numbers)
    assert scores.probability(1.0) == pytest.approx(0.25)
    assert scores.factor() == 3.0


def test_two_songs_give_no_interval_and_one_whose_uncertainty_is_0_no_division_by_it():
    assert song_scores(np.ones(2), np.ones(2), np.arange(2)).factor() == math.inf
    assert song_scores(np.zeros(0), np.zeros(0), np.zeros(0, int)).factor() == math.inf
    assert song_scores(np.ones(3), np.zeros(3), np.arange(3)).factor() > 1e6


def test_the_scores_are_those_of_answers_that_would_be_given():
    """Numbers are detected where they are large, more often too large than numbers in general: the errors of the others say too little."""
    fit = fit_regression(np.arange(12.0)[:, None], np.zeros(12), np.arange(12) // 2)
    numbers, errors = np.tile([0.0, 8.0], 6), np.tile([0.1, 0.8], 6)
    known = LeftOut(np.full(12, 0.5), errors, np.arange(12) // 2, numbers, np.tile([0.0, 1.0], 6))
    trust = trust_of(replace(fit, left_out=known), 0.0, at=0.0)
    assert trust.answered.tolist() == [False, True] * 6
    assert trust.scores.factor() == pytest.approx(1.6)
    assert trust_of(replace(fit, left_out=known), 0.0, at=0.0, error_factor=1.5).scores.factor() == pytest.approx(2.4)
    few = replace(known, found=np.where(np.arange(12) < 4, numbers, 0.0))
    assert trust_of(replace(fit, left_out=few), 0.0, at=0.0).scores.songs == 6  # two songs would be answered: the scores are of all


def test_the_interval_and_the_confidence_of_an_answer_follow_the_scores():
    answer = fit_regression(np.arange(12.0)[:, None], np.zeros(12), np.arange(12) // 2).answer(8.0, 0.5)
    scores = song_scores(np.full(6, 1.0), np.full(6, 0.5), np.arange(6))
    assert answer.interval(scores) == pytest.approx((3.0, 15.0))  # z is 2 ± 2 · 0.5
    assert (answer.confidence(5.9, scores), answer.confidence(6.1, scores)) == (0.0, 6 / 7)  # dy/dz is 6
    assert answer.interval(song_scores(np.ones(2), np.ones(2), np.arange(2))) == (-math.inf, math.inf)


def test_the_calibration_of_confidences_rises_and_has_no_effect_without_scores():
    given = np.linspace(0.01, 1.0, 100)
    found = np.array([calibrated(value) for value in given])
    assert (np.diff(found) >= 0.0).all()
    assert calibrated(0.0) == 0.0
    assert calibrated(0.72) == pytest.approx(0.52 + 0.26 * 0.07 / 0.15)
    assert found.max() < 0.95  # no answer is certain
