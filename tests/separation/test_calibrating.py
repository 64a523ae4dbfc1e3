"""Calibration to a separator: what is fitted undoes what was made wrong; a song that is left out is never used; kept by weights."""

import json
from dataclasses import replace

import numpy as np
import pytest

from stemwright.separation.balance import kept_calibrations as kept
from stemwright.separation.balance.image_intervals import OTHER_IMAGE, Seen
from stemwright.separation.balance.level_estimators import BUNDLED, OTHER, Correction, calibration_for, point_between
from stemwright.separation.balance.measure import measure_balance
from stemwright.separation.calibrating.level_fit import TooFewSongsError, absent_below, base_for, check_enough, fit
from stemwright.separation.calibrating.measured_rows import SeparatedLevels, StemRow, measured_rows
from stemwright.separation.calibrating.songs_left_out import leave_one_out

RATE = 22_050
NAMES = ("drums", "bass", "other", "vocals")


def row(song, stem, true_lu, naive_lu, cross_lu, **columns):
    """A row of a stem without rest, windows and pan but for what is given."""
    levels = SeparatedLevels(naive_lu, cross_lu, -np.inf, -np.inf)
    usual = {"rest_true_lu": -np.inf, "raised": levels, "left": 0.0, "factor": 1.0, "sdr_db": 8.0, "true_pan": None, "pan": None}
    usual |= {"shared_pan": None, "mixture_width": 0.0, "windows": np.zeros((3, 0))}
    return StemRow(song=song, stem=stem, true_lu=true_lu, plain=levels, **{**usual, **columns})


def rows_of(count, biases, rng, *, noise_lu=0.0, weight=None):
    """Songs of four stems whose separated levels are off by ``biases``; with a ``weight`` the truth is so far from naive to cross."""
    found = []
    for number in range(count):
        for stem in NAMES:
            true, gap = rng.uniform(-20, -4), rng.uniform(0.2, 4.0)
            naive = true - weight * gap if weight is not None else true
            off = biases.get(stem, 0.0) + rng.normal(0, noise_lu) if noise_lu else biases.get(stem, 0.0)
            found.append(row(f"song{number}", stem, true, naive + off, (naive + gap if weight is not None else true) + off))
    return found


def test_the_fit_undoes_a_made_bias_of_each_stem():
    rng = np.random.default_rng(0)
    biases = {"drums": 2.0, "bass": -1.5, "vocals": 0.5}
    found = fit(rows_of(12, biases, rng), OTHER)
    for stem in NAMES:
        level = np.array(-12.0 + biases.get(stem, 0.0))
        point = point_between(level, level, found) + found.correction.at(stem, level, level, 0.0)
        assert float(point) == pytest.approx(-12.0, abs=0.1)


@pytest.mark.parametrize("weight", [0.2, 0.5, 1.0])
def test_the_fit_finds_where_the_truth_is_between_naive_and_cross(weight):
    rng = np.random.default_rng(1)
    found = fit(rows_of(20, {}, rng, weight=weight), OTHER)
    naive, cross = np.array([-11.0, -13.0]), np.array([-9.0, -10.0])
    point = point_between(naive, cross, found) + found.correction.at("bass", naive, cross, 0.0)
    np.testing.assert_allclose(point, naive + weight * (cross - naive), atol=0.3)


def test_a_calibration_of_few_songs_stays_near_the_generic_one():
    def moved(count):
        rng = np.random.default_rng(2)
        return abs(
            fit(rows_of(count, {"drums": 1.0}, rng, noise_lu=1.5), OTHER).correction.at("drums", np.array(-9.0), np.array(-9.0), 0.0)
        )

    assert moved(2) < 1.0  # what two songs say is believed in part
    assert moved(60) == pytest.approx(1.0, abs=0.45)


def test_a_correction_that_does_not_help_songs_that_are_left_out_is_none():
    rng = np.random.default_rng(3)
    found = fit(rows_of(6, {}, rng, noise_lu=0.3), OTHER)
    point = found.correction.at("drums", np.array(-9.0), np.array(-9.0), 0.0)
    assert abs(float(point)) < 0.2


