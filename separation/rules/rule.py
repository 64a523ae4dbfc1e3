"""One published rule of mixing as a record: what it says, the quantity and the range that it says it of, and who found it out how.

Conventions
    A rule is kept where the quantity is in the range, ends included; None: no limit on that side. ``range_from`` says where the numbers
    come from, since a source often gives a mean and no spread, or no number at all.
    With ``against`` a rule is about a trend: the slope of the quantity over the year, a decade, or over another quantity, a unit of it.
    The range is then that of the slope, and only several songs together can keep it.
    A rule that nothing measures has no quantity, and says why in ``not_measured``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from stemwright.manifests.registry import NAME
from stemwright.separation.rules.quantities import QUANTITIES

READ = {
    "paper": "the publication itself was read",
    "abstract": "its abstract was read",
    "summary": "its author's own summary was read",
    "quoted": "it was read as another text quotes it",
    "recalled": "noted in earlier work on this project, and not read again",
}
CERTAINTY = {
    "measured": "found by measurements of recordings or by listening tests",
    "surveyed": "found by asking engineers, or by collecting what is written",
    "opinion": "said by people of the trade",
    "refuted": "said by people of the trade, and not found to hold",
}
YEAR = "year"  # what a trend may be against besides a quantity
DECADE = 10.0


@dataclass(frozen=True)
class Source:
    """Where a rule is from, and what of it was read: a key of ``READ``; ``quoted_by`` says by whom, if it was read as quoted."""

    authors: str
    year: int
    title: str
    where: str
    read: str
    quoted_by: str = ""

    def text(self) -> str:
        """The source on one line."""
        read = f"as quoted by {self.quoted_by}" if self.read == "quoted" else READ[self.read]
        return f"{self.authors} ({self.year}). {self.title}. {self.where}. [{read}]"


@dataclass(frozen=True)
class Rule:
    """A rule: see the head of the module. ``genres`` and ``years`` (first, last) are those that the rule is about; empty and None: all."""

    name: str
    statement: str
    quantity: str
    low: float | None
    high: float | None
    range_from: str
    certainty: str
    source: Source
    genres: tuple[str, ...] = ()
    years: tuple[int | None, int | None] = (None, None)
    against: str = ""
    not_measured: str = ""

    @property
    def unit(self) -> str:
        """The unit of the range: that of the quantity, for a trend over what."""
        if not self.quantity:
            return ""
        unit = QUANTITIES[self.quantity].unit
        unit = {"LUFS": "LU", "dBTP": "dB"}.get(unit, unit) if self.against else unit  # a slope is of differences
        if self.against == YEAR:
            return f"{unit}/decade"
        return f"{unit}/{QUANTITIES[self.against].unit}" if self.against else unit

    def range_text(self) -> str:
        """The range for a table: "-6 to -4", ">= 0", "<= -10"."""
        if self.low is None:
            return "" if self.high is None else f"<= {self.high:g}"
        return f">= {self.low:g}" if self.high is None else f"{self.low:g} to {self.high:g}"

    def conditions_text(self) -> str:
        """What it is about: genres and years; empty: all music."""
        first, last = self.years
        years = "" if first is None and last is None else f"to {last}" if first is None else f"from {first}" if last is None else ""
        years = years or (f"{first} to {last}" if first is not None else "")
        return ", ".join([*self.genres, *([years] if years else [])])

    def applies_text(self) -> str:
        """The same as the end of a sentence: "applies to rock from 1975 on"."""
        first, last = self.years
        span = f"from {first} on" if last is None else f"up to {last}" if first is None else f"from {first} to {last}"
        genres = [f"to {', '.join(self.genres)}"] if self.genres else []
        return " ".join(["applies", *genres, *([span] if self.years != (None, None) else [])])


def check_rule(name: str, rule: Any) -> None:
    """The contract of a rule. Raises TypeError or ValueError, saying what is wrong and what was expected; an unknown quantity with those
    that there are.
    """
    if not isinstance(rule, Rule):
        raise TypeError(f"expected a stemwright.separation.rules.rule.Rule; got {type(rule).__name__}")
    if rule.name != name or not NAME.fullmatch(rule.name):
        raise ValueError(f"its name is {rule.name!r}; expected {name!r}, of lower-case letters, digits and _")
    if not rule.statement.strip().endswith("."):
        raise ValueError(f"its statement is {rule.statement!r}; expected a sentence with a full stop")
    _check_quantity(rule)
    _check_source(rule)
    if rule.certainty not in CERTAINTY:
        raise ValueError(f"its certainty is {rule.certainty!r}; expected one of {', '.join(CERTAINTY)}")
    first, last = rule.years
    if first is not None and last is not None and first > last:
        raise ValueError(f"its years are {first} to {last}; expected the earlier first")


def _check_quantity(rule: Rule) -> None:
    if not rule.quantity:
        if not rule.not_measured.strip().endswith("."):
            raise ValueError("it has no quantity; expected one, or a sentence in not_measured that says why it cannot be measured")
        return
    for name in (rule.quantity, *([rule.against] if rule.against and rule.against != YEAR else [])):
        if name not in QUANTITIES:
            raise ValueError(f"its quantity {name!r} is not known; the quantities are {', '.join(QUANTITIES)}")
    limits = [limit for limit in (rule.low, rule.high) if limit is not None]
    if not limits or not all(map(math.isfinite, limits)):
        raise ValueError(f"its range is {rule.low} to {rule.high}; expected a finite number at one end at least")
    if len(limits) == 2 and limits[0] > limits[1]:
        raise ValueError(f"its range is {rule.low} to {rule.high}; expected the lower end first")
    if not rule.range_from.strip():
        raise ValueError("range_from is empty; expected where the numbers of the range come from")


def _check_source(rule: Rule) -> None:
    source = rule.source
    if empty := [name for name in ("authors", "title", "where") if not getattr(source, name).strip()]:
        raise ValueError(f"its source has no {' and no '.join(empty)}; expected who found it, and where it can be read")
    if source.read not in READ:
        raise ValueError(f"the source was read as {source.read!r}; expected one of {', '.join(READ)}")
    if (source.read == "quoted") != bool(source.quoted_by):
        raise ValueError(f"the source was read as {source.read!r} and is quoted by {source.quoted_by!r}; expected both or neither")
