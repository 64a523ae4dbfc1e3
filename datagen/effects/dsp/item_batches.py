"""The items of a batch, one by one in several threads: the autograd function behind ``stemwright.datagen.effects.batches``."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from torch.autograd.function import once_differentiable


class Items(torch.autograd.Function):
    """``one(item, *settings)`` of every item of audio [I, C, T] and settings [I], with its gradients; they have none of their own."""

    @staticmethod
    def forward(ctx: Any, one: Callable[..., torch.Tensor], audio: torch.Tensor, *rows: torch.Tensor) -> torch.Tensor:
        """Fills the output item by item and keeps the inputs only."""
        wet = _like(audio)
        inference = torch.is_inference_mode_enabled()  # a mode of a thread: the others do not have it

        def run(number: int) -> None:
            with torch.inference_mode(inference), torch.no_grad():
                wet[number] = one(audio[number], *(row[number] for row in rows))

        in_threads(run, len(audio))
        ctx.one = one
        ctx.save_for_backward(audio, *rows)
        return wet

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        """Runs every item again, with its graph, and goes back through that."""
        inputs, needed = ctx.saved_tensors, ctx.needs_input_grad[1:]
        places = [place for place, need in enumerate(needed) if need]
        bars = {place: _like(inputs[place]) for place in places}

        def run(number: int) -> None:
            leaves = [each[number].detach().requires_grad_(need) for each, need in zip(inputs, needed, strict=True)]
            with torch.enable_grad():
                wet = ctx.one(*leaves)
            wanted = [leaves[place] for place in places]
            found = torch.autograd.grad(wet, wanted, grads[0][number], allow_unused=True) if wet.requires_grad else [None] * len(places)
            for place, bar in zip(places, found, strict=True):
                bars[place][number] = 0.0 if bar is None else bar

        in_threads(run, len(inputs[0]))
        return None, *(bars.get(place) for place in range(len(inputs)))


def _like(tensor: torch.Tensor) -> torch.Tensor:
    """Memory for a result like a tensor; numpy asks for it in large pages, which the system hands out in a sixth of the time."""
    return torch.from_numpy(np.empty(tuple(tensor.shape), np.float32 if tensor.dtype == torch.float32 else np.float64)).to(tensor.dtype)


def in_threads(run: Callable[[int], Any], count: int) -> list[Any]:
    """[run(0), run(1), ...], in as many threads as torch was given, each of which computes by itself."""
    threads = min(torch.get_num_threads(), count)
    if threads <= 1:
        return [run(number) for number in range(count)]
    before = torch.get_num_threads()
    try:
        # Threads of this call alone: a pool that is kept would be missing its threads in a forked process.
        with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            return list(pool.map(run, range(count)))
    finally:
        torch.set_num_threads(before)  # MKL has one number for all threads
