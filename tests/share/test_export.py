"""An export holds a whole dataset as tables: small, the same bytes each time, and nothing about anybody's disk."""

import errno
import gc
import getpass
import json
import re
import zipfile
from collections import Counter

import pytest
from conftest import make_song, write_song_file
from made_corpus import made_corpus
from typer.testing import CliRunner

from stemwright.datagen.cli.app import app
from stemwright.datagen.run.configuration import check, to_toml
from stemwright.datagen.run.corpus import Corpus, CorpusError
from stemwright.datagen.run.tasks import Workers
from stemwright.datagen.share.export import MANIFEST, export, without_local_paths
from stemwright.datagen.share.export_rows import OPTIONAL, TYPES
from stemwright.datagen.share.reading import opened
from stemwright.datagen.share.sound_marks import FingerprintRow, SketchRow
from stemwright.manifests import table, table_rows
from stemwright.manifests.disk import durable
from stemwright.manifests.pair_records import Example, Pair
from stemwright.manifests.records import Estimate, Record, Stem, Track

CONFIG = "[pairs]\nduration_s = 0.5\n[pairs.mix]\nper_track = 5\n[pairs.removal]\nper_track = 5\neffects = ['eq', 'clip']\n"


def run(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder of somebody's with a corpus of three multitracks, five pairs of two kinds each."""
    place = tmp_path_factory.mktemp("someone_private")
    for number in range(3):
        for name, audio in make_song(number, 2.0).items():
            write_song_file(place / "my secret shelf" / f"A{number} - T{number}" / f"{name}.flac", audio)
    (place / "config.toml").write_text(CONFIG)
    done = run("build", place / "my secret shelf", place / "corpus", "--config", place / "config.toml")
    assert done.exit_code == 0, done.output
    return place


@pytest.fixture(scope="module")
def recipes(place):
    done = run("export", place / "corpus", place / "recipes", "--no-audio", "--json")
    assert done.exit_code == 0, done.output
    (place / "said.json").write_text(done.stdout)
    return place / "recipes"


def test_every_row_that_a_rebuild_needs_is_there_as_it_was(place, recipes):
    for name, kind in (("stems", Stem), ("estimates", Estimate), ("pairs", Pair), ("examples", Example)):
        assert table.read(recipes / f"{name}.parquet", kind) == table.read(place / "corpus" / f"{name}.parquet", kind)
    before, after = (table.read(folder / "tracks.parquet", Track) for folder in (place / "corpus", recipes))
    assert [track.id for track in after] == [track.id for track in before]
    assert [track.audio.sha256 for track in after] == [track.audio.sha256 for track in before]
    tracks = {track.id for track in after}
    stems = {stem.id for stem in table.read(recipes / "stems.parquet", Stem)}
    assert {row.id for row in table.read(recipes / "fingerprints.parquet", FingerprintRow)} == tracks
    assert {row.id for row in table.read(recipes / "sketches.parquet", SketchRow)} == tracks | stems


def test_an_export_contains_no_path_of_the_songs(place, recipes):
    words = {"secret", "someone_private", str(place), "/home/", "/root/", "/Users/"}
    words |= {getpass.getuser()} - {"root", "runner", "user"}  # ordinary words may stand in other places
    texts = [(recipes / name).read_text() for name in ("config.toml", MANIFEST)]
    for name in [name for name in TYPES if name not in OPTIONAL]:
        frame = table.frame(recipes / f"{name}.parquet")
        texts += [frame.to_json(orient="records"), json.dumps(table._metadata(recipes / f"{name}.parquet"))]
    for text in texts:
        assert [word for word in words if word in text] == []
    for track in table.read(recipes / "tracks.parquet", Track):
        assert track.audio.path == f"{track.id}/mixture.flac"
        assert [stem.audio.path for stem in track.references] == [f"{track.id}/{stem.name}.flac" for stem in track.references]


@pytest.mark.parametrize("path", ["/home/someone/models", "C:\\Users\\someone", "\\\\server\\someone", "~/someone"])
def test_a_configuration_loses_every_place(path):
    config = check({"songs": {"folder": path}, "separation": {"model_folder": path}, "seed": 3}, where="a test")
    assert "someone" in to_toml(config)
    assert "someone" not in to_toml(without_local_paths(config))
    assert without_local_paths(config).seed == 3


def test_a_song_takes_kilobytes(place, recipes):
    said = json.loads((place / "said.json").read_text())["export"]
    assert said["bytes"] == sum(path.stat().st_size for path in recipes.iterdir())
    assert said["kb_per_song"] == pytest.approx(said["bytes"] / 3000, abs=0.01)
    assert said["kb_per_song"] < 60  # ten pairs of a song and their files, and what each table costs by itself
    assert (said["tracks"], said["pairs"], said["examples"]) == (3, 30, 30)
    sound = sum(path.stat().st_size for path in (place / "corpus" / "dataset").rglob("*.flac"))
    assert said["bytes"] < sound / 20


def test_the_same_corpus_gives_the_same_bytes_as_folder_and_as_zip(place, recipes, tmp_path):
    assert run("export", place / "corpus", tmp_path / "again", "--no-audio", "--jobs", 2).exit_code == 0
    assert {path.name: path.read_bytes() for path in (tmp_path / "again").iterdir()} == {
        path.name: path.read_bytes() for path in recipes.iterdir()
    }
    for name in ("one.zip", "two.zip"):
        assert run("export", place / "corpus", tmp_path / name, "--no-audio").exit_code == 0
    assert (tmp_path / "one.zip").read_bytes() == (tmp_path / "two.zip").read_bytes()
    with zipfile.ZipFile(tmp_path / "one.zip") as archive:
        assert {name: archive.read(name) for name in archive.namelist()} == {path.name: path.read_bytes() for path in recipes.iterdir()}
    with opened(tmp_path / "one.zip") as zipped, opened(recipes) as plain:
        assert zipped.id == plain.id
        assert zipped.examples() == plain.examples()
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_an_export_makes_no_records_of_pairs_and_examples(tmp_path, monkeypatch, only_new_objects):
    corpus = made_corpus(tmp_path / "corpus")
    monkeypatch.setattr(Record, "AT_ONCE", 30)
    monkeypatch.setattr(table_rows, "BATCH_ROWS", 30)
    alive, num_rows, add = Counter(), [], table.RowsDigest.add_texts

    def counted(self, rows):
        gc.collect()
        for kind, count in Counter(type(each).__name__ for each in gc.get_objects() if type(each) in (Pair, Example)).items():
            alive[kind] = max(alive[kind], count)
        num_rows.append(len(rows))
        add(self, rows)

    monkeypatch.setattr(table.RowsDigest, "add_texts", counted)
    done = export(corpus, tmp_path / "recipes", audio=False, workers=Workers(1))
    assert done.pairs > 250
    assert done.examples > 180
    assert not alive
    assert max(num_rows) <= 30
    assert sum(num_rows) > done.pairs + done.examples
    for name, kind in (("pairs", Pair), ("examples", Example), ("redraws", Pair)):
        assert table.read(tmp_path / "recipes" / f"{name}.parquet", kind) == corpus.rows(name, kind)


def test_an_export_with_audio_contains_the_dataset(place, tmp_path):
    done = run("export", place / "corpus", tmp_path / "out")
    assert done.exit_code == 0
    assert done.stdout.rstrip().splitlines()[-1].startswith("export: 30 examples of 3 songs, tables and sound; ")
    assert run("check", tmp_path / "out" / "dataset").exit_code == 0


def test_an_export_replaces_an_earlier_one_and_nothing_else(place, tmp_path):
    assert run("export", place / "corpus", tmp_path / "out").exit_code == 0
    assert run("export", place / "corpus", tmp_path / "out", "--no-audio").exit_code == 0
    assert not (tmp_path / "out" / "dataset").exists()
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("dear")
    (tmp_path / "letter.zip").write_text("dear")
    for out, words in (
        ("mine", "contains other files and is not an earlier export"),
        ("letter.zip", "is another file"),
    ):
        with pytest.raises(CorpusError, match=words):
            export(Corpus(place / "corpus"), tmp_path / out, audio=False, workers=Workers())
    with pytest.raises(CorpusError, match="add --no-audio"):
        export(Corpus(place / "corpus"), tmp_path / "new.zip", audio=True, workers=Workers())
    with pytest.raises(CorpusError, match="is inside the corpus"):
        export(Corpus(place / "corpus"), place / "corpus" / "out", audio=False, workers=Workers())
    assert (tmp_path / "mine" / "letter.txt").read_text() == "dear"


def names_in(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir())


@pytest.fixture(params=["exchanged", "moved"])
def exchange(request, monkeypatch):
    """Both ways of taking a place: of file systems that can exchange two names, and of others."""
    if request.param == "moved":
        monkeypatch.setattr(durable, "swap", lambda *_: False)


def test_what_a_person_adds_to_an_export_stays_when_it_is_written_again(place, tmp_path, exchange):
    out = tmp_path / "out"
    assert run("export", place / "corpus", out).exit_code == 0
    made = names_in(out)
    (tmp_path / "precious").write_text("keep")
    for name in ("notes.txt", "dataset/train/mine/take.flac", "dataset/mine.txt"):
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        (out / name).write_text(name)
    (out / "linked").symlink_to(tmp_path / "precious")
    assert run("export", place / "corpus", out).exit_code == 0
    assert names_in(out) == sorted([*made, "notes.txt", "dataset/train/mine/take.flac", "dataset/mine.txt", "linked"])
    assert (out / "dataset/train/mine/take.flac").read_text() == "dataset/train/mine/take.flac"
    assert (out / "linked").is_symlink()
    assert run("export", place / "corpus", out, "--no-audio").exit_code == 0
    tables = [name for name in made if not name.startswith("dataset/")]
    assert names_in(out) == sorted([*tables, "notes.txt", "dataset/train/mine/take.flac", "dataset/mine.txt", "linked"])
    assert (tmp_path / "precious").read_text() == "keep"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "precious"]


