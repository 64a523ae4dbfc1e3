import errno
import hashlib
import re
import shutil
import subprocess
from pathlib import Path

import hypothesis.strategies as st
import numpy as np
import pytest
import soundfile
from conftest import make_song, write_song_file
from hypothesis import HealthCheck, given, settings
from hypothesis.extra.numpy import arrays

from stemwright.manifests.decibels import db_to_gain, gain_to_db
from stemwright.manifests.disk import durable
from stemwright.manifests.disk.regular import file_sha256
from stemwright.manifests.records import Refused
from stemwright.manifests.sound import containers, decoding, formats, resampling, writing

GRID = 2**23
EXCERPTS = [(0, 1), (0, 4096), (1, 5000), (1023, 2048), (4097, 10_000), (30_000, 10_000), (60_001, 28_000), (88_199, 1)]
NO_SOUND = "not a readable sound file|cannot be decoded"
WRITTEN_BY_FFMPEG = ["m4a", "aac", "opus", "mp3", "ogg", "mka", "webm", "wma"]
a_few = settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
needs_ffmpeg = pytest.mark.skipif(not shutil.which("ffmpeg"), reason="needs the ffmpeg program to write files of other formats")


def tones(duration_s: float = 2.0, sample_rate: int = 44_100) -> np.ndarray:
    """Decaying tones: no noise, which an AAC encoder would leave to the decoder to invent."""
    time_s = np.arange(round(duration_s * sample_rate)) / sample_rate
    left = sum(np.sin(2 * np.pi * hz * time_s) * np.exp(-(time_s % 0.5) * 3) for hz in (220, 330, 550)) * 0.2
    right = sum(np.sin(2 * np.pi * hz * time_s) * np.exp(-(time_s % 0.4) * 2) for hz in (165, 440, 660)) * 0.2
    return np.stack([left, right]).astype(np.float32)


def encode_by_ffmpeg(folder: Path, suffix: str, samples: np.ndarray, *options: str) -> Path:
    source, path = folder / "source.wav", folder / f"song.{suffix}"
    write_song_file(source, samples, title="A Title", artist="An Artist")
    subprocess.run(["ffmpeg", "-v", "error", "-y", "-i", str(source), "-vn", *options, str(path)], check=True)
    source.unlink()
    return path


@a_few
@given(arrays(np.int32, st.tuples(st.integers(1, 2), st.integers(1, 300)), elements=st.integers(-GRID, GRID - 1)))
def test_24_bit_flac_holds_every_24_bit_value_exactly(tmp_path, values):
    samples = (values / GRID).astype(np.float32)
    writing.save(tmp_path / "a.flac", samples, 44_100)
    loaded, rate = decoding.load(tmp_path / "a.flac")
    assert rate == 44_100
    assert loaded.dtype == np.float32
    np.testing.assert_array_equal(loaded.reshape(samples.shape), samples)


@a_few
@given(arrays(np.float32, (2, 200), elements=st.floats(-1, 1, width=32)))
def test_24_bit_flac_rounds_to_the_nearest_step(tmp_path, samples):
    writing.save(tmp_path / "a.flac", samples, 44_100)
    expected = np.clip(np.rint(samples.astype(np.float64) * GRID), -GRID, GRID - 1) / GRID
    np.testing.assert_array_equal(decoding.load(tmp_path / "a.flac")[0], expected)


@a_few
@given(arrays(np.float32, (2, 200), elements=st.floats(width=32, allow_nan=False, allow_infinity=False)))
def test_float_wav_holds_every_finite_value_exactly(tmp_path, samples):
    writing.save(tmp_path / "a.wav", samples, 48_000, encoding="wav32f")
    np.testing.assert_array_equal(decoding.load(tmp_path / "a.wav")[0], samples)
    np.testing.assert_array_equal(soundfile.read(tmp_path / "a.wav", dtype="float32")[0].T, samples)


