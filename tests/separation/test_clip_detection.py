"""Clipping found from samples alone: in exact and changed copies, and not in what is only loud."""

import io

import numpy as np
import pytest
import soundfile
import torch
from scipy.signal import butter, lfilter, sosfilt

import stemwright as sw
from stemwright.datagen.effects import limiter
from stemwright.manifests.sound.formats import Audio
from stemwright.separation.clip_detection.ceilings import clipping_of
from stemwright.separation.clip_detection.flat_tops import EDGE
from stemwright.separation.clip_detection.levels import SEGMENT, LevelTally
from stemwright.separation.clip_detection.scale import fine_index, fine_level

RATE = 44_100


@pytest.fixture(scope="module")
def music() -> Audio:
    """Coloured noise whose level moves as that of music, [2, 6 s]; the channels differ."""
    rng = np.random.default_rng(1)
    noise = lfilter([1.0], [1.0, -1.5, 0.6], rng.normal(0, 1, (2, 6 * RATE)))
    level = 1.0 + 0.6 * np.sin(2 * np.pi * np.arange(6 * RATE) * 1.7 / RATE)
    return (0.06 * noise * level).astype(np.float32)


def clipped(audio: Audio, share: float) -> tuple[Audio, float]:
    """The audio with so much of its samples clipped, and the ceiling."""
    ceiling = float(np.quantile(np.abs(audio), 1 - share))
    return np.clip(audio, -ceiling, ceiling), ceiling


def sixteen(audio: Audio, rng: np.random.Generator | None = None) -> Audio:
    """Rounded to 16 bits, with triangular dither if there is a generator."""
    dither = rng.random(audio.shape) - rng.random(audio.shape) if rng else 0.0
    return (np.round(audio * 32768.0 + dither) / 32768.0).astype(np.float32)


def test_counts_are_those_of_numpy_in_blocks_of_any_length(music):
    whole, pieces = LevelTally(2), LevelTally(2)
    whole.add(music)
    for start in range(0, music.shape[1], 3001):
        pieces.add(music[:, start : start + 3001])
    pieces.add(music[:, :0])
    for channel in (0, 1):
        for polarity, sign in ((0, 1), (1, -1)):
            counts, others = whole.levels(channel, polarity), pieces.levels(channel, polarity)
            np.testing.assert_array_equal(counts.time, others.time)
            np.testing.assert_array_equal(counts.excursions, others.excursions)
            np.testing.assert_array_equal(counts.close, others.close)
            np.testing.assert_array_equal(counts.flat_tops, others.flat_tops)
            np.testing.assert_array_equal(counts.overtopped, others.overtopped)
            np.testing.assert_allclose(counts.tops, others.tops, rtol=1e-9)
            step = int(fine_index(0.2))
            above = sign * music[channel] >= fine_level(step)
            assert counts.time[step] == np.count_nonzero(above[EDGE:-EDGE])
            assert counts.excursions[step] == np.count_nonzero(above[EDGE:-EDGE] & ~above[EDGE - 1 : -EDGE - 1])


@pytest.mark.parametrize("copy", ["float", "16 bit", "dithered", "turned down", "quiet", "spike", "upside down"])
def test_a_ceiling_is_found_in_exact_copies(music, copy):
    audio, ceiling = clipped(music, 0.002)
    gain = {"turned down": 0.37, "quiet": 0.02}.get(copy, 1.0)
    audio = audio * np.float32(gain)
    if copy in ("16 bit", "turned down", "quiet"):
        audio = sixteen(audio)
    if copy == "dithered":
        audio = sixteen(audio, np.random.default_rng(2))
    if copy == "spike":
        audio = audio.copy()
        audio[:, 70_000] = 0.99
    for found in sw.detect_clipping(-audio if copy == "upside down" else audio, RATE):
        assert found.ceiling_high == pytest.approx(gain * ceiling, rel=0.005)
        assert found.ceiling_low == pytest.approx(-gain * ceiling, rel=0.005)
        assert found.share == pytest.approx(0.002, rel=0.5)
        assert found.confidence > 0.8


