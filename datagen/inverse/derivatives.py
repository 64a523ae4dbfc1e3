"""Derivatives of effects along a direction: what a search of many settings needs, for much less than rendering again.

    equaliser    H' / H = B' / B - A' / A of each section: the output through two all-pole filters gives all settings of a band
    compressor   y' = g x' + g' x, with g' by the recursion of the gain, linearised where it is
    FIR filter   whitening, several taps at once and in the cache

Conventions
    Audio is float64 [C, T]. A change is the first-order difference of an output, for settings or an input that are slightly different.
    Where the compressor's curves have a corner the derivative is that of the side where the signal is.

References
    ``stemwright.datagen.effects.dsp.biquads`` and ``stemwright.datagen.effects.dsp.dynamics`` hold the recursions and their adjoints.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch

from stemwright.datagen.effects import compressor, eq
from stemwright.separation.kernels import njit

BLOCK = 1024  # samples of a filter that stay in the cache


def filtered(audio: np.ndarray, taps: np.ndarray, spans: Sequence[tuple[int, int]]) -> np.ndarray:
    """Audio [C, T] through the taps [K], at the frames of the spans alone, one after another; float32 if the audio is, else float64."""
    found = np.empty((len(audio), sum(stop - start for start, stop in spans)), audio.dtype)
    at = 0
    for start, stop in spans:
        _fir(audio, taps.astype(audio.dtype), start, found[:, at : at + stop - start])
        at += stop - start
    return found


@njit(nogil=True, fastmath=True)
def _fir(x, taps, start, y):  # type: ignore[no-untyped-def]
    """Fills y [C, N] with x [C, T] through the taps [K], from frame ``start`` on; x is silent before its first frame."""
    channels, frames = y.shape
    count = len(taps)
    for c in range(channels):
        for first in range(0, frames, BLOCK):
            last = min(first + BLOCK, frames)
            row = y[c, first:last]
            size = last - first
            for i in range(size):
                row[i] = 0.0
            if start + first < count:
                for i in range(size):
                    for k in range(min(count, start + first + i + 1)):
                        row[i] += taps[k] * x[c, start + first + i - k]
                continue
            for k in range(0, count - 3, 4):
                a, b, d, e = taps[k], taps[k + 1], taps[k + 2], taps[k + 3]
                one, two = x[c, start + first - k :], x[c, start + first - k - 1 :]
                three, four = x[c, start + first - k - 2 :], x[c, start + first - k - 3 :]
                for i in range(size):
                    row[i] += a * one[i] + b * two[i] + d * three[i] + e * four[i]
            for k in range(count - count % 4, count):
                a, one = taps[k], x[c, start + first - k :]
                for i in range(size):
                    row[i] += a * one[i]


def equaliser_changes(wet: torch.Tensor, sample_rate: int, settings: eq.Settings, moved: Sequence[eq.Settings]) -> list[np.ndarray | None]:
    """How the output [C, T] of an equaliser changes, to first order, when its settings become each of ``moved``, in each of which one band
    differs a little; float64 [C, T], or None where the caller has to render.
    """
    found: list[np.ndarray | None] = [None] * len(moved)
    names = [_changed_band(settings, other) for other in moved]
    for band in dict.fromkeys(name for name in names if name):
        rows = [index for index, name in enumerate(names) if name == band]
        section = _section(settings, band, sample_rate)
        slopes = np.stack([_section(moved[index], band, sample_rate) - section for index in rows])
        changes = np.empty((len(rows), *wet.shape))
        _section_changes(wet.numpy(), section, slopes, changes)
        for index, change in zip(rows, changes, strict=True):
            found[index] = change
    return found


def _changed_band(settings: eq.Settings, other: eq.Settings) -> str:
    """The one band in which two equalisers differ, and which is used in both; "" otherwise."""
    changed = [
        band
        for band in eq.BANDS
        if any(getattr(settings, f"{band}_{kind}") != getattr(other, f"{band}_{kind}") for kind in ("gain_db", "hz", "q"))
    ]
    used = all(getattr(each, f"{band}_gain_db") != 0.0 for each in (settings, other) for band in changed)
    return changed[0] if len(changed) == 1 and used else ""


def _section(settings: eq.Settings, band: str, sample_rate: int) -> np.ndarray:
    alone = eq.Settings(**{f"{band}_{kind}": getattr(settings, f"{band}_{kind}") for kind in ("gain_db", "hz", "q")})
    return np.asarray(eq.sections(alone, sample_rate)[0].numpy())


@njit(nogil=True, fastmath={"contract"})
def _section_changes(y, section, slopes, changes):  # type: ignore[no-untyped-def]
    """Fills changes [K, C, T]: that of the output y [C, T] of a cascade when one section [5] of it changes by slopes [K, 5]."""
    b0, b1, b2, a1, a2 = section[0], section[1], section[2], section[3], section[4]
    channels, frames = y.shape
    for c in range(channels):
        p1, p2, q1, q2 = 0.0, 0.0, 0.0, 0.0  # y / B and y / A
        for n in range(frames):
            p0 = (y[c, n] - b2 * p2 - b1 * p1) / b0
            q0 = y[c, n] - a2 * q2 - a1 * q1
            for k in range(len(slopes)):
                changes[k, c, n] = slopes[k, 0] * p0 + slopes[k, 1] * p1 + slopes[k, 2] * p2 - slopes[k, 3] * q1 - slopes[k, 4] * q2
            p1, p2, q1, q2 = p0, p1, q0, q1


def compressor_along(audio: torch.Tensor, sample_rate: int, settings: compressor.Settings) -> Callable[[np.ndarray], np.ndarray]:
    """The derivative of a compressor at an input [C, T]: a small change of it [C, T] -> that of the output."""
    x, coefficients, power, states = compressor.followed(audio, sample_rate, settings)
    tables = np.empty((len(x), 5, x.shape[-1]))
    loudest = np.empty((len(x), x.shape[-1]), np.int64)
    _linearised(x, coefficients, power, states, tables, loudest)
    makeup = 10.0 ** (settings.makeup_db / 20.0)

    def along(change: np.ndarray) -> np.ndarray:
        result = np.empty(x.shape)
        _along(x, np.ascontiguousarray(change).reshape(x.shape), tables, loudest, result)
        return result.reshape(audio.shape) * makeup

    return along


@njit(nogil=True)
def _linearised(x, coefficients, power, states, tables, loudest):  # type: ignore[no-untyped-def]
    """Fills tables [G, 5, T]: level' over x' of the loudest channel [G, T], detector coefficient, curve' over detector', gain coefficient,
    gain.
    """
    groups, channels, frames = x.shape
    for k in range(groups):
        threshold, slope, d_attack, d_release, g_attack, g_release = coefficients[k]
        for n in range(frames):
            level, place = 0.0, 0
            for c in range(channels):
                if abs(x[k, c, n]) > level:
                    level, place = abs(x[k, c, n]), c
            v, g = states[0, k, n + 1], states[1, k, n]
            f = (v / threshold) ** (-slope / power) if v > threshold else 1.0
            u = level * level if power == 2 else level
            sign = 1.0 if x[k, place, n] >= 0.0 else -1.0
            loudest[k, n] = place
            tables[k, 0, n] = 2.0 * x[k, place, n] if power == 2 else sign
            tables[k, 1, n] = d_attack if u > states[0, k, n] else d_release
            tables[k, 2, n] = -slope / power * f / v if v > threshold else 0.0
            tables[k, 3, n] = g_attack if f < g else g_release
            tables[k, 4, n] = states[1, k, n + 1]


@njit(nogil=True, fastmath={"contract"})
def _along(x, change, tables, loudest, result):  # type: ignore[no-untyped-def]
    groups, channels, frames = x.shape
    for k in range(groups):
        v, g = 0.0, 0.0
        for n in range(frames):
            v += tables[k, 1, n] * (tables[k, 0, n] * change[k, loudest[k, n], n] - v)
            g += tables[k, 3, n] * (tables[k, 2, n] * v - g)
            for c in range(channels):
                result[k, c, n] = tables[k, 4, n] * change[k, c, n] + g * x[k, c, n]
