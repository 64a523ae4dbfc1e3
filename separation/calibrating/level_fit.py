"""The estimator of levels, its intervals and the correction of pans for one separator, fitted to rows of multitracks.

    calibration = fit(rows, base)              # rows of ``measured_rows`` of several songs
    left_out = leave_one_out(rows, base)       # each song by the calibration that all others give

Levels: the error of the point of ``base`` is explained by a ``Correction``, found by ridge regression: each weight is shrunk towards 0 by
how large it usually is, so that few songs change little, and outliers count less. Where the correction does not help songs that it was
not fitted to, there is none. Intervals are those of ``base``, scaled until they contain the true levels of songs that they were not fitted
to, and of one more stem, which the interval of ``base`` just contains: conformal prediction, whose rank counts the stem to come.

Conventions
    Levels are in LU. A song is either fitted to or judged, with all its stems. Nothing is drawn at random.

References
    Hoerl and Kennard 1970 (ridge regression). Huber 1964 (weights of outliers). Lei et al. 2018 (intervals by the order statistics of
    residuals of data that were left out).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stemwright.separation.balance.image_intervals import ImageCalibration
from stemwright.separation.balance.level_estimators import (
    ABSENT_LU,
    BUNDLED,
    Calibration,
    Correction,
    Margin,
    calibration_for,
    correction_terms,
    leak_margin,
    point_between,
)
from stemwright.separation.calibrating.measured_rows import LEAKS, StemRow, is_poor
from stemwright.separation.calibrating.seen_pans import pan_holds, pan_squares, pan_times, seen_pan

Array = NDArray[np.floating]

FEWEST_SONGS = 5  # four songs to fit to when one is left out: the ninth of ten order statistics needs nine of their stems
FEWEST_STEMS = 10
FOLDS = 10  # of songs, to see how far a correction is off for songs that it was not fitted to
USUAL = (1.5, 0.5, 0.3, 0.5)  # standard deviations of the weights of ``correction_terms``, from separators of benchmarks/calibration.py
USUAL_OF_STEM = (1.0, 0.3)  # of the further offset and share of the gap of one stem
LEAST_NOISE_LU, HUBER, ROUNDS = 0.1, 1.5, 8  # errors beyond HUBER times the noise count less; rounds of reweighting
SPREADS = (0.3, 3.0)  # bounds of how many times as wide a stem's intervals are as those of all stems
LEAST_LU = 0.1  # half an interval at no gap, in units of the base's width
CHANCE = 0.5  # standard errors by which a correction or a leak must gain: with nine masks 1 misses leaks, and 0 finds some that are none
PSEUDO = 5  # rows as the base expects them, which shrink spreads of single stems towards it
PSEUDO_LEVELS = 1  # the same for intervals: with 5 those of levels contain 92 % of 74 levels by nine masks, with 1 82 %
SIDE = 0.9  # the share of true levels above the lower end, and of those below the upper one: 80 % are between
NOMINAL = 0.8  # the share of true pans within their intervals
PAN_USUAL, LEAST_PAN_NOISE, FEWEST_PANS = (0.5, 0.3), 0.02, 10
PAN_FACTORS = np.geomspace(0.25, 8.0, 41)
ABSENT_RANGE_LU = (-60.0, -15.0)  # bounds of the level below which a stem is called absent
FEWEST_ABSENT, APART_LU = 3, 3.0  # absent stems needed to fit that level; its least distance below the softest stem that is there


class TooFewSongsError(ValueError):
    """Fewer songs than a calibration can be judged by."""


def base_for(origin: str, rows: Sequence[StemRow]) -> Calibration:
    """What a calibration starts from: that of the origin of the stems, or where these leave much of their mixtures, of poor separators."""
    base = calibration_for(origin)
    return replace(BUNDLED, basis=base.basis) if is_poor(rows) else base


def check_songs(songs: int) -> None:
    """Raises TooFewSongsError where there are too few songs, whatever their stems: before any is separated."""
    if songs < FEWEST_SONGS:
        raise TooFewSongsError(f"expected at least {FEWEST_SONGS} songs, to leave one out and judge it by the others; got {songs}")


def check_enough(rows: Sequence[StemRow]) -> None:
    """Raises TooFewSongsError where there are too few to leave one song out."""
    present = [row for row in rows if row.present]
    songs = len({row.song for row in present})
    if songs < FEWEST_SONGS or len(present) < FEWEST_STEMS:
        silent = len({row.song for row in rows if row.true_lu > ABSENT_LU and not math.isfinite(row.plain.naive_lu)})
        said = f"; in {silent} of them stems that are present were separated as silence" if silent else ""
        raise TooFewSongsError(
            f"expected at least {FEWEST_SONGS} songs with {FEWEST_STEMS} stems in all that the model separates, to leave one out and judge "
            f"it by the others; got {songs} with {len(present)}, of {len({row.song for row in rows})} that were measured{said}. From about "
            "20 songs on, intervals are the model's own"
        )


@dataclass(frozen=True)
class LevelColumns:
    """Rows as columns, [N]: truth, naive and cross as the base takes them, the share that the stems leave, 1 over the number of stems; the
    name of each stem and its song."""

    true: Array
    naive: Array
    cross: Array
    left: Array
    part: Array
    names: tuple[str, ...]
    songs: tuple[str, ...]

    @property
    def gap(self) -> Array:
        """Cross less naive."""
        return self.cross - self.naive

    def some(self, chosen: NDArray[np.bool_]) -> LevelColumns:
        """Some of the rows."""
        columns = (self.true[chosen], self.naive[chosen], self.cross[chosen], self.left[chosen], self.part[chosen])
        names, songs = ([each for each, its in zip(texts, chosen, strict=True) if its] for texts in (self.names, self.songs))
        return LevelColumns(*columns, tuple(names), tuple(songs))

    def points(self, base: Calibration, correction: Correction) -> Array:
        """The points, corrected."""
        plain = point_between(self.naive, self.cross, base)
        return plain + correction_matrix(self, stem_names(correction)) @ weights_of(correction)


def levels_of(rows: Iterable[StemRow], base: Calibration, *, rest: bool = False) -> LevelColumns:
    """The levels of the rows that are present, of the stems or of everything else."""
    found: list[tuple[float, float, float, float, float, str, str]] = []
    for row in rows:
        its = row.raised if base.together else row.plain
        naive, cross, true = (*its[2:], row.rest_true_lu) if rest else (*its[:2], row.true_lu)
        if row.present and math.isfinite(naive) and math.isfinite(cross) and true > ABSENT_LU:
            found.append((true, naive, cross, row.left, row.share, row.stem, row.song))
    columns: list[Any] = list(zip(*found, strict=True)) if found else [()] * 7
    true, naive, cross, left, part = np.array(columns[:5], dtype=np.float64)
    return LevelColumns(true, naive, cross, left, part, tuple(columns[5]), tuple(columns[6]))


def windows_of(rows: Iterable[StemRow], base: Calibration) -> LevelColumns:
    """The levels of all windows."""
    parts = [row for row in rows if row.present and row.windows.shape[1]]
    if not parts:
        nothing = np.zeros(0)
        return LevelColumns(nothing, nothing, nothing, nothing, nothing, (), ())
    raise_lu = [10.0 * math.log10(row.factor) if base.together else 0.0 for row in parts]
    counts = [row.windows.shape[1] for row in parts]
    true, naive, cross = np.concatenate([row.windows for row in parts], axis=1)
    left, part = (np.repeat([getattr(row, name) for row in parts], counts) for name in ("left", "share"))
    names, songs = (
        tuple(getattr(row, name) for row, count in zip(parts, counts, strict=True) for _ in range(count)) for name in ("stem", "song")
    )
    return LevelColumns(true, naive, cross + np.repeat(raise_lu, counts), left, part, names, songs)


# ---------------------------------------------------------------- the correction


def stem_names(correction: Correction) -> tuple[str, ...]:
    """The stems that a correction has weights of their own for."""
    return tuple(name for name, *_ in correction.stems)


def correction_matrix(levels: LevelColumns, names: Sequence[str]) -> Array:
    """The terms of a correction for each row, [N, 4 + 2 S]: those for all stems, then one and gap for each of the names."""
    terms = correction_terms(levels.naive, levels.cross, levels.left)
    own = [term * np.array([each == name for each in levels.names], dtype=np.float64) for name in names for term in terms[:2]]
    return np.stack([*terms, *own], axis=1)


def weights_of(correction: Correction) -> Array:
    """The weights of ``correction_matrix``."""
    common = (correction.offset_lu, correction.per_gap, correction.per_level, correction.per_left)
    return np.array([*common, *(weight for _, offset_lu, per_gap, _ in correction.stems for weight in (offset_lu, per_gap))])


def fit_correction(levels: LevelColumns, base: Calibration) -> Correction:
    """The correction that explains what the base's points miss."""
    names = tuple(sorted(set(levels.names)))
    if not names:
        return Correction()
    matrix, missed = correction_matrix(levels, names), levels.true - point_between(levels.naive, levels.cross, base)
    found = robust_ridge(matrix, missed, np.array([*USUAL, *USUAL_OF_STEM * len(names)]), LEAST_NOISE_LU)
    common, own = found[:4], found[4:].reshape(-1, 2)
    stems = tuple((name, round(float(one), 4), round(float(gap), 4), 1.0) for name, (one, gap) in zip(names, own, strict=True))
    offset_lu, per_gap, per_level, per_left = (round(float(weight), 4) for weight in common)
    return Correction(offset_lu, per_gap, per_level, per_left, stems)


