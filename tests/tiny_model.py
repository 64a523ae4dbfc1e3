"""Small Demucs models with seeded random weights, written in the hub's layout, for tests that need a separator but not its skill."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

FOUR = ("drums", "bass", "other", "vocals")
SIX = (*FOUR, "guitar", "piano")


def build_tiny(kind: str, seed: int, *, stems: Sequence[str] = FOUR, sample_rate: int = 44_100, segment_s: float | None = None) -> Any:
    """A network of 10 to 100 thousand weights: ``htdemucs`` with a transformer of one layer, or ``hdemucs`` with LSTM and local attention.

    Seeded by itself: torch's global generator is left as it was.
    """
    import torch
    from demucs.hdemucs import HDemucs
    from demucs.htdemucs import HTDemucs

    common = {"sources": list(stems), "samplerate": sample_rate, "segment": segment_s or 1}
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        if kind == "htdemucs":
            network: Any = HTDemucs(
                **common, channels=4, nfft=2048, depth=4, dconv_comp=4, t_layers=3, t_heads=2, t_hidden_scale=1.0, bottom_channels=16
            )
        elif kind == "hdemucs":
            network = HDemucs(**common, channels=4, nfft=1024, depth=5, dconv_comp=4)
        else:
            raise ValueError(f"kind must be htdemucs or hdemucs; got {kind!r}")
        # Demucs starts its residual branches near zero; a test must see them.
        for name, parameter in network.named_parameters():
            if name.endswith("scale"):
                torch.nn.init.uniform_(parameter, 0.3, 1.0)
    return network.eval()


def write_network(folder: Path, signature: str, network: Any) -> Path:
    """Writes one network as Demucs's own safetensors file, in half precision as Demucs does."""
    from safetensors.torch import save_file

    args, kwargs = network._init_args_kwargs
    metadata = {
        "klass": f"{type(network).__module__}.{type(network).__name__}",
        "args": json.dumps(args),
        "kwargs": json.dumps(kwargs),
    }
    path = folder / f"{signature}.safetensors"
    save_file({name: tensor.half().contiguous() for name, tensor in network.state_dict().items()}, path, metadata=metadata)
    return path


def write_tiny_model(
    folder: Path, name: str = "tiny", seed: int = 0, *, kind: str = "htdemucs", stems: Sequence[str] = FOUR, members: int = 1
) -> Path:
    """Writes ``NAME.yaml`` and its members into a model folder and returns the folder.

    With several members it is a bag whose weights differ by stem, zeros among them.
    """
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    signatures = [f"{int(rng.integers(1 << 32)):08x}" for _ in range(members)]
    for number, signature in enumerate(signatures):
        write_network(folder, signature, build_tiny(kind, seed + number, stems=stems))
    lines = [f"models: {signatures!r}"]
    if members > 1:
        rows = [[float((stem + member) % members) + (member == 0) * 0.5 for stem in range(len(stems))] for member in range(members)]
        lines.append(f"weights: {rows!r}")
    (folder / f"{name}.yaml").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder
