"""An effect with settings of which only the sound is known: what goes in, and what comes out.

Conventions
    A signal is [T] or [C, T] in float64; [T] goes into every channel. It is given to the effect as float32, as libraries take it, and what
    comes out is float64 [C, T]. ``heard`` is the last channel of it, which of a mono signal is its only one.
    A measure is a function of a system, and where it needs to know where to look, of the value that is expected; it returns what it found
    in the unit of the setting, NaN where nothing can be measured.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Signal: TypeAlias = NDArray[np.float64]
Process: TypeAlias = Callable[[NDArray[np.float32], int], Any]


class OutputError(ValueError):
    """What an effect returned is no audio: not finite, empty, or of another number of dimensions."""


@dataclass(frozen=True)
class System:
    """An effect with its settings, at one sample rate and one number of channels."""

    process: Process
    sample_rate: int
    channels: int = 1

    def play(self, signal: Signal) -> Signal:
        """What the effect makes of a signal, [C, T]. Raises OutputError for what is no audio."""
        whole = signal if signal.ndim == 2 else np.tile(signal, (self.channels, 1))
        out = np.asarray(self.process(np.ascontiguousarray(whole, np.float32), self.sample_rate), np.float64)
        if out.ndim == 1:
            out = out[None]
        if out.ndim != 2 or out.shape[-1] == 0:
            raise OutputError(f"expected audio [C, T]; got the shape {list(out.shape)}")
        if not np.isfinite(out).all():
            raise OutputError("expected finite audio; got NaN or infinity")
        return out

    def heard(self, signal: Signal) -> Signal:
        """The last channel of what the effect makes of a signal, [T], with the length of the signal: cut, or zeros after it."""
        out = self.play(signal)[-1]
        frames = signal.shape[-1]
        return out[:frames] if len(out) >= frames else np.pad(out, (0, frames - len(out)))

    def frames(self, duration_s: float) -> int:
        """A duration in samples."""
        return max(1, round(duration_s * self.sample_rate))


Measure: TypeAlias = Callable[[System, float], float]


LEAD_S = 0.1  # silence before an impulse: an effect may begin in the state that its first sample suggests, or sound before it


def impulse(system: System, duration_s: float, height: float = 0.5, *, lead_s: float = 0.0) -> Signal:
    """The response [T] to an impulse after a tenth of a second of silence, per unit of it, from ``lead_s`` before the impulse on."""
    lead = system.frames(max(lead_s, LEAD_S))
    signal = np.zeros(lead + system.frames(duration_s))
    signal[lead] = height
    return system.heard(signal)[lead - round(lead_s * system.sample_rate) :] / height


def impulses(system: System, duration_s: float, height: float = 0.5) -> Signal:
    """The response of all channels, [C, T], to an impulse in all of them."""
    lead = system.frames(LEAD_S)
    signal = np.zeros(lead + system.frames(duration_s))
    signal[lead] = height
    return system.play(signal)[:, lead:] / height


def noise(frames: int, level_db: float, seed: int = 0, channels: int | None = None) -> Signal:
    """White noise [T], or [C, T] different in each channel, of an RMS in dB against full scale."""
    shape = (frames,) if channels is None else (channels, frames)
    return np.random.default_rng(seed).standard_normal(shape) * 10.0 ** (level_db / 20.0)


def carrier(levels_db: Signal) -> Signal:
    """A square wave [T] whose absolute value is the given level at each sample, so that no detector of level sees a ripple."""
    sign = np.where(np.arange(len(levels_db)) // 16 % 2 == 0, 1.0, -1.0)
    return sign * 10.0 ** (levels_db / 20.0)


def db(ratio: float) -> float:
    """An amplitude ratio in dB; nothing is -inf."""
    return float(20.0 * np.log10(ratio)) if ratio > 0.0 else -float("inf")


def rms(signal: Signal) -> float:
    """The root of the mean square."""
    return float(np.sqrt(np.mean(np.square(signal))))
