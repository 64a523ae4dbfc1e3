"""Groups of songs and trends over songs, with intervals that carry both each song's own interval and the spread between songs.

How to use: one value a song, with its interval, and what it is grouped or ordered by. ``stemwright.separation.balance.song_values`` gives
them of a corpus or of measured songs.

    values = Values.of([-2.1, -0.4, 1.3], [-2.6, -1.0, 0.7], [-1.7, 0.1, 1.8])
    for group in compare_groups(values, ["rock", "rock", "pop"]): group.name, group.mean, group.low, group.high, group.against_others
    trend = fit_trend(values, [1961, 1974, 1990], per=10.0)          # trend.slope, .low, .high a decade; a Refused says why there is none

Conventions
    Values are float [N], one for each song; NaN is missing and left out. ``low`` and ``high`` are ends of an 80 % interval of the song's
    own value; where they are missing the value counts as exact, and only the spread between songs remains. All intervals are 80 %.
    A song's value has a variance of its own, s² = ((high - low) / 2z)², z = 1.2816, and one of the spread between songs, t², the same for
    all songs of a group. The songs' weights are 1 / (s² + t²). t² is such that the weighted squares of what is left are as many as degrees
    of freedom (Paule and Mandel): a song that is known exactly does not outweigh the others if songs differ. The interval of a mean is
    Student's, with n - 1 degrees of freedom. It is not narrower than the songs' own intervals allow, even where they happen to agree; so
    that of three songs covers more than it states, 0.9 where all of the spread is the songs' own error.
    What all songs have in common, such as a separator that reads every stem 0.3 LU low, no number of songs makes smaller; it cancels in
    differences and slopes.
    With intervals of 80 %, one of five differences between groups that are equal excludes zero.

References
    Paule and Mandel 1982, Journal of Research of the NBS 87, 377 (t²). Hartung and Knapp 2001, Statistics in Medicine 20, 3875 (Student's
    interval of a weighted mean). Welch 1947, Biometrika 34, 28 (degrees of freedom of a difference). Efron and Tibshirani 1993, An
    Introduction to the Bootstrap, ch. 9 (drawing whole songs). Cleveland 1979, JASA 74, 829 (local lines). The use: Gerdes and Siedenburg
    2023, JASA Express Letters 3, 043201 (lead vocals against accompaniment over the years).
"""

from __future__ import annotations

import math
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from stemwright.manifests.records import Refused

Array = NDArray[np.float64]

COVERAGE = 0.8  # of all intervals, as of those of levels
Z80 = 1.2815515655446004  # the normal distribution's quantile at 0.9
NEGLIGIBLE = 1e-12  # a variance: of songs that are exact and equal
FEWEST_FOR_TREND, FEWEST_FOR_DRAWS, FEWEST_YEARS = 3, 10, 5
DRAWS, AT_ONCE = 1000, 100  # bootstrap draws; as many at a time
GRID = 41  # points of a line
NEIGHBOURS = 0.6  # share of the songs that a local line is fitted to
NO_VALUE = ("", "unknown", "none", "n/a", "nan", "null", "-", "?")


@dataclass(frozen=True)
class Values:
    """One value a song with the 80 % interval of its own, each [N]; NaN where there is none."""

    value: Array
    low: Array
    high: Array

    @classmethod
    def of(cls, value: ArrayLike, low: ArrayLike | None = None, high: ArrayLike | None = None) -> Values:
        """The same from anything that gives arrays; None among them is NaN. Without intervals the values are exact."""
        values = np.asarray(value, np.float64)
        return cls(values, *(values if end is None else np.asarray(end, np.float64) for end in (low, high)))

    @property
    def known(self) -> NDArray[np.bool_]:
        """Which songs have a value, [N]."""
        return np.isfinite(self.value)

    @property
    def own(self) -> Array:
        """The variance of each value by its own interval, [N]; 0 where it has none."""
        width = self.high - self.low
        return np.square(np.where(np.isfinite(width), np.maximum(width, 0.0), 0.0) / (2 * Z80))

    def at(self, chosen: NDArray[np.generic]) -> Values:
        """Those of some songs."""
        return Values(self.value[chosen], self.low[chosen], self.high[chosen])


