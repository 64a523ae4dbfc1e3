import math
from dataclasses import replace

import numpy as np
import pytest

from stemwright.datagen.inverse.blind.features import (
    DYNAMICS,
    SPECTRUM_HZ,
    loudest,
    measure_decay,
    measure_dynamics,
    measure_features,
    measure_spectrum,
    onset_height,
    onset_peaks,
    whole_side,
)
from stemwright.datagen.inverse.blind.profile import SIMULATIONS, Profile, features_row, mean_gain_reduction, profile_of, summarise
from stemwright.datagen.inverse.blind.regression import LeftOut, fit_regression, trust_of
from stemwright.manifests import table
from stemwright.manifests.feature_rows import StemFeatures, profile_id
from stemwright.separation.loudness.meter import integrated_loudness

RATE = 44_100


def noise(seconds=3.0, channels=2, seed=0):
    return (0.1 * np.random.default_rng(seed).standard_normal((channels, round(seconds * RATE)))).astype(np.float32)


def clicks(decay_s, seconds=4.0):
    """Bursts of noise every half second, each falling by 60 dB in ``decay_s``."""
    time_s = np.arange(round(seconds * RATE)) / RATE
    envelope = 10.0 ** (-3.0 * (time_s % 1.0) / decay_s)
    return (noise(seconds, 1) * envelope).astype(np.float32)


def test_features_but_the_loudness_do_not_depend_on_the_level(synthetic_song):
    plain, quiet = (measure_features(gain * synthetic_song["drums"], RATE) for gain in (1.0, np.float32(0.1)))
    assert quiet.loudness_lufs == pytest.approx(plain.loudness_lufs - 20.0, abs=0.05)
    assert quiet.dynamics == pytest.approx(plain.dynamics, abs=0.02)
    there = [level is not None for level in quiet.spectrum_db]
    assert np.array(quiet.spectrum_db)[there].astype(float) == pytest.approx(np.array(plain.spectrum_db)[there].astype(float), abs=0.05)
    assert quiet.whole_side_db == pytest.approx(plain.whole_side_db, abs=0.01)


def test_a_band_of_ten_decibels_raises_the_spectrum_by_ten():
    import torch

    from stemwright.datagen.effects import eq

    dry = noise(6.0)
    wet = eq.apply(torch.from_numpy(dry), RATE, eq.Settings(peak2_gain_db=10.0, peak2_hz=1000.0)).numpy()
    spectra = [np.array(measure_spectrum(audio, RATE, integrated_loudness(audio, RATE)), float) for audio in (dry, wet)]
    change = spectra[1] - spectra[0]
    at = int(np.argmin(np.abs(np.array(SPECTRUM_HZ) - 1000.0)))
    assert change[at] - change[:12].mean() == pytest.approx(10.0, abs=1.0)  # its mean over a third of an octave either way


def test_the_side_is_measured_in_decibels_against_the_mid():
    left = noise(2.0, 1)[0]
    assert whole_side(np.stack([left, 0.0 * left])) == pytest.approx(0.0, abs=1e-3)
    assert whole_side(np.stack([1.1 * left, 0.9 * left])) == pytest.approx(-20.0, abs=1e-3)
    assert whole_side(np.stack([left, left])) is None
    assert whole_side(left[None]) is None


@pytest.mark.parametrize("decay_s", [0.3, 0.6, 1.2])
def test_the_decay_of_bursts_is_read_off(decay_s):
    assert measure_decay(clicks(decay_s), RATE) == pytest.approx(decay_s, rel=0.25)


def test_a_compressor_takes_the_onsets_down(synthetic_song):
    import torch

    from stemwright.datagen.effects import compressor

    dry = synthetic_song["drums"]
    settings = compressor.Settings(threshold_db=-40.0, ratio=8.0, detector_attack_ms=0.0, attack_ms=0.5, release_ms=50.0)
    wet = compressor.apply(torch.from_numpy(dry.copy()), RATE, settings).numpy()
    heights = [onset_height(*onset_peaks(audio, RATE)[:2]) for audio in (dry, wet)]
    assert heights[1] < heights[0] - 3.0


