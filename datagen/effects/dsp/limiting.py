"""The gain of the limiter: forward and adjoint; ``stemwright.datagen.effects.limiter`` has its equations.

Conventions
    x is [G, C, T]: G groups, each of C channels that share one gain. coefficients is float64 [G, 2]: ceiling and release (a one-pole
    coefficient in (0, 1]); ahead is int64 [G], the look-ahead in samples. Inside float64; the gain is rounded to the type of x.
    On a CPU only the release and the sum over the look-ahead run sample by sample, without the GIL, a block at a time. On a GPU
    only the release does (``stemwright.datagen.effects.dsp.following``).

References
    The largest of w neighbours from those of w / 2: the sparse table of range minimum queries (Bender and Farach-Colton 2000).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from stemwright.datagen.effects.dsp.following import follow
from stemwright.datagen.effects.signal import on_gpu
from stemwright.separation.kernels import njit

BLOCK = 512  # samples that go through all steps before the next ones; more where the longest look-ahead is longer


def limit(x: torch.Tensor, coefficients: torch.Tensor, ahead: np.ndarray, *, curve: bool = False) -> torch.Tensor:
    """x [G, C, T] times its gain, or with ``curve`` the gain alone, [G, 1, T]; differentiable in x and coefficients."""
    if not on_gpu(x):
        limited: torch.Tensor = Limit.apply(x, coefficients, ahead, curve)
        return limited
    gain = followed_gain(x.abs().amax(dim=1), coefficients[:, 0], coefficients[:, 1], ahead)[:, None, :]
    return gain if curve else gain * x


def followed_gain(peaks: torch.Tensor, ceiling: torch.Tensor, release: torch.Tensor, ahead: np.ndarray) -> torch.Tensor:
    """The gain [G, T] for peaks [G, T], in parallel over time but for the release: rows of one look-ahead together."""
    gain = torch.empty_like(peaks)
    for frames in np.unique(ahead).tolist():
        rows = torch.from_numpy(np.flatnonzero(ahead == frames)).to(peaks.device)
        lowest, top = ceiling[rows, None], peaks[rows].double()
        need = lowest / torch.maximum(top, lowest)
        # Of equal peaks the last one counts, as in the recursion: max_pool1d takes the first, so time is reversed.
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
    """``limit`` on a CPU, with exact gradients."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, coefficients: torch.Tensor, ahead: np.ndarray, curve: bool) -> torch.Tensor:
        """Returns y [G, C, T], or the gain [G, 1, T], in the type and on the device of x."""
        signal = _array(x)
        groups, channels, frames = signal.shape
        made = np.empty((groups, 1 if curve else channels, frames), signal.dtype)
        states = np.empty((2, groups, frames) if any(ctx.needs_input_grad) else (2, 0, 0))
        size = max(BLOCK, int(ahead.max(initial=0)) + 1)
        _forward(signal, _array(coefficients), ahead, np.empty((2, 2 * size), signal.dtype), np.empty((2, 2 * size)), made, states, curve)
        ctx.ahead, ctx.curve = ahead, curve
        ctx.save_for_backward(x, coefficients, torch.from_numpy(states))
        return torch.from_numpy(made).to(x.device)

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, None, None]:
        """Returns the gradients for x and coefficients."""
        x, coefficients, states = ctx.saved_tensors
        signal, table = _array(x), _array(coefficients)
        x_bar, c_bar = np.empty_like(signal), np.zeros_like(table)
        scratch, queue = np.empty((3, signal.shape[2])), np.empty(signal.shape[2], np.int64)
        _adjoint(signal, table, ctx.ahead, states.numpy(), _array(grads[0]), scratch, queue, x_bar, c_bar, ctx.curve)
        return torch.from_numpy(x_bar).to(x), torch.from_numpy(c_bar).to(coefficients), None, None


