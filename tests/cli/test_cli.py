"""What the command line says when it is used wrongly, and in JSON."""

import json
import re

import pytest
from commands import stemwright
from conftest import STEM_NAMES, make_song, write_song_file
from test_build import CONFIG


def failing(*arguments, code):
    done = stemwright(*arguments, check=False)
    assert done.returncode == code, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done.stderr


def kept_files(corpus):
    """The files of a corpus that a verb which failed leaves as they were."""
    passing = (".lock", "stemwright.log")
    return {path.name: path.read_bytes() for path in corpus.iterdir() if path.is_file() and path.name not in passing}


def test_a_wrong_key_names_the_right_one_and_leaves_with_2(tmp_path, songs_folder):
    (tmp_path / "config.toml").write_text("[pairs.removal]\nper_trak = 3\n")
    said = failing("build", songs_folder(1), tmp_path / "corpus", "--config", tmp_path / "config.toml", code=2)
    assert "did you mean 'pairs.removal.per_track'?" in said
    assert not (tmp_path / "corpus").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("build", "{tmp}/none", "{tmp}/corpus"), "does not exist"),
        (("render", "{tmp}/none"), "none is not a corpus: there is no such folder. Create one with: stemwright catalog SONGS"),
        (("plan", "{tmp}/busy/notes.txt"), "notes.txt is not a corpus: it is a file; expected a corpus folder"),
        (("report", "{tmp}/busy"), "busy is not a corpus: it has no config.toml"),
        (("check", "{tmp}/busy"), "busy is neither a corpus .* nor a dataset"),
        (("balance", "{tmp}/busy/notes.txt", "--against", "{tmp}/none"), "--against .*none: it has no estimates.parquet"),
        (("check", "{tmp}/none"), "none does not exist; expected a corpus folder"),
        (("check", "{tmp}/busy/notes.txt"), "notes.txt is a file; expected a corpus folder"),
        (("balance", "{tmp}/busy"), "busy is a folder without sound files; expected recordings, or a folder of songs"),
        (("init", "{tmp}/busy/notes.txt/my.toml"), "my.toml cannot be written"),
        (("config", "pairs.mx"), "did you mean 'pairs.mix'"),
        (("export", "{tmp}/none", "{tmp}/out"), "none is not a corpus: there is no such folder"),
        (("rebuild", "{tmp}/none", "{tmp}/busy", "{tmp}/out"), "none does not exist; expected what `stemwright export"),
        (("effects", "compresser"), "did you mean 'compressor'"),
        (("effects", "mp3"), "there is no effect 'mp3'; mp3 is a codec of the effect 'codec', its setting codec. The effects are fader"),
        (("effects", "vst3"), r"there is no effect 'vst3'\. The effects are fader"),
        (("estimate", "{tmp}/none.wav"), "none.wav: no such file; expected a corpus, or a recording with --profile CORPUS"),
        (("separate", "{tmp}/busy"), "contains other files|is not a corpus"),
        (("build", "{tmp}/busy", "{tmp}/busy"), "are inside the corpus|contains other files"),
        (("balance", "{tmp}/none.wav"), "none.wav: no such file; expected recordings"),
        (("balance", "{tmp}/busy/notes.txt", "--engine", "onnx"), "engine: .*'torch' or 'openvino'; got 'onnx'"),
        (("separate", "{tmp}/busy", "--precision", "fp8"), "is not a corpus"),
        (("edit", "{tmp}/none.wav", "mute drums", "{tmp}/out.wav"), "none.wav: no such file; expected a recording"),
        (("fit", "{tmp}/none.wav"), "none.wav does not exist; expected a mixture"),
        (("edit", "{tmp}/busy/notes.txt", "mute drums", "{tmp}/out.wav", "--stems", "{tmp}/none"), "expected a folder of stems"),
        (("fit", "{tmp}/busy/notes.txt", "--stems", "{tmp}/none"), "expected a folder of stems, got .*none"),
        (("fit", "{tmp}/busy/notes.txt", "--stems", "{tmp}/busy"), "got no sound file"),
        (("fit", "{tmp}/busy"), "a folder, not a sound file, and without mixture.wav"),
        (("fit", "{tmp}/busy/notes.txt"), "has no stems of its own; .*--stems FOLDER"),
        (("frobnicate",), "No such command"),
        (("build",), "Missing argument"),
        (("undo", "{tmp}/busy/notes.txt"), "Missing argument 'OUT'"),
        (("undo",), "Missing argument 'SONG'"),
    ],
)
def test_wrong_usage_is_a_sentence_and_leaves_with_2(tmp_path, arguments, words):
    (tmp_path / "busy").mkdir()
    (tmp_path / "busy" / "notes.txt").write_text("x")
    said = failing(*(argument.format(tmp=tmp_path) for argument in arguments), code=2)
    assert re.search(words, said)


