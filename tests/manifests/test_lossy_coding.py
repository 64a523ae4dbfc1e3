"""Lossy coding in memory: against files that the ffmpeg program made, at every rate and length, and in another process."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from stemwright.manifests.sound.decoding import load
from stemwright.manifests.sound.lossy_coding import CODECS, coded, coding_rate, nearest_bit_rate
from stemwright.manifests.sound.writing import save

RATE = 44_100
PEERS = {  # codec -> suffix and options of the program
    "mp3": (".mp3", "-c:a libmp3lame -b:a 128k"),
    "aac": (".m4a", "-c:a aac -b:a 128k"),
    "opus": (".opus", "-c:a libopus -b:a 128k"),
    "vorbis": (".ogg", "-c:a libvorbis -q:a 4"),
}
EVERY = pytest.mark.parametrize("codec", CODECS)


def music(num_frames=RATE, channels=2, rate=RATE):
    """Notes with onsets, and noise that falls with frequency."""
    rng = np.random.default_rng(0)
    time = np.arange(num_frames) / rate
    notes = sum(
        np.sin(2 * np.pi * hz * time) * np.exp(-6.0 * ((time + shift) % 0.37)) for hz, shift in ((220, 0.0), (331, 0.1), (1250, 0.2))
    )
    noise = np.cumsum(rng.standard_normal((channels, num_frames)), axis=1)
    noise = np.diff(noise, axis=1, prepend=noise[:, :1]) * 0.5 + 0.01 * noise / (1.0 + np.abs(noise).max())
    return (0.15 * notes + 0.05 * noise).astype(np.float32)


def lag_of(found, reference):
    """By how many samples, with a fraction, ``found`` is later: the peak of the cross-correlation, through three points a parabola."""
    size = 2 * reference.shape[1]
    cross = np.fft.irfft((np.fft.rfft(found, size) * np.conj(np.fft.rfft(reference, size))).sum(0), size)
    at = int(np.argmax(cross))
    before, here, after = cross[at - 1], cross[at], cross[(at + 1) % size]
    return (at + size // 2) % size - size // 2 + 0.5 * (before - after) / (before - 2 * here + after)


def snr_db(found, reference):
    return 10.0 * np.log10((reference.astype(np.float64) ** 2).sum() / ((found - reference).astype(np.float64) ** 2).sum())


@EVERY
@pytest.mark.parametrize("rate", [8_000, 44_100, 96_000])
@pytest.mark.parametrize("channels", [1, 2])
def test_coding_keeps_shape_and_time_at_every_rate(codec, rate, channels):
    audio = music(2 * rate, channels, rate)
    found = coded(audio, rate, codec, 96.0)
    assert found.shape == audio.shape
    assert found.dtype == np.float32
    assert abs(lag_of(found, audio)) < 0.05
    assert 3.0 < snr_db(found, audio) < 60.0


@pytest.mark.skipif(not shutil.which("ffmpeg"), reason="needs the ffmpeg program to encode and to decode")
@EVERY
def test_the_ffmpeg_program_writes_a_file_that_sounds_like_it_and_at_the_same_time(codec, tmp_path):
    audio, (suffix, options) = music(), PEERS[codec]
    save(tmp_path / "in.wav", audio, RATE)
    steps = [
        ["-i", "in.wav", *options.split(), f"coded{suffix}"],
        ["-i", f"coded{suffix}", "-ar", str(RATE), "-c:a", "pcm_f32le", "out.wav"],
    ]
    for step in steps:
        subprocess.run(["ffmpeg", "-v", "error", "-y", *step], check=True, cwd=tmp_path)
    theirs = load(tmp_path / "out.wav")[0][:, :RATE]
    ours = coded(audio, RATE, codec, 128.0)[:, : theirs.shape[1]]
    assert theirs.shape[1] > 0.99 * RATE
    assert abs(lag_of(ours, theirs)) < 0.05
    assert snr_db(ours, audio[:, : theirs.shape[1]]) == pytest.approx(snr_db(theirs, audio[:, : theirs.shape[1]]), abs=3.0)


@EVERY
def test_a_higher_bit_rate_leaves_a_smaller_error(codec):
    audio = music()
    errors = [snr_db(coded(audio, RATE, codec, kbps), audio) for kbps in (64.0, 112.0, 192.0, 256.0)]
    assert errors == sorted(errors)
    assert errors[-1] > errors[0] + 3.0


@EVERY
@pytest.mark.parametrize("num_frames", [1, 57, 1151])
def test_a_sound_shorter_than_a_packet_is_coded(codec, num_frames):
    audio = music(4096)[:, 100 : 100 + num_frames]
    found = coded(audio, RATE, codec, 128.0)
    assert found.shape == audio.shape
    assert np.isfinite(found).all()
    assert np.abs(found - audio).max() < np.abs(audio).max()


@EVERY
def test_samples_beyond_full_scale_are_not_clipped_and_many_channels_are_coded_each(codec):
    audio = music(20_000)
    loud = 2.0 / np.abs(audio).max() * audio
    snrs_db = [snr_db(coded(each, RATE, codec, 192.0), each) for each in (0.4 * loud, loud)]
    assert snrs_db[1] == pytest.approx(snrs_db[0], abs=1.5)
    several = np.concatenate([audio, audio[:1]])[:, :9000]
    np.testing.assert_array_equal(coded(several, RATE, codec, 96.0)[2:], coded(audio[:1, :9000], RATE, codec, 96.0))


def test_another_process_gives_the_same_samples():
    code = """
