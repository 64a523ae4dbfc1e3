"""A delay line with feedback, forward, adjoint and inverse: the kernel of the effect ``delay``."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from stemwright.datagen.effects.dsp import memory
from stemwright.separation.kernels import njit


class Echoes:
    """x [C, T] mixed with its echoes d by delays in samples [I], a feedback [] and a mix [1, 1]."""

    def __init__(self, delays: np.ndarray) -> None:
        self.delays = delays

    def forward(self, number: int, x: torch.Tensor, rows: Sequence[torch.Tensor], y: torch.Tensor) -> None:
        """Fills y."""
        torch.lerp(x, torch.from_numpy(self._line(number, x, rows[0])), rows[1], out=y)

    def backward(
        self, number: int, x: torch.Tensor, rows: Sequence[torch.Tensor], bar: torch.Tensor, x_bar: torch.Tensor, *, needed: bool
    ) -> Sequence[torch.Tensor]:
        """Fills x_bar; returns the gradients for feedback and mix if ``needed``."""
        feedback, mix = float(rows[0]), float(rows[1])
        d, e = self._line(number, x, rows[0]) if needed else x.numpy(), memory.empty(tuple(x.shape), x.numpy().dtype)
        sums = np.zeros(2)
        _back(x.numpy(), d, bar.numpy(), (feedback, mix), self.delays[number], e, x_bar.numpy(), sums, needed)
        return (torch.tensor(sums[0]), torch.full((1, 1), sums[1])) if needed else ()

    def _line(self, number: int, x: torch.Tensor, feedback: torch.Tensor) -> np.ndarray:
        d = memory.empty(tuple(x.shape), x.numpy().dtype)
        _echo(x.numpy()[None], np.asarray(feedback)[None], self.delays[number : number + 1], d[None])
        return d


@njit(nogil=True)
def _echo(x, feedback, delays, d):  # type: ignore[no-untyped-def]
    """Fills d [I, C, T], in pieces of one delay: no sample depends on another of its piece, so a CPU may compute several at once."""
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


@njit(nogil=True, fastmath={"contract", "reassoc"})
def _back(x, d, y_bar, factors, delay, e, x_bar, sums, needed):  # type: ignore[no-untyped-def]
    """y_bar [C, T] -> x_bar [C, T] and, if ``needed``, sums [2]: the gradients for feedback and mix; e [C, T] is scratch.

    e[n] = mix y_bar[n] + feedback e[n + D] is the gradient for d[n], x_bar[n] = (1 - mix) y_bar[n] + e[n + D]; in pieces as
    in ``_echo``, the last one first, and short enough for the cache.
    """
    channels, frames = x.shape
    feedback, mix = x.dtype.type(factors[0]), x.dtype.type(factors[1])
    keep, piece = x.dtype.type(1.0) - mix, min(delay, 4096)
    for c in range(channels):
        for end in range(frames, 0, -piece):
            start = max(end - piece, 0)
            own, wet, to = y_bar[c, start:end], e[c, start:end], x_bar[c, start:end]
            later = min(max(frames - delay - start, 0), end - start)  # how many of these have a sample one delay later
            after = e[c, start + delay : start + delay + later]
            for j in range(later):
                wet[j] = mix * own[j] + feedback * after[j]
                to[j] = keep * own[j] + after[j]
            for j in range(later, end - start):
                wet[j] = mix * own[j]
                to[j] = keep * own[j]
            if needed:
                total = 0.0
                for j in range(end - start):
                    total += own[j] * (d[c, start + j] - x[c, start + j])
                sums[1] += total
                total = 0.0
                first = max(start, delay)
                for j in range(first, end):
                    total += e[c, j] * d[c, j - delay]
                sums[0] += total


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
