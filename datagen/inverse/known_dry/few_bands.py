"""The fewest bands of an equaliser that have a response: what a person reads, and what a label says.

Six bands can draw one peak in many ways: three of them at one place, a shelf beyond the audible range, a wide shelf that is a gain
everywhere. Of equalisers that sound alike, the one with the fewest bands is meant. So for each number of bands, from none on, each choice
of shelves and peaks is fitted in dB to the response that was found, and the bands that are there are left out one after another.

Conventions
    Frequencies [F] in Hz; a weight [F] is the energy that a relative error of 1 at that frequency would leave in the residual, as a part of
    the energy of the goal, or a root [F, M], with which an error of d dB [F] would leave |d root|². The squared error of an equaliser is
    what it would leave.
    Where a fader follows (``level_free``), a gain at all frequencies costs nothing, and low and high shelves are the same with opposite
    gains: a shelf is low below ``MIDDLE_HZ``, high above.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from scipy.fft import rfft, rfftfreq

from stemwright.datagen.effects import eq
from stemwright.datagen.effects.dsp.biquads import response
from stemwright.datagen.effects.settings import EffectSettings
from stemwright.datagen.inverse.known_dry.band_search import NAMES, PEAKS, RANGES, Bands, descend, point_of, search, settings_at
from stemwright.datagen.inverse.solver import Vector

KINDS = ("gain_db", "hz", "q")
PEAK_NAMES = tuple(eq.BANDS[place] for place in PEAKS)
MIDDLE_HZ = 632.0  # of 20 Hz to 20 kHz, in octaves
POINTS = 150  # frequencies at which responses are compared
SMALL = 3e-3  # rms error in dB that a dB of gain costs: of two equivalent equalisers, the one with less of it is chosen
SEARCHED = 2  # bands: fewer are found from random places alone
DESCENT = 40  # steps from the bands that remain when one goes
SURE = 2  # bands that must not be missed: they are searched twice
DB = math.log(10.0) / 20.0  # relative error of a dB


class FewerBands(NamedTuple):
    """An equaliser with few bands, the gain in dB that it lacks at all frequencies, and what it would leave in the residual."""

    settings: eq.Settings
    level_db: float
    left: float


def band_weights(white: np.ndarray, energy: float, sample_rate: int) -> tuple[Vector, Vector]:
    """Frequencies [F], and the parts [F] that whitened audio [C, T] has around them of an energy."""
    power = (np.abs(rfft(white)) ** 2).sum(0) * 2.0 / white.shape[-1] / energy
    edges = np.geomspace(20.0, 0.49 * sample_rate, POINTS + 1)
    places = np.searchsorted(rfftfreq(white.shape[-1], 1.0 / sample_rate), edges)
    sums = np.concatenate([[0.0], np.cumsum(power)])
    weight = sums[places[1:]] - sums[places[:-1]]
    # Where the audio is empty nothing is known: there a response is kept smooth.
    return np.sqrt(edges[1:] * edges[:-1]), weight + 1e-9 * max(float(weight.sum()), 1e-300)


class _Chosen(Bands):
    """A response in dB by some of the bands: the others have no gain."""

    def __init__(
        self, target_db: Vector, hz: Vector, sample_rate: int, weight: Vector, chosen: tuple[str, ...], *, level_free: bool
    ) -> None:
        super().__init__(target_db, hz, sample_rate, enough=0.0, least=1e-14)
        self.root = _root(weight, level_free=level_free)
        self.root /= math.sqrt(float((self.root**2).sum()))
        for place, band in enumerate(eq.BANDS):
            gain, place_hz = 3 * place, 3 * place + 1
            if band not in chosen:
                self.low[gain] = self.high[gain] = RANGES[gain].to_unit(0.0)
            elif level_free and band == "low_shelf":
                self.high[place_hz] = RANGES[place_hz].to_unit(MIDDLE_HZ)
            elif level_free and band == "high_shelf":
                self.low[place_hz] = RANGES[place_hz].to_unit(MIDDLE_HZ)

    def linearised(self, points: Vector) -> tuple[Vector, Vector]:
        """As for all bands, with a small price on gains."""
        miss, table = super().linearised(points)
        gains = np.arange(len(NAMES)) % 3 == 0
        price = SMALL * RANGES[0].from_unit(points[:, gains])
        slope = np.zeros((len(points), len(eq.BANDS), len(NAMES)))
        slope[:, :, gains] = SMALL * (RANGES[0].high - RANGES[0].low) * np.eye(len(eq.BANDS))
        return np.concatenate([miss, price], 1), np.concatenate([table, slope], 1)

    def projected(self, values: Vector) -> Vector:
        """The residual for levels [..., F]: [..., M]."""
        return values @ self.root


def _root(weight: Vector, *, level_free: bool) -> Vector:
    """The root [F, M] of a weight [F], without what one gain could make of it where the level is free; a root is returned as it is."""
    if weight.ndim == 2:
        return np.array(weight)
    root = np.diag(DB * np.sqrt(weight))
    if level_free:
        root -= DB * np.outer(weight, np.sqrt(weight)) / float(weight.sum())
    return root


def fewer_bands(settings: eq.Settings, hz: Vector, weight: Vector, sample_rate: int, *, level_free: bool) -> Iterator[list[FewerBands]]:
    """For no band, one, two and so on, up to one less than ``settings`` has: the equalisers closest to its response, the best first."""
    target_db, most = _level_db(settings, hz, sample_rate), len(_used(settings))
    less: dict[int, FewerBands] = {}
    for count, found in enumerate(fewer_bands_for(target_db, hz, weight, sample_rate, most=most, level_free=level_free)):
        if count == SEARCHED:
            less = _without_one_after_another(settings, target_db, hz, sample_rate, weight, level_free)
        yield sorted([*found, *([less[count]] if count in less else [])], key=lambda each: each.left)


def _used(settings: eq.Settings) -> tuple[str, ...]:
    return tuple(band for band in eq.BANDS if getattr(settings, f"{band}_gain_db") != 0.0)


def _without_one_after_another(
    settings: eq.Settings, target_db: Vector, hz: Vector, sample_rate: int, weight: Vector, level_free: bool
) -> dict[int, FewerBands]:
    """By their number, the bands that remain when those that do least go, one after another; what remains is fitted again each time.

    The start is the equaliser itself: of many bands, a search from random places may not find those that are there.
    """
    found: dict[int, FewerBands] = {}
    for count in range(len(_used(settings)) - 1, SEARCHED - 1, -1):
        kept = [tuple(each for each in _used(settings) if each != band) for band in _used(settings)]
        tried = []
        for chosen in kept:
            bands = _Chosen(target_db, hz, sample_rate, weight, chosen, level_free=level_free)
            points, _ = descend(bands, point_of(settings)[None].clip(bands.low, bands.high), DESCENT)
            tried.append(_judged(settings_at(points[0], sample_rate), target_db, hz, sample_rate, weight, level_free))
        found[count] = min(tried, key=lambda each: each.left)
        settings = found[count].settings
    return found


def fewer_bands_for(
    target_db: Vector, hz: Vector, weight: Vector, sample_rate: int, *, most: int, level_free: bool = False
) -> Iterator[list[FewerBands]]:
    """For no band, one, two and so on, up to one less than ``most``: the equalisers closest to a response in dB [F], the best first."""
    for count in range(most):
        found = [_fitted(target_db, hz, sample_rate, weight, chosen, level_free) for chosen in _choices(count)]
        yield sorted(found, key=lambda each: each.left)


def nearest_bands(
    settings: eq.Settings, target_db: Vector, hz: Vector, root: Vector, sample_rate: int, *, same: bool = False
) -> eq.Settings:
    """The bands closest to a response in dB [F], with ``settings`` as one of the starts; with the ``same`` kinds of bands as those alone.

    ``root`` [F, M] is as for ``fewer_bands``.
    """
    chosen = tuple(band for band in eq.BANDS if not same or getattr(settings, f"{band}_gain_db") != 0.0)
    if not chosen:
        return settings
    bands = _Chosen(target_db, hz, sample_rate, root, chosen, level_free=same)
    points, _ = search(bands, np.random.default_rng(0), near=settings, rounds=1)
    return settings_at(points[0], sample_rate)


def _choices(count: int) -> list[tuple[str, ...]]:
    """So many bands: with and without each shelf."""
    peaks = PEAK_NAMES
    shelves: list[tuple[str, ...]] = [(), ("low_shelf",), ("high_shelf",), ("low_shelf", "high_shelf")]
    return [(*some, *peaks[: count - len(some)]) for some in shelves if len(some) <= count <= len(some) + len(peaks)]


def _fitted(target_db: Vector, hz: Vector, sample_rate: int, weight: Vector, chosen: tuple[str, ...], level_free: bool) -> FewerBands:
    bands = _Chosen(target_db, hz, sample_rate, weight, chosen, level_free=level_free)
    settings = eq.Settings()
    if chosen:
        points, _ = search(bands, np.random.default_rng(0), rounds=2 if len(chosen) <= SURE else 1)
        settings = settings_at(points[0], sample_rate)
    return _judged(settings, target_db, hz, sample_rate, weight, level_free)


def _judged(settings: eq.Settings, target_db: Vector, hz: Vector, sample_rate: int, weight: Vector, level_free: bool) -> FewerBands:
    """An equaliser with its peaks in the first places, and how far it is from the response."""
    settings = _in_first_places(settings)
    miss_db = target_db - _level_db(settings, hz, sample_rate)
    root = _root(weight, level_free=level_free)
    level_db = float(np.average(miss_db, weights=weight)) if level_free and weight.ndim == 1 else 0.0
    return FewerBands(settings, level_db, float(((miss_db @ root) ** 2).sum()))


def _in_first_places(settings: eq.Settings) -> eq.Settings:
    """The same equaliser with its peaks in the first places, in order, and the others as they are by default."""
    values = {band: tuple(getattr(settings, f"{band}_{kind}") for kind in KINDS) for band in eq.BANDS}
    used = {band: value for band, value in values.items() if abs(value[0]) > 1e-9}
    peaks = sorted((value for band, value in used.items() if band.startswith("peak")), key=lambda value: value[1])
    placed = {band: value for band, value in used.items() if not band.startswith("peak")} | dict(zip(PEAK_NAMES, peaks, strict=False))
    return eq.Settings(**{f"{band}_{kind}": one for band, value in placed.items() for kind, one in zip(KINDS, value, strict=True)})


def _level_db(settings: EffectSettings, hz: Vector, sample_rate: int) -> Vector:
    sections = eq.sections(settings, sample_rate)  # type: ignore[arg-type]
    return np.asarray(20.0 * np.log10(np.abs(response(sections, hz, sample_rate)) + 1e-12)) * np.ones(len(hz))
