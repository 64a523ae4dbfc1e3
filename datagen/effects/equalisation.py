"""Finding the bands of an equaliser from a dry and a wet signal.

Conventions
    Both signals are whitened first, so that every frequency that the dry signal holds counts alike. Bands are fitted to the response in
    dB, one after another, then all to the waveform. They may stand in another order, or share their work differently, than those that
    made wet: it is the response that is found. Signals are [C, T] and aligned.
"""

from __future__ import annotations

from typing import cast

import numpy as np
import torch

from datagen.effects import eq
from datagen.effects.biquads import response
from datagen.effects.refine import Vector, refine
from datagen.effects.response import Response, measure_response, whiten
from datagen.effects.setting import Range, fields
from datagen.effects.signal import pair
from datagen.effects.waveform import Fit, fit_waveform

NAMES = tuple(fields(eq.Settings))
RANGES = [cast("Range", field) for field in fields(eq.Settings).values()]
SETTLED_DB = 0.02  # weighted mean error of the response: no local minimum
SWEEPS = 2
CLEAN_DB = -60.0  # residual of a waveform fit below which nothing but the equaliser lies between the signals


def fit_equaliser(wet: torch.Tensor, dry: torch.Tensor, sample_rate: int) -> eq.Settings:
    """Six bands that turn dry into wet."""
    return fit_equalisation(wet, dry, sample_rate).settings


def fit_equalisation(wet: torch.Tensor, dry: torch.Tensor, sample_rate: int) -> Fit[eq.Settings]:
    """Like ``fit_equaliser``, with the error left over and the settings that could not be determined."""
    flat_wet, flat_dry = whiten(*pair(wet, dry))
    measured = measure_response(flat_wet, flat_dry, sample_rate)
    start = fit_response(measured, sample_rate)
    fit = fit_waveform(eq.apply, flat_wet, flat_dry, sample_rate, start, NAMES, iterations=10)
    if fit.error_db > CLEAN_DB:
        # Something else is in wet, or the bands are in a wrong valley: there the response in dB judges better than the waveform.
        miss = _Miss(measured, sample_rate)
        refined = np.array([field.to_unit(getattr(fit.settings, field.name)) for field in RANGES])
        before = np.array([field.to_unit(getattr(start, field.name)) for field in RANGES])
        if (miss(before) ** 2).sum() < (miss(refined) ** 2).sum():
            return Fit(start, fit.error_db, fit.undetermined)
    return fit


def fit_response(measured: Response, sample_rate: int) -> eq.Settings:
    """Bands nearest in dB to a measured response.

    Bands are added one by one, each where it explains most of what is left, all refined together after each; each kind may come first,
    since the first band decides much. Then each band in turn is taken out and placed anew.
    """
    miss = _Miss(measured, sample_rate)
    runs = [refine(miss, _add_bands(miss, first), iterations=60, batched=True) for first in ("low_shelf", "peak1", "high_shelf")]
    best = min(runs, key=lambda found: found.cost)
    for band in eq.BANDS * SWEEPS:
        if 2.0 * best.cost < SETTLED_DB**2:
            break
        without = np.where([name.startswith(band) for name in NAMES], _neutral(), best.unit)
        atoms = _atoms(without, band)
        again = atoms[int(np.argmin((miss(atoms) ** 2).sum(-1)))]
        best = min(best, refine(miss, again, iterations=40, batched=True), key=lambda found: found.cost)
    values = _tensors(best.unit, sample_rate)
    return eq.Settings(**{name: float(getattr(values, name)) for name in NAMES})


class _Miss:
    """The weighted distance in dB between the response of bands and a measured one: [P] -> [F], [B, P] -> [B, F]."""

    def __init__(self, measured: Response, sample_rate: int) -> None:
        self.target_db = 20.0 * np.log10(np.abs(measured.gain) + 1e-9)
        self.weight = measured.weight / np.sqrt((measured.weight**2).sum())
        self.hz, self.sample_rate = measured.hz, sample_rate

    def __call__(self, unit: Vector) -> Vector:
        bands = eq.sections(_tensors(unit, self.sample_rate), self.sample_rate)
        return np.asarray((20.0 * np.log10(np.abs(response(bands, self.hz, self.sample_rate)) + 1e-9) - self.target_db) * self.weight)


def _add_bands(miss: _Miss, first: str) -> Vector:
    """Places six bands greedily, ``first`` before all others."""
    unit, free, placed = _neutral(), list(eq.BANDS), list[str]()
    while free:
        next_peak = [band for band in free if band.startswith("peak")][:1]
        candidates = [first] if not placed else [band for band in free if not band.startswith("peak")] + next_peak
        trials = [(band, atom) for band in candidates for atom in _atoms(unit, band)]
        costs = (miss(np.stack([atom for _, atom in trials])) ** 2).sum(-1)
        band, unit = trials[int(np.argmin(costs))]
        free.remove(band)
        placed.append(band)
        unit = _refine_some(miss, unit, [index for index, name in enumerate(NAMES) if name.startswith(tuple(placed))])
    return unit


def _refine_some(miss: _Miss, unit: Vector, moved: list[int]) -> Vector:
    def partly(values: Vector) -> Vector:
        whole = np.broadcast_to(unit, (*values.shape[:-1], len(unit))).copy()
        whole[..., moved] = values
        return miss(whole)

    result = unit.copy()
    result[moved] = refine(partly, unit[moved], iterations=15, batched=True).unit
    return result


def _neutral() -> Vector:
    return np.array([field.to_unit(field.neutral) for field in RANGES])


def _atoms(unit: Vector, band: str) -> Vector:
    """The point with one more band, in every place, width and strength of a grid: [B, P]."""
    gains, places, widths = np.meshgrid([-10.0, -4.0, 4.0, 10.0], np.geomspace(40.0, 16_000.0, 30), [0.5, 1.0, 3.0], indexing="ij")
    atoms = np.repeat(unit[None], gains.size, axis=0)
    for name, values in (("gain_db", gains), ("hz", places), ("q", widths)):
        index = NAMES.index(f"{band}_{name}")
        atoms[:, index] = [RANGES[index].to_unit(value) for value in values.ravel()]
    return atoms


def _tensors(unit: Vector, sample_rate: int) -> eq.Settings:
    """Settings that hold one value for each of several points [B, P], frequencies kept below half the sample rate."""
    columns = torch.from_numpy(np.moveaxis(np.asarray(unit), -1, 0).copy())
    values = {field.name: field.from_unit(column) for field, column in zip(RANGES, columns, strict=True)}
    limit = {name: value.clamp(max=0.45 * sample_rate) if name.endswith("_hz") else value for name, value in values.items()}
    return eq.Settings(**limit)
