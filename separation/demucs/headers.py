"""The header of a file of weights: which network it is of, with which stems, as Demucs wrote it into the safetensors format.

A header names the class to build and its arguments, and Demucs imports whatever it finds there: so headers are checked against the classes
that Demucs has. Nothing of the weights is loaded.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stemwright.manifests.names import HIGHEST_RATE, LOWEST_RATE, checked_name
from stemwright.manifests.records import RESIDUAL
from stemwright.separation.demucs.weights import (
    ModelError,
)

KNOWN_CLASSES = {"demucs.htdemucs.HTDemucs", "demucs.hdemucs.HDemucs", "demucs.demucs.Demucs"}


MOST_STEMS = 64


@dataclass(frozen=True)
class Header:
    """The description of a network in the header of its safetensors file."""

    network: str
    stem_names: tuple[str, ...]
    sample_rate: int
    num_channels: int


def read_header(path: Path) -> Header:
    """Reads the description of a network from its safetensors file, without loading the network. Raises ModelError on anything else."""
    metadata = _metadata(path)
    network = metadata.get("klass", "")
    if network not in KNOWN_CLASSES:
        raise ModelError(
            f"{path} needs a network of class {network or 'unknown'!r}; expected one of Demucs's: {', '.join(sorted(KNOWN_CLASSES))}. "
            "Is it Demucs's own format?"
        )
    if '"_class"' in metadata.get("structure", ""):
        raise ModelError(
            f"{path} contains quantised weights that name classes to import, which is not supported. Use the model without _q."
        )
    try:
        args, kwargs = json.loads(metadata["args"]), json.loads(metadata["kwargs"])
        sources = kwargs["sources"] if "sources" in kwargs else args[0]
        stem_names = checked_stem_names(sources, str(path))
        rate, channels = int(kwargs.get("samplerate", 44_100)), int(kwargs.get("audio_channels", 2))
    except (KeyError, IndexError, TypeError, ValueError, AttributeError, OverflowError, RecursionError) as error:
        raise ModelError(f"{path} does not state which stems its network outputs ({error}). Is it Demucs's own format?") from error
    if not LOWEST_RATE <= rate <= HIGHEST_RATE or channels not in (1, 2):
        raise ModelError(
            f"{path} says {rate} Hz and {channels} channels; expected {LOWEST_RATE} to {HIGHEST_RATE} Hz, mono or stereo. It is damaged, "
            "or not a music model."
        )
    return Header(network, stem_names, rate, channels)


def checked_stem_names(names: Any, where: str) -> tuple[str, ...]:
    """The stem names that a model states, each of which becomes a file name. Raises ModelError naming the model if one cannot.

    They are not changed into valid names: rows and recipes would then differ from the model's documentation.
    """
    if not isinstance(names, list | tuple) or not 1 <= len(names) <= MOST_STEMS or len(set(map(str, names))) < len(names):
        raise ModelError(f"{where} outputs {str(names)[:200]}; expected a list of 1 to {MOST_STEMS} different stem names")
    for name in names:
        try:
            checked_name(str(name))
        except ValueError as error:
            raise ModelError(f"{where} has a stem name that cannot be used: {error}. Rename it in the model's list of sources") from error
        if name == RESIDUAL:
            raise ModelError(
                f"{where} has a stem {RESIDUAL!r}, a name reserved for mixture minus stems. Rename it in the model's list of sources"
            )
    return tuple(map(str, names))


def _metadata(path: Path) -> dict[str, str]:
    """The file's metadata, as the library that defines the format reads and checks it."""
    from safetensors import SafetensorError, safe_open

    with path.open("rb") as file:
        if file.read(2) in (b"PK", b"\x80\x02", b"\x80\x03", b"\x80\x04"):
            raise ModelError(f"{path} is a pickle with another suffix; it was not opened. Expected safetensors.")
    try:
        with safe_open(path, framework="numpy") as opened:
            return dict(opened.metadata() or {})
    except (SafetensorError, OSError, ValueError) as error:
        raise ModelError(f"{path} is not a safetensors file, or is truncated or damaged ({error}). Fetch it again.") from error