@pytest.mark.parametrize("encoding", ["flac24", "wav32f"])
def test_same_audio_gives_the_same_bytes_however_it_is_written(tmp_path, encoding):
    samples = tones()
    sha256 = writing.save(tmp_path / "a", samples, 44_100, encoding=encoding)
    assert sha256 == writing.save(tmp_path / "b", samples, 44_100, encoding=encoding) == file_sha256(tmp_path / "a")
    assert sha256 == hashlib.sha256(writing.encode(samples, 44_100, encoding)).hexdigest()
    with writing.Writer(tmp_path / "c", 44_100, 2, encoding=encoding) as writer:
        for block in np.array_split(samples, 7, axis=1):
            writer.write(block)
    assert (writer.num_frames, writer.sha256) == (samples.shape[1], file_sha256(tmp_path / "c"))
    shutil.copy(tmp_path / "c", tmp_path / f"c{formats.SUFFIXES[encoding]}")
    np.testing.assert_array_equal(
        decoding.load(tmp_path / f"c{formats.SUFFIXES[encoding]}")[0], decoding.load(_suffixed(tmp_path / "a", encoding))[0]
    )


def _suffixed(path: Path, encoding: str) -> Path:
    return path.rename(path.with_suffix(formats.SUFFIXES[encoding]))


@pytest.mark.parametrize(("start_frame", "num_frames"), EXCERPTS)
@pytest.mark.parametrize("suffix", ["flac", "wav", "aiff", "ogg", "mp3"])
def test_excerpt_is_the_slice_of_the_whole(tmp_path_factory, suffix, start_frame, num_frames):
    path = tmp_path_factory.getbasetemp() / f"excerpt.{suffix}"
    if not path.exists():
        write_song_file(path, make_song(1, 2.0)["mixture"])
    whole = decoding.load(path)[0]
    np.testing.assert_array_equal(decoding.load(path, start_frame, num_frames)[0], whole[:, start_frame : start_frame + num_frames])


@needs_ffmpeg
@pytest.mark.parametrize("suffix", WRITTEN_BY_FFMPEG)
def test_excerpt_of_a_compressed_file_is_the_slice_of_the_whole(tmp_path, suffix):
    options = ["-aac_pns", "0"] if suffix in ("m4a", "aac", "mka") else []  # or the decoder would fill noisy bands with noise of its own
    path = encode_by_ffmpeg(tmp_path, suffix, tones(), *options)
    whole, rate = decoding.load(path)
    for start_frame, num_frames in EXCERPTS[:-1]:
        excerpt = decoding.load(path, start_frame, num_frames)[0]
        np.testing.assert_allclose(excerpt, whole[:, start_frame : start_frame + num_frames], atol=1e-5, err_msg=f"{start_frame}")
    np.testing.assert_array_equal(np.concatenate(list(decoding.blocks(path, 10_000)), axis=1), whole)
    assert rate == (48_000 if suffix in ("opus", "webm") else 44_100)


@needs_ffmpeg
@pytest.mark.parametrize("suffix", ["m4a", "opus", "mp3", "ogg"])
def test_first_decoded_frame_is_the_first_that_was_encoded(tmp_path, suffix):
    decoded, rate = decoding.load(encode_by_ffmpeg(tmp_path, suffix, tones(), "-b:a", "256k"))
    original = resampling.resample(tones(), 44_100, rate)
    lags = range(-1200, 1201)
    middle = slice(20_000, 60_000)
    match = [np.vdot(original[:, middle], np.roll(decoded, lag, axis=1)[:, middle]) for lag in lags]
    assert lags[int(np.argmax(match))] == 0


