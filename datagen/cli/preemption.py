"""Preemption: a batch system takes a machine away. A share drops the track under way, releases its lease and ends with exit code 0.

Slurm sends SIGTERM before it takes a node back, or a signal of one's choice before the time is over (``--signal=USR1@60``), and starts a
job again that was requeued. A share ends the same way for both, and so do a command with ``--gpus``, which ends its shares first, and one
with ``--dask``, which takes its tasks back from the workers. Ctrl-C stops them as it stops every verb.

Conventions
    The handlers are set before the command line is read, since the signal may come while modules are imported. They raise
    KeyboardInterrupt, which all cleanup expects. Only the first signal does: batch systems send several, and an interrupted cleanup
    would leave a lease behind.
"""

from __future__ import annotations

import signal
import sys
from typing import Any

SIGNALS = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGUSR1") if hasattr(signal, name))
OPTIONS = ("--share", "--gpus", "--dask")

_heard: list[int] = []  # by this process, since ``listen``


def requested() -> bool:
    """Whether the command line is one for a batch system, which may be preempted: known even if it cannot be parsed."""
    return any(word.partition("=")[0] in OPTIONS for word in sys.argv[1:])


def listen() -> None:
    """From here on, the signals of a preemption stop the program, and are remembered."""
    _heard.clear()
    for number in SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _on_signal)


def _on_signal(number: int, _: Any) -> None:
    _heard.append(number)
    if len(_heard) == 1:
        raise KeyboardInterrupt


def preempted() -> bool:
    """Whether a signal of a preemption arrived while this process runs such a command."""
    return requested() and bool(_heard)


def check() -> None:
    """Raises KeyboardInterrupt if a signal arrived, which a library may have swallowed."""
    if _heard:
        raise KeyboardInterrupt
