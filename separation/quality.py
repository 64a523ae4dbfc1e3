"""Quality of the stems of a track: closure of the sum, silence, copies of one another, clipping; accepted, or a reason.

Conventions
    A `Tally` is filled block by block, in order, with the mixture [C, t] and its stems [S, C, t]; energies are sums of squares over
    channels and frames.
    ``closure_db`` is the energy of mixture - sum(stems) over the energy of the mixture; None if they sum exactly (or the mixture is silent
    with them).
    Bleed between two stems is the correlation coefficient of their samples at lag 0: two good stems of one song rarely exceed 0.5, copies
    reach 1.
    Two measures of flat tops: ``clipped`` is the share of each channel at the ceilings that ``sw.detect_clipping`` finds, in lossy copies
    too (0 where it abstains). ``clipped_share``, which can refuse a track, is the share at the very extremes, of pulse waves as well: the
    detector abstains from these, since they are as flat unclipped.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from stemwright.manifests.records import Record, Refused
from stemwright.manifests.sound.formats import Audio

if TYPE_CHECKING:
    from stemwright.separation.clip_detection.ceilings import ClippingTally

EXACT = 2.0**-24  # half a step of 24 bits: a smaller difference vanishes in the written files
LEAST_CEILING = 0.01  # -40 dBFS: the extremes of a softer channel are few steps of 16 bits, and equal by rounding
CACHED_FRAMES = 1 << 14  # taken at a time: five stereo signals in float64 are 1.3 MB
FLAT_LEVEL = 0.9999  # of a channel's own extreme: 32,767 / 32,768 is at it as well


def _peak(audio: Audio) -> float:
    """The largest sample by magnitude, NaN if one is."""
    return float(max(audio.max(initial=0.0), -audio.min(initial=0.0)))


def _product(one: np.ndarray, other: np.ndarray) -> float:
    """The inner product of samples in float64; not by BLAS, whose threads would wait for one another on so few."""
    return float(np.einsum("n,n->", one.ravel(), other.ravel()))


class Tally:
    """Energies, peaks and correlations of a mixture and its stems, computed in one pass."""

    def __init__(self, stem_names: Sequence[str]) -> None:
        self.stem_names = tuple(stem_names)
        count = len(self.stem_names)
        self.num_samples = 0
        self.mixture_energy = 0.0
        self.residual_energy = 0.0
        self.residual_peak = 0.0
        self.mixture_peak = 0.0
        self.stem_peaks = np.zeros(count)
        self.products = np.zeros((count, count))  # inner products of all pairs of stems; their diagonal holds the energies
        self._ceilings: dict[int, np.ndarray] = {}  # the largest value so far of each channel, upwards (1) and downwards (-1)
        self._at_ceiling: dict[int, np.ndarray] = {}  # samples there that have such a neighbour
        self._sums = np.zeros(0)  # of the mixture's samples, by channel
        self._clipping: ClippingTally | None = None

    def add(self, mixture: Audio, stems: Audio) -> None:
        """Takes the next block: mixture [C, t], stems [S, C, t]. Raises Refused if a sample is not finite."""
        mixture = np.ascontiguousarray(mixture)
        self._sums = (self._sums if self._sums.size else np.zeros(len(mixture))) + mixture.sum(axis=1, dtype=np.float64)
        for start in range(0, mixture.shape[1], CACHED_FRAMES):
            self._add_cached(mixture[:, start : start + CACHED_FRAMES], stems[..., start : start + CACHED_FRAMES])
        for sign in (1, -1):
            self._count_ceiling(mixture, sign)
        if self._clipping is None:
            from stemwright.separation.clip_detection.ceilings import ClippingTally  # imports numba, which verbs without sound need not

            self._clipping = ClippingTally(len(mixture))
        self._clipping.add(mixture)

    def _add_cached(self, mixture: Audio, stems: Audio) -> None:
        """Takes so few frames that the processor's cache holds them in float64 until every figure is taken."""
        exact = stems.astype(np.float64)
        residual = mixture - exact.sum(axis=0)
        mixture_peak, residual_peak = _peak(mixture), _peak(residual)
        peaks = np.array([_peak(stem) for stem in exact])
        if not (np.isfinite(peaks).all() and math.isfinite(residual_peak)):
            raise Refused("a stem contains NaN or infinite samples; if the precision was bf16, try fp32")
        self.num_samples += mixture.size
        exact_mixture = mixture.astype(np.float64)
        self.mixture_energy += _product(exact_mixture, exact_mixture)
        self.residual_energy += _product(residual, residual)
        self.residual_peak = max(self.residual_peak, residual_peak)
        self.mixture_peak = max(self.mixture_peak, mixture_peak)
        self.stem_peaks = np.maximum(self.stem_peaks, peaks)
        for one, stem in enumerate(exact):
            for other in range(one + 1):
                self.products[one, other] += _product(stem, exact[other])
                self.products[other, one] = self.products[one, other]

    def _count_ceiling(self, mixture: Audio, sign: int) -> None:
        """Counts neighbours at the largest value of each channel [C, t]. A signal that is not clipped hardly has any."""
        before = self._ceilings.get(sign, np.zeros(len(mixture)))
        largest = np.maximum(mixture.max(axis=1, initial=0.0) if sign > 0 else -mixture.min(axis=1, initial=0.0), 0.0)
        ceiling = np.maximum(before, largest)
        level = ceiling * FLAT_LEVEL
        counted = self._at_ceiling.get(sign, np.zeros(len(mixture), np.int64))
        counted = np.where(before < level, 0, counted)  # what was counted was no ceiling
        for channel in np.flatnonzero((largest >= level) & (ceiling >= LEAST_CEILING)):
            high = mixture[channel] >= level[channel] if sign > 0 else mixture[channel] <= -level[channel]
            counted[channel] += np.count_nonzero(high[1:] & high[:-1])
        self._ceilings[sign], self._at_ceiling[sign] = ceiling, counted

    @property
    def peak(self) -> float:
        """The largest sample to be written: of any stem or of the residual."""
        return max(self.residual_peak, float(self.stem_peaks.max(initial=0.0)))

    @property
    def closure_db(self) -> float | None:
        """Energy of the residual against the mixture, in dB; None if there is no residual."""
        if self.residual_peak < EXACT:
            return None
        return round(10.0 * math.log10(self.residual_energy / max(self.mixture_energy, 1e-30)), 4)

    @property
    def clipped(self) -> tuple[float, ...]:
        """Share of the samples of each channel that are at ceilings of a clipper."""
        found = self._clipping.found() if self._clipping else ()
        return tuple(round(one.share, 7) for one in found)

    @property
    def clipped_share(self) -> float:
        """Share of the samples at the extremes of a channel beside another such sample, of the channel that has most."""
        per_channel = self.num_samples / max(1, len(self._sums))
        counted = sum(self._at_ceiling.values(), np.zeros(len(self._sums)))
        return max((round(float(count) / max(per_channel, 1), 7) for count in counted), default=0.0)

    @property
    def offsets(self) -> tuple[float, ...]:
        """Mean of each channel of the mixture: its constant offset."""
        return tuple(round(float(total) / max(self.num_samples / max(1, len(self._sums)), 1), 7) for total in self._sums)

    def bleed(self) -> tuple[float, str, str]:
        """The largest correlation coefficient between two stems, and their names; 0 and empty names if fewer than two are active."""
        energy = np.diag(self.products)
        sounding = np.flatnonzero(energy > 0)
        best = (0.0, "", "")
        for position, one in enumerate(sounding):
            for other in sounding[position + 1 :]:
                value = min(1.0, abs(float(self.products[one, other])) / math.sqrt(energy[one] * energy[other]))
                if value > best[0]:
                    best = (value, self.stem_names[one], self.stem_names[other])
        return best

    @property
    def figures(self) -> Figures:
        """The figures that ``assess`` checks."""
        no_stem = self.stem_peaks.max(initial=0.0) < EXACT
        value, *names = self.bleed()
        return Figures(
            silent="mixture" if self.mixture_peak < EXACT else "stems" if no_stem else None,
            closure_db=self.closure_db,
            bleed=value,
            bleed_of=tuple(names),
            clipped_share=self.clipped_share,
            clipped=self.clipped,
            offsets=self.offsets,
        )