def test_a_stage_before_its_table_names_the_verb_that_makes_it(tmp_path, songs_folder):
    stemwright("catalog", songs_folder(1), tmp_path / "corpus")
    assert f"stemwright separate {tmp_path / 'corpus'}" in failing("estimate", tmp_path / "corpus", code=2)


def test_a_model_that_cannot_be_had_names_the_folder_and_the_ways_out(tmp_path, songs_folder):
    (tmp_path / "models").mkdir()
    said = failing("build", songs_folder(1), tmp_path / "corpus", "--model", "nothing", "--model-folder", tmp_path / "models", code=1)
    assert str(tmp_path / "models") in said
    assert "--model-folder" in said


def test_two_processes_at_once_are_reported_as_such(tmp_path, songs_folder):
    from stemwright.datagen.run.corpus import Corpus

    stemwright("catalog", songs_folder(1), tmp_path / "corpus")
    with Corpus(tmp_path / "corpus").locked():
        assert "another stemwright process is working" in failing("estimate", tmp_path / "corpus", code=2)


def test_a_folder_without_one_song_of_the_corpus_or_any_other_leaves_the_corpus_as_it_was(tmp_path, songs_folder):
    corpus, songs = tmp_path / "corpus", songs_folder(1)
    stemwright("catalog", songs, corpus)
    before = kept_files(corpus)
    (tmp_path / "wrong").mkdir()
    (tmp_path / "wrong" / "broken.mp3").write_text("no music")
    said = failing("catalog", tmp_path / "wrong", corpus, code=2)
    assert "the corpus has 1 track, and none of them can be read from" in said
    assert "broken.mp3: not a readable sound file" in said
    assert kept_files(corpus) == before


def test_json_is_one_object_with_the_counts(tmp_path, multitrack_folder):
    (tmp_path / "config.toml").write_text(CONFIG)
    done = stemwright("build", multitrack_folder(1, 0), tmp_path / "corpus", "--config", tmp_path / "config.toml", "--json")
    said = json.loads(done.stdout)
    assert {stage["stage"]: stage["done"] for stage in said["stages"]} == {
        "catalog": 1,
        "separate": 1,
        "estimate": 1,
        "plan": 8,
        "render": 8,
    }
    assert said["problems"] == []
    effects = json.loads(stemwright("effects", "--json").stdout, parse_constant=pytest.fail)["effects"]  # JSON has no Infinity
    assert effects[0]["effect"] == "fader"
    assert next(row for row in effects if row["setting"] == "ratio")["high"] == "inf"
    assert {"name", "stem_names", "size_mb"} <= set(json.loads(stemwright("models", "--json").stdout)["models"][0])


def test_balance_of_a_file_with_its_stems_in_every_form(tmp_path, multitrack_folder):
    song = next(multitrack_folder(1, 0, duration_s=4.0).glob("train/*"))
    options = ["--stems", song, "--csv", tmp_path / "rows.csv", "--plot", tmp_path / "picture.png"]
    said = json.loads(stemwright("balance", song / "mixture.wav", *options, "--json").stdout)
    stems = said["tracks"][0]["stems"]
    assert set(stems) == {"drums", "bass", "other", "vocals"}
    assert all(-40 < stem["level_lu"] < 3 for stem in stems.values())
    assert (tmp_path / "rows.csv").read_text().startswith("track,stem,level_lu")
    assert (tmp_path / "picture.png").read_bytes()[:4] == b"\x89PNG"
    table = stemwright("balance", song / "mixture.wav", song / "mixture.wav", "--stems", song).stdout
    assert "all tracks" in table
    assert "balance: 2 done, 0 rejected" in table


