"""What a room leaves between two channels."""

import numpy as np
from scipy.signal import lfilter

from stemwright.datagen.inverse.blind.diffuse_features import DECAYS_S, RATIO_QUANTILES, Diffuse, eigenvalues, ratios_and_courses
from stemwright.datagen.inverse.blind.reverberation_features import HOP, SAMPLE_RATE, levels_of

HOP_S = HOP / SAMPLE_RATE


def test_a_panned_sound_has_nothing_diffuse_and_two_unrelated_ones_are_alike():
    sound, other = np.random.default_rng(0).normal(0.0, 0.1, (2, 4 * SAMPLE_RATE)).astype(np.float32)
    panned = levels_of(np.stack([sound, 0.4 * sound])).diffuse
    assert (panned.diffuse - panned.sound).max() < -60.0
    unrelated = levels_of(np.stack([sound, other])).diffuse
    assert np.median(unrelated.diffuse[5:] - unrelated.sound[5:]) > -3.0
    assert levels_of(sound[None]).diffuse is None


def test_the_eigenvalues_are_those_of_the_covariance():
    first, second, cross = np.full((1, 9), 3.0), np.full((1, 9), 2.0), np.full((1, 9), 1.0 + 1.0j)
    expected = np.linalg.eigvalsh(np.array([[3.0, 1.0 + 1.0j], [1.0 - 1.0j, 2.0]]))
    smaller, larger = eigenvalues(first, second, cross)
    np.testing.assert_allclose([smaller[0, 4], larger[0, 4]], expected, rtol=1e-9)


def test_the_course_fits_best_with_the_decay_that_the_diffuse_sound_has():
    level = np.random.default_rng(1).uniform(-40.0, 0.0, (2, 40)).repeat(25, axis=1)
    for place in (2, 4, 6):
        kept = 10.0 ** (-6.0 * HOP_S / DECAYS_S[place])
        smeared = lfilter([0.0, 1.0 - kept], [1.0, -kept], 10.0 ** (level / 10.0), axis=1)
        found = ratios_and_courses(Diffuse(level, 10.0 * np.log10(smeared + 1e-9) - 12.0), HOP_S, 30.0)
        spreads, middles = found[len(RATIO_QUANTILES) :: 2], found[len(RATIO_QUANTILES) + 1 :: 2]
        assert spreads.argmin() == place
        np.testing.assert_allclose([spreads[place], middles[place]], [0.0, -12.0], atol=1e-6)


def test_a_sound_without_anything_diffuse_has_no_course():
    level = np.zeros((2, 100))
    assert np.isnan(ratios_and_courses(Diffuse(level, level - 70.0), HOP_S, 30.0)).all()