def test_what_a_song_says_of_itself_does_not_change_how_it_is_judged():
    rng = np.random.default_rng(4)
    rows = rows_of(8, {"drums": 1.0}, rng, noise_lu=0.2)
    other_truth = [replace(each, true_lu=each.true_lu - 6.0) if each.song == "song3" else each for each in rows]
    first, second = (leave_one_out(some, OTHER).after for some in (rows, other_truth))
    own = np.array([song == "song3" for song in first.songs])
    np.testing.assert_array_equal(first.point[own], second.point[own])
    np.testing.assert_array_equal(first.low[own], second.low[own])
    assert not np.array_equal(first.point[~own], second.point[~own])  # it counts for the others


def test_intervals_hold_four_of_five_songs_that_are_left_out():
    rng = np.random.default_rng(5)
    rows = rows_of(40, {"vocals": -1.0}, rng, noise_lu=1.2)
    judged = leave_one_out(rows, OTHER)
    assert judged.after.figures()["coverage"] == pytest.approx(0.8, abs=0.07)
    assert judged.before.figures()["coverage"] < 0.6
    assert judged.after.figures()["rmse_lu"] < judged.before.figures()["rmse_lu"]


def test_intervals_grow_as_generic_ones_do_beyond_what_the_songs_show():
    found = fit(rows_of(20, {}, np.random.default_rng(7), weight=0.5, noise_lu=0.1), OTHER)  # gaps up to 4 LU
    near, far = found.low.at(np.array(4.0)), found.low.at(np.array(10.0))
    assert near < 0.5 * OTHER.low.at(np.array(4.0))
    assert far - near > 0.99 * (OTHER.low.at(np.array(10.0)) - OTHER.low.at(np.array(4.0)))


def test_too_few_songs_say_how_many_are_needed():
    rows = rows_of(3, {}, np.random.default_rng(6))
    with pytest.raises(TooFewSongsError, match=r"at least 5 songs with 10 stems in all .*; got 3 with 12"):
        check_enough(rows)
    check_enough(rows_of(5, {}, np.random.default_rng(6)))
    silent = [replace(each, true_lu=-np.inf) for each in rows_of(9, {}, np.random.default_rng(6))]
    with pytest.raises(TooFewSongsError, match="got 0 with 0"):
        check_enough(silent)


def test_the_least_level_is_between_stems_that_are_there_and_what_is_left_in_others():
    there = [row(f"s{n}", "drums", -12.0, -18.0 - n, -12.0) for n in range(5)]
    absent = [row(f"s{n}", "vocals", -np.inf, -38.0 - n, -30.0) for n in range(5)]
    assert -38.0 < absent_below([*there, *absent], -30.0) < -22.0
    soft = [row("s", "drums", -25.0, -34.0, -26.0)]
    assert absent_below([*there, *soft], -30.0) == -37.0  # nothing absent is known: below all that is there


def test_a_narrowed_pan_is_widened_again():
    rng = np.random.default_rng(7)
    places = rng.uniform(-0.8, 0.8, 30)
    facts = [{"true_pan": at, "pan": 0.6 * at, "shared_pan": 0.6 * at, "mixture_width": 0.3} for at in places]
    rows = [row(f"s{n}", "drums", -12.0, -13.0, -12.0, **each) for n, each in enumerate(facts)]
    image = fit(rows, OTHER).image
    assert image.pan_of(0.3, Seen(1.0, 0.3, 0.3)) == pytest.approx(0.5, abs=0.02)
    assert OTHER_IMAGE.pan_of(0.3, Seen(1.0, 0.3, 0.3)) == 0.3
    judged = leave_one_out(rows, OTHER)
    assert judged.pan_after.error < 0.1 * judged.pan_before.error


def panned_songs_that_leak(count=14):
    """Songs of stems at places of their own, whose separated stems contain a share of the mixture."""
    rows = []
    for song in range(count):
        rng, stems = np.random.default_rng(song), noises(4, 1.5, song)
        for name, audio in stems.items():
            angle = (rng.uniform(-0.6, 0.6) + 1) * np.pi / 4
            stems[name] = (10 ** (rng.uniform(-8, 0) / 20) * audio[:1] * np.array([[np.cos(angle)], [np.sin(angle)]])).astype(np.float32)
        rows += measured_rows(f"song{song}", sum(stems.values()), stems, leaking(stems, rng.uniform(0.1, 0.3)), RATE)
    return rows


