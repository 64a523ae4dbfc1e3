"""A recording is known by what sounds: not by tags, names, covers or the container around it."""

from __future__ import annotations

import shutil
import struct
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from conftest import make_song, write_song_file
from hypothesis import given
from hypothesis import strategies as st

from stemwright.datagen.run import configuration
from stemwright.datagen.run.corpus import Corpus
from stemwright.datagen.run.stages import run_catalog
from stemwright.datagen.run.tasks import Workers
from stemwright.manifests import table
from stemwright.manifests.catalog import tracks as catalog
from stemwright.manifests.catalog.duplicates import preference
from stemwright.manifests.records import Rejected, Track
from stemwright.manifests.sound import decoding, identity

RATE = 44_100
ffmpeg = pytest.mark.skipif(not shutil.which("ffmpeg"), reason="making these files needs the ffmpeg program")


def run_ffmpeg(*arguments: Any) -> None:
    subprocess.run(["ffmpeg", "-v", "error", "-y", *map(str, arguments)], check=True)


@pytest.fixture(scope="module")
def sound() -> np.ndarray:
    """Half a second of stereo that 16 bits hold exactly."""
    mixture = make_song(3, 0.5)["mixture"]
    return (np.rint(mixture * 2**15) / 2**15).astype(np.float32)


def written(path: Path, sound: np.ndarray, subtype: str, **tags: str) -> Path:
    with soundfile.SoundFile(path, "w", samplerate=RATE, channels=len(sound), subtype=subtype) as file:
        for name, text in tags.items():
            setattr(file, name, text)
        file.write(sound.T)
    return path


@ffmpeg
def test_the_same_samples_are_one_recording_in_any_lossless_file(tmp_path, sound):
    first = written(tmp_path / "a.flac", sound, "PCM_16", title="A")
    files = [first, written(tmp_path / "b.flac", sound, "PCM_24", artist="B"), written(tmp_path / "c.wav", sound, "PCM_16")]
    files += [written(tmp_path / "d.wav", sound, "FLOAT"), written(tmp_path / "e.aiff", sound, "PCM_24"), tmp_path / "f.m4a"]
    run_ffmpeg("-i", first, "-c:a", "alac", files[-1])
    assert {identity.of_file(path) for path in files} == {identity.of_file(first)}


def test_silence_below_zero_is_silence(tmp_path):
    silent = np.zeros((1, 1000), np.float32)
    silent[0, 500] = 0.5
    one, other = written(tmp_path / "a.wav", silent, "FLOAT"), written(tmp_path / "b.wav", np.where(silent == 0, -0.0, silent), "FLOAT")
    assert one.read_bytes() != other.read_bytes()
    assert identity.of_file(one) == identity.of_file(other)


def test_one_sample_a_swap_a_rate_or_a_length_is_another_recording(tmp_path, sound):
    changed = sound.copy()
    changed[1, -1] += 2**-15
    stated = tmp_path / "rate.wav"
    with soundfile.SoundFile(stated, "w", samplerate=48_000, channels=2, subtype="PCM_16") as file:
        file.write(sound.T)
    files = [written(tmp_path / "a.wav", sound, "PCM_16"), written(tmp_path / "b.wav", changed, "PCM_16"), stated]
    files += [written(tmp_path / "c.wav", sound[::-1], "PCM_16"), written(tmp_path / "d.wav", sound[:, :-1], "PCM_16")]
    files += [written(tmp_path / "e.wav", sound[:1], "PCM_16")]
    assert len({identity.of_file(path) for path in files}) == len(files)


@given(st.lists(st.integers(1, 300), min_size=1, max_size=20))
def test_it_does_not_matter_in_which_blocks_a_file_is_read(tmp_path_factory, lengths):
    path = tmp_path_factory.mktemp("blocks") / "a.wav"
    sound = np.random.default_rng(sum(lengths)).integers(-999, 999, (2, sum(lengths))).astype(np.float32) / 2**15
    written(path, sound, "PCM_16")
    listener = identity.IdentityHash(path, 0, decoding.probe(path))
    for stop in np.cumsum(lengths):
        listener.add(sound[:, :stop][:, listener._num_frames :])
    assert listener.identity() == identity.of_file(path)


@ffmpeg
@pytest.mark.parametrize(
    ("suffix", "options"),
    [("mp3", ("-b:a", "128k")), ("mp3", ("-q:a", "4")), ("m4a", ("-c:a", "aac")), ("ogg", ("-c:a", "libvorbis")), ("opus", ())],
)
def test_other_tags_and_a_cover_leave_a_coded_recording_what_it_is(tmp_path, sound, suffix, options):
    source, first, other = written(tmp_path / "s.wav", sound, "PCM_16"), tmp_path / f"a.{suffix}", tmp_path / f"b.{suffix}"
    run_ffmpeg("-i", source, *options, "-metadata", "artist=One", first)
    run_ffmpeg("-i", first, "-c", "copy", "-metadata", "artist=Another" * 200, "-metadata", "title=Named", other)
    assert identity.of_file(first) == identity.of_file(other)
    assert first.read_bytes() != other.read_bytes()
    run_ffmpeg("-i", source, *options, "-af", "volume=-6dB", other)
    assert identity.of_file(first) != identity.of_file(other)


