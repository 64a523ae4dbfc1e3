"""One process at a time: what holds, what happens where a file system supports no locks, and that the two kinds of lock are not mixed."""

import errno
import fcntl
import os
import signal
import stat
import subprocess
import sys

import pytest

from stemwright.datagen.run.corpus import Corpus, CorpusError
from stemwright.manifests.disk import locks
from stemwright.manifests.disk.locks import LockedError, NoLocksError, locked

HOLD = """
import sys, time
from pathlib import Path
from stemwright.manifests.disk.locks import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def no_flock(monkeypatch):
    """Makes flock fail with an error number."""

    def failing(number):
        def fail(*_):
            raise OSError(number, os.strerror(number))

        monkeypatch.setattr(fcntl, "flock", fail)

    return failing


def holder(path, **environment):
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)], stdout=subprocess.PIPE, text=True, env={**os.environ, **environment}
    )
    assert process.stdout.readline() == "held\n"
    return process


@pytest.mark.parametrize("kind", ["", "soft"])
def test_a_second_process_is_refused_until_the_first_is_killed(tmp_path, monkeypatch, kind):
    path = tmp_path / ".lock"
    monkeypatch.setenv(locks.LOCKS_VARIABLE, kind)
    process = holder(path)
    try:
        with pytest.raises(LockedError, match="another process holds the lock"), locked(path):
            pass
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    if kind == "soft":
        (tmp_path / ".lock.soft").unlink(missing_ok=True)  # as the message says
    with locked(path):
        assert path.exists()


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS])
def test_without_locks_the_path_and_two_ways_out_are_named(tmp_path, no_flock, number, recwarn):
    no_flock(number)
    with pytest.raises(NoLocksError) as caught, locked(tmp_path / ".lock"):
        pass
    for part in (str(tmp_path / ".lock"), os.strerror(number), "another file system", f"{locks.LOCKS_VARIABLE}=soft"):
        assert part in str(caught.value)
    assert not recwarn.list
    with pytest.raises(CorpusError, match="supports no locks"), Corpus(tmp_path / "corpus").locked():
        pass


def test_soft_locks_are_used_on_request_and_exclude_one_another(tmp_path, no_flock, monkeypatch):
    no_flock(errno.ENOLCK)
    monkeypatch.setenv(locks.LOCKS_VARIABLE, "soft")
    path = tmp_path / ".lock"
    with locked(path):
        assert (tmp_path / ".lock.soft").exists()
        with pytest.raises(LockedError, match=r"delete .*\.lock\.soft"), locked(path):
            pass
    assert not (tmp_path / ".lock.soft").exists()
    with locked(path):
        pass


def test_a_process_with_locks_respects_a_soft_lock(tmp_path, monkeypatch):
    path = tmp_path / ".lock"
    (tmp_path / ".lock.soft").write_text("held on a machine without locks")
    with pytest.raises(LockedError, match=r"delete .*\.lock\.soft"), locked(path):
        pass
    with pytest.raises(CorpusError, match=r"another stemwright process is working on .*delete .*\.lock\.soft"), Corpus(tmp_path).locked():
        pass
    (tmp_path / ".lock.soft").unlink()
    with locked(path):  # the refusal let go of it
        pass


def test_a_process_that_requests_soft_locks_where_locks_exist_holds_both(tmp_path):
    path = tmp_path / ".lock"
    process = holder(path, **{locks.LOCKS_VARIABLE: "soft"})
    try:
        with pytest.raises(LockedError), locked(path):
            pass
    finally:
        process.kill()
        process.wait()


def test_another_value_of_the_variable_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv(locks.LOCKS_VARIABLE, "hard")
    with pytest.raises(ValueError, match="expected 'soft'"), locked(tmp_path / ".lock"):
        pass


def test_waiting_takes_the_lock_when_it_is_let_go(tmp_path):
    path = tmp_path / ".lock"
    process = holder(path)
    process.kill()
    with locked(path, wait=True):
        assert process.wait() == -signal.SIGKILL  # and it did not end by itself


@pytest.mark.parametrize("mode", [0o755, 0o775])
def test_a_user_who_may_write_to_the_folder_may_take_the_lock_and_no_other_user(tmp_path, mode):
    tmp_path.chmod(mode)
    with locked(tmp_path / ".lock"):
        assert stat.S_IMODE((tmp_path / ".lock").stat().st_mode) == mode & 0o666