def test_ranges_of_pans_hold_where_a_leak_is_subtracted_from_the_levels():
    rows = panned_songs_that_leak()
    assert fit(rows, OTHER).leak > 0.0
    judged = leave_one_out(rows, OTHER)
    assert judged.pan_after.coverage >= min(0.8, judged.pan_before.coverage)


def test_ranges_of_image_and_playing_are_those_of_stems_as_given_where_a_leak_is_subtracted():
    stems = noises()
    mixture, given = sum(stems.values()), leaking(stems, 0.2)
    plain = measure_balance(mixture, given, RATE, calibration=OTHER)
    found = measure_balance(mixture, given, RATE, calibration=replace(OTHER, leak=0.2))
    for name in stems:
        assert plain[name].pan_high - plain[name].pan_low > 0.01
        for quantity in ("pan", "width"):
            low, high = f"{quantity}_low", f"{quantity}_high"
            width, usual = (getattr(each[name], high) - getattr(each[name], low) for each in (found, plain))
            assert width == pytest.approx(usual, rel=0.05)
        assert found[name].active_fraction - found[name].active_low == pytest.approx(
            plain[name].active_fraction - plain[name].active_low, rel=0.05
        )


def test_a_range_of_pans_that_holds_less_than_the_generic_one_is_not_kept():
    rows = [
        row(f"s{n}", "drums", -12.0, -13.0, -12.0, true_pan=at, pan=0.6 * at, shared_pan=0.6 * at, mixture_width=0.3)
        for n, at in enumerate(np.random.default_rng(7).uniform(-0.8, 0.8, 30))
    ]
    found, judged = fit(rows, OTHER), leave_one_out(rows, OTHER)
    assert judged.kept(found, OTHER) == found
    worse = replace(judged, pan_before=judged.pan_before._replace(coverage=0.71), pan_after=judged.pan_after._replace(coverage=0.49))
    assert worse.kept(found, OTHER) == replace(found, image=OTHER.image)


def test_what_is_left_of_a_stem_that_no_song_has_says_nothing_of_the_others():
    there = [row(f"s{n}", "drums", -14.0, -19.0 - n, -14.0) for n in range(5)]
    instrumental = [row(f"s{n}", "vocals", -np.inf, -13.0 - n / 10, -12.0) for n in range(5)]
    found = fit([*there, *instrumental], OTHER)
    assert found.absent_below("drums") < -23.0
    assert found.absent_below("vocals") == -15.0  # the bound
    assert found.absent_below("guitar") == OTHER.absent_lu
    assert leave_one_out([*there, *instrumental], OTHER).after.figures()["lost"] == 0


def test_a_stem_that_would_be_called_absent_is_counted():
    soft = [row(f"s{n}", "drums", -14.0, -19.0 if n else -31.0, -14.0) for n in range(5)]
    judged = leave_one_out(soft, OTHER)
    assert (judged.before.figures()["lost"], judged.after.figures()["lost"]) == (1, 1)  # the song itself does not count


def test_a_correction_by_which_the_error_that_is_shown_grows_is_none():
    rng = np.random.default_rng(8)
    usual = [row(f"s{n}", "drums", -12.0, -11.5 + rng.normal(0, 0.05), -11.5) for n in range(18)]
    outliers = [row(f"s{n}", "drums", -12.0, -20.0, -20.0) for n in range(18, 20)]
    assert fit(usual, OTHER).correction.at("drums", np.array(-9.0), np.array(-9.0), 0.0) == pytest.approx(-0.5, abs=0.2)
    assert fit([*usual, *outliers], OTHER).correction.at("drums", np.array(-9.0), np.array(-9.0), 0.0) == 0.0


# ---------------------------------------------------------------- rows of sound


def noises(count=4, seconds=3.0, seed=0):
    rng = np.random.default_rng(seed)
    return {name: rng.normal(0, 0.05 * (1 + n), (2, round(seconds * RATE))).astype(np.float32) for n, name in enumerate(NAMES[:count])}


def test_rows_of_exact_stems_have_no_error_and_leave_nothing():
    stems = noises()
    mixture = sum(stems.values())
    for each in measured_rows("a", mixture, stems, stems, RATE):
        assert each.plain.naive_lu == pytest.approx(each.true_lu, abs=1e-6)
        assert each.plain.rest_naive_lu == pytest.approx(each.rest_true_lu, abs=1e-4)
        assert each.pan == pytest.approx(each.true_pan)
        assert abs(each.left) < 0.01
        np.testing.assert_allclose(each.windows[0], each.windows[1])