def robust_ridge(matrix: Array, values: Array, usual: Array, least_noise: float) -> Array:
    """The weights [K] of a matrix [N, K] whose sums are nearest to values [N]; each is usually as large as its ``usual``."""
    counted: Array = np.ones(values.size)
    noise = max(least_noise, float(np.sqrt(np.mean(values**2))) / 4)
    found: Array = np.zeros(matrix.shape[1])
    for _ in range(ROUNDS):
        weighted = matrix * (counted / noise**2)[:, None]
        found = np.linalg.solve(weighted.T @ matrix + np.diag(usual**-2.0), weighted.T @ values)
        missed = np.abs(values - matrix @ found)
        noise = max(least_noise, 1.4826 * float(np.median(missed)))
        counted = np.minimum(1.0, HUBER * noise / np.maximum(missed, 1e-9))
    return found


def folds_of(songs: Sequence[str]) -> Iterator[NDArray[np.bool_]]:
    """Which rows are left out, fold by fold: those of whole songs."""
    order = {song: number for number, song in enumerate(dict.fromkeys(songs))}
    numbers = np.array([order[song] for song in songs]) % max(1, min(FOLDS, len(order)))
    for fold in range(min(FOLDS, len(order))):
        yield numbers == fold


Parts = list[tuple[NDArray[np.bool_], Correction]]  # per fold: what is left out, and the correction of the others


