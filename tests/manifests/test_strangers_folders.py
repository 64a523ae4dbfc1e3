"""Folders of stems as other people have them: what is a part of a song is never a song, and the advice says how to read it."""

import numpy as np
import published_layouts as published
import pytest
from conftest import write_song_file

from stemwright.manifests.catalog.listing import AS_MULTITRACKS, find
from stemwright.manifests.catalog.stem_map import StemRules

SOUND = np.zeros((1, 64), np.float32)
SUMMED = StemRules(sum_missing=True)

FOLDERS = {  # name -> (files, those that are songs without a kind)
    "separator of four": (["vocals.wav", "drums.wav", "bass.wav", "other.wav"], []),
    "separator of five, in capitals": (["Vocals.WAV", "Drums.wav", "Bass.wav", "Other.wav", "Piano.wav"], []),
    "separator of two": (["vocals.wav", "no_vocals.wav"], []),
    "separator of two, older": (["vocals.wav", "accompaniment.wav"], []),
    "separator in a folder of its model": (["htdemucs/Song/vocals.wav", "htdemucs/Song/drums.wav", "htdemucs/Song/bass.wav"], []),
    "names of a plug-in": (["1_Song_(Vocals).wav", "1_Song_(Instrumental).wav"], []),
    "names of an app": ([f"Song-{part}-Bmajor-120bpm-440hz.wav" for part in ("vocals", "drums", "bass", "other")], []),
    "artist and title before each": ([f"Artist - Song ({part}).wav" for part in ("Drums", "Bass", "Guitars", "Vox")], []),
    "mixture and all extras": (
        [f"{part}.wav" for part in ("mixture", "vocals", "drums", "bass", "other", "accompaniment", "linear_mixture", "guitar")],
        ["mixture.wav"],
    ),
    "mix and two": (["mix.wav", "vocals.wav", "mix no vocals.wav"], ["mix.wav"]),
    "karaoke beside a mixture": (["mixture.wav", "karaoke.wav", "instrumental.wav"], ["mixture.wav"]),
    "named mix": (["Song_mix.wav", "Song_kick.wav", "Song_snare.wav"], ["Song_mix.wav"]),
    "master": (["master.wav", "drums.wav", "bass.wav"], ["master.wav"]),
    "mix above stems": (["mix.wav", "stems/a.wav", "stems/b.wav"], ["mix.wav"]),
    "mix above capitals": (["Mixture.wav", "STEMS/Gtr 1.wav", "STEMS/Gtr 2.wav"], ["Mixture.wav"]),
    "session with raw": (["mix.wav", "RAW/01 Kick.wav", "RAW/02 Snare.wav"], ["mix.wav"]),
    "numbered session": (["01_Kick.wav", "02_Snare.wav", "03_OH L.wav", "04_OH R.wav", "05_LeadVox.wav"], []),
    "session in camel case": (["KickIn.wav", "SnareTop.wav", "OverheadL.wav", "BassDI.wav"], []),
    "session with digits": (["Kick1.wav", "Kick2.wav", "Tom1.wav", "Gtr3.wav"], []),
    "waste of two systems": (["vocals.wav", "drums.wav", "bass.wav", "._vocals.wav", ".DS_Store", "vocals.wav.asd"], []),
    "an album": (["01 Intro.wav", "02 Drums of War.wav", "03 Vocal Point.wav", "04 Bassline.wav"], ["an album"]),
    "a single with versions": (["Song (Radio Edit).wav", "Song (Instrumental).wav", "Song (Vocal Mix).wav"], ["a single"]),
    "songs called after instruments": (["Piano.wav", "Guitar.wav"], ["both"]),
    "many songs and three stems": (
        [*(f"Title {n}.wav" for n in "ABCDEFG"), "vocals.wav", "drums.wav", "bass.wav"],
        ["seven"],
    ),
    "an album of a vocal group": ([f"Vocal Group - {title}.wav" for title in ("One", "Two", "Three")], ["the three"]),
    "tracks that are songs": (["tracks/One.wav", "tracks/Two.wav"], ["both"]),
}
ALL_SONGS = [name for name, (_, songs) in FOLDERS.items() if songs and not songs[0].endswith(".wav")]


def write(root, files):
    for name in files:
        place = root / name
        place.parent.mkdir(parents=True, exist_ok=True)
        if place.suffix.lower() != ".wav" or place.name.startswith("."):
            place.write_bytes(b"\0\5\x16\7")
        else:
            write_song_file(place.with_suffix(".wav"), SOUND)
            place.with_suffix(".wav").rename(place)