def test_streams_of_a_stem_file_are_distinguished(easton_excerpt):
    assert containers.num_streams(easton_excerpt) == 5
    start_frame, num_frames = 44_100, 4 * 44_100  # the stems end before the mixture does
    mixture, *stems = (decoding.load(easton_excerpt, start_frame, num_frames, stream=stream)[0] for stream in range(5))
    residual_db = [gain_to_db(np.linalg.norm(mixture - np.roll(sum(stems), lag, axis=1)) / np.linalg.norm(mixture)) for lag in (-1, 0, 1)]
    assert residual_db[1] < -20  # mastered after summing, so it is not exact
    assert residual_db[1] < min(residual_db[0], residual_db[2]) - 6
    with pytest.raises(Refused, match="has 5 audio streams; stream 5 does not exist"):
        decoding.probe(easton_excerpt, stream=5)


@pytest.mark.parametrize("to_rate", [22_050, 44_100, 48_000, 96_000])
def test_resampled_stream_is_the_resampled_whole(tmp_path, to_rate):
    writing.save(tmp_path / "a.flac", tones(), 44_100)
    whole = decoding.load(tmp_path / "a.flac")[0]
    for block_frames in (999, 1 << 16):
        streamed = np.concatenate(list(decoding.blocks(tmp_path / "a.flac", block_frames, sample_rate=to_rate)), axis=1)
        np.testing.assert_array_equal(streamed, resampling.resample(whole, 44_100, to_rate))


def test_resampling_keeps_a_tone_below_both_limits():
    time_s = np.arange(44_100) / 44_100
    tone = np.sin(2 * np.pi * 1000 * time_s)[None].astype(np.float32)
    expected = np.sin(2 * np.pi * 1000 * np.arange(48_000) / 48_000)
    np.testing.assert_allclose(resampling.resample(tone, 44_100, 48_000)[0, 2000:-2000], expected[2000:-2000], atol=1e-5)


@given(st.floats(-120, 60))
def test_gain_and_level_are_inverse(db):
    assert gain_to_db(db_to_gain(db)) == pytest.approx(db, abs=1e-9)


def test_level_of_nothing_is_minus_infinity():
    assert gain_to_db(0.0) == float("-inf")


@pytest.mark.parametrize(
    ("sample", "what"),
    [(float("nan"), "NaN or infinite"), (float("inf"), "NaN or infinite"), (1.5, r"peaks at \+3.52 dBFS, which 24-bit samples cannot")],
)
def test_what_24_bits_cannot_hold_is_refused_and_never_clipped(tmp_path, sample, what):
    samples = np.full((1, 10), sample, np.float32)
    with pytest.raises(ValueError, match=what):
        writing.save(tmp_path / "a.flac", samples, 44_100)
    with pytest.raises(ValueError, match=what), writing.Writer(tmp_path / "b.flac", 44_100, 1) as writer:
        writer.write(samples)
    assert list(tmp_path.iterdir()) == []


def test_peak_above_full_scale_is_kept_in_float_wav(tmp_path):
    writing.save(tmp_path / "a.wav", np.full((1, 4), 1.5, np.float32), 44_100, encoding="wav32f")
    np.testing.assert_array_equal(decoding.load(tmp_path / "a.wav")[0], 1.5)


def test_full_disk_leaves_the_file_before_it_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "a.flac"
    writing.save(path, tones(0.1), 44_100)
    before = path.read_bytes()

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(durable.os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        writing.save(path, tones(0.2), 44_100)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("encoding", ["flac24", "wav32f"])
def test_writer_that_fails_leaves_nothing(tmp_path, encoding):
    def interrupted() -> None:
        with writing.Writer(tmp_path / "a", 44_100, 2, encoding=encoding) as writer:
            writer.write(tones(0.1))
            assert not (tmp_path / "a").exists()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert list(tmp_path.iterdir()) == []


def test_leftovers_of_killed_processes_are_removed(tmp_path):
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / ".a.flac.123.part").touch()
    (tmp_path / "x" / "a.flac").touch()
    assert writing.remove_leftovers(tmp_path) == 1
    assert [path.name for path in (tmp_path / "x").iterdir()] == ["a.flac"]


def test_block_of_other_channels_is_refused(tmp_path):
    with pytest.raises(ValueError, match="has 2 channels; got a block of 1"), writing.Writer(tmp_path / "a.flac", 44_100, 2) as writer:
        writer.write(np.zeros((1, 10), np.float32))


