"""Six bands of an equaliser for a response: in dB, from many starts at once.

In dB the bands add, so one table of each band's own response serves all starts and all derivatives.

Conventions
    Peaks are returned in the order of their frequencies. Bands may divide the response differently from those that made wet: it is the
    response that is found. A point is a number in [0, 1] for each of the eighteen settings.

References
    Levenberg 1944, Marquardt 1963, for all starts side by side. Kay 1993, ch. 15: the variance of a cross-spectrum from its coherence.
"""

from __future__ import annotations

from typing import cast

import numpy as np
import torch

from stemwright.datagen.effects import eq
from stemwright.datagen.effects.dsp.biquads import peak, shelf
from stemwright.datagen.effects.settings import Range, fields
from stemwright.datagen.inverse.known_dry.response import Response
from stemwright.datagen.inverse.solver import Vector

NAMES = tuple(fields(eq.Settings))
RANGES = [cast("Range", field) for field in fields(eq.Settings).values()]
PEAKS = tuple(index for index, band in enumerate(eq.BANDS) if band.startswith("peak"))
POINTS = 200  # frequencies at which bands are compared with the response
STARTS, SURVIVORS, PARENTS, ROUNDS = 48, 12, 6, 24
SETTLED_DB = 0.007  # mean error of the response: no local minimum
FLOOR_DB = 0.003  # error of a measured response that no coherence can lower
SMALL = 0.1  # of a response's error: what a dB of gain costs where the level is free
STEP = 1e-5  # of the unit range, for differences


def fit_response(
    measured: Response, sample_rate: int, *, near: eq.Settings | None = None, rounds: int = ROUNDS, level_free: bool = False
) -> eq.Settings:
    """Bands closest in dB to a measured response: the best of many starts, ``near`` among them where it is given.

    ``level_free`` lets the measured level be anything: another gain lies between the signals.
    """
    points, _ = search(MeasuredBands(measured, sample_rate, level_free=level_free), np.random.default_rng(0), near=near, rounds=rounds)
    return settings_at(points[0], sample_rate)


def settings_at(point: Vector, sample_rate: int) -> eq.Settings:
    """The equaliser at a point [18], peaks in order, no band above what the sample rate holds."""
    limit = {field.name: 0.45 * sample_rate for field in RANGES if field.name.endswith("_hz")}
    values = {field.name: field.from_unit(float(value)) for field, value in zip(RANGES, point, strict=True)}
    return in_order(eq.Settings(**{name: min(value, limit.get(name, np.inf)) for name, value in values.items()}))


def point_of(settings: eq.Settings) -> Vector:
    """The point [18] of an equaliser; a setting outside its range is taken to its end."""
    return np.array([min(max(field.to_unit(getattr(settings, field.name)), 0.0), 1.0) for field in RANGES])


def typical_points() -> tuple[Vector, Vector]:
    """The lowest and the highest point [18] of typical equalisers."""
    ends = [eq.TYPICAL[name] for name in NAMES]
    low, high = ([field.to_unit(end[which]) for field, end in zip(RANGES, ends, strict=True)] for which in (0, 1))
    return np.array(low).clip(0.0, 1.0), np.array(high).clip(0.0, 1.0)


