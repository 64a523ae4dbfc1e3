"""The mix balance: levels against an analytic truth, pan and width measured back, and what cannot be said."""

import math

import numpy as np
import pytest
from scipy.signal import butter, sosfilt

from stemwright.separation.balance.level_estimators import (
    BUNDLED,
    REFERENCE,
    SEPARATED,
    Margin,
    calibration_for,
    interval_around,
    point_between,
)
from stemwright.separation.balance.measure import measure_balance
from stemwright.separation.loudness.meter import integrated_loudness, short_term_loudness

RATE = 44_100
NAMES = ("drums", "bass", "other", "vocals")


def noise(seed: int, seconds: float = 12.0, *, level_db: float = -20.0, num_channels: int = 2) -> np.ndarray:
    """Independent noise in every channel, [C, T]."""
    rng = np.random.default_rng(seed)
    return (10 ** (level_db / 20) * rng.standard_normal((num_channels, round(seconds * RATE)))).astype(np.float32)


def song(num_channels: int = 2, seconds: float = 12.0) -> dict[str, np.ndarray]:
    """Four unrelated stems of different level."""
    levels_db = (-18.0, -24.0, -21.0, -30.0)
    return {
        name: noise(i, seconds, level_db=level, num_channels=num_channels)
        for i, (name, level) in enumerate(zip(NAMES, levels_db, strict=True))
    }


def mixed(stems: dict[str, np.ndarray]) -> np.ndarray:
    return np.sum(list(stems.values()), axis=0, dtype=np.float32)


