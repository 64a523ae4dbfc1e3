"""Estimates of clipped samples in frames of several lengths, within a bounded amount of work.

A block is estimated as it is, or as 2, 4, 8 or 16 interleaved parts of it, each by itself: long runs of clipped samples need no fine
resolution in time, and the work is less by the square of the number. Clipping acts on single samples, so each part is a clipped signal as
well; what is above its band is aliased, and as sparse as before.

Conventions
    As in ``...clipping.conditional_mean``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stemwright.datagen.inverse.clipping.conditional_mean import Clipped, conditional_mean, work

Array = NDArray[np.float64]
MOST_WORK = (np.inf, 2e5, 2e5, 6e4)  # multiplications for each sample and round, of each length: where frames need more, they are not used
MOST_IN_PARTS, MOST_PARTS = 8e4, 16
MOST = 8.0  # times the ceiling: the largest estimate


def direct_estimate(block: Clipped, lengths: Sequence[int]) -> Array:
    """The block [T] with its clipped samples estimated in frames of those lengths that are affordable: their average."""
    estimates: list[Array] = []
    chosen = affordable(block, lengths)
    for length in chosen:
        estimates.append(within(block, conditional_mean(block, length, estimates[-1] if estimates else None)))
    averaged = estimates if chosen[0] > lengths[0] else estimates[-1:]  # the shortest are good for drums only
    return within(block, np.mean(averaged, axis=0))  # a mean of equal numbers is rounded


def affordable(block: Clipped, lengths: Sequence[int]) -> list[int]:
    """The lengths of frames in which a block can be estimated in a time that is not too long; the shortest only where others are few."""
    limits = zip(lengths, MOST_WORK, strict=True)
    found = [length for length, most in limits if most == np.inf or work(block, length) <= most * len(block.samples)]
    return found[1:] if len(found) > 2 else found


def long_frames(block: Clipped, length: int, parts: int) -> Array:
    """An estimate in frames of so many samples, in so many parts, or more where these are too costly."""
    cost = work(block, length)
    while parts < MOST_PARTS and cost / parts**2 > MOST_IN_PARTS * len(block.samples):
        parts *= 2
    return within(block, in_parts(block, parts, lambda part: conditional_mean(part, length // parts)))


def in_parts(block: Clipped, parts: int, estimate: Callable[[Clipped], Array]) -> Array:
    """The block estimated as interleaved parts, each by itself."""
    found = block.samples.copy()
    for start in range(parts):
        part = Clipped(block.samples[start::parts], block.signs[start::parts], block.bounds[start::parts])
        if part.signs.any() and not part.signs.all():
            found[start::parts] = estimate(part)
    return found


def mean_run(signs: NDArray[np.int8]) -> float:
    """The length of the run of clipped samples that a clipped sample is in: the mean over clipped samples."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], signs, [0]])))
    lengths = np.diff(edges)[signs[edges[:-1]] != 0] if len(edges) else np.zeros(0)
    return float((lengths.astype(np.float64) ** 2).sum() / max(lengths.sum(), 1))


def within(block: Clipped, estimate: NDArray[Any]) -> Array:
    """The block with its clipped samples from an estimate, brought to their bounds."""
    heights = np.clip(block.signs * np.nan_to_num(estimate), block.bounds, MOST * block.bounds)
    return np.where(block.signs == 0, block.samples, block.signs * heights)