@pytest.mark.parametrize("suffix", ["flac", "wav", "mp3", "ogg"])
def test_probe_agrees_with_load(tmp_path, suffix):
    path = write_song_file(tmp_path / f"a.{suffix}", tones(2.0, 48_000), 48_000)
    assert decoding.probe(path) == formats.AudioInfo(48_000, *decoding.load(path)[0].shape)


def test_excerpt_beyond_the_end_gives_an_error_with_the_missing_length(tmp_path):
    path = write_song_file(tmp_path / "a.wav", tones(0.5))
    with pytest.raises(Refused, match="ends 50 frames before frame 22100"):
        decoding.load(path, 22_000, 100)
    assert decoding.load(path, 22_000)[0].shape == (2, 50)


@pytest.mark.parametrize("suffix", ["flac", "wav", "ogg"])
def test_tags_are_read_in_lower_case(tmp_path, suffix):
    path = write_song_file(tmp_path / f"a.{suffix}", tones(0.1), title="Für Elise", artist="B", copyright="CC0")
    assert {key: containers.tags(path)[key] for key in ("title", "artist", "copyright")} == {
        "title": "Für Elise",
        "artist": "B",
        "copyright": "CC0",
    }


def test_file_without_tags_or_sense_has_none(tmp_path):
    (tmp_path / "a.mp3").write_text("no music")
    assert containers.tags(tmp_path / "a.mp3") == {}
    assert "title" not in containers.tags(write_song_file(tmp_path / "a.wav", tones(0.1)))


@pytest.mark.parametrize("keep", [0.95, 0.5, 0.1])
@pytest.mark.parametrize("suffix", ["wav", "aiff", "rf64", "flac", "ogg", "mp3"])
def test_cut_file_is_found_out(tmp_path, suffix, keep):
    path = write_song_file(tmp_path / f"a.{suffix}", make_song(0, 3.0)["mixture"])
    assert not _is_refused(path)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * keep)])
    assert _is_refused(path)


