"""Every kind of bad input: each is refused alone, with a reason a person understands, and the songs beside it are read."""

import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
from conftest import make_song, write_song_file

from stemwright.manifests.catalog.tracks import SplitShares, cache_key, find, inspect, resolve, source_changed
from stemwright.manifests.records import AudioFile, Refused
from stemwright.manifests.sound import writing

SHARES = SplitShares()
SONG = make_song(3, 1.0)["mixture"]


def float_wav(path: Path, samples: np.ndarray) -> None:
    soundfile.write(path, samples.T, 44_100, subtype="FLOAT")


def with_sample(value: float) -> np.ndarray:
    samples = SONG.copy()
    samples[1, 22_050] = value
    return samples


def cut(path: Path, samples: np.ndarray) -> None:
    write_song_file(path, samples)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


BAD: dict[str, tuple[str, Callable[[Path], object], str]] = {
    "empty file": ("x.mp3", Path.touch, r"empty file \(0 bytes\)"),
    "text": ("x.mp3", lambda path: path.write_text("lyrics\n" * 50), r"not a readable sound file \(its content is not MP3, nor"),
    "picture": ("x.flac", lambda path: path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"\0" * 500), "not a readable sound file"),
    "cut WAV": ("x.wav", lambda path: cut(path, SONG), r"truncated: ends at 0\.50 s, 0\.50 s before the end that its header states"),
    "cut MP3": ("x.mp3", lambda path: cut(path, SONG), r"truncated: ends at 0\.\d\d s, 0\.\d\d s before the end that its header states"),
    "cut OGG": ("x.ogg", lambda path: cut(path, make_song(3, 5.0)["mixture"]), r"truncated: ends at \d\.\d\d s within a page"),
    "cut FLAC": ("x.flac", lambda path: cut(path, SONG), r"truncated: ends \d+ frames before the end that its header states"),
    "NaN": ("x.wav", lambda path: float_wav(path, with_sample(np.nan)), r"contains NaN or infinite samples, the first at 0\.500 s"),
    "infinity": ("x.wav", lambda path: float_wav(path, with_sample(-np.inf)), r"contains NaN or infinite samples, the first at 0\.500 s"),
    "digital silence": ("x.wav", lambda path: float_wav(path, SONG * 0), r"silent: all samples are zero; expected above -80 dBFS"),
    "near silence": ("x.wav", lambda path: float_wav(path, SONG * 1e-5), r"silent: peaks at -10\d\.\d dBFS; expected above -80 dBFS"),
    "no samples": ("x.wav", lambda path: float_wav(path, SONG[:, :0]), r"contains no samples"),
    "six channels": ("x.wav", lambda path: float_wav(path, np.tile(SONG, (3, 1))), r"6 channels; expected mono or stereo\. Fold it down"),
}


@pytest.mark.parametrize(("name", "make", "reason"), BAD.values(), ids=BAD)
def test_bad_file_is_refused_with_its_reason_and_its_neighbour_is_read(tmp_path, name, make, reason):
    write_song_file(tmp_path / "good.flac", SONG)
    make(tmp_path / name)
    good, bad = find(tmp_path).candidates
    assert len(cache_key(tmp_path, bad, SHARES)) == 16
    assert inspect(tmp_path, good, SHARES).title == "good"
    with pytest.raises(Refused) as refusal:
        inspect(tmp_path, bad, SHARES)
    assert re.fullmatch(f".*{reason}.*", str(refusal.value)), refusal.value


@pytest.mark.parametrize("stem", ["drums", "vocals"])
def test_bad_reference_stem_is_named(multitrack_folder, stem):
    root = multitrack_folder(train=1, test=0)
    path = root / "train" / "Artist 0 - Title 0" / f"{stem}.wav"
    path.write_bytes(path.read_bytes()[:50_000])
    with pytest.raises(Refused, match=f"reference stem {stem}: truncated"):
        inspect(root, find(root).candidates[0], SHARES)


def test_silent_reference_stem_is_no_error(multitrack_folder):
    root = multitrack_folder(train=1, test=0)
    write_song_file(root / "train" / "Artist 0 - Title 0" / "vocals.wav", np.zeros((2, 88_200), np.float32))
    assert len(inspect(root, find(root).candidates[0], SHARES).references) == 4


def test_name_that_is_not_utf8_is_refused_and_shown(tmp_path):
    write_song_file(tmp_path / "good.flac", SONG)
    try:
        shutil.copy(tmp_path / "good.flac", os.fsencode(tmp_path) + b"/bj\xf6rk.flac")
    except OSError:
        pytest.skip("this file system takes only names in UTF-8")
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/s\xfcb")).mkdir()
    shutil.copy(tmp_path / "good.flac", os.fsencode(tmp_path) + b"/s\xfcb/a.flac")
    found = find(tmp_path)
    assert [candidate.path for candidate in found.candidates] == ["good.flac"]
    assert found.refused == (("bj\\xf6rk.flac", "its name is not UTF-8; rename it"), ("s\\xfcb/a.flac", "its name is not UTF-8; rename it"))


