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
from stemwright.datagen.run.stages import cataloguing, run_catalog
from stemwright.datagen.run.tasks import Workers
from stemwright.manifests import table
from stemwright.manifests.deduplication.duplicates import preference
from stemwright.manifests.records import Rejected, Track
from stemwright.manifests.sound import decoding, identity, packets
from stemwright.manifests.sound.summing import Sum

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


@ffmpeg
@pytest.mark.parametrize("name", ["a.mp3", "a.m4a", "a.ogg", "a.opus", "a.mka", "a.aac", "a.flac"])
def test_packets_are_known_as_they_are_decoded_as_well(tmp_path, sound, name):
    path = tmp_path / name
    run_ffmpeg("-i", written(tmp_path / "whole.wav", sound, "PCM_16"), path)
    with decoding.opened(path) as reader:
        hasher = identity.IdentityHash(path, 0, reader.info)
        hasher.watch(reader)
        for block in reader.blocks(5_000):
            hasher.add(block)
    assert hasher.identity() == identity.of_file(path)


def test_a_sum_of_lossy_files_is_known_by_their_packets(tmp_path, sound):
    """Nothing that a decoder gives is in its id; of lossless files it is the samples, as those of a file with the sum."""
    files = {name: tmp_path / name for name in ("a.mp3", "b.ogg", "c.flac")}
    for number, path in enumerate(files.values(), 1):
        soundfile.write(path, sound.T / (2 * number), RATE)
    tagged = tmp_path / "tagged.mp3"
    tagged.write_bytes(files["a.mp3"].read_bytes() + b"TAG" + bytes(125))
    lossy = identity.of_file(Sum(tmp_path, (files["a.mp3"], files["c.flac"])))
    assert identity.of_file(Sum(tmp_path, (files["c.flac"], tagged))) == lossy
    assert identity.of_file(Sum(tmp_path, (files["b.ogg"], files["c.flac"]))) != lossy
    halves = [written(tmp_path / f"{name}.wav", sound / 2, "FLOAT") for name in "xy"]
    assert identity.of_file(Sum(tmp_path, tuple(halves))) == identity.of_file(written(tmp_path / "z.wav", sound, "FLOAT"))


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


REWRAPPED = {
    "mp3": ("-b:a 128k", {"bare.mp3": "-write_xing 0", "a.mp4": "", "a.mka": ""}),
    "m4a": ("-c:a aac", {"a.aac": "", "a.mka": "", "again.m4a": ""}),
    "ogg": ("-c:a libvorbis", {"paged.ogg": "-page_duration 100000", "a.mka": ""}),
    "opus": ("-c:a libopus", {"paged.opus": "-page_duration 100000", "a.webm": "", "a.mka": "", "a.mp4": ""}),
    "ac3": ("-c:a ac3", {"a.mka": ""}),
}


@ffmpeg
@pytest.mark.parametrize("suffix", REWRAPPED)
def test_the_same_packets_are_one_recording_in_any_container(tmp_path, sound, suffix):
    """What a container says of the encoder's delay is its own: where it is lost, more frames are played of the same packets."""
    options, others = REWRAPPED[suffix]
    first = tmp_path / f"first.{suffix}"
    run_ffmpeg("-i", written(tmp_path / "s.wav", sound, "PCM_16"), *options.split(), first)
    wanted = identity.of_file(first)
    for name, how in others.items():
        run_ffmpeg("-i", first, "-c", "copy", *how.split(), tmp_path / name)
        assert identity.of_file(tmp_path / name) == wanted, name
    run_ffmpeg("-i", tmp_path / "s.wav", *options.split(), "-af", "volume=-1dB", first)
    assert identity.of_file(first) != wanted


@ffmpeg
def test_what_is_cut_at_the_start_of_a_lossy_file_is_known(tmp_path, sound):
    def delay(path: Path) -> int | None:
        return identity.IdentityHash(path, 0, decoding.probe(path)).delay_frames

    source, mp3, m4a = written(tmp_path / "s.wav", sound, "PCM_16"), tmp_path / "a.mp3", tmp_path / "a.m4a"
    run_ffmpeg("-i", source, "-b:a", "128k", mp3)
    run_ffmpeg("-i", source, "-c:a", "aac", m4a)
    run_ffmpeg("-i", mp3, "-c", "copy", "-write_xing", 0, tmp_path / "bare.mp3")
    run_ffmpeg("-i", m4a, "-c", "copy", tmp_path / "a.aac")
    assert [delay(path) for path in (source, mp3, tmp_path / "bare.mp3", m4a, tmp_path / "a.aac")] == [None, 576 + 529, 0, 1024, 0]


