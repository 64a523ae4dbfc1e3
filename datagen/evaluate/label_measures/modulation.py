"""Settings of a modulated delay: rate, depth, centre and phase, from the delay at each sample.

Conventions
    The input is a ramp: what a delay d[n] makes of x[n] = n is n - d[n], however it interpolates, if only the copy is heard. The first
    part, in which the delay line still holds silence, is left out.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from stemwright.datagen.evaluate.label_measures.systems import Measure, Signal, System

SKIP_S = 0.2
HOP = 32


@dataclass(frozen=True)
class DelaySwing:
    """What a sine explains of a delay over time: centre and depth in ms, rate in Hz, phase at the start in cycles."""

    rate_hz: float
    centre_ms: float
    depth_ms: float
    phase: float


def delay_over_time(system: System, duration_s: float) -> tuple[Signal, Signal]:
    """Times in s and the delay in ms at each, every 32 samples."""
    frames = system.frames(duration_s)
    place = np.arange(frames, dtype=np.float64)
    out = system.heard(place / frames)
    keep = slice(system.frames(SKIP_S), None, HOP)
    return place[keep] / system.sample_rate, (place - frames * out)[keep] * 1000.0 / system.sample_rate


def swing(system: System, rate_hz: float) -> DelaySwing:
    """The sine that fits the delay over time best, with its first harmonic beside it; the rate from a spectrum, then by golden section."""
    time, delay = delay_over_time(system, SKIP_S + min(max(1.0, 3.2 / rate_hz), 70.0))
    centred = (delay - delay.mean()) * np.hanning(len(delay))
    size = 2 ** math.ceil(math.log2(16 * len(delay)))
    spectrum = np.abs(np.fft.rfft(centred, size))
    step = float(time[1] - time[0])
    coarse = float(np.fft.rfftfreq(size, step)[1 + int(np.argmax(spectrum[1:]))])
    low, high, ratio = 0.8 * coarse, 1.25 * coarse, (math.sqrt(5.0) - 1.0) / 2.0
    for _ in range(40):
        near, far = high - ratio * (high - low), low + ratio * (high - low)
        low, high = (low, far) if _fit(time, delay, near)[1] < _fit(time, delay, far)[1] else (near, high)
    rate = (low + high) / 2.0
    weights = _fit(time, delay, rate)[0]
    return DelaySwing(rate, float(weights[0]), float(math.hypot(*weights[1:3])), math.atan2(weights[2], weights[1]) / (2.0 * math.pi) % 1.0)


def _fit(time: Signal, delay: Signal, rate_hz: float) -> tuple[Signal, float]:
    """Weights of a constant, of sine and cosine and of those of twice the rate, and what they leave over."""
    angle = 2.0 * math.pi * rate_hz * time
    columns = np.stack([np.ones_like(angle), np.sin(angle), np.cos(angle), np.sin(2.0 * angle), np.cos(2.0 * angle)], axis=1)
    weights = np.linalg.lstsq(columns, delay, rcond=None)[0]
    return weights, float(np.square(delay - columns @ weights).sum())


def rate(system: System, expected: float) -> float:
    """The rate of the modulation in Hz."""
    return swing(system, expected).rate_hz


def depth_ms(rate_hz: float) -> Measure:
    """The depth in ms, from the centre to the furthest delay."""
    return lambda system, _: swing(system, rate_hz).depth_ms


def relative_depth(rate_hz: float) -> Measure:
    """The depth as a share of the centre."""

    def measure(system: System, _: float) -> float:
        found = swing(system, rate_hz)
        return found.depth_ms / found.centre_ms

    return measure


def centre_ms(rate_hz: float) -> Measure:
    """The delay in ms around which it swings."""
    return lambda system, _: swing(system, rate_hz).centre_ms


def phase(rate_hz: float) -> Measure:
    """The phase of the sine at the start, in cycles from 0 to 1."""
    return lambda system, _: swing(system, rate_hz).phase
