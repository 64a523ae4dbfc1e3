"""A delay line with a fractional delay that varies over time, forward and adjoint: the kernel of the effect ``chorus``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from stemwright.datagen.effects.dsp import memory
from stemwright.datagen.effects.signal import column
from stemwright.separation.kernels import njit


class Copies:
    """x [C, T] mixed with its copy, by delays [T], a feedback and a mix that all items share."""

    def __init__(self, delays: torch.Tensor, feedback: float, mix: float) -> None:
        self.delays, self.feedback, self.mix = _array(delays)[None], np.array([feedback]), mix

    def forward(self, _: int, x: torch.Tensor, __: Sequence[torch.Tensor], y: torch.Tensor) -> None:
        """Fills y."""
        signal = x.numpy()[None]
        w, u = memory.empty(signal.shape, signal.dtype), memory.empty(signal.shape, signal.dtype)
        _forward(signal, self.delays, self.feedback, w, u)
        torch.lerp(x, torch.from_numpy(w[0]), column(self.mix, x), out=y)

    def backward(
        self, _: int, __: torch.Tensor, ___: Sequence[torch.Tensor], bar: torch.Tensor, x_bar: torch.Tensor, *, needed: bool
    ) -> Sequence[torch.Tensor]:
        """Fills x_bar; returns nothing, since there are no coefficients."""
        assert not needed  # there are no coefficients
        _transposed((self.mix * bar).numpy()[None], self.delays, self.feedback, x_bar.zero_().numpy()[None])
        x_bar.add_(bar, alpha=1.0 - self.mix)
        return ()


class Swing(torch.autograd.Function):
    """The delayed copy w [I, C, T] of x [I, C, T], by delays [I, T] and feedback [I], with exact gradients for all three."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, delays: torch.Tensor, feedback: torch.Tensor) -> torch.Tensor:
        """Returns the delayed copy in the type and on the device of x."""
        ctx.save_for_backward(x, delays, feedback)
        w, _ = _run(x, delays, feedback)
        return torch.from_numpy(w).to(x.device)

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None, torch.Tensor | None]:
        """Returns the gradients for x, delays and feedback."""
        x, delays, feedback = ctx.saved_tensors
        if not any(ctx.needs_input_grad[1:]):
            x_bar = np.zeros_like(_array(grads[0]))
            _transposed(_array(grads[0]), _array(delays), _array(feedback), x_bar)
            return torch.from_numpy(x_bar).to(x), None, None
        w, u = _run(x.double(), delays, feedback)
        x_bar, d_bar, f_bar = np.zeros_like(u), np.zeros(delays.shape), np.zeros(feedback.shape)
        _adjoint(_array(grads[0]).astype(np.float64), _array(delays), _array(feedback), w, u, x_bar, d_bar, f_bar)
        return torch.from_numpy(x_bar).to(x), torch.from_numpy(d_bar).to(delays), torch.from_numpy(f_bar).to(feedback)


def _run(x: torch.Tensor, delays: torch.Tensor, feedback: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
    signal = _array(x)
    w, u = np.empty_like(signal), np.empty_like(signal)
    _forward(signal, _array(delays), _array(feedback), w, u)
    return w, u


@njit(nogil=True)
def _forward(x, delays, feedback, w, u):  # type: ignore[no-untyped-def]
    """Fills the copy w and the line's input u, both [I, C, T]."""
    items, channels, frames = x.shape
    for i in range(items):
        for c in range(channels):
            before = 0.0
            for n in range(frames):
                whole = int(delays[i, n])
                part = delays[i, n] - whole
                near = u[i, c, n - whole] if n >= whole else 0.0
                far = u[i, c, n - whole - 1] if n > whole else 0.0
                u[i, c, n] = x[i, c, n] + feedback[i] * before
                before = near + part * (far - near)
                w[i, c, n] = before


@njit(nogil=True)
def _transposed(w_bar, delays, feedback, u_bar):  # type: ignore[no-untyped-def]
    """Runs ``_forward`` backwards for the audio alone: u_bar [I, C, T] starts at zero and ends as the gradient for x."""
    items, channels, frames = w_bar.shape
    for i in range(items):
        for n in range(frames - 1, -1, -1):
            whole = int(delays[i, n])
            part = delays[i, n] - whole
            for c in range(channels):
                after = u_bar[i, c, n + 1] if n + 1 < frames else 0.0
                bar = w_bar[i, c, n] + feedback[i] * after
                if n >= whole:
                    u_bar[i, c, n - whole] += (1.0 - part) * bar
                if n > whole:
                    u_bar[i, c, n - whole - 1] += part * bar


@njit(nogil=True)
def _adjoint(w_bar, delays, feedback, w, u, u_bar, d_bar, f_bar):  # type: ignore[no-untyped-def]
    """Runs ``_forward`` backwards. u_bar [I, C, T] starts at zero and ends as the gradient for x, which enters u as it is."""
    items, channels, frames = u.shape
    for i in range(items):
        for c in range(channels):
            for n in range(frames - 1, -1, -1):
                after = u_bar[i, c, n + 1] if n + 1 < frames else 0.0
                bar = w_bar[i, c, n] + feedback[i] * after
                f_bar[i] += after * w[i, c, n]
                whole = int(delays[i, n])
                part = delays[i, n] - whole
                near, far = 0.0, 0.0
                if n >= whole:
                    u_bar[i, c, n - whole] += (1.0 - part) * bar
                    near = u[i, c, n - whole]
                if n > whole:
                    u_bar[i, c, n - whole - 1] += part * bar
                    far = u[i, c, n - whole - 1]
                d_bar[i, n] += bar * (far - near)


def _array(tensor: torch.Tensor) -> np.ndarray:
    return np.ascontiguousarray(tensor.detach().cpu().numpy())
