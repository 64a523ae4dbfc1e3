"""Names and titles in pictures: short enough, distinguished, without control characters, in letters that a font on this machine has.

Conventions
    Long texts lose their middle, for an ellipsis. Characters that no font has become a square; the terminal's table shows them.
    Nothing here is read as mathematical notation: a dollar sign is one.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

ELLIPSIS = "\u2026"
BOX = "\u25a1"
OUR_FONT = "DejaVu Sans"  # comes with matplotlib
NO_TEXT_FONTS = ("cm", "STIX", "Last Resort", "DejaVu Math", "DejaVu Sans Display", "DejaVu Serif Display")
JOINERS = {0x200C, 0x200D, 0xFE0E, 0xFE0F}  # change how their neighbours look; have no glyph of their own


def shortened(text: str, limit: int, *, keep: int | None = None) -> str:
    """A text of at most ``limit`` characters, without its middle where it is longer; ``keep`` characters of its head stay, or half.

    >>> from stemwright.datagen.report.lettering import shortened
    >>> shortened("MadeUp_Band_RAW_Guitar_01", 12)
    'MadeUp…ar_01'
    """
    if len(text) <= limit:
        return text
    head = (limit // 2) if keep is None else keep
    tail = limit - 1 - head
    return text[:head].rstrip() + ELLIPSIS + (text[-tail:].lstrip() if tail else "")


def signed(value: float, digits: int = 1) -> str:
    """A number with a minus sign as long as a plus; without one where it rounds to zero."""
    text = f"{value:.{digits}f}"
    return (text.lstrip("-") if not float(text) else text).replace("-", "\u2212")


def short_names(names: Sequence[str], limit: int) -> dict[str, str]:
    """Every name with what is drawn for it, of at most ``limit`` characters, no two alike.

    The cut is where it leaves all names different; where there is no such place, those that look alike are numbered.
    """
    plain = {name: " ".join(_drawable(name).split()) or BOX for name in dict.fromkeys(names)}
    places = sorted(range(1, limit - 1), key=lambda head: abs(head - limit // 2))
    for keep in places:
        found = {name: shortened(text, limit, keep=keep) for name, text in plain.items()}
        if len(set(found.values())) == len(found):
            return found
    return _numbered({name: _where_different(text, list(plain.values()), limit) for name, text in plain.items()}, limit)


def _where_different(text: str, others: Sequence[str], limit: int) -> str:
    """A text cut so that what tells it from those that look alike at its ends is in it."""
    alike = [other for other in others if other != text and shortened(other, limit) == shortened(text, limit)]
    if not alike:
        return shortened(text, limit)
    same = max(next((at for at, (one, its) in enumerate(zip(text, other, strict=False)) if one != its), 0) for other in alike)
    head, room = limit // 3, limit - limit // 3 - 2
    start = max(head, min(same - room // 3, len(text) - room))
    return text[:head] + ELLIPSIS + text[start : start + room] + (ELLIPSIS if start + room < len(text) else "")


def _numbered(found: dict[str, str], limit: int) -> dict[str, str]:
    """The texts, with numbers after those that are alike."""
    seen: dict[str, int] = {}
    numbered = {}
    for name, text in found.items():
        seen[text] = seen.get(text, 0) + 1
        numbered[name] = f"{shortened(text, limit - 4)} #{seen[text]}" if list(found.values()).count(text) > 1 else text
    return numbered


def families(texts: Sequence[str]) -> list[str]:
    """The fonts to draw texts with: matplotlib's own, and those of this machine that have characters which it lacks."""
    return [OUR_FONT, *_others(frozenset(character for text in texts for character in _visible(text) if character not in _glyphs()))]


def drawable(text: str) -> str:
    """A text in one line, without characters that no font of this machine has."""
    return " ".join(_drawable(text).split())


def _drawable(text: str) -> str:
    missing = {character for character in _visible(text) if character not in _glyphs()}
    if missing:
        known = set().union(*(_characters(path) for path in _paths(frozenset(missing)).values()))
        missing -= known
    return "".join(BOX if character in missing else character for character in _visible(text))


def _visible(text: str) -> str:
    """A text without control characters and joiners, its line breaks as spaces."""
    spaced = "".join(" " if character.isspace() else character for character in text)
    return "".join(c for c in spaced if unicodedata.category(c) not in ("Cc", "Cf", "Cs") and ord(c) not in JOINERS)


@lru_cache
def _glyphs() -> frozenset[str]:
    from matplotlib import font_manager

    return _characters(font_manager.findfont(OUR_FONT))


@lru_cache(maxsize=4096)
def _characters(path: str) -> frozenset[str]:
    """All characters that a font file has; none for one that cannot be read."""
    from matplotlib import font_manager

    try:
        font: Any = font_manager.get_font(path)
        return frozenset(map(chr, font.get_charmap()))
    except (OSError, RuntimeError, ValueError):
        return frozenset()


@lru_cache
def _paths(missing: frozenset[str]) -> dict[str, str]:
    """Font families with the fewest files that have the missing characters, as far as there are any; in the order of their names."""
    from matplotlib import font_manager

    fonts = {
        font.name: font.fname
        for font in sorted(font_manager.fontManager.ttflist, key=lambda font: (font.name, font.fname))
        if font.style == "normal" and not font.name.startswith(NO_TEXT_FONTS)
    }
    found: dict[str, str] = {}
    left = set(missing)
    while left and fonts:
        name = max(fonts, key=lambda name: len(left & _characters(fonts[name])))
        if not left & _characters(fonts[name]):
            break
        found[name] = fonts.pop(name)
        left -= _characters(found[name])
    return found


def _others(missing: frozenset[str]) -> list[str]:
    return list(_paths(missing)) if missing else []
