"""Limits on untrusted files: rate, length, level, kind. Each absurd value gives one readable refusal, and no file opens another."""

import os
import shutil
import socket
import struct
import subprocess
from pathlib import Path

import numpy as np
import pytest
import soundfile
from conftest import make_song, write_song_file

from stemwright.datagen.run.songs_config import SongsConfig
from stemwright.manifests.catalog.tracks import SplitShares, find, inspect
from stemwright.manifests.catalog.tracks import cache_key as catalog_task
from stemwright.manifests.disk.regular import file_sha256
from stemwright.manifests.records import Refused
from stemwright.manifests.sound import containers, decoding, embedded, formats
from stemwright.separation.jobs import checked_blocks

RATE = 44_100


def cataloged(songs: Path, name: str, **options: float):
    (candidate,) = [found for found in find(songs).candidates if found.path == name]
    return inspect(songs, candidate, SplitShares(), **options)


def a_wav(path: Path, seconds: float = 1.0, gain: float = 1.0, subtype: str = "PCM_16") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    sound = make_song(1, seconds)["mixture"] * np.float32(gain)
    soundfile.write(path, sound.T, RATE, subtype=subtype)
    return path


def with_rate(path: Path, rate: int) -> Path:
    data = bytearray(path.read_bytes())
    data[24:32] = struct.pack("<II", rate, 4 * rate & 0xFFFFFFFF)
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("rate", [1, 7, 3_999, 768_001, 10**9, 2**31 - 1])
def test_a_header_of_an_absurd_rate_is_refused_wherever_the_file_is_opened(rate, tmp_path):
    path = with_rate(a_wav(tmp_path / "a.wav"), rate)
    for opens in (
        decoding.probe,
        decoding.load,
        decoding.load_song,
        lambda one: list(decoding.blocks(one, 1 << 16)),
        lambda one: cataloged(tmp_path, one.name),
    ):
        with pytest.raises(Refused, match=rf"says {rate} Hz; expected 4000 to 768000 Hz"):
            opens(path)
    for opens_bytes in (embedded.probe_bytes, embedded.decode):
        with pytest.raises(Refused, match=rf"says {rate} Hz"):
            opens_bytes(path.read_bytes())


@pytest.mark.parametrize("rate", [4_000, 8_000, 384_000, 768_000])
def test_the_lowest_and_the_highest_rate_are_read(rate, tmp_path):
    path = with_rate(a_wav(tmp_path / "a.wav"), rate)
    assert decoding.probe(path).sample_rate == rate
    assert cataloged(tmp_path, "a.wav").audio.sample_rate == rate


@pytest.mark.parametrize("gain_db", [41.0, 90.3, 186.6, 757.0])
def test_a_peak_that_no_recording_has_is_refused_in_decibels(gain_db, tmp_path):
    path = tmp_path / "a.wav"
    sound = np.asarray(make_song(1, 0.5)["mixture"], np.float64)
    sound *= 10 ** (gain_db / 20) / np.abs(sound).max()
    soundfile.write(path, sound.T.astype(np.float32), RATE, subtype="FLOAT")
    for opens in (lambda: cataloged(tmp_path, "a.wav"), lambda: decoding.load_song(path), lambda: list(checked_blocks(path, RATE, 0, 2))):
        with pytest.raises(Refused, match=rf"peaks at \+{gain_db:.1f} dBFS; expected at most \+40 dBFS"):
            opens()


def test_one_flipped_bit_of_an_exponent_is_refused(tmp_path):
    path = tmp_path / "a.wav"
    sound = np.ascontiguousarray(make_song(1, 0.5)["mixture"].T)
    sound.view(np.uint32)[1000, 0] ^= 1 << 30
    soundfile.write(path, sound, RATE, subtype="FLOAT")
    with pytest.raises(Refused, match="A bit is wrong in it"):
        cataloged(tmp_path, "a.wav")


