"""Names, tags and cells of strangers through every verb that shows them: no markup is read, nothing steers the terminal."""

import json
import re
import shutil
from pathlib import Path

import pytest
import soundfile
from conftest import STEM_NAMES, make_song
from typer.testing import CliRunner

from stemwright.datagen.cli.app import app, main
from stemwright.manifests import table
from stemwright.manifests.records import Track

HOSTILE = "a [remix][ [b]x[ \x1b]0;owned\x07 \x9b31m \u202ecod\u2066"  # a folder's name too: no slash
CLOSING = "live[/b] [/red]"  # two parts of a path: folder "live[" and file "b] ..."
STEERING = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
SEEN = r"a [remix][ [b]x[ \x1b]0;owned\x07 \x9b31m \u202ecod\u2066"


def run(*arguments):
    return CliRunner().invoke(app, list(map(str, arguments)), env={"COLUMNS": "400"})


def said_safely(done, *, seen=True):
    said = done.output + (done.stderr if done.stderr_bytes else "")
    assert not STEERING.search(said.replace("\n", "")), said
    if seen:
        assert SEEN in said, said
    return said


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    place = tmp_path_factory.mktemp("hostile")
    song = place / "songs" / f"{HOSTILE} - Song"
    song.mkdir(parents=True)
    made = make_song(0, 1.5)
    for name in ("mixture", *STEM_NAMES):
        soundfile.write(song / f"{name}.wav", made[name].T, 44_100, subtype="PCM_24")
    (place / "songs" / f"{HOSTILE}.mp3").write_text("no music")
    (place / "songs" / Path(CLOSING).parent).mkdir(parents=True)
    (place / "songs" / f"{CLOSING}.wav").write_bytes(b"")
    (place / "c.toml").write_text("[pairs]\nduration_s = 0.5\n[pairs.mix]\nper_track = 1\n[pairs.removal]\nper_track = 1\n")
    done = run("build", place / "songs", place / "corpus", "--config", place / "c.toml")
    assert done.exit_code == 3, done.output
    assert CLOSING in said_safely(done)
    return place


@pytest.mark.parametrize("verb", ["catalog", "separate", "estimate", "plan", "render", "check", "report", "export", "rebuild"])
def test_every_verb_of_a_corpus_shows_names_as_text(place, tmp_path, verb):
    corpus = shutil.copytree(place / "corpus", tmp_path / "corpus")
    mixture = next((place / "songs").rglob("mixture.wav"))
    if verb == "rebuild":
        said_safely(run("export", corpus, tmp_path / "recipes", "--no-audio"), seen=False)
        (tmp_path / "none").mkdir()
        done = run("rebuild", tmp_path / "recipes", tmp_path / "none", tmp_path / "again")
    else:
        arguments = {"catalog": [place / "songs", corpus], "export": [corpus, tmp_path / "out"]}.get(verb, [corpus])
        if verb in ("separate", "check"):  # what they say of a song: its files are not those of its row
            away = shutil.copytree(place / "songs", tmp_path / "songs")
            (away / mixture.relative_to(place / "songs")).unlink()
            config = corpus / "config.toml"
            config.write_text(config.read_text().replace(str(place / "songs"), str(away)))
            if verb == "separate":
                shutil.rmtree(corpus / "stems")
        done = run(verb, *arguments)
    said_safely(done, seen=verb in ("catalog", "separate", "check"))


def test_verbs_without_a_corpus_show_names_as_text(place, tmp_path):
    song = next((place / "songs").rglob("mixture.wav")).parent
    named = shutil.copy(song / "mixture.wav", tmp_path / f"{HOSTILE}.wav")
    done = run("balance", named, "--stems", song, "--csv", tmp_path / "rows.csv")
    assert done.exit_code == 0, done.output
    said_safely(done)
    assert json.loads(run("balance", named, "--stems", song, "--json").stdout)["tracks"][0]["track"] == f"{HOSTILE}.wav"
    said_safely(run("balance", place / "songs" / f"{HOSTILE}.mp3", "--stems", song))
    said_safely(run("edit", named, "mute drums", tmp_path / f"{HOSTILE}.flac", "--stems", song))
    stems = shutil.copytree(song, tmp_path / "stems")
    (stems / "mixture.wav").unlink()
    said_safely(run("fit", named, "--stems", stems, "--chain", "fader"), seen=False)
    said_safely(run("models", "--model-folder", tmp_path), seen=False)


@pytest.mark.parametrize("arguments", [["effects", HOSTILE], ["plan", HOSTILE], ["edit", HOSTILE, "mute " + "x" * 100_000, "out.flac"]])
def test_an_error_is_one_line_that_can_be_read(arguments, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["stemwright", *arguments])
    with pytest.raises(SystemExit) as left:
        main()
    assert left.value.code == 2
    out, err = capsys.readouterr()
    assert not STEERING.search((out + err).replace("\n", ""))
    assert err.count("\n") == 1
    assert len(err) < 1_200


def test_json_is_exact(place):
    said = json.loads(run("catalog", place / "songs", place / "corpus", "--json").stdout)
    assert {row["subject"] for row in said["rejected"]} == {f"{HOSTILE}.mp3", f"{CLOSING}.wav"}
    assert table.read(place / "corpus" / "tracks.parquet", Track)[0].artist == HOSTILE