class Figures(Record):
    """Quality figures of the stems of a track: stored beside them, so that other limits can be applied later."""

    silent: Literal["mixture", "stems"] | None
    closure_db: float | None
    bleed: float
    bleed_of: tuple[str, ...]
    clipped_share: float  # at the extremes of the channel that has most
    clipped: tuple[float, ...] = ()  # at ceilings of a clipper, of each channel of the mixture; empty: measured by an earlier version
    offsets: tuple[float, ...] = ()  # mean of each channel; empty as well


@dataclass(frozen=True)
class Limits:
    """Limits of acceptance. The defaults refuse only obvious errors."""

    closure_db: float = 1.0  # separators leave about -20 dB, multitracks less; stems of another song leave about +3 dB, none at all 0 dB
    bleed: float = 0.98  # correlation of two stems: copies, or one file given twice
    clipped_share: float = 0.05  # of all samples: square waves rather than music


@dataclass(frozen=True)
class Assessment:
    """Accepted, or the reason why not."""

    accepted: bool
    reason: str = ""


def assess(figures: Figures, limits: Limits | None = None) -> Assessment:
    """Checks the quality figures of a track's stems against the limits."""
    limits = limits or Limits()
    if figures.silent == "mixture":
        return Assessment(False, "the mixture is silent")
    if figures.silent == "stems":
        return Assessment(False, "every stem is silent, but the mixture is not")
    if figures.closure_db is not None and figures.closure_db > limits.closure_db:
        return Assessment(
            False,
            f"the stems leave a residual of {figures.closure_db:.1f} dB against the mixture; expected at most {limits.closure_db:.1f} dB. "
            "Are they stems of this mixture, in time with it? Dry stems whose levels in the mixture are not known, such as the microphones "
            "of a kit, need a higher separation.limits.closure_db",
        )
    if figures.bleed > limits.bleed:
        names = " and ".join(figures.bleed_of)
        return Assessment(
            False, f"stems {names} are the same signal (correlation {figures.bleed:.2f}, at most {limits.bleed:.2f} expected)"
        )
    if figures.clipped_share > limits.clipped_share:
        return Assessment(
            False,
            f"{figures.clipped_share:.1%} of the mixture's samples are clipped; expected at most {limits.clipped_share:.1%}",
        )
    return Assessment(True)