class Bands:
    """The target of six bands in dB at a few frequencies, and the response of each there.

    ``low`` and ``high`` bound every search; a squared miss below ``enough`` is no local minimum, one below ``least`` is as good as none.
    """

    def __init__(self, target_db: Vector, hz: Vector, sample_rate: int, *, enough: float, least: float) -> None:
        """Target [F] at frequencies [F]; all of them have the same weight."""
        self.target_db, self.hz, self.weight, self.sample_rate = target_db, hz, np.ones(len(hz)), sample_rate
        self.low, self.high = np.zeros(len(NAMES)), np.ones(len(NAMES))
        self.enough, self.least = enough, least
        half = np.sin(np.pi * hz / sample_rate) ** 2
        self.basis = np.stack([np.ones_like(half), half, half**2])

    def decibels(self, points: Vector) -> Vector:
        """The response of each band by itself: [..., 18] -> [..., 6, F]."""
        unit = torch.from_numpy(points.reshape(*points.shape[:-1], len(eq.BANDS), 3))
        gain_db, q = RANGES[0].from_unit(unit[..., 0]), RANGES[2].from_unit(unit[..., 2])
        hz = RANGES[1].from_unit(unit[..., 1]).clamp(max=0.45 * self.sample_rate)
        peaks = list(PEAKS)
        middle = peak(gain_db[..., peaks], hz[..., peaks], q[..., peaks], self.sample_rate)
        low, high = (
            shelf(gain_db[..., index], hz[..., index], q[..., index], self.sample_rate, high=index > 0)[..., None, :]
            for index in (0, len(eq.BANDS) - 1)
        )
        b0, b1, b2, a1, a2 = np.moveaxis(torch.cat([low, middle, high], -2).numpy(), -1, 0)
        used = self.low[::3] < self.high[::3]  # the others have no gain
        b0, b1, b2, a1, a2 = (each[..., used] for each in (b0, b1, b2, a1, a2))
        over, under = _squared(b0, b1, b2) @ self.basis, _squared(np.ones_like(a1), a1, a2) @ self.basis
        found = np.zeros((*points.shape[:-1], len(eq.BANDS), len(self.hz)))
        found[..., used, :] = 10.0 * np.log10(np.maximum(over, 1e-30) / np.maximum(under, 1e-30))
        return found

    def linearised(self, points: Vector) -> tuple[Vector, Vector]:
        """The error [S, M] of points [S, 18] and its derivatives [S, M, 18]. Moving all bands at once moves each by itself."""
        steps = np.where(points < 0.5, STEP, -STEP)
        moved = np.stack([points, *(points + steps * (np.arange(len(NAMES)) % 3 == kind) for kind in range(3))], 1)
        levels = self.decibels(moved)
        slopes = (levels[:, 1:] - levels[:, :1]) / np.moveaxis(steps.reshape(-1, len(eq.BANDS), 3), -1, 1)[..., None]
        table = np.moveaxis(slopes, 1, 2).reshape(len(points), len(NAMES), -1) * self.weight
        miss = (levels[:, 0].sum(1) - self.target_db) * self.weight
        return self.projected(miss), np.swapaxes(self.projected(table), 1, 2)

    def projected(self, values: Vector) -> Vector:
        """What counts of weighted levels: [..., F] -> [..., M]."""
        return values


class MeasuredBands(Bands):
    """A measured response; the weights [F] are those of least squares, with squares that sum to 1.

    A squared miss times ``precision`` is chi squared.
    """

    def __init__(self, measured: Response, sample_rate: int, *, level_free: bool = False, typical: bool = False) -> None:
        """Thins the response to ``POINTS`` by averaging. ``typical`` keeps the bands within the ranges of ``eq.TYPICAL``."""
        edges = np.linspace(0, len(measured.hz), min(POINTS, len(measured.hz)) + 1).round().astype(int)[:-1]
        precision = 1.0 / (measured.error_db**2 + FLOOR_DB**2)
        level_db = 20.0 * np.log10(np.abs(measured.gain) + 1e-9)
        weight = np.add.reduceat(precision, edges)
        target_db = np.add.reduceat(level_db * precision, edges) / weight
        hz = np.exp(np.add.reduceat(np.log(measured.hz) * precision, edges) / weight)
        # A very precise frequency weighs little more than a precise one: the whole response is wanted.
        error = 1.0 / weight + FLOOR_DB**2
        self.precision = float((1.0 / error).sum())
        weight = np.sqrt(1.0 / error / self.precision)
        noise = float(((error - 2.0 * FLOOR_DB**2).clip(min=0.0) * weight**2).sum())
        self.level_free = level_free
        self.small = SMALL * float(np.median(measured.error_db)) if level_free else 0.0
        enough = SETTLED_DB**2 + 0.5 * noise + 100.0 * self.small**2
        super().__init__(target_db, hz, sample_rate, enough=enough, least=1e-4 * SETTLED_DB**2)
        self.weight = weight
        if typical:
            self.low, self.high = typical_points()

    def linearised(self, points: Vector) -> tuple[Vector, Vector]:
        """As for all bands, with a price on gains where the level is free."""
        miss, table = super().linearised(points)
        if not self.level_free:
            return miss, table
        # A shelf at the end of the range is a gain, too. Of two equivalent equalisers, the one with less of it is chosen.
        gains = np.arange(len(NAMES)) % 3 == 0
        small = self.small * RANGES[0].from_unit(points[:, gains])
        slope = np.zeros((len(points), len(eq.BANDS), len(NAMES)))
        slope[:, :, gains] = self.small * (RANGES[0].high - RANGES[0].low) * np.eye(len(eq.BANDS))
        return np.concatenate([miss, small], 1), np.concatenate([table, slope], 1)

    def projected(self, values: Vector) -> Vector:
        """Weighted levels [..., F] without what one gain could make of them, where the level is free."""
        return values - (values @ self.weight)[..., None] * self.weight if self.level_free else values


