"""The mix balance of a recording: each stem's level with an interval, when it plays, its level over time, pan and width.

Conventions
    mixture and stems are float32 [C, T] of one shape. Levels are in LU against the loudness of the mixture: the integrated level against
    the integrated loudness, the trajectory against the mixture in the same three seconds. A stem that is silent or whose energy is not
    found in the mixture is not present: its level is -inf and ``note`` says why. A mono mixture has no pan and no width: None.

References
    ITU-R BS.1770-5; EBU Tech 3341. The estimators are described in separation/balance/level_estimators.py, pan and width in
    separation/balance/panorama.py.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from stemwright.manifests.records import RESIDUAL
from stemwright.manifests.stem_names import FOUR_STEMS
from stemwright.separation.balance.image_intervals import Seen, active_interval, image_fields
from stemwright.separation.balance.level_estimators import (
    SEPARATED,
    Calibration,
    LevelEstimate,
    Shared,
    calibration_named,
    closure_margin,
    estimate_level,
    interval_around,
    leak_margin,
    point_between,
    suited,
)
from stemwright.separation.balance.panorama import BandImage, Image, band_energies, band_images, image_of
from stemwright.separation.loudness.kweighting import BLOCK_FRAMES, HOPS_PER_S, HopSums
from stemwright.separation.loudness.meter import (
    BLOCK_STEP_HOPS,
    MOMENTARY_HOPS,
    SHORT_TERM_HOPS,
    channel_weights,
    gate,
    gated_loudness,
    to_lufs,
    window_means,
)

Array = NDArray[np.floating]

ROUNDING = 1e-9  # of the mixture's energy: less is what rounding leaves
ACTIVE_RANGE_LU = 20.0  # a stem plays where it is less than this below its own loudness
FOREIGN_SHARE = 0.1  # of a stem's own energy: one that shares less with the mixture is not in it
CHANCE, CHANCE_CORRELATION, FEWEST_BLOCKS = 3.0, 0.05, 8
SILENT = "not present: silent"
NOT_FOUND = "not present: its energy is not found in the mixture at this level (was the stem rescaled, or is it from another song?)"
TOO_SOFT = "not present: the stem is quieter than {:.0f} LU"


@dataclass(frozen=True)
class Trajectory:
    """Level against the mixture in the three seconds that end at each time; -inf where the stem or the mixture is silent. All [N]."""

    end_s: Array
    level_lu: Array
    low_lu: Array
    high_lu: Array


@dataclass(frozen=True)
class StemBalance:
    """The measurements of one stem in its mixture.

    ``loudness_lufs`` is the loudness of the stem as given; ``level_lu`` the estimate of its level in the mixture, with an 80 % interval;
    ``against_rest_lu`` its level against everything else (for vocals: the vocal-to-accompaniment level), inf if there is nothing else;
    ``naive_lu`` is the loudness of the stem as given minus that of the mixture, ``cross_lu`` that of the energy which both share;
    ``active_fraction`` is the share of the time in which it plays (``active_share`` in tables), ``active_spans_s`` when that is. Pan, width
    and that share have 80 % intervals, too.
    """

    loudness_lufs: float
    level_lu: float
    level_low_lu: float
    level_high_lu: float
    against_rest_lu: float
    against_rest_low_lu: float
    against_rest_high_lu: float
    pan: float | None
    pan_low: float | None
    pan_high: float | None
    width: float | None
    width_low: float | None
    width_high: float | None
    correlation: float | None
    naive_lu: float
    cross_lu: float
    present: bool
    note: str
    active_fraction: float
    active_low: float
    active_high: float
    active_spans_s: tuple[tuple[float, float], ...]
    trajectory: Trajectory
    bands: tuple[BandImage, ...]


def check_stems(mixture: Array, stems: Mapping[str, Array]) -> None:
    """Refuses what cannot be compared: no stems, or a stem of another shape; ValueError names the stem and its shape."""
    if mixture.ndim != 2 or mixture.shape[1] == 0:
        raise ValueError(f"expected a mixture [C, T] with at least one frame, got shape {mixture.shape}; a mono signal is audio[None]")
    channel_weights(mixture.shape[0])
    if not stems:
        raise ValueError("expected at least one stem, got an empty dictionary; separate the mixture first")
    for name, signal in {"the mixture": mixture, **stems}.items():
        if not np.issubdtype(signal.dtype, np.floating):
            raise ValueError(
                f"expected float audio with full scale 1.0, got {name!r} as {signal.dtype}; divide integers by their full scale"
            )
    for name, stem in stems.items():
        if stem.shape != mixture.shape:
            raise ValueError(
                f"expected stem {name!r} in the shape of its mixture {mixture.shape} [C, T], got {stem.shape}; "
                "cut or pad it, or resample it to the mixture's rate"
            )


@dataclass(frozen=True)
class Energies:
    """Sums per hop: of the mixture [K], and per stem of itself [S, K], with the mixture [S, K]; and of stereo, of left, right and their
    product of each stem [S, 3, K] and the mixture [3, K], and of left and right of each stem with the mixture's [S, 2, K].
    """

    edges: NDArray[np.int64]
    mixture: Array
    own: Array
    cross: Array
    image: Array | None
    mixture_image: Array | None = None
    shared_image: Array | None = None


def energies_in_blocks(blocks: Iterator[Sequence[Array]], sample_rate: int) -> Energies:
    """The energies of a mixture and its stems that arrive in blocks: each is the mixture's [C, t], then each stem's. Raises ValueError
    for NaN, and for no frames.
    """
    first = next(blocks, None)
    if first is None:
        raise ValueError("expected stems with at least one frame, got empty files; separate the mixture again")
    num_stems, num_channels = len(first) - 1, len(first[0])
    channels = range(num_channels)
    row = np.arange((1 + num_stems) * num_channels).reshape(-1, num_channels)
    pairs = [(row[0, c], row[0, c]) for c in channels]
    for s in range(1, len(row)):
        pairs += [(row[s, c], row[s, c]) for c in channels] + [(row[s, c], row[0, c]) for c in channels]
    stereo = num_channels == 2
    if stereo:
        pairs += [(row[s, 0], row[s, 1]) for s in range(len(row))]
    hops = HopSums(row.size, pairs, sample_rate)
    for block in chain([first], blocks):
        hops.add([channel for signal in block for channel in signal])
    sums, edges = hops.finish()
    weights = channel_weights(num_channels)
    by_signal = sums[num_channels : num_channels * (2 * num_stems + 1)].reshape(num_stems, 2, num_channels, -1)
    image = np.stack([by_signal[:, 0, 0], by_signal[:, 0, 1], sums[-num_stems:]], axis=1) if stereo else None
    mixture_image = np.stack([sums[0], sums[1], sums[-num_stems - 1]]) if stereo else None
    return Energies(
        edges=edges,
        mixture=weights @ sums[:num_channels],
        own=np.einsum("c,sck->sk", weights, by_signal[:, 0]),
        cross=np.einsum("c,sck->sk", weights, by_signal[:, 1]),
        image=image,
        mixture_image=mixture_image,
        shared_image=by_signal[:, 1] if stereo else None,
    )


def _spans(active: NDArray[np.bool_], end_s: Array, window_s: float) -> tuple[tuple[float, float], ...]:
    """Joins active windows that touch or overlap into spans of seconds."""
    spans: list[tuple[float, float]] = []
    for end in end_s[active]:
        start = max(0.0, end - window_s)
        if spans and start <= spans[-1][1] + 1e-9:
            spans[-1] = (spans[-1][0], float(end))
        else:
            spans.append((float(start), float(end)))
    return tuple(spans)


def _trajectory(sums: tuple[Array, Array, Array], end_s: Array, calibration: Calibration, shared: Shared) -> Trajectory:
    """Applies the estimator to every three-second window, by mean squares per window of stem, cross-energy and mixture, [N] each."""
    own, cross, mixture = sums
    levels = to_lufs(np.stack([mixture, own, np.maximum(cross, 0.0)]))
    phrase = np.isfinite(levels).all(0)
    reference, naive, cross_lufs = np.where(phrase, levels, 0.0)
    naive, cross_lu = naive - reference, cross_lufs - reference
    point = point_between(naive, cross_lu, calibration) + calibration.correction.at(shared.name, naive, cross_lu, shared.left)
    margins = (calibration.window_low, calibration.window_high)
    low, high = interval_around(point, cross_lu - naive, *margins, calibration.correction.spread_of(shared.name))
    more_lu = leak_margin(cross_lu, shared.part, calibration)
    return Trajectory(end_s, *(np.where(phrase, values, -np.inf) for values in (point, low - more_lu, high + more_lu)))


def closing_factor(mixture: Array, cross: Array) -> float:
    """The factor that raises the cross-energies of stems that sum to the mixture, [S, K], to the mixture's energy, [K]; 1 where there is
    none.
    """
    shared = float(np.maximum(cross.sum(-1), 0.0).sum())
    return float(mixture.sum()) / shared if shared > 0 else 1.0


def left_share(mixture: Array, cross: Array) -> float:
    """The share of a mixture's energy, [K], that stems do not share with it, by their cross-energies, [S, K]; below 0 for louder stems."""
    whole = float(mixture.sum())
    return 1.0 - float(cross.sum()) / whole if whole > 0 else 0.0


