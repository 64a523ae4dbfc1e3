"""What holds for every verb at a terminal."""

import contextlib
import signal

import pytest

from datagen.verbs.terminal import Terminal


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


def test_a_job_in_the_background_goes_on_ignoring_ctrl_c(heeded):
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with pytest.raises(AssertionError, match="went on"):
        stage(2)
