"""Numbers in sentences: one song, two songs, durations, sizes, and figures that differ where the numbers do."""

from __future__ import annotations

from pathlib import Path

MOST_DIGITS = 9


def counted(count: int, one: str, many: str = "") -> str:
    """A number with its noun: 1 song, 2 songs, 1,000 songs; ``many`` is the plural, or noun and verb, where an s is not enough."""
    return f"{count:,} {one if count == 1 else many or f'{one}s'}"


def unreadable_stem(corpus: Path, path: str, reason: str, then: str) -> str:
    """That a stem of a corpus cannot be read, where it is, and what makes it again; ``then`` is the stage that needs it."""
    place = corpus / path
    what = f"{place}: {reason}" if place.exists() else f"{place} is missing"
    return f"{what}. Run `stemwright separate {corpus}` to have it made again, then {then}"


def below(value: float, limit: float, digits: int = 2) -> str:
    """A value that is less than a limit, with enough digits to show that it is less."""
    for more in range(digits, MOST_DIGITS):
        if float(shown := f"{value:.{more}f}") < limit:
            return shown
    return repr(value)


def duration(value_s: float) -> str:
    """A readable duration: 6.4 s, 3 min 20 s, 12.4 h."""
    if value_s < 59.95:
        return f"{value_s:.1f} s"
    whole = round(value_s)
    return f"{whole // 60} min {whole % 60} s" if whole < 3600 else f"{value_s / 3600:.1f} h"


def size(value: float) -> str:
    """A readable number of bytes, in powers of 1000."""
    for unit in ("bytes", "kB", "MB"):
        if value < 1000:
            return f"{value:.0f} {unit}" if unit == "bytes" or value >= 10 else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} GB"


def with_unit(figure: str, unit: str) -> str:
    """A figure with its unit: 3 dB, 4.2:1; without a space before a unit that begins with a colon."""
    return f"{figure}{unit}" if unit.startswith(":") else f"{figure} {unit}".rstrip()
