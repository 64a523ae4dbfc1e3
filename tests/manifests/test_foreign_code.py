"""What code of others prints and how it leaves: standard output stays ours, whatever it writes to, and the process goes on."""

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from stemwright.manifests.foreign_code import foreign_code

PRINTS = """
import ctypes, os, subprocess, sys
from stemwright.manifests.foreign_code import foreign_code
print("before")
with foreign_code():
    with foreign_code():
        print("python")
        sys.__stdout__.write("dunder\\n")
    os.write(1, b"descriptor\\n")
    ctypes.CDLL(None).printf(b"from C\\n")
    subprocess.run([sys.executable, "-c", "print('child')"])
print("after")
"""
FORKS = """
import os
from stemwright.manifests.foreign_code import foreign_code
with foreign_code():
    child = os.fork()
    if not child:
        os._exit(7)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    try:
        os._exit(0)
    except SystemExit as left:
        print("left with", left.code)
os._exit(5)
"""


def run(program):
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)


@pytest.mark.skipif(sys.platform == "win32", reason="a C library by no name")
def test_only_what_is_printed_outside_is_on_standard_output():
    done = run(PRINTS)
    assert done.stdout.splitlines() == ["before", "after"]
    assert {"python", "dunder", "descriptor", "from C", "child"} <= set(done.stderr.splitlines())


@pytest.mark.skipif(not hasattr(__import__("os"), "fork"), reason="no fork")
def test_leaving_by_os_exit_raises_but_in_a_forked_process_and_outside():
    done = run(FORKS)
    assert done.returncode == 5
    assert done.stderr.splitlines() == ["7", "left with 0"]


def test_blocks_that_overlap_in_two_threads_give_standard_output_back(capfd):
    inside, leave = threading.Event(), threading.Event()

    def other():
        with foreign_code():
            inside.set()
            leave.wait(10.0)

    thread = threading.Thread(target=other)
    with foreign_code():
        thread.start()
        inside.wait(10.0)
    leave.set()
    thread.join()
    print("ours")  # noqa: T201 - to see where it goes
    assert capfd.readouterr().out == "ours\n"


def test_a_changed_current_folder_is_put_back(tmp_path, monkeypatch):
    (tmp_path / "theirs").mkdir()
    monkeypatch.chdir(tmp_path)

    def moves_and_fails():
        with foreign_code():
            os.chdir("theirs")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        moves_and_fails()
    assert Path.cwd() == tmp_path


def test_a_process_without_standard_output_runs_as_well():
    done = run("import os\nos.close(1)\nfrom stemwright.manifests.foreign_code import foreign_code\nwith foreign_code():\n    pass\n")
    assert (done.returncode, done.stderr) == (0, "")
