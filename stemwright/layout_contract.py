"""The contract of a layout of songs, see ``stemwright.testing``: only paths are compared here, no sound is decoded."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

if TYPE_CHECKING:
    from stemwright.manifests.catalog.layouts.base import Multitrack

NO_SONGS = (  # folders that no layout may take for its own without being asked
    ("01 - One.flac", "02 - Two.flac", "cover.jpg"),
    ("mixture.wav", "drums.wav", "bass.wav", "other.wav", "vocals.wav"),
    ("notes.txt",),
)


def check_layout(layout: Any, write_song: Callable[[Path], Path]) -> None:
    """Holds a layout of songs to its contract: a module with ``EXPECTED``, ``AUTOMATIC``, ``is_song`` and ``read``, or its name.

    ``write_song`` writes one whole song into an empty folder, which stands for the data set, and returns the folder of the song.

    The song is one by the names of what is in its folder, and the folder around it is none; nor, with ``AUTOMATIC``, are usual folders of
    songs. ``read`` gives the same ``Multitrack`` each time, whose files are there, differ, and have labels; it decodes
    nothing and changes nothing. A song that lacks a file, or whose metadata are damaged, is refused with ``Refused`` or read without what
    is missing, and raises nothing else. Given by its name, the layout also lists the song as ``--kind`` does.
    """
    from stemwright.manifests.catalog.layouts import LAYOUTS, check_module

    used = LAYOUTS[layout] if isinstance(layout, str) else layout
    name = layout if isinstance(layout, str) else getattr(layout, "__name__", "the layout").rpartition(".")[2]
    try:
        check_module(name, used)
    except TypeError as error:
        raise AssertionError(f"{name} is no layout: {error}") from error
    with tempfile.TemporaryDirectory() as place:
        root = Path(place, "songs")
        root.mkdir()
        song = Path(write_song(root))
        _require(song.is_dir() and root in song.parents, f"write_song returned {song}; expected the folder of the song, in {root}")
        _check_folders(name, used, root, song)
        before = _contents(song)
        read = _whole(name, used, song)
        _require(_whole(name, used, song) == read, f"read of {name} gives another song the second time")
        _require(_contents(song) == before, f"read of {name} changes files of the song")
        _check_files(name, read, song)
        if isinstance(layout, str):
            _check_listing(name, root, song)
        _check_damage(name, used, song, read)


def _check_folders(name: str, layout: Any, root: Path, song: Path) -> None:
    def is_song(folder: Path) -> bool:
        answer = layout.is_song(folder, _names(folder))
        _require(isinstance(answer, bool), f"is_song of {name} gives {answer!r}; expected True or False")
        return bool(answer)

    _require(bool(layout.EXPECTED.strip()), f"EXPECTED of {name} is empty; it is the phrase of messages for what a song is")
    _require(is_song(song), f"is_song of {name} is false for the song {song.relative_to(root)}")
    for folder in song.parents:
        if folder == root.parent:
            break
        _require(not is_song(folder), f"is_song of {name} is true for a folder around the song: what is beside the song would be lost")
    _require(not layout.is_song(root / "Empty", frozenset()), f"is_song of {name} is true for an empty folder")
    for names in NO_SONGS if layout.AUTOMATIC else ():
        usual = f"is_song of {name} is true for a folder of {', '.join(names[:3])}, which any folder of songs may have"
        _require(not layout.is_song(root / "Album", frozenset(names)), usual)


def _whole(name: str, layout: Any, song: Path) -> Multitrack:
    from stemwright.manifests.catalog.layouts.base import Multitrack
    from stemwright.manifests.records import Refused

    try:
        read = layout.read(song)
    except Refused as reason:
        raise AssertionError(f"read of {name} refuses the whole song: {reason}") from reason
    _require(isinstance(read, Multitrack), f"read of {name} gives {type(read).__name__}; expected Multitrack")
    return read


def _check_files(name: str, read: Multitrack, song: Path) -> None:
    from stemwright.manifests.names import inside, is_name
    from stemwright.manifests.records import Split
    from stemwright.manifests.sound.formats import READABLE_SUFFIXES

    paths = [file.path for file in read.files] + ([read.mixture] if read.mixture else [])
    _require(bool(read.files), f"read of {name} gives a song without files")
    _require(len(set(paths)) == len(paths), f"read of {name} gives a file twice, or the mixture as a stem: {', '.join(sorted(paths))}")
    for path in paths:
        try:
            there = (song / inside(path)).is_file()
        except ValueError as error:
            raise AssertionError(f"read of {name} gives a path out of the song: {error}") from error
        _require(there, f"read of {name} gives {path}, which is not there; paths are relative to the folder of the song")
        _require(Path(path).suffix.lower() in READABLE_SUFFIXES, f"read of {name} gives {path}, which is no sound file")
    for file in read.files:
        labels = file.labels if isinstance(file.labels, tuple) else ()
        _require(bool(labels) and all(isinstance(each, str) and each for each in labels), f"{file.path} of {name} has no labels, as texts")
        _require(file.part is None or is_name(file.part), f"{file.path} of {name} is part of {file.part!r}, which is no name of a stem")
    _require(
        read.split in (None, *get_args(Split)), f"the split of a song of {name} is {read.split!r}; expected None, train, valid or test"
    )
    texts = [text for item in read.metadata.items() for text in item]
    _require(all(isinstance(text, str) for text in texts), f"metadata of {name} are not texts by texts: {dict(read.metadata)}")


def _check_listing(name: str, root: Path, song: Path) -> None:
    from stemwright.manifests.catalog.listing import find
    from stemwright.manifests.catalog.stem_map import StemRules

    listed = find(root, kind=name, rules=StemRules(sum_missing=True))
    reasons = "; ".join(reason for _, reason in listed.refused)
    _require(len(listed.candidates) == 1 and not listed.refused, f"--kind {name} lists {len(listed.candidates)} songs: {reasons}")
    found = root / listed.candidates[0].path
    _require(song in (found, *found.parents), f"--kind {name} lists {listed.candidates[0].path}, which is not of the song")


def _check_damage(name: str, layout: Any, song: Path, read: Multitrack) -> None:
    """Every file once missing, empty and damaged."""
    from stemwright.manifests.sound.formats import READABLE_SUFFIXES

    for file in sorted(path for path in song.rglob("*") if path.is_file()):
        called, content = file.relative_to(song).as_posix(), file.read_bytes()
        if file.suffix.lower() in READABLE_SUFFIXES:
            file.write_bytes(b"")
            _require(_whole(name, layout, song) == read, f"read of {name} depends on the sound in {called}; it is to decode nothing")
        else:
            for damaged in (b"", content[: len(content) // 2], b"\xff\x00{[" + content, b"[1, {}]\n"):
                file.write_bytes(damaged)
                _check_refusal(name, layout, song, f"with damaged {called}")
        file.unlink()
        _check_refusal(name, layout, song, f"without {called}")
        file.write_bytes(content)
    shutil.rmtree(song)


def _check_refusal(name: str, layout: Any, song: Path, how: str) -> None:
    """A song that is not whole is none by its names, or refused, or read without what is missing."""
    from stemwright.manifests.records import Refused

    try:
        if not layout.is_song(song, _names(song)):
            return
        left = layout.read(song)
    except Refused as reason:
        _require(bool(str(reason).strip()), f"read of {name} refuses a song {how} without a reason")
    except Exception as error:
        raise AssertionError(f"{name} raises {type(error).__name__} for a song {how}: {error}; expected Refused with the reason") from error
    else:
        gone = [path for path in (*(file.path for file in left.files), left.mixture) if path and not (song / path).is_file()]
        _require(not gone, f"read of {name} gives {', '.join(gone)} for a song {how}, which is not there; expected Refused")


def _names(folder: Path) -> frozenset[str]:
    return frozenset(path.name for path in folder.iterdir() if not path.name.startswith("."))


def _contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def _require(holds: bool, sentence: str) -> None:
    if not holds:
        raise AssertionError(sentence)
