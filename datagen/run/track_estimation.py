"""Estimating: the stems of a track -> one row for each stem, with its balance, pan, width and activity; and, where a recipe asks
for it, one row for the track, with its tempo, beats and key.

Conventions
    The mixture is taken as the sum of the stems and their residual, which is what it is; the songs folder is not needed.
    ``loudness_lufs`` is on the mixture's own scale: the joint gain of the stems is taken out again.
    What is not present has no level: None, never a low number.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import ExitStack, closing
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from stemwright.datagen.inverse import ESTIMATES
from stemwright.manifests import __version__
from stemwright.manifests.decibels import gain_to_db
from stemwright.manifests.disk.bulk import located
from stemwright.manifests.records import RESIDUAL, Estimate, Refused, Stem, TrackEstimate, content_id, seal
from stemwright.manifests.sound.decoding import blocks, load
from stemwright.manifests.sound.formats import Audio
from stemwright.manifests.wording import unreadable_stem
from stemwright.separation.balance.given_levels import CLOSES_DB, measure_given
from stemwright.separation.balance.level_estimators import Calibration, calibration_for
from stemwright.separation.balance.measure import Energies, StemBalance, balances_of, energies_in_blocks, left_db
from stemwright.separation.jobs import BLOCK_FRAMES
from stemwright.separation.loudness.meter import BLOCK_STEP_HOPS, MOMENTARY_HOPS, gated_loudness, to_lufs, window_means

if TYPE_CHECKING:
    from stemwright.datagen.inverse.blind.track_effects import ProfileFile

REFERENCE_ORIGIN = "reference"  # of stems that are a multitrack's own
GIVEN_RULES = 1  # raised when the levels of such stems are measured differently
READ_FRAMES = 1 << 16  # of each stem at a time: all of them fit the processor's cache
SOUNDING_SHARE = 0.5  # of a second
SOUNDING_RANGE_LU = 20.0  # below the stem's own integrated loudness
Calibrated = tuple[Sequence[Stem], Calibration | None]  # the stems of a track, and the calibration to their separator
MOMENTARY_S = 0.4  # BS.1770-5: the window of the momentary loudness


def cache_key(stems: Sequence[Stem], profile: ProfileFile | None = None, calibration: Calibration | None = None) -> str:
    """The id of estimating one track: of its stems, this version and, where effects are estimated, the profile and which they are; and of
    the calibration to their separator, where there is one."""
    effects = {} if profile is None else {"profile": profile.id, "effects": list(ESTIMATES)}
    given = {"given": GIVEN_RULES} if stems[0].origin == REFERENCE_ORIGIN else {}
    calibrated = {} if calibration is None else {"calibration": calibration.id}
    return content_id(
        {"stems": [stem.id for stem in stems], "estimate": "balance and peak", "version": __version__, **given, **effects, **calibrated}
    )


def estimate_calibrated(work: Calibrated, corpus: Path, profile: ProfileFile | None = None) -> list[Estimate]:
    """The task of a track: ``estimate_track`` by the calibration to the separator of its stems."""
    return estimate_track(work[0], corpus, profile, calibration=work[1])


def estimate_track(
    stems: Sequence[Stem], corpus: Path, profile: ProfileFile | None = None, *, calibration: Calibration | None = None
) -> list[Estimate]:
    """Measures the stems of one track against their sum and, with a profile, estimates their effects. Raises Refused when nothing can be
    measured.
    """
    sample_rate, task = stems[0].audio.sample_rate, cache_key(stems, profile, calibration)
    read, energies, balances = measured_balances(stems, corpus, calibration=calibration)
    rows = []
    for stem, own, peak in zip(stems, energies.own, read.peaks, strict=True):
        blind: dict[str, Any] = {}
        if profile is not None and stem.name != RESIDUAL:
            from stemwright.datagen.inverse.blind.track_effects import (
                effect_rows,  # imports scipy's filters and regression, which a balance does not need
            )

            effects = effect_rows(stem.name, _loaded(corpus, stem), sample_rate, profile.read())
            blind = {"effects": effects, "profile": profile.id}
        active = sounding_seconds(own, energies.edges, read.num_frames, sample_rate)
        used = {} if calibration is None else {"calibration": calibration.id}
        rows.append(row_of(stem, balances[stem.name], peak, {"cache_key": task, "active": active, **blind, **used}))
    return rows


def measured_balances(
    stems: Sequence[Stem], corpus: Path, keep: Callable[[Audio], None] = lambda _: None, *, calibration: Calibration | None = None
) -> tuple[TrackReading, Energies, dict[str, StemBalance]]:
    """What was read of a track's stems, their energies, and their balance; ``keep`` receives the mixture, block for block [C, t].

    ``calibration`` is that to their separator, if there is one. Raises Refused when nothing can be measured.
    """
    sample_rate, is_given = stems[0].audio.sample_rate, stems[0].origin == REFERENCE_ORIGIN
    read = TrackReading(stems, corpus, given=is_given, keep=keep)
    try:
        energies = energies_in_blocks(read.blocks(), sample_rate)
        left_lu = left_db(read.left, read.total)
        if is_given and left_lu >= CLOSES_DB:
            balances = _of_given(stems, corpus)
        else:
            its = calibration or calibration_for(stems[0].origin)
            balances = balances_of(energies, [stem.name for stem in stems], sample_rate, its, left_lu=left_lu)
    except ValueError as error:
        raise Refused(str(error)) from error
    return read, energies, balances


def _of_given(stems: Sequence[Stem], corpus: Path) -> dict[str, StemBalance]:
    """The balance of a multitrack's own stems that do not sum to their mixture: what was done to their sum is sought in all of them."""
    audio = {stem.name: _loaded(corpus, stem) for stem in stems}
    mixture = np.zeros_like(next(iter(audio.values())))
    for part in audio.values():
        mixture += part
    return measure_given(mixture, audio, stems[0].audio.sample_rate)