def corrections_left_out(levels: LevelColumns, base: Calibration) -> tuple[Correction, Parts]:
    """The correction, and per fold what is left out with the correction of the others: none where it does not help what is left out."""
    parts = [(out, fit_correction(levels.some(~out), base)) for out in folds_of(levels.songs)]
    none = [(out, Correction()) for out, _ in parts]
    if is_better(errors_left_out(levels, base, parts), errors_left_out(levels, base, none)):
        return fit_correction(levels, base), parts
    return Correction(), none


def missed_by(levels: LevelColumns, base: Calibration, parts: Parts) -> Array:
    """The errors of the points of songs that are left out, [N], each with the correction of the others."""
    missed = np.zeros_like(levels.true)
    for out, correction in parts:
        some = levels.some(out)
        missed[out] = some.points(base, correction) - some.true
    return missed


def errors_left_out(levels: LevelColumns, base: Calibration, parts: Parts) -> dict[str, float]:
    """The mean square of ``missed_by`` for each song, as the figures that are shown have it."""
    squares, songs = missed_by(levels, base, parts) ** 2, np.array(levels.songs)
    return {song: float(np.mean(squares[songs == song])) for song in dict.fromkeys(levels.songs)}


def is_better(errors: Mapping[str, float], others: Mapping[str, float]) -> bool:
    """Whether mean squares by song are smaller than others: their sum, and the mean of their roots by more than CHANCE standard errors."""
    both = np.array([(others[song], errors[song]) for song in errors if song in others]).reshape(-1, 2)
    gain = np.sqrt(both[:, 0]) - np.sqrt(both[:, 1])
    smaller = float(both[:, 1].sum()) < float(both[:, 0].sum())
    return smaller and gain.size > 1 and float(gain.mean()) > CHANCE * float(gain.std(ddof=1)) / math.sqrt(gain.size)


