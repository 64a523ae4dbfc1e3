"""The songs that a person names, and the stems of each."""

import numpy as np
import pytest

from stemwright.manifests.sound.writing import save
from stemwright.manifests.usage import UsageError
from stemwright.separation.balance.named_songs import named_songs

RATE = 22_050


def put(*places):
    rng = np.random.default_rng(0)
    for place in places:
        save(place, rng.normal(0, 0.1, (2, 2000)).astype("float32"), RATE, encoding="wav32f")


def shown(found, root):
    """{path below the root: names of the stems, or where they are}."""
    stems = {song.path.relative_to(root).as_posix(): song.stems for song in found.songs}
    return {path: sorted(its) if isinstance(its, dict) else its for path, its in stems.items()}


def test_a_folder_is_read_as_multitracks_and_songs_at_any_depth(tmp_path):
    put(*(tmp_path / "set" / "a" / f"{name}.wav" for name in ("mixture", "Lead Vox", "01_Kick")))
    put(
        tmp_path / "set" / "deep" / "b" / "mix.wav",
        *(tmp_path / "set" / "deep" / "b" / "stems" / f"{name}.wav" for name in ("bass", "rest")),
    )
    put(tmp_path / "set" / "alone" / "mixture.wav", tmp_path / "set" / "demo.wav")
    put(*(tmp_path / "set" / "lost" / f"{name}.wav" for name in ("drums", "bass", "vocals")))
    (tmp_path / "set" / "notes.txt").write_text("not a song")
    found = named_songs([tmp_path / "set"])
    assert shown(found, tmp_path / "set") == {
        "a/mixture.wav": ["01_Kick", "Lead Vox"],
        "alone/mixture.wav": None,
        "deep/b/mix.wav": ["bass", "rest"],
        "demo.wav": None,
    }
    assert found.rejected == (
        (str(tmp_path / "set" / "lost"), "stems without a mixture; expected a file named mixture or mix beside them"),
    )


def test_a_multitrack_is_one_song_and_a_file_of_it_is_another(tmp_path):
    put(*(tmp_path / "song" / f"{name}.wav" for name in ("mixture", "drums", "keys")))
    assert shown(named_songs([tmp_path / "song", tmp_path / "song" / "mixture.wav"]), tmp_path) == {"song/mixture.wav": None}
    first, second = named_songs([tmp_path / "song", tmp_path / "song" / "mixture.wav"]).songs
    assert (sorted(first.stems), second.stems) == (["drums", "keys"], None)


@pytest.mark.parametrize(
    ("pattern", "expected"), [("{root}/stems/{song}", "stems/One"), ("{folder}/parts", "songs/One/parts"), ("all", "all")]
)
def test_stems_of_many_songs_are_named_by_a_pattern(tmp_path, pattern, expected):
    put(tmp_path / "songs" / "One" / "mixture.wav", tmp_path / "songs" / "Two.wav")
    found = named_songs([tmp_path / "songs"], pattern.replace("{root}", str(tmp_path)))
    places = [song.stems for song in found.songs]
    assert places[0] == (tmp_path / expected if "/" in expected else type(tmp_path)(expected))
    assert len(places) == 2


def test_an_unknown_placeholder_is_refused_with_those_that_are_known(tmp_path):
    put(tmp_path / "song.wav")
    with pytest.raises(UsageError, match=r"\{title\} is unknown; expected \{song\} or \{folder\}"):
        named_songs([tmp_path / "song.wav"], "stems/{title}")


def test_columns_of_a_list_name_the_stems_of_each_song(tmp_path):
    put(*(tmp_path / name for name in ("one.wav", "two.wav", "three.wav", "four.wav", "v1.wav", "b1.wav", "kit/drums.wav")))
    lines = ["path,year,vocals,Bass DI,stems", "one.wav,1999,v1.wav,b1.wav,", "two.wav,,,,kit", "three.wav,2001,,,", "four.wav,,lost.wav,,"]
    (tmp_path / "songs.csv").write_text("\n".join(lines) + "\n")
    found = named_songs([tmp_path / "songs.csv"])
    assert shown(found, tmp_path) == {"one.wav": ["bass_di", "vocals"], "three.wav": None, "two.wav": tmp_path / "kit"}
    assert [path for path, _ in found.rejected] == [str(tmp_path / "four.wav")]
    assert "lost.wav as one of its stems, and there is no such file" in found.rejected[0][1]


def test_what_names_no_song_is_refused(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match="empty is a folder without sound files; expected recordings, or a folder of songs"):
        named_songs([tmp_path / "empty"])
    (tmp_path / "wrong.csv").write_text("title\nSong\n")
    with pytest.raises(UsageError, match="no column 'path'"):
        named_songs([tmp_path / "wrong.csv"])
