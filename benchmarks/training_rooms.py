"""Rooms to learn reverberation from: many variants of a bank of responses, with what differs between makes of rooms drawn.

    spectrum     the reverberation is darker or thinner than the direct sound, by a filter of first order
    density      few echoes in a second to begin with, as in small digital reverberators, or as dense as noise
    two decays   a second, longer one below the first, as in coupled rooms
    coherence    both channels alike, alike at low frequencies (two microphones at a distance), in part, or not at all

Conventions
    Responses are float64 [2, L] with the direct sound as the first sample, 1. The bank is of ``room`` and ``early`` of ``rooms.py``; no
    image sources, feedback networks, reverberators of others or measured rooms, which are left to the benchmarks that report.

References
    Kuttruff 2016, Room Acoustics: the coherence of a diffuse field at a distance, sin(kd) / kd.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import rooms
from rooms import Room
from scipy.signal import butter, sosfilt

from stemwright.datagen.evaluate.known_rooms import drr_of, rt60_of

SOUND_M_S = 343.0
MAKES = ("room", "early")
RT60_S, WET_DB = (0.12, 3.0), (-24.0, 4.0)
Array = np.ndarray


@dataclass(frozen=True)
class Bank:
    """Reverberations without the direct sound, float64 [2, L] each, and the time of each in s."""

    tails: list[Array]
    times: list[float]
    sample_rate: int

    def draw(self, rng: np.random.Generator) -> Room:
        """A room that is made of one of the bank."""
        place = int(rng.integers(len(self.tails)))
        tail, rt60_s = self.tails[place].copy(), self.times[place]
        kind = rng.random()
        if kind < 0.15:
            tail *= sparse(rng, tail.shape, self.sample_rate)
        elif kind < 0.25:
            other = self.tails[int(rng.integers(len(self.tails)))]
            longest = max(tail.shape[1], other.shape[1])
            gain = 10.0 ** (rng.uniform(-20.0, -4.0) / 20.0) * math.sqrt((tail**2).sum() / (other**2).sum())
            tail = np.pad(tail, ((0, 0), (0, longest - tail.shape[1]))) + gain * np.pad(other, ((0, 0), (0, longest - other.shape[1])))
        if rng.random() < 0.4:
            tail = filtered(tail, self.sample_rate, rng)
        if kind < 0.25:
            rt60_s = rt60_of(tail, self.sample_rate)
        tail = coherent(tail, self.sample_rate, rng)
        level = 10.0 ** (rng.uniform(*WET_DB) / 20.0) / math.sqrt((tail**2).sum(1).mean() + 1e-30)
        response = level * tail
        response[:, 0] = 1.0
        return Room(response, rt60_s, drr_of(response, self.sample_rate))


def bank(rng: np.random.Generator, count: int, sample_rate: int) -> Bank:
    """So many rooms."""
    made = [rooms.draw_room(MAKES[number % len(MAKES)], rng, sample_rate, rt60_s=RT60_S, wet_db=(0.0, 0.0)) for number in range(count)]
    tails = [np.where(np.arange(one.response.shape[1]) > 0, one.response, 0.0) for one in made]
    return Bank(tails, [one.rt60_s for one in made], sample_rate)


def sparse(rng: np.random.Generator, shape: tuple[int, ...], sample_rate: int) -> Array:
    """0 or 1 for each sample: a few hundred echoes a second or more, and more with time, alike in both channels or not."""
    time = np.arange(shape[1]) / sample_rate
    density = np.exp(rng.uniform(np.log(300.0), np.log(4000.0))) * (1.0 + time / rng.uniform(0.02, 0.3))
    drawn = rng.random((1 if rng.random() < 0.3 else shape[0], shape[1]))
    return np.asarray(drawn < density / sample_rate, float)


def filtered(tail: Array, sample_rate: int, rng: np.random.Generator) -> Array:
    """Darker or thinner by a filter of first order."""
    if rng.random() < 0.6:
        sections = butter(1, float(np.exp(rng.uniform(np.log(800.0), np.log(6000.0)))), "lowpass", fs=sample_rate, output="sos")
    else:
        sections = butter(1, float(np.exp(rng.uniform(np.log(100.0), np.log(600.0)))), "highpass", fs=sample_rate, output="sos")
    return np.asarray(sosfilt(sections, tail, axis=1))


def coherent(tail: Array, sample_rate: int, rng: np.random.Generator) -> Array:
    """The second channel made alike to the first, in one of four ways."""
    kind = rng.random()
    if kind < 0.4:
        return tail
    if kind < 0.55:
        return np.repeat(tail[:1], 2, axis=0)
    if kind < 0.7:
        alike = float(rng.uniform(0.2, 0.98))
        return np.stack([tail[0], alike * tail[0] + math.sqrt(1.0 - alike**2) * tail[1]])
    hz = np.fft.rfftfreq(tail.shape[1], 1.0 / sample_rate)
    alike_at = np.sinc(2.0 * hz * float(np.exp(rng.uniform(np.log(0.08), np.log(0.8)))) / SOUND_M_S)
    first, second = np.fft.rfft(tail, axis=1)
    return np.stack([tail[0], np.fft.irfft(alike_at * first + np.sqrt(1.0 - alike_at**2) * second, tail.shape[1])])
