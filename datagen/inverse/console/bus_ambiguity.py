"""What the stems share with compression on the mix bus: how far their settings are from those of consoles with another bus.

    none on the bus   a stem that is louder than the others drives the compressor of the sum. In a console without one, what it takes off is
                      found in the faders and compressors of the stems. Where one was used the residual falls with one on the bus, although
                      the compressors of the stems are there already
    one on the bus    all stems louder and a lower threshold are nearly the same mix: how far the faders can go, all else following them,
                      until the residual is no longer plausible

Conventions
    Differences are shares of settings' ranges. Consoles are compared after a short search of all settings that are levels or depend on the
    level. The make-up of a compressor on the bus is 0, as in every fit: faders have it in their gains.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from stemwright.datagen.effects import EFFECTS, apply_chain, compressor
from stemwright.datagen.inverse.console.doubts import reach
from stemwright.datagen.inverse.console.initial_settings import GRIDS, LEVEL_SMOOTHED, with_level
from stemwright.datagen.inverse.console.joint_search import BUS, ConsoleProblem, ConsoleSettings, Unknown, heard, search, unknowns_of
from stemwright.datagen.inverse.effect_roles import bounds, has, moved_by

EXACT = 1e-6  # of the mixture's energy: a residual that leaves nothing to a compressor
# By which it lowers the residual where there is one: by 1 to 12 dB in three mixes whose bus has a processor of another make that takes
# off 3 dB, by 0.06 dB at most in 21 mixes without (``benchmarks/foreign_consoles.py``, seeds 503 to 505). Of 21 others (seed 606), of which
# the last four were not looked at, one without is taken for one with: 1.3 dB.
HELPS_DB = 0.3
LEVELS = (0.4, 0.7, 0.9, 0.97)  # quantiles of the level of the sum: thresholds that are tried
ITERATIONS = 4
# The share that counts of how far a fader can go with a compressor on the bus. Chosen on three mixes with pedalboard's, ffmpeg's and our
# compressor there; none is a draw of ``benchmarks/console.py``.
SHARE = 0.25


class BusAmbiguity(NamedTuple):
    """How far settings are from those with a compressor on the bus, and by how many dB that lowers the residual; 0: not clearly."""

    differences: dict[Unknown, float]
    helps_db: float = 0.0


def bus_ambiguity(problem: ConsoleProblem, console: ConsoleSettings) -> BusAmbiguity:
    """Of a console: if it has compression on its bus, of gains of faders and thresholds of the bus."""
    if any(has(effect, "dynamic") for effect, _ in console.bus):
        far = reach(problem, console).items()
        return BusAmbiguity({each: SHARE * by for each, by in far if each.setting.gain or (each.place == BUS and each.setting.bound)})
    if problem.cost(console) <= EXACT:
        return BusAmbiguity({})
    return _without_compressor(problem, console)


def _without_compressor(problem: ConsoleProblem, console: ConsoleSettings) -> BusAmbiguity:
    """How far settings are from those with a compressor on the bus, where that lowers the residual clearly."""
    before = problem.cost(_searched(problem, console))
    unknowns = _moving(console, len(problem.mixture))
    found, helps_db = dict[Unknown, float](), 0.0
    for grid in (GRIDS[compressor.NAME], list(itertools.chain(*LEVEL_SMOOTHED[compressor.NAME]))):
        other = _searched(problem, _with_compressor(problem, console, grid))
        by_db = 10.0 * math.log10(before / max(problem.cost(other), 1e-300))
        if by_db >= HELPS_DB:
            helps_db = max(helps_db, by_db)
            off = np.abs(ConsoleSettings(other.chains, console.bus).unit(unknowns) - console.unit(unknowns))
            found |= {each: max(found.get(each, 0.0), by) for each, by in zip(unknowns, off.tolist(), strict=True)}
    return BusAmbiguity(found, helps_db)


def _searched(problem: ConsoleProblem, console: ConsoleSettings) -> ConsoleSettings:
    return search(problem, console, _moving(console, len(problem.mixture)), iterations=ITERATIONS).console


def _moving(console: ConsoleSettings, channels: int) -> list[Unknown]:
    """The unknowns that are levels, or change with the level."""
    return heard(console, unknowns_of(console, channels, only=("dynamic", "level")))


def _with_compressor(problem: ConsoleProblem, console: ConsoleSettings, grid: Sequence[Mapping[str, Any]]) -> ConsoleSettings:
    """The console with the compressor of a grid on the bus that is closest to the mixture, before all else there; the faders follow."""
    total = problem.mix(ConsoleSettings(console.chains))
    level_db = 20.0 * np.log10(np.abs(total.numpy()).max(0) + 1e-9)
    kind = EFFECTS[compressor.NAME].Settings
    threshold = bounds(kind, "threshold")[0]
    thresholds_db = np.quantile(level_db[level_db > level_db.max() - 60.0], LEVELS).clip(threshold.low + 1.0, threshold.high - 1.0)
    best = (math.inf, 1.0, kind())
    for threshold_db, point in itertools.product(thresholds_db.tolist(), grid):
        settings = kind(**{**point, threshold.name: threshold_db})
        wet = problem.white(apply_chain(total, problem.sample_rate, [(compressor.NAME, settings), *console.bus]))
        gain = max(float((wet * problem.goal).sum()) / max(float((wet**2).sum()), 1e-300), 1e-3)
        best = min(best, (float(((gain * wet - problem.goal) ** 2).sum()), gain, settings), key=lambda each: each[0])
    _, gain, settings = best
    gain_db = 20.0 * math.log10(gain)
    chains = {name: with_level(chain, len(chain), gain_db) for name, chain in console.chains.items()}
    return ConsoleSettings(chains, ((compressor.NAME, moved_by(settings, [threshold], gain_db)), *console.bus))
