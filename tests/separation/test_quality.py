"""Whether stems can be used: the measures against their definitions, and a reason for every refusal."""

from __future__ import annotations

import numpy as np
import pytest

from stemwright.separation.quality import Limits, Tally, assess

NAMES = ("drums", "bass", "other")


@pytest.fixture
def stems(rng_for_quality):
    return (0.1 * rng_for_quality.standard_normal((3, 2, 9000))).astype(np.float32)


@pytest.fixture
def rng_for_quality():
    return np.random.default_rng(5)


def tally_of(mixture, stems, block=1000):
    tally = Tally(NAMES[: len(stems)])
    for start in range(0, mixture.shape[1], block):
        tally.add(mixture[:, start : start + block], stems[..., start : start + block])
    return tally


def test_stems_that_sum_exactly_have_no_closure(stems):
    tally = tally_of(stems.sum(axis=0), stems)
    assert tally.closure_db is None
    assert assess(tally.figures).accepted


def test_closure_is_energy_of_what_is_left_over_energy_of_the_mixture(stems):
    mixture = stems.sum(axis=0)
    left = stems[2]
    expected = 10 * np.log10(np.sum(left.astype(float) ** 2) / np.sum(mixture.astype(float) ** 2))
    assert tally_of(mixture, stems[:2]).closure_db == pytest.approx(expected, abs=1e-3)


def test_measures_do_not_depend_on_the_blocks(stems):
    mixture = stems[:2].sum(axis=0)
    one, many = tally_of(mixture, stems, block=9000), tally_of(mixture, stems, block=7)
    assert one.closure_db == many.closure_db
    assert one.peak == many.peak
    assert one.bleed()[0] == pytest.approx(many.bleed()[0], rel=1e-9)


def test_bleed_is_the_correlation_that_was_mixed_in(stems):
    bled = stems.copy()
    bled[1] = 0.6 * stems[0] + 0.8 * stems[1]
    value, one, other = tally_of(bled.sum(axis=0), bled).bleed()
    assert value == pytest.approx(0.6, abs=0.03)
    assert {one, other} == {"drums", "bass"}


def test_a_silent_mixture_is_refused():
    silence = np.zeros((2, 5000), np.float32)
    assert assess(tally_of(silence, np.zeros((3, 2, 5000), np.float32)).figures).reason == "the mixture is silent"


def test_silent_stems_of_a_sounding_mixture_are_refused(stems):
    assert "every stem is silent" in assess(tally_of(stems[0], np.zeros_like(stems)).figures).reason


def test_stems_of_another_song_are_refused(stems, rng_for_quality):
    other_song = (0.15 * rng_for_quality.standard_normal((2, 9000))).astype(np.float32)
    assert "Are they stems of this mixture" in assess(tally_of(other_song, stems).figures).reason


def test_one_file_given_twice_is_refused(stems):
    stems[1] = stems[0]
    assert "drums and bass are the same signal" in assess(tally_of(stems.sum(axis=0), stems).figures).reason


def test_a_square_wave_is_refused_as_clipped(stems):
    clipped = np.sign(np.sin(np.arange(9000) / 50))[None].repeat(2, axis=0).astype(np.float32)
    stems[0] = clipped - stems[1:].sum(axis=0)
    assert "are clipped" in assess(tally_of(clipped, stems).figures).reason


def test_limits_are_used(stems):
    mixture = stems.sum(axis=0)
    assert assess(tally_of(mixture, stems[:2]).figures).accepted
    assert not assess(tally_of(mixture, stems[:2]).figures, Limits(closure_db=-10.0)).accepted


def test_samples_that_are_not_finite_are_an_error(stems):
    stems[1, 0, 17] = np.nan
    with pytest.raises(ValueError, match="NaN or infinite"):
        tally_of(stems[:1].sum(axis=0), stems)
