"""Drawing an effect's settings for a row: within the ranges of a configuration, and within what the sample rate can hold.

Conventions
    Settings are drawn uniformly on each setting's own scale, or on one that is given (``ratio = [1.5, 6.0, "linear"]``), within the
    effect's ``TYPICAL`` ranges or those that are given. A range may end at infinity where the setting may (``ratio = [2.0, inf]``).
    What cannot matter is not drawn but left neutral: the link of one channel or of two equal ones, the width of a reverberation and the
    pan of one channel. Nor is a width for a stem whose channels are equal.
    A setting may also follow from another: ``mix = "1 - feedback"``, ``dry = "2 - 2 wet"``.
    Where an effect takes the nearest of a few values only (``achievable``: a bit rate), that is what is drawn.
    Frequencies stay below HIGHEST_SHARE of the sample rate; a configured range above it is refused by name.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Annotated, Any, Literal, cast

import numpy as np
from pydantic import BeforeValidator, Field, PlainSerializer

from stemwright.datagen.effects import EFFECTS
from stemwright.datagen.effects.settings import Choice, EffectSettings, Needs, Scale, drawer, fields
from stemwright.datagen.effects.settings import Range as Bounds
from stemwright.manifests.records import EffectUse, Refused, finite

Number = Annotated[float, Field(strict=True, allow_inf_nan=True)]  # strict, or true and false would be 1 and 0; a ratio may be infinite
Range = (  # one value, from .. to, from .. to on a scale, or some of the options
    Number | bool | str | tuple[Number, Number] | tuple[Number, Number, Scale] | tuple[bool | str, ...]
)


def _with_numbers(value: Any) -> Any:
    """Infinity as the number that it is, wherever a configuration that went through JSON has it as text."""
    if isinstance(value, dict):
        return {name: _with_numbers(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_with_numbers(item) for item in value)
    return float(value) if isinstance(value, str) and value in ("inf", "-inf") else value


def _as_json(value: Any) -> Any:
    """Ranges as plain JSON, infinity as text."""
    if isinstance(value, dict):
        return {name: _as_json(item) for name, item in value.items()}
    return [_as_json(item) for item in value] if isinstance(value, tuple) else finite(value)


Ranges = Annotated[  # effect -> setting -> range
    dict[str, dict[str, Range]], BeforeValidator(_with_numbers), PlainSerializer(_as_json, when_used="json")
]
EffectRanges = Annotated[  # setting -> range
    dict[str, Range], BeforeValidator(_with_numbers), PlainSerializer(_as_json, when_used="json")
]
Channels = Literal["one", "equal", "different"]  # what is known of the sound that an effect is drawn for
Role = Literal["kept", "removed", "added"]
WITHOUT_MEANING: dict[Channels, tuple[Needs, ...]] = {  # what a setting needs in vain; such a setting is left at its neutral value
    "one": ("stereo", "difference", "own"),
    "equal": ("difference",),
    "different": (),
}
NUMBER = r"(\d+(?:\.\d+)?)"
REST = re.compile(rf"{NUMBER} - (?:{NUMBER} )?([a-z]\w*)")  # a whole, how often the other is taken from it (once), the other
REACHED_DB = 6.0  # how far below the peak that is expected a threshold is at least
LEAST_RANGE_DB = 6.0  # what is left of a threshold's typical range at least
FLAT_CREST_DB = 8.0  # the crest after an effect that flattens, at most
HIGHEST_SHARE = 0.45  # of the sample rate: what a frequency is kept below, since an effect refuses one beyond half of it


def draw_use(
    effect: str, wanted: Mapping[str, Range], sample_rate: int, rng: np.random.Generator, *, role: Role | None = None
) -> EffectUse:
    """An effect with settings drawn in the ranges that are wanted of it. Raises Refused where the rate cannot hold one."""
    values = _drawer(effect, tuple(wanted.items()), sample_rate)(rng)
    # Every value is in its range by construction: validation would cost as much as the drawing.
    return EffectUse.model_construct(effect=effect, settings=values, role=role)


def effective_ranges(effect: str, wanted: Mapping[str, Range], channels: Channels) -> Mapping[str, Range]:
    """The ranges with what cannot matter at its neutral value; a value that was given for it, no range, stays where the effect takes it."""
    still = _in_vain(effect, channels)
    if not still:
        return wanted
    usual = {field.name: field.neutral for field in still if field.needs == "own"}  # drawn if requested
    kept = {
        field.name: field.neutral
        for field in still
        if field.needs == "stereo" or (field.needs == "difference" and isinstance(wanted.get(field.name, ()), tuple))
    }
    return {**usual, **wanted, **kept}


def reached_ranges(effect: str, peak_db: float) -> dict[str, Range]:
    """The typical range of an effect's threshold, lowered to where a sound of this peak reaches it; {} of an effect without a threshold."""
    bounds = [field for field in fields(EFFECTS[effect].Settings).values() if isinstance(field, Bounds) and field.bound]
    if not bounds:
        return {}
    setting, lowest = bounds[0].name, bounds[0].low
    low, high = EFFECTS[effect].TYPICAL[setting]
    high = min(high, float(math.floor(peak_db - REACHED_DB)))  # whole decibels: so many ranges are prepared, and no more
    high = max(high, lowest + LEAST_RANGE_DB)
    return {setting: (max(lowest, min(low, high - LEAST_RANGE_DB)), high)}


