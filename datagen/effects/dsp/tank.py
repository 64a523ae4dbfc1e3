"""Freeverb's tank: eight combs with a low-pass in the loop, four all-passes; forward and adjoint. The kernel of the effect ``reverb``."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from stemwright.datagen.effects.dsp import memory
from stemwright.separation.kernels import njit

COMB_DELAYS = np.array([1116, 1188, 1277, 1356, 1422, 1491, 1557, 1617])  # samples at 44.1 kHz
ALLPASS_DELAYS = np.array([556, 441, 341, 225])
SPREAD = 23
PIECE = 512  # samples that the gradient of the coefficients takes at once: it stays in the cache


class Tank(torch.autograd.Function):
    """The tail of x [I, T]: w [I, C, T], with exact gradients for x and for the coefficients [I, 2] (feedback, damping)."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, coefficients: torch.Tensor, channels: int, sample_rate: int) -> torch.Tensor:
        """Returns the tail in the type and on the device of x."""
        ctx.save_for_backward(x, coefficients)
        ctx.sample_rate = sample_rate
        signal, delays = _array(x), delays_of(channels, sample_rate)
        w = np.empty((x.shape[0], channels, x.shape[1]), signal.dtype)
        _tanks(signal, _array(coefficients).astype(signal.dtype), *delays, _lines(*delays, signal.dtype), w)
        return torch.from_numpy(w).to(x.device)

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None, None, None]:
        """Returns the gradients for x and coefficients."""
        x, coefficients = ctx.saved_tensors
        bar, table = np.ascontiguousarray(_array(grads[0])[..., ::-1]), _array(coefficients)
        delays = delays_of(bar.shape[1], ctx.sample_rate)
        lines, table = _lines(*delays, bar.dtype), table.astype(bar.dtype)
        x_bar, c_bar = np.zeros_like(_array(x)), np.zeros((len(x), 2))
        if not ctx.needs_input_grad[1]:
            _backwards(table, *delays, lines, bar, x_bar)
            return torch.from_numpy(x_bar).to(x), None, None, None
        apart, pieces = memory.empty((2, 8 * x.shape[1]), bar.dtype), np.empty((2, 8 * (PIECE + 1)), bar.dtype)
        _adjoints(_array(x), table, *delays, lines, bar, apart, pieces, x_bar, c_bar)
        return torch.from_numpy(x_bar).to(x), torch.from_numpy(c_bar).to(coefficients), None, None


@njit(nogil=True)
def _tanks(x, coefficients, combs, allpasses, lines, w):  # type: ignore[no-untyped-def]
    """Fills w [I, C, T] from x [I, T]; combs [C, 8] and allpasses [C, 4] are delays in samples."""
    for i in range(x.shape[0]):
        for c in range(w.shape[1]):
            _combs(x[i], coefficients[i], combs[c], lines, w[i, c])
            _allpasses(allpasses[c], lines, w[i, c])


@njit(nogil=True)
def _silence(ring, low):  # type: ignore[no-untyped-def]
    """Empties the delay lines of the combs, their low-passes too."""
    for k in range(8):
        low[k] = 0.0
        for n in range(len(ring)):
            ring[n, k] = 0.0


@njit(nogil=True, fastmath={"contract", "reassoc"})
def _combs(x, coefficients, delays, lines, y):  # type: ignore[no-untyped-def]
    """The sum of all combs: y = Σ z^-D / (1 - f L z^-D) x with L = (1 - d) / (1 - d z^-1).

    One ring buffer, a power of two long, holds the delay lines side by side: every sample reads one row, and writes the input of each
    comb as many rows later as that comb delays.
    """
    ring, low, _ = lines
    _silence(ring, low)
    feedback, damping = coefficients[0], coefficients[1]
    keep = x.dtype.type(1.0) - damping
    size = len(ring)
    for n in range(len(x)):
        row = ring[n & (size - 1)]
        total = x.dtype.type(0.0)
        for k in range(8):
            total += row[k]
            low[k] = row[k] * keep + low[k] * damping
            ring[(n + delays[k]) & (size - 1), k] = x[n] + feedback * low[k]
        y[n] = total


@njit(nogil=True, fastmath={"contract"})
def _allpasses(delays, lines, y):  # type: ignore[no-untyped-def]
    """Sends y through Freeverb's all-passes in place: u -> z^-D / (1 - z^-D / 2) u - u."""
    half = y.dtype.type(0.5)
    ring = lines[2]
    for line in range(len(delays)):
        delay = delays[line]
        for j in range(delay):
            ring[j] = 0.0
        for start in range(0, len(y), delay):
            piece = y[start : start + delay]
            for j in range(len(piece)):
                u, r = piece[j], ring[j]
                piece[j] = r - u
                ring[j] = u + half * r


