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

from stemwright.datagen.effects.batches import each
from stemwright.datagen.effects.dsp import memory, transfer
from stemwright.datagen.effects.dsp.nyquist import HIGHEST
from stemwright.datagen.effects.signal import check_finite, on_gpu
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


@njit(nogil=True, fastmath={"contract"})
def _adjoint(x, coefficients, y_bar, signals, bar, x_bar, c_bar):  # type: ignore[no-untyped-def]
    """The adjoint for one item: y_bar [C, T] -> x_bar [C, T]; the gradient for the coefficients is added to c_bar [K, 5].

    signals [K + 1, T + 2] is filled with the input and output of each section, recomputed in pairs as by ``_two_sections``, after two
    zeros for the samples before the first. bar [T] is scratch for the gradient between sections. In both directions the term with the
    most recent value enters last, since it is available last.
    """
    channels, frames = x.shape
    sections = coefficients.shape[0]
    for k in range(sections + 1):
        signals[k, 0], signals[k, 1] = 0.0, 0.0
    for c in range(channels):
        for n in range(frames):
            signals[0, n + 2] = x[c, n]
            bar[n] = y_bar[c, n]
        for k in range(0, sections - 1, 2):
            first, second, u, v, w = coefficients[k], coefficients[k + 1], signals[k], signals[k + 1], signals[k + 2]
            b0, b1, b2, a1, a2 = first[0], first[1], first[2], first[3], first[4]
            d0, d1, d2, e1, e2 = second[0], second[1], second[2], second[3], second[4]
            v1, v2, w1, w2 = 0.0, 0.0, 0.0, 0.0
            for n in range(2, frames + 2):
                v0 = (b0 * u[n] + b1 * u[n - 1] + b2 * u[n - 2] - a2 * v2) - a1 * v1
                w0 = (d0 * v0 + d1 * v1 + d2 * v2 - e2 * w2) - e1 * w1
                v[n], w[n] = v0, w0
                v1, v2, w1, w2 = v0, v1, w0, w1
        if sections % 2:
            _section(signals[sections - 1, 2:], coefficients[sections - 1], signals[sections, 2:])
        for k in range(sections - 1, -1, -1):
            _section_back(signals[k], signals[k + 1], coefficients[k], bar, c_bar[k])
        for n in range(frames):
            x_bar[c, n] = bar[n]


@njit(nogil=True, fastmath={"contract"})
def _section_back(u, v, table, bar, c_bar):  # type: ignore[no-untyped-def]
    """One section u -> v, both [T + 2] after two zeros: bar [T], the gradient for v, is replaced by that for u; adds to c_bar [5]."""
    b0, b1, b2, a1, a2 = table[0], table[1], table[2], table[3], table[4]
    e1, e2 = 0.0, 0.0  # e[n+1], e[n+2]: the gradient for the output of the numerator
    s0, s1, s2, s3, s4 = 0.0, 0.0, 0.0, 0.0, 0.0
    for n in range(len(bar) - 1, -1, -1):
        e = (bar[n] - a2 * e2) - a1 * e1
        bar[n] = b0 * e + b1 * e1 + b2 * e2
        s0 += e * u[n + 2]
        s1 += e * u[n + 1]
        s2 += e * u[n]
        s3 += e * v[n + 1]
        s4 += e * v[n]
        e2, e1 = e1, e
    c_bar[0] += s0
    c_bar[1] += s1
    c_bar[2] += s2
    c_bar[3] -= s3
    c_bar[4] -= s4


class _Cascade:
    """x [C, T] through sections [K, 5]."""

    def forward(self, _: int, x: torch.Tensor, rows: Sequence[torch.Tensor], y: torch.Tensor) -> None:
        """Fills y."""
        _forward(x.numpy()[None], _array(rows[0])[None], y.numpy()[None])

    def backward(
        self, _: int, x: torch.Tensor, rows: Sequence[torch.Tensor], bar: torch.Tensor, x_bar: torch.Tensor, *, needed: bool
    ) -> Sequence[torch.Tensor]:
        """Fills x_bar; returns the gradient for the sections if ``needed``."""
        table = _array(rows[0])
        if not needed:
            # A filter is linear and time-invariant: its adjoint is itself on the reversed signal.
            back = memory.empty((1, *bar.shape), x_bar.numpy().dtype)
            _forward(bar.flip(-1).numpy()[None], table[None], back)
            x_bar.copy_(torch.from_numpy(back[0]).flip(-1))
            return ()
        frames, c_bar = x.shape[-1], torch.zeros(table.shape, dtype=torch.float64)
        signals, row = memory.empty((len(table) + 1, frames + 2), np.float64), memory.empty((frames,), np.float64)
        _adjoint(x.numpy(), table, bar.numpy(), signals, row, x_bar.numpy(), c_bar.numpy())
        return (c_bar,)


def cascade(audio: torch.Tensor, sections: Sequence[torch.Tensor]) -> torch.Tensor:
    """Filters audio [..., C, T] by sections whose shape is [5], or [..., 5] with the leading dimensions of the audio.

    Raises ValueError if the audio is not finite.
    """
    if not sections:
        return check_finite(audio)
    if on_gpu(audio):
        return transfer.through(check_finite(audio), transfer.sections_of(sections))
    items = audio.shape[:-2]
    table = torch.stack([section.expand(*items, 5) for section in sections], dim=-2)
    return each(_Cascade(), audio, table.reshape(-1, len(sections), 5))


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


def responses_db(sections: torch.Tensor, hz: np.ndarray, sample_rate: int) -> np.ndarray:
    """The gain in dB [N, F] of each section [N, 5], at frequencies [F] in Hz.

    The squared magnitude of (b0, b1, b2) is (b0 + b1 + b2)² - 4 (b0 b1 + 4 b0 b2 + b1 b2) s + 16 b0 b2 s² with s = sin²(w / 2). This form
    needs no complex numbers, and is exact at low frequencies, where powers of cos(w) would cancel.
    """
    low = np.sin(np.pi * np.asarray(hz) / sample_rate) ** 2
    b0, b1, b2, a1, a2 = sections.detach().numpy().T[..., None]
    power = _power(b0, b1, b2, low) / _power(np.ones_like(a1), a1, a2, low)
    return np.asarray(10.0 * np.log10(np.maximum(power, 1e-18)))


def _power(b0: np.ndarray, b1: np.ndarray, b2: np.ndarray, low: np.ndarray) -> np.ndarray:
    return (b0 + b1 + b2) ** 2 + low * (16.0 * b0 * b2 * low - 4.0 * (b0 * b1 + 4.0 * b0 * b2 + b1 * b2))


def _prototype(gain_db: Any, hz: Any, q: Any, sample_rate: int) -> tuple[torch.Tensor, ...]:
    """The cookbook's A, its root, alpha and cos(w0)."""
    gain = 10.0 ** (_number(gain_db) / 40.0)
    # A fit may step beyond half the sample rate, where the formulas turn unstable.
    omega = torch.clamp(2.0 * math.pi / sample_rate * _number(hz), max=2.0 * math.pi * HIGHEST)
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
