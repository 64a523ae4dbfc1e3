"""A look-ahead limiter that adds no latency: no sample exceeds the ceiling, and the gain curve can be kept to undo it.

    needed     r[n] = min(1, ceiling / max_c |x_c[n]|)
    held       m[n] = min(r[n], ..., r[n + A])                       A: the look-ahead in samples
    released   e[n] = m[n] where that is lower, else e[n-1] + c (m[n] - e[n-1])
    gain       g[n] = mean(e[n - A], ..., e[n]) <= r[n],   y = g x

Conventions
    The gain falls along a straight line within the look-ahead, before a peak arrives, and recovers by 89 % within the release
    (c = 1 - exp(-2.2 / (sample_rate release))). linked: all channels share the gain of the loudest. The ceiling is one of samples, not of
    the curve between them. Without its gain curve a limiter cannot be undone: ``gain_curve`` gives it, ``restore`` uses it.
    How the gain is computed: ``stemwright.datagen.effects.dsp.limiting``.

References
    Jeon and Lee 2022, musdb-XL: keeping the gain curve of every sample. ``TYPICAL``: its release of 30 to 200 ms.
"""

from __future__ import annotations

import math
from typing import Any

from stemwright.datagen.effects.batches import by_items
from stemwright.datagen.effects.deferred import torch
from stemwright.datagen.effects.ranges import DB_TOLERANCE, TIME_TOLERANCE
from stemwright.datagen.effects.settings import EffectSettings, choice, setting
from stemwright.datagen.effects.signal import checked, is_off
from stemwright.datagen.effects.traits import Trait

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
    return _limited(audio, sample_rate, settings).reshape(audio.shape)


def gain_curve(audio: torch.Tensor, sample_rate: int, settings: Settings) -> torch.Tensor:
    """The gain of every sample, [..., 1, T] linked, [..., C, T] not, as ``apply`` multiplies it: keep it, and the limiter can be undone."""
    checked(audio, sample_rate)
    shape = (*audio.shape[:-2], 1 if settings.linked else audio.shape[-2], audio.shape[-1])
    if is_off(settings.ceiling_db, math.inf):
        return torch.ones(shape, dtype=audio.dtype, device=audio.device)
    return _limited(audio, sample_rate, settings, curve=True).reshape(shape)


def restore(audio: torch.Tensor, gain: torch.Tensor) -> torch.Tensor:
    """Undoes ``apply`` by the gain curve that it used."""
    return audio / gain


def _grouped(audio: torch.Tensor, settings: Settings) -> torch.Tensor:
    """[..., C, T] as groups of channels that share a gain: [G, C, T] linked, [G C, 1, T] not."""
    return audio.reshape(-1, audio.shape[-2], audio.shape[-1]) if settings.linked else audio.reshape(-1, 1, audio.shape[-1])


def _limited(audio: torch.Tensor, sample_rate: int, settings: Settings, *, curve: bool = False) -> torch.Tensor:
    """The limited audio [G, C, T], or the gain [G, 1, T] that it is multiplied by, in the type of the audio."""
    from stemwright.datagen.effects.dsp.limiting import limit

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
    ahead = items[:, 2].detach().round().to(torch.int64).cpu().numpy()
    return limit(_grouped(audio, settings), items[:, :2], ahead, curve=curve)
