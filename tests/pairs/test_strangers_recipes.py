"""Recipes that anybody may have made: zips that unfold, manifests that lie, tables that name other places."""

import hashlib
import json
import os
import shutil
import tracemalloc
import zipfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import make_song, write_song_file

from stemwright.datagen.run import stages
from stemwright.datagen.run.configuration import check
from stemwright.datagen.run.corpus import Corpus, CorpusError
from stemwright.datagen.run.tasks import Workers
from stemwright.datagen.share import reading
from stemwright.datagen.share.export import export
from stemwright.datagen.share.reading import KNOWN, opened
from stemwright.datagen.share.rebuild import Options, Rebuild
from stemwright.manifests import table
from stemwright.manifests.pair_records import Example, Pair


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """songs, a finished corpus of them, and "recipes", its export. Not to be changed."""
    place = tmp_path_factory.mktemp("strangers")
    for stem, audio in make_song(0, 1.0).items():
        write_song_file(place / "songs" / "Artist - Title" / f"{stem}.wav", audio)
    pairs = {"duration_s": 0.25, "mix": {"per_track": 2, "target": "sum"}, "removal": {"per_track": 0}}
    corpus = Corpus(place / "corpus")
    corpus.create(check({"songs": {"folder": str(place / "songs")}, "pairs": pairs}, where="test"))
    stages.run_catalog(corpus, Workers(1))
    stages.run_separate(corpus)
    stages.run_estimate(corpus, Workers(1))
    stages.run_plan(corpus)
    stages.run_render(corpus, Workers(1))
    export(corpus, place / "recipes", audio=False, workers=Workers(1))
    export(corpus, place / "recipes.zip", audio=False, workers=Workers(1))
    return place


def copied(place: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(place / "recipes", tmp_path / "recipes"))


def signed(recipes: Path) -> Path:
    """The recipes with the checksums of their files as they are now, as an attacker would write them."""
    manifest = json.loads((recipes / "manifest.json").read_text())
    for name, facts in manifest["files"].items():
        facts["sha256"] = hashlib.sha256((recipes / name).read_bytes()).hexdigest()
    (recipes / "manifest.json").write_text(json.dumps(manifest))
    return recipes


def zipped(recipes: Path, path: Path, **extra: bytes) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(recipes.iterdir()):
            archive.write(file, file.name)
        for name, data in extra.items():
            archive.writestr(name, data)
    return path


def refused(path: Path) -> str:
    with pytest.raises(CorpusError) as error, opened(path):
        pass
    assert len(str(error.value)) < 700
    return str(error.value)


def test_a_folder_and_a_zip_are_read_alike(place, tmp_path):
    again = zipped(place / "recipes", tmp_path / "again.zip", **{"__MACOSX/x": b"", "../../evil": b"x", "/etc/evil": b"x"})
    seen = []
    for path in (place / "recipes", place / "recipes.zip", again):
        with opened(path) as read:
            seen.append((read.id, read.config, [pair.id for pair in read.rows("pairs", Pair)], len(read.examples())))
    assert seen[0] == seen[1] == seen[2]
    assert not (tmp_path.parent / "evil").exists()


@pytest.mark.parametrize("name", ["README.md", "manifest.json", "config.toml", "pairs.parquet", "fingerprints.parquet"])
def test_a_member_that_unfolds_is_refused_before_it_is_unpacked(name, tmp_path):
    path = tmp_path / "recipes.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive, archive.open(name, "w") as member:
        for _ in range(100):
            member.write(bytes(1 << 20))
    tracemalloc.start()
    assert f"has a {name} of 105 MB, at most" in refused(path)
    assert tracemalloc.get_traced_memory()[1] < 10 << 20
    tracemalloc.stop()


def test_a_zip_that_states_smaller_sizes_than_it_holds_is_refused(place, tmp_path):
    path = zipped(place / "recipes", tmp_path / "lying.zip")
    data = bytearray(path.read_bytes())
    at = data.find(b"PK\x01\x02")
    while at >= 0:  # every size in the list of members
        data[at + 24 : at + 28] = (7).to_bytes(4, "little")
        at = data.find(b"PK\x01\x02", at + 4)
    path.write_bytes(data)
    assert "cannot be unpacked" in refused(path) or "is damaged" in refused(path)


