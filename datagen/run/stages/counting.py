"""Counts of the songs of a run of several stages: each song once, however many stages did something for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from stemwright.datagen.run.corpus import Corpus
from stemwright.datagen.run.stages.summary import Summary
from stemwright.manifests import table


@dataclass(frozen=True)
class SongCounts:
    """How many songs have something new in the corpus, are as they were, and are in none of its pairs because they were refused."""

    done: int
    skipped: int
    rejected: int

    @property
    def total(self) -> int:
        """How many were looked at."""
        return self.done + self.skipped + self.rejected


def count_songs(corpus: Corpus, summaries: Sequence[Summary]) -> SongCounts:
    """Counts the songs that the stages looked at. A song of which some pairs were refused, but not all, is not a rejected one."""
    tracks, refused = set(corpus.ids("tracks")), corpus.rejected()
    files = {row.row_id for row in refused if row.stage == "catalog"}
    later = {row.row_id for row in refused if row.stage != "catalog"}
    lost = _without_pairs(corpus, tracks, later) if later else set()
    touched = {song for summary in summaries for song in summary.songs} & tracks
    done = len(touched - lost)
    return SongCounts(done, len(tracks) - len(lost) - done, len(files) + len(lost))


def _without_pairs(corpus: Corpus, tracks: set[str], refused: set[str]) -> set[str]:
    """The tracks that are named in refused rows, themselves or by a pair of theirs, and have no pair that was not refused."""
    named, through = tracks & refused, set[str]()
    for name in ("pairs", "redraws"):
        path = corpus.table(name)
        for pair_id, track in zip(table.column(path, "id"), table.column(path, "track_id"), strict=True):
            (named if pair_id in refused else through).add(track)
    return named - through