def test_one_polarity_of_one_channel_is_named_alone(music):
    audio = music.copy()
    audio[1] = np.minimum(audio[1], 0.5)
    left, right = sw.detect_clipping(audio, RATE)
    assert (left.ceiling_low, left.ceiling_high, left.share, left.confidence) == (0, 0, 0, 0)
    assert right.ceiling_low == 0
    assert right.ceiling_high == pytest.approx(0.5, rel=1e-3)


def test_parts_clipped_at_two_levels_give_both(music):
    soft, low = clipped(music[:1], 0.01)
    loud, high = clipped(1.4 * music[1:], 0.01)
    (found,) = sw.detect_clipping(np.concatenate([soft, loud], axis=1), RATE)
    np.testing.assert_allclose(found.ceilings_high, [high, low], rtol=2e-3)
    assert found.ceiling_high == found.ceilings_high[0]


def coded(audio: Audio) -> Audio:
    """Through an MP3 of 320 kbit/s."""
    memory = io.BytesIO()
    soundfile.write(memory, audio.T, RATE, format="MP3", bitrate_mode="CONSTANT", compression_level=0.0)
    memory.seek(0)
    return soundfile.read(memory, dtype="float32")[0].T


def test_a_ceiling_is_found_in_a_lossy_copy(music):
    audio, ceiling = clipped(music, 0.01)
    for found in sw.detect_clipping(coded(audio * np.float32(0.8 / ceiling)), RATE):
        assert found.ceiling_high == pytest.approx(0.8, rel=0.03)
        assert found.ceiling_low == pytest.approx(-0.8, rel=0.03)
        assert found.share == pytest.approx(0.01, rel=0.5)
        assert found.spread >= 0.01


def test_what_is_limited_or_loud_is_not_called_clipped(music):
    settings = limiter.Settings(ceiling_db=-6.0, release_ms=80.0)
    limited = limiter.apply(torch.from_numpy(2 * music), RATE, settings).numpy()
    seconds = np.arange(3 * RATE) / RATE
    tones = [0.9 * np.sin(2 * np.pi * frequency * seconds)[None] for frequency in (50, 440, 5000)]
    for audio in (music, sixteen(limited), limited, *tones, sixteen(0.001 * music)):
        assert all(
            found.confidence == 0 and found.ceiling_high == 0 and found.ceiling_low == 0 for found in sw.detect_clipping(audio, RATE)
        )


def test_what_is_limited_is_not_called_clipped_in_a_lossy_copy(music):
    limited = limiter.apply(torch.from_numpy(2 * music), RATE, limiter.Settings(ceiling_db=-6.0, release_ms=80.0)).numpy()
    for audio in (music, limited, 0.6 * np.tanh(1.5 * music)):
        assert all(found.confidence == 0 for found in sw.detect_clipping(coded(audio), RATE))


def song_of_tones() -> Audio:
    """Tones that beat, louder and softer, [2, 5 s]: smooth tops of many samples, as those of music."""
    time = np.arange(5 * RATE) / RATE
    tones = sum(
        np.sin(2 * np.pi * hz * time + number) / (1.0 + 0.2 * number) for number, hz in enumerate((83.0, 110.3, 277.7, 391.1, 661.9))
    )
    level = 0.12 * (1.0 + 0.7 * np.sin(2 * np.pi * 0.9 * time))
    return np.stack([level * tones, level[::-1] * tones]).astype(np.float32)


def without_look_ahead(audio: Audio, ceiling: float, release_s: float) -> Audio:
    """A limiter of its own: the gain falls at once, and recovers exponentially."""
    needed = np.minimum(1.0, ceiling / np.maximum(np.abs(audio).max(axis=0), 1e-9))
    gain, kept = np.empty_like(needed), 1.0
    for place, most in enumerate(needed.tolist()):
        kept = min(most, 1.0 - (1.0 - kept) * float(np.exp(-1.0 / (release_s * RATE))))
        gain[place] = kept
    return (audio * gain).astype(np.float32)


def test_piles_at_another_level_are_no_ceilings_where_a_copy_is_exact(music):
    """The second channel was clipped and then filtered: a ceiling by its scatter, were the copy not exact."""
    ceiling = float(np.quantile(np.abs(music), 0.99))
    cut = np.clip(music, -ceiling, ceiling)
    filtered = np.stack([cut[0], 0.7 * lfilter([0.02, 0.96, 0.02], [1.0], cut[1])]).astype(np.float32)
    assert sw.detect_clipping(filtered[1:], RATE)[0].confidence > 0
    exact, scattered = sw.detect_clipping(filtered, RATE)
    assert exact.ceiling_high == pytest.approx(ceiling, rel=1e-3)
    assert exact.confidences_high[0] == exact.confidence
    assert scattered.ceilings_low == scattered.ceilings_high == ()


