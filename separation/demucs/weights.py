"""Checksums of model weights and definitions of published models: those published by Demucs, and those recorded at the first download.

Demucs states the first eight digits of the SHA-256 of its pickles (``remote/files.txt`` in its package) and which networks, with which
weights, each published model is made of (``remote/NAME.yaml``). Both are compared. It publishes none for the safetensors files on the hub:
the checksum of the first download is recorded beside it, and a different file of that name is refused from then on.

Conventions
    Checksums are SHA-256 in hexadecimal digits, or the first digits of one. A ``SHA256SUMS`` file holds one line for each file, as
    ``sha256sum`` writes it.
"""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

from stemwright.manifests.disk.durable import write_bytes
from stemwright.manifests.disk.regular import file_sha256

SUMS_FILE = "SHA256SUMS"


class ModelError(RuntimeError):
    """A model cannot be used; the message names the file, the problem and the remedy."""


class WeightsUnavailable(ModelError):  # noqa: N818 - names the state, as a person would say it
    """The weights of a model are neither on this machine nor reachable."""


def read_sums(path: Path) -> dict[str, str]:
    """The checksums of a ``SHA256SUMS`` file, by file name; none if there is no such file."""
    if not path.is_file():
        return {}
    lines = [line.split(maxsplit=1) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    return {parts[1].lstrip("*"): parts[0].lower() for parts in lines if len(parts) == 2}


def write_sums(path: Path, sums: Mapping[str, str]) -> None:
    """Writes a ``SHA256SUMS`` file."""
    write_bytes(path, "".join(f"{value}  {file}\n" for file, value in sorted(sums.items())).encode())


def blob_checksum(path: Path) -> str | None:
    """The hub's cache keeps a large file under its SHA-256 and links to it."""
    target = path.resolve().name if path.is_symlink() else ""
    return target if re.fullmatch(r"[0-9a-f]{64}", target) else None


def stated_checksum(path: Path) -> str | None:
    """The checksum that Demucs publishes for the pickle of one of its published networks, ``SIGNATURE.th``."""
    return _stated().get(path.name)


@cache
def _stated() -> dict[str, str]:
    with suppress(OSError, UnicodeDecodeError):
        listed = re.findall(r"^([0-9a-f]{8})-([0-9a-f]{8,64})\.th\s*$", (_remote() / "files.txt").read_text(encoding="utf-8"), re.MULTILINE)
        return {f"{signature}.th": checksum for signature, checksum in listed}
    return {}


def _remote() -> Path:
    """The folder of Demucs's package that lists its published models; located without importing."""
    spec = importlib.util.find_spec("demucs")
    places = list(spec.submodule_search_locations or []) if spec else []
    return Path(places[0] if places else "demucs") / "remote"


def check_definition(name: str, definition: Mapping[str, Any], source: str) -> None:
    """Raises ModelError if a published model is defined differently in Demucs's package. Other models are not checked."""
    import yaml

    path = _remote() / f"{name}.yaml"
    if not path.is_file():
        return
    stated = yaml.safe_load(path.read_text(encoding="utf-8"))
    for key in ("models", "weights"):
        if definition.get(key) != stated.get(key):
            raise ModelError(
                f"{source} is not the model published by Demucs: its {key} are {definition.get(key)}, expected {stated.get(key)} "
                f"(from {path}). Delete it and fetch the model again, from https://huggingface.co."
            )


def remember(sums: Path, files: Iterable[Path], *, where: str) -> None:
    """Records the checksums of weights that were not seen before. Raises ModelError for a file that differs from the first of its name."""
    before = read_sums(sums)
    found = {path.name: (blob_checksum(path) if path.name in before else None) or file_sha256(path) for path in files}
    for name, checksum in found.items():
        if before.get(name, checksum) != checksum:
            raise ModelError(
                f"{name} from {where} differs from the file fetched first: its checksum is {checksum[:16]}..., expected "
                f"{before[name][:16]}... ({sums}). Demucs publishes no checksums of these files, so the first one counts. "
                f"If the author has published a new one, delete the file and its line in {sums.name}, and fetch the model again."
            )
    if found.items() - before.items():
        with suppress(OSError):  # a read-only cache of another user
            write_sums(sums, {**before, **found})
