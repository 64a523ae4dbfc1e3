"""Whether the settings of an effect are true: each is measured back from audio and compared with what was recorded.

A probe says of one setting which values are tried, at which values of the other settings, by which measure it is found in audio, and what
its library says that it means (``definition``). The audit plays test signals through the effect at 44.1 and 48 kHz, in mono and stereo, and
judges each setting:

    true      every value was found, within the tolerance of the probe
    off       some were not
    ignored   the effect does something, but what is measured does not move with what is recorded
    no-op     the output is the input
    moves     the setting changes the output; what it should measure as is defined nowhere, or cannot be heard
    error     the effect raised an exception, or returned no audio

Conventions
    Beside it each row has the latency in samples (the lag of the greatest correlation with the input) and whether the output has the shape
    of the input. The judgement of a setting is over all of its values, rates and numbers of channels.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from stemwright.datagen.evaluate.label_measures.systems import Measure, Signal, System, db, rms

Plain: TypeAlias = float | str | bool
Row: TypeAlias = dict[str, Any]
SAMPLE_RATES = (44_100, 48_000)
NOTHING_DB = -90.0  # a difference below it is rounding
STILL = 0.05  # measured values that spread by less than this part of the recorded ones do not move
LONGEST_LAG = 8192
VERDICTS = ("true", "moves", "off", "ignored", "no-op", "error")


@dataclass(frozen=True)
class Probe:
    """How one setting is measured back.

    ``values`` are as the library takes them, ``expected`` turns one into what the measure should find, ``fixed`` are the other settings.
    ``tolerance`` is in the unit of the measure, or with ``relative`` a part of the expected value. ``measure`` None: nothing but whether
    the output moves. ``channels``: the numbers of channels at which it means something. ``definition``: what the setting means, and whose
    word that is.
    """

    setting: str
    values: tuple[Plain, ...]
    measure: Measure | None = None
    fixed: Mapping[str, Plain] = field(default_factory=dict)
    unit: str = ""
    expected: Callable[[Any], float] = float
    tolerance: float = 0.0
    relative: bool = False
    channels: tuple[int, ...] = (1, 2)
    definition: str = ""

    def error(self, expected: float, measured: float) -> float:
        """What was measured against what was expected: the difference, or its part of the expected value."""
        return measured / expected - 1.0 if self.relative else measured - expected


@dataclass(frozen=True)
class AuditedEffect:
    """An effect of any library: ``apply(audio [C, T] float32, sample_rate, settings)`` returns audio, ``probes`` say what is measured."""

    name: str
    apply: Callable[[NDArray[np.float32], int, Mapping[str, Plain]], Any]
    probes: tuple[Probe, ...]
    library: str = ""
    version: str = ""

    def system(self, settings: Mapping[str, Plain], sample_rate: int, channels: int) -> System:
        """The effect with settings."""
        return System(lambda audio, rate: self.apply(audio, rate, settings), sample_rate, channels)


@dataclass(frozen=True)
class Extent:
    """How much of an audit is run: sample rates, numbers of channels, and how many values of each setting."""

    sample_rates: tuple[int, ...] = SAMPLE_RATES
    channels: tuple[int, ...] = (1, 2)
    num_values: int | None = None

    def values(self, probe: Probe) -> tuple[Plain, ...]:
        """The values of a probe that are tried: all, or evenly spaced ones with both ends."""
        if self.num_values is None or self.num_values >= len(probe.values):
            return probe.values
        places = np.linspace(0, len(probe.values) - 1, max(self.num_values, 2)).round().astype(int)
        return tuple(probe.values[place] for place in places)


def audit(effect: AuditedEffect, extent: Extent | None = None) -> list[Row]:
    """One row for each setting of an effect, value, sample rate and number of channels, as plain JSON values."""
    extent = extent or Extent()
    rows = []
    for probe in effect.probes:
        for sample_rate in extent.sample_rates:
            for channels in extent.channels:
                if channels in probe.channels:
                    rows += _measured(effect, probe, extent.values(probe), (sample_rate, channels))
    return rows


def _measured(effect: AuditedEffect, probe: Probe, values: Sequence[Plain], form: tuple[int, int]) -> list[Row]:
    """The rows of one setting at one sample rate and number of channels."""
    sample_rate, channels = form
    dry = _fingerprint(sample_rate, channels)
    first: Signal | None = None
    rows = []
    for value in values:
        row: Row = {
            "library": effect.library, "version": effect.version, "effect": effect.name, "setting": probe.setting, "unit": probe.unit,
            "recorded": _json(value), "expected": None, "measured": None, "error": None, "tolerance": probe.tolerance,
            "relative": probe.relative, "within": None, "changed_db": None, "moved_db": None, "random": None, "latency": None,
            "same_shape": None, "sample_rate": sample_rate, "channels": channels, "problem": None, "definition": probe.definition,
        }  # fmt: skip
        rows.append(row)
        system = effect.system({**probe.fixed, probe.setting: value}, sample_rate, channels)
        try:
            wet = system.play(dry)
            first = wet if first is None else first
            row |= {"changed_db": _difference_db(wet, dry), "moved_db": _difference_db(wet, first)}
            row |= {"latency": latency(wet, dry), "same_shape": wet.shape == dry.shape}
            row["random"] = _difference_db(system.play(dry), wet) > NOTHING_DB
            if probe.measure is not None:
                expected = float(probe.expected(value))
                measured = probe.measure(system, expected)
                error = probe.error(expected, measured)
                row |= {
                    "expected": expected,
                    "measured": _json(measured),
                    "error": _json(error),
                    "within": bool(abs(error) <= probe.tolerance),
                }
        except Exception as error:  # whatever another library's effect raises is a result of the audit
            row["problem"] = f"{type(error).__name__}: {error}".splitlines()[0][:200]
    return rows


def _fingerprint(sample_rate: int, channels: int) -> Signal:
    """Noise [C, T] that every setting leaves a trace in: loud and soft parts, different in each channel, and silence."""
    levels_db = np.repeat([-20.0, -45.0, -6.0, -30.0, -120.0], sample_rate // 4)
    sound = np.random.default_rng(1).standard_normal((channels, len(levels_db))) * 10.0 ** (levels_db / 20.0)
    return sound * np.array([[1.0], [0.7]])[:channels]


def _difference_db(one: Signal, other: Signal) -> float:
    """The difference of two sounds against the second, in dB; 0 if their shapes differ. No difference is -300."""
    if one.shape != other.shape:
        return 0.0
    return max(db(rms(one - other) / max(rms(other), 1e-12)), -300.0)


def latency(wet: Signal, dry: Signal) -> int:
    """The lag in samples of the greatest correlation of the last channels, at most 8192."""
    size = 2 ** math.ceil(math.log2(wet.shape[-1] + dry.shape[-1]))
    correlation = np.abs(np.fft.irfft(np.fft.rfft(wet[-1], size) * np.fft.rfft(dry[-1], size).conj(), size))
    most = min(LONGEST_LAG, size // 2 - 1)
    lags = np.concatenate([correlation[-most:], correlation[: most + 1]])
    return int(np.argmax(lags)) - most


@dataclass(frozen=True)
class Judgement:
    """What was found of one setting of an effect over all of its rows."""

    library: str
    effect: str
    setting: str
    unit: str
    verdict: str
    count: int
    wrong: int
    worst: float | None
    relative: bool
    latency: int | None
    same_shape: bool
    note: str


def judge(rows: Iterable[Row]) -> list[Judgement]:
    """One judgement a setting, in the order of the rows."""
    groups: dict[tuple[str, str, str], list[Row]] = defaultdict(list)
    for row in rows:
        groups[row["library"], row["effect"], row["setting"]].append(row)
    return [_judged(group) for group in groups.values()]


def _judged(rows: list[Row]) -> Judgement:
    played = [row for row in rows if row["problem"] is None]
    wrong = sum(row["within"] is False for row in rows) + len(rows) - len(played)
    errors = [abs(_number(row["error"])) for row in played if row["error"] is not None]
    finite = [error for error in errors if math.isfinite(error)]
    problems = sorted({row["problem"] for row in rows if row["problem"] is not None})
    notes = [f"{len(rows) - len(played)} of {len(rows)} raise {problems[0]}"] if problems else []
    notes += sorted({row["definition"] for row in rows if row["definition"]})
    latencies = [row["latency"] for row in played]
    return Judgement(
        library=rows[0]["library"],
        effect=rows[0]["effect"],
        setting=rows[0]["setting"],
        unit=rows[0]["unit"],
        verdict=_verdict(rows, played),
        count=len(rows),
        wrong=wrong,
        worst=max(finite) if finite else None,
        relative=bool(rows[0]["relative"]),
        latency=min(latencies, key=abs) if latencies else None,
        same_shape=all(row["same_shape"] for row in played),
        note="; ".join(notes),
    )


def _verdict(rows: list[Row], played: list[Row]) -> str:
    if not played:
        return "error"
    moved = _moved(played)
    if not moved and all(row["changed_db"] < NOTHING_DB for row in played):
        return "no-op"
    if not moved:
        return "ignored"
    if any(row["problem"] for row in rows) or any(row["within"] is False for row in played):
        return "off"
    return "true" if any(row["within"] for row in played) else "moves"


def _moved(played: list[Row]) -> bool:
    """Whether what was measured moves with what was recorded; where nothing was measured, whether the output does."""
    if len({row["recorded"] for row in played}) < 2:  # nothing to move: of an effect without settings, whether it does anything
        return any(row["changed_db"] > NOTHING_DB for row in played)
    measured = [row for row in played if row["measured"] is not None and math.isfinite(_number(row["measured"]))]
    expected = [row["expected"] for row in measured]
    if len(set(expected)) < 2:
        return any(row["moved_db"] > NOTHING_DB for row in played)
    found = [_number(row["measured"]) for row in measured]
    scale = np.log if measured[0]["relative"] and min(*expected, *found) > 0.0 else np.asarray
    slope = np.polyfit(scale(np.array(expected)), scale(np.array(found)), 1)[0]
    return bool(abs(slope) >= STILL)


def _json(value: Any) -> Any:
    """A value as JSON has it: infinity and NaN as words."""
    if isinstance(value, bool | str):
        return value
    number = float(value)
    return number if math.isfinite(number) else str(number)


def _number(value: Any) -> float:
    return math.inf if value == "nan" else float(value)


def of_library(effects: Iterable[Any], library: str, version: str) -> dict[str, AuditedEffect]:
    """Effects by name, each with the name and the version of its library."""
    from dataclasses import replace

    return {effect.name: replace(effect, library=library, version=version) for effect in effects}
