import errno
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from stemwright.manifests.disk import durable
from stemwright.manifests.disk.attempts import PROCESS, attempt_name, host, process_name
from stemwright.manifests.sound.writing import Writer, remove_leftovers

on_linux = pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="asks Linux what a descriptor is called")


@pytest.fixture
def events(monkeypatch):
    """What is synced, by what it is called then, and what is renamed, in order."""
    seen, fsync, rename = [], os.fsync, os.replace

    def synced(descriptor):
        seen.append(("sync", Path(f"/proc/self/fd/{descriptor}").readlink().name))
        fsync(descriptor)

    def renamed(self, target):
        seen.append(("rename", target.name))
        return rename(self, target)

    monkeypatch.setattr(durable.os, "fsync", synced)
    monkeypatch.setattr(durable.Path, "replace", renamed)
    return seen


def plain(name):
    """A hidden name without the process in it."""
    return name.replace(f".{process_name()}.part", ".part")


@on_linux
def test_a_file_is_synced_before_its_rename_and_its_folder_after(tmp_path, events):
    durable.write_bytes(tmp_path / "new" / "a", b"x")
    found = [(what, plain(name)) for what, name in events]
    assert found == [("sync", tmp_path.name), ("sync", ".a.part"), ("rename", "a"), ("sync", "new")]


@on_linux
def test_a_sound_file_written_in_blocks_is_synced_before_its_rename_and_its_folder_after(tmp_path, events, synthetic_song):
    with Writer(tmp_path / "a.flac", 44_100, 2) as writer:
        writer.write(synthetic_song["mixture"])
    assert [(what, plain(name)) for what, name in events] == [("sync", ".a.flac.part"), ("rename", "a.flac"), ("sync", tmp_path.name)]


@on_linux
def test_files_that_belong_together_sync_their_folder_once_and_after_all_renames(tmp_path, events):
    with durable.FileGroup() as files:
        for name in "abc":
            files.write(tmp_path / name, name.encode())
    assert [what for what, _ in events] == ["sync"] * 3 + ["rename"] * 3 + ["sync"]
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"a": b"a", "b": b"b", "c": b"c"}


def test_of_files_that_belong_together_an_error_leaves_none(tmp_path):
    def fails():
        with durable.FileGroup() as files:
            files.write(tmp_path / "a", b"a")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fails()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("code", sorted(durable.CANNOT_SYNC))
def test_a_file_system_that_cannot_sync_is_taken_as_it_is(tmp_path, monkeypatch, code):
    def cannot(descriptor):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(durable.os, "fsync", cannot)
    durable.write_bytes(tmp_path / "a", b"x")
    assert (tmp_path / "a").read_bytes() == b"x"


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
def test_a_disk_that_fails_at_the_last_moment_leaves_the_earlier_file(tmp_path, monkeypatch, code):
    durable.write_bytes(tmp_path / "a", b"before")

    def fails(descriptor):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(durable.os, "fsync", fails)
    with pytest.raises(OSError, match=os.strerror(code)):
        durable.write_bytes(tmp_path / "a", b"after")
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"a": b"before"}


def test_two_folders_change_places_in_one_step(tmp_path):
    for name in "ab":
        durable.write_bytes(tmp_path / name / "file", name.encode())
    if not durable.swap(tmp_path / "a", tmp_path / "b"):
        pytest.skip("this file system cannot exchange two names")
    assert [(tmp_path / name / "file").read_bytes() for name in "ab"] == [b"b", b"a"]
    assert not durable.swap(tmp_path / "a", tmp_path / "missing")


def test_only_our_own_unfinished_files_are_leftovers_and_none_behind_a_link(tmp_path):
    elsewhere, folder = tmp_path / "elsewhere", tmp_path / "corpus"
    ours = durable.hidden(folder / "in" / "a.flac")
    theirs = [folder / "in" / ".film.mkv.part", folder / "in" / "a.123.part", elsewhere / ".a.flac.7.part"]
    for path in (ours, *theirs):
        durable.write_bytes(path.with_name("x"), b"")
        path.touch()
    (folder / "linked").symlink_to(elsewhere)
    assert remove_leftovers(folder) == 1
    assert not ours.exists()
    assert all(path.exists() for path in theirs)
    assert remove_leftovers(folder / "linked") == 0


def test_a_link_laid_under_the_hidden_name_is_not_written_through(tmp_path):
    precious = tmp_path / "precious"
    precious.write_bytes(b"keep")
    durable.hidden(tmp_path / "a").symlink_to(precious)
    durable.write_bytes(tmp_path / "a", b"x")
    assert (precious.read_bytes(), (tmp_path / "a").read_bytes()) == (b"keep", b"x")


@pytest.mark.parametrize(
    ("code", "said"),
    [
        (errno.ENOSPC, "the disk is full (writing /x/page.html): the existing files are unchanged. Free some space"),
        (errno.EACCES, "not allowed (writing /x/page.html): Permission denied; the existing files are unchanged. Choose a folder"),
        (errno.EROFS, "not allowed (writing /x/page.html): Read-only file system"),
        (errno.EIO, "Input/output error (writing /x/page.html)"),
    ],
)
def test_an_error_of_the_disk_names_the_file_what_is_kept_and_what_to_do(code, said):
    assert durable.sentence(OSError(code, os.strerror(code), "/x/page.html")).startswith(said)