@needs_ffmpeg
@pytest.mark.parametrize("suffix", ["m4a", "opus", "mka", "webm", "wma"])
def test_cut_compressed_file_is_found_out(tmp_path, suffix):
    path = encode_by_ffmpeg(tmp_path, suffix, make_song(0, 3.0)["mixture"])
    assert not _is_refused(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert _is_refused(path)


@needs_ffmpeg
def test_cover_picture_before_an_mp3_hides_no_cut(tmp_path):
    path = write_song_file(tmp_path / "a.mp3", make_song(0, 3.0)["mixture"])
    tag = b"ID3\x04\0\0" + bytes([(100_000 >> shift) & 0x7F for shift in (21, 14, 7, 0)]) + b"\0" * 100_000
    data = path.read_bytes()
    if data[:3] == b"ID3":
        data = data[10 + sum((byte & 0x7F) << shift for byte, shift in zip(data[6:10], (21, 14, 7, 0), strict=True)) :]
    path.write_bytes(tag + data)
    assert not _is_refused(path)
    path.write_bytes(tag + data[: len(data) // 2])
    assert _is_refused(path)


def _is_refused(path: Path) -> bool:
    """Whether a file is refused as a whole, in blocks, or from its header."""
    try:
        blocks = list(decoding.blocks(path, 1 << 16))
        whole = decoding.load(path)[0]
    except Refused:
        with pytest.raises(Refused):
            decoding.load(path)
        return True
    np.testing.assert_array_equal(np.concatenate(blocks, axis=1), whole)
    return False


@pytest.mark.parametrize(
    ("content", "reason"),
    [(b"", "empty file"), (b"plain text\n" * 100, NO_SOUND), (b"\0" * 5000, NO_SOUND)],
)
@pytest.mark.parametrize("suffix", sorted(formats.READABLE_SUFFIXES))
def test_file_that_holds_no_sound_is_refused_with_a_reason(tmp_path, suffix, content, reason):
    path = tmp_path / f"a{suffix}"
    path.write_bytes(content)
    with pytest.raises(Refused, match=reason):
        decoding.load(path)


def test_missing_file_and_folder_are_refused_with_a_reason(tmp_path):
    with pytest.raises(Refused, match=r"file not found: a\.wav"):
        decoding.load(tmp_path / "a.wav")
    with pytest.raises(Refused, match="a folder, not a sound file"):
        decoding.load(tmp_path)


@pytest.mark.parametrize(("sample_rate", "written_rate"), [(44_100, 44_100), (22_050, 32_000), (96_000, 48_000)])
def test_mp3_for_browsers_keeps_length_and_sound_and_gives_the_same_bytes(tmp_path, sample_rate, written_rate):
    song = make_song(0, 1.0, sample_rate=sample_rate)["mixture"]
    data = writing.encode_mp3(song, sample_rate)
    assert writing.encode_mp3(song, sample_rate) == data
    assert len(data) < 30_000  # 160 kbit/s
    (tmp_path / "song.mp3").write_bytes(data)
    back, rate = decoding.load(tmp_path / "song.mp3")
    assert (rate, back.shape) == (written_rate, (2, written_rate))
    assert np.corrcoef(back.ravel(), resampling.resample(song, sample_rate, written_rate).ravel())[0, 1] > 0.98
    with pytest.raises(ValueError, match=r"peaks at 1\.5; expected at most full scale"):
        writing.encode_mp3(np.full((1, 100), 1.5, np.float32), 44_100)


def test_tags_that_are_no_utf_8_are_text_that_can_be_written(tmp_path):
    if shutil.which("ffmpeg") is None:
        pytest.skip("needs the ffmpeg program")
    path = tmp_path / "a.m4a"
    made = ["ffmpeg", "-v", "error", "-f", "lavfi", "-i", "sine=d=0.2", "-metadata", "title=ABCDEF", str(path)]
    subprocess.run(made, check=True)
    path.write_bytes(path.read_bytes().replace(b"ABCDEF", b"A\xe9\xffDEF"))
    title = containers.tags(path)["title"]
    assert title.encode("utf-8").decode("utf-8") == title
    assert (title[0], title[-3:]) == ("A", "DEF")


@pytest.mark.parametrize(
    ("shape", "sample_rate", "name", "message"),
    [
        ((8000, 2), 44_100, "a.wav", r"audio is [channels, time], of 1 to 64 channels; got [8000, 2]; did you mean audio.T?"),
        ((8000, 2), 44_100, "a.flac", r"audio is [channels, time], of 1 to 8 channels in FLAC; got [8000, 2]; did you mean audio.T?"),
        ((9, 8000), 44_100, "a.flac", r"audio is [channels, time], of 1 to 8 channels in FLAC; got [9, 8000]; write .wav"),
        ((0, 8000), 44_100, "a.wav", r"audio is [channels, time], of 1 to 64 channels; got [0, 8000]"),
        ((8000,), 44_100, "a.wav", r"audio is [channels, time]; got 1 axes, [8000]; did you mean audio[None]?"),
        ((1, 8000), 44, "a.wav", r"sample_rate: expected 4,000 to 768,000 Hz; got 44"),
    ],
)
def test_what_load_refuses_is_not_saved(shape, sample_rate, name, message, tmp_path):
    with pytest.raises(ValueError, match=re.escape(message)):
        writing.save(tmp_path / name, np.zeros(shape, np.float32), sample_rate)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("name", "channels"), [("a.wav", 64), ("a.flac", 8)])
def test_as_many_channels_as_may_be_saved_are_loaded(name, channels, tmp_path):
    audio = np.linspace(-0.5, 0.5, channels * 100, dtype=np.float32).reshape(channels, 100)
    writing.save(tmp_path / name, audio, 8_000)
    np.testing.assert_allclose(decoding.load(tmp_path / name)[0], audio, atol=2**-23)
