"""Cascades of second-order filters with exact gradients, and the filters of the audio cookbook.

Conventions
    x is [I, C, T]: I items of C channels. A section is (b0, b1, b2, a1, a2) with a0 = 1; coefficients are float64 [I, K, 5], one cascade an
    item. The recursion (direct form 1) runs on the CPU with states in float64; a signal on a GPU is filtered there by its spectrum
    (``stemwright.datagen.effects.dsp.transfer``).

References
    Robert Bristow-Johnson, "Cookbook formulae for audio equalizer biquad filter coefficients" (W3C note, 2021).
    The gradient is the adjoint of the difference equation: the same recursion run backwards in time.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from stemwright.datagen.effects.dsp import transfer
from stemwright.datagen.effects.signal import on_gpu
from stemwright.separation.kernels import njit


@njit(nogil=True)
def _forward(x, coefficients, y):  # type: ignore[no-untyped-def]
    """Fills y [I, C, T] with the cascade's output, two sections a pass: while one waits for its last sample, the other computes."""
    items, channels, frames = x.shape
    sections = coefficients.shape[1]
    row = np.empty(frames)
    for i in range(items):
        table = coefficients[i]
        for c in range(channels):
            for n in range(frames):
                row[n] = x[i, c, n]
            for k in range(0, sections - 1, 2):
                _two_sections(row, table[k], table[k + 1], row)
            if sections % 2:
                _section(row, table[sections - 1], row)
            for n in range(frames):
                y[i, c, n] = row[n]


@njit(nogil=True, fastmath={"contract"})
def _section(u, table, v):  # type: ignore[no-untyped-def]
    """One section on one row: u [T] -> v [T], which may be u. The last output enters last, by one multiplication and addition."""
    b0, b1, b2, a1, a2 = table[0], table[1], table[2], table[3], table[4]
    u1, u2, v1, v2 = 0.0, 0.0, 0.0, 0.0
    for n in range(len(u)):
        u0 = u[n]
        v0 = (b0 * u0 + b1 * u1 + b2 * u2 - a2 * v2) - a1 * v1
        u1, u2, v1, v2 = u0, u1, v0, v1
        v[n] = v0


@njit(nogil=True, fastmath={"contract"})
def _two_sections(u, first, second, w):  # type: ignore[no-untyped-def]
    """Two sections in a row: u [T] -> w [T], which may be u."""
    b0, b1, b2, a1, a2 = first[0], first[1], first[2], first[3], first[4]
    d0, d1, d2, e1, e2 = second[0], second[1], second[2], second[3], second[4]
    u1, u2, v1, v2, w1, w2 = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
    for n in range(len(u)):
        u0 = u[n]
        v0 = (b0 * u0 + b1 * u1 + b2 * u2 - a2 * v2) - a1 * v1
        w0 = (d0 * v0 + d1 * v1 + d2 * v2 - e2 * w2) - e1 * w1
        u1, u2, v1, v2, w1, w2 = u0, u1, v0, v1, w0, w1
        w[n] = w0