def wiener(stems: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """What the best linear separator makes of white stems: each the mixture times its share of the power."""
    mixture = mixed(stems)
    power = {name: float(np.mean(stem**2)) for name, stem in stems.items()}
    return {name: (mixture * (power[name] / sum(power.values()))).astype(np.float32) for name in stems}


def panned(mono: np.ndarray, pan: float) -> np.ndarray:
    angle = (pan + 1) * math.pi / 4
    return np.stack([math.cos(angle) * mono, math.sin(angle) * mono]).astype(np.float32)


@pytest.mark.parametrize("num_channels", [1, 2, 5])
def test_level_of_a_reference_stem_is_its_loudness_minus_the_mixtures(num_channels):
    stems = song(num_channels)
    mixture = mixed(stems)
    balance = measure_balance(mixture, stems, RATE, calibration=REFERENCE)
    assert list(balance) == list(stems)
    for name, stem in stems.items():
        expected = integrated_loudness(stem, RATE) - integrated_loudness(mixture, RATE)
        assert balance[name].level_lu == pytest.approx(expected, abs=1e-9)
        assert (balance[name].level_low_lu, balance[name].level_high_lu) == (balance[name].level_lu, balance[name].level_lu)
        assert balance[name].loudness_lufs == pytest.approx(integrated_loudness(stem, RATE), abs=1e-9)


def test_perfect_separated_stems_are_at_their_level_whatever_the_calibration():
    stems = song()
    truth = measure_balance(mixed(stems), stems, RATE, calibration=REFERENCE)
    for name, balance in measure_balance(mixed(stems), stems, RATE).items():
        assert balance.level_lu == pytest.approx(truth[name].level_lu, abs=0.1)


def test_shrunk_stems_read_low_by_their_share_and_cross_undoes_it():
    stems = song(seconds=30.0)
    truth = measure_balance(mixed(stems), stems, RATE, calibration=REFERENCE)
    power = {name: float(np.mean(stem**2)) for name, stem in stems.items()}
    for name, balance in measure_balance(mixed(stems), wiener(stems), RATE).items():
        share_db = 10 * math.log10(power[name] / sum(power.values()))
        assert balance.naive_lu - truth[name].level_lu == pytest.approx(share_db, abs=0.05)
        assert balance.cross_lu == pytest.approx(truth[name].level_lu, abs=0.05)
        assert abs(balance.level_lu - truth[name].level_lu) < SEPARATED.correction_lu + 0.05
        assert balance.level_low_lu < truth[name].level_lu < balance.level_high_lu


def test_a_gain_on_everything_changes_no_level():
    stems = song()
    quiet = {name: 0.1 * stem for name, stem in stems.items()}
    loud, soft = measure_balance(mixed(stems), stems, RATE), measure_balance(mixed(quiet), quiet, RATE)
    for name in stems:
        assert soft[name].level_lu == pytest.approx(loud[name].level_lu, abs=1e-4)
        assert soft[name].loudness_lufs - loud[name].loudness_lufs == pytest.approx(-20.0, abs=1e-4)


def test_a_stem_is_measured_alike_in_whatever_company():
    stems = song()
    mixture = mixed(stems)
    alone = measure_balance(mixture, {"other": stems["other"]}, RATE)["other"]
    together = measure_balance(mixture, stems, RATE)["other"]
    assert (alone.level_lu, alone.cross_lu, alone.pan, alone.width) == (together.level_lu, together.cross_lu, together.pan, together.width)


def test_level_against_the_rest_is_that_of_vocals_to_accompaniment():
    stems = song()
    mixture = mixed(stems)
    expected = integrated_loudness(stems["vocals"], RATE) - integrated_loudness(mixture - stems["vocals"], RATE)
    assert measure_balance(mixture, stems, RATE, calibration=REFERENCE)["vocals"].against_rest_lu == pytest.approx(expected, abs=1e-3)
    said = measure_balance(mixture, wiener(stems), RATE)["vocals"]
    assert said.against_rest_low_lu < expected < said.against_rest_high_lu


def test_a_stem_that_is_the_whole_mixture_is_infinitely_above_the_rest():
    stem = noise(0)
    balance = measure_balance(stem, {"vocals": stem}, RATE)["vocals"]
    assert balance.against_rest_lu == math.inf
    assert balance.level_lu == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize("ride_db", [-9.0, 6.0])
def test_trajectory_shows_a_ride_of_the_fader(ride_db):
    stems = song(seconds=20.0)
    half = stems["vocals"].shape[1] // 2
    stems["vocals"][:, half:] *= np.float32(10 ** (ride_db / 20))
    mixture = mixed(stems)
    course = measure_balance(mixture, stems, RATE, calibration=REFERENCE)["vocals"].trajectory
    expected = short_term_loudness(stems["vocals"], RATE)[0] - short_term_loudness(mixture, RATE)[0]
    np.testing.assert_allclose(course.level_lu, expected[::10], atol=1e-9)
    before, after = course.level_lu[course.end_s < 10], course.level_lu[course.end_s > 13.01]
    vocals_only = after.mean() - before.mean()
    assert vocals_only == pytest.approx(ride_db, abs=0.6)  # less what the ride adds to the mixture itself


def test_trajectory_is_inside_its_interval_and_silent_where_the_stem_is():
    stems = song(seconds=15.0)
    stems["vocals"][:, : 6 * RATE] = 0
    course = measure_balance(mixed(stems), wiener(stems) | {"vocals": stems["vocals"]}, RATE)["vocals"].trajectory
    heard = np.isfinite(course.level_lu)
    assert np.isneginf(course.level_lu[course.end_s < 5.99]).all()
    assert heard[course.end_s > 6.5].all()
    assert not np.isnan([course.level_lu, course.low_lu, course.high_lu]).any()
    assert (course.low_lu[heard] < course.level_lu[heard]).all()
    assert (course.level_lu[heard] < course.high_lu[heard]).all()


def test_active_spans_are_where_the_stem_plays():
    stems = song(seconds=12.0)
    playing = np.zeros(stems["vocals"].shape[1], np.float32)
    playing[2 * RATE : 4 * RATE] = playing[7 * RATE : 10 * RATE] = 1
    stems["vocals"] *= playing
    balance = measure_balance(mixed(stems), stems, RATE)["vocals"]
    np.testing.assert_allclose(balance.active_spans_s, [(2, 4), (7, 10)], atol=0.41)
    assert balance.active_fraction == pytest.approx(5 / 12, abs=0.08)
    assert measure_balance(mixed(stems), stems, RATE)["drums"].active_spans_s == ((0.0, 12.0),)


@pytest.mark.parametrize("pan", [-1.0, -0.6, 0.0, 0.25, 1.0])
def test_pan_of_a_constant_power_panned_source_is_measured_back(pan):
    stems = song()
    stems["vocals"] = panned(noise(9, num_channels=1)[0], pan)
    balance = measure_balance(mixed(stems), stems, RATE)["vocals"]
    assert balance.pan == pytest.approx(pan, abs=1e-4)
    assert balance.width == pytest.approx(0.0, abs=1e-4)
    for band in balance.bands:
        assert band.image is not None
        assert band.image.pan == pytest.approx(pan, abs=1e-3)
        assert band.image.width == pytest.approx(0.0, abs=1e-3)


def test_unrelated_channels_are_wide_and_an_inverted_one_has_a_negative_correlation():
    stems = song()
    assert measure_balance(mixed(stems), stems, RATE)["drums"].width == pytest.approx(1.0, abs=0.02)
    mono = noise(9, num_channels=1)[0]
    stems["vocals"] = np.stack([mono, -mono])
    balance = measure_balance(mixed(stems), stems, RATE)["vocals"]
    assert balance.correlation == pytest.approx(-1.0, abs=1e-4)
    assert balance.pan == pytest.approx(0.0, abs=1e-4)


@pytest.mark.parametrize("correlation", [0.2, 0.5, 0.9])
def test_width_of_equal_channels_is_one_minus_their_correlation(correlation):
    stems = song()
    first, second = noise(5, 30.0)
    stems = {name: np.tile(stem, (1, 3))[:, : first.size] for name, stem in stems.items()}
    stems["other"] = np.stack([first, correlation * first + math.sqrt(1 - correlation**2) * second]).astype(np.float32)
    assert measure_balance(mixed(stems), stems, RATE)["other"].width == pytest.approx(1 - correlation, abs=0.02)


def test_bands_distinguish_lows_on_the_left_from_highs_on_the_right():
    stems = song()
    mono = noise(9, num_channels=1)[0].astype(np.float64)
    low, high = (sosfilt(butter(8, 1000, kind, fs=RATE, output="sos"), mono) for kind in ("low", "high"))
    stems["other"] = panned(low, -0.8) + panned(high, 0.5)
    images = {round(band.centre_hz): band.image for band in measure_balance(mixed(stems), stems, RATE)["other"].bands}
    assert [images[hz].pan for hz in (126, 251)] == pytest.approx([-0.8, -0.8], abs=0.02)
    assert [images[hz].pan for hz in (3981, 7943)] == pytest.approx([0.5, 0.5], abs=0.02)


def test_an_empty_band_has_no_image():
    stems = song()
    stems["bass"] = sosfilt(butter(12, 200, "low", fs=RATE, output="sos"), 10 * stems["bass"]).astype(np.float32)
    images = {round(band.centre_hz): band.image for band in measure_balance(mixed(stems), stems, RATE)["bass"].bands}
    assert images[7943] is None
    assert images[126] is not None


@pytest.mark.parametrize("num_channels", [1, 5])
def test_only_a_stereo_mixture_has_pan_and_width(num_channels):
    stems = song(num_channels)
    for balance in measure_balance(mixed(stems), stems, RATE).values():
        assert (balance.pan, balance.width, balance.correlation) == (None, None, None)
        assert {band.image for band in balance.bands} == {None}


def test_silent_stem_is_not_present_and_has_minus_infinite_level():
    stems = song() | {"vocals": np.zeros((2, 12 * RATE), np.float32)}
    balance = measure_balance(mixed(stems), stems, RATE)["vocals"]
    assert not balance.present
    assert balance.note.startswith("not present: silent")
    assert (balance.level_lu, balance.level_low_lu, balance.level_high_lu, balance.loudness_lufs) == (-math.inf,) * 4
    assert (balance.pan, balance.width, balance.active_spans_s, balance.active_fraction) == (None, None, (), 0.0)


@pytest.mark.parametrize("level_db", [-10.0, -20.0, -35.0])
def test_stem_of_another_song_is_not_present(level_db):
    stems = song()
    balance = measure_balance(mixed(stems), stems | {"guitar": noise(77, level_db=level_db)}, RATE)["guitar"]
    assert not balance.present
    assert balance.level_lu == -math.inf
    assert "is not found in the mixture" in balance.note


def test_what_a_separator_leaves_of_an_absent_source_is_not_present():
    stems = song()
    balance = measure_balance(mixed(stems), stems | {"piano": np.float32(0.01) * mixed(stems)}, RATE)["piano"]
    assert balance.note == "not present: the stem is quieter than -30 LU"


def test_soft_stem_that_is_in_the_mixture_is_found():
    stems = song() | {"guitar": noise(77, level_db=-40.0)}
    balance = measure_balance(mixed(stems), stems, RATE)["guitar"]
    assert balance.present
    assert balance.level_lu == pytest.approx(balance.naive_lu, abs=1.0)


@pytest.mark.parametrize("seconds", [0.05, 0.4, 2.0])
def test_short_excerpts_are_measured_with_what_there_is(seconds):
    stems = song(seconds=seconds)
    for name, balance in measure_balance(mixed(stems), stems, RATE, calibration=REFERENCE).items():
        expected = integrated_loudness(stems[name], RATE) - integrated_loudness(mixed(stems), RATE)
        assert balance.level_lu == pytest.approx(expected, abs=1e-9)
        assert balance.trajectory.level_lu.size == 1


def test_stems_that_leave_much_of_the_mixture_are_raised_together():
    stems = song(seconds=30.0)
    mixture = mixed(stems)
    shrunk = {name: 0.5 * stem for name, stem in wiener(stems).items()}  # half of the mixture is in no stem
    truth = measure_balance(mixture, stems, RATE, calibration=REFERENCE)
    for name, balance in measure_balance(mixture, shrunk | {"residual": mixture - mixed(shrunk)}, RATE).items():
        if name != "residual":
            assert balance.cross_lu == pytest.approx(truth[name].level_lu, abs=0.05)
            assert balance.level_low_lu < truth[name].level_lu < balance.level_high_lu
    with pytest.raises(ValueError, match="got none of drums, bass, other"):
        measure_balance(mixture, {"vocals": shrunk["vocals"]}, RATE, calibration=BUNDLED)


def test_a_soft_reference_stem_is_present_all_the_same():
    stems = song() | {"triangle": noise(7, level_db=-60.0)}
    assert measure_balance(mixed(stems), stems, RATE, calibration=REFERENCE)["triangle"].present


def test_point_is_between_naive_and_cross_and_equals_cross_without_a_gap():
    naive, cross = np.array([-9.0, -5.0, -3.0, -3.0]), np.array([-4.0, -4.9, -3.0, -3.1])
    point = point_between(naive, cross, SEPARATED)
    assert (point >= np.minimum(naive, cross)).all()
    assert (point <= np.maximum(naive, cross)).all()
    np.testing.assert_array_equal(point[2:], cross[2:])
    np.testing.assert_array_equal(point_between(naive, cross, REFERENCE), naive)


def test_calibration_follows_the_origin_of_the_stems():
    assert calibration_for("reference") is REFERENCE
    assert calibration_for("bundled@1.0") is BUNDLED
    assert calibration_for("htdemucs_ft@demucs-4.1.0") is SEPARATED


def test_interval_widens_with_the_gap_and_closes_without_one():
    low, high = interval_around(np.zeros(4), np.array([0.0, 1.0, -1.0, 100.0]), Margin(0.4, 1.0, 0.5), Margin(0.2, 2.0, 0.25))
    bound = 1 - math.exp(-1)
    np.testing.assert_allclose(low, [0, -0.4 * bound - 0.5, -0.4 * bound - 0.5, -50.4])
    np.testing.assert_allclose(high, [0, 0.2 * (1 - math.exp(-0.5)) + 0.25, 0.2 * (1 - math.exp(-0.5)) + 0.25, 25.2])


@pytest.mark.parametrize(
    ("stems", "message"),
    [
        ({}, "at least one stem"),
        ({"vocals": np.zeros((2, 100), np.float32)}, r"stem 'vocals' in the shape of its mixture \(2, 44100\).*got \(2, 100\)"),
        ({"vocals": np.zeros((1, RATE), np.float32)}, r"stem 'vocals'.*got \(1, 44100\)"),
        ({"vocals": np.zeros((2, RATE), np.int16)}, "float audio .*'vocals' as int16"),
        ({"vocals": np.full((2, RATE), np.nan, np.float32)}, "NaN"),
    ],
)
def test_stems_that_cannot_be_compared_are_refused(stems, message):
    with pytest.raises(ValueError, match=message):
        measure_balance(noise(0, 1.0), stems, RATE)


def test_silent_mixture_is_refused_since_nothing_has_a_level_against_it():
    silence = np.zeros((2, RATE), np.float32)
    with pytest.raises(ValueError, match="expected an audible mixture"):
        measure_balance(silence, {"vocals": silence}, RATE)


def test_nan_in_the_mixture_is_refused_by_name():
    mixture = noise(0, 1.0)
    mixture[0, -1] = np.nan
    with pytest.raises(ValueError, match="NaN"):
        measure_balance(mixture, {"vocals": noise(1, 1.0)}, RATE)


def test_mixture_in_the_wrong_shape_is_refused():
    with pytest.raises(ValueError, match=r"mixture \[C, T\]"):
        measure_balance(np.zeros(RATE, np.float32), {"vocals": np.zeros(RATE, np.float32)}, RATE)
