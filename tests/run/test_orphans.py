"""Cleaning a corpus: what it has no use for goes, and nothing else does."""

import json
import os
import shutil
from pathlib import Path

import pytest
from commands import stemwright
from living_corpus import build, contents, differences, stub_separator, write_song

from stemwright.datagen.run.corpus import Corpus, CorpusError
from stemwright.datagen.run.orphans import find_orphans, remove_orphans
from stemwright.manifests import table
from stemwright.manifests.check import check_corpus
from stemwright.manifests.pair_records import Example

VALUES = {"pairs": {"sample_rate": 8_000, "duration_s": 0.5, "mix": {"per_track": 1}, "removal": {"per_track": 1}}}
LIMITS = {"limits": {"closure_db": 60.0, "bleed": 1.0}}


@pytest.fixture(scope="module")
def made_once(tmp_path_factory):
    """A corpus of two songs, separated by one model after another, from which a song was taken away."""
    place = tmp_path_factory.mktemp("orphans")
    for seed in range(3):
        write_song(place / "songs" / f"{seed}.flac", seed, {"artist": f"Artist {seed}"})
    with stub_separator():
        for model in ("two", "one"):
            build(place / "corpus", values(place, model))
        (place / "songs" / "2.flac").rename(place / "2.flac")
        build(place / "corpus", values(place, "one"))
    return place


@pytest.fixture
def place(tmp_path, made_once):
    """A copy of that corpus, and the separator that made it."""
    shutil.copytree(made_once, tmp_path, dirs_exist_ok=True)
    with stub_separator():
        yield tmp_path


def values(place: Path, model: str = "one") -> dict:
    return {**VALUES, "songs": {"folder": str(place / "songs")}, "separation": {"model": model, **LIMITS}}


def litter(corpus: Path) -> dict[str, list[Path]]:
    """Orphans of each kind that killed processes and earlier versions leave."""
    track = table.column(corpus / "stems.parquet", "track_id")[0]
    pair = min((corpus / "dataset").rglob("*.flac"))
    made = {
        "temporary": [
            corpus / ".pairs.parquet.4194304.part",
            corpus / "dataset" / ".README.md.4194304.part",
            corpus / "stems" / "one" / track / ".separating" / "mixture.raw",
        ],
        "journal": [corpus / "examples.jsonl.part"],
        "layout": [corpus / "stems" / "0123456789abcdef" / "drums.flac"],
        "stems": [corpus / "stems" / "one" / "fedcba9876543210" / "bass.flac", corpus / "stems" / "one" / track / "tuba.flac"],
        "dataset": [pair.parent.with_name("0123456789abcdef") / "input_wet.flac"],
    }
    for paths in made.values():
        for path in paths:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"" if path.suffix == ".part" and "jsonl" in path.name else b"x" * 100)
    return made


def files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file() or path.is_symlink()}


def test_a_corpus_that_was_cleaned_is_checked_without_a_word_and_equals_a_fresh_one(place):
    corpus = place / "corpus"
    made = litter(corpus)
    found = find_orphans(Corpus(corpus))
    assert {kind: sorted(path for path in paths) for kind, paths in made.items()} == {
        kind: sorted(orphan.path for orphan in found if orphan.kind == kind) for kind in made
    }
    assert check_corpus(corpus, place / "songs")
    count, freed = remove_orphans(found)
    assert (count, freed) == (8, 700)
    assert not find_orphans(Corpus(corpus))
    assert check_corpus(corpus, place / "songs") == []
    build(corpus, values(place))
    build(place / "fresh", values(place))
    assert differences(contents(corpus), contents(place / "fresh")) == []


def test_stems_of_other_models_and_of_missing_songs_are_deleted_only_on_request(place):
    corpus = Corpus(place / "corpus")
    assert find_orphans(corpus) == []
    kept = find_orphans(corpus, kept=True)
    folders = {orphan.path.parent.relative_to(corpus.folder).parts[1] for orphan in kept}
    assert folders == {"one", "two"}
    assert len({orphan.path.parent for orphan in kept}) == 3 + 1  # three of model two, and the song that is away
    assert kept[0].path.name == "stems.json"  # where it is, the stems are whole
    remove_orphans(kept)
    assert not (corpus.folder / "stems" / "two").exists()
    assert len(list((corpus.folder / "stems" / "one").iterdir())) == 2
    build(corpus.folder, values(place))
    build(place / "fresh", values(place))
    assert differences(contents(corpus.folder), contents(place / "fresh")) == []


