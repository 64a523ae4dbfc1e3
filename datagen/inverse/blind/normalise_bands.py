"""The equaliser of an effect normalisation: enough bands to bring one spectrum close to another, over several ``eq`` in a row.

    wanted      Vᵀ Kᵀ W ρ(s - t) = 0

s is the spectrum of the result, t that of the profile, K what a dB of each band does, W the mean over where stems of the name sound, V the
strongest directions of gains (``LEAST_EFFECT``). These are as many equations as directions, and all but s follow from the profile alone:
once a result fulfils them, a second normalisation has the same equations, fulfilled, and finds nothing to do. That holds whatever the
gains were, whereas a least-squares fit leaves something to the next one unless gains add up exactly, and a ridge always does.
ρ(d) = d / (1 + (d / FAR_DB)²) after the median of d is taken off: the level is of no account, and where a stem has nothing, little is
raised. It has no step, and no direction comes and goes with the stem, so that the search settles. The equations are solved by damped
Newton steps on the fine spectrum of a result, without rendering; what a compressor does after the eq is met by the next round.

Conventions
    Spectra and responses are in dB at ``stemwright.datagen.inverse.blind.features.SPECTRUM_HZ``, [B]. The power in each band of a result is
    summed over groups of fine bins, [B, G]: single bins at low frequencies, ``GROUP_OCTAVES`` at high ones, over which responses hardly
    change.
    Gains are in dB, [N].
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stemwright.datagen.effects.deferred import torch
from stemwright.datagen.effects.dsp import biquads
from stemwright.datagen.inverse.blind.estimators import Abstained, EqBands
from stemwright.datagen.inverse.blind.features import SPECTRUM_HZ, fine_spectrum, triangles
from stemwright.manifests.records import EffectUse

Array = NDArray[np.floating]

EQUALISERS = 2
FAR_DB = 16.0
LEAST_EFFECT = 0.48  # of the strongest direction: six or seven of ten are left, whose gains hardly work against each other
MOST_GAIN_DB = 23.0
FULL_STEP_DB = 6.0  # a larger step is taken shorter: far from the goal, gains do not add up
STEPS, SOLVED_DB = 30, 0.005
SAMPLE_RATE = 44_100
GROUP_OCTAVES = 1 / 48


@dataclass(frozen=True)
class StemBands:
    """Places and widths of the bands [N], the wanted spectrum [B], where it counts [B], what a dB along each direction does [B, R], and
    the directions, [N, R].
    """

    hz: Array
    q: Array
    wanted_db: Array
    counts: NDArray[np.bool_]
    effect: Array
    directions: Array

    @classmethod
    def spread_over(cls, typical: EqBands) -> StemBands:
        """Bands over the frequencies in which stems of the name have energy, with equal weights."""
        counts = typical.weight > 0.0
        hz = np.array(SPECTRUM_HZ)[counts]
        number = 2 + 4 * EQUALISERS
        octaves = math.log2(hz[-1] / hz[0]) / number
        if octaves < 0.1:
            raise Abstained("stems of this name sound in too narrow a range of frequencies to be equalised")
        places = hz[0] * 2.0 ** (octaves * (np.arange(number) + 0.5))
        bell = float(np.clip(1.0 / (2.0 * math.sinh(0.5 * math.log(2.0) * octaves)), 0.3, 8.0))
        q = np.array([0.71, *[bell] * (number - 2), 0.71])
        bands = cls(places, q, typical.middle_db, counts, np.zeros(0), np.zeros(0))
        basis = bands._responses(np.full(number, 6.0), np.array(SPECTRUM_HZ), SAMPLE_RATE)[:, counts].T / 6.0
        left, strength, right = np.linalg.svd(basis - basis.mean(0), full_matrices=False)
        kept = strength > LEAST_EFFECT * strength[0]
        effect = np.zeros((len(counts), int(kept.sum())))
        effect[counts] = left[:, kept] * strength[kept]
        return cls(places, q, typical.middle_db, counts, effect, right[kept].T)

    def off_db(self, spectrum_db: Array) -> float:
        """The error of a spectrum [B] in the equations: the largest change in dB that a step would make."""
        return float(np.abs(self.effect @ self._step(spectrum_db)).max())

    def solve(self, audio: Array, sample_rate: int, gains_db: Array) -> Array:
        """The gains [N] with which the equations hold, from the audio [C, T] rendered with the present gains and what follows the eq."""
        powers, hz = _grouped(audio, sample_rate)
        powers = powers * 10.0 ** (-self._responses(gains_db, hz, sample_rate).sum(0) / 10.0)
        gains = np.array(gains_db, float)
        for _ in range(STEPS):
            spectrum, slopes = self._predicted(powers, hz, gains, sample_rate)
            if self.off_db(spectrum) < SOLVED_DB:
                break
            matrix = self.effect.T @ (slopes @ self.directions)
            more = self.directions @ np.linalg.solve(matrix, self.effect.T @ self._away(spectrum))
            more *= min(1.0, FULL_STEP_DB / max(float(np.abs(more).max()), 1e-9))
            gains = np.clip(gains + more, -MOST_GAIN_DB, MOST_GAIN_DB)
        return np.asarray(np.clip(np.round(gains, 3), -MOST_GAIN_DB, MOST_GAIN_DB))

    def _predicted(self, powers: Array, hz: Array, gains_db: Array, sample_rate: int) -> tuple[Array, Array]:
        """The spectrum [B] of powers [B, G] through these gains, and its change per dB of each band, [B, N]: 0 where it does not count."""
        responses = self._responses(gains_db, hz, sample_rate)
        slopes = (self._responses(gains_db + 0.5, hz, sample_rate) - responses) / 0.5
        through = powers * 10.0 ** (responses.sum(0) / 10.0)
        energy = through.sum(1)
        with np.errstate(divide="ignore"):
            spectrum = 10.0 * np.log10(energy)
        spectrum[~(energy > 0.0)] = np.nan
        change = (through @ slopes.T) / np.maximum(energy, 1e-30)[:, None]
        there = self.counts & np.isfinite(spectrum)
        change[~there] = 0.0
        change[there] -= change[there].mean(0)
        return spectrum, change

    def _away(self, spectrum_db: Array) -> Array:
        """ρ of wanted minus found, [B]; 0 where nothing is wanted or found."""
        there = np.isfinite(spectrum_db) & self.counts
        if there.sum() < 8:
            raise Abstained("the stem has energy in too few of the frequencies that are typical of its name")
        away = np.where(there, self.wanted_db - np.where(there, spectrum_db, 0.0), 0.0)
        away = np.where(there, away - np.median(away[there]), 0.0)
        return np.asarray(away / (1.0 + (away / FAR_DB) ** 2))

    def _step(self, spectrum_db: Array) -> Array:
        return np.asarray(np.linalg.solve(self.effect.T @ self.effect, self.effect.T @ self._away(spectrum_db)))

    def _responses(self, gains_db: Array, hz: Array, sample_rate: int) -> Array:
        """The response of each band in dB, [N, F]."""
        gains, places, widths = (np.asarray(values, float) for values in (gains_db, *self._written()))
        bells = biquads.peak(gains[1:-1], places[1:-1], widths[1:-1], sample_rate)
        low, high = (biquads.shelf(gains[at], places[at], widths[at], sample_rate, high=at != 0) for at in (0, -1))
        return biquads.responses_db(torch.cat([low[None], bells, high[None]]), hz, sample_rate)

    def _written(self) -> tuple[Array, Array]:
        """Frequencies and Q of the bands, rounded as in settings, [N] each."""
        return np.round(self.hz, 2), np.round(self.q, 3)

    def _place(self, index: int) -> tuple[int, str]:
        """The equaliser and the band of it that a band is: the outer ones are the shelves of the first, the peaks alternate."""
        if index in (0, len(self.hz) - 1):
            return 0, "low_shelf" if index == 0 else "high_shelf"
        return (index - 1) % EQUALISERS, f"peak{(index - 1) // EQUALISERS + 1}"

    def chain(self, gains_db: Array) -> list[EffectUse]:
        """The equalisers with these gains."""
        settings: list[dict[str, float | bool | str]] = [{} for _ in range(EQUALISERS)]
        for index, values in enumerate(zip(gains_db, *self._written(), strict=True)):
            number, band = self._place(index)
            settings[number] |= {f"{band}_{name}": float(value) for name, value in zip(("gain_db", "hz", "q"), values, strict=True)}
        return [EffectUse(effect="eq", settings=one) for one in settings]


def _grouped(audio: Array, sample_rate: int) -> tuple[Array, Array]:
    """The power of audio [C, T] in each band, group by group [B, G], and the mean frequencies of the groups [G] in Hz."""
    power, hz = fine_spectrum(audio, sample_rate)
    shapes, _ = triangles(hz, sample_rate)
    groups = np.round(np.log2(np.maximum(hz, hz[1])) / GROUP_OCTAVES)
    starts = np.flatnonzero(np.diff(groups, prepend=-np.inf))
    sizes = np.diff(starts, append=len(hz))
    return np.add.reduceat(shapes * power, starts, axis=1), np.add.reduceat(hz, starts) / sizes
