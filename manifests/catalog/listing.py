"""Lists the recordings of a folder, a CSV, STEM files, multitracks, MUSDB18 or another published layout, without decoding them.

Conventions
    A STEM file (``*.stem.mp4``, or any mp4 with five audio streams) contains mixture, drums, bass, other, vocals, in that order; so does a
    folder with a file of each of these names. Both are multitracks wherever they are found, and so are the songs of
    ``stemwright.manifests.catalog.layouts`` that are unmistakable.
    A multitrack with stems of other names (kick, snare, ...) is a folder with a file named mixture or mix and any others: all folders with
    the kind ``multitracks``, single ones as a line of a CSV whose path is a folder (``stemwright.manifests.catalog.multitracks``).
    MUSDB's splits are read from musdb's configuration file. The package itself is not imported: it needs the ffmpeg program, runs it
    five times for every song, reads WAV as 16 bit, and stops at the first damaged file. A test compares the two listings.

References
    Rafii et al., MUSDB18 (2017) and MUSDB18-HQ (2019). Native Instruments, Stem file specification (2015).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path, PurePosixPath

from stemwright.manifests.catalog import multitracks, song_list
from stemwright.manifests.catalog.candidates import Candidate, FoundSongs, Listing, is_stem_file
from stemwright.manifests.catalog.folder_artists import artists_of_folders
from stemwright.manifests.catalog.layouts import LAYOUTS
from stemwright.manifests.catalog.listed_songs import ListedSongs
from stemwright.manifests.catalog.musdb_terms import terms_of
from stemwright.manifests.catalog.part_names import FEWEST_PARTS, FULL_MIXES, TWO_STEMS, bare_names, is_part, is_stems_folder
from stemwright.manifests.catalog.song_names import artist_and_title
from stemwright.manifests.catalog.stem_map import StemRules
from stemwright.manifests.disk import mirror
from stemwright.manifests.disk.stores import address_of, is_address
from stemwright.manifests.stem_names import STREAMS

OWN_KINDS = ("auto", "folder", "csv", "stems", "multitracks", "musdb18", "musdb18hq")
AS_MULTITRACKS = "read folders of a mixture and its stems with --kind multitracks"
WITHOUT_MIXTURE = f"{AS_MULTITRACKS}; to take the sum of the stems where there is no mixture, add --mixture sum"
BESIDE_STEMS = f"beside a mixture and its four stems, so a part of it and not a song; {AS_MULTITRACKS} to take it for a stem"
ALL_RULES = StemRules()


def kinds() -> tuple[str, ...]:
    """What ``find`` takes as a kind: our own, then the layouts, of other packages, too."""
    return (*OWN_KINDS, *LAYOUTS)


def songs_root(songs: Path) -> Path:
    """The folder that the paths of tracks are relative to: the songs folder, or the one that holds a CSV.

    ``songs`` may be the address of a store (``s3://bucket/songs``): its folder in the mirror.
    """
    songs = mirror.on_disk(songs)
    return songs.parent if songs.suffix.lower() in (".csv", ".tsv") and not songs.is_dir() else songs


def find(
    songs: Path, *, kind: str = "auto", csv: Path | None = None, ignore: Sequence[str] = (), rules: StemRules = ALL_RULES
) -> FoundSongs:
    """Lists the recordings of a folder, or of a CSV (``songs`` itself, or ``csv`` with paths below ``songs``), sorted by path.

    Files that match a pattern of ``ignore`` (see ``matches``) are skipped, as mixtures and as stems. ``rules`` say which stems the files of
    multitracks are parts of, and whether those without a mixture are summed.
    ``songs`` may be the address of a store, which is then listed.
    Nothing is decoded. Raises ValueError if the place does not exist, the kind is unknown, or the CSV has no such columns.
    """
    if kind not in OWN_KINDS and kind not in LAYOUTS:
        raise ValueError(f"kind must be one of {', '.join(kinds())}; got {kind!r}{song_list.nearest(kind, kinds())}")
    songs, unusable = _shown(songs)
    if csv is None and songs_root(songs) != songs:
        csv = songs
    root = songs_root(songs)
    for place in (root, *([csv] if csv else [])):
        if not place.exists():
            raise ValueError(f"{mirror.as_named(place)} does not exist; expected a folder of songs or a CSV file that lists them")
    if not root.is_dir():
        raise ValueError(f"{root} is a file; expected a folder of songs or a CSV file that lists them")
    if (kind == "csv") != (csv is not None) and kind != "auto":
        raise ValueError(f"kind {kind!r} {'needs a CSV file' if csv is None else 'takes a folder'}; got {csv or songs}")
    listing = Listing(root, ignore=tuple(ignore), rules=rules)
    for key in unusable:
        listing.refuse(key, "its key cannot be the name of a file; rename the object")
    if csv is not None:
        _from_csv(csv, listing)
    else:
        _list(_kind_of(root) if kind == "auto" else kind, listing)
    candidates = [found for found in listing.candidates if not listing.ignores(found.path)]
    refused = [found for found in listing.refused if not listing.ignores(found[0])]
    order = tuple(sorted(map(_with_folder_artists(candidates), candidates), key=lambda found: found.path))
    return FoundSongs(root, order, tuple(sorted(refused)), tuple(sorted(listing.ignored)), tuple(listing.notes))


def _shown(songs: Path | str) -> tuple[Path, list[str]]:
    """Where the songs are on the disk, and the keys of a store that cannot be names of files."""
    if not is_address(songs):
        return Path(songs), []
    _, unusable = mirror.show(address_of(songs))
    return mirror.on_disk(songs), unusable


def _with_folder_artists(candidates: Sequence[Candidate]) -> Callable[[Candidate], Candidate]:
    """Gives recordings without a stated artist that of their folder, see ``stemwright.manifests.catalog.folder_artists``."""
    found = artists_of_folders([song.path for song in candidates if not song.references])

    def completed(song: Candidate) -> Candidate:
        artist = "" if song.artist or song.references else found.get(song.path, "")
        return song.model_copy(update={"folder_artist": artist}) if artist else song

    return completed


def _list(kind: str, listing: Listing) -> None:
    listers = {
        "folder": _from_folder,
        "stems": _from_stems,
        "multitracks": multitracks.from_folders,
        "musdb18": _from_musdb18,
        "musdb18hq": _from_musdb18hq,
    }
    if kind in listers:
        listers[kind](listing)
    else:
        multitracks.from_layout(kind, listing)


def _kind_of(root: Path) -> str:
    parts = [root / name for name in ("train", "test")]
    if any(next(part.glob("*.stem.mp4"), None) for part in parts):
        return "musdb18"
    return "musdb18hq" if any(next(part.glob("*/mixture.wav"), None) for part in parts) else "folder"


def _from_folder(listing: Listing) -> None:
    mixtures: set[Path] = set()  # folders with a mixture, whose sub-folder of stems holds no songs
    for folder, names in listing.walk(multitracks.taker(listing)):
        own = {PurePosixPath(name).stem.lower(): name for name in names}
        bare = bare_names(names)
        called = {name: {PurePosixPath(name).stem.lower(), *bare[name]} for name in names}
        mixture = next((name for wanted in FULL_MIXES for name in names if wanted in called[name]), None)
        if mixture is not None:
            mixtures.add(folder)
        parts = [name for name in names if name != mixture and is_part(bare[name])]
        if all(name in own for name in STREAMS):
            whole = [own[name] for name in STREAMS]
            listing.add("folder", [listing.below(folder, name) for name in whole])
            _refuse_parts(listing, folder, [name for name in names if name not in whole], BESIDE_STEMS)
        elif names and is_stems_folder(folder.name) and folder.parent in mixtures:
            _refuse_parts(listing, folder, names, f"in a folder of stems below a mixture, so not a song; {AS_MULTITRACKS}")
        elif parts and (mixture is not None or _are_stems([bare[name] for name in parts])):
            lacks = "beside a mixture" if mixture else "beside other stems without a mixture"
            advice = AS_MULTITRACKS if mixture else WITHOUT_MIXTURE
            refused = [name for name in names if name != mixture] if mixture or 2 * len(parts) >= len(names) else parts
            _refuse_parts(listing, folder, refused, f"{lacks}, so a stem and not a song; {advice}")
            for name in names:
                if name not in refused:
                    listing.add("folder", [listing.below(folder, name)])
        else:
            for name in names:
                listing.add("folder", [listing.below(folder, name)])


def _are_stems(parts: Sequence[Sequence[str]]) -> bool:
    """Whether so many files are called as parts that they are no songs: three, or the two that a two-stem separator writes."""
    return len(parts) >= FEWEST_PARTS or all(any(name in wanted for names in parts for name in names) for wanted in TWO_STEMS)


def _refuse_parts(listing: Listing, folder: Path, names: Sequence[str], reason: str) -> None:
    for name in names:
        listing.refuse(listing.below(folder, name), reason)


def _from_stems(listing: Listing) -> None:
    for folder, names in listing.walk():
        for name in names:
            if is_stem_file(folder / name):
                listing.add("stems", [listing.below(folder, name)])


def _from_musdb18(listing: Listing) -> None:
    valid = _musdb_validation_tracks()
    for split, path in _musdb_tracks(listing.root, "*.stem.mp4"):
        name = path.name.removesuffix(".stem.mp4")
        listing.add("musdb18", [listing.below(path.parent, path.name)], _musdb_columns(name, split, valid))


def _from_musdb18hq(listing: Listing) -> None:
    valid = _musdb_validation_tracks()
    for split, path in _musdb_tracks(listing.root, "*/"):
        if missing := [name for name in STREAMS if not (path / f"{name}.wav").is_file()]:
            listing.refuse(listing.below(path.parent, path.name), f"is missing {', '.join(f'{name}.wav' for name in missing)}")
            continue
        files = [listing.below(path, f"{name}.wav") for name in STREAMS]
        listing.add("musdb18hq", files, _musdb_columns(path.name, split, valid))


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


def _from_csv(path: Path, listing: Listing) -> None:
    songs = ListedSongs(listing.root, path)
    for song in songs:
        if song.refused:
            listing.refuse(song.path, song.refused)
        elif (place := listing.root / song.path).is_dir():
            multitracks.add_folder(listing, "csv", place, song.columns)
        else:
            listing.add("csv", [song.path], song.columns)
    listing.notes += songs.notes
