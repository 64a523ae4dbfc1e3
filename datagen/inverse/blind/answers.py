"""What a blind estimate of an effect says: one quantity with an interval and a confidence, and settings that have it; or why it abstains.

Conventions
    ``confidence`` is the probability that the quantity is right within the effect's tolerance (``TOLERANCE``); the interval holds it with
    a probability of 80 %. Neither is about single settings: those named in ``derived`` are usual for stems of the name, or chosen so that
    the effect has the quantity.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from stemwright.datagen.effects.settings import EffectSettings
from stemwright.datagen.effects.signal import checked
from stemwright.datagen.inverse.blind.profile import FEWEST_SONGS

if TYPE_CHECKING:
    from stemwright.datagen.inverse.blind.profile import StemProfile

Array = NDArray[np.floating]

TOLERANCE = {"eq": 3.0, "compressor": 1.5, "width": 3.0}  # dB
LEAST_CONFIDENCE = 0.2  # below, there is no estimate


class Quantity(NamedTuple):
    """The leading quantity of an estimate: its name, its unit, its value and its 80 % interval."""

    name: str
    value: float
    low: float
    high: float
    unit: str = "dB"

    def text(self) -> str:
        """The quantity as a sentence has it: "mean gain reduction 4.2 dB (2.9 to 5.6)"."""
        return f"{self.name} {self.number(self.value)} {self.unit} ({self.number(self.low)} to {self.number(self.high)})"

    def number(self, value: float) -> str:
        """A value of the quantity: with one decimal, seconds with two."""
        digits = 2 if self.unit == "s" else 1
        return f"{round(value, digits) + 0.0:.{digits}f}"  # + 0.0: no -0.0


@dataclass(frozen=True)
class Blind:
    """An estimate, or an abstention: then ``confidence`` is 0, and ``reason`` says why.

    ``quantity`` is what was estimated, None for an abstention, and ``amount`` its value, 0 then. ``settings`` are of an effect that has
    it; those in ``derived`` have no confidence. They are None where the effect was not found: the interval includes none of it.
    """

    settings: EffectSettings | None
    confidence: float = 0.0
    quantity: Quantity | None = None
    reason: str = ""
    derived: tuple[str, ...] = ()

    @property
    def amount(self) -> float:
        """The quantity in its unit; 0 for an abstention."""
        return 0.0 if self.quantity is None else self.quantity.value

    def plain(self) -> dict[str, Any]:
        """What was estimated, as plain values: the columns of ``EffectEstimate`` but for effect and settings."""
        known = self.quantity
        if known is None:
            return {"confidence": 0.0}
        ends = {name: round(getattr(known, name), 4) for name in ("value", "low", "high")}
        return {"confidence": self.confidence, "quantity": known.name, **ends, "unit": known.unit, "derived": self.derived}


class Abstained(ValueError):  # noqa: N818  # a verdict on a stem, not a failure
    """Why an effect of a stem cannot be estimated."""


def check_profile(profile: StemProfile) -> None:
    """Raises Abstained for a profile of too few songs."""
    if profile.songs < FEWEST_SONGS:
        raise Abstained(
            f"the profile has {profile.songs} songs with a stem {profile.name!r}; at least {FEWEST_SONGS} are needed for a profile"
        )


def answer_of(effect: str, settings: EffectSettings | None, confidence: float, quantity: Quantity, **more: Any) -> Blind:
    """The answer, or an abstention where its confidence is too low."""
    if confidence < LEAST_CONFIDENCE:
        return Blind(None, reason=f"songs of the profile differ too much for the {effect} to be estimated")
    return Blind(settings, round(confidence, 4), quantity, **more)


def checked_array(stem: torch.Tensor, sample_rate: int) -> Array:
    """The stem [C, T] as an array. Raises ValueError for another shape, and where it is not finite."""
    if stem.ndim != 2:
        raise ValueError(f"an estimate takes one stem of shape [channels, time]; got {list(stem.shape)}")
    return checked(stem, sample_rate).detach().cpu().numpy()
