"""Oscillators, filters, envelopes and effects of which synthetic songs are made.

Conventions
    Audio is float [..., T]; filters run along the last axis, and what has two channels says so. Effects draw their values from ``rng``.

References
    Valimaki and Huovilainen, IEEE Signal Processing Magazine 24(2), 2007: the polynomial band-limited step.
"""

from __future__ import annotations

import numpy as np
from scipy import signal


def hertz(pitch: float | np.ndarray) -> float | np.ndarray:
    """Frequency of a MIDI pitch, 440 Hz at 69."""
    return 440.0 * 2.0 ** ((np.asarray(pitch) - 69.0) / 12.0)


def saw(phase: np.ndarray, increment: np.ndarray | float) -> np.ndarray:
    """Band-limited saw of a phase in turns, with one phase increment a sample, by a second-order polynomial step."""
    turn = phase % 1.0
    out = 2.0 * turn - 1.0
    increment = np.broadcast_to(increment, turn.shape)
    early, late = turn < increment, turn > 1.0 - increment
    t = turn[early] / increment[early]
    out[early] -= t + t - t * t - 1.0
    t = (turn[late] - 1.0) / increment[late]
    out[late] -= t * t + t + t + 1.0
    return out


def butter(audio: np.ndarray, sample_rate: int, kind: str, cutoff_hz: float | tuple[float, float], order: int = 2) -> np.ndarray:
    """Butterworth filter along the last axis."""
    nyquist = sample_rate / 2
    edges = np.clip(np.asarray(cutoff_hz, float), 15.0, 0.95 * nyquist)
    return signal.sosfilt(signal.butter(order, edges, kind, fs=sample_rate, output="sos"), audio)


def peak_filter(audio: np.ndarray, sample_rate: int, centre_hz: float, gain_db: float, q: float) -> np.ndarray:
    """A bell equaliser band along the last axis (bilinear transform of the analogue bell)."""
    amplitude, w = 10 ** (gain_db / 40), 2 * np.pi * min(centre_hz, 0.45 * sample_rate) / sample_rate
    alpha = np.sin(w) / (2 * q)
    b = [1 + alpha * amplitude, -2 * np.cos(w), 1 - alpha * amplitude]
    a = [1 + alpha / amplitude, -2 * np.cos(w), 1 - alpha / amplitude]
    return signal.lfilter(b, a, audio)


def tilt(audio: np.ndarray, sample_rate: int, corner_hz: float, gain_db: float) -> np.ndarray:
    """Raises or lowers everything above a corner: the sound plus its scaled high band."""
    high = butter(audio, sample_rate, "highpass", corner_hz, 1)
    return audio + (10 ** (gain_db / 20) - 1.0) * high


def envelope(num_frames: int, sample_rate: int, attack_s: float, decay_s: float, sustain: float, release_s: float) -> np.ndarray:
    """Attack, exponential decay to a sustain level and a release at the end."""
    t = np.arange(num_frames) / sample_rate
    out = sustain + (1.0 - sustain) * np.exp(-t / max(decay_s, 1e-3))
    out *= np.minimum(1.0, t / max(attack_s, 1e-3))
    return out * np.minimum(1.0, (num_frames - np.arange(num_frames)) / (max(release_s, 2e-3) * sample_rate))


def add_at(out: np.ndarray, start_s: float, sound: np.ndarray, sample_rate: int) -> None:
    """Adds a sound [..., t] into a buffer [..., T] at a time; what is outside is cut."""
    start = max(0, round(start_s * sample_rate))
    length = min(sound.shape[-1], out.shape[-1] - start)
    if length > 0:
        out[..., start : start + length] += sound[..., :length]


def reverberate(rng: np.random.Generator, audio: np.ndarray, sample_rate: int, wet: float) -> np.ndarray:
    """Adds a stereo tail of decaying, darkened noise with a few early reflections."""
    decay_s = float(np.exp(rng.uniform(np.log(0.2), np.log(3.0))))
    t = np.arange(int(min(decay_s * 1.2, 2.5) * sample_rate)) / sample_rate
    tail = rng.standard_normal((2, t.size)) * 10 ** (-3 * t / decay_s)
    tail = butter(tail, sample_rate, "lowpass", rng.uniform(2500, 10000), 1)
    tail = np.pad(butter(tail, sample_rate, "highpass", 150, 1), ((0, 0), (int(rng.uniform(0.0, 0.04) * sample_rate), 0)))
    tail /= np.sqrt(np.sum(tail**2, axis=1, keepdims=True))
    return audio + wet * signal.oaconvolve(audio, tail, axes=1)[:, : audio.shape[1]]


def echo(rng: np.random.Generator, audio: np.ndarray, step_s: float, sample_rate: int) -> np.ndarray:
    out, delay, gain = audio.copy(), int(step_s * rng.choice([2, 3, 4]) * sample_rate), rng.uniform(0.1, 0.4)
    for number in range(1, 4):
        if number * delay < audio.shape[1]:
            out[:, number * delay :] += gain**number * np.roll(audio, number % 2, axis=0)[:, : -number * delay]
    return out


def compress(audio: np.ndarray, sample_rate: int, threshold_db: float, ratio: float, time_s: float) -> np.ndarray:
    """A simple feed-forward compressor on smoothed power, linked over channels."""
    coefficient = np.exp(-1 / (time_s * sample_rate))
    power = signal.lfilter([1 - coefficient], [1, -coefficient], np.mean(audio**2, axis=0))
    over = np.maximum(0.0, 10 * np.log10(power + 1e-12) - threshold_db)
    return audio * 10 ** (-over * (1 - 1 / ratio) / 20)