def test_an_export_that_fails_leaves_the_earlier_one_and_names_the_file(place, tmp_path, exchange, monkeypatch):
    out = tmp_path / "out"
    assert run("export", place / "corpus", out, "--no-audio").exit_code == 0
    before = {name: (out / name).read_bytes() for name in names_in(out)}
    sync = durable.os.fsync

    def full(descriptor):
        if len(list(tmp_path.rglob("*.parquet"))) > len(before) - 3 + 2:  # well after it has begun
            raise OSError(errno.ENOSPC, "No space left on device")
        sync(descriptor)

    monkeypatch.setattr(durable.os, "fsync", full)
    failed = run("export", place / "corpus", out)
    assert isinstance(failed.exception, OSError)
    assert re.match(
        r"the disk is full \(writing .*\.parquet\): the existing files are unchanged\. Free some space",
        durable.sentence(failed.exception),
    )
    assert {name: (out / name).read_bytes() for name in names_in(out)} == before
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_what_a_killed_export_left_is_removed_and_the_earlier_one_put_back(place, tmp_path):
    out = tmp_path / "out"
    assert run("export", place / "corpus", out, "--no-audio").exit_code == 0
    made = names_in(out)
    work = tmp_path / ".out.export.part"
    (work / "new" / "dataset").mkdir(parents=True)
    (work / "new" / "dataset" / "a.flac").touch()
    out.replace(work / "old")  # killed between two moves, where names cannot be exchanged
    (work / "old" / "notes.txt").write_text("mine")
    assert run("export", place / "corpus", out, "--no-audio").exit_code == 0
    assert names_in(out) == sorted([*made, "notes.txt"])
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    (tmp_path / ".out.export.part").mkdir()
    (tmp_path / ".out.export.part" / "thesis.doc").touch()
    assert "move it away" in str(run("export", place / "corpus", out, "--no-audio").exception)
    assert (tmp_path / ".out.export.part" / "thesis.doc").exists()