def test_balance_reports_files_that_it_cannot_read_and_measures_the_others(tmp_path, multitrack_folder):
    song = next(multitrack_folder(1, 0, duration_s=4.0).glob("train/*"))
    (tmp_path / "text.mp3").write_text("not music")
    done = stemwright("balance", tmp_path / "text.mp3", song / "mixture.wav", "--stems", song, check=False)
    assert done.returncode == 3
    assert "text.mp3: " in done.stderr
    assert "balance: 1 done, 1 rejected" in done.stdout
    assert stemwright("balance", tmp_path / "text.mp3", "--stems", song, check=False).returncode == 1


def test_the_version_is_that_of_the_installed_package():
    from importlib.metadata import version

    assert stemwright("--version").stdout == f"stemwright {version('stemwright')}\n"


def test_a_first_build_that_fails_after_the_catalog_can_be_resumed(tmp_path, multitrack_folder):
    corpus, songs = tmp_path / "corpus", multitrack_folder(1, 0, duration_s=4.0)
    (tmp_path / "config.toml").write_text("[estimate]\neffects = true\nprofile = 'none.parquet'\n")
    failing("build", songs, corpus, "--config", tmp_path / "config.toml", code=2)  # found by the stage that reads the profile
    assert "0 done" in stemwright("catalog", songs, corpus).stdout


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        (["--model", "htdemucs_fft"], 2, "there is no model 'htdemucs_fft'; did you mean 'htdemucs_ft'"),
        (["--offline"], 1, "no weights of model 'htdemucs': .*--model-folder DIR"),
        (["--model", "bundled", "--device", "gpu"], 2, "there is no device 'gpu'; expected auto, cpu, cuda"),
        (["--model", "bundled", "--device", "cuda:7"], 1, "device 'cuda:7' was requested, but .*use --device auto, or cpu"),
        (["--model", "bundled", "--model-folder", "{tmp}/damaged"], 1, "is truncated|not a safetensors file"),
        (["--model", "bundled", "--model-folder", "{tmp}/none"], 1, "model folder .*none does not exist"),
    ],
    ids=["misspelt", "offline", "no device", "device not here", "damaged", "no folder"],
)
def test_a_problem_of_the_model_is_found_before_a_song_is_read(tmp_path, songs_folder, monkeypatch, options, code, words):
    from stemwright.separation.demucs.checkpoints import PACKAGE_FOLDER

    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    (tmp_path / "damaged").mkdir()
    for path in (path for path in PACKAGE_FOLDER.iterdir() if path.is_file()):
        (tmp_path / "damaged" / path.name).write_bytes(path.read_bytes() if path.suffix != ".safetensors" else path.read_bytes()[:-100])
    said = failing("build", songs_folder(1), tmp_path / "corpus", *(option.format(tmp=tmp_path) for option in options), code=code)
    assert re.search(words, said)
    assert not (tmp_path / "corpus").exists()


def test_multitracks_whose_own_stems_are_taken_need_no_model(tmp_path, multitrack_folder, monkeypatch):
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    stemwright("build", multitrack_folder(1, 0, duration_s=6.0), tmp_path / "corpus", "--offline")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("plan", "{tmp}/none"), "none is not a corpus"),
        (("plan",), "Missing argument 'CORPUS'"),
        (("plan", "{tmp}/none", "--frob"), "No such option: --frob"),
        (("frobnicate",), "No such command 'frobnicate'"),
    ],
    ids=["a wrong path", "a missing argument", "an unknown option", "an unknown verb"],
)
def test_wrong_usage_is_an_object_with_json(tmp_path, arguments, words):
    done = stemwright(*(argument.format(tmp=tmp_path) for argument in arguments), "--json", check=False)
    said = json.loads(done.stdout)
    assert (done.returncode, said["exit_code"]) == (2, 2)
    assert words in said["error"]
    assert done.stderr == f"stemwright: {said['error']}\n"


def test_json_of_balance_names_what_it_rejected_and_why(tmp_path):
    song = make_song(0, 1.5)
    for name in STEM_NAMES:
        write_song_file(tmp_path / "stems" / f"{name}.wav", song[name])
    write_song_file(tmp_path / "song.wav", song["mixture"])
    (tmp_path / "broken.wav").write_bytes(b"no sound")
    files = [tmp_path / "song.wav", tmp_path / "broken.wav"]
    done = stemwright("balance", *files, "--stems", tmp_path / "stems", "--json", check=False)
    said = json.loads(done.stdout)
    assert done.returncode == 3
    assert [row["track"] for row in said["rejected"]] == [str(files[1])]
    assert "not a readable sound file" in said["rejected"][0]["reason"]
    assert len(said["tracks"]) == 1
