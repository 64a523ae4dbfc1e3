"""The artist is read from folders where the tree says that they are named after artists, and from nothing else."""

from __future__ import annotations

import numpy as np
import pytest

from stemwright.manifests.catalog.folder_artists import artists_of_folders
from stemwright.manifests.catalog.tracks import SplitShares, find, inspect

NAMED = [
    (["Lumera/First (1999)/01. One.flac", "Lumera/Second/01. Two.flac"], {"Lumera"}),
    (["Lumera/First/01 One.flac", "Okapi/Debut/01 Two.flac"], {"Lumera", "Okapi"}),
    (["Rock/Lumera/First/CD1/01 One.flac", "Rock/Lumera/Second/01 Two.flac"], {"Lumera"}),
    (["Lumera - First (1999)/One.mp3"], {"Lumera"}),
    (["Lumera - 1999 - First/01 - One.mp3"], {"Lumera"}),
    (["The_Lumeras/One.wav", "The_Lumeras/Two.wav", "Okapi/Three.wav"], {"The Lumeras", "Okapi"}),
    (["Music/Кино/Ночь/01. Час.mp3", "Music/Кино/Звезда/01. Печаль.mp3", "Music/loose.mp3"], {"Кино"}),
]
NOT_NAMED = [
    ["Lumera/First/01 One.flac"],
    ["Lumera/One.wav", "two.wav"],
    ["Music/First/01 One.flac", "Music/Second/01 Two.flac"],
    ["train/One.wav", "test/Two.wav"],
    ["downloads/One.wav", "wavs/Two.wav"],
    ["Rock/First/01 One.flac", "Rock/Second/01 Two.flac"],
    ["tabla/tabla.00000.wav", "sitar/sitar.00000.wav"],
    ["000/000002.mp3", "001/000003.mp3"],
    ["batch1/One.wav", "batch2/Two.wav"],
    ["Takes A/One.wav", "Takes A/Two.wav", "Train/Three.wav"],
    ["Various Artists/First/01 One.flac", "Various Artists/Second/01 Two.flac"],
    ["Shelf/First/01 Lumera - One.flac", "Shelf/Second/01 Okapi - Two.flac", "Shelf/Second/02 Three.flac"],
    ["Shelf/Lumera - First (1999)/x/01 One.flac", "Shelf/Other/01 One.flac"],
    ["Best Of - Volume 2/01 One.mp3"],
    ["First - Remastered 2011/01 One.mp3"],
    ["1999 - First/01 One.mp3"],
    ["01 One.flac", "02 Two.flac"],
]


@pytest.mark.parametrize(("paths", "artists"), NAMED, ids=lambda found: found[0] if isinstance(found, list) else "")
def test_a_tree_of_artists_names_them(paths, artists):
    assert set(artists_of_folders(paths).values()) == artists


@pytest.mark.parametrize("paths", NOT_NAMED, ids=lambda paths: paths[0])
def test_folders_of_songs_are_no_artists(paths):
    assert artists_of_folders(paths) == {}


def test_a_folder_counts_only_where_tags_and_names_say_nothing(tmp_path):
    import soundfile

    sound = np.random.default_rng(1).normal(0, 0.1, (4410, 2))
    tagged = {
        "Lumera/First/01 One.flac": {},
        "Lumera/First/02 Two.flac": {"artist": "Okapi", "title": "Two"},
        "Lumera/Second/01 Three.flac": {"artist": "Unknown Artist", "title": "Track 01"},
        "Lumera/Second/02 Four.flac": {"artist": "Various Artists"},
        "Lumera/Second/03 Lumera - Five.flac": {},
    }
    for path, tags in tagged.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        with soundfile.SoundFile(tmp_path / path, "w", 44_100, 2) as file:
            for name, value in tags.items():
                setattr(file, name, value)
            file.write(sound)
    rows = [inspect(tmp_path, found, SplitShares()) for found in find(tmp_path).candidates]
    assert [(row.artist, row.title) for row in rows] == [
        ("Lumera", "One"),
        ("Okapi", "Two"),
        ("Lumera", "Three"),
        ("Various Artists", "02 Four"),
        ("Lumera", "Five"),
    ]
    noted = [any("taken from the name of the folder, Lumera" in note for note in row.notes) for row in rows]
    assert noted == [True, False, True, False, False]


def test_songs_that_show_an_artist_leave_the_keys_of_others_by_themselves(tmp_path):
    from stemwright.manifests.catalog.candidates import Candidate

    alone = Candidate(path="Lumera/One.wav", source="folder")
    assert "folder_artist" not in alone.content()
    assert alone.model_copy(update={"folder_artist": "Lumera"}).content()["folder_artist"] == "Lumera"
