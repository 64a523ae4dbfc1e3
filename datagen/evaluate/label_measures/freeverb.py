"""Settings of a reverberator in the structure of Freeverb, from its response to an impulse.

The eight combs of Freeverb have published delays; a comb of delay D and loop gain f decays by f in D samples, so the energy still to come
is Σ_k f^(2 t / D_k), of which the decay time is computed and compared with the measured one. The first echo comes from the shortest comb
alone, so its heights in both channels give level and width of the tail.

References
    Jezar at Dreampoint, Freeverb 2000 (public domain), tuning.h: delays in samples at 44.1 kHz, spread 23 in the second channel, wet scale
    3, input gain 0.015, damping scale 0.4, room scale 0.28 and offset 0.7.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from stemwright.datagen.evaluate.label_measures.echoes import band_of, decay_s, tail_of
from stemwright.datagen.evaluate.label_measures.systems import Measure, Signal, System, impulses

COMBS = np.array([1116, 1188, 1277, 1356, 1422, 1491, 1557, 1617])
SPREAD = 23
FIRST_LEVEL = 3.0 * 0.015 * 2.0  # wet scale, input gain, and two equal channels at the input
HOP = 64
LOW_HZ = (30.0, 800.0)
HIGH_HZ = (7000.0, 10_000.0)


def _root(function: Callable[[float], float], low: float, high: float) -> float:
    """Where a rising function is 0, by bisection; NaN if it is not between its ends."""
    if not function(low) <= 0.0 <= function(high):
        return math.nan
    for _ in range(40):
        middle = (low + high) / 2.0
        low, high = (middle, high) if function(middle) < 0.0 else (low, middle)
    return (low + high) / 2.0


def _loop_gain(tail: Signal, sample_rate: int, second: bool) -> float:
    """The gain of the combs' loops that gives the decay of a response."""
    found = decay_s(tail, sample_rate)
    delays = (COMBS + SPREAD * second) * (sample_rate / 44_100.0)
    time = np.arange(0, len(tail), HOP)

    def longer(gain: float) -> float:
        energy = np.sum(gain ** (2.0 * time[:, None] / delays), axis=1)
        return HOP * decay_s(np.sqrt(np.maximum(-np.diff(energy), 0.0)), sample_rate) - found

    return _root(longer, 0.3, 0.995)


def loop_gain(room_size: float) -> float:
    """The gain of the loops at a room size: 0.7 + 0.28 room_size."""
    return 0.7 + 0.28 * room_size


def room_size(system: System, expected: float) -> float:
    """The room size, of a reverberator without damping."""
    slowest = 3.0 * COMBS[-1] / 44_100.0 / -math.log10(loop_gain(expected))
    tail = tail_of(system, min(1.2 * slowest + 0.1, 8.0))
    return (_loop_gain(tail, system.sample_rate, system.channels == 2) - 0.7) / 0.28


def damping(duration_s: float) -> Measure:
    """The damping: the loops' gain at high frequencies over that at low ones is (1 - d) / |1 - d e^-iω|, d = 0.4 damping."""

    def measure(system: System, _: float) -> float:
        tail = tail_of(system, duration_s)
        gains = [
            _loop_gain(band_of(tail, system.sample_rate, *band), system.sample_rate, system.channels == 2) for band in (LOW_HZ, HIGH_HZ)
        ]
        centres = [2.0 * math.pi * math.sqrt(low * high) / system.sample_rate for low, high in (LOW_HZ, HIGH_HZ)]

        def share(d: float) -> float:
            low, high = ((1.0 - d) / abs(1.0 - d * np.exp(-1j * centre)) for centre in centres)
            return float(low / high - gains[0] / gains[1])

        return _root(share, 0.0, 0.6) / 0.4

    return measure


def _first_echo(system: System) -> Signal:
    """Heights [C] of the first echo, after the direct sound."""
    out = impulses(system, 0.1)[:, 1:]
    place = int(np.argmax(np.abs(out).max(axis=0) > 0.1 * np.abs(out).max()))
    return out[:, place]


def wet(system: System, _: float) -> float:
    """The factor of the tail: the first echo over the level that Freeverb gives it; of one channel at a width of 1, half of that."""
    echo = _first_echo(system)
    return abs(float(echo.sum())) / FIRST_LEVEL * (1.0 if len(echo) == 2 else 2.0)


def width(system: System, _: float) -> float:
    """The width of the tail: left minus right over left plus right of the first echo, which is the left comb's alone."""
    left, right = (float(height) for height in _first_echo(system))
    return (left - right) / (left + right)
