"""The settings of an effect: each has a range, a unit, a neutral value and a scale; they are checked, drawn, mapped to [0, 1], listed.

An effect declares its settings as a frozen pydantic model, so that one definition checks them, documents them and draws them:

    class Settings(EffectSettings):
        gain_db: float = setting(0.0, low=-48.0, high=24.0, unit="dB", description="level")
        law: Literal["sine", "linear"] = choice("sine", ("sine", "linear"))

Conventions
    The defaults of an effect are neutral: ``Settings()`` changes nothing. Drawn values are in [low, high]; one value outside may be
    accepted as well, as ``off`` (no cutoff, no smoothing). Infinity is written as the string ``"inf"`` in JSON, which has no
    infinity, and read back from it.
    A field holds a float, or a torch tensor while settings are being fitted. A tensor passes through unchecked: an optimiser may step
    over an edge. This module never imports torch.
    Scales: ``linear``; ``log``; ``reciprocal`` (uniform in 1/x, for a ratio that may be infinite); ``integer``.
    A setting whose meaning depends on the level of the audio says so (``level``): an "absolute" one is a level in dB (a threshold) and
    moves with the audio, an "inverse" one is a gain into a fixed curve (a drive) and moves against it.
    ``stemwright.datagen.effects.scaling`` moves them when the audio gets a gain, so beyond the range there is room of LEVEL_ROOM_DB in the
    direction in which a reduction moves them.
"""

from __future__ import annotations

import difflib
import math
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache, lru_cache
from numbers import Real
from typing import Any, Literal, TypeVar, cast

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, ValidatorFunctionWrapHandler, field_validator

from stemwright.manifests.usage import UsageError
from stemwright.manifests.wording import with_unit

Scale = Literal["linear", "log", "reciprocal", "integer"]
Level = Literal["absolute", "inverse"]
Bound = Literal["threshold", "ceiling"]  # below it, audio passes unchanged; a ceiling: and no sample exceeds it
Needs = Literal[
    "stereo", "difference", "own"
]  # of channels: two of them, an error on one; two that differ; two, on one but a second factor
USUAL_TOLERANCE = 0.05  # of the range, where an effect states none
LEVEL_ROOM_DB = 100.0  # the largest reduction of the audio that settings can follow; no sound has a peak that far above full scale
Plain = float | str | bool
S = TypeVar("S", bound="EffectSettings")


@dataclass(frozen=True)
class Range:
    """One numeric setting. ``low`` and ``high`` bound drawn values, ``accepted`` accepted ones; ``off`` is accepted as well."""

    name: str
    low: float
    high: float
    unit: str
    scale: Scale
    neutral: float
    off: float | None = None
    description: str = ""
    level: Level | None = None
    bound: Bound | None = None
    needs: Needs | None = None
    gain: bool = False
    stepped: bool = False
    tolerance: float | None = None

    @property
    def unit_tolerance(self) -> float:
        """The tolerance as a part of the range along its scale."""
        if self.tolerance is None:
            return USUAL_TOLERANCE
        if self.scale == "log":
            return math.log(1.0 + self.tolerance) / math.log(self.high / self.low)
        whole = 1.0 / self.low - 1.0 / self.high if self.scale == "reciprocal" else self.high - self.low
        return self.tolerance / whole

    @property
    def continuous(self) -> bool:
        """Whether a small change of the setting is a small change of the audio, so that a search can follow it."""
        return self.scale != "integer" and not self.stepped

    @property
    def accepted(self) -> tuple[float, float]:
        """Lowest and highest value: those of the range, with room for one that follows the level of the audio."""
        below, above = (LEVEL_ROOM_DB if self.level == kind else 0.0 for kind in ("absolute", "inverse"))
        return self.low - below, self.high + above

    def check(self, value: float) -> float:
        """Returns the value, or raises ValueError naming the setting, the value and the range."""
        low, high = self.accepted
        if (low <= value <= high and (self.scale != "integer" or value == int(value))) or value == self.off:
            return value
        or_off = "" if self.off is None else f", or {self.off:g} for none"
        kind = "be a whole number" if self.scale == "integer" else "be"
        raise ValueError(
            f"{self.name} must {kind} between {self.low:g} and {with_unit(f'{self.high:g}', self.unit)}{or_off}; got {value:g}"
        )

    def limited(self, value: float) -> float:
        """The value in [low, high] that is nearest to this one."""
        return min(max(value, self.low), self.high)

    def to_unit(self, value: Any) -> Any:
        """Maps a value (float or tensor) to [0, 1] along the scale of the setting."""
        if self.scale == "log":
            logarithm = value.log() if _is_tensor(value) else math.log(value)
            return (logarithm - math.log(self.low)) / math.log(self.high / self.low)
        if self.scale == "reciprocal":
            return (1.0 / self.low - 1.0 / value) / (1.0 / self.low - 1.0 / self.high)
        return (value - self.low) / (self.high - self.low)

    def from_unit(self, unit: Any) -> Any:
        """Maps [0, 1] (float or tensor) to a value; the inverse of ``to_unit``."""
        if self.scale == "log":
            return self.low * (self.high / self.low) ** unit
        if self.scale == "reciprocal":
            inverse = 1.0 / self.low - unit * (1.0 / self.low - 1.0 / self.high)
            return math.inf if not _is_tensor(inverse) and inverse <= 0.0 else 1.0 / inverse
        value = self.low + unit * (self.high - self.low)
        return float(round(value)) if self.scale == "integer" and not _is_tensor(value) else value

    def narrowed(self, low: float, high: float, scale: Scale | None = None) -> Range:
        """The same setting within a part of its range, on another scale if one is given.

        Raises ValueError where the part leaves the whole or is empty, or the scale cannot reach its ends.
        """
        low, high = float(low), float(high)
        if not self.low <= low <= high <= self.high:
            raise ValueError(
                f"a range for {self.name} must be within {self.low:g} to {with_unit(f'{self.high:g}', self.unit)}; got {low:g} to {high:g}"
            )
        scale = scale or self.scale
        if (scale in ("log", "reciprocal") and low <= 0.0) or (scale != "reciprocal" and math.isinf(high) and low < high):
            raise ValueError(f"{self.name} from {low:g} to {high:g} cannot be drawn on a {scale} scale; its own scale is {self.scale}")
        return replace(self, low=low, high=high, scale=scale)