def songs_of(root, **options):
    return sorted(song.path for song in find(root, **options).candidates)


@pytest.mark.parametrize("name", FOLDERS)
def test_parts_of_a_song_are_no_songs_and_have_the_advice(tmp_path, name):
    files, songs = FOLDERS[name]
    write(tmp_path, files)
    found = find(tmp_path)
    if name in ALL_SONGS:
        parts = ["bass.wav", "drums.wav", "vocals.wav"] if "seven" in songs[0] else []
        assert songs_of(tmp_path) == sorted(set(files) - set(parts))
        assert sorted(path for path, _ in found.refused) == parts
        return
    assert songs_of(tmp_path) == songs
    sounds = [file for file in files if file.lower().endswith(".wav") and not file.startswith(".")]
    used = {path for song in found.candidates for _, path, _ in song.references}
    assert sorted(path for path, _ in found.refused) == sorted(set(sounds) - set(songs) - used)
    assert all(AS_MULTITRACKS in reason for _, reason in found.refused)


@pytest.mark.parametrize("name", [name for name in FOLDERS if name not in ALL_SONGS])
def test_the_same_folder_is_one_song_as_multitracks(tmp_path, name):
    files, songs = FOLDERS[name]
    write(tmp_path / "Artist - Title", files)
    (song,) = find(tmp_path, kind="multitracks", rules=SUMMED).candidates
    assert (song.mixture == "file") == bool(songs)
    own = [path for _, path, _ in song.references]
    sounds = [f"Artist - Title/{file}" for file in files if file.lower().endswith(".wav") and not file.startswith(".")]
    assert set(own) <= set(sounds)
    left = {path.rpartition("/")[2] for path in set(sounds) - set(own) - {song.path}}
    assert all(file in song.note for file in left)


def test_a_sum_of_other_stems_is_not_added_to_them(tmp_path):
    write(tmp_path / "Song", ["vocals.wav", "drums.wav", "bass.wav", "accompaniment.wav", "mix no vocals.wav", "Karaoke.wav"])
    (song,) = find(tmp_path, kind="multitracks", rules=SUMMED).candidates
    assert [name for name, _, _ in song.references] == ["bass", "drums", "vocals"]
    assert all(name in song.note for name in ("accompaniment.wav", "mix no vocals.wav", "Karaoke.wav"))


def test_vocals_and_accompaniment_alone_are_two_stems(tmp_path):
    write(tmp_path / "Song", ["vocals.wav", "accompaniment.wav"])
    (song,) = find(tmp_path, kind="multitracks", rules=SUMMED).candidates
    assert [name for name, _, _ in song.references] == ["accompaniment", "vocals"]


def test_finished_stems_are_read_and_not_the_raw_tracks_beside_them(tmp_path):
    write(tmp_path / "Song", ["mix.wav", "RAW/a.wav", "RAW/b.wav", "Stems/c.wav", "Stems/d.wav"])
    found = find(tmp_path, kind="multitracks")
    (song,) = found.candidates
    assert (song.path, [path for _, path, _ in song.references]) == ("Song/mix.wav", ["Song/Stems/c.wav", "Song/Stems/d.wav"])
    assert found.refused == (("Song/RAW", "other files of the song whose Stems are read"),)


def test_a_line_of_a_csv_finds_the_stems_below_the_mixture_and_the_songs_of_data_sets(tmp_path):
    write(tmp_path / "Song", ["mix.wav", "stems/a.wav", "stems/b.wav"])
    write(tmp_path / "Raw", ["a.wav", "b.wav"])
    published.slakh(tmp_path)
    (tmp_path / "list.csv").write_text("path,artist\nSong,One\nRaw,Two\ntrain/Track00001,Three\n")
    songs = find(tmp_path / "list.csv", rules=SUMMED).candidates
    assert [(song.path, song.artist, song.source, len(song.references)) for song in songs] == [
        ("Raw", "Two", "csv", 2),
        ("Song/mix.wav", "One", "csv", 2),
        ("train/Track00001/mix.flac", "Three", "csv", 4),
    ]


def test_a_song_that_is_the_songs_folder_itself_is_named_after_it(tmp_path):
    write(tmp_path / "Artist - Title", ["kick.wav", "snare.wav"])
    (song,) = find(tmp_path / "Artist - Title", kind="multitracks", rules=SUMMED).candidates
    assert (song.path, song.artist, song.title) == (".", "Artist", "Title")
