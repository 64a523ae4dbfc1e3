"""What a command says that was stopped by Ctrl-C or a termination."""

from __future__ import annotations

UNCHANGED = "stopped; the existing files are unchanged"
KEPT = "stopped; finished work is kept, and the same command resumes it"


class Stopped(Exception):  # noqa: N818  # no error: somebody wanted it
    """The command was stopped; the message says what is kept."""
