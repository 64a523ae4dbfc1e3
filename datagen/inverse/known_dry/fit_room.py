"""Finding a room from a dry and a wet signal: the decay, beginning and level that make what the room added most likely.

Conventions
    What the room added is wet minus dry. The noise of its response cannot be named (``seed`` stays 0), nor is the response itself
    estimated: decay, damping, pre-delay and level are those for which the added sound is most likely when any noise is as good as another
    (``stemwright.datagen.inverse.known_dry.subbands``), octave by octave of the room and then by its own law of damping. Signals are [C,
    T]. On music of 6 s in float32, RT60 comes within 2 %, damping within 0.03, level within 0.4 dB and pre-delay within 0.5 ms, of a bass
    as well: what float32 keeps of its upper partials is enough. 16-bit files and noise 40 dB below the room cost up to 4 %. A dry signal
    must last a second or so. A level, a filter that is over within 45 ms or another signal is refused, and so is a decay told to no better
    than a sixth; an echo or another kind of reverb is not: it gets the decaying noise that is nearest. An octave in which dry holds
    nothing adds nothing; were there but one, damping is taken to be the usual. Of longer signals those ``EXCERPT_S`` are used in which
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
from stemwright.datagen.effects.signal import NotIdentifiableError, pair
from stemwright.datagen.inverse.known_dry.subbands import ADDED_NOISE, FINEST, SMEAR, Decay, Narrow, Splitter, cells, terms, unlikely

EXCERPT_S = 12.0
HISTORY_S = 3.0  # of an excerpt inside a longer signal: only its x is used, since its y holds what came before
LONGEST_S, LATEST_S = 10.0, 0.2
USUAL_DAMPING = 0.6
EDGE_HZ = room.SPLIT_S**-1 * 0.82  # the room's own filters pass from octave to octave within so much
NOISES = (0.1, 10.0, 1e3, 1e5)  # over that of ``subbands.ADDED_NOISE``, to begin with
DAMPING_ERROR = 0.5  # of what is usual, where nothing is told but by one octave
SHORTEST_S = 0.045  # below what a room can have, what was added is a filter's
UNSURE = 0.17  # standard error of the logarithm of RT60 at which the decay is refused
UNEXPLAINED = 0.5  # of the power added, by anything but a decaying noise: then there is no room


@dataclass(frozen=True)
class Octave:
    """One band of the room: its edges, the frequency that its decay is that of, and the share of white noise that lies in it."""

    low_hz: float
    high_hz: float
    centre_hz: float
    share: float

    @property
    def usable(self) -> bool:
        """Whether a narrow band lies clear of its edges."""
        return self.high_hz - self.low_hz > 2.0 * EDGE_HZ + 100.0

    def time_s(self, rt60_s: float, damping: float) -> float:
        """Its decay time by the room's law."""
        return rt60_s / (1.0 + damping * self.centre_hz / room.DAMPED_HZ)

    def width_hz(self, time_s: float) -> float:
        """Of its narrow bands: about fifty samples in the decay, so that the smear is short against it and the bands are many."""
        most = (self.high_hz - self.low_hz - 2.0 * EDGE_HZ) / 1.3 if self.low_hz else 300.0
        return min(max(50.0 / time_s, 40.0), most, 1000.0)

    def places_hz(self, width_hz: float, most: int) -> np.ndarray:
        """Centres of narrow bands clear of the octave's edges; the window of a band tells of seven tenths of it."""
        low = max(self.low_hz + EDGE_HZ + 0.35 * width_hz if self.low_hz else 0.0, width_hz / 2.0 + 10.0)
        high = max(self.high_hz - EDGE_HZ - 0.35 * width_hz, low)
        number = int(min((high - low) // (0.6 * width_hz) + 1.0, most))
        return np.linspace(low, high, number) if number > 1 else np.array([(low + high) / 2.0])


@dataclass(frozen=True)
class Look:
    """One look at the signals: where the beginning is searched, in which steps, how many decay times are covered, bands an octave."""

    half_s: float
    step_s: float
    span: float
    most: int


# The span allows for a decay time that is wrong by so much, since a response is 1.2 of them long.
SEARCHES = (Look(0.015, 0.00125, 2.4, 2), Look(0.0019, 0.00016, 1.5, 3))
LAST = Look(0.0, 0.0, 1.3, 6)
MOST_SEARCHES = 12


@dataclass(frozen=True)
class Guess:
    """Decay time of each octave that can be looked at, and when the response begins."""

    times: dict[Octave, float]
    start_s: float


@dataclass(frozen=True)
class FoundDecay:
    """What one octave says: its most likely decay and variance v for a sample, and the information [2, 2] about their logarithms."""

    octave: Octave
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
    guess = _rough(splitter, octaves)
    for look in SEARCHES:
        guess = _searched(splitter, guess, look)
    bands = _bands(splitter, guess, LAST)
    decays = _decays(bands, guess)
    told = [_told(octave, bands[octave], decay, sample_rate) for octave, decay in decays.items()]
    rt60_s, damping, variance = _law([one for one in told if one is not None])
    # The energy of noise of variance v that decays: v T / (6 ln 10) a second, in each octave its share.
    energy = sum(octave.share * octave.time_s(rt60_s, damping) for octave in octaves) * variance * sample_rate / (6.0 * math.log(10.0))
    return room.Settings(
        rt60_s=min(max(rt60_s, 0.05), LONGEST_S),
        pre_delay_ms=min(1000.0 * guess.start_s, 1000.0 * LATEST_S),
        damping=damping,
        wet_db=min(max(10.0 * math.log10(max(energy, 1e-12)), -60.0), 12.0),
    )


def _searched(splitter: Splitter, guess: Guess, look: Look) -> Guess:
    """Decay times, and the beginning that is the most likely with them; where it is the last of those tried, the search goes on there."""
    for _ in range(MOST_SEARCHES):
        bands = _bands(splitter, guess, look)
        decays = _decays(bands, guess)
        times = guess.times | {octave: decay.time_s for octave, decay in decays.items()}
        first_s, last_s = max(guess.start_s - look.half_s, 0.0), min(guess.start_s + look.half_s, LATEST_S)
        grid_s = np.arange(first_s, last_s + look.step_s / 2.0, look.step_s).clip(max=LATEST_S)
        costs = [sum(unlikely(bands[octave], replace(decay, start_s=at)) for octave, decay in decays.items()) for at in grid_s]
        best = int(np.argmin(costs))
        guess = Guess(times, float(grid_s[best]))
        if (best > 0 or first_s == 0.0) and (best < len(grid_s) - 1 or last_s == LATEST_S):
            break
    return guess


def _bands(splitter: Splitter, guess: Guess, look: Look) -> dict[Octave, list[Narrow]]:
    """Narrow bands of each octave that holds something, with fine cells around the beginning."""
    first_s, bands = max(guess.start_s - look.half_s, 0.0), {}
    for octave, time_s in guess.times.items():
        width_hz = octave.width_hz(time_s)
        step_s, fine_s = look.step_s or FINEST / width_hz, guess.start_s + look.half_s - first_s
        edges_s = cells(first_s, fine_s=fine_s, step_s=step_s, span_s=look.span * time_s, width_hz=width_hz)
        if cut := list(_cut(splitter, octave.places_hz(width_hz, look.most), width_hz, edges_s)):
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


def _octaves(sample_rate: int) -> list[Octave]:
    edges = [0.0, *(edge for edge in room.EDGES_HZ if edge < 0.45 * sample_rate)]
    centres = [room.EDGES_HZ[0] / 2.0**1.5, *(edge * math.sqrt(2.0) for edge in edges[1:])]
    shares = np.diff([*edges, sample_rate / 2.0]) / (sample_rate / 2.0)
    # Above 16 kHz lossy sources hold nothing.
    highs = [*edges[1:], min(2.0 * edges[-1], 16_000.0, 0.4 * sample_rate) if edges[-1] else 0.4 * sample_rate]
    return [Octave(low, high, centre, float(share)) for low, high, centre, share in zip(edges, highs, centres, shares, strict=True)]


def _cut(splitter: Splitter, places_hz: np.ndarray, width_hz: float, edges_s: np.ndarray) -> Iterator[Narrow]:
    """The narrow bands of all channels that hold something."""
    if width_hz * splitter.duration_s < 4 * SMEAR:
        return
    for channel in range(len(splitter.y)):
        for place_hz in places_hz:
            try:
                yield splitter.narrow(channel, place_hz, width_hz, edges_s)
            except NotIdentifiableError:
                continue


def _guess(bands: list[Narrow], time_s: float) -> Decay:
    """A decay with the noise that was added and no other, v being what the energies say."""
    variance = np.mean([3.0 * (np.abs(band.y) ** 2).sum() / (np.abs(band.columns) ** 2).sum() for band in bands])
    return Decay(time_s, 1.0 / max(float(variance), 1e-300), 0.0)


def _rough(splitter: Splitter, octaves: list[Octave]) -> Guess:
    """Decay within a factor of two, and the beginning within a few hundredths of a second, from a few narrow bands and a grid."""
    width_hz = max(30.0, 4.2 * SMEAR / splitter.duration_s)
    edges_s = np.arange(0.0, min(LONGEST_S, splitter.duration_s), 0.5 / width_hz)
    bands = [
        (octave, band) for octave in octaves if octave.usable for band in _cut(splitter, octave.places_hz(width_hz, 1), width_hz, edges_s)
    ]
    if not bands:
        raise NotIdentifiableError("dry is too short or too narrow-band to determine a room")
    guesses = [_guess([band], 1.0) for _, band in bands]

    def cost(rt60_s: float, noise: float, start_s: float) -> float:
        decays = (
            Decay(octave.time_s(rt60_s, USUAL_DAMPING), noise * guess.noise, start_s)
            for (octave, _), guess in zip(bands, guesses, strict=True)
        )
        return sum(unlikely([band], decay) for (_, band), decay in zip(bands, decays, strict=True))

    starts_s = np.arange(0.0, LATEST_S + 1e-9, 0.5 / width_hz)
    _, rt60_s, noise = min((cost(rt60_s, noise, 0.0), rt60_s, noise) for rt60_s in np.geomspace(0.15, 6.0, 7) for noise in NOISES)
    start_s = min((cost(rt60_s, noise, at), at) for at in starts_s)[1]
    near = np.geomspace(rt60_s / 2.5, rt60_s * 2.5, 7)
    _, rt60_s, noise = min((cost(one, level, start_s), one, level) for one in near for level in (0.1 * noise, noise, 10.0 * noise))
    start_s = min((cost(rt60_s, noise, at), at) for at in starts_s)[1]
    return Guess({octave: octave.time_s(rt60_s, USUAL_DAMPING) for octave in octaves if octave.usable}, float(start_s))


def _decays(bands: dict[Octave, list[Narrow]], guess: Guess) -> dict[Octave, Decay]:
    return {octave: _decay(cut, replace(_guess(cut, guess.times[octave]), start_s=guess.start_s)) for octave, cut in bands.items()}


def _decay(bands: list[Narrow], start: Decay) -> Decay:
    """The most likely decay time and noise of some bands, the beginning given."""

    def decay(logs: np.ndarray) -> Decay:
        return Decay(math.exp(min(max(logs[0], -5.0), 3.0)), math.exp(logs[1]), start.start_s)

    first = np.log([start.time_s, start.noise])
    simplex = first + np.array([[0.0, 0.0], [0.2, 0.0], [0.0, 2.0]])
    options = {"xatol": 0.003, "fatol": 0.1, "initial_simplex": simplex}
    return decay(minimize(lambda logs: unlikely(bands, decay(logs)), first, method="Nelder-Mead", options=options).x)


def _told(octave: Octave, bands: list[Narrow], decay: Decay, sample_rate: int) -> FoundDecay | None:
    """What an octave says: half of the second differences of its likelihood are the information. None where noise explains it all."""
    square, _, number = terms(bands, decay)
    variance = square / number
    # The noise is a multiple of what was added, that a known part of the power.
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


def _law(told: list[FoundDecay]) -> tuple[float, float, float]:
    """RT60, damping and variance of the noise that agree best with what the octaves say, each by its information."""
    if not told:
        raise NotIdentifiableError("the response between dry and wet does not decay: it is not a room")

    def miss(values: np.ndarray) -> np.ndarray:
        rows = [np.array([(values[1] - USUAL_DAMPING) / DAMPING_ERROR])]
        for found in told:
            time_s = found.octave.time_s(math.exp(values[0]), values[1])
            weights, axes = np.linalg.eigh(found.information)
            apart = np.array([math.log(found.decay.time_s / time_s), math.log(found.variance) - values[2]])
            rows.append(np.sqrt(np.maximum(weights, 0.0)) * (axes.T @ apart))
        return np.concatenate(rows)

    start = [math.log(np.median([found.decay.time_s for found in told])), USUAL_DAMPING, math.log(told[0].variance)]
    found = least_squares(miss, start, bounds=([-5.0, 0.0, -np.inf], [4.0, 4.0, np.inf]), x_scale=[0.1, 0.1, 1.0])
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
