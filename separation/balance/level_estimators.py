"""How loud a stem is in its mixture, from the separated stem: three estimators and an 80 % interval.

    naive   loudness of the separated stem. A separator that minimises squared error shrinks its stems, E|ŝ|² = E|s|² - E|e|²: it is biased
    low. cross   gated loudness of the K-weighted cross-energy of stem and mixture. For uncorrelated sources and ŝ = E[s | x] its mean is
    E|s|²;
            positively correlated sources make it read high.
    point   between the two: cross, less a correction that grows with their gap up to a bound.

The constants of a ``Calibration`` were fitted by benchmarks/balance_accuracy.py on songs that no test uses. What a user's own multitracks
say about one separator is added to the point, as a ``Correction`` (``stemwright.separation.calibrating``).

Conventions
    Levels are in LU against the loudness of the mixture; arrays of levels have any shape. Blocks are mean squares of 0.4 s windows every
    100 ms, [N].

References
    Ward, Wierstorf, Mason, Plumbley, Hummersone 2017 (the quantity). ITU-R BS.1770-5, annex 1 (gating). The orthogonality principle of mean
    square estimation, E<s - ŝ, x> = 0, gives the cross estimator.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from stemwright.manifests.records import RESIDUAL
from stemwright.manifests.stem_names import FOUR_STEMS
from stemwright.separation.balance.basis import DEMONSTRATION, ESTIMATED, MEASURED, REFERENCE_ORIGIN, Basis, basis_of, model_of
from stemwright.separation.balance.image_intervals import BUNDLED_IMAGE, EXACT_IMAGE, OTHER_IMAGE, SEPARATED_IMAGE, ImageCalibration

Array = NDArray[np.floating]

ABSENT_LU = -30.0  # a separated stem quieter than this is leakage of a source that is absent
# What stems leave of a mixture is rarely of one stem and in phase with it. Of 288 levels in masters of songs that no table of
# benchmarks/multitracks.py uses, 85 of 100 need at most this share (its option --calibrate); where stems leak into each other a leak may
# have escaped, and 95 of 100 of 108 need at most the other.
CLOSURE_SHARE, LEAKING_SHARE = 0.25, 0.45
LEAST_SHARED = 0.9  # of the mixture's energy: stems that share less with it come from a separator that shrinks them


@dataclass(frozen=True)
class Margin:
    """Half an interval in LU by the gap between naive and cross: zero without a gap, growing to a bound, then a share of the gap.

    Without a gap there is neither separation error nor correlation to cause uncertainty. ``per_beyond`` is a further share of what a gap
    exceeds ``seen_lu`` by, the largest gap that the margin was fitted to.
    """

    bound_lu: float
    gap_lu: float
    per_gap: float
    least_lu: float = 0.0
    seen_lu: float = 0.0
    per_beyond: float = 0.0

    def at(self, gap_lu: Array) -> Array:
        """The margin at gaps of any shape."""
        gap = np.abs(gap_lu)
        plain = self.least_lu + self.bound_lu * (1 - np.exp(-gap / self.gap_lu)) + self.per_gap * gap
        return plain + self.per_beyond * np.maximum(gap - self.seen_lu, 0.0) if self.per_beyond else plain

    def times(self, factor: float, least_lu: float) -> Margin:
        """So many times as wide, ``least_lu`` besides."""
        return Margin(factor * self.bound_lu, self.gap_lu, factor * self.per_gap, factor * least_lu)


SHALLOWEST_LU, DEEPEST_LU = -3.0, 6.0  # gaps beyond count as these in a correction
MIDDLE_LU, PER_LEVEL_LU = -10.0, 10.0  # of levels: where the share of the gap does not depend on them, and in what unit it does


@dataclass(frozen=True)
class Correction:
    """What multitracks say about the levels of one separator: LU that are added to the point of a stem.

    For all stems, an offset and a share of the gap between naive and cross; that share changes with each 10 LU of level, and with the share
    of the mixture that the stems leave. ``stems`` are a further offset and share by name, and how many times as wide as those of all stems
    its intervals are: (name, offset_lu, per_gap, spread).
    """

    offset_lu: float = 0.0
    per_gap: float = 0.0
    per_level: float = 0.0
    per_left: float = 0.0
    stems: tuple[tuple[str, float, float, float], ...] = ()

    def at(self, name: str, naive_lu: Array, cross_lu: Array, left: float) -> Array:
        """The correction for finite levels of any shape; of a name that is not among ``stems``, that for all."""
        offset, share = next(((offset, share) for stem, offset, share, _ in self.stems if stem == name), (0.0, 0.0))
        one, gap, by_level, by_left = correction_terms(naive_lu, cross_lu, left)
        return (self.offset_lu + offset) * one + (self.per_gap + share) * gap + self.per_level * by_level + self.per_left * by_left

    def spread_of(self, name: str) -> float:
        """How many times as wide the intervals of a stem are; 1 for a name that is not among ``stems``."""
        return next((spread for stem, _, _, spread in self.stems if stem == name), 1.0)


def correction_terms(naive_lu: Array, cross_lu: Array, left: Array | float) -> Array:
    """What a ``Correction`` is a weighted sum of: one, the bounded gap, and its products with level and left; [4, ...]."""
    gap = np.clip(np.asarray(cross_lu) - naive_lu, SHALLOWEST_LU, DEEPEST_LU)
    level = (np.clip(cross_lu, ABSENT_LU, 0.0) - MIDDLE_LU) / PER_LEVEL_LU
    return np.stack([np.ones_like(gap), gap, gap * level, gap * np.clip(left, -0.5, 0.5)])


@dataclass(frozen=True)
class Calibration:
    """Where the point estimate is between naive and cross, and the interval around it, for a kind of stems.

    point = cross - correction_lu * (1 - exp(-gap / gap_lu)). ``low`` and ``high`` are for whole tracks, the others for windows of three
    seconds. A stem whose naive level is below ``absent_lu`` is not present. ``together`` names stems that must be given, for separators
    that leave much of the mixture to no stem: the cross-energies of all stems are then raised by one factor, so that their sum is the
    mixture's energy, as it is for uncorrelated sources. With a ``closure_share`` an interval is at least as wide as ``closure_margin``.
    ``image`` is for pan, width and the share of the time in which a stem plays; ``basis`` says what levels of this kind are called.
    ``absent_stems`` are levels instead of ``absent_lu`` for single stems, (name, level). ``leak`` is the share of the mixture that is
    subtracted from the stems before anything is measured (``stemwright.separation.balance.measure.without_leak``).
    ``leak_off`` is its possible error, as a share of itself; what is left of a soft stem depends on it: its interval is wider by
    ``leak_margin``.
    ``correction`` is added to the points of stems, ``rest_correction`` to those of everything but a stem. ``id`` says which calibration to
    one separator it is ("" for the ones here), ``songs`` on how many it was made.
    """

    correction_lu: float
    gap_lu: float
    low: Margin
    high: Margin
    window_low: Margin
    window_high: Margin
    absent_lu: float = ABSENT_LU
    together: tuple[str, ...] = ()
    closure_share: float = 0.0
    image: ImageCalibration = EXACT_IMAGE
    basis: Basis = ESTIMATED
    correction: Correction = Correction()
    rest_correction: Correction = Correction()
    id: str = ""
    songs: int = 0
    leak: float = 0.0
    absent_stems: tuple[tuple[str, float], ...] = ()
    leak_off: float = 0.0

    def without(self, names: Iterable[str]) -> tuple[str, ...]:
        """Which of these stems no song of this calibration has: their levels are corrected as those of all stems are on average."""
        known = {name for name, *_ in self.correction.stems}
        return tuple(name for name in names if name != RESIDUAL and name not in known) if self.id else ()

    def absent_below(self, name: str) -> float:
        """The naive level below which a stem is not present."""
        return next((level for stem, level in self.absent_stems if stem == name), self.absent_lu)


SEPARATED = Calibration(
    correction_lu=0.331,
    gap_lu=1.168,
    low=Margin(0.87, 0.5, 0.03),
    high=Margin(0.704, 1.0, 0.007),
    window_low=Margin(0.859, 0.5, 0.105),
    window_high=Margin(0.657, 1.0, 0.005),
    image=SEPARATED_IMAGE,
)
# Of a model that no calibration was made for: intervals that hold for masks of several kinds on real songs. Those of families of masks
# that were left out held 84 % (45 % where the mask takes much away, 94 % for ratios of powers): benchmarks/calibration.py --fit.
OTHER = replace(
    SEPARATED,
    low=Margin(0.0, 0.125, 0.603),
    high=Margin(0.713, 0.25, 0.234),
    window_low=Margin(0.0, 0.125, 0.683),
    window_high=Margin(0.713, 0.5, 0.24),
    image=OTHER_IMAGE,
)
# The bundled model is small: it shrinks its stems, and its levels are rough. On music unlike what it was trained on its errors hardly
# depend on the gap, and few exceed the true level: benchmarks/balance_accuracy.py --part bundled --fit.
BUNDLED = Calibration(
    correction_lu=0.0,
    gap_lu=0.962,
    low=Margin(1.839, 2.0, 0.0),
    high=Margin(3.03, 2.0, 0.282),
    window_low=Margin(3.173, 0.125, 0.0),
    window_high=Margin(4.259, 2.0, 0.0),
    absent_lu=-45.0,
    together=FOUR_STEMS,
    image=BUNDLED_IMAGE,
    basis=DEMONSTRATION,
)
_NOTHING = Margin(0.0, 1.0, 0.0)
REFERENCE = Calibration(
    math.inf, math.inf, *(_NOTHING,) * 4, absent_lu=-math.inf, closure_share=CLOSURE_SHARE, image=EXACT_IMAGE, basis=MEASURED
)
LEAKING = replace(REFERENCE, closure_share=LEAKING_SHARE)  # a multitrack's own, which hold parts of each other
GIVEN = replace(
    SEPARATED, closure_share=CLOSURE_SHARE
)  # from anywhere: a separator's, or a multitrack's own whose mixture has something else


def closure_margin(level_lu: Array | float, closure_db: float, share: float = CLOSURE_SHARE) -> Any:
    """Half the interval around the level of a multitrack's own stem, in LU, at the closure of all stems in dB.

    What the stems leave of the mixture would change this stem's level by at most 20 log10(1 + r), r its amplitude over the stem's, if all
    of it were this stem's, in phase; a ``share`` of r is taken. Zero for a stem that is not present.
    """
    level = np.asarray(level_lu, dtype=np.float64)
    apart = np.where(np.isfinite(level), closure_db - level, -np.inf)
    return 20.0 * np.log10(1.0 + share * 10.0 ** (apart / 20.0))


def suited(calibration: Calibration, closing_factor: float) -> Calibration:
    """The calibration to use if stems must be raised by a factor to sum to the mixture: SEPARATED is valid for good separators only."""
    is_poor = calibration in (SEPARATED, OTHER, GIVEN) and closing_factor > 1 / LEAST_SHARED
    return replace(BUNDLED, closure_share=calibration.closure_share, basis=calibration.basis) if is_poor else calibration


CALIBRATED = ("htdemucs", "hdemucs", "mdx")  # published models, for whose errors the oracle of the benchmarks stands
CALIBRATIONS = {"separated": SEPARATED, "bundled": BUNDLED, "reference": REFERENCE}


def calibration_named(name: str) -> Calibration:
    """A calibration by its name. Raises ValueError naming the known ones."""
    if name not in CALIBRATIONS:
        raise ValueError(f"expected a calibration of {', '.join(CALIBRATIONS)}; got {name!r}")
    return CALIBRATIONS[name]


def calibration_for(origin: str) -> Calibration:
    """The calibration for stems of an origin, as stem rows and separators give it: "reference", or a model's name and version."""
    if origin == REFERENCE_ORIGIN:
        return REFERENCE
    if basis_of(origin) == DEMONSTRATION:
        return BUNDLED
    return SEPARATED if model_of(origin).startswith(CALIBRATED) else OTHER


