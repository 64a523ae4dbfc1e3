"""Numbers in sentences: one song, two songs, and figures that differ where the numbers do."""

from __future__ import annotations

MOST_DIGITS = 9


def counted(count: int, one: str, many: str = "") -> str:
    """A number with its noun: 1 song, 2 songs, 1,000 songs; ``many`` is the plural, or noun and verb, where an s is not enough."""
    return f"{count:,} {one if count == 1 else many or f'{one}s'}"


def below(value: float, limit: float, digits: int = 2) -> str:
    """A value that is less than a limit, with as many digits as it takes to see that it is."""
    for more in range(digits, MOST_DIGITS):
        if float(shown := f"{value:.{more}f}") < limit:
            return shown
    return repr(value)