@pytest.mark.parametrize("release_s", [0.03, 0.2])
def test_a_limiter_without_look_ahead_is_no_clipper(release_s):
    sound = song_of_tones()
    ceiling = 0.5 * float(np.abs(sound).max())
    limited = without_look_ahead(sound, ceiling, release_s)
    settings = limiter.Settings(ceiling_db=20.0 * float(np.log10(ceiling)), release_ms=1000.0 * release_s, lookahead_ms=0.0)
    for audio in (limited, sixteen(limited), limiter.apply(torch.from_numpy(sound), RATE, settings).numpy()):
        assert not any(found.share for found in sw.detect_clipping(audio, RATE))
        assert max(found.undecided for found in sw.detect_clipping(audio, RATE)) == pytest.approx(ceiling, rel=1e-3)
    assert all(found.confidence > 0.8 for found in sw.detect_clipping(sound.clip(-ceiling, ceiling), RATE))


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_clipped_waves_that_rise_slowly_and_fall_at_once_are_found(sign):
    time = np.arange(3 * RATE) / RATE
    saw = sign * ((110.3 * time % 1.0) - 0.5 + 0.3 * (220.9 * time % 1.0))[None]
    saw = (saw * (1.0 + 0.4 * np.sin(3.0 * time))).astype(np.float32)
    for audio in (saw.clip(-0.4, 0.4), saw.clip(-9.0, 0.4)):
        (found,) = sw.detect_clipping(audio, RATE)
        assert found.ceiling_high == pytest.approx(0.4, rel=1e-3)


def test_where_nothing_can_be_known_nothing_is_named():
    square = 0.5 * np.sign(np.sin(np.arange(RATE) / 20.3))[None]
    for audio in (square, np.zeros((2, RATE)), np.ones((1, 1)), np.full((3, 8000), 0.5), np.linspace(-1, 1, 5)[None]):
        assert [found.confidence for found in sw.detect_clipping(audio, 8000)] == [0.0] * len(audio)
    assert clipping_of([]) == ()


def test_sound_of_8_khz_is_judged_as_well():
    noise = np.random.default_rng(3).normal(0, 0.2, (1, 5 * 8000))
    (found,) = sw.detect_clipping(noise.clip(-0.45, 0.45), 8000)
    assert (found.ceiling_low, found.ceiling_high) == (pytest.approx(-0.45, rel=1e-3), pytest.approx(0.45, rel=1e-3))


@pytest.mark.parametrize(
    ("audio", "rate", "message"),
    [
        (np.zeros((0, 8)), 8000, "a channel and a frame at least"),
        (np.zeros(8), 8000, r"mono is audio\[None\]"),
        (np.zeros((1, 8), np.int16), 8000, "divide integers"),
        (np.full((1, 8), np.nan), 8000, "NaN or infinity"),
        (np.zeros((1, 8)), 0, "sample rate in Hz above 0"),
    ],
)
def test_bad_input_is_refused_with_what_was_expected(audio, rate, message):
    with pytest.raises(ValueError, match=message):
        sw.detect_clipping(audio, rate)


def drum_machine(seed: int) -> Audio:
    """Four steady tones and a burst of noise on every eighth, [1, 4 s]: the noise makes the peaks, the tones most of the tops."""
    rng = np.random.default_rng(seed)
    time = np.arange(4 * RATE) / RATE
    tones = sum(np.sin(2 * np.pi * hz * time + 6.0 * rng.random()) / (1.0 + number) for number, hz in enumerate(rng.uniform(80, 900, 3)))
    decay = np.exp(-(time % 0.25) / 0.02)
    return (0.25 * tones + 0.3 * decay * rng.standard_normal(len(time)))[None].astype(np.float32)


