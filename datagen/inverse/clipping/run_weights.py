"""How far each estimate of a run of clipped samples is trusted, by a small network that has learnt it from sounds whose peaks are known.

The weights are data of this package, made by ``benchmarks/train_declipping.py`` of drawn low tones, synthetic songs and free music; what is
measured in ``benchmarks/declipping.py`` is of others.

Conventions
    Weights [R, K + 1] of R runs are positive and sum to 1; the last is that of the ceiling itself. Heights are mixed as logarithms: an
    estimate that is ten times too high does no harm as long as its weight is small, which a sum would not give.
    Where the estimates that the network trusts disagree (``DISAGREEING``), it is unsure, and the expansion, which is hardly ever far too
    high, gets most of the weight: fewer results are below the expansion, and the median gain is a little lower. The limits were chosen on
    the sounds of ``benchmarks/train_declipping.py``, by networks that had not learnt from them; what it prints is without this.
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
DISAGREEING = (0.8, 1.6), (1.0, 0.3)  # standard deviation of logarithms of estimates, by weight -> share of the weights that is kept


def run_weights(features: Array) -> Array:
    """Weights [R, K + 1] of the estimates of R runs, of their features [R, F]: the mean of the networks'."""
    data = _data()
    found = np.clip((features - data["mean"]) / data["deviation"], -FARTHEST, FARTHEST)
    hidden = np.tanh(np.einsum("rf,nhf->nrh", found, data["first"]) + data["first_bias"][:, None])
    scores = np.einsum("nrh,nkh->nrk", hidden, data["second"]) + data["second_bias"][:, None]
    powers = np.exp(scores - scores.max(axis=2, keepdims=True))
    weights: Array = (powers / powers.sum(axis=2, keepdims=True)).mean(axis=0)
    return weights


def cautious(weights: Array, heights: Array) -> Array:
    """Weights [R, K + 1] with more of the first estimate, the expansion, where estimates with mean log heights [R, K + 1] disagree."""
    middle = (weights * heights).sum(axis=1, keepdims=True)
    deviation = np.sqrt((weights * (heights - middle) ** 2).sum(axis=1))
    kept = np.interp(deviation, *DISAGREEING)[:, None]
    safe: Array = kept * weights
    safe[:, :1] += 1.0 - kept
    return safe


def log_heights(heights: Array) -> Array:
    """Logarithms [K + 1, T] of heights [K, T] over the ceiling, and of the ceiling itself."""
    logarithms: Array = np.log(np.concatenate([heights, np.zeros((1, heights.shape[1]))]) + LEAST)
    return logarithms


def mixed(logarithms: Array, weights: Array) -> Array:
    """Heights [T] over the ceiling, of the logarithms of estimates [K + 1, T], by weights [K + 1, T]."""
    found: Array = np.maximum(np.exp((weights * logarithms).sum(axis=0)) - LEAST, 0.0)
    return found


@lru_cache(maxsize=1)
def _data() -> dict[str, Array]:
    with np.load(WEIGHTS) as data:
        return {name: data[name].astype(np.float64) for name in data.files}