def test_an_export_named_through_a_link_takes_the_place_that_it_leads_to(place, tmp_path):
    (tmp_path / "there").mkdir()
    (tmp_path / "here").symlink_to(tmp_path / "there")
    for _ in range(2):
        assert run("export", place / "corpus", tmp_path / "here", "--no-audio").exit_code == 0
    assert (tmp_path / "here").is_symlink()
    assert (tmp_path / "there" / MANIFEST).exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["here", "there"]


def test_a_folder_that_is_no_corpus_or_is_unfinished_is_reported(place, tmp_path):
    done = run("export", tmp_path, tmp_path / "out", "--no-audio")
    assert "is not a corpus" in str(done.exception)
    assert run("catalog", place / "my secret shelf", tmp_path / "corpus").exit_code == 0
    done = run("export", tmp_path / "corpus", tmp_path / "out", "--no-audio")
    assert "stems.parquet is missing; make it with: stemwright separate" in str(done.exception)
    assert not (tmp_path / "out").exists()


def test_a_dataset_of_an_earlier_plan_is_not_exported_beside_the_new_one(place, tmp_path):
    import shutil

    shutil.copytree(place / "corpus", tmp_path / "corpus")
    assert run("plan", tmp_path / "corpus", "--seed", 99).exit_code == 0
    done = run("export", tmp_path / "corpus", tmp_path / "out", "--no-audio")
    assert "examples are of pairs that are no longer planned" in str(done.exception)
    assert f"stemwright render {tmp_path / 'corpus'}" in str(done.exception)
    assert not (tmp_path / "out").exists()