@njit(nogil=True, fastmath={"contract"})
def _combs_apart(x, coefficients, delays, lines, y, turned):  # type: ignore[no-untyped-def]
    """The combs of ``_combs``, not summed: y [8 T], the eight of a sample adjacent, in the order of time or, if ``turned``, reversed."""
    ring, low, _ = lines
    _silence(ring, low)
    feedback, damping = coefficients[0], coefficients[1]
    keep = x.dtype.type(1.0) - damping
    size, frames = len(ring), len(x)
    for n in range(frames):
        row = ring[n & (size - 1)]
        place = 8 * (frames - 1 - n if turned else n)
        for k in range(8):
            y[place + k] = row[k]
            low[k] = row[k] * keep + low[k] * damping
            ring[(n + delays[k]) & (size - 1), k] = x[n] + feedback * low[k]


@njit(nogil=True)
def _backwards(coefficients, combs, allpasses, lines, bars, x_bar):  # type: ignore[no-untyped-def]
    """bars [I, C, T], which is overwritten -> x_bar [I, T]: the tank is linear and time-invariant, so its adjoint is itself on the reversed
    signal, and ``bars`` is the gradient reversed.
    """
    frames = bars.shape[2]
    back = np.empty(frames, bars.dtype)
    for i in range(bars.shape[0]):
        for c in range(bars.shape[1]):
            _allpasses(allpasses[c], lines, bars[i, c])
            _combs(bars[i, c], coefficients[i], combs[c], lines, back)
            for n in range(frames):
                x_bar[i, n] += back[frames - 1 - n]


@njit(nogil=True, fastmath={"contract", "reassoc"})
def _adjoints(x, coefficients, combs, allpasses, lines, bars, apart, pieces, x_bar, c_bar):  # type: ignore[no-untyped-def]
    """bars [I, C, T], as in ``_backwards`` -> x_bar [I, T], c_bar [I, 2], which are added to; apart [2, 8 T] and pieces [2, 8 (P + 1)] are
    scratch.

    With H = z^-D / (1 - f L z^-D) the derivatives are dH/df = L H² and dH/dd = f L' H², L' = dL/dd = (z^-1 - 1) / (1 - d z^-1)². One H
    goes to each side of the product with the gradient: it runs on the signal and on the reversed gradient, as x_bar needs anyway. L' is
    L and (z^-1 - 1) / (1 - d) / (1 - d z^-1) after it: of eight combs side by side, each value depends on that eight places before.
    """
    frames = x.shape[1]
    back, once = apart[0], apart[1]
    smooth, bend = pieces[0], pieces[1]
    piece = len(smooth) - 8
    for i in range(x.shape[0]):
        feedback, damping = coefficients[i, 0], coefficients[i, 1]
        keep = x.dtype.type(1.0) - damping
        slope = x.dtype.type(1.0) / keep
        for c in range(bars.shape[1]):
            _allpasses(allpasses[c], lines, bars[i, c])
            _combs_apart(bars[i, c], coefficients[i], combs[c], lines, back, True)
            _combs_apart(x[i], coefficients[i], combs[c], lines, once, False)
            for n in range(frames):
                total = x.dtype.type(0.0)
                for k in range(8):
                    total += back[8 * n + k]
                x_bar[i, n] += total
            for k in range(8):
                smooth[k], bend[k] = 0.0, 0.0
            for start in range(0, 8 * frames, piece):
                y, opposite = once[start : start + piece], back[start : start + piece]
                for m in range(len(y)):
                    smooth[m + 8] = keep * y[m] + damping * smooth[m]
                for m in range(len(y)):
                    bend[m + 8] = slope * (smooth[m] - smooth[m + 8]) + damping * bend[m]
                by_feedback, by_damping = x.dtype.type(0.0), x.dtype.type(0.0)
                for m in range(len(y)):
                    by_feedback += opposite[m] * smooth[m + 8]
                    by_damping += opposite[m] * bend[m + 8]
                c_bar[i, 0] += by_feedback  # sums of a piece in the type of the signal, of all pieces in float64
                c_bar[i, 1] += feedback * by_damping
                for k in range(8):
                    smooth[k], bend[k] = smooth[len(y) + k], bend[len(y) + k]


def _lines(combs: np.ndarray, allpasses: np.ndarray, dtype: np.dtype[Any]) -> tuple[np.ndarray, ...]:
    """Delay lines for the kernels: of the combs [a power of two, 8], their low-passes [8], of an all-pass [T]."""
    return (
        np.empty((1 << int(combs.max()).bit_length(), 8), dtype),
        np.empty(8, dtype),
        np.empty(allpasses.max(), dtype),
    )


def delays_of(channels: int, sample_rate: int) -> tuple[np.ndarray, np.ndarray]:
    """Delays in samples of the combs [C, 8] and the all-passes [C, 4]."""
    spread = SPREAD * np.arange(channels)[:, None]

    def scaled(delays: np.ndarray) -> np.ndarray:
        return np.maximum((delays + spread) * sample_rate // 44_100, 1)

    return scaled(COMB_DELAYS), scaled(ALLPASS_DELAYS)


def _array(tensor: torch.Tensor) -> np.ndarray:
    return np.ascontiguousarray(tensor.detach().cpu().numpy())
