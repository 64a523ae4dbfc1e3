"""Whether recordings keep a rule: each by itself, and of several the share that does, with an interval that carries each one's own.

A share has two doubts: how many songs there are, and how certain each value is. Both are drawn together: each value from a normal
distribution in two halves that has its 80 % interval, then the share from the beta distribution of so many songs in the range and so many
out of it (Jeffreys' prior). A bootstrap over the songs would give five songs that all keep a rule an interval without width. Medians and
trends are bootstrapped over the songs, with values drawn in the same way.

Conventions
    Intervals contain the true value in four cases of five. A rule about genres or years is not about a song whose own are others; where
    these are not known, nothing is decided.

References
    Brown, Cai and DasGupta 2001 (Jeffreys' interval of a share). Efron 1979 (bootstrap).
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from stemwright.separation.balance.basis import MEASURED, REFERENCE_ORIGIN, Basis
from stemwright.separation.rules.quantities import Measured, unmeasured
from stemwright.separation.rules.rule import DECADE, YEAR, Rule

Array = NDArray[np.floating]

YES, NO, UNDECIDED, NOT_MEASURED, ELSEWHERE = "yes", "no", "undecided", "not measured", "not about it"
DRAWS, FEWEST_DRAWS, MOST_NUMBERS = 2000, 100, 4_000_000  # draws of a corpus: fewer of many songs, whose intervals are narrow
TAIL = 10.0  # percent of the draws on each side of an interval
DEVIATIONS = 1.2816  # standard deviations from the middle of a normal distribution to the end of its 80 % interval
FEWEST = 5  # songs of a trend
TREND_ALONE = "a trend needs several songs"
TOO_FEW = "a trend needs at least {} songs that differ in {}; there are {}"


@dataclass(frozen=True)
class Song:
    """A recording with what was measured of it by the names of quantities; the year and the genre are those that are known.

    ``basis`` and ``origin`` say what the values of stems rest on, as those of a balance do; ``path`` is the mixture's file.
    """

    title: str
    measured: Mapping[str, Measured]
    year: int | None = None
    genre: str | None = None
    basis: Basis = MEASURED
    origin: str = REFERENCE_ORIGIN
    path: str = ""


class Verdict(NamedTuple):
    """Whether one song keeps a rule: ``kept`` is one of the words above, ``why`` the reason where it is neither yes nor no."""

    rule: Rule
    measured: Measured
    kept: str
    why: str = ""


class Kept(NamedTuple):
    """Whether songs keep a rule: how many are decided by their values, the share that keeps it, and the median, or the trend."""

    rule: Rule
    songs: int
    about: int
    share: Measured
    middle: Measured
    kept: str
    why: str = ""


def quantities_of(rules: Sequence[Rule], songs: int) -> list[str]:
    """The quantities that rules need of so many songs: those about trends only where these are enough."""
    trends = songs >= FEWEST
    needed = {rule.quantity for rule in rules if rule.quantity and (trends or not rule.against)}
    needed |= {rule.against for rule in rules if rule.against not in ("", YEAR) and trends}
    return sorted(needed)


def verdict(rule: Rule, song: Song) -> Verdict:
    """Whether a song keeps a rule."""
    if not rule.quantity:
        return Verdict(rule, unmeasured(rule.not_measured), NOT_MEASURED, rule.not_measured)
    if rule.against:
        return Verdict(rule, unmeasured(TREND_ALONE), NOT_MEASURED, TREND_ALONE)
    if applies := about(rule, song):
        kept, why = applies
        return Verdict(rule, song.measured[rule.quantity] if kept == NOT_MEASURED else unmeasured(why), kept, why)
    measured = song.measured[rule.quantity]
    return Verdict(rule, measured, within(rule, measured), measured.why)


def within(rule: Rule, measured: Measured) -> str:
    """Whether an interval is in the range of a rule: undecided where it is partly."""
    if measured.value is None or measured.low is None or measured.high is None:
        return NOT_MEASURED
    low = -math.inf if rule.low is None else rule.low
    high = math.inf if rule.high is None else rule.high
    if measured.high < low or measured.low > high:
        return NO
    return YES if low <= measured.low and measured.high <= high else UNDECIDED


def about(rule: Rule, song: Song) -> tuple[str, str] | None:
    """Why a rule says nothing of a song, by the song's genre and year; None: it does."""
    first, last = rule.years
    if (first is not None or last is not None) and song.year is None:
        return NOT_MEASURED, "the year is not known"
    if song.year is not None and not (first or -math.inf) <= song.year <= (last or math.inf):
        return ELSEWHERE, f"it {rule.applies_text()}; this song is of {song.year}"
    if rule.genres and not song.genre:
        return NOT_MEASURED, "the genre is not known"
    if rule.genres and not any(_is_genre(genre, song.genre or "") for genre in rule.genres):
        return ELSEWHERE, f"it {rule.applies_text()}; this song is {song.genre}"
    return None


def _is_genre(genre: str, named: str) -> bool:
    """Whether what a song is called has all words of a genre: "Pop/Rock" is pop, "hip-hop" is hip hop."""
    words = set(re.findall(r"[^\W_]+", named.lower()))
    return set(genre.split()) <= words


