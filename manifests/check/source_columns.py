"""The facts about the sources of pairs (``dataset_rows.SourceRows``), as columns: those of the pairs of a batch are compared at once."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from stemwright.manifests.arrow_arrays import numbers_in_arrow
from stemwright.manifests.dataset_rows import beats_inside
from stemwright.manifests.id_numbers import Ids, flags_of, numbers_of, places_among, plain
from stemwright.manifests.joined_rows import ById, JoinedRows
from stemwright.manifests.pair_columns import sources_in
from stemwright.manifests.records import Stem, Track, TrackEstimate

if TYPE_CHECKING:
    import pyarrow

OF_STEM = {"stem": "name", "track_id": "track_id", "origin": "origin", "closure_db": "closure_db", "gain_db": "gain_db"}
OF_TRACK = ("title", "artist", "album", "rights", "metadata", "split")
KEPT = 256  # tracks whose beats were used last


class SourceColumns:
    """What a corpus knows about the sources of its pairs; the last of several rows with an id counts."""

    def __init__(self, tracks: JoinedRows[Track], stems: JoinedRows[Stem], tempos: JoinedRows[TrackEstimate]) -> None:
        self._track_ids, self._tracks = _by_id(tracks, *OF_TRACK)
        self._stem_ids, self._stems = _by_id(stems, *OF_STEM.values(), "audio.sample_rate")
        self._track_of = places_among(_numbers(self._stems, "track_id"), self._track_ids)
        self._tempos = ById(tempos, "track_id")
        self._beats = lru_cache(KEPT)(self._beats_of)

    def same_sources(self, pairs: pyarrow.RecordBatch, written: Any) -> bool:
        """Whether lists of ``Provenance``, one for each pair of a batch, are what is known about the sources of these pairs."""
        import pyarrow.compute as pc

        rows, stems = self._distinct(pairs)
        if not np.array_equal(np.bincount(rows, minlength=pairs.num_rows), plain(pc.list_value_length(written))):
            return False
        found = pc.list_flatten(written)
        if not len(rows):
            return True
        rates, of_pairs = plain(_taken(self._stems, "sample_rate", stems)), plain(pairs.column("sample_rate"))[rows]
        resampled = flags_of(pc.struct_field(found, "resampled"))
        return (
            bool((numbers_of(pc.struct_field(found, "id")) == self._stem_ids[stems]).all())
            and all(_taken(self._stems, name, stems).equals(pc.struct_field(found, written)) for written, name in OF_STEM.items())
            and all(_taken(self._tracks, name, self._track_of[stems]).equals(pc.struct_field(found, name)) for name in OF_TRACK)
            and np.array_equal(rates, plain(pc.struct_field(found, "sample_rate")))
            and np.array_equal(rates != of_pairs, resampled)
        )

    def _distinct(self, pairs: pyarrow.RecordBatch) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """(row, number of the stem) of each source of pairs that is a stem of a known track, once for each pair, in order."""
        rows, sources = sources_in(pairs)
        stems = places_among(sources, self._stem_ids)
        known = stems >= 0
        known[known] = self._track_of[stems[known]] >= 0
        rows, stems = rows[known], stems[known]
        _, first = np.unique(rows * len(self._stem_ids) + stems, return_index=True)
        first.sort()
        return rows[first], stems[first]

    def same_beats(self, pairs: pyarrow.RecordBatch, written: Any) -> bool:
        """Whether lists of beats, one for each pair of a batch, are those of the pairs' tracks inside their excerpts."""
        import pyarrow as pa

        if not len(self._tempos):
            return bool(written.null_count == len(written))
        beats = [self._beats(track) for track in pairs.column("track_id").to_pylist()]
        places = zip(*(plain(pairs.column(name)).tolist() for name in ("start_frame", "num_frames", "sample_rate")), strict=True)
        found = [None if each is None else beats_inside(each, *place) for each, place in zip(beats, places, strict=True)]
        return bool(pa.array(found, written.type).equals(written))

    def _beats_of(self, track: str) -> npt.NDArray[np.float64] | None:
        tempo = self._tempos.get(track)
        return None if tempo is None else np.array(tempo.beats_s, np.float64)


def _by_id(rows: JoinedRows[Any], *names: str) -> tuple[Ids, pyarrow.Table | None]:
    """(sorted ids, the named columns in their order); None without rows."""
    import pyarrow as pa

    ids = rows.ids()
    unique, last = np.unique(ids[::-1], return_index=True)
    if not len(ids):
        return unique, None
    return unique, pa.Table.from_batches(list(rows.columns(*names))).take(numbers_in_arrow(len(ids) - 1 - last)).combine_chunks()


def _numbers(rows: pyarrow.Table | None, name: str) -> Ids:
    return np.zeros(0, np.uint64) if rows is None else numbers_of(rows.column(name))


def _taken(rows: pyarrow.Table | None, name: str, places: npt.NDArray[np.int64]) -> Any:
    """The values of a column in some rows."""
    import pyarrow.compute as pc

    assert rows is not None
    column = pc.struct_field(rows.column("audio"), name) if name == "sample_rate" else rows.column(name)
    return column.combine_chunks().take(numbers_in_arrow(places))
