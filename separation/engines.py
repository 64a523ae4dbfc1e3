"""What runs a Demucs network: PyTorch on a processor or a GPU, or OpenVINO on a processor.

Conventions
    An engine holds one network and maps a batch of normalised segments, float32 [B, C, T], to the stems it was asked to keep, float32 [B,
    S, C, T].
    On a processor the same input gives the same output whatever the batch; the number of threads may change the last bits.
    ``precision`` is fp32 or bf16: what the matrix products and convolutions are computed in. Spectra and sums stay in float32.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np

from manifests.audio import Audio

if TYPE_CHECKING:
    import torch

Precision = Literal["fp32", "bf16"]


class Engine(Protocol):
    """A network ready to run."""

    def forward(self, batch: Audio) -> Audio:
        """[B, C, T] -> [B, S, C, T] with the kept stems."""


class TorchEngine:
    """A network run by PyTorch. On a GPU the batch is halved, for good, when memory runs out."""

    def __init__(self, network: torch.nn.Module, kept: Sequence[int], *, device: str = "cpu", precision: Precision = "fp32") -> None:
        self._network = network.to(device).eval()
        self._kept = list(kept)
        self._device, self._precision = device, precision
        self._largest: int | None = None

    def forward(self, batch: Audio) -> Audio:
        """Runs the network, in parts if memory wants it."""
        import torch

        outputs: list[Audio] = []
        while sum(len(part) for part in outputs) < len(batch):
            start = sum(len(part) for part in outputs)
            part = batch[start : start + (self._largest or len(batch))]
            try:
                outputs.append(self._run(part))
            except torch.OutOfMemoryError:
                if len(part) == 1:
                    raise
                self._largest = len(part) // 2
                if self._device.startswith("cuda"):
                    torch.cuda.empty_cache()
        return np.concatenate(outputs) if len(outputs) > 1 else outputs[0]

    def _run(self, batch: Audio) -> Audio:
        import torch

        tensor = torch.from_numpy(np.ascontiguousarray(batch))
        on_gpu = self._device != "cpu"
        if self._device.startswith("cuda"):
            tensor = tensor.pin_memory()
        precision: Any = (
            torch.autocast(self._device.split(":")[0], dtype=torch.bfloat16) if self._precision == "bf16" else contextlib.nullcontext()
        )
        with torch.inference_mode(), precision:
            output = self._network(tensor.to(self._device, non_blocking=on_gpu))[:, self._kept].float()
        return output.cpu().numpy()
