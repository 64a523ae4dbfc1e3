"""Stereo width: the difference of the channels scaled against their sum.

    mid = (left + right) / 2,  side = (left - right) / 2,  left = mid + width side,  right = mid - width side

Conventions
    0 is mono, 1 changes nothing, 2 doubles the difference. The sum of the channels never changes. It takes two channels.
"""

from __future__ import annotations

from collections.abc import Sequence

from stemwright.datagen.effects.batches import each, is_batch
from stemwright.datagen.effects.deferred import torch
from stemwright.datagen.effects.settings import EffectSettings, setting
from stemwright.datagen.effects.signal import check_form, checked, column, is_off, on_gpu
from stemwright.datagen.effects.traits import Trait

NAME = "width"
TRAITS: frozenset[Trait] = frozenset({"linear", "time-invariant", "stereo"})

TYPICAL = {"width": (0.2, 1.8)}


class Settings(EffectSettings):
    """One factor on the side signal."""

    width: float = setting(1.0, low=0.0, high=4.0, tolerance=0.1, description="factor of the difference of the channels")


def apply(audio: torch.Tensor, sample_rate: int, settings: Settings) -> torch.Tensor:
    """Returns the audio with its side signal scaled. Raises ValueError unless it has two channels or the width is 1."""
    check_form(audio, sample_rate)
    if is_off(settings.width, 1.0):
        return checked(audio, sample_rate)
    check_stereo(audio)
    factors = _factors(column(settings.width, audio))
    if on_gpu(audio) or not is_batch(audio):
        return factors @ checked(audio, sample_rate)
    return each(_Mix(), audio, factors.expand(*audio.shape[:-2], 2, 2).flatten(0, -3))


class _Mix:
    """x [C, T] multiplied by a matrix [C, C]."""

    def forward(self, _: int, x: torch.Tensor, rows: Sequence[torch.Tensor], y: torch.Tensor) -> None:
        """Fills y."""
        torch.mm(rows[0], x, out=y)

    def backward(
        self, _: int, x: torch.Tensor, rows: Sequence[torch.Tensor], bar: torch.Tensor, x_bar: torch.Tensor, *, needed: bool
    ) -> Sequence[torch.Tensor]:
        """Fills x_bar; returns the gradient for the matrix if ``needed``."""
        torch.mm(rows[0].T, bar, out=x_bar)
        return (torch.mm(bar, x.T),) if needed else ()


def invert(audio: torch.Tensor, sample_rate: int, settings: Settings) -> torch.Tensor:
    """Undoes ``apply``. Raises ValueError at a width of 0, which leaves nothing of the difference."""
    checked(audio, sample_rate)
    width = column(settings.width, audio)
    if bool((width == 0.0).any()):
        raise ValueError("a width of 0 removes the difference of the channels and cannot be undone")
    check_stereo(audio)
    return _factors(1.0 / width) @ audio


def _factors(width: torch.Tensor) -> torch.Tensor:
    """The matrix [..., 2, 2] by which the channels are multiplied."""
    own, other = (1.0 + width) / 2.0, (1.0 - width) / 2.0
    return torch.cat([torch.cat([own, other], dim=-1), torch.cat([other, own], dim=-1)], dim=-2)


def check_stereo(audio: torch.Tensor) -> None:
    """Raises ValueError unless audio [..., C, T] has two channels."""
    if audio.shape[-2] != 2:
        raise ValueError(f"a width needs two channels; got {audio.shape[-2]}")
