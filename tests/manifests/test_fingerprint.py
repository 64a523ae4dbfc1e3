"""A recording is known again in any encoding and laid into place to the sample; another song is not taken for it."""

import shutil
import subprocess

import numpy as np
import pytest
import soundfile
from conftest import SAMPLE_RATE, make_song

from stemwright.manifests.sound import decoding, fingerprint, sketch
from stemwright.manifests.sound.resampling import resample

DURATION_S = 4.0
SONGS = 10
COPIES = {  # change of the song -> its offset after that, in samples
    "the file itself": 0,
    "10 dB quieter": 0,
    "cut by 50 ms": -2_205,
    "padded by 1105 samples": 1_105,
    "padded by 2 s": 88_200,
    "resampled and back": 0,
    "8-bit noise": 0,
    "mp3": 0,
    "vorbis": 0,
    "aac": None,  # encoders differ in how much silence they put in front
}


def low(samples, sample_rate=SAMPLE_RATE):
    return resample(samples.mean(axis=0, keepdims=True, dtype=np.float32), sample_rate, fingerprint.RATE)[0]


def words(samples, *, dense=False):
    return fingerprint.words_of(low(samples), **({"step": fingerprint.STEP} if dense else {}))


@pytest.fixture(scope="module")
def songs():
    return [make_song(number, DURATION_S)["mixture"] for number in range(SONGS)]


def through_soundfile(song, path, **options):
    with soundfile.SoundFile(path, "w", samplerate=SAMPLE_RATE, channels=2, **options) as file:
        file.write(song.T)
    return decoding.load(path)[0]


def copy_of(song, what, folder):
    if what == "mp3":
        return through_soundfile(song, folder / "copy.mp3", format="MP3", subtype="MPEG_LAYER_III", compression_level=0.8)
    if what == "vorbis":
        return through_soundfile(song, folder / "copy.ogg", format="OGG", subtype="VORBIS")
    if what == "aac":
        if not shutil.which("ffmpeg"):
            pytest.skip("writing AAC needs the ffmpeg program")
        soundfile.write(folder / "song.wav", song.T, SAMPLE_RATE, subtype="PCM_24")
        subprocess.run(["ffmpeg", "-loglevel", "error", "-y", "-i", folder / "song.wav", "-b:a", "128k", folder / "song.m4a"], check=True)
        return decoding.load(folder / "song.m4a")[0]
    noise = np.random.default_rng(0).uniform(-1, 1, song.shape).astype(np.float32) / 256
    return {
        "the file itself": lambda: song,
        "10 dB quieter": lambda: song * np.float32(0.316),
        "cut by 50 ms": lambda: song[:, 2_205:],
        "padded by 1105 samples": lambda: np.pad(song, ((0, 0), (1_105, 0))),
        "padded by 2 s": lambda: np.pad(song, ((0, 0), (88_200, 0))),
        "resampled and back": lambda: resample(resample(song, SAMPLE_RATE, 48_000), 48_000, SAMPLE_RATE),
        "8-bit noise": lambda: song + noise,
    }[what]()


def marks(song):
    starts, length = sketch.anchor_starts(song.shape[1], SAMPLE_RATE)
    windows = sketch.Windows(starts, length)
    for start in range(0, song.shape[1], 10_007):
        windows.add(song[:, start : start + 10_007])
    return sketch.Anchors(starts, length, sketch.project(windows.values))


def offset_of(anchors, copy, about, reach=1_323):
    windows = sketch.Windows([start + about - reach for start in anchors.starts], anchors.num_frames + 2 * reach)
    windows.add(copy)
    return about + sketch.align(anchors, windows.values, reach).offset_frames


@pytest.mark.parametrize("what", COPIES)
def test_a_copy_is_known_again_and_laid_into_place_to_the_sample(what, songs, tmp_path):
    song = songs[3]
    copy = copy_of(song, what, tmp_path)
    match = fingerprint.match(words(song), words(copy, dense=True))
    assert match.same
    found = offset_of(marks(song), copy, round(match.offset_s * SAMPLE_RATE))
    if COPIES[what] is None:  # then the right place is where the two correlate best
        reach = 4_096
        spectrum = np.conj(np.fft.rfft(song[0], 1 << 19)) * np.fft.rfft(copy[0], 1 << 19)
        lags = np.fft.irfft(spectrum)
        assert found == max(range(-reach, reach + 1), key=lambda lag: lags[lag])
    else:
        assert found == COPIES[what]