class TrackReading:
    """The mixture and the stems of a track, read together in blocks; what is known of them once they are read."""

    def __init__(self, stems: Sequence[Stem], corpus: Path, *, given: bool, keep: Callable[[Audio], None]) -> None:
        self.stems, self.corpus, self.given, self.keep = stems, corpus, given, keep
        self.num_frames = 0
        self.peaks = [0.0] * len(stems)
        self.left, self.total = 0.0, 0.0  # energies: what the stems without the residual leave of the mixture, and the mixture's

    def blocks(self) -> Iterator[list[Audio]]:
        """Blocks of the mixture [C, t], then of each stem. Raises Refused if a stem cannot be read, or is longer than the others."""
        with ExitStack() as ready:
            readers = [ready.enter_context(closing(stem_blocks(self.corpus, stem))) for stem in self.stems]
            for parts in zip_longest(*readers):
                yield self._summed(parts)

    def _summed(self, parts: Sequence[Audio | None]) -> list[Audio]:
        signals = [part for part in parts if part is not None]
        if len(signals) < len(parts) or len({part.shape for part in signals}) > 1:
            shapes = ", ".join(
                f"{stem.name} {'nothing' if part is None else part.shape}" for stem, part in zip(self.stems, parts, strict=True)
            )
            raise Refused(f"expected stems of one shape, got blocks of {shapes}; run `stemwright separate` again")
        self.num_frames += signals[0].shape[1]
        mixture = np.zeros_like(signals[0])
        for part in signals:
            mixture += part
        self.peaks = [max(peak, float(part.max()), -float(part.min())) for peak, part in zip(self.peaks, signals, strict=True)]
        if self.given:
            left = mixture.astype(np.float64)
            for stem, part in zip(self.stems, signals, strict=True):
                if stem.name != RESIDUAL:
                    left -= part
            self.left += float(np.sum(np.square(left)))
            self.total += float(np.sum(np.square(mixture, dtype=np.float64)))
        self.keep(mixture)
        return [mixture, *signals]


def stem_blocks(corpus: Path, stem: Stem) -> Generator[Audio, None, None]:
    """Blocks [C, t] of a stem. Raises Refused, with what to do, if it cannot be read."""
    try:
        yield from blocks(located(corpus, stem.audio), READ_FRAMES)
    except Refused as reason:
        raise Refused(unreadable_stem(corpus, stem.audio.path, str(reason), "estimate")) from reason


