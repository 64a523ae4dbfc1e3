"""The stems that a corpus keeps: where they are, and how a later run finds them.

    stems/<model>/<track id>/<stem>.flac      and beside them ``stems.json``

Conventions
    <model> is the name of the model, and behind it eight hex digits of what was asked where that is more than the name says: other weights
    from a folder, a precision, a loudness. A multitrack's own stems are in ``reference``. So the stems of several models and settings are
    kept side by side, and going back to one costs nothing.
    Stems are made in a folder of the attempt (``stem_files.attempt_folder``), which is renamed when it is whole (``put``).
    ``stems.json`` is written last, by rename, and removed first: where it is, the stems are whole. It holds the id of the work, what was
    judged, and the rows. Stems that were refused leave it without rows, so that they are not separated again to be refused again.
    The parts of a stem that is taken apart are kept alike, in a folder of the model that does it (``separating_parts``).
    The id of a recording may change with the rules of a version, where it was of more than the sound. Its folders are renamed then, and
    ``stems.json`` holds the former row of the track until ``separate`` has seen that the stems are those that are requested.
    The table of stems holds the rows of the current songs and configuration only. Nothing here removes stems: a drive that is not mounted
    takes songs away too.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Container, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from stemwright.manifests.check import KEPT_STEMS
from stemwright.manifests.disk.deletion import link_on_the_way
from stemwright.manifests.disk.durable import claim, move, put_all, sync_folder, write_bytes
from stemwright.manifests.disk.regular import regular
from stemwright.manifests.records import CacheKey, Part, Record, Stem, Track, content_id
from stemwright.separation.quality import Figures
from stemwright.separation.stem_files import clear_attempt

STEMS = "stems"
REFERENCE = "reference"
USUAL = {"precision": "auto", "input_lufs": None}
OLD = re.compile(r"[0-9a-f]{16}")  # folders of version 0.1: stems/<track id>/


class KeptStems(Record):
    """What is kept of one track beside its stems: what they were made from, what was judged, and their rows (none if refused)."""

    cache_key: CacheKey
    figures: Figures
    stems: tuple[Part | Stem, ...]  # of one kind
    was: Track | None = None  # the row of the track when they were made, if its id was another: ``cache_key`` and ``stems`` are of that


def folder_name(model: str, identity: Mapping[str, Any], *, own_weights: bool) -> str:
    """The folder of a model's stems in ``stems/``: its name, with a suffix where more was asked than the name says."""
    plain = "_".join(re.findall(r"[a-z0-9_-]+", model.lower())).lstrip("_-") or "model"
    usual = not own_weights and all(identity.get(key, value) == value for key, value in USUAL.items())
    return plain if usual and plain == model and plain != REFERENCE and not OLD.fullmatch(plain) else f"{plain}-{content_id(identity)[:8]}"


def read(place: Path, cache_key: str | None = None) -> KeptStems | None:
    """What is kept in a track's folder, if it was made by the work of this id (None: any); None if that is nothing whole."""
    try:
        kept = KeptStems.model_validate_json(regular(place / KEPT_STEMS).read_bytes())
    except (OSError, ValidationError):
        return None
    return kept if cache_key in (None, kept.cache_key) else None


def under_new_id(stems: Path, was: Track, track_id: str) -> bool:
    """Moves what is kept of a track to the folders of its new id, and notes there what it was; returns whether anything is there.

    What is in the folders of the new id already stays, and so does the other where it is.
    """
    moved = False
    for place in sorted(stems.glob(f"*/{was.id}")):
        found, now = read(place), place.with_name(track_id)
        if found is None or now.exists() or link_on_the_way(stems, place / KEPT_STEMS) is not None:
            continue
        noted = found if found.was is not None else found.model_copy(update={"was": was})
        write_bytes(place / KEPT_STEMS, noted.model_dump_json(indent=1).encode() + b"\n")
        move(place, now)
        moved = True
    return moved


def invalidate(place: Path) -> None:
    """Removes the row file of a track's stems, before they are written again."""
    if (place / KEPT_STEMS).exists():
        (place / KEPT_STEMS).unlink()
        sync_folder(place)


def put(attempt: Path, place: Path, kept: KeptStems, present: Callable[[Sequence[Stem]], bool]) -> KeptStems:
    """Gives the stems that an attempt has made their place, with their row file; returns what is kept there.

    That is what another process made by the same work, if it was first: the attempt is then dropped. A track's folder gets its name as a
    whole wherever it is new, so that two processes cannot mix their stems. Where another work's stems are there, or a person's files, the
    stems replace those of the same name one by one, without a row file in the meantime. ``present`` says whether all that rows name is
    there: in the folder, or in a store, where the attempt has put it.
    """
    write_bytes(attempt / KEPT_STEMS, _text(kept))
    if claim(attempt, place):
        return kept
    found = read(place, kept.cache_key)
    if found is not None and found.stems and present(found.stems):
        clear_attempt(attempt, KEPT_STEMS)
        return found
    invalidate(place)
    put_all([(attempt / name, place / name) for name in map(_name, kept.stems) if (attempt / name).exists()])
    commit(place, kept.cache_key, kept.figures, kept.stems)
    clear_attempt(attempt, KEPT_STEMS)
    return kept


def _name(row: Stem) -> str:
    return row.audio.path.rpartition("/")[2]


def commit(place: Path, cache_key: str, figures: Figures, stems: Sequence[Stem]) -> None:
    """Writes the row file of a track: its stems are whole."""
    write_bytes(place / KEPT_STEMS, _text(KeptStems(cache_key=cache_key, figures=figures, stems=tuple(stems))))


def _text(kept: KeptStems) -> bytes:
    return kept.model_dump_json(indent=1, exclude={"was"}).encode() + b"\n"


def name_of(place: Path) -> str:
    """What a track's folder is called in ``stems/``."""
    return f"{place.parent.name}/{place.name}"


def unused(stems: Path, current: Container[str]) -> tuple[int, int]:
    """How many folders hold kept stems that no current row names, and how many are in the layout of version 0.1.

    ``current`` has the names of the folders that current rows name (``name_of``).
    """
    kept = sum(name_of(file.parent) not in current for file in stems.glob(f"*/*/{KEPT_STEMS}"))
    return kept, sum(OLD.fullmatch(place.name) is not None and place.is_dir() for place in stems.glob("*"))