def test_quantiles_of_the_level_are_those_of_a_signal_of_two_levels():
    audio = noise(8.0, 1)
    audio[:, : 4 * RATE] *= 0.1
    found = dict(zip(DYNAMICS, measure_dynamics(audio, RATE), strict=True))
    assert found["level_100ms_25"] - found["level_100ms_75"] == pytest.approx(-20.0, abs=0.2)
    assert 0.0 <= found["level_100ms_most"] < 0.5


def test_what_passes_during_an_attack_is_visible_in_short_windows_and_in_its_band():
    import torch

    from stemwright.datagen.effects import compressor

    time_s = np.arange(6 * RATE) / RATE
    dry = (0.3 * np.sin(2 * np.pi * 1000.0 * time_s) * (time_s % 1.0 < 0.6))[None].astype(np.float32)
    dry += 0.001 * noise(6.0, 1)
    settings = compressor.Settings(threshold_db=-30.0, ratio=6.0, detector_attack_ms=1.0, attack_ms=30.0, release_ms=200.0)
    wet = compressor.apply(torch.from_numpy(dry), RATE, settings).numpy()
    before, after = (dict(zip(DYNAMICS, measure_dynamics(audio, RATE), strict=True)) for audio in (dry, wet))
    assert before["level_5ms_most"] - before["level_5ms_50"] < 0.5
    assert after["level_5ms_most"] - after["level_5ms_50"] > 6.0
    assert after["mid_crest"] > before["mid_crest"] + 6.0
    assert after["level_100ms_most"] - after["level_100ms_50"] < after["level_5ms_most"] - after["level_5ms_50"] - 2.0


def test_silence_and_short_signals_have_no_features():
    assert measure_features(np.zeros((2, RATE), np.float32), RATE) is None
    assert measure_features(noise(0.3), RATE) is None
    assert measure_dynamics(np.zeros((2, RATE)), RATE) is None


def test_the_loudest_excerpt_is_found_and_bounded():
    audio = 0.01 * noise(60.0, 1)
    audio[:, 25 * RATE : 50 * RATE] *= 50.0
    excerpt = loudest(audio, RATE)
    assert excerpt.shape[1] == 30 * RATE
    assert (excerpt**2).sum() == pytest.approx((audio**2).sum(), rel=0.01)


def test_every_number_of_the_dynamics_has_a_name(synthetic_song):
    assert len(measure_dynamics(synthetic_song["vocals"], RATE)) == len(DYNAMICS)


def test_middle_and_spread_are_robust_and_say_where_there_are_too_few():
    values = np.array([[1.0, np.nan], [2.0, np.nan], [3.0, 5.0], [100.0, 6.0]])
    typical = summarise(values)
    assert typical.middle[0] == 2.5
    assert typical.spread[0] == pytest.approx(1.4826)
    assert np.isnan(typical.middle[1])
    assert list(typical.songs) == [4, 2]


@pytest.fixture(scope="module")
def profile():
    from conftest import make_song

    return profile_of(({name: make_song(seed, 3.0)[name] for name in ("drums", "vocals")} for seed in range(3)), RATE)


def test_a_profile_read_from_its_file_has_the_same_id(profile, tmp_path):
    profile.save(tmp_path / "profile.parquet")
    assert Profile.load(tmp_path / "profile.parquet").id == profile.id
    assert profile_id(profile.rows[::-1]) == profile.id


def test_the_id_of_a_profile_follows_from_its_songs(profile):
    assert Profile(profile.rows[1:]).id != profile.id


def test_a_name_that_no_song_has_gives_a_profile_of_no_songs(profile):
    assert profile["guitar"].songs == 0
    assert profile["drums"].songs == 3
    assert set(profile) == {"drums", "vocals"}


