"""The sample recursions of the compressor: forward, adjoint, inverse.

Conventions
    x is [G, C, T]: G groups, each of C channels that share one gain. coefficients is float64 [G, 6]: the threshold raised to the detector's
    power, slope S = 1 - 1/R, detector attack and release, gain attack and release (as one-pole coefficients in (0, 1]).
    power p is 1 (peak) or 2 (RMS). The detector's input is max_c |x_c|. States are float64 and start at 0 (detector) and 1 (gain).
    On a processor the recursion runs sample by sample, in float64, without the GIL. On a GPU only its two followers do
    (``stemwright.datagen.effects.dsp.following``); levels, curve and product are computed for all samples at once.

References
    Gorlow and Reiss 2013, IEEE TASLP 21(7): the model. The inverse here is not theirs: with the state fixed, h(a) = g(a) a is continuous
    and strictly increasing in a = max_c |x_c|, so its root is bracketed and found by Newton's method without predicting a branch.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch

from stemwright.datagen.effects.dsp.following import follow
from stemwright.datagen.effects.signal import on_gpu
from stemwright.separation.kernels import njit

# A detector that decays in silence would reach denormal numbers, which are slow on most processors. 1e-200 is -4000 dB.
SILENCE = 1e-200


@njit(nogil=True)
def _forward(x, coefficients, power, y, detector, gain, keep):  # type: ignore[no-untyped-def]
    """Fills y [G, C, T], and, if ``keep``, the detector's state and the gain [G, T]."""
    groups, channels, frames = x.shape
    for k in range(groups):
        threshold, slope, d_attack, d_release, g_attack, g_release = coefficients[k]
        exponent = -slope / power
        per_threshold = 1.0 / threshold
        v = 0.0
        g = 1.0
        for n in range(frames):
            level = 0.0
            for c in range(channels):
                level = max(level, abs(float(x[k, c, n])))
            if power == 2:
                level *= level
            v += (d_attack if level > v else d_release) * (level - v)
            if v < SILENCE:
                v = 0.0
            f = math.exp(exponent * math.log(v * per_threshold)) if v > threshold else 1.0
            g += (g_attack if f < g else g_release) * (f - g)
            for c in range(channels):
                y[k, c, n] = g * x[k, c, n]
            if keep:
                detector[k, n] = v
                gain[k, n] = g


@njit(nogil=True)
def _adjoint(x, coefficients, power, detector, gain, y_bar, x_bar, c_bar):  # type: ignore[no-untyped-def]
    """Runs the recursion of ``_forward`` backwards: y_bar [G, C, T] -> x_bar [G, C, T], c_bar [G, 6]."""
    groups, channels, frames = x.shape
    for k in range(groups):
        threshold, slope, d_attack, d_release, g_attack, g_release = coefficients[k]
        g_bar = 0.0
        v_bar = 0.0
        for n in range(frames - 1, -1, -1):
            v, g = detector[k, n], gain[k, n]
            v_before = detector[k, n - 1] if n > 0 else 0.0
            g_before = gain[k, n - 1] if n > 0 else 1.0
            level = 0.0
            loudest = 0
            for c in range(channels):
                g_bar += y_bar[k, c, n] * x[k, c, n]
                x_bar[k, c, n] = g * y_bar[k, c, n]
                if abs(x[k, c, n]) > level:
                    level = abs(x[k, c, n])
                    loudest = c
            u = level * level if power == 2 else level
            over = v > threshold
            f = math.exp(-slope / power * math.log(v / threshold)) if over else 1.0
            falling = f < g_before
            gamma = g_attack if falling else g_release
            c_bar[k, 4 if falling else 5] += g_bar * (f - g_before)
            f_bar = gamma * g_bar
            g_bar *= 1.0 - gamma
            if over:
                v_bar -= f_bar * f * slope / (power * v)
                c_bar[k, 0] += f_bar * f * slope / (power * threshold)
                c_bar[k, 1] -= f_bar * f * math.log(v / threshold) / power
            rising = u > v_before
            beta = d_attack if rising else d_release
            c_bar[k, 2 if rising else 3] += v_bar * (u - v_before)
            u_bar = beta * v_bar
            v_bar *= 1.0 - beta
            if level > 0.0:
                sign = 1.0 if x[k, loudest, n] > 0.0 else -1.0
                x_bar[k, loudest, n] += u_bar * sign * (2.0 * level if power == 2 else 1.0)


