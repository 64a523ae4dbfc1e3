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
from typing import TYPE_CHECKING, Any

import numpy as np

from stemwright.datagen.effects.batches import by_items
from stemwright.datagen.effects.deferred import torch
from stemwright.datagen.effects.operation import place
from stemwright.datagen.effects.settings import EffectSettings, setting
from stemwright.datagen.effects.signal import checked, column, is_off, on_gpu
from stemwright.datagen.effects.traits import Trait

if TYPE_CHECKING:
    from stemwright.datagen.effects.dsp.transfer import Delay

NAME = "reverb"
TRAITS: frozenset[Trait] = frozenset({"linear", "time-invariant", "late"})

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
    from stemwright.datagen.effects.dsp import tank, transfer

    checked(audio, sample_rate)
    channels, frames = audio.shape[-2:]
    direct = audio if is_off(settings.dry, 1.0) else column(settings.dry, audio) * audio
    if is_off(settings.wet, 0.0):
        return direct
    source = GAIN * audio.mean(dim=-2)
    if on_gpu(audio):
        tail = transfer.through(source[..., None, :], _transfer(settings, *tank.delays_of(channels, sample_rate), audio.device))
    else:
        tail = tank.Tank.apply(source.reshape(-1, frames), _coefficients(audio, settings), channels, sample_rate).reshape(audio.shape)
    wet = column(settings.wet, audio)
    if channels == 1:
        return torch.addcmul(direct, wet * (1.0 + column(settings.width, audio)) / 4.0, tail, out=place())
    if is_off(settings.width, 1.0):
        return torch.addcmul(direct, wet, tail, out=place())
    width = column(settings.width, audio)
    return torch.add(torch.addcmul(direct, wet * width, tail), wet * (1.0 - width) * tail.mean(dim=-2, keepdim=True), out=place())


def _transfer(settings: Settings, combs: np.ndarray, allpasses: np.ndarray, device: torch.device) -> Callable[[Delay], torch.Tensor]:
    """The tank as a spectrum [..., C, K]: allpass(z) Σ_k z^-D / (1 - f L z^-D) with L = (1 - d) / (1 - d z^-1)."""

    def number(value: Any) -> torch.Tensor:
        return torch.as_tensor(value, dtype=torch.float64, device=device)[..., None]

    def tank(delay: Delay) -> torch.Tensor:
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


def _coefficients(audio: torch.Tensor, settings: Settings) -> torch.Tensor:
    """Feedback and damping of each item, float64 [I, 2]."""

    def number(value: Any) -> torch.Tensor:
        return torch.as_tensor(value, dtype=torch.float64, device=audio.device)

    feedback = 0.7 + 0.28 * number(settings.room_size)
    damping = 0.4 * number(settings.damping)
    items = audio.new_zeros(audio.shape[:-2], dtype=torch.float64)
    return torch.stack(torch.broadcast_tensors(feedback, damping, items)[:2], dim=-1).reshape(-1, 2)
