"""All that can be said, from the tables that are read: for ``stemwright edit --list`` and for the tests of reading.

Conventions
    A form is a pattern with a word for each kind: brackets for what may be left out, "raise/lower" for both directions, capitals for slots:
    STEMS, AMOUNT, SHARE, SIDE, STRENGTH, SOUND, FREQUENCY.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from stemwright.datagen.edit.language import words
from stemwright.datagen.edit.language.patterns import TABLE, Pattern

SLOTS = {
    "S": "STEMS",
    "Q": "AMOUNT",
    "A": "3 dB",
    "G": "-3 dB",
    "PC": "30 %",
    "HZ": "100 Hz",
    "SHARE": "SHARE",
    "SIDE": "left",
}
SLOTS |= {"TO": "to/on", "FROM": "from/in", "ISO": "solo", "LET": "hear", "MU": "mute", "APPLY": "add", "OUTV": "take", "ARE": "is"}
SLOTS |= {"ST": "STRENGTH", "TB": "bright", "TC": "brighter", "TV": "brighten", "TN": "brightness", "D": "slightly", "SANS": "drumless"}
FILTERS = {("F", "lowpass"): "low pass", ("F", "highpass"): "high pass"}
MEANINGS: dict[str, tuple[str, tuple[str, ...]]] = {  # operation: what it does, its rows of ``TABLE``
    "mute": ("leaves stems out", ("mute", "sans", "karaoke")),
    "isolate": ("leaves all other stems out", ("isolate", "a cappella", "bare")),
    "volume": (
        "makes stems louder or quieter",
        ("volume", "volume also", "volume up", "volume down", "volume louder", "volume signed", "volume as before"),
    ),
    "pan": ("puts stems at a place between the loudspeakers", ("pan", "centre", "pan also", "centre also")),
    "lowpass": ("takes high frequencies out", ("filter", "roll off highs")),
    "highpass": ("takes low frequencies out", ("filter", "roll off lows")),
    "eq": ("changes the sound", ("eq", "eq also", "eq less")),
    "width": ("makes stems wider, narrower or mono", ("width", "width also", "mono")),
    "compressor": ("compresses stems", ("compressor", "compressor also")),
    "reverb": ("adds reverberation", ("reverb",)),
    "dereverb": ("takes reverberation away; for training pairs, not on recordings", ("dereverb",)),
}
LISTED_WORDS = {
    "up": ("V+", "L+", "P+", "M+"),
    "down": ("V-", "L-", "P-", "M-"),
    "down by an amount": ("C",),
    "out": ("MU", "OFFV", "WO"),
    "alone": ("ISO", "ONLY", "ALONE"),
    "without vocals": ("KAR", "ACC"),
    "vocals alone": ("ACAP",),
    "all stems": ("ALL", "INSTRUMENTS"),
    "but": ("EXC",),
    "the others": ("REST",),
    "joined by": ("SEP", "END"),
}


@dataclass(frozen=True)
class Spoken:
    """An operation, what it does, and the forms in which it is said."""

    operation: str
    meaning: str
    forms: tuple[str, ...]


def spoken() -> list[Spoken]:
    """Every operation with the forms of its sentences."""
    return [
        Spoken(operation, meaning, tuple(_form(row, operation) for name in names for row in rows_of(name)))
        for operation, (meaning, names) in MEANINGS.items()
    ]


def rows_of(name: str) -> list[list[str]]:
    """The rows of ``TABLE`` of one name, each as its kinds."""
    return [line.split() for line in TABLE[name].strip().splitlines()]


def _form(row: list[str], operation: str) -> str:
    if row == ["S"]:
        return "everything but STEMS"
    parts = []
    for kind in row:
        bare = kind.removesuffix("?")
        if bare.endswith("±"):
            text = "/".join(phrases(bare.replace("±", mark))[0] for mark in "+-")
        else:
            text = SLOTS.get(bare) or FILTERS.get((bare, operation)) or phrases(bare)[0]
        parts.append(f"[{text}]" if kind.endswith("?") else text)
    return " ".join(parts)


def phrases(kind: str) -> list[str]:
    """The phrases of a kind that is no slot."""
    return words.PHRASES[kind].split("|")


def listed_words() -> dict[str, list[str]]:
    """The words by what they mean: directions, stems, amounts, strengths, sounds, joints."""
    found = {name: list(dict.fromkeys(each for kind in kinds for each in phrases(kind))) for name, kinds in LISTED_WORDS.items()}
    found |= {f"stem {name}": listed.split("|") for name, listed in words.SYNONYMS.items()}
    found["AMOUNT"] = ["3 dB", "by 3 dB", "+3 dB", "three decibels", "half a dB", "by 50 %", *phrases("HALF")[:2]]
    found |= {f"AMOUNT {size}": words.DEGREE_WORDS[word].split("|") for size, word in (("3 dB", "slightly"), ("12 dB", "a lot"))}
    found["SHARE"] = ["30 %", "slightly", *phrases("HALFWAY")]
    found |= {f"STRENGTH {name}": listed.split("|") for name, listed in words.STRENGTH_WORDS.items()}
    found["sounds"] = [", ".join(each for form in forms for each in form.split("|") if each) for forms in words.EQ_FORMS.values()]
    return found


def written(rule: Pattern, texts: Mapping[str, str]) -> str:
    """A sentence of a pattern with these texts for its kinds and slots."""
    return " ".join(texts[kind] for kind in rule.kinds)


def varied(rule: Pattern, slots: dict[str, list[str]]) -> Iterator[str]:
    """Sentences of a pattern that together have every phrase of every kind of it, one kind varied at a time."""
    options = {kind: slots[kind] if kind in slots else phrases(kind) for kind in rule.kinds}
    first = {kind: listed[0] for kind, listed in options.items()}
    yield written(rule, first)
    for kind, listed in options.items():
        for phrase in listed[1:]:
            yield written(rule, first | {kind: phrase})