@pytest.mark.parametrize("bits", [12, 14, 16])
def test_steady_tones_of_any_pitch_are_not_called_clipped_where_they_are_rounded(bits):
    time = np.arange(2 * RATE) / RATE
    for hz in (1000.0, 2914.7069994622916, 4011.029500495672, 4461.45147338319, 5519.716958450549, 6829.0051977866215):
        for peak in (0.3, 0.9):
            tone = np.round(peak * np.sin(2 * np.pi * hz * time) * 2.0 ** (bits - 1)) / 2.0 ** (bits - 1)
            assert not any(found.share for found in sw.detect_clipping(tone[None].astype(np.float32), RATE)), (hz, peak)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("copy", ["float", "16 bit"])
def test_clipped_bursts_of_noise_over_tones_are_found_and_limited_ones_are_not(seed, copy):
    sound = drum_machine(seed)
    copied = sixteen if copy == "16 bit" else lambda audio: audio
    cut, ceiling = clipped(sound, 0.003)
    (found,) = sw.detect_clipping(copied(cut), RATE)
    assert found.ceiling_high == pytest.approx(ceiling, rel=0.001)
    assert found.ceiling_low == pytest.approx(-ceiling, rel=0.001)
    assert found.confidence > 0.9
    for lookahead_ms in (0.5, 1.5, 5.0):
        settings = limiter.Settings(ceiling_db=-9.0, release_ms=80.0, lookahead_ms=lookahead_ms)
        limited = limiter.apply(torch.from_numpy(sound), RATE, settings).numpy()
        assert np.abs(limited).max() < 0.9 * np.abs(sound).max()
        assert not any(each.share for each in sw.detect_clipping(copied(limited), RATE))
    assert not any(each.share for each in sw.detect_clipping(copied(sound), RATE))


TIME = np.arange(4 * RATE) / RATE


def organ(fundamental: float) -> np.ndarray:
    """A steady tone whose lower maxima are level for long."""
    partials = (0.5, 1, 1.5, 2, 3, 4, 6, 8)
    return np.sum([np.sin(2 * np.pi * 2 * fundamental * p * TIME + p) / 1.3**i for i, p in enumerate(partials)], axis=0)


def square(frequency: float, cutoff: float, order: int) -> np.ndarray:
    """A square wave through a Butterworth low-pass filter."""
    wave = np.where((frequency * TIME) % 1.0 < 0.5, 1.0, -1.0)
    return sosfilt(butter(order, cutoff, fs=RATE, output="sos"), wave)


@pytest.mark.parametrize("gain", [0.9, 0.1])
@pytest.mark.parametrize(
    "tone",
    [organ(55.0), square(55.0, 500.0, 4), square(55.0, 1000.0, 1), square(41.2, 2000.0, 8), square(65.4, 1000.0, 4)],
    ids=["organ", "square", "square, first order", "square, order 8", "square of 65 Hz"],
)
def test_tones_that_repeat_a_level_below_their_peak_are_not_clipped(tone, gain):
    audio = (gain * tone / np.abs(tone).max())[None]
    for copy in (audio.astype(np.float32), sixteen(audio)):
        (found,) = sw.detect_clipping(copy, RATE)
        assert (found.ceiling_low, found.ceiling_high, found.confidence) == (0, 0, 0)


def test_a_clipped_tone_is():
    tone = 0.9 * organ(55.0) / np.abs(organ(55.0)).max()
    (found,) = sw.detect_clipping(np.clip(tone, -0.7, 0.7)[None].astype(np.float32), RATE)
    assert (found.ceiling_low, found.ceiling_high) == pytest.approx((-0.7, 0.7), rel=1e-3)


def test_samples_are_overtopped_where_their_own_segment_goes_higher():
    signal = np.full((1, 3 * SEGMENT + 2 * EDGE + 100), 0.5, np.float32)
    signal[0, EDGE + SEGMENT + 7] = 0.55  # 10 % above, in the second segment alone
    signal[0, EDGE + 3 * SEGMENT + 7] = 0.9  # in the last, which is not whole
    tally = LevelTally(1)
    for start in range(0, signal.shape[1], 1001):
        tally.add(signal[:, start : start + 1001])
    step = int(fine_index(0.5))
    np.testing.assert_array_equal(tally.levels(0, 0).overtopped[step], [SEGMENT - 1 + 99, 99])
    assert not tally.levels(0, 1).overtopped.any()