@dataclass(frozen=True)
class Choice:
    """One setting that takes one of a few named values (strings or booleans)."""

    name: str
    options: tuple[Plain, ...]
    neutral: Plain
    description: str = ""
    needs: Needs | None = None


@dataclass(frozen=True)
class SettingRow:
    """One line of the table of effects. A choice has no low and high; its unit lists the options."""

    name: str
    low: float | None
    high: float | None
    unit: str
    neutral: Plain
    off: float | None
    scale: str
    description: str


def setting(
    neutral: float,
    *,
    low: float,
    high: float,
    unit: str = "",
    scale: Scale = "linear",
    off: float | None = None,
    level: Level | None = None,
    bound: Bound | None = None,
    needs: Needs | None = None,
    gain: bool = False,
    stepped: bool = False,
    tolerance: float | None = None,
    description: str = "",
) -> Any:
    """Declares a numeric setting: its neutral value, range, unit and scale, the one value outside the range that switches it off, and
    how it depends on the level of the audio.

    ``bound`` says that it is a threshold, ``needs`` which channels it needs to matter, ``gain`` that it is a gain in dB after all else that
    the effect does, ``stepped`` that it moves the audio in steps such as whole samples. ``tolerance`` is how
    far a fitted value may be from the true one and still count as right: in the unit; on a log scale as a fraction of the value (0.1: a
    tenth more); on a reciprocal one of 1/x.
    """
    extra = {"low": low, "high": high, "unit": unit, "scale": scale, "off": off, "level": level}
    extra |= {"bound": bound, "needs": needs, "gain": gain, "stepped": stepped, "tolerance": tolerance}
    return Field(default=float(neutral), description=description, json_schema_extra=cast("dict[str, Any]", extra))


def choice(neutral: Plain, options: tuple[Plain, ...], *, needs: Needs | None = None, description: str = "") -> Any:
    """Declares a setting that is one of ``options``; ``needs`` says which channels it needs to matter."""
    extra = cast("dict[str, Any]", {"options": list(options), "needs": needs})
    return Field(default=neutral, description=description, json_schema_extra=extra)


class SettingsError(UsageError):
    """Settings that an effect does not have or cannot take; the message names the effect, the setting, the value and the range."""


