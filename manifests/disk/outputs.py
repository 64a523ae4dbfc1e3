"""Output paths from the command line: each has a suffix that can be written, and is none of the inputs.

A mistyped command must not overwrite a song.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from pathlib import Path

from stemwright.manifests.usage import UsageError

PICTURES = (".png", ".svg", ".pdf", ".jpg", ".jpeg")
TABLES = (".csv", ".txt")
PAGES = (".html", ".htm")
SOUND = (".wav", ".flac")


def check_output(out: Path, suffixes: Collection[str], inputs: Iterable[Path] = ()) -> None:
    """Raises UsageError unless ``out`` ends in one of the suffixes, is no folder, and is none of the inputs under any name.

    An input may be a folder: then of the files in it, at any depth.
    """
    if out.suffix.lower() not in suffixes:
        raise UsageError(f"{out}: expected an output file that ends in {' or '.join(suffixes)}")
    if out.is_dir():
        raise UsageError(f"{out} is a folder; name a file in it")
    if out.exists():
        for given in inputs:
            files = given.rglob("*") if given.is_dir() else (given,)
            if any(file.exists() and out.samefile(file) for file in files):
                raise UsageError(f"{out} is one of the files to read; name another file, this one is left as it is")
