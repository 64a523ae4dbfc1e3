"""Code of others that runs in this process: models, separators. What it prints and how it leaves must not be taken for our result.

    with foreign_code():  stems = model(mixture, sample_rate)

Conventions
    Within the block standard output is standard error, for Python and for what writes to descriptor 1: C code, subprocesses, ``os.write``.
    ``os._exit``, which would end the process without a word and with any code, raises SystemExit there; a process that the code
    has forked still leaves by it. A current folder that it changed is put back at the end of the block.
    Blocks may be nested, and overlap in several threads: the last one that ends puts standard output back.
"""

from __future__ import annotations

import ctypes
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NoReturn

OUT, ERR = 1, 2
_really_exit = os._exit


class _Diverted:
    """Standard output of the process, diverted while at least one block is open.

    ``stream`` is Python's standard output as it was before, ``saved`` a copy of its descriptor, ``process`` the id of this process.
    """

    def __init__(self) -> None:
        self.lock, self.blocks, self.saved, self.process = threading.Lock(), 0, -1, 0
        self.stream = sys.stdout

    def begin(self) -> None:
        with self.lock:
            self.blocks += 1
            if self.blocks == 1:
                self.process = os.getpid()
                _flush()
                with suppress(OSError):  # a process without standard output or standard error has nothing to divert
                    self.saved = os.dup(OUT)
                    os.dup2(ERR, OUT)
                self.stream, sys.stdout = sys.stdout, sys.stderr
                os._exit = _leave

    def end(self) -> None:
        with self.lock:
            self.blocks -= 1
            if self.blocks == 0:
                os._exit = _really_exit
                _flush()
                sys.stdout = self.stream
                if self.saved >= 0:
                    os.dup2(self.saved, OUT)
                    os.close(self.saved)
                    self.saved = -1


_diverted = _Diverted()


@contextmanager
def foreign_code() -> Iterator[None]:
    """What is printed within goes to standard error, ``os._exit`` raises SystemExit, and the current folder stays what it was.

    >>> import os
    >>> from stemwright.manifests.foreign_code import foreign_code
    >>> try:
    ...     with foreign_code():
    ...         os._exit(0)
    ... except SystemExit as left:
    ...     print("left with", left.code)
    left with 0
    """
    folder = _current_folder()
    _diverted.begin()
    try:
        yield
    finally:
        _diverted.end()
        if folder is not None and _current_folder() != folder:
            os.chdir(folder)


def _current_folder() -> Path | None:
    try:
        return Path.cwd()
    except OSError:
        return None


def _leave(status: Any) -> NoReturn:
    if os.getpid() != _diverted.process:
        _really_exit(status)
    raise SystemExit(status)


def _flush() -> None:
    """Writes what Python and C still have in memory to where it was meant to go."""
    for stream in (sys.stdout, sys.__stdout__):
        with suppress(OSError, ValueError, AttributeError):  # closed, or None
            stream.flush()  # type: ignore[union-attr]
    with suppress(OSError, AttributeError, TypeError):  # a system without a C library by that name
        ctypes.CDLL(None).fflush(None)
