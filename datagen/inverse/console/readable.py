"""Equalisers as a person reads them: of a fitted console, each with the fewest bands with which the mix is as close.

Bands at one place become one, bands that do nothing go, and what an equaliser gives at all frequencies goes to the fader
(``stemwright.datagen.inverse.known_dry.few_bands``). What another response would leave in the residual of the mixture, once the other
settings of that stem have followed it, is a quadratic form of its difference in dB: of the responses with so few bands it chooses the one
that is tried on the waveform, with a search of all settings of that stem from there. Whether a simpler equaliser does is decided there.

Conventions
    A residual counts relative to the mixture's energy, whitened. The gain of an equaliser on the mix bus is not free: no fader follows.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from scipy.fft import rfft, rfftfreq

from stemwright.datagen.effects import EFFECTS
from stemwright.datagen.inverse.console.initial_settings import response_db
from stemwright.datagen.inverse.console.joint_search import (
    BUS,
    TOP_HZ,
    ConsoleProblem,
    ConsoleSettings,
    heard,
    search,
    unknowns_of,
)
from stemwright.datagen.inverse.console.response_metric import response_metric
from stemwright.datagen.inverse.effect_roles import is_fader
from stemwright.datagen.inverse.solver import Vector

COSTS_DB = 0.1  # of the residual: what a simpler equaliser may add
OCTAVE_DB = 1.0  # of the residual in an octave, likewise, unless the two equalisers sound alike
ALIKE_DB = 0.5  # between responses that sound alike
LOWEST_HZ = 40.0
FLOOR = 1e-10  # of the mixture's energy: residuals below it are equal
FAR, NEAR = 10.0, 1e-6  # times what may be added, of the mixture's energy: a response that would add more is not tried on the waveform
ALMOST, HEARD = 10.0, 1e-4  # times the residual that is allowed, of the mixture's energy: a search of all settings may reach it
TRIED = 2  # of the equalisers with one number of bands
ITERATIONS = 4
TURNS = 2


def with_fewer_bands(problem: ConsoleProblem, console: ConsoleSettings) -> ConsoleSettings:
    """The console with every equaliser as simple as the mixture allows.

    A stem's bands may make up for what those of another stem are wrong by: once all are simpler, each is tried again.
    """
    for turn in range(TURNS):
        before = console
        for place in (*console.chains, BUS):
            for index, (effect, _) in enumerate(console.chain(place)):
                if hasattr(EFFECTS[effect], "fewer_bands"):
                    console = _simplified(problem, console, place, index)
        if console == before or turn + 1 == TURNS:
            break
        console = search(problem, console, heard(console, unknowns_of(console, len(problem.mixture))), iterations=ITERATIONS).console
    return console


def _simplified(problem: ConsoleProblem, console: ConsoleSettings, place: str, index: int) -> ConsoleSettings:
    effect, settings = console.chain(place)[index]
    verb: Any = EFFECTS[effect]
    now = problem.cost(console)
    allowed = now * (10.0 ** (COSTS_DB / 10.0) - 1.0) + FLOOR
    metric = response_metric(problem, console, place, index)
    level_free = any(is_fader(name) for name, _ in console.chain(place)[index + 1 :])
    octaves, hz = _octaves(problem, console), metric.hz
    unit, jointly = console.unit(metric.unknowns), True
    for candidates in verb.fewer_bands(settings, metric.hz, metric.root, problem.sample_rate, level_free=level_free):
        for each in candidates[:TRIED]:
            if each.left > FAR * allowed + NEAR:
                break
            off_db = response_db(effect, each.settings, metric.hz, problem.sample_rate) - metric.here_db
            trial = console.with_values(metric.unknowns, (unit + metric.follow @ off_db).clip(0.0, 1.0))
            chain = list(trial.chain(place))
            chain[index] = (effect, each.settings)
            found = _settled(problem, trial.with_chain(place, chain), place)
            if now + allowed <= problem.cost(found) < min(ALMOST * (now + allowed), HEARD) and jointly:
                found, jointly = _settled(problem, found, *console.chains, BUS), False
            if problem.cost(found) < now + allowed:
                made_db = response_db(effect, found.chain(place)[index][1], hz, problem.sample_rate)
                if _sounds_alike(made_db - metric.here_db, hz) or _in_every_octave(octaves, _octaves(problem, found)):
                    return found
    return console


def _sounds_alike(off_db: Vector, hz: Vector) -> bool:
    """Whether two responses at frequencies [K] in Hz differ by a level and at most ``ALIKE_DB``."""
    between = off_db[(hz >= LOWEST_HZ) & (hz <= TOP_HZ)]
    return float(np.abs(between - np.median(between)).max()) <= ALIKE_DB


def _in_every_octave(before: Vector, after: Vector) -> bool:
    """Whether the residual is about as small in each octave: a band may matter where little else is wrong."""
    return bool((after <= before * 10.0 ** (OCTAVE_DB / 10.0) + FLOOR).all())


def _octaves(problem: ConsoleProblem, console: ConsoleSettings) -> Vector:
    """The energy of the whitened residual in each octave, relative to that of the whitened mixture."""
    power = (np.abs(rfft((problem.white_mix(console) - problem.goal).astype(np.float32))) ** 2).sum(0)
    hz = rfftfreq(problem.goal.shape[-1], 1.0 / problem.sample_rate)
    edges = np.searchsorted(hz, LOWEST_HZ * 2.0 ** np.arange(math.ceil(math.log2(TOP_HZ / LOWEST_HZ)) + 1))
    sums = np.concatenate([[0.0], np.cumsum(power, dtype=float)])
    return np.asarray(np.diff(sums[edges.clip(max=len(power))])) * 2.0 / problem.goal.shape[-1] / problem.energy


def _settled(problem: ConsoleProblem, console: ConsoleSettings, *places: str) -> ConsoleSettings:
    """The console after a search of the settings of these places."""
    unknowns = heard(console, unknowns_of(console, len(problem.mixture)))
    return search(problem, console, [one for one in unknowns if one.place in places], iterations=ITERATIONS).console
