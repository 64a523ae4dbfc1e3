"""Silences C libraries that write to the standard error stream: libmpg123, inside libsndfile, offers no other way.

On a damaged MP3 it prints "Note: Trying to resync..." without the file's name, into the middle of progress and of ``--json``'s standard
error.

Conventions
    What is exchanged is C's ``FILE *stderr``, not the file descriptor: what Python writes, in any thread, is shown as always, and a crash
    is reported. What other C libraries write meanwhile through ``stderr`` is not shown. Files may be read by several threads at once.
    Only glibc and macOS have a ``stderr`` that can be exchanged (ISO C leaves it open); elsewhere nothing is silenced.
"""

from __future__ import annotations

import ctypes
import os
import platform
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

_LOCK = threading.Lock()
_held: list[int] = []  # one entry for each thread that is reading: C's own stream, as it was


@contextmanager
def c_stderr() -> Iterator[None]:
    """Silences what C libraries write to their standard error stream."""
    found = _streams()
    if found is None:
        yield
        return
    stderr, nothing = found
    with _LOCK:
        _held.append(_held[0] if _held else stderr.value)
        stderr.value = nothing
    try:
        yield
    finally:
        with _LOCK:
            before = _held.pop()
            if not _held:
                stderr.value = before


@cache
def _streams() -> tuple[Any, int] | None:
    """The variable that holds C's standard error stream, and a stream that leads nowhere."""
    name = {"darwin": "__stderrp", "linux": "stderr"}.get(sys.platform)
    if name is None or (sys.platform == "linux" and platform.libc_ver()[0] != "glibc"):
        return None
    try:
        library = ctypes.CDLL(None)
        library.fopen.restype = ctypes.c_void_p
        nothing = library.fopen(os.fsencode(os.devnull), b"w")
        stderr = ctypes.c_void_p.in_dll(library, name)
    except (OSError, AttributeError, ValueError):
        return None
    return (stderr, nothing) if nothing and stderr.value else None
