"""A main process that is stopped while it starts its processes, or is killed, leaves none of them behind.

Processes and signals are real. Each stop comes from the start of a process itself, so that it is in that very place however busy the
machine is.
"""

import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest
from test_stopping import workers_of

pytestmark = pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")

SHARED_OUT = """
import os, signal, sys, threading, time
from joblib.externals.loky.backend.process import LokyProcess
from stemwright.datagen.run import processes

number, how = int(sys.argv[1]), sys.argv[2]
start = LokyProcess.start

def stopped_start(process):
    start(process)
    sender = threading.Thread(target=os.kill, args=(os.getpid(), number))  # another thread, so that the main one need not get it
    sender.start()
    sender.join()

def interrupt(*_):
    raise KeyboardInterrupt

def work(number):
    print("at work", flush=True)
    time.sleep(600.0)

signal.signal(signal.SIGTERM, interrupt)
if number != signal.SIGKILL:
    LokyProcess.start = stopped_start
try:
    list(processes.in_processes(work, range(8), 2)) if how == "shared" else processes._alone(work, 0)
except KeyboardInterrupt:
    sys.exit(130)
"""


def start(number, how):
    """A process that shares work out, in a process group of its own."""
    paths = os.pathsep.join([str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")])
    return subprocess.Popen(
        [sys.executable, "-c", SHARED_OUT, str(int(number)), how],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": paths},
        start_new_session=True,
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.default_int_handler),  # tests in the background inherit its being ignored
    )


def wait_until_none_is_left(group):
    until = time.monotonic() + 300.0
    while left := workers_of(group):
        assert time.monotonic() < until, left
        time.sleep(0.1)


@pytest.mark.parametrize(("number", "how"), [(signal.SIGTERM, "shared"), (signal.SIGINT, "alone")], ids=["terminated", "Ctrl-C"])
def test_a_stop_while_processes_start_ends_them(number, how):
    started = start(number, how)
    _, said = started.communicate(timeout=300)
    assert started.returncode == 130, said
    assert "Traceback" not in said
    wait_until_none_is_left(started.pid)


def test_processes_of_a_killed_process_end():
    started = start(signal.SIGKILL, "shared")
    assert started.stdout.readline() == "at work\n"
    started.kill()
    wait_until_none_is_left(started.pid)
    started.communicate()
