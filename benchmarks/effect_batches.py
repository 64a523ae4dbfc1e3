"""Every effect on a batch of 64 stereo items of 5 s on the processor: against a loop over the items, with two threads, and backwards.

Conventions
    Noise in float32 at 44.1 kHz. ``loop`` calls the effect for each item and keeps the outputs, as a training step does; the ratio is its
    time over that of one call with the batch. ``two threads`` is the time of one thread over that of two. ``backward`` is the time of
    forward and backward (the gradient for the audio) over that of forward, both of the batch; ``with settings`` the same where every
    continuous setting is a tensor with a gradient. Times are of the clock, the least of several runs: the machine should be idle.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # before this folder, whose separation.py is a benchmark

import torch
from effect_settings import SETTINGS

from stemwright.datagen.effects import EFFECTS
from stemwright.datagen.effects.settings import Range, fields

RATE = 44_100
COLUMNS = ("loop, ms", "batch, ms", "loop / batch", "two threads", "backward", "with settings")


def least(function: Callable[[], Any], repeats: int) -> float:
    """The least time of a function in seconds, after one run that is not counted."""
    best = math.inf
    for number in range(repeats + 1):
        began = time.perf_counter()
        result = function()
        spent = time.perf_counter() - began
        del result
        best = min(best, spent) if number else best
    return best


def with_tensors(settings: Any, items: int) -> tuple[Any, list[torch.Tensor]]:
    """The settings with a tensor of one value an item, with a gradient, for every continuous one; and these tensors."""
    found = fields(type(settings))
    names = [name for name, field in found.items() if isinstance(field, Range) and field.scale != "integer" and not field.stepped]
    values = {name: torch.full((items,), float(getattr(settings, name)), dtype=torch.float64, requires_grad=True) for name in names}
    return settings.model_copy(update=values), list(values.values())


def row(name: str, noise: torch.Tensor, repeats: int) -> dict[str, float]:
    """The measurements of one effect."""
    apply, settings = EFFECTS[name].apply, EFFECTS[name].Settings(**SETTINGS[name])
    leaf = noise.clone().requires_grad_()
    tensors, leaves = with_tensors(settings, len(noise))

    def forward() -> torch.Tensor:
        with torch.inference_mode():
            return apply(noise, RATE, settings)

    def loop() -> list[torch.Tensor]:
        with torch.inference_mode():
            return [apply(item, RATE, settings) for item in noise]

    def backward(chosen: Any, inputs: list[torch.Tensor]) -> Any:
        return torch.autograd.grad(apply(leaf, RATE, chosen), inputs, noise, allow_unused=True)

    apply(noise[:2], RATE, settings)
    torch.set_num_threads(1)
    one, alone = least(forward, repeats), least(loop, repeats)
    back = least(lambda: backward(settings, [leaf]), max(1, repeats // 2))
    both = least(lambda: backward(tensors, [leaf, *leaves]), max(1, repeats // 2))
    torch.set_num_threads(2)
    two = least(forward, repeats)
    torch.set_num_threads(1)
    return dict(zip(COLUMNS, (1e3 * alone, 1e3 * one, alone / one, one / two, back / one, both / one), strict=True))


def main() -> None:
    """Prints the table; ``--write`` puts it into docs/results.md."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--items", type=int, default=64, help="items in the batch")
    parser.add_argument("--repeats", type=int, default=3, help="how often each is timed")
    parser.add_argument("--effects", nargs="*", default=list(SETTINGS), help="these effects only")
    parser.add_argument("--json", action="store_true", help="print one line of JSON instead of the table")
    parser.add_argument("--write", action="store_true", help="replace this benchmark's section of docs/results.md")
    given = parser.parse_args()
    noise = 0.2 * torch.randn(given.items, 2, 5 * RATE, generator=torch.Generator().manual_seed(0))
    rows = {name: row(name, noise, given.repeats) for name in given.effects}
    lines = [f"{given.items} stereo items of 5 s.", "", f"| effect | {' | '.join(COLUMNS)} |", "|" + "---|" * (1 + len(COLUMNS))]
    for name, cells in rows.items():
        values = [f"{value:.0f}" if "ms" in column else f"{value:.2f}" for column, value in cells.items()]
        lines.append(f"| {name} | {' | '.join(values)} |")
    print(json.dumps(rows) if given.json else "\n".join(lines))
    if given.write:
        from results import publish

        publish("Effects in a batch", "python benchmarks/effect_batches.py --write", "\n".join(lines))


if __name__ == "__main__":
    main()
