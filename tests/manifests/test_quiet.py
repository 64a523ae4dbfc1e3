"""Damaged MP3 is read as ffmpeg reads it, and prints nothing on the standard error stream."""

import shutil
import subprocess

import numpy as np
import pytest
import soundfile

from stemwright.manifests.sound import decoding


@pytest.fixture
def damaged(tmp_path, synthetic_song):
    """An MP3 with 700 bytes of zeros between two of the packets that its header counts, and a tag that is none behind."""
    path = tmp_path / "a.mp3"
    soundfile.write(path, synthetic_song["mixture"].T, 44_100, format="MP3")
    data = path.read_bytes()
    at = data.index(data[:2], len(data) // 2)  # a frame's sync word: the same bits as at the start
    path.write_bytes(data[:at] + bytes(700) + data[at:] + b"TAGX" * 400)
    return path


@pytest.mark.skipif(not shutil.which("ffmpeg"), reason="compares with the ffmpeg program")
def test_damaged_mp3_is_read_in_silence_and_as_ffmpeg_does(damaged, capfd):
    with soundfile.SoundFile(damaged) as file:
        file.read()
    assert "Note" in capfd.readouterr().err, "the file is one of which libmpg123 speaks"
    command = ["ffmpeg", "-v", "quiet", "-i", str(damaged), "-f", "f32le", "-"]
    peer = np.frombuffer(subprocess.run(command, capture_output=True, check=True).stdout, "<f4").reshape(-1, 2).T
    whole = decoding.load(damaged)[0]
    common = min(whole.shape[1], peer.shape[1])
    np.testing.assert_allclose(whole[:, :common], peer[:, :common], atol=1e-5)
    assert common >= peer.shape[1] - 1152
    np.testing.assert_array_equal(decoding.load(damaged, 100_000, 5_000)[0], whole[:, 100_000:105_000])
    np.testing.assert_array_equal(np.concatenate(list(decoding.blocks(damaged, 30_000)), axis=1), whole)
    decoding.probe(damaged)
    assert capfd.readouterr() == ("", "")
