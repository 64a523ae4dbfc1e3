"""Multitracks with files of any names: folders of a mixture and its stems, published layouts, and stems without a mixture.

Conventions
    A folder with a file named mixture or mix (or mixdown, master ...; "song_mix" beside "song_kick") and any others is a multitrack, each
    other file a stem that is named after it. The stems may be in a folder of their own below that of the mixture: stems, raw, tracks.
    Which stem a file is a part of is said by ``StemRules``, else by the data set; else it is a stem of its own.
    Without a mixture a song is refused, unless the layout's publication defines the mixture as the sum, or that is configured
    (``StemRules.sum_missing``). Files that are called as sums of others (accompaniment, mix_no_vocals, ...) are no part of it.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

from stemwright.manifests.catalog.candidates import IsSong, Listing
from stemwright.manifests.catalog.layouts import LAYOUTS, Layout
from stemwright.manifests.catalog.layouts.base import Multitrack, MultitrackFile, names_of
from stemwright.manifests.catalog.part_names import FULL_MIXES, SUM_NAMES, bare_names, is_part, is_stems_folder, rank_of_stems_folder
from stemwright.manifests.catalog.song_names import artist_and_title
from stemwright.manifests.catalog.stem_map import OTHER
from stemwright.manifests.names import LONGEST_NAME, is_name, name_from
from stemwright.manifests.records import RESIDUAL, Refused
from stemwright.manifests.wording import counted

log = logging.getLogger(__name__)

EXPECTED = "expected a multitrack folder: a file named mixture (or mix) and its stems"
HOW_TO_SUM = "To take the sum of its stems for the mixture, add --mixture sum (songs.mixture = 'sum')"
VOCALS = ("vocals", "vocal", "lead_vocals", "vox")


def stem_name(file: str) -> str:
    """The name of a stem after its file: lower case, with underscores for all but letters and digits ("Hi-Hat.wav" is hi_hat)."""
    return name_from(PurePosixPath(file).stem)


def taker(listing: Listing, only: str | None = None) -> IsSong:
    """What takes the songs of published layouts out of a walk: of all that are unmistakable, or of one."""
    layouts = {only: LAYOUTS[only]} if only else {name: layout for name, layout in LAYOUTS.items() if layout.AUTOMATIC}

    def take(folder: Path, names: frozenset[str]) -> bool:
        for kind, layout in layouts.items():
            if _is_song(kind, layout, folder, names):
                _add_song(listing, kind, layout, folder)
                return True
        return False

    return take


def _is_song(kind: str, layout: Layout, folder: Path, names: frozenset[str]) -> bool:
    """Whether a layout takes a folder. One of another package that raises anything takes none."""
    try:
        return layout.is_song(folder, names)
    except Exception as error:
        if kind in LAYOUTS.own:
            raise
        log.warning("the layout %s of %s failed at %s: %s: %s", kind, LAYOUTS.package(kind), folder, type(error).__name__, error)
        return False


def _add_song(listing: Listing, kind: str, layout: Layout, folder: Path, columns: Mapping[str, Any] | None = None) -> None:
    try:
        song = layout.read(folder)
    except (Refused, OSError) as reason:
        listing.refuse(listing.below(folder), str(getattr(reason, "strerror", None) or reason))
        return
    except Exception as error:
        if kind in LAYOUTS.own:
            raise
        listing.refuse(listing.below(folder), f"the layout {kind} of {LAYOUTS.package(kind)} failed: {type(error).__name__}: {error}")
        return
    files = tuple(file for file in song.files if not listing.ignores(listing.below(folder, file.path)))
    source = kind if columns is None else "csv"
    _add(listing, source, folder, replace(song, files=files), dict(zip(files, names_of(files), strict=True)), columns)


def from_layout(kind: str, listing: Listing) -> None:
    """Lists the songs of one published layout; what else is in the folder is refused."""
    for folder, names in listing.walk(taker(listing, kind)):
        if names:
            listing.refuse(
                listing.below(folder), f"{counted(len(names), 'sound file')} outside of a song of {kind}; expected {LAYOUTS[kind].EXPECTED}"
            )


def from_folders(listing: Listing) -> None:
    """Lists every folder with sound files as a multitrack."""
    found = {folder: names for folder, names in listing.walk(taker(listing)) if names}
    below: dict[Path, list[Path]] = {}  # folders of stems, by the folder of their song
    for folder in found:
        if is_stems_folder(folder.name) and folder != listing.root:
            below.setdefault(folder.parent, []).append(folder)
    for parent, folders in below.items():
        _add_with_folders(listing, "multitracks", parent, found.pop(parent, []), {folder: found.pop(folder) for folder in folders})
    for folder, names in found.items():
        _add_files(listing, "multitracks", folder, names)


def add_folder(listing: Listing, source: str, folder: Path, columns: Mapping[str, Any]) -> None:
    """Adds one folder as a multitrack, of a published layout or of any other; refuses any other."""
    names = frozenset(path.name for path in folder.iterdir() if not path.name.startswith("."))
    for kind, layout in LAYOUTS.items():
        if layout.AUTOMATIC and _is_song(kind, layout, folder, names):
            _add_song(listing, kind, layout, folder, columns)
            return
    places = [folder / name for name in sorted(names) if is_stems_folder(name) and (folder / name).is_dir()]
    folders = {place: sounds for place in places if (sounds := listing.sounds_in(place))}
    _add_with_folders(listing, source, folder, listing.sounds_in(folder), folders, columns)


def _add_with_folders(
    listing: Listing,
    source: str,
    parent: Path,
    names: Sequence[str],
    folders: Mapping[Path, Sequence[str]],
    columns: Mapping[str, Any] | None = None,
) -> None:
    """Adds a song by its folder and those of its stems below it: the files of the best one, unless the stems are beside the mixture."""
    mixture = _mixture(names, parent)
    bare = bare_names(names)
    ranked = sorted(folders, key=lambda folder: (rank_of_stems_folder(folder.name), folder.name))
    if not ranked or (names and (mixture is None or any(is_part(bare[name]) for name in names if name != mixture))):
        _add_files(listing, source, parent, names, columns)
        for folder in ranked:
            listing.refuse(listing.below(folder), f"beside stems in {parent.name}, which are read")
        return
    chosen, *others = ranked
    for folder in others:
        listing.refuse(listing.below(folder), f"other files of the song whose {chosen.name} are read")
    for name in names:
        if name != mixture:
            listing.refuse(listing.below(parent, name), f"beside {mixture} and its {chosen.name}, so not a part of it")
    stems = [f"{chosen.name}/{name}" for name in folders[chosen]]
    _add_files(listing, source, parent, [*([mixture] if mixture else []), *stems], columns, mixture=mixture)


def _mixture(names: Sequence[str], folder: Path) -> str | None:
    """The file of a folder that is its mixture by its name: mix, or what is called as the folder or the other files are, and mix."""
    bare = bare_names(names)
    own = {name: stem_name(name) for name in names}
    called = name_from(folder.name)
    for wanted in FULL_MIXES:
        for name in names:
            if wanted in (own[name], *bare[name]) or own[name] == f"{called}_{wanted}":
                return name
    return None


def _add_files(
    listing: Listing,
    source: str,
    folder: Path,
    names: Sequence[str],
    columns: Mapping[str, Any] | None = None,
    *,
    mixture: str | None = None,
) -> None:
    """Adds a folder with a mixture and stems of any names, which are named after their files."""
    mixture = mixture or _mixture(names, folder)
    stems = {name: stem_name(name) for name in names if name != mixture}
    if not stems or (mixture is None and (not listing.rules.sum_missing or len(stems) == 1)):
        listing.refuse(listing.below(folder), f"{EXPECTED}; {_lacks(mixture, stems)}{_advice(mixture, stems, listing)}")
    elif len(set(stems.values())) < len(stems) or not all(map(is_name, stems.values())) or RESIDUAL in stems.values():
        expected = f"different names of Latin letters and digits, at most {LONGEST_NAME} characters, not empty and not {RESIDUAL!r}"
        listing.refuse(
            listing.below(folder), f"its stems would be named {', '.join(stems.values())}; expected {expected}. Rename the files"
        )
    else:
        files = {MultitrackFile(name, (PurePosixPath(name).stem,)): own for name, own in stems.items()}
        _add(listing, source, folder, Multitrack(tuple(files), mixture), files, columns)


def _lacks(mixture: str | None, stems: Mapping[str, str]) -> str:
    return f"got {counted(len(stems), 'file')}, none of them named mixture or mix" if mixture is None else f"got only {mixture}"


def _advice(mixture: str | None, stems: Mapping[str, str], listing: Listing) -> str:
    return f". {HOW_TO_SUM}" if mixture is None and len(stems) > 1 and not listing.rules.sum_missing else ""


def _add(
    listing: Listing,
    source: str,
    folder: Path,
    song: Multitrack,
    names: Mapping[MultitrackFile, str],
    columns: Mapping[str, Any] | None = None,
) -> None:
    """Adds a song by its files and their names, with the stems that they are parts of; or refuses it."""
    notes, is_sum, kept = list(song.notes), song.mixture is None, dict(names)
    if is_sum:
        for file in _sums(kept):
            notes.append(f"{PurePosixPath(file.path).name} is called as a sum of other stems is: not added to them")
            del kept[file]
    where = listing.below(folder)
    if is_sum and not (song.is_sum or listing.rules.sum_missing):
        listing.refuse(where, f"has {counted(len(kept), 'stem')} and no mixture. {HOW_TO_SUM}")
        return
    if not kept:
        listing.refuse(where, "has no stems: all of its files are ignored")
        return
    try:
        parts, unmatched = _parts(listing, kept)
    except Refused as reason:
        listing.refuse(where, str(reason))
        return
    if unmatched:
        into = "each is a stem of its own" if listing.rules.unmatched == "own" else f"summed into {OTHER}"
        notes.append(f"no pattern of [songs.stems] matches {', '.join(unmatched)}: {into}")
    facts: dict[str, Any] = {"parts": parts, "unmatched": tuple(unmatched)}
    facts |= {"bleed": {name: file.bleed for file, name in kept.items() if file.bleed is not None}}
    facts |= {"metadata": dict(song.metadata), "title": song.title, "artist": song.artist, "rights": song.rights, "split": song.split}
    if is_sum:
        facts["mixture"] = "sum"
        notes.insert(0, f"no mixture: the sum of its {counted(len(kept), 'file')}")
        facts |= {} if song.title else _called(folder)
    given = dict(columns or {})
    given["note"] = "; ".join(note for note in (given.get("note"), *notes) if note)
    facts |= {name: value for name, value in given.items() if value is not None}
    files = [where if is_sum else listing.below(folder, song.mixture or ""), *(listing.below(folder, file.path) for file in kept)]
    listing.add(source, files, facts, stem_names=tuple(kept.values()))


def _parts(listing: Listing, kept: Mapping[MultitrackFile, str]) -> tuple[dict[str, str], list[str]]:
    """{name of a file: the stem that it is a part of}, for those that are not stems of their own; and those that no pattern matches."""
    if listing.rules.patterns:
        return listing.rules.assign({name: (*file.labels, name) for file, name in kept.items()})
    return {name: file.part for file, name in kept.items() if file.part is not None}, []


def _sums(files: Mapping[MultitrackFile, str]) -> list[MultitrackFile]:
    """The files that are called as sums of others, where there are others besides the vocals."""
    bare = bare_names([file.path for file in files])
    sums = [file for file in files if not {*bare[file.path]}.isdisjoint((*SUM_NAMES, *FULL_MIXES))]
    rest = [file for file in files if file not in sums and bare[file.path][0] not in VOCALS]
    return sums if rest else []


def _called(folder: Path) -> dict[str, str | None]:
    """Artist and title after the folder of a song: "Artist - Title", or a title."""
    artist, title = artist_and_title(folder.resolve().name)
    return {"artist": artist, "title": title}
