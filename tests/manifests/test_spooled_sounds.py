"""The spool: sound files of many pairs in a few larger files, found again by name, whatever a kill or a power cut left."""

from __future__ import annotations

import errno
import pickle
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stemwright.manifests.disk import durable
from stemwright.manifests.records import Refused
from stemwright.manifests.spooled_sounds import (
    FILE,
    SoundSpool,
    SpooledSounds,
    SpoolGroup,
    folder_of,
    has_spool,
    remove_spool,
)


def add(spool: SoundSpool, part: str, sounds: dict[str, bytes]) -> None:
    with spool.journal() as journal:
        journal.append(next(iter(sounds)), [spool.append(part, sounds)])


def read(dataset: Path, path: str) -> list[bytes]:
    return [place.read() for place in SpooledSounds(dataset).places(path)]


some_sounds = st.dictionaries(st.sampled_from([f"train/mix/{name}.flac" for name in "abcdef"]), st.binary(min_size=1), min_size=1)


@settings(max_examples=25, deadline=None)
@given(st.lists(some_sounds, min_size=1, max_size=6))
def test_what_was_appended_last_under_a_name_is_found_first(tmp_path_factory, appended):
    dataset, last = tmp_path_factory.mktemp("spool"), {}
    spool = SoundSpool(dataset)
    for number, some in enumerate(appended):
        add(spool, f"mix-train-{number % 2}", some)
        last.update(some)
    assert {path: read(dataset, path)[0] for path in last} == last
    assert read(dataset, "train/mix/z.flac") == []
    assert len([path for path in folder_of(dataset).iterdir() if FILE.fullmatch(path.name)]) == min(2, len(appended))


def test_processes_and_runs_never_append_to_one_file(tmp_path):
    spool = SoundSpool(tmp_path)
    names = [each.append("mix-train-0", {"a": b"1"}).file for each in (spool, pickle.loads(pickle.dumps(spool)), SoundSpool(tmp_path))]
    assert names[0] == names[1] != names[2]
    assert durable.process_name() in names[0]


def test_bytes_that_no_line_names_are_not_found(tmp_path):
    spool = SoundSpool(tmp_path)
    add(spool, "mix-train-0", {"a": b"first"})
    spool.append("mix-train-0", {"b": b"killed before its line"})
    add(spool, "mix-train-0", {"c": b"third"})
    assert (read(tmp_path, "a"), read(tmp_path, "b"), read(tmp_path, "c")) == ([b"first"], [], [b"third"])


def test_a_sound_file_whose_bytes_a_power_cut_took_is_missing(tmp_path):
    spool = SoundSpool(tmp_path)
    add(spool, "mix-train-0", {"a": b"first"})
    add(spool, "mix-train-0", {"b": b"second"})
    (path,) = (path for path in folder_of(tmp_path).iterdir() if FILE.fullmatch(path.name))
    with path.open("r+b") as file:
        file.truncate(9)
    found = SpooledSounds(tmp_path)
    assert (found.exists("a", 5), found.exists("a", 4), found.exists("b", 6)) == (True, False, False)


def test_an_error_while_appending_leaves_the_file_as_it_was(tmp_path):
    spool = SoundSpool(tmp_path)
    add(spool, "mix-train-0", {"a": b"first"})

    def parts():
        yield b"half of it"
        raise OSError(errno.ENOSPC, "no space")

    (path,) = (path for path in folder_of(tmp_path).iterdir() if FILE.fullmatch(path.name))
    with pytest.raises(OSError, match="no space"):
        durable.append(path, parts())
    assert path.read_bytes() == b"first"
    add(spool, "mix-train-0", {"b": b"second"})
    assert read(tmp_path, "b") == [b"second"]


def test_a_group_with_an_error_appends_nothing(tmp_path):
    def stopping():
        with SpoolGroup(SoundSpool(tmp_path), "mix-train-0") as group:
            group.write(tmp_path / "a", b"first")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        stopping()
    assert not has_spool(tmp_path)


def test_a_file_of_the_spool_is_empty_once_all_that_is_wanted_of_it_is_released(tmp_path):
    spool = SoundSpool(tmp_path)
    add(spool, "mix-train-0", {"a": b"1", "b": b"2", "unwanted": b"3"})
    add(spool, "mix-train-1", {"c": b"4"})
    add(spool, "mix-train-2", {"also unwanted": b"5"})
    found = SpooledSounds(tmp_path, {"a", "b", "c"})
    assert [path.name.split(".")[1] for path in found.unused()] == ["mix-train-2"]
    assert found.release(["a", "unwanted"]) == []
    assert [path.name.split(".")[1] for path in found.release(["b"])] == ["mix-train-0"]


def test_removing_a_spool_leaves_what_is_not_ours(tmp_path):
    add(SoundSpool(tmp_path), "mix-train-0", {"a": b"1"})
    theirs = folder_of(tmp_path) / "letter.txt"
    theirs.write_text("dear")
    remove_spool(tmp_path)
    assert list(folder_of(tmp_path).iterdir()) == [theirs]
    theirs.unlink()
    remove_spool(tmp_path)
    assert not has_spool(tmp_path)


def test_nothing_is_written_or_removed_through_a_link(tmp_path):
    home, dataset = tmp_path / "home", tmp_path / "dataset"
    spool = SoundSpool(dataset)
    add(spool, "mix-train-0", {"a": b"1"})
    folder_of(dataset).rename(home)
    folder_of(dataset).symlink_to(home)
    before = sorted(home.iterdir())
    with pytest.raises(Refused, match="is a link: nothing is written or deleted through it"):
        spool.append("mix-train-0", {"b": b"2"})
    with pytest.raises(Refused, match="is a link: nothing is written or deleted through it"):
        spool.journal()
    remove_spool(dataset)
    assert sorted(home.iterdir()) == before
