"""Model weights: finding, fetching and verifying them. Nothing here loads a network.

A model is ``NAME.yaml`` (members, their weights per stem, a segment length) and one ``SIG.safetensors`` per member: the layout of Demucs's
hub repositories, in a folder of the user's, in the package (``bundled``) or in the hub's cache. What a network is (class, stems, sample
rate) is in the header of its file, so a model can be described without torch.

A safetensors header names the class to build and its arguments, and Demucs imports whatever it names: so headers are checked against
Demucs's own classes first. A pickle (``.th``) runs code when it is read: it is refused unless the user trusts it. No model is ever
substituted for another.

Conventions
    Search order: the given folder and nothing else; otherwise the folder in ``STEMWRIGHT_MODELS``, the package (for
    ``bundled``), the hub's cache, the network (unless ``offline``). ``HF_ENDPOINT`` names another hub; see
    `stemwright.separation.demucs.hub`. Checksums are SHA-256. They are known from ``SHA256SUMS`` in the folder, from a file name
    ``SIG-CHECKSUM.th``, from the hub's cache, or from Demucs; see `stemwright.separation.demucs.weights`.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from stemwright.manifests.disk.durable import copy_file, make_folder
from stemwright.manifests.disk.regular import file_sha256
from stemwright.manifests.stem_names import FOUR_STEMS, SIX_STEMS
from stemwright.separation.demucs import hub
from stemwright.separation.demucs.headers import Header, read_header
from stemwright.separation.demucs.weights import (
    SUMS_FILE,
    ModelError,
    WeightsUnavailable,
    blob_checksum,
    read_sums,
    remember,
    stated_checksum,
    write_sums,
)

_SUFFIXES = (".yaml", ".safetensors", ".th")  # suffixes that may follow a model's name
MODELS_VARIABLE = "STEMWRIGHT_MODELS"
PACKAGE_FOLDER = Path(__file__).resolve().parent / "models"
BUNDLED = "bundled"
LONGEST_SEGMENT_S = 600.0
# Published models: stems, members, and their size as Demucs publishes them (half precision; mdx ones as recalled), MB.
PUBLISHED: dict[str, tuple[tuple[str, ...], int, int]] = {
    "htdemucs": (FOUR_STEMS, 1, 84),
    "htdemucs_ft": (FOUR_STEMS, 4, 336),
    "htdemucs_6s": (SIX_STEMS, 1, 55),
    "hdemucs_mmi": (FOUR_STEMS, 1, 167),
    "mdx": (FOUR_STEMS, 4, 1400),
    "mdx_extra": (FOUR_STEMS, 4, 670),
}


@dataclass(frozen=True)
class BagMember:
    """One network's file. ``header`` is None for a pickle, which states nothing before it is run."""

    signature: str
    path: Path
    expected_sha256: str | None
    header: Header | None

    @cached_property
    def sha256(self) -> str:
        """The file's checksum as it is."""
        return file_sha256(self.path)

    def check(self) -> None:
        """Raises ModelError if the file's checksum differs from the known one."""
        if self.expected_sha256 is not None and not self.sha256.startswith(self.expected_sha256):
            raise ModelError(
                f"{self.path} has checksum {self.sha256[:16]}..., expected {self.expected_sha256[:16]}...: damaged or a different file. "
                "Delete it and fetch the model again."
            )


@dataclass(frozen=True)
class Checkpoint:
    """A model on this machine: its members, their weights per stem, and the segment length in seconds where the model sets one."""

    name: str
    folder: Path
    members: tuple[BagMember, ...]
    weights: tuple[tuple[float, ...], ...] | None
    segment_s: float | None

    @property
    def header(self) -> Header | None:
        """The first member's header; all members agree."""
        return self.members[0].header

    def check(self) -> None:
        """Raises ModelError if a member's checksum differs from the known one."""
        for member in self.members:
            member.check()

    @property
    def identity(self) -> dict[str, Any]:
        """Everything about the weights that determines the stems."""
        return {
            "model": self.name,
            "weights": {member.signature: member.sha256 for member in self.members},
            "bag": None if self.weights is None else [list(row) for row in self.weights],
            "segment_s": self.segment_s,
        }


@dataclass(frozen=True)
class ListedModel:
    """One line of the list of models. ``size_mb`` is the size on disk where the model is here, else the published size; None: unknown."""

    name: str
    stem_names: tuple[str, ...]
    num_networks: int
    size_mb: float | None
    folder: Path | None


@dataclass(frozen=True)
class Verified:
    """The outcome for one file of a model: ``expected`` is None where no checksum was published with it."""

    path: Path
    sha256: str
    expected: str | None

    @property
    def ok(self) -> bool:
        """False only where a known checksum differs."""
        return self.expected is None or self.sha256.startswith(self.expected)