@njit(nogil=True)
def _adjoint(x, coefficients, y_bar, x_bar, c_bar):  # type: ignore[no-untyped-def]
    """y_bar [I, C, T] -> x_bar [I, C, T] and c_bar [I, K, 5]; the outputs of the sections are computed again."""
    items, channels, frames = x.shape
    sections = coefficients.shape[1]
    signals = np.zeros((sections + 1, frames + 2))  # two zeros in front: what comes before the first sample
    for i in range(items):
        for c in range(channels):
            for n in range(frames):
                signals[0, n + 2] = x[i, c, n]
            for k in range(sections):
                _section(signals[k, 2:], coefficients[i, k], signals[k + 1, 2:])
            bar = x_bar[i, c]
            for n in range(frames):
                bar[n] = y_bar[i, c, n]
            for k in range(sections - 1, -1, -1):
                table = coefficients[i, k]
                b0, b1, b2, a1, a2 = table[0], table[1], table[2], table[3], table[4]
                u, v = signals[k], signals[k + 1]
                e1, e2 = 0.0, 0.0  # e[n+1], e[n+2]: the bar of the section's input before its numerator
                s0, s1, s2, s3, s4 = 0.0, 0.0, 0.0, 0.0, 0.0
                for n in range(frames - 1, -1, -1):
                    e = bar[n] - a1 * e1 - a2 * e2
                    bar[n] = b0 * e + b1 * e1 + b2 * e2
                    s0 += e * u[n + 2]
                    s1 += e * u[n + 1]
                    s2 += e * u[n]
                    s3 -= e * v[n + 1]
                    s4 -= e * v[n]
                    e2, e1 = e1, e
                for j, total in enumerate((s0, s1, s2, s3, s4)):
                    c_bar[i, k, j] += total


class Cascade(torch.autograd.Function):
    """Sends x [I, C, T] through sections [I, K, 5], with exact gradients for both."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, coefficients: torch.Tensor) -> torch.Tensor:
        """Returns the filtered signal in the type and on the device of x."""
        ctx.save_for_backward(x, coefficients)
        signal = _array(x)
        y = np.empty_like(signal)
        _forward(signal, _array(coefficients), y)
        return torch.from_numpy(y).to(x.device)

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Returns the gradients for x and coefficients."""
        x, coefficients = ctx.saved_tensors
        table = _array(coefficients)
        if not ctx.needs_input_grad[1]:
            # A filter is linear and time-invariant: its adjoint is itself on the reversed signal.
            bar = np.ascontiguousarray(_array(grads[0])[..., ::-1])
            back = np.empty_like(bar)
            _forward(bar, table, back)
            return torch.from_numpy(back[..., ::-1].copy()).to(x), None
        signal = _array(x).astype(np.float64)
        x_bar, c_bar = np.empty_like(signal), np.zeros_like(table)
        _adjoint(signal, table, _array(grads[0]).astype(np.float64), x_bar, c_bar)
        return torch.from_numpy(x_bar).to(x), torch.from_numpy(c_bar).to(coefficients)


def cascade(audio: torch.Tensor, sections: Sequence[torch.Tensor]) -> torch.Tensor:
    """Filters audio [..., C, T] by sections whose shape is [5], or [..., 5] with the leading dimensions of the audio."""
    if not sections:
        return audio
    if on_gpu(audio):
        return transfer.through(audio, transfer.sections_of(sections))
    items = audio.shape[:-2]
    table = torch.stack([section.expand(*items, 5) for section in sections], dim=-2)
    return Cascade.apply(audio.reshape(-1, *audio.shape[-2:]), table.reshape(-1, len(sections), 5)).reshape(audio.shape)


def peak(gain_db: Any, hz: Any, q: Any, sample_rate: int) -> torch.Tensor:
    """A bell of ``gain_db`` at ``hz``: float64 [..., 5]."""
    gain, _, alpha, cosine = _prototype(gain_db, hz, q, sample_rate)
    return _normalised(1 + alpha * gain, -2 * cosine, 1 - alpha * gain, 1 + alpha / gain, -2 * cosine, 1 - alpha / gain)


def shelf(gain_db: Any, hz: Any, q: Any, sample_rate: int, *, high: bool) -> torch.Tensor:
    """A shelf of ``gain_db`` below ``hz``, or above it if ``high``, half of the gain in dB at ``hz``: float64 [..., 5]."""
    gain, root, alpha, cosine = _prototype(gain_db, hz, q, sample_rate)
    cosine = -cosine if high else cosine  # a high shelf is the low shelf mirrored at a quarter of the sample rate
    sign = -1.0 if high else 1.0
    bend = 2 * root * alpha
    more, less = gain + 1, gain - 1
    return _normalised(
        gain * (more - less * cosine + bend),
        sign * 2 * gain * (less - more * cosine),
        gain * (more - less * cosine - bend),
        more + less * cosine + bend,
        sign * -2 * (less + more * cosine),
        more + less * cosine - bend,
    )


