"""A ceiling on both sides of a signal, with its gradient: the kernel of the effect ``clip``."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch.autograd.function import once_differentiable


class Clamp:
    """x [C, T] clipped at plus and minus a ceiling [1, 1], written into the output directly."""

    def forward(self, _: int, x: torch.Tensor, rows: Sequence[torch.Tensor], y: torch.Tensor) -> None:
        """Fills y."""
        ceiling = float(rows[0])
        torch.clamp(x, -ceiling, ceiling, out=y)

    def backward(
        self, _: int, x: torch.Tensor, rows: Sequence[torch.Tensor], bar: torch.Tensor, x_bar: torch.Tensor, *, needed: bool
    ) -> Sequence[torch.Tensor]:
        """Fills x_bar, zero where x was clipped; returns the gradient for the ceiling if ``needed``."""
        # The gradient of hardtanh is zero at its limits too, where ours is not: so its limits are the next larger numbers.
        beyond = float(torch.nextafter(rows[0], torch.full_like(rows[0], math.inf)))
        torch.ops.aten.hardtanh_backward.grad_input(bar, x, -beyond, beyond, grad_input=x_bar)
        return ((torch.dot((bar - x_bar).view(-1), x.sign().view(-1)).reshape(1, 1)),) if needed else ()


class Ceiling(torch.autograd.Function):
    """x [..., C, T] clipped at plus and minus a ceiling [..., 1, 1]; its gradient takes fewer passes than that of minimum and maximum."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, ceiling: torch.Tensor) -> torch.Tensor:
        """Returns x clipped at the ceiling."""
        ctx.save_for_backward(x, ceiling)
        return torch.minimum(torch.maximum(x, -ceiling), ceiling)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Returns the gradients for x, zero where it was clipped, and for the ceiling."""
        x, ceiling = ctx.saved_tensors
        beyond = x.abs() > ceiling
        x_bar = grads[0].masked_fill(beyond, 0.0)
        if not ctx.needs_input_grad[1]:
            return x_bar, None
        return x_bar, ((grads[0] - x_bar) * x.sign()).sum_to_size(ceiling.shape)
