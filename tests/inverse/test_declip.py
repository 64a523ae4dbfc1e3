"""Restoring clipped samples: what stays as it is, what the estimate gains over simple methods, and input that cannot be restored."""

from __future__ import annotations

import functools
import tracemalloc

import numpy as np
import pytest
from scipy.interpolate import CubicSpline

import stemwright as sw
from stemwright.datagen.inverse.clipping.conditional_mean import Clipped, conditional_mean
from stemwright.datagen.inverse.clipping.declipping import frame_lengths, level_and_scatter
from stemwright.datagen.inverse.clipping.frame_estimates import long_frames
from stemwright.datagen.inverse.clipping.run_weights import cautious, log_heights, mixed
from stemwright.manifests.usage import UsageError

RATE = 8000
CEILING = 0.55
clip_at = functools.partial(sw.declip, sample_rate=RATE, ceiling_low=-CEILING, ceiling_high=CEILING)


@pytest.fixture(scope="module")
def dry() -> np.ndarray:
    """0.3 s of eleven decaying harmonics with vibrato and some noise, [2, T], the channels different."""
    time = np.arange(round(0.3 * RATE)) / RATE
    phase = 2 * np.pi * (220 * time + 0.4 * np.sin(2 * np.pi * 5 * time))
    tone = sum(np.sin(k * phase + k) * np.exp(-4 * time) / k**0.5 for k in range(1, 12))
    noise = np.random.default_rng(0).normal(0, 0.003, (2, len(time)))
    return np.stack([0.3 * tone, 0.25 * tone[::-1]]) + noise


@pytest.fixture(scope="module")
def restored(dry: np.ndarray) -> np.ndarray:
    return clip_at(dry.clip(-CEILING, CEILING))


def sdr_db(truth: np.ndarray, estimate: np.ndarray, where: np.ndarray) -> float:
    return float(10 * np.log10((truth[where] ** 2).sum() / ((truth - estimate)[where] ** 2).sum()))


def test_samples_that_were_not_clipped_stay_bit_by_bit(dry: np.ndarray, restored: np.ndarray) -> None:
    inside = np.abs(dry) < CEILING
    assert np.array_equal(restored[inside], dry[inside])
    assert (~inside).mean() > 0.02


@pytest.mark.parametrize("kind", [np.float32, np.float64])
@pytest.mark.parametrize("method", ["gaussian", "expansion"])
def test_clipping_the_result_again_gives_the_input(dry: np.ndarray, kind: type, method: str) -> None:
    clipped = dry.clip(-CEILING, CEILING).astype(kind)
    restored = clip_at(clipped, method=method)
    assert restored.dtype == kind
    assert np.abs(restored.clip(-CEILING, CEILING) - clipped).max() < 1e-6
    assert np.abs(restored).max() > 1.1 * CEILING


def test_estimate_is_nearer_to_the_original_than_spline_and_expansion(dry: np.ndarray, restored: np.ndarray) -> None:
    clipped = dry.clip(-CEILING, CEILING)
    for truth, got, wet, channel in zip(dry, restored, clipped, range(2), strict=True):
        lost = np.abs(truth) > CEILING
        spline = wet.copy()
        spline[lost] = CubicSpline(np.flatnonzero(~lost), wet[~lost])(np.flatnonzero(lost))
        others = (wet, spline, clip_at(clipped, method="expansion")[channel])
        assert sdr_db(truth, got, lost) > 4.0 + max(sdr_db(truth, other, lost) for other in others)


def test_expansion_raises_towards_the_original(dry: np.ndarray) -> None:
    lost, clipped = np.abs(dry) > CEILING, dry.clip(-CEILING, CEILING)
    assert sdr_db(dry, clip_at(clipped, method="expansion"), lost) > sdr_db(dry, clipped, lost) + 1.0


def test_channels_and_polarities_have_ceilings_of_their_own(dry: np.ndarray) -> None:
    clipped = np.stack([dry[0].clip(-0.5, 9.0), dry[1]])
    restored = sw.declip(clipped, RATE, ceiling_low=[-0.5, 0.0], ceiling_high=0.0)
    assert np.array_equal(restored[1], dry[1])
    changed = restored[0] != clipped[0]
    assert changed.any()
    assert (dry[0][changed] < -0.5).all()