def pass_filter(hz: Any, q: Any, sample_rate: int, *, high: bool) -> torch.Tensor:
    """A second-order low-pass, or high-pass if ``high``: float64 [..., 5]. Its gain at ``hz`` is ``q``."""
    _, _, alpha, cosine = _prototype(0.0, hz, q, sample_rate)
    middle = 1 + cosine if high else 1 - cosine
    return _normalised(middle / 2, -middle if high else middle, middle / 2, 1 + alpha, -2 * cosine, 1 - alpha)


def butterworth(hz: Any, order: int, sample_rate: int, *, high: bool) -> list[torch.Tensor]:
    """The sections of a Butterworth low-pass, or high-pass if ``high``: -3.01 dB at ``hz``, 6 dB an octave and order."""
    sections = [
        pass_filter(hz, 0.5 / math.cos(math.pi * (k + 0.5 + order % 2 / 2) / order), sample_rate, high=high) for k in range(order // 2)
    ]
    if order % 2:
        warped = torch.tan(torch.clamp(math.pi / sample_rate * _number(hz), max=0.4995 * math.pi))
        zero, one = torch.zeros_like(warped), torch.ones_like(warped)
        top = one if high else warped
        sections.append(_normalised(top, -top if high else top, zero, one + warped, warped - one, zero))
    return sections


def response(sections: Sequence[torch.Tensor], hz: np.ndarray, sample_rate: int) -> np.ndarray:
    """The complex gain [..., F] of a cascade of sections [..., 5] at frequencies [F] in Hz."""
    delay = np.exp(-2j * np.pi * np.asarray(hz) / sample_rate)
    gain = np.ones_like(delay)
    for section in sections:
        b0, b1, b2, a1, a2 = np.moveaxis(section.detach().numpy(), -1, 0)[..., None]
        gain = gain * (b0 + delay * (b1 + delay * b2)) / (1.0 + delay * (a1 + delay * a2))
    return gain


def check_below_nyquist(name: str, hz: Any, sample_rate: int) -> None:
    """Raises ValueError where a frequency is at or above half the sample rate."""
    if not isinstance(hz, torch.Tensor) and 2.0 * hz >= sample_rate:
        raise ValueError(f"{name} = {hz:g} needs a sample rate above {2.0 * hz:g} Hz; got {sample_rate} Hz")


def _prototype(gain_db: Any, hz: Any, q: Any, sample_rate: int) -> tuple[torch.Tensor, ...]:
    """The cookbook's A, its root, alpha and cos(w0)."""
    gain = 10.0 ** (_number(gain_db) / 40.0)
    # A fit may step beyond half the sample rate, where the formulas turn unstable.
    omega = torch.clamp(2.0 * math.pi / sample_rate * _number(hz), max=0.999 * math.pi)
    return gain, gain.sqrt(), omega.sin() / (2.0 * _number(q)), omega.cos()


def _normalised(b0: torch.Tensor, b1: torch.Tensor, b2: torch.Tensor, a0: torch.Tensor, a1: torch.Tensor, a2: torch.Tensor) -> torch.Tensor:
    parts = (b0, b1, b2, a1, a2, a0)
    device = next((part.device for part in parts if part.device.type != "cpu"), a0.device)  # some settings may be numbers
    *above, below = torch.broadcast_tensors(*(part.to(device) for part in parts))
    return torch.stack(above, dim=-1) / below[..., None]


def _number(value: Any) -> torch.Tensor:
    return torch.as_tensor(value, dtype=torch.float64)


def _array(tensor: torch.Tensor) -> np.ndarray:
    return np.ascontiguousarray(tensor.detach().cpu().numpy())