def test_simulations_follow_from_the_sound(profile, synthetic_song):
    ids = {"cache_key": "0" * 16, "stem_id": "0" * 16, "track_id": "0" * 16}
    one, other = (features_row(synthetic_song["bass"], RATE, name="bass", ids=ids) for _ in range(2))
    assert one == other
    assert len(one.simulated) == SIMULATIONS
    assert all(simulated.amount >= 0.0 for simulated in one.simulated)


def test_a_steady_gain_is_the_mean_gain_reduction():
    audio = noise(1.0, 1)
    assert mean_gain_reduction(audio, np.full(RATE, 0.5), RATE) == pytest.approx(6.02, abs=0.01)


def test_a_regression_finds_a_smooth_function_and_its_own_uncertainty():
    rng = np.random.default_rng(1)
    x = rng.uniform(-2, 2, (120, 2))
    y = np.sin(x[:, 0]) + 0.5 * x[:, 1]
    fit = fit_regression(x, y, [number // 4 for number in range(120)])
    inside, outside = fit([0.5, 0.5]), fit([6.0, -6.0])
    assert inside.value == pytest.approx(np.sin(0.5) + 0.25, abs=0.15)
    assert outside.expected_error >= inside.expected_error
    assert inside.confidence(1.0, trust_of(fit, 1.0, at=0.0).scores) > 0.5


def test_answers_are_trusted_as_far_as_errors_left_out_stay_within_the_tolerance():
    rng = np.random.default_rng(3)
    x = rng.uniform(-2, 2, (80, 2))
    fit = fit_regression(x, x[:, 0] + np.abs(x[:, 0]) * rng.standard_normal(80), [number // 4 for number in range(80)])
    doubts, errors = fit.left_out.uncertainties, fit.left_out.errors
    assert fit.largest_trusted_uncertainty(100.0, at=0.0) == doubts.max()
    assert fit.largest_trusted_uncertainty(0.0, at=0.0) == 0.0
    tolerance = 0.8 * errors.mean()
    trusted = doubts <= fit.largest_trusted_uncertainty(2.0 * tolerance, at=0.0)
    assert 0 < trusted.sum() < 80
    assert errors[trusted].mean() <= tolerance
    assert fit.largest_trusted_uncertainty(2.0 * tolerance * math.sqrt(6.0), at=5.0) == fit.largest_trusted_uncertainty(
        2.0 * tolerance, at=0.0
    )


def test_few_songs_prove_less_than_many():
    fit = fit_regression(np.zeros((60, 1)), np.zeros(60), range(60))
    errors = np.tile([0.1, 0.2, 0.9], 20)

    def trusted(songs):
        left_out = LeftOut(np.full(60, 0.4), np.sort(errors) if songs == 3 else errors, np.arange(60) * songs // 60)
        return replace(fit, left_out=left_out).largest_trusted_uncertainty(1.0, at=0.0)

    assert errors.mean() == pytest.approx(0.4)  # of 0.5 allowed
    assert trusted(20) == 0.4
    assert trusted(3) == 0.0  # a song for each error: the mean of three is 0.4 by chance
    assert trusted(2) == 0.0


def test_there_is_more_doubt_where_songs_left_out_erred_more():
    rng = np.random.default_rng(4)
    x = rng.uniform(-2, 2, (200, 1))
    y = 5.0 + np.where(x[:, 0] > 0.0, 2.0, 0.1) * rng.standard_normal(200)
    fit = fit_regression(x, y, [number // 4 for number in range(200)])
    assert fit([1.2]).uncertainty > 2.0 * fit([-1.2]).uncertainty


def test_the_expected_error_grows_with_the_estimate_as_the_scale_implies():
    rng = np.random.default_rng(5)
    z = rng.uniform(0.0, 3.0, 240)
    x = z + 0.3 * rng.standard_normal(240)
    y = (1.0 + z) ** 2 - 1.0
    fit = fit_regression(x[:, None], y, [number // 4 for number in range(240)])
    small, large = fit([0.5]), fit([2.5])
    assert large.uncertainty == pytest.approx(small.uncertainty, rel=0.35)
    for answer in (small, large):
        near = np.abs(y - answer.value) < 2.0
        assert answer.expected_error == pytest.approx(np.abs(y[near] - [fit([one]).value for one in x[near]]).mean(), rel=0.4)
    assert large.expected_error > 1.5 * small.expected_error


def test_a_profile_of_other_dynamics_is_refused(profile, tmp_path):
    row = profile.rows[0]
    features = row.features.model_copy(update={"dynamics": row.features.dynamics[:-1]})
    table.write(tmp_path / "old.parquet", [row.model_copy(update={"features": features})], StemFeatures)
    with pytest.raises(ValueError, match=f"{len(DYNAMICS) - 1} numbers of dynamics; this version measures {len(DYNAMICS)}"):
        Profile.load(tmp_path / "old.parquet")


def test_a_regression_of_two_songs_is_refused():
    with pytest.raises(ValueError, match="at least three songs; got 2"):
        fit_regression(np.zeros((4, 2)), np.zeros(4), [0, 0, 1, 1])


def test_errors_of_groups_left_out_are_those_of_fitting_without_them():
    from stemwright.datagen.inverse.blind.regression import _left_out

    rng = np.random.default_rng(2)
    x = rng.standard_normal((12, 3))
    y = rng.standard_normal(12)
    kernel = np.exp(-((x[:, None] - x[None]) ** 2).sum(-1))
    group, rest = np.arange(3), np.arange(3, 12)
    errors, _ = _left_out(np.linalg.inv(kernel + 0.3 * np.eye(12)), y, [group, rest])
    without = kernel[np.ix_(group, rest)] @ np.linalg.solve(kernel[np.ix_(rest, rest)] + 0.3 * np.eye(9), y[rest])
    assert errors[group] == pytest.approx(y[group] - without, abs=1e-9)


def test_a_number_that_is_zero_is_seldom_detected_and_a_large_one_mostly():
    rng = np.random.default_rng(3)

    def examples(songs):
        own = rng.normal(0.0, 0.6, songs)  # songs differ by themselves
        y = np.tile([0.0, 2.0, 5.0, 9.0], (songs, 1))
        x = np.stack([np.sqrt(1.0 + y) + own[:, None], rng.normal(size=y.shape)], -1)
        return x.reshape(-1, 2), y.ravel(), np.repeat(np.arange(songs), 4)

    fit = fit_regression(*examples(60))
    x, y, _ = examples(200)
    found = np.array([fit.detected(fit(row)) for row in x])
    assert found[y == 0.0].mean() <= 0.16  # 0.1, and two standard errors of 60 and 200 songs
    assert found[y == 9.0].mean() > 0.8
    assert replace(fit, left_out=replace(fit.left_out, true=fit.left_out.true + 1.0)).detection_threshold == math.inf


@pytest.mark.parametrize("songs", [4, 6])
def test_few_songs_are_no_reason_to_detect_more_often(songs):
    rng = np.random.default_rng(5)
    found = []
    for _ in range(60):
        own = rng.normal(0.0, 0.6, songs + 8)
        y = np.tile([0.0, 2.0, 5.0, 9.0], (songs, 1))
        x = np.stack([np.sqrt(1.0 + y) + own[:songs, None], rng.normal(size=y.shape)], -1)
        fit = fit_regression(x.reshape(-1, 2), y.ravel(), np.repeat(np.arange(songs), 4))
        found += [fit.detected(fit(np.array([1.0 + other, rng.normal()]))) for other in own[songs:]]
    assert np.mean(found) <= 0.13  # 0.1 and a standard error; the largest of so few is exceeded by one of songs + 1
