"""The joint search of a console: all settings of all stems and of the mix bus at once, by least squares on the waveform of the mixture.

A console renders y = bus(Σ chain_s(x_s)). The search is Gauss and Newton's with Levenberg and Marquardt's damping. A column of the
Jacobian is the difference that one setting makes: only its own stem is rendered again, and only from its effect on, so that a Jacobian of
a hundred settings costs about as much as twenty renderings of the whole mix.

Conventions
    Audio is float64 [C, T]. Unknowns are numbers in [0, 1] (``Range.to_unit``). The residual is whitened by the linear predictor of the
    mixture, so that treble counts like bass, up to 15 kHz; ``residual_db`` is its energy against that of the whitened mixture.
    Left as they are: whole numbers, delays and other settings that move the audio in steps; a setting at its ``off`` value; make-up,
    which a fader shares, and on the mix bus faders and threshold; a room, whose noise is unknown
    (``stemwright.datagen.inverse.console.rooms``).

References
    Levenberg 1944, Marquardt 1963. ``stemwright.datagen.inverse.solver`` does the same for one chain.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.signal import firwin, lfilter

from stemwright.datagen.effects import EFFECTS, apply_chain
from stemwright.datagen.effects.settings import EffectSettings, Range, fields
from stemwright.datagen.inverse.known_dry.response import predictor
from stemwright.datagen.inverse.solver import damped_step

Use: TypeAlias = tuple[str, EffectSettings]
Vector: TypeAlias = NDArray[np.float64]

BUS = ""  # the place of the mix bus among the names of stems
STEP = 1e-6  # of the unit range
WHITENING = 24  # taps
TOP_HZ = 15_000.0
PIECE = 65_536
CHORDS = 3  # steps for one Jacobian
INDEPENDENT = 300.0  # samples that the residual is worth against the prior: it is far from white noise
# Settings that move the audio in steps, and those of noise that cannot be known: no small change of them says anything.
STEPPED = {("delay", "delay_ms"), ("limiter", "lookahead_ms")}
NOISE = {"room"}
SHARED = {("compressor", "makeup_db")}


@dataclass(frozen=True)
class Unknown:
    """One setting to be found: whose chain (``BUS`` for the mix bus), which effect of it, which setting."""

    place: str
    index: int
    setting: Range


@dataclass(frozen=True)
class Desk:
    """The settings of a console: a chain for each stem, and one for the mix bus."""

    chains: Mapping[str, tuple[Use, ...]]
    bus: tuple[Use, ...] = ()

    def chain(self, place: str) -> tuple[Use, ...]:
        """The chain of a stem, or that of the mix bus for ``BUS``."""
        return self.bus if place == BUS else self.chains[place]

    def with_chain(self, place: str, chain: Sequence[Use]) -> Desk:
        """The same desk with one chain replaced."""
        return Desk(self.chains, tuple(chain)) if place == BUS else Desk({**self.chains, place: tuple(chain)}, self.bus)

    def with_values(self, unknowns: Sequence[Unknown], unit: Vector) -> Desk:
        """The same desk with the unknowns at these places of their ranges."""
        changes: dict[tuple[str, int], dict[str, float]] = {}
        for unknown, value in zip(unknowns, unit, strict=True):
            changes.setdefault((unknown.place, unknown.index), {})[unknown.setting.name] = unknown.setting.from_unit(float(value))
        desk = self
        for (place, index), values in changes.items():
            chain = list(desk.chain(place))
            chain[index] = (chain[index][0], chain[index][1].model_copy(update=values))
            desk = desk.with_chain(place, chain)
        return desk

    def unit(self, unknowns: Sequence[Unknown]) -> Vector:
        """Where the unknowns stand in their ranges."""
        settings = [self.chain(unknown.place)[unknown.index][1] for unknown in unknowns]
        values = [unknown.setting.to_unit(getattr(each, unknown.setting.name)) for unknown, each in zip(unknowns, settings, strict=True)]
        return np.clip(np.array(values, float), 0.0, 1.0)


class Found(NamedTuple):
    """Where a search ended: the desk, its residual in dB, and the standard error of each unknown as a part of its range."""

    desk: Desk
    residual_db: float
    error: dict[Unknown, float]


@dataclass
class Problem:
    """A mixture [C, T] and its dry stems, float64, and the filter that whitens the residual.

    The first ``warm_up`` frames are rendered but not compared: an excerpt begins with compressors that have heard nothing.
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

    def cut(self, frames: int) -> Problem:
        """The same problem with the first ``frames`` frames that are compared."""
        stop = self.warm_up + frames
        return Problem(self.mixture[:, :stop], {name: stem[:, :stop] for name, stem in self.stems.items()}, self.sample_rate, self.warm_up)

    def wet(self, name: str, chain: Sequence[Use]) -> torch.Tensor:
        """A stem through its chain."""
        return apply_chain(self.stems[name], self.sample_rate, chain)

    def mix(self, desk: Desk) -> torch.Tensor:
        """What the desk makes of the stems."""
        total = torch.stack([self.wet(name, chain) for name, chain in desk.chains.items()]).sum(0)
        return apply_chain(total, self.sample_rate, desk.bus)

    def cost(self, desk: Desk) -> float:
        """The energy of the whitened residual against that of the whitened mixture."""
        return float(((self.white(self.mix(desk)) - self.goal) ** 2).sum()) / self.energy

    def columns(self, desk: Desk, unknowns: Sequence[Unknown]) -> tuple[NDArray[np.float32], Vector]:
        """The whitened difference that each unknown makes, float32 [P, C T], and the whitened residual [C T]."""
        stages = {name: self._stages(self.stems[name], chain) for name, chain in desk.chains.items()}
        total = torch.stack([stage[-1] for stage in stages.values()]).sum(0)
        bus = self._stages(total, desk.bus)
        table = np.empty((len(unknowns), self.goal.size), np.float32)
        unit = desk.unit(unknowns)
        for row, (unknown, value) in enumerate(zip(unknowns, unit, strict=True)):
            step = STEP if value < 0.5 else -STEP
            chain = desk.with_values([unknown], np.array([value + step])).chain(unknown.place)[unknown.index :]
            if unknown.place == BUS:
                moved = apply_chain(bus[unknown.index], self.sample_rate, chain) - bus[-1]
            else:
                moved = apply_chain(stages[unknown.place][unknown.index], self.sample_rate, chain) - stages[unknown.place][-1]
                if desk.bus:
                    moved = apply_chain(total + moved, self.sample_rate, desk.bus) - bus[-1]
            table[row] = (self.white(moved) / step).ravel()
        return table, (self.white(bus[-1]) - self.goal).ravel()

    def _stages(self, audio: torch.Tensor, chain: Sequence[Use]) -> list[torch.Tensor]:
        """The audio before the first effect, after it, after the second, ..."""
        stages = [audio]
        for use in chain:
            stages.append(apply_chain(stages[-1], self.sample_rate, [use]))
        return stages


