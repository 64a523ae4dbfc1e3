"""A ceiling on both sides of a signal, with its gradient: the kernel of the effect ``clip``."""

from __future__ import annotations

from typing import Any

import torch
from torch.autograd.function import once_differentiable


class Ceiling(torch.autograd.Function):
    """x [..., C, T] within a ceiling [..., 1, 1] on both sides; its gradient in fewer passes than that of a minimum and a maximum."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, ceiling: torch.Tensor) -> torch.Tensor:
        """Returns x, and the ceiling where it is beyond."""
        ctx.save_for_backward(x, ceiling)
        return torch.minimum(torch.maximum(x, -ceiling), ceiling)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
        """What is beyond the ceiling moves with it and not with x."""
        x, ceiling = ctx.saved_tensors
        beyond = x.abs() > ceiling
        x_bar = grads[0].masked_fill(beyond, 0.0)
        if not ctx.needs_input_grad[1]:
            return x_bar, None
        return x_bar, ((grads[0] - x_bar) * x.sign()).sum_to_size(ceiling.shape)
