"""Damaged MP3 is read without a word of libmpg123's on the standard error stream, and nobody else is silenced."""

import ctypes
import os
import sys
import threading

import numpy as np
import pytest
import soundfile

from stemwright.manifests.sound import decoding, quiet

pytestmark = pytest.mark.skipif(quiet._streams() is None, reason="this system's C library has no standard error stream to exchange")


@pytest.fixture
def damaged(tmp_path, synthetic_song):
    """An MP3 with 700 bytes of zeros within and a tag that is none behind."""
    path = tmp_path / "a.mp3"
    soundfile.write(path, synthetic_song["mixture"].T, 44_100, format="MP3")
    data = path.read_bytes()
    at = data.index(data[:2], len(data) // 2)  # a frame's sync word: the same bits as at the start
    path.write_bytes(data[:at] + bytes(700) + data[at:] + b"TAGX" * 400)
    return path


def test_damaged_mp3_is_read_in_silence(damaged, capfd):
    with soundfile.SoundFile(damaged) as file:
        whole = file.read(dtype="float32", always_2d=True).T
    assert "Note" in capfd.readouterr().err, "the file is one of which libmpg123 speaks"
    np.testing.assert_array_equal(decoding.load(damaged)[0], whole)
    decoding.load(damaged, 100_000, 5_000)
    list(decoding.blocks(damaged, 30_000))
    decoding.probe(damaged)
    assert capfd.readouterr() == ("", "")


def test_python_is_heard_while_several_threads_read(damaged, capfd):
    def read():
        for _ in range(5):
            decoding.load(damaged)

    threads = [threading.Thread(target=read) for _ in range(3)]
    for thread in threads:
        thread.start()
    said = 0
    while any(thread.is_alive() for thread in threads):
        os.write(2, b"python speaks\n")
        said += 1
    for thread in threads:
        thread.join()
    assert capfd.readouterr().err == "python speaks\n" * said


def test_c_is_heard_again_afterwards(capfd):
    library = ctypes.CDLL(None)
    stream = ctypes.c_void_p.in_dll(library, "__stderrp" if sys.platform == "darwin" else "stderr")

    def say(text):
        library.fputs(text, stream)
        library.fflush(stream)

    say(b"before ")
    with quiet.c_stderr(), quiet.c_stderr():
        say(b"within ")
    say(b"after")
    assert capfd.readouterr().err == "before after"