def without_leak(energies: Energies, leak: float, stems: NDArray[np.bool_]) -> Energies:
    """The energies of stems after subtracting the share of the mixture that leaks into all of them alike.

    Each of the S stems is modelled as (1 - leak) s + (leak / S) x with the mixture x, and s is recovered; the sum of the stems does not
    change. ``stems`` marks their rows: a residual is not one. No audio is needed: <s - f x, x> and |s - f x|² follow from the energies.
    Images stay those of the stems as given.
    """
    if not leak or not stems.any():
        return energies
    share, own, cross = leak / int(stems.sum()), energies.own.copy(), energies.cross.copy()
    own[stems] = np.maximum(own[stems] - 2 * share * cross[stems] + share**2 * energies.mixture, 0.0) / (1 - leak) ** 2
    cross[stems] = (cross[stems] - share * energies.mixture) / (1 - leak)
    return replace(energies, own=own, cross=cross)


def measure_balance(
    mixture: Array, stems: Mapping[str, Array], sample_rate: int, *, calibration: Calibration | str = SEPARATED
) -> dict[str, StemBalance]:
    """Measures every stem against its mixture; ``stems`` maps names to float arrays [C, T] in the mixture's shape and rate.

    ``calibration`` says what the stems are: "separated" ones, those of the "bundled" model, or the multitrack's own ("reference"), whose
    level is simply their loudness, with an interval as wide as what all of them together leave of the mixture. Separated drums, bass, other
    and vocals that leave more than a tenth of the mixture to no stem are measured with the wide intervals of the bundled model. Levels are
    in LU against the mixture (ITU-R BS.1770-5), with an 80 % interval; that of a stem that is not present is -inf. Raises ValueError for
    an empty dictionary, other shapes, NaN, and a silent mixture, against which nothing has a level.

    >>> import numpy, stemwright as sw
    >>> vocals, drums = numpy.random.default_rng(0).normal(0, 0.1, (2, 2, 44_100))
    >>> found = sw.measure_balance(vocals + drums, {"vocals": vocals, "drums": drums}, 44_100, calibration="reference")
    >>> print(f"{found['vocals'].level_lu:.1f} LU")
    -3.1 LU
    """
    calibration = calibration_named(calibration) if isinstance(calibration, str) else calibration
    check_stems(mixture, stems)
    if missing := [name for name in calibration.together if name not in stems]:
        raise ValueError(
            f"expected all of {', '.join(calibration.together)} for this calibration, got none of {', '.join(missing)}; "
            "give every stem of the separator, or another calibration"
        )
    signals = (mixture, *stems.values())
    blocks = ([signal[:, at : at + BLOCK_FRAMES] for signal in signals] for at in range(0, mixture.shape[1], BLOCK_FRAMES))
    energies = energies_in_blocks(blocks, sample_rate)
    left_lu = left_db(*_left_energies(mixture, stems)) if calibration.closure_share else -math.inf
    found = balances_of(energies, list(stems), sample_rate, calibration, left_lu=left_lu)
    whole = band_energies(mixture, sample_rate)
    bands = {name: band_images(stems[name], sample_rate, whole) for name, stem in found.items() if stem.present}
    return {name: replace(stem, bands=bands.get(name, ())) for name, stem in found.items()}


