"""Ranges of settings that others than the effect itself keep to; looking them up loads no effect."""

from __future__ import annotations

FADER_DB = (-48.0, 24.0)  # the gain of the effect ``fader``


def within_fader(gain_db: float) -> float:
    """A gain, as far as a fader goes."""
    return min(max(gain_db, FADER_DB[0]), FADER_DB[1])
