"""Settings of compressors, limiters, gates and clippers, from tones of stepped level and from the gain after a step of level.

Conventions
    The last tenth of what follows a step is not looked at: an effect that looks ahead sees the end of the signal there.
    Levels are those of a square wave, whose absolute value is constant: peak, mean and RMS level are one. A gain is |y| / |x| of each
    sample. The static curve is read at the end of each step, of ``hold_s``.
    A time is that of a share of a change after a step, of the gain ("linear"), of the gain in dB ("db") or of the level that a detector
    holds, which is gain^(-1 / (1 - 1/ratio)) above the threshold ("level"): libraries define their times differently.

References
    Giannoulis, Massberg, Reiss 2012, "Digital dynamic range compressor design": the quadratic knee, which at the threshold lowers the gain
    by (1 - 1/ratio) knee / 8.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

from stemwright.datagen.evaluate.label_measures.systems import Measure, Signal, System, carrier, db, noise, rms

Domain = Literal["linear", "db", "level"]
SPAN_DB = 24.0  # levels are tried this far below and above the threshold
LONGEST_S = 20.0


@dataclass(frozen=True)
class StaticCurve:
    """Levels in dB and the gain in dB at each."""

    levels_db: Signal
    gains_db: Signal

    def above(self) -> tuple[float, float]:
        """Slope and intercept of the gain in dB over the level, of the five loudest levels."""
        slope, intercept = np.polyfit(self.levels_db[-5:], self.gains_db[-5:], 1)
        return float(slope), float(intercept)

    @property
    def below_db(self) -> float:
        """The gain at the softest levels."""
        return float(np.median(self.gains_db[:3]))

    @property
    def threshold_db(self) -> float:
        """Where the line of the loudest levels meets the gain of the softest ones; NaN if it is parallel to it."""
        slope, intercept = self.above()
        return (self.below_db - intercept) / slope if abs(slope) > 1e-3 else math.nan


def static_curve(system: System, around_db: float, hold_s: float) -> StaticCurve:
    """The gain at levels from 24 dB below to 24 dB above a level, in steps of 2 dB, each read at its end."""
    levels = np.arange(around_db - SPAN_DB, around_db + SPAN_DB + 1.0, 2.0)
    hold = system.frames(hold_s)
    dry = carrier(np.repeat(levels, hold))
    wet = system.heard(dry)
    ends = [slice((step + 1) * hold - hold // 5, (step + 1) * hold) for step in range(len(levels))]
    return StaticCurve(levels, np.array([db(rms(wet[end]) / rms(dry[end])) for end in ends]))


def threshold(hold_s: float = 0.1) -> Measure:
    """The threshold in dB: where the line of the loudest levels meets the gain of the softest."""
    return lambda system, expected: static_curve(system, expected, hold_s).threshold_db


def ratio_inverse(around_db: float, hold_s: float = 0.1) -> Measure:
    """1 / ratio: output dB for one input dB above the threshold."""
    return lambda system, _: 1.0 + static_curve(system, around_db, hold_s).above()[0]


def knee(around_db: float, hold_s: float = 0.1) -> Measure:
    """The width of a quadratic knee in dB, from how far the curve is below its two lines where they meet."""

    def measure(system: System, _: float) -> float:
        curve = static_curve(system, around_db, hold_s)
        slope = curve.above()[0]
        gain = float(np.interp(curve.threshold_db, curve.levels_db, curve.gains_db))
        return 8.0 * (curve.below_db - gain) / -slope if abs(slope) > 1e-3 else math.nan

    return measure


def engagement(hold_s: float = 0.3, drop_db: float = 0.2) -> Measure:
    """The level in dB at which the gain has fallen by 0.2 dB of that at the softest levels: where any reduction begins."""

    def measure(system: System, expected: float) -> float:
        curve = static_curve(system, expected, hold_s)
        lost = curve.below_db - curve.gains_db - drop_db
        place = int(np.argmax(lost > 0.0))
        if place == 0:
            return math.nan
        share = lost[place - 1] / (lost[place - 1] - lost[place])
        return float(curve.levels_db[place - 1] + share * (curve.levels_db[place] - curve.levels_db[place - 1]))

    return measure


def gate_threshold(hold_s: float = 0.1) -> Measure:
    """The threshold of a gate or expander in dB: where the line of the softest levels meets the gain of the loudest."""

    def measure(system: System, expected: float) -> float:
        curve = static_curve(system, expected, hold_s)
        slope, intercept = np.polyfit(curve.levels_db[:5], curve.gains_db[:5], 1)
        return float((np.median(curve.gains_db[-3:]) - intercept) / slope) if abs(slope) > 1e-3 else math.nan

    return measure


def expansion(around_db: float, hold_s: float = 0.1) -> Measure:
    """The ratio of an expander: output dB for one input dB below the threshold."""

    def measure(system: System, _: float) -> float:
        curve = static_curve(system, around_db, hold_s)
        return 1.0 + float(np.polyfit(curve.levels_db[:5], curve.gains_db[:5], 1)[0])

    return measure


def soft_gain(level_db: float, hold_s: float = 0.3) -> Measure:
    """The gain in dB of a soft tone: make-up."""

    def measure(system: System, _: float) -> float:
        dry = carrier(np.full(system.frames(hold_s), level_db))
        return db(rms(system.heard(dry)) / rms(dry))

    return measure


def ceiling(over_db: float = 12.0) -> Measure:
    """The highest absolute sample in dB of loud noise that goes through."""
    return lambda system, _: db(float(np.abs(system.heard(noise(system.frames(1.0), over_db))).max()))


def gain_after_step(system: System, levels_db: tuple[float, float], durations_s: tuple[float, float]) -> tuple[Signal, int]:
    """The gain at each sample of a tone of two levels, one after the other, and where the second begins."""
    first, second = (system.frames(duration) for duration in durations_s)
    dry = carrier(np.repeat(levels_db, (first, second)))
    return np.abs(system.heard(dry)) / np.abs(dry), first


@dataclass(frozen=True)
class LevelStep:
    """A step of level, and what of the change after it a time is.

    ``share`` of the change from its value before the step to its last one; with ``start`` it counts from that share on (0.1 and 0.9: a
    rise time). ``hold_s``: how long the first level is held; ``ratio``: for the domain "level"; ``lead_s``: how long before the step
    a change may begin, of an effect that looks ahead.
    """

    levels_db: tuple[float, float]
    share: float = 1.0 - math.exp(-2.2)
    start: float = 0.0
    domain: Domain = "linear"
    hold_s: float = 0.5
    ratio: float = math.inf
    lead_s: float = 0.0


def step_time(step: LevelStep) -> Measure:
    """The time in ms that a share of the change after a step takes."""

    def measure(system: System, expected: float) -> float:
        after_s = min(max(12.0 * expected / 1000.0, 0.05), LONGEST_S)
        gain, place = gain_after_step(system, step.levels_db, (step.hold_s, after_s))
        shape = _shape(np.maximum(gain[place - 1 - round(step.lead_s * system.sample_rate) : -(len(gain) - place) // 10], 1e-12), step)
        change = shape[-1] - shape[0]
        if abs(change) < 1e-4 * max(abs(shape[0]), 1e-12):
            return math.nan
        progress = (shape - shape[0]) / change
        ends = [_crossing(progress, share) for share in (step.start, step.share) if share > 0.0]
        samples = ends[0] if len(ends) == 1 else ends[1] - ends[0]
        return 1000.0 * samples / system.sample_rate

    return measure


def _shape(gain: Signal, step: LevelStep) -> Signal:
    if step.domain == "linear":
        return gain
    if step.domain == "db":
        return 20.0 * np.log10(gain)
    return np.asarray(gain ** (-1.0 / (1.0 - 1.0 / step.ratio)))


def _crossing(progress: Signal, share: float) -> float:
    """The first place at which the progress reaches a share, between samples; that before the step is 0."""
    reached = int(np.argmax(progress >= share))
    if reached == 0:
        return 0.0
    before, after = progress[reached - 1], progress[reached]
    return reached - 1 + float((share - before) / (after - before))


def lookahead(levels_db: tuple[float, float], hold_s: float = 0.2) -> Measure:
    """The time in ms by which the gain begins to fall before a rise of the level."""

    def measure(system: System, _: float) -> float:
        gain, place = gain_after_step(system, levels_db, (hold_s, hold_s))
        low = gain[: place + 1] < gain[place // 2] * (1.0 - 1e-6)
        return 1000.0 * (place - int(np.argmax(low))) / system.sample_rate if low.any() else math.nan

    return measure


def linked(loud_db: float, soft_db: float) -> Measure:
    """1 if a loud first channel lowers the gain of a soft second one, else 0."""

    def measure(system: System, _: float) -> float:
        hold = system.frames(0.5)
        tones = [carrier(np.full(hold, level)) for level in (loud_db, soft_db)]
        alone = system.play(np.stack([tones[1], tones[1]]))[-1]
        beside = system.play(np.stack(tones))[-1]
        return float(db(rms(beside[hold // 2 :]) / rms(alone[hold // 2 :])) < -1.0)

    return measure


def sine_reading(peak_db: float, hold_s: float = 1.0) -> Measure:
    """What a detector reads of a sine against its peak, in dB, at an infinite ratio, where the output has a constant level: -3.01 for one
    that averages the square, -3.92 (2/π) for one that averages the absolute value.
    """

    def measure(system: System, _: float) -> float:
        frames = system.frames(hold_s)
        sine = 10.0 ** (peak_db / 20.0) * np.sin(2.0 * math.pi * 1000.0 / system.sample_rate * np.arange(frames))
        square = carrier(np.full(frames, peak_db))
        end = slice(frames - frames // 4, frames)
        gains = [rms(system.heard(signal)[end]) / rms(signal[end]) for signal in (sine, square)]
        return -db(gains[0] / gains[1])

    return measure
