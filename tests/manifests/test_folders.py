"""Our own folders outside a corpus: the cache, and the private temporary folder in its place."""

import os
import stat
from pathlib import Path

import pytest

from stemwright.manifests.disk import folders

pytestmark = pytest.mark.skipif(os.name == "nt", reason="modes and owners as POSIX has them")


@pytest.fixture
def shared(tmp_path, monkeypatch):
    """The system's temporary folder: everybody's, with the sticky bit."""
    place = tmp_path / "tmp"
    place.mkdir()
    place.chmod(0o1777)
    monkeypatch.setattr(folders.tempfile, "gettempdir", lambda: str(place))
    folders.private_folder.cache_clear()
    yield place
    folders.private_folder.cache_clear()


def usual(shared: Path) -> Path:
    return shared / f"stemwright-{os.geteuid()}"


def test_the_private_folder_is_this_users_alone_and_the_same_in_every_process(shared):
    first = folders.private_folder()
    folders.private_folder.cache_clear()
    assert folders.private_folder() == first == usual(shared)
    assert stat.S_IMODE(first.stat().st_mode) == 0o700


def link_to_a_folder(shared):
    (shared / "elsewhere").mkdir(mode=0o700)
    usual(shared).symlink_to(shared / "elsewhere")


def link_to_nothing(shared):
    usual(shared).symlink_to(shared / "nothing")


def others_can_write(shared):
    usual(shared).mkdir()
    usual(shared).chmod(0o777)


def a_file(shared):
    usual(shared).write_bytes(b"")


def somebody_elses(shared):
    usual(shared).mkdir(mode=0o700)
    os.chown(usual(shared), 12345, 12345)


@pytest.mark.parametrize("planted", [link_to_a_folder, link_to_nothing, others_can_write, a_file, somebody_elses])
def test_what_another_user_may_have_put_in_its_place_is_not_used(shared, planted):
    if planted is somebody_elses and os.geteuid() != 0:
        pytest.skip("only root can give a folder away")
    planted(shared)
    before = {path for path in shared.rglob("*") if path != usual(shared)}
    found = folders.private_folder()
    assert found is not None
    assert found != usual(shared)
    assert not found.is_symlink()
    assert (stat.S_IMODE(found.stat().st_mode), found.stat().st_uid) == (0o700, os.geteuid())
    assert {path for path in shared.rglob("*") if path not in (found, usual(shared))} == before, (
        "something was written through what was planted"
    )


def test_a_folder_whose_entries_anybody_may_rename_gives_a_new_one_each_time(shared):
    shared.chmod(0o777)
    found = folders.private_folder()
    assert found is not None
    assert found != usual(shared)


def test_without_a_temporary_folder_there_is_no_private_one(shared, monkeypatch):
    def none(*_, **__):
        raise FileNotFoundError("no usable temporary directory")

    monkeypatch.setattr(folders.tempfile, "gettempdir", none)
    assert folders.private_folder() is None


@pytest.mark.parametrize("home", ["a file", "unset"])
def test_without_a_home_to_write_to_the_cache_is_the_private_folder(shared, tmp_path, monkeypatch, home):
    (tmp_path / "home").write_bytes(b"")  # no user, root included, can make a folder below a file
    for variable in ("XDG_CACHE_HOME", folders.CACHE_VARIABLE):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    if home == "unset":
        monkeypatch.delenv("HOME")
        monkeypatch.setattr(folders.Path, "home", lambda: (_ for _ in ()).throw(RuntimeError("Could not determine home directory.")))
        monkeypatch.setattr(folders, "can_write", lambda folder: folder.is_relative_to(shared))
    assert folders.cache_folder() == usual(shared)


def test_a_cache_that_was_named_is_the_one_used(shared, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    monkeypatch.delenv(folders.CACHE_VARIABLE, raising=False)
    assert folders.cache_folder() == tmp_path / "xdg" / "stemwright"
    monkeypatch.setenv("XDG_CACHE_HOME", "not/absolute")  # which the XDG specification says to ignore
    monkeypatch.setenv("HOME", str(tmp_path))
    assert folders.cache_folder() == tmp_path / ".cache" / "stemwright"
    monkeypatch.setenv(folders.CACHE_VARIABLE, str(tmp_path / "named"))
    assert folders.cache_folder() == tmp_path / "named"
