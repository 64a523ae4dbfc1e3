"""What a command says that was stopped by Ctrl-C or a termination."""

from __future__ import annotations

UNCHANGED = "stopped; what was there before is unchanged"
KEPT = "stopped; what was finished is kept, and the same command goes on from there"


class Stopped(Exception):  # noqa: N818  # no error: somebody wanted it
    """The command was stopped; the message says what is kept."""