class EffectSettings(BaseModel):
    """The base of every effect's ``Settings``: frozen, no unknown names, every number inside its range, NaN refused.

    Raises SettingsError, a ValueError.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)

    def __init__(self, **values: Any) -> None:
        try:
            super().__init__(**values)
        except ValidationError as error:
            wrong = "; ".join(_explain(type(self), problem) for problem in error.errors(include_url=False))
            raise SettingsError(f"the effect {effect_name(type(self))!r}: {wrong}") from None

    @field_validator("*", mode="wrap")
    @classmethod
    def _checked(cls, value: Any, handler: ValidatorFunctionWrapHandler, info: ValidationInfo) -> Any:
        field = fields(cls).get(cast("str", info.field_name))
        if isinstance(field, Choice) and value not in field.options:
            raise ValueError(_none_of(field, value))
        if not isinstance(field, Range):
            return handler(value)
        if _is_tensor(value):
            return value
        if value in ("inf", "-inf") and isinstance(value, str):
            value = float(value)
        if isinstance(value, bool) or not isinstance(value, Real) or math.isnan(value):
            raise ValueError(
                f"{field.name} must be a number between {field.low:g} and {with_unit(f'{field.high:g}', field.unit)}; got {value!r}"
            )
        return field.check(float(value))

    def plain(self) -> dict[str, Plain]:
        """The settings as JSON can hold them: floats, strings and booleans; a tensor of one element becomes its float."""
        return {name: _plain(value) for name, value in self.__dict__.items()}

    def is_neutral(self) -> bool:
        """Says whether every setting has its neutral value. A tensor never counts as neutral: it may carry a gradient."""
        return all(
            not _is_tensor(value) and value == field.neutral
            for value, field in zip(self._values(), fields(type(self)).values(), strict=True)
        )

    def final_gain_db(self) -> float:
        """The gain in dB that the effect applies last: the sum of its settings that are gains."""
        gains = (name for name, field in fields(type(self)).items() if isinstance(field, Range) and field.gain)
        return sum((float(getattr(self, name)) for name in gains), 0.0)

    def _values(self) -> list[Any]:
        return [getattr(self, name) for name in fields(type(self))]


def effect_name(settings_type: type[EffectSettings]) -> str:
    """The name of the effect whose settings these are."""
    return str(getattr(sys.modules.get(settings_type.__module__), "NAME", settings_type.__qualname__))


def _explain(settings_type: type[EffectSettings], problem: Any) -> str:
    """The error of one setting, as a sentence."""
    name, table = str(problem["loc"][0]), fields(settings_type)
    field = table.get(name)
    if field is None:
        near = difflib.get_close_matches(name, table, n=1, cutoff=0.5)
        hint = f"; did you mean {near[0]!r}?" if near else "."
        return f"there is no setting {name!r}{hint} Its settings are {', '.join(table)}"
    if problem["type"] == "value_error":  # one of ours: it names the setting, the value and the range
        return str(problem["ctx"]["error"])
    return _none_of(field, problem["input"]) if isinstance(field, Choice) else f"{name} must be {problem['msg']}; got {problem['input']!r}"


def _none_of(field: Choice, value: Any) -> str:
    return f"{field.name} must be {' or '.join(map(repr, field.options))}; got {value!r}"


@cache
def fields(settings_type: type[EffectSettings]) -> Mapping[str, Range | Choice]:
    """The settings of an effect by name, in the order of declaration."""
    table: dict[str, Range | Choice] = {}
    for name, field in settings_type.model_fields.items():
        extra = field.json_schema_extra
        if not isinstance(extra, dict):
            raise TypeError(f"{settings_type.__module__}.Settings.{name} must be declared with setting() or choice()")
        given = cast("dict[str, Any]", extra)
        text = field.description or ""
        if "options" in given:
            table[name] = Choice(name, tuple(given["options"]), field.default, text, given.get("needs"))
        else:
            table[name] = Range(name=name, neutral=field.default, description=text, **given)
    return table


def range_of(settings_type: type[EffectSettings], name: str) -> Range:
    """A numeric setting by its name."""
    return cast("Range", fields(settings_type)[name])


def describe(settings_type: type[EffectSettings]) -> list[SettingRow]:
    """The rows of the table of effects: name, range, unit, neutral value, the value that switches it off, scale and meaning."""
    rows = []
    for field in fields(settings_type).values():
        if isinstance(field, Range):
            rows.append(SettingRow(field.name, field.low, field.high, field.unit, field.neutral, field.off, field.scale, field.description))
        else:
            options = " | ".join(str(option).lower() if isinstance(option, bool) else str(option) for option in field.options)
            rows.append(SettingRow(field.name, None, None, options, field.neutral, None, "choice", field.description))
    return rows


def draw(settings_type: type[S], rng: np.random.Generator, ranges: Mapping[str, Any] | None = None) -> S:
    """Draws every setting, uniformly along its scale or among its options.

    ``ranges`` narrows single settings: ``{"threshold_db": (-42, -20)}`` is a range, ``{"ratio": (1.5, 6, "linear")}`` one on another
    scale, ``{"dry": 1.0}`` fixes a value, ``{"detector": ("rms",)}`` leaves some options. The number of random values taken does not
    depend on ``ranges``, so that narrowing one setting does not change another. Raises ValueError for an unknown name or a range outside
    that of the setting.
    """
    values = draw_values(settings_type, rng, ranges)
    # Every value is in its range by construction: validation would cost more than the drawing.
    return cast("S", settings_type.model_construct(set(values), **values))


def draw_values(settings_type: type[EffectSettings], rng: np.random.Generator, ranges: Mapping[str, Any] | None = None) -> dict[str, Plain]:
    """Draws like ``draw``, but returns the plain values, ready for a row; a few microseconds an effect."""
    return drawer(settings_type, ranges)(rng)


def drawer(
    settings_type: type[EffectSettings], ranges: Mapping[str, Any] | None = None
) -> Callable[[np.random.Generator], dict[str, Plain]]:
    """What ``draw_values`` does with these ranges, prepared once for many draws."""
    names, makers = _makers(settings_type, _frozen(ranges) if ranges else ())

    def drawn(rng: np.random.Generator) -> dict[str, Plain]:
        return dict(zip(names, [make(unit) for make, unit in zip(makers, rng.random(len(names)).tolist(), strict=True)], strict=True))

    return drawn


def _frozen(ranges: Mapping[str, Any]) -> tuple[tuple[str, Any], ...]:
    return tuple((name, tuple(value) if isinstance(value, list) else value) for name, value in ranges.items())


@lru_cache(maxsize=4096)
def _makers(
    settings_type: type[EffectSettings], ranges: tuple[tuple[str, Any], ...]
) -> tuple[tuple[str, ...], tuple[Callable[[float], Plain], ...]]:
    """One function per setting that turns a number in [0, 1) into a value; prepared once per settings type and ranges."""
    table, wanted = fields(settings_type), dict(ranges)
    for name in wanted:
        if name not in table:
            raise ValueError(f"there is no setting {name!r} to draw; the settings are {', '.join(table)}")
    return tuple(table), tuple(_maker(settings_type, field, wanted.get(field.name)) for field in table.values())


def _maker(settings_type: type[EffectSettings], field: Range | Choice, wanted: Any) -> Callable[[float], Plain]:
    if wanted is not None and not isinstance(wanted, tuple):
        fixed = getattr(settings_type(**{field.name: wanted}), field.name)
        return lambda unit: fixed  # noqa: ARG005
    if isinstance(field, Choice):
        options = field.options if wanted is None else tuple(wanted)
        for option in options:
            settings_type(**{field.name: option})
        return lambda unit: options[int(unit * len(options))]
    if wanted is not None and (len(wanted) not in (2, 3) or not all(isinstance(end, Real) for end in wanted[:2])):
        raise ValueError(f"a range for {field.name} must be [from, to] or [from, to, scale]; got {list(wanted)}")
    narrow = field if wanted is None else field.narrowed(*wanted)
    if narrow.low == narrow.high:
        return lambda unit: narrow.low  # noqa: ARG005
    return _along(narrow)


def _along(field: Range) -> Callable[[float], float]:
    """``field.from_unit`` for floats, with its constants taken out; a value never leaves the range by rounding."""
    low, high = field.low, field.high
    if field.scale == "log":
        start, span = math.log(low), math.log(high / low)
        return lambda unit: min(max(math.exp(start + unit * span), low), high)
    if field.scale == "reciprocal":
        first, fall = 1.0 / low, 1.0 / low - 1.0 / high
        return lambda unit: min(max(1.0 / (first - unit * fall), low), high)
    if field.scale == "integer":
        count = int(high - low) + 1
        return lambda unit: low + float(int(unit * count))
    return lambda unit: low + unit * (high - low)


def _is_tensor(value: Any) -> bool:
    return hasattr(value, "requires_grad")


def _plain(value: Any) -> Plain:
    if isinstance(value, (bool, str)):
        return value
    number = float(value)
    return number if math.isfinite(number) else str(number)
