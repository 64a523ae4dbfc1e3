"""The points of a gain ride from a dry and a wet signal: least squares on hat functions, and a search for the step between them.

    sum over c, t of (y_c[t] - 10^(g(t)/20) x_c[t])^2,   g = sum over k of gain_k hat((t / step) - k)

Conventions
    The search for the step looks at the gain in short windows; Gauss-Newton on the waveform, with the step among the unknowns unless it is
    given, ends exactly where wet is a ride of dry. A ride with half the step is the same sound: the longest step is taken that explains it.
    A point that the dry signal says nothing of, as in a silent passage, continues its neighbours; one beyond the end is 0.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from stemwright.datagen.effects import envelope
from stemwright.datagen.effects.settings import range_of
from stemwright.datagen.effects.signal import NotIdentifiableError, pair

Vector = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]

NUM_POINTS = len(envelope.POINTS)
WINDOW_S, MOST_WINDOWS = 0.002, 12_000  # of the search for the step
RATIO = 1.01  # from one step that is tried to the next
WORSE, CLOSE_DB = 1.1, 0.01  # a step explains a ride as well as a shorter one: within this factor, or this RMS error
BLOCK = 1 << 18  # frames that are looked at together
ROUNDS = 40
LARGEST_DB = 200.0  # of a gain on the way
NEPERS = math.log(10.0) / 20.0  # a dB


def fit_envelope(wet: torch.Tensor, dry: torch.Tensor, sample_rate: int, *, step_s: float | None = None) -> envelope.Settings:
    """The gain ride that turns dry into wet, both [C, T]: with this step between its points in s, else the longest that explains it.

    Raises NotIdentifiableError if wet is silent, or inverted against dry.
    """
    wet, dry = pair(wet, dry)
    both = _Products((wet * dry).sum(0).numpy(), (dry * dry).sum(0).numpy(), sample_rate)
    table = _windows(both)
    if not float(table.weight.sum()) > 0.0:
        raise NotIdentifiableError("wet is silent, or inverted against dry: no gain ride does that")
    field, last_s = range_of(envelope.Settings, "step_s"), (len(both.energy) - 1) / sample_rate
    step = _longest_step(table, field.low, min(max(last_s, field.low), field.high)) if step_s is None else field.check(step_s)
    points, step = _refined(both, _on_hats(table, step)[0], step, free=step_s is None)
    step = field.limited(step)
    points[np.arange(NUM_POINTS) >= last_s / step + 1.0] = 0.0
    gains = {name: range_of(envelope.Settings, name).limited(float(gain)) for name, gain in zip(envelope.POINTS, points, strict=True)}
    return envelope.Settings(step_s=step, **gains)


@dataclass(frozen=True)
class _Products:
    """Of each sample, summed over the channels: wet times dry, dry times dry."""

    product: Vector
    energy: Vector
    sample_rate: int


@dataclass(frozen=True)
class _Table:
    """The gain in dB of windows: time of their middle in s, gain, weight."""

    time: Vector
    gain_db: Vector
    weight: Vector


def _windows(both: _Products) -> _Table:
    """The gain of each window that has one; its weight is the energy of wet, to which the variance of a logarithm is inverse."""
    size = max(1, round(WINDOW_S * both.sample_rate), -(-len(both.energy) // MOST_WINDOWS))
    starts = np.arange(0, len(both.energy), size)
    product, energy = (np.add.reduceat(each, starts) for each in (both.product, both.energy))
    time = np.add.reduceat(both.energy * np.arange(len(both.energy)), starts) / np.maximum(energy, 1e-300) / both.sample_rate
    heard = (product > 0.0) & (energy > 1e-12 * energy.max())
    if 2.0 * product[heard].sum() < np.abs(product).sum():
        heard[:] = False
    product, energy = product[heard], energy[heard]
    return _Table(time[heard], 20.0 * np.log10(product / energy), product**2 / energy)


def _placed(time: Vector, step: float) -> tuple[Indices, Vector]:
    """The point before each time, and the part of the way to the next."""
    place = np.minimum(time / step, NUM_POINTS - 1.0)
    left = np.minimum(place.astype(np.int64), NUM_POINTS - 2)
    return left, place - left


def _on_hats(table: _Table, step: float) -> tuple[Vector, float]:
    """The points that are closest to the gains of the windows, and the RMS error in dB."""
    left, part = _placed(table.time, step)
    matrix, right = _products_of_hats(left, part, table.weight), _sums_on_hats(left, part, table.weight * table.gain_db)
    bend = np.diff(np.eye(NUM_POINTS), 2, axis=0)  # continues what is determined to what is not
    points = np.linalg.solve(matrix + np.trace(matrix) * (1e-9 * bend.T @ bend + 1e-15 * np.eye(NUM_POINTS)), right)
    error = table.gain_db - points[left] - part * (points[left + 1] - points[left])
    return points, math.sqrt(float(table.weight @ error**2) / float(table.weight.sum()))


def _products_of_hats(left: Indices, part: Vector, weight: Vector) -> Vector:
    """Weighted products of the hat functions with one another [K, K]: of those beside one another only."""
    own = _sums_on_hats(left, part, weight)
    beside = np.bincount(left, weight * part * (1.0 - part), NUM_POINTS)[:-1]
    own[:-1] -= beside  # w (1 - f)^2 = w (1 - f) - w f (1 - f)
    own[1:] -= beside
    matrix: Vector = np.diag(own) + np.diag(beside, 1) + np.diag(beside, -1)
    return matrix


def _sums_on_hats(left: Indices, part: Vector, values: Vector) -> Vector:
    """Products of values with each hat function [K]."""
    sums = np.bincount(left, values * (1.0 - part), NUM_POINTS) + np.bincount(left + 1, values * part, NUM_POINTS)
    return np.asarray(sums, np.float64)


def _longest_step(table: _Table, low: float, high: float) -> float:
    """The longest step that explains the gains as well as any does."""
    steps = np.geomspace(low, high, 2 + int(math.log(high / low) / math.log(RATIO)))
    errors = np.array([_on_hats(table, step)[1] for step in steps])
    best = min(float(errors.min()), _valley(table, steps, int(errors.argmin()))[1])
    for number in range(len(steps) - 1, -1, -1):
        around = errors[max(number - 1, 0) : number + 2]
        if errors[number] > around.min():
            continue
        step, error = _valley(table, steps, number)
        if error <= max(WORSE * best, CLOSE_DB):
            return step
    return float(steps[errors.argmin()])


def _valley(table: _Table, steps: Vector, number: int) -> tuple[float, float]:
    """The best step near one of the steps that were tried, by golden sections, and its error."""
    low, high = float(steps[max(number - 1, 0)]), float(steps[min(number + 1, len(steps) - 1)])
    inner = (math.sqrt(5.0) - 1.0) / 2.0
    tried = {step: _on_hats(table, step)[1] for step in (float(steps[number]), high - inner * (high - low), low + inner * (high - low))}
    for _ in range(20):
        left, right = high - inner * (high - low), low + inner * (high - low)
        for step in (left, right):
            tried.setdefault(step, _on_hats(table, step)[1])
        low, high = (low, right) if tried[left] <= tried[right] else (left, high)
    step = min(tried, key=tried.__getitem__)
    return step, tried[step]


def _refined(both: _Products, points: Vector, step: float, *, free: bool) -> tuple[Vector, float]:
    """Points and step that are closest to the waveform near these, by the method of Levenberg and Marquardt."""
    matrix, slope, cost = _system(both, points, step)
    damping = 1e-6
    for _ in range(ROUNDS):
        size = NUM_POINTS + free
        damped = matrix[:size, :size] + damping * np.diag(np.diag(matrix)[:size]) + 1e-15 * np.trace(matrix) * np.eye(size)
        change = np.linalg.solve(damped, slope[:size])
        tried = (
            np.clip(points + change[:NUM_POINTS], -LARGEST_DB, LARGEST_DB),
            step * math.exp(float(np.clip(change[-1], -0.1, 0.1)) * free),
        )
        found = _system(both, *tried)
        if found[2] < cost:
            small = cost - found[2] < 1e-15 * float(both.energy.sum())
            (points, step), (matrix, slope, cost) = tried, found
            damping = max(0.1 * damping, 1e-12)
            if small:
                break
        elif damping > 1.0:
            break
        else:
            damping *= 10.0
    return points, step


def _system(both: _Products, points: Vector, step: float) -> tuple[Vector, Vector, float]:
    """The normal equations [K + 1, K + 1] and [K + 1] of the points and of the logarithm of the step, and the error without that of wet."""
    matrix, slope, cost = np.zeros((NUM_POINTS + 1, NUM_POINTS + 1)), np.zeros(NUM_POINTS + 1), 0.0
    rise = np.diff(points)
    for start in range(0, len(both.energy), BLOCK):
        product, energy = (each[start : start + BLOCK] for each in (both.product, both.energy))
        left, part = _placed(np.arange(start, start + len(energy)) / both.sample_rate, step)
        gain = np.exp(NEPERS * (points[left] + part * rise[left]))
        cost += float(((gain * energy - 2.0 * product) * gain).sum())
        weight, error = NEPERS**2 * gain**2 * energy, NEPERS * gain * (product - gain * energy)
        later = np.where(left + part < NUM_POINTS - 1, -(left + part) * rise[left], 0.0)  # the gain's change with the step's logarithm
        matrix[:-1, :-1] += _products_of_hats(left, part, weight)
        matrix[-1, :-1] += _sums_on_hats(left, part, weight * later)
        matrix[-1, -1] += float(weight @ later**2)
        slope[:-1] += _sums_on_hats(left, part, error)
        slope[-1] += float(error @ later)
    matrix[:-1, -1] = matrix[-1, :-1]
    return matrix, slope, cost
