"""MoisesDB: a folder per song with ``data.json`` and one folder of files per stem; the mixture is the sum of all files.

    moisesdb_v0.1/<song id>/data.json
    moisesdb_v0.1/<song id>/<stem>/<file id>.wav

``data.json`` has ``song``, ``artist``, ``genre``, and ``stems``: each with ``stemName`` and ``tracks``, which have ``id``, ``trackType``
(the instrument), ``extension`` and ``has_bleed``.

Conventions
    Its eleven stems are counted to Demucs's four as its publication does: vocals, bass and drums as they are, all others to other.
    It has no splits: they are drawn by artist.

References
    Pereira, Araújo, Korzeniowski and Vogl, "MoisesDB: A dataset for source separation beyond 4-stems", 2023, arXiv:2307.15913.
"""

from __future__ import annotations

import re
from pathlib import Path

from stemwright.manifests.catalog.layouts.base import (
    Multitrack,
    MultitrackFile,
    check_there,
    items,
    read_json,
    sounds_below,
    text,
    yes_or_no,
)
from stemwright.manifests.names import name_from
from stemwright.manifests.records import Refused

EXPECTED = "a folder with data.json, and a folder of files for each stem that it names"
AUTOMATIC = True
DATA = "data.json"
SONG_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)  # RFC 9562
OWN_STEMS = ("vocals", "bass", "drums")  # of the published four; all others are other
STEMS = (*OWN_STEMS, "other", "guitar", "other_plucked", "percussion", "piano", "other_keys", "bowed_strings", "wind")


def is_song(folder: Path, names: frozenset[str]) -> bool:
    """Whether there is a ``data.json`` that lists stems; or whether it is called and has folders as a song has, without one."""
    if DATA not in names:
        return SONG_ID.fullmatch(folder.name) is not None and _has_stems(folder, names)
    try:
        return isinstance(read_json(folder / DATA).get("stems"), list)
    except Refused:
        return _has_stems(folder, names)


def _has_stems(folder: Path, names: frozenset[str]) -> bool:
    return any(name_from(name) in STEMS and (folder / name).is_dir() for name in names)


def read(folder: Path) -> Multitrack:
    """The song of a folder. Raises Refused if files are missing that ``data.json`` names, or there are others."""
    if not (folder / DATA).exists():
        raise Refused(f"is missing {DATA}, which says what its files are; is the download complete?")
    data = read_json(folder / DATA)
    files = []
    for stem in items(data.get("stems")):
        stem_name = text(stem.get("stemName")) or ""
        for track in items(stem.get("tracks")):
            instrument = text(track.get("trackType"))
            path = f"{stem_name}/{track.get('id')}.{track.get('extension') or 'wav'}"
            part = name_from(stem_name) if name_from(stem_name) in OWN_STEMS else "other"
            labels = tuple(label for label in (_label(stem_name, instrument), stem_name, instrument) if label)
            files.append(MultitrackFile(path, labels or ("stem",), part, yes_or_no(track.get("has_bleed"))))
    if not files:
        raise Refused(f"{DATA} lists no files; expected stems, each with tracks")
    check_there(folder, [file.path for file in files], DATA)
    listed = {file.path for file in files}
    unlisted = [f"{place.name}/{name}" for place in sorted(folder.iterdir()) if place.is_dir() for name in sounds_below(place)]
    extra = [path for path in unlisted if path not in listed]
    notes = (f"not listed in {DATA}, so not a part of it: {', '.join(extra)}",) if extra else ()
    genre = text(data.get("genre"))
    return Multitrack(
        files=tuple(files),
        is_sum=True,
        title=text(data.get("song")),
        artist=text(data.get("artist")),
        metadata={"genre": genre} if genre else {},
        notes=notes,
    )


def _label(stem: str, instrument: str | None) -> str:
    """The name of a file: its stem, and of its instrument what stands before a bracket or a comma."""
    short = (instrument or "").partition("(")[0].partition(",")[0].strip()
    return stem if not short or name_from(short) == name_from(stem) else f"{stem} {short}"