def unknowns_of(desk: Desk, channels: int, *, only: Sequence[str] | None = None) -> list[Unknown]:
    """The settings of a desk that a search may move; ``only`` names the effects it may touch."""
    found = []
    for place in (*desk.chains, BUS):
        for index, (name, settings) in enumerate(desk.chain(place)):
            if name in NOISE or (only is not None and name not in only):
                continue
            for each in fields(type(settings)).values():
                if not isinstance(each, Range) or each.scale == "integer" or (name, each.name) in STEPPED | SHARED:
                    continue
                if getattr(settings, each.name) == each.off or ((name, each.name) == ("fader", "pan") and channels != 2):
                    continue
                found.append(Unknown(place, index, each))
    return found


def search(
    problem: Problem,
    desk: Desk,
    unknowns: Sequence[Unknown],
    *,
    iterations: int = 20,
    enough_db: float = -110.0,
    on_step: Callable[[float], Any] | None = None,
) -> Found:
    """Minimises the whitened residual from a desk on. ``on_step`` hears the residual in dB after each step.

    What is typical of an effect pulls weakly, as a prior would with the residual as noise, and lets go as the residual vanishes: where
    the audio says nothing, a setting stays ordinary. One Jacobian serves several steps while they gain. The search ends where a
    Jacobian gains less than two per cent, at ``enough_db``, or after ``iterations`` Jacobians.
    """
    unit, cost, damping = desk.unit(unknowns), problem.cost(desk), 1e-3
    middle, width = _typical(unknowns, desk)
    matrix, found_cost = np.zeros((0, 0)), cost
    for _ in range(iterations):
        before = cost
        table, miss = problem.columns(desk, unknowns)
        matrix, found_cost = _gram(table), cost
        pull = cost * problem.energy / INDEPENDENT / width**2
        prior = np.diag(pull)
        for _ in range(CHORDS):
            slope = _product(table, miss) + pull * (unit - middle)
            normal = (matrix + prior, slope, pull, middle)
            unit, desk, cost, damping, gain = _stepped(problem, desk, unknowns, (unit, cost, damping), normal)
            if gain < 0.1 or cost < 10.0 ** (enough_db / 10.0):
                break
            miss = (problem.white(problem.mix(desk)) - problem.goal).ravel()
        if on_step:
            on_step(_db(cost))
        if cost > 0.98 * before or _db(cost) < enough_db:
            break
    if not len(matrix):
        matrix, found_cost = _gram(problem.columns(desk, unknowns)[0]), cost
    # What is left is no white noise but what the console cannot do: it is worth few independent samples.
    noise = min(cost, found_cost) * problem.energy / (10.0 * INDEPENDENT)
    spread = np.diag(np.linalg.pinv(matrix, hermitian=True)).clip(min=0.0)
    unseen = np.diag(matrix) <= 1e-14 * max(float(np.diag(matrix).max(initial=0.0)), 1e-300)
    error = np.where(unseen, np.inf, np.sqrt(noise * spread))
    return Found(desk, _db(cost), dict(zip(unknowns, error.tolist(), strict=True)))


