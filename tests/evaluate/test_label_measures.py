"""Each method of measuring a setting back gives the known answer on effects that are written here, or by somebody else."""

import io
import math

import numpy as np
import pytest
from scipy import signal

from stemwright.datagen.evaluate.label_measures import coding_noise, echoes, freeverb, level_steps, modulation, responses, signal_levels
from stemwright.datagen.evaluate.label_measures.systems import OutputError, System

RATE = 44_100


def system(process, channels=1):
    return System(lambda audio, _: process(audio.astype(np.float64)), RATE, channels)


def biquad(kind, gain_db, hz, q):
    """Coefficients of the audio cookbook, written out here."""
    a, w = 10.0 ** (gain_db / 40.0), 2.0 * math.pi * hz / RATE
    alpha, c = math.sin(w) / (2.0 * q), math.cos(w)
    if kind == "peak":
        return [1 + alpha * a, -2 * c, 1 - alpha * a], [1 + alpha / a, -2 * c, 1 - alpha / a]
    s = 1.0 if kind == "low" else -1.0
    root = 2.0 * math.sqrt(a) * alpha
    b = [a * ((a + 1) - s * (a - 1) * c + root), s * 2 * a * ((a - 1) - s * (a + 1) * c), a * ((a + 1) - s * (a - 1) * c - root)]
    return b, [(a + 1) + s * (a - 1) * c + root, -s * 2 * ((a - 1) + s * (a + 1) * c), (a + 1) + s * (a - 1) * c - root]


@pytest.mark.parametrize(("hz", "order", "kind"), [(100.0, 1, "low"), (3000.0, 4, "low"), (60.0, 2, "high"), (9000.0, 8, "high")])
def test_cutoff_and_order_of_scipys_butterworth_filters(hz, order, kind):
    sections = signal.butter(order, hz, kind, fs=RATE, output="sos")
    through, high = system(lambda audio: signal.sosfilt(sections, audio)), kind == "high"
    assert responses.cutoff(high=high)(through, hz) == pytest.approx(hz, rel=1e-4)
    assert responses.order(hz, high=high)(through, order) == pytest.approx(order, abs=0.01)
    assert responses.slope_db(hz, high=high)(through, 0.0) == pytest.approx(6.02 * order, abs=0.1)


def test_a_filter_that_starts_in_the_state_of_its_first_sample_is_measured_as_any_other():
    sections = signal.butter(2, 300.0, "low", fs=RATE, output="sos")
    warm = system(lambda audio: signal.sosfilt(sections, audio, zi=signal.sosfilt_zi(sections)[:, None] * audio[0, 0])[0])
    assert responses.cutoff(high=False)(warm, 300.0) == pytest.approx(300.0, rel=1e-4)


@pytest.mark.parametrize(("gain_db", "hz", "q"), [(-12.0, 200.0, 0.5), (6.0, 1000.0, 2.0), (9.0, 15_000.0, 4.0)])
def test_gain_centre_and_q_of_a_peak(gain_db, hz, q):
    b, a = biquad("peak", gain_db, hz, q)
    through = system(lambda audio: signal.lfilter(b, a, audio))
    assert responses.peak_db()(through, gain_db) == pytest.approx(gain_db, abs=1e-3)
    assert responses.peak_hz(through, hz) == pytest.approx(hz, rel=1e-3)
    assert responses.peak_q(hz)(through, q) == pytest.approx(q, rel=1e-3)
    assert responses.gain_at(hz)(through, gain_db) == pytest.approx(gain_db, abs=1e-3)


@pytest.mark.parametrize(
    ("kind", "gain_db", "hz", "q"), [("low", 12.0, 150.0, 0.71), ("low", -6.0, 900.0, 2.0), ("high", 9.0, 5000.0, 0.4)]
)
def test_gain_centre_and_q_of_a_shelf(kind, gain_db, hz, q):
    b, a = biquad(kind, gain_db, hz, q)
    through = system(lambda audio: signal.lfilter(b, a, audio))
    assert responses.shelf_db(high=kind == "high")(through, gain_db) == pytest.approx(gain_db, abs=0.01)
    assert responses.shelf_hz(through, hz) == pytest.approx(hz, rel=2e-3)
    assert responses.shelf_q(hz)(through, q) == pytest.approx(q, rel=2e-3)


