"""How far each estimate of a run of clipped samples is trusted, by a small network that has learnt it from sounds whose peaks are known.

The weights are data of this package, made by ``benchmarks/train_declipping.py`` of drawn low tones, synthetic songs and free music; what is
measured in ``benchmarks/declipping.py`` is of others.

Conventions
    Weights [R, K + 1] of R runs are positive and sum to 1; the last is that of the ceiling itself. Heights are mixed as logarithms: an
    estimate that is ten times too high does no harm as long as its weight is small, which a sum would not give.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
WEIGHTS = Path(__file__).with_name("run_weights.npz")
LEAST = 0.02  # of the ceiling: added to heights before their logarithm
FARTHEST = 3.0  # standard deviations of features, at most


def run_weights(features: Array) -> Array:
    """Weights [R, K + 1] of the estimates of R runs, of their features [R, F]: the mean of the networks'."""
    data = _data()
    found = np.clip((features - data["mean"]) / data["deviation"], -FARTHEST, FARTHEST)
    hidden = np.tanh(np.einsum("rf,nhf->nrh", found, data["first"]) + data["first_bias"][:, None])
    scores = np.einsum("nrh,nkh->nrk", hidden, data["second"]) + data["second_bias"][:, None]
    powers = np.exp(scores - scores.max(axis=2, keepdims=True))
    weights: Array = (powers / powers.sum(axis=2, keepdims=True)).mean(axis=0)
    return weights


def mixed(heights: Array, weights: Array) -> Array:
    """Heights [T] over the ceiling, of estimates [K, T], by weights [K + 1, T]."""
    logarithms = np.log(np.concatenate([heights, np.zeros((1, heights.shape[1]))]) + LEAST)
    found: Array = np.maximum(np.exp((weights * logarithms).sum(axis=0)) - LEAST, 0.0)
    return found


@lru_cache(maxsize=1)
def _data() -> dict[str, Array]:
    with np.load(WEIGHTS) as data:
        return {name: data[name].astype(np.float64) for name in data.files}