def balances_of(
    energies: Energies,
    names: Sequence[str],
    sample_rate: int,
    calibration: Calibration,
    *,
    left_lu: float = -math.inf,
) -> dict[str, StemBalance]:
    """The balance of stems by their energies, without bands; ``left_lu`` is what they leave of the mixture (``left_db``).

    Raises ValueError for a silent mixture.
    """
    raised = np.ones(len(names))
    together = np.array([name != RESIDUAL for name in names])
    given, energies = energies, without_leak(energies, calibration.leak, together)
    if set(FOUR_STEMS) <= set(names):
        factor = closing_factor(energies.mixture, energies.cross[together])
        calibration = suited(calibration, factor)
        raised[together] = factor if calibration.together else 1.0
    mixture_lufs = gated_loudness(window_means(energies.mixture, energies.edges, MOMENTARY_HOPS, BLOCK_STEP_HOPS)[0])
    if not math.isfinite(mixture_lufs):
        raise ValueError("expected an audible mixture, got silence (nothing above -70 LUFS); levels against it are undefined")
    left = left_share(energies.mixture, energies.cross[together])
    energies = replace(energies, cross=energies.cross * raised[:, None])
    found = {}
    for number, name in enumerate(names):
        gap_lu = _given_gap(given, number, together, calibration) if calibration.leak else None
        shared = Shared(name, left, gap_lu, 1.0 / int(together.sum()) if together[number] else 0.0)
        found[name] = _measure_stem(energies, number, mixture_lufs, sample_rate, calibration, shared)
        if calibration.leak:
            found[name] = _as_given(found[name], given, number, mixture_lufs)
    return found if left_lu == -math.inf else {name: _widened(stem, left_lu, calibration.closure_share) for name, stem in found.items()}


