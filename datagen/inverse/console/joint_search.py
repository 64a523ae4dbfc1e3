"""The joint search of a console: all settings of all stems and of the mix bus at once, by least squares on the waveform of the mixture.

A console renders y = bus(Σ chain_s(x_s)). The search is that of ``stemwright.datagen.inverse.solver``. A column of the
Jacobian is the difference that one setting makes: only its own stem is rendered again, and only from its effect on, so that a Jacobian of
a hundred settings costs about as much as twenty renderings of the whole mix.

Conventions
    Audio is float64 [C, T]. Unknowns are numbers in [0, 1] (``Range.to_unit``). The residual is whitened by the linear predictor of the
    mixture, so that treble counts like bass, up to 15 kHz; ``residual_db`` is its energy relative to that of the whitened mixture.
    Not searched: whole numbers, delays and other settings that move the audio in steps; a setting at its ``off`` value; make-up,
    which a fader shares, and on the mix bus faders and threshold; a room, whose noise is unknown
    (``stemwright.datagen.inverse.console.rooms``).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.signal import firwin, lfilter

from stemwright.datagen.effects import EFFECTS, apply_chain
from stemwright.datagen.effects.settings import Range
from stemwright.datagen.effects.traits import Trait
from stemwright.datagen.inverse.effect_roles import is_fader, searchable, silent
from stemwright.datagen.inverse.fitted_chain import Use
from stemwright.datagen.inverse.known_dry.response import predictor
from stemwright.datagen.inverse.solver import STEP, Prior, SearchLimits, Vector, refine

BUS = ""  # the place of the mix bus among the names of stems
WHITENING = 24  # taps
TOP_HZ = 15_000.0
CHORDS = 3  # steps with one Jacobian


@dataclass(frozen=True)
class Unknown:
    """One setting to be found: whose chain (``BUS`` for the mix bus), which effect of it, which setting."""

    place: str
    index: int
    setting: Range


@dataclass(frozen=True)
class ConsoleSettings:
    """The settings of a console: a chain for each stem, and one for the mix bus."""

    chains: Mapping[str, tuple[Use, ...]]
    bus: tuple[Use, ...] = ()

    def chain(self, place: str) -> tuple[Use, ...]:
        """The chain of a stem, or that of the mix bus for ``BUS``."""
        return self.bus if place == BUS else self.chains[place]

    def with_chain(self, place: str, chain: Sequence[Use]) -> ConsoleSettings:
        """The same console with one chain replaced."""
        return (
            ConsoleSettings(self.chains, tuple(chain)) if place == BUS else ConsoleSettings({**self.chains, place: tuple(chain)}, self.bus)
        )

    def with_values(self, unknowns: Sequence[Unknown], unit: Vector) -> ConsoleSettings:
        """The same console with the unknowns at these positions in their ranges."""
        changes: dict[tuple[str, int], dict[str, float]] = {}
        for unknown, value in zip(unknowns, unit, strict=True):
            changes.setdefault((unknown.place, unknown.index), {})[unknown.setting.name] = unknown.setting.from_unit(float(value))
        console = self
        for (place, index), values in changes.items():
            chain = list(console.chain(place))
            chain[index] = (chain[index][0], chain[index][1].model_copy(update=values))
            console = console.with_chain(place, chain)
        return console

    def unit(self, unknowns: Sequence[Unknown]) -> Vector:
        """The positions of the unknowns in their ranges, [0, 1]."""
        settings = [self.chain(unknown.place)[unknown.index][1] for unknown in unknowns]
        values = [unknown.setting.to_unit(getattr(each, unknown.setting.name)) for unknown, each in zip(unknowns, settings, strict=True)]
        return np.clip(np.array(values, float), 0.0, 1.0)


class ConsoleSearchResult(NamedTuple):
    """The result of a search: the console, its residual in dB, and of each unknown, as parts of its range, the standard error and the
    difference between excerpts.
    """

    console: ConsoleSettings
    residual_db: float
    error: dict[Unknown, float]
    difference: dict[Unknown, float]


@dataclass
class ConsoleProblem:
    """A mixture [C, T] and its dry stems, float64, and the filter that whitens the residual.

    The first ``warm_up`` frames are rendered but not compared: at the start of an excerpt a compressor's detector has no history.
    """

    mixture: torch.Tensor
    stems: Mapping[str, torch.Tensor]
    sample_rate: int
    warm_up: int = 0
    taps: Vector = field(init=False)
    goal: Vector = field(init=False)

    def __post_init__(self) -> None:
        flat = predictor(self.mixture, order=WHITENING, floor_db=-60.0)
        # Lossy coders leave nothing above 16 kHz, which whitening would raise above all music.
        top = firwin(2 * WHITENING + 1, min(TOP_HZ, 0.49 * self.sample_rate), fs=self.sample_rate)
        self.taps = np.convolve(flat, top)
        self.goal = self.white(self.mixture)
        self.energy = max(float((self.goal**2).sum()), 1e-300)

    def white(self, audio: torch.Tensor) -> Vector:
        """The audio through the whitening filter, float64 [C, T]."""
        return np.asarray(lfilter(self.taps, [1.0], audio.numpy())[:, self.warm_up :])

    def cut(self, frames: int) -> ConsoleProblem:
        """The same problem with the first ``frames`` frames that are compared."""
        stop = self.warm_up + frames
        return ConsoleProblem(
            self.mixture[:, :stop], {name: stem[:, :stop] for name, stem in self.stems.items()}, self.sample_rate, self.warm_up
        )

    def wet(self, name: str, chain: Sequence[Use]) -> torch.Tensor:
        """A stem through its chain."""
        return apply_chain(self.stems[name], self.sample_rate, chain)

    def mix(self, console: ConsoleSettings) -> torch.Tensor:
        """The console's mix of the stems."""
        total = torch.stack([self.wet(name, chain) for name, chain in console.chains.items()]).sum(0)
        return apply_chain(total, self.sample_rate, console.bus)

    def cost(self, console: ConsoleSettings) -> float:
        """The energy of the whitened residual relative to that of the whitened mixture."""
        return float(((self.white(self.mix(console)) - self.goal) ** 2).sum()) / self.energy

    def columns(self, console: ConsoleSettings, unknowns: Sequence[Unknown]) -> tuple[NDArray[np.float32], Vector]:
        """The whitened difference that each unknown makes, float32 [P, C T], and the whitened residual [C T]."""
        stages = {name: self._stages(self.stems[name], chain) for name, chain in console.chains.items()}
        total = torch.stack([stage[-1] for stage in stages.values()]).sum(0)
        bus = self._stages(total, console.bus)
        table = np.empty((len(unknowns), self.goal.size), np.float32)
        unit = console.unit(unknowns)
        for row, (unknown, value) in enumerate(zip(unknowns, unit, strict=True)):
            step = STEP if value < 0.5 else -STEP
            chain = console.with_values([unknown], np.array([value + step])).chain(unknown.place)[unknown.index :]
            if unknown.place == BUS:
                moved = apply_chain(bus[unknown.index], self.sample_rate, chain) - bus[-1]
            else:
                moved = apply_chain(stages[unknown.place][unknown.index], self.sample_rate, chain) - stages[unknown.place][-1]
                if console.bus:
                    moved = apply_chain(total + moved, self.sample_rate, console.bus) - bus[-1]
            table[row] = (self.white(moved) / step).ravel()
        return table, (self.white(bus[-1]) - self.goal).ravel()

    def _stages(self, audio: torch.Tensor, chain: Sequence[Use]) -> list[torch.Tensor]:
        """The audio before the first effect, after it, after the second, ..."""
        stages = [audio]
        for use in chain:
            stages.append(apply_chain(stages[-1], self.sample_rate, [use]))
        return stages


