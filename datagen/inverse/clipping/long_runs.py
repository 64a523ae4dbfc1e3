"""Long runs of clipped samples (basses, sustained drums): several estimates, and for each run how far each of them is trusted.

Where a run lasts a good part of a period, few samples are left to say how high the wave went on. Estimates from the spectrum and splines
continue the flanks: right for a sine, ten times too high for a flat top; the expansion is hardly higher than the ceiling, and hardly
ever far wrong. Which of them fits is tried on the sound itself: it is clipped again at ``LOWER`` times its ceiling and estimated again, and
the samples between both ceilings are known.

    estimates   ``...clipping.run_features.METHODS``, and two made of them: the lower of both from the spectrum, and ``stacked``
    stacked     expansion, estimate and spline, mixed by the non-negative weights with which the known samples of the block come out right,
                and those at the first ceiling at least there: exact for steady tones. With few known samples beside many clipped ones,
                or where no mix fits, the weights stay near those of the expansion alone: a ridge, as a Gaussian prior of them gives
    result      their weighted geometric mean, with weights for each run from what is known of it (``...clipping.run_weights``)

Tried before: rules with chosen limits mixed fewer of these estimates, by one weight for a whole block.
``benchmarks/train_declipping.py`` prints gains on tones and songs that were left out of what the weights are learnt from,
``benchmarks/declipping.py --basses`` those on others. A dip or a flat part within a clipped top cannot be known, since no sample of it is
left: there the result can be below the expansion.

Conventions
    As in ``...clipping.conditional_mean``.

References
    Breiman 1996, "Stacked regressions", Machine Learning 24: weights from what was held out, not negative. Jacobs and others 1991,
    "Adaptive mixtures of local experts": weights that depend on the case, by a network. As recalled.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter1d
from scipy.optimize import nnls

from stemwright.datagen.inverse.clipping.conditional_mean import Clipped
from stemwright.datagen.inverse.clipping.flank_curves import polynomials, splined
from stemwright.datagen.inverse.clipping.frame_estimates import direct_in_parts, long_frames, runs_of, within
from stemwright.datagen.inverse.clipping.run_features import METHODS, ClippedAgain, run_features
from stemwright.datagen.inverse.clipping.run_weights import cautious, log_heights, mixed, run_weights

Array = NDArray[np.float64]
LONG_S = 9e-4  # mean length of runs of clipped samples from which an estimate may be far too high
NEAR_S = 0.05
CROWDED = 0.55  # clipped part of the samples within NEAR_S / 2 of clipped ones, from which less work is worthwhile
WORK, CROWDED_WORK = (2e5, 8e4), (2e4, 2e4)  # multiplications for each sample and round: of the estimate, of that in longer frames
TRIED_WORK = 8e3
LOWER = (0.75, 0.5)  # times the ceiling: where the block is clipped again
STACKED = ("expansion", "longer", "spline")
ROUNDS = 8  # in which the samples that a mix leaves below the first ceiling are found
DOUBT = 0.02  # known samples for each clipped one, that the prior of the weights counts as
EXPLAINED = 0.03  # of the energy of the known heights: left by mixes that fit well, below which the prior counts less


@dataclass(frozen=True)
class RunEstimates:
    """Heights [K, T] above the bounds that estimates give a block, and features [R, F] of its runs."""

    heights: Array
    features: Array


def restore_long_runs(block: Clipped, sample_rate: int, lengths: Sequence[int], expand: Callable[[Clipped, float], Array]) -> Array:
    """The block [T] with its clipped samples estimated.

    ``lengths`` are those of frames; ``expand`` gives the expansion of a block whose ceilings are so many times the first ones.
    """
    found = estimates_of_runs(block, sample_rate, lengths, expand)
    starts, stops = runs_of(block.signs)
    clipped, lengths_of_runs = block.signs != 0, stops - starts
    ceilings = np.maximum(block.bounds[clipped], 1e-300)
    logarithms = log_heights(found.heights[:, clipped] / ceilings)
    means = np.add.reduceat(logarithms, np.cumsum(lengths_of_runs) - lengths_of_runs, axis=1) / lengths_of_runs
    weights = np.repeat(cautious(run_weights(found.features), means.T), lengths_of_runs, axis=0).T
    heights = np.zeros(len(block.samples))
    heights[clipped] = ceilings * mixed(logarithms, weights)
    return within(block, block.signs * (block.bounds + heights))


def estimates_of_runs(block: Clipped, sample_rate: int, lengths: Sequence[int], expand: Callable[[Clipped, float], Array]) -> RunEstimates:
    """All estimates of a block, and what is known of its runs."""
    direct_work, long_work = WORK if crowded(block, sample_rate) <= CROWDED else CROWDED_WORK
    direct, longer = direct_in_parts(block, lengths, direct_work), long_frames(block, lengths[-1], long_work)
    heights = heights_of(block, [within(block, expand(block, 1.0)), splined(block), polynomials(block), longer, direct])
    trials = []
    for lower in LOWER:
        again = clipped_again(block, lower)
        tried = [expand(again, lower), splined(again), polynomials(again), long_frames(again, lengths[-1], TRIED_WORK)]
        trials.append(ClippedAgain(again, heights_of(again, tried)))
    return all_estimates(block, heights, trials, sample_rate)


def all_estimates(block: Clipped, heights: Array, trials: Sequence[ClippedAgain], sample_rate: int) -> RunEstimates:
    """Those of a block whose heights [K, T] by each of ``METHODS`` are given, and which was tried at lower ceilings."""
    features = run_features(block, heights, trials, sample_rate)
    stacked_ones = [METHODS.index(name) for name in STACKED]
    weights, left = mixing_weights(trials[0].heights[stacked_ones], block, trials[0].again)
    shared = np.append(np.clip(weights, 0.0, 2.0), np.log(np.clip(left, 1e-6, 1.0)))
    lower = np.minimum(heights[METHODS.index("longer")], heights[METHODS.index("direct")])
    every = np.concatenate([heights, lower[None], (weights @ heights[stacked_ones])[None]])
    return RunEstimates(every, np.concatenate([features, np.tile(shared, (len(features), 1))], axis=1))


def clipped_again(block: Clipped, lower: float) -> Clipped:
    """The block clipped at so many times the bounds that clipped samples have, on those sides that have any."""
    samples, signs, bounds = block.samples.copy(), block.signs.copy(), block.bounds.copy()
    for sign in (1, -1):
        clipped = block.signs == sign
        if clipped.any():
            ceiling = lower * float(np.median(block.bounds[clipped]))
            above = sign * block.samples >= ceiling
            samples[above], signs[above], bounds[above] = sign * ceiling, sign, ceiling
    return Clipped(samples, signs, bounds)


def mixing_weights(heights: Array, block: Clipped, again: Clipped) -> tuple[Array, float]:
    """Weights [K] of the heights [K, T] that methods give a block which was clipped again; and the part of the known energy that any leave.

    The first method is relied on without evidence. Weights minimise the squared error of the samples that the first clipping left, and of
    those it did not where they are below its ceiling.
    """
    prior = np.eye(len(heights))[0]
    clipped, known = block.signs != 0, (again.signs != 0) & (block.signs == 0)
    if not known.any() or not clipped.any():
        return prior, 1.0
    true, least = _true_heights(block, again), block.bounds - again.bounds
    left = nnls(heights[:, known].T, true[known])[1] ** 2 / max(float(true[known] @ true[known]), 1e-300)
    doubt = DOUBT * np.count_nonzero(clipped) * min(1.0, left / EXPLAINED)
    weights = prior
    for _ in range(ROUNDS):
        used = known | (clipped & (weights @ heights < least))
        wanted = np.where(known, true, least)[used]
        ridge = math.sqrt(doubt * float(np.square(wanted).mean())) * np.eye(len(prior))
        before, (weights, _) = weights, nnls(np.vstack([heights[:, used].T, ridge]), np.concatenate([wanted, ridge @ prior]))
        if np.allclose(weights, before, atol=1e-3):
            break
    return weights, left


def crowded(block: Clipped, sample_rate: int) -> float:
    """The clipped part of the samples near clipped ones."""
    clipped = block.signs != 0
    near: Array = uniform_filter1d(clipped.astype(np.float64), max(1, round(NEAR_S * sample_rate)))
    return float(near[clipped].mean())


def heights_of(block: Clipped, estimates: Sequence[Array]) -> Array:
    """Heights above the bounds [K, T] of estimates; 0 where nothing was clipped."""
    return np.stack([np.where(block.signs == 0, 0.0, np.abs(within(block, each)) - block.bounds) for each in estimates])


def _true_heights(block: Clipped, again: Clipped) -> Array:
    """Heights of a block [T] above the bounds of what was clipped again."""
    return np.abs(block.samples) - again.bounds
