"""The gains of musdb-XL: what a limiter did to each sample of MUSDB18-HQ, from which its limited mixtures are made again.

    musdb_XL_ratio/SONG.npy, musdb_L_ratio/SONG.npy                            the songs of MUSDB18-HQ's test set
    ozone_train_fixed.csv, np_ratio/ozone_train_fixed/SONG.npy                 those of its train set
    ozone_train_random_*.csv, np_ratio/ozone_train_random/SEGMENT.npy          random sums of four seconds of its stems

Conventions
    A gain is [C, T], as long as the mixture. The mixture of the test songs is mixture.wav, but for ``SUMMED``, and of the others the sum of
    the four stems. Of a segment the line of the CSV says for each stem the song, the start in s, the gain, and whether its channels are
    swapped.

References
    Jeon and Lee 2022, "Towards robust music source separation on loud commercial music", zenodo.org/records/7041331. Jeon and Lee 2023,
    "Music De-limiter Networks via Sample-wise Gain Inversion", zenodo.org/records/12194067. Their repositories: facts only.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePath

import numpy as np

from stemwright.manifests.records import Refused
from stemwright.manifests.sound.formats import Audio
from stemwright.manifests.usage import UsageError

VERSIONS = {
    "XL": "musdb_XL_ratio/SONG.npy",
    "L": "musdb_L_ratio/SONG.npy",
    "train": "ozone_train_fixed.csv and np_ratio/ozone_train_fixed/SONG.npy",
    "segments": "ozone_train_random_*.csv and np_ratio/ozone_train_random/SEGMENT.npy",
}
STEMS = ("vocals", "bass", "drums", "other")  # in the order of the columns
SUMMED = "PR - Oh No"  # its mixture.wav is to the left by mistake: the sum of its stems was limited
SEGMENT_S = 4.0


@dataclass(frozen=True)
class SegmentPart:
    """One stem of a segment: a song of the train set, from where, how loud, and whether left and right are swapped."""

    song: str
    start_s: float
    gain: float
    is_swapped: bool


@dataclass(frozen=True)
class MusdbGain:
    """A gain file, of a song or of a segment with its parts by stem."""

    name: str
    path: Path
    split: str
    parts: tuple[tuple[str, SegmentPart], ...] = ()

    def read(self, num_channels: int, num_frames: int) -> Audio:
        """The gains, [C, T]. Raises Refused where the file is missing, or does not fit a mixture of this shape."""
        try:
            found = np.load(self.path, allow_pickle=False)
        except FileNotFoundError as error:
            raise Refused(f"its gain file is missing: {self.path}") from error
        except (OSError, ValueError, EOFError) as error:
            raise Refused(f"its gain file {self.path} cannot be read: {error}") from error
        if not np.issubdtype(found.dtype, np.floating) or found.ndim != 2 or found.shape[0] not in (1, num_channels):
            raise Refused(f"its gain file {self.path} is {found.dtype} {list(found.shape)}; expected floats [{num_channels}, {num_frames}]")
        if found.shape[1] != num_frames:
            raise Refused(
                f"its gain file {self.path.name} has {found.shape[1]} gains and its mixture {num_frames} samples; musdb-XL's gains are of "
                "MUSDB18-HQ, not of MUSDB18 or another copy"
            )
        if not np.isfinite(found).all():
            raise Refused(f"its gain file {self.path.name} has NaN or infinite gains")
        return np.asarray(found, np.float32)


def has_gains(root: Path, version: str) -> bool:
    """Whether the gains of a version are in a folder or a folder in it."""
    return _place(root, version) is not None


def musdb_gains(root: Path, version: str) -> list[MusdbGain]:
    """The gains of a version, sorted by name. Raises UsageError where they are not in ``root``, saying what was looked for."""
    if version not in VERSIONS:
        raise UsageError(f"expected a version of musdb-XL's gains among {', '.join(VERSIONS)}; got {version!r}")
    place = _place(root, version)
    if place is None:
        raise UsageError(f"{root} has no gains of musdb-XL, version {version}; looked for {VERSIONS[version]} in it and its folders")
    if version in ("XL", "L"):
        return [MusdbGain(path.stem, path, "test") for path in sorted((place / f"musdb_{version}_ratio").glob("*.npy"))]
    found = _songs(place) if version == "train" else _segments(place)
    return sorted(found, key=lambda gain: gain.name)


def _place(root: Path, version: str) -> Path | None:
    wanted = re.split(r"[/ ]", VERSIONS[version])[0]
    if root.name == wanted and root.is_dir():
        return root.parent
    return next((folder for folder in (root, *sorted(root.glob("*/"))) if any(folder.glob(wanted))), None)


def _songs(place: Path) -> Iterator[MusdbGain]:
    for line in _lines(place / "ozone_train_fixed.csv", 1):
        yield MusdbGain(line[0], place / "np_ratio" / "ozone_train_fixed" / f"{line[0]}.npy", "train")


def _segments(place: Path) -> Iterator[MusdbGain]:
    for path in sorted(place.glob("ozone_train_random_*.csv")):
        for line in _lines(path, 3 + 4 * len(STEMS)):
            columns = {stem: line[3 + 4 * number : 7 + 4 * number] for number, stem in enumerate(STEMS)}
            try:
                parts = tuple(
                    (stem, SegmentPart(song, float(start), float(gain), swapped.strip().lower() == "true"))
                    for stem, (song, start, gain, swapped) in columns.items()
                )
            except ValueError as error:
                raise UsageError(f"{path}: the line of {line[0]} has no number where a start or a gain is expected: {error}") from error
            yield MusdbGain(line[0], place / "np_ratio" / "ozone_train_random" / f"{line[0]}.npy", "train", parts)


def _lines(path: Path, columns: int) -> Iterator[list[str]]:
    """The lines of a CSV below its head. Raises UsageError where one has too few columns."""
    with path.open(newline="", encoding="utf-8") as file:
        for number, line in enumerate(csv.reader(file), 1):
            if number > 1 and line:
                if len(line) < columns:
                    raise UsageError(f"{path}, line {number}: expected {columns} columns or more, as musdb-XL-train has; got {len(line)}")
                if wrong := [name for name in (line[0], *line[3:columns:4]) if PurePath(name).name != name]:
                    raise UsageError(f"{path}, line {number}: expected the name of a song or segment; got {wrong[0]!r}")
                yield line
