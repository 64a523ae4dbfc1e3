"""The linear path of the mixing network alone: levels of stems by a ridge regression on what the network pools from their sound.

It has a closed form without random numbers, so that two fits differ only by their examples. The strength of the ridge is chosen by
cross-validation over its own songs, all excerpts of a song on one side.

Conventions
    Gains are [examples, stems] in dB, relative to one another; NaN in the labels is a stem that is silent. Features are those of
    ``stemwright.datagen.mixing.mixer_network.pooled``, standardised by the material; one set of weights for all stems, and a mean for each.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from mixer_training import Material, centred, rms, song_errors

from stemwright.datagen.mixing.mixer_network import pooled, sounding

Array = np.ndarray

STRENGTHS = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0)  # of the ridge, times the number of stems
FOLDS = 8
LEAST_SPREAD = 0.05  # of a feature, as in the network


@dataclass(frozen=True)
class Linear:
    """Mean of each name [K], and the weights [F] of features less their usual values [F], by their spread [F]."""

    mean_db: Array
    usual: Array
    spread: Array
    weights: Array

    def gains_db(self, features: Array) -> Array:
        """[examples, stems]: the gains of stems with features [examples, stems, F]."""
        return np.asarray(self.mean_db + ((features - self.usual) / self.spread) @ self.weights)


@dataclass(frozen=True)
class Examples:
    """Features [examples, stems, F], which stems sound [examples, stems], and the gains to find [examples, stems]."""

    features: Array
    sounds: Array
    truth: Array

    @classmethod
    def of(cls, material: Material) -> Examples:
        """Those of the material."""
        mask = sounding(material.heard)
        return cls(pooled(material.heard, mask).numpy().astype(np.float64), mask.numpy(), centred(material.truth.numpy()))

    def rows(self, rows: Array) -> Examples:
        """Some of them."""
        return Examples(self.features[rows], self.sounds[rows], self.truth[rows])


def fitted(examples: Examples, strength: float) -> Linear:
    """The regression with a ridge of that strength."""
    mean_db = np.nanmean(examples.truth, axis=0)
    there = examples.sounds & np.isfinite(examples.truth)
    features = examples.features[there]
    usual, spread = features.mean(0), features.std(0) + LEAST_SPREAD
    x, y = (features - usual) / spread, (examples.truth - mean_db)[there]
    weights = np.linalg.solve(x.T @ x + strength * len(x) * np.eye(x.shape[1]), x.T @ (y - y.mean()))
    return Linear(mean_db, usual, spread, weights)


def cross_validated(examples: Examples, songs: Sequence[str], strengths: Sequence[float] = STRENGTHS) -> tuple[float, Array]:
    """The strength that does best on songs left out, and the errors of the levels [songs, stems] that it has there."""
    owners, names = np.array(songs), list(dict.fromkeys(songs))
    gains = {strength: np.zeros(examples.truth.shape) for strength in strengths}
    for fold in range(min(FOLDS, len(names))):
        apart = np.isin(owners, names[fold::FOLDS])
        for strength in strengths:
            gains[strength][apart] = fitted(examples.rows(~apart), strength).gains_db(examples.features[apart])
    errors = {strength: song_errors(found, examples.truth, songs) for strength, found in gains.items()}
    best = min(strengths, key=lambda strength: rms(errors[strength]))
    return best, errors[best]
