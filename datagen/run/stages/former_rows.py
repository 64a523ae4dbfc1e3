"""What a corpus has of recordings whose rows are made again: because files got other tags, or because the rules of ids are others.

Ids of lossy recordings were of their decoded length, too, before they were of the packets alone. What belongs to such a recording is found
by its files, which are as they were: the stems are taken along to the new id, and the split stays.

Conventions
    Where the artist is unknown the split is drawn by the id. By which one, a note of the track says if it is not today's, so that later
    runs, and copies with other tags, have the same split.
    The split of a track that an earlier version made counts as before (``stemwright.manifests.catalog.splits``), and so does that of one
    whose file has other tags now, if these credit the same artists and nothing else was changed that decides about splits.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from stemwright.datagen.run.stages import kept_stems
from stemwright.manifests.catalog.descriptions import ARTIST_UNKNOWN
from stemwright.manifests.catalog.tracks import credit_of
from stemwright.manifests.records import Split, Track
from stemwright.manifests.stems.track_stems import mending_of
from stemwright.manifests.wording import counted

DRAWN_BY = "its split is drawn by its id of an earlier version, "  # a note of a track; the id follows


class FormerRows:
    """The tracks that a corpus had, by what is the same of them now."""

    def __init__(self, rows: Iterable[Track]) -> None:
        rows = list(rows)
        self._by_files = {_files(row): row for row in rows}
        self._by_id = {row.id: row for row in rows}
        self._splits = {row.cache_key: row.split for row in rows}

    def __bool__(self) -> bool:
        return bool(self._by_id)

    def split(self, keys: Iterable[str]) -> Split | None:
        """The split of a track with one of these cache keys."""
        return next((self._splits[key] for key in keys if key in self._splits), None)

    def of_sound(self, row: Track) -> Track | None:
        """The track of the same recording, if it was credited to the same artists."""
        was = self._by_id.get(row.id)
        return was if was is not None and credit_of(was) == credit_of(row) else None

    def drawn_by(self, row: Track) -> str:
        """The id by which the split of a track is drawn where its artist is unknown."""
        noted = [_noted(one) for one in (row, self._by_id.get(row.id)) if one is not None]
        was = self._by_files.get(_files(row))
        return next(filter(None, noted), (_noted(was) or was.id) if was is not None else row.id)

    def take_stems(self, stems: Path, rows: Iterable[Track]) -> tuple[str, ...]:
        """Takes the stems along of recordings that have other ids by the rules of this version; says so."""
        changed = [(was, row) for row in rows if (was := self._by_files.get(_files(row))) is not None and was.id != row.id]
        taken = sum(kept_stems.under_new_id(stems, was, row.id) for was, row in changed)
        if not changed:
            return ()
        phrase = "recording has another id by the rules of this version", "recordings have other ids by the rules of this version"
        kept = f", and the stems of {taken} are taken along" if taken else ""
        return (f"{counted(len(changed), *phrase)}{kept}; their pairs are drawn again",)


def with_note(row: Track, drawn_by: str) -> Track:
    """A row that says by which id its split is drawn, where that is another and its artist is unknown."""
    notes = [note for note in row.notes if not note.startswith(DRAWN_BY)]
    if drawn_by != row.id and ARTIST_UNKNOWN in notes:
        notes.append(f"{DRAWN_BY}{drawn_by}")
    return row if row.notes == tuple(notes) else row.model_copy(update={"notes": tuple(notes)})


def _noted(row: Track) -> str:
    return next((note.removeprefix(DRAWN_BY) for note in row.notes if note.startswith(DRAWN_BY)), "")


def _files(row: Track) -> tuple[object, ...]:
    """What the stems of a track are made from: its files, as they are decoded and mended."""
    files = (row.audio, *(stem.audio for stem in row.references))
    decoded = [(one.sha256, one.stream, one.sample_rate, one.num_channels, one.num_frames) for one in files]
    return *decoded, *((stem.name, mending_of(stem)) for stem in row.references)
