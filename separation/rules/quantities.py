"""The quantities that rules speak of: each a name, a unit and a function from what was heard of a recording to a value with an interval.

    QUANTITIES["spectral_slope"].measure(heard) -> Measured

Our own are in the modules beside this one; another package names its own by an entry point of the group ``stemwright.quantities``.

Conventions
    A value has an interval that contains the true one in four cases of five, as levels have; of the mixture's own facts it has no width.
    What cannot be measured is ``unmeasured(why)``, never a number: the reason is a phrase that goes on from "cannot be measured: ".
    Silence is refused before; a mono recording has one channel.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stemwright.manifests.records import RESIDUAL
from stemwright.manifests.registry import Registry, requires
from stemwright.separation.balance.measure import StemBalance
from stemwright.separation.loudness.meter import LoudnessReport

Array = NDArray[np.floating]

MIXTURE, STEMS = "stemwright.separation.rules.mixture_quantities", "stemwright.separation.rules.stem_quantities"

FLOOR_DB = -60.0  # levels in dB of energy are not below it: it stands for nothing


@dataclass(frozen=True)
class Measured:
    """A value with its interval, or why there is none."""

    value: float | None
    low: float | None
    high: float | None
    why: str = ""


def exactly(value: float) -> Measured:
    """A fact of the recording: its interval has no width."""
    return Measured(value, value, value)


def unmeasured(why: str) -> Measured:
    """Nothing was measured, for a reason."""
    return Measured(None, None, None, why)


@dataclass(frozen=True)
class Heard:
    """What is known of a recording: its mixture [C, T], its loudness, and the balance of its stems by name.

    ``kept`` holds what several quantities need, once it is computed.
    """

    mixture: Array
    sample_rate: int
    loudness: LoudnessReport
    balances: Mapping[str, StemBalance]
    kept: dict[str, Any] = field(default_factory=dict, repr=False, compare=False)

    @property
    def stems(self) -> dict[str, StemBalance]:
        """The stems that are present, without what they leave of the mixture."""
        return {name: stem for name, stem in self.balances.items() if name != RESIDUAL and stem.present}

    @property
    def duration_s(self) -> float:
        """The length of the recording."""
        return self.mixture.shape[1] / self.sample_rate

    def once(self, name: str, compute: Callable[[], Any]) -> Any:
        """What was computed under a name before, or is now."""
        if name not in self.kept:
            self.kept[name] = compute()
        return self.kept[name]


@dataclass(frozen=True)
class MixQuantity:
    """A quantity: its unit, "" for a pure number, what it is in a phrase, and how it is measured."""

    unit: str
    description: str
    measure: Callable[[Heard], Measured]


_check = requires(unit=str, description=lambda text: isinstance(text, str) and bool(text.strip()), measure=callable)

QUANTITIES: Registry[MixQuantity] = Registry(
    "quantity",
    "stemwright.quantities",
    {
        "vocal_level": f"{STEMS}:VOCAL_LEVEL",
        "vocal_against_rest": f"{STEMS}:VOCAL_AGAINST_REST",
        "vocal_lead": f"{STEMS}:VOCAL_LEAD",
        "bass_level": f"{STEMS}:BASS_LEVEL",
        "kick_level": f"{STEMS}:KICK_LEVEL",
        "snare_level": f"{STEMS}:SNARE_LEVEL",
        "level_spread": f"{STEMS}:LEVEL_SPREAD",
        "reverb_level": f"{STEMS}:REVERB_LEVEL",
        "vocal_pan": f"{STEMS}:VOCAL_PAN",
        "bass_pan": f"{STEMS}:BASS_PAN",
        "kick_pan": f"{STEMS}:KICK_PAN",
        "snare_pan": f"{STEMS}:SNARE_PAN",
        "largest_pan": f"{STEMS}:LARGEST_PAN",
        "spectral_slope": f"{MIXTURE}:SPECTRAL_SLOPE",
        "whole_slope": f"{MIXTURE}:WHOLE_SLOPE",
        "treble_level": f"{MIXTURE}:TREBLE_LEVEL",
        "low_level": f"{MIXTURE}:LOW_LEVEL",
        "percussive_level": f"{MIXTURE}:PERCUSSIVE_LEVEL",
        "low_side": f"{MIXTURE}:LOW_SIDE",
        "width_rise": f"{MIXTURE}:WIDTH_RISE",
        "left_right": f"{MIXTURE}:LEFT_RIGHT",
        "correlation": f"{MIXTURE}:CORRELATION",
        "loudness": f"{MIXTURE}:LOUDNESS",
        "loudness_range": f"{MIXTURE}:LOUDNESS_RANGE",
        "true_peak": f"{MIXTURE}:TRUE_PEAK",
        "peak_to_loudness": f"{MIXTURE}:PEAK_TO_LOUDNESS",
        "crest": f"{MIXTURE}:CREST",
        "crest_rise": f"{MIXTURE}:CREST_RISE",
    },
    plural="quantities",
    check=_check,
)


def measure_quantities(heard: Heard, names: Any = None) -> dict[str, Measured]:
    """Every quantity of a recording, or those of some names. What another package's function raises is the reason why it has no value."""
    found = {}
    for name in QUANTITIES if names is None else names:
        quantity = QUANTITIES[name]
        try:
            found[name] = quantity.measure(heard)
        except Exception as error:
            if QUANTITIES.package(name) is None:
                raise
            found[name] = unmeasured(f"{QUANTITIES.package(name)}: {type(error).__name__}: {error}")
    return found
