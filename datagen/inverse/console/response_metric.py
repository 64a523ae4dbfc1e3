"""What the response of an equaliser in a console does to the residual of the mixture, to first order, whatever its bands are.

    |r + J d + K p|²  ->  d' A d + 2 b' d      with p, the other settings of the stem, eliminated

d is a difference of the response in dB at a few frequencies, a spline between them, minimum-phase
(``stemwright.datagen.inverse.known_dry.free_equaliser``). It goes through all that follows the equaliser, compressors among it.

Conventions
    Energies are relative to that of the whitened mixture. A direction that no sound tells costs a little, so that it stays.

References
    Golub and Pereyra 1973: the other settings eliminated from the normal equations.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.fft import rfft

from stemwright.datagen.inverse.console.initial_settings import response_db
from stemwright.datagen.inverse.console.joint_search import BUS, ConsoleProblem, ConsoleSettings, Unknown, unknowns_of
from stemwright.datagen.inverse.known_dry.free_equaliser import free_changes, knots_hz, padded
from stemwright.datagen.inverse.solver import INDEPENDENT, Vector, gram, product

KNOTS = 56  # frequencies at which responses are compared: four an octave
USUAL_DB = 6.0  # of an equaliser's error, before anything is known
MOST_DB = 6.0  # a larger difference is not followed at once


class ResponseMetric(NamedTuple):
    """|d root|² is added to the residual by a difference of d dB [K] from the response ``here_db`` [K] at the knots ``hz`` [K].

    ``follow`` [P, K] is how the other unknowns of the stem best change with it; ``wanted_db`` [K] the response that the residual calls for.
    """

    hz: Vector
    here_db: Vector
    wanted_db: Vector
    root: Vector
    unknowns: list[Unknown]
    follow: Vector


def response_metric(problem: ConsoleProblem, console: ConsoleSettings, place: str, index: int) -> ResponseMetric:
    """What the response of the equaliser at ``index`` of a place does."""
    effect, settings = console.chain(place)[index]
    if place == BUS:
        wet = problem.mix(console.with_chain(BUS, console.bus[: index + 1]))
    else:
        wet = problem.wet(place, console.chain(place)[: index + 1])
    frames = wet.shape[-1]
    size = padded(frames, problem.sample_rate)
    spectrum = rfft(wet.numpy().astype(np.float32), size)
    changes = (change[:, :frames] for change in free_changes(spectrum, size, problem.sample_rate, KNOTS))
    free = problem.moved_along(console, place, index, changes)
    unknowns = [each for each in unknowns_of(console, len(wet)) if each.place == place and each.index != index]
    table = np.concatenate([free, problem.columns(console, unknowns)])
    matrix, slope = gram(table) / problem.energy, product(table, (problem.white_mix(console) - problem.goal).ravel()) / problem.energy
    follow = -np.asarray(np.linalg.pinv(matrix[KNOTS:, KNOTS:], rcond=1e-12, hermitian=True)) @ matrix[KNOTS:, :KNOTS]
    form = matrix[:KNOTS, :KNOTS] + matrix[KNOTS:, :KNOTS].T @ follow
    power, axes = np.linalg.eigh(0.5 * (form + form.T))
    power = power.clip(min=1e-12 * max(float(power.max()), 1e-300))
    pull = axes.T @ (slope[:KNOTS] + follow.T @ slope[KNOTS:])
    usual = problem.cost(console) / INDEPENDENT / USUAL_DB**2
    step_db = (axes @ (pull / (power + usual))).clip(-MOST_DB, MOST_DB)
    hz = knots_hz(problem.sample_rate, KNOTS)
    here_db = response_db(effect, settings, hz, problem.sample_rate)
    return ResponseMetric(hz, here_db, here_db - step_db, axes * np.sqrt(power), unknowns, follow)
