"""The artist that a folder is named after, where the names of many files and folders together say that it is one.

Conventions
    Paths are relative to the songs folder; the songs folder itself is never an artist. Three shapes of a tree name one:
    - ``Artist - Album (1999)/01 - Title.mp3``: a folder with both names, and a year in it or track numbers below it;
    - ``Artist/Album/01. Title.flac``: track numbers in two or more albums of the folder, or in an album of each of two such folders;
    - ``Artist/Title.wav``: songs without numbers in two or more folders side by side.
    A folder is none if it, or a folder beside it (in the third shape), is called what people call collections, formats, data sets, splits
    or genres (``music``, ``wavs``, ``train``, ``rock``), if it is a number or differs from one beside it only in a number (``batch 2``), if
    its files repeat its name with numbers (``tabla.00001.wav``), or if names of files or albums below it name other artists.
    What is found is a guess from names: it counts only where neither tags nor the name of the file give an artist, and the row says so.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import PurePosixPath

from stemwright.manifests.catalog.artists import artist_key, folded, plain_key
from stemwright.manifests.catalog.song_names import DASH, NUMBER, TRACK_NUMBER, VERSION, named_after

FEWEST_FOLDERS = 2  # albums of an artist, or artists side by side, that are no accident
DISC = re.compile(
    r"(?:cd|dis[ck]|disque|side|seite|lp|vinyl|tape|vol\.?|volume|part)?\s*[-_.#]?\s*(?:\d{1,2}|[a-d])(?:\s*of\s*\d+)?", re.IGNORECASE
)
VOLUME = re.compile(r"(?:cd|dis[ck]|vol\.?|volume|part|side|lp)\s*[\divx]+|[\d\s.-]+", re.IGNORECASE)
YEAR = re.compile(r"(?<!\d)(?:19|20)\d\d(?!\d)")
COLLECTIONS = frozenset(
    re.split(
        r"\|",
        "music|musik|musique|musica|muziek|my|meine|mes|the|library|collection|itunes|media|audio|sound|sounds|song|songs|track|tracks|album|"
        "albums|singles|artist|artists|band|bands|download|downloads|desktop|documents|files|file|folder|folders|data|dataset|datasets|corpus|"
        "database|input|inputs|output|outputs|in|out|tmp|temp|cache|backup|backups|archive|archives|old|new|misc|other|others|various|va|"
        "unsorted|sorted|favorites|favourites|playlist|playlists|wav|wavs|wave|flac|flacs|mp3|mp3s|m4a|aac|ogg|opus|aiff|alac|lossless|lossy|"
        "hires|raw|original|originals|final|finals|master|masters|mastered|demo|demos|mix|mixes|mixed|mixture|mixtures|stem|stems|multitrack|"
        "multitracks|session|sessions|project|projects|test|tests|testing|train|training|valid|validation|dev|eval|evaluation|unseen|split|"
        "splits|compilation|compilations|compilatie|soundtrack|soundtracks|ost|live|studio|covers|karaoke|instrumental|instrumentals|remix|"
        "remixes|radio|rips|vinyl|cds|cd|disc|discs|top|hits|best|of|charts|part|parts|batch|set|fold|chunk|medium|small|large|full|"
        "rock|pop|jazz|blues|metal|punk|folk|country|reggae|disco|hiphop|hip|hop|rap|rnb|soul|funk|classical|klassik|classique|electronic|"
        "electronica|techno|house|trance|dubstep|dnb|drum|bass|ambient|indie|alternative|world|latin|gospel|christmas|children|kids|"
        "international|experimental|instrumental|easy|listening|spoken|schlager|chanson|opera|choir|chill|lounge|dance|edm|grunge|ska|"
        "male|female|happy|sad|angry|relaxed|drums|vocals|guitar|piano|a|b|c|d|and|n|s|0|english|german|french|spanish|japanese|korean|"
        "音楽|音乐|音樂|음악|музыка|アルバム|unknown|unbekannt|no|untitled|null|none",
    )
)


def artists_of_folders(paths: Sequence[str]) -> dict[str, str]:
    """For each path whose tree names one, the artist that a folder on its way is named after."""
    songs = [_Song(path) for path in paths]
    other_names = _names_below(songs)
    albums, loose = defaultdict[tuple[str, ...], set[str]](set), defaultdict[tuple[str, ...], list[str]](list)
    for song in songs:
        if song.numbered and len(song.folders) > 1:
            albums[song.folders[:-1]].add(song.folders[-1])
        elif not song.numbered and song.folders:
            loose[song.folders].append(song.stem)
    beside = _by_parent(folder for folder in albums if _is_name(folder[-1]))
    with_albums = {folder for group in beside for folder in group if max(len(group), len(albums[folder])) >= FEWEST_FOLDERS}
    side_by_side = {folder for group in _by_parent(loose) if len(group) >= FEWEST_FOLDERS and _are_names(group) for folder in group}
    found = {}
    for song in songs:
        artist = _of_album(song)
        if artist is None and song.numbered and song.folders[:-1] in with_albums:
            artist = _agreed(song.folders[:-1], other_names)
        elif artist is None and not song.numbered and song.folders in side_by_side and not _are_numbered_alike(song.folders, loose):
            artist = _agreed(song.folders, other_names)
        if artist is not None and artist_key(artist):
            found[song.path] = artist
    return found


class _Song:
    """A path: its folders without those of discs, its name without the suffix, whether that begins with a track number."""

    def __init__(self, path: str) -> None:
        place = PurePosixPath(path)
        folders = list(place.parent.parts)
        while folders and DISC.fullmatch(folders[-1]):
            folders.pop()
        self.path, self.folders, self.stem = path, tuple(folders), place.stem
        self.numbered = bool(TRACK_NUMBER.match(place.stem)) and any(letter.isalpha() for letter in TRACK_NUMBER.sub("", place.stem))


def _of_album(song: _Song) -> str | None:
    """The artist of a folder that is called "Artist - Album"."""
    if not song.folders or not (song.numbered or YEAR.search(song.folders[-1])):
        return None
    parts = [part.strip(" _") for part in DASH.split(song.folders[-1])]
    parts = [part for part in parts if not NUMBER.fullmatch(part) and not YEAR.fullmatch(part.strip("()[]"))]
    if len(parts) < 2 or VOLUME.fullmatch(parts[1]) or not VERSION.sub("", YEAR.sub("", parts[1])).strip(" ()[]"):
        return None
    artist = parts[0].replace("_", " ") if " " not in parts[0] else parts[0]
    return artist if _is_name(artist) else None


def _names_below(songs: Iterable[_Song]) -> dict[tuple[str, ...], set[str]]:
    """For each folder the keys of the artists that names of files and albums below it give."""
    found = defaultdict[tuple[str, ...], set[str]](set)
    for song in songs:
        for artist in (named_after(song.path)[0], _of_album(song)):
            for depth in range(1, len(song.folders) + 1) if artist else ():
                found[song.folders[:depth]].add(artist_key(artist or ""))
    return found


def _agreed(folder: tuple[str, ...], other_names: dict[tuple[str, ...], set[str]]) -> str | None:
    """The name of a folder, unless names below it are those of others."""
    name = folder[-1].replace("_", " ") if " " not in folder[-1] else folder[-1]
    return None if other_names.get(folder, set()) - {artist_key(name)} else name


def _by_parent(folders: Iterable[tuple[str, ...]]) -> list[list[tuple[str, ...]]]:
    """Folders in groups of those that are side by side."""
    found = defaultdict[tuple[str, ...], list[tuple[str, ...]]](list)
    for folder in folders:
        found[folder[:-1]].append(folder)
    return list(found.values())


def _is_name(folder: str) -> bool:
    """Whether a folder may be called after an artist: not only a number, a date or terms for collections."""
    terms = re.findall(r"[^\W_]+", re.sub(r"(?<=[^\W\d_])(?=\d)|(?<=\d)(?=[^\W\d_])", " ", folded(folder)))
    return any(letter.isalpha() for letter in folder) and not all(term in COLLECTIONS or term.isdigit() for term in terms)


def _are_names(folders: Sequence[tuple[str, ...]]) -> bool:
    """Whether folders side by side are called after artists: each a name, and not the same name with numbers."""
    names = [folder[-1] for folder in folders]
    return all(map(_is_name, names)) and len({re.sub(r"[\d_.\s-]+", "", name.casefold()) for name in names}) == len(names)


def _are_numbered_alike(folder: tuple[str, ...], loose: dict[tuple[str, ...], list[str]]) -> bool:
    """Whether the files of a folder are called after it, or have no names but numbers."""
    own = plain_key(folder[-1])
    bare = [re.sub(r"\d+", "", plain_key(stem)) for stem in loose[folder]]
    return all(not stem or (stem == bare[0] and len(bare) > 1) or stem == re.sub(r"\d+", "", own) for stem in bare)
