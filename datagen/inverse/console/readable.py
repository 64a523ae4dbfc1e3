"""Equalisers as a person reads them: of a fitted console, each with the fewest bands with which the mix is as close.

Bands at one place become one, bands that do nothing go, and what an equaliser gives at all frequencies goes to the fader
(``stemwright.datagen.inverse.known_dry.few_bands``). Whether a simpler equaliser does is decided on the waveform of the mixture, after a
search of all settings of that stem from there.

Conventions
    A residual counts relative to the mixture's energy, whitened. The gain of an equaliser on the mix bus is not free: no fader follows.
"""

from __future__ import annotations

from typing import Any

from stemwright.datagen.effects import EFFECTS
from stemwright.datagen.inverse.console.initial_settings import with_level
from stemwright.datagen.inverse.console.joint_search import BUS, ConsoleProblem, ConsoleSettings, heard, search, unknowns_of
from stemwright.datagen.inverse.effect_roles import is_fader
from stemwright.datagen.inverse.known_dry.few_bands import band_weights
from stemwright.datagen.inverse.solver import Vector

COSTS_DB = 0.1  # of the residual: what a simpler equaliser may add
FLOOR = 1e-10  # of the mixture's energy: residuals below it are equal
FAR, NEAR = 30.0, 1e-4  # times the residual, of the mixture's energy: a simpler response that would leave more is not tried on the waveform
ALMOST = 10.0  # times the residual that is allowed: less may be reached by a search of all settings
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
    hz, weight = _weights(problem, console, place)
    level_free = any(is_fader(name) for name, _ in console.chain(place)[index + 1 :])
    for candidates in verb.fewer_bands(settings, hz, weight, problem.sample_rate, level_free=level_free):
        for each in candidates[:TRIED]:
            if each.left > FAR * (now + allowed) + NEAR:
                break
            chain = list(console.chain(place))
            chain[index] = (effect, each.settings)
            found = _settled(problem, console.with_chain(place, with_level(chain, index, each.level_db)), place, now + allowed)
            if problem.cost(found) < now + allowed:
                return found
    return console


def _settled(problem: ConsoleProblem, console: ConsoleSettings, place: str, enough: float) -> ConsoleSettings:
    """The console after a search of the settings of one stem, and of all if that is nearly ``enough``: they may have been at odds."""
    unknowns = heard(console, unknowns_of(console, len(problem.mixture)))
    found = search(problem, console, [one for one in unknowns if one.place == place], iterations=ITERATIONS).console
    if enough <= problem.cost(found) < min(ALMOST * enough, NEAR):
        found = search(problem, found, unknowns, iterations=ITERATIONS).console
    return found


def _weights(problem: ConsoleProblem, console: ConsoleSettings, place: str) -> tuple[Vector, Vector]:
    """Frequencies [F], and the parts [F] of the mixture's energy, whitened, that the stem has around them."""
    wet = problem.mix(console) if place == BUS else problem.wet(place, console.chains[place])
    white = problem.white(wet)
    return band_weights(white, problem.energy, problem.sample_rate)
