"""The songs that a person names: files, multitracks, folders of both, and lists; each with the stems that it has, or that are named for it.

Conventions
    A file is a song; a STEM file has its own stems, and so has a folder with a file called mixture or mix and others beside it or in a
    folder of stems below it. In any other folder all songs are looked for, at any depth: those with stems of their own, and the others.
    A list (.csv, .tsv) is that of ``stemwright catalog``. Its column ``stems`` names the folder of a song's stems; any column whose fields
    are sound files names one stem, by the column's name. Paths are relative to the list.
    Stems that are named for all songs at once may be a pattern: ``{song}`` is the name of the song without its suffix, that of its folder
    where the file is called mixture; ``{folder}`` is the folder that it is in.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from stemwright.manifests.catalog.part_names import is_stems_folder, rank_of_stems_folder
from stemwright.manifests.names import checked_part, name_from
from stemwright.manifests.sound.formats import READABLE_SUFFIXES
from stemwright.manifests.stem_names import MIXTURE_NAMES, STREAMS
from stemwright.manifests.usage import UsageError
from stemwright.separation.balance.own_stems import Files, folder_name, stem_paths

if TYPE_CHECKING:
    from stemwright.manifests.catalog.candidates import Candidate

LISTS = (".csv", ".tsv")
PLACEHOLDERS = ("song", "folder")
STEMS_COLUMN = "stems"
LACKING = "stems without a mixture; expected a file named mixture or mix beside them"


@dataclass(frozen=True)
class NamedSong:
    """One song: the file of its mixture, and its stems: a folder or files; None: it is to be separated. ``place`` is how it was named."""

    path: Path
    stems: Path | Files | None = None
    place: Path | None = None

    @property
    def named(self) -> str:
        """The song as the person who named it would call it in a message."""
        return str(self.place or self.path)

    @property
    def inputs(self) -> list[Path]:
        """All files and folders that it is read from."""
        stems = self.stems if isinstance(self.stems, Mapping) else {"": (self.stems, 0)} if self.stems else {}
        return [self.path, *(path for path, _ in stems.values())]

    def without_stems(self) -> NamedSong:
        """The song to be separated."""
        return NamedSong(self.path, None, self.place)


@dataclass(frozen=True)
class NamedSongs:
    """The songs, what was rejected with the reason, and notes about lists."""

    songs: tuple[NamedSong, ...]
    rejected: tuple[tuple[str, str], ...] = ()
    notes: tuple[str, ...] = ()

    def unused_stems(self) -> list[str]:
        """Sentences about files called mixture that are to be separated though stems are beside them."""
        doubtful = [
            song.path for song in self.songs if song.stems is None and song.path.is_file() and song.path.stem.lower() in MIXTURE_NAMES
        ]
        return [
            f"{path}: separated, though its folder has stems; to measure in them: stemwright balance {path.parent}"
            for path in doubtful
            if (own := _multitrack(path.parent)) is not None and own.stems is not None
        ]


def named_songs(paths: Sequence[Path], stems: str | None = None) -> NamedSongs:
    """The songs of files, folders and lists in the order in which they are named, with the stems that a folder or pattern gives them.

    Raises UsageError for a pattern with another placeholder, for a folder without songs, and for a file that is no list of songs.
    """
    _check_pattern(stems)
    songs: list[NamedSong] = []
    rejected: list[tuple[str, str]] = []
    notes: list[str] = []
    for path in paths:
        found = _of(path)
        songs += found.songs
        rejected += found.rejected
        notes += found.notes
    if stems is not None:
        songs = [replace(song, stems=filled_pattern(stems, song.path)) for song in songs]
    return NamedSongs(tuple(songs), tuple(rejected), tuple(notes))


def _of(path: Path) -> NamedSongs:
    if path.suffix.lower() in LISTS and path.is_file():
        return _of_list(path)
    if not path.is_dir():
        return NamedSongs((NamedSong(path, _streams(path)),))
    try:
        song = _multitrack(path)
    except UsageError as error:
        return NamedSongs((), ((str(path), str(error)),))
    return _of_folder(path) if song is None else NamedSongs((song,))


def _streams(path: Path) -> Files | None:
    """The stems within a STEM file; None for any other file."""
    from stemwright.manifests.catalog.candidates import is_stem_file

    return {name: (path, stream) for stream, name in enumerate(STREAMS) if stream} if path.is_file() and is_stem_file(path) else None


def _multitrack(folder: Path) -> NamedSong | None:
    """The song that a folder is: a file called mixture or mix, with stems beside it or in a folder of stems below it.

    Raises UsageError where two of the stems are of one name.
    """
    sounds = sorted(each for each in folder.iterdir() if each.suffix.lower() in READABLE_SUFFIXES and each.is_file())
    mixture = next((each for name in MIXTURE_NAMES for each in sounds if each.stem.lower() == name), None)
    if mixture is None:
        return None
    below = sorted(each for each in folder.iterdir() if each.is_dir() and is_stems_folder(each.name))
    for place in (folder, *sorted(below, key=lambda each: rank_of_stems_folder(each.name))):
        try:
            return NamedSong(mixture, {name: (file, 0) for name, file in stem_paths(place, mixture).items()}, folder)
        except UsageError:
            raise
        except ValueError:  # no stem there
            continue
    return NamedSong(mixture, None, folder)


def _of_folder(folder: Path) -> NamedSongs:
    """The songs at any depth of a folder: multitracks first, then the files that belong to none of them."""
    from stemwright.manifests.catalog.listing import find

    found = find(folder, kind="folder")
    refused = [(path, reason) for path, reason in found.refused]
    whole: dict[str, NamedSong] = {}  # by the path of the mixture, or of the folder where there is none
    for each in find(folder, kind="multitracks").candidates:
        song = _of_candidate(folder, each)
        if each.mixture == "file" and (PurePosixPath(each.path).stem.lower() in MIXTURE_NAMES or _beside(each.path, refused)):
            whole[each.path] = song
    taken = {PurePosixPath(path).parent for path in whole}
    songs = {each.path: _of_candidate(folder, each) for each in found.candidates if PurePosixPath(each.path).parent not in taken}
    rejected: dict[str, str] = {}
    for path, reason in refused:
        if any(place in PurePosixPath(path).parents for place in taken):
            continue
        lacking = "without a mixture" in reason
        rejected.setdefault(str(folder / PurePosixPath(path).parent) if lacking else str(folder / path), LACKING if lacking else reason)
    if not (songs or whole or rejected):
        raise UsageError(f"{folder} is a folder without sound files; expected recordings, or a folder of songs or multitracks")
    every = {**songs, **whole}
    return NamedSongs(tuple(every[path] for path in sorted(every)), tuple(sorted(rejected.items())))


def _beside(mixture: str, refused: Iterable[tuple[str, str]]) -> bool:
    """Whether files in the folder of a mixture were refused as parts of it."""
    place = PurePosixPath(mixture).parent
    return any(place in PurePosixPath(path).parents for path, _ in refused)


def _of_candidate(root: Path, found: Candidate) -> NamedSong:
    """A song that the catalog found, with the stems that it found."""
    path = root / found.path
    files = {name: (root / file, stream) for name, file, stream in found.references}
    if files and all(file != path for file, _ in files.values()):
        files = (
            {file.stem: (file, stream) for file, stream in files.values()}
            if len({f.stem for f, _ in files.values()}) == len(files)
            else files
        )
    place = path.parent if files and path.stem.lower() in MIXTURE_NAMES else None
    return NamedSong(path, files or None, place)


def _of_list(path: Path) -> NamedSongs:
    """The songs of a list, with the stems that its columns name."""
    from stemwright.manifests.catalog.listing import find, songs_root

    root = songs_root(path)
    try:
        found = find(path, kind="csv")
    except UsageError:
        raise
    except ValueError as error:
        raise UsageError(str(error)) from error
    songs, rejected = [], [(path, reason) for path, reason in found.refused]
    for each in found.candidates:
        try:
            song = _of_candidate(root, each)
            songs.append(replace(song, stems=_of_columns(root, song.path, each.metadata) or song.stems))
        except ValueError as error:
            rejected.append((str(root / each.path), str(error)))
    return NamedSongs(tuple(songs), tuple(rejected), found.notes)


def _of_columns(root: Path, song: Path, columns: Mapping[str, str]) -> Path | Files | None:
    """The stems that the columns of a list name for one song. Raises ValueError for a file that is not there."""
    if folder := columns.get(STEMS_COLUMN):
        return filled_pattern(str(root / folder), song)
    files = {name_from(name): root / text for name, text in columns.items() if PurePosixPath(text).suffix.lower() in READABLE_SUFFIXES}
    if missing := next((file for file in files.values() if not file.is_file()), None):
        raise ValueError(f"the list names {missing} as one of its stems, and there is no such file")
    return {name: (file, 0) for name, file in files.items()} or None


def _check_pattern(pattern: str | None) -> None:
    """Raises UsageError for a placeholder that is none of PLACEHOLDERS."""
    for name in re.findall(r"\{([^{}]*)\}", pattern or ""):
        if name not in PLACEHOLDERS:
            raise UsageError(f"--stems {pattern}: {{{name}}} is unknown; expected {{song}} or {{folder}}")


def song_name(song: Path) -> str:
    """What a song is called: its file without the suffix, or where that is called mixture its folder.

    Raises UsageError where that is no name of a folder: "...wav" without its suffix is "..".
    """
    if song.is_dir() or song.stem.lower() in MIXTURE_NAMES:
        name = folder_name(song if song.is_dir() else song.parent)
    else:
        name = song.name.removesuffix(".stem.mp4") if song.name.endswith(".stem.mp4") else song.stem
    try:
        return checked_part(name)
    except ValueError as error:
        raise UsageError(f"{song} has no name for a folder of its stems: {error}; rename it") from error


def filled_pattern(pattern: str, song: Path) -> Path:
    """The folder that a pattern names for a song."""
    filled = {"song": song_name(song) if "{song}" in pattern else "", "folder": str(song.parent)}
    return Path(re.sub(r"\{(song|folder)\}", lambda found: filled[found[1]], pattern))
