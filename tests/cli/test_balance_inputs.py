"""``balance`` of folders, lists and kept stems, as it is called."""

import csv
import io
import json
import shutil
from pathlib import Path

import pytest
from conftest import STEM_NAMES, make_song, write_song_file
from typer.testing import CliRunner

from stemwright.datagen.cli.app import app
from stemwright.datagen.cli.balance_inputs import kept_stems
from stemwright.manifests.usage import UsageError
from stemwright.separation.balance.named_songs import NamedSong, named_songs


def invoke(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments], env={"COLUMNS": "80"})


@pytest.fixture
def collection(tmp_path):
    """Two multitracks whose files have the same names, in folders of the same name, and one file that is no sound."""
    for number, place in enumerate(("first/Song", "second/Song")):
        song = make_song(number, 2.0)
        for name in (*STEM_NAMES, "mixture"):
            write_song_file(tmp_path / "all" / place / f"{name}.wav", song[name])
    (tmp_path / "all" / "broken.wav").write_bytes(b"no sound")
    return tmp_path / "all"


def test_songs_of_one_name_have_their_folders_in_front_in_the_table_json_and_csv(collection, tmp_path):
    done = invoke("balance", collection, "--csv", tmp_path / "rows.csv", "--json")
    assert done.exit_code == 3, done.output
    said = json.loads(done.stdout)
    assert [(song["track"], song["basis"], song["model"]) for song in said["tracks"]] == [
        ("first/Song", "measured", None),
        ("second/Song", "measured", None),
    ]
    assert [row["track"] for row in said["rejected"]] == [str(collection / "broken.wav")]
    rows = list(csv.DictReader(io.StringIO((tmp_path / "rows.csv").read_text())))
    assert {row["path"] for row in rows} == {str(collection / place / "Song" / "mixture.wav") for place in ("first", "second")}
    assert {row["basis"] for row in rows} == {"measured"}
    assert all(row["pan"] == row["pan_low"] == row["pan_high"] for row in rows)
    assert "-0.0" not in {cell for row in rows for cell in row.values()}
    table = invoke("balance", collection).stdout
    assert "balance: 2 done, 1 rejected" in table
    assert "all tracks: level LU (2 measured)" in table
    assert max(map(len, table.splitlines())) <= 80


def test_each_song_of_a_list_is_measured_in_the_stems_of_its_columns(collection, tmp_path):
    shutil.copy(collection / "first" / "Song" / "mixture.wav", collection / "one.wav")
    columns = [f"first/Song/{name}.wav" for name in STEM_NAMES]
    (collection / "list.csv").write_text(
        "\n".join([",".join(["path", "year", *STEM_NAMES]), ",".join(["one.wav", "1999", *columns])]) + "\n"
    )
    said = json.loads(invoke("balance", collection / "list.csv", "--json").stdout)
    (song,) = said["tracks"]
    assert (song["track"], song["basis"], sorted(song["stems"])) == ("one.wav", "measured", sorted(STEM_NAMES))


def test_a_mixture_beside_stems_is_not_separated_without_saying_so(collection):
    done = invoke("balance", collection / "first" / "Song" / "mixture.wav", "--model", "no/such", "--offline")
    assert f"stemwright balance {collection / 'first' / 'Song'}" in done.stderr.replace("\n", "")


def test_kept_stems_never_replace_files_nor_stand_beside_their_song(tmp_path):
    song = NamedSong(tmp_path / "songs" / "tune.wav")
    write_song_file(song.path, make_song(0, 1.0)["mixture"])
    assert kept_stems(tmp_path / "kept", [song], force=False) is not None
    (tmp_path / "kept" / "tune").mkdir(parents=True)
    (tmp_path / "kept" / "tune" / "vocals.wav").write_text("mine")
    with pytest.raises(UsageError, match=r"tune exists; name another folder, measure in it with --stems .*kept, or use --force"):
        kept_stems(tmp_path / "kept", [song], force=False)
    assert kept_stems(tmp_path / "kept", [song], force=True) is not None
    with pytest.raises(UsageError, match=r"songs: the folder of .*tune\.wav itself"):
        kept_stems(tmp_path / "songs", [song], force=True)
    with pytest.raises(UsageError, match="no song is separated, since all have stems"):
        kept_stems(tmp_path / "kept", [NamedSong(song.path, tmp_path)], force=True)
    with pytest.raises(UsageError, match="are both called tune; keep their stems in different folders"):
        kept_stems(tmp_path / "new", [song, NamedSong(tmp_path / "other" / "tune.flac")], force=False)


@pytest.mark.parametrize("name", ["...wav", "..wav", "../mixture.wav"])
def test_stems_are_kept_within_the_folder_whatever_the_song_is_called(tmp_path, monkeypatch, name):
    (tmp_path / "songs" / "inner").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "songs" / "inner")
    write_song_file(tmp_path / "song.wav", make_song(0, 1.0)["mixture"])
    (tmp_path / "song.wav").rename(name)
    (tmp_path / "home" / "vocals.wav").parent.mkdir()
    (tmp_path / "home" / "vocals.wav").write_text("mine")
    done = invoke("balance", name, "--save-stems", tmp_path / "home" / "keep", "--force", "--model", "bundled", "--json")
    if name == "../mixture.wav":
        assert (tmp_path / "home" / "keep" / "songs" / "vocals.wav").is_file(), done.output
    else:
        assert isinstance(done.exception, UsageError)
        assert "has no name for a folder of its stems" in str(done.exception)
        with pytest.raises(UsageError, match="has no name for a folder of its stems"):
            named_songs([Path(name)], str(tmp_path / "home" / "keep" / "{song}"))
    assert (tmp_path / "home" / "vocals.wav").read_text() == "mine"


def test_kept_stems_never_replace_what_is_read(tmp_path):
    for path in (tmp_path / "x.wav", tmp_path / "keep" / "x" / "vocals.wav"):
        write_song_file(path, make_song(0, 1.0)["mixture"])
    song, inner = NamedSong(tmp_path / "x.wav"), tmp_path / "keep" / "x" / "vocals.wav"
    for others in (NamedSong(inner), NamedSong(tmp_path / "y.wav", {"vocals": (inner, 0)}), NamedSong(tmp_path / "y.wav", inner.parent)):
        with pytest.raises(UsageError, match="whose files would be replaced; name another folder"):
            kept_stems(tmp_path / "keep", [song, others], force=True)
    with pytest.raises(UsageError, match="whose files would be replaced; name another folder"):
        kept_stems(tmp_path / "keep", [song], force=True, others=[tmp_path / "keep" / "x" / "list.csv"])
    (tmp_path / "linked").mkdir()
    (tmp_path / "linked" / "x").symlink_to(tmp_path / "keep")
    with pytest.raises(UsageError, match="is a link, and nothing is written through it"):
        kept_stems(tmp_path / "linked", [song], force=True)


@pytest.mark.parametrize("option", [("--drums-model", "bundled"), ("--force",)])
def test_options_of_a_separation_that_does_not_take_place_are_refused(collection, option):
    done = invoke("balance", collection / "first" / "Song", *option)
    assert isinstance(done.exception, UsageError)
    assert option[0] in str(done.exception)
