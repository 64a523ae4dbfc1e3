"""Batches on a CPU: item by item, in as many threads as torch was given.

An operation on a whole batch writes and reads hundreds of megabytes between any two steps of an effect, all of it through memory that the
system hands out page by page. One item fits the cache: so each goes through the whole effect before the next, and the threads take
one item after another.

There are two ways. ``by_items`` decorates any effect; its gradient repeats an item's forward pass instead of keeping what every item
computed. ``each`` is for an effect that is one ``Operation`` of known gradient with coefficients that torch computes from the settings,
for all items at once.

Conventions
    audio [..., C, T]; its items are the leading dimensions together. Settings are floats, or tensors of one value an item or one for all.
    An item in a batch gives the samples of that item alone: each is computed by one thread.
    On a GPU, and for a single item, an effect computes everything together.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import TypeVar

from stemwright.datagen.effects.deferred import torch
from stemwright.datagen.effects.operation import Operation
from stemwright.datagen.effects.settings import EffectSettings

_S = TypeVar("_S", bound=EffectSettings)


def is_batch(audio: torch.Tensor) -> bool:
    """Whether audio is computed item by item."""
    return audio.ndim > 2 and audio.shape[:-2].numel() > 1 and audio.device.type == "cpu" and audio.dtype.is_floating_point


def are_numbers(settings: EffectSettings) -> bool:
    """Whether no setting is a tensor: all items share what an effect computes from them, and it has no gradient."""
    return not any(isinstance(value, torch.Tensor) for _, value in settings)


def by_items(apply: Callable[[torch.Tensor, int, _S], torch.Tensor]) -> Callable[[torch.Tensor, int, _S], torch.Tensor]:
    """Decorates an effect's ``apply``: a batch on a CPU goes through it item by item, in parallel."""

    @wraps(apply)
    def applied(audio: torch.Tensor, sample_rate: int, settings: _S) -> torch.Tensor:
        if not is_batch(audio):
            return apply(audio, sample_rate, settings)
        leading = audio.shape[:-2]
        values = {name: value for name, value in settings if isinstance(value, torch.Tensor)}
        rows = [value.expand(leading).reshape(-1) for value in values.values()]

        def one(item: torch.Tensor, *own: torch.Tensor) -> torch.Tensor:
            return apply(item, sample_rate, settings.model_copy(update=dict(zip(values, own, strict=True))) if values else settings)

        from stemwright.datagen.effects.dsp.item_batches import Items

        items = audio.reshape(-1, *audio.shape[-2:])
        wet: torch.Tensor = Items.apply(one, items, *rows)
        return wet.reshape(audio.shape)

    return applied


def each(operation: Operation, audio: torch.Tensor, *rows: torch.Tensor) -> torch.Tensor:
    """Applies an operation to every item of audio [..., C, T] on a CPU, with coefficients [I, ...] or one for all items [1, ...].

    Raises ValueError if the audio is not finite.
    """
    from stemwright.datagen.effects.dsp.item_batches import Each

    items = audio.reshape(-1, *audio.shape[-2:])
    rows = tuple(row.expand(len(items), *row.shape[1:]) for row in rows)
    wet: torch.Tensor = Each.apply(operation, items, *rows)
    return wet.reshape(audio.shape)