def plucked_strings(rng: np.random.Generator) -> np.ndarray:
    """Karplus and Strong's strings, a new one every third of a second, [4 s]: steep onsets that decay."""
    sound = np.zeros(4 * RATE)
    for start in range(0, len(sound), RATE // 3):
        period = int(rng.integers(100, 500))
        loop = np.zeros(period + 2)
        loop[0], loop[period:] = 1.0, -0.498
        burst = np.zeros(len(sound) - start)
        burst[:period] = rng.uniform(-1, 1, period)[: len(burst)]
        sound[start:] += lfilter([1.0], loop, burst)
    return sound


def decaying_harmonics(rng: np.random.Generator) -> np.ndarray:
    """Two notes a second of twelve harmonics in phase, the higher ones dying sooner, [4 s]."""
    sound, harmonics = np.zeros(4 * RATE), np.arange(1, 13)[:, None]
    for start in range(0, len(sound), RATE // 2):
        time = np.arange(len(sound) - start) / RATE
        sound[start:] += (np.sin(2 * np.pi * rng.uniform(80, 400) * harmonics * time) / harmonics * np.exp(-(2 + harmonics) * time)).sum(0)
    return sound


def noise_over_a_tone(rng: np.random.Generator) -> np.ndarray:
    """A tone and a fifth of white noise: its clipped samples are mostly single ones."""
    return np.sin(2 * np.pi * rng.uniform(300, 2000) * TIME) + 0.2 * rng.standard_normal(len(TIME))


def chips(rng: np.random.Generator) -> np.ndarray:
    """Pulse waves that decay in steps, over a triangle of 16 levels and bursts of noise, [4 s]."""
    lead = np.where((rng.uniform(200, 600) * TIME) % 1.0 < 0.25, 1.0, -1.0) * np.exp(-np.floor(60 * (TIME % 0.25)) / 8)
    bass = np.round(15 * (2 * np.abs(2 * ((rng.uniform(50, 100) * TIME) % 1.0) - 1) - 1)) / 15
    return lead + bass + 0.3 * np.exp(-30 * (TIME % 0.5)) * rng.standard_normal(len(TIME))


SOUNDS = (plucked_strings, decaying_harmonics, noise_over_a_tone, chips)


@pytest.mark.parametrize("make", SOUNDS, ids=[make.__name__ for make in SOUNDS])
def test_a_louder_sound_that_clips_at_full_scale_is_never_found_less(make):
    """Each half of the wave that has four pairs of samples at full scale is found, at every level, as floats and as 16 bits."""
    sound = make(np.random.default_rng(7))
    for gain_db in (1, 3, 6, 9, 12):
        loud = sound / np.abs(sound).max() * 10 ** (gain_db / 20)
        for audio in (loud.clip(-1, 1), np.clip(np.round(32768 * loud), -32768, 32767) / 32768):
            (found,) = sw.detect_clipping(audio[None].astype(np.float32), RATE)
            for side, ceiling in ((audio, found.ceiling_high), (-audio, -found.ceiling_low)):
                at = side >= 32767 / 32768
                if np.count_nonzero(at[1:] & at[:-1]) >= (4 if gain_db < 6 else 1):
                    assert ceiling == pytest.approx(1.0, abs=1e-4), gain_db
        assert not any(each.share for each in sw.detect_clipping(0.9 / np.abs(sound).max() * sound[None], RATE))


def rumble(rng: np.random.Generator) -> np.ndarray:
    """A random walk that returns to 0: rough at every scale, so that no flat top's end has a shape."""
    return lfilter([1.0], [1.0, -0.995], rng.standard_normal(len(TIME)))


@pytest.mark.parametrize("make", [decaying_harmonics, rumble], ids=["smooth", "rough"])
def test_limiters_without_look_ahead_are_no_clippers_in_other_sounds(make):
    sound = make(np.random.default_rng(8))[None]
    for gain in (1.5, 4.0):
        limited = without_look_ahead(gain * sound / np.abs(sound).max(), 0.7, 0.05)
        for audio in (limited, sixteen(limited)):
            (found,) = sw.detect_clipping(audio, RATE)
            assert not found.share
            assert found.undecided == pytest.approx(0.7, rel=1e-3)
