"""What was asked for cannot be done as it was asked: the error that leaves the command line with 2."""

from __future__ import annotations


class UsageError(ValueError):
    """A command, a configuration or a text that cannot be followed; the message says what to ask for instead."""