@dataclass(frozen=True)
class LevelEstimate:
    """The estimators for one stem, in LU against the mixture."""

    naive_lu: float
    cross_lu: float
    point_lu: float
    low_lu: float
    high_lu: float


def point_between(naive_lu: Array, cross_lu: Array, calibration: Calibration) -> Array:
    """The point estimate for finite levels of any shape; of a multitrack's own stems it is naive itself."""
    if math.isinf(calibration.correction_lu):
        return np.asarray(naive_lu, dtype=np.float64)
    gap = np.maximum(cross_lu - naive_lu, 0.0)
    return cross_lu - np.minimum(calibration.correction_lu * (1 - np.exp(-gap / calibration.gap_lu)), gap)


def interval_around(point_lu: Array, gap_lu: Array, low: Margin, high: Margin, spread: Array | float = 1.0) -> tuple[Array, Array]:
    """Ends of the interval around points whose naive and cross estimates differ by ``gap_lu``, ``spread`` times as wide as usual."""
    return point_lu - spread * low.at(gap_lu), point_lu + spread * high.at(gap_lu)


def leak_margin(cross_lu: Array, part: Array | float, calibration: Calibration) -> Array:
    """Half an interval in LU that an error of the leak adds, by the level that remains of a stem and its ``part`` of the mixture's leak, 1
    over the number of stems; zero where no leak is subtracted."""
    off = calibration.leak_off * calibration.leak / (1.0 - calibration.leak) * np.asarray(part, dtype=np.float64)
    return 10.0 * np.log10(1.0 + off * 10.0 ** (-np.asarray(cross_lu, dtype=np.float64) / 10.0))