def test_edges_of_scipys_band_filters():
    for kind in ("bandpass", "bandstop"):
        sections = signal.butter(2, (800.0, 1200.0), kind, fs=RATE, output="sos")
        through, notch = system(lambda audio, sections=sections: signal.sosfilt(sections, audio)), kind == "bandstop"
        assert responses.band_centre(notch=notch)(through, 1000.0) == pytest.approx(1000.0, rel=1e-3)
        assert responses.band_share(notch=notch)(through, 0.4) == pytest.approx(0.4, rel=1e-3)
    b, a = signal.iirpeak(2000.0, 7.0, fs=RATE)
    through = system(lambda audio: signal.lfilter(b, a, audio))
    assert responses.band_q(2000.0, notch=False)(through, 7.0) == pytest.approx(7.0, rel=0.01)
    assert responses.band_middle(notch=False)(through, 2000.0) == pytest.approx(2000.0, rel=1e-3)


def curve_db(level_db, threshold_db, ratio, knee_db):
    """The gain in dB of a compressor with a quadratic knee, after Giannoulis et al. 2012."""
    over = level_db - threshold_db
    slope = 1.0 / ratio - 1.0
    inside = np.square(over + knee_db / 2.0) / (2.0 * knee_db) if knee_db else np.maximum(over, 0.0)
    return slope * np.where(2.0 * over < -knee_db, 0.0, np.where(2.0 * np.abs(over) <= knee_db, inside, over))


def compressor(threshold_db=-30.0, ratio=4.0, knee_db=0.0, attack_ms=0.0, release_ms=0.0, makeup_db=0.0):
    """One pole on the gain in dB, 63 % within a time."""

    def process(audio):
        wanted = curve_db(20.0 * np.log10(np.maximum(np.abs(audio[0]), 1e-9)), threshold_db, ratio, knee_db)
        parts = [1.0 if not each else 1.0 - math.exp(-1000.0 / (RATE * each)) for each in (attack_ms, release_ms)]
        gain, held = np.empty_like(wanted), 0.0
        for n, each in enumerate(wanted):
            held += parts[0 if each < held else 1] * (each - held)
            gain[n] = held
        return audio * 10.0 ** ((gain + makeup_db) / 20.0)

    return system(process)


def test_threshold_ratio_knee_and_makeup():
    hard = compressor(threshold_db=-22.5, ratio=3.0, makeup_db=5.0)
    assert level_steps.threshold(0.02)(hard, -30.0) == pytest.approx(-22.5, abs=0.01)
    assert level_steps.ratio_inverse(-22.5, 0.02)(hard, 0.0) == pytest.approx(1.0 / 3.0, abs=1e-3)
    assert level_steps.soft_gain(-60.0)(hard, 5.0) == pytest.approx(5.0, abs=1e-3)
    assert level_steps.knee(-30.0, 0.02)(compressor(knee_db=8.0), 8.0) == pytest.approx(8.0, rel=0.02)
    assert level_steps.engagement(0.02, 0.01)(compressor(ratio=20.0), -30.0) == pytest.approx(-30.0, abs=0.1)


@pytest.mark.parametrize(("share", "start", "factor"), [(1.0 - math.exp(-1.0), 0.0, 1.0), (0.9, 0.1, math.log(9.0))])
def test_attack_and_release_by_the_share_that_a_library_defines(share, start, factor):
    slow = compressor(attack_ms=4.0, release_ms=20.0)
    up, down = (
        level_steps.step_time(level_steps.LevelStep(pair, share, start, "db", hold_s=0.15)) for pair in ((-50.0, -10.0), (-10.0, -50.0))
    )
    assert up(slow, 4.0 * factor) == pytest.approx(4.0 * factor, rel=0.01)
    assert down(slow, 20.0 * factor) == pytest.approx(20.0 * factor, rel=0.01)


def test_time_of_a_gain_that_never_changes_is_none():
    assert math.isnan(level_steps.step_time(level_steps.LevelStep((-40.0, -10.0)))(system(lambda audio: audio), 10.0))


