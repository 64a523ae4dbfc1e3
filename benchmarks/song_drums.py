"""Drums of synthetic songs: one-shots of noise, sines and metal, and a kit of them that plays a score."""

from __future__ import annotations

import numpy as np
from song_filters import add_at, butter
from song_score import Score

# Decay times and levels of our own drums; toms have 0.3 s and 0.6.
DRUM_DECAYS_S = {
    "kick": 0.28, "snare": 0.16, "clap": 0.14, "rim": 0.03, "hat": 0.05, "open": 0.3, "crash": 1.1, "ride": 0.6, "shaker": 0.05,
    "perc": 0.12,
}  # fmt: skip
DRUM_LEVELS = {
    "kick": 1.0, "snare": 0.8, "clap": 0.6, "rim": 0.4, "hat": 0.3, "open": 0.3, "crash": 0.45, "ride": 0.3, "shaker": 0.25,
    "perc": 0.35,
}  # fmt: skip


def _metal(rng: np.random.Generator, t: np.ndarray, low_hz: float, num_partials: int) -> np.ndarray:
    partials = low_hz * np.sort(rng.uniform(1.0, 7.0, num_partials))
    starts = rng.uniform(0, 6.28, num_partials)
    return sum(np.sign(np.sin(2 * np.pi * f * t + p)) for f, p in zip(partials, starts, strict=True)) / num_partials


def _membrane(rng: np.random.Generator, name: str, decay: float, t: np.ndarray, noise: np.ndarray, sample_rate: int) -> np.ndarray:
    base = rng.uniform(42, 68) if name == "kick" else {"tom1": 170, "tom2": 125, "tom3": 90}[name] * rng.uniform(0.8, 1.25)
    sweep = base * (1 + rng.uniform(1, 6 if name == "kick" else 1.5) * np.exp(-t / rng.uniform(0.008, 0.05)))
    sound = np.sin(2 * np.pi * np.cumsum(sweep) / sample_rate) * np.exp(-t / decay)
    click = rng.uniform(0.02, 0.4) * butter(noise, sample_rate, "highpass", rng.uniform(800, 4000))
    sound += click * np.exp(-t / rng.uniform(0.003, 0.015))
    return np.tanh(rng.uniform(0.8, 3.0) * sound)


def _snare(rng: np.random.Generator, decay: float, t: np.ndarray, noise: np.ndarray, sample_rate: int) -> np.ndarray:
    base = rng.uniform(150, 260)
    body = sum(np.sin(2 * np.pi * base * r * t) * np.exp(-t / (decay * 0.5)) for r in (1.0, rng.uniform(1.4, 1.8)))
    wires = butter(noise, sample_rate, "bandpass", (rng.uniform(800, 2500), rng.uniform(6000, 14000)), 1) * np.exp(-t / decay)
    return rng.uniform(0.2, 0.8) * body + rng.uniform(0.6, 1.6) * wires


def _clap(rng: np.random.Generator, decay: float, t: np.ndarray, noise: np.ndarray, sample_rate: int) -> np.ndarray:
    bursts = sum(np.where(t >= d, np.exp(-(t - d) / 0.008), 0.0) for d in (0.0, 0.011, 0.022))
    bursts = bursts + np.where(t >= 0.03, np.exp(-(t - 0.03) / decay), 0.0)
    return butter(noise, sample_rate, "bandpass", (rng.uniform(700, 1100), rng.uniform(2000, 6000)), 1) * bursts


def _cymbal(rng: np.random.Generator, name: str, decay: float, t: np.ndarray, noise: np.ndarray, sample_rate: int) -> np.ndarray:
    metal = _metal(rng, t, rng.uniform(300, 900), 8)
    mixed = rng.uniform(0.2, 1.0) * metal + rng.uniform(0.2, 1.0) * noise
    corner_hz = rng.uniform(2500, 8000) * (0.6 if name in ("crash", "ride") else 1.0)
    sound = butter(mixed, sample_rate, "highpass", corner_hz, 2) * np.exp(-t / decay)
    if name == "ride":
        sound += 0.3 * np.sin(2 * np.pi * rng.uniform(2500, 5000) * t) * np.exp(-t / 0.15)
    return sound


def one_shot(rng: np.random.Generator, name: str, sample_rate: int) -> np.ndarray:
    """One drum sound [t] with drawn timbre, peak 1."""
    decay = DRUM_DECAYS_S.get(name, 0.3) * rng.uniform(0.5, 1.7)
    t = np.arange(int(min(2.5, 6 * decay) * sample_rate)) / sample_rate
    noise = rng.standard_normal(t.size)
    if name == "kick" or name.startswith("tom"):
        sound = _membrane(rng, name, decay, t, noise, sample_rate)
    elif name == "snare":
        sound = _snare(rng, decay, t, noise, sample_rate)
    elif name == "clap":
        sound = _clap(rng, decay, t, noise, sample_rate)
    elif name in ("hat", "open", "crash", "ride"):
        sound = _cymbal(rng, name, decay, t, noise, sample_rate)
    elif name == "shaker":
        sound = butter(noise, sample_rate, "bandpass", (3500, 12000), 1) * np.minimum(1, t / 0.02) * np.exp(-t / decay)
    else:
        base = rng.uniform(250, 1600)
        tone = np.sin(2 * np.pi * base * t) + 0.5 * np.sin(2 * np.pi * base * rng.uniform(1.4, 2.7) * t)
        sound = tone * np.exp(-t / decay) + 0.2 * noise * np.exp(-t / 0.006)
    return sound / (np.abs(sound).max() + 1e-9)


def render_drums(rng: np.random.Generator, score: Score, sample_rate: int) -> np.ndarray:
    out = np.zeros((2, round(score.duration_s * sample_rate)))
    kit: dict[str, list[np.ndarray]] = {}
    gains: dict[str, np.ndarray] = {}
    for at, name, velocity in score.drums:
        if name not in kit:
            seed = int(rng.integers(2**31))
            kit[name] = [one_shot(np.random.default_rng(seed), name, sample_rate) * (1 + 0.05 * v) for v in range(2)]
            pan = rng.normal(0, 0.05 if name in ("kick", "snare") else 0.35)
            gain = DRUM_LEVELS.get(name, 0.6) * rng.uniform(0.6, 1.5)
            gains[name] = gain * np.array([[1 - np.clip(pan, 0, 0.8)], [1 + np.clip(pan, -0.8, 0)]])
        shot = kit[name][int(rng.integers(2))] * velocity**1.5
        add_at(out, at, gains[name] * shot, sample_rate)
    return out
