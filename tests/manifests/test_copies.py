"""A recording is found again in any encoding, cut, shifted, or up to 2 % faster or slower; another recording is not taken for it."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from conftest import SAMPLE_RATE, make_song

from stemwright.manifests.deduplication.copies import Alike, _compare_at_all_scales, compare, find_alike
from stemwright.manifests.deduplication.duplicates import Duplicates, Recording, _sort_out, find_duplicates
from stemwright.manifests.deduplication.key_index import CandidatePair, is_telling
from stemwright.manifests.sound import kept_fingerprint
from stemwright.manifests.sound.decoding import blocks, load, probe
from stemwright.manifests.sound.formats import AudioInfo
from stemwright.manifests.sound.kept_fingerprint import FingerprintMaker, KeptFingerprint

ffmpeg = pytest.mark.skipif(not shutil.which("ffmpeg"), reason="making these files needs the ffmpeg program")
SONGS, DURATION_S = 1, 9.0
EASTON = SONGS  # number of the real excerpt among the songs
NOISE_BEFORE = (
    "-f",
    "lavfi",
    "-i",
    "anoisesrc=d=12:r=44100",
    "-filter_complex",
    "[1]aformat=channel_layouts=stereo[a];[a][0]concat=v=0:a=1",
)
COPIES: dict[str, tuple[Any, ...]] = {
    "mp3": ("-b:a", "128k"),
    "low.mp3": ("-b:a", "48k"),
    "m4a": ("-c:a", "aac"),
    "ogg": ("-c:a", "libvorbis", "-q:a", "0"),
    "opus": ("-c:a", "libopus", "-b:a", "32k", "-ar", "48000"),
    "quiet.wav": ("-af", "volume=-7dB"),
    "mono.wav": ("-ac", "1"),
    "later.wav": ("-af", "adelay=1300:all=1"),
    "excerpt.mp3": ("-ss", "1.5", "-t", "3.6", "-b:a", "128k"),
    "fast.wav": ("-af", "asetrate=44541,aresample=44100"),
    "slow.wav": ("-af", "asetrate=43659,aresample=44100"),
    "stretched.wav": ("-af", "atempo=1.01"),
    "faster.mp3": ("-af", "asetrate=44982,aresample=44100", "-b:a", "96k"),
    "slower.wav": ("-af", "asetrate=43218,aresample=44100"),
    "radio.mp3": (*NOISE_BEFORE, "-b:a", "96k"),
}


def run_ffmpeg(*arguments: Any) -> None:
    subprocess.run(["ffmpeg", "-v", "error", "-nostdin", "-y", *map(str, arguments)], check=True)


def fingerprint_of(path: Path, stream: int = 0) -> KeptFingerprint:
    maker = FingerprintMaker(probe(path, stream=stream))
    for block in blocks(path, 50_000, stream=stream):
        maker.add(block)
    return maker.fingerprint()


@pytest.fixture(scope="module")
def collection(tmp_path_factory, easton_excerpt) -> dict[tuple[int, str], KeptFingerprint]:
    """(number of a song, what was done to it) -> its fingerprint; the last song is a real excerpt."""
    folder = tmp_path_factory.mktemp("copies")
    made = {}
    for number in range(SONGS + 1):
        source = folder / f"{number}.wav"
        audio = load(easton_excerpt)[0] if number == EASTON else make_song(number, DURATION_S)["mixture"]
        soundfile.write(source, audio.T, SAMPLE_RATE, subtype="PCM_24")
        made[number, ""] = fingerprint_of(source)
        for name, options in COPIES.items():
            path = folder / f"{number}.{name}"
            run_ffmpeg("-i", source, *options, path)
            made[number, name] = fingerprint_of(path)
    return made


@pytest.fixture(scope="module")
def alike(collection) -> dict[tuple[tuple[int, str], tuple[int, str]], Alike]:
    names = list(collection)
    return {(names[found.first], names[found.second]): found for found in find_alike(len(names), lambda n: collection[names[n]])}


@ffmpeg
def test_only_copies_of_one_song_are_alike(alike):
    assert {one[0] == other[0] for one, other in alike} == {True}


@ffmpeg
@pytest.mark.parametrize("name", COPIES)
@pytest.mark.parametrize("number", range(SONGS + 1))
def test_a_copy_is_found_and_said_how_far(alike, collection, number, name):
    names = [(number, ""), (number, name)]
    direct = find_alike(2, lambda n: collection[names[n]])
    assert [found.is_copy for found in direct] == [True]
    (found,) = direct
    speed = {"fast.wav": 1.01, "slow.wav": 0.99, "stretched.wav": 1.01, "faster.mp3": 1.02, "slower.wav": 0.98}.get(name, 1.0)
    offset_s = {"later.wav": 1.3, "excerpt.mp3": -1.5, "radio.mp3": 12.0}.get(name, 0.0)
    assert found.speed == pytest.approx(speed, abs=0.006)
    assert found.offset_s == pytest.approx(offset_s, abs=0.15)
    assert any(pair.is_copy for (one, other), pair in alike.items() if (number, name) in (one, other))


@ffmpeg
def test_a_short_copy_is_found_whatever_the_order_and_the_place_where_the_search_begins(tmp_path):
    soundfile.write(tmp_path / "0.wav", make_song(200, 5.0)["mixture"].T, SAMPLE_RATE)
    run_ffmpeg("-i", tmp_path / "0.wav", "-b:a", "64k", tmp_path / "0.mp3")
    both = [fingerprint_of(tmp_path / name) for name in ("0.wav", "0.mp3")]
    for first in range(2):
        (found,) = find_alike(2, lambda number, first=first: both[number ^ first])
        assert found.is_copy
        assert found.error_rate < 0.14
    for scales in ((0, 0), (0, 1), (1, 0)):  # whichever bands have the key by which they were paired
        found = _compare_at_all_scales(both[0], both[1], CandidatePair(0, 1, scales, [(34, 34)]))
        assert found is not None
        assert found.is_copy
    for start in range(0, both[0].num_steps, 5):
        found = compare(both[0], both[1], CandidatePair(0, 1, (0, 0), [(start, start)]))
        assert found is not None
        assert found.share > 0.88, start  # where the search begins in a last half second, that is not compared


def test_the_words_say_of_a_later_and_a_faster_copy_how_far():
    assert Alike(0, 1, 0.034, 1.3, 1.0, 0.9, 0.0).words() == "3% of its fingerprint differs, 1.3 s later"
    assert Alike(0, 1, 0.14, -1.5, 1.0101, 0.9, 0.0).words() == "14% of its fingerprint differs, 1.5 s earlier, 1.0% faster"
    assert Alike(0, 1, 0.14, -1.5, 1.0101, 0.9, 0.0).reversed().words() == "14% of its fingerprint differs, 1.5 s later, 1.0% slower"


def test_another_performance_of_the_same_chords_is_another_recording():
    """The drums of one song under the voice of another: half of what sounds is the same."""
    one, other = make_song(0, DURATION_S), make_song(1, DURATION_S)
    mixed = one["drums"] + other["vocals"] + other["other"] + other["bass"]
    made = [fingerprint_of_audio(audio) for audio in (one["mixture"], mixed)]
    assert not any(found.is_copy for found in find_alike(2, made.__getitem__))


def fingerprint_of_audio(audio: np.ndarray, sample_rate: int = SAMPLE_RATE) -> KeptFingerprint:
    maker = FingerprintMaker(AudioInfo(sample_rate, *audio.shape))
    maker.add(audio)
    return maker.fingerprint()


def test_a_remastered_version_is_no_copy():
    """Four bands by 4 dB, up and down by turns: what a mastering engineer changes, and no codec."""
    from scipy.signal import firwin2, oaconvolve

    audio = np.concatenate([make_song(seed, 8.0)["mixture"] for seed in (5, 6, 7)], axis=1)
    gains_db = np.array([0, 0, 4, -4, 4, -4, 0, 0])
    response = firwin2(2001, [0, 200, 350, 700, 1400, 2600, 4000, 22_050], 10 ** (gains_db / 20), fs=SAMPLE_RATE)
    louder = oaconvolve(audio, response[None], mode="same", axes=1).astype(np.float32)
    made = [fingerprint_of_audio(one) for one in (audio, louder, audio * np.float32(0.3))]
    found = {(pair.first, pair.second): pair.is_copy for pair in find_alike(3, made.__getitem__)}
    assert found == {(0, 1): False, (1, 2): False, (0, 2): True}


@pytest.mark.parametrize("length", [64, 4096, 50_000, 1_000_000])
def test_it_does_not_matter_in_which_blocks_a_recording_is_read(length):
    audio = make_song(2, 4.0)["mixture"]
    maker = FingerprintMaker(AudioInfo(SAMPLE_RATE, *audio.shape))
    for start in range(0, audio.shape[1], length):
        maker.add(audio[:, start : start + length])
    whole, found = fingerprint_of_audio(audio), maker.fingerprint()
    assert found.num_steps == whole.num_steps
    assert np.mean(np.bitwise_count(found.words ^ whole.words)) < 0.05 * 32
    np.testing.assert_allclose(found.spectrum, whole.spectrum, atol=0.1)


def test_silence_tones_and_what_is_too_short_are_compared_with_nothing():
    time_s = np.arange(6 * SAMPLE_RATE) / SAMPLE_RATE
    tone = np.sin(2 * np.pi * 440 * time_s)[None].astype(np.float32)
    made = [fingerprint_of_audio(audio) for audio in (0 * tone, tone, make_song(0, 2.0)["mixture"], tone[:, :10])]
    assert not any(is_telling(made[number]) for number in (0, 2, 3))
    assert find_alike(len(made), made.__getitem__) == []


DAMAGE = {  # to the bytes of a fingerprint
    "cut": lambda data: data[:-1],
    "longer": lambda data: data + bytes(4),
    "one bit": lambda data: data[:-99] + bytes([data[-99] ^ 1]) + data[-98:],
    "NULs at its end": lambda data: data[:300].ljust(len(data), b"\0"),
    "other facts": lambda data: data.replace(b"u00dc", b"u00dd"),
    "no head": lambda data: b"[]\n" + data,
    "empty": lambda data: data[:0],
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_written_fingerprint_is_read_back_and_a_damaged_one_is_none(damage, tmp_path):
    made = fingerprint_of_audio(make_song(0, 4.0)["mixture"])
    path = kept_fingerprint.place_of(tmp_path, "ab" * 32, 3)
    kept_fingerprint.write(path, made, {"title": "Ü"})
    found = kept_fingerprint.read(path)
    for name in ("words", "keys", "spectrum"):
        np.testing.assert_array_equal(getattr(found, name), getattr(made, name))
    assert kept_fingerprint.read_facts(path) == {"title": "Ü"}
    other = path.with_name(f"0{path.name}")
    other.write_bytes(path.read_bytes())
    path.write_bytes(DAMAGE[damage](path.read_bytes()))
    for wrong in (path, other):
        assert kept_fingerprint.read_facts(wrong) is None
        assert kept_fingerprint.read(wrong).num_steps == 0


def recording(path: str, **facts: Any) -> Recording:
    return Recording(**{"path": path, "sound": path, "duration_s": 9.0, "num_bytes": 1000, "lossless": True} | facts)


def test_the_best_of_several_copies_is_kept():
    audio = make_song(0, DURATION_S)["mixture"]
    made = {
        name: fingerprint_of_audio(np.ascontiguousarray(audio[:, start:]))
        for name, start in (("whole", 0), ("late", 2000), ("cut", 120_000))
    }
    files = [
        recording("a cut.wav", duration_s=6.3, title="cut"),
        recording("b.mp3", lossless=False, title="whole"),
        recording("c (1).flac", title="whole"),
        recording("d.flac", title="late"),
        recording("e.flac", sound="d.flac", title="late"),
    ]
    found = find_duplicates(files, lambda one: made[one.title])
    assert {path: kept for path, (kept, _) in found.dropped.items()} == dict.fromkeys(
        ("a cut.wav", "b.mp3", "c (1).flac", "e.flac"), "d.flac"
    )
    assert found.dropped["e.flac"][1] == "the same recording as d.flac"
    assert found.dropped["a cut.wav"][1].startswith("the same recording as d.flac by its sound: ")
    assert "2.7 s earlier" in found.dropped["a cut.wav"][1]
    multitrack = find_duplicates([*files, recording("z", multitrack=True, title="whole")], lambda one: made[one.title])
    assert {kept for kept, _ in multitrack.dropped.values()} == {"z", "d.flac"}

    tied = find_duplicates(files, lambda one: made[one.title], "same_split")
    assert list(tied.dropped) == ["e.flac"]
    assert all(set(tied.ties[path]) & set(tied.ties["d.flac"]) for path in ("a cut.wav", "b.mp3", "c (1).flac"))
    assert tied.notes["b.mp3"].startswith("sounds as d.flac does: ")


def test_an_album_in_one_file_is_dropped_and_not_its_songs():
    songs = [make_song(seed, DURATION_S)["mixture"] for seed in range(3)]
    made = {f"{n}.flac": fingerprint_of_audio(song) for n, song in enumerate(songs)}
    made["album.flac"] = fingerprint_of_audio(np.concatenate(songs, axis=1))
    files = [recording(path, duration_s=1800.0 if path == "album.flac" else 200.0) for path in made]
    found = find_duplicates(files, lambda one: made[one.path])
    assert found.dropped == {"album.flac": ("0.flac", "contains 3 of the other recordings, 0.flac among them, by its sound")}


def test_an_excerpt_of_a_song_and_of_its_instrumental_does_not_make_them_one():
    """The excerpt is of a part without voices; the rest of the two is not alike enough to be compared."""
    whole, instrumental, excerpt = recording("a", duration_s=200.0), recording("b", duration_s=200.0), recording("c", duration_s=10.0)
    alike = [Alike(0, 2, 0.02, -50.0, 1.0, 1.0, 0.0), Alike(1, 2, 0.02, -50.0, 1.0, 1.0, 0.0)]
    found = Duplicates()
    _sort_out([whole, instrumental, excerpt], alike, "drop", found)
    assert {path: kept for path, (kept, _) in found.dropped.items()} == {"c": "a"}
    assert set(found.ties["a"]) & set(found.ties["b"])  # in one split


@pytest.mark.parametrize("missing", ["drums", "bass", "other"])
def test_a_song_without_one_of_its_parts_is_another_version(missing):
    song = [make_song(seed, 6.0) for seed in (5, 6, 7)]
    whole, part = (np.concatenate([one[name] for one in song], axis=1) for name in ("mixture", missing))
    made = [fingerprint_of_audio(audio) for audio in (whole, whole - part)]
    (found,) = find_alike(2, made.__getitem__)
    assert not found.is_copy
    assert "its parts by" in found.words()


def test_versions_by_title_are_tied_only_on_request():
    files = [recording("a", title="Song (Live)"), recording("b", title="Song"), recording("c", title="Another")]
    nothing = fingerprint_of_audio(np.zeros((1, 1000), np.float32))
    assert find_duplicates(files, lambda _: nothing).ties == {}
    assert find_duplicates(files, lambda _: nothing, by_title=True).ties == {"a": ("title song",), "b": ("title song",)}