def fit_leak(rows: Sequence[StemRow], base: Calibration) -> float:
    """The share of the mixture that leaks into all stems: the one with the least error of songs left out; 0 unless it is clearly less."""
    known = LEAKS if all(row.unleaked for row in rows) else ()
    errors: dict[float, dict[str, float]] = {}
    for leak in (0.0, *known):
        levels = levels_of([row.at(leak) for row in rows], base)
        if leak and len(levels.names) < len(levels_of(rows, base).names):
            break  # nothing would be left of a stem that is present
        errors[leak] = errors_left_out(levels, base, corrections_left_out(levels, base)[1])
    best = min(errors, key=lambda leak: sum(errors[leak].values()))
    return best if is_better(errors[best], errors[0.0]) else 0.0


# ---------------------------------------------------------------- intervals


def leak_off(leak: float) -> float:
    """By what share of itself a leak that was chosen from LEAKS may be off: half of the way to the farther of its neighbours."""
    if not leak:
        return 0.0
    at, known = LEAKS.index(leak), (0.0, *LEAKS)
    return round(max(abs(other - leak) for other in known[at : at + 3]) / 2 / leak, 4)


def beyond_leak(missed: Array, levels: LevelColumns, calibration: Calibration) -> Array:
    """What errors [N] exceed the part of their intervals by that is for an error of the leak."""
    return np.sign(missed) * np.maximum(np.abs(missed) - leak_margin(levels.cross, levels.part, calibration), 0.0)


def with_spreads(correction: Correction, levels: LevelColumns, missed: Array, base: Calibration) -> Correction:
    """The correction with the spread of each stem: by the median error of its points against that of all, drawn to 1 where rows are few."""
    units = np.abs(missed) / (base.low.at(levels.gap) + base.high.at(levels.gap) + 2 * LEAST_LU)
    usual, found = max(float(np.median(units)), 1e-3), []
    known = {name: (offset_lu, per_gap) for name, offset_lu, per_gap, _ in correction.stems}
    for name in sorted(set(levels.names)):
        own = units[np.array([each == name for each in levels.names])]
        ratio = float(np.clip(np.median(own) / usual, *SPREADS))
        found.append((name, *known.get(name, (0.0, 0.0)), round(ratio ** (own.size / (own.size + PSEUDO)), 4)))
    return replace(correction, stems=tuple(found))


def spreads_of(correction: Correction, names: Sequence[str]) -> Array:
    """The spread of each row, by the name of its stem."""
    spreads = {name: spread for name, _, _, spread in correction.stems}
    return np.array([spreads.get(name, 1.0) for name in names])


def factor_of(excess: Array, gap: Array, margin: Margin, each: int) -> float:
    """How many times as wide a margin has to be for SIDE of the excesses [N] to stay below it; so many as ``each`` count as one."""
    units = excess / (margin.at(gap) + LEAST_LU)
    needed = np.sort(np.concatenate([np.maximum(units, 0.0), np.ones(PSEUDO_LEVELS * each)]))
    return float(needed[min(math.ceil(SIDE * (needed.size + each)), needed.size) - 1])


def fitted_margins(missed: Array, gap: Array, low: Margin, high: Margin, each: int = 1) -> tuple[Margin, Margin]:
    """The margins for points that are off by ``missed`` [N], of songs left out; so many as ``each``, of one stem, count as one.

    Beyond the largest gap of these they grow as those of the base do: what the songs say ends there.
    """
    return tuple(  # type: ignore[return-value]
        _to_gap(margin.times(factor_of(excess, gap, margin, each), LEAST_LU), gap, margin)
        for excess, margin in ((missed, low), (-missed, high))
    )


def _to_gap(found: Margin, gap: Array, base: Margin) -> Margin:
    """A fitted margin, rounded, that is known up to the largest of these gaps [N]."""
    seen_lu, per_beyond = float(np.max(np.abs(gap), initial=0.0)), max(0.0, base.per_gap - found.per_gap)
    return Margin(*(round(value, 4) for value in (found.bound_lu, found.gap_lu, found.per_gap, found.least_lu, seen_lu, per_beyond)))


