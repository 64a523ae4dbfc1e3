"""Settings of gain, place, width, offset, noise, resolution, loudness and of fixed curves, from levels of what goes in and comes out.

References
    Recommendation ITU-R BS.1770-5: a sine of 997 Hz at full scale in one front channel has -3.01 LKFS, so its loudness follows from its
    amplitude without a meter.
"""

from __future__ import annotations

import math

import numpy as np

from stemwright.datagen.evaluate.label_measures.systems import Measure, Signal, System, db, noise, rms

LEVEL_DB = -20.0
FULL_SCALE_LKFS = -3.01


def gain_db(system: System, _: float) -> float:
    """The gain in dB of noise."""
    dry = noise(system.frames(0.5), LEVEL_DB)
    return db(rms(system.heard(dry)) / rms(dry))


def gain_factor(system: System, _: float) -> float:
    """The gain of noise as a factor, with its sign."""
    dry = noise(system.frames(0.5), LEVEL_DB)
    return float(np.dot(system.heard(dry), dry) / np.dot(dry, dry))


def pan(system: System, _: float) -> float:
    """The place from -1 (left) to 1 (right) of equal channels, from the angle of their amplitudes: constant power."""
    left, right = (rms(channel) for channel in system.play(noise(system.frames(0.5), LEVEL_DB)))
    return math.atan2(right, left) * 4.0 / math.pi - 1.0


def width(system: System, _: float) -> float:
    """The gain of the difference of two channels over that of their sum."""
    dry = noise(system.frames(0.5), LEVEL_DB, channels=2)
    wet = system.play(dry)
    side, middle = (rms(wet[0] + sign * wet[1]) / rms(dry[0] + sign * dry[1]) for sign in (-1.0, 1.0))
    return side / middle if middle else math.inf


def offset(system: System, _: float) -> float:
    """The constant that is added, as a share of the largest sample."""
    dry = noise(system.frames(0.5), LEVEL_DB)
    return float((system.heard(dry) - dry).mean() / np.abs(dry).max())


def added_constant(system: System, _: float) -> float:
    """The constant that is added."""
    dry = noise(system.frames(0.5), LEVEL_DB)
    return float((system.heard(dry) - dry).mean())


def snr_db(system: System, _: float) -> float:
    """The power of the sound over that of what is added to it, in dB, over all channels."""
    dry = noise(system.frames(2.0), LEVEL_DB, channels=system.channels)
    return db(rms(dry) / max(rms(system.play(dry) - dry), 1e-12))


def added_rms(system: System, _: float) -> float:
    """The RMS of what is added."""
    dry = noise(system.frames(2.0), LEVEL_DB, channels=system.channels)
    return rms(system.play(dry) - dry)


def noise_slope_db(system: System, _: float) -> float:
    """The slope of the spectrum of what is added, in dB an octave, between 100 Hz and 12.8 kHz, of the power in each Hz."""
    dry = noise(system.frames(4.0), LEVEL_DB, channels=system.channels)
    power = np.square(np.abs(np.fft.rfft((system.play(dry) - dry)[-1])))
    hz = np.fft.rfftfreq(dry.shape[-1], 1.0 / system.sample_rate)
    edges = 100.0 * 2.0 ** np.arange(8)
    bands = [10.0 * math.log10(power[(hz >= low) & (hz < 2.0 * low)].mean()) for low in edges[:-1]]
    return float(np.polyfit(np.arange(len(bands)), bands, 1)[0])


def bits(system: System, _: float) -> float:
    """The resolution in bits: of steps of the size 2 / 2^bits from -1 to 1, counted by the most frequent step of a slow ramp."""
    levels = np.unique(np.round(system.heard(np.linspace(-0.9, 0.9, system.frames(3.0))), 7))
    return math.log2(2.0 / float(np.median(np.diff(levels)))) if len(levels) > 2 else math.nan


def sine_loudness(level_db: float = -20.0) -> Measure:
    """The loudness in LUFS of a sine of 997 Hz after the effect, from its amplitude in each channel."""

    def measure(system: System, _: float) -> float:
        sine = _tone(system, 997.0, level_db, 3.0)
        power = sum(2.0 * rms(channel) ** 2 for channel in system.play(sine))
        return FULL_SCALE_LKFS + 10.0 * math.log10(power)

    return measure


