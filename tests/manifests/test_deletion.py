"""Nothing is deleted, truncated or written over that is not ours: not beside our files, not under their names, not behind a link."""

import json
import os
import shutil
from pathlib import Path

import hypothesis.strategies as st
import pytest
from conftest import make_song, write_song_file
from hypothesis import given

from stemwright.datagen.dataset.writers import WRITERS, stale_files
from stemwright.datagen.run import stages
from stemwright.datagen.run.configuration import check
from stemwright.datagen.run.corpus import Corpus, CorpusError
from stemwright.datagen.run.tasks import Workers
from stemwright.manifests import table
from stemwright.manifests.check import check_corpus, check_dataset, errors
from stemwright.manifests.disk import deletion
from stemwright.manifests.disk.deletion import check_plain, check_way, foreign_files, link_on_the_way, remove
from stemwright.manifests.pair_records import Example, Pair
from stemwright.manifests.records import Refused, Shard, Track
from stemwright.separation.separator import ReferenceStems

SONGS = 2


def configuration(songs: Path, format_name: str, per_track: int) -> dict[str, object]:
    removal_pairs = {"per_track": 0 if format_name == "musdb" else 1, "effects": ["eq"], "removed": [1, 1], "kept": [0, 0]}
    pairs = {"duration_s": 0.25, "mix": {"per_track": per_track, "target": "sum"}, "removal": removal_pairs}
    return {"seed": 3, "songs": {"folder": str(songs)}, "pairs": pairs, "dataset": {"format": format_name}}