def fit(rows: Sequence[StemRow], base: Calibration) -> Calibration:
    """The calibration to the separator of the rows. Raises ValueError for no stem that is present."""
    if not levels_of(rows, base).names:
        raise ValueError("expected rows of stems that are present, got none")
    leak, given = fit_leak(rows, base), rows
    rows = [row.at(leak) for row in rows]
    levels, rest, windows = levels_of(rows, base), levels_of(rows, base, rest=True), windows_of(rows, base)
    correction, parts = corrections_left_out(levels, base)
    missed = missed_by(levels, base, parts)
    correction = with_spreads(correction, levels, missed, base)
    leaking = replace(base, leak=leak, leak_off=leak_off(leak))
    missed = beyond_leak(missed, levels, leaking) / spreads_of(correction, levels.names)
    low, high = fitted_margins(missed, levels.gap, base.low, base.high)
    in_windows = np.zeros_like(windows.true)
    for out, its in parts:
        songs = {song for song, left_out in zip(levels.songs, out, strict=True) if left_out}
        some = np.array([song in songs for song in windows.songs], dtype=bool)
        in_windows[some] = windows.some(some).points(base, its) - windows.some(some).true
    in_windows = beyond_leak(in_windows, windows, leaking) / spreads_of(correction, windows.names)
    window_low, window_high = fitted_margins(
        in_windows, windows.gap, base.window_low, base.window_high, math.ceil(len(windows.names) / len(levels.names)) or 1
    )
    rest_correction = corrections_left_out(rest, base)[0] if rest.names else Correction()
    names = sorted({row.stem for row in rows})
    return replace(
        leaking,
        correction=correction,
        rest_correction=rest_correction,
        low=low,
        high=high,
        window_low=window_low,
        window_high=window_high,
        absent_stems=tuple((name, absent_below([row for row in rows if row.stem == name], base.absent_lu)) for name in names),
        image=fit_pan(given, base),
        songs=len(set(levels.songs)),
    )


def absent_below(rows: Sequence[StemRow], usual_lu: float) -> float:
    """The level below which a separated stem is not in the mixture: between what is left in stems that are not there, and those that are.

    Without some of the former, ``usual_lu``, but below all that are there.
    """
    there = [row.plain.naive_lu for row in rows if row.present]
    absent = [row.plain.naive_lu for row in rows if row.true_lu <= ABSENT_LU and math.isfinite(row.plain.naive_lu)]
    if len(absent) < FEWEST_ABSENT:
        return round(min(usual_lu, min(there, default=0.0) - APART_LU), 2)
    levels = np.sort([*there, *absent])
    between = [levels[0] - APART_LU, *((levels[1:] + levels[:-1]) / 2), levels[-1] + APART_LU]
    # Calling a stem absent that is there counts twice: its level is lost.
    wrong = [sum(level < at for level in there) * 2 + sum(level >= at for level in absent) for at in between]
    best = [at for at, count in zip(between, wrong, strict=True) if count == min(wrong)]
    return round(float(np.clip(np.median(best), *ABSENT_RANGE_LU)), 2)


# ---------------------------------------------------------------- pans


def fit_pan(rows: Sequence[StemRow], base: Calibration) -> ImageCalibration:
    """The correction of pans and their interval, by rows of stems as given; that of the base where few have a pan, and where no interval
    contains the pans of songs left out as often as the base's does."""
    some = [row for row in rows if row.present and row.pan is not None and row.true_pan is not None and row.shared_pan is not None]
    if len(some) < FEWEST_PANS:
        return base.image
    found, parts = _pan_weights(some, base.image), []
    for out in folds_of([row.song for row in some]):
        weights = _pan_weights([row for row, its in zip(some, out, strict=True) if not its], base.image)
        parts += [(seen_pan(row, base), weights) for row, its in zip(some, out, strict=True) if its]
    generic = [(seen, base.image) for seen, _ in parts]
    if not is_better(pan_squares(parts), pan_squares(generic)):
        found, parts = base.image, generic
    needed = math.ceil(NOMINAL * (len(some) + PSEUDO_LEVELS + 1))  # of those, of what the base expects, and of the stem to come
    for factor in map(float, PAN_FACTORS):
        held = sum(pan_holds(seen, pan_times(image, factor)) for seen, image in parts)
        if held + PSEUDO_LEVELS * (factor >= 1.0) >= needed:
            return pan_times(found, factor)
    generic_held = sum(pan_holds(*each) for each in generic)
    return base.image if held < generic_held else pan_times(found, factor)


def _pan_weights(rows: Sequence[StemRow], base: ImageCalibration) -> ImageCalibration:
    pan, shared, true = (np.array([getattr(row, name) for row in rows], dtype=np.float64) for name in ("pan", "shared_pan", "true_pan"))
    weights = robust_ridge(np.stack([shared - pan, pan], axis=1), true - pan, np.array(PAN_USUAL), LEAST_PAN_NOISE)
    return replace(base, to_shared=round(float(weights[0]), 4), outwards=round(float(weights[1]), 4))
