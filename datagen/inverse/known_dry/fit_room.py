"""Finding a room from a dry and a wet signal: the decay, onset and level that maximise the likelihood of what it added.

Conventions
    What the room added is wet minus dry. The noise of its response cannot be recovered (``seed`` stays 0), and the response itself is not
    estimated: decay, damping, pre-delay and level are those for which the added sound is most likely when any noise is as good as another
    (``stemwright.datagen.inverse.known_dry.subbands``), octave by octave of the room and then by its own law of damping. Signals are [C,
    T]. On music of 6 s in float32, RT60 is found within 2 %, damping within 0.03, level within 0.4 dB and pre-delay within 0.5 ms, even
    on a bass: float32 keeps enough of its upper partials. 16-bit files and noise 40 dB below the room cost up to 4 %. A dry signal
    must last a second or so. A level, a filter that is over within 45 ms or another signal is refused, and so is a decay known to no better
    than a sixth; an echo or another kind of reverb is not: it gets the closest decaying noise. An octave in which dry holds
    nothing adds nothing; if there is only one, damping is set to the usual value. Of longer signals those ``EXCERPT_S`` are used in which
    most was added. ``benchmarks/fit.py`` prints the errors.

References
    Moorer 1979: decaying noise as a room's response. The likelihood: see ``stemwright.datagen.inverse.known_dry.subbands``.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from scipy.optimize import least_squares, minimize

from stemwright.datagen.effects import room
from stemwright.datagen.effects.settings import range_of
from stemwright.datagen.effects.signal import NotIdentifiableError, pair
from stemwright.datagen.inverse.known_dry.subbands import ADDED_NOISE, FINEST, SMEAR, Decay, NarrowBand, Splitter, cells, deviance, terms

EXCERPT_S = 12.0
HISTORY_S = 3.0  # before an excerpt of a longer signal: only its x is used, since its y contains earlier sound
LONGEST_S, LATEST_S = 10.0, 0.2
USUAL_DAMPING = 0.6
EDGE_HZ = room.SPLIT_S**-1 * 0.82  # the room's own filters pass from octave to octave within so much
NOISES = (0.1, 10.0, 1e3, 1e5)  # initial values, relative to ``subbands.ADDED_NOISE``
DAMPING_ERROR = 0.5  # standard deviation of the prior, for when only one octave is measured
SHORTEST_S = 0.045  # shorter than any room: the added sound is that of a filter
UNSURE = 0.17  # standard error of the logarithm of RT60 at which the decay is refused
UNEXPLAINED = 0.5  # share of the added power that is not decaying noise, above which there is no room


@dataclass(frozen=True)
class OctaveBand:
    """One octave band of the room: its edges, the frequency at which its decay is taken, and its share of white noise."""

    low_hz: float
    high_hz: float
    centre_hz: float
    share: float

    @property
    def usable(self) -> bool:
        """Whether a narrow band fits between its edges."""
        return self.high_hz - self.low_hz > 2.0 * EDGE_HZ + 100.0

    def time_s(self, rt60_s: float, damping: float) -> float:
        """Its decay time by the room's law."""
        return rt60_s / (1.0 + damping * self.centre_hz / room.DAMPED_HZ)

    def width_hz(self, time_s: float) -> float:
        """Width of its narrow bands: about fifty samples in the decay, so that the smear is short and there are many bands."""
        most = (self.high_hz - self.low_hz - 2.0 * EDGE_HZ) / 1.3 if self.low_hz else 300.0
        return min(max(50.0 / time_s, 40.0), most, 1000.0)

    def places_hz(self, width_hz: float, most: int) -> np.ndarray:
        """Centres of narrow bands clear of the octave's edges; the window of a band covers seven tenths of it."""
        low = max(self.low_hz + EDGE_HZ + 0.35 * width_hz if self.low_hz else 0.0, width_hz / 2.0 + 10.0)
        high = max(self.high_hz - EDGE_HZ - 0.35 * width_hz, low)
        number = int(min((high - low) // (0.6 * width_hz) + 1.0, most))
        return np.linspace(low, high, number) if number > 1 else np.array([(low + high) / 2.0])


@dataclass(frozen=True)
class SearchStage:
    """One stage of the search: half width and step of the onset's grid, decay times covered, most narrow bands per octave."""

    half_s: float
    step_s: float
    span: float
    most: int


# The span allows for a decay time that is wrong by so much, since a response is 1.2 of them long.
SEARCH_STAGES = (SearchStage(0.015, 0.00125, 2.4, 2), SearchStage(0.0019, 0.00016, 1.5, 3))
FINAL_STAGE = SearchStage(0.0, 0.0, 1.3, 6)
MOST_SEARCHES = 12


@dataclass(frozen=True)
class RoomEstimate:
    """Decay time of each usable octave, and when the response begins."""

    times: dict[OctaveBand, float]
    start_s: float


@dataclass(frozen=True)
class FoundDecay:
    """The result of one octave: its maximum-likelihood decay and variance v, and the information [2, 2] about their logarithms."""

    octave: OctaveBand
    decay: Decay
    variance: float
    information: np.ndarray


def fit_room(wet: torch.Tensor, dry: torch.Tensor, sample_rate: int) -> room.Settings:
    """Decay, damping, pre-delay and level of the room that turns dry into wet."""
    wet, dry = pair(wet, dry)
    added = (wet - dry).numpy()
    if not float((added**2).sum()) > 1e-10 * float(dry.square().sum()):
        raise NotIdentifiableError("wet is dry: there is no room between them")
    splitter = _loudest(added, dry.numpy(), sample_rate)
    octaves = _octaves(sample_rate)
    estimate = _rough_estimate(splitter, octaves)
    for stage in SEARCH_STAGES:
        estimate = _searched(splitter, estimate, stage)
    bands = _bands(splitter, estimate, FINAL_STAGE)
    decays = _decays(bands, estimate)
    measured = [_measured_decay(octave, bands[octave], decay, sample_rate) for octave, decay in decays.items()]
    rt60_s, damping, variance = _law([one for one in measured if one is not None])
    # The energy of noise of variance v that decays: v T / (6 ln 10) a second, in each octave its share.
    energy = sum(octave.share * octave.time_s(rt60_s, damping) for octave in octaves) * variance * sample_rate / (6.0 * math.log(10.0))
    return room.Settings(
        rt60_s=min(range_of(room.Settings, "rt60_s").limited(rt60_s), LONGEST_S),
        pre_delay_ms=min(1000.0 * estimate.start_s, 1000.0 * LATEST_S),
        damping=damping,
        wet_db=range_of(room.Settings, "wet_db").limited(10.0 * math.log10(max(energy, 1e-12))),
    )


def _searched(splitter: Splitter, estimate: RoomEstimate, stage: SearchStage) -> RoomEstimate:
    """Decay times and the most likely onset given them; while that is at an end of the grid, the grid is moved there."""
    for _ in range(MOST_SEARCHES):
        bands = _bands(splitter, estimate, stage)
        decays = _decays(bands, estimate)
        times = estimate.times | {octave: decay.time_s for octave, decay in decays.items()}
        first_s, last_s = max(estimate.start_s - stage.half_s, 0.0), min(estimate.start_s + stage.half_s, LATEST_S)
        grid_s = np.arange(first_s, last_s + stage.step_s / 2.0, stage.step_s).clip(max=LATEST_S)
        costs = [sum(deviance(bands[octave], replace(decay, start_s=at)) for octave, decay in decays.items()) for at in grid_s]
        best = int(np.argmin(costs))
        estimate = RoomEstimate(times, float(grid_s[best]))
        if (best > 0 or first_s == 0.0) and (best < len(grid_s) - 1 or last_s == LATEST_S):
            break
    return estimate


def _bands(splitter: Splitter, estimate: RoomEstimate, stage: SearchStage) -> dict[OctaveBand, list[NarrowBand]]:
    """Narrow bands of each octave with energy, with fine cells around the onset."""
    first_s, bands = max(estimate.start_s - stage.half_s, 0.0), {}
    for octave, time_s in estimate.times.items():
        width_hz = octave.width_hz(time_s)
        step_s, fine_s = stage.step_s or FINEST / width_hz, estimate.start_s + stage.half_s - first_s
        edges_s = cells(first_s, fine_s=fine_s, step_s=step_s, span_s=stage.span * time_s, width_hz=width_hz)
        if cut := list(_cut(splitter, octave.places_hz(width_hz, stage.most), width_hz, edges_s)):
            bands[octave] = cut
    return bands


def _loudest(added: np.ndarray, dry: np.ndarray, sample_rate: int) -> Splitter:
    """The excerpt in which most was added."""
    frames, history = round(EXCERPT_S * sample_rate), round(HISTORY_S * sample_rate)
    if dry.shape[-1] <= frames:
        return Splitter(added, dry, sample_rate)
    energy = np.concatenate([[0.0], np.cumsum((added**2).sum(0))])
    first = int(np.argmax(energy[frames:] - energy[:-frames]))
    before = min(first, history)
    part = slice(first - before, first + frames)
    if not dry[:, part].any():
        raise NotIdentifiableError("dry is silent where wet has most energy: wet contains another sound")
    return Splitter(added[:, part], dry[:, part], sample_rate, skip_s=before / sample_rate if first > before else 0.0)


def _octaves(sample_rate: int) -> list[OctaveBand]:
    edges = [0.0, *(edge for edge in room.EDGES_HZ if edge < 0.45 * sample_rate)]
    centres = [room.EDGES_HZ[0] / 2.0**1.5, *(edge * math.sqrt(2.0) for edge in edges[1:])]
    shares = np.diff([*edges, sample_rate / 2.0]) / (sample_rate / 2.0)
    # Above 16 kHz lossy sources hold nothing.
    highs = [*edges[1:], min(2.0 * edges[-1], 16_000.0, 0.4 * sample_rate) if edges[-1] else 0.4 * sample_rate]
    return [OctaveBand(low, high, centre, float(share)) for low, high, centre, share in zip(edges, highs, centres, shares, strict=True)]


def _cut(splitter: Splitter, places_hz: np.ndarray, width_hz: float, edges_s: np.ndarray) -> Iterator[NarrowBand]:
    """The narrow bands of all channels that have energy."""
    if width_hz * splitter.duration_s < 4 * SMEAR:
        return
    for channel in range(len(splitter.y)):
        for place_hz in places_hz:
            try:
                yield splitter.narrow(channel, place_hz, width_hz, edges_s)
            except NotIdentifiableError:
                continue


def _initial_decay(bands: list[NarrowBand], time_s: float) -> Decay:
    """A decay with only the added noise, and v from the energies."""
    variance = np.mean([3.0 * (np.abs(band.y) ** 2).sum() / (np.abs(band.columns) ** 2).sum() for band in bands])
    return Decay(time_s, 1.0 / max(float(variance), 1e-300), 0.0)


def _rough_estimate(splitter: Splitter, octaves: list[OctaveBand]) -> RoomEstimate:
    """Decay within a factor of two, and the onset within a few hundredths of a second, from a few narrow bands and a grid."""
    width_hz = max(30.0, 4.2 * SMEAR / splitter.duration_s)
    edges_s = np.arange(0.0, min(LONGEST_S, splitter.duration_s), 0.5 / width_hz)
    bands = [
        (octave, band) for octave in octaves if octave.usable for band in _cut(splitter, octave.places_hz(width_hz, 1), width_hz, edges_s)
    ]
    if not bands:
        raise NotIdentifiableError("dry is too short or too narrow-band to determine a room")
    initial_decays = [_initial_decay([band], 1.0) for _, band in bands]

    def cost(rt60_s: float, noise: float, start_s: float) -> float:
        decays = (
            Decay(octave.time_s(rt60_s, USUAL_DAMPING), noise * initial.noise, start_s)
            for (octave, _), initial in zip(bands, initial_decays, strict=True)
        )
        return sum(deviance([band], decay) for (_, band), decay in zip(bands, decays, strict=True))

    starts_s = np.arange(0.0, LATEST_S + 1e-9, 0.5 / width_hz)
    _, rt60_s, noise = min((cost(rt60_s, noise, 0.0), rt60_s, noise) for rt60_s in np.geomspace(0.15, 6.0, 7) for noise in NOISES)
    start_s = min((cost(rt60_s, noise, at), at) for at in starts_s)[1]
    near = np.geomspace(rt60_s / 2.5, rt60_s * 2.5, 7)
    _, rt60_s, noise = min((cost(one, level, start_s), one, level) for one in near for level in (0.1 * noise, noise, 10.0 * noise))
    start_s = min((cost(rt60_s, noise, at), at) for at in starts_s)[1]
    return RoomEstimate({octave: octave.time_s(rt60_s, USUAL_DAMPING) for octave in octaves if octave.usable}, float(start_s))


def _decays(bands: dict[OctaveBand, list[NarrowBand]], estimate: RoomEstimate) -> dict[OctaveBand, Decay]:
    return {
        octave: _decay(cut, replace(_initial_decay(cut, estimate.times[octave]), start_s=estimate.start_s)) for octave, cut in bands.items()
    }


def _decay(bands: list[NarrowBand], start: Decay) -> Decay:
    """The most likely decay time and noise of several bands, given the onset."""

    def decay(logs: np.ndarray) -> Decay:
        return Decay(math.exp(min(max(logs[0], -5.0), 3.0)), math.exp(logs[1]), start.start_s)

    first = np.log([start.time_s, start.noise])
    simplex = first + np.array([[0.0, 0.0], [0.2, 0.0], [0.0, 2.0]])
    options = {"xatol": 0.003, "fatol": 0.1, "initial_simplex": simplex}
    return decay(minimize(lambda logs: deviance(bands, decay(logs)), first, method="Nelder-Mead", options=options).x)


def _measured_decay(octave: OctaveBand, bands: list[NarrowBand], decay: Decay, sample_rate: int) -> FoundDecay | None:
    """The result of an octave; the information is half the second differences of its deviance. None if noise explains it all."""
    square, _, number = terms(bands, decay)
    variance = square / number
    # The noise is a multiple of ADDED_NOISE, which is a known part of the power.
    if decay.noise * variance * ADDED_NOISE > UNEXPLAINED:
        return None

    def cost(longer: float, louder: float) -> float:
        moved = replace(decay, time_s=decay.time_s * math.exp(longer), noise=decay.noise * math.exp(-louder))
        square, volume, number = terms(bands, moved)
        return square / (variance * math.exp(louder)) + volume + number * louder

    step = 0.03
    middle, sides = cost(0.0, 0.0), [[cost(a, b) for b in (-step, 0.0, step)] for a in (-step, 0.0, step)]
    longer, louder = sides[2][1] + sides[0][1] - 2.0 * middle, sides[1][2] + sides[1][0] - 2.0 * middle
    both = (sides[2][2] + sides[0][0] - sides[2][0] - sides[0][2]) / 4.0
    information = np.array([[longer, both], [both, louder]]) / (2.0 * step**2)
    return FoundDecay(octave, decay, variance * bands[0].width_hz / sample_rate, information)


def _law(measured: list[FoundDecay]) -> tuple[float, float, float]:
    """RT60, damping and variance of the noise that fit the octaves best, each weighted by its information."""
    if not measured:
        raise NotIdentifiableError("the response between dry and wet does not decay: it is not a room")

    def residuals(values: np.ndarray) -> np.ndarray:
        rows = [np.array([(values[1] - USUAL_DAMPING) / DAMPING_ERROR])]
        for found in measured:
            time_s = found.octave.time_s(math.exp(values[0]), values[1])
            weights, axes = np.linalg.eigh(found.information)
            apart = np.array([math.log(found.decay.time_s / time_s), math.log(found.variance) - values[2]])
            rows.append(np.sqrt(np.maximum(weights, 0.0)) * (axes.T @ apart))
        return np.concatenate(rows)

    start = [math.log(np.median([found.decay.time_s for found in measured])), USUAL_DAMPING, math.log(measured[0].variance)]
    found = least_squares(residuals, start, bounds=([-5.0, 0.0, -np.inf], [4.0, 4.0, np.inf]), x_scale=[0.1, 0.1, 1.0])
    error = math.sqrt(float(np.linalg.pinv(found.jac.T @ found.jac)[0, 0]))
    if not 0.0 < error < UNSURE:
        raise NotIdentifiableError(
            f"the signals determine RT60 only within {100.0 * error:.0f} %: dry is too short or narrow-band, or there is no room"
        )
    rt60_s = math.exp(found.x[0])
    if not SHORTEST_S < rt60_s < 1.2 * LONGEST_S:
        how = "ends at once, like a filter or a level" if rt60_s < 1.0 else "does not decay, like another signal"
        raise NotIdentifiableError(f"the response between dry and wet {how}: it is not a room")
    return rt60_s, float(found.x[1]), math.exp(found.x[2])
