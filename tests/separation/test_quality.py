"""Whether stems can be used: the measures against their definitions, and a reason for every refusal."""

from __future__ import annotations

import numpy as np
import pytest

import stemwright as sw
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


def tally_of_a_mixture(mixture: np.ndarray, block_frames: int = 700) -> Tally:
    tally = Tally(("all",))
    for start in range(0, mixture.shape[1], block_frames):
        block = mixture[:, start : start + block_frames].astype(np.float32)
        tally.add(block, block[None])
    return tally


def test_clipping_is_a_flat_extreme_of_any_channel_at_any_level():
    music = 0.3 * np.random.default_rng(0).standard_normal((2, 20_000))
    assert tally_of_a_mixture(8 * music).clipped_share < 0.001  # far above full scale, as floats can be
    flat = np.clip(8 * music, -1, 1)
    for gain in (1.0, 0.9, 0.1, 3.0):
        assert tally_of_a_mixture(gain * flat).clipped_share > 0.05
    assert tally_of_a_mixture(np.stack([0.1 * music[0], 0.7 * flat[1]])).clipped_share > 0.05
    assert tally_of_a_mixture(np.stack([music[0], np.minimum(music[1], 0.15)])).clipped_share > 0.05  # one side only
    assert tally_of_a_mixture(np.zeros((2, 1000))).clipped_share == 0
    dither = np.round(0.7 * np.random.default_rng(1).standard_normal(20_000)) / 32_768
    assert tally_of_a_mixture(np.stack([music[0], dither])).clipped_share < 0.001  # a channel with nothing but dither


def test_clipping_and_offset_are_measured_channel_by_channel():
    music = 0.2 * np.random.default_rng(0).standard_normal((2, 20_000))
    figures = tally_of_a_mixture(np.stack([np.clip(music[0], -0.2, 0.2), music[1] + 0.05])).figures
    assert figures.clipped == (pytest.approx(0.317, rel=0.03), 0.0)  # beyond one standard deviation
    assert figures.clipped_share == pytest.approx(2 * 0.159**2, rel=0.05)  # with such a neighbour
    np.testing.assert_allclose(figures.offsets, [0.0, 0.05], atol=0.005)


def test_clipping_of_the_figures_is_that_of_the_detector():
    music = 0.2 * np.random.default_rng(0).standard_normal((2, 20_000))
    for audio in (np.clip(music, -0.2, 0.25), music, np.sign(music)):
        detected = sw.detect_clipping(audio.astype(np.float32), 44_100)
        assert tally_of_a_mixture(audio).figures.clipped == pytest.approx([one.share for one in detected], abs=1e-6)


def test_limits_are_used(stems):
    mixture = stems.sum(axis=0)
    assert assess(tally_of(mixture, stems[:2]).figures).accepted
    assert not assess(tally_of(mixture, stems[:2]).figures, Limits(closure_db=-10.0)).accepted


def test_samples_that_are_not_finite_are_an_error(stems):
    stems[1, 0, 17] = np.nan
    with pytest.raises(ValueError, match="NaN or infinite"):
        tally_of(stems[:1].sum(axis=0), stems)


@pytest.mark.parametrize("block_frames", [1, 700, 16_384, 50_000])
def test_figures_of_a_block_equal_those_of_the_whole_formula(block_frames: int) -> None:
    rng = np.random.default_rng(5)
    mixture = (0.4 * rng.standard_normal((50_000, 2))).astype(np.float32).T  # as raw frames are read: not contiguous
    stems = np.stack([0.5 * mixture, 0.3 * rng.standard_normal(mixture.shape)]).astype(np.float32)
    tally = Tally(("a", "b"))
    for start in range(0, mixture.shape[1], block_frames):
        tally.add(mixture[:, start : start + block_frames], stems[..., start : start + block_frames])
    exact = stems.astype(np.float64)
    residual = mixture - exact.sum(axis=0)
    assert tally.residual_energy == pytest.approx(np.square(residual).sum(), rel=1e-9)
    assert tally.mixture_energy == pytest.approx(np.square(mixture.astype(np.float64)).sum(), rel=1e-9)
    assert tally.products == pytest.approx(np.einsum("act,bct->ab", exact, exact), rel=1e-9)
    assert tally.residual_peak == pytest.approx(np.abs(residual).max(), rel=1e-12)
    assert tally.stem_peaks == pytest.approx(np.abs(exact).max(axis=(1, 2)), rel=1e-12)
