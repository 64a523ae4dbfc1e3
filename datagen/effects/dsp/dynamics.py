"""The sample recursions of the compressor: forward, adjoint, inverse.

Conventions
    x is [G, C, T]: G groups, each of C channels that share one gain. coefficients is float64 [G, 6]: the threshold raised to the detector's
    power, slope S = 1 - 1/R, detector attack and release, gain attack and release (as one-pole coefficients in (0, 1]).
    power p is 1 (peak) or 2 (RMS). The detector's input is max_c |x_c|. States are float64 and start at 0 (detector) and 1 (gain).
    On a CPU the recursion runs sample by sample, in float64, without the GIL. On a GPU only its two followers do
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
from stemwright.datagen.effects.dsp.powers import CONTRACT, exp2, log2
from stemwright.datagen.effects.signal import on_gpu
from stemwright.separation.kernels import njit

# A detector that decays in silence would reach denormal numbers, which are slow on most processors. 1e-200 is -4000 dB.
SILENCE = 1e-200
BLOCK = 256  # samples that a kernel takes through all its steps before the next: its scratch memory of 4 or 10 rows stays in the cache
LEVEL, V, F, G = range(0, 4 * BLOCK, BLOCK)  # where each row begins in the scratch memory: in one array LLVM sees that they do not overlap
DOT, F_STEP, V_STEP, BEND, BENT, TURNED, GAMMA, BETA, U_BAR = range(BLOCK, 10 * BLOCK, BLOCK)
LN2 = math.log(2.0)


@njit(nogil=True, fastmath=CONTRACT)
def _forward(x, coefficients, power, scratch, y, states):  # type: ignore[no-untyped-def]
    """Fills y [G, C, T] and, unless they are empty, the states [2, G, 1 + T] of detector and gain, which begin before the first sample."""
    groups, channels, frames = x.shape
    for k in range(groups):
        threshold, slope, d_attack, d_release, g_attack, g_release = coefficients[k]
        # A follower that rises faster than it falls is the larger of both one-pole results; for one that does not, all signs are flipped.
        v_sign = 1.0 if d_attack >= d_release else -1.0
        g_sign = 1.0 if g_release >= g_attack else -1.0
        linear, square = (0.0, v_sign) if power == 2 else (v_sign, 0.0)
        per_threshold, exponent = v_sign / threshold, -slope / power
        v_now, g_now, over = 0.0, g_sign, 0
        for start in range(-BLOCK, frames, BLOCK):
            if over:
                for i in range(BLOCK):
                    scratch[F + i] = g_sign * exp2(exponent * log2(max(scratch[V + i] * per_threshold, 1.0)))
            else:
                for i in range(BLOCK):
                    scratch[F + i] = g_sign
            # The detector is a block ahead of the gain: neither waits for the other, so a CPU overlaps both recursions.
            for i in range(BLOCK):
                scratch[LEVEL + i] = 0.0
            for c in range(channels):
                loud = x[k, c, start + BLOCK : start + 2 * BLOCK]
                for i in range(loud.size):
                    scratch[LEVEL + i] = max(scratch[LEVEL + i], abs(float(loud[i])))
            over = 0
            for i in range(BLOCK):
                v_step, g_step = scratch[LEVEL + i] * (linear + square * scratch[LEVEL + i]) - v_now, scratch[F + i] - g_now
                v_up, v_down = v_now + d_attack * v_step, v_now + d_release * v_step
                g_up, g_down = g_now + g_release * g_step, g_now + g_attack * g_step
                v_now = v_up if v_up > v_down else v_down
                g_now = g_up if g_up > g_down else g_down
                scratch[V + i], scratch[G + i] = v_now, g_now
                over += 1 if v_now * per_threshold > 1.0 else 0
            if abs(v_now) < SILENCE:
                v_now = 0.0
            if start >= 0:
                for c in range(channels):
                    loud, made = x[k, c, start : start + BLOCK], y[k, c, start : start + BLOCK]
                    for i in range(made.size):
                        made[i] = g_sign * scratch[G + i] * loud[i]
            if states.size:
                kept = states[0, k, start + BLOCK + 1 : start + 2 * BLOCK + 1]
                for i in range(kept.size):
                    kept[i] = v_sign * scratch[V + i]
                kept = states[1, k, max(start, 0) + 1 : start + BLOCK + 1]
                for i in range(kept.size):
                    kept[i] = g_sign * scratch[G + i]


@njit(nogil=True, fastmath=CONTRACT)
def _adjoint(x, coefficients, power, states, y_bar, scratch, x_bar, c_bar):  # type: ignore[no-untyped-def]
    """Runs the recursion of ``_forward`` backwards: y_bar [G, C, T] -> x_bar [G, C, T], c_bar [G, 6].

    Only the gradients of both states are computed sample by sample: two linear recursions, since the states are known.
    """
    groups, channels, frames = x.shape
    for k in range(groups):
        threshold, slope, d_attack, d_release, g_attack, g_release = coefficients[k]
        linear, square = (0.0, 1.0) if power == 2 else (1.0, 0.0)
        g_bar, v_bar, to_threshold, to_slope = 0.0, 0.0, 0.0, 0.0
        to_detector_attack, to_detector_release, to_attack, to_release = 0.0, 0.0, 0.0, 0.0
        for start in range((frames - 1) // BLOCK * BLOCK, -1, -BLOCK):
            size = min(BLOCK, frames - start)
            for i in range(BLOCK):
                scratch[LEVEL + i], scratch[DOT + i] = 0.0, 0.0
            for c in range(channels):
                loud, bar = x[k, c, start : start + size], y_bar[k, c, start : start + size]
                for i in range(size):
                    scratch[LEVEL + i] = max(scratch[LEVEL + i], abs(float(loud[i])))
                    scratch[DOT + i] += float(bar[i]) * loud[i]
            v, g = states[0, k, start : start + size + 1], states[1, k, start : start + size + 1]
            for i in range(size):
                logarithm = log2(max(v[i + 1] / threshold, 1.0))
                f = exp2(-slope / power * logarithm)
                scratch[F_STEP + i] = f - g[i]
                scratch[V_STEP + i] = scratch[LEVEL + i] * (linear + square * scratch[LEVEL + i]) - v[i]
                scratch[BENT + i] = -slope / power * f if v[i + 1] > threshold else 0.0
                scratch[BEND + i] = scratch[BENT + i] / max(v[i + 1], threshold)
                scratch[TURNED + i] = f * logarithm
                scratch[GAMMA + i] = g_attack if scratch[F_STEP + i] < 0.0 else g_release
                scratch[BETA + i] = d_attack if scratch[V_STEP + i] > 0.0 else d_release
            for i in range(size - 1, -1, -1):
                g_bar += scratch[DOT + i]
                v_bar += g_bar * scratch[GAMMA + i] * scratch[BEND + i]
                scratch[DOT + i], scratch[U_BAR + i] = g_bar, v_bar
                g_bar *= 1.0 - scratch[GAMMA + i]
                v_bar *= 1.0 - scratch[BETA + i]
            for i in range(size):
                to_attack += scratch[DOT + i] * min(scratch[F_STEP + i], 0.0)
                to_release += scratch[DOT + i] * max(scratch[F_STEP + i], 0.0)
                to_threshold -= scratch[DOT + i] * scratch[GAMMA + i] * scratch[BENT + i]
                to_slope -= scratch[DOT + i] * scratch[GAMMA + i] * scratch[TURNED + i]
                to_detector_attack += scratch[U_BAR + i] * max(scratch[V_STEP + i], 0.0)
                to_detector_release += scratch[U_BAR + i] * min(scratch[V_STEP + i], 0.0)
                scratch[U_BAR + i] *= scratch[BETA + i] * (linear + square * 2.0 * scratch[LEVEL + i])
            for c in range(channels):
                loud, bar, made = x[k, c, start : start + size], y_bar[k, c, start : start + size], x_bar[k, c, start : start + size]
                for i in range(size):
                    # Where channels are equally loud, the first gets the gradient of the detector's input.
                    taken = scratch[U_BAR + i] if abs(float(loud[i])) == scratch[LEVEL + i] else 0.0
                    scratch[U_BAR + i] -= taken
                    made[i] = g[i + 1] * bar[i] + (taken if loud[i] > 0.0 else -taken if loud[i] < 0.0 else 0.0)
        c_bar[k, 0], c_bar[k, 1] = to_threshold / threshold, to_slope * LN2 / power
        c_bar[k, 2], c_bar[k, 3], c_bar[k, 4], c_bar[k, 5] = to_detector_attack, to_detector_release, to_attack, to_release


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
        states = _states(x.shape[0], x.shape[2]) if any(ctx.needs_input_grad) else np.empty((2, 0, 0))
        y = np.empty_like(signal)
        _forward(signal, table, power, np.empty(4 * BLOCK), y, states)
        ctx.power = power
        ctx.save_for_backward(x, coefficients, torch.from_numpy(states))
        return torch.from_numpy(y).to(x.device)

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, None]:
        """Returns the gradients for x and coefficients."""
        x, coefficients, states = ctx.saved_tensors
        signal, table = _array(x), _array(coefficients)
        x_bar, c_bar = np.empty_like(signal), np.empty_like(table)
        _adjoint(signal, table, ctx.power, states.numpy(), _array(grads[0]), np.empty(10 * BLOCK), x_bar, c_bar)
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
    return torch.from_numpy(states_of(x, coefficients, power)[1, :, 1:])


def states_of(x: torch.Tensor, coefficients: torch.Tensor, power: int) -> np.ndarray:
    """The states of detector and gain for x [G, C, T] on a CPU: float64 [2, G, 1 + T], those before the first sample included."""
    signal = _array(x)
    states = _states(x.shape[0], x.shape[2])
    _forward(signal, _array(coefficients), power, np.empty(4 * BLOCK), np.empty_like(signal), states)
    return states


def expand(y: torch.Tensor, coefficients: torch.Tensor, power: int) -> torch.Tensor:
    """Undoes ``Compress``: y [G, C, T] -> x [G, C, T], in float64 inside."""
    signal = _array(y)
    x = np.empty_like(signal)
    _inverse(signal, _array(coefficients), power, x)
    return torch.from_numpy(x).to(y.device)


def _states(groups: int, frames: int) -> np.ndarray:
    """An array for the states of detector and gain [2, G, 1 + T], with their values before the first sample filled in."""
    states = np.empty((2, groups, 1 + frames))
    states[0, :, 0], states[1, :, 0] = 0.0, 1.0
    return states


def _array(tensor: torch.Tensor) -> np.ndarray:
    return np.ascontiguousarray(tensor.detach().cpu().numpy())
