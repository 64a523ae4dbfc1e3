"""From a text to the words of the language: tokens, phrases and amounts, from left to right, each read once.

Conventions
    An ``Phrase`` is a phrase with all kinds that it may be of, each with its value. The longest phrase wins; articles within and between
    phrases, and fillers such as "please", are left out. A word that is in no table is an ``UnknownWordError``.
    A number has "dB", "%" or "Hz" after it, or nothing, which is dB. "half", "a few" and other words for numbers need the unit.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache

from stemwright.datagen.edit.language import words
from stemwright.datagen.edit.language.label import EditError

TOKEN = re.compile(r"\d+(?:\.\d+)?|\.\d+|[^\W\d]+(?:'[^\W\d]+)*|\S")
LONGEST = 2_000  # characters of a text: a song is not edited by more
Value = float | str | None


class PartError(EditError):
    """A part of a stem, such as "kick drum", where only the whole stem can be edited."""

    def __init__(self, part: str, stem: str) -> None:
        super().__init__(f"{part!r} is a part of the stem {stem!r}, and no stem here; an edit is of a whole stem")


class UnknownWordError(EditError):
    """A word that no sentence has."""

    def __init__(self, word: str) -> None:
        super().__init__(f"{word!r} is no word of an edit")
        self.word = word


@dataclass(frozen=True)
class Phrase:
    """A phrase: the tokens it is of, and what it may be: kind -> value."""

    text: str
    kinds: Mapping[str, Value] = field(hash=False)


class _Trie:
    """Phrases by their words."""

    def __init__(self) -> None:
        self.following: dict[str, _Trie] = {}
        self.kinds: dict[str, Value] = {}

    def add(self, phrase: Sequence[str], kind: str, value: Value) -> None:
        node = self
        for word in phrase:
            node = node.following.setdefault(word, _Trie())
        node.kinds.setdefault(kind, value)


def tokens(text: str) -> list[str]:
    """The words, numbers and signs of a text, in lower case; a hyphen between letters parts them."""
    plain = text.lower().replace("’", "'").translate({ord(each): "-" for each in "−–—‐‑"} | {ord(each): None for each in '"“”`*'})
    plain = re.sub(r"(?<=[^\W\d])-(?=[^\W\d])|(?<=\d)-(?=[^\W\d])", " ", plain)
    plain = re.sub(r"(?<![\d,.])(\d+),(?=\d{1,2}(?![\d,.]))", r"\1.", plain)  # "1,5 dB"
    return TOKEN.findall(plain)


def items(text: str, stems: Sequence[str]) -> list[Phrase]:
    """The phrases of a text without fillers. Raises UnknownWordError, PartError, and EditError for a text that is too long."""
    if len(text) > LONGEST:
        raise EditError(f"an edit has at most {LONGEST} characters; got {len(text)}")
    listed, found, at = tokens(text), [], 0
    phrases = _phrases(tuple(stems))
    while at < len(listed):
        (end, kinds), (after, amount) = _phrase(listed, at, phrases), _amount(listed, at)
        if after > end:
            end, kinds = after, amount
        _check_part(listed, at, end, kinds, stems)
        if end == at:
            if listed[at] in words.ARTICLES:
                at += 1
                continue
            raise UnknownWordError(listed[at])
        if "STEM" in kinds and end < len(listed) and listed[end] in words.PART_WORDS:
            end += 1
        if "FILL" not in kinds:
            found.append(Phrase(" ".join(listed[at:end]), kinds))
        at = end
    return found


def _check_part(listed: Sequence[str], at: int, end: int, kinds: Mapping[str, Value], stems: Sequence[str]) -> None:
    """Raises PartError where a part of one of the stems begins here and is no stem itself. No article is in it ("kick the drums")."""
    for length in (2, 1):
        part = " ".join(listed[at : at + length])
        stem, _ = words.PARTS.get(part, ("", ()))
        if stem in stems and not ("STEM" in kinds and end >= at + length):
            raise PartError(part, stem)


def _phrase(listed: Sequence[str], at: int, node: _Trie) -> tuple[int, Mapping[str, Value]]:
    """Where the longest phrase that begins here ends, and its kinds; the start itself if there is none."""
    best: tuple[int, Mapping[str, Value]] = (at, {})
    begun = at
    while at < len(listed):
        if (following := node.following.get(listed[at])) is not None:
            node = following
            at += 1
            if node.kinds:
                best = (at, node.kinds)
        elif at > begun and listed[at] in words.ARTICLES:
            at += 1
        else:
            break
    return best


def _amount(listed: Sequence[str], at: int) -> tuple[int, Mapping[str, Value]]:
    """Where an amount that begins here ends, and its kind: A dB, G signed dB, PC per cent, HZ."""
    begun, sign = at, 0.0
    introduced = False
    while at < len(listed) and listed[at] in words.BEFORE_NUMBERS:
        at, introduced = at + 1, True
    if at < len(listed) and listed[at] in ("+", "-", "plus", "minus"):
        sign = 1.0 if listed[at] in ("+", "plus") else -1.0
        at += 1
    at, size, is_digits = _number(listed, at)
    if size is None:
        return begun, {}
    unit = listed[at] if at < len(listed) else ""
    if unit in words.DECIBELS:
        return at + 1, {"G": sign * size} if sign else {"A": size}
    if (unit in words.PER_CENT or listed[at : at + 2] == ["per", "cent"]) and not sign:
        return at + (2 if unit == "per" else 1), {"PC": size}
    if unit in words.HERTZ and not sign:
        return at + 1, {"HZ": size * words.HERTZ[unit]}
    if is_digits or (introduced and listed[begun] == "by"):
        return at, {"G": sign * size} if sign else {"A": size, "N": size}
    return begun, {}


def _number(listed: Sequence[str], at: int) -> tuple[int, float | None, bool]:
    """Where a number ends, its value, and whether it is in digits; "two and a half", "a couple of", "half a"."""

    def word(offset: int) -> str:
        return listed[at + offset] if at + offset < len(listed) else ""

    if word(0)[-1:].isdigit():
        return at + 1, float(word(0)), True
    if word(0) in ("a", "an"):
        if word(1) in ("couple", "few", "half"):
            at += 1
        elif word(1) in words.DECIBELS:
            return at + 1, 1.0, False
    size = words.NUMBERS.get(word(0))
    if size is None:
        return at, None, False
    if [word(1), word(2), word(3)] == ["and", "a", "half"]:
        return at + 4, size + 0.5, False
    skipped = word(1) in ("of", "a", "an") and word(0) in ("couple", "few", "half")
    return at + 1 + skipped, size, False


def known_words(stems: Sequence[str]) -> frozenset[str]:
    """All words that sentences have."""
    found: set[str] = set(words.ARTICLES | words.PART_WORDS | words.BEFORE_NUMBERS | words.DECIBELS) | set(words.NUMBERS)
    nodes = [_phrases(tuple(stems))]
    while nodes:
        node = nodes.pop()
        found.update(word for word in node.following if word[0].isalpha())
        nodes.extend(node.following.values())
    return frozenset(found)


def stem_phrases(stems: Sequence[str]) -> dict[str, str]:
    """How stems may be called -> their names: their own names, plural and singular, and the words for those that are usual."""
    found = {name: name for name in stems}
    for name in stems:
        for phrase in words.SYNONYMS.get(name, "").split("|"):
            found.setdefault(phrase, name)
    for part, (_, names) in words.PARTS.items():
        for name in names:
            if name in stems and not part.endswith("drums"):  # which would be a word for the stem
                found.setdefault(part, name)
    for name in stems:
        plain = name.lower()
        found.setdefault(plain.removesuffix("s") if plain.endswith("s") else plain + "s", name)
    found.pop("", None)
    return found


@cache
def _phrases(stems: tuple[str, ...]) -> _Trie:
    trie = _Trie()
    for phrase, name in stem_phrases(stems).items():
        if phrase not in ("others",):  # the stem "other", or the rest
            trie.add(tokens(phrase), "STEM", name)
    for kind, listed in words.PHRASES.items():
        _add(trie, listed.split("|"), kind, None)
    _add(trie, words.FILLERS.split("|"), "FILL", None)
    for phrase, value in words.WITHOUT.items():
        trie.add((phrase,), "SANS", value)
    for value, listed in words.DEGREE_WORDS.items():
        _add(trie, listed.split("|"), "D", value)
    for value, listed in words.STRENGTH_WORDS.items():
        _add(trie, listed.split("|"), "ST", value)
    for value, forms in words.EQ_FORMS.items():
        for kind, listed in zip(("TB", "TC", "TV", "TN"), forms, strict=True):
            _add(trie, [each for each in listed.split("|") if each], kind, value)
    return trie


def _add(trie: _Trie, phrases: Iterable[str], kind: str, value: Value) -> None:
    for phrase in phrases:
        trie.add(tokens(phrase), kind, value)
