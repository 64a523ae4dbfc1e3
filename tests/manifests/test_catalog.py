import os
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import hypothesis.strategies as st
import numpy as np
import pytest
import soundfile
from conftest import make_song, write_song_file
from hypothesis import given

from stemwright.manifests.catalog.artists import Credit
from stemwright.manifests.catalog.splits import SplitMember, assign
from stemwright.manifests.catalog.tracks import Refused, SplitShares, artist_key, cache_key, find, inspect, source_changed, split_of
from stemwright.manifests.records import Track, track_id
from stemwright.manifests.sound import decoding

SHARES = SplitShares()
artists = st.text(st.characters(blacklist_categories=["Cs", "Cc"]), min_size=1, max_size=12)


def tone(duration_s: float = 0.3, *, hz: float = 440.0, sample_rate: int = 44_100, num_channels: int = 2, peak: float = 0.5) -> np.ndarray:
    time_s = np.arange(round(duration_s * sample_rate)) / sample_rate
    return np.tile(peak * np.sin(2 * np.pi * hz * time_s), (num_channels, 1)).astype(np.float32)


def cataloged(songs: Path, **options: object) -> list[Track]:
    found = find(songs, **options)
    assert found.refused == ()
    return [inspect(found.songs, candidate, SHARES) for candidate in found.candidates]


def test_folder_is_read_into_its_depths_in_the_order_of_paths(tmp_path):
    for path in ("b.wav", "a/c.flac", "a/b/d.ogg", "z/e.MP3", "a/notes.txt", ".hidden/f.wav", "a/._g.wav"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).touch()
    assert [candidate.path for candidate in find(tmp_path).candidates] == ["a/b/d.ogg", "a/c.flac", "b.wav", "z/e.MP3"]


def test_listing_decodes_nothing(tmp_path):
    (tmp_path / "text.mp3").write_text("not music")
    assert [candidate.path for candidate in find(tmp_path).candidates] == ["text.mp3"]


def test_files_of_one_base_name_are_two_recordings(tmp_path):
    write_song_file(tmp_path / "a.flac", tone())
    write_song_file(tmp_path / "a.wav", tone(hz=300))
    write_song_file(tmp_path / "b" / "a.wav", tone(hz=200))
    tracks = cataloged(tmp_path)
    assert len({track.id for track in tracks}) == 3
    assert len({track.cache_key for track in tracks}) == 3


def test_row_has_the_facts_of_the_file_and_its_tags(tmp_path):
    write_song_file(tmp_path / "x.flac", tone(0.5, peak=0.5), title="Title", artist="Band", album="Album", copyright="CC BY 4.0")
    (track,) = cataloged(tmp_path)
    assert (track.title, track.artist, track.album, track.rights) == ("Title", "Band", "Album", "CC BY 4.0")
    assert (track.audio.num_frames, track.audio.sample_rate, track.audio.num_channels) == (22_050, 44_100, 2)
    assert track.peak_dbfs == pytest.approx(-6.02, abs=0.01)
    assert track.notes == ()
    assert track.id == track_id(track.sound)


def test_title_without_a_tag_is_the_name_and_the_artist_is_not_guessed(tmp_path):
    write_song_file(tmp_path / "01 - Intro.wav", tone())
    (track,) = cataloged(tmp_path)
    assert (track.title, track.artist, track.rights) == ("01 - Intro", None, "unknown")
    assert track.notes == ("artist unknown: the split is drawn for this recording alone",)


def test_renamed_file_is_the_same_track(tmp_path):
    path = write_song_file(tmp_path / "a.flac", tone())
    (before,) = cataloged(tmp_path)
    path.rename(tmp_path / "b.flac")
    (after,) = cataloged(tmp_path)
    assert before.id == after.id
    assert before.cache_key != after.cache_key


def test_task_changes_with_bytes_and_shares_and_with_nothing_else(tmp_path):
    path = write_song_file(tmp_path / "a.flac", tone())
    (candidate,) = find(tmp_path).candidates
    task = cache_key(tmp_path, candidate, SHARES)
    os.utime(path, (1, 1))
    assert cache_key(tmp_path, candidate, SHARES) == task == inspect(tmp_path, candidate, SHARES).cache_key
    assert cache_key(tmp_path, candidate, SplitShares(train=0.5, valid=0.25, test=0.25)) != task
    write_song_file(path, tone(hz=441))
    assert cache_key(tmp_path, candidate, SHARES) != task