def test_a_float_mixture_above_full_scale_is_still_a_song(tmp_path):
    a_wav(tmp_path / "a.wav", gain=32.0, subtype="FLOAT")
    assert cataloged(tmp_path, "a.wav").peak_dbfs > 20


def test_a_recording_longer_than_allowed_is_refused_by_its_header(tmp_path, monkeypatch):
    num_bytes = 2 * 8_000 * 36_000  # ten hours of silence, in a file with a hole
    header = struct.pack("<4sI8sIHHIIHH4sI", b"RIFF", 36 + num_bytes, b"WAVEfmt ", 16, 1, 1, 8_000, 16_000, 2, 16, b"data", num_bytes)
    (tmp_path / "long.wav").write_bytes(header)
    os.truncate(tmp_path / "long.wav", 44 + num_bytes)
    monkeypatch.setattr(decoding, "blocks", lambda *_, **__: pytest.fail("it was decoded"))
    with pytest.raises(Refused, match=r"lasts 10\.0 h; expected at most 3\.0 h\. .*raise songs\.longest_s in the configuration"):
        cataloged(tmp_path, "long.wav")
    with pytest.raises(Refused, match=r"lasts 10\.0 h; expected at most 3\.0 h\. Cut it"):
        decoding.load_song(tmp_path / "long.wav")


@pytest.mark.parametrize("suffix", [".wav", ".aac", ".mp3", ".ogg"])
def test_a_recording_whose_header_does_not_say_its_length_is_refused_while_it_is_decoded(suffix, tmp_path, monkeypatch):
    source, path = a_wav(tmp_path / "source.wav", 4.0), tmp_path / "songs" / f"a{suffix}"
    path.parent.mkdir()
    if suffix == ".aac" and not shutil.which("ffmpeg"):
        pytest.skip("writing AAC needs the ffmpeg program")
    if suffix == ".aac":
        subprocess.run(["ffmpeg", "-v", "error", "-i", source, path], check=True)
    else:
        write_song_file(path, make_song(1, 4.0)["mixture"])
    assert cataloged(path.parent, path.name, longest_s=5.0)
    info = formats.AudioInfo(RATE, 2, 2**62)  # what libsndfile says of a FLAC of unknown length
    monkeypatch.setattr(decoding, "probe", lambda *_, **__: info)
    with pytest.raises(Refused, match=r"lasts \d\.\d s; expected at most 2\.0 s"):
        cataloged(path.parent, path.name, longest_s=2.0)


def test_the_longest_length_is_part_of_the_cache_key(tmp_path):
    a_wav(tmp_path / "a.wav", 2.0)
    (candidate,) = find(tmp_path).candidates
    ids = {catalog_task(tmp_path, candidate, SplitShares(), longest_s) for longest_s in (1.0, 10_800.0)}
    assert len(ids) == 2
    assert SongsConfig().longest_s == formats.LONGEST_S == 10_800.0


FORGED = {
    "ffconcat": "ffconcat version 1.0\nfile inner.wav\n",
    "ffconcat-unsafe": "ffconcat version 1.0\nfile {folder}/inner.wav\n",
    "m3u8": "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\ninner.wav\n#EXT-X-ENDLIST\n",
    "m3u": "#EXTM3U\ninner.wav\n",
    "pls": "[playlist]\nFile1=inner.wav\n",
    "dash": '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static"><Period><AdaptationSet mimeType="audio/mp4">'
    '<Representation id="1" bandwidth="1"><BaseURL>inner.wav</BaseURL></Representation></AdaptationSet></Period></MPD>',
    "sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=audio 5004 RTP/AVP 0\n",
    "avisynth": 'WavSource("inner.wav")\n',
    "text": "a shopping list\n" * 40,
    "empty lines": "\n" * 1000,
}


