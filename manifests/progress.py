"""Progress of long work: the one form in which it is reported.

Conventions
    ``done`` of ``total`` items are finished; a partly finished item counts as a fraction, so ``done`` may be 2.4.
    ``audio`` is the same in seconds of audio, where the length of everything is known before it is done: from it follow a rate as a
    multiple of real time, and an estimate of the time that is left which is right for songs of unequal lengths, too.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol


class AudioDone(NamedTuple):
    """How many seconds of audio are processed, and of how many."""

    done_s: float
    total_s: float


class OnProgress(Protocol):
    """The callback that reports progress: how much is done, and the latest item."""

    def __call__(self, done: float, total: int, subject: str, audio: AudioDone | None = None, /) -> None:
        """Reports ``done`` of ``total``, and what it is about (a file's name; may be empty)."""
