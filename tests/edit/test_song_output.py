"""What a verb does with a peak that its file cannot hold, and the formats of ``undo`` and ``apply``."""

import json

import numpy as np
import pytest
from conftest import make_song, write_song_file
from typer.testing import CliRunner

from stemwright.datagen.cli.app import app
from stemwright.datagen.edit.song_output import OutputOptions
from stemwright.manifests.records import Refused
from stemwright.manifests.sound.decoding import load
from stemwright.manifests.sound.writing import save
from stemwright.manifests.usage import UsageError

RATE = 44_100


def bursts():
    """6 s of noise at -20 dBFS in two channels, with a burst 4 dB above full scale at 1.0 s, in one channel, and one of 2 dB at 4.5 s."""
    audio = 0.1 * np.random.default_rng(0).uniform(-1.0, 1.0, (2, 6 * RATE))
    time = np.arange(RATE // 20)
    for start, level_db, channel in ((RATE, 4.0, 0), (int(4.5 * RATE), 2.0, 1)):
        audio[channel, start : start + len(time)] = 10 ** (level_db / 20) * np.sin(2 * np.pi * 441.0 * time / RATE)
    return audio.astype(np.float32)


def test_float_wav_keeps_every_peak(tmp_path):
    for keep in (None, "limit", "refuse"):
        level = OutputOptions(keep_level=keep).to(tmp_path / "out.wav").levelled(bursts(), RATE)
        np.testing.assert_array_equal(level.audio, bursts())
        assert level.plain() == {"gain_db": 0.0, "limited": None, "peak_dbfs": pytest.approx(4.0, abs=0.01)}
        assert level.lines("the song") == [
            "peaks at +4.00 dBFS: float WAV holds it, but a player clips it; turn it down before playing",
        ]


@pytest.mark.parametrize("suffix", [".flac", ".mp3", ".m4a", ".opus", ".ogg"])
def test_a_limiter_changes_only_what_is_near_the_peaks_and_says_where(tmp_path, suffix):
    level = OutputOptions(keep_level="limit").to(tmp_path / f"out{suffix}").levelled(bursts(), RATE)
    assert np.abs(level.audio).max() <= 1.0
    assert level.gain_db == 0.0
    untouched = np.ones(6 * RATE, bool)
    for start, end in ((0.99, 2.1), (4.49, 5.6)):  # the release is 0.1 s: after a second nothing is left of it
        untouched[int(start * RATE) : int(end * RATE)] = False
    np.testing.assert_allclose(level.audio[:, untouched], bursts()[:, untouched], rtol=1e-6, atol=0)
    margin = 0.0 if suffix == ".flac" else 1.0  # a lossy format may decode above what was encoded
    assert np.abs(level.audio).max() == pytest.approx(10 ** (-margin / 20), abs=1e-6)
    assert level.limited.lowest_db == pytest.approx(-4.0 - margin, abs=0.01)
    assert 1.0 <= level.limited.lowest_s <= 1.05
    (first, _), (second, _) = level.limited.stretches
    assert (first, second) == (pytest.approx(1.0, abs=0.01), pytest.approx(4.5, abs=0.01))
    text = level.lines("the song")[0]
    assert text.startswith(f"limiter: limited by at most {4 + margin:.2f} dB, at 1.0")
    assert "1.0 to 1.2 s, 4.5 to 4.7 s" in text
    ratio = level.audio[:, int(1.01 * RATE)] / bursts()[:, int(1.01 * RATE)]
    assert ratio[0] == pytest.approx(ratio[1], rel=1e-5)  # the image stays: both channels get one gain


def test_without_a_peak_nothing_is_limited_or_lowered(tmp_path):
    quiet = np.float32(0.5) * bursts()
    for keep in (None, "limit", "refuse"):
        level = OutputOptions(keep_level=keep).to(tmp_path / "out.flac").levelled(quiet, RATE)
        np.testing.assert_array_equal(level.audio, quiet)
        assert level.lines("the song") == []


def test_a_level_that_cannot_be_kept_is_refused_with_the_ways_out(tmp_path):
    with pytest.raises(Refused, match=r"the song peaks at \+4.00 dBFS, at 1.0\d s: MP3 cannot hold it .* Write .wav \(float\), or use"):
        OutputOptions(keep_level="refuse").to(tmp_path / "out.mp3").levelled(bursts(), RATE)
    with pytest.raises(Refused, match=r"a stem peaks above full scale: .* or leave out --save-stems"):
        OutputOptions(keep_level="limit").to(tmp_path / "out.flac").levelled(np.float32(0.1) * bursts(), RATE, "the mix", [bursts()])
    with pytest.raises(UsageError, match="expected to keep the level by limit or refuse; got 'louder'"):
        OutputOptions(keep_level="louder").to(tmp_path / "out.flac")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place, song = tmp_path_factory.mktemp("song"), make_song(1, 0.5)
    for name, audio in song.items():
        write_song_file(place / "stems" / f"{name}.wav", audio)
    loud = np.clip(1.6 * song["mixture"] / np.abs(song["mixture"]).max(), -0.9, 0.9).astype(np.float32)
    save(place / "clipped.wav", loud, RATE)
    stems = {name: [{"effect": "fader", "settings": {"gain_db": 14.0}}] for name in ("drums", "bass", "other", "vocals")}
    (place / "preset.json").write_text(json.dumps({"stemwright_preset": 1, "stems": stems, "bus": []}))
    return place


def run(*arguments):
    return CliRunner().invoke(app, [*map(str, arguments), "--json"])


def test_undo_and_apply_write_every_format_and_keep_the_level_as_edit_does(folder, tmp_path):
    for verb, words in (("undo", ("undo", folder / "clipped.wav")), ("apply", ("apply", folder / "preset.json", folder / "stems"))):
        floated = run(*words, tmp_path / f"{verb}.wav")
        assert floated.exit_code == 0, repr(floated.exception)
        reference = load(tmp_path / f"{verb}.wav")[0]
        assert np.abs(reference).max() > 1.0
        assert json.loads(floated.stdout)["gain_db"] == 0.0
        for suffix, options in ((".mp3", ()), (".m4a", ()), (".flac", ("--bits", 16)), (".opus", ("--bit-rate", 96))):
            made = run(*words, tmp_path / f"{verb}{suffix}", *options)
            assert made.exit_code == 0, repr(made.exception)
            said, (audio, rate) = json.loads(made.stdout), load(tmp_path / f"{verb}{suffix}")
            assert said["gain_db"] < 0.0
            if rate == RATE:
                assert audio.shape == reference.shape
                error = audio - reference * 10 ** (said["gain_db"] / 20)
                assert 10 * np.log10((error**2).sum() / (audio**2).sum()) < -20.0
        limited = run(*words, tmp_path / f"{verb}.flac", "--keep-level", "limit")
        assert json.loads(limited.stdout)["limited"]["lowest_db"] < 0.0
        refused = run(*words, tmp_path / f"{verb}_no.flac", "--keep-level", "refuse")
        assert "cannot hold it at its level" in str(refused.exception)
        assert not (tmp_path / f"{verb}_no.flac").exists()