def aac_setup(*fields: tuple[int, int]) -> bytes:
    """An AudioSpecificConfig of (value, bits)."""
    bits = "".join(f"{value:0{count}b}" for value, count in fields)
    return int(bits.ljust(-(-len(bits) // 8) * 8, "0"), 2).to_bytes(-(-len(bits) // 8))


def test_the_setup_of_aac_is_that_of_its_core():
    """ISO/IEC 14496-3, 1.6.2.1: what SBR adds to a core of 22050 Hz may be said or not, and a rate be written out."""
    plain = aac_setup((2, 5), (7, 4), (2, 4))
    spectral_bands = aac_setup((5, 5), (7, 4), (2, 4), (4, 4), (2, 5))
    written_out = aac_setup((2, 5), (15, 4), (22_050, 24), (2, 4))
    assert packets.SETUPS["aac"](plain) == packets.SETUPS["aac"](spectral_bands) == packets.SETUPS["aac"](written_out) == (2, 22_050, 2)
    assert packets.SETUPS["aac"](aac_setup((2, 5), (7, 4), (1, 4))) == (2, 22_050, 1)
    with pytest.raises(ValueError, match="ends early"):
        packets.SETUPS["aac"](plain[:1])


def mp3_tags() -> dict[str, tuple[bytes, bytes]]:
    """What programs write before and behind the frames of an MP3."""
    item = struct.pack("<II", 5, 0) + b"Title\0Hello"
    ape = item + b"APETAGEX" + struct.pack("<IIII", 2000, 32 + len(item), 1, 0)
    headed = b"APETAGEX" + struct.pack("<IIII", 2000, 32 + len(item), 1, 0xA0000000) + bytes(8)
    headed += item + b"APETAGEX" + struct.pack("<IIII", 2000, 32 + len(item), 1, 0x80000000) + bytes(8)
    id3v1 = b"TAG" + b"Title".ljust(125, b"\0")
    lyrics = b"LYRICSBEGIN" + b"IND00003110LYR00600" + b"words " * 100
    cover = b"ID3\x03\x00\x00" + bytes([0, 0, 0x1F, 0x40]) + b"APIC" + bytes(0x1F * 128 + 0x40 - 4)
    behind = {"v1": id3v1, "ape": ape + bytes(8), "headed": headed + id3v1, "lyrics": lyrics + b"000630LYRICS200" + id3v1}
    behind |= {"old lyrics": b"LYRICSBEGIN" + b"words " * 100 + b"LYRICSEND" + id3v1, "all": headed + lyrics + b"000630LYRICS200" + id3v1}
    behind |= {"v2": b"ID3\x04\x00\x10" + bytes([0, 0, 0, 20]) + bytes(20) + b"3DI\x04\x00\x10" + bytes([0, 0, 0, 20])}
    return {"cover": (cover, b""), **{name: (b"", data) for name, data in behind.items()}}


@ffmpeg
@pytest.mark.parametrize("cut", [0, 200])
def test_tags_before_and_behind_the_frames_of_an_mp3_do_not_count(tmp_path, sound, cut):
    """Of a recording that was cut within a frame the frame does not go on in the tag, neither for the id nor for the decoder."""
    plain, tagged = tmp_path / "plain.mp3", tmp_path / "tagged.mp3"
    run_ffmpeg("-i", written(tmp_path / "s.wav", sound, "PCM_16"), "-b:a", "128k", "-id3v2_version", 0, "-write_xing", 0, plain)
    frames = plain.read_bytes()[: -cut or None]
    plain.write_bytes(frames)
    wanted, samples = identity.of_file(plain), decoding.load(plain)[0]
    for name, (before, behind) in mp3_tags().items():
        tagged.write_bytes(before + frames + behind)
        assert identity.of_file(tagged) == wanted, name
        np.testing.assert_array_equal(decoding.load(tagged)[0], samples, name)


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
    inspect = cataloguing.inspect
    monkeypatch.setattr(
        cataloguing, "inspect", lambda songs, candidate, *rest: decoded.append(candidate.path) or inspect(songs, candidate, *rest)
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
