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
from functools import wraps
from typing import TypeVar

from stemwright.datagen.effects.deferred import torch
from stemwright.datagen.effects.settings import EffectSettings

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

        from stemwright.datagen.effects.dsp.item_batches import Items

        items = audio.reshape(-1, *audio.shape[-2:])
        wet: torch.Tensor = Items.apply(one, items, *rows)
        return wet.reshape(audio.shape)

    return applied
