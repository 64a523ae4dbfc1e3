"""Rooms of several makes, as impulse responses, and the reverberation time and level that they have.

    room       stemwright's own: noise that decays, faster at high frequencies
    early      the same with sparse early reflections, and another decay in each octave
    image      a box with walls that absorb, by image sources; two microphones
    network    a feedback delay network of 16 lines with low-pass filters in its loop

Conventions
    A response is float64 [2, L]; its direct sound is the first sample, 1 in both channels. ``rt60_s`` is T30 of what follows, by
    Schroeder: the mean of the octaves of 500 Hz and 1 kHz, as ISO 3382-1 recommends for one number. ``drr_db`` is the energy of the
    direct sound, the first 2.5 ms, against the rest (ACE challenge), both channels together.

References
    Schroeder 1965: integrated decays. Allen and Berkley 1979: image sources. Jot and Chaigne 1991: feedback delay networks.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from stemwright.datagen.effects import room
from stemwright.datagen.effects.deferred import Deferred

if TYPE_CHECKING:
    from scipy import signal
else:
    signal = Deferred("scipy.signal")  # 0.5 s, which listing the protocols does not need

Array = NDArray[np.floating]
DIRECT_S = 0.0025
MIDDLE_HZ = (500.0, 1000.0)
Respond = Callable[[np.random.Generator, int, float, float], Array]  # generator, sample rate, RT60 in s, level in dB -> response [2, L]
RT60_S, WET_DB = (0.2, 2.0), (-18.0, 0.0)


class Room(NamedTuple):
    """A response with the direct sound [2, L], and its measures."""

    response: Array
    rt60_s: float
    drr_db: float


def measured(response: Array, sample_rate: int) -> Room:
    """A room by its response."""
    return Room(response, rt60_of(response, sample_rate), drr_of(response, sample_rate))


def drr_of(response: Array, sample_rate: int) -> float:
    """Direct to reverberant ratio in dB."""
    direct = round(DIRECT_S * sample_rate)
    early, late = (float((part**2).sum()) for part in (response[:, :direct], response[:, direct:]))
    return 10.0 * math.log10(early / max(late, 1e-12))


def rt60_of(response: Array, sample_rate: int) -> float:
    """Reverberation time in s of what follows the direct sound."""
    late = np.where(np.arange(response.shape[1]) < round(DIRECT_S * sample_rate), 0.0, response)
    times = []
    for centre in MIDDLE_HZ:
        sections = signal.butter(3, (centre / math.sqrt(2.0), centre * math.sqrt(2.0)), "bandpass", fs=sample_rate, output="sos")
        energy = (signal.sosfilt(sections, late, axis=1) ** 2).sum(0)
        left = energy[::-1].cumsum()[::-1]
        level = 10.0 * np.log10(left / left[0] + 1e-12)
        inside = np.flatnonzero((level <= -5.0) & (level >= -35.0))
        slope = np.polyfit(inside / sample_rate, level[inside], 1)[0]
        times.append(-60.0 / slope)
    return float(np.mean(times))


def through(audio: Array, made: Room) -> Array:
    """A stem [C, T] in a room; a mono stem in the first channel of it."""
    return signal.oaconvolve(audio, made.response[: len(audio)], axes=1)[:, : audio.shape[1]].astype(np.float32)


def with_direct(tail: Array, wet_db: float) -> Array:
    """The tail [2, L] at its level against the direct sound, in energy, which comes before it."""
    tail = tail * 10.0 ** (wet_db / 20.0) / math.sqrt((tail**2).sum(1).mean() + 1e-30)
    tail[:, 0] = 1.0
    return tail


def own_room(rng: np.random.Generator, sample_rate: int, rt60_s: float, wet_db: float) -> Array:
    """The response of stemwright's ``room``, in its typical ranges."""
    settings = room.Settings(
        rt60_s=rt60_s,
        pre_delay_ms=float(rng.uniform(0.0, 40.0)),
        damping=float(rng.uniform(0.2, 1.0)),
        wet_db=wet_db,
        seed=int(rng.integers(2**31)),
    )
    tail = room.impulse_response(settings, sample_rate).numpy().copy()
    tail[:, 0] += 1.0
    return tail


def early_room(rng: np.random.Generator, sample_rate: int, rt60_s: float, wet_db: float) -> Array:
    """Noise with another decay in each octave after sparse early reflections."""
    time = np.arange(math.ceil(1.3 * 1.3 * rt60_s * sample_rate)) / sample_rate
    tail = np.zeros((2, len(time)))
    edges = [20.0, 250.0, 700.0, 1400.0, 2800.0, 5600.0, 0.49 * sample_rate]
    factors = np.exp(rng.normal(0.0, 0.15, len(edges) - 1)) * np.linspace(1.1, rng.uniform(0.35, 1.0), len(edges) - 1)
    factors /= factors[1:3].mean()
    for low, high, factor in zip(edges[:-1], edges[1:], factors, strict=True):
        if high > low:
            band = signal.butter(2, (low, high), "bandpass", fs=sample_rate, output="sos")
            noise = signal.sosfilt(band, rng.standard_normal((2, len(time))), axis=1)
            tail += noise * 10.0 ** (-3.0 * time / (factor * rt60_s))
    mixing = rng.uniform(0.01, 0.08)
    tail *= np.clip(time / mixing, 0.0, 1.0) ** rng.uniform(0.0, 2.0)
    rms = math.sqrt((tail**2).mean(0).max())
    for _ in range(int(rng.integers(0, 25))):
        at = rng.uniform(0.003, max(mixing, 0.02))
        tail[:, min(int(at * sample_rate), len(time) - 1)] += rng.normal(0.0, 4.0, 2) * rms * math.exp(-at / mixing)
    return with_direct(tail, wet_db)