class Shared(NamedTuple):
    """What a stem's level depends on besides its own energies: its name, and the share of the mixture that all stems leave; and where a
    leak is subtracted, the gap in LU before (the image is that of the stem as given), and 1 over the number of stems."""

    name: str = ""
    left: float = 0.0
    given_gap_lu: float | None = None
    part: float = 0.0


UNNAMED = Shared()


def estimate_level(
    stem_blocks: Array, cross_blocks: Array, mixture_lufs: float, calibration: Calibration, shared: Shared = UNNAMED, *, rest: bool = False
) -> LevelEstimate:
    """Level of a stem from its block energies and its block cross-energies with the mixture; negative cross-energies count as none.

    Where naive or cross is -inf, so are the point and its interval. ``rest``: of everything but the stem.
    """
    from stemwright.separation.loudness.meter import gated_loudness  # imports numba, which a list of calibrations does not need

    naive = gated_loudness(stem_blocks) - mixture_lufs
    cross = gated_loudness(np.maximum(cross_blocks, 0.0)) - mixture_lufs
    if not (math.isfinite(naive) and math.isfinite(cross)):
        return LevelEstimate(naive, cross, -math.inf, -math.inf, -math.inf)
    correction = calibration.rest_correction if rest else calibration.correction
    point = point_between(np.array(naive), np.array(cross), calibration) + correction.at(
        shared.name, np.array(naive), np.array(cross), shared.left
    )
    spread = correction.spread_of(shared.name)
    low, high = interval_around(point, np.array(cross - naive), calibration.low, calibration.high, spread)
    more_lu = 0.0 if rest else float(leak_margin(np.array(cross), shared.part, calibration))
    return LevelEstimate(naive, cross, float(point), float(low) - more_lu, float(high) + more_lu)