def _stepped(
    problem: Problem,
    desk: Desk,
    unknowns: Sequence[Unknown],
    state: tuple[Vector, float, float],
    normal: tuple[Vector, Vector, Vector, Vector],
) -> tuple[Vector, Desk, float, float, float]:
    """One step, more and more damped until it gains: unknowns, desk, cost, damping, and the part of the cost that it took away."""
    unit, cost, damping = state
    matrix, slope, pull, middle = normal

    def held(where: Vector) -> float:
        return float((pull * (where - middle) ** 2).sum()) / problem.energy

    for _ in range(7):
        trial = np.clip(unit - damped_step(matrix, slope, unit, damping), 0.0, 1.0)
        moved = desk.with_values(unknowns, trial)
        trial_cost = problem.cost(moved)
        if trial_cost + held(trial) < cost + held(unit):
            return trial, moved, trial_cost, damping / 8.0, (cost - trial_cost) / cost
        damping = max(damping, 1e-9) * 8.0
    return unit, desk, cost, damping, 0.0


def _typical(unknowns: Sequence[Unknown], desk: Desk) -> tuple[Vector, Vector]:
    """The middle of what is typical of each unknown, and twice its breadth, as parts of its range; no frequency is typical."""
    middles, widths = [], []
    for unknown in unknowns:
        typical = EFFECTS[desk.chain(unknown.place)[unknown.index][0]].TYPICAL.get(unknown.setting.name)
        if typical is None or unknown.setting.unit == "Hz":
            middles.append(0.5)
            widths.append(10.0)
            continue
        ends = [float(unknown.setting.to_unit(float(value))) for value in typical]
        middles.append(0.5 * sum(ends))
        widths.append(max(ends[1] - ends[0], 0.1))
    return np.array(middles), np.array(widths)


def _gram(table: NDArray[np.float32]) -> Vector:
    """J'J, summed in short pieces, since long sums lose much in float32."""
    matrix = np.zeros((len(table), len(table)))
    for start in range(0, table.shape[1], PIECE):
        part = table[:, start : start + PIECE]
        matrix += part @ part.T
    return matrix


def _product(table: NDArray[np.float32], miss: Vector) -> Vector:
    """J'r."""
    slope = np.zeros(len(table))
    for start in range(0, table.shape[1], PIECE):
        slope += table[:, start : start + PIECE] @ miss[start : start + PIECE].astype(np.float32)
    return slope


def _db(cost: float) -> float:
    return 10.0 * math.log10(cost + 1e-40)