@dataclass(frozen=True)
class Interval:
    """A number with its 80 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class GroupMean:
    """The mean of a group's songs with its 80 % interval; ``spread`` is the standard deviation between its songs, without their own errors.

    Of one song mean and interval are its own, and there is no spread (None). ``against_others`` is the mean minus that of all other songs;
    None where either are fewer than two.
    """

    name: str
    songs: int
    mean: float
    low: float
    high: float
    spread: float | None
    against_others: Interval | None = None


@dataclass(frozen=True)
class BandedLine:
    """A line over ``at``, with an 80 % band, each [M]."""

    at: Array
    value: Array
    low: Array
    high: Array


@dataclass(frozen=True)
class Trend:
    """How values change with a number, such as the year: ``slope`` is for ``per`` of its units (10: a decade), with an 80 % interval.

    ``line`` is the weighted least-squares line; ``smooth`` follows the songs in between and shows where a line is wrong; None of few songs.
    ``spread`` is the standard deviation of the songs around the line, without their own errors.
    """

    songs: int
    first: float
    last: float
    per: float
    slope: float
    low: float
    high: float
    spread: float
    line: BandedLine
    smooth: BandedLine | None


def group_names(texts: Sequence[str | None]) -> list[str | None]:
    """The groups of songs by a column's texts, whatever their case, accents' composition and space: each under its most frequent spelling.

    None where a text is empty or says that it says nothing ("unknown").
    """
    keys = [" ".join(unicodedata.normalize("NFKC", text or "").casefold().split()) for text in texts]
    spellings: dict[str, Counter[str]] = defaultdict(Counter)
    for key, text in zip(keys, texts, strict=True):
        spellings[key][" ".join((text or "").split())] += 1
    names = {key: min(found, key=lambda text: (-found[text], text)) for key, found in spellings.items()}
    return [None if key in NO_VALUE else names[key] for key in keys]


def compare_groups(values: Values, groups: Sequence[str | None]) -> list[GroupMean]:
    """The mean of each group, and its difference from all other songs; the largest group first. Songs in no group (None) are left out.

    >>> from stemwright.separation.balance.groups import Values, compare_groups
    >>> rock, pop = compare_groups(Values.of([-1.0, 0.0, 1.0, 3.0, 4.0]), ["rock"] * 3 + ["pop"] * 2)
    >>> print(f"{pop.name}: {pop.mean:.1f} ({pop.low:.1f} to {pop.high:.1f}), {pop.against_others.value:+.1f} against others")
    pop: 3.5 (2.0 to 5.0), +3.5 against others
    """
    used = values.known & np.array([name is not None for name in groups], bool)
    named = np.array(["" if name is None else name for name in groups], object)
    counts = Counter(named[used].tolist())
    found = []
    for name in sorted(counts, key=lambda name: (-counts[name], name)):
        own, others = (mean_of(values.at(used & chosen)) for chosen in (named == name, named != name))
        found.append(GroupMean(name, own.songs, own.mean, own.low, own.high, own.spread, difference(own, others)))
    return found


def mean_of(values: Values, name: str = "") -> GroupMean:
    """The mean of songs with its interval; NaN of none."""
    values = values.at(values.known)
    count = values.value.size
    if count == 0:
        return GroupMean(name, 0, math.nan, math.nan, math.nan, None)
    if count == 1:
        low, high = (float(end[0]) if math.isfinite(end[0]) else float(values.value[0]) for end in (values.low, values.high))
        return GroupMean(name, 1, float(values.value[0]), low, high, None)
    between = between_variance(values.value, values.own, np.ones((count, 1)))
    weights = 1.0 / np.maximum(values.own + between, NEGLIGIBLE)
    mean = float(weights @ values.value / weights.sum())
    margin = student(count - 1) / math.sqrt(weights.sum())
    return GroupMean(name, count, mean, mean - margin, mean + margin, math.sqrt(between))


def difference(one: GroupMean, other: GroupMean) -> Interval | None:
    """The mean of one group minus that of another, with its interval (Welch); None where one has fewer than two songs."""
    if min(one.songs, other.songs) < 2:
        return None
    variances = [((group.high - group.mean) / student(group.songs - 1)) ** 2 for group in (one, other)]
    total = max(sum(variances), NEGLIGIBLE)
    freedom = total**2 / sum(max(v, NEGLIGIBLE) ** 2 / (group.songs - 1) for v, group in zip(variances, (one, other), strict=True))
    value, margin = one.mean - other.mean, student(freedom) * math.sqrt(total)
    return Interval(value, value - margin, value + margin)


def student(freedom: float) -> float:
    """Half the width of Student's 80 % interval, in standard errors."""
    from scipy.special import stdtrit

    return float(stdtrit(freedom, 0.5 + COVERAGE / 2))


