"""Consoles that a mixture does not distinguish: others that sound alike, and how far their settings are from those that were found.

    level       an equaliser with the same kinds of bands that raises everything, a threshold higher and a fader lower by as much
    shelf       a low shelf and the opposite high shelf differ by a gain alone; beyond ``SHELF_HZ`` which of them was used is a guess
    compressor  one with another detector, or that smooths the level and not the gain, has another threshold and ratio
    reach       of a single stem: how far each setting can go, all others following it, until the residual is no longer plausible

Conventions
    A doubt is a difference as a share of a setting's range, as that between excerpts (``stemwright.datagen.inverse.confidence``). The gain
    of a band differs by as much as the response of its equaliser at its frequency, of a shelf an octave into its plateau. Another console
    is plausible if it adds no more to the residual than ``PLAUSIBLE`` of it. What is added grows about with the square of the distance: of
    the difference to a console that adds more, the square root of the ratio is plausible.
    Whether low bands replace a high-pass is not considered: with one, a shelf can raise again what it removes, so that every low shelf
    would be in doubt.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from stemwright.datagen.effects import EFFECTS
from stemwright.datagen.effects.settings import EffectSettings, fields
from stemwright.datagen.inverse.console import initial_settings
from stemwright.datagen.inverse.console.alternatives import other_options
from stemwright.datagen.inverse.console.initial_settings import response_db
from stemwright.datagen.inverse.console.joint_search import ConsoleProblem, ConsoleSettings, Unknown, heard, search, unknowns_of
from stemwright.datagen.inverse.console.response_metric import ResponseMetric, response_metric
from stemwright.datagen.inverse.effect_roles import bounds, gains, has_threshold, is_fader
from stemwright.datagen.inverse.solver import Vector, gram

FLOOR = 1e-10  # of the mixture's energy: residuals below it are equal
EXACT = 1e-6  # of the mixture's energy: a residual that no wrong kind of compressor leaves
SHIFTS_DB = (-8.0, -3.0, 3.0, 8.0)  # that are tried, of the level of an equaliser
LEVEL = 0.1  # of the cost of all frequencies: the cost of a level that differs from the one that is tried
PLAUSIBLE = 0.3  # of the residual: what a console that may have been used may add
SHELF_HZ = (500.0, 1500.0)  # a low shelf is usually below them, a high shelf above
ITERATIONS = 4
# The share of a plausible difference that counts, for settings of effects with a threshold and for others: about their errors on consoles
# of other makes (``benchmarks/foreign_consoles.py``, seeds 503 to 505). Their residual is that of all stems; with a single one all of it
# counts: nothing else is in the residual.
DYNAMIC, STATIC = 0.5, 0.1
REACH = 0.25  # likewise of how far the settings of a single stem can go: ``benchmarks/fit.py``, rows with rooms, seed 3031

Doubts = dict[Unknown, float]


@dataclass(frozen=True)
class Equaliser:
    """An equaliser of a stem: where it is, its settings, and the frequency at which the gain of each of its bands is heard."""

    place: str
    index: int
    effect: str
    settings: EffectSettings
    bands_hz: Mapping[str, float]

    def differences(self, off_db: Vector) -> Doubts:
        """Of the gains of bands, for a difference of the response in dB at their frequencies."""
        declared: Any = fields(type(self.settings))
        gains_db = [declared[f"{band}_gain_db"] for band in self.bands_hz]
        return {
            Unknown(self.place, self.index, setting): abs(by) / (setting.high - setting.low)
            for setting, by in zip(gains_db, off_db.tolist(), strict=True)
        }

    @property
    def hz(self) -> Vector:
        """The frequencies at which the gains of bands are heard."""
        return np.array(list(self.bands_hz.values()))


def doubts(problem: ConsoleProblem, console: ConsoleSettings) -> Doubts:
    """How far the settings of a console are from those of others that sound alike, as shares of their ranges."""
    found = plausible_doubts(problem, console)
    _keep_larger(found, shelf_doubts(console))  # the very same sound: nothing but usage speaks for either
    return found


def plausible_doubts(problem: ConsoleProblem, console: ConsoleSettings) -> Doubts:
    """The same without consoles whose sound is the very same: as far as the residual allows."""
    found: Doubts = {}
    is_alone = len(console.chains) == 1
    for kind in (level_doubts, compressor_doubts):
        for each, by in kind(problem, console).items():
            part = DYNAMIC if has_threshold(console.chains[each.place][each.index][0]) else STATIC
            _keep_larger(found, {each: by}, 1.0 if is_alone else part)
    if is_alone:
        _keep_larger(found, reach(problem, console), REACH)
    return found


def reach(problem: ConsoleProblem, console: ConsoleSettings) -> Doubts:
    """How far each setting can go, all others following it, until the residual is no longer plausible; to first order."""
    unknowns = heard(console, unknowns_of(console, len(problem.mixture)))
    plausible = PLAUSIBLE * problem.cost(console) + FLOOR
    matrix = gram(problem.columns(console, unknowns)) / problem.energy
    matrix += plausible * np.eye(len(matrix))  # no further than the whole range
    far = np.sqrt(plausible * np.diag(np.linalg.inv(matrix)).clip(min=0.0))
    return dict(zip(unknowns, far.tolist(), strict=True))


def _keep_larger(found: Doubts, others: Doubts, part: float = 1.0) -> None:
    """Adds other doubts, of which a part counts, to those that were found: of each setting the larger one."""
    for each, by in others.items():
        found[each] = max(found.get(each, 0.0), part * by)


def equalisers(console: ConsoleSettings) -> Iterator[Equaliser]:
    """The equalisers of stems that have bands with a gain."""
    for place, chain in console.chains.items():
        for index, (effect, settings) in enumerate(chain):
            if hasattr(EFFECTS[effect], "nearest_bands"):
                bands: Any = getattr(EFFECTS[effect], "BANDS", ())
                used = {band: _heard_hz(band, settings) for band in bands if getattr(settings, f"{band}_gain_db") != 0.0}
                if used:
                    yield Equaliser(place, index, effect, settings, used)


def _heard_hz(band: str, settings: EffectSettings) -> float:
    hz = float(getattr(settings, f"{band}_hz"))
    return {"low_shelf": max(hz / 2.0, 30.0), "high_shelf": min(hz * 2.0, 14_000.0)}.get(band, hz)


def level_doubts(problem: ConsoleProblem, console: ConsoleSettings) -> Doubts:
    """For equalisers with the same kinds of bands that sound alike at another level."""
    found: Doubts = {}
    plausible = PLAUSIBLE * problem.cost(console) + FLOOR
    for each in equalisers(console):
        metric = response_metric(problem, console, each.place, each.index)
        for shift_db in SHIFTS_DB:
            other = _nearest(problem, each, metric, metric.here_db + shift_db)
            off_db = response_db(each.effect, other, metric.hz, problem.sample_rate) - metric.here_db
            way = _way(plausible, float(((off_db @ metric.root) ** 2).sum()))
            _keep_larger(found, dict(zip(metric.unknowns, np.abs(metric.follow @ off_db).tolist(), strict=True)), way)
            _keep_larger(found, each.differences(np.interp(each.hz, metric.hz, off_db)), way)
    return found


def _nearest(problem: ConsoleProblem, each: Equaliser, metric: ResponseMetric, target_db: Vector) -> EffectSettings:
    """The equaliser with the same kinds of bands whose response is closest to a target, whatever its level."""
    verb: Any = EFFECTS[each.effect]
    # The level itself costs a little, so that of equally close responses the one at the level that is tried is chosen.
    level = np.full((len(metric.hz), 1), LEVEL * np.sqrt((metric.root**2).sum()) / len(metric.hz))
    root = np.concatenate([metric.root, level], 1)
    found: EffectSettings = verb.nearest_bands(each.settings, target_db, metric.hz, root, problem.sample_rate, same=True)
    return found


def _way(plausible: float, adds: float) -> float:
    """The share of a difference that is plausible, where all of it adds so much to the residual."""
    return math.sqrt(plausible / max(adds, plausible))


def shelf_doubts(console: ConsoleSettings) -> Doubts:
    """For shelves before a fader that may be the opposite shelf of the other kind, which gives less at all frequencies."""
    found: Doubts = {}
    for each in equalisers(console):
        if not any(is_fader(effect) for effect, _ in console.chains[each.place][each.index :]):
            continue
        shifts_db = [0.0]
        for band, beyond in (("low_shelf", SHELF_HZ[0]), ("high_shelf", -SHELF_HZ[1])):
            if band in each.bands_hz and math.copysign(getattr(each.settings, f"{band}_hz"), beyond) > beyond:
                shifts_db += [level_db + getattr(each.settings, f"{band}_gain_db") for level_db in shifts_db]
        level_db = max(map(abs, shifts_db))
        if level_db > 0.0:
            _keep_larger(found, each.differences(np.full(len(each.bands_hz), level_db)))
            _keep_larger(found, _following(console, each, level_db))
    return found


def _following(console: ConsoleSettings, each: Equaliser, level_db: float) -> Doubts:
    """Of faders and of thresholds behind an equaliser, for a difference of its level."""
    found: Doubts = {}
    for index, (effect, settings) in enumerate(console.chains[each.place]):
        levels = gains(type(settings)) if is_fader(effect) else []
        thresholds = bounds(type(settings), "threshold") if index > each.index else []
        found |= {Unknown(each.place, index, setting): level_db / (setting.high - setting.low) for setting in (*levels, *thresholds)}
    return found


def compressor_doubts(problem: ConsoleProblem, console: ConsoleSettings) -> Doubts:
    """For effects with a threshold: how the settings of that stem differ with one of another kind."""
    found: Doubts = {}
    cost = problem.cost(console)
    for place, chain in console.chains.items() if cost > EXACT else ():
        for index, (effect, _) in enumerate(chain):
            for start in _other_kinds(problem, console, place, index) if has_threshold(effect) else ():
                other = search(problem, start, _of(problem, start, place), iterations=ITERATIONS).console
                way = _way(PLAUSIBLE * cost + FLOOR, problem.cost(other) - cost)
                _keep_larger(found, _differences(problem, console, other, place), way)
    return found


def _other_kinds(problem: ConsoleProblem, console: ConsoleSettings, place: str, index: int) -> Iterator[ConsoleSettings]:
    """The console with each choice of an effect the other way, and with what smooths the level of it instead of its gain."""
    chain = list(console.chains[place])
    effect, settings = chain[index]
    for name, option in other_options(effect, settings, len(problem.mixture)):
        yield console.with_chain(place, [*chain[:index], (effect, settings.model_copy(update={name: option})), *chain[index + 1 :]])
    for grid in initial_settings.other_kinds(problem, effect, place):
        yield console.with_chain(place, initial_settings.compression(problem, console, place, index, grid))


def _of(problem: ConsoleProblem, console: ConsoleSettings, place: str) -> list[Unknown]:
    return [each for each in heard(console, unknowns_of(console, len(problem.mixture))) if each.place == place]


def _differences(problem: ConsoleProblem, console: ConsoleSettings, other: ConsoleSettings, place: str) -> Doubts:
    """Of all settings of a stem between two consoles of the same effects."""
    unknowns = _of(problem, console, place)
    return dict(zip(unknowns, np.abs(other.unit(unknowns) - console.unit(unknowns)).tolist(), strict=True))