def test_copies_and_other_songs_lie_apart(songs, tmp_path):
    kept = [words(song) for song in songs]
    other = [
        fingerprint.match(kept[one], words(songs[two], dense=True)).error_rate for two in range(SONGS) for one in range(SONGS) if one != two
    ]
    same = [
        fingerprint.match(kept[number], words(copy_of(songs[number], what, tmp_path), dense=True)).error_rate
        for number in range(4)
        for what in ("mp3", "vorbis", "cut by 50 ms", "8-bit noise")
    ]
    assert max(same) < fingerprint.SAME_ERROR_RATE < min(other)
    assert np.median(other) > 0.4


def test_every_offset_between_words_is_found(songs):
    kept = words(songs[0])
    for frames in (0, 13, 177, 353, 500, 4_000):
        match = fingerprint.match(kept, words(np.pad(songs[0], ((0, 0), (frames, 0))), dense=True))
        assert abs(match.offset_s * SAMPLE_RATE - frames) <= 0.5 * fingerprint.STEP * SAMPLE_RATE / fingerprint.RATE + 1
        assert match.error_rate < 0.05


def test_silence_is_not_alike():
    silence = np.zeros((2, 4 * SAMPLE_RATE), np.float32)
    assert not words(silence).any()
    assert not fingerprint.match(words(silence), words(silence, dense=True)).same


def test_a_recording_shorter_than_two_frames_has_no_words(songs):
    assert len(words(songs[0][:, :20_000])) == 0
    assert fingerprint.match(words(songs[0][:, :20_000]), words(songs[0], dense=True)) == fingerprint.NOTHING


def test_words_and_sums_come_back_from_their_text(songs):
    kept = words(songs[0])
    np.testing.assert_array_equal(fingerprint.unpack(fingerprint.pack(kept)), kept)
    sums = marks(songs[0]).sums
    np.testing.assert_array_equal(sketch.unpack(sketch.pack(sums), *sums.shape), sums)


def test_four_minutes_take_ten_kilobytes():
    noise = np.random.default_rng(0).standard_normal(240 * fingerprint.RATE).astype(np.float32)
    assert len(fingerprint.pack(fingerprint.words_of(noise))) < 10_200


@pytest.mark.parametrize("distortion_db", [5.0, 15.0, 40.0])
def test_sketches_measure_how_far_a_copy_is_off(distortion_db, songs):
    """Each estimate has a standard deviation of half a dB; four of them stay within three on average."""
    errors = []
    for number, song in enumerate(songs[:4]):
        noise = np.random.default_rng(number).standard_normal(song.shape).astype(np.float32)
        noise *= np.float32(np.linalg.norm(song) / np.linalg.norm(noise) * 10 ** (-distortion_db / 20))
        whole = sketch.sketch_of([song], 2)
        errors.append(sketch.distortion_db(whole.values, whole.energy, sketch.sketch_of([song + noise], 2).values) - distortion_db)
    assert abs(np.mean(errors)) < 3 * 0.55 / 2


def test_a_sketch_does_not_depend_on_the_blocks_it_is_made_of(songs):
    whole, parts = sketch.sketch_of([songs[0]], 2), sketch.sketch_of(np.array_split(songs[0], 17, axis=1), 2)
    np.testing.assert_allclose(parts.values, whole.values, rtol=1e-4, atol=1e-4)
    assert parts.energy == pytest.approx(whole.energy)
    assert sketch.distortion_db(whole.values, whole.energy, whole.values) == float("inf")


def test_gain_is_measured_from_sketches(songs):
    one, other = sketch.sketch_of([songs[0]], 2).values, sketch.sketch_of([songs[0] * np.float32(0.25)], 2).values
    assert sketch.gain_between(one, other) == pytest.approx(4.0, rel=1e-5)
    assert sketch.gain_between(one, np.zeros_like(one)) == 1.0