@njit(nogil=True)
def _inverse(y, coefficients, power, x):  # type: ignore[no-untyped-def]
    """Fills x with what ``_forward`` turned into y. Returns the largest number of steps a sample took."""
    groups, channels, frames = y.shape
    most = 0
    for k in range(groups):
        threshold, slope, d_attack, d_release, g_attack, g_release = coefficients[k]
        exponent = -slope / power
        v_before = 0.0
        g_before = 1.0
        for n in range(frames):
            target = 0.0
            for c in range(channels):
                target = max(target, abs(float(y[k, c, n])))
            low, high = 0.0, np.inf
            a = target / g_before
            v, g = v_before, g_before
            for step in range(200):
                u = a * a if power == 2 else a
                beta = d_attack if u > v_before else d_release
                v = v_before + beta * (u - v_before)
                if v < SILENCE:
                    v = 0.0
                f = math.exp(exponent * math.log(v / threshold)) if v > threshold else 1.0
                gamma = g_attack if f < g_before else g_release
                g = g_before + gamma * (f - g_before)
                miss = g * a - target
                if abs(miss) <= 2e-16 * target:
                    break
                if miss > 0.0:
                    high = a
                else:
                    low = a
                # h' = g + a g', and g' = gamma f', f' = f exponent / v * dv/da where the curve bends.
                rise = g
                if v > threshold:
                    rise += a * gamma * f * exponent / v * beta * (2.0 * a if power == 2 else 1.0)
                trial = a - miss / rise if rise > 0.0 else high
                if not low < trial < high:
                    trial = 2.0 * a if high == np.inf else 0.5 * (low + high)
                if abs(trial - a) <= 1e-16 * a or trial in (low, high):
                    break
                a = trial
                most = max(most, step + 1)
            for c in range(channels):
                x[k, c, n] = y[k, c, n] / g
            v_before, g_before = v, g
    return most


class Compress(torch.autograd.Function):
    """y = g x and the gain g, with exact gradients for x and for every coefficient, by the adjoint recursion."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, coefficients: torch.Tensor, power: int) -> torch.Tensor:
        """Returns y [G, C, T] in the type and on the device of x."""
        signal, table = _array(x), _array(coefficients)
        keep = any(ctx.needs_input_grad)
        states = np.empty((2, *((x.shape[0], x.shape[2]) if keep else (0, 0))))
        y = np.empty_like(signal)
        _forward(signal, table, power, y, states[0], states[1], keep)
        ctx.power = power
        ctx.save_for_backward(x, coefficients, torch.from_numpy(states))
        return torch.from_numpy(y).to(x.device)

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, None]:
        """Returns the gradients for x and coefficients."""
        x, coefficients, states = ctx.saved_tensors
        signal, table = _array(x).astype(np.float64), _array(coefficients)
        x_bar, c_bar = np.empty_like(signal), np.zeros_like(table)
        _adjoint(signal, table, ctx.power, states[0].numpy(), states[1].numpy(), _array(grads[0]).astype(np.float64), x_bar, c_bar)
        return torch.from_numpy(x_bar).to(x), torch.from_numpy(c_bar).to(coefficients), None


def compress(x: torch.Tensor, coefficients: torch.Tensor, power: int) -> torch.Tensor:
    """``Compress``, or the same in parallel over time on a GPU."""
    if on_gpu(x):
        return x * followed_gain(x, coefficients, power).to(x.dtype)[:, None, :]
    compressed: torch.Tensor = Compress.apply(x, coefficients, power)
    return compressed


def followed_gain(x: torch.Tensor, coefficients: torch.Tensor, power: int) -> torch.Tensor:
    """The gain float64 [G, T] for x [G, C, T] by two followers: of the level, and of the curve's gain, where an attack is a fall."""
    threshold, slope, d_attack, d_release, g_attack, g_release = coefficients.unbind(-1)
    level = x.abs().amax(dim=1).double()
    zero = torch.zeros_like(threshold)
    v = follow(level.square() if power == 2 else level, d_attack, d_release, zero)
    over = torch.clamp(v / threshold[:, None], min=1.0)
    f = torch.exp(-slope[:, None] / power * torch.log(over))
    return -follow(-f, g_attack, g_release, zero - 1.0)


def gain_curve(x: torch.Tensor, coefficients: torch.Tensor, power: int) -> torch.Tensor:
    """The gain at each sample that ``compress`` gives x [G, C, T]: float64 [G, T], without a gradient."""
    if on_gpu(x):
        return followed_gain(x.detach(), coefficients.detach(), power)
    signal = _array(x)
    states = np.empty((2, x.shape[0], x.shape[2]))
    _forward(signal, _array(coefficients), power, np.empty_like(signal), states[0], states[1], True)
    return torch.from_numpy(states[1])


def expand(y: torch.Tensor, coefficients: torch.Tensor, power: int) -> torch.Tensor:
    """Undoes ``Compress``: y [G, C, T] -> x [G, C, T], in float64 inside."""
    signal = _array(y)
    x = np.empty_like(signal)
    _inverse(signal, _array(coefficients), power, x)
    return torch.from_numpy(x).to(y.device)


def _array(tensor: torch.Tensor) -> np.ndarray:
    return np.ascontiguousarray(tensor.detach().cpu().numpy())
