"""The command as a person runs it, in a process of its own, and corpora compared byte by byte."""

import os
import subprocess
import sys
from pathlib import Path

COMMAND = [sys.executable, "-c", "from stemwright.datagen.cli.app import main; main()"]
CONFIG = """
seed = 11
[pairs]
duration_s = 0.5
[pairs.mix]
per_track = 3
[pairs.removal]
per_track = 5
effects = ["eq", "compressor", "reverb", "room"]
[separation.limits]
closure_db = 60.0  # a network with random weights leaves everything, and its stems resemble one another
bleed = 1.1
"""


def stemwright(*arguments, check=True, **options):
    # Without the tests' own limit of threads: how many there are must not show in the bytes.
    environment = {name: value for name, value in os.environ.items() if not name.endswith("NUM_THREADS")} | {"COLUMNS": "200"}
    done = subprocess.run([*COMMAND, *map(str, arguments)], capture_output=True, text=True, env=environment, **options)
    if check:
        assert done.returncode == 0, f"{arguments}: {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below a folder by its path, but for the log."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file() and path.name != "stemwright.log"]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def assert_same_corpus(one: Path, other: Path) -> None:
    assert (one / "pairs.parquet").read_bytes() == (other / "pairs.parquet").read_bytes()
    first, second = contents(one / "dataset"), contents(other / "dataset")
    assert list(first) == list(second)
    assert [name for name in first if first[name] != second[name]] == []
    assert len(first) > 20
