"""Alternatives to a fitted console: each choice the other way, each equaliser from another start, and effects pruned that hardly help.

Conventions
    A console is kept unless another leaves a smaller residual. Faders are not pruned, nor an effect whose noise is unknown: its sound is in
    the residual with or without it.

References
    Lee et al. 2024: pruning.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from stemwright.datagen.effects import EFFECTS
from stemwright.datagen.effects.settings import Choice, EffectSettings, fields
from stemwright.datagen.inverse.console import initial_settings
from stemwright.datagen.inverse.console.joint_search import (
    BUS,
    ConsoleProblem,
    ConsoleSearchResult,
    ConsoleSettings,
    Unknown,
    search,
    unknowns_of,
)
from stemwright.datagen.inverse.console.response_metric import response_metric
from stemwright.datagen.inverse.effect_roles import has, has_threshold, is_equaliser, is_fader
from stemwright.datagen.inverse.known_dry.response import Response

HELPS_DB = 0.2  # an effect whose removal costs less is pruned
NOTICED_DB = 1.0  # change of a stem by an effect that is worth finding
BETTER_DB = 0.05  # by which another choice must lower the residual
FLOOR = 1e-6  # of the mixture's energy, whitened: residuals below it are equal when pruning


def with_restarted_equalisers(problem: ConsoleProblem, console: ConsoleSettings) -> ConsoleSettings:
    """The console with its equalisers refitted to the responses that the residual calls for; what follows them follows."""
    for place in console.chains:
        for index, (effect, settings) in enumerate(console.chain(place)):
            verb: Any = EFFECTS[effect]
            if not hasattr(verb, "nearest_bands"):
                continue
            metric = response_metric(problem, console, place, index)
            found = verb.nearest_bands(settings, metric.wanted_db, metric.hz, metric.root, problem.sample_rate)
            off_db = initial_settings.response_db(effect, found, metric.hz, problem.sample_rate) - metric.here_db
            moved = console.with_values(metric.unknowns, (console.unit(metric.unknowns) + metric.follow @ off_db).clip(0.0, 1.0))
            chain = list(moved.chain(place))
            chain[index] = (effect, found)
            console = console.with_chain(place, chain)
    return console


def with_measured_equalisers(problem: ConsoleProblem, console: ConsoleSettings) -> ConsoleSettings:
    """The console with its equalisers refitted to the responses of the stems in the mixture, from many starts: far from here, perhaps."""
    measured = initial_settings.responses(problem, {name: problem.wet(name, chain) for name, chain in console.chains.items()})
    for name, chain in console.chains.items():
        places = [index for index, (effect, _) in enumerate(chain) if is_equaliser(effect)]
        if len(places) != 1:
            continue
        equaliser, old = chain[places[0]]
        correction = measured[name]
        gain = correction.gain * 10.0 ** (initial_settings.response_db(equaliser, old, correction.hz, problem.sample_rate) / 20.0)
        wanted = Response(correction.hz, gain, correction.weight, np.hypot(correction.error_db, 0.05))
        settings, level_db = initial_settings.equalised(equaliser, wanted, problem.sample_rate, near=old)
        console = console.with_chain(
            name, initial_settings.with_level([*chain[: places[0]], (equaliser, settings), *chain[places[0] + 1 :]], places[0], level_db)
        )
    return console


def with_restarted_dynamics(problem: ConsoleProblem, found: ConsoleSearchResult) -> ConsoleSearchResult:
    """Each effect with a threshold from a grid again, where the residual is smaller: at first the errors of all others hid what it does.

    Where it is a compressor, those that smooth the level and not the gain are tried as well.
    """
    console, best_db = found.console, found.residual_db
    for place in console.chains:
        for index, (effect, _) in enumerate(console.chain(place)):
            for grid in ([], *initial_settings.other_kinds(problem, effect, place)) if has_threshold(effect) else ():
                trial = console.with_chain(place, initial_settings.compression(problem, console, place, index, grid))
                result = search(problem, trial, _moving(trial, place, len(problem.mixture)), iterations=4)
                if result.residual_db < best_db - BETTER_DB:
                    console, best_db = result.console, result.residual_db
    return found._replace(console=console, residual_db=best_db)


def _moving(console: ConsoleSettings, place: str, channels: int) -> list[Unknown]:
    """The unknowns of one place that are levels, or change with the level."""
    return [each for each in unknowns_of(console, channels, only=("dynamic", "level")) if each.place == place]


def with_other_choices(problem: ConsoleProblem, found: ConsoleSearchResult) -> ConsoleSearchResult:
    """Each choice of each effect the other way, such as a compressor's detector, where the residual is smaller."""
    console, best_db = found.console, found.residual_db
    for place in (*console.chains, BUS):
        for index, (effect, settings) in enumerate(console.chain(place)):
            for name, option in other_options(effect, settings, len(problem.mixture)):
                chain = list(console.chain(place))
                chain[index] = (effect, chain[index][1].model_copy(update={name: option}))
                trial = console.with_chain(place, chain)
                moving = set(unknowns_of(trial, len(problem.mixture), only=("dynamic", "level")))
                unknowns = [
                    each
                    for each in unknowns_of(trial, len(problem.mixture))
                    if each.place == place and (each.index == index or each in moving)
                ]
                result = search(problem, trial, unknowns, iterations=3)
                if result.residual_db < best_db - BETTER_DB:
                    console, best_db = result.console, result.residual_db
    return found._replace(console=console, residual_db=best_db)