def test_a_loop_of_links_ends_and_each_file_is_found_once(tmp_path):
    write_song_file(tmp_path / "songs" / "a.wav", tone())
    write_song_file(tmp_path / "elsewhere" / "b.wav", tone())
    (tmp_path / "songs" / "loop").symlink_to(tmp_path / "songs")
    (tmp_path / "songs" / "up").symlink_to(tmp_path)
    (tmp_path / "songs" / "other").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "back").symlink_to(tmp_path / "songs")
    assert [candidate.path for candidate in find(tmp_path / "songs").candidates] == ["a.wav", "other/b.wav"]


def test_corpus_among_the_songs_is_not_taken_for_songs(tmp_path):
    write_song_file(tmp_path / "a.wav", tone())
    for path in ("corpus/stems/x/drums.flac", "corpus/dataset/train/mix/y/input_drums.flac"):
        write_song_file(tmp_path / path, tone())
    (tmp_path / "corpus" / "tracks.parquet").touch()
    assert [candidate.path for candidate in find(tmp_path).candidates] == ["a.wav"]


@pytest.mark.parametrize("kind", ["auto", "musdb18hq"])
def test_musdb18hq_folder_keeps_its_splits_names_and_stems(multitrack_folder, kind):
    root = multitrack_folder()
    (root / "train" / "Artist 0 - Title 0").rename(root / "train" / "ANiMAL - Rockshow")  # one of musdb's validation tracks
    tracks = cataloged(root, kind=kind)
    assert [(track.artist, track.title, track.split) for track in tracks] == [
        ("Artist 2", "Title 2", "test"),
        ("ANiMAL", "Rockshow", "valid"),
        ("Artist 1", "Title 1", "train"),
    ]
    assert {track.source for track in tracks} == {"musdb18hq"}
    assert [stem.name for stem in tracks[0].references] == ["drums", "bass", "other", "vocals"]
    assert tracks[0].references[1].audio.path == "test/Artist 2 - Title 2/bass.wav"
    assert tracks[0].rights.startswith("MUSDB18")


def test_incomplete_musdb18hq_song_is_refused_by_name(multitrack_folder):
    root = multitrack_folder(train=2, test=0)
    (root / "train" / "Artist 0 - Title 0" / "bass.wav").unlink()
    found = find(root)
    assert [candidate.artist for candidate in found.candidates] == ["Artist 1"]
    assert found.refused == (("train/Artist 0 - Title 0", "is missing bass.wav"),)


def test_musdb18_folder_is_listed_as_musdb_lists_it(stem_folder):
    musdb = pytest.importorskip("musdb")
    root = stem_folder(train=2, test=1, duration_s=1.0)
    (root / "train" / "Artist 0 - Title 0.stem.mp4").rename(root / "train" / "Meaxic - Take A Step.stem.mp4")
    found = find(root)
    theirs = {}
    for subset, split in (("train", "train"), ("train", "valid"), ("test", None)):
        for track in musdb.DB(root=str(root), subsets=subset, split=split):
            theirs[Path(track.path).relative_to(root).as_posix()] = (track.artist, track.title, split or "test", track)
    assert {candidate.path: (candidate.artist, candidate.title, candidate.split) for candidate in found.candidates} == {
        path: row[:3] for path, row in theirs.items()
    }
    for candidate in found.candidates:
        track = theirs[candidate.path][3]
        assert {name: stream for name, _, stream in candidate.references} == {name: stem.stem_id for name, stem in track.sources.items()}
        row = inspect(root, candidate, SHARES)
        ours = decoding.load(root / candidate.path, stream=2)[0]
        np.testing.assert_allclose(ours.T, track.sources["bass"].audio, atol=2**-15)  # musdb reads 16 bit
        assert (row.source, row.audio.num_frames) == ("musdb18", len(track.audio))


def test_one_damaged_stem_file_is_refused_and_the_others_are_listed(stem_folder):
    root = stem_folder(train=2, test=0, duration_s=1.0)
    broken = root / "train" / "Artist 0 - Title 0.stem.mp4"
    broken.write_bytes(broken.read_bytes()[:1000])
    refused, tracks = [], []
    for candidate in find(root).candidates:
        try:
            tracks.append(inspect(root, candidate, SHARES))
        except Refused as reason:
            refused.append(str(reason))
    assert [track.artist for track in tracks] == ["Artist 1"]
    assert refused[0].startswith("truncated: has 1000 bytes")


