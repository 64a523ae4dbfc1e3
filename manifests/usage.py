"""A request that cannot be fulfilled as stated: the error with which the command line exits with 2."""

from __future__ import annotations


class UsageError(ValueError):
    """A command, a configuration or a text that cannot be followed; the message says what to change."""
