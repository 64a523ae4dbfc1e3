"""A one-pole follower with two speeds, over time and for many rows at once: the recursion of detectors and gains, for GPUs.

    s[n] = s[n-1] + c[n] (u[n] - s[n-1]),    c = rise where u[n] > s[n-1], else fall

It is the only part of a compressor and a limiter that has to go sample by sample; everything else is computed in parallel over time by
torch. On a GPU it is a kernel in Triton, which comes with PyTorch for CUDA: a thread for each row, signals laid out time first so that the
threads of a warp read neighbours, eight samples fetched ahead. Its gradient is a linear recursion backwards, by the same kind of kernel.

Conventions
    u is float64 [R, T]; rise, fall and the state before the first sample are float64 [R]. Where there is no Triton the rows go to the
    processor and back.

References
    torchcomp (Yu 2024) and torchlpc (Yu and Fazekas 2024): one CUDA thread a row, and the adjoint as the same recursion reversed.
"""

from __future__ import annotations

from functools import cache
from types import ModuleType
from typing import Any

import numpy as np
import torch

from stemwright.separation.kernels import njit


class Follow(torch.autograd.Function):
    """s [R, T] of u [R, T], with exact gradients for u, rise, fall and the state before."""

    @staticmethod
    def forward(ctx: Any, u: torch.Tensor, rise: torch.Tensor, fall: torch.Tensor, before: torch.Tensor) -> torch.Tensor:
        """Returns s on the device of u."""
        if (kernels := _triton(u.device.type)) is not None:
            s = kernels.follow(u, rise, fall, before)
        else:
            made = np.empty(u.shape)
            _follow(_array(u), _array(rise), _array(fall), _array(before), made)
            s = torch.from_numpy(made).to(u.device)
        ctx.save_for_backward(u, rise, fall, before, s)
        return s

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """l[n] = s_bar[n] + (1 - c[n+1]) l[n+1] is what reaches s[n]; each gradient follows from it."""
        u, rise, fall, before, s = ctx.saved_tensors
        step = u - torch.cat([before[:, None], s[:, :-1]], dim=1)
        rising = step > 0.0
        speed = torch.where(rising, rise[:, None], fall[:, None])
        kept = torch.nn.functional.pad(1.0 - speed[:, 1:], (0, 1))
        if (kernels := _triton(u.device.type)) is not None:
            reaching = kernels.decay(grads[0].flip(1), kept.flip(1)).flip(1)
        else:
            made = np.empty(u.shape)
            _decay(_array(grads[0].flip(1)), _array(kept.flip(1)), made)
            reaching = torch.from_numpy(made).to(u.device).flip(1)
        both = reaching * step
        rise_bar = torch.where(rising, both, 0.0).sum(1)
        return reaching * speed, rise_bar, both.sum(1) - rise_bar, reaching[:, 0] * (1.0 - speed[:, 0])


def follow(u: torch.Tensor, rise: torch.Tensor, fall: torch.Tensor, before: torch.Tensor) -> torch.Tensor:
    """``Follow`` with its arguments in order."""
    followed: torch.Tensor = Follow.apply(u, rise, fall, before)
    return followed


@cache
def _triton(device: str) -> ModuleType | None:
    """The kernels for a GPU; None for a processor and without Triton."""
    if device != "cuda":
        return None
    try:
        from stemwright.datagen.effects.dsp import following_triton
    except ImportError:
        return None
    return following_triton


@njit(nogil=True)
def _follow(u, rise, fall, before, s):  # type: ignore[no-untyped-def]
    """Fills s [R, T]."""
    for r in range(u.shape[0]):
        state = before[r]
        for n in range(u.shape[1]):
            state += (rise[r] if u[r, n] > state else fall[r]) * (u[r, n] - state)
            s[r, n] = state


@njit(nogil=True)
def _decay(b, a, s):  # type: ignore[no-untyped-def]
    """Fills s [R, T] with s[n] = b[n] + a[n] s[n-1]."""
    for r in range(b.shape[0]):
        state = 0.0
        for n in range(b.shape[1]):
            state = b[r, n] + a[r, n] * state
            s[r, n] = state


def _array(tensor: torch.Tensor) -> np.ndarray:
    return np.ascontiguousarray(tensor.detach().cpu().numpy())