@pytest.mark.parametrize("kind", ["folder", "stems", "auto"])
@pytest.mark.parametrize("name", ["The Easton Ellises - Falcon 69.stem.mp4", "plain name.mp4"])
def test_stem_file_is_a_multitrack_in_any_folder(tmp_path, easton_excerpt, kind, name):
    shutil.copy(easton_excerpt, tmp_path / name)
    (track,) = cataloged(tmp_path, kind=kind)
    assert [(stem.name, stem.audio.stream) for stem in track.references] == [("drums", 1), ("bass", 2), ("other", 3), ("vocals", 4)]
    assert (track.artist, track.title) == (("The Easton Ellises", "Falcon 69") if " - " in name else (None, "plain name"))
    assert track.notes[0] == "peaks at +0.21 dBFS: stems and examples get one joint gain"


def test_folder_with_mixture_and_stems_is_one_multitrack(tmp_path):
    for name, samples in make_song(0, 0.5).items():
        write_song_file(tmp_path / "Band - Song" / f"{name}.flac", samples)
    write_song_file(tmp_path / "Band - Song" / "demo.flac", tone())
    found = find(tmp_path, kind="folder")
    (multitrack,) = (inspect(tmp_path, candidate, SHARES) for candidate in found.candidates)
    assert (multitrack.artist, multitrack.title, multitrack.audio.path) == ("Band", "Song", "Band - Song/mixture.flac")
    assert multitrack.references[0].audio.path == "Band - Song/drums.flac"
    ((path, reason),) = found.refused
    assert (path, reason.startswith("beside a mixture and its four stems, so a part of it and not a song")) == (
        "Band - Song/demo.flac",
        True,
    )


def test_csv_takes_precedence_over_tags_and_its_paths_are_relative_to_it(tmp_path):
    write_song_file(tmp_path / "sub" / "a.flac", tone(), title="Tag", artist="Tag", album="Tag")
    (tmp_path / "list.csv").write_text('\ufeffPath,Artist,split,rights\nsub/a.flac,"Comma, The",test,CC0\n', encoding="utf-8")
    found = find(tmp_path / "list.csv")
    assert (found.songs, found.refused) == (tmp_path, ())
    track = inspect(found.songs, found.candidates[0], SHARES)
    assert (track.artist, track.title, track.album, track.split, track.rights, track.source) == (
        "Comma, The",
        "Tag",
        "Tag",
        "test",
        "CC0",
        "csv",
    )


def test_csv_elsewhere_lists_songs_below_the_songs_folder(tmp_path):
    write_song_file(tmp_path / "songs" / "a.flac", tone())
    (tmp_path / "lists").mkdir()
    write_song_file(tmp_path / "songs" / "b.flac", tone())
    outside = write_song_file(tmp_path / "outside.flac", tone())
    path = tmp_path / "lists" / "list.csv"
    path.write_text(f"path;title\na.flac;One\n../outside.flac;Two\n{outside};Three\n{tmp_path}/songs/b.flac;Four\n")
    found = find(tmp_path / "songs", csv=path)
    assert [(candidate.path, candidate.title) for candidate in found.candidates] == [("a.flac", "One"), ("b.flac", "Four")]
    assert [reason.split(": ")[1].split(" folder")[0] for _, reason in found.refused] == ["outside the songs"] * 2


def test_line_of_a_csv_that_cannot_be_a_song_is_refused_with_its_number(tmp_path):
    write_song_file(tmp_path / "a.wav", tone())
    (tmp_path / "list.csv").write_text("path,split\ngone.wav,train\na.wav,training\n,train\na.wav,test,extra\na.wav,valid\n")
    found = find(tmp_path / "list.csv")
    assert [candidate.split for candidate in found.candidates] == ["valid"]
    reasons = dict(found.refused)
    assert reasons["gone.wav"].startswith("list.csv, line 2: file not found; looked for")
    assert reasons["list.csv, line 4"] == "no path"
    assert {reason for path, reason in found.refused if path == "a.wav"} == {
        "list.csv, line 3: split must be train, valid (or validation, val, dev) or test; got 'training'",
        "list.csv, line 5: has more fields than the first line, 3 against 2: put a field that contains a comma in quotes",
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("path,atrist\n", "unknown column 'atrist'; did you mean 'artist'"),
        ("title,artist\n", "no column 'path'"),
        ("", "no column 'path'"),
        (b"path,artist\na.wav,Bj\xf6rk\n", "line 2, column 'artist': is not UTF-8 text .byte 0xF6."),
    ],
)
def test_csv_that_is_no_list_of_songs_gives_an_error_with_the_reason(tmp_path, text, message):
    (tmp_path / "list.csv").write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ValueError, match=message):
        find(tmp_path / "list.csv")