def find(name: str, *, model_folder: Path | str | None = None, offline: bool = False, trust_pickle: bool = False) -> Checkpoint:
    """Finds a model by the search order above, fetching it if needed and allowed. Raises ModelError, WeightsUnavailable among them."""
    tried: list[str] = []
    for folder in _folders(name, model_folder):
        tried.append(f"the folder {folder}")
        if model_folder is not None and not folder.is_dir():
            raise WeightsUnavailable(f"model folder {folder} does not exist. {_ways_out(name)}")
        if (found := read_folder(folder, name, trust_pickle=trust_pickle)) is not None:
            return found
    if model_folder is None and name != BUNDLED:
        folder = _hub_folder(name, tried, offline=offline)
        if (found := read_folder(folder, name.split("/")[-1], trust_pickle=trust_pickle)) is not None:
            return found
    raise WeightsUnavailable(f"no weights of model {name!r}: looked in {', then '.join(tried)}. {_ways_out(name)}")


def nearly_known(name: str, *, model_folder: Path | str | None = None) -> str | None:
    """The known model whose name is nearest to an unknown name; None for a known name and for one with no near match.

    Works offline: known are the published models and those in the folders. ``hf://OWNER/NAME`` is never questioned.
    """
    import difflib

    if "/" in name or any((folder / f"{name}{suffix}").exists() for folder in _folders(name, model_folder) for suffix in _SUFFIXES):
        return None
    known = [path.stem for folder in _folders(BUNDLED, model_folder) for path in sorted(folder.glob("*.yaml"))]
    known += [] if model_folder is not None else [BUNDLED, *PUBLISHED]
    if name in known or (model_folder is None and hub.cached_folder(name) is not None):
        return None
    nearest = difflib.get_close_matches(name, known, n=1, cutoff=0.8)
    return nearest[0] if nearest else None


def _folders(name: str, model_folder: Path | str | None) -> list[Path]:
    if model_folder is not None:
        return [Path(model_folder).expanduser()]
    folders = [Path(value).expanduser() for value in [os.environ.get(MODELS_VARIABLE, "")] if value]
    return [*folders, PACKAGE_FOLDER] if name == BUNDLED else folders


def _ways_out(name: str) -> str:
    plain = name.removeprefix("hf://")
    return (
        f"Either (1) on a machine with network access run `stemwright models fetch {plain} --model-folder DIR`, copy DIR here "
        f"and pass `--model-folder DIR` (or set {MODELS_VARIABLE}=DIR); or (2) use a model of this machine: `stemwright models` lists them "
        f"(`--model {BUNDLED}` comes with the package; it is small, for demonstration)."
    )


def read_folder(folder: Path, name: str, *, trust_pickle: bool = False) -> Checkpoint | None:
    """Reads a model in the hub's layout from a folder; None if neither ``NAME.yaml`` nor ``NAME.safetensors`` is there."""
    name = name.removeprefix("hf://").split("/")[-1]
    if not re.fullmatch(r"[A-Za-z0-9_.-]+", name) or not folder.is_dir():
        return None
    definition = folder / f"{name}.yaml"
    if not definition.is_file():
        if _member_file(folder, name) is None:
            return None
        bag: dict[str, Any] = {"models": [name]}
    else:
        bag = _read_definition(definition)
    sums = read_sums(hub.sums_of(folder) or folder / SUMS_FILE)
    members = tuple(_read_member(folder, signature, sums, trust_pickle=trust_pickle) for signature in bag["models"])
    headers = [member.header for member in members if member.header is not None]
    for header, member in zip(headers, members, strict=False):
        if (header.stem_names, header.sample_rate, header.num_channels) != (
            headers[0].stem_names,
            headers[0].sample_rate,
            headers[0].num_channels,
        ):
            raise ModelError(
                f"the networks of {name} differ: {member.path.name} is {_describe(header)}, {members[0].path.name} {_describe(headers[0])}"
            )
    weights = bag.get("weights")
    checkpoint = Checkpoint(
        name,
        folder,
        members,
        None if weights is None else tuple(tuple(float(value) for value in row) for row in weights),
        bag.get("segment"),
    )
    _check_weights(checkpoint)
    return checkpoint


def _describe(header: Header) -> str:
    return f"{', '.join(header.stem_names)} at {header.sample_rate} Hz with {header.num_channels} channels"


def _read_definition(path: Path) -> dict[str, Any]:
    import yaml

    try:
        bag = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ModelError(f"{path} is not a model definition: {str(error).splitlines()[0]}") from error
    models = bag.get("models") if isinstance(bag, dict) else None
    if (
        not isinstance(models, list)
        or not models
        or not all(isinstance(one, str) and re.fullmatch(r"[A-Za-z0-9_-]+", one) for one in models)
    ):
        raise ModelError(f"{path} is not a model definition: expected a line like models: ['955717e8'] with one signature per member")
    weights, segment_s = bag.get("weights"), bag.get("segment")
    if weights is not None and not (
        isinstance(weights, list) and all(isinstance(row, list) and all(map(_is_number, row)) for row in weights)
    ):
        raise ModelError(f"{path}: weights must be rows of numbers, one row per member, one value per stem")
    if segment_s is not None and not (_is_number(segment_s) and 0 < segment_s <= LONGEST_SEGMENT_S):
        raise ModelError(f"{path}: segment must be more than 0 and at most {LONGEST_SEGMENT_S:g} seconds; got {str(segment_s)[:40]}")
    return bag


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _check_weights(checkpoint: Checkpoint) -> None:
    weights, header = checkpoint.weights, checkpoint.header
    if weights is None:
        return
    stems = len(header.stem_names) if header else len(weights[0])
    if len(weights) != len(checkpoint.members) or any(len(row) != stems for row in weights):
        raise ModelError(
            f"{checkpoint.name}.yaml: weights must be {len(checkpoint.members)} rows of {stems}, one row per member, one value per stem"
        )
    if any(sum(row[stem] for row in weights) <= 0 for stem in range(stems)):
        raise ModelError(f"{checkpoint.name}.yaml: every stem needs a positive sum of weights over the members")


