"""What a calibration is fitted to: of each stem of a multitrack, what is true and what its separated stem says.

Conventions
    Signals are float32 [C, T], all of one shape; levels are in LU against the mixture. ``left`` is the share of the mixture's energy that
    the separated stems do not share with it. Windows are of three seconds, one a second: truth, naive, cross, [3, N]; only those in which
    all three are finite and the true stem is above AUDIBLE_LU.

References
    As in ``stemwright.separation.balance.level_estimators``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from stemwright.manifests.stem_names import FOUR_STEMS
from stemwright.separation.balance.level_estimators import ABSENT_LU, LEAST_SHARED
from stemwright.separation.balance.measure import Energies, closing_factor, energies_in_blocks, left_share, seen_of, without_leak
from stemwright.separation.balance.panorama import image_of
from stemwright.separation.loudness.kweighting import BLOCK_FRAMES
from stemwright.separation.loudness.meter import (
    BLOCK_STEP_HOPS,
    MOMENTARY_HOPS,
    SHORT_TERM_HOPS,
    gate,
    gated_loudness,
    to_lufs,
    window_means,
)

Array = NDArray[np.floating]

AUDIBLE_LU = -25.0  # a window in which a stem is softer says little about its trajectory
WINDOW_STEP_HOPS = 100  # windows a second apart: nearer ones repeat each other
MOST_WINDOWS = 300  # of a stem, evenly spread over a long recording
LEAKS = (0.03, 0.06, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4)  # shares of the mixture that leak into stems, from which a calibration chooses


class SeparatedLevels(NamedTuple):
    """Naive and cross of a stem, and of everything else, in LU; -inf where nothing is found."""

    naive_lu: float
    cross_lu: float
    rest_naive_lu: float
    rest_cross_lu: float


@dataclass(frozen=True)
class Unleaked:
    """What is measured of a stem after a leak is subtracted from all stems, as the columns of ``StemRow``."""

    plain: SeparatedLevels
    raised: SeparatedLevels
    left: float
    factor: float


@dataclass(frozen=True)
class StemRow:
    """One stem of one song. ``true_lu`` is -inf where the song has no such stem.

    ``plain`` levels are by the cross-energy as it is, ``raised`` ones by ``factor`` times it, so that all stems together have the mixture's
    energy. ``share`` is 1 over the number of stems, ``unleaked`` what is measured without each of LEAKS. ``pan`` is that of the separated
    stem; with ``shared_pan``, ``mixture_width`` as in ``image_intervals.Seen``; None where there is no pan.
    """

    song: str
    stem: str
    true_lu: float
    rest_true_lu: float
    plain: SeparatedLevels
    raised: SeparatedLevels
    left: float
    factor: float
    sdr_db: float
    true_pan: float | None
    pan: float | None
    shared_pan: float | None
    mixture_width: float
    windows: Array
    share: float = 0.25
    unleaked: tuple[Unleaked, ...] = ()

    def at(self, leak: float) -> StemRow:
        """The row after a leak, one of LEAKS or 0, is subtracted from the stems. Raises ValueError for another."""
        if not leak:
            return self
        found, part = self.unleaked[LEAKS.index(leak)], leak * self.share
        true, naive, cross = 10.0 ** (self.windows / 10.0)
        naive = np.maximum(naive - 2 * part * cross + part**2, 1e-12) / (1 - leak) ** 2
        cross = (cross - part) / (1 - leak)
        heard = cross > 0
        windows = 10.0 * np.log10(np.stack([true, naive, cross])[:, heard])
        return replace(self, plain=found.plain, raised=found.raised, left=found.left, factor=found.factor, windows=windows)

    @property
    def present(self) -> bool:
        """Whether the stem is in the mixture and something is found of it: below ABSENT_LU no level can be right or wrong."""
        return self.true_lu > ABSENT_LU and math.isfinite(self.plain.naive_lu) and math.isfinite(self.plain.cross_lu)

    def as_json(self) -> dict[str, Any]:
        """As JSON values; a level that is not finite is None."""
        row = {each.name: getattr(self, each.name) for each in fields(self)}
        row |= {name: _levels_plain(row[name]) for name in LEVELS}
        without = [[_levels_plain(each.plain), _levels_plain(each.raised), each.left, each.factor] for each in self.unleaked]
        return {name: _plain(value) for name, value in row.items()} | {"windows": self.windows.tolist(), "unleaked": without}

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> StemRow:
        """From JSON values. Raises KeyError, TypeError or ValueError where they are none of a row."""
        columns = {each.name: row[each.name] for each in fields(cls)}
        columns |= {name: -math.inf if columns[name] is None else float(columns[name]) for name in ("true_lu", "rest_true_lu")}
        columns |= {name: _levels_of(columns[name]) for name in LEVELS}
        columns["unleaked"] = tuple(Unleaked(_levels_of(one), _levels_of(two), *rest) for one, two, *rest in columns["unleaked"])
        return cls(**columns | {"windows": np.asarray(columns["windows"], dtype=np.float64).reshape(3, -1)})


LEVELS = ("plain", "raised")


def _levels_plain(levels: SeparatedLevels) -> list[float | None]:
    return [_plain(level) for level in levels]


def _levels_of(values: Sequence[float | None]) -> SeparatedLevels:
    return SeparatedLevels(*(-math.inf if level is None else float(level) for level in values))


def _plain(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def measured_rows(song: str, mixture: Array, truth: Mapping[str, Array], separated: Mapping[str, Array], sample_rate: int) -> list[StemRow]:
    """One row for each separated stem; one that the song does not have is absent from ``truth``.

    Raises ValueError for a silent mixture, and where the signals are not of one shape.
    """
    names = list(separated)
    zero = np.zeros_like(mixture)
    true = {name: truth.get(name, zero) for name in names}
    for name, audio in {**separated, **true}.items():
        if audio.shape != mixture.shape:
            raise ValueError(f"expected {name} in the shape of its mixture {mixture.shape}, got {audio.shape}")
    found = _energies(mixture, separated, sample_rate)
    right = _energies(mixture, true, sample_rate)
    mixture_lufs = gated_loudness(_momentary(found.mixture, found))
    if not math.isfinite(mixture_lufs):
        raise ValueError("the mixture is silent")
    return [
        _row(song, name, number, (found, right), mixture_lufs, _sdr_db(true[name], separated[name])) for number, name in enumerate(names)
    ]


def _energies(mixture: Array, stems: Mapping[str, Array], sample_rate: int) -> Energies:
    signals = (mixture, *stems.values())
    starts = range(0, mixture.shape[1], BLOCK_FRAMES)
    return energies_in_blocks(([signal[:, at : at + BLOCK_FRAMES] for signal in signals] for at in starts), sample_rate)


def _row(song: str, name: str, number: int, energies: tuple[Energies, Energies], mixture_lufs: float, sdr_db: float) -> StemRow:
    found, right = energies
    own, whole = (_momentary(sums, found) for sums in (found.own[number], found.mixture))
    true, true_cross = _momentary(right.own[number], found), _momentary(right.cross[number], found)
    said = _said(found, number, mixture_lufs)
    plain, every = said.plain, np.ones(len(found.own), dtype=bool)

    def level(blocks: Array) -> float:
        return gated_loudness(np.maximum(blocks, 0.0)) - mixture_lufs

    seen = seen_of(found, number, gate(own), plain.cross_lu - plain.naive_lu if math.isfinite(plain.naive_lu) else 0.0)
    return StemRow(
        song=song,
        stem=name,
        true_lu=level(true),
        rest_true_lu=level(whole - 2 * true_cross + true),
        plain=plain,
        raised=said.raised,
        left=said.left,
        factor=said.factor,
        sdr_db=sdr_db,
        true_pan=_pan(right, number, gate(true)),
        pan=_pan(found, number, gate(own)),
        shared_pan=seen.shared_pan,
        mixture_width=seen.mixture_width,
        windows=_windows(found, right, number),
        share=1.0 / len(found.own),
        unleaked=tuple(_said(without_leak(found, leak, every), number, mixture_lufs) for leak in LEAKS),
    )


def _said(energies: Energies, number: int, mixture_lufs: float) -> Unleaked:
    """The levels of one stem, and what all stems leave of the mixture."""
    own, cross, whole = (_momentary(sums, energies) for sums in (energies.own[number], energies.cross[number], energies.mixture))
    factor = closing_factor(energies.mixture, energies.cross)

    def level(blocks: Array) -> float:
        return gated_loudness(np.maximum(blocks, 0.0)) - mixture_lufs

    def levels(shared: Array) -> SeparatedLevels:
        return SeparatedLevels(level(own), level(shared), level(whole - 2 * shared + own), level(whole - shared))

    return Unleaked(levels(cross), levels(factor * cross), left_share(energies.mixture, energies.cross), factor)


def _momentary(sums: Array, energies: Energies) -> Array:
    return window_means(sums, energies.edges, MOMENTARY_HOPS, BLOCK_STEP_HOPS)[0]


def _windows(found: Energies, right: Energies, number: int) -> Array:
    """Truth, naive and cross in LU against the mixture in the same window, [3, N]."""
    sums = np.stack([found.mixture, right.own[number], found.own[number], np.maximum(found.cross[number], 0.0)])
    mixture, *others = to_lufs(window_means(sums, found.edges, SHORT_TERM_HOPS, WINDOW_STEP_HOPS)[0])
    levels = np.stack(others)
    heard = np.isfinite(levels).all(0) & np.isfinite(mixture)
    levels = levels[:, heard] - mixture[heard]
    levels = levels[:, levels[0] > AUDIBLE_LU]
    every = max(1, math.ceil(levels.shape[1] / MOST_WINDOWS))
    return np.round(levels[:, ::every], 3)  # as they are kept: a calibration from kept rows is the same


def _pan(energies: Energies, number: int, passing: NDArray[np.bool_]) -> float | None:
    if energies.image is None or not passing.any():
        return None
    blocks = window_means(energies.image[number], energies.edges, MOMENTARY_HOPS, BLOCK_STEP_HOPS)[0]
    left, right, both = blocks[:, passing].sum(-1)
    image = image_of(float(left), float(right), float(both))
    return image.pan if image else None


def _sdr_db(true: Array, separated: Array) -> float:
    """Signal to distortion ratio in dB; of a stem that is not there, the lowest."""
    error = float(np.sum(np.square(true - separated, dtype=np.float64)))
    energy = float(np.sum(np.square(true, dtype=np.float64)))
    return 10.0 * math.log10(max(energy, 1e-12) / max(error, 1e-12))


def is_poor(rows: Sequence[StemRow]) -> bool:
    """Whether a separator of four stems leaves much of its mixtures to none of them: most songs need a ``factor`` above 1 / 0.9."""
    factors = list({row.song: row.factor for row in rows}.values())
    return set(FOUR_STEMS) <= {row.stem for row in rows} and float(np.median(factors)) > 1.0 / LEAST_SHARED