def test_lookahead_and_ceiling_of_a_limiter_written_here():
    ahead = 200

    def process(audio):
        peak = np.maximum(np.abs(audio[0]), 1e-9)
        needed = np.minimum(1.0, 0.1 / np.array([peak[n : n + ahead + 1].max() for n in range(0, len(peak))]))
        return audio * needed

    assert level_steps.lookahead((-40.0, 0.0), 0.1)(system(process), 0.0) == pytest.approx(1000.0 * ahead / RATE, abs=0.03)
    assert level_steps.ceiling()(system(lambda audio: np.clip(audio, -0.25, 0.25)), 0.0) == pytest.approx(20.0 * math.log10(0.25), abs=1e-6)


def test_linked_channels_share_a_gain():
    def gain_of(level):
        return np.minimum(1.0, 0.1 / np.maximum(level, 1e-9))

    shared = system(lambda audio: audio * gain_of(np.abs(audio).max(axis=0)), 2)
    apart = system(lambda audio: audio * gain_of(np.abs(audio)), 2)
    assert [level_steps.linked(-6.0, -40.0)(each, 0.0) for each in (shared, apart)] == [1.0, 0.0]


def test_threshold_and_ratio_of_pedalboards_gate():
    pedalboard = pytest.importorskip("pedalboard")
    gate = pedalboard.NoiseGate(threshold_db=-35.0, ratio=3.0, attack_ms=1.0, release_ms=20.0)
    through = System(lambda audio, rate: gate(audio, rate), RATE)
    assert level_steps.gate_threshold(0.2)(through, -30.0) == pytest.approx(-35.0, abs=0.05)
    assert level_steps.expansion(-35.0, 0.2)(through, 3.0) == pytest.approx(3.0, abs=0.02)


def echo(delay, factor, feedback):
    def process(audio):
        wet = np.concatenate([np.zeros(delay), audio[0]])[: audio.shape[1]]
        for n in range(delay, len(wet)):
            wet[n] += feedback * wet[n - delay]
        return (1.0 - factor) * audio + factor * wet

    return system(process)


def test_time_feedback_and_mix_of_echoes():
    through, time_ms = echo(4410, 0.3, 0.6), 100.0
    assert echoes.delay_ms(through, time_ms) == pytest.approx(time_ms, abs=1e-3)
    assert echoes.feedback(time_ms)(through, 0.6) == pytest.approx(0.6, abs=1e-4)
    assert echoes.echo_factor(time_ms)(through, 0.3) == pytest.approx(0.3, abs=1e-4)
    assert echoes.direct(through, 0.7) == pytest.approx(0.7, abs=1e-4)
    assert echoes.dry_share(through, 0.3) == pytest.approx(0.3, abs=1e-4)


def room(rt60_s, high_rt60_s=None, delay_ms=10.0, tail_db=-6.0):
    time = np.arange(round(1.3 * rt60_s * RATE)) / RATE
    rng = np.random.default_rng(5)
    tail = rng.standard_normal(len(time)) * 10.0 ** (-3.0 * time / rt60_s)
    if high_rt60_s is not None:
        low = signal.butter(6, 3000.0, "low", fs=RATE, output="sos")
        bright = rng.standard_normal(len(time)) * 10.0 ** (-3.0 * time / high_rt60_s)
        tail = signal.sosfilt(low, tail) + bright - signal.sosfilt(low, bright)
    tail *= 10.0 ** (tail_db / 20.0) / np.sqrt(np.square(tail).sum())
    response = np.concatenate([np.zeros(round(delay_ms * RATE / 1000.0)), tail])
    response[0] = 1.0
    return system(lambda audio: signal.fftconvolve(audio, response[None], axes=1)[:, : audio.shape[1]])


def test_decay_pre_delay_and_level_of_exponentially_decaying_noise():
    through = room(0.8, delay_ms=25.0, tail_db=-9.0)
    assert echoes.decay(60.0, 16_000.0)(through, 0.8) == pytest.approx(0.8, rel=0.03)
    assert echoes.pre_delay_ms(through, 25.0) == pytest.approx(25.0, abs=0.1)
    assert echoes.tail_db(1.2)(through, -9.0) == pytest.approx(-9.0, abs=0.05)
    # T = rt60 / (1 + damping f / 4 kHz) at f = 707 and 5657 Hz
    dull = room(2.0 / (1.0 + 0.177), 2.0 / (1.0 + 1.414))
    assert echoes.damping(2.0)(dull, 1.0) == pytest.approx(1.0, rel=0.12)