def unknowns_of(console: ConsoleSettings, channels: int, *, only: Sequence[Trait] = ()) -> list[Unknown]:
    """The settings of a console that a search may move, those of effects that have one of the traits ``only`` if any are given."""
    found = list[Unknown]()
    for place in (*console.chains, BUS):
        for index, (name, settings) in enumerate(console.chain(place)):
            if "stochastic" in EFFECTS[name].TRAITS or (only and not EFFECTS[name].TRAITS.intersection(only)):
                continue
            moving = [each for each in searchable(settings, channels) if is_fader(name) or not each.gain]
            found += [Unknown(place, index, each) for each in moving]
    return found


def heard(console: ConsoleSettings, unknowns: Sequence[Unknown]) -> list[Unknown]:
    """The unknowns without those of bands that have no gain: a band that was left out stays out."""
    return [each for each in unknowns if each.setting.name not in silent(*console.chain(each.place)[each.index])]


def search(
    problem: ConsoleProblem, console: ConsoleSettings, unknowns: Sequence[Unknown], *, iterations: int = 20, enough_db: float = -110.0
) -> ConsoleSearchResult:
    """Minimises the whitened residual, starting from a console (``stemwright.datagen.inverse.solver``).

    Typical settings of an effect are a weak prior, with the residual as noise. One Jacobian is reused for several steps while they
    improve the fit. The search ends when a Jacobian gains less than two per cent, at ``enough_db``, or after ``iterations`` Jacobians.
    """
    scale = 1.0 / math.sqrt(problem.energy)

    def residual(unit: Vector) -> Vector:
        return np.asarray((problem.white(problem.mix(console.with_values(unknowns, unit))) - problem.goal).ravel() * scale)

    def columns(unit: Vector) -> NDArray[np.float32]:
        return problem.columns(console.with_values(unknowns, unit), unknowns)[0] * np.float32(scale)

    limits = SearchLimits(iterations, 0.02, CHORDS, 0.5 * 10.0 ** (enough_db / 10.0), len(problem.mixture), fresh=False, growth=8.0)
    found = refine(residual, console.unit(unknowns), limits, columns=columns, prior=_typical(unknowns, console))
    best = console.with_values(unknowns, found.unit)
    return ConsoleSearchResult(best, _db(2.0 * found.cost), _by_unknown(unknowns, found.error), _by_unknown(unknowns, found.difference))


def _by_unknown(unknowns: Sequence[Unknown], values: Vector) -> dict[Unknown, float]:
    return dict(zip(unknowns, values.tolist(), strict=True))


def _typical(unknowns: Sequence[Unknown], console: ConsoleSettings) -> Prior:
    """The middle of the typical range of each unknown, and the prior's width, as parts of its range; frequencies have no prior."""
    middles, widths = [], []
    for unknown in unknowns:
        typical = EFFECTS[console.chain(unknown.place)[unknown.index][0]].TYPICAL.get(unknown.setting.name)
        if typical is None or unknown.setting.unit == "Hz":
            middles.append(0.5)
            widths.append(10.0)
            continue
        typical = typical[:2] if isinstance(typical, tuple) else (typical, typical)  # a number: it is always that
        ends = [float(unknown.setting.to_unit(float(value))) for value in typical]
        middles.append(0.5 * sum(ends))
        widths.append(max(ends[1] - ends[0], 0.1))
    return Prior(np.array(middles), np.array(widths))


def _db(cost: float) -> float:
    return 10.0 * math.log10(cost + 1e-40)
