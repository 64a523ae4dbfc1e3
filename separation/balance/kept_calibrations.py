"""Calibrations that were made, one file for each separator: in the user's cache, and in every corpus that uses one.

    CACHE/calibrations/<key>.json       CORPUS/calibrations/<key>.json

Conventions
    The key of a separator is over what determines its stems: the checksums of its weights, or its name and version; not the precision and
    the schedule of segments, which change levels by less than is fitted. A calibration of other weights is never taken.
    The id of a calibration is over its separator and all its constants: a file with another id was edited, and is not used.
    A file in the cache that is damaged, or no calibration, is ignored: the generic one is used. One that is named, by its id or its path,
    is used or refused.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from pydantic import ConfigDict, ValidationError

from stemwright.manifests import __version__
from stemwright.manifests.disk.durable import make_folder, write_bytes
from stemwright.manifests.disk.folders import cache_folder
from stemwright.manifests.disk.regular import regular
from stemwright.manifests.records import Record, content_id
from stemwright.manifests.usage import UsageError
from stemwright.separation.balance.basis import model_of
from stemwright.separation.balance.calibration_names import AUTO, NONE, is_file
from stemwright.separation.balance.level_estimators import Calibration, calibration_for

FOLDER = "calibrations"
OF_NO_WEIGHT = ("precision", "schedule")
LONGEST_BYTES = 1 << 20
MOST_NAMED = 5  # calibrations in a message


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
    return found.model_copy(update={"id": _id_of(key, found.model_dump(mode="json")["calibration"])})


def place_of_calibrations(corpus: Path | None = None) -> Path:
    """The folder of calibrations: of a corpus, or the user's."""
    return (cache_folder() if corpus is None else corpus) / FOLDER


def keep(found: KeptCalibration, folder: Path) -> Path:
    """Writes a calibration into a folder; an earlier one of the same separator is replaced. Returns its file.

    Raises UsageError where a file that cannot be read has its place: it may be of a newer version.
    """
    make_folder(folder)
    path = check_place(found.key, folder)
    write_bytes(path, (found.model_dump_json(indent=1) + "\n").encode())
    return path


def check_place(key: str, folder: Path) -> Path:
    """The file for a calibration to the separator of a key. Raises UsageError where one that cannot be read has its place."""
    path = folder / f"{key}.json"
    if path in damaged_in(folder):
        raise UsageError(f"{damage(path)}, then calibrate again; it was not overwritten")
    return path


def read_calibration(path: Path) -> KeptCalibration | None:
    """The calibration in a file that is named by its key, as ``keep`` names it; None where there is none, or it was damaged or edited."""
    found = calibration_in(path)
    return found if found is not None and found.key == path.stem else None


def damaged_in(folder: Path) -> list[Path]:
    """The files in a folder of calibrations that cannot be used."""
    return [path for path in sorted(folder.glob("*.json")) if read_calibration(path) is None] if folder.is_dir() else []


def damage(path: Path) -> str:
    """What is wrong with a file of ``damaged_in``, and what to do."""
    return f"{path} is no calibration of this version: damaged, edited or made by a newer stemwright. Restore it, or move it elsewhere"


def calibration_in(path: Path) -> KeptCalibration | None:
    """The calibration in a file of any name; None where there is none, or it was damaged or edited."""
    try:
        file = regular(path)
        if file.stat().st_size > LONGEST_BYTES:
            return None
        said = json.loads(file.read_bytes())
        found = KeptCalibration.model_validate(said)
        whole = found.key == separator_key(said["identity"]) and found.id == _id_of(found.key, said["calibration"])
    except (OSError, ValueError, ValidationError):
        return None
    return found if whole and _is_finite(found.model_dump(mode="python")["calibration"]) else None


def _id_of(key: str, constants: Any) -> str:
    """The id of a calibration to the separator of a key, by its constants as they are kept."""
    return content_id({"key": key, "calibration": constants})


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


def named_calibration(name: str, folders: Sequence[Path]) -> KeptCalibration:
    """The calibration of an id, in the first folder that has it, or in a file. Raises UsageError, which says how to get one, where there is
    none."""
    if is_file(name):
        found = calibration_in(Path(name))
        if found is None:
            why = "was damaged or edited" if Path(name).is_file() else "is no file"
            raise UsageError(f"expected none, the id of a calibration or its file; got {name!r}, which {why}. {_how_to_have_one()}")
        return found
    kept = [each for folder in folders for each in kept_calibrations(folder)]
    chosen = next((each for each in kept if each.id == name), None)
    if chosen is None:
        known = ", ".join(dict.fromkeys(f"{each.id} to {model_of(each.origin)}" for each in kept[:MOST_NAMED])) or "none"
        raise UsageError(f"there is no calibration {name} here (kept: {known}). {_how_to_have_one()}")
    return chosen


def _how_to_have_one() -> str:
    return (
        "On the machine that made it, `stemwright calibrate --list --json` has its path: copy that file and name it. Or make a new one, "
        "which has another id: stemwright calibrate MULTITRACKS --model NAME"
    )


def calibration_of(origin: str, key: str, name: str = AUTO) -> Calibration:
    """The calibration to a separator, found by its key: the user's, without one the generic one for stems of its origin; or what a name
    says. Raises UsageError where that is not to this separator, and as ``named_calibration``."""
    if name in (AUTO, NONE):
        found = read_calibration(place_of_calibrations() / f"{key}.json") if key and name == AUTO else None
        return calibration_for(origin) if found is None else found.usable
    named = named_calibration(name, [place_of_calibrations()])
    if named.key != key:
        raise UsageError(f"the calibration {named.id} is {to_another(named.origin, origin)}")
    return named.usable


def to_another(calibrated: str, origin: str) -> str:
    """The end of a sentence: that a calibration is to one separator and the stems are by another, and what to do."""
    weights = ", of other weights or versions" if model_of(calibrated) == model_of(origin) else ""
    return (
        f"to {model_of(calibrated)}{weights}, but the stems are separated by {model_of(origin) or origin}; name a calibration to that "
        "(stemwright calibrate --list), or none"
    )


def key_of(separator: Any) -> str:
    """The key of a separator; "" where it has no identity."""
    identity = getattr(separator, "identity", None)
    return separator_key(identity) if isinstance(identity, Mapping) else ""
