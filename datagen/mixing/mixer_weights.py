"""Files of a trained mixer: the weights of its network as safetensors, and in their metadata what they are of.

Conventions
    Metadata are texts: ``format``, ``version`` (of the network and of this list), ``names`` (a JSON list, in the order of the mean gains),
    ``sample_rate`` in Hz, ``duration_s`` of the excerpts, ``trained_on`` as text, ``stemwright``. What a file says is checked before
    any weight is read, shapes and values before the network is used.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stemwright.manifests import __version__
from stemwright.manifests.disk.durable import write_bytes
from stemwright.manifests.names import HIGHEST_RATE, LOWEST_RATE, checked_name
from stemwright.manifests.usage import UsageError

if TYPE_CHECKING:
    import torch

    from stemwright.datagen.mixing.mixer_network import MixerNetwork

FORMAT, VERSION = "stemwright mixer", "2"
MOST_NAMES, LONGEST_S, LONGEST_TEXT, MOST_BYTES = 64, 60.0, 1000, 2**26
HOW = (
    "`python benchmarks/train_mixer.py --dataset CORPUS/dataset --save FILE`, in a checkout of stemwright, trains them from the mix pairs "
    'of a corpus (in its config.toml: [pairs.mix] with inputs = "levelled", target = "sum")'
)


@dataclass(frozen=True)
class MixerFacts:
    """What a trained mixer is of: the names of its stems, the rate in Hz and length in s of the excerpts, and what it was trained on."""

    names: tuple[str, ...]
    sample_rate: int
    duration_s: float
    trained_on: str

    def __post_init__(self) -> None:
        """Raises ValueError for what no mixer can have."""
        if not 1 <= len(self.names) <= MOST_NAMES or len(set(self.names)) < len(self.names):
            raise ValueError(f"expected 1 to {MOST_NAMES} different names of stems, got {len(self.names)}")
        for name in self.names:
            checked_name(name)
        if not LOWEST_RATE <= self.sample_rate <= HIGHEST_RATE:
            raise ValueError(f"expected a sample rate of {LOWEST_RATE} to {HIGHEST_RATE} Hz, got {self.sample_rate}")
        if not 0.0 < self.duration_s <= LONGEST_S:
            raise ValueError(f"expected excerpts of at most {LONGEST_S:g} s, got {self.duration_s:g}")

    def plain(self) -> dict[str, Any]:
        """The facts as plain values."""
        return {**vars(self), "names": list(self.names)}


@dataclass(frozen=True)
class TrainedMixer:
    """A network, what it is of, and the name of its file."""

    network: MixerNetwork
    facts: MixerFacts
    named: str


def save_mixer(path: Path, network: MixerNetwork, facts: MixerFacts) -> None:
    """Writes a trained mixer. Raises UsageError unless the file ends in .safetensors."""
    from safetensors.torch import save

    check_suffix(path)
    texts = {name: json.dumps(value) if name == "names" else str(value) for name, value in facts.plain().items()}
    metadata = {"format": FORMAT, "version": VERSION, "stemwright": __version__, **texts}
    write_bytes(path, save({name: value.contiguous() for name, value in network.state_dict().items()}, metadata))


def check_suffix(path: Path) -> None:
    """Raises UsageError unless the file ends in .safetensors."""
    if path.suffix.lower() != ".safetensors":
        raise UsageError(f"{path}: expected a file of weights that ends in .safetensors")


def read_mixer(path: Path) -> TrainedMixer:
    """Reads a trained mixer. Raises UsageError for a file that is none, or of another version."""
    if not path.is_file():
        raise UsageError(f"{path}: no such file; expected the weights of a trained mixer. {HOW}")
    if path.stat().st_size > MOST_BYTES:
        raise UsageError(f"{path} has {path.stat().st_size / 2**20:.0f} MiB; expected the weights of a small mixer. {HOW}")
    metadata, tensors = _opened(path)
    if metadata.get("format") != FORMAT:
        raise UsageError(f"{path} has weights of another network; expected those of a trained mixer. {HOW}")
    if (version := metadata.get("version", "none")) != VERSION:
        raise UsageError(f"{path} is a mixer of version {version[:20]}, expected {VERSION}: train it again with this version of stemwright")
    facts = _facts(path, metadata)
    return TrainedMixer(_network(path, tensors, len(facts.names)), facts, path.name)


def _opened(path: Path) -> tuple[dict[str, str], dict[str, torch.Tensor]]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as opened:
            return dict(opened.metadata() or {}), {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118 - no mapping
    except (SafetensorError, OSError, ValueError) as error:
        raise UsageError(f"{path} is not a safetensors file, or is damaged ({error}); expected a trained mixer. {HOW}") from error


def _facts(path: Path, metadata: dict[str, str]) -> MixerFacts:
    try:
        names = json.loads(metadata["names"])
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise ValueError("its names are no list of texts")
        facts = MixerFacts(tuple(names), int(metadata["sample_rate"]), float(metadata["duration_s"]), metadata["trained_on"][:LONGEST_TEXT])
    except (KeyError, ValueError, OverflowError, RecursionError) as error:
        raise UsageError(f"{path} does not say what mixer it is ({error}): train it again") from error
    return facts


def _network(path: Path, tensors: dict[str, torch.Tensor], num_names: int) -> MixerNetwork:
    import torch

    from stemwright.datagen.mixing.mixer_network import BANDS, SIZE, MixerNetwork

    network = MixerNetwork(torch.zeros(num_names), torch.zeros(BANDS, SIZE // 2 + 1))
    expected = {name: tuple(value.shape) for name, value in network.state_dict().items()}
    got = {name: tuple(value.shape) for name, value in tensors.items()}
    if wrong := sorted(name for name in expected | got if expected.get(name) != got.get(name)):
        raise UsageError(f"{path} does not fit the network: {wrong[0]} is {got.get(wrong[0])}, expected {expected.get(wrong[0])}")
    if odd := [name for name, value in tensors.items() if value.dtype != torch.float32 or not math.isfinite(float(value.abs().max()))]:
        raise UsageError(f"{path} has weights in {odd[0]} that are no finite numbers of 32 bits; train it again")
    network.load_state_dict(tensors)
    return network.eval()
