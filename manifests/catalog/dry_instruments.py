"""Recordings of single instruments that effect removal is evaluated on, in the layouts that their data sets are published in.

    VocalSet         data_by_singer/SINGER/.../*.wav        test: male11 and female9
    GuitarSet        audio_mono-mic/PLAYER_*.wav            test: player 05
    DSD100           Sources/Test/SONG/bass.wav             test: its own; or what RemFX's script makes of it, DSD100/test/N.wav
    IDMT-SMT-Drums   IDMT-SMT-DRUMS*/audio/KIT_*.wav        test: TechnoDrum02 and WaveDrum01
    RemFX            SET/test/N/input.wav, target.wav       pairs, as its evaluation sets are published

Conventions
    The folders are looked for below a root, at most DEEPEST folders down. Paths are sorted.

References
    Rice et al. 2023, "General Purpose Audio Effect Removal", and its repository at 85d5030, for the test splits: facts only. RemFX orders
    the songs of DSD100 as the file system lists them, so that the split of a copy in the original layout can only be the data set's own.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from stemwright.manifests.records import Refused

DEEPEST = 4
SINGERS, PLAYER, KITS = ("male11", "female9"), "05", ("TechnoDrum02", "WaveDrum01")
COUNTS = re.compile(r"(?:^|[_-])(\d)[_-](\d)$")  # at the end of the name of a set of pairs: fewest and most removed effects


@dataclass(frozen=True)
class DrySet:
    """The test files of a data set, the instrument that they are of, and where they are."""

    name: str
    instrument: str
    files: tuple[Path, ...]


@dataclass(frozen=True)
class WetDryFiles:
    """The files of a published pair: its set, its number, wet, dry, and the labels of the removed effects, which may not exist."""

    set_name: str
    number: str
    wet: Path
    dry: Path
    labels: Path

    @property
    def num_removed(self) -> int | None:
        """How many effects are removed, by the name of the set; None where that says a range or nothing."""
        found = COUNTS.search(self.set_name)
        return int(found[1]) if found and found[1] == found[2] else None


def find_dry_sets(root: Path) -> list[DrySet]:
    """The data sets of the four that are below a folder. Raises Refused where one is there without its test files, naming them."""
    found: dict[str, DrySet] = {}
    for folder in _folders(root):
        for name, layout in LAYOUTS.items():
            if name in found or not layout.is_place(folder):
                continue
            files = tuple(sorted(layout.files(folder)))
            if not files:
                raise Refused(f"{name} is at {folder}, but without the files of its test split: expected {layout.expected}")
            found[name] = DrySet(name, layout.instrument, files)
    return [found[name] for name in LAYOUTS if name in found]


def find_wet_dry(root: Path) -> list[WetDryFiles]:
    """The pairs of RemFX's evaluation sets below a folder. Raises Refused where the dry file of one is missing."""
    found = []
    for folder in _folders(root):
        if folder.name != "test":
            continue
        for wet in folder.glob("*/input.wav"):
            if not (dry := wet.with_name("target.wav")).is_file():
                raise Refused(f"{wet.parent} has input.wav and no target.wav; expected both in each folder of {folder}")
            found.append(WetDryFiles(folder.parent.name, wet.parent.name, wet, dry, wet.with_name("wet_effects.pt")))
    return sorted(found, key=lambda pair: (pair.set_name, pair.number.zfill(9)))


def _folders(root: Path) -> Iterator[Path]:
    """The folders below one, itself first, those that are hidden left out, at most DEEPEST down."""
    for name, folders, _ in os.walk(root):
        here = Path(name)
        yield here
        depth = len(here.relative_to(root).parts)
        folders[:] = sorted(each for each in folders if not each.startswith(".")) if depth < DEEPEST else []


def _singers(folder: Path) -> Iterator[Path]:
    for singer in SINGERS:
        yield from (folder / singer).rglob("*.wav")


def _players(folder: Path) -> Iterator[Path]:
    yield from folder.glob(f"{PLAYER}_*.wav")


def _basses(folder: Path) -> Iterator[Path]:
    yield from folder.glob("*.wav") if folder.name == "test" else folder.glob("Test/*/bass.wav")


def _kits(folder: Path) -> Iterator[Path]:
    for kit in KITS:
        yield from (folder / "audio").glob(f"{kit}_*.wav")


def _is_dsd100(folder: Path) -> bool:
    is_copied = folder.name == "test" and folder.parent.name == "DSD100" and any(folder.glob("*.wav"))
    return is_copied or (folder.name == "Sources" and (folder / "Test").is_dir() and any(folder.glob("Test/*/bass.wav")))


@dataclass(frozen=True)
class _Layout:
    """How a data set is laid out: the instrument, whether a folder is its place, its test files there, and which those are."""

    instrument: str
    is_place: Callable[[Path], bool]
    files: Callable[[Path], Iterator[Path]]
    expected: str


LAYOUTS: Mapping[str, _Layout] = {
    "VocalSet": _Layout(
        "vocals", lambda folder: folder.name == "data_by_singer", _singers, " and ".join(f"data_by_singer/{singer}" for singer in SINGERS)
    ),
    "GuitarSet": _Layout("guitar", lambda folder: folder.name == "audio_mono-mic", _players, f"audio_mono-mic/{PLAYER}_*.wav"),
    "DSD100": _Layout("bass", _is_dsd100, _basses, "Sources/Test/SONG/bass.wav"),
    "IDMT-SMT-Drums": _Layout(
        "drums",
        lambda folder: folder.name.upper().startswith("IDMT-SMT-DRUMS") and (folder / "audio").is_dir(),
        _kits,
        " and ".join(f"audio/{kit}_*.wav" for kit in KITS),
    ),
}


def looked_for() -> str:
    """What is looked for below a folder, for messages."""
    layouts = ", ".join(f"{name} ({layout.expected})" for name, layout in LAYOUTS.items())
    return f"RemFX's evaluation sets (SET/test/N/input.wav and target.wav), {layouts}"