def test_a_stem_that_the_song_does_not_have_is_absent_and_a_song_of_one_stem_counts():
    stems = noises(1)
    leak = {**stems, "vocals": 0.02 * stems["drums"]}
    drums, vocals = measured_rows("a", stems["drums"], stems, leak, RATE)
    assert drums.present
    assert drums.true_lu == pytest.approx(0.0, abs=1e-6)
    assert not vocals.present
    assert (vocals.true_lu, vocals.true_pan) == (-np.inf, None)
    silent = measured_rows("a", stems["drums"], stems, {**stems, "vocals": np.zeros_like(leak["vocals"])}, RATE)[1]
    assert not silent.present
    assert silent.plain.naive_lu == -np.inf


def leaking(stems, leak):
    mixture = sum(stems.values())
    return {name: (1 - leak) * audio + leak / len(stems) * mixture for name, audio in stems.items()}


def songs_that_leak(leak, count=5):
    rows = []
    for song in range(count):
        gains = np.random.default_rng(song).uniform(-20, 0, 4)
        stems = {name: 10 ** (gain / 20) * audio for (name, audio), gain in zip(noises(4, 1.5, song).items(), gains, strict=True)}
        rows += measured_rows(f"song{song}", sum(stems.values()), stems, leaking(stems, leak), RATE)
    return rows


def test_a_leak_is_taken_out_exactly_and_the_stem_is_shown_as_it_was_given():
    stems = noises()
    stems["drums"] = 0.05 * stems["drums"]
    mixture, given = sum(stems.values()), leaking(stems, 0.2)
    right = measure_balance(mixture, stems, RATE, calibration=OTHER)
    found = measure_balance(mixture, given, RATE, calibration=replace(OTHER, leak=0.2))
    plain = measure_balance(mixture, given, RATE, calibration=OTHER)
    for name in stems:
        assert found[name].level_lu == pytest.approx(right[name].level_lu, abs=1e-3)
        np.testing.assert_allclose(found[name].trajectory.level_lu, right[name].trajectory.level_lu, atol=1e-3)
        assert found[name].loudness_lufs == pytest.approx(plain[name].loudness_lufs)
    assert plain["drums"].level_lu > right["drums"].level_lu + 6.0


def test_a_leak_between_those_that_are_tried_is_within_the_interval_of_a_soft_stem():
    stems = noises()
    stems["drums"] = 0.5 * stems["drums"]
    mixture, given = sum(stems.values()), leaking(stems, 0.225)  # half-way between two
    right = measure_balance(mixture, stems, RATE, calibration=OTHER)
    of_rows = fit(songs_that_leak(0.2), OTHER)
    assert (of_rows.leak, of_rows.leak_off) == (0.2, 0.125)
    found = measure_balance(mixture, given, RATE, calibration=replace(of_rows, correction=Correction()))
    assert abs(found["drums"].level_lu - right["drums"].level_lu) > 0.5
    assert found["drums"].level_low_lu < right["drums"].level_lu < found["drums"].level_high_lu
    drums, bass = (found[name].level_high_lu - found[name].level_low_lu for name in ("drums", "bass"))
    assert drums > max(1.0, 2 * bass)
    course = found["drums"].trajectory
    assert (course.high_lu - course.low_lu > 1.0).all()


def test_the_fit_finds_how_much_leaks_and_takes_no_leak_for_one():
    rows = songs_that_leak(0.15)
    found = leave_one_out(rows, OTHER)
    assert fit(rows, OTHER).leak == 0.15
    assert found.before.figures()["rmse_lu"] > 2.0
    assert found.after.figures()["rmse_lu"] < 0.1
    assert fit(songs_that_leak(0.0), OTHER).leak == 0.0


def test_a_calibration_from_kept_rows_is_that_from_new_ones():
    rows = songs_that_leak(0.1)
    assert fit([StemRow.of(json.loads(json.dumps(each.as_json()))) for each in rows], OTHER) == fit(rows, OTHER)