def test_songs_whose_stems_are_missing_have_no_fingerprint_and_a_note(place, tmp_path):
    import shutil

    shutil.copytree(place / "corpus", tmp_path / "corpus")
    track = table.read(tmp_path / "corpus" / "tracks.parquet", Track)[0]
    shutil.rmtree(next((tmp_path / "corpus" / "stems").glob(f"*/{track.id}")))
    done = run("export", tmp_path / "corpus", tmp_path / "out", "--no-audio", "--json")
    assert done.exit_code == 0
    assert "1 song has no fingerprint, since their stems are not in the corpus" in json.loads(done.stdout)["notes"][0]
    assert len(table.read(tmp_path / "out" / "fingerprints.parquet", FingerprintRow)) == 2


def damaged(recipes, folder, how):
    import shutil

    shutil.copytree(recipes, folder)
    how(folder)
    return folder


@pytest.mark.parametrize(
    ("how", "words"),
    [
        (lambda folder: (folder / "pairs.parquet").unlink(), "is incomplete: pairs.parquet is missing"),
        (lambda folder: (folder / "stems.parquet").write_bytes(b"x"), "is damaged: the checksum of stems.parquet differs"),
        (lambda folder: (folder / MANIFEST).unlink(), "has no readable manifest.json; expected what `stemwright export"),
        (lambda folder: (folder / MANIFEST).write_text('{"format": 99, "files": {}}'), "in a newer format than this version reads"),
        (lambda folder: (folder / MANIFEST).write_text('{"format": 1, "files": {"../x": {}}}'), "has no readable manifest.json"),
    ],
)
def test_a_damaged_export_is_refused(how, words, recipes, tmp_path):
    with pytest.raises(CorpusError, match=words), opened(damaged(recipes, tmp_path / "recipes", how)):
        pass


def test_what_is_no_export_is_refused(tmp_path):
    (tmp_path / "text.zip").write_text("no zip")
    for path, words in ((tmp_path / "nowhere", "does not exist"), (tmp_path / "text.zip", "neither a folder nor a zip")):
        with pytest.raises(CorpusError, match=words), opened(path):
            pass
