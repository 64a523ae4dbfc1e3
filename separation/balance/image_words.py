"""A stem's place, width and playing time as text: values where they are known well, intervals where they are not.

Conventions
    An interval wider than ``WIDE`` is shown instead of the value, with a dash between its ends.
"""

from __future__ import annotations

from stemwright.separation.balance.measure import StemBalance
from stemwright.separation.balance.panorama import in_words

DASH = "\u2013"
WIDE = 0.1  # of an interval of pan, width or a share


def image_in_words(stem: StemBalance) -> tuple[str, str, str]:
    """Pan, width and the share of the time in which a stem plays: each as its interval, where that is wide, else as a value."""
    pan, width = in_words(stem.pan), "-" if stem.width is None else f"{stem.width:.2f}"
    if stem.pan_low is not None and stem.pan_high is not None and stem.pan_high - stem.pan_low > WIDE:
        pan = between_in_words(stem.pan_low, stem.pan_high)
    if stem.width_low is not None and stem.width_high is not None and stem.width_high - stem.width_low > WIDE:
        width = f"{stem.width_low:.1f}{DASH}{stem.width_high:.1f}"
    wide = stem.active_high - stem.active_low > WIDE
    plays = f"{100 * stem.active_low:.0f}{DASH}{stem.active_high:.0%}" if wide else f"{stem.active_fraction:.0%}"
    return pan, width, plays


def between_in_words(low: float, high: float) -> str:
    """An interval of pan in readable form: "0.2 L" to "0.5 R" with a dash between; one side where both ends are on it."""
    sides = ["L" if end < 0 else "R" for end in (low, high)]
    ends = [f"{abs(end):.1f}" for end in (low, high)]
    if sides[0] != sides[1] and "0.0" in ends:  # it ends in the centre, almost
        sides = [sides[ends.index("0.0") ^ 1]] * 2
    first = ends[0] if sides[0] == sides[1] else f"{ends[0]} {sides[0]}"
    return f"{first}{DASH}{ends[1]} {sides[1]}"
