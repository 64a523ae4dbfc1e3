"""Effect settings as a report shows them: which effects are where in a pair, along which axis a setting is drawn, and each with its unit.

Conventions
    An effect is used on the input side only (``removed``: a model has to take it away), on the target side only (``added``), or on
    both (``kept``). A use is counted once for each pair, however many signals repeat it.
    Settings are drawn along their own scale, so their histograms are as well.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt

from stemwright.datagen.effects import EFFECTS
from stemwright.datagen.effects.settings import Choice, Range, fields
from stemwright.datagen.effects.traits import Trait
from stemwright.datagen.report.charts import Axis, around, ends_of, log_ticks, nice_ticks, number, rounded
from stemwright.manifests.pair_records import Pair, Signal
from stemwright.manifests.records import EffectUse, Scalar
from stemwright.manifests.wording import with_unit

ROLES = ("removed", "kept", "added")
ROLE_WORDS = {"removed": "in the input only", "kept": "on both sides", "added": "in the target only"}
RECIPROCAL_TICKS = (1.0, 1.5, 2.0, 3.0, 5.0, 10.0, math.inf)
BUS = "bus"
SEND = "send:"  # and the name of the bus


@dataclass(frozen=True)
class Use:
    """One effect in a pair: on which source (a stem's id, ``bus``, or ``send:`` and its name), with which settings, on which side."""

    role: str
    source: str
    effect: str
    settings: dict[str, Scalar]


def uses(pair: Pair) -> list[Use]:
    """The effects of a pair, each once, in the order of their chains."""
    sides: list[Counter[tuple[str, str, tuple[tuple[str, Scalar], ...]]]] = []
    order: dict[tuple[str, str, tuple[tuple[str, Scalar], ...]], None] = {}
    for group in (pair.inputs, pair.targets):
        most: Counter[tuple[str, str, tuple[tuple[str, Scalar], ...]]] = Counter()
        for signal in group:
            if signal.view == "gain":
                continue  # what the other signals' limiter did is no effect of its own
            found = Counter((source, use.effect, tuple(use.settings.items())) for source, use in _placed(signal))
            most |= found
            order.update(dict.fromkeys(found))
        sides.append(most)
    inputs, targets = sides
    rows = []
    for key in order:
        both = min(inputs[key], targets[key])
        counts = {"removed": inputs[key] - both, "kept": both, "added": targets[key] - both}
        source, effect, settings = key
        rows += [Use(role, source, effect, dict(settings)) for role, count in counts.items() for _ in range(count)]
    return rows


def _placed(signal: Signal) -> Iterator[tuple[str, EffectUse]]:
    for branch in signal.branches:
        yield from ((branch.source_id, use) for use in branch.chain)
    for send in signal.sends:
        yield from ((f"{SEND}{send.name}", use) for use in send.chain)
    unlimited = signal.view == "unlimited"
    yield from ((BUS, use) for use in signal.bus if not (unlimited and has_trait("dynamic", use.effect)))


def has_trait(trait: Trait, effect: str) -> bool:
    """Whether an effect has a trait; one that this version does not know has none."""
    return effect in EFFECTS and trait in EFFECTS[effect].TRAITS


@cache
def declared(effect: str) -> Mapping[str, Range | Choice]:
    """The settings that an effect declares; none for an effect that this version does not know."""
    return fields(EFFECTS[effect].Settings) if effect in EFFECTS else {}


def meaning(effect: str, name: str) -> str:
    """What a setting does, as the effect says."""
    known = declared(effect).get(name)
    return known.description if known else ""


def numeric(values: Sequence[Scalar]) -> list[float]:
    """The numbers among settings as a row holds them (an infinite one is written as text)."""
    return [float(value) for value in values if value in ("inf", "-inf") or not isinstance(value, bool | str)]


def axis_of(effect: str, name: str, values: Sequence[float] | npt.NDArray[np.float64]) -> Axis:
    """The axis of a setting: its name with its unit, along its scale, as far as the values reach on it."""
    known = declared(effect).get(name)
    label = label_of(effect, name)
    every = np.asarray(values, float)
    finite = every[np.isfinite(every)]
    if not isinstance(known, Range):
        return around(label, ends_of(finite))
    inside = ends_of(finite[(known.low <= finite) & (finite <= known.high)]) or [known.low, known.high]
    typical = EFFECTS[effect].TYPICAL.get(name)
    if isinstance(typical, tuple) and all(isinstance(end, float | int) and math.isfinite(end) for end in typical):
        inside += typical  # the range that is drawn from by default
    low, high = min(inside), max(inside)
    if known.scale == "reciprocal":
        ticks = tuple(tick for tick in RECIPROCAL_TICKS if known.low <= tick <= known.high)
        return Axis(label, known.low, known.high, ticks, lambda value: float(known.to_unit(value)))
    if known.scale == "log" and high > low * 1.05:
        span = math.log(high / low)
        return Axis(label, low, high, log_ticks(low, high), lambda value: _log_unit(value, low, span))
    if high - low < 0.05 * (known.high - known.low):
        return around(label, inside, least=0.1 * (known.high - known.low) or 1.0)
    return rounded(Axis(label, low, high, nice_ticks(low, high)))


def _log_unit(value: float, low: float, span: float) -> float:
    if value <= 0:
        return 0.0
    return 1.0 if value == math.inf else math.log(value / low) / span


def label_of(effect: str, name: str, *, unit_in_brackets: bool = True) -> str:
    """The name of a setting without its unit's suffix, and the unit in brackets: ``threshold (dB)``."""
    unit = unit_of(effect, name) if unit_in_brackets else ""
    plain = name
    for suffix in ("_db", "_hz", "_ms", "_s", "_lufs", "_lu", "_dbfs", "_dbtp", "_percent"):
        plain = plain.removesuffix(suffix)
    return spaced(plain) + (f" ({unit})" if unit and unit != ":1" else "")


def spaced(name: str) -> str:
    """A name for a person: ``peak1_gain`` as peak 1 gain."""
    return re.sub(r"(?<=[a-z])(?=\d)", " ", name.replace("_", " "))


def unit_of(effect: str, name: str) -> str:
    """The unit of a setting; empty for a choice and for a plain number."""
    known = declared(effect).get(name)
    return known.unit if isinstance(known, Range) else ""


def written(effect: str, settings: Mapping[str, Scalar]) -> list[tuple[str, str]]:
    """(name, value with unit) of what is not neutral, the values of one band of a filter together; of all where everything is neutral."""
    known = declared(effect)
    order = [name for name in known if name in settings] + [name for name in settings if name not in known]
    bands = {name.removesuffix("_gain_db") for name in order if name.endswith("_gain_db")}
    bands = {band for band in bands if f"{band}_hz" in settings and f"{band}_q" in settings}
    found: list[tuple[str, str]] = []
    everything: list[tuple[str, str]] = []
    for name in order:
        band = next((band for band in bands if name in (f"{band}_gain_db", f"{band}_hz", f"{band}_q")), None)
        if band is not None and not name.endswith("_gain_db"):
            continue  # shown with the band's gain
        if band is None:
            phrase = (label_of(effect, name, unit_in_brackets=False), format_value(settings[name], unit_of(effect, name)))
        else:
            gain, at = format_value(settings[name], "dB"), format_value(settings[f"{band}_hz"], "Hz")
            phrase = (spaced(band), f"{gain} at {at}, q {format_value(settings[f'{band}_q'])}")
        everything.append(phrase)
        if name not in known or known[name].neutral != settings[name]:
            found.append(phrase)
    return found or everything


def format_value(value: Scalar, unit: str = "") -> str:
    """A value with its unit: four significant digits, thousands of Hz as kHz."""
    numbers = numeric([value])
    if not numbers:
        return str(value).lower()
    if unit == "Hz" and abs(numbers[0]) >= 1000:
        return f"{number(numbers[0] / 1000, 4)} kHz"
    return with_unit(number(numbers[0], 4), unit)
