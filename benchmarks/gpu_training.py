"""Training through effects: steps a second of a small console, for ``benchmarks/gpu.py``.

A network looks at the spectrum of each dry item and sets an equaliser, a compressor, a reverb and a fader, one setting an item; the loss is
the mean square against the wet item. A step is forward, backward and an update of the network.
"""

from __future__ import annotations

import time
from typing import Any

import torch

from stemwright.datagen.effects import EFFECTS, apply_chain
from stemwright.datagen.effects.settings import Range, fields

RATE = 44_100
CONSOLE = {
    "eq": ("low_shelf_gain_db", "peak1_gain_db", "peak2_gain_db", "high_shelf_gain_db"),
    "compressor": ("threshold_db", "ratio", "attack_ms", "release_ms"),
    "reverb": ("room_size", "damping", "wet"),
    "fader": ("gain_db", "pan"),
}


class Console(torch.nn.Module):
    """Settings of the console from the loudness of bands: audio [B, 2, T] -> a chain with tensors [B]."""

    def __init__(self, width: int = 64) -> None:
        super().__init__()
        count = sum(len(names) for names in CONSOLE.values())
        self.layers = torch.nn.Sequential(torch.nn.Linear(width, 128), torch.nn.GELU(), torch.nn.Linear(128, count))
        self.width = width

    def forward(self, audio: torch.Tensor) -> list[tuple[str, Any]]:
        """The chain."""
        power = torch.fft.rfft(audio.mean(1)).abs().square()
        bands = torch.nn.functional.adaptive_avg_pool1d(power[:, None], self.width)[:, 0]
        values = iter(torch.sigmoid(self.layers(torch.log(bands + 1e-6))).double().unbind(1))
        chain = []
        for name, settings in CONSOLE.items():
            effect, given = EFFECTS[name], {}
            for setting in settings:
                field = fields(effect.Settings)[setting]
                assert isinstance(field, Range)
                low, high = effect.TYPICAL.get(setting, (-6.0, 6.0))
                given[setting] = low + (high - low) * next(values)
            chain.append((name, effect.Settings(**given)))
        return chain


def steps_a_second(device: str, items: int, duration_s: float, steps: int) -> tuple[float, list[float]]:
    """Steps a second after the first, and the loss of every step."""
    torch.manual_seed(0)
    network = Console()
    dry = 0.2 * torch.randn(items, 2, round(duration_s * RATE))
    with torch.no_grad():
        wet = apply_chain(dry, RATE, [("eq", {"low_shelf_gain_db": 6.0}), ("compressor", {"threshold_db": -30.0, "ratio": 3.0})])
    network, dry, wet = network.to(device), dry.to(device), wet.to(device)
    optimiser = torch.optim.Adam(network.parameters(), 3e-3)
    losses, began = [], 0.0
    for step in range(steps + 1):
        if step == 1:
            began = time.perf_counter()
        optimiser.zero_grad()
        loss = (apply_chain(dry, RATE, network(dry)) - wet).square().mean()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    return steps / (time.perf_counter() - began), losses
