"""What a layout makes of a folder, and how its metadata are read.

Conventions
    Paths are relative to the folder of the song, with forward slashes.
    Metadata are untrusted: each value is used only if it has the type that the layout's publication gives it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from stemwright.manifests.disk.regular import not_a_file
from stemwright.manifests.names import LONGEST_NAME, inside, name_from
from stemwright.manifests.records import Refused, Split
from stemwright.manifests.sound.formats import READABLE_SUFFIXES

LARGEST_BYTES = 1 << 22  # of a file of metadata; the largest published ones have some 50 kB
SHOWN = 3  # missing files that an error names


@dataclass(frozen=True)
class MultitrackFile:
    """One sound file of a song: its path, its labels (what it is called, and what it is an instrument of) with the best one first, the stem
    that its data set counts it to (None: not stated), and whether others are heard in it (None: not stated).
    """

    path: str
    labels: tuple[str, ...]
    part: str | None = None
    bleed: bool | None = None


@dataclass(frozen=True)
class Multitrack:
    """A song as its files: ``mixture`` None where there is none. ``is_sum`` says that the publication defines the mixture as their sum."""

    files: tuple[MultitrackFile, ...]
    mixture: str | None = None
    is_sum: bool = False
    title: str | None = None
    artist: str | None = None
    rights: str | None = None
    split: Split | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def names_of(files: Iterable[MultitrackFile]) -> list[str]:
    """A name for each file, after its first label; those that would be alike are numbered."""
    found: list[str] = []
    for file in files:
        plain = name_from(file.labels[0])[: LONGEST_NAME - 4].strip("_") or "stem"
        numbered = (plain, *(f"{plain}_{number}" for number in range(2, 1000)))
        found.append(next(name for name in numbered if name not in found))
    return found


def sounds_below(folder: Path) -> list[str]:
    """The sorted names of the sound files in a folder, without hidden ones; none if there is no such folder."""
    if not folder.is_dir():
        return []
    return sorted(
        path.name
        for path in folder.iterdir()
        if path.suffix.lower() in READABLE_SUFFIXES and not path.name.startswith(".") and path.is_file()
    )


def read_json(path: Path) -> dict[str, Any]:
    """The object in a file of JSON. Raises Refused if it is none."""
    try:
        return mapping(json.loads(_text(path)))
    except (ValueError, RecursionError) as error:
        raise Refused(f"{path.name} is not JSON: {error}") from error


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping in a file of YAML. Raises Refused if it is none."""
    import yaml

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # in C ten times as fast, where it was built
    try:
        return mapping(yaml.load(_text(path), loader))
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        what = " ".join(str(error).split())
        raise Refused(f"{path.name} is not YAML: {what}") from error


def _text(path: Path) -> str:
    try:
        if what := not_a_file(path):
            raise Refused(f"{path.name} is {what}, not a file of metadata")
        if path.stat().st_size > LARGEST_BYTES:
            raise Refused(f"{path.name} has {path.stat().st_size:,} bytes; expected at most {LARGEST_BYTES:,}")
        return path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise Refused(f"{path.name} is not UTF-8 text") from error
    except OSError as error:
        raise Refused(f"{path.name} cannot be read: {error.strerror}") from error


def mapping(value: Any) -> dict[str, Any]:
    """A value that should be a mapping; an empty one if it is another."""
    return {str(name): each for name, each in value.items()} if isinstance(value, Mapping) else {}


def items(value: Any) -> list[dict[str, Any]]:
    """The mappings in a value that should be a list of them."""
    return [mapping(each) for each in value if isinstance(each, Mapping)] if isinstance(value, list) else []


def text(value: Any) -> str | None:
    """A value that should be a text, on one line; None if it is another or empty."""
    return " ".join(value.split()) or None if isinstance(value, str) else None


def yes_or_no(value: Any) -> bool | None:
    """A value that should say yes or no, as YAML, JSON or a text; None if it says neither."""
    if isinstance(value, bool):
        return value
    return {"yes": True, "no": False, "true": True, "false": False}.get(str(value).strip().lower())


def check_there(folder: Path, paths: Sequence[str], where: str) -> None:
    """Raises Refused if metadata name files outside of the folder, or that are not there."""
    try:
        missing = [path for path in paths if not (folder / inside(path)).is_file()]
    except (ValueError, OSError) as error:
        raise Refused(f"{where} names a file that cannot be: {error}") from error
    if missing:
        more = f" and {len(missing) - SHOWN} more" if len(missing) > SHOWN else ""
        raise Refused(f"{where} names {', '.join(missing[:SHOWN])}{more}, which is missing; is the download complete?")
    if strange := next((path for path in paths if PurePosixPath(path).suffix.lower() not in READABLE_SUFFIXES), None):
        raise Refused(f"{where} names {strange}, which is no sound file")