def peak_db(system: System, _: float) -> float:
    """The highest absolute sample in dB, of noise."""
    return db(float(np.abs(system.play(noise(system.frames(1.0), LEVEL_DB))).max()))


def _tone(system: System, hz: float, level_db: float, duration_s: float) -> Signal:
    return 10.0 ** (level_db / 20.0) * np.sin(2.0 * math.pi * hz / system.sample_rate * np.arange(system.frames(duration_s)))


def gate_lufs(system: System, expected: float) -> float:
    """The softest loudness in LUFS that a normalisation still changes, of a sine of 997 Hz, by bisection within 15 LU."""
    low, high = expected - 15.0, expected + 15.0
    for _ in range(9):
        middle = (low + high) / 2.0
        sine = _tone(system, 997.0, middle - FULL_SCALE_LKFS - 10.0 * math.log10(system.channels), 1.0)
        low, high = (low, middle) if abs(db(rms(system.heard(sine)) / rms(sine))) > 0.01 else (middle, high)
    return (low + high) / 2.0


def semitones(hz: float = 440.0) -> Measure:
    """The shift of a tone's mean frequency in semitones, from the phase of its analytic signal over 2 s."""

    def measure(system: System, _: float) -> float:
        tone = system.heard(_tone(system, hz, -12.0, 3.0))
        spectrum = np.fft.fft(tone)
        spectrum[len(tone) // 2 :] = 0.0
        phase = np.unwrap(np.angle(np.fft.ifft(spectrum)))[system.frames(0.5) : system.frames(2.5)]
        found = np.polyfit(np.arange(len(phase)), phase, 1)[0] * system.sample_rate / (2.0 * math.pi)
        return 12.0 * math.log2(found / hz) if found > 0.0 else math.nan

    return measure


def gain_db_at(time_s: float, duration_s: float) -> Measure:
    """The gain in dB at a time, in a constant signal of a duration."""

    def measure(system: System, _: float) -> float:
        out = system.heard(np.full(system.frames(duration_s), 0.1))
        return db(abs(float(np.interp(time_s * system.sample_rate, np.arange(len(out)), out))) / 0.1)

    return measure


def turning_s(duration_s: float) -> Measure:
    """The time in s at which the gain is lowest: the first corner of a gain that falls and rises along straight lines in dB.

    Of a constant signal the gain is known at each sample; the corner is where the two lines meet.
    """

    def measure(system: System, _: float) -> float:
        gain = 20.0 * np.log10(np.maximum(np.abs(system.heard(np.full(system.frames(duration_s), 0.1))) / 0.1, 1e-12))
        time = np.arange(len(gain)) / system.sample_rate
        place = int(np.argmin(gain))
        sides = [slice(place // 4, 3 * place // 4), slice(place + (place // 4), place + (3 * place) // 4)]
        (fall, start), (rise, back) = (np.polyfit(time[side], gain[side], 1) for side in sides)
        return float((start - back) / (rise - fall))

    return measure


class Waveshape:
    """A curve without memory, f(x) = K (tanh(g x + b) - tanh b): read at inputs far beyond full scale, at full scale, and around 0.

    At the ends f is K (±1 - tanh b), so (f(∞) - f(-∞)) / 2 is K and f(∞) / -f(-∞) is e^-2b; the slope at 0 is K g / cosh(b)^2.
    """

    def __init__(self, system: System) -> None:
        points = np.array([1e6, -1e6, 1.0, -1.0, 1e-4, -1e-4])
        held = system.heard(np.repeat(points, 64))
        highest, lowest, one, minus_one, up, down = (float(held[64 * k + 32]) for k in range(6))
        self.height = (highest - lowest) / 2.0
        self.shift = -0.5 * math.log(highest / -lowest) if highest > 0.0 > lowest else math.nan
        self.whole = (one - minus_one) / 2.0
        self.slope = (up - down) / 2e-4

    @property
    def drive_db(self) -> float:
        """g in dB."""
        return db(self.slope * math.cosh(self.shift) ** 2 / self.height) if self.height else math.nan


def drive_db(system: System, _: float) -> float:
    """The gain in dB into a hyperbolic tangent."""
    return Waveshape(system).drive_db


def asymmetry(system: System, _: float) -> float:
    """The shift of a hyperbolic tangent."""
    return Waveshape(system).shift


def full_scale_db(system: System, _: float) -> float:
    """What becomes of a full-scale swing, in dB."""
    return db(Waveshape(system).whole)