def test_pedalboards_reverberator_is_measured_as_freeverb_with_twice_its_dry_level():
    pedalboard = pytest.importorskip("pedalboard")

    def reverb(channels, **settings):
        return System(lambda audio, rate: pedalboard.Reverb(**settings)(audio, rate), RATE, channels)

    assert freeverb.room_size(reverb(1, room_size=0.3, damping=0.0, wet_level=0.5, dry_level=0.0), 0.3) == pytest.approx(0.3, abs=0.02)
    soft = reverb(1, room_size=0.4, damping=0.6, wet_level=0.5, dry_level=0.0)
    assert freeverb.damping(2.0)(soft, 0.6) == pytest.approx(0.6, abs=0.05)
    wide = reverb(2, room_size=0.4, damping=0.0, wet_level=0.2, dry_level=0.3, width=0.6)
    assert freeverb.wet(wide, 0.2) == pytest.approx(0.2, abs=1e-3)
    assert freeverb.width(wide, 0.6) == pytest.approx(0.6, abs=1e-3)
    assert echoes.direct(wide, 0.0) == pytest.approx(0.6, abs=1e-3)


def test_rate_depth_centre_and_phase_of_a_delay_that_swings():
    def process(audio):
        n = np.arange(audio.shape[1])
        delay = RATE / 1000.0 * (8.0 + 3.0 * np.sin(2.0 * math.pi * (1.7 * n / RATE + 0.3)))
        return np.interp(n - delay, n, audio[0], left=0.0)[None]

    through = system(process)
    assert modulation.rate(through, 1.5) == pytest.approx(1.7, rel=1e-3)
    assert modulation.depth_ms(1.7)(through, 3.0) == pytest.approx(3.0, abs=0.01)
    assert modulation.relative_depth(1.7)(through, 0.375) == pytest.approx(0.375, abs=0.001)
    assert modulation.centre_ms(1.7)(through, 8.0) == pytest.approx(8.0, abs=0.01)
    assert modulation.phase(1.7)(through, 0.3) == pytest.approx(0.3, abs=0.003)


def test_gain_pan_width_and_constants():
    assert signal_levels.gain_db(system(lambda audio: 0.5 * audio), 0.0) == pytest.approx(-6.0206, abs=1e-3)
    assert signal_levels.gain_factor(system(lambda audio: -2.0 * audio), 0.0) == pytest.approx(-2.0, abs=1e-6)
    right = system(lambda audio: audio * np.array([[math.cos(1.2)], [math.sin(1.2)]]), 2)
    assert signal_levels.pan(right, 0.0) == pytest.approx(1.2 * 4.0 / math.pi - 1.0, abs=1e-6)
    wide = system(lambda audio: audio + 0.5 * (audio - audio[::-1]), 2)
    assert signal_levels.width(wide, 0.0) == pytest.approx(2.0, abs=1e-6)
    assert signal_levels.added_constant(system(lambda audio: audio + 0.03), 0.0) == pytest.approx(0.03, abs=1e-6)
    assert signal_levels.offset(system(lambda audio: audio + 0.1 * np.abs(audio).max()), 0.0) == pytest.approx(0.1, abs=1e-6)


def test_level_and_slope_of_noise_and_resolution():
    def noisy(slope):
        def process(audio):
            spectrum = np.fft.rfft(np.random.default_rng(2).standard_normal(audio.shape))
            shape = np.maximum(np.fft.rfftfreq(audio.shape[1], 1.0 / RATE), 20.0) ** (slope / 6.0206)
            made = np.fft.irfft(spectrum * shape, audio.shape[1])
            return audio + made / made.std() * audio.std() * 10.0 ** (-12.0 / 20.0)

        return system(process)

    for slope in (-6.0206, -3.0103, 0.0, 3.0103):
        assert signal_levels.noise_slope_db(noisy(slope), slope) == pytest.approx(slope, abs=0.2)
    assert signal_levels.snr_db(noisy(0.0), 12.0) == pytest.approx(12.0, abs=0.01)
    assert signal_levels.added_rms(system(lambda audio: audio + 0.01), 0.0) == pytest.approx(0.01, rel=1e-3)
    assert signal_levels.bits(system(lambda audio: np.round(audio * 32.0) / 32.0), 6.0) == pytest.approx(6.0, abs=0.01)


