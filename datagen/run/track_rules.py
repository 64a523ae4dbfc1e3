"""What rules are measured of in a corpus: the mixture of each track, as the sum of its stems, with their balance.

Conventions
    Everything is on the mixture's own scale: the joint gain of the stems is taken out. The songs folder is not needed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from stemwright.datagen.run.corpus import Corpus
from stemwright.datagen.run.track_estimation import measured_balances
from stemwright.manifests.decibels import db_to_gain
from stemwright.manifests.grouped_rows import GroupedRows
from stemwright.manifests.records import Stem, Track
from stemwright.manifests.sound.formats import Audio
from stemwright.separation.balance.level_estimators import Calibration
from stemwright.separation.loudness.meter import measure_loudness
from stemwright.separation.rules.quantities import Heard


def tracks_with_stems(corpus: Corpus) -> list[tuple[Track, list[Stem]]]:
    """The tracks of a corpus that have stems, in the order of its table of stems. Raises CorpusError where a table is missing."""
    tracks = {track.id: track for track in corpus.rows("tracks", Track)}
    stems = GroupedRows(corpus.table_rows("stems", Stem), "track_id")
    return [(tracks[track_id], list(stems[track_id])) for track_id in _ids(stems) if track_id in tracks]


def _ids(stems: GroupedRows[Stem]) -> Iterator[str]:
    yield from stems


def hear_track(stems: Sequence[Stem], corpus: Path, calibration: Calibration | None = None) -> Heard:
    """What rules are measured of in one track. Raises Refused when nothing can be measured: a silent mixture, a stem that is missing."""
    blocks: list[Audio] = []
    _, _, balances = measured_balances(stems, corpus, blocks.append, calibration=calibration)
    mixture = np.concatenate(blocks, axis=1) * np.float32(db_to_gain(-stems[0].gain_db))
    sample_rate = stems[0].audio.sample_rate
    return Heard(mixture, sample_rate, measure_loudness(mixture, sample_rate), balances)