def between_variance(value: Array, own: Array, design: Array) -> float:
    """The variance t² between songs [N] around the fit of a design [N, P], by Paule and Mandel; 0 where their own suffices."""
    freedom = value.size - design.shape[1]

    def excess(between: float) -> float:
        weights = 1.0 / np.maximum(own + between, NEGLIGIBLE)
        root = np.sqrt(weights)
        fitted = np.linalg.lstsq(design * root[:, None], value * root, rcond=None)[0]
        return float(weights @ np.square(value - design @ fitted)) - freedom

    if freedom < 1 or excess(0.0) <= 0.0:
        return 0.0
    low, high = 0.0, float(np.var(value)) * value.size / freedom + NEGLIGIBLE
    while excess(high) > 0.0:
        high *= 2.0
    for _ in range(60):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if excess(middle) > 0.0 else (low, middle)
    return 0.5 * (low + high)


def fit_trend(values: Values, at: ArrayLike, *, per: float = 1.0, rng: np.random.Generator | None = None) -> Trend:
    """The trend of values over a number for each song [N], such as its year; songs without one (NaN) are left out.

    Bands and the slope's interval are Student's, with the standard error by the songs' intervals and their spread, or from ten songs on
    that of whole songs drawn DRAWS times from ``rng`` (seed 0 by default), whichever is larger.
    Raises Refused for fewer than three songs, or songs that all have the same number.

    >>> from stemwright.separation.balance.groups import Values, fit_trend
    >>> trend = fit_trend(Values.of([5.0, 4.1, 2.9, 2.1, 0.9]), [1950, 1960, 1970, 1980, 1990], per=10.0)
    >>> print(f"{trend.slope:.2f} a decade ({trend.low:.2f} to {trend.high:.2f})")
    -1.02 a decade (-1.08 to -0.96)
    """
    places = np.asarray(at, np.float64)
    used = values.known & np.isfinite(places)
    values, places = values.at(used), places[used]
    if places.size < FEWEST_FOR_TREND or np.ptp(places) == 0:
        raise Refused(_no_trend(places))
    rng = rng if rng is not None else np.random.default_rng(0)
    order = np.argsort(places, kind="stable")
    values, places = values.at(order), places[order]
    middle = float(places.mean())
    design = np.stack([np.ones_like(places), places - middle], axis=1)
    own = values.own
    between = between_variance(values.value, own, design)
    variance = np.maximum(own + between, NEGLIGIBLE)
    grid = np.linspace(places[0], places[-1], GRID)
    counts = [_draw(rng, places.size) for _ in range(DRAWS // AT_ONCE)] if places.size >= FEWEST_FOR_DRAWS else []
    error = student(places.size - 2)
    line, slope, slope_error = _line(values.value, places, variance, grid, counts)
    margin = error * slope_error * per
    is_smooth = places.size >= FEWEST_FOR_DRAWS and np.unique(places).size >= FEWEST_YEARS
    return Trend(
        songs=places.size,
        first=float(places[0]),
        last=float(places[-1]),
        per=per,
        slope=slope * per,
        low=slope * per - margin,
        high=slope * per + margin,
        spread=math.sqrt(between),
        line=_banded(grid, *line, error),
        smooth=_banded(grid, *_smooth(values.value, places, variance, grid, counts), error) if is_smooth else None,
    )


def _no_trend(places: Array) -> str:
    if places.size < FEWEST_FOR_TREND:
        return f"a trend needs at least {FEWEST_FOR_TREND} songs with a number; got {places.size}"
    return f"a trend needs songs of different years or numbers; all {places.size} have {places[0]:g}"


def _banded(grid: Array, value: Array, deviation: Array, error: float) -> BandedLine:
    return BandedLine(grid, value, value - error * deviation, value + error * deviation)


def _draw(rng: np.random.Generator, count: int) -> Array:
    """How often each song is drawn, [AT_ONCE, N], in as many draws as there are songs, with replacement."""
    return rng.multinomial(count, np.full(count, 1.0 / count), size=AT_ONCE).astype(np.float64)


def _local(kernel: Array, value: Array, apart: Array, counts: Array) -> tuple[Array, Array]:
    """(value at the centre, slope) of weighted lines, [D, M], by how often each song counts [D, N].

    ``kernel`` has the weights of the songs for each of the lines [M, N], ``apart`` how far the songs are from its centre.
    """
    zero, one, two = (counts @ (kernel * apart**power).T for power in range(3))
    of_value, of_moment = counts @ (kernel * value).T, counts @ (kernel * apart * value).T
    determinant = zero * two - one * one
    is_line = determinant > 1e-9 * np.maximum(zero * two, 1e-300)  # else every song drawn is at one place: a mean
    safe = np.where(is_line, determinant, 1.0)
    level = np.where(is_line, (two * of_value - one * of_moment) / safe, of_value / np.maximum(zero, 1e-300))
    return level, np.where(is_line, (zero * of_moment - one * of_value) / safe, 0.0)


def _line(value: Array, places: Array, variance: Array, grid: Array, counts: Sequence[Array]) -> tuple[tuple[Array, Array], float, float]:
    """((value, standard error) over a grid, slope, its standard error) of the line through all songs."""
    middle = float(np.average(places, weights=1 / variance))
    kernel, apart = (1.0 / variance)[None], (places - middle)[None]
    level, slope = (float(found[0, 0]) for found in _local(kernel, value, apart, np.ones((1, value.size))))
    drawn = [_local(kernel, value, apart, each) for each in counts]
    away = grid - middle
    weight, moment = float(kernel.sum()), float((kernel * apart**2).sum())
    band, slope_error = np.sqrt(1 / weight + away**2 / moment), math.sqrt(1 / moment)
    if drawn:
        levels, slopes = (np.concatenate([each[part][:, 0] for each in drawn]) for part in (0, 1))
        band = np.maximum(band, _deviation(levels[:, None] + slopes[:, None] * away, value.size))
        slope_error = max(slope_error, float(_deviation(slopes, value.size)))
    return (level + slope * away, band), slope, slope_error


def _deviation(drawn: Array, count: int) -> Array:
    """The standard error by draws [D, ...] of so many songs: of the draws, which are as wide as if two more songs were known."""
    return np.asarray(np.std(drawn, axis=0) * math.sqrt(count / (count - 2)))


def _smooth(value: Array, places: Array, variance: Array, grid: Array, counts: Sequence[Array]) -> tuple[Array, Array]:
    """(value, standard error) over a grid of local lines, each through the nearest songs, nearer ones weighing more."""
    apart = places[None] - grid[:, None]
    nearest = np.sort(np.abs(apart), axis=1)[:, max(3, math.ceil(NEIGHBOURS * places.size)) - 1]
    few = np.sort(np.abs(np.unique(places)[None] - grid[:, None]), axis=1)[:, min(3, np.unique(places).size - 1)]
    reach = np.maximum(nearest, few)[:, None] * (1 + 1e-9)
    kernel = np.maximum(1 - (np.abs(apart) / reach) ** 3, 0.0) ** 3 / variance
    level, _ = _local(kernel, value, apart, np.ones((1, value.size)))
    levels = np.concatenate([_local(kernel, value, apart, each)[0] for each in counts])
    zero, one, two = (np.sum(kernel * apart**power, axis=1)[:, None] for power in range(3))
    shares = kernel * (two - one * apart) / (zero * two - one**2)  # of each song in the value at the centre
    return level[0], np.maximum(_deviation(levels, value.size), np.sqrt(np.sum(shares**2 * variance, axis=1)))
