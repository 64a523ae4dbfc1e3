"""The reverberation of a stem without its dry signal."""

import numpy as np
import pytest
import torch
from scipy.signal import oaconvolve

import stemwright as sw
from stemwright.datagen.effects import room
from stemwright.datagen.inverse.blind import heard_reverberation as blind
from stemwright.datagen.inverse.blind.reverberation_features import HOP, SAMPLE_RATE, lines
from stemwright.datagen.inverse.undo.requests import Request, check_request

RATE = 44_100
ROOMS = ((0.3, -3.0), (0.7, -6.0), (1.4, -3.0))


def bursts(seed: int = 0, rate: int = RATE, seconds: float = 8.0) -> np.ndarray:
    """Short coloured noises and tones at uneven distances: dry percussion, [2, T]."""
    rng = np.random.default_rng(seed)
    out = np.zeros((2, round(seconds * rate)), np.float32)
    start = 0.05
    while start < seconds - 0.3:
        time = np.arange(round(0.25 * rate)) / rate
        tone = np.sin(2.0 * np.pi * rng.uniform(200.0, 900.0) * time) * np.exp(-time / 0.02)
        noise = rng.standard_normal((2, len(time))) * np.exp(-time / 0.012)
        at = round(start * rate)
        out[:, at : at + len(time)] += rng.uniform(0.1, 0.4) * (tone + noise)
        start += rng.uniform(0.25, 0.9)
    return out


def in_room(audio: np.ndarray, rt60_s: float, wet_db: float, rate: int = RATE) -> np.ndarray:
    return sw.apply_chain(audio, rate, [("room", {"rt60_s": rt60_s, "wet_db": wet_db, "pre_delay_ms": 10.0, "seed": 9})])


@pytest.fixture(scope="module")
def found():
    return [sw.estimate_reverberation(in_room(bursts(), *made), RATE) for made in ROOMS]


def test_times_and_levels_of_rooms_are_found(found):
    for (rt60_s, wet_db), one in zip(ROOMS, found, strict=True):
        assert one.rt60_s == pytest.approx(rt60_s / blind.LOWER_OVER_MIDDLE, rel=0.35)
        assert one.rt60_low_s < one.rt60_s < one.rt60_high_s
        assert one.drr_db == pytest.approx(-wet_db, abs=6.0)
        assert one.drr_low_db < one.drr_db < one.drr_high_db
        assert one.confidence >= blind.LEAST_CONFIDENCE
        assert not one.is_dry


def test_a_dry_stem_has_no_time():
    dry = sw.estimate_reverberation(bursts(), RATE)
    assert (dry.is_dry, dry.rt60_s, dry.confidence) == (True, None, 0.0)
    assert dry.drr_db > blind.DRY_DB
    assert dry.reason == "no reverberation was found"


def pad(seconds: float = 12.0) -> np.ndarray:
    """Chords of sawtooth waves that follow one another without a pause, panned, [2, T]: nothing in it stops but the partials."""
    rng, time = np.random.default_rng(0), np.arange(round(seconds * RATE)) / RATE
    out = np.zeros(len(time))
    for second in range(int(seconds)):
        envelope = np.clip(np.minimum(time - second, second + 1.1 - time) / 0.1, 0.0, 1.0)
        for hz in 220.0 * 2.0 ** (rng.choice(24, 3, replace=False) / 12.0):
            out += envelope * sum(np.sin(2.0 * np.pi * hz * n * time + rng.uniform(0.0, 6.0)) / n for n in range(1, 9))
    return (0.05 * np.stack([out, 0.7 * out])).astype(np.float32)


def test_a_pad_in_decaying_noise_has_its_time_and_a_dry_one_has_none():
    dry, rng = pad(), np.random.default_rng(5)
    for rt60_s in (0.4, 0.9):
        time = np.arange(round(1.2 * rt60_s * RATE)) / RATE
        tail = rng.standard_normal((2, len(time))) * 10.0 ** (-3.0 * time / rt60_s)
        tail *= 0.5 / np.sqrt((tail**2).sum(1).mean())
        tail[:, 0] = 1.0
        one = sw.estimate_reverberation(oaconvolve(dry, tail, axes=1)[:, : dry.shape[1]].astype(np.float32), RATE)
        assert one.rt60_s == pytest.approx(rt60_s, rel=0.25)
        assert one.rt60_low_s <= rt60_s <= one.rt60_high_s
    assert sw.estimate_reverberation(dry, RATE).is_dry


def test_the_level_of_the_stem_is_of_no_account(found):
    quiet = sw.estimate_reverberation(1e-9 * in_room(bursts(), *ROOMS[1]), RATE)
    assert quiet.rt60_s == pytest.approx(found[1].rt60_s, rel=0.02)
    assert quiet.drr_db == pytest.approx(found[1].drr_db, abs=0.2)


@pytest.mark.parametrize("rate", [22_050, 48_000])
def test_other_sample_rates_give_nearly_the_same(found, rate):
    other = sw.estimate_reverberation(in_room(bursts(rate=rate), *ROOMS[1], rate=rate), rate)
    assert other.rt60_s == pytest.approx(found[1].rt60_s, rel=0.35)


def test_a_mono_stem_of_five_seconds_is_enough():
    one = sw.estimate_reverberation(in_room(bursts(seconds=5.0)[:1], *ROOMS[1]), RATE)
    assert one.rt60_s == pytest.approx(ROOMS[1][0], rel=0.4)


