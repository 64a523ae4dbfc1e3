"""The items of a batch, one by one in several threads: the autograd functions behind ``stemwright.datagen.effects.batches``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any

import numpy as np
import torch
from torch.autograd.function import once_differentiable

from stemwright.datagen.effects.dsp import memory
from stemwright.datagen.effects.operation import Operation, thread
from stemwright.datagen.effects.signal import check_finite


class Items(torch.autograd.Function):
    """``one(item, *settings)`` of every item of audio [I, C, T] and settings [I], with gradients of first order."""

    @staticmethod
    def forward(ctx: Any, one: Callable[..., torch.Tensor], audio: torch.Tensor, *rows: torch.Tensor) -> torch.Tensor:
        """Returns the output, computed item by item; saves only the inputs."""
        wet = empty_like(audio)
        inference = torch.is_inference_mode_enabled()  # the mode is set for each thread by itself

        def run(number: int) -> None:
            with torch.inference_mode(inference), torch.no_grad():
                thread.place = wet[number]
                try:
                    found = one(audio[number], *(row[number] for row in rows))
                finally:
                    thread.place = None
                if found.data_ptr() != wet[number].data_ptr():
                    wet[number] = found

        in_threads(run, len(audio))
        ctx.one = one
        ctx.save_for_backward(audio, *rows)
        return wet

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        """Returns the gradients: every item is computed again with its graph, and backpropagated."""
        inputs, needed = ctx.saved_tensors, ctx.needs_input_grad[1:]
        places = [place for place, need in enumerate(needed) if need]
        bars = {place: empty_like(inputs[place]) for place in places}

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


class Each(torch.autograd.Function):
    """An operation on every item of audio [I, C, T] with coefficients [I, ...]."""

    @staticmethod
    def forward(ctx: Any, operation: Operation, audio: torch.Tensor, *rows: torch.Tensor) -> torch.Tensor:
        """Returns the output, computed item by item; saves only the inputs."""
        audio = audio.contiguous()
        wet = empty_like(audio)

        def run(number: int) -> None:
            with torch.inference_mode():
                operation.forward(number, check_finite(audio[number]), [row[number] for row in rows], wet[number])

        in_threads(run, len(audio))
        ctx.operation = operation
        ctx.save_for_backward(audio, *rows)
        return wet

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        """Returns the gradients, computed item by item."""
        audio, *rows = ctx.saved_tensors
        needed = ctx.needs_input_grad[1:]
        x_bar = empty_like(audio)

        def run(number: int) -> Sequence[torch.Tensor]:
            with torch.no_grad():
                inputs = audio[number], [row[number] for row in rows], grads[0][number].contiguous(), x_bar[number]
                found: Sequence[torch.Tensor] = ctx.operation.backward(number, *inputs, needed=any(needed[1:]))
            return found

        found = in_threads(run, len(audio))
        if not any(needed[1:]):
            return None, x_bar, *[None for _ in rows]
        return None, x_bar, *[torch.stack(bar).to(row) for bar, row in zip(zip(*found, strict=True), rows, strict=True)]


def empty_like(tensor: torch.Tensor) -> torch.Tensor:
    """A tensor of arbitrary values with the shape and type of another, on the CPU, contiguous."""
    kind = np.float32 if tensor.dtype == torch.float32 else np.float64
    return torch.from_numpy(memory.empty(tuple(tensor.shape), kind)).to(tensor.dtype)


def in_threads(run: Callable[[int], Any], count: int) -> list[Any]:
    """[run(0), run(1), ...], in as many threads as torch was given; within each, torch uses one thread."""
    threads = min(torch.get_num_threads(), count)
    if count > 1:
        _keep_freed_memory()
    if threads <= 1:
        return [run(number) for number in range(count)]
    before = torch.get_num_threads()
    try:
        # Threads of this call alone: a pool that is kept would be missing its threads in a forked process.
        with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            return list(pool.map(run, range(count)))
    finally:
        torch.set_num_threads(before)  # MKL has one number for all threads


@cache
def _keep_freed_memory() -> None:
    """Lets the C library of Linux keep what an item frees for the next one, which otherwise takes it from the system again, page by page.

    It keeps free memory up to twice the largest block that it ever took back, if that was below 32 MiB (mallopt(3), "dynamic mmap
    threshold"): audio of a few seconds is too short to have raised that, and a batch too long.
    """
    np.empty(31 << 20, np.uint8)
