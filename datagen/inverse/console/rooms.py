"""The rooms of a console, from the residual of the mixture after its direct sounds; the noise of each room stays unknown.

Late reverberation is noise, so only its power can be estimated. In a band and a frame of 10 ms the power expected of the residual is

    R(b, t) = Σ_s A_s Σ_τ e^(-13.8 (τ - delay_s) / T_s(b)) P_s(b, t - τ)  +  floor_b (t)

with P_s the power of the direct sound of stem s, T_s(b) its decay as ``stemwright.datagen.effects.room`` has it, A_s from its wet level.
The settings maximise the likelihood of the measured powers: each is R times a random number of known distribution.

Conventions
    Audio is float64 [C, T]. The seed of a fitted room is 0, since its noise cannot be recovered.

References
    Polack 1988: late reverberation as decaying noise. Lebart, Boucher, Denbigh 2001: its power from that of the direct sound.
    Févotte, Bertin, Durrieu 2009: this likelihood of powers (Itakura and Saito's distance).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from scipy.optimize import minimize
from scipy.signal import lfilter

from stemwright.datagen.effects import room
from stemwright.datagen.inverse.console.joint_search import ConsoleProblem, ConsoleSettings
from stemwright.datagen.inverse.solver import Vector

HOP_S = 0.01
SPREAD = 0.25  # frames: what the windows' overlap adds to a delay, measured on known rooms
EDGES_HZ = (100.0, 160.0, 250.0, 400.0, 500.0, 700.0, 1000.0, 1400.0, 2000.0, 2800.0, 4000.0, 5600.0, 8000.0, 11_000.0, 16_000.0)
STARTS_S = (0.4, 1.2)


def fitted(problem: ConsoleProblem, console: ConsoleSettings) -> ConsoleSettings:
    """The console with its rooms fitted; a console without any is returned as it is."""
    places = {
        name: index
        for name, chain in console.chains.items()
        for index, (_, settings) in enumerate(chain)
        if isinstance(settings, room.Settings)
    }
    if not places:
        return console
    rate = problem.sample_rate
    powers = {name: power(problem.wet(name, console.chains[name]), rate) for name in places}
    residual = power(problem.mixture - problem.mix(console), rate)
    floor = 1e-3 * power(problem.mixture, rate) + 1e-12
    found = maximum_likelihood(residual, powers, floor, rate / 2.0)
    for name, index in places.items():
        chain = list(console.chains[name])
        chain[index] = (chain[index][0], found[name])
        console = console.with_chain(name, chain)
    return console


def power(audio: torch.Tensor, sample_rate: int) -> Vector:
    """The mean power of audio [C, T] in bands and frames, [C, B, K]."""
    hop = round(HOP_S * sample_rate)
    size = 2 * hop
    window = torch.hann_window(size, dtype=torch.float64)
    spectrum = torch.stft(audio, size, hop, window=window, center=True, return_complex=True).abs().square().numpy()
    hz = np.arange(spectrum.shape[1]) * sample_rate / size
    edges = [edge for edge in EDGES_HZ if edge < 0.45 * sample_rate]
    return np.stack([spectrum[:, (hz >= low) & (hz < high)].mean(1) for low, high in itertools.pairwise(edges)], 1)


def _decay_s(rt60_s: float, damping: float, bands: int) -> Vector:
    """T of each band of ``EDGES_HZ``: that of the room's octave which contains it."""
    centres = [room.EDGES_HZ[0] / 2.0**1.5, *(edge * math.sqrt(2.0) for edge in room.EDGES_HZ)]
    middles = np.sqrt(np.array(EDGES_HZ[:bands]) * np.array(EDGES_HZ[1 : bands + 1]))
    octave = np.searchsorted(np.array(room.EDGES_HZ), middles)
    return np.asarray(rt60_s / (1.0 + damping * np.array(centres)[octave] / room.DAMPED_HZ))


def _expected(power: Vector, rt60_s: float, delay_ms: float, damping: float, wet_db: float, top_hz: float) -> Vector:
    """The power of a room's reverberation [C, B, K] for a direct sound of that power."""
    decay_s = _decay_s(rt60_s, damping, power.shape[1])
    rates = 6.0 * math.log(10.0) / decay_s
    # White noise of one height for all bands; its energy over all frequencies is that of the wet level.
    edges = np.array([0.0, *room.EDGES_HZ, top_hz])
    centres = np.array([room.EDGES_HZ[0] / 2.0**1.5, *(edge * math.sqrt(2.0) for edge in room.EDGES_HZ)])
    whole = (np.diff(edges) / top_hz * rt60_s / (1.0 + damping * centres / room.DAMPED_HZ)).sum() / (6.0 * math.log(10.0))
    height = 10.0 ** (wet_db / 10.0) / whole
    delay = delay_ms / 1000.0 / HOP_S + SPREAD
    result = np.empty_like(power)
    for band, rate in enumerate(rates):
        keep = math.exp(-rate * HOP_S)
        energy = height * (1.0 - keep) / rate
        result[:, band] = lfilter([energy], [1.0, -keep], power[:, band], axis=-1)
    # The response begins within a frame: half of its first frame falls into the next one.
    return _delayed(0.5 * result + 0.5 * _delayed(result, 1.0), delay)


def _delayed(values: Vector, frames: float) -> Vector:
    """Delayed by a number of frames, whole or not."""
    whole, part = int(frames), frames - int(frames)
    padded = np.pad(values, ((0, 0), (0, 0), (whole + 1, 0)))
    return np.asarray((1.0 - part) * padded[..., 1 : values.shape[-1] + 1] + part * padded[..., : values.shape[-1]])


def maximum_likelihood(residual: Vector, powers: Mapping[str, Vector], floor: Vector, top_hz: float) -> dict[str, room.Settings]:
    """The rooms that maximise the likelihood of the residual's powers."""
    names = list(powers)
    bounds = [(math.log(0.08), math.log(8.0)), (0.0, 120.0), (0.0, 3.0), (-40.0, 10.0)] * len(names) + [(-12.0, 6.0)]
    scale = np.array([1.0, 20.0, 1.0, 6.0] * len(names) + [3.0])

    def negative_log_likelihood(values: Vector) -> float:
        values = values * scale
        expected = floor * math.exp(values[-1])
        for index, name in enumerate(names):
            log_rt60, delay_ms, damping, wet_db = values[4 * index : 4 * index + 4]
            expected = expected + _expected(powers[name], math.exp(log_rt60), delay_ms, damping, wet_db, top_hz)
        return float((np.log(expected) + residual / expected).mean())

    runs = []
    for rt60_s in STARTS_S:
        start = np.array([math.log(rt60_s), 15.0, 0.5, -8.0] * len(names) + [0.0]) / scale
        limits = [(low / unit, high / unit) for (low, high), unit in zip(bounds, scale, strict=True)]
        runs.append(minimize(negative_log_likelihood, start, method="L-BFGS-B", bounds=limits, options={"maxiter": 25, "eps": 1e-5}))
    near: Any = min(runs, key=lambda run: run.fun).x
    found: Any = minimize(
        negative_log_likelihood, near, method="L-BFGS-B", bounds=limits, options={"maxiter": 120, "maxfun": 5000, "eps": 1e-5}
    )
    best = found.x * scale
    rooms = {}
    for index, name in enumerate(names):
        log_rt60, delay_ms, damping, wet_db = (float(value) for value in best[4 * index : 4 * index + 4])
        rooms[name] = room.Settings(rt60_s=math.exp(log_rt60), pre_delay_ms=delay_ms, damping=damping, wet_db=wet_db)
    return rooms
