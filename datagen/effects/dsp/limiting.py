"""The gain of a limiter with look-ahead, from peaks: by a recursion with its adjoint, and in parallel over time for GPUs.

Conventions
    peaks [G, T]: the loudest channel of each of G groups that share a gain; the equations are those of the effect ``limiter``.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from stemwright.datagen.effects.dsp.following import follow
from stemwright.separation.kernels import njit


def followed_gain(peaks: torch.Tensor, ceiling: torch.Tensor, release: torch.Tensor, ahead: np.ndarray) -> torch.Tensor:
    """What ``Limit`` gives, in parallel over time but for the release: rows of one look-ahead together."""
    gain = torch.empty_like(peaks)
    for frames in np.unique(ahead).tolist():
        rows = torch.from_numpy(np.flatnonzero(ahead == frames)).to(peaks.device)
        lowest, top = ceiling[rows, None], peaks[rows].double()
        need = lowest / torch.maximum(top, lowest)
        # Of equal peaks the last one counts, as in the recursion: the pool takes the first, of time reversed.
        turned = torch.nn.functional.pad(-need, (0, frames), value=-1.0).flip(1)
        held = -torch.nn.functional.max_pool1d(turned[:, None], frames + 1, stride=1)[:, 0].flip(1)
        at_once = torch.ones_like(release[rows])
        released = follow(held, release[rows], at_once, held[:, 0])
        before = held[:, :1].expand(-1, frames + 1)  # before the first sample the released gain equals that of the first
        total = torch.cat([before, released], dim=1).cumsum(dim=1)
        mean = (total[:, frames + 1 :] - total[:, : -frames - 1]) / (frames + 1)
        gain = gain.index_copy(0, rows, mean.to(gain.dtype))
    return gain


class Limit(torch.autograd.Function):
    """The gain [G, T] for peaks [G, T], coefficients [G, 2] (ceiling, release) and look-ahead [G]; exact gradients for the first two."""

    @staticmethod
    def forward(ctx: Any, peaks: torch.Tensor, coefficients: torch.Tensor, ahead: np.ndarray) -> torch.Tensor:
        """Returns the gain in the type and on the device of the peaks."""
        signal = _array(peaks)
        gain = np.empty_like(signal)
        states = np.empty((2, *signal.shape))
        lowest = np.empty(signal.shape, np.int64)
        _forward(signal, _array(coefficients), ahead, states, lowest, gain)
        ctx.ahead, ctx.states, ctx.lowest = ahead, states, lowest
        ctx.save_for_backward(peaks, coefficients)
        return torch.from_numpy(gain).to(peaks.device)

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, None]:
        """Returns the gradients for peaks and coefficients."""
        peaks, coefficients = ctx.saved_tensors
        p_bar, c_bar = np.zeros(peaks.shape), np.zeros(coefficients.shape)
        table = _array(coefficients)
        _adjoint(
            _array(peaks).astype(np.float64), table, ctx.ahead, ctx.states, ctx.lowest, _array(grads[0]).astype(np.float64), p_bar, c_bar
        )
        return torch.from_numpy(p_bar).to(peaks), torch.from_numpy(c_bar).to(coefficients), None


@njit(nogil=True)
def _forward(peaks, coefficients, ahead, states, lowest, gain):  # type: ignore[no-untyped-def]
    """Fills the held and released gains (states [2, G, T]), where each held gain comes from (lowest [G, T]), and the gain [G, T]."""
    groups, frames = peaks.shape
    queue = np.empty(frames, np.int64)  # places of r, rising in time and in value: the first is the lowest ahead
    need = np.empty(frames)
    for k in range(groups):
        ceiling, release = coefficients[k]
        held, released = states[0, k], states[1, k]
        for n in range(frames):
            need[n] = ceiling / peaks[k, n] if peaks[k, n] > ceiling else 1.0
        first, last = 0, 0  # queue[first:last]
        upto = 0
        for n in range(frames):
            while upto < frames and upto <= n + ahead[k]:
                while last > first and need[queue[last - 1]] >= need[upto]:
                    last -= 1
                queue[last] = upto
                last += 1
                upto += 1
            while queue[first] < n:
                first += 1
            lowest[k, n] = queue[first]
            held[n] = need[queue[first]]
        e = held[0]
        # Before the first sample the released gain equals that of the first, so the mean never exceeds what is needed.
        total = e * (ahead[k] + 1)
        for n in range(frames):
            e = held[n] if held[n] < e else e + release * (held[n] - e)
            released[n] = e
            total += e - (released[n - ahead[k] - 1] if n > ahead[k] else held[0])
            gain[k, n] = total / (ahead[k] + 1)


@njit(nogil=True)
def _adjoint(peaks, coefficients, ahead, states, lowest, g_bar, p_bar, c_bar):  # type: ignore[no-untyped-def]
    """Runs ``_forward`` backwards: g_bar [G, T] -> p_bar [G, T], c_bar [G, 2]."""
    groups, frames = peaks.shape
    for k in range(groups):
        ceiling, release = coefficients[k]
        held, released = states[0, k], states[1, k]
        window = 0.0  # of g_bar over [n, n + ahead]
        chain = 0.0  # gradient that later samples pass back through the release
        m_bar_first = 0.0
        for n in range(frames - 1, -1, -1):
            window += g_bar[k, n]
            if n + ahead[k] + 1 < frames:
                window -= g_bar[k, n + ahead[k] + 1]
            bar = window / (ahead[k] + 1) + chain
            before = released[n - 1] if n > 0 else held[0]
            if held[n] < before:
                m_bar, chain = bar, 0.0
            else:
                m_bar, chain = release * bar, (1.0 - release) * bar
                c_bar[k, 1] += bar * (held[n] - before)
            if n < ahead[k] + 1:  # in the window of sample n, held[0] replaces the ahead - n samples before the first
                m_bar_first += g_bar[k, n] * (ahead[k] - n) / (ahead[k] + 1)
            if n == 0:
                m_bar += chain + m_bar_first
            place = lowest[k, n]
            if peaks[k, place] > ceiling:
                c_bar[k, 0] += m_bar / peaks[k, place]
                p_bar[k, place] -= m_bar * ceiling / peaks[k, place] ** 2


def _array(tensor: torch.Tensor) -> np.ndarray:
    return np.ascontiguousarray(tensor.detach().cpu().numpy())
