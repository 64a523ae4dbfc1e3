"""Lists the recordings of a folder, a CSV, STEM files, MUSDB18 or MUSDB18-HQ, without decoding them.

Conventions
    Paths are relative to the songs folder, with forward slashes. Hidden files, folders that are themselves a corpus, and files of other
    suffixes are skipped. Links are followed; each real folder is read once, so a loop of links ends.
    A STEM file (``*.stem.mp4``, or any mp4 with five audio streams) contains mixture, drums, bass, other, vocals, in that order; so does a
    folder with a file of each of these names. Both are multitracks wherever they are found.
    A multitrack with stems of other names (kick, snare, ...) is a folder with a file named mixture or mix and any others: all folders with
    the kind ``multitracks``, single ones as a line of a CSV whose path is a folder. Its stems are named after their files.
    MUSDB's splits are read from musdb's configuration file. The package itself is not imported: it needs the ffmpeg program, runs it
    five times for every song, reads WAV as 16 bit, and stops at the first damaged file. A test compares the two listings.

References
    Rafii et al., MUSDB18 (2017) and MUSDB18-HQ (2019). Native Instruments, Stem file specification (2015).
"""

from __future__ import annotations

import fnmatch
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from pydantic import Field, ValidationError

from stemwright.manifests.catalog import song_list
from stemwright.manifests.catalog.listed_songs import ListedSongs
from stemwright.manifests.catalog.musdb_terms import terms_of
from stemwright.manifests.catalog.part_names import FEWEST_PARTS, PART_NAMES, is_stems_folder
from stemwright.manifests.metadata import Metadata
from stemwright.manifests.names import LONGEST_NAME, Name, RelativePath, is_name, name_from
from stemwright.manifests.records import RESIDUAL, Record, Refused, Split
from stemwright.manifests.sound import containers, formats
from stemwright.manifests.stem_names import FOUR_STEMS, STREAMS

KINDS = ("auto", "folder", "csv", "stems", "multitracks", "musdb18", "musdb18hq")
AS_MULTITRACKS = "read folders of a mixture and its stems with --kind multitracks"
BESIDE_STEMS = f"beside a mixture and its four stems, so a part of it and not a song; {AS_MULTITRACKS} to take it for a stem"
MIXTURES = ("mixture", "mix")  # names of the mixture's file in a multitrack folder
TABLES = ("tracks.parquet", "tracks.jsonl.part", "examples.parquet")  # a folder with one of them is a corpus or a dataset, not songs


class Candidate(Record):
    """A recording that was found but not read: its path, and what the CSV or the data set says about it."""

    path: RelativePath
    stream: int = 0
    references: tuple[tuple[Name, RelativePath, int], ...] = ()
    title: str | None = None
    artist: str | None = None
    album: str | None = None
    rights: str | None = None
    metadata: Metadata = Field(default_factory=dict)
    split: Split | None = None
    note: str = Field("", description="anything unusual about how the file was found")
    source: str

    def content(self) -> dict[str, Any]:
        """What a cache key of the candidate is over; without metadata the same as of before there was any."""
        return self.model_dump(mode="json", exclude=set() if self.metadata else {"metadata"})


@dataclass(frozen=True)
class FoundSongs:
    """What ``find`` found: the folder that paths are relative to, the recordings, (path, reason) of what was refused, and the paths of
    what was ignored on request; notes about the CSV.
    """

    songs: Path
    candidates: tuple[Candidate, ...]
    refused: tuple[tuple[str, str], ...]
    ignored: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass
class _Listing:
    candidates: list[Candidate] = field(default_factory=list)
    refused: list[tuple[str, str]] = field(default_factory=list)
    ignore: tuple[str, ...] = ()
    ignored: set[str] = field(default_factory=set)
    notes: list[str] = field(default_factory=list)

    def ignores(self, path: str) -> bool:
        """Whether a file, by its path in the songs folder, is to be ignored; remembers it."""
        if not matches(path, self.ignore):
            return False
        self.ignored.add(_printable(path))
        return True

    def refuse(self, path: str, reason: str) -> None:
        self.refused.append((_printable(path), reason))


def songs_root(songs: Path) -> Path:
    """The folder that the paths of tracks are relative to: the songs folder, or the one that holds a CSV."""
    return songs.parent if songs.suffix.lower() in (".csv", ".tsv") and not songs.is_dir() else songs