@pytest.mark.parametrize(
    ("audio", "rate", "reason"),
    [
        (np.zeros((2, 5 * RATE), np.float32), RATE, "the stem is silent"),
        (np.zeros((2, 0), np.float32), RATE, "the stem is silent"),
        (np.ones((1, 1), np.float32), RATE, "the stem has 2.3e-05 s; at least 2 s are needed"),
        (np.ones((1, 50_000), np.float32), 8000, "the sample rate is 8000 Hz; reverberation is estimated from 16 kHz on"),
    ],
)
def test_what_cannot_be_judged_is_said(audio, rate, reason):
    one = sw.estimate_reverberation(audio, rate)
    assert (one.rt60_s, one.drr_db, one.confidence, one.reason) == (None, None, 0.0, reason)


def test_a_constant_and_a_sustained_tone_have_no_time():
    time = np.arange(5 * RATE) / RATE
    for audio in (np.ones((2, 5 * RATE), np.float32), np.sin(2.0 * np.pi * 440.0 * time)[None].astype(np.float32)):
        one = sw.estimate_reverberation(audio, RATE)
        assert one.rt60_s is None
        assert one.reason.startswith("the stem is sustained")


def test_a_single_click_is_not_called_sustained():
    click = np.zeros((2, 5 * RATE), np.float32)
    click[:, RATE] = 1.0
    one = sw.estimate_reverberation(click, RATE)
    assert (one.rt60_s, one.confidence) == (None, 0.0)
    assert one.reason.startswith("the stem sounds too seldom")


def test_the_distribution_of_times_is_widened_and_its_median_stays(found):
    times = np.exp(-0.5 * ((np.arange(len(blind.TIMES) - 1) - 12.0) / 1.5) ** 2)
    times /= times.sum()
    wider = blind.tempered(times)
    ends = [blind.percentiles(one, blind.TIMES, (0.1, 0.5, 0.9)) for one in (times, wider)]
    assert wider.sum() == pytest.approx(1.0)
    assert ends[1][1] == pytest.approx(ends[0][1], abs=1e-6)
    assert (ends[1][2] - ends[1][0]) / (ends[0][2] - ends[0][0]) == pytest.approx(blind.TEMPER**-0.5, rel=0.06)  # bins are wide
    assert all(one.confidence < 0.9 for one in found)


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match=r"expected a stem of float \[channels, time\]; got float64 of shape \[5\]"):
        sw.estimate_reverberation(np.zeros(5), RATE)
    with pytest.raises(ValueError, match="NaN or infinite"):
        sw.estimate_reverberation(np.full((2, RATE), np.nan), RATE)


def test_the_effect_room_has_the_estimate_as_settings():
    wet = in_room(bursts(), *ROOMS[1])
    one, answer = sw.estimate_reverberation(wet, RATE), sw.EFFECTS["room"].estimate(torch.from_numpy(wet), RATE, None)
    assert answer.confidence == one.confidence
    assert answer.quantity == ("reverberation time", one.rt60_s, one.rt60_low_s, one.rt60_high_s, "s")
    assert answer.quantity.text().startswith(f"reverberation time {one.rt60_s:.2f} s (")
    assert answer.settings.wet_db == pytest.approx(-one.drr_db, abs=0.01)
    assert middle_time(answer.settings) == pytest.approx(one.rt60_s, rel=0.06)
    dry = sw.EFFECTS["room"].estimate(torch.from_numpy(bursts()), RATE, None)
    assert (dry.settings, dry.reason) == (None, "no reverberation was found")


def middle_time(settings: room.Settings) -> float:
    """The time of a room's response in the octaves of 500 Hz and 1 kHz, by Schroeder's integral."""
    from scipy.signal import butter, sosfilt

    response = room.impulse_response(settings, RATE).numpy()
    times = []
    for centre in (500.0, 1000.0):
        energy = (sosfilt(butter(3, (centre / 2**0.5, centre * 2**0.5), "bandpass", fs=RATE, output="sos"), response) ** 2).sum(0)
        level = 10.0 * np.log10(energy[::-1].cumsum()[::-1] / energy.sum() + 1e-12)
        inside = np.flatnonzero((level < -5.0) & (level > -35.0))
        times.append(-60.0 / np.polyfit(inside / RATE, level[inside], 1)[0])
    return float(np.mean(times))


def test_the_answer_is_the_median_of_the_bins_and_its_interval():
    times, ratios = np.zeros(len(blind.TIMES) - 1), np.zeros(len(blind.RATIOS) - 1)
    times[[10, 11]], ratios[5] = 0.5, 1.0
    one = blind.answer_of(times, ratios)
    assert one.rt60_s == pytest.approx(2.0 ** blind.TIMES[11], rel=1e-3)
    assert one.rt60_high_s / one.rt60_low_s == pytest.approx(2.0 ** (0.8 * 2 * blind.OCTAVES), rel=1e-3)
    assert one.drr_db == pytest.approx(0.5 * (blind.RATIOS[5] + blind.RATIOS[6]))
    assert one.confidence == blind.CALIBRATED[1][-1]  # all of the probability is within the tolerance
    unsure = blind.answer_of(np.full(len(times), 1.0 / len(times)), ratios)
    assert (unsure.rt60_s, unsure.confidence) == (None, 0.0)
    assert unsure.reason.startswith("the time is between 0.14 and 2.6 s")


def test_lines_have_the_slope_of_a_decay():
    level = -40.0 * np.arange(200)[None] * HOP / SAMPLE_RATE
    slope, deviation = lines(level, 24)
    np.testing.assert_allclose(slope, -40.0, rtol=1e-9)
    assert deviation.max() < 1e-5


def test_a_room_cannot_be_undone():
    with pytest.raises(ValueError, match="room"):
        check_request(Request(effects=("room",)), has_stems=False)