def _loaded(corpus: Path, stem: Stem) -> Audio:
    try:
        return load(located(corpus, stem.audio))[0]
    except Refused as reason:
        raise Refused(unreadable_stem(corpus, stem.audio.path, str(reason), "estimate")) from reason


def tempo_cache_key(stems: Sequence[Stem]) -> str:
    """The id of estimating tempo, beats and key of one track: of its stems and this version."""
    return content_id({"stems": [stem.id for stem in stems], "estimate": "tempo and key", "version": __version__})


def estimate_tempo(stems: Sequence[Stem], corpus: Path) -> list[TrackEstimate]:
    """Tempo, beats and key of one track, from the sum of its stems. What cannot be determined is None; nothing is refused."""
    from stemwright.separation.tempo import ANALYSIS_RATE, find_beats, find_key

    mixture = mixture_at(stems, corpus, ANALYSIS_RATE)
    beats, key = find_beats(mixture, ANALYSIS_RATE), find_key(mixture, ANALYSIS_RATE)
    row = seal(
        TrackEstimate,
        cache_key=tempo_cache_key(stems),
        track_id=stems[0].track_id,
        tempo_bpm=None if beats.tempo_bpm is None else round(beats.tempo_bpm, 2),
        beats_s=tuple(round(time_s, 4) for time_s in beats.times_s),
        key=key.name,
        key_confidence=round(key.confidence, 3),
    )
    return [row]


def mixture_at(stems: Sequence[Stem], corpus: Path, sample_rate: int) -> Audio:
    """The sum of a track's stems, mono [1, T] at a rate; read as a stream, so that a long track takes little memory."""
    total: Audio | None = None
    for stem in stems:
        parts = [
            block.mean(axis=0, dtype=np.float32) for block in blocks(located(corpus, stem.audio), BLOCK_FRAMES, sample_rate=sample_rate)
        ]
        one = np.concatenate(parts) if parts else np.zeros(0, np.float32)
        total = one if total is None else total + one
    return np.zeros((1, 0), np.float32) if total is None else total[None]


def row_of(stem: Stem, balance: StemBalance, peak: float, facts: dict[str, Any], *, gain_db: float | None = None) -> Estimate:
    """The row of a stem by its balance and its largest sample, both on a scale that is ``gain_db`` above the mixture's: by default the
    stem's own.
    """
    gain_db = stem.gain_db if gain_db is None else gain_db
    loudness = _finite(balance.loudness_lufs)
    return seal(
        Estimate,
        stem_id=stem.id,
        track_id=stem.track_id,
        name=stem.name,
        loudness_lufs=None if loudness is None else round(loudness - gain_db, 3),
        peak_dbfs=None if peak == 0.0 else round(gain_to_db(peak) - gain_db, 3),
        level_lu=_finite(balance.level_lu),
        level_low_lu=_finite(balance.level_low_lu),
        level_high_lu=_finite(balance.level_high_lu),
        pan=None if balance.pan is None or stem.name == RESIDUAL else round(balance.pan, 4),
        width=None if balance.width is None or stem.name == RESIDUAL else round(balance.width, 4),
        **facts,
    )


def _finite(value: float) -> float | None:
    return round(value, 3) if math.isfinite(value) else None


def sounding_seconds(energies: Audio, edges: NDArray[np.int64], num_frames: int, sample_rate: int) -> tuple[bool, ...]:
    """For each second, whether a signal sounds in at least half of it: momentary loudness less than 20 LU below its integrated one.

    ``energies`` are those per hop, [K], whose edges in frames are [K + 1]. Of the signal alone, whether or not it is found in the mixture.
    Less than half a second at the end is not counted.
    """
    means, ends = window_means(energies, edges, MOMENTARY_HOPS)
    momentary, end_s = to_lufs(means), ends / sample_rate
    loudness = gated_loudness(means[::BLOCK_STEP_HOPS])
    sounds = momentary > loudness - SOUNDING_RANGE_LU if math.isfinite(loudness) else np.zeros(len(momentary), bool)
    middle_s = end_s - MOMENTARY_S / 2
    flags = []
    for second in range(max(1, round(num_frames / sample_rate))):
        within = sounds[(middle_s >= second) & (middle_s < second + 1)]
        flags.append(bool(within.mean() >= SOUNDING_SHARE) if len(within) else False)
    return tuple(flags)