def within_rate(effect: str, wanted: Mapping[str, Range], sample_rate: int) -> dict[str, Range] | None:
    """The ranges of an effect without the frequencies that a sample rate cannot hold; None where nothing would be left of it.

    A band above them has no gain; a range that reaches beyond them ends at the highest one.
    """
    limit, ranges = HIGHEST_SHARE * sample_rate, dict(wanted)
    for name, given in wanted.items():
        if not name.endswith("_hz") or _ends(given)[1] <= limit or fields(EFFECTS[effect].Settings)[name].neutral == given == math.inf:
            continue
        gain = name.replace("_hz", "_gain_db")
        if isinstance(given, tuple) and _ends(given)[0] < limit:
            ranges[name] = cast("Range", (_ends(given)[0], limit, *given[2:]))
        elif gain not in wanted:
            return None
        else:
            del ranges[name]
            ranges[gain] = 0.0
    gains = [given for name, given in ranges.items() if name.endswith("_gain_db")]
    return None if gains and all(given == 0.0 for given in gains) else ranges


@lru_cache(maxsize=256)
def _in_vain(effect: str, channels: Channels) -> tuple[Bounds | Choice, ...]:
    """The settings of an effect that such channels leave without a meaning."""
    return tuple(field for field in fields(EFFECTS[effect].Settings).values() if field.needs in WITHOUT_MEANING[channels])


@lru_cache(maxsize=1024)
def _drawer(effect: str, requested: tuple[tuple[str, Range], ...], sample_rate: int) -> Callable[[np.random.Generator], dict[str, Any]]:
    settings_type, wanted = EFFECTS[effect].Settings, dict(requested)
    ranges: dict[str, Range] = {**EFFECTS[effect].TYPICAL, **wanted}
    limit = HIGHEST_SHARE * sample_rate
    for name, field in fields(settings_type).items():
        if not name.endswith("_hz") or not isinstance(field, Bounds) or field.low >= limit:
            continue
        low, high = _ends(ranges.get(name, (field.low, field.high)))
        if high <= limit:
            continue
        if name in wanted:
            raise Refused(f"{effect}.{name} up to {high:g} Hz is too high for {sample_rate} Hz; expected at most {limit:g} Hz")
        ranges[name] = (min(low, limit), limit)
        if low >= limit and (gain := name.replace("_hz", "_gain_db")) in fields(settings_type):
            ranges[gain] = 0.0  # the whole band is above what the sample rate can represent: it does nothing
    draw = _with_rests(settings_type, ranges)
    achievable = getattr(EFFECTS[effect], "achievable", None)
    if achievable is None:
        return _in_order(draw, settings_type)
    return _in_order(lambda rng: achievable(draw(rng), sample_rate), settings_type)


def _in_order(draw: Callable[[np.random.Generator], dict[str, Any]], settings_type: type[EffectSettings]) -> Callable[..., dict[str, Any]]:
    """The drawn values as a row has them: in the order of their names, infinity as text."""
    names = sorted(fields(settings_type))
    unbounded = {name for name, field in fields(settings_type).items() if isinstance(field, Bounds) and _may_be_infinite(field)}

    def drawn(rng: np.random.Generator) -> dict[str, Any]:
        values = draw(rng)
        return {name: finite(values[name]) if name in unbounded else values[name] for name in names}

    return drawn


def _may_be_infinite(field: Bounds) -> bool:
    return math.isinf(field.high) or (field.off is not None and math.isinf(field.off))


def draw_settings(settings_type: type[EffectSettings], rng: np.random.Generator, ranges: Mapping[str, Any]) -> dict[str, Any]:
    """Draws settings; one whose range reads "1 - OTHER" or "2 - 2 OTHER" is what the other leaves of that."""
    return _with_rests(settings_type, ranges)(rng)


def _with_rests(settings_type: type[EffectSettings], ranges: Mapping[str, Any]) -> Callable[[np.random.Generator], dict[str, Any]]:
    rests = {name: found for name, wanted in ranges.items() if isinstance(wanted, str) and (found := REST.fullmatch(wanted))}
    draw = drawer(settings_type, {name: wanted for name, wanted in ranges.items() if name not in rests})
    for name, rest in rests.items():
        _check_rest(settings_type, ranges, name, rest)

    def drawn(rng: np.random.Generator) -> dict[str, Any]:
        values: dict[str, Any] = draw(rng)
        for name, rest in rests.items():
            values[name] = _left(rest, float(values[rest[3]]))
        return values

    return drawn


def _check_rest(settings_type: type[EffectSettings], ranges: Mapping[str, Range], name: str, rest: re.Match[str]) -> None:
    """Raises ValueError where a setting cannot follow from another, whichever value that takes."""
    known = fields(settings_type)
    field, other, wanted = known.get(name), known.get(rest[3]), ranges.get(rest[3])
    if not isinstance(field, Bounds) or not isinstance(other, Bounds) or isinstance(wanted, str):
        raise ValueError(f"{name} = {rest[0]!r} needs two settings that are numbers; the settings are {', '.join(known)}")
    for end in _ends((other.low, other.high) if wanted is None else wanted):
        if not field.low <= (value := _left(rest, end)) <= field.high:
            raise ValueError(f"{name} = {rest[0]!r} is {value:g} where {rest[3]} is {end:g}; expected {field.low:g} to {field.high:g}")


def _left(rest: re.Match[str], taken: float) -> float:
    return float(rest[1]) - float(rest[2] or 1.0) * taken


def _ends(wanted: Range) -> tuple[float, float]:
    """From and to of a range of numbers; of a single value, twice the value."""
    return (float(wanted[0]), float(wanted[1])) if isinstance(wanted, tuple) else (float(wanted), float(wanted))