def test_a_zip_of_very_many_members_is_refused_before_they_are_listed(tmp_path, monkeypatch):
    path = tmp_path / "many.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for number in range(20_000):
            archive.writestr(f"{number:040d}", b"")
    monkeypatch.setattr(zipfile, "ZipFile", lambda *_: pytest.fail("it was opened"))
    assert "lists its members in" in refused(path)


def test_two_members_of_one_name_an_encrypted_and_a_broken_one_are_refused(place, tmp_path):
    with zipfile.ZipFile(tmp_path / "twice.zip", "w") as archive:
        archive.writestr("README.md", b"one")
        with pytest.warns(UserWarning, match="Duplicate name"):
            archive.writestr("README.md", b"other")
    assert "two members with the same name" in refused(tmp_path / "twice.zip")
    path = zipped(place / "recipes", tmp_path / "locked.zip")
    data = bytearray(path.read_bytes())
    for head, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        at = data.find(head)
        data[at + flags] |= 1
    path.write_bytes(data)
    assert "cannot be unpacked" in refused(path)
    path = zipped(place / "recipes", tmp_path / "broken.zip")
    data = bytearray(path.read_bytes())
    data[200:300] = bytes(100)
    path.write_bytes(data)
    assert "cannot be unpacked" in refused(path)


def test_a_disk_that_is_too_small_is_reported_before_anything_is_unpacked(place, monkeypatch):
    free = type("Usage", (), {"free": 10})()
    monkeypatch.setattr(reading.shutil, "disk_usage", lambda _: free)
    assert "0.0 GB free; set TMPDIR" in refused(place / "recipes.zip")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"files": None}, "files"),
        ({"files": {"../../home/x": {"bytes": 1, "sha256": "0" * 64}}}, "does not list"),
        ({"id": "../../x"}, "id"),
        ({"origins": 3}, "origins"),
        ({"format": "new"}, "format"),
        ({"stemwright": ["x"]}, "stemwright"),
        ({"model": {"weights": {}}}, "model"),
        (
            {
                "model": {
                    "weights": {},
                    "bag": None,
                    "segment_s": None,
                    "schedule": 1,
                    "used": {"engine": "$(x)", "precision": "fp32", "device": "cpu", "versions": {}},
                }
            },
            r"model\.used\.engine",
        ),
    ],
)
def test_a_manifest_with_wrong_contents_is_refused_with_a_message(change, words, place, tmp_path):
    import re

    recipes = copied(place, tmp_path)
    manifest = json.loads((recipes / "manifest.json").read_text())
    (recipes / "manifest.json").write_text(json.dumps({**manifest, **change}))
    assert re.search(words, refused(recipes))


@pytest.mark.parametrize("text", ["[]", "3", "{", '{"a":' * 100_000, "\udcff", "x" * ((16 << 20) + 1)])
def test_a_file_that_is_no_manifest_is_refused_with_a_message(text, place, tmp_path):
    recipes = copied(place, tmp_path)
    (recipes / "manifest.json").write_bytes(text.encode(errors="surrogateescape"))
    assert "expected what `stemwright export CORPUS OUT --no-audio` wrote" in refused(recipes)


def test_a_pipe_is_no_zip(tmp_path):
    os.mkfifo(tmp_path / "recipes.zip")
    assert "is a pipe; expected" in refused(tmp_path / "recipes.zip")


def test_a_table_that_unfolds_is_refused_before_it_is_read(place, tmp_path, monkeypatch):
    recipes = copied(place, tmp_path)
    before = table.arrow_schema(Pair)
    row = pq.read_table(recipes / "pairs.parquet").slice(0, 1)
    rows = pa.concat_tables([row] * 200_000).combine_chunks()
    rows = rows.cast(before).replace_schema_metadata(pq.read_schema(recipes / "pairs.parquet").metadata)
    pq.write_table(rows, recipes / "pairs.parquet", compression="zstd")
    assert (recipes / "pairs.parquet").stat().st_size < 400_000
    monkeypatch.setattr(table, "read", lambda *_: pytest.fail("it was read"))
    assert "pairs.parquet has" in (said := refused(signed(recipes)))
    assert "would unpack to 200,000 rows" in said


