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

import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.signal import firwin

from stemwright.datagen.effects import EFFECTS, apply_chain
from stemwright.datagen.effects.settings import Range
from stemwright.datagen.effects.traits import Trait
from stemwright.datagen.inverse.derivatives import filtered
from stemwright.datagen.inverse.effect_roles import has, is_fader, searchable, silent
from stemwright.datagen.inverse.fitted_chain import Use
from stemwright.datagen.inverse.known_dry.response import predictor
from stemwright.datagen.inverse.solver import STEP, Prior, SearchLimits, Vector, refine

BUS = ""  # the place of the mix bus among the names of stems
WHITENING = 24  # taps
TOP_HZ = 15_000.0
CHORDS = 3  # steps with one Jacobian
ENOUGH_DB = -110.0  # whitened residual at which a search ends
LEAST_GAIN = 0.02  # of the residual's energy, by a Jacobian: with less a search ends
TOGETHER = 8  # places whose settings are searched at a time
KEPT = 2  # renderings of a stem: that of the best settings, and of those that are tried

Array = NDArray[np.float64]


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

    Only the ``spans`` of frames are compared, by default all from ``warm_up`` on: what precedes each of them is rendered, since a
    compressor's detector has no history at the start of an excerpt.
    """

    mixture: torch.Tensor
    stems: Mapping[str, torch.Tensor]
    sample_rate: int
    warm_up: int = 0
    spans: tuple[tuple[int, int], ...] = ()
    taps: Vector = field(init=False)
    goal: Vector = field(init=False)

    def __post_init__(self) -> None:
        self.spans = self.spans or ((self.warm_up, self.mixture.shape[-1]),)
        flat = predictor(self.mixture, order=WHITENING, floor_db=-60.0)
        # Lossy coders leave nothing above 16 kHz, which whitening would raise above all music.
        top = firwin(2 * WHITENING + 1, min(TOP_HZ, 0.49 * self.sample_rate), fs=self.sample_rate)
        self.taps = np.convolve(flat, top)
        self.goal = self.white(self.mixture)
        self.energy = max(float((self.goal**2).sum()), 1e-300)
        self._rendered: dict[str, list[tuple[tuple[Use, ...], torch.Tensor, Vector | None]]] = {}

    def white(self, audio: torch.Tensor) -> Vector:
        """The audio through the whitening filter, in the spans that are compared, float64 [C, T]."""
        return filtered(audio.numpy(), self.taps, self.spans)

    def compared(self, audio: torch.Tensor) -> torch.Tensor:
        """The audio in the spans that are compared, one after another."""
        return torch.cat([audio[:, start:stop] for start, stop in self.spans], -1)

    def cut(self, frames: int) -> ConsoleProblem:
        """The same problem with about ``frames`` of the frames that are compared: as large a part of the beginning of each span."""
        part = min(frames / sum(stop - start for start, stop in self.spans), 1.0)
        kept, spans, at, before = list[slice](), list[tuple[int, int]](), 0, 0
        for start, stop in self.spans:
            length = max(round(part * (stop - start)), 1)
            kept.append(slice(before, start + length))
            spans.append((at + start - before, at + start - before + length))
            at, before = spans[-1][1], stop

        def shorter(audio: torch.Tensor) -> torch.Tensor:
            return torch.cat([audio[:, each] for each in kept], -1)

        stems = {name: shorter(stem) for name, stem in self.stems.items()}
        return ConsoleProblem(shorter(self.mixture), stems, self.sample_rate, spans=tuple(spans))

    def wet(self, name: str, chain: Sequence[Use]) -> torch.Tensor:
        """A stem through its chain; the last ones that were asked for are kept."""
        return self._entry(name, tuple(chain))[1]

    def white_wet(self, name: str, chain: Sequence[Use]) -> Vector:
        """A stem through its chain and the whitening filter; the last ones that were asked for are kept."""
        entry = self._entry(name, tuple(chain))
        if entry[2] is None:
            entry = self._rendered[name][0] = (entry[0], entry[1], self.white(entry[1]))
        return cast("Vector", entry[2])

    def _entry(self, name: str, chain: tuple[Use, ...]) -> tuple[tuple[Use, ...], torch.Tensor, Vector | None]:
        kept = self._rendered.setdefault(name, [])
        place = next((place for place, (other, _, _) in enumerate(kept) if other == chain), None)
        found = (chain, apply_chain(self.stems[name], self.sample_rate, chain), None) if place is None else kept.pop(place)
        self._rendered[name] = [found, *kept[: KEPT - 1]]
        return found

    def mix(self, console: ConsoleSettings) -> torch.Tensor:
        """The console's mix of the stems."""
        total = torch.stack([self.wet(name, chain) for name, chain in console.chains.items()]).sum(0)
        return apply_chain(total, self.sample_rate, console.bus)

    def white_mix(self, console: ConsoleSettings) -> Vector:
        """The console's mix through the whitening filter."""
        if console.bus:
            return self.white(self.mix(console))
        first, *others = console.chains.items()
        total = self.white_wet(*first).copy()
        for each in others:
            total += self.white_wet(*each)
        return total

    def cost(self, console: ConsoleSettings) -> float:
        """The energy of the whitened residual relative to that of the whitened mixture."""
        return float(((self.white_mix(console) - self.goal) ** 2).sum()) / self.energy

    def columns(self, console: ConsoleSettings, unknowns: Sequence[Unknown]) -> NDArray[np.float32]:
        """The whitened difference that each unknown makes, float32 [P, C T]."""
        table = np.empty((len(unknowns), self.goal.size), np.float32)
        taps = self.taps.astype(np.float32)
        places = dict.fromkeys(each.place for each in unknowns)
        total = self._total(console) if console.bus else None
        bus = _Linearised(total, self.sample_rate, console.bus) if total is not None else None
        for place in places:
            stages = bus if place == BUS else _Linearised(self.stems[place], self.sample_rate, console.chains[place])
            assert stages is not None
            rows = [row for row, each in enumerate(unknowns) if each.place == place]
            for row, change in zip(rows, stages.changes([unknowns[row] for row in rows]), strict=True):
                moved = change if bus is None or place == BUS else bus.along(0, change)
                table[row] = filtered(moved.astype(np.float32), taps, self.spans).ravel()
        return table

    def moved_along(self, console: ConsoleSettings, place: str, index: int, changes: Iterable[Array]) -> NDArray[np.float32]:
        """The whitened difference that each change [C, T] of an effect's output makes, float32 [N, C T]."""
        taps = self.taps.astype(np.float32)
        total = self._total(console) if console.bus else None
        bus = _Linearised(total, self.sample_rate, console.bus) if total is not None else None
        stages = bus if place == BUS else _Linearised(self.stems[place], self.sample_rate, console.chains[place])
        assert stages is not None
        rows = []
        for change in changes:
            moved = stages.along(index + 1, change)
            moved = moved if bus is None or place == BUS else bus.along(0, moved)
            rows.append(filtered(moved.astype(np.float32), taps, self.spans).ravel())
        return np.stack(rows)

    def _total(self, console: ConsoleSettings) -> torch.Tensor:
        return torch.stack([self.wet(name, chain) for name, chain in console.chains.items()]).sum(0)


