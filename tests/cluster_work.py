"""What the workers of a cluster do in tests: a separator without networks, and tasks that wait, die or differ.

Conventions
    A worker is another process: what it does is named here as ``cluster_work:split``, and what a test wants of it is in files.
    The environment variable CLUSTER_WORK names a folder; ``die-N`` in it (any text) makes the N-th call in any worker end its process.
"""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

GAINS = MappingProxyType({"drums": 0.3, "bass": 0.25, "other": 0.2, "vocals": 0.15})


class Split:
    """A separator: each stem is a share of the mixture, delayed by so many samples. ``loads`` counts how often this process made one."""

    stem_names = tuple(GAINS)
    version = "1"

    def __init__(self, device: str = "auto") -> None:
        self.device = "cpu" if device == "auto" else device
        note(f"load-{os.getpid()}")

    def __call__(self, mixture: np.ndarray, sample_rate: int) -> dict[str, np.ndarray]:
        del sample_rate
        folder = os.environ.get("CLUSTER_WORK")
        if folder and (deaths := sorted(Path(folder).glob("die-*"))):
            deaths[0].unlink(missing_ok=True)
            os.kill(os.getpid(), signal.SIGKILL)
        if folder and (Path(folder) / "slow").exists():
            time.sleep(float((Path(folder) / "slow").read_text()))
        note(f"call-{os.getpid()}")
        return {name: np.roll(mixture, number, axis=1) * np.float32(gain) for number, (name, gain) in enumerate(GAINS.items())}


def note(line: str) -> None:
    """Adds a line to what workers did."""
    if folder := os.environ.get("CLUSTER_WORK"):
        with (Path(folder) / "log").open("a") as log:
            log.write(f"{line}\n")


def wait_for(condition: Any, limit_s: float = 300.0) -> None:
    """Returns when a condition holds. Raises AssertionError if it never does."""
    until = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < until, "what was waited for did not happen"
        time.sleep(0.05)
