"""What holds for every verb at a terminal."""

import contextlib
import signal
import subprocess
import sys

import pytest

from stemwright.datagen.cli.terminal import STOPPING, Terminal, handle_termination


def swallowed_ctrl_c():
    """As within a library that tries an import and takes any failure for its absence."""
    with contextlib.suppress(BaseException):
        signal.raise_signal(signal.SIGINT)


def stage(steps):
    with Terminal(as_json=True).progress("stage") as report:
        report(0, steps, "first")
        swallowed_ctrl_c()
        for step in range(1, steps):
            report(step, steps, "another")
            raise AssertionError("went on")


@pytest.fixture
def heeded():
    """Ctrl-C as in a terminal, however the tests themselves were started."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("steps", [2, 1], ids=["in the middle", "in the last step"])
def test_ctrl_c_that_a_library_swallowed_ends_the_stage(steps, heeded):
    with pytest.raises(KeyboardInterrupt):
        stage(steps)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_job_in_the_background_still_ignores_ctrl_c(heeded):
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with pytest.raises(AssertionError, match="went on"):
        stage(2)


def test_termination_stops_as_ctrl_c_does_unless_it_is_ignored():
    before = {number: signal.getsignal(number) for number in STOPPING}
    try:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as by nohup
        handle_termination()
        with pytest.raises(KeyboardInterrupt), Terminal(as_json=True).progress("stage"):
            signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGHUP)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def test_a_verb_that_is_stopped_says_in_one_line_what_is_kept():
    program = """
import signal
from stemwright.datagen.cli import app as cli

@cli.app.command()
def waits():
    print("ready", flush=True)
    signal.pause()

cli.main()
"""
    process = subprocess.Popen([sys.executable, "-c", program, "waits"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=300)
    assert (process.returncode, said) == (130, "stemwright: stopped; the existing files are unchanged\n")
