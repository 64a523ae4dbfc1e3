"""Makes untrusted text safe to show: file names, tags, cells and reasons.

Conventions
    Control characters (C0, DEL and C1, among them ESC and line ends) could steer the terminal or forge a line, marks of direction could
    turn a name around, and a lone surrogate (a name that is not UTF-8) cannot be printed: each is shown as its escape, such as ``\\x1b``.
    An overlong text is shortened in the middle, visibly.

References
    Unicode Standard Annex 9 (marks of direction); Boucher and Anderson, Trojan Source (2021).
"""

from __future__ import annotations

import re
from collections.abc import Callable

LONGEST = 1000  # characters; the longest message that is written on purpose has some 700
ENDS = (500, 300)  # what is kept of a longer one, at its start and at its end
_STEERS = re.compile(
    "[\x00-\x1f\x7f-\x9f"  # C0, DEL and C1
    "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"  # marks of direction
    "\u2028\u2029\ufeff\ufff9-\ufffb"  # line and paragraph ends, byte order, interlinear
    "\ud800-\udfff\U000e0000-\U000e007f]"  # lone surrogates, invisible tags
)


def visible(text: str, *, escape: Callable[[str], str] | None = None, longest: int | None = LONGEST) -> str:
    """The text as one line in which nothing steers a terminal, cut in the middle where it is longer than ``longest`` characters."""
    if longest is not None and len(text) > longest:
        start, end = ENDS
        text = f"{text[:start]} [... {len(text) - start - end:,} characters left out ...] {text[-end:]}"
    return _STEERS.sub(lambda found: (escape or _escape)(found[0]), text)


def _escape(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")
