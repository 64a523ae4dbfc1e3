"""Gain rides of a console's stems: after its chain, each stem has a gain of its own at every time, linear in dB between points.

    minimum   Σ_windows a' G a - 2 a' b,    a_s = 10^(g_s / 20),    G_rs = <W w_r, W w_s>,  b_s = <W w_s, W y>

y is the mixture, w_s a stem through its chain, W the filter that whitens the mixture; g_s is linear between the points of
``stemwright.datagen.effects.envelope``. The whole song counts, not the excerpt in which the chains were searched. A gain moves little
within a window, so that windows of 50 ms hold all that the waveform says of it, and the search takes seconds.

Conventions
    Audio is float64 [C, T]. A ride follows the fader, as a console's automation does; its mean, where the stem sounds, is moved into the
    fader. A point about which the mixture says nothing, since the stem is silent around it, is between its neighbours and has the
    confidence 0; a point beyond the end has none.

References
    Barchiesi and Reiss 2010: gains over time by least squares, frame by frame; here with a line between points.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from scipy.signal import lfilter

from stemwright.datagen.effects import envelope
from stemwright.datagen.effects.ranges import FADER_DB
from stemwright.datagen.effects.settings import range_of
from stemwright.datagen.inverse.confidence import confidence_of
from stemwright.datagen.inverse.effect_roles import is_fader
from stemwright.datagen.inverse.fitted_chain import FittedChain, Use
from stemwright.datagen.inverse.solver import Vector
from stemwright.manifests.usage import UsageError

WINDOW_S = 0.05
SLOPE_DB = 12.0  # standard deviation of what a ride does from one point to the next
LEAST_DB = 0.1  # a ride that moves less is none
SILENT = 1e-5  # of the information about the best known point of a stem: less is none
UNSURE_DB = 6.0  # standard error from which a point is not known
ROUNDS = 60
NEPERS = math.log(10.0) / 20.0  # a dB
MOST_POINTS = len(envelope.POINTS)


@dataclass(frozen=True)
class Ride:
    """The points of a stem's ride in dB [K], and their standard errors: infinite where the stem is silent."""

    points_db: Vector
    error_db: Vector


def check_ride(ride_s: float, duration_s: float, bus: Sequence[str] = ()) -> None:
    """Raises UsageError for a step that an envelope cannot have in a song of this length, or a bus with effects; 0 is no ride."""
    if ride_s and bus:
        raise UsageError("gain rides are found only without effects on the mix bus; leave out one of them")
    field = range_of(envelope.Settings, "step_s")
    if ride_s and not (field.low <= ride_s <= field.high and duration_s <= (MOST_POINTS - 1) * ride_s):
        least = max(duration_s / (MOST_POINTS - 1), field.low)
        raise UsageError(f"expected a step of rides from {least:.3g} to {field.high:g} s for {duration_s:.0f} s of audio; got {ride_s:g}")


def with_rides(
    chains: Mapping[str, FittedChain], mixture: torch.Tensor, wet: Mapping[str, torch.Tensor], sample_rate: int, taps: Vector, step_s: float
) -> dict[str, FittedChain]:
    """The chains with an envelope after each stem that has a ride; ``wet`` are the stems through their chains [C, T]."""
    found = rides(mixture, list(wet.values()), sample_rate, taps, step_s)
    return {name: _with_ride(chains[name], ride, step_s) for name, ride in zip(wet, found, strict=True)}


def _with_ride(chain: FittedChain, ride: Ride, step_s: float) -> FittedChain:
    known = ride.error_db < UNSURE_DB
    if not known.any():
        return chain
    mean_db = float(np.average(ride.points_db[known], weights=1.0 / (ride.error_db[known] + 0.1) ** 2))
    place = max(index for index, (name, _) in enumerate(chain.uses) if is_fader(name))
    name, settings = chain.uses[place]
    plain: Any = settings
    level_db = min(max(plain.gain_db + mean_db, FADER_DB[0]), FADER_DB[1])
    points_db = np.clip(ride.points_db + plain.gain_db - level_db, *FADER_DB)
    levelled: Use = (name, settings.model_copy(update={"gain_db": level_db}))
    uses = (*chain.uses[:place], levelled, *chain.uses[place + 1 :])
    if np.abs(points_db[known]).max() < LEAST_DB:
        return replace(chain, uses=uses)
    field = range_of(envelope.Settings, envelope.POINTS[0])
    used = dict(zip(envelope.POINTS, points_db.tolist(), strict=False))
    sure = {
        f"{envelope.NAME}.{point}": confidence_of(field, error_db / (field.high - field.low)) if error_db < UNSURE_DB else 0.0
        for point, error_db in zip(envelope.POINTS, ride.error_db.tolist(), strict=False)
    }
    shares = (*chain.effect_share, None) if chain.effect_share else ()
    return replace(
        chain,
        uses=(*uses, (envelope.NAME, envelope.Settings(step_s=step_s, **used))),
        confidence={**chain.confidence, **sure},
        effect_share=shares,
    )