def search(bands: Bands, rng: np.random.Generator, *, near: eq.Settings | None = None, rounds: int = ROUNDS) -> tuple[Vector, Vector]:
    """The best points [P, 18] from many starts, ``near`` among them if given, and their squared errors [P], all different minima."""
    points = _starts(bands, rng)
    if near is not None:
        points[0] = point_of(near).clip(bands.low, bands.high)
    best, costs = np.empty((0, len(NAMES))), np.empty(0)
    for turn in range(rounds):
        if turn:
            points = np.concatenate([_changed(bands, best, rng), _starts(bands, rng)[::2]])
        points, early = descend(bands, points, 14)
        points, late = descend(bands, points[np.argsort(early)[:SURVIVORS]], 60)
        best, costs = np.concatenate([best, points]), np.concatenate([costs, late])
        order = np.argsort(costs)
        best, costs = best[order], costs[order]
        # Points in one local minimum have the same cost: only one of them is kept.
        apart = np.flatnonzero(np.diff(costs, prepend=-1.0) > 0.03 * costs)[:PARENTS]
        best, costs = best[apart], costs[apart]
        if costs[0] < bands.enough:
            break
    return best, costs


def _squared(b0: np.ndarray, b1: np.ndarray, b2: np.ndarray) -> np.ndarray:
    """|b0 + b1/z + b2/z²|² as a polynomial in sin²(ω/2): [..., 3]."""
    return np.stack([(b0 + b1 + b2) ** 2, -4.0 * (b0 * b1 + 4.0 * b0 * b2 + b1 * b2), 16.0 * b0 * b2], -1)


def _starts(bands: Bands, rng: np.random.Generator) -> Vector:
    """Random places and widths, peaks in order of frequency, each with the gains that explain most: [S, 18]."""
    points = np.tile(_neutral(), (STARTS, 1)).reshape(STARTS, len(eq.BANDS), 3)
    places = rng.uniform(RANGES[1].to_unit(60.0), RANGES[1].to_unit(16_000.0), (STARTS, len(eq.BANDS)))
    places[:, PEAKS] = np.sort(places[:, PEAKS], axis=1)
    places[:, 0] = rng.uniform(0.0, RANGES[1].to_unit(3000.0), STARTS)
    places[:, -1] = rng.uniform(RANGES[1].to_unit(3000.0), 1.0, STARTS)
    points[..., 1] = places
    points[..., 2] = rng.uniform(RANGES[2].to_unit(0.2), RANGES[2].to_unit(4.0), (STARTS, len(eq.BANDS)))
    points[..., 0] = RANGES[0].to_unit(6.0)
    atoms = bands.projected(bands.decibels(points.reshape(STARTS, -1)) * bands.weight / 6.0)
    gram = atoms @ np.swapaxes(atoms, 1, 2)
    goal = atoms @ bands.projected(bands.target_db * bands.weight)
    ridge = 0.003 * np.trace(gram, axis1=1, axis2=2)[:, None, None] * np.eye(len(eq.BANDS))
    gains = np.linalg.solve(gram + ridge, goal[..., None])[..., 0]
    points[..., 0] = RANGES[0].to_unit(gains.clip(-20.0, 20.0))
    return points.reshape(STARTS, -1).clip(bands.low, bands.high)