def matches(path: str, patterns: Iterable[str]) -> bool:
    """Whether a path, its name, or a folder on its way matches a shell pattern, whatever its case; ``*`` also matches slashes."""
    place = PurePosixPath(path.casefold())
    names = (str(place), place.name, *(str(parent) for parent in place.parents), *(parent.name for parent in place.parents))
    wanted = [pattern.casefold().rstrip("/") for pattern in patterns]
    return any(name == pattern or fnmatch.fnmatchcase(name, pattern) for pattern in wanted for name in names if name not in ("", "."))


def find(songs: Path, *, kind: str = "auto", csv: Path | None = None, ignore: Sequence[str] = ()) -> FoundSongs:
    """Lists the recordings of a folder, or of a CSV (``songs`` itself, or ``csv`` with paths below ``songs``), sorted by path.

    Files that match a pattern of ``ignore`` (see ``matches``) are skipped, as mixtures and as stems.
    Nothing is decoded. Raises ValueError if the place does not exist, the kind is unknown, or the CSV has no such columns.
    """
    songs = Path(songs)
    if kind not in KINDS:
        raise ValueError(f"kind must be one of {', '.join(KINDS)}; got {kind!r}{song_list.nearest(kind, KINDS)}")
    if csv is None and songs_root(songs) != songs:
        csv = songs
    root = songs_root(songs)
    for place in (root, *([csv] if csv else [])):
        if not place.exists():
            raise ValueError(f"{place} does not exist; expected a folder of songs or a CSV file that lists them")
    if not root.is_dir():
        raise ValueError(f"{root} is a file; expected a folder of songs or a CSV file that lists them")
    if (kind == "csv") != (csv is not None) and kind != "auto":
        raise ValueError(f"kind {kind!r} {'needs a CSV file' if csv is None else 'takes a folder'}; got {csv or songs}")
    listing = _Listing(ignore=tuple(ignore))
    if csv is not None:
        _from_csv(root, csv, listing)
    else:
        listers = {
            "folder": _from_folder,
            "stems": _from_stems,
            "multitracks": _from_multitracks,
            "musdb18": _from_musdb18,
            "musdb18hq": _from_musdb18hq,
        }
        listers[_kind_of(root) if kind == "auto" else kind](root, listing)
    candidates = [found for found in listing.candidates if not listing.ignores(found.path)]
    refused = [found for found in listing.refused if not listing.ignores(found[0])]
    order = tuple(sorted(candidates, key=lambda found: found.path))
    return FoundSongs(root, order, tuple(sorted(refused)), tuple(sorted(listing.ignored)), tuple(listing.notes))


def _kind_of(root: Path) -> str:
    parts = [root / name for name in ("train", "test")]
    if any(next(part.glob("*.stem.mp4"), None) for part in parts):
        return "musdb18"
    return "musdb18hq" if any(next(part.glob("*/mixture.wav"), None) for part in parts) else "folder"


def _from_folder(root: Path, listing: _Listing) -> None:
    multitracks: set[Path] = set()  # folders with a mixture, whose sub-folder of stems holds no songs
    for folder, names in _walk(root, listing):
        stems = {PurePosixPath(name).stem.lower(): name for name in names}
        mixture = next((stems[name] for name in MIXTURES if name in stems), None)
        if mixture is not None:
            multitracks.add(folder)
        if all(name in stems for name in STREAMS):
            parts = [stems[name] for name in STREAMS]
            _add(listing, root, "folder", [_below(root, folder, part) for part in parts])
            _refuse_parts(listing, root, folder, [name for name in names if name not in parts], BESIDE_STEMS)
        elif is_stems_folder(folder.name) and folder.parent in multitracks:
            _refuse_parts(listing, root, folder, names, f"in a folder of stems below a mixture, so not a song; {AS_MULTITRACKS}")
        elif any(name in PART_NAMES for name in stems) and (
            mixture is not None or sum(name in PART_NAMES for name in stems) >= FEWEST_PARTS
        ):
            parts = [file for name, file in stems.items() if file != mixture]
            lacks = "beside a mixture" if mixture else "beside other stems without a mixture"
            _refuse_parts(listing, root, folder, parts, f"{lacks}, so a stem and not a song; {AS_MULTITRACKS}")
            if mixture is not None:
                _add(listing, root, "folder", [_below(root, folder, mixture)])
        else:
            for name in names:
                _add(listing, root, "folder", [_below(root, folder, name)])


