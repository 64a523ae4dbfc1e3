"""Level and place of a signal: a fader and a constant-power pan.

Conventions
    pan -1 is left, 0 the centre, 1 right. With the angle a = (pan + 1) π/4 the left channel is multiplied by √2 cos a and the right one by
    √2 sin a: the sum of the squares of both factors is 2 everywhere, so a signal with equal power in both channels keeps its power,
    both factors are 1 at the centre, and a channel gains 3 dB at its own side while the other vanishes.
    Mono audio has no place: a pan other than 0 on it is an error. So it is for more than two channels.

References
    The sine and cosine law of constant power, as in mixing consoles; normalised here to 1 at the centre.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from stemwright.datagen.effects.batches import each, is_batch
from stemwright.datagen.effects.deferred import torch
from stemwright.datagen.effects.ranges import DB_TOLERANCE, FADER_DB
from stemwright.datagen.effects.settings import EffectSettings, setting
from stemwright.datagen.effects.signal import check_form, checked, column, is_off, on_gpu
from stemwright.datagen.effects.traits import Trait

NAME = "fader"
TRAITS: frozenset[Trait] = frozenset({"linear", "time-invariant", "commutes", "level"})

TYPICAL = {"gain_db": (-12.0, 6.0), "pan": (-0.8, 0.8)}


class Settings(EffectSettings):
    """Gain and pan."""

    gain_db: float = setting(
        0.0, low=FADER_DB[0], high=FADER_DB[1], unit="dB", gain=True, tolerance=DB_TOLERANCE, description="level of the signal"
    )
    pan: float = setting(
        0.0,
        low=-1.0,
        high=1.0,
        unit="left -1, right 1",
        needs="stereo",
        tolerance=0.05,
        description="place between the loudspeakers, constant power",
    )


def apply(audio: torch.Tensor, sample_rate: int, settings: Settings) -> torch.Tensor:
    """Returns the audio with the gain and the pan."""
    factors = _factors(check_form(audio, sample_rate), settings)
    if on_gpu(audio) or not is_batch(audio):
        return checked(audio, sample_rate) * factors
    return each(_Scale(), audio, factors.expand(*audio.shape[:-2], -1, 1).flatten(0, -3))


class _Scale:
    """x [C, T] times a factor [C or 1, 1]."""

    def forward(self, _: int, x: torch.Tensor, rows: Sequence[torch.Tensor], y: torch.Tensor) -> None:
        """Fills y."""
        torch.mul(x, rows[0], out=y)

    def backward(
        self, _: int, x: torch.Tensor, rows: Sequence[torch.Tensor], bar: torch.Tensor, x_bar: torch.Tensor, *, needed: bool
    ) -> Sequence[torch.Tensor]:
        """Fills x_bar; returns the gradient for the factor if ``needed``."""
        torch.mul(bar, rows[0], out=x_bar)
        if not needed:
            return ()
        products = torch.stack([torch.dot(*pair) for pair in zip(bar, x, strict=True)])[:, None]
        return (products.sum_to_size(rows[0].shape),)


def invert(audio: torch.Tensor, sample_rate: int, settings: Settings) -> torch.Tensor:
    """Undoes ``apply``. Raises ValueError at pan -1 and 1, where one channel is silent."""
    if not isinstance(settings.pan, torch.Tensor) and abs(settings.pan) == 1.0:
        raise ValueError(f"a pan of {settings.pan:g} silences one channel and cannot be undone; it can within (-1, 1)")
    return checked(audio, sample_rate) / _factors(audio, settings)


def _factors(audio: torch.Tensor, settings: Settings) -> torch.Tensor:
    """What each channel is multiplied by: [..., C or 1, 1]."""
    gain = 10.0 ** (column(settings.gain_db, audio) / 20.0)
    if is_off(settings.pan, 0.0):
        return gain
    if audio.shape[-2] != 2:
        raise ValueError(f"a pan needs two channels; got {audio.shape[-2]} (make a mono signal stereo before, or leave pan at 0)")
    angle = (column(settings.pan, audio) + 1.0) * (math.pi / 4.0)
    return gain * math.sqrt(2.0) * torch.cat([torch.cos(angle), torch.sin(angle)], dim=-2)
