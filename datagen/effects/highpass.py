"""A Butterworth high-pass.

Conventions
    The gain at the cutoff is -3.01 dB for every order; below, it falls by 6 dB an octave and order. A cutoff of 0 is off.
    A high-pass has zeros at 0 Hz, so what it removed cannot be recovered: it has no ``invert``.

References
    Butterworth 1930; sections as in ``stemwright.datagen.effects.dsp.biquads``, by the bilinear transform with the cutoff exact.
"""

from __future__ import annotations

from stemwright.datagen.effects.deferred import torch
from stemwright.datagen.effects.settings import EffectSettings, setting
from stemwright.datagen.effects.signal import check_form, checked, is_off
from stemwright.datagen.effects.traits import Trait

NAME = "highpass"
TRAITS: frozenset[Trait] = frozenset({"linear", "time-invariant", "commutes", "filter"})

TYPICAL = {"cutoff_hz": (60.0, 3000.0), "order": (1.0, 4.0)}


class Settings(EffectSettings):
    """Cutoff and order."""

    cutoff_hz: float = setting(
        0.0, low=5.0, high=20_000.0, unit="Hz", scale="log", off=0.0, tolerance=0.1, description="where the gain is -3 dB"
    )
    order: float = setting(2.0, low=1.0, high=8.0, scale="integer", description="6 dB an octave each")


def apply(audio: torch.Tensor, sample_rate: int, settings: Settings) -> torch.Tensor:
    """Returns the filtered audio. Raises ValueError for a cutoff at or above half the sample rate."""
    from stemwright.datagen.effects.dsp.biquads import butterworth, cascade
    from stemwright.datagen.effects.dsp.nyquist import below_nyquist

    check_form(audio, sample_rate)
    if is_off(settings.cutoff_hz, 0.0):
        return checked(audio, sample_rate)
    cutoff_hz = below_nyquist("cutoff_hz", settings.cutoff_hz, sample_rate)
    return cascade(audio, butterworth(cutoff_hz, int(settings.order), sample_rate, high=True))
