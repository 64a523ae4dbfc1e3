"""The loudness meter: conformance signals, algebra, and a plain sequential meter to agree with."""

import math
from itertools import pairwise

import numpy as np
import pytest
from conformance import cases, one_channel, steps
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.signal import resample, sosfilt, sosfreqz

from stemwright.separation.loudness.kweighting import HIGHPASS_48K, SHELF_48K, HopSums, hop_edges, hop_products, k_weighting
from stemwright.separation.loudness.meter import (
    channel_weights,
    integrated_loudness,
    loudness_range,
    measure_loudness,
    momentary_loudness,
    short_term_loudness,
    true_peak,
)

RATES = [8_000, 11_025, 16_000, 22_050, 32_000, 44_100, 48_000, 88_200, 96_000, 176_400, 192_000]
FIGURES = [integrated_loudness, momentary_loudness, short_term_loudness, loudness_range, true_peak, measure_loudness]


def noise(seconds: float, sample_rate: int, *, num_channels: int = 2, seed: int = 0) -> np.ndarray:
    """Noise whose level changes twice a second, [C, T]."""
    rng = np.random.default_rng(seed)
    num_frames = round(seconds * sample_rate)
    gain = np.repeat(10 ** rng.uniform(-2, 0, 2 * math.ceil(seconds) + 1), math.ceil(sample_rate / 2))[:num_frames]
    return (0.1 * rng.standard_normal((num_channels, num_frames)) * gain).astype(np.float32)


