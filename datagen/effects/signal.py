"""What the effects share about a signal: checking it, and giving settings the shape to act on it.

Conventions
    audio [..., C, T]; a row is one channel of one item.
"""

from __future__ import annotations

from numbers import Real
from typing import Any

import numpy as np

from stemwright.datagen.effects.deferred import torch


class NotIdentifiableError(ValueError):
    """A setting left no trace in the audio, so it cannot be fitted; the message says which and why."""


def checked(audio: torch.Tensor, sample_rate: int) -> torch.Tensor:
    """Returns the audio, or raises ValueError if it is not finite floating point [..., C, T] or the sample rate is not positive."""
    return check_finite(check_form(audio, sample_rate))


def check_form(audio: torch.Tensor, sample_rate: int) -> torch.Tensor:
    """Returns the audio, or raises ValueError if it is not floating point [..., C, T] or the sample rate is not positive."""
    if audio.ndim < 2 or not audio.dtype.is_floating_point:
        raise ValueError(f"an effect takes float audio of shape [..., channels, time]; got {audio.dtype} of shape {list(audio.shape)}")
    if not isinstance(sample_rate, Real) or sample_rate <= 0:
        raise ValueError(f"a sample rate must be a positive number in Hz; got {sample_rate!r}")
    return audio


def check_finite(audio: torch.Tensor) -> torch.Tensor:
    """Returns the audio, or raises ValueError if a sample is not finite."""
    # One NaN or infinity makes the sum not finite; the sum is read once, where isfinite().all() would write a mask.
    if not np.isfinite(float(audio.detach().sum())):
        raise ValueError("the audio contains NaN or infinite samples; repair or reject it before rendering")
    return audio


def column(value: Any, audio: torch.Tensor) -> torch.Tensor:
    """A setting as a tensor [..., 1, 1] in the type and on the device of the audio: one value an item."""
    return torch.as_tensor(value, dtype=audio.dtype, device=audio.device)[..., None, None]


def is_off(value: Any, neutral: float) -> bool:
    """Says whether a setting is a plain number at its neutral value, so that its part of an effect can be skipped."""
    return not isinstance(value, torch.Tensor) and value == neutral


def on_gpu(audio: torch.Tensor) -> bool:
    """Whether an effect computes in parallel over time, rather than by the compiled recursions for CPUs."""
    return audio.is_cuda


def pair(wet: torch.Tensor, dry: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Both signals of a fit in float64 [C, T].

    Raises ValueError where their shapes differ or a sample is not finite, NotIdentifiableError if the dry is silent.
    """
    if wet.shape != dry.shape or wet.ndim != 2:
        raise ValueError(
            f"a fit needs wet and dry of one shape [channels, time]; got {list(wet.shape)} and {list(dry.shape)}. Align and cut them first"
        )
    if not (bool(torch.isfinite(wet).all()) and bool(torch.isfinite(dry).all())):
        raise ValueError("wet or dry contains NaN or infinite samples; repair or reject them before a fit")
    if not float(dry.abs().max()) > 0.0:
        raise NotIdentifiableError("the dry signal is silent: it determines no effect")
    return wet.detach().double().cpu(), dry.detach().double().cpu()
