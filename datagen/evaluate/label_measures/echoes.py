"""Settings of delays and rooms, from the response to an impulse: times and factors of echoes, decay times, level of the tail.

Conventions
    The direct sound is what comes within the first half millisecond. A decay time is of 60 dB, from the slope of the energy that is still
    to come.

References
    Schroeder 1965, "New method of measuring reverberation time": the decay curve as the integral of the squared response backwards.
    ISO 3382-2: the slope between -5 and -35 dB, extrapolated to 60 dB (T30).
"""

from __future__ import annotations

import math

import numpy as np

from stemwright.datagen.evaluate.label_measures.systems import Measure, Signal, System, db, impulse, impulses

DIRECT_S = 0.0005


def _echo(response: Signal, start: int) -> tuple[float, float]:
    """Place, between samples, and height of the highest echo from a sample on."""
    place = start + int(np.argmax(np.abs(response[start:])))
    near = np.arange(max(place - 2, start), min(place + 3, len(response)))
    weight = response[near]
    height = float(weight.sum())
    return (float(np.dot(near, weight) / height), height) if height else (math.nan, 0.0)


def delay_ms(system: System, expected: float) -> float:
    """The time of the highest echo in ms."""
    response = impulse(system, 2.5 * expected / 1000.0 + 0.1)
    return 1000.0 * _echo(response, system.frames(DIRECT_S))[0] / system.sample_rate


def feedback(time_ms: float) -> Measure:
    """The factor from the first echo to the second."""

    def measure(system: System, _: float) -> float:
        response = impulse(system, 2.6 * time_ms / 1000.0)
        place, height = _echo(response[: round(1.5 * time_ms / 1000.0 * system.sample_rate)], system.frames(DIRECT_S))
        if not height:
            return math.nan
        around = slice(max(round(2.0 * place) - 2, 0), round(2.0 * place) + 3)
        return float(response[around].sum()) / height

    return measure


def direct(system: System, _: float) -> float:
    """The factor of the direct sound."""
    return float(impulse(system, 0.2)[0])


def dry_share(system: System, expected: float) -> float:
    """1 minus the factor of the direct sound: what a mix of sound and effect gives the effect."""
    return 1.0 - direct(system, expected)


def echo_factor(time_ms: float) -> Measure:
    """The factor of the first echo."""

    def measure(system: System, _: float) -> float:
        response = impulse(system, 1.5 * time_ms / 1000.0)
        return _echo(response, system.frames(DIRECT_S))[1]

    return measure


def decay_s(response: Signal, sample_rate: int, start_s: float = 0.0) -> float:
    """The time of 60 dB of decay of a response, of the slope between -5 and -35 dB after a start."""
    energy = np.cumsum(np.square(response[round(start_s * sample_rate) :])[::-1])[::-1]
    if not energy[0]:
        return math.nan
    level = 10.0 * np.log10(np.maximum(energy / energy[0], 1e-20))
    part = np.flatnonzero((level <= -5.0) & (level >= -35.0))
    if len(part) < 10:
        return math.nan
    return float(-60.0 / np.polyfit(part / sample_rate, level[part], 1)[0])


def band_of(response: Signal, sample_rate: int, low_hz: float, high_hz: float) -> Signal:
    """A response with only the frequencies of a band, by a filter without phase whose edges are a tenth wide."""
    size = 2 ** math.ceil(math.log2(2 * len(response)))
    hz = np.fft.rfftfreq(size, 1.0 / sample_rate)
    weight = np.clip((hz - 0.95 * low_hz) / (0.1 * low_hz), 0.0, 1.0) * np.clip((1.05 * high_hz - hz) / (0.1 * high_hz), 0.0, 1.0)
    return np.fft.irfft(np.fft.rfft(response, size) * weight, size)[: len(response)]


def tail_of(system: System, duration_s: float) -> Signal:
    """The response without its direct sound."""
    response = impulse(system, duration_s)
    response[: system.frames(DIRECT_S)] = 0.0
    return response


def decay(low_hz: float, high_hz: float, *, start_s: float = 0.0, times: float = 1.5) -> Measure:
    """The decay time in s of a band."""

    def measure(system: System, expected: float) -> float:
        tail = tail_of(system, start_s + min(times * expected + 0.2, 20.0))
        return decay_s(band_of(tail, system.sample_rate, low_hz, high_hz), system.sample_rate, start_s)

    return measure


def pre_delay_ms(system: System, expected: float) -> float:
    """The time in ms at which the tail begins, the direct sound being in the first sample."""
    response = np.abs(impulse(system, expected / 1000.0 + 0.3))
    later = np.flatnonzero(response[1:] > 1e-4 * response[1:].max())
    return 1000.0 * (1 + later[0]) / system.sample_rate if len(later) else math.nan


def tail_db(duration_s: float) -> Measure:
    """The energy of the tail against that of the direct sound, in dB, both over all channels."""

    def measure(system: System, _: float) -> float:
        out = impulses(system, duration_s)
        return 0.5 * (db(float(np.square(out[:, 1:]).sum())) - db(float(np.square(out[:, 0]).sum())))

    return measure


def damping(rt60_s: float) -> Measure:
    """How much faster high frequencies decay: of T = rt60 / (1 + damping f / 4 kHz) the damping, from T of two octaves around f."""
    bands = (500.0, 4000.0)

    def measure(system: System, _: float) -> float:
        tail = tail_of(system, 1.2 * rt60_s)
        low, high = (decay_s(band_of(tail, system.sample_rate, edge, 2.0 * edge), system.sample_rate) for edge in bands)
        near, far = (edge * math.sqrt(2.0) / 4000.0 for edge in bands)
        return (low / high - 1.0) / (far - low / high * near)

    return measure
