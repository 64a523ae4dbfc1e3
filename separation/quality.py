"""Quality of the stems of a track: closure of the sum, silence, copies of one another, clipping; accepted, or a reason.

Conventions
    A `Tally` is filled block by block, in order, with the mixture [C, t] and its stems [S, C, t]; energies are sums of squares over
    channels and frames.
    ``closure_db`` is the energy of mixture - sum(stems) over the energy of the mixture; None if they sum exactly (or the mixture is silent
    with them).
    Bleed between two stems is the correlation coefficient of their samples at lag 0: two good stems of one song rarely exceed 0.5, copies
    reach 1.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from stemwright.manifests.records import Record, Refused
from stemwright.manifests.sound.formats import Audio

EXACT = 2.0**-24  # half a step of 24 bits: a smaller difference vanishes in the written files
LEAST_CEILING = 0.01  # -40 dBFS: the extremes of a softer channel are few steps of 16 bits, and equal by rounding
CLIP_LEVEL = 0.9999  # of a channel's own extreme: lossless masters clip at 32,767 / 32,768, and others were turned down afterwards


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

    def add(self, mixture: Audio, stems: Audio) -> None:
        """Takes the next block: mixture [C, t], stems [S, C, t]. Raises Refused if a sample is not finite."""
        residual = mixture - stems.sum(axis=0, dtype=np.float64)
        flat = stems.reshape(len(self.stem_names), -1).astype(np.float64)
        peaks = np.abs(flat).max(axis=1, initial=0.0)
        if not (np.isfinite(peaks).all() and np.isfinite(residual).all()):
            raise Refused("a stem contains NaN or infinite samples; if the precision was bf16, try fp32")
        self.num_samples += mixture.size
        self.mixture_energy += float(np.sum(np.square(mixture, dtype=np.float64)))
        self.residual_energy += float(np.sum(np.square(residual, dtype=np.float64)))
        self.residual_peak = max(self.residual_peak, float(np.abs(residual).max(initial=0.0)))
        self.mixture_peak = max(self.mixture_peak, float(np.abs(mixture).max(initial=0.0)))
        self._sums = (self._sums if self._sums.size else np.zeros(len(mixture))) + mixture.sum(axis=1, dtype=np.float64)
        self.stem_peaks = np.maximum(self.stem_peaks, peaks)
        self.products += flat @ flat.T
        for sign in (1, -1):
            self._count_ceiling(mixture * sign if sign < 0 else mixture, sign)

    def _count_ceiling(self, mixture: Audio, sign: int) -> None:
        """Counts neighbours at the largest value of each channel [C, t]. A signal that is not clipped hardly has any."""
        before = self._ceilings.get(sign, np.zeros(len(mixture)))
        ceiling = np.maximum(before, mixture.max(axis=1, initial=0.0))
        counted = self._at_ceiling.get(sign, np.zeros(len(mixture), np.int64))
        counted = np.where(before < ceiling * CLIP_LEVEL, 0, counted)  # what was counted was no ceiling
        high = (mixture >= ceiling[:, None] * CLIP_LEVEL) & (ceiling[:, None] >= LEAST_CEILING)
        self._ceilings[sign] = ceiling
        self._at_ceiling[sign] = counted + np.count_nonzero(high[:, 1:] & high[:, :-1], axis=1)

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
        """Share of the samples of each channel that are at its extremes beside another such sample."""
        per_channel = self.num_samples / max(1, len(self._sums))
        counted = sum(self._at_ceiling.values(), np.zeros(len(self._sums)))
        return tuple(round(float(count) / max(per_channel, 1), 7) for count in counted)

    @property
    def clipped_share(self) -> float:
        """That share of the channel which has most."""
        return max(self.clipped, default=0.0)

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
    clipped_share: float  # of the channel that has most
    clipped: tuple[float, ...] = ()  # of each channel of the mixture; empty: measured by an earlier version
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
            "Are they stems of this mixture, in time with it?",
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