def other_options(effect: str, settings: EffectSettings, channels: int) -> list[tuple[str, Any]]:
    """The choices of an effect that are not made, each with the name of its setting; none where what is chosen leaves no trace."""
    if has(effect, "normalising"):
        return []
    choices = [each for each in fields(type(settings)).values() if isinstance(each, Choice) and (each.needs is None or channels == 2)]
    return [(each.name, option) for each in choices for option in each.options if option != getattr(settings, each.name)]


class Pruned(NamedTuple):
    """A console without the effects that hardly help, their names by place, and by how many dB each effect that is left helps.

    ``unclear`` names those of them that may have been used all the same: the residual is so large that it hides what they do.
    """

    console: ConsoleSettings
    names: dict[str, list[str]]
    helps_db: dict[tuple[str, int], float]
    unclear: dict[str, list[str]]


def pruned(problem: ConsoleProblem, console: ConsoleSettings) -> Pruned:
    """The console without the effects that hardly help, one after another, the least useful first."""
    names: dict[str, list[str]] = {place: [] for place in (*console.chains, BUS)}
    unclear: dict[str, list[str]] = {place: [] for place in names}
    while True:
        cost = problem.cost(console)
        trials = [(_helps_db(problem, trial, cost), place, index, trial) for place, index, trial in _without_one(problem, console)]
        if not trials or min(trials, key=lambda trial: trial[0])[0] > HELPS_DB:
            return Pruned(console, names, {(place, index): helps_db for helps_db, place, index, _ in trials}, unclear)
        _, place, index, trial = min(trials, key=lambda trial: trial[0])
        names[place].append(console.chain(place)[index][0])
        if hides(problem, console, place, cost):
            unclear[place].append(names[place][-1])
        console = trial


def hides(problem: ConsoleProblem, console: ConsoleSettings, place: str, cost: float) -> bool:
    """Whether a residual, relative to the mixture's energy, is so large that an effect which changes a stem by a dB is pruned."""
    wet = problem.mix(console) if place == BUS else problem.wet(place, console.chains[place])
    change = (10.0 ** (NOTICED_DB / 20.0) - 1.0) ** 2 * float((problem.white(wet) ** 2).sum()) / problem.energy
    return change < (10.0 ** (HELPS_DB / 10.0) - 1.0) * (cost + FLOOR)


def _without_one(problem: ConsoleProblem, console: ConsoleSettings) -> list[tuple[str, int, ConsoleSettings]]:
    """Every console with one effect removed (never a fader or room) and the fader of that stem refitted."""
    consoles = []
    for place in (*console.chains, BUS):
        for index, (effect, _) in enumerate(console.chain(place)):
            if is_fader(effect) or has(effect, "stochastic"):
                continue
            chain = console.chain(place)
            less = console.with_chain(place, (*chain[:index], *chain[index + 1 :]))
            unknowns = [each for each in unknowns_of(less, len(problem.mixture), only=("level",)) if place in (BUS, each.place)]
            consoles.append((place, index, search(problem, less, unknowns, iterations=1).console))
    return consoles


def _helps_db(problem: ConsoleProblem, without: ConsoleSettings, cost: float) -> float:
    return 10.0 * math.log10((problem.cost(without) + FLOOR) / (cost + FLOOR))
