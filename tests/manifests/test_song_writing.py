"""Songs written for listeners, read back by the ffmpeg program: length, place, tags; dither by its published properties."""

import shutil
import subprocess

import numpy as np
import pytest
import soundfile

from stemwright.manifests.sound.containers import tags
from stemwright.manifests.sound.decoding import load
from stemwright.manifests.sound.song_writing import LOSSY, SONG_SUFFIXES, TAGS, dithered, song_format, write_song
from stemwright.manifests.usage import UsageError

needs_ffmpeg = pytest.mark.skipif(not shutil.which("ffmpeg"), reason="needs the ffmpeg program to decode files")
FORMATS = [(".wav", 16), (".wav", 24), (".wav", 32), (".flac", 16), (".flac", 24), *((suffix, None) for suffix in LOSSY)]


def music(num_frames, channels, rate):
    """Notes with onsets and noise, below -10 dBFS: pure tones are so little of Vorbis that all is one page."""
    time = np.arange(num_frames) / rate
    noise = 0.03 * np.random.default_rng(0).standard_normal((channels, num_frames))
    notes = [np.sin(2 * np.pi * hz * time) * np.exp(-6.0 * ((time + 0.1 * n) % 0.37)) for n, hz in enumerate((220, 331, 1250))]
    smooth = noise + np.roll(noise, 1, axis=1) + np.roll(noise, 2, axis=1)
    return (0.1 * np.stack([sum(notes), notes[0] + notes[2]])[:channels] + smooth / 3.0).astype(np.float32)


def decoded_by_ffmpeg(path, channels):
    done = subprocess.run(["ffmpeg", "-v", "error", "-i", str(path), "-f", "f32le", "-"], check=True, capture_output=True)
    assert done.stderr == b""
    return np.frombuffer(done.stdout, "<f4").reshape(-1, channels).T


@needs_ffmpeg
@pytest.mark.parametrize(("suffix", "bits"), FORMATS)
@pytest.mark.parametrize("rate", [8_000, 44_100, 48_000])
@pytest.mark.parametrize("channels", [1, 2])
def test_ffmpeg_decodes_the_length_and_the_place_of_the_song(tmp_path, suffix, bits, rate, channels):
    path = tmp_path / f"song{suffix}"
    # Whole packets of AAC; of MP3, and a little more, so that its last packet is nothing but padding.
    for num_frames in (2 * rate + 777, 27 * 1024, 23 * 1152, 23 * 1152 + 9):
        audio = music(num_frames, channels, rate)
        write_song(path, audio, rate, song_format(path, bits))
        found = decoded_by_ffmpeg(path, channels)
        own, own_rate = load(path)
        assert own.shape == found.shape
        if suffix == ".opus" and rate != 48_000:  # Opus is of 48 kHz
            assert found.shape[1] == pytest.approx(num_frames * 48_000 / rate, abs=1.0)
            continue
        assert (own_rate, found.shape) == (rate, audio.shape)
        error_db = 10 * np.log10(((found - audio).astype(np.float64) ** 2).sum() / (audio**2).sum() + 1e-20)
        assert error_db < {16: -60.0, 24: -100.0, 32: -140.0, None: -10.0}[bits]


@pytest.mark.parametrize(("suffix", "bits"), FORMATS)
def test_tags_are_read_back(tmp_path, suffix, bits):
    text = dict.fromkeys(TAGS, "Søn & “x”") | {"date": "1969", "track": "7"}
    path = tmp_path / f"song{suffix}"
    write_song(path, music(9000, 2, 44_100), 44_100, song_format(path, bits), {**text, "encoder": "other", "unknown": "x"})
    found = tags(path)
    assert {name: found.get(name) for name in TAGS} == text


@pytest.mark.parametrize(("suffix", "bits"), FORMATS)
def test_the_same_audio_gives_the_same_bytes(tmp_path, suffix, bits):
    for name in ("a", "b"):
        write_song(
            tmp_path / f"{name}{suffix}", music(30_000, 2, 44_100), 44_100, song_format(tmp_path / f"x{suffix}", bits), {"title": "T"}
        )
    if suffix in (".opus", ".ogg"):  # the serial number of an Ogg stream is drawn at random
        np.testing.assert_array_equal(load(tmp_path / f"a{suffix}")[0], load(tmp_path / f"b{suffix}")[0])
    else:
        assert (tmp_path / f"a{suffix}").read_bytes() == (tmp_path / f"b{suffix}").read_bytes()


