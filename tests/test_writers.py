import hashlib

import numpy as np
import pytest
from test_render import pair, signal

from datagen.writers import WRITERS, FolderWriter
from manifests.audio import load

ONE = "0" * 16


def planned():
    return pair([signal("drums", ONE), signal("bass", ONE)], [signal("mixture", ONE)])


def signals(synthetic_song, factor=1.0):
    return {name: synthetic_song[name][:, :20_000] * np.float32(factor) for name in ("drums", "bass", "mixture")}


def finished(writer, corpus, audio):
    example = writer.write(corpus, planned(), audio)
    writer.finish(corpus, [planned()], [example])
    return example


@pytest.mark.parametrize("name", WRITERS)
@pytest.mark.parametrize("encoding", ["flac24", "wav32f"])
def test_what_is_written_is_what_was_rendered_and_the_row_says_so(name, encoding, tmp_path, synthetic_song):
    audio = signals(synthetic_song)
    example = finished(WRITERS[name](encoding), tmp_path, audio)
    assert example.id == example.seal_id()
    assert [(file.role, file.name) for file in example.signals] == [("input", "drums"), ("input", "bass"), ("target", "mixture")]
    for file in example.signals:
        path = tmp_path / file.audio.path
        back, sample_rate = load(path)
        np.testing.assert_array_equal(back, audio[file.name])
        assert (sample_rate, back.shape[1]) == (file.audio.sample_rate, file.audio.num_frames)
        assert hashlib.sha256(path.read_bytes()).hexdigest() == file.audio.sha256
        assert file.peak_dbfs == pytest.approx(20 * np.log10(np.abs(back).max()), abs=1e-3)


@pytest.mark.parametrize("name", WRITERS)
def test_the_same_signals_give_the_same_bytes(name, tmp_path, synthetic_song):
    for place in ("a", "b"):
        finished(WRITERS[name]("flac24"), tmp_path / place, signals(synthetic_song))
    files = sorted(path.relative_to(tmp_path / "a") for path in (tmp_path / "a").rglob("*") if path.is_file())
    assert files
    assert all((tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes() for file in files)


def test_a_peak_above_full_scale_takes_one_gain_for_all_signals(tmp_path, synthetic_song):
    audio = signals(synthetic_song, factor=4.0)
    assert max(np.abs(signal).max() for signal in audio.values()) > 1.0
    example = FolderWriter("flac24").write(tmp_path, planned(), audio)
    assert example.gain_db < 0
    for file in example.signals:
        back, _ = load(tmp_path / file.audio.path)
        np.testing.assert_allclose(back, audio[file.name] * 10 ** (example.gain_db / 20), atol=2**-23)
    assert max(file.peak_dbfs for file in example.signals) <= 0.0
    assert min(-file.peak_dbfs for file in example.signals if file.name == "mixture") < 0.011  # no more than it needs


def test_float_wav_needs_no_gain(tmp_path, synthetic_song):
    example = FolderWriter("wav32f").write(tmp_path, planned(), signals(synthetic_song, factor=4.0))
    assert example.gain_db == 0.0


def test_silence_has_neither_loudness_nor_peak(tmp_path, synthetic_song):
    example = FolderWriter().write(tmp_path, planned(), {name: np.zeros((2, 20_000), np.float32) for name in ("drums", "bass", "mixture")})
    assert all(file.loudness_lufs is None and file.peak_dbfs is None for file in example.signals)


def test_finishing_removes_files_that_no_example_names(tmp_path, synthetic_song):
    writer = FolderWriter()
    finished(writer, tmp_path, signals(synthetic_song))
    old = tmp_path / "dataset" / "train" / "mix" / "0123456789abcdef" / "input_drums.flac"
    old.parent.mkdir()
    old.write_bytes(b"x")
    assert writer.finish(tmp_path, [planned()], [writer.write(tmp_path, planned(), signals(synthetic_song))]) == 1
    assert not old.parent.exists()