def _changed(bands: Bands, parents: Vector, rng: np.random.Generator) -> Vector:
    """Points [P, 18] with one or two of their bands moved to a random place and width whose best gain explains some of the residual."""
    points = np.repeat(parents, -(-STARTS // len(parents)), axis=0)[:STARTS].reshape(STARTS, len(eq.BANDS), 3)
    chosen = rng.random((STARTS, len(eq.BANDS))).argsort(1)
    second = rng.random(STARTS) < 0.5
    for rank in range(2):
        band = np.where(second | (rank == 0), chosen[:, rank], chosen[:, 0])
        rows = np.arange(STARTS)
        points[rows, band] = np.stack([np.full(STARTS, RANGES[0].to_unit(0.0)), *rng.uniform(0.05, 0.95, (2, STARTS))], -1)
        miss = bands.decibels(points.reshape(STARTS, -1)).sum(1) - bands.target_db
        trial = points.copy()
        trial[rows, band, 0] = RANGES[0].to_unit(6.0)
        atom = bands.projected((bands.decibels(trial.reshape(STARTS, -1))[rows, band] / 6.0) * bands.weight)
        gain_db = -(atom * bands.projected(miss * bands.weight)).sum(-1) / ((atom**2).sum(-1) + 1e-3)
        points[rows, band, 0] = RANGES[0].to_unit(gain_db.clip(-20.0, 20.0))
    return points.reshape(STARTS, -1).clip(bands.low, bands.high)


def descend(bands: Bands, points: Vector, iterations: int) -> tuple[Vector, Vector]:
    """Least squares from every point [S, 18] side by side, inside the bands' bounds: the points it ends at, and their squared error [S]."""
    active = np.flatnonzero(bands.low < bands.high)
    low, high = bands.low[active], bands.high[active]
    damping = np.full(len(points), 1e-2)
    miss, table = bands.linearised(points)
    table = table[..., active]
    cost = (miss**2).sum(-1)
    for _ in range(iterations):
        turned = np.swapaxes(table, 1, 2)
        matrix, slope = turned @ table, (turned @ miss[..., None])[..., 0]
        moving = points[:, active]
        free = ~(((moving <= low) & (slope > 0.0)) | ((moving >= high) & (slope < 0.0)))
        scale = np.diagonal(matrix, axis1=1, axis2=2)
        added = damping[:, None] * scale + 1e-9 * scale.max(1, keepdims=True) + 1e-12
        held = matrix * (free[:, :, None] & free[:, None, :]) + (added * free + ~free)[..., None] * np.eye(len(active))
        trial = points.copy()
        trial[:, active] = np.clip(moving - np.linalg.solve(held, (slope * free)[..., None])[..., 0], low, high)
        trial_miss, trial_table = bands.linearised(trial)
        trial_table = trial_table[..., active]
        trial_cost = (trial_miss**2).sum(-1)
        better = trial_cost < cost
        points, cost = np.where(better[:, None], trial, points), np.where(better, trial_cost, cost)
        miss, table = np.where(better[:, None], trial_miss, miss), np.where(better[:, None, None], trial_table, table)
        damping = np.where(better, damping / 4.0, damping * 6.0).clip(1e-9, 1e9)
        if cost.min() < bands.least or (damping > 1e8).all():
            break
    return points, cost


def _neutral() -> Vector:
    return np.array([field.to_unit(field.neutral) for field in RANGES])


def in_order(settings: eq.Settings) -> eq.Settings:
    """The same equaliser with its peaks in the order of their frequencies: they may be in any order."""
    bands = [[getattr(settings, f"{eq.BANDS[index]}_{kind}") for kind in ("gain_db", "hz", "q")] for index in PEAKS]
    names = [[f"{eq.BANDS[index]}_{kind}" for kind in ("gain_db", "hz", "q")] for index in PEAKS]
    ordered = sorted(bands, key=lambda values: values[1])
    pairs = (zip(keys, values, strict=True) for keys, values in zip(names, ordered, strict=True))
    return settings.model_copy(update={key: value for group in pairs for key, value in group})
