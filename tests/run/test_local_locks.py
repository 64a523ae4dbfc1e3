"""A file system whose locks reach one machine only: what else keeps two commands from working on one corpus."""

import json
import os
from contextlib import nullcontext
from dataclasses import replace

import pytest
from commands import stemwright

from stemwright.datagen.run import configuration, corpus, shares
from stemwright.datagen.run.corpus import Corpus
from stemwright.datagen.run.runner import Stage
from stemwright.datagen.run.shares import SharesError
from stemwright.datagen.run.tasks import Share
from stemwright.manifests.disk import durable, lease
from stemwright.manifests.disk.lease import Holder, LostError, Timing
from stemwright.manifests.disk.mounts import is_shared
from stemwright.manifests.records import Track

SHORT = Timing(every_s=0.05, dead_s=0.5, poll_s=0.02)
MOUNTS = r"""22 1 0:21 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
40 22 0:45 / /data rw,relatime shared:2 - nfs4 server:/data rw,vers=4.2
41 40 0:46 / /data/local\040disk rw - xfs /dev/sdb1 rw
42 22 0:47 / /lab rw - fuse.sshfs lab:/ rw
43 22 0:48 / /lustre rw - ext4 /dev/sdc1 rw
44 22 0:49 / /lustre rw shared:3 master:4 - lustre 10.0.0.1@tcp:/scratch rw,localflock
"""


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A corpus in a folder that several machines share, whose locks reach one machine only."""
    monkeypatch.setattr(shares, "is_shared", lambda _: True)
    monkeypatch.setattr(corpus, "locked", lambda _: nullcontext())
    monkeypatch.setattr(shares, "is_held", lambda _: False)
    monkeypatch.setattr(lease, "TIMING", SHORT)
    found = Corpus(tmp_path / "corpus")
    found.create(configuration.check({}, where="the test"))
    return found


def of_another_machine(place, counter):
    holder = Holder("other-1", counter, "gpu3", 4711, "another machine", "1", {})
    text = json.dumps({each: getattr(holder, each) for each in Holder.__dataclass_fields__})
    durable.write_bytes(place.folder / shares.LEASES / shares.WHOLE, text.encode())


def test_a_second_command_is_refused_and_so_is_a_share(place):
    working = rf"another stemwright process is working on {place.folder}: process {os.getpid()} on .*; wait for it, or stop it$"
    with place.locked():
        with pytest.raises(SharesError, match=working), place.locked():
            pass
        with pytest.raises(SharesError, match=working), shares.working(place.folder, "separate", Share(0, 2), "config"):
            pass
        done = stemwright("plan", place.folder, check=False)
        assert (done.returncode, done.stderr.count("\n")) == (2, 1)
        assert f"is working on {place.folder}: process" in done.stderr
    assert not (place.folder / shares.LEASES).exists()


def test_a_command_beside_a_share_is_refused(place):
    with (
        shares.working(place.folder, "separate", Share(0, 2), "config"),
        pytest.raises(SharesError, match=r"share 0/2 of separate is at work"),
        place.locked(),
    ):
        pass
    with place.locked():
        pass
    assert not (place.folder / shares.LEASES).exists()


def test_what_a_dead_machine_left_is_taken_over_after_a_while_which_is_said(place):
    of_another_machine(place, 3)
    done = stemwright("plan", place.folder, check=False)
    assert done.stderr.startswith("stemwright: watching a lease, for up to 0.5 s: process 4711 on gpu3 may have died\n")
    assert "tracks.parquet is missing" in done.stderr
    of_another_machine(place, 3)
    with shares.working(place.folder, "separate", Share(0, 2), "config"):
        assert not (place.folder / shares.LEASES / shares.WHOLE).exists()


def test_a_command_that_was_believed_dead_does_no_further_task(place, monkeypatch):
    monkeypatch.setattr(lease, "machine", lambda: "")
    monkeypatch.setattr(lease, "TIMING", replace(SHORT, every_s=60.0))
    stage = Stage("catalog", place.folder, "tracks", Track)
    with place.locked():
        stage.check()
        lease._held.clear()
        monkeypatch.setattr(lease, "TIMING", SHORT)
        lost = r"taken over by process \d+ on .*: this process did not renew it in time, and stops"
        with shares.working_on_all(place.folder), pytest.raises(LostError, match=lost):
            stage.check()


def test_on_a_disk_of_this_machine_the_lock_is_enough(tmp_path):
    with Corpus(tmp_path).locked():
        assert not (tmp_path / shares.LEASES).exists()


@pytest.mark.parametrize(
    ("folder", "expected"),
    [
        ("/home/me", False),
        ("/data/corpus", True),
        ("/data/local disk/corpus", False),
        ("/database", False),
        ("/lab", True),
        ("/lustre/corpus", True),
    ],
)
def test_the_kind_of_a_file_system_is_that_of_the_nearest_place_that_is_mounted(tmp_path, folder, expected):
    (tmp_path / "mountinfo").write_text(MOUNTS)
    assert is_shared(folder, tmp_path / "mountinfo") is expected


def test_a_system_that_does_not_tell_has_no_shared_folders(tmp_path):
    assert not is_shared(tmp_path, tmp_path / "none")
