"""The rooms of a console, from the residual of the mixture after its direct sounds; the noise of each room stays unknown.

Late reverberation is noise, so only its power can be estimated. In a band and a frame of 10 ms the power expected of the residual is

    R(b, t) = Σ_s A_s Σ_τ e^(-13.8 (τ - delay_s) / T_s(b)) P_s(b, t - τ)  +  E(b) D(b, t)  +  F(b)

with P_s the power of the direct sound of stem s, T_s(b) its decay as ``stemwright.datagen.effects.room`` has it, A_s from its wet level.
D is the power of the direct sounds of all stems together: where a chain is not exact, a part E(b) of it is left in the residual, without
delay or decay. Without this term that part is taken for reverberation that decays fast. F(b) is stationary noise.
The settings maximise the likelihood of the measured powers: each is R times a random number of known distribution.

Conventions
    Audio is float64 [C, T]; powers are [C, B, K]. The seed of a fitted room is 0, since its noise cannot be recovered.

References
    Polack 1988: late reverberation as decaying noise. Lebart, Boucher, Denbigh 2001: its power from that of the direct sound.
    Févotte, Bertin, Durrieu 2009: this likelihood of powers (Itakura and Saito's distance).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
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
HIGHEST_DB = 12.0  # of the wet level of a room
START = room.Settings(rt60_s=0.7, pre_delay_ms=15.0, damping=0.5, wet_db=-8.0)
LIMITS = ((math.log(0.08), math.log(8.0)), (0.0, 120.0), (0.0, 3.0), (-40.0, 20.0))  # log rt60, pre-delay in ms, damping, wet level in dB
UNITS = np.array([1.0, 20.0, 1.0, 6.0])
STEPS = np.array([1e-3, 0.1, 1e-3])  # of log rt60, pre-delay and damping, for derivatives
ERROR_LIMITS = (1e-6, 1.0)  # of E and F, relative to the power of the residual in a band
START_ERROR, START_FLOOR = 0.1, 0.02
ITERATIONS = 200


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
    mix = problem.mix(console)
    found = maximum_likelihood(power(problem.mixture - mix, rate), powers, power(mix, rate), rate / 2.0)
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


def maximum_likelihood(
    residual: Vector,
    powers: Mapping[str, Vector],
    direct: Vector,
    top_hz: float,
    *,
    near: Mapping[str, room.Settings] | None = None,
    iterations: int = ITERATIONS,
) -> dict[str, room.Settings]:
    """The rooms that maximise the likelihood of the residual's powers, with errors of the ``direct`` sound; ``near`` is the start."""
    problem = _Likelihood(residual, list(powers.values()), direct, top_hz)
    starts = [(near or {}).get(name, START) for name in powers]
    found: Any = minimize(
        problem, problem.start(starts), jac=True, method="L-BFGS-B", bounds=problem.bounds, options={"maxiter": iterations}
    )
    return dict(zip(powers, problem.rooms(found.x), strict=True))


class _Likelihood:
    """The negative log-likelihood and its gradient, as a function of the settings of the rooms and of log E and log F of each band."""

    def __init__(self, residual: Vector, powers: Sequence[Vector], direct: Vector, top_hz: float) -> None:
        mean = residual.mean((0, 2), keepdims=True) + 1e-300
        self.residual = residual / mean + 1e-9
        self.powers = [power / mean for power in powers]
        self.direct = direct / np.maximum(direct.mean((0, 2), keepdims=True), 1e-300)
        self.top_hz = top_hz
        low, high = (np.array(each) for each in zip(*LIMITS, strict=True))
        self.bounds = [*zip(low / UNITS, high / UNITS, strict=True)] * len(powers) + [tuple(np.log(ERROR_LIMITS))] * 2 * residual.shape[1]

    def start(self, rooms: Sequence[room.Settings]) -> Vector:
        """The start of the search."""
        values = [np.array([math.log(each.rt60_s), each.pre_delay_ms, each.damping, each.wet_db]) / UNITS for each in rooms]
        bands = self.residual.shape[1]
        values += [np.full(bands, math.log(START_ERROR)), np.full(bands, math.log(START_FLOOR))]
        return np.concatenate(values)

    def rooms(self, values: Vector) -> list[room.Settings]:
        """The settings of each room."""
        found = []
        for number in range(len(self.powers)):
            log_rt60, delay_ms, damping, wet_db = (float(value) for value in UNITS * values[4 * number : 4 * number + 4])
            found.append(room.Settings(rt60_s=math.exp(log_rt60), pre_delay_ms=delay_ms, damping=damping, wet_db=min(wet_db, HIGHEST_DB)))
        return found

    def __call__(self, values: Vector) -> tuple[float, Vector]:
        """The value and its gradient."""
        bands, count = self.residual.shape[1], len(self.powers)
        error, floor = np.exp(values[4 * count :]).reshape(2, 1, bands, 1)
        parts = [self._reverberation(number, values[4 * number : 4 * number + 4]) for number in range(count)]
        expected = sum(parts) + error * self.direct + floor
        ratio = self.residual / expected
        slope = (1.0 - ratio) / expected
        gradient = np.empty_like(values)
        for number, part in enumerate(parts):
            at = 4 * number
            for place, step in enumerate(STEPS / UNITS[:3]):
                moved = values[at : at + 4].copy()
                moved[place] += step
                gradient[at + place] = (slope * (self._reverberation(number, moved) - part)).sum() / step
            gradient[at + 3] = (slope * part).sum() * UNITS[3] * math.log(10.0) / 10.0
        gradient[4 * count : 4 * count + bands] = (slope * error * self.direct).sum((0, 2))
        gradient[4 * count + bands :] = (slope * floor).sum((0, 2))
        return float((np.log(expected) + ratio).sum()), gradient

    def _reverberation(self, number: int, values: Vector) -> Vector:
        log_rt60, delay_ms, damping, wet_db = UNITS * values
        return _expected(self.powers[number], math.exp(log_rt60), delay_ms, damping, wet_db, self.top_hz)
