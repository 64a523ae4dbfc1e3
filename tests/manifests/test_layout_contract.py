"""The published contract of layouts holds for ours, and finds what breaks it in the layout of a stranger."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import published_layouts as published
import pytest

from stemwright import testing
from stemwright.manifests.catalog.layouts import LAYOUTS
from stemwright.manifests.catalog.layouts.base import Multitrack, MultitrackFile
from stemwright.manifests.records import Refused


def written(name):
    """What writes a song of one of our layouts."""

    def write_song(root):
        found = getattr(published, name)(root)
        return found if isinstance(found, Path) else found[0]

    return write_song


@pytest.mark.parametrize("name", LAYOUTS.own)
def test_every_layout_keeps_the_contract(name):
    testing.check_layout(name, written(name))


def write_tape(root):
    """A song as a stranger keeps it: a reel in a box, its tracks listed in a text."""
    song = root / "Box 7" / "reel 12"
    song.mkdir(parents=True)
    for name in ("1.aif", "2.aif"):
        (song / name).write_bytes(b"FORM")
    (song / "reel.lst").write_text("1.aif drums\n2.aif vocals\n")
    return song


def is_tape(folder, names):
    return folder.name.startswith("reel ") and "reel.lst" in names


def read_tape(folder):
    try:
        lines = [line.split() for line in (folder / "reel.lst").read_text(encoding="utf-8").splitlines()]
        files = tuple(MultitrackFile(path, (part,), part) for path, part in lines)
    except ValueError as error:
        raise Refused(f"reel.lst is no list of files and stems: {error}") from error
    if not files or not all((folder / file.path).is_file() and file.part in ("drums", "vocals") for file in files):
        raise Refused("reel.lst names no tracks, or files that are not there")
    return Multitrack(files, is_sum=True)


def tape(**changed):
    return SimpleNamespace(**{"EXPECTED": "a reel", "AUTOMATIC": True, "is_song": is_tape, "read": read_tape, **changed})


def test_a_layout_that_is_right_passes():
    testing.check_layout(tape(), write_tape)


def read_carelessly(folder):
    return Multitrack(tuple(MultitrackFile(line.split()[0], ("x",)) for line in (folder / "reel.lst").read_text().splitlines()))


def read_sound(folder):
    return Multitrack(read_tape(folder).files, title=str((folder / "1.aif").stat().st_size), is_sum=True)


def read_away(folder):
    read = read_tape(folder)
    (folder / "cache.txt").write_text("read")
    return read


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        (tape(EXPECTED=" "), "EXPECTED of the layout is empty"),
        (tape(read=None), "the layout is no layout: its read is None"),
        (tape(is_song=lambda *_: False), "is_song of the layout is false for the song Box 7/reel 12"),
        (tape(is_song=lambda *_: True), "is true for a folder around the song"),
        (tape(is_song=lambda _, names: "reel.lst" in names or "mixture.wav" in names), "which any folder of songs may have"),
        (tape(read=lambda _: Multitrack(())), "gives a song without files"),
        (tape(read=lambda _: {}), "read of the layout gives dict; expected Multitrack"),
        (tape(read=lambda _: Multitrack((MultitrackFile("../1.aif", ("x",)),))), "gives a path out of the song"),
        (tape(read=lambda _: Multitrack((MultitrackFile("3.aif", ("x",)),))), "gives 3.aif, which is not there"),
        (tape(read=lambda _: Multitrack((MultitrackFile("1.aif", ()),))), "1.aif of the layout has no labels"),
        (tape(read=lambda _: Multitrack((MultitrackFile("1.aif", ("x",)),), "1.aif")), "gives a file twice, or the mixture as a stem"),
        (tape(read=lambda _: Multitrack((MultitrackFile("1.aif", ("x",), "../x"),))), "is part of '../x', which is no name of a stem"),
        (tape(read=read_carelessly), r"raises \w+ for a song with damaged reel.lst|for a song .*, which is not there; expected Refused"),
        (tape(read=read_sound), "depends on the sound in 1.aif; it is to decode nothing"),
        (tape(read=read_away), "changes files of the song"),
    ],
)
def test_a_layout_that_breaks_the_contract_is_found(broken, said):
    with pytest.raises(AssertionError, match=said):
        testing.check_layout(broken, write_tape)
