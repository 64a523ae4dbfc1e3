"""The mixture's own loudness over time, levels in octave bands and in sections, on material whose values are known."""

from dataclasses import replace

import numpy as np
import pytest
import scipy.signal

from stemwright.separation.balance.level_estimators import REFERENCE
from stemwright.separation.balance.measure import measure_balance
from stemwright.separation.balance.mixture_line import mixture_course, plr_db
from stemwright.separation.balance.music import Music
from stemwright.separation.balance.track_balance import as_json, measure_track, section_rows
from stemwright.separation.loudness.meter import integrated_loudness, short_term_loudness
from stemwright.separation.loudness.true_peak import true_peak, true_peaks

RATE = 44_100


def noise(seconds, seed=0, channels=2):
    return (0.05 * np.random.default_rng(seed).standard_normal((channels, round(seconds * RATE)))).astype(np.float32)


def stepped(levels_db, seconds=6.0, seed=0):
    """Noise whose level changes every so many seconds."""
    gain = np.repeat(10 ** (np.array(levels_db) / 20), round(seconds * RATE)).astype(np.float32)
    return noise(seconds * len(levels_db), seed) * gain


def tone(hz, seconds=4.0, gain=0.1):
    time_s = np.arange(round(seconds * RATE)) / RATE
    return np.repeat((gain * np.sin(2 * np.pi * hz * time_s)).astype(np.float32)[None], 2, axis=0)


def test_the_course_is_short_term_loudness_and_the_peak_above_it():
    audio = stepped([0.0, -12.0])
    audio[:, 9 * RATE] = 0.9  # a click in the soft half
    found = mixture_course(audio, RATE)
    exact, end_s = short_term_loudness(audio, RATE)
    np.testing.assert_allclose(found.short_term_lufs, np.interp(found.end_s, end_s, exact), atol=1e-9)
    clicked = (found.end_s > 9.1) & (found.end_s < 11.9)
    before = found.end_s < 5.9
    assert np.ptp(found.psr_db[before]) < 1.0
    assert (found.psr_db[clicked] > found.psr_db[before].max() + 6).all()
    at = int(np.argmin(np.abs(found.end_s - 10.0)))
    peak = true_peak(audio[:, 7 * RATE : 10 * RATE], RATE)
    assert found.psr_db[at] == pytest.approx(peak - exact[np.argmin(np.abs(end_s - 10.0))], abs=0.02)


def test_true_peaks_of_spans_have_that_of_the_whole_as_their_largest():
    for seed in range(3):
        audio = scipy.signal.resample_poly(noise(1.0, seed), 2, 1, axis=1).astype(np.float32)
        edges = np.unique([*range(0, audio.shape[1], 4_410), audio.shape[1]])
        assert true_peaks(audio, edges, RATE).max() == pytest.approx(true_peak(audio, RATE), abs=1e-4)


def test_true_peak_of_a_span_is_at_least_its_largest_sample():
    audio = np.zeros((1, 3_000), np.float32)
    audio[0, [1_000, 2_500]] = 0.9, -0.5
    assert true_peaks(audio, np.array([0, 900, 2_000, 3_000]), RATE)[1:] == pytest.approx(20 * np.log10([0.9, 0.5]), abs=1e-4)


def test_silence_and_short_audio_have_a_course():
    silent = mixture_course(np.zeros((2, 4 * RATE), np.float32), RATE)
    assert np.isneginf(silent.short_term_lufs).all()
    assert np.isnan(silent.psr_db).all()
    assert len(mixture_course(noise(0.5), RATE).end_s) == 1
    assert plr_db(-np.inf, -np.inf) is None


def test_plr_of_a_square_wave_is_less_than_of_noise():
    square = np.sign(tone(500.0)) * np.float32(0.5)
    loud, soft = measure_track("square", square, {"a": square}, RATE), measure_track("noise", noise(4), {"a": noise(4)}, RATE)
    assert loud.plr_db == pytest.approx(loud.loudness.true_peak_dbtp - integrated_loudness(square, RATE))
    assert loud.plr_db < soft.plr_db - 6
    assert as_json(loud)["mixture"]["plr_db"] == round(loud.plr_db, 2)
    assert len(as_json(loud)["mixture"]["trajectory"]["psr_db"]) == 2


@pytest.mark.parametrize("channels", [1, 2])
def test_the_level_in_a_band_is_that_of_the_tones_in_it(channels):
    low, high = (tone(hz, gain=gain)[:channels] for hz, gain in ((250.0, 0.1), (4_000.0, 0.05)))
    quarter = 0.5 * low
    found = measure_balance(low + quarter + high, {"low": low, "quarter": quarter, "high": high}, RATE, calibration="reference")
    levels = {name: {round(band.centre_hz): band.level_lu for band in stem.bands} for name, stem in found.items()}
    assert levels["low"][251] == pytest.approx(20 * np.log10(1 / 1.5), abs=0.01)
    assert levels["quarter"][251] == pytest.approx(20 * np.log10(0.5 / 1.5), abs=0.01)
    assert levels["high"][3981] == pytest.approx(0.0, abs=0.01)
    assert levels["high"][251] == -np.inf
    assert all((band.image is None) == (channels == 1) for band in found["low"].bands if np.isfinite(band.level_lu))


def test_unrelated_stems_of_equal_noise_have_minus_three_in_every_band():
    stems = {"one": noise(8, 1), "other": noise(8, 2)}
    for stem in measure_balance(stems["one"] + stems["other"], stems, RATE, calibration="reference").values():
        assert [band.level_lu for band in stem.bands] == pytest.approx([-3.01] * 8, abs=0.7)


def test_levels_in_sections_are_those_that_the_stems_have_there():
    stems = {"steady": stepped([0.0, 0.0, 0.0], 6.0, 1), "changing": stepped([-6.0, -200.0, 6.0], 6.0, 2)}
    track = measure_track("song", sum(stems.values()), stems, RATE, calibration=REFERENCE)
    assert track.sections == ()
    track = replace(track, music=Music(((0.0, 6.0), (6.0, 12.0), (12.0, 18.0)), 120.0, "C major", 0.2))
    expected = {"steady": [-0.97, 0.0, -6.99], "changing": [-6.97, -np.inf, -0.97]}
    for name, values in expected.items():
        found = [section.stems[name][0] for section in track.sections]
        assert [max(value, -60.0) for value in found] == pytest.approx([max(value, -60.0) for value in values], abs=0.15)
    assert [round(section.loudness_lufs - track.sections[1].loudness_lufs, 1) for section in track.sections] == pytest.approx(
        [1.0, 0.0, 7.0], abs=0.2
    )
    rows = section_rows(track)
    assert len(rows) == 6
    assert as_json(track)["music"] == {"tempo_bpm": 120.0, "key": "C major", "key_confidence": 0.2}
    assert all(
        low <= level <= high
        for row in rows
        if row["level_lu"] is not None
        for low, level, high in [[row["level_low_lu"], row["level_lu"], row["level_high_lu"]]]
    )


def test_a_section_shorter_than_a_window_has_the_level_of_the_nearest():
    stems = {"steady": stepped([0.0, 0.0], 6.0, 1), "changing": stepped([-6.0, 6.0], 6.0, 2)}
    track = measure_track("song", sum(stems.values()), stems, RATE, calibration=REFERENCE)
    track = replace(track, music=Music(((0.0, 1.0), (1.0, 12.0))))
    assert track.sections[0].stems["changing"][0] == pytest.approx(-6.97, abs=0.3)