def test_nothing_of_a_persons_and_nothing_behind_a_link_is_listed(place):
    corpus, home = place / "corpus", place / "home"
    home.mkdir()
    track = min((corpus / "stems" / "one").iterdir())
    mine = [
        corpus / "notes.txt",
        corpus / "stems" / "readme.flac",
        corpus / "stems" / "one" / "my take.flac",
        track / "Guitar.wav",
        track / "Take 2.flac",
        corpus / "dataset" / "train" / "listening test.wav",
        corpus / "dataset" / "mine.flac",
        home / "drums.flac",
        home / ".x.1.part",
    ]
    for path in mine:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("mine")
    (corpus / "stems" / "one" / "0123456789abcdef").symlink_to(home)
    (track / "tuba.flac").symlink_to(home / "drums.flac")
    assert find_orphans(Corpus(corpus)) == []
    assert all(path.read_text() == "mine" for path in mine)


def test_stems_on_another_disk_are_cleaned_there(place):
    corpus, disk = place / "corpus", place / "disk"
    (corpus / "stems").rename(disk)
    (corpus / "stems").symlink_to(disk)
    litter(corpus)
    remove_orphans(find_orphans(Corpus(corpus)))
    assert check_corpus(corpus, place / "songs") == []
    assert not (disk / "0123456789abcdef").exists()


def test_work_that_was_finished_before_a_kill_is_no_orphan(place):
    corpus = place / "corpus"
    (corpus / "examples.parquet").rename(place / "away")
    rows = table.read(place / "away", Example)
    with table.Journal(corpus / "examples.jsonl.part", Example) as journal:
        for row in rows:
            journal.append(row.cache_key, (row,))
    assert find_orphans(Corpus(corpus)) == []


def test_without_a_terminal_clean_lists_and_deletes_nothing_by_default(place):
    corpus = place / "corpus"
    made = {path.relative_to(corpus).as_posix() for paths in litter(corpus).values() for path in paths}
    before = files(corpus)
    done = stemwright("clean", corpus, check=False)
    assert done.returncode == 2
    assert "clean: nothing deleted" in done.stdout
    assert "Pass --yes to delete" in done.stderr
    said = json.loads(stemwright("clean", corpus, "--dry-run", "--json").stdout)
    assert {orphan["file"] for orphan in said["orphans"]} == made
    assert (said["deleted"], said["freed_bytes"]) == (0, 0)
    assert files(corpus) == before
    said = stemwright("clean", corpus, "--yes")
    assert "clean: 8 files deleted, 700 bytes freed" in said.stdout
    assert files(corpus) == before - made
    assert "nothing to delete" in stemwright("clean", corpus).stdout


def test_a_corpus_that_is_worked_on_is_not_cleaned(place):
    corpus = place / "corpus"
    made = litter(corpus)
    with Corpus(corpus).locked():
        made["temporary"][2].parent.mkdir(exist_ok=True)
        done = stemwright("clean", corpus, "--yes", check=False)
    assert done.returncode == 2
    assert "another stemwright process is working" in done.stderr
    assert made["layout"][0].exists()
    with Corpus(corpus).locked(), pytest.raises(CorpusError, match="another stemwright process is working"):
        Corpus(corpus).check_not_in_use()


@pytest.mark.skipif(os.name == "nt", reason="needs a terminal of its own")
@pytest.mark.parametrize(("answer", "deleted"), [(b"n\n", False), (b"y\n", True)])
def test_at_a_terminal_clean_asks(place, answer, deleted):
    import pty
    import subprocess

    from commands import COMMAND

    made = litter(place / "corpus")
    main, other = pty.openpty()
    process = subprocess.Popen([*COMMAND, "clean", str(place / "corpus")], stdin=other, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    os.write(main, answer)
    out, _ = process.communicate(timeout=300)
    os.close(main)
    os.close(other)
    assert process.returncode == 0
    assert b"Delete 8 files" in out
    assert made["layout"][0].exists() is not deleted
