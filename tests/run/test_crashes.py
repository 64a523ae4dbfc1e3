"""A death at any moment, by SIGKILL or by a power cut, costs no more than the work of that moment: the same command goes on from there."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="the deaths are those of forks")


def campaign(folder: Path, *options: str) -> dict:
    """The results of a campaign of kills (``crashing.py``), run in a process of its own."""
    command = [sys.executable, str(Path(__file__).parents[1] / "crashing.py"), str(folder), *options]
    paths = os.pathsep.join([str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": paths})
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout)


def test_some_deaths_change_no_byte_of_the_end(tmp_path):
    found = campaign(tmp_path, "--points", "6", "--kills", "3", "--only", "more songs|pack webdataset|export tables")
    assert found["faults"] == []
    assert (found["points"], found["kills"]) == (6, 3)


@pytest.mark.slow
def test_170_crash_points_and_100_kills_change_no_byte_of_the_end(tmp_path):
    found = campaign(tmp_path, "--points", "196", "--kills", "112")
    assert found["faults"] == []
    assert found["points"] >= 170
    assert found["kills"] >= 100
