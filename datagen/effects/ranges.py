"""Ranges of settings that are used outside the effect itself; looking them up loads no effect."""

from __future__ import annotations

# How far a fitted setting may be from the true one and still count as right (``setting(tolerance=...)``): about the just noticeable
# difference where there is a source. Levels: 0.5 dB (Zwicker and Fastl, Psychoacoustics, ch. 7: about 0.3 to 1 dB). Pan: 0.05 of 30
# degrees on either side (Mills 1958: one degree). Gains of bands: 1 dB (Toole and Olive 1988, wide resonances). RT60 and the level of a
# room: twice the 5 % and the 1 dB of ISO 3382-1, annex A. All others are chosen: a tenth of a frequency, a twentieth of a factor between 0
# and 1, 0.03 of 1/ratio (4:1 is distinguished from 3.6:1 and 4.5:1), and times within a quarter, as ``benchmarks/fit.py`` requires of
# compressors.
DB_TOLERANCE = 0.5
TIME_TOLERANCE = 0.25
FADER_DB = (-48.0, 24.0)  # the gain of the effect ``fader``


def within_fader(gain_db: float) -> float:
    """A gain, limited to the range of the fader."""
    return min(max(gain_db, FADER_DB[0]), FADER_DB[1])
