"""Estimating: the stems of a track -> one row for each stem, with its balance, its place, and when it sounds.

Conventions
    The mixture is taken as the sum of the stems and their residual, which is what it is; the songs folder is not needed.
    ``loudness_lufs`` is on the mixture's own scale: the joint gain of the stems is taken out again.
    What is not present has no level: None, never a low number.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from manifests import __version__
from manifests.audio import load
from manifests.records import RESIDUAL, Estimate, Refused, Stem, content_id, seal
from separation.balance import StemBalance, measure_balance
from separation.level import REFERENCE, SEPARATED

ACTIVE_SHARE_OF_SECOND = 0.5


def task_id(stems: Sequence[Stem]) -> str:
    """The id of estimating one track: of its stems and this version."""
    return content_id({"stems": [stem.id for stem in stems], "estimate": "balance", "version": __version__})


def estimate_track(stems: Sequence[Stem], corpus: Path) -> list[Estimate]:
    """Measures the stems of one track against their sum. Raises Refused when nothing can be said."""
    audio = {stem.name: load(corpus / stem.audio.path)[0] for stem in stems}
    mixture = np.asarray(np.sum(list(audio.values()), axis=0, dtype=np.float32))
    calibration = REFERENCE if all(stem.origin == "reference" for stem in stems) else SEPARATED
    try:
        balances = measure_balance(mixture, audio, stems[0].audio.sample_rate, calibration=calibration)
    except ValueError as error:
        raise Refused(str(error)) from error
    task = task_id(stems)
    duration_s = mixture.shape[1] / stems[0].audio.sample_rate
    return [_row(stem, balances[stem.name], task, duration_s) for stem in stems]


def _row(stem: Stem, balance: StemBalance, task: str, duration_s: float) -> Estimate:
    loudness = _finite(balance.loudness_lufs)
    return seal(
        Estimate,
        task_id=task,
        stem_id=stem.id,
        track_id=stem.track_id,
        name=stem.name,
        loudness_lufs=None if loudness is None else round(loudness - stem.gain_db, 3),
        level_lu=_finite(balance.level_lu),
        level_low_lu=_finite(balance.level_low_lu),
        level_high_lu=_finite(balance.level_high_lu),
        pan=None if balance.pan is None or stem.name == RESIDUAL else round(balance.pan, 4),
        width=None if balance.width is None or stem.name == RESIDUAL else round(balance.width, 4),
        active=_by_second(balance.active_spans_s, duration_s),
    )


def _finite(value: float) -> float | None:
    return round(value, 3) if math.isfinite(value) else None


def _by_second(spans: Sequence[tuple[float, float]], duration_s: float) -> tuple[bool, ...]:
    """For each second of the track, whether at least half of it lies in a span; less than half a second at the end is not counted."""
    flags = []
    for second in range(max(1, round(duration_s))):
        length = min(1.0, duration_s - second)
        covered = sum(max(0.0, min(end, second + 1.0) - max(start, second)) for start, end in spans)
        flags.append(covered >= ACTIVE_SHARE_OF_SECOND * length)
    return tuple(flags)
