"""Estimates of clipped samples in frames of several lengths, within a bounded amount of work.

A block is estimated as it is, or as 2, 4, 8 or 16 interleaved parts of it, each by itself: long runs of clipped samples need no fine
resolution in time, and the work is less by the square of the number. Clipping acts on single samples, so each part is a clipped signal as
well; what is above its band is aliased, and as sparse as before. Of many parts ``PHASES`` are estimated, evenly spaced; the clipped samples
of the others are interpolated between them and the known ones.

Conventions
    As in ``...clipping.conditional_mean``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import Akima1DInterpolator

from stemwright.datagen.inverse.clipping.conditional_mean import Clipped, conditional_mean, work

Array = NDArray[np.float64]
MOST_WORK = (np.inf, 2e5, 2e5, 6e4)  # multiplications for each sample and round, of each length: where frames need more, they are not used
MOST_PARTS = 32
PHASES = 4  # parts that are estimated, at most
MOST = 8.0  # times the ceiling: the largest estimate


def direct_estimate(block: Clipped, lengths: Sequence[int], most: Sequence[float]) -> Array:
    """The block [T] with its clipped samples estimated in frames of those lengths that are affordable: their average."""
    estimates: list[Array] = []
    chosen = affordable(block, lengths, most)
    for length in chosen:
        estimates.append(within(block, conditional_mean(block, length, estimates[-1] if estimates else None)))
    averaged = estimates if chosen[0] > lengths[0] else estimates[-1:]  # the shortest are good for drums only
    return within(block, np.mean(averaged, axis=0))  # a mean of equal numbers is rounded


def affordable(block: Clipped, lengths: Sequence[int], most: Sequence[float]) -> list[int]:
    """The lengths of frames in which a block can be estimated in a time that is not too long; the shortest only where others are few."""
    limits = zip(lengths, most, strict=True)
    found = [length for length, limit in limits if limit == np.inf or work(block, length) <= limit * len(block.samples)]
    return found[1:] if len(found) > 2 else found


def direct_in_parts(block: Clipped, lengths: Sequence[int], most_work: float) -> Array:
    """The estimate in several lengths, in as many parts as make frames of the second one affordable."""
    parts = needed_parts(block, lengths[1], min(MOST_PARTS, lengths[0] // 16), most_work)  # frames have 16 samples at least
    most = [np.inf, *np.minimum(most_work, MOST_WORK[1:])]
    return within(block, in_parts(block, parts, lambda part: direct_estimate(part, [length // parts for length in lengths], most)))


def long_frames(block: Clipped, length: int, most_work: float) -> Array:
    """An estimate in frames of so many samples, in as many parts as make it affordable."""
    parts = needed_parts(block, length, min(MOST_PARTS, length // 64), most_work)
    return within(block, in_parts(block, parts, lambda part: conditional_mean(part, length // parts)))


def needed_parts(block: Clipped, length: int, most_parts: int, most_work: float) -> int:
    """The number of parts, a power of two, in which frames of so many samples need no more work than is given."""
    cost, parts = work(block, length), 1
    while parts < most_parts and cost / parts**2 > most_work * len(block.samples):
        parts *= 2
    return parts


def in_parts(block: Clipped, parts: int, estimate: Callable[[Clipped], Array]) -> Array:
    """The block estimated as interleaved parts, ``PHASES`` of them each by itself, the others between these."""
    found, step = block.samples.copy(), max(1, parts // PHASES)
    for start in range(0, parts, step):
        part = Clipped(block.samples[start::parts], block.signs[start::parts], block.bounds[start::parts])
        if part.signs.any() and not part.signs.all():
            found[start::parts] = estimate(part)
    if step > 1:
        between = (block.signs != 0) & (np.arange(len(found)) % step != 0)
        known = np.flatnonzero(~between)
        between[: known[0]] = between[known[-1] :] = False
        found[between] = Akima1DInterpolator(known, found[known])(np.flatnonzero(between))
    return found


def mean_run(signs: NDArray[np.int8]) -> float:
    """The length of the run of clipped samples that a clipped sample is in: the mean over clipped samples."""
    starts, stops = runs_of(signs)
    lengths = stops - starts
    return float((lengths.astype(np.float64) ** 2).sum() / max(lengths.sum(), 1))


def runs_of(signs: NDArray[np.int8]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Where runs of samples clipped at one ceiling start and stop, of signs [T]."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], signs, [0]])))
    return edges[:-1][signs[edges[:-1]] != 0], edges[1:][signs[edges[:-1]] != 0]


def within(block: Clipped, estimate: NDArray[Any]) -> Array:
    """The block with its clipped samples from an estimate, brought to their bounds."""
    heights = np.clip(block.signs * np.nan_to_num(estimate), block.bounds, MOST * np.abs(block.bounds))
    return np.where(block.signs == 0, block.samples, block.signs * heights)