def test_of_a_file_that_is_written_again_only_the_leftovers_of_dead_processes_go(tmp_path):
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    elsewhere = "0" * 8
    names = [str(dead.pid), str(os.getpid()), f"{host()}-{dead.pid}-0a1b2c", f"{host()}-{os.getpid()}-0a1b2c"]
    gone = [tmp_path / f".a[1].html.{name}.part" for name in names]
    names = [str(os.getppid()), "draft", f"{host()}-{os.getppid()}-0a1b2c", f"{elsewhere}-{dead.pid}-0a1b2c"]
    stays = [tmp_path / ".b.html.1.part", *(tmp_path / f".a[1].html.{name}.part" for name in names)]
    for path in (*gone, *stays):
        path.touch()
    durable.remove_earlier(tmp_path / "a[1].html")
    assert sorted(tmp_path.iterdir()) == sorted(stays)


def test_no_two_processes_and_no_two_attempts_have_one_name():
    code = "from stemwright.manifests.disk.attempts import process_name; print(process_name())"
    others = [subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() for _ in range(2)]
    names = [process_name(), attempt_name(), attempt_name(), *others]
    assert len({*names}) == len(names)
    assert all(re.fullmatch(PROCESS, name) for name in others)
    assert durable.LEFTOVER.fullmatch(durable.hidden(Path("a.flac")).name)


def test_a_forked_process_has_a_name_of_its_own():
    before, (read, write) = process_name(), os.pipe()
    if (child := os.fork()) == 0:
        os.write(write, process_name().encode())
        os._exit(0)
    os.waitpid(child, 0)
    assert os.read(read, 100).decode() != before == process_name()


@pytest.mark.parametrize("name", [".page.html.77.part", ".page.html.0a1b2c3d-77-0a1b2c.part", "page.html"])
def test_a_hidden_name_is_not_shown(name):
    assert "(writing /x/page.html)" in durable.sentence(OSError(errno.ENOSPC, "full", f"/x/{name}"))
    inside = durable.sentence(OSError(errno.ENOSPC, "full", f"/x/.recipes.export.part/new/dataset/{name}"))
    assert "(writing /x/recipes/dataset/page.html)" in inside


def test_one_module_alone_syncs():
    root = Path(durable.__file__).resolve().parents[2]
    sources = [path for room in ("manifests", "separation", "datagen") for path in (root / room).rglob("*.py") if path.name != "durable.py"]
    found = {f"{path.relative_to(root)}: {word}" for path in sources for word in ("os.fsync",) if word in path.read_text(encoding="utf-8")}
    assert found == set()


def test_files_of_which_one_cannot_have_its_name_are_not_left_in_part(tmp_path):
    made = [(tmp_path / f"new {name}", tmp_path / name) for name in "abc"]
    for temporary, path in made:
        temporary.write_bytes(path.name.encode())
    (tmp_path / "a").write_bytes(b"before")
    durable.write_bytes(tmp_path / "c" / "in the way", b"")
    with pytest.raises(OSError, match="directory"):
        durable.put_all(made)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "c", "new c"]


@on_linux
def test_of_a_move_both_folders_are_synced_that_of_the_new_name_first(tmp_path, events):
    durable.write_bytes(tmp_path / "one" / "a", b"x")
    (tmp_path / "other").mkdir()
    events.clear()
    durable.move(tmp_path / "one" / "a", tmp_path / "other" / "b")
    assert events == [("rename", "b"), ("sync", "other"), ("sync", "one")]


@pytest.mark.parametrize("exchanges", [True, False])
def test_a_folder_takes_the_place_of_another_which_is_kept(tmp_path, monkeypatch, exchanges):
    if not exchanges:
        monkeypatch.setattr(durable, "_exchange", lambda: None)
    work, place = tmp_path / "work", tmp_path / "place"
    for number in (1, 2):
        durable.write_bytes(work / "new" / "file", b"%d" % number)
        durable.put_folder(work / "new", place, aside=work / "old")
        assert (place / "file").read_bytes() == b"%d" % number
    kept = [path for path in (work / "new", work / "old") if path.exists()]
    assert [(path / "file").read_bytes() for path in kept] == [b"1"]


@pytest.mark.parametrize("links", [True, False])
def test_a_file_that_several_write_is_that_of_the_first(tmp_path, monkeypatch, links):
    def cannot(source, target):
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    if not links:
        monkeypatch.setattr(durable.os, "link", cannot)
    found = [durable.write_first(tmp_path / "in" / "a", data) for data in (b"first", b"second")]
    assert found == [True, not links]
    assert {path.name: path.read_bytes() for path in (tmp_path / "in").iterdir()} == {"a": b"first" if links else b"second"}
