"""Algorithmic reverberation in the structure of Freeverb: eight damped combs in parallel, then four all-passes in series.

    tail      w = allpass4(Σ_k comb_k(3 · 0.03 · mean of the channels))     other delays in each channel, 23 samples apart at 44.1 kHz
    output    y_c = dry x_c + wet (width w_c + (1 - width) mean of w);   of one channel  y = dry x + wet (1 + width) / 4 w

Conventions
    Feedback of the combs is 0.7 + 0.28 room_size; the damping is a one-pole low-pass in their loop with the coefficient 0.4 damping.
    Delays are scaled to the sample rate, the damping is not, as in JUCE. wet 0 and dry 1 change nothing.
    Freeverb multiplies its dry level by 2, which is written out here: its dry 0.6 is ``dry`` 1.2. With that the output is that of JUCE and
    of what is built on it, to -115 dB of it, in mono as well: there the width is but a second factor of the tail.
    The tail beyond the end is cut. The recursion runs on the CPU in the type of the audio; a GPU computes the tail by its spectrum
    (``stemwright.datagen.effects.dsp.transfer``).

References
    Jezar at Dreampoint, Freeverb (2000, public domain): structure and delays, as recalled.
    ``TYPICAL``: RemFX 2023, whose dry level is 1 - wet, and so ``dry`` 2 - 2 wet.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from stemwright.datagen.effects.batches import by_items
from stemwright.datagen.effects.dsp import transfer
from stemwright.datagen.effects.settings import EffectSettings, setting
from stemwright.datagen.effects.signal import checked, column, is_off
from stemwright.datagen.effects.traits import Trait
from stemwright.separation.kernels import njit

NAME = "reverb"
TRAITS: frozenset[Trait] = frozenset({"linear", "time-invariant", "late"})

COMB_DELAYS = np.array([1116, 1188, 1277, 1356, 1422, 1491, 1557, 1617])  # samples at 44.1 kHz
ALLPASS_DELAYS = np.array([556, 441, 341, 225])
SPREAD = 23
GAIN = 3.0 * 0.03  # Freeverb: wet scale 3; input gain 0.015 on the sum of two channels

TYPICAL = {"room_size": (0.3, 1.0), "damping": (0.2, 1.0), "wet": (0.2, 0.6), "dry": (0.8, 1.6), "width": (0.2, 1.0)}


class Settings(EffectSettings):
    """Size and damping of the room, level of the tail and of the direct sound, width of the tail."""

    room_size: float = setting(0.5, low=0.0, high=1.0, tolerance=0.05, description="feedback of the combs; higher: longer decay")
    damping: float = setting(0.5, low=0.0, high=1.0, tolerance=0.1, description="faster decay of high frequencies")
    wet: float = setting(0.0, low=0.0, high=1.0, tolerance=0.05, description="factor of the tail")
    dry: float = setting(1.0, low=0.0, high=2.0, tolerance=0.05, description="factor of the direct sound")
    width: float = setting(
        1.0, low=0.0, high=1.0, needs="own", tolerance=0.1, description="0: one tail for both channels, 1: a tail of its own for each"
    )


@by_items
def apply(audio: torch.Tensor, sample_rate: int, settings: Settings) -> torch.Tensor:
    """Returns the audio with the tail."""
    checked(audio, sample_rate)
    channels, frames = audio.shape[-2:]
    direct = audio if is_off(settings.dry, 1.0) else column(settings.dry, audio) * audio
    if is_off(settings.wet, 0.0):
        return direct
    source = GAIN * audio.mean(dim=-2)
    if transfer.on_gpu(audio):
        tail = transfer.through(source[..., None, :], _transfer(settings, *_delays(channels, sample_rate), audio.device))
    else:
        tail = Tank.apply(source.reshape(-1, frames), _coefficients(audio, settings), channels, sample_rate).reshape(audio.shape)
    wet = column(settings.wet, audio)
    if channels == 1:
        return torch.addcmul(direct, wet * (1.0 + column(settings.width, audio)) / 4.0, tail)
    if is_off(settings.width, 1.0):
        return torch.addcmul(direct, wet, tail)
    width = column(settings.width, audio)
    return torch.addcmul(direct, wet * width, tail) + wet * (1.0 - width) * tail.mean(dim=-2, keepdim=True)


def _transfer(
    settings: Settings, combs: np.ndarray, allpasses: np.ndarray, device: torch.device
) -> Callable[[transfer.Delay], torch.Tensor]:
    """The tank as a spectrum [..., C, K]: allpass(z) Σ_k z^-D / (1 - f L z^-D) with L = (1 - d) / (1 - d z^-1)."""

    def number(value: Any) -> torch.Tensor:
        return torch.as_tensor(value, dtype=torch.float64, device=device)[..., None]

    def tank(delay: transfer.Delay) -> torch.Tensor:
        damping = 0.4 * number(settings.damping)
        loop = (0.7 + 0.28 * number(settings.room_size)) * (1.0 - damping) / (1.0 - damping * delay(1))
        channels = []
        for own_combs, own_allpasses in zip(combs.tolist(), allpasses.tolist(), strict=True):
            lines = [delay(samples) for samples in own_combs]
            spectrum = sum((line / (1.0 - loop * line) for line in lines[1:]), lines[0] / (1.0 - loop * lines[0]))
            for samples in own_allpasses:
                line = delay(samples)
                spectrum = spectrum * (line / (1.0 - 0.5 * line) - 1.0)
            channels.append(spectrum)
        return torch.stack(channels, dim=-2)

    return tank


class Tank(torch.autograd.Function):
    """The tail of x [I, T]: w [I, C, T], with exact gradients for x and for the coefficients [I, 2] (feedback, damping)."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, coefficients: torch.Tensor, channels: int, sample_rate: int) -> torch.Tensor:
        """Returns the tail in the type and on the device of x."""
        ctx.save_for_backward(x, coefficients)
        ctx.sample_rate = sample_rate
        signal, delays = _array(x), _delays(channels, sample_rate)
        w = np.empty((x.shape[0], channels, x.shape[1]), signal.dtype)
        _tanks(signal, _array(coefficients).astype(signal.dtype), *delays, _lines(*delays, signal.dtype), w)
        return torch.from_numpy(w).to(x.device)

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None, None, None]:
        """Returns the gradients for x and coefficients."""
        x, coefficients = ctx.saved_tensors
        bar, table = np.ascontiguousarray(_array(grads[0])[..., ::-1]), _array(coefficients)
        delays = _delays(bar.shape[1], ctx.sample_rate)
        lines = _lines(*delays, bar.dtype)
        x_bar, c_bar = np.zeros_like(_array(x)), np.zeros((len(x), 2))
        if not ctx.needs_input_grad[1]:
            _backwards(table.astype(bar.dtype), *delays, lines, bar, x_bar)
            return torch.from_numpy(x_bar).to(x), None, None, None
        _adjoints(_array(x), table, table.astype(bar.dtype), *delays, lines, bar, x_bar, c_bar)
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

    One ring of a power of two holds the delay lines side by side: every sample reads one row and writes each comb its delay later.
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
def _combs_apart(x, coefficients, delays, lines, y):  # type: ignore[no-untyped-def]
    """The combs of ``_combs``, not summed: y [T, 8]."""
    ring, low, _ = lines
    _silence(ring, low)
    feedback, damping = coefficients[0], coefficients[1]
    keep = x.dtype.type(1.0) - damping
    size = len(ring)
    for n in range(len(x)):
        row = ring[n & (size - 1)]
        for k in range(8):
            y[n, k] = row[k]
            low[k] = row[k] * keep + low[k] * damping
            ring[(n + delays[k]) & (size - 1), k] = x[n] + feedback * low[k]