def test_loudness_of_a_sine_is_that_of_the_recommendation():
    pyloudnorm = pytest.importorskip("pyloudnorm")

    def to_target(audio):
        return audio * 10.0 ** ((-23.0 - pyloudnorm.Meter(RATE).integrated_loudness(audio.T)) / 20.0)

    assert signal_levels.sine_loudness()(system(to_target, 2), -23.0) == pytest.approx(-23.0, abs=0.06)  # its meter reads 0.04 low
    assert signal_levels.peak_db(system(lambda audio: 0.5 * audio / np.abs(audio).max()), 0.0) == pytest.approx(-6.0206, abs=1e-3)
    gated = system(lambda audio: audio * (2.0 if np.sqrt(np.square(audio).mean()) > 1e-3 else 1.0))
    assert signal_levels.gate_lufs(gated, -65.0) == pytest.approx(-60.0, abs=0.1)  # of a sine in one channel, -60 dB RMS is -60 LUFS


def test_curves_of_a_hyperbolic_tangent():
    g, b = 10.0 ** (14.0 / 20.0), 0.4
    whole = (math.tanh(g + b) - math.tanh(b - g)) / 2.0
    through = system(lambda audio: 0.5 * (np.tanh(g * audio + b) - math.tanh(b)) / whole)
    assert signal_levels.drive_db(through, 14.0) == pytest.approx(14.0, abs=0.01)
    assert signal_levels.asymmetry(through, 0.4) == pytest.approx(0.4, abs=1e-3)
    assert signal_levels.full_scale_db(through, 0.0) == pytest.approx(-6.0206, abs=1e-3)


def test_gain_over_time_and_shift_of_pitch():
    def ride(audio):
        time = np.arange(audio.shape[1]) / RATE
        return audio * 10.0 ** (np.interp(time, [0.0, 0.6, 1.5], [0.0, -12.0, 3.0]) / 20.0)

    assert signal_levels.gain_db_at(0.3, 1.5)(system(ride), -6.0) == pytest.approx(-6.0, abs=0.01)
    assert signal_levels.turning_s(1.5)(system(ride), 0.6) == pytest.approx(0.6, abs=1e-3)

    def faster(audio):
        n = np.arange(audio.shape[1]) * 2.0 ** (3.0 / 12.0)
        return np.interp(n % (RATE * 0.99999), np.arange(audio.shape[1]), audio[0])[None]

    assert signal_levels.semitones()(system(faster), 3.0) == pytest.approx(3.0, abs=0.05)


@pytest.mark.parametrize("made", [lambda audio: audio * np.nan, lambda audio: audio[None], lambda audio: audio[:, :0]])
def test_what_is_no_audio_is_an_error(made):
    with pytest.raises(OutputError, match="expected"):
        system(made).play(np.zeros(100))


@pytest.mark.skipif(not coding_noise.has_program(), reason="compares with the ffmpeg program")
def test_the_bit_rate_of_libsndfiles_mp3_is_found_by_its_noise():
    soundfile = pytest.importorskip("soundfile")

    def coded(level):
        def process(audio):
            file = io.BytesIO()
            how = {"format": "MP3", "subtype": "MPEG_LAYER_III", "bitrate_mode": "CONSTANT", "compression_level": level}
            soundfile.write(file, audio.T, RATE, **how)
            file.seek(0)
            return soundfile.read(file, always_2d=True)[0].T

        return system(process)

    nearest = coding_noise.nearest_coding([coding_noise.Coding("mp3", kbps) for kbps in (48.0, 128.0, 320.0)])
    assert nearest is not None
    assert [nearest(coded(level), 0.0) for level in (0.99, 0.0)] == [0.0, 2.0]