def _gated(sums: Array, edges: NDArray[np.int64]) -> float:
    """The gated loudness of energies by hops."""
    return gated_loudness(np.maximum(window_means(sums, edges, MOMENTARY_HOPS, BLOCK_STEP_HOPS)[0], 0.0))


def _given_gap(given: Energies, number: int, together: NDArray[np.bool_], calibration: Calibration) -> float:
    """The gap in LU between naive and cross of a stem as given."""
    raised = closing_factor(given.mixture, given.cross[together]) if calibration.together and together[number] else 1.0
    own, cross = (_gated(sums, given.edges) for sums in (given.own[number], raised * given.cross[number]))
    return cross - own if math.isfinite(cross) and math.isfinite(own) else 0.0


def _as_given(stem: StemBalance, energies: Energies, number: int, mixture_lufs: float) -> StemBalance:
    """A stem with the loudness and the cross-energy of the audio as given, leak included."""
    own, cross = (_gated(sums[number], energies.edges) for sums in (energies.own, energies.cross))
    return replace(stem, loudness_lufs=own, naive_lu=own - mixture_lufs, cross_lu=cross - mixture_lufs)


def _left_energies(mixture: Array, stems: Mapping[str, Array]) -> tuple[float, float]:
    """The energy that the stems, without the residual, leave of the mixture, and its own."""
    left = mixture.astype(np.float64)
    for name, stem in stems.items():
        if name != RESIDUAL:
            left -= stem
    return float(np.sum(left**2)), float(np.sum(np.square(mixture, dtype=np.float64)))


def left_db(left: float, mixture: float) -> float:
    """The energy that the stems leave of the mixture, in dB against the mixture's; -inf where that is rounding."""
    share = left / max(mixture, 1e-30)
    return 10.0 * math.log10(share) if share > ROUNDING else -math.inf


def _widened(stem: StemBalance, left_lu: float, share: float) -> StemBalance:
    """A given stem with at least the interval that is due to what the stems leave of the mixture: it may belong to this one."""
    if not stem.present:
        return stem
    course, margin = stem.trajectory, float(closure_margin(stem.level_lu, left_lu, share))
    margins = closure_margin(course.level_lu, left_lu, share)
    return replace(
        stem,
        level_low_lu=min(stem.level_low_lu, stem.level_lu - margin),
        level_high_lu=max(stem.level_high_lu, stem.level_lu + margin),
        against_rest_low_lu=min(stem.against_rest_low_lu, stem.against_rest_lu - margin),
        against_rest_high_lu=max(stem.against_rest_high_lu, stem.against_rest_lu + margin),
        trajectory=replace(
            course,
            low_lu=np.minimum(course.low_lu, course.level_lu - margins),
            high_lu=np.maximum(course.high_lu, course.level_lu + margins),
        ),
    )