@njit(nogil=True)
def _backwards(coefficients, combs, allpasses, lines, bars, x_bar):  # type: ignore[no-untyped-def]
    """bars [I, C, T], which is spent -> x_bar [I, T]: the tank is linear and time-invariant, so its adjoint is itself on the reversed
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
def _adjoints(x, coefficients, tables, combs, allpasses, lines, bars, x_bar, c_bar):  # type: ignore[no-untyped-def]
    """bars [I, C, T], as in ``_backwards`` -> x_bar [I, T], c_bar [I, 2]; ``tables`` are the coefficients in the type of the signal.

    With H = z^-D / (1 - f L z^-D) the derivatives are dH/df = L H² and dH/dd = f L' H², L' = dL/dd = (z^-1 - 1) / (1 - d z^-1)². One H
    goes to each side of the product with the gradient: it runs on the signal and on the reversed gradient, as x_bar needs anyway.
    """
    frames = x.shape[1]
    once, back = np.empty((frames, 8), x.dtype), np.empty((frames, 8), x.dtype)
    smooth, slope, bend, before, by_feedback, by_damping = np.empty(8), np.empty(8), np.empty(8), np.empty(8), np.empty(8), np.empty(8)
    for i in range(x.shape[0]):
        feedback, damping = coefficients[i, 0], coefficients[i, 1]
        for c in range(bars.shape[1]):
            _allpasses(allpasses[c], lines, bars[i, c])
            _combs_apart(bars[i, c], tables[i], combs[c], lines, back)
            _combs_apart(x[i], tables[i], combs[c], lines, once)
            for k in range(8):
                smooth[k], slope[k], bend[k], before[k], by_feedback[k], by_damping[k] = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
            for n in range(frames):
                total = 0.0
                for k in range(8):
                    y, opposite = once[n, k], back[frames - 1 - n, k]
                    total += opposite
                    smooth[k] = (1.0 - damping) * y + damping * smooth[k]
                    slope[k] = before[k] - y + damping * slope[k]
                    bend[k] = slope[k] + damping * bend[k]
                    before[k] = y
                    by_feedback[k] += opposite * smooth[k]
                    by_damping[k] += opposite * bend[k]
                x_bar[i, n] += total
            for k in range(8):
                c_bar[i, 0] += by_feedback[k]
                c_bar[i, 1] += feedback * by_damping[k]


def _lines(combs: np.ndarray, allpasses: np.ndarray, dtype: np.dtype[Any]) -> tuple[np.ndarray, ...]:
    """Delay lines for the kernels: of the combs [a power of two, 8], their low-passes [8], of an all-pass [T]."""
    return (
        np.empty((1 << int(combs.max()).bit_length(), 8), dtype),
        np.empty(8, dtype),
        np.empty(allpasses.max(), dtype),
    )


def _delays(channels: int, sample_rate: int) -> tuple[np.ndarray, np.ndarray]:
    """Delays in samples of the combs [C, 8] and the all-passes [C, 4]."""
    spread = SPREAD * np.arange(channels)[:, None]

    def scaled(delays: np.ndarray) -> np.ndarray:
        return np.maximum((delays + spread) * sample_rate // 44_100, 1)

    return scaled(COMB_DELAYS), scaled(ALLPASS_DELAYS)


def _coefficients(audio: torch.Tensor, settings: Settings) -> torch.Tensor:
    """Feedback and damping of each item, float64 [I, 2]."""

    def number(value: Any) -> torch.Tensor:
        return torch.as_tensor(value, dtype=torch.float64, device=audio.device)

    feedback = 0.7 + 0.28 * number(settings.room_size)
    damping = 0.4 * number(settings.damping)
    items = audio.new_zeros(audio.shape[:-2], dtype=torch.float64)
    return torch.stack(torch.broadcast_tensors(feedback, damping, items)[:2], dim=-1).reshape(-1, 2)


def _array(tensor: torch.Tensor) -> np.ndarray:
    return np.ascontiguousarray(tensor.detach().cpu().numpy())