def test_dither_makes_the_error_independent_of_the_signal():
    """Lipshitz et al. 1992: the mean error is 0 and its power a quarter of a squared step, wherever the signal is between two steps."""
    for place in np.linspace(0.05, 0.95, 7):
        audio = np.full((1, 200_000), (1000 + place) / 32768, np.float32)
        error = dithered(audio).astype(np.float64)[0] - audio[0].astype(np.float64) * 32768
        assert error.mean() == pytest.approx(0.0, abs=0.01)
        assert error.var() == pytest.approx(0.25, rel=0.02)


def test_a_tone_below_one_step_survives_dither_and_not_rounding():
    time = np.arange(88_200)
    audio = (0.4 / 32768 * np.sin(2 * np.pi * 1000 * time / 44_100))[None].astype(np.float32)
    assert not np.rint(audio * 32768).any()
    spectrum = np.abs(np.fft.rfft(dithered(audio)[0]))
    assert spectrum.argmax() == 2000
    assert spectrum[2000] == pytest.approx(0.4 * 44_100, rel=0.05)


def test_what_16_bits_hold_is_kept_and_full_scale_is_not_wrapped():
    rng = np.random.default_rng(0)
    grid = rng.integers(-32768, 32768, (2, 5000)).astype(np.int16)
    np.testing.assert_array_equal(dithered((grid / 32768).astype(np.float32)), grid)
    loud = dithered(np.full((1, 5000), 0.99999, np.float32))
    assert loud.min() > 32760
    assert dithered(np.full((1, 10), -1.0, np.float32)).max() == -32768
    with pytest.raises(ValueError, match=r"peaks at \+0.01 dBFS, which 16-bit samples cannot hold"):
        dithered(np.full((1, 10), 1.001, np.float32))


def test_a_short_song_is_written_and_a_note_says_what_follows_it(tmp_path):
    short = 0.1 * np.sin(np.arange(1, 1000))[None].astype(np.float32)
    with pytest.raises(UsageError, match=r"length of this song: expected 999 frames, got [0-9,]+ when .* write .opus"):
        write_song(tmp_path / "one.ogg", short, 44_100, song_format(tmp_path / "one.ogg"))
    for suffix in sorted({*SONG_SUFFIXES} - {".ogg"}):
        path = tmp_path / f"one{suffix}"
        notes = write_song(path, np.full((2, 1), 0.25, np.float32), 48_000, song_format(path))
        found = load(path)[0]
        assert found.shape == (2, 1) or f"ends {found.shape[1] - 1:,} frames after the song" in notes[0]


def test_what_a_codec_changes_is_noted(tmp_path):
    square = np.sign(np.sin(2 * np.pi * 3000 * np.arange(96_000) / 96_000))[None].astype(np.float32)
    notes = write_song(tmp_path / "a.mp3", square, 96_000, song_format(tmp_path / "a.mp3", bit_rate_kbps=64))
    assert notes[0] == "resampled from 96,000 to 48,000 Hz: MP3 does not have the rate of the song"
    assert "decodes to a peak of +" in notes[1]


def test_a_bit_rate_is_used(tmp_path):
    sizes = []
    for kbps in (64, 128, 320):
        write_song(tmp_path / "a.mp3", music(88_200, 2, 44_100), 44_100, song_format(tmp_path / "a.mp3", bit_rate_kbps=kbps))
        sizes.append((tmp_path / "a.mp3").stat().st_size)
    assert sizes[1] == pytest.approx(2 * sizes[0], rel=0.1)
    assert sizes[2] == pytest.approx(5 * sizes[0], rel=0.1)


def test_the_subtype_is_what_was_requested(tmp_path):
    for suffix, bits, subtype in ((".wav", 16, "PCM_16"), (".wav", 24, "PCM_24"), (".wav", None, "FLOAT"), (".flac", 16, "PCM_16")):
        path = tmp_path / f"a{suffix}"
        write_song(path, music(900, 2, 44_100), 44_100, song_format(path, bits), {"title": "odd"})
        assert soundfile.info(path).subtype == subtype


def test_what_is_not_written_is_refused(tmp_path):
    for name, options, message in (
        ("a.aiff", {}, r"expected an output file that ends in .wav, .flac, .mp3, .m4a, .opus or .ogg; got"),
        ("a.wav", {"bits": 20}, r"expected 16, 24 or 32 bits for .wav; got 20"),
        ("a.flac", {"bit_rate_kbps": 128.0}, r"a bit rate is for .mp3, .m4a, .opus, .ogg"),
    ):
        with pytest.raises(UsageError, match=message):
            song_format(tmp_path / name, **options)
    with pytest.raises(ValueError, match="NaN"):
        write_song(tmp_path / "a.mp3", np.full((1, 100), np.nan, np.float32), 44_100, song_format(tmp_path / "a.mp3"))
