"""The message of a command that was stopped by Ctrl-C or SIGTERM."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

UNCHANGED = "stopped; the existing files are unchanged"
KEPT = "stopped; finished work is kept, and the same command resumes it"


class Stopped(Exception):  # noqa: N818  # not an error: the user stopped it
    """The command was stopped; the message says what is kept."""


@contextmanager
def resumable() -> Iterator[None]:
    """Work whose finished parts are kept: stopping it says so."""
    try:
        yield
    except KeyboardInterrupt:
        raise Stopped(KEPT) from None