import hashlib, sys
sys.path.insert(0, sys.argv[1])
from test_lossy_coding import CODECS, RATE, coded, music
print(*(hashlib.sha256(coded(music(9000), RATE, codec, 96.0).tobytes()).hexdigest() for codec in CODECS))
"""
    done = subprocess.run([sys.executable, "-c", code, str(Path(__file__).parent)], check=True, capture_output=True, text=True)
    here = [hashlib.sha256(coded(music(9000), RATE, codec, 96.0).tobytes()).hexdigest() for codec in CODECS]
    assert done.stdout.split() == here


@pytest.mark.parametrize(
    ("codec", "kbps", "rate", "expected"),
    [
        ("mp3", 100.0, 44_100, 96.0),
        ("mp3", 9.0, 44_100, 32.0),
        ("mp3", 320.0, 22_050, 160.0),
        ("mp3", 320.0, 8_000, 64.0),
        ("mp3", 320.0, 192_000, 320.0),
        ("aac", 320.0, 8_000, 48.0),
        ("aac", 100.4, 44_100, 100.0),
        ("opus", 320.0, 44_100, 256.0),
        ("vorbis", 8.0, 44_100, 64.0),
    ],
)
def test_the_nearest_bit_rate_is_one_that_the_codec_has(codec, kbps, rate, expected):
    assert nearest_bit_rate(codec, kbps, rate) == expected
    assert nearest_bit_rate(codec, expected, rate) == expected


def test_the_bit_rate_of_mp3_is_the_stated_one():
    from stemwright.manifests.sound import lossy_coding

    data = lossy_coding._encoded(lossy_coding.CODERS["mp3"], music(3 * RATE), RATE, 96.0)
    assert 8.0 * len(data) / 3.0 == pytest.approx(96_000, rel=0.02)


def test_a_rate_that_a_codec_lacks_is_coded_at_the_next_one():
    assert [coding_rate("mp3", rate) for rate in (7_000, 30_000, 44_100, 96_000)] == [8_000, 32_000, 44_100, 48_000]
    assert [coding_rate("opus", rate) for rate in (8_000, 96_000)] == [48_000, 48_000]
    assert coding_rate("aac", 192_000) == 96_000


def test_an_unknown_codec_is_refused_with_those_there_are():
    with pytest.raises(ValueError, match="codecs mp3, aac, opus, vorbis; got 'wma'"):
        coded(music(10), RATE, "wma", 96.0)