def share_kept(rule: Rule, songs: Sequence[Song], seed: int = 0) -> Kept:
    """The share of songs that keep a rule, or of a rule about a trend, whether their trend does. ``seed`` is that of the draws."""
    if not rule.quantity:
        return _nothing(rule, 0, rule.not_measured)
    rng = np.random.default_rng(seed)
    there = [song for song in songs if about(rule, song) is None]
    if not there:
        reasons = sorted({reason for song in songs if (reason := about(rule, song))})
        unknown = [why for kept, why in reasons if kept == NOT_MEASURED]
        return _nothing(rule, 0, unknown[0] if unknown else f"it {rule.applies_text()}")
    if rule.against:
        return _trend(rule, there, rng)
    measured = [song.measured[rule.quantity] for song in there]
    known = [each for each in measured if each.value is not None]
    if not known:
        return _nothing(rule, len(there), measured[0].why)
    values = drawn(known, rng)
    low = -math.inf if rule.low is None else rule.low
    high = math.inf if rule.high is None else rule.high
    yes = np.sum((values >= low) & (values <= high), axis=1)
    shares = rng.beta(yes + 0.5, len(known) - yes + 0.5)
    point = float(np.mean([low <= each.value <= high for each in known if each.value is not None]))
    share = Measured(point, *_ends(shares, point))
    picks = rng.integers(0, len(known), values.shape)
    middle = float(np.median([each.value for each in known if each.value is not None]))
    medians = np.median(np.take_along_axis(values, picks, axis=1), axis=1)
    kept = _majority(share)
    return Kept(rule, len(known), len(there), share, Measured(middle, *_ends(medians, middle)), kept)


def _majority(share: Measured) -> str:
    """Whether more than half of songs keep a rule."""
    low, high = share.low or 0.0, share.high or 0.0
    return YES if low > 0.5 else NO if high < 0.5 else UNDECIDED


def _nothing(rule: Rule, about_it: int, why: str) -> Kept:
    return Kept(rule, 0, about_it, unmeasured(why), unmeasured(why), NOT_MEASURED, why)


def _ends(draws: Array, point: float) -> tuple[float, float]:
    """The interval of draws, which contains the point."""
    low, high = np.percentile(draws, [TAIL, 100.0 - TAIL])
    return min(float(low), point), max(float(high), point)


def _num_draws(songs: int) -> int:
    return max(FEWEST_DRAWS, min(DRAWS, MOST_NUMBERS // max(1, songs)))


def drawn(measured: Sequence[Measured], rng: np.random.Generator) -> Array:
    """Values drawn from the intervals of N measurements, [D, N]: normal, with a deviation below the value and one above it."""
    value, low, high = (np.array([getattr(each, end) for each in measured], float) for end in ("value", "low", "high"))
    normal = rng.standard_normal((_num_draws(len(measured)), len(measured)))
    return np.asarray(value + normal * np.where(normal < 0, value - low, high - value) / DEVIATIONS)


def _trend(rule: Rule, songs: Sequence[Song], rng: np.random.Generator) -> Kept:
    """The slope of a rule's quantity over the year, a decade, or over another quantity, a unit."""
    words = "the year" if rule.against == YEAR else rule.against
    if len(songs) < FEWEST:  # whose quantities may not have been measured
        return _nothing(rule, len(songs), TOO_FEW.format(FEWEST, words, len(songs)))
    exact = [None if song.year is None else Measured(song.year / DECADE, song.year / DECADE, song.year / DECADE) for song in songs]
    over = exact if rule.against == YEAR else [song.measured[rule.against] for song in songs]
    pairs = [
        (x, song.measured[rule.quantity])
        for x, song in zip(over, songs, strict=True)
        if x is not None and x.value is not None and song.measured[rule.quantity].value is not None
    ]
    if len(pairs) < FEWEST or len({x.value for x, _ in pairs}) < 2:
        return _nothing(rule, len(songs), TOO_FEW.format(FEWEST, words, len(pairs)))
    xs, ys = ([pair[n] for pair in pairs] for n in (0, 1))
    picks = rng.integers(0, len(pairs), (_num_draws(len(pairs)), len(pairs)))
    x, y = (np.take_along_axis(drawn(each, rng), picks, axis=1) for each in (xs, ys))
    slopes = _slopes(x, y)
    point = float(_slopes(*(np.array([[each.value for each in column]], float) for column in (xs, ys)))[0])
    found = Measured(point, *_ends(slopes[np.isfinite(slopes)], point))
    return Kept(rule, len(pairs), len(songs), unmeasured(TREND_ALONE), found, within(rule, found))


def _slopes(x: Array, y: Array) -> Array:
    """Slopes [D] of least squares through points [D, N]; NaN where all x are equal."""
    x, y = x - x.mean(axis=1, keepdims=True), y - y.mean(axis=1, keepdims=True)
    spread = np.sum(x**2, axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(spread > 0, np.sum(x * y, axis=1) / spread, np.nan)