def rides(mixture: torch.Tensor, wet: Sequence[torch.Tensor], sample_rate: int, taps: Vector, step_s: float) -> list[Ride]:
    """The ride of each stem [C, T] with which their sum is closest to the mixture."""
    windows = _Windows.of(mixture, wet, sample_rate, taps)
    hats = _hats(windows.time_s, step_s)
    count = len(wet) * hats.shape[1]
    slope = np.kron(np.eye(len(wet)), np.diff(np.eye(hats.shape[1]), axis=0))
    points, damping = np.zeros(count), 1e-3
    cost, score, matrix, _ = windows.system(points, hats)
    noise = max(cost / windows.samples, 1e-12 * windows.energy / windows.samples)
    for _ in range(ROUNDS):
        prior = noise / SLOPE_DB**2 * slope.T @ slope
        full = matrix + prior + 1e-12 * np.trace(matrix) / count * np.eye(count)
        change = np.linalg.solve(full + damping * np.diag(np.diag(full)), -score - prior @ points)
        tried = np.clip(points + np.clip(change, -6.0, 6.0), -80.0, 40.0)
        found = windows.system(tried, hats)
        before, after = (value + float(at @ prior @ at) for value, at in ((cost, points), (found[0], tried)))
        if after > before:
            damping = max(10.0 * damping, 1e-3)
            if damping > 1e6:
                break
            continue
        points, (cost, score, matrix, _) = tried, found
        damping *= 0.1
        if before - after < 1e-12 * windows.energy + 1e-6 * after:
            break
        noise = max(cost / windows.samples, 1e-12 * windows.energy / windows.samples)
    errors = _errors(windows, points, hats, matrix + noise / SLOPE_DB**2 * slope.T @ slope)
    known = np.diag(matrix).reshape(len(wet), -1)
    errors = np.where(known > SILENT * known.max(1, keepdims=True), errors.reshape(len(wet), -1), np.inf)
    return [Ride(mine, error_db) for mine, error_db in zip(points.reshape(len(wet), -1), errors, strict=True)]


def _errors(windows: _Windows, points: Vector, hats: Vector, matrix: Vector) -> Vector:
    """Standard errors of the points from the scores of windows, which are taken to be independent."""
    *_, scores = windows.system(points, hats)
    spread = (scores[:, :, None] * hats[:, None, :]).reshape(len(hats), -1)
    inverse = np.linalg.pinv(matrix, rcond=1e-12, hermitian=True)
    return np.asarray(np.sqrt(np.maximum(np.diag(inverse @ (spread.T @ spread) @ inverse), 0.0)))


@dataclass(frozen=True)
class _Windows:
    """Of each window: its time, the products of the whitened stems with one another [W, S, S] and with the mixture [W, S]."""

    time_s: Vector
    products: Vector
    wanted: Vector
    energy: float
    samples: int

    @classmethod
    def of(cls, mixture: torch.Tensor, wet: Sequence[torch.Tensor], sample_rate: int, taps: Vector) -> _Windows:
        size, frames = round(WINDOW_S * sample_rate), mixture.shape[-1]
        starts = np.arange(0, frames, size)
        heard = [_white(audio, taps) for audio in wet]
        goal = _white(mixture, taps)
        products = np.empty((len(starts), len(wet), len(wet)))
        for row, one in enumerate(heard):
            for column, other in enumerate(heard[: row + 1]):
                products[:, row, column] = products[:, column, row] = np.add.reduceat((one * other).sum(0), starts)
        wanted = np.stack([np.add.reduceat((one * goal).sum(0), starts) for one in heard], 1)
        time_s = (starts + np.minimum(starts + size, frames)) / (2.0 * sample_rate)
        return cls(time_s, products, wanted, float((goal**2).sum()), goal.size)

    def system(self, points: Vector, hats: Vector) -> tuple[float, Vector, Vector, Vector]:
        """At points [S K]: the residual's energy, half its gradient [S K] and curvature [S K, S K], and the gradient's terms [W, S]."""
        stems, count = self.wanted.shape[1], hats.shape[1]
        gains = np.exp(NEPERS * (hats @ points.reshape(stems, count).T))
        mixed = np.einsum("wrs,ws->wr", self.products, gains)
        cost = self.energy + float((gains * (mixed - 2.0 * self.wanted)).sum())
        scores = NEPERS * gains * (mixed - self.wanted)
        matrix = np.empty((stems, count, stems, count))
        for row in range(stems):
            for column in range(row + 1):
                weight = NEPERS**2 * gains[:, row] * gains[:, column] * self.products[:, row, column]
                block = hats.T @ (weight[:, None] * hats)
                matrix[row, :, column], matrix[column, :, row] = block, block.T
        return max(cost, 0.0), (scores.T @ hats).ravel(), matrix.reshape(stems * count, -1), scores


def _hats(time_s: Vector, step_s: float) -> Vector:
    """The weight of each point at each time [W, K]."""
    count = min(math.ceil(time_s[-1] / step_s) + 1, MOST_POINTS)
    return np.asarray(np.maximum(1.0 - np.abs(time_s[:, None] / step_s - np.arange(count)), 0.0))


def _white(audio: torch.Tensor, taps: Vector) -> Vector:
    return np.asarray(lfilter(taps, [1.0], audio.numpy()))
