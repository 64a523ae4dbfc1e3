"""Names, paths and numbers that come from outside: what each may be. Records use these types, so a row is checked when it is read.

A table, a recipe, a tag, the header of a model or of a sound file is untrusted input. A name that becomes part of a path is
therefore a ``Name``; a path is a ``RelativePath``; what decides about memory or time (rates, lengths, channels) has a highest value.

Conventions
    A ``Name`` is lower-case letters, digits, ``_`` and ``-``, begins with a letter or a digit, and has at most LONGEST_NAME characters: it
    is one file name on every system, never a path, never hidden, and no two names differ in case only.
    A name that is not one is refused, not changed: a stem under another name than its model's documentation gives would not be found.
    Only names that are made from file names ("Kick In.wav") are changed, by the one rule of ``name_from``.
    The limits are far from anything that is recorded or released, so that they refuse only damaged or malicious input.
"""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator, Field

LONGEST_NAME = 64  # characters; file systems take 255 bytes, and suffixes, roles and process numbers are added
LONGEST_PATH = 4096  # bytes, the limit of most systems
LONGEST_PART = 255  # bytes of one part of a path
LOWEST_RATE, HIGHEST_RATE = 4_000, 768_000  # Hz: below any telephone; twice 384 kHz, the highest that converters offer
MOST_CHANNELS = 64
MOST_FRAMES = 2**38  # four days at HIGHEST_RATE, a month at 96 kHz
LONGEST_EXCERPT_S = 600.0  # of a pair
MOST_PARTS = 1024  # signals of a pair, branches of a signal, effects of a chain: the largest multitracks have some hundred stems
NAME = re.compile(r"[a-z0-9][a-z0-9_-]*")


def split_name(text: str) -> str:
    """The name of a split as rows have it, whatever its case: "validation", "val" and "dev" are accepted for "valid".

    Anything else is returned unchanged.
    """
    name = text.strip().lower()
    return "valid" if name in ("validation", "val", "dev") else name if name in ("train", "valid", "test") else text


def is_name(text: str) -> bool:
    """Whether a text may become part of a path."""
    return len(text) <= LONGEST_NAME and NAME.fullmatch(text) is not None


def checked_name(text: str) -> str:
    """Returns a name unchanged. Raises ValueError if it is none."""
    if not is_name(text):
        shown = text if len(text) <= LONGEST_NAME else f"{text[:LONGEST_NAME]}..."
        raise ValueError(
            f"{shown!r} is not a valid name; expected lower-case letters, digits, '_' and '-', a letter or digit first, "
            f"at most {LONGEST_NAME} characters"
        )
    return text


def name_from(text: str) -> str:
    """A name after any text: lower case, with one underscore for whatever is not a letter or a digit ("Hi-Hat 2" is hi_hat_2).

    It is not a ``Name`` if the text has no such letter (then it is empty) or is very long.
    """
    return "_".join(re.findall(r"[a-z0-9]+", text.lower()))


def inside(path: str) -> str:
    """Returns the path unchanged if it stays below the folder it is relative to; raises ValueError otherwise."""
    # By hand: pathlib would take half the time of reading a table.
    plain = path.replace("\\", "/")
    if not path or plain[0] == "/" or "//" in plain or path[1:2] == ":" or "\0" in path or ".." in plain.split("/"):
        raise ValueError(f"path {path!r} leaves its folder; expected a relative path without '..' or '//'. Was the table edited by hand?")
    if len(path) > LONGEST_PART // 4 and is_too_long(path):
        raise ValueError(f"path {path[:60]!r}... is longer than file systems allow ({LONGEST_PATH} bytes, {LONGEST_PART} in one part)")
    return path


def checked_part(text: str) -> str:
    """Returns the text unchanged if it is one folder or file below the folder that it is joined to. Raises ValueError otherwise."""
    if text in ("", ".", "..") or "/" in text or "\0" in text:
        raise ValueError(f"{text!r} cannot be the name of a folder")
    return inside(text)


def is_too_long(path: str) -> bool:
    """Whether a path, or a part of it, is longer than file systems allow."""
    parts = path.encode(errors="replace").split(b"/")
    return sum(map(len, parts)) + len(parts) > LONGEST_PATH or any(len(part) > LONGEST_PART for part in parts)


Name = Annotated[
    str, Field(pattern=f"^{NAME.pattern}$", max_length=LONGEST_NAME)
]  # in Rust, where no Python runs for each of a million rows
RelativePath = Annotated[str, AfterValidator(inside)]
ShardPath = Annotated[  # of a shard: its kind's folder, its split, its number; a folder of a dataset may precede them
    str, Field(pattern=rf"^([^/]+/)?{NAME.pattern}/(train|valid|test)-[0-9]{{6}}\.[a-z0-9]{{1,16}}$"), AfterValidator(inside)
]
SampleRate = Annotated[int, Field(ge=LOWEST_RATE, le=HIGHEST_RATE)]
