"""Ceilings that clipping left in the counts of a signal, in exact copies and in changed ones.

An exact copy (also after a gain, or rounded) has its clipped samples at one level, so a narrow window there is in a pile: it holds far more
samples than the windows below (``PILE``), in pairs rather than alone (a limiter with look-ahead touches its ceiling with single samples,
``PAIRED``), and few of the pairs within 16 such widths are outside it (the top of a smooth wave, even one of constant height, has
sqrt(1 / 16) of them there; ``FLAT``). A limiter without look-ahead cuts the rising half of a top as flat as a clipper does; ``limiters``
distinguishes them.

In white noise, whose clipped samples are single, they follow one another at random; a limiter's do not within its look-ahead (``CLOSE``).
In bursts of noise over tones (drum machines) they do as well, and the tops at the ceiling are as sharp as those of noise.

Nor does a clipper let anything pass: where most samples at a level are in a time of 0.1 s in which the same half of the wave goes higher
(``OVERTOPPED``), it is that of a tone's lower maxima or of a filtered square wave's flat parts. Each time is judged by itself, since one
loud sample, or a part with another ceiling, says nothing of the rest.

In a copy that was resampled or coded with loss, the tops of clipped waves scatter around the ceiling by a few percent, as those of limited
waves do, but they are flatter. For each level c and half-width w, against the band (1 - 3 w) c to (1 - w) c below:

    significance    log of the tops in (1 - w) c to (1 + w) c against those below and above, in standard errors of counts: where to look
    effect          the same without what grows with the number of samples
    time            log of the samples in that band against those below
    flatness        mean curvature of its tops two samples away, against that of the tops at 0.6 c to 0.88 c: the same sound, unclipped
    continuity      log of the pairs of neighbours an excursion above (1 - w) c has, against those of excursions above 0.75 c: a limiter
                    without look-ahead shortens the former (see ``limiters``)

A logistic regression of the last four gives the likelihood.

Conventions
    ``Levels`` of one polarity, with magnitudes, in; ceilings as magnitudes out. Likelihoods are logits (0: even).

References
    The measures and their weights are our own; the weights are those that ``benchmarks/clipping_detection.py --fit`` prints, from
    songs that the benchmark does not report on.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stemwright.separation.clip_detection.levels import CLOSE, COUNT, CURVATURE, WIDE_CURVATURE, Levels
from stemwright.separation.clip_detection.limiters import single_samples_continue
from stemwright.separation.clip_detection.scale import coarse_index, fine_index, fine_level

Array = NDArray[np.float64]

# ---- exact copies
WINDOWS = (4, 16)  # fine steps: 0.02 to 0.05 %, and 0.1 to 0.2 % for dithered and soft sounds
WIDER = 16
LEAST_PAIRS = 4
PILE, PAIRED, FLAT = 3.0, 0.2, 0.5
LEAST_CLOSE, MOST_TOUCHING = 5, 0.85
BURST_CURVATURE = 0.3  # clipped noise over a tone of half the ceiling has 0.5
NOISE_CURVATURE = 0.6  # white noise has 1, music 0.01 to 0.5
BURSTS = 0.15  # of the touching samples soon after another one: limiters with a look-ahead of 0.2 ms have up to 0.07, of 0.5 ms 0
MOST_IN_BURSTS = 0.4  # of the tops from 0.6 times the ceiling on: of a steady tone that is rounded more are at one level
MANY_TOUCHING = 10
MANY_LEVELS = 20  # windows below that hold samples: a wave that is repeated exactly has its own peak at one level, and few others
LEAST_LEVELS = 8.0  # effective number of levels between silence and ceiling: fewer are those of pulse waves, which look clipped as made
OVERTOPPED = 0.5  # of the samples at a level, in segments that go higher: a ceiling lets nothing pass in its time

# ---- changed copies
HALF_WIDTHS = (0.01, 0.02, 0.04, 0.08)
GRID = 2.0 ** (np.arange(-10 * 64, 5 * 64) / 64)
LEAST_TOPS, LEAST_COMPARED = 3, 20
STEPS_NEEDED = 0.4  # times 1 / w: two of a coarsely rounded sound's levels in a band, were they at equal distances from 0.6 c on
LEAST_CLIPPED = 30  # samples
LEAST_HEIGHTS = 8.0  # of the compared tops: few are those of tones; clipped music has 40 to 70
LEAST_SAMPLES = 1.3  # in a band for each excursion that ends there: fewer are single samples, of limited waves
REGION = 0.035  # a pile is found at c within so much, by logarithm
FROM = 0.75  # times a level: with the excursions there those near the level are compared
LEAST_PAIRS_EACH = 0.03  # of an excursion
WEIGHTS = np.array([2.843, 0.507, -4.328, 7.068])
BIAS = 4.971


@dataclass(frozen=True)
class FoundCeiling:
    """A level that seems to have been a ceiling."""

    level: float
    logit: float  # of its likelihood
    num_clipped: float  # samples at it, about
    spread: float  # clipped samples are within this part of the level


def exact_ceilings(levels: Levels) -> tuple[list[FoundCeiling], list[FoundCeiling]]:
    """Levels at which samples are equal within rounding, the highest first: those of clipping, and those of something else (a limiter)."""
    found: tuple[list[FoundCeiling], list[FoundCeiling]] = ([], [])
    for width in WINDOWS:
        for start in _piles(levels.time, width):
            judged = _judged(levels, start, width)
            same = (other for side in found for other in side if judged and abs(np.log(judged.level / other.level)) < 0.002)
            if judged is not None and next(same, None) is None:
                found[judged.logit < 0.0].append(judged)
    for side in found:
        side.sort(key=lambda each: -each.level)
    return found


def _piles(time: NDArray[np.int64], width: int) -> list[int]:
    """Starts of at most 16 windows that hold more than those below: those with most of the samples at and above them first."""
    inside = (time[:-width] - time[width:]).astype(np.float64)
    far = 64 * width
    below = np.zeros_like(inside)
    below[far:] = (time[: len(inside) - far] - time[far : len(inside)]) * (width / far)
    below = np.concatenate([np.zeros(width), below[:-width]])  # without the window's own neighbours
    places = np.flatnonzero((inside > LEAST_PAIRS) & (inside > PILE * below))
    places = places[np.argsort(-(inside[places] ** 2) / time[places], kind="stable")][:2000]
    chosen: list[int] = []
    for place in places.tolist():
        if all(abs(place - other) > 4 * width for other in chosen):
            chosen.append(place)
            if len(chosen) == 16:
                break
    return chosen


def _judged(levels: Levels, start: int, width: int) -> FoundCeiling | None:
    """The ceiling in a window, with a negative logit where its samples were not clipped; None where they are too few to say."""
    time, excursions, stop = levels.time, levels.excursions, start + width
    level = float(fine_level(start + width // 2))
    held = int(time[start] - time[stop])
    neighbours = np.arange(int(fine_index(0.85 * level)), int(fine_index(0.995 * level)), width)
    usual = (time[neighbours] - time[neighbours + width]).astype(np.float64)
    usual = usual[usual > 0]
    background = float(np.quantile(usual, 0.97)) if len(usual) else 0.0
    if held < PILE * background + LEAST_PAIRS:
        return None
    touched = int(excursions[start] - excursions[stop])  # excursions that end in the window
    pairs = held - max(touched, 0) - float(usual.mean() if len(usual) else 0.0)
    wide = max(0, start - (WIDER - 1) * width)
    all_pairs = (time[wide] - time[stop]) - (excursions[wide] - excursions[stop])
    close = int(levels.close[start:stop].sum())
    flat = pairs >= max(LEAST_PAIRS, PAIRED * touched, FLAT * all_pairs)
    noisy = touched >= MANY_TOUCHING and len(usual) >= MANY_LEVELS and pairs >= FLAT * all_pairs
    single = noisy and single_samples_continue(levels, level)
    if flat or single or _scattered(levels, level, touched, close):
        limits = _effective_levels(time, level) >= LEAST_LEVELS and _overtopped(levels, start, stop, 0) <= OVERTOPPED
        logit = min(max(pairs, close, touched * single) - LEAST_PAIRS + 2.0, 7.0) if limits else -1.0
    elif touched >= MANY_TOUCHING and all_pairs < (LEAST_SAMPLES - 1.0) * touched:  # single samples, here and near
        logit = -1.0
    else:
        return None
    spread = 1.0 - float(fine_level(start) / fine_level(stop))
    return FoundCeiling(_mean_level(time, start, stop), float(logit), float(held - background), spread)


def _overtopped(levels: Levels, start: int, stop: int, margin: int) -> float:
    """The part of the samples of a window whose segment goes higher by more than a margin."""
    return float(levels.overtopped[start:stop, margin].sum() / max(int(levels.time[start] - levels.time[stop]), 1))


def _scattered(levels: Levels, level: float, touched: int, close: int) -> bool:
    """Whether single samples touch a level as soon one after another as chance would have it, among tops of other heights."""
    expected = touched * (1.0 - math.exp(-CLOSE * touched / max(levels.num_frames, 1)))
    tops = levels.tops[-1, COUNT] - levels.tops[coarse_index(0.6 * level), COUNT]
    compared = levels.tops[coarse_index(0.88 * level)] - levels.tops[coarse_index(0.6 * level)]
    touching = levels.tops[coarse_index(level) + 1] - levels.tops[coarse_index(level)]
    if compared[COUNT] < LEAST_COMPARED:  # a steady tone's tops are all at its ceiling, and there is no shape to compare with
        return False
    noise = compared[CURVATURE] >= NOISE_CURVATURE * compared[COUNT]
    bursts = touching[CURVATURE] >= BURST_CURVATURE * touching[COUNT] and BURSTS * touched <= close and touched <= MOST_IN_BURSTS * tops
    return bool((noise or bursts) and close >= max(LEAST_CLOSE, 0.5 * expected) and touched <= MOST_TOUCHING * tops)


def _effective_levels(time: NDArray[np.int64], level: float) -> float:
    """How many levels from 10 to 97 % of a ceiling are in use: (sum of n)² / sum of n² over windows of 0.1 to 0.2 %."""
    edges = np.arange(int(fine_index(0.1 * level)), int(fine_index(0.97 * level)), 16)
    counts = -np.diff(time[edges]).astype(np.float64)
    return float(counts.sum() ** 2 / max(np.square(counts).sum(), 1.0))


def _mean_level(time: NDArray[np.int64], start: int, stop: int) -> float:
    """The mean level of the samples in a window."""
    counts = -np.diff(time[start : stop + 1]).astype(np.float64)
    return float(counts @ fine_level(np.arange(start, stop)) / counts.sum())


# ---------------------------------------------------------------- changed copies


def measures(levels: Levels, centres: Array) -> Array:
    """The measures for levels [K] and all half-widths: [K, W, 5]; NaN where there are too few tops to compare with."""
    tops, time = levels.tops, levels.time
    compared = tops[coarse_index(0.88 * centres)] - tops[coarse_index(0.6 * centres)]
    count = np.maximum(compared[:, COUNT], 1.0)
    usual_pairs = _pairs_each(levels, FROM * centres)
    wide_curvature = np.maximum(compared[:, WIDE_CURVATURE] / count, 1e-5)
    steps_used = _steps_used(levels, centres)
    result = np.full((len(centres), len(HALF_WIDTHS), 5), np.nan)
    for column, w in enumerate(HALF_WIDTHS):
        edges = [centres * factor for factor in (1 - 3 * w, 1 - w, 1 + w, 1 + 3 * w)]
        below, inside, above = (tops[coarse_index(b)] - tops[coarse_index(a)] for a, b in itertools.pairwise(edges))
        n, n_below, n_above = (each[:, COUNT] + 0.5 for each in (inside, below, above))
        at = [time[fine_index(edge)] for edge in edges]
        contrast = np.log(n / np.sqrt(n_below * n_above))
        significance = contrast / np.sqrt(1 / n + 0.25 / n_below + 0.25 / n_above)
        flatness = inside[:, WIDE_CURVATURE] / np.maximum(inside[:, COUNT], 1.0) / wide_curvature - 1.0
        result[:, column] = np.stack(
            [
                np.log(np.maximum(significance, 0.1)),
                np.log(np.maximum(significance, 0.1)) - 0.5 * np.log(at[1] + 1.0),
                np.log((at[1] - at[2] + 0.5) / (at[0] - at[1] + 0.5)),
                np.clip(np.where(inside[:, COUNT] > 0, flatness, 0.0), -1.0, 1.0),
                np.log(_pairs_each(levels, edges[1]) / usual_pairs),
            ],
            axis=-1,
        )
        single = at[1] - at[2] < LEAST_SAMPLES * (levels.excursions[fine_index(edges[1])] - levels.excursions[fine_index(edges[2])])
        result[single | (compared[:, COUNT] < LEAST_COMPARED) | (steps_used < STEPS_NEEDED / w), column] = np.nan
    return result


def _pairs_each(levels: Levels, centres: Array) -> Array:
    """The pairs of neighbours that an excursion above each level has, on average."""
    index = fine_index(centres)
    return np.maximum(levels.time[index] / np.maximum(levels.excursions[index], 1) - 1.0, LEAST_PAIRS_EACH)


def _steps_used(levels: Levels, centres: Array) -> Array:
    """How many fine steps from 0.6 to 1 times each level hold samples: few in soft sounds of few bits."""
    used = np.append(0, np.cumsum(levels.time[:-1] > levels.time[1:]))
    counted: Array = (used[fine_index(centres)] - used[fine_index(0.6 * centres)]).astype(np.float64)
    return counted


def _possible(levels: Levels, centres: Array) -> NDArray[np.bool_]:
    """Whether the bands around levels [K], of all half-widths [K, W], can be ceilings: music around them, and little goes higher."""
    overtopped = np.append(0, np.cumsum(levels.overtopped[:, 1]))
    widths = np.array(HALF_WIDTHS)
    low, high = fine_index(centres[:, None] * (1.0 - widths)), fine_index(centres[:, None] * (1.0 + widths))
    passed = overtopped[high] - overtopped[low] > OVERTOPPED * (levels.time[low] - levels.time[high])
    possible: NDArray[np.bool_] = ~passed & (_effective_heights(levels, centres) >= LEAST_HEIGHTS)[:, None]
    return possible


def _effective_heights(levels: Levels, centres: Array) -> Array:
    """How many heights the compared tops have: (sum of n)² / sum of n² over coarse steps; few in a tone, whose periods are alike."""
    counts = np.diff(levels.tops[:, COUNT])
    squares = np.append(0.0, np.cumsum(np.square(counts)))
    low, high = coarse_index(0.6 * centres), coarse_index(0.88 * centres)
    heights: Array = np.square(levels.tops[high, COUNT] - levels.tops[low, COUNT]) / np.maximum(squares[high] - squares[low], 1.0)
    return heights


def candidates(levels: Levels) -> list[tuple[Array, Array, Array]]:
    """Up to three piles of tops, the most significant first: levels near each and half-widths, both [K], and their measures [K, 5]."""
    total = levels.tops[-1, COUNT]
    above = total - levels.tops[coarse_index(GRID), COUNT]
    centres = GRID[(above >= LEAST_TOPS) & (above <= 0.5 * total)]
    if not len(centres):
        return []
    measured = measures(levels, centres)
    significance = np.where(np.isnan(measured[..., 0]), -np.inf, measured[..., 0])
    widths = np.broadcast_to(np.array(HALF_WIDTHS), measured.shape[:2])
    possible = _possible(levels, centres)
    found: list[tuple[Array, Array, Array]] = []
    for _ in range(3):
        best = int(np.unravel_index(significance.argmax(), significance.shape)[0])
        if not significance[best].max() > 0.0:
            break
        distance = np.abs(np.log(centres / centres[best]))
        near = (distance < REGION)[:, None] & np.isfinite(measured[..., 0]) & possible
        if near.any():
            found.append((np.broadcast_to(centres[:, None], near.shape)[near], widths[near], measured[near]))
        significance[distance < 0.06] = -np.inf
    return found


def logits(measured: Array) -> Array:
    """Log odds of clipping for measures [..., 5]."""
    odds: Array = measured[..., 1:] @ WEIGHTS + BIAS
    return odds


def blurred_ceilings(levels: Levels) -> list[FoundCeiling]:
    """The likelihood of clipping at each pile of tops, the most likely first."""
    found = []
    for centres, widths, measured in candidates(levels):
        scores = logits(measured)
        best = int(scores.argmax())
        found.append(_located(levels, float(centres[best]), float(widths[best]), float(scores[best])))
    return sorted((each for each in found if each.num_clipped >= LEAST_CLIPPED), key=lambda each: -each.logit)


def _located(levels: Levels, centre: float, width: float, logit: float) -> FoundCeiling:
    """The ceiling of a pile: the mean level of what exceeds the flanks, whose density is that below; and how many samples that is."""
    edges = fine_index(centre * np.linspace(1 - width, 1 + width, 17))
    below = levels.time[fine_index(centre * (1 - 3 * width))] - levels.time[edges[0]]
    counts = -np.diff(levels.time[edges]).astype(np.float64)
    flank = np.where(np.arange(16) < 8, below / 16.0, 0.0)
    excess = np.maximum(counts - flank, 0.0)
    middles = centre * np.linspace(1 - width, 1 + width, 33)[1::2]
    level = float(excess @ middles / excess.sum()) if excess.sum() else centre
    return FoundCeiling(level, logit, float(max(levels.time[edges[0]] - 0.5 * below, 0.0)), width)
