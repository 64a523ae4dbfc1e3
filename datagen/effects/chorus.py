"""Chorus: a copy of the signal through a modulated delay, mixed with the direct sound.

    u[n] = x[n] + feedback w[n-1],    w[n] = u(n - d[n]),    y = (1 - mix) x + mix w
    d[n] = max(centre_ms + depth_ms s[n], min(1 ms, centre_ms)) (1 + depth s[n]),    s[n] = sin(2π (rate_hz n / sample_rate + phase))

Conventions
    The modulation depth is relative to the centre (depth), in milliseconds (depth_ms), or both. The delay line is read between samples by
    linear interpolation and never less than one sample back. A mix of 0 changes nothing.
    With depth 0, depth_ms 10 times its depth, its feedback with the other sign and a phase of 0.5 it is JUCE's chorus, to -120 dB but for
    the oscillator, whose phase JUCE sums in single precision: 0.002 cycles off after 5 s, unless the step is a multiple of 2^-21 radians.
    The modulation starts with the excerpt, at ``phase`` of a cycle, the same in all channels.
    It has no ``fit``: a start for rate, depth and phase needs the delay over time, which is not measured here, and without a
    start the error of the waveform has a local minimum for every period of the music.
    The recursion runs on the CPU in the type of the audio. A GPU reads the delay line itself where there is no feedback; with feedback a
    signal on a GPU is brought to the CPU and back: each sample needs the one before.

References
    ``TYPICAL``: RemFX 2023 for rate, centre, feedback and mix; its depth in another unit. JUCE's chorus as its output shows it.
"""

from __future__ import annotations

import math
from typing import Any

from stemwright.datagen.effects.batches import are_numbers, by_items, each, is_batch
from stemwright.datagen.effects.deferred import torch
from stemwright.datagen.effects.operation import place
from stemwright.datagen.effects.settings import EffectSettings, setting
from stemwright.datagen.effects.signal import check_form, checked, column, is_off, on_gpu
from stemwright.datagen.effects.traits import Trait

NAME = "chorus"
TRAITS: frozenset[Trait] = frozenset({"linear", "late"})

TYPICAL = {
    "rate_hz": (0.25, 1.5),
    "depth": (0.1, 0.6),
    "depth_ms": 0.0,
    "centre_ms": (5.0, 10.0),
    "feedback": (0.1, 0.4),
    "mix": (0.15, 0.4),
}
LEAST_MS = 1.0  # JUCE's: a swing in milliseconds beyond the centre stays there


class Settings(EffectSettings):
    """Swing, feedback and mix."""

    rate_hz: float = setting(1.0, low=0.05, high=10.0, unit="Hz", scale="log", tolerance=0.05, description="modulation rate")
    depth: float = setting(0.25, low=0.0, high=0.95, tolerance=0.05, description="depth of modulation, relative to the centre delay")
    depth_ms: float = setting(
        0.0, low=0.0, high=20.0, unit="ms", tolerance=0.5, description="additional depth of modulation in milliseconds"
    )
    centre_ms: float = setting(7.0, low=0.5, high=50.0, unit="ms", scale="log", tolerance=0.05, description="centre delay")
    feedback: float = setting(0.0, low=-0.9, high=0.9, tolerance=0.05, description="feedback of the delayed copy")
    mix: float = setting(0.0, low=0.0, high=1.0, tolerance=0.05, description="0: direct sound only, 1: copy only")
    phase: float = setting(0.0, low=0.0, high=1.0, unit="cycle", tolerance=0.05, description="phase of the modulation at the start")


def apply(audio: torch.Tensor, sample_rate: int, settings: Settings) -> torch.Tensor:
    """Returns the audio with the chorus."""
    check_form(audio, sample_rate)
    if is_off(settings.mix, 0.0):
        return checked(audio, sample_rate)
    if on_gpu(audio) or not is_batch(audio):
        return _mixed(audio, sample_rate, settings)
    if not are_numbers(settings):
        return _items_mixed(audio, sample_rate, settings)
    from stemwright.datagen.effects.dsp.swinging import Copies

    return each(Copies(_delays(audio, sample_rate, settings), settings.feedback, settings.mix), audio)


def _mixed(audio: torch.Tensor, sample_rate: int, settings: Settings) -> torch.Tensor:
    """Audio [..., C, T] mixed with its delayed copies, each item by its own settings."""
    from stemwright.datagen.effects.dsp.swinging import Swing

    checked(audio, sample_rate)
    if on_gpu(audio) and is_off(settings.feedback, 0.0):
        return torch.lerp(audio, _read(audio, _delays(audio, sample_rate, settings)), column(settings.mix, audio))
    items = audio.reshape(-1, *audio.shape[-2:])
    feedback = torch.as_tensor(settings.feedback, dtype=torch.float64, device=audio.device).expand(audio.shape[:-2]).reshape(-1)
    delays = _delays(audio, sample_rate, settings).expand(*audio.shape[:-2], -1).reshape(-1, audio.shape[-1])
    copy = Swing.apply(items, delays, feedback).reshape(audio.shape)
    return torch.lerp(audio, copy, column(settings.mix, audio), out=place())


_items_mixed = by_items(_mixed)


def _delays(audio: torch.Tensor, sample_rate: int, settings: Settings) -> torch.Tensor:
    """The delay at each sample, float64 [..., T] with the leading dimensions of the settings, in samples."""

    def number(value: Any) -> torch.Tensor:
        return torch.as_tensor(value, dtype=torch.float64, device=audio.device)[..., None]

    n = torch.arange(audio.shape[-1], dtype=torch.float64, device=audio.device)
    swing = torch.sin((2.0 * math.pi) * (number(settings.rate_hz) / sample_rate * n + number(settings.phase)))
    centre = number(settings.centre_ms)
    base = torch.maximum(centre + number(settings.depth_ms) * swing, centre.clamp(max=LEAST_MS))
    samples = base * (sample_rate / 1000.0) * (1.0 + number(settings.depth) * swing)
    return samples.clamp(min=1.0)


def _read(audio: torch.Tensor, delays: torch.Tensor) -> torch.Tensor:
    """The delay line [..., C, T] read between samples, by delays [..., T]: all samples at once."""
    whole = delays.detach().long()
    part = (delays - whole).to(audio.dtype)[..., None, :]
    near = torch.arange(audio.shape[-1], device=audio.device) - whole
    line = torch.nn.functional.pad(audio, (2, 0))  # before the first sample is silence: places 0 and 1
    index = near.clamp(min=-1)[..., None, :] + 2
    first, second = (line.gather(-1, place.expand(audio.shape)) for place in (index, (index - 1).clamp(min=0)))
    return torch.lerp(first, second, part)
