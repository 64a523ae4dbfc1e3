"""What an edit means: operation, stems, amount. Everything else of the language reads and writes this.

Conventions
    The amount of a volume is in dB, signed; as words, "slightly" is 3 dB, none a factor of two (6.02 dB), "a lot" 12 dB. "Twice as loud" is
    the factor of two as well; a sound that is perceived as twice as loud is about 10 dB up (Stevens 1955), which the number says.
    The amount of a pan is a side, "completely" or not, a share of the way ("30 % left"), or "centre"; that of a filter light, medium or
    heavy, and no word means medium, or its cutoff in Hz; that of a reverb and a compressor light, medium or heavy; that of an ``eq`` a
    word for a sound ("bright", "less muddy"), that of a ``width`` "wider", "narrower" or "mono", these two with "slightly" or "much" or
    without. Other edits have no amount.
    ``all_but`` is set where a sentence names what is left out ("everything but the vocals"): the stems are then all others, which
    ``over`` takes from the recording; ``stems`` holds those of a separation into four (into six where one of the six is named).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal, get_args

from stemwright.datagen.effects.ranges import FADER_DB
from stemwright.manifests.stem_names import FOUR_STEMS, SIX_STEMS
from stemwright.manifests.usage import UsageError

Operation = Literal["mute", "isolate", "volume", "pan", "lowpass", "highpass", "dereverb", "eq", "width", "compressor", "reverb"]
OPERATIONS: tuple[Operation, ...] = get_args(Operation)
FIRST_OPERATIONS = OPERATIONS[:7]  # those of AMSS-Net, which the recipe draws unless it is configured otherwise
OPPOSITES: dict[str, str] = {"reverb": "dereverb", "dereverb": "reverb"}
Amount = float | str | None

STEMS = ("vocals", *(name for name in SIX_STEMS if name != "vocals"))  # the one that edits are mostly about is the first suggestion
TWICE_DB = 20.0 * math.log10(2.0)
VOLUME_WORDS = {"slightly": 3.0, "": TWICE_DB, "a lot": 12.0}
VOLUME_DB = tuple(step / 2 for step in range(1, 25))  # what is drawn; any number up to what a fader can do is understood
MOST_DB = {1.0: FADER_DB[1], -1.0: -FADER_DB[0]}  # raised, lowered
STRENGTHS = ("light", "medium", "heavy")
SIDES = ("left", "right", "completely left", "completely right")
CENTRE = "centre"
PAN_SHARES_OF_WORDS = {"slightly": 25.0, "half": 50.0}  # per cent of the way to the side
DEGREES = ("slightly", "", "much")  # of a sound and of a width
WIDTHS = ("wider", "narrower")
MONO = "mono"


class EditError(UsageError):
    """A text that is no edit, or an edit that cannot be made; the message says what could."""


@dataclass(frozen=True)
class Edit:
    """What an edit means: the operation, the stems in the order in which they are named, and the amount if the operation has one."""

    operation: Operation
    stems: tuple[str, ...]
    amount: Amount = None
    all_but: tuple[str, ...] | None = None

    @property
    def gain_db(self) -> float | None:
        """The signed dB of a volume; None for the other operations."""
        return self.amount if self.operation == "volume" and isinstance(self.amount, float) else None

    @property
    def amount_text(self) -> str:
        """The amount as tables show it; empty if there is none."""
        if isinstance(self.amount, float):
            return f"{self.amount:+.1f} dB" if self.operation == "volume" else f"{self.amount:.10g} Hz"
        return self.amount or ""

    @property
    def stems_text(self) -> str:
        """The stems as tables show them."""
        if self.all_but is None:
            return ", ".join(self.stems)
        return f"all but {', '.join(self.all_but)}" if self.all_but else "all"

    def over(self, names: Iterable[str]) -> Edit:
        """This edit with its stems among those that a recording has, where it names what is left out."""
        return self if self.all_but is None else replace(self, stems=tuple(name for name in names if name not in self.all_but))

    def is_about(self, stem: str) -> bool:
        """Whether a stem is one of those that the edit names."""
        return stem in self.stems if self.all_but is None else stem not in self.all_but


def edit_of_all_but(operation: Operation, left_out: Sequence[str], amount: Amount = None) -> Edit:
    """An edit of all stems but some, over four stems, or six where one of these is named."""
    known = FOUR_STEMS if set(left_out) <= set(FOUR_STEMS) else SIX_STEMS
    return Edit(operation, (), amount, tuple(left_out)).over(known)


def eq_amount(word: str, *, degree: str = "", less: bool = False) -> str:
    """The amount of an ``eq``: "bright", "slightly less muddy"."""
    return " ".join(part for part in (degree, "less" if less else "", word) if part)


def within_most(size_db: float, sign: float, text: str) -> float:
    """The signed dB of a volume. Raises EditError beyond what a fader can do."""
    if size_db > MOST_DB[sign]:
        raise EditError(f"{text!r} is {size_db:g} dB; expected at most {MOST_DB[1.0]:g} dB up or {MOST_DB[-1.0]:g} dB down")
    return sign * size_db + 0.0  # lowered by nothing is raised by nothing
