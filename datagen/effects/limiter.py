"""A look-ahead limiter that adds no latency: no sample exceeds the ceiling, and the gain curve can be kept to undo it.

    needed     r[n] = min(1, ceiling / max_c |x_c[n]|)
    held       m[n] = min(r[n], ..., r[n + A])                       A: the look-ahead in samples
    released   e[n] = m[n] where that is lower, else e[n-1] + c (m[n] - e[n-1])
    gain       g[n] = mean(e[n - A], ..., e[n]) <= r[n],   y = g x

Conventions
    The gain falls along a straight line within the look-ahead, before a peak arrives, and recovers by 89 % within the release
    (c = 1 - exp(-2.2 / (sample_rate release))). linked: all channels share the gain of the loudest. The ceiling is one of samples, not of
    the curve between them. Without its gain curve a limiter cannot be undone: ``gain_curve`` gives it, ``restore`` uses it.
    The recursion runs on the CPU in float64. On a GPU only the release goes sample by sample, by
    ``stemwright.datagen.effects.dsp.following``; minimum and mean are computed for all samples at once.

References
    Jeon and Lee 2022, musdb-XL: keeping the gain curve of every sample. ``TYPICAL``: its release of 30 to 200 ms.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch

from stemwright.datagen.effects.batches import by_items
from stemwright.datagen.effects.dsp.following import follow
from stemwright.datagen.effects.dsp.transfer import on_gpu
from stemwright.datagen.effects.ranges import DB_TOLERANCE, TIME_TOLERANCE
from stemwright.datagen.effects.settings import EffectSettings, choice, setting
from stemwright.datagen.effects.signal import checked, is_off
from stemwright.datagen.effects.traits import Trait
from stemwright.separation.kernels import njit

NAME = "limiter"
TRAITS: frozenset[Trait] = frozenset({"time-invariant", "level-dependent", "dynamic", "flattening"})

TYPICAL = {"ceiling_db": (-15.0, -3.0), "release_ms": (30.0, 200.0), "lookahead_ms": (0.5, 5.0)}


class Settings(EffectSettings):
    """Ceiling, release and look-ahead."""

    ceiling_db: float = setting(
        math.inf,
        low=-48.0,
        high=0.0,
        unit="dBFS",
        off=math.inf,
        level="absolute",
        bound="ceiling",
        tolerance=DB_TOLERANCE,
        description="level no sample exceeds",
    )
    release_ms: float = setting(
        100.0, low=1.0, high=5000.0, unit="ms", scale="log", tolerance=TIME_TOLERANCE, description="time in which the gain recovers"
    )
    lookahead_ms: float = setting(
        1.5, low=0.0, high=20.0, unit="ms", stepped=True, tolerance=0.25, description="time in which the gain falls, before a peak"
    )
    linked: bool = choice(True, (True, False), needs="difference", description="one gain for all channels")


@by_items
def apply(audio: torch.Tensor, sample_rate: int, settings: Settings) -> torch.Tensor:
    """Returns the limited audio."""
    checked(audio, sample_rate)
    if is_off(settings.ceiling_db, math.inf):
        return audio
    return (_gain(audio, sample_rate, settings) * _grouped(audio, settings)).reshape(audio.shape)


def gain_curve(audio: torch.Tensor, sample_rate: int, settings: Settings) -> torch.Tensor:
    """The gain of every sample, [..., 1, T] linked, [..., C, T] not, as ``apply`` multiplies it: keep it, and the limiter can be undone."""
    checked(audio, sample_rate)
    shape = (*audio.shape[:-2], 1 if settings.linked else audio.shape[-2], audio.shape[-1])
    if is_off(settings.ceiling_db, math.inf):
        return torch.ones(shape, dtype=audio.dtype, device=audio.device)
    return _gain(audio, sample_rate, settings).reshape(shape)


def restore(audio: torch.Tensor, gain: torch.Tensor) -> torch.Tensor:
    """Undoes ``apply`` by the gain curve that it used."""
    return audio / gain


def _grouped(audio: torch.Tensor, settings: Settings) -> torch.Tensor:
    """[..., C, T] as groups of channels that share a gain: [G, C, T] linked, [G C, 1, T] not."""
    return audio.reshape(-1, audio.shape[-2], audio.shape[-1]) if settings.linked else audio.reshape(-1, 1, audio.shape[-1])


def _gain(audio: torch.Tensor, sample_rate: int, settings: Settings) -> torch.Tensor:
    """The gain [G, 1, T] in the type of the audio."""

    def number(value: Any) -> torch.Tensor:
        return torch.as_tensor(value, dtype=torch.float64, device=audio.device)

    rows = torch.broadcast_tensors(
        10.0 ** (number(settings.ceiling_db) / 20.0),
        -torch.expm1(-2200.0 / (sample_rate * number(settings.release_ms))),
        number(settings.lookahead_ms).detach() * sample_rate / 1000.0,
        audio.new_zeros(audio.shape[:-2], dtype=torch.float64),
    )
    items = torch.stack(rows[:3], dim=-1).reshape(-1, 3)
    items = items if settings.linked else items.repeat_interleave(audio.shape[-2], dim=0)
    peaks = _grouped(audio, settings).abs().amax(dim=1)
    ahead = items[:, 2].detach().round().to(torch.int64).cpu().numpy()
    if on_gpu(audio):
        return _followed_gain(peaks, items[:, 0], items[:, 1], ahead)[:, None, :]
    return Limit.apply(peaks, items[:, :2], ahead)[:, None, :]


def _followed_gain(peaks: torch.Tensor, ceiling: torch.Tensor, release: torch.Tensor, ahead: np.ndarray) -> torch.Tensor:
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
