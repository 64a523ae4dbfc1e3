"""Every effect on a batch of 64 stereo items of 5 s on the processor: against a loop over the items, with two threads, and backwards.

Conventions
    Noise in float32 at 44.1 kHz. ``loop`` calls the effect for each item and keeps the outputs, as a training step does; the ratio is its
    time over that of one call with the batch. ``two threads`` is the time of one thread over that of two. ``backward`` is the time of
    forward and backward (the gradient for the audio) over that of forward, both of the batch; ``with settings`` the same where every
    continuous setting is a tensor with a gradient, over a forward pass with these tensors. What is compared is run in turn, the first round
    is not counted, and of each the least counts: CPU seconds with one thread, so that other programs matter little, and of
    the clock for the column of two threads, for which the machine must be idle.
    An effect that only multiplies is limited by memory: the last line says what two threads bring to ``torch.mul`` on the same bytes.
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


def least(functions: dict[str, Callable[[], Any]], repeats: int, clock: Callable[[], float] = time.process_time) -> dict[str, float]:
    """The least time of each function in seconds; all are run in turn, one round more than is counted."""
    best = dict.fromkeys(functions, math.inf)
    for number in range(repeats + 1):
        for name, function in functions.items():
            began = clock()
            result = function()
            spent = clock() - began
            del result
            best[name] = min(best[name], spent) if number else math.inf
    return best


def with_threads(count: int, function: Callable[[], Any]) -> Callable[[], Any]:
    """The function with so many threads."""

    def run() -> Any:
        torch.set_num_threads(count)
        return function()

    return run


def gain_of_two(function: Callable[[], Any], repeats: int) -> float:
    """The time of one thread over that of two."""
    spent = least({"one": with_threads(1, function), "two": with_threads(2, function)}, repeats, time.perf_counter)
    torch.set_num_threads(1)
    return spent["one"] / spent["two"]


def with_tensors(settings: Any, items: int) -> tuple[Any, list[torch.Tensor]]:
    """The settings with a tensor of one value an item, with a gradient, for every continuous one; and these tensors."""
    found = fields(type(settings))
    names = [name for name, field in found.items() if isinstance(field, Range) and field.scale != "integer" and not field.stepped]
    values = {name: torch.full((items,), float(getattr(settings, name)), dtype=torch.float64, requires_grad=True) for name in names}
    return settings.model_copy(update=values), list(values.values())


KERNELS = [name for name in SETTINGS if "coded" not in EFFECTS[name].TRAITS]


def row(name: str, noise: torch.Tensor, repeats: int) -> dict[str, float]:
    """The measurements of one effect."""
    apply, settings = EFFECTS[name].apply, EFFECTS[name].Settings(**SETTINGS[name])
    leaf = noise.clone().requires_grad_()
    tensors, leaves = with_tensors(settings, len(noise))

    def forward(chosen: Any = settings) -> torch.Tensor:
        with torch.inference_mode():
            return apply(noise, RATE, chosen)

    def loop() -> list[torch.Tensor]:
        with torch.inference_mode():
            return [apply(item, RATE, settings) for item in noise]

    def backward(chosen: Any, inputs: list[torch.Tensor]) -> Any:
        return torch.autograd.grad(apply(leaf, RATE, chosen), inputs, noise, allow_unused=True)

    torch.set_num_threads(1)
    found = least({"one": forward, "loop": loop}, repeats)
    tensor = {
        "forward": lambda: forward(tensors),
        "back": lambda: backward(settings, [leaf]),
        "both": lambda: backward(tensors, [leaf, *leaves]),
    }
    found |= least(tensor, max(1, repeats // 2))
    one, alone = found["one"], found["loop"]
    ratios = (alone / one, gain_of_two(forward, repeats), found["back"] / one, found["both"] / found["forward"])
    return dict(zip(COLUMNS, (1e3 * alone, 1e3 * one, *ratios), strict=True))


def multiplying(noise: torch.Tensor, repeats: int) -> str:
    """The last line: reading and writing the bytes of the batch once, the least that any effect does."""
    out = torch.ones_like(noise)
    spent = least({"mul": lambda: torch.mul(noise, 2.0, out=out)}, repeats)["mul"]
    gain = gain_of_two(lambda: torch.mul(noise, 2.0, out=out), repeats)
    return f"`torch.mul` of the batch, into memory that is there: {1e3 * spent:.0f} ms, two threads {gain:.2f}."


def main() -> None:
    """Prints the table; ``--write`` puts it into docs/results.md."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--items", type=int, default=64, help="items in the batch")
    parser.add_argument("--repeats", type=int, default=3, help="how often each is timed")
    parser.add_argument("--effects", nargs="*", default=KERNELS, help="these effects only")
    parser.add_argument("--json", action="store_true", help="print one line of JSON instead of the table")
    parser.add_argument("--write", action="store_true", help="replace this benchmark's section of docs/results.md")
    given = parser.parse_args()
    noise = 0.2 * torch.randn(given.items, 2, 5 * RATE, generator=torch.Generator().manual_seed(0))
    rows = {name: row(name, noise, given.repeats) for name in given.effects}
    lines = [f"{given.items} stereo items of 5 s.", "", f"| effect | {' | '.join(COLUMNS)} |", "|" + "---|" * (1 + len(COLUMNS))]
    for name, cells in rows.items():
        values = [f"{value:.0f}" if "ms" in column else f"{value:.2f}" for column, value in cells.items()]
        lines.append(f"| {name} | {' | '.join(values)} |")
    lines += ["", multiplying(noise, given.repeats)]
    print(json.dumps(rows) if given.json else "\n".join(lines))
    if given.write:
        from results import publish

        publish("Effects in a batch", "python benchmarks/effect_batches.py --write", "\n".join(lines))


if __name__ == "__main__":
    main()
