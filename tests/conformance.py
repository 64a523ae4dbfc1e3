"""The published test signals for loudness meters that can be synthesised, with what a conforming meter reads.

EBU's own files may not be redistributed; these are generated from their description, at any sample rate. Cases 7 and 8 of Tech 3341 are
real programmes and are not here. The tests and the benchmark read the same list.

Conventions
    A signal is float32 [C, T]; levels in dBFS are the peak of a sine per channel. A case passes when every reading is within its
    tolerance.

References
    EBU Tech 3341 (2023), table 1, cases 1 to 6 and 9 to 23. EBU Tech 3342 (2023), table 1. Report ITU-R BS.2217-2, tones. Recommendation
    ITU-R BS.1770-5, annex 1 (the 997 Hz tone).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stemwright.separation.loudness.meter import integrated_loudness, loudness_range, momentary_loudness, short_term_loudness, true_peak

Array = NDArray[np.floating]

SILENCE_DBFS = -np.inf
BS2217_PEAKS_DBFS = {25: -11.916, 100: -21.176, 500: -22.352, 1000: -23.007, 2000: -25.380, 10_000: -26.351}
FADE_S = 0.01


@dataclass(frozen=True)
class Case:
    """One signal, one quantity: ``make(sample_rate)`` gives the audio, ``read(audio, sample_rate)`` the readings; each has its
    expectation."""

    name: str
    quantity: str
    expected: tuple[float, ...]
    below: float
    above: float
    make: Callable[[int], Array]
    read: Callable[[Array, int], Sequence[float]]

    def readings(self, sample_rate: int) -> tuple[float, ...]:
        """What this meter reads."""
        return tuple(float(value) for value in self.read(self.make(sample_rate), sample_rate))

    def passes(self, readings: Sequence[float]) -> bool:
        """True when every reading is within the tolerance of its expectation."""
        return len(readings) == len(self.expected) and all(
            expected - self.below <= value <= expected + self.above for value, expected in zip(readings, self.expected, strict=True)
        )


def steps(sample_rate: int, *parts: tuple[float, float], frequency_hz: float = 1000.0) -> Array:
    """A stereo in-phase sine whose level changes in steps: (duration in s, peak in dBFS) one after another, [2, T]."""
    edges = np.round(np.cumsum([0.0, *(duration_s for duration_s, _ in parts)]) * sample_rate).astype(int)
    gain = np.concatenate([np.full(n, 10 ** (level / 20)) for n, (_, level) in zip(np.diff(edges), parts, strict=True)])
    tone = np.sin(2 * np.pi * frequency_hz * np.arange(edges[-1]) / sample_rate)
    return np.tile((tone * gain).astype(np.float32), (2, 1))


def surround(sample_rate: int) -> Array:
    """Tech 3341 case 6: L R C Ls Rs at -28 -28 -24 -30 -30 dBFS, [5, T]."""
    tone = steps(sample_rate, (20, 0.0))[:1]
    return tone * (10 ** (np.array([-28, -28, -24, -30, -30]) / 20))[:, None].astype(np.float32)


def one_channel(sample_rate: int) -> Array:
    """BS.1770: 997 Hz at full scale in one front channel, [1, T]."""
    return steps(sample_rate, (20, 0.0), frequency_hz=997.0)[:1]


def peak_tone(sample_rate: int, divisor: int, amplitude: float, phase_deg: float) -> Array:
    """Tech 3341 cases 15 to 19: a sine of sample rate / divisor that starts at a phase, with short fades, [2, T]."""
    n = np.arange(sample_rate)
    fade = np.minimum(1.0, np.minimum(n, n[::-1]) / (FADE_S * sample_rate))
    tone = amplitude * np.sin(2 * np.pi * n / divisor + np.radians(phase_deg)) * fade
    return np.tile(tone.astype(np.float32), (2, 1))


def peak_burst(sample_rate: int, offset: int) -> Array:
    """Tech 3341 cases 20 to 23: made at four times the rate, one loud period in a softer tone, low-passed, every fourth sample from
    ``offset``."""
    from scipy.signal import fftconvolve, firwin

    n = np.arange(24 * (sample_rate // 24))  # whole periods of the soft tone: the loud one starts and ends at zero
    soft = 0.5 * np.sin(2 * np.pi * n / 24)
    loud = np.sin(2 * np.pi * np.arange(16) / 16)
    high_rate = np.concatenate([soft, loud, soft])
    fade = np.minimum(1.0, np.minimum(np.arange(high_rate.size), np.arange(high_rate.size)[::-1]) / (4 * FADE_S * sample_rate))
    band_limited = fftconvolve(high_rate * fade, firwin(255, 0.235), mode="same")
    return np.tile(band_limited[offset::4].astype(np.float32), (2, 1))


def _integrated(audio: Array, sample_rate: int) -> list[float]:
    return [integrated_loudness(audio, sample_rate)]


def _range(audio: Array, sample_rate: int) -> list[float]:
    return [loudness_range(audio, sample_rate)]


def _peak(audio: Array, sample_rate: int) -> list[float]:
    return [true_peak(audio, sample_rate)]


def _largest_momentary(audio: Array, sample_rate: int) -> list[float]:
    return [momentary_loudness(audio, sample_rate)[0].max()]


def _largest_short_term(audio: Array, sample_rate: int) -> list[float]:
    return [short_term_loudness(audio, sample_rate)[0].max()]


def _settled(read: Callable[[Array, int], tuple[Array, Array]], after_s: float) -> Callable[[Array, int], list[float]]:
    """Smallest and largest reading once the first ``after_s`` seconds are over: both equal for a constant reading."""

    def extremes(audio: Array, sample_rate: int) -> list[float]:
        loudness, ends = read(audio, sample_rate)
        return [loudness[ends >= after_s].min(), loudness[ends >= after_s].max()]

    return extremes


def _per_segment(read: Callable[[Array, int], tuple[Array, Array]], segment_s: float) -> Callable[[Array, int], list[float]]:
    """Largest reading of the windows that end in each of 20 segments."""

    def largest(audio: Array, sample_rate: int) -> list[float]:
        loudness, ends = read(audio, sample_rate)
        segments = np.ceil(ends / segment_s - 1e-9).astype(int) - 1
        return [loudness[segments == i].max() for i in range(20)]

    return largest


def _make(*parts: tuple[float, float]) -> Callable[[int], Array]:
    return lambda sample_rate: steps(sample_rate, *parts)


def _steady_cases() -> Iterator[Case]:
    programmes: dict[str, list[tuple[float, float]]] = {
        "3": [(10, -36), (60, -23), (10, -36)],
        "4": [(10, -72), (10, -36), (60, -23), (10, -36), (10, -72)],
        "5": [(20, -26), (20.1, -20), (20, -26)],
    }
    for number, level in (("1", -23.0), ("2", -33.0)):
        make = _make((20, level))
        yield Case(f"3341-{number}", "integrated", (level,), 0.1, 0.1, make, _integrated)
        yield Case(f"3341-{number}", "momentary, constant", (level, level), 0.1, 0.1, make, _settled(momentary_loudness, 0.4))
        yield Case(f"3341-{number}", "short-term, constant", (level, level), 0.1, 0.1, make, _settled(short_term_loudness, 3.0))
    for number, parts in programmes.items():
        yield Case(f"3341-{number}", "integrated", (-23.0,), 0.1, 0.1, _make(*parts), _integrated)
    yield Case("3341-6", "integrated, 5.0", (-23.0,), 0.1, 0.1, surround, _integrated)


def _window_cases() -> Iterator[Case]:
    make = _make(*[(1.34, -20), (1.66, -30)] * 5)
    yield Case("3341-9", "short-term, constant", (-23.0, -23.0), 0.1, 0.1, make, _settled(short_term_loudness, 3.0))
    for i in range(20):
        make = _make((0.15 * i, SILENCE_DBFS), (3, -23), (1, SILENCE_DBFS))
        yield Case(f"3341-10.{i}", "largest short-term", (-23.0,), 0.1, 0.1, make, _largest_short_term)
    rising = tuple(-38.0 + i for i in range(20))
    parts = [part for i in range(20) for part in ((0.15 * i, SILENCE_DBFS), (3.0, -38.0 + i), (3 - 0.15 * i, SILENCE_DBFS))]
    yield Case("3341-11", "largest short-term of each", rising, 0.1, 0.1, _make(*parts), _per_segment(short_term_loudness, 6.0))
    make = _make(*[(0.18, -20), (0.22, -30)] * 25)
    yield Case("3341-12", "momentary, constant", (-23.0, -23.0), 0.1, 0.1, make, _settled(momentary_loudness, 1.0))
    for i in range(20):
        make = _make((0.02 * i, SILENCE_DBFS), (0.4, -23), (1, SILENCE_DBFS))
        yield Case(f"3341-13.{i}", "largest momentary", (-23.0,), 0.1, 0.1, make, _largest_momentary)
    parts = [part for i in range(20) for part in ((0.02 * i, SILENCE_DBFS), (0.4, -38.0 + i), (0.4 - 0.02 * i, SILENCE_DBFS))]
    yield Case("3341-14", "largest momentary of each", rising, 0.1, 0.1, _make(*parts), _per_segment(momentary_loudness, 0.8))


def _peak_cases() -> Iterator[Case]:
    tones = {"15": (4, 0.5, 0.0), "16": (4, 0.5, 45.0), "17": (6, 0.5, 60.0), "18": (8, 0.5, 67.5), "19": (4, 1.41, 45.0)}
    for number, (divisor, amplitude, phase_deg) in tones.items():
        expected = (3.0 if amplitude > 1 else -6.0,)
        yield Case(
            f"3341-{number}",
            "true peak",
            expected,
            0.4,
            0.2,
            lambda rate, d=divisor, a=amplitude, p=phase_deg: peak_tone(rate, d, a, p),  # type: ignore[misc]
            _peak,
        )
    for offset in range(4):
        yield Case(
            f"3341-{20 + offset}",
            "true peak",
            (0.0,),
            0.4,
            0.2,
            lambda rate, o=offset: peak_burst(rate, o),  # type: ignore[misc]
            _peak,
        )


def _other_cases() -> Iterator[Case]:
    ranges = {"1": ((-20, -30), 10.0), "2": ((-20, -15), 5.0), "3": ((-40, -20), 20.0), "4": ((-50, -35, -20, -35, -50), 15.0)}
    for number, (levels, expected) in ranges.items():
        parts = [(20.0, float(level)) for level in levels]
        yield Case(f"3342-{number}", "range", (expected,), 1.0, 1.0, _make(*parts, (1.5, SILENCE_DBFS)), _range)
    yield Case("BS.1770 997 Hz", "integrated, one channel", (-3.01,), 0.1, 0.1, one_channel, _integrated)
    for frequency_hz, peak_dbfs in BS2217_PEAKS_DBFS.items():
        yield Case(
            f"BS.2217 {frequency_hz} Hz",
            "integrated",
            (-23.0,),
            0.1,
            0.1,
            lambda rate, f=frequency_hz, p=peak_dbfs: steps(rate, (20, p), frequency_hz=f),  # type: ignore[misc]
            _integrated,
        )


def cases() -> list[Case]:
    """Every case, in the order of the documents."""
    return [*_steady_cases(), *_window_cases(), *_peak_cases(), *_other_cases()]
