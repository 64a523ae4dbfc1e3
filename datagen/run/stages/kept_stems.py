"""The stems that a corpus keeps: where they are, and how a later run finds them.

    stems/<model>/<track id>/<stem>.flac      and beside them ``stems.json``

Conventions
    <model> is the name of the model, and behind it eight hex digits of what was asked where that is more than the name says: other weights
    from a folder, a precision, a loudness. A multitrack's own stems are in ``reference``. So the stems of several models and settings are
    kept side by side, and going back to one costs nothing.
    ``stems.json`` is written last, by rename, and removed first: where it is, the stems are whole. It holds the id of the work, what was
    judged, and the rows. Stems that were refused leave it without rows, so that they are not separated again to be refused again.
    The table of stems holds the rows of the current songs and configuration only. Nothing here removes stems: a drive that is not mounted
    takes songs away too.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from stemwright.manifests.check import KEPT_STEMS
from stemwright.manifests.disk.durable import sync_folder, write_bytes
from stemwright.manifests.disk.regular import regular
from stemwright.manifests.records import CacheKey, Record, Stem, content_id
from stemwright.separation.quality import Figures

STEMS = "stems"
REFERENCE = "reference"
USUAL = {"precision": "auto", "input_lufs": None}
OLD = re.compile(r"[0-9a-f]{16}")  # folders of version 0.1: stems/<track id>/


class KeptStems(Record):
    """What is kept of one track beside its stems: what they were made from, what was judged, and their rows (none if refused)."""

    cache_key: CacheKey
    figures: Figures
    stems: tuple[Stem, ...]


def folder_name(model: str, identity: Mapping[str, Any], *, own_weights: bool) -> str:
    """The folder of a model's stems in ``stems/``: its name, with a suffix where more was asked than the name says."""
    plain = "_".join(re.findall(r"[a-z0-9_-]+", model.lower())).lstrip("_-") or "model"
    usual = not own_weights and all(identity.get(key, value) == value for key, value in USUAL.items())
    return plain if usual and plain == model and plain != REFERENCE and not OLD.fullmatch(plain) else f"{plain}-{content_id(identity)[:8]}"


def read(place: Path, cache_key: str) -> KeptStems | None:
    """What is kept in a track's folder, if it was made by the work of this id."""
    try:
        kept = KeptStems.model_validate_json(regular(place / KEPT_STEMS).read_bytes())
    except (OSError, ValidationError):
        return None
    return kept if kept.cache_key == cache_key else None


def invalidate(place: Path) -> None:
    """Removes the row file of a track's stems, before they are written again."""
    if (place / KEPT_STEMS).exists():
        (place / KEPT_STEMS).unlink()
        sync_folder(place)


def commit(place: Path, cache_key: str, figures: Figures, stems: Sequence[Stem]) -> None:
    """Writes the row file of a track: its stems are whole."""
    kept = KeptStems(cache_key=cache_key, figures=figures, stems=tuple(stems))
    write_bytes(place / KEPT_STEMS, kept.model_dump_json(indent=1).encode() + b"\n")


def unused(stems: Path, current: set[Path]) -> tuple[int, int]:
    """How many folders hold kept stems that no current row names, and how many are in the layout of version 0.1."""
    kept = sum(file.parent not in current for file in stems.glob(f"*/*/{KEPT_STEMS}"))
    return kept, sum(OLD.fullmatch(place.name) is not None and place.is_dir() for place in stems.glob("*"))