def test_ceilings_are_detected_where_none_are_given(dry: np.ndarray, restored: np.ndarray) -> None:
    found = sw.declip(dry.clip(-CEILING, CEILING), RATE)
    np.testing.assert_allclose(found, restored, atol=1e-6)


def test_nothing_detected_returns_the_input() -> None:
    noise = np.random.default_rng(3).normal(0, 0.2, (2, RATE))
    assert np.array_equal(sw.declip(noise, RATE), noise)


def test_samples_beyond_the_ceiling_are_not_taken_for_clipped(dry: np.ndarray) -> None:
    clipped = dry.clip(-CEILING, CEILING)
    clipped[0, 100] = 0.9
    assert clip_at(clipped)[0, 100] == 0.9


def test_ceilings_that_nothing_reaches_return_the_input(dry: np.ndarray) -> None:
    assert np.array_equal(sw.declip(dry, RATE, ceiling_low=-2.0, ceiling_high=2.0), dry)


def test_memory_does_not_grow_with_the_length() -> None:
    audio = np.zeros((1, 8_000_000), np.float32)
    audio[0, 5000:5400] = np.sin(0.05 * np.arange(400)).clip(-CEILING, CEILING)
    tracemalloc.start()
    restored = clip_at(audio)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert np.abs(restored).max() > 0.7
    assert peak - restored.nbytes < 0.5 * audio.nbytes


def test_blocks_without_clipping_are_skipped_and_the_others_reported() -> None:
    audio = np.zeros((1, 8 * RATE))
    audio[0, 5 * RATE : 5 * RATE + 400] = np.sin(0.05 * np.arange(400)).clip(-CEILING, CEILING)
    calls: list[tuple[float, int, float]] = []
    restored = clip_at(audio, on_progress=lambda done, total, _, audio: calls.append((done, total, audio.done_s)))
    assert calls == [(1, 1, 1.5)]
    assert np.abs(restored).max() > 0.7


@pytest.mark.parametrize(
    "audio",
    [
        np.zeros((2, 500)),
        np.full((1, 1), CEILING),
        np.full((2, 1), 0.1),
        np.full((1, 3000), CEILING),
        np.zeros((1, 0)),
        np.zeros((0, 10)),
        CEILING * np.sign(np.sin(0.05 * np.arange(3000)))[None],
    ],
    ids=["silence", "one clipped sample", "one sample", "all at the ceiling", "no time", "no channel", "square"],
)
def test_sound_without_an_answer_stays_finite_and_consistent(audio: np.ndarray) -> None:
    restored = clip_at(audio)
    assert np.isfinite(restored).all()
    assert np.abs(restored.clip(-CEILING, CEILING) - audio).max(initial=0.0) < 1e-6


