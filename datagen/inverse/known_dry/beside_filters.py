"""A compressor beside unknown filters, found without the filters: what it leaves for a filter to explain must be linear.

Where an equaliser lies in front of the compressor, the inverse of the right compressor turns wet into a signal that follows from dry by a
filter alone; where it lies behind, the right compressor turns dry into one from which wet follows by a filter alone. So settings are
judged by the part of the spectra that the best filter between both signals leaves, and no estimate of the filter is needed. A chain's
usual search starts from the moving gain that short spectra show, which a bass with few partials hardly shows; this takes several times as
long and is for chains which that search did not find.

Conventions
    Audio is a torch tensor, float64 [C, T], whitened by the predictor of wet, so that treble counts like bass and little leaks between
    the frequencies of a window. Each channel has a filter of its own. Make-up is left to the filter and to the effects after it.

References
    Bendat and Piersol, Random Data, ch. 6: coherence, the part of a signal that a linear system explains.
    ``stemwright.datagen.inverse.solver`` for the search.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from scipy.signal import lfilter

from stemwright.datagen.effects import EFFECTS, apply_chain, compressor
from stemwright.datagen.effects.settings import Range, fields
from stemwright.datagen.inverse.effect_roles import has, is_fader
from stemwright.datagen.inverse.fitted_chain import Use
from stemwright.datagen.inverse.known_dry.chain_search import refined, residual_db
from stemwright.datagen.inverse.known_dry.chain_start import fitted, fitted_between, with_one_gain
from stemwright.datagen.inverse.known_dry.response import predictor
from stemwright.datagen.inverse.solver import SearchLimits, Vector, refine

WINDOW = 2048  # samples: longer than most responses ring once whitened, short enough for many windows in an excerpt
ORDER, FLOOR_DB = 32, -80.0  # of the predictor of wet
SEARCHED = ("threshold_db", "ratio", "detector_attack_ms", "detector_release_ms", "attack_ms", "release_ms")
RANGES = [cast("Range", fields(compressor.Settings)[name]) for name in SEARCHED]
LEVELS = (0.05, 0.2, 0.4, 0.6, 0.75, 0.9)  # quantiles of the level that are tried as thresholds
RATIOS, DETECTOR_MS, ATTACK_MS, RELEASE_MS = (2.0, 5.0), (1.0, 10.0), (2.0, 20.0), (30.0, 200.0)
STARTS = 8  # that are refined against the best filter
ENDS = 3  # of these, to which filters are fitted
STEPS = SearchLimits(8, 1e-3, errors=False)
SAME_DB = -60.0  # difference between channels below which they need no gains of their own
ENOUGH_DB = -60.0  # residual of a chain at which no other end is tried


def found_beside_filters(wet: torch.Tensor, dry: torch.Tensor, sample_rate: int, uses: list[Use]) -> list[Use]:
    """The chain with a compressor found without its filters, and filters and levels fitted to that one.

    Unchanged where the chain is not one compressor with filters on one side of it and faders.
    """
    place = _place(uses)
    if place is None:
        return uses
    before = any(has(name, "filter") for name, _ in uses[:place])
    beside = _Beside(wet, dry, sample_rate, uses, place, before)
    best, best_db = uses, residual_db(wet, dry, sample_rate, uses)
    for settings in beside.minima()[:ENDS]:
        trial = [*uses[:place], (uses[place][0], settings), *uses[place + 1 :]]
        for index in [index for index, (name, _) in enumerate(uses) if has(name, "filter")]:
            if before:  # what the inverse gives is known better than any input that the filters so far would give
                source = apply_chain(dry, sample_rate, trial[:index])
                trial = fitted_between(beside.through(settings), source, sample_rate, trial, index, rounds=6)
            else:
                trial = fitted(wet, dry, sample_rate, trial, index, rounds=6)
        trial, _ = refined(wet, dry, sample_rate, with_one_gain(trial), STEPS.iterations)
        trial_db = residual_db(wet, dry, sample_rate, trial)
        if trial_db < best_db:
            best, best_db = trial, trial_db
        if best_db < ENOUGH_DB:
            break
    return best


def _place(uses: Sequence[Use]) -> int | None:
    """Where the compressor is, if it is the only effect beside faders and filters, and these are on one side of it."""
    places = [index for index, (_, settings) in enumerate(uses) if isinstance(settings, compressor.Settings)]
    filters = [index for index, (name, _) in enumerate(uses) if has(name, "filter")]
    if len(places) != 1 or not filters or any(not is_fader(name) for name, _ in _others(uses, places[0], filters)):
        return None
    one_side = max(filters) < places[0] or min(filters) > places[0]
    return places[0] if one_side else None


def _others(uses: Sequence[Use], place: int, filters: Sequence[int]) -> list[Use]:
    return [use for index, use in enumerate(uses) if index != place and index not in filters]


@dataclass
class _Beside:
    """What any compressor leaves that no filter explains: its inverse of wet against dry, or what it makes of dry against wet."""

    wet: torch.Tensor
    dry: torch.Tensor
    sample_rate: int
    uses: Sequence[Use]
    place: int
    before: bool

    def __post_init__(self) -> None:
        self.source = self.dry
        if self.before:
            self.source = self.wet
            for name, settings in reversed(self.uses[self.place + 1 :]):  # faders: what follows the compressor
                self.source = EFFECTS[name].invert(self.source, self.sample_rate, settings)
        else:
            self.source = apply_chain(self.dry, self.sample_rate, self.uses[: self.place])
        self.taps = predictor(self.wet, order=ORDER, floor_db=FLOOR_DB)
        goal = self._spectrum(self.dry if self.before else self.wet)
        self.goal = goal / goal.abs().square().sum().sqrt()

    def through(self, settings: compressor.Settings) -> torch.Tensor:
        """The signal [C, T] at the filters' other end, if these are the settings."""
        return (compressor.invert if self.before else compressor.apply)(self.source, self.sample_rate, settings)

    def left(self, settings: compressor.Settings) -> Vector:
        """What the best filter of each channel leaves of the goal, whose energy is one: real and imaginary parts, one after another."""
        spectrum = self._spectrum(self.through(settings))
        power = spectrum.abs().square().sum(-1, keepdim=True)
        response = (spectrum.conj() * self.goal).sum(-1, keepdim=True) / (power + 1e-12 * power.max() + 1e-300)
        return np.asarray(torch.view_as_real(self.goal - spectrum * response).numpy().ravel())

    def minima(self) -> list[compressor.Settings]:
        """The settings at the minima next to the best points of a grid, the best first."""
        found = []
        for settings in self._starts():

            def left(unit: Vector, settings: compressor.Settings = settings) -> Vector:
                return self.left(_at(settings, unit))

            minimum = refine(left, np.array([each.to_unit(getattr(settings, each.name)) for each in RANGES]), STEPS)
            found.append((minimum.cost, _at(settings, minimum.unit)))
        return [settings for _, settings in sorted(found, key=lambda one: one[0])]

    def _starts(self) -> list[compressor.Settings]:
        """The best point of the grid for each kind of detector and its times; the best of those."""
        best: dict[tuple[object, ...], tuple[float, compressor.Settings]] = {}
        for settings in self._grid():
            key = (settings.detector, settings.linked, settings.detector_attack_ms, settings.detector_release_ms)
            left = self.left(settings)
            cost = float(left @ left)
            if np.isfinite(cost) and (key not in best or cost < best[key][0]):
                best[key] = (cost, settings)
        return [settings for _, settings in sorted(best.values(), key=lambda one: one[0])[:STARTS]]

    def _grid(self) -> Iterator[compressor.Settings]:
        level_db = 20.0 * np.log10(self.source.abs().amax(0).numpy() + 1e-9)
        thresholds = np.unique(np.clip(np.quantile(level_db, LEVELS), RANGES[0].low, RANGES[0].high)).tolist()
        between = float((self.dry - self.dry.mean(0)).square().sum() / self.dry.square().sum())
        links = (False, True) if between > 10.0 ** (SAME_DB / 10.0) else (False,)
        for detector, linked, threshold_db, ratio, rise_ms, fall_ms, attack_ms, release_ms in itertools.product(
            ("peak", "rms"), links, thresholds, RATIOS, DETECTOR_MS, DETECTOR_MS, ATTACK_MS, RELEASE_MS
        ):
            times = {"detector_attack_ms": rise_ms, "detector_release_ms": fall_ms, "attack_ms": attack_ms, "release_ms": release_ms}
            yield compressor.Settings(threshold_db=threshold_db, ratio=ratio, detector=detector, linked=linked, makeup_db=0.0, **times)

    def _spectrum(self, audio: torch.Tensor) -> torch.Tensor:
        white = torch.from_numpy(lfilter(self.taps, [1.0], audio.numpy()))
        window = torch.hann_window(WINDOW, dtype=torch.float64)
        return torch.stft(white, WINDOW, WINDOW // 4, window=window, center=False, return_complex=True)


def _at(settings: compressor.Settings, unit: Vector) -> compressor.Settings:
    return settings.model_copy(update={each.name: each.from_unit(float(value)) for each, value in zip(RANGES, unit, strict=True)})