def test_rows_are_the_same_after_they_were_kept():
    stems = noises()
    for each in measured_rows("a", sum(stems.values()), {"drums": stems["drums"]}, stems, RATE):
        again = StemRow.of(json.loads(json.dumps(each.as_json())))
        assert again.plain == each.plain
        assert (again.true_lu, again.pan, again.factor) == (each.true_lu, each.pan, each.factor)
        np.testing.assert_allclose(again.windows, each.windows, atol=1e-3)


def test_the_fit_is_of_what_a_balance_measures():
    """A separator with stems 3 dB too loud: rows of its songs, and the balance of another song by their calibration."""
    rows = []
    for seed in range(6):
        stems = noises(seed=seed)
        rows += measured_rows(str(seed), sum(stems.values()), stems, {name: 1.413 * audio for name, audio in stems.items()}, RATE)
    found = fit(rows, OTHER)
    stems = noises(seed=99)
    mixture = sum(stems.values())
    truth = measure_balance(mixture, stems, RATE, calibration="reference")
    balance = measure_balance(mixture, {name: 1.413 * audio for name, audio in stems.items()}, RATE, calibration=found)
    for name, stem in balance.items():
        assert stem.level_lu == pytest.approx(truth[name].level_lu, abs=0.3)
        assert stem.level_low_lu <= stem.level_lu <= stem.level_high_lu
        np.testing.assert_allclose(stem.trajectory.level_lu, truth[name].trajectory.level_lu, atol=0.3)


def test_a_separator_that_leaves_much_begins_from_wide_intervals():
    stems = noises()
    half = {name: 0.5 * audio for name, audio in stems.items()}
    rows = measured_rows("a", sum(stems.values()), stems, half, RATE)
    assert base_for("my.model:x@1", rows).together == BUNDLED.together
    assert base_for("my.model:x@1", rows).basis == "estimated"
    assert base_for("my.model:x@1", measured_rows("a", sum(stems.values()), stems, stems, RATE)) == OTHER


# ---------------------------------------------------------------- kept


def a_calibration(identity, offset_lu=1.0):
    return kept.kept_calibration(
        "toy@1", identity, ["a", "b"], replace(OTHER, correction=Correction(offset_lu=offset_lu)), [{"stem": "all", "rmse_lu_after": 0.4}]
    )


def test_a_calibration_is_found_by_its_weights_and_for_no_others(tmp_path, monkeypatch):
    monkeypatch.setenv("STEMWRIGHT_CACHE", str(tmp_path))
    weights = {"model": "toy", "weights": {"a": "1" * 64}, "precision": "auto", "schedule": 3}
    made = a_calibration(weights)
    kept.keep(made, kept.place_of_calibrations())
    assert kept.calibration_of("toy@1", kept.separator_key({**weights, "precision": "bf16"})) == made.usable
    assert made.usable.id == made.id != ""
    other = kept.separator_key({**weights, "weights": {"a": "2" * 64}})
    assert kept.calibration_of("toy@1", other) == calibration_for("toy@1")
    assert kept.calibration_of("toy@1", "") == calibration_for("toy@1")
    assert a_calibration(weights, 2.0).id != made.id


@pytest.mark.parametrize(
    "change", [lambda text: text[:50], lambda text: text.replace('"offset_lu": 1.0', '"offset_lu": 1e999'), lambda _: "[]"]
)
def test_a_damaged_file_is_no_calibration(tmp_path, change):
    path = kept.keep(a_calibration({"a": 1}), tmp_path)
    assert kept.read_calibration(path) is not None
    path.write_text(change(path.read_text()))
    assert kept.read_calibration(path) is None
    assert kept.kept_calibrations(tmp_path) == []


def test_a_file_of_another_key_is_no_calibration(tmp_path):
    path = kept.keep(a_calibration({"a": 1}), tmp_path)
    path.rename(tmp_path / "0123456789abcdef.json")
    assert kept.kept_calibrations(tmp_path) == []


def test_a_calibration_of_before_margins_had_an_end_is_read_under_its_id(tmp_path):
    said = a_calibration({"a": 1}).model_dump(mode="json")
    for name in ("low", "high", "window_low", "window_high"):
        for later in ("seen_lu", "per_beyond"):
            said["calibration"][name].pop(later)
    said["id"] = kept.content_id({"key": said["key"], "calibration": said["calibration"]})
    path = tmp_path / f"{said['key']}.json"
    path.write_text(json.dumps(said))
    assert kept.read_calibration(path).usable.id == said["id"]
