"""MedleyDB: a folder per song with its mix, its stems and their raw tracks; a file of metadata in it, or in a folder ``Metadata``.

    Artist_Title/Artist_Title_MIX.wav
    Artist_Title/Artist_Title_METADATA.yaml
    Artist_Title/Artist_Title_STEMS/Artist_Title_STEM_01.wav
    Artist_Title/Artist_Title_RAW/Artist_Title_RAW_01_01.wav

The metadata have ``artist``, ``title``, ``has_bleed`` (of the whole song), and ``stems``: each with ``filename`` and ``instrument``.

Conventions
    The stems are read. The raw tracks are read where there are no stems; a song without a mix is summed only where that is asked.
    The instruments become vocals, bass, drums and other, by their names; those of no known name, and files that the metadata do not name,
    are other. Without metadata each file is a stem of its own, and a note says so.

References
    Bittner et al., "MedleyDB: A multitrack dataset for annotation-intensive MIR research", ISMIR 2014. https://medleydb.weebly.com.
    github.com/marl/medleydb: names of files and metadata.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from stemwright.manifests.catalog.layouts.base import Multitrack, MultitrackFile, items, mapping, read_yaml, sounds_below, text, yes_or_no
from stemwright.manifests.catalog.part_names import part_of_instrument
from stemwright.manifests.catalog.stem_map import spaced
from stemwright.manifests.records import Refused

EXPECTED = "a folder Artist_Title with Artist_Title_MIX.wav and Artist_Title_STEMS"
AUTOMATIC = True
METADATA = "_METADATA.yaml"
METADATA_FOLDERS = ("Metadata", "data/Metadata")  # beside the folders of songs, or above them


def is_song(folder: Path, names: frozenset[str]) -> bool:
    """Whether it has files or folders that begin with its own name, as those of MedleyDB do."""
    own = {name.removeprefix(folder.name) for name in names if name.startswith(folder.name)}
    marks = {"_STEMS", "_RAW"} & {name for name in own if (folder / f"{folder.name}{name}").is_dir()}
    return bool(marks) or {"_MIX.wav", METADATA} <= own


def read(folder: Path) -> Multitrack:
    """The song of a folder. Raises Refused if it has neither stems nor raw tracks, or misses a stem that its metadata name."""
    name = folder.name
    place = _metadata(folder)
    data = read_yaml(place) if place else {}
    there = sounds_below(folder)
    mixture = next((each for each in (text(data.get("mix_filename")), f"{name}_MIX.wav") if each in there), None)
    stems = {number: stem for number, stem in sorted(mapping(data.get("stems")).items()) if mapping(stem)}
    kind, inside = "stems", f"{name}_STEMS"
    if not (found := sounds_below(folder / inside)):
        kind, inside = "raw tracks", f"{name}_RAW"
        found = sounds_below(folder / inside)
    if not found:
        raise Refused(f"has no sound file in {name}_STEMS or {name}_RAW; expected {EXPECTED}. Is the download complete?")
    instruments = _instruments(stems, raw=kind != "stems")
    if kind == "stems" and (missing := sorted(set(instruments) - set(found))):
        raise Refused(f"its metadata name {', '.join(missing)}, which is missing; is the download complete?")
    bleed = yes_or_no(data["has_bleed"]) if "has_bleed" in data else None
    artist, _, title = name.partition("_")
    return Multitrack(
        files=tuple(_file(f"{inside}/{each}", name, instruments.get(each), bleed, described=bool(stems)) for each in found),
        mixture=mixture,
        title=text(data.get("title")) or spaced(title) or None,
        artist=text(data.get("artist")) or spaced(artist),
        metadata={"genre": genre} if (genre := text(data.get("genre"))) else {},
        notes=() if stems else (f"no metadata ({name}{METADATA}) say what its {kind} are: each is a stem of its own",),
    )


def _metadata(folder: Path) -> Path | None:
    """The file of metadata: in the folder of the song, or in one for all songs."""
    name = f"{folder.name}{METADATA}"
    places = [folder, *(above / each for above in (folder.parent, folder.parent.parent) for each in METADATA_FOLDERS)]
    return next((place / name for place in places if (place / name).is_file()), None)


def _instruments(stems: dict[str, Any], *, raw: bool) -> dict[str, str]:
    """What the metadata say about each file: its instrument by its name."""
    described = [mapping(stem) for stem in stems.values()]
    if raw:
        described = [each for stem in described for each in items(list(mapping(stem.get("raw")).values()))]
    named = [(text(each.get("filename")), each.get("instrument")) for each in described]
    return {Path(name).name: _instrument(instrument) for name, instrument in named if name}


def _instrument(value: Any) -> str:
    """The instrument of a stem; of a list of them the first."""
    first = value[0] if isinstance(value, list) and value else value
    return text(first) or "unlabeled"


def _file(path: str, song: str, instrument: str | None, bleed: bool | None, *, described: bool) -> MultitrackFile:
    number = Path(path).stem.removeprefix(song).strip("_")  # STEM_01
    short = re.sub(r"^STEM_", "S", number)
    if instrument is None:
        return MultitrackFile(path, (number,), "other" if described else None, bleed)
    return MultitrackFile(path, (f"{short} {instrument}", instrument, number), part_of_instrument(instrument), bleed)