@pytest.mark.parametrize("suffix", sorted(formats.READABLE_SUFFIXES))
@pytest.mark.parametrize("kind", FORGED)
def test_a_text_that_names_other_files_is_no_song_whatever_it_is_called(kind, suffix, tmp_path):
    a_wav(tmp_path / "inner.wav")
    path = tmp_path / "songs" / f"a{suffix}"
    path.parent.mkdir()
    shutil.copy(tmp_path / "inner.wav", path.parent / "inner.wav")
    path.write_text(FORGED[kind].format(folder=tmp_path))
    with pytest.raises(Refused, match="not a readable sound file"):
        decoding.probe(path)
    assert containers.tags(path) == {}
    with pytest.raises(Refused):
        cataloged(path.parent, path.name)


@pytest.mark.parametrize(
    "name", ["concat:inner.wav|inner.wav.m4a", "subfile,,start,0,end,0,,:inner.m4a", "data:audio.m4a", "file:x.m4a", "a%20b?c.m4a"]
)
def test_a_name_that_looks_like_an_address_is_a_name(name, tmp_path, monkeypatch):
    if not shutil.which("ffmpeg"):
        pytest.skip("writing AAC needs the ffmpeg program")
    a_wav(tmp_path / "inner.wav")
    subprocess.run(["ffmpeg", "-v", "error", "-i", tmp_path / "inner.wav", tmp_path / "b.m4a"], check=True)
    (tmp_path / "b.m4a").rename(tmp_path / name)
    monkeypatch.chdir(tmp_path)
    assert decoding.probe(Path(name)).num_channels == 2  # relative, as it is given on a command line
    assert decoding.load(tmp_path / name)[0].shape[1] > RATE * 0.9


@pytest.mark.parametrize("kind", ["pipe", "socket", "folder", "device"])
@pytest.mark.parametrize("suffix", [".wav", ".m4a", ".flac"])
def test_what_is_no_regular_file_is_refused_at_once(kind, suffix, tmp_path, monkeypatch):
    path = tmp_path / f"a{suffix}"
    held = None
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "socket":
        held = socket.socket(socket.AF_UNIX)
        monkeypatch.chdir(tmp_path)
        held.bind(path.name)  # alone: the path to a socket has at most 107 bytes
    elif kind == "folder":
        path.mkdir()
    else:
        path.symlink_to("/dev/zero")
    for opens in (
        decoding.probe,
        decoding.load,
        decoding.load_song,
        lambda one: list(decoding.blocks(one, 1 << 16)),
        containers.num_streams,
    ):
        if opens is containers.num_streams and suffix != ".m4a":
            continue
        with pytest.raises(Refused, match=f"a {kind}, not a sound file"):
            opens(path)
    with pytest.raises((Refused, OSError), match=f"a {kind}, not a sound file|No such device"):
        embedded.load_range(path)
    with pytest.raises(OSError, match=f"a {kind}, not a file"):
        file_sha256(path)
    assert containers.tags(path) == {}
    if held:
        held.close()


def test_a_header_of_a_thousand_channels_is_refused_before_it_is_read(tmp_path):
    soundfile.write(tmp_path / "a.wav", np.zeros((10, 1000), np.float32), RATE)
    with pytest.raises(Refused, match="1000 channels; expected at most 64"):
        decoding.load(tmp_path / "a.wav")


def test_ffmpeg_opens_files_in_one_module_only():
    """Whatever else called it would have to forbid playlists and addresses again."""
    root = Path(formats.__file__).resolve().parents[2]
    calls = {
        path.relative_to(root).as_posix(): path.read_text(encoding="utf-8").count("av.open(")
        for room in ("manifests", "separation", "datagen")
        for path in (root / room).rglob("*.py")
        if "av.open(" in path.read_text(encoding="utf-8")
    }
    own = {"manifests/sound/lossy_coding.py": 2}  # bytes that it has coded itself
    assert calls == {"manifests/sound/containers.py": 1} | own


def test_a_tag_of_a_million_letters_is_cut_in_the_row(tmp_path):
    path = write_song_file(tmp_path / "a.flac", make_song(1, 0.5)["mixture"], title="long " * 200_000, artist="Band")
    track = cataloged(tmp_path, path.name)
    assert track.title == f"{('long ' * 2_000)}..."
    assert track.artist == "Band"