def _refuse_parts(listing: _Listing, root: Path, folder: Path, names: Sequence[str], reason: str) -> None:
    for name in names:
        listing.refuse(_below(root, folder, name), reason)


def _from_stems(root: Path, listing: _Listing) -> None:
    for folder, names in _walk(root, listing):
        for name in names:
            if _is_stem_file(folder / name):
                _add(listing, root, "stems", [_below(root, folder, name)])


def _from_multitracks(root: Path, listing: _Listing) -> None:
    above: dict[Path, str] = {}  # folders that hold a mixture alone -> the mixture
    for folder, names in _walk(root, listing):
        if len(names) == 1 and PurePosixPath(names[0]).stem.lower() in MIXTURES:
            above[folder] = names[0]
        elif names and is_stems_folder(folder.name) and folder.parent in above:
            parts = [PurePosixPath(folder.name, name).as_posix() for name in names]
            _add_multitrack(listing, root, "multitracks", folder.parent, [above.pop(folder.parent), *parts])
        elif names:
            _add_multitrack(listing, root, "multitracks", folder, names)
    for folder, name in above.items():
        _add_multitrack(listing, root, "multitracks", folder, [name])


def _add_multitrack(
    listing: _Listing, root: Path, source: str, folder: Path, names: Sequence[str], columns: Mapping[str, Any] | None = None
) -> None:
    """Adds a folder with a mixture and stems of any names; refuses any other."""
    where = _below(root, folder, "")
    mixture = next((name for wanted in MIXTURES for name in names if PurePosixPath(name).stem.lower() == wanted), None)
    stems = {name: stem_name(name) for name in names if name != mixture}
    if mixture is None or not stems:
        listing.refuse(where, "expected a multitrack folder: a file named mixture (or mix) and its stems; " + _lacks(mixture, stems))
    elif len(set(stems.values())) < len(stems) or not all(map(is_name, stems.values())) or RESIDUAL in stems.values():
        expected = f"different names of Latin letters and digits, at most {LONGEST_NAME} characters, not empty and not {RESIDUAL!r}"
        listing.refuse(where, f"its stems would be named {', '.join(stems.values())}; expected {expected}. Rename the files")
    else:
        files = [_below(root, folder, name) for name in (mixture, *stems)]
        _add(listing, root, source, files, columns, stem_names=tuple(stems.values()))


def _lacks(mixture: str | None, stems: Mapping[str, str]) -> str:
    return f"got {len(stems)} files, none of them named mixture or mix" if mixture is None else f"got only {mixture}"


def stem_name(file: str) -> str:
    """The name of a stem after its file: lower case, with underscores for all but letters and digits ("Hi-Hat.wav" is hi_hat)."""
    return name_from(PurePosixPath(file).stem)


def _from_musdb18(root: Path, listing: _Listing) -> None:
    valid = _musdb_validation_tracks()
    for split, path in _musdb_tracks(root, "*.stem.mp4"):
        name = path.name.removesuffix(".stem.mp4")
        _add(listing, root, "musdb18", [_below(root, path.parent, path.name)], _musdb_columns(name, split, valid))


def _from_musdb18hq(root: Path, listing: _Listing) -> None:
    valid = _musdb_validation_tracks()
    for split, path in _musdb_tracks(root, "*/"):
        if missing := [name for name in STREAMS if not (path / f"{name}.wav").is_file()]:
            listing.refuse(_below(root, path.parent, path.name), f"is missing {', '.join(f'{name}.wav' for name in missing)}")
            continue
        files = [_below(root, path, f"{name}.wav") for name in STREAMS]
        _add(listing, root, "musdb18hq", files, _musdb_columns(path.name, split, valid))


def _musdb_tracks(root: Path, pattern: str) -> Iterator[tuple[str, Path]]:
    for split in ("train", "test"):
        for path in sorted((root / split).glob(pattern)):
            if not path.name.startswith("."):
                yield split, path


def _musdb_columns(name: str, split: str, valid: frozenset[str]) -> dict[str, str | None]:
    artist, title = artist_and_title(name)
    split = "valid" if split == "train" and name in valid else split
    return {"artist": artist, "title": title, "rights": terms_of(artist, title), "split": split}


def _musdb_validation_tracks() -> frozenset[str]:
    import importlib.util

    import yaml

    spec = importlib.util.find_spec("musdb")
    if spec is None or spec.origin is None:
        raise ValueError("MUSDB18's list of validation tracks comes with the musdb package; install it with: pip install musdb")
    settings = yaml.safe_load((Path(spec.origin).parent / "configs" / "mus.yaml").read_text(encoding="utf-8"))
    return frozenset(settings["validation_tracks"])


