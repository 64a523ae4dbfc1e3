"""Inner products of a mixture and its stems, channel by channel, and the gains, swapped channels and copies that follow from them.

Conventions
    Rows of a matrix of products are the channels of the mixture, then those of the stems, one stem after another. Products are summed over
    groups of frames, of which at most ``MOST_GROUPS`` are kept: a longer song has longer groups, not more memory.
    Gains are factors. Their errors are standard errors in dB, by leaving out one group at a time (the block jackknife).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from stemwright.manifests.sound.formats import Audio
from stemwright.manifests.stems.stem_reading import Mending

Array = NDArray[np.floating]

MOST_GROUPS = 64
FEWEST_GROUPS = 4
RIDGE = 1e-9  # of a stem's energy
SWAPPED_BETTER = 0.25  # of the energy that is left: what is left with the channels swapped
CONTAINED = 0.9  # of a stem: so much of it is in another one, at its own level
UNEVEN = 10 ** (3.0 / 20)  # between the gains of two channels: 3 dB
UNEVEN_CLOSES = 0.5  # of the energy that is left: what gains channel by channel leave
FEWEST_PARTS, SUM_LEAVES, SUM_GAIN_OFF = 2, 1e-4, 0.05  # of a sum of stems: its parts, what they may leave of it, and their gains
SILENT_LEAVES = 4.0  # times what the stems leave of the other channel of the mixture


class Products:
    """Takes the blocks of a song and sums the products of all channels."""

    def __init__(self, num_stems: int, num_channels: int, sample_rate: int) -> None:
        self._shape, self._num_channels = (num_channels * (num_stems + 1),) * 2, num_channels
        self._group_frames = sample_rate
        self._groups: list[Array] = []
        self._current, self._frames = np.zeros(self._shape), 0

    def add(self, mixture: Audio, stems: Audio) -> None:
        """Takes the next block: mixture [C, t], stems [S, C, t]."""
        whole = np.concatenate([mixture, stems.reshape(-1, mixture.shape[1])])
        start = 0
        while start < whole.shape[1]:
            count = min(self._group_frames - self._frames, whole.shape[1] - start)
            part = whole[:, start : start + count].astype(np.float64)
            self._current += part @ part.T
            self._frames, start = self._frames + count, start + count
            if self._frames == self._group_frames:
                self._close()

    def _close(self) -> None:
        self._groups.append(self._current)
        self._current, self._frames = np.zeros(self._shape), 0
        if len(self._groups) == 2 * MOST_GROUPS:
            self._groups = [one + two for one, two in zip(self._groups[::2], self._groups[1::2], strict=True)]
            self._group_frames *= 2

    def totals(self) -> Totals:
        """The sums over the whole song, and over its groups."""
        if self._frames:
            self._groups.append(self._current)
        return Totals(np.stack(self._groups), self._num_channels)


@dataclass(frozen=True)
class Totals:
    """Products of a whole song by groups, [K, R, R]."""

    groups: Array
    num_channels: int

    @property
    def num_stems(self) -> int:
        """How many stems there are."""
        return self.groups.shape[1] // self.num_channels - 1

    def _normal(self, mending: Sequence[Mending], groups: Array, channels: Sequence[int]) -> tuple[Array, Array, Array]:
        """Gram matrix [K, S, S] of the stems, products with the mixture [K, S], energy of the mixture [K], over some channels."""
        count = self.num_channels
        gram: Array = np.zeros(())
        cross: Array = np.zeros(())
        for channel in channels:
            rows = [count * (1 + s) + (count - 1 - channel if each.swapped else channel) for s, each in enumerate(mending)]
            gram = gram + groups[:, rows][:, :, rows]
            cross = cross + groups[:, channel][:, rows]
        return gram, cross, groups[:, list(channels), list(channels)].sum(axis=1)

    def left(self, mending: Sequence[Mending], factors: Array | None = None) -> float:
        """The energy of mixture - sum(factor x stem); the factors of the mending by default. The channels and groups summed."""
        gram, cross, energy = (part.sum(axis=0) for part in self._normal(mending, self.groups, range(self.num_channels)))
        chosen = np.array([each.factor for each in mending]) if factors is None else factors
        return max(float(energy - 2 * chosen @ cross + chosen @ gram @ chosen), 0.0)

    def left_at_best(self) -> float:
        """The energy that is left at the gains that leave least."""
        asis = [Mending()] * self.num_stems
        return self.left(asis, self.gains(asis)[0])

    @property
    def mixture_energy(self) -> float:
        """The energy of the mixture."""
        channels = list(range(self.num_channels))
        return float(self.groups[:, channels, channels].sum())

    def closure_db(self, mending: Sequence[Mending]) -> float | None:
        """The closure of the sum of mended stems; None below what products can tell from an exact one."""
        share = self.left(mending) / max(self.mixture_energy, 1e-30)
        return round(10.0 * math.log10(share), 4) if share > 1e-12 else None

    def gains(self, mending: Sequence[Mending]) -> tuple[Array, Array]:
        """The gain of each stem that leaves least of the mixture, and its standard error in dB; infinite where nothing determines it."""
        gram, cross, energy = self._normal(mending, self.groups, range(self.num_channels))
        whole = _solved(gram.sum(axis=0), cross.sum(axis=0))
        used = energy > 1e-9 * energy.max()
        count = int(used.sum())
        if count < FEWEST_GROUPS:
            share = self.left(mending, whole) / max(self.mixture_energy, 1e-30)
            level = np.diag(gram.sum(axis=0)) * whole**2 / max(self.mixture_energy, 1e-30)
            errors = np.sqrt(share / np.maximum(level, 1e-12)) / 10.0
        else:
            without = np.stack([_solved(gram.sum(axis=0) - gram[k], cross.sum(axis=0) - cross[k]) for k in np.flatnonzero(used)])
            errors = np.sqrt((count - 1) / count * np.sum((without - without.mean(axis=0)) ** 2, axis=0)) / np.maximum(np.abs(whole), 1e-9)
        return whole, 20.0 / math.log(10.0) * errors

    def one_gain(self, mending: Sequence[Mending]) -> float:
        """The one gain of all stems that leaves least of the mixture."""
        gram, cross, _ = (part.sum(axis=0) for part in self._normal(mending, self.groups, range(self.num_channels)))
        energy = float(gram.sum())
        return float(cross.sum()) / energy if energy > 0 else 1.0

    def silent_channel(self, number: int) -> str | None:
        """Which channel of a stem is silent, if the other is not, and if the mixture has more there than the stems."""
        if self.num_channels != 2:
            return None
        energies, left = np.zeros(2), np.zeros(2)
        for channel in range(2):
            gram, cross, energy = (part.sum(axis=0) for part in self._normal([Mending()] * self.num_stems, self.groups, [channel]))
            gains = _solved(gram, cross)
            energies[channel] = gram[number, number]
            left[channel] = (energy - 2 * gains @ cross + gains @ gram @ gains) / max(float(energy), 1e-30)
        silent = int(np.argmin(energies))
        if energies[silent] > RIDGE * energies[1 - silent] or left[silent] < SILENT_LEAVES * left[1 - silent]:
            return None
        return ("left", "right")[silent]

    def with_channels_swapped(self, mending: Sequence[Mending], numbers: Sequence[int]) -> list[Mending]:
        """The mending with the channels of those stems swapped for which the sum fits much better so, whatever their gains."""
        found = list(mending)
        if self.num_channels != 2:
            return found
        for number in numbers:
            other = [replace(each, swapped=True) if s == number else each for s, each in enumerate(found)]
            now, then = (min(self.left(each), self.left(each, self.gains(each)[0])) for each in (found, other))
            if then < SWAPPED_BETTER * now and then < 0.1 * self.mixture_energy:
                found = other
        return found

    def channel_gains(self, mending: Sequence[Mending]) -> list[tuple[float, float] | None]:
        """For each stem its gain left and right, against its mended self, if they differ much and leave much less of the mixture."""
        nothing: list[tuple[float, float] | None] = [None] * self.num_stems
        if self.num_channels != 2:
            return nothing
        sides, left = [], 0.0
        for channel in range(2):
            gram, cross, energy = (part.sum(axis=0) for part in self._normal(mending, self.groups, [channel]))
            gains = _solved(gram, cross)
            left += max(float(energy - 2 * gains @ cross + gains @ gram @ gains), 0.0)
            sides.append(np.where(np.diag(gram) > 0, gains / np.array([each.factor for each in mending]), np.nan))
        if left > UNEVEN_CLOSES * self.left(mending):
            return nothing
        for number, pair in enumerate(np.abs(np.stack(sides, axis=1))):
            if np.isfinite(pair).all() and pair.max() > UNEVEN * max(float(pair.min()), 1e-9):
                nothing[number] = (float(pair[0]), float(pair[1]))
        return nothing

    def sums_of_others(self) -> dict[int, tuple[int, ...]]:
        """The stems that are the sum of two or more others as they are, with these: an accompaniment, a mix of its own."""
        gram = self._normal([Mending()] * self.num_stems, self.groups, range(self.num_channels))[0].sum(axis=0)
        found: dict[int, tuple[int, ...]] = {}
        for number in np.argsort(np.diag(gram)):  # a sum has more energy than its parts; and sums may be parts of others
            others = [s for s in range(len(gram)) if s not in found and 0 < gram[s, s] < gram[number, number]]
            if len(others) < FEWEST_PARTS or gram[number, number] <= 0:
                continue
            gains = _solved(gram[np.ix_(others, others)], gram[others, number])
            left = gram[number, number] - 2 * gains @ gram[others, number] + gains @ gram[np.ix_(others, others)] @ gains
            whole = [other for other, gain in zip(others, gains, strict=True) if abs(gain - 1) < SUM_GAIN_OFF]
            rest = [gain for gain in gains if abs(gain - 1) >= SUM_GAIN_OFF]
            is_sum = left < SUM_LEAVES * gram[number, number] and all(abs(gain) < SUM_GAIN_OFF for gain in rest)
            if is_sum and len(whole) >= FEWEST_PARTS:
                found[int(number)] = tuple(whole)
        return found

    def container_of(self, number: int) -> int | None:
        """Another stem that contains this one at its own level, if there is one."""
        gram = self._normal([Mending()] * self.num_stems, self.groups, range(self.num_channels))[0].sum(axis=0)
        own = gram[number, number]
        shares = gram[number] / own if own > 0 else np.zeros(len(gram))
        found = [s for s in range(len(gram)) if s != number and shares[s] > CONTAINED and gram[s, s] > own]
        return found[0] if found else None

    def is_contained(self, number: int) -> bool:
        """Whether another stem contains this one."""
        return self.container_of(number) is not None


def _solved(gram: Array, cross: Array) -> Array:
    """Least-squares gains; zero for silent stems."""
    scale = np.sqrt(np.maximum(np.diag(gram), 1e-30))
    scaled = gram / np.outer(scale, scale) + RIDGE * np.eye(len(gram))
    return np.asarray(np.linalg.solve(scaled, cross / scale) / scale)