class _Linearised:
    """A chain at an audio [C, T]: how its output changes with its settings, to first order."""

    def __init__(self, audio: torch.Tensor, sample_rate: int, chain: Sequence[Use]) -> None:
        self.sample_rate, self.chain, self.stages = sample_rate, tuple(chain), [audio]
        for use in chain:
            self.stages.append(apply_chain(self.stages[-1], sample_rate, [use]))
        self._along: dict[int, Callable[[Array], Array]] = {}

    def changes(self, unknowns: Sequence[Unknown]) -> Iterator[Array]:
        """The derivative [C, T] of the output by each unknown, in parts of its range, in their order."""
        for index, group in itertools.groupby(unknowns, key=lambda each: each.index):
            name, settings = self.chain[index]
            effect: Any = EFFECTS[name]
            moved, steps = [], []
            for each in group:
                unit = float(np.clip(each.setting.to_unit(getattr(settings, each.setting.name)), 0.0, 1.0))
                steps.append(STEP if unit < 0.5 else -STEP)
                moved.append(settings.model_copy(update={each.setting.name: each.setting.from_unit(unit + steps[-1])}))
            known: list[Array | None] = [None] * len(moved)
            if hasattr(effect, "changes"):
                known = effect.changes(self.stages[index + 1], self.sample_rate, settings, moved)
            for other, step, change in zip(moved, steps, known, strict=True):
                if change is None:
                    again = apply_chain(self.stages[index], self.sample_rate, [(name, other)])
                    change = (again - self.stages[index + 1]).numpy()
                yield self.along(index + 1, change / step)

    def along(self, first: int, change: Array) -> Array:
        """How the output changes with the input [C, T] of the effect at ``first``."""
        for index in range(first, len(self.chain)):
            if index not in self._along:
                self._along[index] = self._derivative(index)
            change = self._along[index](change)
        return change

    def _derivative(self, index: int) -> Callable[[Array], Array]:
        name, settings = self.chain[index]
        effect: Any = EFFECTS[name]
        audio, output = self.stages[index], self.stages[index + 1]

        def through(change: Array) -> Array:
            return np.asarray(apply_chain(torch.from_numpy(change), self.sample_rate, [(name, settings)]).numpy())

        def differences(change: Array) -> Array:
            moved = apply_chain(audio + STEP * torch.from_numpy(change), self.sample_rate, [(name, settings)])
            return np.asarray(((moved - output) / STEP).numpy())

        if has(name, "linear"):
            return through
        if hasattr(effect, "along"):
            return cast("Callable[[Array], Array]", effect.along(audio, self.sample_rate, settings))
        return differences


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
    problem: ConsoleProblem, console: ConsoleSettings, unknowns: Sequence[Unknown], *, iterations: int = 20, errors: bool = False
) -> ConsoleSearchResult:
    """Minimises the whitened residual, starting from a console (``stemwright.datagen.inverse.solver``).

    Typical settings of an effect are a weak prior, with the residual as noise. One Jacobian is reused for several steps while they
    improve the fit. The search ends when a Jacobian gains less than two per cent, at ENOUGH_DB, or after ``iterations`` Jacobians.
    Of many stems TOGETHER are searched at a time, other ones each time, so that time and memory grow with their number and not with its
    square. The errors and differences of the result are NaN without ``errors``; of many stems they are those of each group by itself.
    """
    places = list(dict.fromkeys(each.place for each in unknowns))
    if len(places) <= TOGETHER:
        return _together(problem, console, unknowns, iterations, errors=errors)
    cost = problem.cost(console)
    for sweep in range(iterations):
        before, turned = cost, [*places[sweep * TOGETHER // 2 % len(places) :], *places[: sweep * TOGETHER // 2 % len(places)]]
        for group in _groups(turned, unknowns):
            console = _together(problem, console, group, 1, errors=False).console
        cost = problem.cost(console)
        if before - cost < LEAST_GAIN * before or _db(cost) < ENOUGH_DB:
            break
    found = ConsoleSearchResult(console, _db(cost), {}, {})
    for group in _groups(places, unknowns) if errors else ():
        part = _together(problem, console, group, 0, errors=True)
        found = found._replace(error={**found.error, **part.error}, difference={**found.difference, **part.difference})
    return found


def _groups(places: Sequence[str], unknowns: Sequence[Unknown]) -> Iterator[list[Unknown]]:
    """The unknowns of so many places at a time."""
    for start in range(0, len(places), TOGETHER):
        yield [each for each in unknowns if each.place in places[start : start + TOGETHER]]


def _together(
    problem: ConsoleProblem, console: ConsoleSettings, unknowns: Sequence[Unknown], iterations: int, *, errors: bool
) -> ConsoleSearchResult:
    scale = 1.0 / math.sqrt(problem.energy)

    def residual(unit: Vector) -> Vector:
        return np.asarray((problem.white_mix(console.with_values(unknowns, unit)) - problem.goal).ravel() * scale)

    def columns(unit: Vector) -> NDArray[np.float32]:
        table = problem.columns(console.with_values(unknowns, unit), unknowns)
        table *= np.float32(scale)
        return table

    limits = SearchLimits(
        iterations, LEAST_GAIN, CHORDS, 0.5 * 10.0 ** (ENOUGH_DB / 10.0), len(problem.mixture), fresh=False, growth=8.0, errors=errors
    )
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
