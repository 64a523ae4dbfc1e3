"""Leases with short times: who may hold one, when it is taken over, and what becomes of a holder that was believed dead."""

import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from stemwright.manifests.disk import durable, lease
from stemwright.manifests.disk.lease import HeldError, Holder, Lease, LostError, Timing, read, watch

SHORT = Timing(every_s=0.05, dead_s=0.6, poll_s=0.02)
PATIENT = replace(SHORT, dead_s=300.0)  # where a holder is not to be believed dead however busy the machine is
HOLDS = """
import sys, time
from pathlib import Path
from stemwright.manifests.disk.lease import Lease, Timing
with Lease(Path(sys.argv[1]), Timing(every_s=0.05)):
    print("held", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def path(tmp_path):
    return tmp_path / "lease" / "0of2"


@pytest.fixture
def elsewhere(monkeypatch):
    """No process can be looked for: each seems to run on another machine, as far as its lease says."""
    monkeypatch.setattr(lease, "machine", lambda: "")


def other_machine(path: Path, counter: int) -> None:
    """Writes a lease as a process of another machine does."""
    holder = Holder("other-1", counter, "gpu3", 4711, "another machine", "1", {"done": counter})
    path.parent.mkdir(exist_ok=True)
    durable.write_bytes(path, lease.json.dumps({name: getattr(holder, name) for name in Holder.__dataclass_fields__}).encode())


def test_a_lease_is_held_once_and_free_at_the_end(path):
    with Lease(path, SHORT) as first:
        first.describe(done=3)
        with pytest.raises(
            HeldError, match=rf"process {os.getpid()} on .* \(its lease was renewed \d+ s ago\) holds .*0of2; wait for it, or stop it"
        ):
            Lease(path, SHORT).__enter__()
        until = time.monotonic() + 300.0
        while read(path).counter <= 1 and time.monotonic() < until:
            time.sleep(SHORT.every_s)
        assert read(path).counter > 1
        assert read(path).work == {"done": 3}
    assert read(path) is None
    with Lease(path, SHORT):
        pass


def test_a_lease_that_is_just_being_taken_is_not_believed_dead(path, monkeypatch):
    create, tried = Lease._create, []

    def created(mine):
        made = create(mine)
        if made and not tried:  # another thread looks before the first one is through
            tried.append(mine)
            with pytest.raises(HeldError):
                Lease(path, SHORT).__enter__()
        return made

    monkeypatch.setattr(Lease, "_create", created)
    with Lease(path, SHORT):
        assert tried


def test_of_many_that_want_one_lease_at_once_one_gets_it(path):
    got, refused, together = [], [], threading.Barrier(8)

    def want():
        mine = Lease(path, SHORT)
        together.wait()
        try:
            got.append(mine.__enter__())
        except HeldError:
            refused.append(mine)

    threads = [threading.Thread(target=want) for _ in range(8)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert (len(got), len(refused)) == (1, 7)
    got[0].__exit__(None, None, None)


def test_the_lease_of_a_process_of_this_machine_that_was_killed_is_taken_over_at_once(path):
    if not lease.machine():
        pytest.skip("this system does not say which processes can be seen")
    holder = subprocess.Popen([sys.executable, "-c", HOLDS, path], stdout=subprocess.PIPE, text=True)
    assert holder.stdout.readline() == "held\n"
    with pytest.raises(HeldError):
        Lease(path).__enter__()
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    assert watch([path]) == ({}, {path: read(path)})
    with Lease(path):
        assert read(path).process == os.getpid()


def test_the_number_of_a_killed_process_that_another_has_now_is_no_holder(path, monkeypatch):
    with Lease(path, SHORT):
        holder = read(path)
    monkeypatch.setattr(lease, "_held", set())
    assert not replace(holder, process=os.getppid(), started=lease._started(os.getppid())).is_gone()
    assert replace(holder, process=os.getppid(), started="7").is_gone()


def test_a_lease_of_another_machine_is_taken_over_once_it_has_not_moved_for_long(path):
    other_machine(path, 5)
    began = time.monotonic()
    with Lease(path, SHORT) as mine:
        mine.check()
        assert read(path).process == os.getpid()
    assert time.monotonic() - began > SHORT.dead_s


def test_a_lease_of_another_machine_that_moves_is_not_taken_over(path):
    other_machine(path, 5)
    moving = threading.Timer(SHORT.dead_s / 3, other_machine, (path, 6))
    moving.start()
    with pytest.raises(HeldError, match=r"process 4711 on gpu3 \(its lease was renewed \d+ s ago\)"):
        Lease(path, PATIENT).__enter__()
    moving.join()
    assert read(path).counter == 6


def test_clocks_and_times_of_files_do_not_matter(path):
    other_machine(path, 5)
    os.utime(path, (0, 0))  # an hour of another age
    moving = threading.Timer(SHORT.dead_s / 3, lambda: (other_machine(path, 6), os.utime(path, (0, 0))))
    moving.start()
    assert set(watch([path], PATIENT)[0]) == {path}
    moving.join()


def test_a_holder_that_was_stopped_for_long_finds_its_lease_taken_over_and_stops(path, elsewhere):
    zombie = Lease(path, replace(SHORT, every_s=60.0))  # its thread does not get to renew
    zombie.__enter__()
    lease._held.clear()
    with Lease(path, SHORT) as successor:
        with pytest.raises(
            LostError, match=rf"taken over by process {os.getpid()} on .*: this process did not renew it in time, and stops"
        ):
            zombie.check()
        with pytest.raises(LostError):
            zombie.renew()
        zombie.__exit__(None, None, None)
        successor.check()
        assert read(path).owner == successor._state.owner


def test_a_taker_that_slept_does_not_take_the_successors_lease(path):
    other_machine(path, 5)
    seen = read(path)
    other_machine(path, 9)  # somebody else was faster
    with pytest.raises(HeldError):
        lease.take_away(path, seen)
    assert read(path).counter == 9
    assert [each.name for each in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize("text", [b"", b"{", b'{"owner": 1}', b"null"])
def test_a_lease_that_was_cut_off_is_watched_and_taken_over(path, text):
    path.parent.mkdir()
    path.write_bytes(text)
    with Lease(path, SHORT):
        assert read(path).process == os.getpid()


def test_a_full_disk_ends_no_holder_as_long_as_no_other_takes_its_lease(path, monkeypatch):
    with Lease(path, replace(SHORT, every_s=60.0)) as mine:
        monkeypatch.setattr(durable, "write_bytes", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
        mine.describe(done=1)
        time.sleep(SHORT.dead_s / 2)
        with pytest.raises(OSError, match="No space"):
            mine.check()
    assert read(path) is None