@njit(nogil=True)
def _forward(x, coefficients, ahead, tops, scratch, made, states, curve):  # type: ignore[no-untyped-def]
    """Fills ``made``, output [G, C, T] or gain [G, 1, T], and, unless they are empty, the states [2, G, T]: released gain and gain."""
    groups, _, frames = x.shape
    block = tops.shape[1] // 2
    mean, past = scratch[0], scratch[1]  # past: the released gain of a look-ahead before the block, then that of the block
    for k in range(groups):
        ceiling, release, width = coefficients[k, 0], coefficients[k, 1], ahead[k] + 1
        e, total, resting = 1.0, 0.0, 0
        for start in range(0, frames, block):
            size = min(block, frames - start)
            top = _highest(x, k, start, size, width, tops)
            over = 0
            for i in range(size):
                over += 1 if top[i] > ceiling else 0
            if over or resting < width or e + release * (1.0 - e) != e:
                for i in range(size):
                    mean[i] = ceiling / max(top[i], ceiling)
                if start == 0:
                    # Before the first sample the released gain equals that of the first, so the mean never exceeds what is needed.
                    e = mean[0]
                    total = e * width
                    for i in range(width):
                        past[i] = e
                for i in range(size):
                    before = e
                    e = min(mean[i], e + release * (mean[i] - e))
                    resting = resting + 1 if e == before else 0
                    past[width + i] = e
                    total += e - past[i]
                    mean[i] = total / width
            else:  # nothing is to be limited, and what is left to recover is less than the rounding of the gain
                for i in range(size):
                    past[width + i], mean[i] = e, total / width
            for c in range(made.shape[1]):
                loud, into = x[k, c, start : start + size], made[k, c, start : start + size]
                for i in range(size):
                    into[i] = mean[i]
                    if not curve:
                        into[i] *= loud[i]
            if states.size:
                released, gain = states[0, k, start : start + size], states[1, k, start : start + size]
                for i in range(size):
                    released[i], gain[i] = past[width + i], mean[i]
            for i in range(width):
                past[i] = past[size + i]


@njit(nogil=True, part=True)
def _highest(x, k, start, size, width, tops):  # type: ignore[no-untyped-def]
    """The largest magnitude of each of ``size`` samples from ``start`` on and ``width`` - 1 after it, in a row of ``tops``."""
    reach, found, at = size + width - 1, 1, 0
    for i in range(reach):
        tops[0, i] = 0.0
    for c in range(x.shape[1]):
        loud = x[k, c, start : start + reach]
        for i in range(loud.size):
            tops[0, i] = max(tops[0, i], abs(loud[i]))
    while found < width:
        step = min(found, width - found)
        reach -= step
        this, later, both = tops[at, :reach], tops[at, step : step + reach], tops[1 - at, :reach]
        for i in range(reach):
            both[i] = max(this[i], later[i])
        found, at = found + step, 1 - at
    return tops[at]


@njit(nogil=True)
def _adjoint(x, coefficients, ahead, states, made_bar, scratch, queue, x_bar, c_bar, curve):  # type: ignore[no-untyped-def]
    """Runs ``_forward`` backwards: made_bar -> x_bar [G, C, T], c_bar [G, 2]."""
    groups, channels, frames = x.shape
    peaks, p_bar, g_bar = scratch[0], scratch[1], scratch[2]
    for k in range(groups):
        ceiling, release, width = coefficients[k, 0], coefficients[k, 1], ahead[k] + 1
        released, gain = states[0, k], states[1, k]
        for n in range(frames):
            peaks[n], p_bar[n], g_bar[n] = 0.0, 0.0, 0.0
        for c in range(channels):
            for n in range(frames):
                peaks[n] = max(peaks[n], abs(float(x[k, c, n])))
        for c in range(made_bar.shape[1]):
            for n in range(frames):
                g_bar[n] += made_bar[k, c, n] * (1.0 if curve else float(x[k, c, n]))
        window = 0.0  # of g_bar over the look-ahead from n on
        chain = 0.0  # gradient that later samples pass back through the release
        m_bar_first = 0.0
        first, last = 0, 0  # queue[first:last]: where the highest peaks are, the latest first
        for n in range(frames - 1, -1, -1):
            while last > first and peaks[queue[last - 1]] < peaks[n]:
                last -= 1
            queue[last] = n
            last += 1
            while queue[first] >= n + width:
                first += 1
            place = queue[first]
            held = ceiling / max(peaks[place], ceiling)
            window += g_bar[n]
            if n + width < frames:
                window -= g_bar[n + width]
            bar = window / width + chain
            before = released[n - 1] if n > 0 else held
            if held < before:
                m_bar, chain = bar, 0.0
            else:
                m_bar, chain = release * bar, (1.0 - release) * bar
                c_bar[k, 1] += bar * (held - before)
            if n < width:  # in the window of sample n, the gain held at the first replaces the ahead - n samples before the first
                m_bar_first += g_bar[n] * (width - 1 - n) / width
            if n == 0:
                m_bar += chain + m_bar_first
            if peaks[place] > ceiling:
                c_bar[k, 0] += m_bar / peaks[place]
                p_bar[place] -= m_bar * ceiling / peaks[place] ** 2
        for c in range(channels):
            for n in range(frames):
                taken = p_bar[n] if abs(float(x[k, c, n])) == peaks[n] else 0.0  # by the first of the loudest channels
                p_bar[n] -= taken
                g_bar[n] = taken if x[k, c, n] > 0.0 else -taken if x[k, c, n] < 0.0 else 0.0
            for n in range(frames):
                x_bar[k, c, n] = g_bar[n] if curve else g_bar[n] + gain[n] * made_bar[k, c, n]


def _array(tensor: torch.Tensor) -> np.ndarray:
    return np.ascontiguousarray(tensor.detach().cpu().numpy())
