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
from typing import TYPE_CHECKING

import numpy as np

from stemwright.datagen.effects.batches import each
from stemwright.datagen.effects.deferred import torch
from stemwright.datagen.effects.settings import EffectSettings, setting
from stemwright.datagen.effects.signal import check_form, checked, column, is_off, on_gpu
from stemwright.datagen.effects.traits import Trait

if TYPE_CHECKING:
    from stemwright.datagen.effects.dsp.transfer import Delay

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


def apply(audio: torch.Tensor, sample_rate: int, settings: Settings) -> torch.Tensor:
    """Returns the audio with its echoes."""
    from stemwright.datagen.effects.dsp import echoing, transfer

    check_form(audio, sample_rate)
    if is_off(settings.mix, 0.0):
        return checked(audio, sample_rate)
    delays, feedback, mix = _delays(audio, sample_rate, settings), _feedback(audio, settings), column(settings.mix, audio)
    if on_gpu(audio):
        echoes = transfer.through(checked(audio, sample_rate), _transfer(feedback, torch.from_numpy(delays).to(audio.device), audio))
        return torch.lerp(audio, echoes, mix)
    return each(echoing.Echoes(delays), audio, feedback, mix.expand(*audio.shape[:-2], 1, 1).reshape(-1, 1, 1))


def _transfer(feedback: torch.Tensor, delays: torch.Tensor, audio: torch.Tensor) -> Callable[[Delay], torch.Tensor]:
    """z^-D / (1 - feedback z^-D), of one spectrum where all items have the same settings."""

    def shaped(values: torch.Tensor) -> torch.Tensor:
        return values.reshape(*audio.shape[:-2], 1)

    def echo(delay: Delay) -> torch.Tensor:
        once = delay(shaped(delays)) if len(delays.unique()) > 1 else delay(int(delays[0]))
        return once / (1.0 - shaped(feedback)[..., None] * once)

    return echo


def invert(audio: torch.Tensor, sample_rate: int, settings: Settings) -> torch.Tensor:
    """Undoes ``apply``. Raises ValueError where the inverse would be unstable: a mix above about one half."""
    from stemwright.datagen.effects.dsp.echoing import undo

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
    undo(items, mix, feedback, echo, _delays(audio, sample_rate, settings), x)
    return torch.from_numpy(x).to(audio).reshape(audio.shape)


def _feedback(audio: torch.Tensor, settings: Settings) -> torch.Tensor:
    return torch.as_tensor(settings.feedback, dtype=torch.float64, device=audio.device).expand(audio.shape[:-2]).reshape(-1)


def _delays(audio: torch.Tensor, sample_rate: int, settings: Settings) -> np.ndarray:
    samples = torch.as_tensor(settings.delay_ms, dtype=torch.float64).detach().cpu() * sample_rate / 1000.0
    return np.asarray(samples.expand(audio.shape[:-2]).reshape(-1).round().clamp(min=1).to(torch.int64))
