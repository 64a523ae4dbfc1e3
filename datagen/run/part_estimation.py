"""Estimating the parts of a stem that was taken apart: their level in the mixture, pan, width and activity, as for stems.

Conventions
    Those of ``track_estimation``. The mixture is the sum of the stems of the track; the parts are measured against it, not against their
    stem: the level within the stem is the difference of two loudnesses, the part's and the stem's, which are on one scale.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing
from itertools import zip_longest
from pathlib import Path

import numpy as np

from stemwright.datagen.run.track_estimation import row_of, sounding_seconds, stem_blocks
from stemwright.manifests import __version__
from stemwright.manifests.decibels import db_to_gain
from stemwright.manifests.records import Estimate, Part, Refused, Stem, content_id
from stemwright.manifests.sound.formats import Audio
from stemwright.separation.balance.level_estimators import calibration_for
from stemwright.separation.balance.measure import balances_of, energies_in_blocks


def cache_key(stems: Sequence[Stem], parts: Sequence[Part]) -> str:
    """The id of estimating the parts of one track: of its stems, of the parts, and of this version."""
    asked = {"stems": [stem.id for stem in stems], "parts": [part.id for part in parts]}
    return content_id({**asked, "estimate": "balance and peak of parts", "version": __version__})


def estimate_parts(payload: tuple[Sequence[Stem], Sequence[Part]], corpus: Path) -> list[Estimate]:
    """Measures the parts of one track against the sum of its stems. Raises Refused when nothing can be measured."""
    stems, parts = payload
    sample_rate, key = stems[0].audio.sample_rate, cache_key(stems, parts)
    read = _Reading(stems, parts, corpus)
    try:
        energies = energies_in_blocks(read.blocks(), sample_rate)
        names = [part.name for part in parts]
        balances = balances_of(energies, names, sample_rate, calibration_for(parts[0].origin))
    except ValueError as error:
        raise Refused(str(error)) from error
    rows = []
    for part, own, peak in zip(parts, energies.own, read.peaks, strict=True):
        active = sounding_seconds(own, energies.edges, read.num_frames, sample_rate)
        rows.append(row_of(part, balances[part.name], peak, {"cache_key": key, "active": active}, gain_db=stems[0].gain_db))
    return rows


class _Reading:
    """The stems and the parts of a track, read together in blocks, all on the scale of the stems' files."""

    def __init__(self, stems: Sequence[Stem], parts: Sequence[Part], corpus: Path) -> None:
        self._stems, self._parts, self._corpus = stems, parts, corpus
        self._gains = [np.float32(db_to_gain(stems[0].gain_db - part.gain_db)) for part in parts]
        self.num_frames, self.peaks = 0, [0.0] * len(parts)

    def blocks(self) -> Iterator[list[Audio]]:
        """Blocks of the mixture [C, t], then of each part. Raises Refused if one cannot be read, or is longer than the others."""
        with ExitStack() as ready:
            readers = [ready.enter_context(closing(stem_blocks(self._corpus, row))) for row in (*self._stems, *self._parts)]
            for signals in zip_longest(*readers):
                yield self._summed(signals)

    def _summed(self, signals: Sequence[Audio | None]) -> list[Audio]:
        found = [signal for signal in signals if signal is not None]
        if len(found) < len(signals) or len({signal.shape for signal in found}) > 1:
            raise Refused("expected stems and parts of one shape; run `stemwright separate` again")
        self.num_frames += found[0].shape[1]
        count = len(self._stems)
        mixture = np.zeros_like(found[0])
        for signal in found[:count]:
            mixture += signal
        parts = [signal if gain == 1 else signal * gain for signal, gain in zip(found[count:], self._gains, strict=True)]
        self.peaks = [max(peak, float(np.abs(part).max(initial=0.0))) for peak, part in zip(self.peaks, parts, strict=True)]
        return [mixture, *parts]
