"""Echoes: a delay line with feedback, mixed with the direct sound.

    d[n] = x[n - D] + feedback d[n - D],    y = (1 - mix) x + mix d

Conventions
    D is the delay rounded to a whole sample, so an echo keeps its spectrum; there is no gradient for it. A mix of 0 changes nothing.
    The recursion runs on the CPU in the type of the audio; a GPU computes the echoes by their spectrum
    (``stemwright.datagen.effects.dsp.transfer``).

References
    ``TYPICAL``: RemFX 2023.
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

NAME = "delay"
TRAITS: frozenset[Trait] = frozenset({"linear", "time-invariant", "commutes", "late"})

TYPICAL = {"delay_ms": (100.0, 1000.0), "feedback": (0.05, 0.3), "mix": (0.1, 0.35)}


class Settings(EffectSettings):
    """Time, feedback and mix."""

    delay_ms: float = setting(
        250.0, low=1.0, high=5000.0, unit="ms", scale="log", stepped=True, tolerance=0.01, description="time of the first echo"
    )
    feedback: float = setting(0.0, low=0.0, high=0.95, tolerance=0.05, description="each further echo against the one before")
    mix: float = setting(0.0, low=0.0, high=1.0, tolerance=0.05, description="0: direct sound only, 1: echoes only")


@by_items
def apply(audio: torch.Tensor, sample_rate: int, settings: Settings) -> torch.Tensor:
    """Returns the audio with its echoes."""
    checked(audio, sample_rate)
    if is_off(settings.mix, 0.0):
        return audio
    delays = _delays(audio, sample_rate, settings)
    if transfer.on_gpu(audio):
        echoes = transfer.through(audio, _transfer(_feedback(audio, settings), torch.from_numpy(delays).to(audio.device), audio))
    else:
        echoes = Echo.apply(audio.reshape(-1, *audio.shape[-2:]), _feedback(audio, settings), delays).reshape(audio.shape)
    return torch.lerp(audio, echoes, column(settings.mix, audio))


def _transfer(feedback: torch.Tensor, delays: torch.Tensor, audio: torch.Tensor) -> Callable[[transfer.Delay], torch.Tensor]:
    """z^-D / (1 - feedback z^-D), of one spectrum where all items have the same settings."""

    def shaped(values: torch.Tensor) -> torch.Tensor:
        return values.reshape(*audio.shape[:-2], 1)

    def echo(delay: transfer.Delay) -> torch.Tensor:
        once = delay(shaped(delays)) if len(delays.unique()) > 1 else delay(int(delays[0]))
        return once / (1.0 - shaped(feedback)[..., None] * once)

    return echo


def invert(audio: torch.Tensor, sample_rate: int, settings: Settings) -> torch.Tensor:
    """Undoes ``apply``. Raises ValueError where the inverse would be unstable: a mix above about one half."""
    checked(audio, sample_rate)
    mix = torch.as_tensor(settings.mix, dtype=torch.float64).detach().cpu().expand(audio.shape[:-2]).reshape(-1).numpy()
    feedback = _feedback(audio, settings).detach().cpu().numpy()
    echo = mix - (1.0 - mix) * feedback
    if (np.abs(echo) >= 1.0 - mix).any():
        raise ValueError(
            f"echoes with a mix of {mix.max():g} and a feedback of {feedback.min():g} cannot be undone: "
            "the inverse would be unstable. It exists while |mix - (1 - mix) feedback| < 1 - mix"
        )
    items = audio.detach().reshape(-1, *audio.shape[-2:]).double().cpu().numpy()
    x = np.empty_like(items)
    _undo(items, mix, feedback, echo, _delays(audio, sample_rate, settings), x)
    return torch.from_numpy(x).to(audio).reshape(audio.shape)


class Echo(torch.autograd.Function):
    """d of x [I, C, T] by feedback [I] and delay in samples [I], with exact gradients for x and feedback."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, feedback: torch.Tensor, delays: np.ndarray) -> torch.Tensor:
        """Returns the echoes in the type and on the device of x."""
        signal = _array(x)
        d = np.empty_like(signal)
        _echo(signal, _array(feedback), delays, d)
        ctx.delays = delays
        ctx.save_for_backward(x, feedback)
        return torch.from_numpy(d).to(x.device)

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None, None]:
        """Returns the gradients. The line H is linear and time-invariant: its adjoint is H on the reversed signal, and dH/df = H²."""
        x, feedback = ctx.saved_tensors
        bar, table = _array(grads[0]), _array(feedback)
        back = np.empty_like(bar)
        _echo(np.ascontiguousarray(bar[..., ::-1]), table, ctx.delays, back)
        x_bar = torch.from_numpy(back[..., ::-1].copy()).to(x)
        if not ctx.needs_input_grad[1]:
            return x_bar, None, None
        once, twice = np.empty_like(bar), np.empty_like(bar)
        _echo(_array(x), table, ctx.delays, once)
        _echo(once, table, ctx.delays, twice)
        f_bar = (bar.astype(np.float64) * twice).sum((1, 2))
        return x_bar, torch.from_numpy(f_bar).to(feedback), None


@njit(nogil=True)
def _echo(x, feedback, delays, d):  # type: ignore[no-untyped-def]
    """Fills d [I, C, T], a delay at a time: no sample of a piece depends on another of it, so the processor may do several at once."""
    for i in range(x.shape[0]):
        delay, factor = delays[i], x.dtype.type(feedback[i])
        for c in range(x.shape[1]):
            for n in range(min(delay, x.shape[2])):
                d[i, c, n] = 0
            for start in range(delay, x.shape[2], delay):
                to = d[i, c, start : start + delay]
                source = x[i, c, start - delay : start - delay + len(to)]
                before = d[i, c, start - delay : start - delay + len(to)]
                for j in range(len(to)):
                    to[j] = source[j] + factor * before[j]


@njit(nogil=True)
def _undo(y, mix, feedback, echo, delays, x):  # type: ignore[no-untyped-def]
    """Fills x [I, C, T] from y = ((1 - mix) + echo z^-D) / (1 - feedback z^-D) x."""
    for i in range(y.shape[0]):
        for c in range(y.shape[1]):
            for n in range(y.shape[2]):
                value = y[i, c, n]
                if n >= delays[i]:
                    value -= feedback[i] * y[i, c, n - delays[i]] + echo[i] * x[i, c, n - delays[i]]
                x[i, c, n] = value / (1.0 - mix[i])


def _feedback(audio: torch.Tensor, settings: Settings) -> torch.Tensor:
    return torch.as_tensor(settings.feedback, dtype=torch.float64, device=audio.device).expand(audio.shape[:-2]).reshape(-1)


def _delays(audio: torch.Tensor, sample_rate: int, settings: Settings) -> np.ndarray:
    samples = torch.as_tensor(settings.delay_ms, dtype=torch.float64).detach().cpu() * sample_rate / 1000.0
    return np.asarray(samples.expand(audio.shape[:-2]).reshape(-1).round().clamp(min=1).to(torch.int64))


def _array(tensor: torch.Tensor) -> np.ndarray:
    return np.ascontiguousarray(tensor.detach().cpu().numpy())