@pytest.mark.parametrize(
    ("audio", "options", "message"),
    [
        (np.full((1, 9), np.nan), {}, "NaN or infinite"),
        (np.zeros(9), {}, r"expected float audio \[channels, time\]; got float64 of shape \[9\]"),
        (np.zeros((1, 9), np.int16), {}, "got int16"),
        (np.zeros((1, 9)), {"method": "magic"}, "expected a method of gaussian, expansion; got 'magic'"),
        (np.zeros((1, 9)), {"ceiling_low": 0.5}, "expected ceiling_low <= 0 <= ceiling_high"),
        (np.zeros((1, 9)), {"ceiling_high": [0.5, 0.5]}, "one for each of 1 channels"),
        (np.zeros((1, 9)), {"sample_rate": 0}, "positive number in Hz"),
    ],
)
def test_errors_say_what_was_expected(audio: np.ndarray, options: dict, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        sw.declip(audio, **{"sample_rate": RATE, "ceiling_low": -0.5, "ceiling_high": 0.5, **options})


def test_rounded_ceiling_is_brought_to_the_level_of_the_clipped_samples(dry: np.ndarray) -> None:
    clipped = dry[0].clip(-0.5504, 0.5504)
    assert level_and_scatter(clipped, 0.55) == (pytest.approx(0.5504), 0.0)


def test_scatter_of_coded_samples_is_their_standard_deviation() -> None:
    rng = np.random.default_rng(1)
    samples = np.concatenate([rng.uniform(-1, 1, 20_000) * 0.45, 0.5 + rng.normal(0, 0.005, 4000)])
    assert level_and_scatter(samples, 0.5) == (0.5, pytest.approx(0.005, rel=0.1))


def test_one_sample_at_the_ceiling_does_not_hide_the_scatter() -> None:
    samples = np.concatenate([[0.5], 0.5 + np.linspace(0.01, 0.04, 400)])
    assert level_and_scatter(samples, 0.5)[1] == pytest.approx(1.4826 * 0.025, rel=0.02)


def test_clipped_samples_that_scatter_are_estimated(dry: np.ndarray) -> None:
    """Noise on a clipped signal, as coding adds it."""
    coded = dry.clip(-CEILING, CEILING) + np.random.default_rng(2).normal(0, 0.002, dry.shape)
    lost = np.abs(dry) > CEILING
    assert sdr_db(dry, clip_at(coded), lost) > sdr_db(dry, coded, lost) + 7.0


def test_conditional_mean_of_a_stationary_tone_is_the_tone() -> None:
    """It is clipped at 0.9, in 29 % of its samples."""
    tone = np.sin(0.3 * np.arange(4096))
    clipped = tone.clip(-0.9, 0.9)
    block = Clipped(clipped, (np.sign(tone) * (np.abs(tone) > 0.9)).astype(np.int8), np.full(4096, 0.9))
    assert np.abs(conditional_mean(block, 512) - tone)[512:-512].max() < 0.01


@pytest.mark.parametrize(("rate", "lengths"), [(8000, [128, 256, 512, 1024]), (44_100, [512, 1024, 2048, 4096])])
def test_frames_last_about_as_long_at_every_rate(rate: int, lengths: list[int]) -> None:
    assert frame_lengths(rate) == lengths


def bass(drive: float, second: float) -> np.ndarray:
    """0.5 s of 55 Hz through a saturating curve: the more drive, the flatter its tops; with a peak of 1."""
    time = np.arange(round(0.5 * RATE)) / RATE
    tone = np.sin(2 * np.pi * 55 * time) + second * np.sin(4 * np.pi * 55 * time + 0.7)
    samples = np.tanh(drive * tone) * np.exp(-time) + np.random.default_rng(1).normal(0, 1e-3, len(time))
    return samples / np.abs(samples).max()


@pytest.mark.parametrize(("drive", "second"), [(1.5, 0.0), (1.5, 0.4), (3.0, 0.0), (6.0, 0.0), (6.0, 0.4)])
@pytest.mark.parametrize("ceiling", [0.55, 0.7])
def test_basses_are_restored_better_than_by_the_expansion(drive: float, second: float, ceiling: float) -> None:
    """Flat tops cannot be distinguished from lost ones at first sight: a cubic spline makes the last of these 10 to 18 dB worse."""
    truth = bass(drive, second)
    clipped, lost = truth.clip(-ceiling, ceiling), np.abs(truth) > ceiling
    options = {"ceiling_low": -ceiling, "ceiling_high": ceiling}
    restored, expanded = (sw.declip(clipped[None], RATE, method=method, **options)[0] for method in ("gaussian", "expansion"))
    assert sdr_db(truth, restored, lost) > max(sdr_db(truth, expanded, lost), sdr_db(truth, clipped, lost) + 1.0)
    assert np.array_equal(restored[~lost], truth[~lost])
    assert np.array_equal(restored.clip(-ceiling, ceiling), clipped)


def test_a_low_sine_is_restored_better_than_by_a_spline() -> None:
    """Two thirds of it are clipped, and it has noise, which a spline through two samples on each side magnifies."""
    truth = np.sin(2 * np.pi * 52 * np.arange(RATE // 2) / RATE) + np.random.default_rng(4).normal(0, 1e-3, RATE // 2)
    clipped, lost = truth.clip(-0.5, 0.5), np.abs(truth) > 0.5
    splined = clipped.copy()
    inside = np.flatnonzero(lost & (np.arange(len(truth)) < np.flatnonzero(~lost)[-1]))
    splined[inside] = CubicSpline(np.flatnonzero(~lost), clipped[~lost])(inside)
    restored = sw.declip(clipped[None], RATE, ceiling_low=-0.5, ceiling_high=0.5)[0]
    assert sdr_db(truth, restored, lost) > sdr_db(truth, splined, lost)


@pytest.mark.parametrize("noise", [0.0, 1e-4])
@pytest.mark.parametrize("share", [0.001, 0.003, 0.02])
def test_short_runs_of_low_tones_are_restored_better_than_by_a_spline(noise: float, share: float) -> None:
    """Their spectrum alone makes some of these far worse than they were. The ceiling is above 1."""
    time = np.arange(22_050) / 44_100
    tone = sum(level * np.sin(2 * np.pi * hz * time + hz) for hz, level in ((47.0, 1.0), (83.0, 0.7), (171.0, 0.3)))
    truth = tone + np.random.default_rng(8).normal(0, max(noise, 1e-12), len(time))
    ceiling = float(np.quantile(np.abs(truth), 1 - share))
    clipped, lost = truth.clip(-ceiling, ceiling), np.abs(truth) >= ceiling
    restored = sw.declip(clipped[None], 44_100, ceiling_low=-ceiling, ceiling_high=ceiling)[0]
    splined = clipped.copy()
    splined[lost] = CubicSpline(np.flatnonzero(~lost), clipped[~lost])(np.flatnonzero(lost))
    assert sdr_db(truth, restored, lost) > max(sdr_db(truth, splined, lost), sdr_db(truth, clipped, lost) + (3.0 if noise else 40.0))
    assert np.array_equal(restored[np.abs(truth) < 0.999 * ceiling], truth[np.abs(truth) < 0.999 * ceiling])


@pytest.mark.parametrize("depth", [0.998, 0.9998])
def test_sound_that_is_hardly_clipped_does_not_get_worse(depth: float) -> None:
    """What is lost is less than what frames can say of it."""
    time = np.arange(22_050) / 44_100
    truth = np.sin(2 * np.pi * 61 * time + 2 * np.sin(2 * np.pi * 61 * time)) + np.random.default_rng(9).normal(0, 1e-4, len(time))
    ceiling = depth * float(np.abs(truth).max())
    clipped, lost = truth.clip(-ceiling, ceiling), np.abs(truth) >= ceiling
    restored = sw.declip(clipped[None], 44_100, ceiling_low=-ceiling, ceiling_high=ceiling)[0]
    assert sdr_db(truth, restored, lost) > sdr_db(truth, clipped, lost)


def test_ripple_on_flat_tops_is_not_raised() -> None:
    """A rounded square wave, clipped within the noise of its tops; the other side has no ceiling. Frames overshoot."""
    tops = np.tanh(8.0 * np.sin(2 * np.pi * 50 * np.arange(22_050) / 44_100))
    truth = tops + np.random.default_rng(3).normal(0, 1e-4, len(tops)) + 0.2 * (tops > 0)
    ceiling = float(np.quantile(truth, 0.98))
    restored = sw.declip(truth.clip(max=ceiling)[None], 44_100, ceiling_low=0.0, ceiling_high=ceiling)[0]
    lost = truth > ceiling
    assert sdr_db(truth, restored, lost) > sdr_db(truth, truth.clip(max=ceiling), lost) - 1.0


def test_mixing_an_estimate_alone_returns_it_and_a_wild_one_does_little_harm() -> None:
    heights = np.array([[0.25, 0.3, 0.0], [20.0, 30.0, 40.0]])
    logarithms = log_heights(heights)
    alone, mostly = np.array([1.0, 0.0, 0.0]), np.array([0.95, 0.05, 0.0])
    np.testing.assert_allclose(mixed(logarithms, np.tile(alone[:, None], 3)), heights[0], atol=1e-12)
    assert (mixed(logarithms, np.tile(mostly[:, None], 3)) < heights[0] + 0.15).all()


def test_the_expansion_is_trusted_most_where_the_other_estimates_disagree() -> None:
    weights = np.array([[0.1, 0.45, 0.45]])
    alike, apart = np.log([[0.1, 0.4, 0.45]]), np.log([[0.1, 0.1, 10.0]])
    np.testing.assert_allclose(cautious(weights, alike), weights)
    safe = cautious(weights, apart)
    np.testing.assert_allclose(safe.sum(axis=1), 1.0)
    assert safe[0, 0] > 0.7


def test_a_clipped_tone_is_estimated_in_every_phase_of_fewer_samples() -> None:
    """So much is clipped that frames of all samples would take too long."""
    tone = np.sin(0.01 * np.arange(8000))
    clipped = tone.clip(-0.8, 0.8)
    block = Clipped(clipped, (np.sign(tone) * (np.abs(tone) > 0.8)).astype(np.int8), np.full(8000, 0.8))
    assert np.abs(long_frames(block, 4096, 8e4) - tone)[1000:-1000].max() < 0.05