def _from_csv(root: Path, path: Path, listing: _Listing) -> None:
    songs = ListedSongs(root, path)
    for song in songs:
        if song.refused:
            listing.refuse(song.path, song.refused)
        elif (place := root / song.path).is_dir():
            names = sorted(entry.name for entry in os.scandir(place) if entry.name[0] != "." and _is_sound(root, place, entry, listing))
            _add_multitrack(listing, root, "csv", place, names, song.columns)
        else:
            _add(listing, root, "csv", [song.path], song.columns)
    listing.notes += songs.notes


def _walk(root: Path, listing: _Listing) -> Iterator[tuple[Path, list[str]]]:
    """Each real folder below ``root`` once, real ones before linked ones, with the sorted names of its sound files."""
    seen: set[tuple[int, int]] = set()
    folders, links = [root], list[Path]()
    while folders or links:
        folder = folders.pop() if folders else links.pop(0)
        try:
            status = folder.stat()
            entries = sorted((entry for entry in os.scandir(folder) if not entry.name.startswith(".")), key=lambda entry: entry.name)
        except OSError as error:
            listing.refuse(_below(root, folder, ""), f"folder cannot be listed: {error.strerror}")
            continue
        if (status.st_dev, status.st_ino) in seen:
            continue
        seen.add((status.st_dev, status.st_ino))
        if any(entry.name in TABLES for entry in entries):
            entries = [entry for entry in entries if folder == root and entry.name not in ("stems", "dataset")]
        yield folder, [entry.name for entry in entries if _is_sound(root, folder, entry, listing)]
        for entry in entries:
            if _is(entry.is_dir):
                (links if entry.is_symlink() else folders).append(folder / entry.name)


def _is_sound(root: Path, folder: Path, entry: os.DirEntry[str], listing: _Listing) -> bool:
    """Whether an entry of a folder is a sound file by its suffix; refused with the reason if it has such a suffix but is none."""
    if Path(entry.name).suffix.lower() not in formats.READABLE_SUFFIXES:
        return False
    path = _below(root, folder, entry.name)
    if listing.ignores(path):
        return False
    if _is(entry.is_dir):
        reason = "a folder, not a sound file (the files in it are read)"
    elif not _is(entry.is_file):
        reason = "a broken link" if entry.is_symlink() else "not a regular file"
    else:
        return True
    listing.refuse(path, reason)
    return False


def _is(question: Callable[[], bool]) -> bool:
    """The answer about an entry of a folder; false where a link leads to itself or to a place that may not be read."""
    try:
        return question()
    except OSError:
        return False


def _add(
    listing: _Listing,
    root: Path,
    source: str,
    files: Sequence[str],
    columns: Mapping[str, Any] | None = None,
    *,
    stem_names: Sequence[str] = FOUR_STEMS,
) -> None:
    """Adds a recording: its mixture's path, then those of its stems if it has files for them."""
    if _printable(files[0]) != files[0]:
        listing.refuse(files[0], "its name is not UTF-8; rename it")
        return
    references = tuple((name, stem, 0) for name, stem in zip(stem_names, files[1:], strict=False))
    if not references and _is_stem_file(root / files[0]):
        references = tuple((name, files[0], stream) for stream, name in enumerate(STREAMS) if stream)
    try:
        listing.candidates.append(Candidate(path=files[0], references=references, source=source, **(columns or {})))
    except ValidationError:
        listing.refuse(files[0], "other systems would read its name as a drive letter; rename it")  # "C: song.wav", see `inside`


def _is_stem_file(path: Path) -> bool:
    if path.name.lower().endswith(".stem.mp4"):
        return True
    try:
        return path.suffix.lower() == ".mp4" and containers.num_streams(path) == len(STREAMS)
    except Refused:
        return False


def _below(root: Path, folder: Path, name: str) -> str:
    return PurePosixPath(os.path.relpath(folder / name, root)).as_posix()


def _printable(path: str) -> str:
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def artist_and_title(name: str) -> tuple[str | None, str]:
    """The two halves of "Artist - Title"; a name without the dash is a title."""
    artist, dash, title = name.partition(" - ")
    return (artist.strip() or None, title.strip() or name) if dash else (None, name)
