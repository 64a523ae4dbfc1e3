"""What an effect does to one item of a batch, and where it may write it: see ``stemwright.datagen.effects.batches``."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Protocol

from stemwright.datagen.effects.deferred import torch

thread = threading.local()  # its ``place`` is the part of a batch that this thread may write


class Operation(Protocol):
    """What an effect does to one item x [C, T] with coefficients of its own, and the adjoint of it. ``number`` is that of the item."""

    def forward(self, number: int, x: torch.Tensor, rows: Sequence[torch.Tensor], y: torch.Tensor, /) -> None:
        """Fills y [C, T]."""

    def backward(
        self, number: int, x: torch.Tensor, rows: Sequence[torch.Tensor], bar: torch.Tensor, x_bar: torch.Tensor, /, *, needed: bool
    ) -> Sequence[torch.Tensor]:
        """Fills x_bar from bar, the gradient for y; returns those for the coefficients if they are ``needed``, else nothing."""


def place() -> torch.Tensor | None:
    """Where an effect's last step may write (as ``out``): the item's part of a batch, which saves copying it, or None.

    It is None where a gradient is computed, and from the second call for an item on.
    """
    found, thread.place = getattr(thread, "place", None), None
    return found