def plain_integrated(audio: np.ndarray, sample_rate: int) -> float:
    """BS.1770 read line by line: one sequential filter, one block after another."""
    weighted = sosfilt(k_weighting(sample_rate), audio.astype(np.float64), axis=-1)
    power = channel_weights(audio.shape[0]) @ weighted**2
    edges = np.arange(audio.shape[1] * 100 // sample_rate + 1) * sample_rate // 100
    blocks = np.array([power[edges[k] : edges[k + 40]].mean() for k in range(0, edges.size - 40, 10)])
    loudness = -0.691 + 10 * np.log10(blocks)
    above = blocks[loudness > -70]
    threshold = -0.691 + 10 * np.log10(above.mean()) - 10
    return float(-0.691 + 10 * np.log10(blocks[(loudness > -70) & (loudness > threshold)].mean()))


@pytest.mark.parametrize("sample_rate", [48_000, 44_100])
@pytest.mark.parametrize("case", cases(), ids=lambda case: f"{case.name} {case.quantity}")
def test_published_signal_reads_as_published(case, sample_rate):
    readings = case.readings(sample_rate)
    assert case.passes(readings), f"{case.name} {case.quantity}: expected {case.expected}, read {readings}"


@pytest.mark.parametrize("sample_rate", RATES)
def test_meter_agrees_with_a_plain_sequential_meter_at_every_rate(sample_rate):
    audio = noise(7.337, sample_rate)
    assert integrated_loudness(audio, sample_rate) == pytest.approx(plain_integrated(audio, sample_rate), abs=1e-9)


@pytest.mark.parametrize("sample_rate", RATES)
def test_full_scale_tone_of_997_hz_reads_minus_3_01_at_every_rate(sample_rate):
    assert integrated_loudness(one_channel(sample_rate), sample_rate) == pytest.approx(-3.01, abs=0.01)


def test_filter_at_48_khz_is_the_published_one():
    np.testing.assert_allclose(k_weighting(48_000), [[*row[:3], 1.0, *row[3:]] for row in (SHELF_48K, HIGHPASS_48K)], atol=1e-12)


@pytest.mark.parametrize("sample_rate", RATES)
def test_filter_has_the_published_response_at_every_rate(sample_rate):
    frequencies = np.geomspace(10, 0.49 * min(sample_rate, 48_000), 200)
    gains_db = [20 * np.log10(np.abs(sosfreqz(k_weighting(rate), frequencies, fs=rate)[1])) for rate in (48_000, sample_rate)]
    np.testing.assert_allclose(*gains_db, atol=0.031 if sample_rate < 11_025 else 0.01)


@pytest.mark.parametrize("sample_rate", [44_100, 11_025])
def test_hop_products_are_those_of_the_sequential_filter_across_chunks(sample_rate):
    audio = noise(130.005 if sample_rate == 11_025 else 3.3, sample_rate)
    weighted = sosfilt(k_weighting(sample_rate), audio.astype(np.float64), axis=-1)
    edges = hop_edges(audio.shape[1], sample_rate)
    pairs = [(0, 0), (0, 1), (1, 1)]
    products = [weighted[i] * weighted[j] for i, j in pairs]
    expected = [[product[a:b].sum() for a, b in pairwise(edges)] for product in products]
    np.testing.assert_allclose(hop_products([audio[0], audio[1]], pairs, sample_rate), expected, atol=1e-11 * np.max(expected))
    np.testing.assert_allclose(hop_products(audio, pairs, sample_rate), expected, atol=1e-11 * np.max(expected))


@pytest.mark.parametrize("seconds", [0.004, 59.995, 60.0, 60.012])
def test_hops_of_blocks_are_those_of_the_whole_signal(seconds):
    signal = np.random.default_rng(0).normal(0, 0.1, (1, round(seconds * 8000))).astype(np.float32)
    hops = HopSums(1, [(0, 0)], 8000)
    for start in range(0, signal.shape[1], 50_001):
        hops.add(signal[:, start : start + 50_001])
    sums, edges = hops.finish()
    np.testing.assert_array_equal(edges, hop_edges(signal.shape[1], 8000))
    np.testing.assert_allclose(sums, hop_products(signal, [(0, 0)], 8000), rtol=1e-9)


def test_a_value_that_is_not_finite_is_refused_behind_the_last_hop_too():
    signal = np.zeros((1, 8000 * 61 + 5), np.float32)
    signal[0, -1] = np.nan
    hops = HopSums(1, [(0, 0)], 8000)
    hops.add(signal)
    with pytest.raises(ValueError, match="expected finite audio"):
        hops.finish()


@settings(max_examples=15, deadline=None)
@given(st.integers(1, 200_000), st.integers(8_000, 192_000))
def test_hops_cover_the_signal_without_drift(num_frames, sample_rate):
    edges = hop_edges(num_frames, sample_rate)
    assert edges[0] == 0
    assert edges[-1] <= num_frames
    assert num_frames - edges[-1] < sample_rate / 100
    if edges[-1] * 100 >= sample_rate:
        np.testing.assert_array_equal(edges, [k * sample_rate // 100 for k in range(edges.size)])


@pytest.mark.parametrize("gain_db", [-20.0, -3.0, 6.0])
def test_a_gain_adds_to_every_loudness_and_leaves_the_range_unchanged(gain_db):
    audio = noise(12, 44_100)
    before, after = measure_loudness(audio, 44_100), measure_loudness(audio * np.float32(10 ** (gain_db / 20)), 44_100)
    for name in ("integrated_lufs", "true_peak_dbtp", "max_momentary_lufs", "max_short_term_lufs"):
        assert getattr(after, name) - getattr(before, name) == pytest.approx(gain_db, abs=1e-4)
    assert after.range_lu == pytest.approx(before.range_lu, abs=1e-4)


def test_two_equal_channels_are_3_lu_louder_than_one():
    mono = noise(5, 48_000, num_channels=1)
    stereo = integrated_loudness(np.tile(mono, (2, 1)), 48_000)
    assert stereo - integrated_loudness(mono, 48_000) == pytest.approx(10 * math.log10(2), abs=1e-6)


@pytest.mark.parametrize(
    ("num_channels", "channel", "expected_lu"), [(3, 2, 0.0), (4, 3, 1.492), (5, 2, 0.0), (5, 3, 1.492), (5, 4, 1.492)]
)
def test_surround_channels_weigh_1_41(num_channels, channel, expected_lu):
    mono = noise(3, 48_000, num_channels=1)
    audio = np.zeros((num_channels, mono.shape[1]), np.float32)
    audio[channel] = mono[0]
    assert integrated_loudness(audio, 48_000) - integrated_loudness(mono, 48_000) == pytest.approx(expected_lu, abs=1e-3)


@pytest.mark.parametrize("num_channels", [1, 2, 5])
@pytest.mark.parametrize("seconds", [0.001, 0.2, 5.0])
def test_silence_has_minus_infinite_loudness_and_no_nan(num_channels, seconds):
    silence = np.zeros((num_channels, max(1, round(seconds * 48_000))), np.float32)
    report = measure_loudness(silence, 48_000)
    assert report == (-math.inf, 0.0, -math.inf, -math.inf, -math.inf)
    assert np.isneginf(momentary_loudness(silence, 48_000)[0]).all()
    assert np.isneginf(short_term_loudness(silence, 48_000)[0]).all()


def test_silence_after_sound_is_silence_again():
    audio = steps(48_000, (5, -10), (5, -np.inf))
    loudness, ends = momentary_loudness(audio, 48_000)
    assert np.isneginf(loudness[ends > 5.6]).all()
    assert np.isfinite(loudness[ends <= 5.3]).all()


@pytest.mark.parametrize("seconds", [0.005, 0.1, 0.399])
def test_signal_shorter_than_a_block_is_one_block_of_its_own_length(seconds):
    sample_rate = 48_000
    audio = steps(sample_rate, (seconds, -20))
    weighted = sosfilt(k_weighting(sample_rate), audio.astype(np.float64), axis=-1)
    covered = max(1, int(seconds * 100)) * 480 if seconds >= 0.01 else audio.shape[1]
    expected = -0.691 + 10 * math.log10((weighted[:, :covered] ** 2).mean(-1).sum())
    assert integrated_loudness(audio, sample_rate) == pytest.approx(expected, abs=1e-9)
    loudness, ends = short_term_loudness(audio, sample_rate)
    assert loudness == pytest.approx([expected])
    assert ends == pytest.approx([covered / sample_rate])


def test_windows_end_every_ten_milliseconds_from_their_length_on():
    audio = noise(4, 44_100)
    np.testing.assert_allclose(momentary_loudness(audio, 44_100)[1], np.arange(40, 401) / 100, atol=1e-9)
    np.testing.assert_allclose(short_term_loudness(audio, 44_100)[1], np.arange(300, 401) / 100, atol=1e-9)


def test_constant_tone_has_no_range():
    assert loudness_range(steps(48_000, (20, -23)), 48_000) == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize("sample_rate", [8_000, 44_100, 192_000])
def test_true_peak_of_a_sine_is_its_amplitude_wherever_the_samples_fall(sample_rate):
    for cycles, phase in ((0.01, 0.3), (0.1137, 1.0), (0.2491, 0.5), (0.333, 2.0)):
        n = np.arange(sample_rate // 4)
        fade = np.minimum(1, np.minimum(n, n[::-1]) / 400)
        tone = (0.7 * fade * np.sin(2 * np.pi * cycles * n + phase)).astype(np.float32)[None]
        assert true_peak(tone, sample_rate) == pytest.approx(20 * math.log10(0.7), abs=0.02 if cycles < 0.3 else 0.15)


def test_true_peak_is_that_of_a_finer_interpolation():
    audio = noise(0.5, 48_000, seed=3)
    band_limited = resample(resample(audio.astype(np.float64), 16_000, axis=1), 24_000, axis=1)
    fine = resample(band_limited, 16 * 24_000, axis=1)
    expected_db = 20 * math.log10(np.abs(fine).max())
    assert expected_db - 0.3 < true_peak(band_limited, 48_000) < expected_db + 0.02


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 900), st.integers(0, 2**32 - 1))
def test_true_peak_is_never_below_a_sample_and_finds_the_peak_of_any_block(num_frames, seed):
    rng = np.random.default_rng(seed)
    audio = (rng.standard_normal((1, num_frames)) * rng.uniform(0.001, 1, (1, num_frames))).astype(np.float32)
    peak = true_peak(audio, 48_000)
    assert peak >= 20 * math.log10(np.abs(audio).max()) - 1e-4
    padded = np.pad(audio, ((0, 0), (517, 1031)))
    assert true_peak(padded, 48_000) == pytest.approx(peak, abs=1e-4)


def test_report_holds_what_the_single_functions_say():
    # To 1e-9 dB: the report takes its sums in another order, and which order a matrix product takes differs between processors.
    audio = noise(8, 48_000)
    report = measure_loudness(audio, 48_000)
    single = {
        "integrated_lufs": integrated_loudness(audio, 48_000),
        "range_lu": loudness_range(audio, 48_000),
        "true_peak_dbtp": true_peak(audio, 48_000),
        "max_momentary_lufs": momentary_loudness(audio, 48_000)[0].max(),
        "max_short_term_lufs": short_term_loudness(audio, 48_000)[0].max(),
    }
    assert {name: getattr(report, name) for name in single} == pytest.approx(single, rel=0, abs=1e-9)


@pytest.mark.parametrize("figure", FIGURES, ids=lambda figure: figure.__name__)
@pytest.mark.parametrize("frame", [0, 30_000, -1])
def test_nan_is_refused_by_name_wherever_it_is(figure, frame):
    if figure is true_peak and frame == -1:
        frame = 95_999
    audio = noise(2.0001, 48_000)
    audio[1, frame] = np.nan
    with pytest.raises(ValueError, match="NaN"):
        figure(audio, 48_000)


@pytest.mark.parametrize("figure", FIGURES, ids=lambda figure: figure.__name__)
@pytest.mark.parametrize(
    ("audio", "message"),
    [
        (np.zeros((48_000, 2), np.float32), r"1 to 5 channels.*got 48000"),
        (np.zeros(48_000, np.float32), r"expected audio \[C, T\]"),
        (np.zeros((2, 0), np.float32), "at least one frame"),
        (np.zeros((2, 100), np.int16), "float audio"),
    ],
)
def test_wrong_arrays_are_refused_with_what_to_do(figure, audio, message):
    with pytest.raises(ValueError, match=message):
        figure(audio, 48_000)


@pytest.mark.parametrize("sample_rate", [0, 7_999, 192_001])
@pytest.mark.parametrize("figure", FIGURES, ids=lambda figure: figure.__name__)
def test_rates_outside_8_to_192_khz_are_refused(figure, sample_rate):
    with pytest.raises(ValueError, match="sample rate from 8000 to 192000"):
        figure(noise(0.5, 8_000), sample_rate)


def test_meter_agrees_with_libebur128():
    peer = pytest.importorskip("pyebur128.pyebur128")
    audio = noise(20, 48_000)
    state = peer.R128State(2, 48_000, peer.MeasurementMode.MODE_I)
    state.add_frames(np.ascontiguousarray(audio.T).ravel(), audio.shape[1])
    assert integrated_loudness(audio, 48_000) == pytest.approx(peer.get_loudness_global(state), abs=1e-6)
