"""Batches on a processor: item by item, in as many threads as torch was given.

An operation on a whole batch writes and reads hundreds of megabytes between any two steps of an effect, all of it through memory that the
system hands out page by page. One item fits the cache: so each goes through the whole effect before the next, and a thread takes every
other one. The gradient repeats an item's forward pass instead of keeping what every item computed.

Conventions
    audio [..., C, T]; its items are the leading dimensions together. Settings are floats, or tensors of one value an item or one for all.
    An item in a batch gives the samples of that item alone: each is computed by one thread.
    On a GPU, and for a single item, an effect computes everything together.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import wraps
from typing import Any, TypeVar

import numpy as np
import torch
from torch.autograd.function import once_differentiable

from stemwright.datagen.effects.settings import EffectSettings

Apply = Callable[[torch.Tensor, int, Any], torch.Tensor]
_S = TypeVar("_S", bound=EffectSettings)


def by_items(apply: Callable[[torch.Tensor, int, _S], torch.Tensor]) -> Callable[[torch.Tensor, int, _S], torch.Tensor]:
    """Decorates an effect's ``apply``: a batch on a processor goes through it item by item, in parallel."""

    @wraps(apply)
    def applied(audio: torch.Tensor, sample_rate: int, settings: _S) -> torch.Tensor:
        leading = audio.shape[:-2]
        if audio.ndim < 3 or leading.numel() < 2 or audio.device.type != "cpu" or not audio.dtype.is_floating_point:
            return apply(audio, sample_rate, settings)
        values = {name: value for name, value in settings if isinstance(value, torch.Tensor)}
        rows = [value.expand(leading).reshape(-1) for value in values.values()]

        def one(item: torch.Tensor, *own: torch.Tensor) -> torch.Tensor:
            return apply(item, sample_rate, settings.model_copy(update=dict(zip(values, own, strict=True))) if values else settings)

        items = audio.reshape(-1, *audio.shape[-2:])
        wet: torch.Tensor = _Items.apply(one, items, *rows)
        return wet.reshape(audio.shape)

    return applied


class _Items(torch.autograd.Function):
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