def test_song_of_a_data_set_whose_name_is_not_utf8_is_refused(multitrack_folder):
    root = multitrack_folder(train=2, test=0)
    try:
        (root / "train" / "Artist 0 - Title 0").rename(os.fsdecode(os.fsencode(root) + b"/train/Bj\xf6rk - Title"))
    except OSError:
        pytest.skip("this file system takes only names in UTF-8")
    found = find(root)
    assert [candidate.artist for candidate in found.candidates] == ["Artist 1"]
    assert found.refused == (("train/Bj\\xf6rk - Title/mixture.wav", "its name is not UTF-8; rename it"),)


def test_name_like_a_drive_is_refused_because_other_systems_would_leave_the_folder(tmp_path):
    write_song_file(tmp_path / "C: song.flac", SONG)
    assert find(tmp_path).refused == (("C: song.flac", "other systems would read its name as a drive letter; rename it"),)


def test_folder_link_and_pipe_with_the_name_of_a_song_are_refused(tmp_path):
    write_song_file(tmp_path / "album.wav" / "good.flac", SONG)
    (tmp_path / "gone.flac").symlink_to(tmp_path / "nothing.flac")
    (tmp_path / "self.flac").symlink_to(tmp_path / "self.flac")
    os.mkfifo(tmp_path / "pipe.wav")
    found = find(tmp_path)
    assert [candidate.path for candidate in found.candidates] == ["album.wav/good.flac"]
    assert dict(found.refused) == {
        "album.wav": "a folder, not a sound file (the files in it are read)",
        "gone.flac": "a broken link",
        "self.flac": "a broken link",
        "pipe.wav": "not a regular file",
    }


def test_unreadable_file_is_refused(tmp_path, monkeypatch):
    write_song_file(tmp_path / "a.flac", SONG)
    (candidate,) = find(tmp_path).candidates
    readable = cache_key(tmp_path, candidate, SHARES)
    if os.geteuid() == 0:  # root reads everything
        really_open = Path.open

        def forbidden(self: Path, *args: object, **options: object) -> object:
            if self.name == "a.flac":
                raise PermissionError(13, "Permission denied", str(self))
            return really_open(self, *args, **options)

        monkeypatch.setattr(Path, "open", forbidden)
    else:
        (tmp_path / "a.flac").chmod(0)
    with pytest.raises(Refused, match="cannot be opened: Permission denied"):
        inspect(tmp_path, candidate, SHARES)
    assert cache_key(tmp_path, candidate, SHARES) != readable  # so it is tried again once it can be read


def test_unreadable_folder_is_refused_and_the_rest_is_read(tmp_path, monkeypatch):
    write_song_file(tmp_path / "a.flac", SONG)
    write_song_file(tmp_path / "secret" / "b.flac", SONG)
    if os.geteuid() == 0:
        really_scan = os.scandir

        def forbidden(path: object) -> object:
            if Path(str(path)).name == "secret":
                raise PermissionError(13, "Permission denied", str(path))
            return really_scan(path)

        monkeypatch.setattr(os, "scandir", forbidden)
    else:
        (tmp_path / "secret").chmod(0)
    found = find(tmp_path)
    assert [candidate.path for candidate in found.candidates] == ["a.flac"]
    assert found.refused == (("secret", "folder cannot be listed: Permission denied"),)


@pytest.mark.parametrize("path", ["../secret.flac", "/etc/passwd", "a/../../b.flac"])
def test_source_outside_the_songs_folder_is_refused(tmp_path, path):
    row = AudioFile.model_construct(path=path, sample_rate=44_100, num_channels=2, num_frames=1, num_bytes=1, sha256="0" * 64, stream=0)
    with pytest.raises(Refused, match="leaves its folder"):
        source_changed(tmp_path, row)
    with pytest.raises(Refused, match="leaves its folder"):
        resolve(tmp_path, path)


def test_names_of_any_script_and_length_are_read(tmp_path):
    names = [
        "日本語の歌.flac",
        "é" * 120 + ".flac",
        " spaces  and 'quotes\".flac",
        "new\nline.flac",
        "-rf.flac",
        "*?.flac",
        "50%.flac",
        "e\u0301.flac",
    ]
    for name in names:
        write_song_file(tmp_path / name, SONG)
    found = find(tmp_path)
    assert sorted(candidate.path for candidate in found.candidates) == sorted(names)
    assert {inspect(tmp_path, candidate, SHARES).audio.num_frames for candidate in found.candidates} == {44_100}


def test_song_of_one_frame_is_read(tmp_path):
    writing.save(tmp_path / "a.flac", SONG[:, 5000:5001], 44_100)
    assert inspect(tmp_path, find(tmp_path).candidates[0], SHARES).audio.num_frames == 1
