"""A delay line with feedback, forward, adjoint and inverse: the kernel of the effect ``delay``."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from stemwright.separation.kernels import njit


class Echo(torch.autograd.Function):
    """d of x [I, C, T] by feedback [I] and delay in samples [I], with exact gradients for x and feedback."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, feedback: torch.Tensor, delays: np.ndarray) -> torch.Tensor:
        """Returns the echoes in the type and on the device of x."""
        signal = _array(x)
        d = np.empty_like(signal)
        _echo(signal, _array(feedback), delays, d)
        ctx.delays = delays
        ctx.save_for_backward(x, feedback)
        return torch.from_numpy(d).to(x.device)

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None, None]:
        """Returns the gradients. The line H is linear and time-invariant: its adjoint is H on the reversed signal, and dH/df = H²."""
        x, feedback = ctx.saved_tensors
        bar, table = _array(grads[0]), _array(feedback)
        back = np.empty_like(bar)
        _echo(np.ascontiguousarray(bar[..., ::-1]), table, ctx.delays, back)
        x_bar = torch.from_numpy(back[..., ::-1].copy()).to(x)
        if not ctx.needs_input_grad[1]:
            return x_bar, None, None
        once, twice = np.empty_like(bar), np.empty_like(bar)
        _echo(_array(x), table, ctx.delays, once)
        _echo(once, table, ctx.delays, twice)
        f_bar = (bar.astype(np.float64) * twice).sum((1, 2))
        return x_bar, torch.from_numpy(f_bar).to(feedback), None


@njit(nogil=True)
def _echo(x, feedback, delays, d):  # type: ignore[no-untyped-def]
    """Fills d [I, C, T], a delay at a time: no sample of a piece depends on another of it, so the processor may do several at once."""
    for i in range(x.shape[0]):
        delay, factor = delays[i], x.dtype.type(feedback[i])
        for c in range(x.shape[1]):
            for n in range(min(delay, x.shape[2])):
                d[i, c, n] = 0
            for start in range(delay, x.shape[2], delay):
                to = d[i, c, start : start + delay]
                source = x[i, c, start - delay : start - delay + len(to)]
                before = d[i, c, start - delay : start - delay + len(to)]
                for j in range(len(to)):
                    to[j] = source[j] + factor * before[j]


@njit(nogil=True)
def undo(y, mix, feedback, echo, delays, x):  # type: ignore[no-untyped-def]
    """Fills x [I, C, T] from y = ((1 - mix) + echo z^-D) / (1 - feedback z^-D) x."""
    for i in range(y.shape[0]):
        for c in range(y.shape[1]):
            for n in range(y.shape[2]):
                value = y[i, c, n]
                if n >= delays[i]:
                    value -= feedback[i] * y[i, c, n - delays[i]] + echo[i] * x[i, c, n - delays[i]]
                x[i, c, n] = value / (1.0 - mix[i])


def _array(tensor: torch.Tensor) -> np.ndarray:
    return np.ascontiguousarray(tensor.detach().cpu().numpy())