@ffmpeg
def test_tags_before_and_behind_the_frames_of_an_mp3_do_not_count(tmp_path, sound):
    plain = tmp_path / "plain.mp3"
    run_ffmpeg("-i", written(tmp_path / "s.wav", sound, "PCM_16"), "-b:a", "128k", "-id3v2_version", 0, plain)
    frames, wanted = plain.read_bytes(), identity.of_file(plain)
    id3v1 = b"TAG" + b"Title".ljust(125, b"\0")
    ape = b"APETAGEX" + struct.pack("<IIII", 2000, 32, 0, 0x80000000) + bytes(8)
    picture = b"ID3\x03\x00\x00" + bytes([0, 0, 0x1F, 0x40]) + b"APIC" + bytes(0x1F * 128 + 0x40 - 4)
    for name, data in {"v1": frames + id3v1, "ape": frames + ape + id3v1, "cover": picture + frames}.items():
        (tmp_path / f"{name}.mp3").write_bytes(data)
        assert identity.of_file(tmp_path / f"{name}.mp3") == wanted, name


@ffmpeg
def test_an_mp3_without_its_header_counts_as_it_is_decoded(tmp_path, sound):
    """The header says how much to cut; where it is gone, other frames are read, and the stems of one would not fit the other."""
    whole, bare = tmp_path / "a.mp3", tmp_path / "b.mp3"
    run_ffmpeg("-i", written(tmp_path / "s.wav", sound, "PCM_16"), "-b:a", "128k", whole)
    run_ffmpeg("-i", whole, "-c", "copy", "-write_xing", 0, bare)
    same_frames = decoding.load(whole)[0].shape == decoding.load(bare)[0].shape
    assert (identity.of_file(whole) == identity.of_file(bare)) == same_frames


def test_names_that_look_like_a_copy_come_last():
    names = ["x (1).wav", "x copy.wav", "Copy of x.wav", "x - Kopie.wav", "x - Copy (2).wav", "backup copy/x.wav", "zz.wav", "x.wav"]
    names += ["Kopie von x.wav", "x copy 2.wav", "copyright.wav", "a copy of reality.wav", "Photocopy.wav", "1999 (2).wav"]
    plain = ["Photocopy.wav", "a copy of reality.wav", "copyright.wav", "x.wav", "zz.wav"]
    assert sorted(names, key=preference)[: len(plain)] == plain


def cataloged(corpus: Corpus, songs: Path) -> tuple[Any, list[str], list[Rejected]]:
    corpus.create(configuration.check({"songs": {"folder": str(songs)}}, where="test"))
    summary = run_catalog(corpus, Workers())
    return summary, [track.audio.path for track in table.read(corpus.table("tracks"), Track)], corpus.rejected()


def test_a_copy_is_counted_once_and_decoded_once_and_the_better_name_is_kept(tmp_path, sound, monkeypatch):
    songs, corpus = tmp_path / "songs", Corpus(tmp_path / "corpus")
    write_song_file(songs / "01 Song (1).wav", sound)
    assert cataloged(corpus, songs)[1] == ["01 Song (1).wav"]
    write_song_file(songs / "Album" / "01 Song.flac", sound, artist="Lumera")  # added later, in another container
    summary, kept, rejected = cataloged(corpus, songs)
    assert (kept, summary.done, summary.rejected) == (["Album/01 Song.flac"], 1, 1)
    assert [(row.subject, row.reason) for row in rejected] == [("01 Song (1).wav", "the same recording as Album/01 Song.flac")]

    decoded: list[str] = []
    inspect = catalog.inspect
    monkeypatch.setattr(
        catalog, "inspect", lambda songs, candidate, *rest: decoded.append(candidate.path) or inspect(songs, candidate, *rest)
    )
    summary, _, again = cataloged(corpus, songs)
    assert (summary.done, summary.skipped, summary.rejected, decoded) == (0, 1, 1, [])
    assert again == rejected
    (songs / "Album" / "01 Song.flac").rename(songs / "Album" / "Song.flac")
    assert cataloged(corpus, songs)[2][0].reason == "the same recording as Album/Song.flac"
    assert decoded == ["Album/Song.flac"]
    (songs / "Album" / "Song.flac").unlink()
    assert cataloged(corpus, songs)[1:] == (["01 Song (1).wav"], [])


def test_a_mixture_beside_its_multitrack_is_a_copy_of_it(tmp_path):
    song, songs = make_song(1, 0.5), tmp_path / "songs"
    for name, part in song.items():
        write_song_file(songs / "z" / f"{name}.wav", part)
    write_song_file(songs / "a.flac", song["mixture"])
    _, kept, (row,) = cataloged(Corpus(tmp_path / "corpus"), songs)
    assert (kept, row.subject) == (["z/mixture.wav"], "a.flac")