@pytest.fixture(scope="module")
def listened(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """(songs, a corpus whose stems are there). Not to be changed."""
    place = tmp_path_factory.mktemp("removal")
    for number in range(SONGS):
        for stem, audio in make_song(number, 1.5).items():
            write_song_file(place / "songs" / f"Artist {number} - Title {number}" / f"{stem}.wav", audio)
    corpus = Corpus(place / "corpus")
    corpus.create(check(configuration(place / "songs", "folder", 2), where="test"))
    stages.run_catalog(corpus, Workers(1))
    stages.run_separate(corpus)
    stages.run_estimate(corpus, Workers(1))
    return place / "songs", corpus.folder


def planned(listened: tuple[Path, Path], place: Path, format_name: str, per_track: int = 2) -> Corpus:
    corpus = Corpus(shutil.copytree(listened[1], place / "corpus"))
    plan(corpus, listened[0], format_name, per_track)
    return corpus


def plan(corpus: Corpus, songs: Path, format_name: str, per_track: int) -> None:
    corpus.create(check(configuration(songs, format_name, per_track), where="test"))
    stages.run_plan(corpus)


def split_of(corpus: Corpus) -> str:
    return corpus.rows("pairs", Pair)[0].split


def home_of(place: Path) -> Path:
    """A folder of somebody's, with files that look like ours."""
    home = place / "home"
    for name in ("thesis.txt", "photos/1.jpg", "mix/0123456789abcdef/input_drums.flac", "mix/train-000000.tar", "drums.flac"):
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        (home / name).write_text(f"mine: {name}")
    return home


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


every_format = pytest.mark.parametrize("name", WRITERS)


@every_format
def test_foreign_files_in_a_dataset_stay_and_are_reported(name, listened, tmp_path):
    corpus = planned(listened, tmp_path, name)
    stages.run_render(corpus, Workers(1))
    split = split_of(corpus)
    mine = [
        *("notes.txt", f"{split}/mine.txt", f"{split}/mix/notes.flac", f"{split}/mix/0123456789abcdef/input_drums.flac"),
        *("mix/train-000099.tar", "mix/notes/deep/a.wav", "pictures/cover.parquet"),
    ]
    for path in mine:
        (corpus.dataset / path).parent.mkdir(parents=True, exist_ok=True)
        (corpus.dataset / path).write_text(f"mine: {path}")
    plan(corpus, listened[0], name, 1)
    summary = stages.run_render(corpus, Workers(1))
    assert [(corpus.dataset / path).read_text() for path in mine] == [f"mine: {path}" for path in mine]
    assert any(f"{len(mine)} files or links in dataset/ are not from stemwright" in note for note in summary.notes)
    problems = [*check_corpus(corpus.folder, listened[0]), *check_dataset(corpus.dataset)]
    assert errors(problems) == []
    assert {problem.file.removeprefix("dataset/") for problem in problems} >= set(mine)


@every_format
def test_what_is_no_longer_planned_is_removed_and_the_rest_is_as_if_made_today(name, listened, tmp_path):
    corpus = planned(listened, tmp_path, name, per_track=3)
    stages.run_render(corpus, Workers(1))
    for format_name in (*WRITERS, name):  # from each format to each
        plan(corpus, listened[0], format_name, 1)
        stages.run_render(corpus, Workers(1))
    fresh = planned(listened, tmp_path / "fresh", name, per_track=1)
    stages.run_render(fresh, Workers(1))
    assert contents(corpus.dataset) == contents(fresh.dataset)
    assert sorted(path.name for path in corpus.folder.iterdir()) == sorted(path.name for path in fresh.folder.iterdir())


@every_format
def test_a_linked_folder_below_a_dataset_is_refused_and_what_it_leads_to_stays(name, listened, tmp_path):
    corpus, home = planned(listened, tmp_path, name), home_of(tmp_path)
    before = contents(home)
    for linked in (split_of(corpus), f"{split_of(corpus)}/mix", "mix"):
        shutil.rmtree(corpus.dataset, ignore_errors=True)
        (corpus.dataset / linked).parent.mkdir(parents=True)
        (corpus.dataset / linked).symlink_to(home)
        for leftover in (corpus.table("examples"), corpus.journal("examples")):
            leftover.unlink(missing_ok=True)
        with pytest.raises(Refused, match=f"{linked} is a link: nothing is written or deleted through it"):
            stages.run_render(corpus, Workers(1))
        assert contents(home) == before


@every_format
def test_a_folder_that_became_a_link_after_rendering_loses_no_file(name, listened, tmp_path):
    corpus, home = planned(listened, tmp_path, name), home_of(tmp_path)
    stages.run_render(corpus, Workers(1))
    split, moved = split_of(corpus), tmp_path / "moved"
    for folder in [path for path in (corpus.dataset / split, corpus.dataset / "mix") if path.is_dir()]:
        shutil.copytree(folder, home / "moved" / folder.name)  # as somebody does who wants it on another disk
        folder.rename(moved)
        folder.symlink_to(home / "moved" / folder.name)
        before = contents(home)
        plan(corpus, listened[0], name, 1)
        with pytest.raises(Refused, match="is a link"):
            stages.run_render(corpus, Workers(1))
        assert contents(home) == before
        folder.unlink()
        moved.rename(folder)


def test_a_link_to_a_folder_of_another_split_is_kept_and_reported(listened, tmp_path):
    corpus, home = planned(listened, tmp_path, "folder"), home_of(tmp_path)
    stages.run_render(corpus, Workers(1))
    other = next(split for split in ("train", "valid", "test") if not (corpus.dataset / split).exists())
    (corpus.dataset / other).symlink_to(home)
    before = contents(home)
    plan(corpus, listened[0], "folder", 1)
    summary = stages.run_render(corpus, Workers(1))
    assert contents(home) == before
    assert any(f"the first is {other}" in note for note in summary.notes)
    (problem,) = check_dataset(corpus.dataset)
    assert (problem.level, problem.file) == ("warning", other)
    assert "is a link that no row names" in problem.what


@every_format
def test_corpus_stems_and_dataset_may_be_links_to_another_disk(name, listened, tmp_path):
    disk, corpus_link = tmp_path / "disk", tmp_path / "corpus"
    shutil.copytree(listened[1], disk / "corpus")
    for part in ("stems", "dataset"):
        (disk / part).mkdir()
        if (disk / "corpus" / part).exists():
            shutil.rmtree(disk / "corpus" / part)
        (disk / "corpus" / part).symlink_to(disk / part)
    corpus_link.symlink_to(disk / "corpus")
    corpus = Corpus(corpus_link)
    corpus.table("stems").unlink()
    stages.run_separate(corpus)
    stages.run_estimate(corpus, Workers(1))
    plan(corpus, listened[0], name, 2)
    stages.run_render(corpus, Workers(1))
    plan(corpus, listened[0], name, 1)
    assert any("no longer planned were removed" in note for note in stages.run_render(corpus, Workers(1)).notes)
    assert errors(check_corpus(corpus.folder, listened[0])) == []
    assert all((corpus.folder / part).is_symlink() for part in ("stems", "dataset"))
    assert list((disk / "stems").rglob("*.flac"))
    fresh = planned(listened, tmp_path / "fresh", name, per_track=1)
    stages.run_render(fresh, Workers(1))
    assert contents(disk / "dataset") == contents(fresh.dataset)


@every_format
def test_files_that_a_killed_process_did_not_journal_go_when_the_plan_has_changed(name, listened, tmp_path, monkeypatch):
    corpus = planned(listened, tmp_path, name)
    append = table.Journal.append

    def killed(self, cache_key, rows, **options):
        if self.path.name == "examples.jsonl.part":
            raise KeyboardInterrupt  # the files stand, their row does not
        append(self, cache_key, rows, **options)

    monkeypatch.setattr(table.Journal, "append", killed)
    with pytest.raises(KeyboardInterrupt):
        stages.run_render(corpus, Workers(1))
    monkeypatch.undo()
    assert [path for path in corpus.dataset.rglob("*") if path.is_file()]
    values = configuration(listened[0], name, 2)
    corpus.create(check({**values, "seed": 4}, where="test"))
    stages.run_plan(corpus)
    assert not any("not from stemwright" in note for note in stages.run_render(corpus, Workers(1)).notes)
    assert not stale_files.has_unfinished(corpus.folder)
    assert check_dataset(corpus.dataset) == []


def test_a_shard_is_not_written_over_a_file_of_that_name_that_is_not_ours(listened, tmp_path):
    corpus = planned(listened, tmp_path, "webdataset")
    mine = corpus.dataset / "mix" / f"{split_of(corpus)}-000000.tar"
    mine.parent.mkdir(parents=True)
    mine.write_text("mine")
    with pytest.raises(Refused, match=r"000000\.tar is not a file of this corpus, and a file of that name must be written; move it away"):
        stages.run_render(corpus, Workers(1))
    assert mine.read_text() == "mine"
    mine.unlink()
    assert stages.run_render(corpus, Workers(1)).rejected == 0


@pytest.mark.parametrize("name", ["tracks.jsonl.part", "stems.jsonl.part", "examples.jsonl.part", "begun.jsonl.part"])
def test_a_journal_that_is_a_link_is_refused_and_its_target_is_not_cut(name, listened, tmp_path):
    corpus, home = planned(listened, tmp_path, "folder"), home_of(tmp_path)
    place = corpus.folder / name
    place.symlink_to(home / "thesis.txt")
    corpus.table("tracks").unlink()
    runs = {
        "tracks.jsonl.part": lambda: stages.run_catalog(corpus, Workers(1)),
        "stems.jsonl.part": lambda: stages.run_separate(corpus),
    }
    if "track" not in name:
        stages.run_catalog(corpus, Workers(1))
    with pytest.raises(Refused, match=f"{name} is a link: nothing is written through it"):
        runs.get(name, lambda: stages.run_render(corpus, Workers(1)))()
    assert (home / "thesis.txt").read_text() == "mine: thesis.txt"


@pytest.mark.parametrize("what", ["link", "pipe", "folder"])
def test_a_lock_that_is_no_file_is_refused(what, tmp_path):
    home, corpus = home_of(tmp_path), Corpus(tmp_path / "corpus")
    corpus.folder.mkdir()
    lock = corpus.folder / ".lock"
    {"link": lambda: lock.symlink_to(home / "thesis.txt"), "pipe": lambda: os.mkfifo(lock), "folder": lock.mkdir}[what]()
    with pytest.raises(CorpusError, match=r"\.lock is (a link|not a regular file)"), corpus.locked():
        pass
    assert (home / "thesis.txt").read_text() == "mine: thesis.txt"


@pytest.mark.parametrize("name", ["config.toml", "tracks.parquet", "README.md", "dataset/README.md", "dataset/examples.parquet"])
def test_a_table_that_is_a_link_is_replaced_and_its_target_stays(name, listened, tmp_path):
    corpus, home = planned(listened, tmp_path, "folder"), home_of(tmp_path)
    stages.run_render(corpus, Workers(1))
    target = home / Path(name).name
    shutil.copyfile(corpus.folder / name, target)
    (corpus.folder / name).unlink()
    (corpus.folder / name).symlink_to(target)
    before = contents(home)
    plan(corpus, listened[0], "folder", 1)
    shutil.rmtree(corpus.folder / "stems")  # so that tracks are written as well
    songs = shutil.copytree(listened[0], tmp_path / "songs")
    shutil.rmtree(min(songs.iterdir()))
    corpus.create(check(configuration(songs, "folder", 1), where="test"))
    stages.run_catalog(corpus, Workers(1))
    stages.run_separate(corpus)
    stages.run_estimate(corpus, Workers(1))
    stages.run_plan(corpus)
    stages.run_render(corpus, Workers(1))
    assert contents(home) == before
    assert not (corpus.folder / name).is_symlink()


def test_a_linked_working_folder_of_a_separation_is_refused(listened, tmp_path):
    home, out = home_of(tmp_path), tmp_path / "out"
    out.mkdir()
    (out / ".separating").symlink_to(home)
    song = min(listened[0].iterdir())
    own = ReferenceStems({"drums": (song / "drums.wav", 0)})
    before = contents(home)
    with pytest.raises(Refused, match=r"\.separating is a link"):
        own.separate_file(song / "mixture.wav", out)
    assert contents(home) == before


def test_a_link_on_the_way_is_found_wherever_it_is(tmp_path):
    home = home_of(tmp_path)
    (tmp_path / "root" / "a").mkdir(parents=True)
    (tmp_path / "root" / "a" / "b").symlink_to(home)
    (tmp_path / "linked root").symlink_to(tmp_path / "root")
    for root in (tmp_path / "root", tmp_path / "linked root"):
        assert link_on_the_way(root, root / "a" / "b") is None  # a file there is replaced, not followed
        assert link_on_the_way(root, root / "a" / "b" / "photos" / "1.jpg") == root / "a" / "b"
        assert not remove(root, root / "a" / "b" / "photos" / "1.jpg")
        assert not remove(root, root / "a" / "b")
        with pytest.raises(Refused, match="b is a link"):
            check_way(root, root / "a" / "b" / "c")
    (tmp_path / "root" / "file").touch()
    with pytest.raises(Refused, match="file is not a folder"):
        check_way(tmp_path / "root", tmp_path / "root" / "file" / "c")
    with pytest.raises(Refused, match="not a regular file"):
        check_plain(tmp_path / "root")
    check_plain(tmp_path / "nothing")
    assert list(foreign_files(tmp_path / "root", {"file"})) == ["a/b"]


def test_emptied_folders_go_up_to_the_root_and_others_stay(tmp_path):
    root = tmp_path / "root"
    for name in ("a/b/c/ours.flac", "a/b/theirs.txt", "d/ours.flac"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    (root / "e" / "empty").mkdir(parents=True)  # nothing names a file in it
    assert remove(root, root / "a/b/c/ours.flac")
    assert remove(root, root / "d/ours.flac")
    assert not remove(root, root / "d/ours.flac")
    assert sorted(path.relative_to(root).as_posix() for path in root.rglob("*")) == ["a", "a/b", "a/b/theirs.txt", "e", "e/empty"]
    deletion.remove_empty(root, root)
    assert root.exists()


paths = st.lists(st.sampled_from(["a", "b", "..", ".", "", "c.flac", "x\0y", "/etc", "C:", "mix", "train-000000.tar"]), max_size=4)


@given(st.lists(st.one_of(paths.map("/".join), st.text(max_size=20)), max_size=8))
def test_no_name_in_an_earlier_table_leads_out_of_the_dataset(tmp_path_factory, names):
    """A stranger's journal may name anything: what is outside, or has no suffix of ours, stays."""
    place = tmp_path_factory.mktemp("names")
    corpus = place / "corpus"
    outside = [place / "c.flac", corpus / "c.flac", corpus / "stems" / "c.flac", corpus / "train-000000.tar"]
    inside = [corpus / "dataset" / "notes.txt", corpus / "dataset" / "a" / "c.flac", corpus / "dataset" / "mix" / "train-000000.tar"]
    for path in (*outside, *inside):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    with (corpus / "begun.jsonl.part").open("w") as file:
        file.writelines(f"{json.dumps(name)}\n" for name in [*names, 3, None, ["a"], {"rows": []}])
    stale_files.remove_stale(corpus, set())
    assert all(path.exists() for path in outside)
    assert inside[0].exists()


def test_torn_and_foreign_journals_name_nothing_and_stop_nothing(tmp_path):
    corpus = tmp_path
    (corpus / "dataset").mkdir()
    (corpus / "dataset" / "keep.flac").touch()
    (corpus / "examples.jsonl.part").write_bytes(b'\0\0{"task": "a", "rows": [{"signals": [{"audio": {"path": "dataset/keep.fl')
    (corpus / "begun.jsonl.part").write_bytes(b'"dataset/keep.fla')
    (corpus / "examples.parquet").write_bytes(b"no parquet")
    table.write(corpus / "dataset" / "shards.parquet", [], Shard)
    table.write(corpus / "dataset" / "examples.parquet", [], Example)
    assert stale_files.remove_stale(corpus, set()) == 0
    assert (corpus / "dataset" / "keep.flac").exists()


def test_a_dataset_or_stems_folder_that_leads_into_the_songs_is_refused(listened, tmp_path):
    corpus = Corpus(tmp_path / "corpus")
    corpus.folder.mkdir()
    songs = shutil.copytree(listened[0], tmp_path / "songs")
    (songs / "inner").mkdir()
    (corpus.folder / "stems").symlink_to(songs / "inner")
    (corpus.folder / "config.toml").touch()
    with pytest.raises(CorpusError, match="stems leads into the songs"):
        corpus.check_free(check(configuration(songs, "folder", 1), where="test"))
    assert table.column(corpus.table("tracks"), "id") == []
    assert Track.model_fields["audio"].is_required()


@pytest.mark.parametrize("linked", ["reference", "reference/*"])
def test_stems_are_not_written_through_a_link_below_the_folder_of_stems(linked, listened, tmp_path):
    corpus, home = Corpus(shutil.copytree(listened[1], tmp_path / "corpus")), tmp_path / "home"
    folder = min((corpus.folder / "stems").glob(linked))
    shutil.copytree(folder, home)
    shutil.rmtree(folder)
    folder.symlink_to(home)
    for path in sorted(home.rglob("stems.json")):
        path.unlink()  # so that stems are to be written again
    corpus.table("stems").unlink()
    before = contents(home)
    summary = stages.run_separate(corpus)
    assert summary.rejected == (SONGS if linked == "reference" else 1)
    assert all("is a link: nothing is written or deleted through it" in row.reason for row in corpus.rejected() if row.stage == "separate")
    assert contents(home) == before


@pytest.mark.parametrize("left", ["a/b", "a", "a/b/c"])
def test_the_empty_folders_of_a_file_that_a_killed_process_removed_go_as_well(tmp_path, left):
    (tmp_path / "root" / left).mkdir(parents=True)
    (tmp_path / "root" / "other").mkdir()
    assert not remove(tmp_path / "root", tmp_path / "root" / "a" / "b" / "c" / "x.flac")
    assert [path.name for path in (tmp_path / "root").iterdir()] == ["other"]
