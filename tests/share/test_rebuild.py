"""From its recipes and one's own copies of the songs a dataset is made again, byte for byte; what differs or is missing is said."""

import json
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest
import soundfile
from commands import killed_at
from conftest import SAMPLE_RATE, make_song, write_song_file
from tiny_model import write_tiny_model
from typer.testing import CliRunner

from stemwright.datagen.cli.app import app
from stemwright.datagen.run.corpus import Corpus
from stemwright.datagen.share.reading import opened
from stemwright.datagen.share.rebuild import Options, Rebuild, check_place
from stemwright.manifests import table
from stemwright.manifests.pair_records import Example, Pair
from stemwright.manifests.records import Rejected, Stem, Track
from stemwright.manifests.sound.decoding import load

CONFIG = """
seed = 11
[pairs]
duration_s = 0.5
[pairs.mix]
per_track = 1
[pairs.remix]
per_track = 1
tempo_share = 1.0
semitones = 6
[pairs.removal]
per_track = 3
effects = ["eq", "clip"]
redraw_below = 1.2  # high, so that some are drawn again
[separation.limits]
closure_db = 60.0
bleed = 1.0
"""
DURATION_S = 3.0


def run(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Two songs that a tiny model separates and a multitrack; their corpus with mix, remix and removal pairs; its recipes."""
    place = tmp_path_factory.mktemp("rebuild")
    write_tiny_model(place / "models", "tiny", seed=0)
    for number, suffix in enumerate(("flac", "wav")):
        write_song_file(
            place / "songs" / f"{number}.{suffix}", make_song(number, DURATION_S)["mixture"], title=f"Song {number}", artist="A"
        )
    for name, audio in make_song(5, DURATION_S).items():
        write_song_file(place / "songs" / "A - Multi" / f"{name}.wav", audio)
    (place / "config.toml").write_text(CONFIG)
    options = ("--config", place / "config.toml", "--model", "tiny", "--model-folder", place / "models")
    done = run("build", place / "songs", place / "corpus", *options)
    assert done.exit_code in (0, 3), done.output  # what is drawn again five times is given up
    assert run("export", place / "corpus", place / "recipes", "--no-audio").exit_code == 0
    return place


def rebuild(place, songs, out, *more):
    return run("rebuild", place / "recipes", songs, out, "--model-folder", place / "models", *more)


@pytest.fixture(scope="module")
def renamed(place):
    """The songs under other names, in other folders, among strangers."""
    folder = place / "renamed"
    for number, path in enumerate(sorted((place / "songs").rglob("*.*"))):
        (folder / f"shelf {number % 2}").mkdir(parents=True, exist_ok=True)
        shutil.copy(path, folder / f"shelf {number % 2}" / f"track {number}{path.suffix.upper()}")
    write_song_file(folder / "a stranger.flac", make_song(9, DURATION_S)["mixture"])
    (folder / "broken.mp3").write_text("no music")
    return folder


@pytest.fixture(scope="module")
def again(place, renamed):
    done = rebuild(place, renamed, place / "again")
    assert done.exit_code == 0, done.output
    (place / "said").write_text(done.stdout)
    return place / "again"


def test_a_dataset_is_made_again_byte_for_byte_from_renamed_songs(place, again):
    before, after = contents(place / "corpus" / "dataset"), contents(again / "dataset")
    assert list(before) == list(after)
    assert [name for name in before if before[name] != after[name]] == []
    count = len(table.column(again / "examples.parquet", "id"))
    assert (place / "said").read_text().rstrip().splitlines()[
        -1
    ] == f"rebuild: {count} of {count} examples identical, 0 different, 0 missing"


def test_the_corpus_has_every_kind_of_pair_that_was_to_be_tested(place):
    pairs = table.read(place / "corpus" / "pairs.parquet", Pair)
    assert {pair.kind for pair in pairs} == {"mix", "remix", "removal"}
    assert table.column(place / "corpus" / "redraws.parquet", "id")
    assert {stem.origin.partition("@")[0] for stem in table.read(place / "corpus" / "stems.parquet", Stem)} == {"tiny", "reference"}


def test_every_row_of_the_rebuilt_corpus_is_the_recorded_one(place, again):
    for name, kind in (("stems", Stem), ("pairs", Pair), ("redraws", Pair), ("examples", Example)):
        assert table.read(again / f"{name}.parquet", kind) == table.read(place / "corpus" / f"{name}.parquet", kind)
    assert contents(again / "stems") == contents(place / "corpus" / "stems")


def test_a_rebuilt_corpus_passes_check(again):
    done = run("check", again)
    assert (done.exit_code, done.stdout.rstrip().splitlines()[-1]) == (0, "check: 0 problems, 0 warnings")


def test_a_second_start_makes_nothing_again(place, renamed, again):
    before = {path: path.stat().st_mtime_ns for path in again.rglob("*") if path.is_file() and path.suffix in (".flac", ".parquet")}
    assert rebuild(place, renamed, again, "--jobs", 2).exit_code == 0
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_a_missing_song_and_another_recording_are_reported_and_the_rest_is_rebuilt(place, tmp_path):
    songs, out = tmp_path / "songs", tmp_path / "out"
    shutil.copytree(place / "songs", songs)
    shutil.rmtree(songs / "A - Multi")
    write_song_file(songs / "0.flac", make_song(8, DURATION_S)["mixture"], title="Song 0")
    done = rebuild(place, songs, out, "--json")
    assert done.exit_code == 3
    said = json.loads(done.stdout)
    what = {song["title"]: (song["status"], song["what"]) for song in said["songs"]}
    assert set(what) == {"Song 0", "Multi"}
    assert what["Song 0"][0] == what["Multi"][0] == "missing"
    assert "0.flac has its name but is a different recording (" in what["Song 0"][1]
    assert "is its bass.wav, drums.wav, mixture.wav, other.wav, vocals.wav; a multitrack is recognised by the bytes" in what["Multi"][1]
    assert said["examples"]["identical"] > 0
    assert said["examples"]["different"] == 0
    assert said["examples"]["identical"] + said["examples"]["missing"] == said["examples"]["recorded"]
    assert {row.subject for row in table.read(out / "rejected.parquet", Rejected) if row.stage == "catalog"} == {"A - Song 0", "A - Multi"}
    before = contents(place / "corpus" / "dataset")
    sound = {name: data for name, data in contents(out / "dataset").items() if name.endswith(".flac")}
    assert sound.items() <= before.items()
    assert run("check", out).exit_code == 0

    shutil.rmtree(songs)
    assert rebuild(place, place / "songs", out).exit_code == 0  # once they are there, the same command completes it
    assert contents(out / "dataset") == before
    assert run("check", out).exit_code == 0


def test_another_encoding_is_aligned_and_its_difference_is_reported(place, tmp_path):
    songs, out = tmp_path / "songs", tmp_path / "out"
    shutil.copytree(place / "songs", songs)
    song, _ = load(songs / "0.flac")
    with soundfile.SoundFile(songs / "x.mp3", "w", SAMPLE_RATE, 2, format="MP3", subtype="MPEG_LAYER_III", compression_level=0.5) as file:
        file.write(song[:, 2_205:].T)
    write_song_file(songs / "lossless.flac", load(songs / "1.wav")[0])
    for name in ("0.flac", "1.wav"):
        (songs / name).unlink()
    done = rebuild(place, songs, out, "--json")
    assert done.exit_code == 0
    said = json.loads(done.stdout)
    found = {row["title"]: row for row in said["songs"]}
    lossy, lossless = found["Song 0"], found["Song 1"]
    assert (lossy["status"], lossy["offset_frames"]) == ("another encoding", -2_205)
    assert "x.mp3 is another encoding: aligned by -2205 samples at 44100 Hz" in lossy["what"]
    tracks = {track.title: track for track in table.read(out / "tracks.parquet", Track)}
    aligned, _ = load(out / "songs" / tracks["Song 0"].audio.path)
    true_db = 10 * np.log10(np.square(song, dtype=float).sum() / np.square(aligned - song, dtype=float).sum())
    assert abs(lossy["distortion_db"] - true_db) < 2.0
    assert lossy["what"].endswith(f"its bytes differ, by {lossy['distortion_db']:.1f} dB SDR")
    assert lossless["what"] == "lossless.flac is another encoding: aligned by 0 samples at 44100 Hz; its bytes differ, its samples do not"
    counts = said["examples"]
    assert counts["missing"] == 0
    assert counts["different"] > 0 < counts["loudness_off_lu"]
    of_track = {pair.id: pair.track_id for name in ("pairs", "redraws") for pair in table.read(place / "corpus" / f"{name}.parquet", Pair)}
    recorded = table.read(place / "corpus" / "examples.parquet", Example)
    by_title = {track.id: track.title for track in table.read(place / "corpus" / "tracks.parquet", Track)}
    kept = [row for row in recorded if by_title[of_track[row.pair_id]] != "Song 0" and not is_remix(place, row.pair_id)]
    assert counts["identical"] >= len(kept) > 0  # the lossless copy gives the same sound, under other names
    assert run("check", out).exit_code == 0


def is_remix(place, pair_id):
    return pair_id in {pair.id for pair in table.read(place / "corpus" / "pairs.parquet", Pair) if pair.kind == "remix"}


def test_another_model_is_refused_before_anything_is_made(place, tmp_path):
    write_tiny_model(tmp_path / "models", "tiny", seed=3)
    done = run("rebuild", place / "recipes", place / "songs", tmp_path / "out", "--model-folder", tmp_path / "models")
    assert "model 'tiny' here differs from the recipes' model: its weights are" in str(done.exception)
    assert not (tmp_path / "out" / "config.toml").exists()


def edited(place, folder, **changes):
    """The recipes as if they had been exported elsewhere."""
    shutil.copytree(place / "recipes", folder)
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps({**manifest, **changes}))
    return folder


def test_other_versions_are_reported(place, tmp_path):
    manifest = json.loads((place / "recipes" / "manifest.json").read_text())
    used = {**manifest["model"]["used"], "versions": {"demucs": "4.1.0", "torch": "1.0"}}
    model = {**manifest["model"], "used": used}
    with opened(edited(place, tmp_path / "recipes", stemwright="0.0.1", model=model)) as recipes:
        work = Rebuild(recipes, place / "songs", Corpus(tmp_path / "out"), Options(model_folder=place / "models"))
        work.begin()
    first, second = work.result.notes
    assert first.startswith("the recipes were made by stemwright 0.0.1, this is")
    assert second.startswith("versions of the separation: ")


def test_stems_that_come_out_otherwise_are_measured(place, tmp_path):
    """Another machine's arithmetic, acted by another model where the recipes do not say which one it was."""
    write_tiny_model(tmp_path / "models", "tiny", seed=3)
    recipes = edited(place, tmp_path / "recipes", model=None)
    done = run("rebuild", recipes, place / "songs", tmp_path / "out", "--model-folder", tmp_path / "models", "--json")
    said = json.loads(done.stdout)
    separated = {stem.origin for stem in table.read(place / "corpus" / "stems.parquet", Stem)} - {"reference"}
    assert {song["title"]: song["status"] for song in said["songs"]} == {"Song 0": "other stems", "Song 1": "other stems"}
    assert said["notes"] == [
        f"the recipes name the model ({origin}) but not its checksums: it could not be compared" for origin in separated
    ]
    assert all("its stems differ here, by at most " in song["what"] for song in said["songs"])
    assert said["examples"]["different"] > 0 < said["examples"]["identical"]
    assert run("check", tmp_path / "out").exit_code == 0


def test_a_killed_rebuild_resumes_and_ends_with_the_same_bytes(place, tmp_path):
    out = tmp_path / "out"
    arguments = ["rebuild", place / "recipes", place / "songs", out, "--model-folder", place / "models", "-v"]
    assert killed_at("render: 3 of", *arguments) == -signal.SIGKILL
    assert list(out.glob("dataset/*/*/*/*.flac"))
    assert rebuild(place, place / "songs", out).exit_code == 0
    assert contents(out / "dataset") == contents(place / "corpus" / "dataset")
    assert run("check", out).exit_code == 0


@pytest.mark.parametrize("moment", [".rebuild.json.", ".config.toml.", "find"])
def test_a_rebuild_that_is_stopped_before_its_first_table_resumes(moment, place, tmp_path, monkeypatch):
    """Before it has written that the folder is its own, before the configuration, and after both: its log is there from the beginning."""
    replace = Path.replace
    with monkeypatch.context() as patched:
        if moment == "find":
            patched.setattr(Rebuild, moment, stop)
        else:
            patched.setattr(Path, "replace", lambda path, to: stop() if path.name.startswith(moment) else replace(path, to))
        assert "finished work is kept" in str(rebuild(place, place / "songs", tmp_path / "out").exception)
    assert (tmp_path / "out" / "stemwright.log").exists()
    with opened(place / "recipes") as recipes:
        check_place(recipes, place / "songs", tmp_path / "out")


def stop(*_):
    raise KeyboardInterrupt


def test_a_rebuild_without_the_model_goes_on_once_it_is_there(place, tmp_path):
    (tmp_path / "models").mkdir()
    out = tmp_path / "out"
    done = run("rebuild", place / "recipes", place / "songs", out, "--model-folder", tmp_path / "models")
    assert done.exit_code != 0
    assert rebuild(place, place / "songs", out).exit_code == 0
    assert contents(out / "dataset") == contents(place / "corpus" / "dataset")


@pytest.mark.parametrize("how", ["nowhere", "empty", "all strangers", "inside", "other corpus", "other configuration", "other recipes"])
def test_folders_that_cannot_be_used_are_reported(how, place, again, tmp_path):
    songs, out, words = place / "songs", tmp_path / "out", ""
    if how == "nowhere":
        songs, words = tmp_path / "nowhere", "does not exist; expected the folder with your copies"
    elif how == "empty":
        (tmp_path / "empty").mkdir()
        songs, words = tmp_path / "empty", "no sound files in"
    elif how == "all strangers":
        write_song_file(tmp_path / "strange" / "x.wav", make_song(9, 1.0)["mixture"])
        songs, words = tmp_path / "strange", "none of 3 songs was found in"
    elif how == "inside":
        out, words = place / "songs" / "out", "is inside"
    elif how == "other corpus":
        out, words = place / "corpus", "contains other files and is not a rebuilt corpus"
    elif how == "other configuration":
        out, words = tmp_path / "out", "contains other files and is not a rebuilt corpus"
        out.mkdir()
        shutil.copy(place / "corpus" / "config.toml", out)
    else:
        manifest = json.loads((again / "rebuild.json").read_text())
        out, words = tmp_path / "out", "is being rebuilt from other recipes"
        out.mkdir()
        (out / "rebuild.json").write_text(json.dumps({**manifest, "recipes": "0" * 16}))
    done = rebuild(place, songs, out)
    assert done.exit_code != 0
    assert words in str(done.exception)
