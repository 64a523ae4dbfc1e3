"""What a verb is asked to write takes no file that it reads."""

import pytest
from conftest import STEM_NAMES, make_song, write_song_file
from typer.testing import CliRunner

from stemwright.datagen.cli.app import app


@pytest.fixture
def place(tmp_path):
    song = make_song(0, 1.5)
    (tmp_path / "stems").mkdir()
    write_song_file(tmp_path / "song.wav", song["mixture"])
    for name in STEM_NAMES:
        write_song_file(tmp_path / "stems" / f"{name}.wav", song[name])
    return tmp_path


@pytest.mark.parametrize(
    "arguments",
    [
        ("balance", "song.wav", "--stems", "stems", "--csv", "song.wav"),
        ("balance", "song.wav", "--stems", "stems", "--csv", "stems/drums.wav"),
        ("balance", "song.wav", "--stems", "stems", "--plot", "song.wav"),
        ("fit", "song.wav", "--stems", "stems", "--chain", "fader", "--render", "song.wav"),
        ("fit", "song.wav", "--stems", "stems", "--chain", "fader", "--render", "stems/bass.wav"),
        ("edit", "song.wav", "mute drums", "stems/drums.wav", "--stems", "stems"),
        ("edit", "song.wav", "mute drums", "song.wav", "--stems", "stems"),
        ("report", ".", "song.wav"),
    ],
    ids=" ".join,
)
def test_no_verb_writes_over_what_it_reads(place, monkeypatch, arguments):
    monkeypatch.chdir(place)
    before = {path: path.read_bytes() for path in place.rglob("*.wav")}
    done = CliRunner().invoke(app, list(arguments))
    assert done.exit_code in (1, 2)
    assert isinstance(done.exception, ValueError), done.output
    assert {path: path.read_bytes() for path in place.rglob("*") if path.is_file()} == before