def poisoned(place: Path, tmp_path: Path, **columns: object) -> Path:
    """The recipes with columns of every pair changed, with ids and checksums that fit."""
    recipes, ids, pairs, examples = copied(place, tmp_path), {}, [], []
    for pair in table.read(recipes / "pairs.parquet", Pair):
        new = pair.model_copy(update=columns)
        pairs.append(new.model_copy(update={"id": new.seal_id()}))
        ids[pair.id] = pairs[-1].id
    for row in table.read(recipes / "examples.parquet", Example):
        new = row.model_copy(update={"pair_id": ids[row.pair_id]})
        examples.append(new.model_copy(update={"id": new.seal_id()}))
    table.write(recipes / "pairs.parquet", pairs, Pair)
    table.write(recipes / "examples.parquet", examples, Example)
    return signed(recipes)


def files_below(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*")}


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ({"kind": "../../../../OUTSIDE"}, r"kind: .*got '\.\./\.\./\.\./\.\./OUTSIDE'"),
        ({"kind": "/tmp/OUTSIDE"}, "kind"),
        ({"kind": "mix\x00"}, "kind"),
        ({"sample_rate": 10**9}, r"sample_rate: .*less than or equal to 768000; got 1000000000"),
        ({"num_frames": 10**12}, "at most 600 s"),
        ({"start_frame": 2**62}, "start_frame"),
    ],
)
def test_pairs_that_name_other_places_or_sizes_are_refused_and_nothing_is_written(columns, words, place, tmp_path):
    recipes = poisoned(place, tmp_path, **columns)
    (tmp_path / "deep").mkdir()
    before = files_below(tmp_path)
    with opened(recipes) as read:
        work = Rebuild(read, place / "songs", Corpus(tmp_path / "deep" / "out"), Options())
        with pytest.raises(CorpusError, match=words):
            work.begin()
    assert files_below(tmp_path) == before


def test_a_configuration_of_recipes_names_no_place_on_ones_disk(place, tmp_path):
    recipes = copied(place, tmp_path)
    text = (recipes / "config.toml").read_text()
    (recipes / "config.toml").write_text(text.replace("[separation]", '[separation]\nmodel_folder = "/home/somebody/models"'))
    with opened(signed(recipes)) as read:
        assert read.config.separation.model_folder is None
        assert read.config.songs.folder == "."


def test_a_song_is_not_put_where_something_else_is(place, tmp_path):
    out = Corpus(tmp_path / "out")
    with opened(place / "recipes") as read:
        work = Rebuild(read, place / "songs", out, Options())
        work.begin()
        work.find()
        (link, *_) = sorted(path for path in (out.folder / "songs").rglob("*") if path.is_symlink())
        link.unlink()
        link.write_text("mine")
        with pytest.raises(CorpusError, match="is in the way of the song"):
            Rebuild(read, place / "songs", out, Options()).find()
        assert link.read_text() == "mine"
        link.unlink()
        home, folder = tmp_path / "home", link.parent
        shutil.move(folder, home)
        folder.symlink_to(home)
        before = files_below(home)
        with pytest.raises(CorpusError, match="is a link: nothing is written or deleted through it"):
            Rebuild(read, place / "songs", out, Options()).find()
        assert files_below(home) == before


def test_an_export_takes_nothing_of_somebodys_along(place, tmp_path):
    corpus = Corpus(shutil.copytree(place / "corpus", tmp_path / "corpus"))
    secrets = tmp_path / "secrets"
    secrets.mkdir()
    (secrets / "diary.txt").write_text("mine")
    (corpus.dataset / "linked").symlink_to(secrets)
    (corpus.dataset / "loop").symlink_to(corpus.dataset)
    (corpus.dataset / "notes.txt").write_text("mine")
    export(corpus, tmp_path / "out", audio=True, workers=Workers(1))
    assert files_below(tmp_path / "out" / "dataset") == files_below(place / "corpus" / "dataset")


def test_known_names_are_those_that_an_export_writes(place):
    parts = {"parts.parquet", "part_estimates.parquet"}  # of a corpus whose drums were taken apart
    assert {path.name for path in (place / "recipes").iterdir()} == set(KNOWN) - parts
