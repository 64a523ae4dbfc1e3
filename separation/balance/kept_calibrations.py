"""Calibrations that were made, one file for each separator: in the user's cache, and in every corpus that uses one.

    CACHE/calibrations/<key>.json       CORPUS/calibrations/<key>.json

Conventions
    The key of a separator is over what determines its stems: the checksums of its weights, or its name and version; not the precision and
    the schedule of segments, which change levels by less than is fitted. A calibration of other weights is never taken.
    A corpus that has a file uses it wherever the corpus is, whatever the cache holds; ``adopt`` copies those of the cache that fit stems.
    A file that is none of ours, or damaged, is no calibration: the generic one is used, as without it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from pydantic import ConfigDict, ValidationError

from stemwright.manifests import __version__
from stemwright.manifests.disk.durable import make_folder, write_bytes
from stemwright.manifests.disk.folders import cache_folder
from stemwright.manifests.disk.regular import regular
from stemwright.manifests.records import Record, content_id
from stemwright.separation.balance.level_estimators import Calibration, calibration_for

FOLDER = "calibrations"
OF_NO_WEIGHT = ("precision", "schedule")
LONGEST_BYTES = 1 << 20


class KeptCalibration(Record):
    """A calibration as it is kept: of which separator, made with which songs, how good it is for songs that are left out."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    format: Literal[1] = 1
    key: str
    id: str
    origin: str
    identity: dict[str, Any]
    songs: tuple[str, ...]
    left_out: tuple[dict[str, Any], ...]
    version: str
    calibration: Calibration

    @property
    def usable(self) -> Calibration:
        """The calibration under its id."""
        return replace(self.calibration, id=self.id, songs=len(self.songs))


def separator_key(identity: Mapping[str, Any]) -> str:
    """The key of a separator by its identity."""
    return content_id({name: value for name, value in identity.items() if name not in OF_NO_WEIGHT})


def kept_calibration(
    origin: str, identity: Mapping[str, Any], songs: Iterable[str], calibration: Calibration, left_out: Iterable[Mapping[str, Any]]
) -> KeptCalibration:
    """A calibration to be kept; its id is over the separator and all its constants."""
    names, key = tuple(songs), separator_key(identity)
    plain = replace(calibration, id="", songs=len(names))
    found = KeptCalibration(
        key=key,
        id="",
        origin=origin,
        identity=dict(identity),
        songs=names,
        left_out=tuple(dict(row) for row in left_out),
        version=__version__,
        calibration=plain,
    )
    constants = found.model_dump(mode="json")["calibration"]
    return found.model_copy(update={"id": content_id({"key": key, "calibration": constants})})


def place_of_calibrations(corpus: Path | None = None) -> Path:
    """The folder of calibrations: of a corpus, or the user's."""
    return (cache_folder() if corpus is None else corpus) / FOLDER


def keep(found: KeptCalibration, folder: Path) -> Path:
    """Writes a calibration into a folder; an earlier one of the same separator is replaced. Returns its file."""
    make_folder(folder)
    path = folder / f"{found.key}.json"
    write_bytes(path, (found.model_dump_json(indent=1) + "\n").encode())
    return path


def read_calibration(path: Path) -> KeptCalibration | None:
    """The calibration in a file; None where there is none, or nothing whole."""
    try:
        file = regular(path)
        if file.stat().st_size > LONGEST_BYTES:
            return None
        found = KeptCalibration.model_validate(json.loads(file.read_bytes()))
    except (OSError, ValueError, ValidationError):
        return None
    return found if found.key == path.stem and _is_finite(found.model_dump(mode="python")["calibration"]) else None


def _is_finite(value: Any) -> bool:
    if isinstance(value, Mapping):
        return all(map(_is_finite, value.values()))
    if isinstance(value, list | tuple):
        return all(map(_is_finite, value))
    return not isinstance(value, float) or math.isfinite(value)


def kept_calibrations(folder: Path) -> list[KeptCalibration]:
    """All calibrations of a folder, by the name of the separator."""
    found = [read_calibration(path) for path in sorted(folder.glob("*.json"))] if folder.is_dir() else []
    return sorted((each for each in found if each is not None), key=lambda each: (each.origin, each.key))


def calibration_of(origin: str, key: str) -> Calibration:
    """The user's calibration to a separator, found by its key; without one the generic one for stems of its origin."""
    found = read_calibration(place_of_calibrations() / f"{key}.json") if key else None
    return calibration_for(origin) if found is None else found.usable


def key_of(separator: Any) -> str:
    """The key of a separator; "" where it has no identity."""
    identity = getattr(separator, "identity", None)
    return separator_key(identity) if isinstance(identity, Mapping) else ""