def _member_file(folder: Path, signature: str) -> tuple[Path, str | None] | None:
    """The file of a signature and the checksum in its name: safetensors before pickle."""
    for suffix in (".safetensors", ".th"):
        if (plain := folder / f"{signature}{suffix}").is_file():
            return plain, None
        for path in sorted(folder.glob(f"{signature}-*{suffix}")):
            checksum = path.stem.rsplit("-", 1)[1]
            if re.fullmatch(r"[0-9a-f]{8,64}", checksum):
                return path, checksum
    return None


def _read_member(folder: Path, signature: str, sums: Mapping[str, str], *, trust_pickle: bool) -> BagMember:
    found = _member_file(folder, signature)
    if found is None:
        raise ModelError(
            f"member {signature} is missing: expected {signature}.safetensors in {folder}. Copy it there, or fetch the model again."
        )
    path, named = found
    if path.suffix == ".th" and not trust_pickle:
        raise ModelError(
            f"{path} is a pickle, which can run any program when it is read. Expected {signature}.safetensors. "
            "If you trust its source, pass --trust-pickle; fetching the model again gets safetensors."
        )
    expected = sums.get(path.name, named) or blob_checksum(path) or stated_checksum(path)
    return BagMember(signature, path, expected, read_header(path) if path.suffix == ".safetensors" else None)


def _hub_folder(name: str, tried: list[str], *, offline: bool) -> Path:
    return hub.download(name, tried, offline=offline, read=_read_definition, ways_out=_ways_out(name))


def fetch(name: str, *, model_folder: Path | str | None = None) -> Checkpoint:
    """Downloads a model into the hub's cache, or into ``model_folder`` with its checksums in ``SHA256SUMS``, and checks it."""
    if name == BUNDLED:
        return find(name)
    cache = _hub_folder(name, [], offline=False)
    found = read_folder(cache, name)
    if found is None:
        raise WeightsUnavailable(f"{hub.repository(name)[0]} has no {hub.repository(name)[1]}.yaml")
    found.check()
    if model_folder is None:
        return found
    folder = Path(model_folder).expanduser()
    make_folder(folder)
    weights = [member.path for member in found.members]
    remember(folder / SUMS_FILE, weights, where=f"{cache}")
    sums = read_sums(folder / SUMS_FILE)
    for path in [cache / f"{found.name}.yaml", *weights]:
        copy_file(path, folder / path.name)
        sums[path.name] = file_sha256(folder / path.name)
    write_sums(folder / SUMS_FILE, sums)
    copied = read_folder(folder, found.name)
    if copied is None:
        raise ModelError(f"{folder} changed while {name} was being copied there")
    copied.check()
    return copied


def first_sums(found: Checkpoint) -> Path | None:
    """The file with the checksums of a model that was fetched, which later downloads are compared with; None if there is no such file."""
    path = hub.sums_of(found.folder) or found.folder / SUMS_FILE
    return path if found.name != BUNDLED and path.is_file() else None


def verify(name: str, *, model_folder: Path | str | None = None) -> list[Verified]:
    """Compares the checksum of every file of a model that is on this machine. Works offline."""
    found = find(name, model_folder=model_folder, offline=True, trust_pickle=True)
    return [Verified(member.path, member.sha256, member.expected_sha256) for member in found.members]


def available(*, model_folder: Path | str | None = None) -> list[ListedModel]:
    """Lists the models: the published ones, the bundled one, and those in the given or environment's folder."""
    names = [BUNDLED, *PUBLISHED]
    for folder in _folders(BUNDLED, model_folder):
        names += [path.stem for path in sorted(folder.glob("*.yaml")) if path.stem not in names]
    return [_listed(name, model_folder) for name in names]


def _listed(name: str, model_folder: Path | str | None) -> ListedModel:
    found = None
    for folder in [*_folders(name, model_folder), hub.cached_folder(name)]:
        try:
            found = found or (read_folder(folder, name, trust_pickle=True) if folder else None)
        except ModelError:
            continue
    if found is not None:
        size = sum(member.path.stat().st_size for member in found.members) / 1e6
        return ListedModel(name, found.header.stem_names if found.header else (), len(found.members), round(size, 1), found.folder)
    stems, count, size_mb = PUBLISHED.get(name, ((), 0, None))
    return ListedModel(name, stems, count, size_mb, None)
