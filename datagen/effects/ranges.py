"""Ranges of settings that are used outside the effect itself; looking them up loads no effect."""

from __future__ import annotations

# How far a fitted setting may be from the true one and still count as right (``setting(tolerance=...)``). All are ours, from no listening
# test: levels 0.5 dB, gains of bands 1 dB, thresholds and the level of a room 1 dB, pan 0.05, a tenth of a frequency and of an RT60, a
# twentieth of a factor between 0 and 1, 0.03 of 1/ratio (4:1 is distinguished from 3.6:1 and 4.5:1), times within a quarter.
DB_TOLERANCE = 0.5
TIME_TOLERANCE = 0.25
FADER_DB = (-48.0, 24.0)  # the gain of the effect ``fader``


def within_fader(gain_db: float) -> float:
    """A gain, limited to the range of the fader."""
    return min(max(gain_db, FADER_DB[0]), FADER_DB[1])