def image_room(rng: np.random.Generator, sample_rate: int, rt60_s: float, wet_db: float) -> Array:
    """A box by image sources, moved a little so that no flutter remains; walls absorb alike at all frequencies."""
    size = np.array([rng.uniform(3.0, 14.0), rng.uniform(3.0, 10.0), rng.uniform(2.5, 5.0)])
    volume, surface = float(size.prod()), float(2.0 * (size[0] * size[1] + size[1] * size[2] + size[0] * size[2]))
    absorption = 1.0 - math.exp(-0.161 * volume / (surface * rt60_s))  # Eyring
    reflection = math.sqrt(1.0 - min(absorption, 0.95))
    source, listener = (size * rng.uniform(0.15, 0.85, 3) for _ in range(2))
    length = math.ceil(1.1 * rt60_s * sample_rate)
    found = np.zeros((2, length + 1))
    counts = np.ceil(length / sample_rate * 343.0 / (2.0 * size)).astype(int)
    grid_y, grid_z = np.meshgrid(np.arange(-counts[1], counts[1] + 1), np.arange(-counts[2], counts[2] + 1), indexing="ij")
    direct_m = float(np.linalg.norm(source - listener))
    for n in range(-counts[0], counts[0] + 1):
        for parity in range(8):
            px, py, pz = parity & 1, parity >> 1 & 1, parity >> 2 & 1
            reflections = abs(n - px) + abs(n) + np.abs(grid_y - py) + np.abs(grid_y) + np.abs(grid_z - pz) + np.abs(grid_z)
            moved = rng.uniform(-0.08, 0.08, (3, *grid_y.shape)) * (reflections > 0)
            for ear, side in enumerate((-0.09, 0.09)):
                x = (1 - 2 * px) * source[0] + 2 * n * size[0] - listener[0] - side + moved[0]
                y = (1 - 2 * py) * source[1] + 2 * grid_y * size[1] - listener[1] + moved[1]
                z = (1 - 2 * pz) * source[2] + 2 * grid_z * size[2] - listener[2] + moved[2]
                distance = np.sqrt(x * x + y * y + z * z)
                at = np.round((distance - direct_m) / 343.0 * sample_rate).astype(int)
                gain = reflection**reflections / np.maximum(distance, 0.3)
                there = (at >= 0) & (at < length) & (reflections > 0)
                found[ear] += np.bincount(at[there], gain[there], minlength=length + 1)
    air = signal.lfilter([0.8], [1.0, -0.2], found, axis=1)
    return with_direct(signal.lfilter([1.0, -1.0], [1.0, -0.98], air, axis=1), wet_db)


def network(rng: np.random.Generator, sample_rate: int, rt60_s: float, wet_db: float) -> Array:
    """A feedback delay network of 16 lines."""
    lines, block = 16, round(0.015 * sample_rate)
    delays = np.unique((rng.uniform(0.016, 0.09, 4 * lines) * sample_rate).astype(int))
    delays = rng.permutation(delays)[:lines]
    matrix = np.linalg.qr(rng.standard_normal((lines, lines)))[0]
    gains = 10.0 ** (-3.0 * delays / sample_rate / rt60_s)
    darker = rng.uniform(0.0, 0.25) * np.minimum(delays / delays.max(), 1.0)
    total = math.ceil(1.2 * rt60_s * sample_rate / block) * block
    memory, state = np.zeros((lines, total + int(delays.max()) + block)), np.zeros((lines, 1))
    memory[:, 0] = rng.choice([-1.0, 1.0], lines)
    rows = np.arange(lines)[:, None]
    for start in range(0, total, block):
        at = np.arange(start, start + block) - delays[:, None]
        out = np.where(at >= 0, memory[rows, np.maximum(at, 0)], 0.0)
        for line in range(lines):
            out[line], state[line] = signal.lfilter([1.0 - darker[line]], [1.0, -darker[line]], out[line], zi=state[line])
        memory[:, start : start + block] += matrix @ (gains[:, None] * out)
    tail = rng.choice([-1.0, 1.0], (2, lines)) @ memory[:, :total]
    return with_direct(tail, wet_db)


MAKES: dict[str, Respond] = {
    "room": own_room,
    "early": early_room,
    "image": image_room,
    "network": network,
}


def draw_room(make: str, rng: np.random.Generator, sample_rate: int) -> Room:
    """A room of one of ``MAKES`` with a reverberation time of 0.2 to 2 s and a reverberation of -18 to 0 dB."""
    return draw_response(MAKES[make], rng, sample_rate)


def draw_response(
    respond: Respond,
    rng: np.random.Generator,
    sample_rate: int,
    *,
    rt60_s: tuple[float, float] = RT60_S,
    wet_db: tuple[float, float] = WET_DB,
) -> Room:
    """A room by what makes responses, whose reverberation time is in the range, or nearly."""
    while True:
        time, level = float(np.exp(rng.uniform(*np.log(rt60_s)))), float(rng.uniform(*wet_db))
        made = measured(respond(rng, sample_rate, time, level), sample_rate)
        if rt60_s[0] * 0.95 <= made.rt60_s <= rt60_s[1] * 1.05:
            return made
