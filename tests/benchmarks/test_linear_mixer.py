"""The linear mixer: it finds weights that explain the levels, and judges a strength on songs that it was not fitted on."""

import numpy as np
from linear_mixer import Examples, cross_validated, fitted
from mixer_training import centred, rms


def examples_of(weights: np.ndarray, songs: int, seed: int) -> Examples:
    rng = np.random.default_rng(seed)
    features = rng.standard_normal((songs, 4, len(weights)))
    features -= features.mean(1, keepdims=True)  # levels are relative to one another
    return Examples(features, np.ones((songs, 4), bool), centred(features @ weights + np.array([3.0, -1.0, 0.0, -2.0])))


def test_levels_that_follow_from_features_are_found() -> None:
    """But for the mean of each name, which is that of the 200 songs: their features are not 0 on average, by about a fourteenth."""
    weights = np.array([1.5, -2.0, 0.0])
    found = fitted(examples_of(weights, 200, 0), 1e-6)
    assert np.allclose(found.weights / found.spread, weights, atol=0.05)
    other = examples_of(weights, 20, 1)
    assert rms(centred(found.gains_db(other.features)) - other.truth) < 0.15 * rms(other.truth)


def test_levels_of_chance_are_not_predicted_on_songs_left_out() -> None:
    rng = np.random.default_rng(2)
    noise = Examples(rng.standard_normal((30, 4, 25)), np.ones((30, 4), bool), centred(rng.standard_normal((30, 4))))
    songs = [f"song {number // 2}" for number in range(30)]
    strength, errors = cross_validated(noise, songs, (1e-6, 1e3))
    assert strength == 1e3
    assert errors.shape == (15, 4)
    assert rms(cross_validated(noise, songs, (1e-6,))[1]) > 1.05 * rms(errors)
