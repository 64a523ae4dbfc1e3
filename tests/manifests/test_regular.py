"""A pipe where a corpus or an export has a file is refused at once: to open it would be to wait for ever."""

import os
import signal
from pathlib import Path

import pytest
from rows import track

from stemwright.datagen.dataset.writers import stale_files
from stemwright.datagen.run.corpus import Corpus
from stemwright.datagen.run.stages import kept_stems
from stemwright.datagen.share import reading
from stemwright.manifests import shards, table
from stemwright.manifests.disk.regular import regular
from stemwright.manifests.records import Track

REFUSED = "is a pipe or a device; expected a regular file"


@pytest.fixture(autouse=True)
def no_waiting():
    """Ends what waits for a pipe, so that a test fails and does not hang."""

    def stop(*_: object) -> None:
        raise AssertionError("waited for a pipe")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(120)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def pipe(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    os.mkfifo(path)
    return path


READERS = {
    "read": lambda path: table.read(path, Track),
    "frame": table.frame,
    "column": lambda path: table.column(path, "id"),
    "made_from": table.made_from,
    "digest": table.digest,
    "replace": lambda path: table.replace(path, [track()], Track),
    "journalled": lambda path: table.journalled(path, Track),
    "is_as_written": lambda path: table.is_as_written(path, Track, []),
    "configuration": lambda path: Corpus(path.parent).config,
    "shard": lambda path: shards.Place(path).read(),
    "part of a shard": lambda path: shards.Place(path, 10, 10).read(),
}


@pytest.mark.parametrize("linked", [False, True])
@pytest.mark.parametrize("reader", READERS.values(), ids=READERS)
def test_a_pipe_with_the_name_of_a_file_of_a_corpus_is_refused_at_once(reader, linked, tmp_path):
    path = tmp_path / "corpus" / "config.toml"
    if linked:
        path.parent.mkdir()
        path.symlink_to(pipe(tmp_path / "pipe"))
    else:
        pipe(path)
    with pytest.raises(Exception, match=REFUSED) as refused:
        reader(path)
    assert "config.toml" in str(refused.value)


def test_a_pipe_beside_stems_is_no_row_of_theirs(tmp_path):
    pipe(tmp_path / kept_stems.KEPT_STEMS)
    assert kept_stems.read(tmp_path) is None


def test_pipes_among_the_tables_of_a_dataset_name_no_files_to_remove(tmp_path):
    for name in ("examples.parquet", "dataset/examples.parquet", f"dataset/{shards.TABLE}"):
        pipe(tmp_path / name)
    assert stale_files.remove_stale(tmp_path, set()) == 0


def test_recipes_whose_manifest_is_a_pipe_are_refused(tmp_path):
    pipe(tmp_path / reading.MANIFEST)
    with pytest.raises(Exception, match=REFUSED), reading.opened(tmp_path):
        pass


def test_what_is_there_or_missing_is_opened_as_before(tmp_path):
    (tmp_path / "file").write_text("here")
    assert regular(tmp_path / "file").read_text() == "here"
    with pytest.raises(FileNotFoundError):
        regular(tmp_path / "none").read_text()