def _measure_stem(
    energies: Energies, number: int, mixture_lufs: float, sample_rate: int, calibration: Calibration, shared: Shared
) -> StemBalance:
    own, cross, mixture, edges = energies.own[number], energies.cross[number], energies.mixture, energies.edges
    (blocks, ends), (cross_blocks, _), (mixture_blocks, _) = (
        window_means(sums, edges, MOMENTARY_HOPS, BLOCK_STEP_HOPS) for sums in (own, cross, mixture)
    )
    level = estimate_level(blocks, cross_blocks, mixture_lufs, calibration, shared)
    rest_blocks = np.maximum(mixture_blocks - 2 * cross_blocks + blocks, 0.0)  # |x - s|² = |x|² - 2<s, x> + |s|²
    rest = estimate_level(rest_blocks, mixture_blocks - cross_blocks, mixture_lufs, calibration, shared, rest=True)
    note = _absence(level, own, cross, mixture, calibration.absent_below(shared.name))
    loudness_lufs = level.naive_lu + mixture_lufs
    gap_lu = level.cross_lu - level.naive_lu if shared.given_gap_lu is None else shared.given_gap_lu
    active = (to_lufs(blocks) > loudness_lufs - ACTIVE_RANGE_LU) & bool(not note)
    passing = gate(blocks)
    image = _image(energies, number, passing) if not note else None
    (short_own, short_ends), (short_cross, _), (short_mixture, _) = (
        window_means(sums, edges, SHORT_TERM_HOPS, BLOCK_STEP_HOPS) for sums in (own, cross, mixture)
    )
    phrase = (level.point_lu, level.low_lu, level.high_lu) if not note else (-math.inf,) * 3
    seen = seen_of(energies, number, passing, max(gap_lu, 0.0) if not note else 0.0)
    playing = active_interval(float(active.mean()), seen, calibration.image)
    return StemBalance(
        loudness_lufs=loudness_lufs,
        level_lu=phrase[0],
        level_low_lu=phrase[1],
        level_high_lu=phrase[2],
        against_rest_lu=phrase[0] - rest.point_lu,
        against_rest_low_lu=phrase[1] - rest.high_lu,
        against_rest_high_lu=phrase[2] - rest.low_lu,
        **image_fields(image, seen, calibration.image),
        naive_lu=level.naive_lu,
        cross_lu=level.cross_lu,
        present=not note,
        note=note,
        active_fraction=float(active.mean()),
        active_low=playing[0],
        active_high=playing[1],
        active_spans_s=_spans(active, ends / sample_rate, MOMENTARY_HOPS / HOPS_PER_S),
        trajectory=_trajectory((short_own, short_cross, short_mixture), short_ends / sample_rate, calibration, shared),
        bands=(),
    )


def seen_of(energies: Energies, number: int, passing: NDArray[np.bool_], gap_lu: float) -> Seen:
    """What a stem shares with its mixture over its gated blocks, beside its own image."""
    if energies.shared_image is None or energies.mixture_image is None:
        return Seen(gap_lu, None, 0.0)
    blocks = window_means(energies.shared_image[number], energies.edges, MOMENTARY_HOPS, BLOCK_STEP_HOPS)[0]
    left, right = np.maximum(blocks[:, passing].sum(-1), 0.0)
    shared, whole = image_of(float(left), float(right), 0.0), image_of(*map(float, energies.mixture_image.sum(-1)))
    return Seen(gap_lu, shared.pan if shared else None, whole.width if whole else 0.0)


def _absence(level: LevelEstimate, own: Array, cross: Array, mixture: Array, absent_lu: float) -> str:
    """Why a stem has no level, or an empty string if it has one; sums per hop, [K].

    A stem that is in the mixture shares its own energy with it. One that is not shares only chance correlation: less than FOREIGN_SHARE of
    its energy, or a sum within CHANCE standard errors of zero.
    """
    if not math.isfinite(level.naive_lu):
        return SILENT
    if level.naive_lu < absent_lu:
        return TOO_SOFT.format(absent_lu)
    if not math.isfinite(level.cross_lu) or cross.sum() < FOREIGN_SHARE * own.sum():
        return NOT_FOUND
    blocks = cross[: cross.size // MOMENTARY_HOPS * MOMENTARY_HOPS].reshape(-1, MOMENTARY_HOPS).sum(1)
    noise = np.sqrt(np.sum((blocks - blocks.mean()) ** 2)) if blocks.size >= FEWEST_BLOCKS else 0.0
    correlation = cross.sum() / math.sqrt(own.sum() * mixture.sum())
    return NOT_FOUND if blocks.sum() < CHANCE * noise and correlation < CHANCE_CORRELATION else ""


def _image(energies: Energies, number: int, passing: NDArray[np.bool_]) -> Image | None:
    """Image of a stem over its gated blocks, or None for a signal that is not stereo."""
    if energies.image is None:
        return None
    blocks = window_means(energies.image[number], energies.edges, MOMENTARY_HOPS, BLOCK_STEP_HOPS)[0]
    left, right, cross = blocks[:, passing].sum(-1)
    return image_of(float(left), float(right), float(cross))
