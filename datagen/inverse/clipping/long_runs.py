"""Long runs of clipped samples (basses, sustained drums): how far estimates can be trusted is tried on the samples just below the ceiling.

Where a run lasts a good part of a period, few samples are left to say how high the wave went on. Estimates from the spectrum and splines
continue the flanks: right for a sine, ten times too high for a flat top; the expansion is hardly higher than the ceiling, and hardly
ever far wrong. Which of them fits is tried on the sound itself: it is clipped again at ``LOWER`` times its ceiling and estimated again, and
the samples between both ceilings are known.

    cautious  the lower of two estimates, in frames of two lengths, mixed with the expansion: the more of it, the more both disagree or the
              more of the sound is clipped
    stacked   expansion, estimate and spline, mixed by the non-negative weights with which the known samples come out right, and those
              at the first ceiling at least there. With few known samples beside many clipped ones, or where no mix fits, the weights stay
              near those of the expansion alone: a ridge, as a Gaussian prior of the weights gives

The result is the cautious one, and the stacked one where estimates are far too high: where many of the samples estimated well above the
first ceiling are known to be below it (``OVERSHOT``). Where known samples are met within 0.2 to 0.6 % of their energy and the
estimates agree (sines), it is the stacked one as well.

Why not the stacked one everywhere: on recordings the heights just below the ceiling are small and noisy, which lowers its weights, and it
is worse than the cautious one; it is better on saturated tones and filtered sawtooth and square waves. The ratio of known heights to
their estimates does not distinguish them: it is low for good estimates of drums and voice, too. ``benchmarks/declipping.py --basses``
prints gains.
A dip or a flat part within a clipped top cannot be known, since no sample of it is left, and where almost all of a low tone is clipped
there is too little to try it on: of the 54 cases printed six are below the expansion, by up to 3.5 dB, and eleven below a spline.

Conventions
    As in ``...clipping.conditional_mean``.

References
    Breiman 1996, "Stacked regressions", Machine Learning 24: weights from what was held out, not negative. As recalled.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline
from scipy.ndimage import uniform_filter1d
from scipy.optimize import nnls

from stemwright.datagen.inverse.clipping.conditional_mean import Clipped
from stemwright.datagen.inverse.clipping.frame_estimates import direct_in_parts, long_frames, within

Array = NDArray[np.float64]
LONG_S = 9e-4  # mean length of runs of clipped samples from which an estimate may be far too high
NEAR_S = 0.05
DISAGREEING = (0.25, 0.5), (1.0, 0.3)  # difference of two estimates over their height beyond the ceiling -> their share in the result
CROWDED = (0.55, 0.7, 0.9), (1.0, 0.3, 0.1)  # clipped part of the samples within NEAR_S / 2 of clipped ones -> their share, at most
WORK, CROWDED_WORK = (2e5, 8e4), (1.5e4, 8e3)  # multiplications for each sample and round: of the estimate, of that in longer frames
LOWER = 0.75  # times the ceiling: where the block is clipped again
OVERSHOT = (0.1, 0.2), (1.0, 0.0)  # part of the known samples among those that are estimated far too high -> share of the cautious result
AGREEING = (0.8, 1.0), (0.0, 1.0)  # share that two estimates get -> share of the stacked result where it is exact
EXACT = (0.002, 0.006), (1.0, 0.0)  # of the energy of the known heights, left by the best mix -> share of the stacked result all the same
ROUNDS = 8  # in which the samples that a mix leaves below the first ceiling are found
DOUBT = 0.02  # known samples for each clipped one, that the prior of the weights counts as
EXPLAINED = 0.03  # of the energy of the known heights: left by mixes that fit well, below which the prior counts less


def restore_long_runs(block: Clipped, sample_rate: int, lengths: Sequence[int], expand: Callable[[Clipped, float], Array]) -> Array:
    """The block [T] with its clipped samples estimated.

    ``lengths`` are those of frames; ``expand`` gives the expansion of a block whose ceilings are so many times the first ones.
    """
    crowded = _crowded(block, sample_rate)
    direct_work, long_work = WORK if crowded <= CROWDED[0][0] else CROWDED_WORK
    direct, longer = direct_in_parts(block, lengths, direct_work), long_frames(block, lengths[-1], long_work)
    share, expanded = min(_agreement(block, direct, longer), np.interp(crowded, *CROWDED)), within(block, expand(block, 1.0))
    cautious = share * np.minimum(_heights(block, direct), _heights(block, longer)) + (1.0 - share) * _heights(block, expanded)
    again = clipped_again(block)
    tried = _heights(again, long_frames(again, lengths[-1], long_work))
    lower = np.stack([_heights(again, expand(again, LOWER)), tried, _heights(again, splined(again))])
    upper = np.stack([_heights(block, each) for each in (expanded, longer, splined(block))])
    weights, left = mixing_weights(lower, block, again)
    overshot = _overshot(block, again, tried)
    trusted = np.interp(overshot, *OVERSHOT) * (1.0 - np.interp(share, *AGREEING) * np.interp(left, *EXACT))
    return within(block, block.signs * (block.bounds + trusted * cautious + (1.0 - trusted) * (weights @ upper)))


def clipped_again(block: Clipped) -> Clipped:
    """The block clipped at ``LOWER`` times the bounds that clipped samples have, on those sides that have any."""
    samples, signs, bounds = block.samples.copy(), block.signs.copy(), block.bounds.copy()
    for sign in (1, -1):
        clipped = block.signs == sign
        if clipped.any():
            ceiling = LOWER * float(np.median(block.bounds[clipped]))
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


def splined(block: Clipped) -> Array:
    """The block with its clipped samples on a cubic spline through the others; those at its ends stay."""
    known = np.flatnonzero(block.signs == 0)
    found = block.samples.copy()
    if len(known) >= 2:
        inside = np.flatnonzero(block.signs[known[0] : known[-1]]) + known[0]
        found[inside] = CubicSpline(known, block.samples[known])(inside)
    return within(block, found)


def _overshot(block: Clipped, again: Clipped, heights: Array) -> float:
    """The part of the samples that the lower ceiling's estimate has far above the upper ceiling which are in truth below it.

    Far: by as much as the ceilings differ. All samples estimated so high are judged: among those below the upper ceiling alone even a good
    estimate is too high on average, since they are chosen for being low.
    """
    high = (again.signs != 0) & (heights > 2.0 * (1.0 / LOWER - 1.0) * again.bounds)
    return int(np.count_nonzero(high & (block.signs == 0))) / max(int(np.count_nonzero(high)), 1)


def _agreement(block: Clipped, one: Array, other: Array) -> float:
    """The share that two estimates get: less the more they disagree."""
    heights, others = (_heights(block, each) for each in (one, other))
    energy = float(heights @ heights)
    return float(np.interp(math.sqrt(float(np.square(heights - others).sum()) / energy) if energy > 0.0 else 0.0, *DISAGREEING))


def _crowded(block: Clipped, sample_rate: int) -> float:
    """The clipped part of the samples near clipped ones."""
    clipped = block.signs != 0
    near: Array = uniform_filter1d(clipped.astype(np.float64), max(1, round(NEAR_S * sample_rate)))
    return float(near[clipped].mean())


def _heights(block: Clipped, estimate: Array) -> Array:
    """Heights above the bounds [T] of an estimate; 0 where nothing was clipped."""
    return np.where(block.signs == 0, 0.0, np.abs(within(block, estimate)) - block.bounds)


def _true_heights(block: Clipped, again: Clipped) -> Array:
    """Heights of a block [T] above the bounds of what was clipped again."""
    return np.abs(block.samples) - again.bounds
