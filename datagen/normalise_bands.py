"""The equaliser of an effect normalisation: bands enough to bring one spectrum near another, over several ``eq`` in a row.

What is compared is the energy around each band, so that there are as many numbers as gains, and each gain moves its own number
most. The step towards the wanted spectrum solves for the gains, without the direction that is a mere gain (all bands up together): a
step from where one has led finds nothing to do.

Conventions
    Spectra and responses are in dB at ``datagen.features.SPECTRUM_HZ``, [B]; their level is of no account. Gains are in dB, [N].
    A band that differs by more than ``FAR_DB`` is left alone: where a stem has nothing, nothing is raised.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from datagen.effects import eq
from datagen.effects.biquads import response
from datagen.effects.blind import Abstained, EqBands
from datagen.features import SPECTRUM_HZ
from manifests.records import EffectUse

Array = NDArray[np.floating]

EQUALISERS = 1
FAR_DB = 20.0
LEAST_EFFECT = 0.1  # of the strongest direction: what does less is left out
MOST_GAIN_DB = 24.0
FULL_STEP_DB = 6.0  # a larger step is taken shorter: far from the goal, gains do not add up
SAMPLE_RATE = 44_100


@dataclass(frozen=True)
class Bands:
    """Places and widths of the bands [N], the wanted spectrum, how much each frequency counts [B], what a dB of
    each band does [B, N], and which frequencies are around it, [N, B]: rows that sum to 1.
    """

    hz: Array
    q: Array
    wanted_db: Array
    weight: Array
    basis: Array
    around: Array

    @classmethod
    def spread_over(cls, typical: EqBands) -> Bands:
        """Bands over the frequencies in which stems of the name sound, all of which count alike."""
        counts = typical.weight > 0.0
        hz = np.array(SPECTRUM_HZ)[counts]
        number = 2 + 4 * EQUALISERS
        octaves = math.log2(hz[-1] / hz[0]) / number
        if octaves < 0.1:
            raise Abstained("stems of this name sound in too narrow a range of frequencies to be equalised")
        places = hz[0] * 2.0 ** (octaves * (np.arange(number) + 0.5))
        bell = float(np.clip(1.0 / (2.0 * math.sinh(0.5 * math.log(2.0) * octaves)), 0.3, 8.0))
        away = np.abs(np.log2(np.array(SPECTRUM_HZ) / places[:, None])) / octaves
        around = np.maximum(1.0 - away, 0.0) * counts
        q = np.array([0.71, *[bell] * (number - 2), 0.71])
        bands = cls(places, q, typical.middle_db, counts / counts.sum(), np.zeros(0), around)
        basis = np.stack([_response_db(bands.chain(6.0 * unit)) / 6.0 for unit in np.eye(number)], -1)
        return cls(places, q, typical.middle_db, bands.weight, basis, around)

    def step(self, spectrum_db: Array) -> tuple[Array, Array]:
        """The change of gains [N] that brings a spectrum towards the wanted one, and the change in dB around the bands that it means."""
        there = np.isfinite(spectrum_db) & (self.weight > 0.0)
        if there.sum() < 8:
            raise Abstained("the stem sounds in too few of the frequencies that are typical of its name")
        around = self.around * there
        near = around.sum(1) > 0.3 * self.around.sum(1)
        around = around[near] / around[near].sum(1, keepdims=True)
        power = around * 10.0 ** (np.where(there, spectrum_db, -200.0) / 10.0)
        typical = around * 10.0 ** (np.where(there, self.wanted_db, -200.0) / 10.0)
        wanted = 10.0 * np.log10(typical.sum(1) / power.sum(1))
        around = power / power.sum(1, keepdims=True)
        wanted -= np.median(wanted)
        near_enough = np.abs(wanted) < FAR_DB
        near[near] = near_enough
        wanted, effect = wanted[near_enough], (around @ self.basis)[near_enough][:, near]
        left, strength, right = np.linalg.svd(effect - effect.mean(0))
        kept = strength > LEAST_EFFECT * strength[0]
        more = np.zeros(len(self.hz))
        more[near] = right[kept].T @ ((left[:, : len(kept)][:, kept].T @ (wanted - wanted.mean())) / strength[kept])
        change = effect @ more[near]
        return more * min(1.0, FULL_STEP_DB / max(float(np.abs(more).max()), 1e-9)), change - change.mean()

    def within(self, gains_db: Array) -> Array:
        """The gains as the effect takes them."""
        return np.asarray(np.clip(np.round(gains_db, 3), -MOST_GAIN_DB, MOST_GAIN_DB))

    def chain(self, gains_db: Array) -> list[EffectUse]:
        """The equalisers: the outer bands are the shelves of the first, the peaks are shared out."""
        uses = []
        for number in range(EQUALISERS):
            bands = {f"peak{k + 1}": 1 + EQUALISERS * k + number for k in range(4)}
            if number == 0:
                bands |= {"low_shelf": 0, "high_shelf": len(self.hz) - 1}
            settings: dict[str, float | bool | str] = {}
            for band, index in bands.items():
                settings |= {f"{band}_gain_db": float(gains_db[index]), f"{band}_hz": round(float(self.hz[index]), 2)}
                settings[f"{band}_q"] = round(float(self.q[index]), 3)
            uses.append(EffectUse(effect="eq", settings=settings))
        return uses


def _response_db(chain: list[EffectUse]) -> Array:
    hz, gain = np.array(SPECTRUM_HZ), np.ones(len(SPECTRUM_HZ), complex)
    for use in chain:
        gain = gain * response(eq.sections(eq.Settings(**use.settings), SAMPLE_RATE), hz, SAMPLE_RATE)
    return np.asarray(20.0 * np.log10(np.abs(gain) + 1e-9))