def test_wrong_place_or_kind_gives_an_error_with_what_is_expected(tmp_path):
    with pytest.raises(ValueError, match="does not exist; expected a folder of songs or a CSV"):
        find(tmp_path / "nothing")
    with pytest.raises(ValueError, match=r"kind must be one of .*; got 'musdb'; did you mean 'musdb18'"):
        find(tmp_path, kind="musdb")
    with pytest.raises(ValueError, match="kind 'csv' needs a CSV file"):
        find(tmp_path, kind="csv")
    with pytest.raises(ValueError, match="is a file; expected a folder"):
        find(write_song_file(tmp_path / "a.wav", tone()))


@pytest.mark.parametrize(
    ("samples", "sample_rate", "notes"),
    [
        (tone(num_channels=1), 44_100, ["mono: "]),
        (tone(sample_rate=8000), 8000, ["8000 Hz, nothing above 4000 Hz: "]),
        (tone(sample_rate=96_000), 96_000, ["96000 Hz: "]),
        (tone(peak=1.3), 44_100, [r"peaks at +2.28 dBFS: stems and examples get one joint gain"]),
        (tone(num_channels=1, sample_rate=22_050), 22_050, ["mono: ", "22050 Hz, nothing above 11025 Hz: "]),
    ],
)
def test_unusual_song_is_handled_and_its_row_has_a_note(tmp_path, samples, sample_rate, notes):
    soundfile.write(tmp_path / "a.wav", samples.T, sample_rate, subtype="FLOAT")
    (track,) = cataloged(tmp_path)
    assert (track.audio.num_channels, track.audio.sample_rate) == (len(samples), sample_rate)
    assert [note[: len(start)] for note, start in zip(track.notes, notes, strict=False)] == notes
    assert len(track.notes) == len(notes) + 1  # and that the artist is unknown


@given(st.sets(artists, max_size=30), st.sets(artists, max_size=30))
def test_adding_songs_moves_no_other(before, added):
    splits = {artist: split_of(artist, artist, SHARES) for artist in before}
    after = {artist: split_of(artist, artist, SHARES) for artist in before | added}
    assert {artist: after[artist] for artist in splits} == splits


@given(artists)
def test_spelling_of_an_artist_does_not_matter(artist):
    spelled, key = f"  {artist.upper()}\t ", artist_key(artist)
    if key and artist_key(artist.upper()) == key:  # not so for a few letters ("ŉ")
        splits = assign([SplitMember("a", "0", Credit(artist)), SplitMember("b", "1", Credit(spelled))], SHARES).splits
        assert splits["a"] == splits["b"]


def test_shares_are_kept():
    counts = Counter(split_of(f"artist {number}", "0", SplitShares(train=0.7, valid=0.2, test=0.1)) for number in range(5000))
    assert [counts[split] / 5000 for split in ("train", "valid", "test")] == pytest.approx([0.7, 0.2, 0.1], abs=0.02)


def test_shares_of_nothing_stay_empty():
    assert {split_of(f"artist {number}", "0", SplitShares(train=1, valid=0, test=0)) for number in range(200)} == {"train"}


def test_unknown_artists_are_split_by_recording():
    assert len({split_of(None, f"{number}", SHARES) for number in range(100)}) == 3


def test_shares_must_sum_to_one():
    with pytest.raises(ValueError, match=r"must sum to 1; they sum to 1\.2"):
        SplitShares(train=1.0)


def test_changed_or_missing_source_is_known(tmp_path):
    path = write_song_file(tmp_path / "a.flac", tone())
    (track,) = cataloged(tmp_path)
    assert source_changed(tmp_path, track.audio) is None
    write_song_file(path, tone(hz=441))
    assert "changed since it was cataloged" in source_changed(tmp_path, track.audio)
    path.unlink()
    assert "is no longer in" in source_changed(tmp_path, track.audio)


@pytest.mark.skipif(sys.platform != "linux", reason="the peak is read from /proc")
def test_inspecting_holds_no_whole_song_in_memory(tmp_path):
    samples = np.tile(tone(10.0), 18)  # three minutes, 63 MB as float32
    write_song_file(tmp_path / "a.wav", samples)
    program = (
        "import re, sys; from pathlib import Path\n"
        "from stemwright.manifests.catalog.tracks import SplitShares, find, inspect; root = Path(sys.argv[1])\n"
        "candidate = find(root).candidates[0]; import soundfile, av\n"
        "peak = lambda: int(re.search(r'VmHWM:\\s+(\\d+)', Path('/proc/self/status').read_text())[1])\n"
        "before = peak()\n"
        "inspect(root, candidate, SplitShares())\n"
        "print(peak() - before)"
    )
    # Not getrusage: the peak that it gives begins with that of the process which started this one.
    grown = subprocess.run([sys.executable, "-c", program, str(tmp_path)], check=True, capture_output=True, text=True).stdout
    assert int(grown) < 30_000  # KiB
